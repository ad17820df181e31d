# %% [markdown]
# # Exercises 08: the U-Net
#
# The blocks of lessons 06 and 07, put together. You write the stack that carries fine detail across, work out how wide
# everything is, assemble a small U-Net, and count its parameters by hand.
#
# ```
# z_t ─conv_in─┬─► level 0 ─► level 1 ─► … ─► middle ─► … ─► level 1 ─► level 0 ─► out
#              └──────┴──────────┴────────── skips ─────────────┴──────────┘
# ```

# %%
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm.resblock import Downsample, ResBlock, Upsample

# %% [markdown] exercise="skip_stack"
# The heart of every U-Net, without sizes. `x` comes from the first convolution. Push it; then push the output of each
# block on the way down. After the middle, each block on the way up pops one map and reads it beside its own input,
# along the channels: first $x$, then the skip.

# %% solution="skip_stack"
def skip_stack(x, down, middle, up):
    """Down, middle, up.

    x: (B, C, H, W); down: a list of functions (B, C, H, W) -> (B, C, H, W); middle: one more of these; up: a list, one
    longer than down, of functions (B, 2C, H, W) -> (B, C, H, W), in the order in which they run.  Returns (B, C, H, W).
    Both lists belong to the caller and stay as they are.
    """
    ### BEGIN SOLUTION
    skips = [x]
    for block in down:
        x = block(x)
        skips.append(x)
    x = middle(x)
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))  # (B, C, H, W) -> (B, 2C, H, W)
    return x
    ### END SOLUTION

# %% [markdown] exercise="skip_channels"
# A real U-Net has levels. Level $i$ works with `channels[i]` channels, level 0 at full resolution. How many channels
# have the maps on the stack, in the order of pushing?
#
# - `conv_in` gives `channels[0]` channels, and its output is pushed.
# - A level has `blocks_per_level` blocks; each output is pushed. The first block changes the width to the level's.
# - Every level but the last then halves height and width; that map is pushed too.

# %% solution="skip_channels"
def skip_channels(channels, blocks_per_level):
    """The channels of the maps pushed on the way down.

    channels: a list of ints, one for each level, full resolution first; blocks_per_level: an int.  Returns a list of
    ints.
    """
    ### BEGIN SOLUTION
    widths = [channels[0]]
    for i, width in enumerate(channels):
        widths += [width] * blocks_per_level
        if i < len(channels) - 1:
            widths.append(width)
    return widths
    ### END SOLUTION

# %% [markdown] exercise="up_in_channels"
# On the way up a level has `blocks_per_level + 1` blocks: one for each skip. Each reads $x$ and a skip side by side.
# How many channels does each block read, from the lowest level up?
#
# The middle keeps the lowest level's width. A block gives its level's width, and upsampling does not change it.

# %% solution="up_in_channels"
def up_in_channels(channels, blocks_per_level):
    """The input channels of the blocks on the way up, in the order in which they run.

    channels: a list of ints, one for each level, full resolution first; blocks_per_level: an int.  Returns a list of
    ints.
    """
    ### BEGIN SOLUTION
    skips = [channels[0]]
    for width in channels:
        skips += [width] * (blocks_per_level + 1)
    skips.pop()  # the last level has no downsample
    found, x = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level + 1):
            found.append(x + skips.pop())
            x = width
    return found
    ### END SOLUTION

# %% [markdown] exercise="SmallUNet"
# Now for real, with two levels and one ResBlock each on the way down. Write `forward`:
#
# 1. `conv_in`, `down_block0`, `downsample`, `down_block1`: push the output of each.
# 2. `middle`.
# 3. `up_block1a`, `up_block1b`: each pops a skip. Then `upsample`.
# 4. `up_block0a`, `up_block0b`: each pops a skip.
# 5. `norm_out`, SiLU, `conv_out`.
#
# All blocks take `(x, t_emb)`.

# %% solution="SmallUNet"
class SmallUNet(nn.Module):
    """A U-Net of two levels, without attention."""

    def __init__(self, width, t_emb_dim, groups):
        super().__init__()
        self.conv_in = nn.Conv2d(4, width, 3, padding=1)
        self.down_block0 = ResBlock(width, width, t_emb_dim, groups)
        self.downsample = Downsample(width)
        self.down_block1 = ResBlock(width, 2 * width, t_emb_dim, groups)
        self.middle = ResBlock(2 * width, 2 * width, t_emb_dim, groups)
        self.up_block1a = ResBlock(4 * width, 2 * width, t_emb_dim, groups)
        self.up_block1b = ResBlock(3 * width, 2 * width, t_emb_dim, groups)
        self.upsample = Upsample(2 * width)
        self.up_block0a = ResBlock(3 * width, width, t_emb_dim, groups)
        self.up_block0b = ResBlock(2 * width, width, t_emb_dim, groups)
        self.norm_out = nn.GroupNorm(groups, width)
        self.conv_out = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, z_t, t_emb):
        """z_t: (B, 4, h, w), h and w even; t_emb: (B, D_t).  Returns the prediction, (B, 4, h, w)."""
        ### BEGIN SOLUTION
        skips = [self.conv_in(z_t)]
        skips.append(self.down_block0(skips[-1], t_emb))
        skips.append(self.downsample(skips[-1]))
        skips.append(self.down_block1(skips[-1], t_emb))
        x = self.middle(skips[-1], t_emb)
        x = self.up_block1a(torch.cat([x, skips.pop()], dim=1), t_emb)
        x = self.up_block1b(torch.cat([x, skips.pop()], dim=1), t_emb)
        x = self.upsample(x)
        x = self.up_block0a(torch.cat([x, skips.pop()], dim=1), t_emb)
        x = self.up_block0b(torch.cat([x, skips.pop()], dim=1), t_emb)
        return self.conv_out(F.silu(self.norm_out(x)))
        ### END SOLUTION

# %% [markdown] exercise="resblock_parameters"
# How many parameters has a ResBlock? Count: `norm1` and `norm2` (GroupNorm), `conv1` and `conv2` (3×3), `time_proj` (a
# linear layer from `t_emb_dim`), and the shortcut: a 1×1 convolution if the widths differ, nothing if they are equal.
# All layers have biases.

# %% solution="resblock_parameters"
def resblock_parameters(in_channels, out_channels, t_emb_dim):
    """The number of parameters of ResBlock(in_channels, out_channels, t_emb_dim).  Three ints.  Returns an int."""
    ### BEGIN SOLUTION
    norms = 2 * in_channels + 2 * out_channels
    convolutions = (9 * in_channels + 1) * out_channels + (9 * out_channels + 1) * out_channels
    time_proj = (t_emb_dim + 1) * out_channels
    shortcut = 0 if in_channels == out_channels else (in_channels + 1) * out_channels
    return norms + convolutions + time_proj + shortcut
    ### END SOLUTION

# %% [markdown] exercise="up_to_down"
# No code here. A U looks the same on both sides. How many times as many parameters has the way up of Stable Diffusion
# 1's U-Net as its way down? (Levels only; the middle is neither.)
#
# Guess first: 1, less, more? The exercises above hold all you need for a good estimate: within a tenth of the true
# number is near enough. Say in two sentences what makes the difference. The check shows a model answer.

# %% solution="up_to_down"
### BEGIN SOLUTION
up_to_down = 510_795_840 / 249_612_480
### END SOLUTION

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **All right?** Then you have a U-Net. Next: lesson 09, where its context comes from.
