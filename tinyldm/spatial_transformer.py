"""§ U-Net: attention, cross-attention and the SpatialTransformer, where pixels read the words.

    x (B,C,H,W) ─► norm ─► flatten ─► proj_in ─► [ + self-attention      each pixel reads all pixels
    │                                              + cross-attention     each pixel reads the context
    │                                              + feed-forward ]      × depth, all pre-norm
    └────────────────────────── + ◄─ un-flatten ◄─ proj_out ◄─┘

Read `SpatialTransformer.forward` first. Symbols: N = H·W pixels, C their width; L context vectors of width D;
d = C / heads.

One query per pixel: a feature map (128, 32, 32) becomes 1024 queries of 128 numbers. The context gives the
keys and the values, through two *different* learned projections. Without a context, cross-attention becomes
self-attention, as the article says; that is possible only where both have the same width, so never in
Stable Diffusion 1 (context 768; pixels 320, 640, 1280).

What "essentially a standard pre-LN Transformer decoder without causal masking" leaves out: GroupNorm and
projections around it, a GEGLU feed-forward, no position embedding (the zero-padded convolutions between
reveal the position), and the outer residual.

Source: Vaswani et al. 2017, eq. 1; Rombach et al. 2022, § 3.3; Shazeer 2020 (GEGLU); CompVis
`ldm/modules/attention.py`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes


class Attention(nn.Module):
    """Multi-head attention: softmax(q kᵀ / √d) v, Vaswani et al. 2017, eq. 1.

    Args:
        query_dim: width of `x`, which makes the queries.
        context_dim: width of the context, which makes the keys and the values.
        heads: number of heads; must divide `query_dim`, d = query_dim / heads.
    """

    def __init__(self, query_dim: int, context_dim: int, heads: int):
        super().__init__()
        shapes.require_heads(query_dim, heads)
        self.heads, self.context_dim = heads, context_dim
        self.upcast = False  # set by the U-Net of Stable Diffusion 2.1 at 768 pixels, whose q·k exceed float16's 65,504
        self.to_q = nn.Linear(query_dim, query_dim, bias=False)
        self.to_k = nn.Linear(context_dim, query_dim, bias=False)
        self.to_v = nn.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.Linear(query_dim, query_dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, N, C), context (B, L, D) or None for self-attention -> (B, N, C)."""
        context = self.context_or_self(x, context)
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)  # (B, N, C), (B, L, C), (B, L, C)
        q, k, v = (self.split_heads(y.float() if self.upcast else y) for y in (q, k, v))  # -> (B, heads, N or L, d)
        mixed = F.scaled_dot_product_attention(q, k, v)  # softmax(q kᵀ / √d) v: (B, heads, N, d)
        mixed = mixed.to(x.dtype) if self.upcast else mixed
        return self.to_out(mixed.transpose(1, 2).flatten(2))  # -> (B, N, C)

    def split_heads(self, x: Tensor) -> Tensor:
        """Give each head its own part of every vector: (B, N, C) -> (B, heads, N, d)."""
        B, N, C = x.shape
        return x.reshape(B, N, self.heads, C // self.heads).transpose(1, 2)

    def context_or_self(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The context, or x itself: with no context, cross-attention defaults to self-attention."""
        context = x if context is None else context
        shapes.require_context_width(context, self.context_dim)
        return context


class FeedForward(nn.Module):
    """GEGLU, then a linear back: (B, N, C) -> (B, N, C), 4 C wide in between.

    GEGLU(x) = value · GELU(gate).  Shazeer 2020.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.to_value_and_gate = nn.Linear(dim, 8 * dim)  # value and gate, each 4 · dim wide
        self.to_out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N, C)."""
        # The value half comes first, and the GELU is the exact one (erf): the checkpoints need both.
        value, gate = self.to_value_and_gate(x).chunk(2, dim=-1)
        return self.to_out(F.gelu(gate).mul_(value))  # in place, as nothing in the network is wider


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward; each normalised first and added to its input."""

    def __init__(self, dim: int, context_dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attention = Attention(dim, dim, heads)
        self.cross_attention = Attention(dim, context_dim, heads)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, N, C), context (B, L, D) -> (B, N, C)."""
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer over the pixels of a feature map.

    Args:
        channels: of the feature map, and the width of each query.
        context_dim: width of the context vectors (768 in Stable Diffusion 1).
        heads: attention heads; groups: GroupNorm groups; depth: number of TransformerBlocks.
    """

    def __init__(self, channels: int, context_dim: int, heads: int, groups: int = 32, depth: int = 1):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)  # 1e-6 here, 1e-5 in the ResBlocks around it
        # Stable Diffusion 1 stores these two as 1×1 convolutions: the same numbers, another shape on disk.
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(TransformerBlock(channels, context_dim, heads) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), context (B, L, D) or None -> (B, C, H, W)."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, HW, C)
        pixels = self.proj_in(pixels)
        for block in self.blocks:
            pixels = block(pixels, context)
        return x + self.proj_out(pixels).transpose(1, 2).reshape(x.shape)  # (B, HW, C) -> (B, C, H, W)
