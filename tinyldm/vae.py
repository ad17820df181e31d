"""§ Variational Autoencoder: image → latent → image, an eighth of the size on each side.

    image (B,3,H,W) ─Encoder─► moments (B,8,H/8,W/8) = mean ‖ log-variance  (‖: side by side, as channels)
                               └─ posterior ─► z0 = scale · (its mean, or a sample) (B,4,H/8,W/8)
    z0 ─► z0 / scale ─Decoder─► image (B,3,H,W)

Stable Diffusion: (3,512,512) → (4,64,64); tiny: (3,64,64) → (4,8,8). Either way 192 numbers (a patch of
8×8 pixels in 3 colours) become 4. The factor is 2^(levels - 1), so f = 8 takes four levels.

Where the article and the reference code differ, the code wins:

* one scale serves both ways. The article encodes with 0.18215 and decodes with 0.18125: a slip of 0.5 %;
* the second half of the moments is the **log**-variance, clamped to [-30, 20], not the variance;
* the decoder's self-attention sits near its **start** (its middle block); the encoder's near its end;
* training and image-to-image *sample* the posterior; taking the mean is the deterministic choice;
* the scale is one number, about 1 / std of a batch of latents: it neither centres nor decorrelates;
* 1×1 "quant" convolutions stand on both sides of the latent; the article leaves them out.

Source: Kingma & Welling 2014; Rombach et al. 2022, § 3.1; CompVis `ldm/modules/diffusionmodules/model.py`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.resblock import ResBlock, Upsample
from tinyldm.seeds import Generators, randn


@dataclass(frozen=True)
class VAEConfig:
    """The sizes of a VAE. The defaults are Stable Diffusion 1's."""

    image_channels: int = 3
    latent_channels: int = 4
    channels: tuple[int, ...] = (128, 256, 512, 512)  # feature-map width at each level, full resolution first
    blocks_per_level: int = 2  # ResBlocks per level on the way down; one more on the way up
    groups: int = 32  # of GroupNorm; divides every width
    scale: float = 0.18215  # z0 = scale · E(image), about 1 / std of the raw latents
    force_upcast: bool = False  # XL: overflows in float16, so it then stays in float32

    def __post_init__(self) -> None:
        shapes.require_levels(self.channels, self.blocks_per_level, self.groups)
        shapes.require_positive("scale", self.scale)

    @property
    def factor(self) -> int:
        """By how much each side of a latent is shorter than its image's: 8 for four levels."""
        return int(2 ** (len(self.channels) - 1))


def to_signed(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]: x ↦ 2x - 1, what the encoder expects."""
    return 2 * image - 1


def to_unit(image: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]: y ↦ (y + 1) / 2, clipped, because a decoder can overshoot."""
    return ((image + 1) / 2).clamp(0, 1)


class DiagonalGaussian:
    """The posterior q(z | image): an independent Gaussian for each number of the latent.

    Args:
        moments: (B, 2C, h, w), mean ‖ log-variance, as the encoder gives them.
    Attributes:
        mean, logvar: (B, C, h, w); `logvar` is clamped to [-30, 20], so that exp() can neither
            underflow to a useless 0 nor overflow.
    """

    def __init__(self, moments: Tensor):
        self.mean, logvar = moments.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)

    @property
    def std(self) -> Tensor:
        """(B, C, h, w): σ = exp(½ log σ²). The half matters: without it this would be the variance."""
        return torch.exp(0.5 * self.logvar)

    def reparameterize(self, eps: Tensor) -> Tensor:
        """μ + σ ε: a sample where ε ~ N(0, 1), written so that gradients reach both μ and σ. (B, C, h, w)."""
        return self.mean + self.std * eps

    def sample(self, generator: Generators = None) -> Tensor:
        """A random latent, (B, C, h, w). generator: see `seeds`; each image's ε comes from its own."""
        return self.reparameterize(randn(self.mean.shape, generator, self.mean.device, self.mean.dtype))

    def kl(self) -> Tensor:
        """KL(q(z | image) ‖ N(0, 1)) of each image, summed over its latent: (B,), in nats.

        ½ Σ (μ² + σ² - 1 - log σ²).  Kingma & Welling 2014, appendix B.
        """
        kl = 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar)
        return kl.flatten(1).sum(1)


class PixelAttention(nn.Module):
    """Self-attention over the pixels of a feature map, one head: (B, C, H, W) -> (B, C, H, W).

    The only place where the VAE looks further than its convolutions reach. Unlike the attention of the
    U-Net it has a single head of width C (scale C^-½), and its projections have biases.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        B, C, H, W = x.shape
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, HW, C)
        q, k, v = self.to_q(pixels), self.to_k(pixels), self.to_v(pixels)
        # The head axis of size 1 lets PyTorch choose its fast kernel.
        mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.to_out(mixed).transpose(1, 2).reshape(B, C, H, W)


class AsymmetricDownsample(nn.Module):
    """Halve height and width, padding only right and bottom: (B, C, H, W) -> (B, C, H/2, W/2).

    Every Stable Diffusion VAE was trained with this padding. The ordinary one would shift each result by
    one pixel of its input, which over three downsamples adds up to 7 pixels of the image.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Middle(nn.Module):
    """ResBlock, self-attention, ResBlock at the lowest resolution: the same in encoder and decoder."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.resblock1 = ResBlock(channels, channels, groups=groups, eps=1e-6)
        self.attention = PixelAttention(channels, groups)
        self.resblock2 = ResBlock(channels, channels, groups=groups, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        return self.resblock2(self.attention(self.resblock1(x)))


class Level(nn.Module):
    """ResBlocks of one resolution, then the layer that leaves it (nothing at the last level)."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, groups: int, resample: nn.Module):
        super().__init__()
        widths = [in_channels] + [out_channels] * (blocks - 1)
        self.resblocks = nn.ModuleList(ResBlock(w, out_channels, groups=groups, eps=1e-6) for w in widths)
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, H, W) -> (B, C_out, …), of half or twice the size unless the level is the last."""
        for resblock in self.resblocks:
            x = resblock(x)
        return self.resample(x)


class Encoder(nn.Module):
    """image (B, 3, H, W) in [-1, 1] -> moments before the quant convolution (B, 8, H/8, W/8)."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        widths, groups = config.channels, config.groups
        self.conv_in = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            last = i == len(widths) - 1
            resample = nn.Identity() if last else AsymmetricDownsample(width)
            self.down.append(Level(widths[max(i - 1, 0)], width, config.blocks_per_level, groups, resample))
        self.middle = Middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1] -> moments (B, 2C, h, w)."""
        x = self.conv_in(image)  # (B, 3, H, W) -> (B, C, H, W)
        for level in self.down:
            x = level(x)  # -> half the size, at all levels but the last
        x = self.middle(x)  # self-attention near the end
        return self.conv_out(F.silu(self.norm_out(x)))  # -> (B, 8, H/8, W/8)


class Decoder(nn.Module):
    """latent (B, 4, h, w), unscaled -> image (B, 3, 8h, 8w), about [-1, 1] and not clipped."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        widths, groups = config.channels[::-1], config.groups  # lowest resolution first
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.middle = Middle(widths[0], groups)
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            last = i == len(widths) - 1
            resample = nn.Identity() if last else Upsample(width)
            self.up.append(Level(widths[max(i - 1, 0)], width, config.blocks_per_level + 1, groups, resample))
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], config.image_channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """latent (B, C, h, w) -> image (B, 3, H, W), about [-1, 1]."""
        x = self.middle(self.conv_in(latent))  # self-attention near the start
        for level in self.up:
            x = level(x)  # -> twice the size, at all levels but the last
        return self.conv_out(F.silu(self.norm_out(x)))


class VAE(nn.Module):
    """Encoder, decoder, and the one number between them.

    The scale lives here and nowhere else, so every latent outside this class has about unit variance,
    which is what the noise of forward diffusion is measured against.
    """

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        # "quant" is a name left over from a sibling of this model with a quantised latent.
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        # Each pixel's channels are adjacent in memory: the same numbers, faster convolutions.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's types lack this one

    def posterior(self, image: Tensor) -> DiagonalGaussian:
        """The distribution of **unscaled** latents of an image.

        Args:
            image: (B, 3, H, W) in [-1, 1], in the dtype and on the device of the weights; H and W
                multiples of `config.factor`.
        Raises:
            ValueError: another shape, dtype or device.
        """
        weight = self.quant_conv.weight
        shapes.require_feature_map(image, "image", self.config.image_channels, self.config.factor, weight, "VAE")
        return DiagonalGaussian(self.quant_conv(self.encoder(image)))

    def encode(self, image: Tensor, generator: Generators = None) -> Tensor:
        """image (B, 3, H, W) in [-1, 1] -> z0 (B, 4, H/8, W/8), scaled to about unit variance.

        With `to_signed` before it, this is the article's 0.18215 × E(2x - 1).
        With a `generator` the posterior is sampled, as in training; without one z0 is its mean.
        """
        posterior = self.posterior(image)
        latent = posterior.mean if generator is None else posterior.sample(generator)
        return self.config.scale * latent

    def decode(self, z0: Tensor) -> Tensor:
        """z0 (B, 4, h, w), scaled -> image (B, 3, 8h, 8w), about [-1, 1].

        A small overshoot is not clipped here, because a clipped pixel has no gradient; `to_unit` clips.
        """
        shapes.require_feature_map(z0, "z0", self.config.latent_channels, 1, self.quant_conv.weight, "VAE")
        return self.decoder(self.post_quant_conv(z0 / self.config.scale))
