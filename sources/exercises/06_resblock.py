# %% [markdown]
# # Exercises 06: the ResBlock
#
# How does a network know how noisy its input is? You write a timestep as waves, normalise groups of channels by hand,
# put the ResBlock together that every other part is made of, and count how far it sees.
#
# Write each piece, then run the cell below it: it says at once what is right, or which mistake it sees. Hints are
# folded; open them one by one.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown] exercise="timestep_embedding"
# A network reads $t = 500$ badly as one number. So it is written as `dim` waves (Vaswani et al. 2017, § 3.5; here with
# all cosines first):
#
# $$[\cos(t f_0), \dots, \cos(t f_{n-1}), \sin(t f_0), \dots, \sin(t f_{n-1})], \qquad f_i = 10000^{-i/n}, \quad
#   n = \text{dim} / 2$$
#
# $t$ may be a whole number or a fraction.

# %% solution="timestep_embedding"
def timestep_embedding(t, dim):
    """dim/2 cosines, then dim/2 sines, of falling frequency.

    t: (B,) int64 or float; dim: even.  Returns (B, dim) float, in [-1, 1].
    """
    ### BEGIN SOLUTION
    half = dim // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angle = t[:, None] * frequency  # (B,) -> (B, half)
    return torch.cat([angle.cos(), angle.sin()], dim=1)
    ### END SOLUTION

# %% [markdown] exercise="group_norm"
# GroupNorm splits the $C$ channels into `groups` parts of neighbours. In each part of each image, with its mean $\mu$
# and its variance $\sigma^2$ over channels *and* pixels,
#
# $$y = \text{weight}_c \, \frac{x - \mu}{\sqrt{\sigma^2 + \text{eps}}} + \text{bias}_c$$
#
# (Wu & He 2018). $\sigma^2$ is the mean of the squared differences, divided by $n$. Write it without
# `nn.GroupNorm` or `F.group_norm`.

# %% solution="group_norm"
def group_norm(x, groups, weight, bias, eps):
    """Normalise each group of channels of each image; then one factor and one summand a channel.

    x: (B, C, H, W); groups: divides C; weight, bias: (C,); eps: a small number.  Returns (B, C, H, W).
    """
    ### BEGIN SOLUTION
    B, C, H, W = x.shape
    grouped = x.view(B, groups, C // groups, H, W)
    variance, mean = torch.var_mean(grouped, dim=(2, 3, 4), correction=0, keepdim=True)
    grouped = (grouped - mean) / (variance + eps).sqrt()
    return grouped.view(B, C, H, W) * weight.view(C, 1, 1) + bias.view(C, 1, 1)
    ### END SOLUTION

# %% [markdown] exercise="ResBlock"
# ```
#                                 t_emb ─► SiLU ─► time_proj
#                                              ▼
# x ─► norm1 ─► SiLU ─► conv1 ───────────────► + ─► norm2 ─► SiLU ─► conv2 ─► + ─► out
# └─────────────────────────────── shortcut ──────────────────────────────────┘
# ```
#
# The layers are there; you write `forward`. (The article adds the time twice. The reference code, and you, add it
# once.)

# %% solution="ResBlock"
class ResBlock(nn.Module):
    """Two convolutions around a time embedding, added to what came in."""

    def __init__(self, in_channels, out_channels, t_emb_dim, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = nn.Linear(t_emb_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, t_emb):
        """x: (B, C_in, H, W); t_emb: (B, D_t).  Returns (B, C_out, H, W)."""
        ### BEGIN SOLUTION
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C_in, H, W) -> (B, C_out, H, W)
        h = h + self.time_proj(F.silu(t_emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h
        ### END SOLUTION

# %% [markdown] exercise="receptive_field"
# A stack of convolutions; each is given as (kernel, stride). How many pixels of the input, in a row, can one pixel of
# the last output see? One layer of kernel 3 sees 3; two of them, 5. Kernels may be even. Padding plays
# no part.

# %% solution="receptive_field"
def receptive_field(layers):
    """The width, in pixels of the input, that one pixel of the output depends on.

    layers: a list of (kernel, stride), the first layer first; it may be empty.  Returns an int.
    """
    ### BEGIN SOLUTION
    field, jump = 1, 1  # jump: how far apart, in the input, two neighbours of the current layer are
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field
    ### END SOLUTION

# %% [markdown]
# **All right?** `tinyldm progress` in a terminal shows how far you are. Next: lesson 07, where pixels read words.
