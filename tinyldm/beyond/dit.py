"""DiT, 2022: the denoiser as a plain transformer over patches of the latent. No convolutions, no levels, no skips.

    z_t (B,C,h,w) ─patchify─► (B, N, p·p·C) ─linear─► + positions ─► block × depth ─► final ─unpatchify─► (B,C,h,w)
    t, class ──► c (B, D) ──► in each block: shift, scale, gate, twice     adaLN-zero

What changed against the U-Net: every token sees every other one in every block, at one resolution; what a convolution
knows for nothing (neighbours matter, a shift of the picture shifts the answer) has to be learnt; and time and class do
not enter by addition or cross-attention, but set the scale of every LayerNorm. Why the field moved: it has one shape of
block to make wider and deeper, and quality grew smoothly with compute (Peebles & Xie, figure 8).

The class is one vector. `mm_dit.py` lets pixels and words read each other.

Source: Peebles & Xie 2023, arXiv 2212.09748, § 3.2; facebookresearch/DiT `models.py`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.resblock import TimeMLP, timestep_embedding

SINUSOIDS = 256  # of the time embedding, before its MLP

# ── Pictures as sequences ────────────────────────────────────────────────────────────────────────────


def patchify(z: Tensor, patch: int) -> Tensor:
    """Cut a latent into patches, row by row: (B, C, h, w) -> (B, h/p · w/p, p·p·C). Within one: row, column, channel.

    Raises: ValueError where a side is no multiple of the patch.
    """
    B, C, h, w = z.shape
    if h % patch or w % patch:
        raise ValueError(f"a latent of {h}×{w} does not divide into patches of {patch}×{patch}")
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    return z.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, patch * patch * C)


def unpatchify(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    """Undo `patchify`: (B, N, p·p·C) -> (B, C, height, width)."""
    B, _, numbers = tokens.shape
    z = tokens.reshape(B, height // patch, width // patch, patch, patch, numbers // patch**2)
    return z.permute(0, 5, 1, 3, 2, 4).reshape(B, -1, height, width)


def sincos_positions(y: Tensor, x: Tensor, dim: int) -> Tensor:
    """A fixed vector for each place of a grid: [sin | cos] of its column, then of its row, dim / 4 frequencies each.

    f_i = 10000^(-i / n), n = dim / 4.  Attention does not know where a token comes from; here nothing else tells it.
    Args: y (rows,), x (columns,): the coordinates, float; dim: a multiple of 4. Returns: (rows · columns, dim) float32.
    """
    if dim % 4:
        raise ValueError(f"dim is {dim}; expected a multiple of 4: sine and cosine of row and column")
    frequency = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = (torch.outer(place.double(), frequency) for place in (y, x))
    rows, columns = (torch.cat([angle.sin(), angle.cos()], dim=1) for angle in (rows, columns))  # (·, dim / 2)
    grid = [columns.expand(len(y), -1, -1), rows[:, None].expand(-1, len(x), -1)]  # columns first, as in the reference
    return torch.cat(grid, dim=2).flatten(0, 1).float()


# ── The block ────────────────────────────────────────────────────────────────────────────────────────


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x · (1 + scale) + shift, after LayerNorm without weights: x (B, N, D); shift, scale (B, 1, D)."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Reader(nn.Module):
    """What makes queries, keys and values of one kind of token, and the modulation of that kind.

    Args: chunks: how many vectors of width D the modulation makes; normalize_qk: RMSNorm on q and k, each head.
    """

    def __init__(self, width: int, heads: int, chunks: int = 2, normalize_qk: bool = False):
        super().__init__()
        shapes.require_heads(width, heads)
        self.heads, self.chunks = heads, chunks
        self.modulation = nn.Linear(width, chunks * width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        norms = (nn.RMSNorm(width // heads, eps=1e-6) if normalize_qk else nn.Identity() for _ in range(2))
        self.norm_q, self.norm_k = norms
        nn.init.zeros_(self.modulation.weight)  # the "zero" of adaLN-zero
        nn.init.zeros_(self.modulation.bias)

    def modulations(self, c: Tensor) -> tuple[Tensor, ...]:
        """c (B, D) -> `chunks` vectors (B, 1, D): shift, scale, gate; shift, scale, gate."""
        return self.modulation(F.silu(c))[:, None].chunk(self.chunks, dim=2)

    def qkv(self, x: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, N, D) -> three times (B, heads, N, d)."""
        x = modulated(x, shift, scale)
        q, k, v = (to(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        return self.norm_q(q), self.norm_k(k), v


class Stream(Reader):
    """All weights that one kind of token has in a block. Attention itself has none, so kinds can share it."""

    def __init__(self, width: int, heads: int, normalize_qk: bool = False):
        super().__init__(width, heads, 6, normalize_qk)
        self.to_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def add(self, x: Tensor, mixed: Tensor, gate1: Tensor, shift: Tensor, scale: Tensor, gate2: Tensor) -> Tensor:
        """x (B, N, D), what attention found (B, N, D) -> (B, N, D). Gates of 0, at the start, leave x as it is."""
        x = x + gate1 * self.to_out(mixed)
        return x + gate2 * self.mlp(modulated(x, shift, scale))


class DiTBlock(Stream):
    """x + gate · attention, then x + gate · MLP; c sets shift, scale and gate of both.  Peebles & Xie, figure 3."""

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, D), c (B, D) -> (B, N, D)."""
        shift, scale, *rest = self.modulations(c)
        mixed = F.scaled_dot_product_attention(*self.qkv(x, shift, scale))
        return self.add(x, mixed.transpose(1, 2).flatten(2), *rest)


class Final(nn.Module):
    """Tokens -> patches of the prediction, which start as zeros: (B, N, D), (B, D) -> (B, N, p·p·C)."""

    def __init__(self, width: int, numbers: int):
        super().__init__()
        self.modulation, self.linear = nn.Linear(width, 2 * width), nn.Linear(width, numbers)
        for layer in (self.modulation, self.linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.modulation(F.silu(c))[:, None].chunk(2, dim=2)
        return self.linear(modulated(x, shift, scale))


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class DiTConfig:
    """The sizes of a DiT. The defaults are DiT-XL/2's."""

    in_channels: int = 4
    out_channels: int = 8  # the prediction, and in the paper's models a variance beside it
    patch: int = 2  # p
    width: int = 1152  # D
    depth: int = 28
    heads: int = 16


class DiT(nn.Module):
    """A denoiser with the U-Net's interface, (z_t, t, context) -> prediction, where the context is one vector."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config, width = config, config.width
        self.patch_in = nn.Linear(config.patch**2 * config.in_channels, width)
        self.time_mlp = TimeMLP(SINUSOIDS, width)
        self.blocks = nn.ModuleList(DiTBlock(width, config.heads) for _ in range(config.depth))
        self.final = Final(width, config.patch**2 * config.out_channels)

    def forward(self, z_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Predict the noise, the velocity or the flow.

        Args:
            z_t: (B, C, h, w); t: (B,) in 0 … 1000.
            context: (B, 1, D), such as a `ClassEncoder`'s: all that adaLN has room for.
        Returns: (B, out_channels, h, w).
        """
        if context.shape[1:] != (1, self.config.width):
            raise ValueError(
                f"context is {tuple(context.shape)}; expected one vector each: (B, 1, {self.config.width})"
            )
        patch, (h, w) = self.config.patch, z_t.shape[2:]
        y, x = torch.arange(h // patch), torch.arange(w // patch)
        tokens = self.patch_in(patchify(z_t, patch)) + sincos_positions(y, x, self.config.width).to(z_t)
        c = self.time_mlp(timestep_embedding(t, SINUSOIDS).to(z_t.dtype)) + context[:, 0]
        for block in self.blocks:
            tokens = block(tokens, c)
        return unpatchify(self.final(tokens, c), patch, h, w)
