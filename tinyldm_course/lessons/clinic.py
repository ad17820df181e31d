"""The clinic: eight ways to break a pipeline without an error message, and instruments that tell them apart.

    patient = clinic.PATIENTS["A"](model)      # a broken copy; the model itself is untouched
    measured = clinic.examine(patient, real_images, real_captions, seed=0)
    print(clinic.diagnose("A", "the scale is left out"))

Each ailment is one function that changes one thing. All eight are mistakes that people have made.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tinyldm.forward_diffusion import NoiseSchedule, diffusion_loss, linear_betas
from tinyldm.latent_diffusion import Condition, LatentDiffusion
from tinyldm.reverse_diffusion import Model, ddim
from tinyldm.unet import UNet
from tinyldm.vae import VAE, to_signed
from tinyldm.versions import SD1

# Every patient gets both lists: captions at the same position differ in colour only.
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


def broken_copy(model: LatentDiffusion, methods: type[LatentDiffusion] = LatentDiffusion, **parts) -> LatentDiffusion:
    """Return a copy that shares all networks with `model` except `parts`, with the methods of the class `methods`."""
    other = copy.copy(model)
    other.__class__ = methods
    vars(other).update(parts)
    return other


# ── The ailments ─────────────────────────────────────────────────────────────────────────────────────


def scale_left_out(model: LatentDiffusion) -> LatentDiffusion:
    """The VAE neither multiplies nor divides by its scale, and its raw latents are as large as Stable Diffusion's."""
    return broken_copy(model, vae=without_scale(model.vae))


def without_scale(vae: VAE) -> VAE:
    """Return a VAE with the same weights that omits Stable Diffusion's 0.18215 in both directions.

    This VAE's own scale may be close to 1, and then omitting it would barely show. So it is treated as a VAE whose
    raw latents are 1 / 0.18215 times too large.
    """
    other = copy.copy(vae)
    other.config = replace(vae.config, scale=vae.config.scale / SD1.vae.scale)
    return other


class _SignedImages(LatentDiffusion):
    def decode(self, z0: Tensor) -> Tensor:
        return self.vae.decode(z0.to(self.vae.quant_conv.weight.dtype)).float().clamp(0, 1)


def wrong_range(model: LatentDiffusion) -> LatentDiffusion:
    """The decoder's output in [-1, 1] is clipped to [0, 1] directly, without (y + 1) / 2."""
    return broken_copy(model, _SignedImages)


class _NextTimestep(LatentDiffusion):
    def generate(self, captions: list[str], *, sampler=ddim, **options) -> Tensor:
        def off_by_one(model, z: Tensor, schedule: NoiseSchedule, timesteps: Tensor, **rest) -> Tensor:
            following = dict(zip(timesteps.tolist(), [*timesteps[1:].tolist(), 0]))
            return sampler(
                lambda z_t, t: model(z_t, torch.full_like(t, following[t[0].item()])), z, schedule, timesteps, **rest
            )

        return super().generate(captions, sampler=off_by_one, **options)


def next_timestep(model: LatentDiffusion) -> LatentDiffusion:
    """The U-Net is given the t that the step leads to, not the t of z_t: the list is off by one."""
    return broken_copy(model, _NextTimestep)


def other_schedule(model: LatentDiffusion) -> LatentDiffusion:
    """Sampling uses DDPM's linear schedule, although training used the scaled linear one."""
    schedule = NoiseSchedule(linear_betas(model.schedule.T), model.schedule.prediction)
    return broken_copy(model, schedule=schedule.to(model.device))


class _SinesFirst(nn.Module):
    def forward(self, sinusoids: Tensor) -> Tensor:
        return torch.cat(sinusoids.chunk(2, dim=1)[::-1], dim=1)


def sines_first(model: LatentDiffusion) -> LatentDiffusion:
    """The time embedding puts sines before cosines, although the weights were trained with cosines first."""
    unet = copy.deepcopy(model.unet)
    unet.time_mlp = nn.Sequential(_SinesFirst(), unet.time_mlp)
    return broken_copy(model, unet=unet)


class _WithoutCaption(LatentDiffusion):
    def condition(self, *arguments, **options) -> Condition:
        _, null_context, _, null_added = super().condition(*arguments, **options)
        return Condition(null_context, null_context, null_added, null_added)


def caption_not_passed(model: LatentDiffusion) -> LatentDiffusion:
    """Both halves of guidance read the context of the empty caption."""
    return broken_copy(model, _WithoutCaption)


class _NegatedGuidance(LatentDiffusion):
    def denoiser(self, condition: Condition, guidance_scale: float, beside: Tensor | None = None) -> Model:
        return super().denoiser(condition, -guidance_scale, beside)


def guidance_backwards(model: LatentDiffusion) -> LatentDiffusion:
    """Guidance subtracts what the caption changes: null - w (caption - null)."""
    return broken_copy(model, _NegatedGuidance)


def average_never_updated(model: LatentDiffusion) -> LatentDiffusion:
    """The moving average used for sampling still has its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = UNet(model.unet.config).eval().requires_grad_(False)
    return broken_copy(model, unet=untrained.to(model.device, model.dtype))


@dataclass(frozen=True)
class Ailment:
    """What breaks the model, how it shows, and the cure."""

    breaks: Callable[[LatentDiffusion], LatentDiffusion]
    sign: str
    cure: str


AILMENTS = {
    "the scale is left out": Ailment(
        scale_left_out,
        "a healthy pulse, wrong colours on wrong backgrounds, and the worst blood test of all",
        "divide by the scale before decoding: vae.decode(z0 / scale), and multiply after encoding",
    ),
    "the range is wrong": Ailment(
        wrong_range,
        "everything darker than mid-grey is black, while all latents are right",
        "(y + 1) / 2 before clipping: [-1, 1] -> [0, 1]",
    ),
    "t is off by one": Ailment(
        next_timestep,
        "a normal blood test, the right subject, a pulse that strays a little: a sound network, given the wrong t",
        "give the network the t of z_t; the t that the step leads to is the sampler's business",
    ),
    "the schedules differ": Ailment(
        other_schedule,
        "passable pictures; a blood test that is passable at small t and bad later, where ᾱ has fallen behind",
        "sample with exactly the alpha_bar of training; it belongs in the model's files",
    ),
    "cosines and sines are swapped": Ailment(
        sines_first,
        "trained weights, and a blood test that is bad at small t: the network reads every t as another one",
        "cosines first, then sines, as the checkpoint was trained",
    ),
    "the caption is not passed": Ailment(
        caption_not_passed,
        "good pictures of anything; with the same noise, another caption changes no pixel",
        "give one of the two halves of guidance the context of the caption",
    ),
    "guidance has the wrong sign": Ailment(
        guidance_backwards,
        "the caption has an effect, but what it names is exactly what is missing; more guidance makes it worse",
        "null + w (caption - null): away from the empty caption, not from yours",
    ),
    "the average is never updated": Ailment(
        average_never_updated,
        "confetti instead of pictures, and normalisation gains of exactly 1",
        "call average.update(...) after every optimizer step",
    ),
}
# Who has what. Do not look before you have made your diagnoses.
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
class Measurements:
    """What the instruments say about one pipeline."""

    images: Tensor  # (B, 3, H, W) in [0, 1], one per caption
    z_std: Tensor  # (steps,) standard deviation of z after each step: about 1 without guidance (the pulse)
    z0_hat_std: (
        Tensor  # (steps,) that of ẑ0: rises to about 1 without guidance, falls to it with guidance (the clarity)
    )
    caption_effect: float  # mean change of a pixel, 0 … 1, when only the caption changes
    loss_by_t: Tensor  # (len(LOSS_AT),) training loss on real pictures at each of LOSS_AT (the blood test)
    untouched_gains: float  # share of the normalisation gains that are exactly 1, their initial value


LOSS_AT = (50, 200, 350, 500, 650, 800, 950)


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
) -> Measurements:
    """Apply all instruments to a pipeline.

    Args:
        real: (B, 3, H, W) in [0, 1], pictures like those of training; captions: B, what they show.
        asked: captions to generate; instead: as many, generated from the same noise to see what a caption changes.
    """
    z_std, z0_hat_std = [], []

    def record(_step: int, z: Tensor, z0_hat: Tensor) -> None:
        z_std.append(z.std().item())
        z0_hat_std.append(z0_hat.std().item())

    options = {"steps": steps, "guidance_scale": guidance_scale}
    images = model.generate(list(asked), generator=torch.Generator().manual_seed(seed), callback=record, **options)
    others = model.generate(list(instead), generator=torch.Generator().manual_seed(seed), **options)
    gains = torch.cat([module.weight for module in model.unet.modules() if isinstance(module, nn.GroupNorm)])
    return Measurements(
        images.cpu(),
        torch.tensor(z_std),
        torch.tensor(z0_hat_std),
        (images - others).abs().mean().item(),
        loss_by_t(model, real, captions, seed),
        (gains == 1).float().mean().item(),
    )


@torch.no_grad()
def loss_by_t(model: LatentDiffusion, real: Tensor, captions: list[str], seed: int = 0) -> Tensor:
    """The training loss on real pictures at each of LOSS_AT, with the same noise: (len(LOSS_AT),).

    It involves the VAE's encoder, schedule, text encoder and U-Net, but neither decoder nor sampler nor guidance.
    """
    generator = torch.Generator().manual_seed(seed)
    z0 = model.vae.encode(to_signed(real).to(model.device, model.dtype)).float()
    eps = torch.randn(z0.shape, generator=generator).to(model.device)
    context = model.condition(captions, size=(real.shape[2], real.shape[3])).context
    losses = []
    for t in LOSS_AT:
        at = torch.full((len(z0),), t, device=model.device)
        losses.append(diffusion_loss(model.unet, model.schedule, z0, context, at, eps).item())
    return torch.tensor(losses)


# ── The check ────────────────────────────────────────────────────────────────────────────────────────


def diagnose(patient: str, ailment: str) -> str:
    """Say whether the patient has this ailment. If not, say how it would look, so that the reader can compare.

    Args: patient: one of PATIENTS, "A" … "H"; ailment: one of AILMENTS.
    Raises: ValueError for any other patient or ailment.
    """
    if patient not in PATIENTS:
        raise ValueError(f"there is no patient {patient!r}; expected one of {', '.join(PATIENTS)}")
    if ailment not in AILMENTS:
        raise ValueError(f"{ailment!r} is not in the book; expected one of: {'; '.join(AILMENTS)}")
    described = AILMENTS[ailment]
    if PATIENTS[patient] is described.breaks:
        return f"Right, patient {patient}: {ailment}. The cure: {described.cure}."
    return (
        f"Not patient {patient}. If {ailment}, you find: {described.sign}. "
        "Compare that with the pictures, the pulse and the blood test again."
    )
