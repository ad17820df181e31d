"""§ U-Net: the ResBlock with its time embedding, and the layers that halve and double a feature map.

Both large networks are stacks of these blocks: the VAE's without a time embedding, the U-Net's with one.

    t ──timestep_embedding──► sinusoids ──TimeMLP──► t_emb      once for the whole network
                                                       │
                                               SiLU, time_proj  in each block: the article's "one-layered
                                                       ▼        feedforward network"
    x ─► norm1 ─► SiLU ─► conv1 ─────────────────────► + ─► norm2 ─► SiLU ─► conv2 ─► + ─► out
    └─────────────────────────────── shortcut ────────────────────────────────────────┘

Where the article and the reference code differ, the code wins:

* the article adds a second time embedding after the second convolution; the reference adds it **once**,
  between the two convolutions;
* the article does not mention the GroupNorm and SiLU before each convolution, or the residual sum.

Source: Ho et al. 2020 (DDPM, appendix B); CompVis `ldm/modules/diffusionmodules/openaimodel.py`, `ResBlock`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Embed each timestep as `dim / 2` cosines followed by `dim / 2` sines of decreasing frequency.

    embedding(t) = [cos(t f_0), …, cos(t f_{n-1}), sin(t f_0), …, sin(t f_{n-1})],
    f_i = max_period^(-i / n), n = dim / 2.  Vaswani et al. 2017, § 3.5, but with all cosines first and then all sines.

    Args:
        t: (B,) timesteps, int64 or float; fractional values are allowed.
        dim: length of the embedding, even.
        max_period: the slowest wave's period is about 2π times this many timesteps.
    Returns:
        (B, dim) float32 in [-1, 1].
    Raises:
        ValueError: `t` is not one-dimensional, or `dim` is odd.
    """
    shapes.require_embeddable(t, dim)
    half = dim // 2
    # Always float32: in bfloat16, t = 998 and t = 999 would share an embedding.
    exponent = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angle = t.float()[:, None] * torch.exp(-math.log(max_period) * exponent)  # (B,) -> (B, half)
    # Cosines before sines: the order that every Stable Diffusion checkpoint was trained with.
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class TimeMLP(nn.Module):
    """Turn the sinusoids into `t_emb`, which all ResBlocks share: linear → SiLU → linear.

    There is no activation after the second linear: each ResBlock applies its own SiLU first.

    Shapes: (B, in_dim) -> (B, out_dim).
    """

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.linear1 = nn.Linear(in_dim, out_dim)
        self.linear2 = nn.Linear(out_dim, out_dim)

    def forward(self, sinusoids: Tensor) -> Tensor:
        """Sinusoids of t (B, C0) -> t_emb (B, D_t)."""
        return self.linear2(F.silu(self.linear1(sinusoids)))


class ResBlock(nn.Module):
    """Two convolutions with a time embedding added in between, plus a residual connection from the input.

    Args:
        in_channels, out_channels: of the feature map; if they differ, a 1×1 convolution carries the
            input across the shortcut.
        t_emb_dim: width of `t_emb`, or None for a block without a time embedding (the VAE's).
        groups: number of GroupNorm groups (32 in Stable Diffusion); must divide both channel counts.
        eps: GroupNorm's ε: 1e-5 in the U-Net, 1e-6 in the VAE, the values the released weights were trained with.
        dropout: probability of dropout before the second convolution; 0 in Stable Diffusion.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        t_emb_dim: int | None = None,
        groups: int = 32,
        eps: float = 1e-5,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.t_emb_dim = t_emb_dim
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = None if t_emb_dim is None else nn.Linear(t_emb_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, t_emb: Tensor | None = None) -> Tensor:
        """x (B, C_in, H, W), t_emb (B, D_t) or None -> (B, C_out, H, W)."""
        shapes.require_t_emb(t_emb, self.t_emb_dim)
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C_in, H, W) -> (B, C_out, H, W)
        if self.time_proj is not None and t_emb is not None:
            # One number for each channel, broadcast over all pixels; added here and nowhere else.
            h = h + self.time_proj(F.silu(t_emb))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))  # (B, C_out, H, W)
        return self.shortcut(x) + h


class Downsample(nn.Module):
    """Halve height and width with a 3×3 convolution of stride 2: (B, C, H, W) -> (B, C, H/2, W/2), rounded up.

    The padding is one pixel on every side. (The VAE pads only right and bottom: `vae.AsymmetricDownsample`.)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H/2, W/2), rounded up."""
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width: repeat each pixel 2×2, then smooth with a 3×3 convolution.

    Shapes: (B, C, H, W) -> (B, C, 2H, 2W), or `size` if given: an odd side is rounded up when it is halved, so
    doubling does not restore it.
    A transposed convolution would leave a checkerboard.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C, 2H, 2W), or the height and width in `size`."""
        height, width = (2 * side for side in x.shape[2:]) if size is None else size
        return self.conv(F.interpolate(x, (height, width), mode="nearest"))
