"""MM-DiT, 2024: pixels and words in one attention. The denoiser of Stable Diffusion 3.

    z_t ─patchify, linear─► + positions ─► pixels (B, N, D) ──┐                    ┌─► pixels' MLP ─►
                                                              ├─► one attention ───┤                    × depth
    context (B, L, D_c) ──linear──► words (B, L, D) ──────────┘                    └─► words' MLP ──►
    t, pooled caption ──► c (B, D) ──► shift, scale, gate of both kinds in each block

What changed against cross-attention: the words are no longer fixed. They have weights of their own, read the pixels,
and are rewritten block by block; "red" can ask where the circle is. Apart from attention the two kinds never meet.
The arguments are those of Stable Diffusion XL's U-Net (z_t, t, context, added), so `guided` serves it unchanged.

Source: Esser et al. 2024, arXiv 2403.03206, § 4 and figure 2; diffusers' SD3Transformer2DModel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.beyond.dit import SINUSOIDS, Final, Reader, Stream, patchify, sincos_positions, unpatchify
from tinyldm.resblock import TimeMLP, timestep_embedding


@dataclass(frozen=True)
class MMDiTConfig:
    """The sizes of an MM-DiT. The defaults are Stable Diffusion 3 medium's."""

    channels: int = 16  # of the latent
    patch: int = 2  # p
    width: int = 1536  # D; 64 for each block of depth
    depth: int = 24
    heads: int = 24
    context_dim: int = 4096  # D_c, T5's width
    added_dim: int = 2048  # of the pooled captions
    grid: int = 192  # rows and columns of the table of positions, in patches: the largest picture
    trained_grid: int = 64  # rows and columns of the pictures that it was trained on
    normalize_qk: bool = False  # Stable Diffusion 3.5: RMSNorm on q and k


SD3_MEDIUM = MMDiTConfig()
SD35_LARGE = MMDiTConfig(width=2432, depth=38, heads=38, normalize_qk=True)
TINY_MM_DIT = MMDiTConfig(
    channels=4, width=128, depth=5, heads=4, context_dim=128, added_dim=128, grid=8, trained_grid=4
)
"""For tiny's latents, (4, 8, 8), and its contexts: of as many parameters as its U-Net, 2.9 million."""


class JointBlock(nn.Module):
    """Two streams, one attention.  Esser et al. 2024, figure 2b.

    Args: last: nobody reads the words after the last block, so there they only give keys and values.
    """

    def __init__(self, config: MMDiTConfig, last: bool):
        super().__init__()
        self.pixels = Stream(config.width, config.heads, config.normalize_qk)
        words = Reader if last else Stream
        self.words = words(config.width, config.heads, normalize_qk=config.normalize_qk)

    def forward(self, pixels: Tensor, words: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (B, N, D), words (B, L, D), c (B, D) -> pixels, words."""
        shift, scale, *rest = self.pixels.modulations(c)
        words_shift, words_scale, *words_rest = self.words.modulations(c)
        kinds = zip(self.pixels.qkv(pixels, shift, scale), self.words.qkv(words, words_shift, words_scale))
        q, k, v = (torch.cat(both, dim=2) for both in kinds)  # (B, heads, N + L, d)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # -> (B, N + L, D)
        N = pixels.shape[1]
        pixels = self.pixels.add(pixels, mixed[:, :N], *rest)
        if isinstance(self.words, Stream):
            words = self.words.add(words, mixed[:, N:], *words_rest)
        return pixels, words


class MMDiT(nn.Module):
    """The denoiser of Stable Diffusion 3: predicts the flow u = ε - z0."""

    positions: Tensor

    def __init__(self, config: MMDiTConfig):
        super().__init__()
        self.config, width = config, config.width
        self.patch_in = nn.Linear(config.patch**2 * config.channels, width)
        self.context_in = nn.Linear(config.context_dim, width)
        self.time_mlp, self.added_mlp = TimeMLP(SINUSOIDS, width), TimeMLP(config.added_dim, width)
        self.blocks = nn.ModuleList(JointBlock(config, i == config.depth - 1) for i in range(config.depth))
        self.final = Final(width, config.patch**2 * config.channels)
        # In the unit of the pictures of training: a larger table is a finer grid over the same square.
        place = torch.arange(config.grid) * (config.trained_grid / config.grid)
        self.register_buffer("positions", sincos_positions(place, place, width)[None])  # (1, grid², D)

    def forward(self, z_t: Tensor, t: Tensor, context: Tensor, added: Tensor) -> Tensor:
        """Predict the flow.

        Args:
            z_t: (B, channels, h, w), sides in whole patches, at most `grid` of them.
            t: (B,) = 1000 τ; context: (B, L, context_dim); added: (B, added_dim), the pooled captions.
        Returns: (B, channels, h, w).
        """
        config, (h, w) = self.config, z_t.shape[2:]
        shapes.require_conditions(z_t, t, context, added, (config.context_dim, config.added_dim), self.patch_in.weight)
        pixels = self.patch_in(patchify(z_t, config.patch)) + self.positions_of(h // config.patch, w // config.patch)
        words = self.context_in(context)
        c = self.time_mlp(timestep_embedding(t, SINUSOIDS).to(z_t.dtype)) + self.added_mlp(added)
        for block in self.blocks:
            pixels, words = block(pixels, words, c)
        return unpatchify(self.final(pixels, c), config.patch, h, w)

    def positions_of(self, rows: int, columns: int) -> Tensor:
        """The middle of the table: (1, rows · columns, D)."""
        grid = self.config.grid
        if max(rows, columns) > grid:
            raise ValueError(f"{rows}×{columns} patches; expected at most {grid}×{grid}, the size of the table")
        top, left = (grid - rows) // 2, (grid - columns) // 2
        table = self.positions.view(1, grid, grid, -1)[:, top : top + rows, left : left + columns]
        return table.flatten(1, 2)
