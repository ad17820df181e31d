"""Stage 2 of training: the VAE, from images alone.

    tinyldm train vae --minutes 40

The article does not name the losses of the VAE. Following the paper (Rombach et al. 2022, § 3.1 and appendix G),
this file adds up seven terms. All but the first have a weight in `VaeSettings`:

    L1            every pixel close to its original
    squares       the same, but large errors count more: with L1 alone the VAE is content for a long time with the
                  bare background, the median. Both blur, as the mean of all sharp possibilities is blurred, so:
    edges         L1 of the differences between neighbouring pixels: where an edge is, and how sharp
    perceptual    the distance between features of a trained network: the image tower of our CLIP
    KL            a weak pull of each latent to N(0, 1): no extreme values, and some noise in every latent
    half size     the latent at half the size has to decode to the image at half the size. Else nothing asks the latents
                  of neighbouring places to have to do with each other, and such latents are hard to denoise
    adversarial   a small network learns to tell patches of originals and reconstructions apart

The adversarial term starts late, and its weight is adaptive: the gradients of both sides are given the same norm
at the decoder's last layer. Source: Esser et al. 2021, eq. 7; CompVis `LPIPSWithDiscriminator`.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.data.corpus import Corpus
from tinyldm.data.pixels import to_signed_float
from tinyldm.formats.vision_transformer import normalize_for_clip
from tinyldm.training.clip import Clip
from tinyldm.training.processes import ALONE, Processes
from tinyldm.training.run import MovingAverage, Run, Settings, adamw, batch_at, generator_at, mixed_precision
from tinyldm.vae import VAE, DiagonalGaussian, VAEConfig
from tinyldm.versions import TINY


@dataclass(frozen=True)
class VaeSettings(Settings):
    """How the VAE is trained. A weight of 0 switches its term off."""

    batch: int = 32
    lr: float = 1e-3
    square_weight: float = 1.0
    edge_weight: float = 1.0
    perceptual_weight: float = 0.1
    kl_weight: float = 1e-5  # of the sum over a latent, while the other terms are means over pixels
    half_size_weight: float = 0.0
    adversarial_weight: float = 0.5  # times the adaptive weight
    adversarial_start: float = 0.75  # the share of training after which it begins
    ema: float = 0.998
    config: VAEConfig = TINY.vae


@torch.no_grad()
def calibrate_scale(vae: VAE, image: Tensor) -> float:
    """Set the scale to 1 / std of the sampled latents of a batch, which is how 0.18215 was found; return it.

    Args: image: (B, 3, H, W) in [-1, 1], a batch large enough to represent the data.
    """
    latent = vae.posterior(image).sample(torch.Generator(image.device).manual_seed(0))
    vae.config = replace(vae.config, scale=1.0 / latent.std().item())
    return vae.config.scale


class PerceptualDistance(nn.Module):
    """How different two images look to CLIP's image tower: (B, 3, S, S), (B, 3, S, S) -> scalar.

    The mean squared distance of the patch vectors after each layer, each vector scaled to unit length (as in
    LPIPS: Zhang et al. 2018). The tower is frozen. The judge of `evaluation/judge.py` is for
    measuring, so it is never used here.
    """

    def __init__(self, clip: Clip):
        super().__init__()
        self.vision = clip.vision.eval().requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Unit vectors (B, 1 + N, D) of every layer, the input of the first one included."""
        return [F.normalize(layer.float(), dim=-1) for layer in self.vision(normalize_for_clip(image)).layers]

    def forward(self, image: Tensor, original: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(original)
        return sum((a - b).square().sum(-1).mean() for a, b in zip(self.features(image), wanted)) / len(wanted)


class PatchDiscriminator(nn.Module):
    """Is this patch from an original? (B, 3, S, S) -> logits (B, 1, S/4, S/4), each of a 22×22 patch.

    Isola et al. 2017 ("PatchGAN"), smaller, and without normalisation over the batch.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def edge_distance(image: Tensor, original: Tensor) -> Tensor:
    """L1 between the differences of neighbouring pixels, across and down. -> scalar."""
    error = image - original
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The hinge loss: originals above 1, reconstructions below -1. Lim & Ye 2017."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, processes: Processes = ALONE
) -> Tensor:
    """λ = ‖∂ reconstruction / ∂ W‖ / (‖∂ adversarial / ∂ W‖ + 10⁻⁴), at most 10⁴, W the decoder's last weight.

    With it neither side dominates the other, whatever their scales. Esser et al. 2021, eq. 7.

    Args: reconstruction, adversarial: scalar losses that depend on last_layer. Returns a scalar without gradient.
    """
    (of_reconstruction,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (of_adversarial,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    of_reconstruction, of_adversarial = processes.mean(of_reconstruction), processes.mean(of_adversarial)
    return (of_reconstruction.norm() / (of_adversarial.norm() + 1e-4)).clamp(max=1e4).detach()


def sampled_latent(vae: VAE, original: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Original (B, 3, S, S), noise eps (B, C, h, w) -> a sample of its latent z0, and the mean KL in nats; float32."""
    posterior = vae.posterior(original)
    # Under autocast the moments are bfloat16, too coarse for exp() and for the KL.
    posterior = DiagonalGaussian(torch.cat([posterior.mean, posterior.logvar], dim=1).float())
    return vae.config.scale * posterior.reparameterize(eps), posterior.kl().mean()


def half_size_distance(vae: VAE, z0: Tensor, original: Tensor) -> Tensor:
    """How far the decoded latent at half the size is from the original at half the size. -> scalar.

    Kouzelis et al. 2025 (EQ-VAE, arXiv:2502.09509), with this one scale.
    """
    error = vae.decode(F.avg_pool2d(z0, 2)).float() - F.avg_pool2d(original, 2)
    return error.abs().mean() + error.square().mean()


def vae_losses(
    reconstruction: Tensor, original: Tensor, kl: Tensor, perceptual: PerceptualDistance | None, settings: VaeSettings
) -> dict[str, Tensor]:
    """All terms but the adversarial one, and their weighted sum, "loss"."""
    error = reconstruction - original
    losses = {"l1": error.abs().mean(), "square": error.square().mean(), "kl": kl}
    losses["loss"] = losses["l1"] + settings.square_weight * losses["square"] + settings.kl_weight * kl
    if settings.edge_weight:
        losses["edges"] = edge_distance(reconstruction, original)
        losses["loss"] = losses["loss"] + settings.edge_weight * losses["edges"]
    if perceptual is not None:
        losses["perceptual"] = perceptual(reconstruction, original)
        losses["loss"] = losses["loss"] + settings.perceptual_weight * losses["perceptual"]
    return losses


def new_vae(config: VAEConfig) -> VAE:
    """An untrained VAE that roughly preserves the variance of its signals.

    PyTorch's default initialisation shrinks it to a third in each convolution outside a residual sum, and eight
    images then stay gray (L1 0.40) for 20 to 60 steps instead of fewer than 10.
    """
    vae = VAE(config)
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
    # Little noise in the latents at first (σ = 0.08, not 1), so that the decoder has a signal to learn from.
    vae.quant_conv.bias.data[config.latent_channels :] = -5.0
    return vae


def train_vae(settings: VaeSettings, corpus: Corpus, clip: Clip | None, processes: Processes = ALONE) -> VAE:
    """Train the VAE. Returns the moving average of its weights, its scale measured.

    Args:
        clip: whose image tower gives the perceptual features; None switches that term off.
        processes: those that share the work.
    Raises: Stopped after Ctrl-C (saved); FloatingPointError when a loss or a weight is no longer finite, and OSError
        when the disk is full (the last checkpoint is intact).
    """
    device = settings.device
    torch.manual_seed(settings.seed)
    vae = new_vae(settings.config).to(device)
    if settings.bf16 and torch.device(device).type == "cpu":
        vae.to(memory_format=torch.contiguous_format)  # 54 images/s a core, against 43 with channels last
    discriminator = PatchDiscriminator().to(device)
    average = MovingAverage(vae, settings.ema)
    perceptual = PerceptualDistance(clip).to(device) if clip is not None and settings.perceptual_weight else None
    optimizer = adamw(vae.parameters(), settings.lr)
    optimizer_d = adamw(discriminator.parameters(), settings.lr)
    images, share = corpus.images.to(device), processes.share(settings.batch)
    side = images.shape[-1] // settings.config.factor
    latents = (settings.batch, settings.config.latent_channels, side, side)

    modules = {"vae": vae, "discriminator": discriminator, "average": average.module}
    optimizers = {"optimizer": optimizer, "optimizer_d": optimizer_d}
    with Run("vae", settings, modules, optimizers, len(corpus), processes) as run:
        for step in run.steps():
            eps = torch.randn(latents, generator=generator_at(settings.seed, step, device), device=device)[share]
            index = batch_at(settings.seed, step, settings.batch, len(corpus))[share].to(device)
            original = to_signed_float(images[index])
            adversarial = settings.adversarial_weight > 0 and run.progress() >= settings.adversarial_start
            with mixed_precision(device, settings.bf16):
                z0, kl = sampled_latent(vae, original, eps)
                reconstruction = vae.decode(z0).float()
                losses = vae_losses(reconstruction, original, kl, perceptual, settings)
                loss = losses["loss"]
                if settings.half_size_weight:
                    losses["half_size"] = half_size_distance(vae, z0, original)
                    loss = loss + settings.half_size_weight * losses["half_size"]
                if adversarial:
                    fooling = -discriminator(reconstruction).float().mean()
                    weight = adaptive_weight(loss, fooling, vae.decoder.conv_out.weight, processes)
                    loss = loss + settings.adversarial_weight * weight * fooling
            optimizer.zero_grad()
            loss.backward()
            processes.average_gradients(vae.parameters())
            nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            average.update(vae, step)
            if adversarial:
                losses |= train_discriminator(
                    discriminator, optimizer_d, original, reconstruction.detach(), settings, processes
                )
            run.log(**losses)
    calibrate_scale(average.module, to_signed_float(images[:1024]))
    return average.module


def train_discriminator(
    discriminator: PatchDiscriminator,
    optimizer: torch.optim.Optimizer,
    original: Tensor,
    reconstruction: Tensor,
    settings: VaeSettings,
    processes: Processes,
) -> dict[str, Tensor]:
    """One step of the discriminator."""
    with mixed_precision(settings.device, settings.bf16):
        loss = discriminator_loss(discriminator(original).float(), discriminator(reconstruction).float())
    optimizer.zero_grad()
    loss.backward()
    processes.average_gradients(discriminator.parameters())
    optimizer.step()
    return {"discriminator": loss}
