"""The clinic: eight ways to break a pipeline that runs without an error, and instruments to find out which it is.

    patient = clinic.PATIENTS["A"](model)      # a broken copy; the model itself is untouched
    vitals = clinic.examine(patient, clinic.CAPTIONS, scenes, seed=0)
    print(clinic.diagnose("A", "the scale is left out"))

Each ailment is one function that changes one thing. All eight are mistakes that people have made; none raises an error.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tinyldm.forward_diffusion import NoiseSchedule, diffusion_loss, linear_betas
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.reverse_diffusion import ddim
from tinyldm.unet import UNet
from tinyldm.vae import VAE, to_signed
from tinyldm.versions import SD1

# Asked of every patient: as many pairs, alike but for their colours or their shapes.
CAPTIONS = (
    "a large red circle on a white background",
    "a large blue square on a cream background",
    "a large green star on a black background",
    "a large yellow ring on a gray background",
)
OTHER_CAPTIONS = (
    "a large cyan circle on a white background",
    "a large orange square on a cream background",
    "a large pink star on a black background",
    "a large purple ring on a gray background",
)


def changed(model: LatentDiffusion, kind: type[LatentDiffusion] = LatentDiffusion, **parts) -> LatentDiffusion:
    """A copy that shares all networks with `model`, but for `parts`, and has the methods of `kind`."""
    other = copy.copy(model)
    other.__class__ = kind
    vars(other).update(parts)
    return other


# ── The ailments ─────────────────────────────────────────────────────────────────────────────────────


def scale_left_out(model: LatentDiffusion) -> LatentDiffusion:
    """A VAE with raw latents as large as Stable Diffusion's neither multiplies by its scale nor divides by it."""
    return changed(model, vae=without_scale(model.vae))


def without_scale(vae: VAE) -> VAE:
    """A VAE that shares all weights, and in which Stable Diffusion's 0.18215 is left out, both ways.

    Leaving out this VAE's own scale would show only as far as that is from 1, which is chance. So it is
    taken for one whose raw latents are 1 / 0.18215 times too large.
    """
    other = copy.copy(vae)
    other.config = replace(vae.config, scale=vae.config.scale / SD1.vae.scale)
    return other


class _SignedImages(LatentDiffusion):
    def _decode(self, z0: Tensor) -> Tensor:
        return self.vae.decode(z0.to(self.vae.quant_conv.weight.dtype)).float().clamp(0, 1)


def wrong_range(model: LatentDiffusion) -> LatentDiffusion:
    """The decoder's [-1, 1] is clipped to [0, 1] as it is, without (y + 1) / 2."""
    return changed(model, _SignedImages)


class _NextTimestep(LatentDiffusion):
    def generate(self, captions: list[str], *, sampler=ddim, **options) -> Tensor:
        def one_off(model, z: Tensor, schedule: NoiseSchedule, timesteps: Tensor, **rest) -> Tensor:
            following = dict(zip(timesteps.tolist(), [*timesteps[1:].tolist(), 0]))
            return sampler(
                lambda z_t, t: model(z_t, torch.full_like(t, following[t[0].item()])), z, schedule, timesteps, **rest
            )

        return super().generate(captions, sampler=one_off, **options)


def next_timestep(model: LatentDiffusion) -> LatentDiffusion:
    """The U-Net is told the t that the step lands on, not the one that z_t is at: the list is off by one."""
    return changed(model, _NextTimestep)


def other_schedule(model: LatentDiffusion) -> LatentDiffusion:
    """Sampling uses DDPM's linear schedule; training used the scaled linear one."""
    schedule = NoiseSchedule(linear_betas(model.schedule.T), model.schedule.prediction)
    return changed(model, schedule=schedule.to(model.device))


class _SinesFirst(nn.Module):
    def forward(self, sinusoids: Tensor) -> Tensor:
        return torch.cat(sinusoids.chunk(2, dim=1)[::-1], dim=1)


def sines_first(model: LatentDiffusion) -> LatentDiffusion:
    """The time embedding has its sines before its cosines; the weights were trained with the cosines first."""
    unet = copy.copy(model.unet)
    unet._modules = {**model.unet._modules, "time_mlp": nn.Sequential(_SinesFirst(), model.unet.time_mlp)}
    return changed(model, unet=unet)


class _Captionless(LatentDiffusion):
    def _condition(self, *arguments) -> tuple:
        _, null_context, _, null_added = super()._condition(*arguments)
        return null_context, null_context, null_added, null_added


def caption_not_passed(model: LatentDiffusion) -> LatentDiffusion:
    """Both halves of guidance read the context of the empty caption."""
    return changed(model, _Captionless)


class _Backwards(LatentDiffusion):
    def _guided(self, condition: tuple, guidance_scale: float, beside: Tensor | None = None):
        return super()._guided(condition, -guidance_scale, beside)


def guidance_backwards(model: LatentDiffusion) -> LatentDiffusion:
    """Guidance subtracts what the caption changes: null - w (caption - null)."""
    return changed(model, _Backwards)


def average_never_updated(model: LatentDiffusion) -> LatentDiffusion:
    """The moving average that is drawn with still has the weights that it was born with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        born = UNet(model.unet.config).eval().requires_grad_(False)
    return changed(model, unet=born.to(model.device, model.dtype))


@dataclass(frozen=True)
class Ailment:
    """What is broken, how it shows, and the cure."""

    breaks: Callable[[LatentDiffusion], LatentDiffusion]
    sign: str
    cure: str


AILMENTS = {
    "the scale is left out": Ailment(
        scale_left_out,
        "a healthy pulse, wrong colours on wrong grounds, and the worst blood of all",
        "divide by the scale before decoding: vae.decode(z0 / scale), and multiply after encoding",
    ),
    "the range is wrong": Ailment(
        wrong_range,
        "all that is darker than middle grey is black, while the rest and every latent are right",
        "(y + 1) / 2 before the clipping: [-1, 1] -> [0, 1]",
    ),
    "t is off by one": Ailment(
        next_timestep,
        "sound blood, the right subject, a pulse that strays a little: a sound network, badly asked",
        "give the network the t that z_t is at; the step after it is the sampler's business",
    ),
    "the schedules differ": Ailment(
        other_schedule,
        "fair pictures; blood that is fair while t is small, bad later, where ᾱ has fallen behind",
        "sample with the very alpha_bar of training; it belongs to the model's files",
    ),
    "cosines and sines are swapped": Ailment(
        sines_first,
        "trained weights, and blood that is bad where t is small: the network reads every t as another",
        "cosines first, then sines, as the checkpoint was trained",
    ),
    "the caption is not passed": Ailment(
        caption_not_passed,
        "good pictures of anything; another caption with the same noise changes no pixel",
        "give one of the two halves of guidance the context of the caption itself",
    ),
    "guidance has the wrong sign": Ailment(
        guidance_backwards,
        "the caption matters, and what it names is just what is missing; more guidance, worse",
        "null + w (caption - null): away from the empty caption, not from yours",
    ),
    "the average is never updated": Ailment(
        average_never_updated,
        "confetti instead of pictures, and norms with gains of exactly 1",
        "call average.update(...) after every step of the optimizer",
    ),
}
# Who has what. Do not look here before you have made your diagnoses.
PATIENTS = {
    "A": other_schedule,
    "B": caption_not_passed,
    "C": wrong_range,
    "D": average_never_updated,
    "E": guidance_backwards,
    "F": scale_left_out,
    "G": sines_first,
    "H": next_timestep,
}


# ── Instruments ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Vitals:
    """What the instruments say of one pipeline."""

    images: Tensor  # (B, 3, H, W) in [0, 1], one a caption
    pulse: Tensor  # (steps,) the standard deviation of z after each step: about 1 without guidance
    clarity: Tensor  # (steps,) that of ẑ0: without guidance it rises to about 1, with guidance it falls to it
    caption_effect: float  # mean change of a pixel, 0 … 1, when only the caption changes
    blood: Tensor  # (len(BLOOD_AT),) the training loss on real pictures at these t
    unborn: float  # share of the normalisation layers' gains that are exactly 1: trained ones are not


BLOOD_AT = (50, 200, 350, 500, 650, 800, 950)


@torch.no_grad()
def examine(
    model: LatentDiffusion,
    real: Tensor,
    captions: list[str],
    *,
    seed: int = 0,
    steps: int = 25,
    guidance_scale: float = 4.0,
    asked: Sequence[str] = CAPTIONS,
    instead: Sequence[str] = OTHER_CAPTIONS,
) -> Vitals:
    """Use all instruments on a pipeline.

    Args:
        real: (B, 3, H, W) in [0, 1], pictures like those of training; captions: B, what they show.
        asked: captions to draw; instead: as many, drawn from the same noise to see what a caption changes.
    """
    pulse, clarity = [], []

    def feel(_step: int, z: Tensor, z0_hat: Tensor) -> None:
        pulse.append(z.std().item())
        clarity.append(z0_hat.std().item())

    options = {"steps": steps, "guidance_scale": guidance_scale}
    images = model.generate(list(asked), generator=torch.Generator().manual_seed(seed), callback=feel, **options)
    others = model.generate(list(instead), generator=torch.Generator().manual_seed(seed), **options)
    gains = torch.cat([module.weight for module in model.unet.modules() if isinstance(module, nn.GroupNorm)])
    return Vitals(
        images.cpu(),
        torch.tensor(pulse),
        torch.tensor(clarity),
        (images - others).abs().mean().item(),
        blood_test(model, real, captions, seed),
        (gains == 1).float().mean().item(),
    )


@torch.no_grad()
def blood_test(model: LatentDiffusion, real: Tensor, captions: list[str], seed: int = 0) -> Tensor:
    """The training loss of real pictures at each of BLOOD_AT, with the same noise: (len(BLOOD_AT),).

    It asks VAE, schedule, text encoder and U-Net, but neither the sampler nor guidance.
    """
    generator = torch.Generator().manual_seed(seed)
    z0 = model.vae.encode(to_signed(real).to(model.device, model.dtype)).float()
    eps = torch.randn(z0.shape, generator=generator).to(model.device)
    context = model._condition(captions, None, None, tuple(real.shape[2:]))[0]
    losses = []
    for t in BLOOD_AT:
        at = torch.full((len(z0),), t, device=model.device)
        losses.append(diffusion_loss(model.unet, model.schedule, z0, context, at, eps).item())
    return torch.tensor(losses)


# ── The check ────────────────────────────────────────────────────────────────────────────────────────


def diagnose(patient: str, ailment: str) -> str:
    """Is this what the patient has? If not: how that would look, so that you see what does not fit.

    Args: patient: one of PATIENTS, "A" … "H"; ailment: one of AILMENTS.
    Raises: ValueError for another patient or ailment.
    """
    if patient not in PATIENTS:
        raise ValueError(f"there is no patient {patient!r}; expected one of {', '.join(PATIENTS)}")
    if ailment not in AILMENTS:
        raise ValueError(f"{ailment!r} is not in the book; expected one of: {'; '.join(AILMENTS)}")
    said = AILMENTS[ailment]
    if PATIENTS[patient] is said.breaks:
        return f"Right: patient {patient} has it: {ailment}. The cure: {said.cure}."
    return (
        f"Not patient {patient}. Where {ailment}, you find: {said.sign}. "
        "Compare that with the picture, the pulse and the blood test once more."
    )
