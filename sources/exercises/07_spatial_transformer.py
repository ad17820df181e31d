# %% [markdown]
# # Exercises 07: the SpatialTransformer
#
# Where pixels read words. You write attention by hand, slice it into heads, let pixels ask and words answer, build the
# gated feed-forward layer, and fit all that into a feature map.
#
# Symbols: $N = H \cdot W$ pixels, $L$ context vectors, $C$ the width of a pixel, $D$ that of the context,
# $d = C / \text{heads}$.

# %%
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm.spatial_transformer import TransformerBlock

# %% [markdown] exercise="attention"
# Each of $N$ queries looks at $L$ keys and takes a mean of their values, weighted by how well they match (Vaswani et
# al. 2017, eq. 1):
#
# $$\operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v$$
#
# Write it with plain tensor operations.

# %% solution="attention"
def attention(q, k, v):
    """softmax(q kᵀ / √d) v.  q: (B, N, d); k, v: (B, L, d).  Returns (B, N, d)."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, N, L)
    return scores.softmax(dim=-1) @ v
    ### END SOLUTION

# %% [markdown] exercise="multi_head_attention"
# Cut every $q$, $k$ and $v$ into `heads` blocks of $d = C / \text{heads}$ neighbouring numbers, attend within each
# block, and put the results side by side again. (`F.scaled_dot_product_attention` is what you have just written, for
# any number of dimensions in front; you may use it from here on.)

# %% solution="multi_head_attention"
def multi_head_attention(q, k, v, heads):
    """Attention in each of `heads` blocks of C / heads numbers.

    q: (B, N, C); k, v: (B, L, C); heads: divides C.  Returns (B, N, C).
    """
    ### BEGIN SOLUTION
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))  # -> (B, heads, N or L, d)
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).flatten(2)  # -> (B, N, C)
    ### END SOLUTION

# %% [markdown] exercise="CrossAttention"
# Now with learned projections: the pixels `x` ask, the context answers. Without a context (`None`) the pixels answer
# themselves. Several heads, then `to_out`.

# %% solution="CrossAttention"
class CrossAttention(nn.Module):
    """Each pixel reads the context."""

    def __init__(self, query_dim, context_dim, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(query_dim, query_dim, bias=False)
        self.to_k = nn.Linear(context_dim, query_dim, bias=False)
        self.to_v = nn.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.Linear(query_dim, query_dim)

    def forward(self, x, context):
        """x: (B, N, C); context: (B, L, D), or None for self-attention.  Returns (B, N, C)."""
        ### BEGIN SOLUTION
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(mixed.transpose(1, 2).flatten(2))
        ### END SOLUTION

# %% [markdown] exercise="geglu"
# The feed-forward part of Stable Diffusion's transformers starts with a gate (Shazeer 2020): one linear layer makes
# $2h$ numbers, the first $h$ are the value, the other $h$ the gate,
#
# $$\text{value} \cdot \operatorname{GELU}(\text{gate})$$
#
# with the exact GELU.

# %% solution="geglu"
def geglu(x, weight, bias):
    """value · GELU(gate), both from one linear layer.  x: (B, N, C); weight: (2h, C); bias: (2h,) -> (B, N, h)."""
    ### BEGIN SOLUTION
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate)
    ### END SOLUTION

# %% [markdown] exercise="SpatialTransformer"
# A feature map is not a sequence, so: normalise, turn it into one vector a pixel, `proj_in`, `block`, `proj_out`, turn
# it back, add the input.
#
# The block is the package's: self-attention, cross-attention, feed-forward, each pre-norm with a sum around it. Call it
# as `self.block(pixels, context)`.

# %% solution="SpatialTransformer"
class SpatialTransformer(nn.Module):
    """A transformer over the pixels of a feature map."""

    def __init__(self, channels, context_dim, heads, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.block = TransformerBlock(channels, context_dim, heads)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x, context):
        """x: (B, C, H, W); context: (B, L, D).  Returns (B, C, H, W)."""
        ### BEGIN SOLUTION
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, HW, C)
        pixels = self.proj_out(self.block(self.proj_in(pixels), context))
        return x + pixels.transpose(1, 2).reshape(x.shape)  # (B, HW, C) -> (B, C, H, W)
        ### END SOLUTION

# %% [markdown] exercise="attention_weights"
# No code here. Stable Diffusion 1 makes 512×512 pictures; its first SpatialTransformer works on a feature map of the
# latent, (320, 64, 64), with 8 heads. How many attention weights (the numbers after softmax) does its
# *self*-attention have, for one image?
#
# Guess the power of ten first. Then work it out: within 4 % is near enough. Then say in a sentence or two: why is
# there no attention on the pixels themselves, and why is cross-attention so much cheaper? The check shows a model
# answer.

# %% solution="attention_weights"
### BEGIN SOLUTION
attention_weights = 8 * 64**4  # heads · N², and N = 64 · 64
### END SOLUTION

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **All right?** Then pixels can read words. Next: lesson 08, where blocks become a U-Net.
