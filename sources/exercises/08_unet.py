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
# block on the way down. After the middle, each block on the way up pops one map and reads it together with its own
# input, concatenated along the channels: first $x$, then the skip.

# %% solution="skip_stack"

# %% [markdown] exercise="skip_channels"
# A real U-Net has levels. Level $i$ works with `channels[i]` channels, level 0 at full resolution. How many channels
# do the maps on the stack have, in the order in which they are pushed?
#
# - `conv_in` gives `channels[0]` channels, and its output is pushed.
# - A level has `blocks_per_level` blocks; each output is pushed. The first block changes the width to the level's.
# - Every level but the last then halves height and width; that map is pushed too.

# %% solution="skip_channels"

# %% [markdown] exercise="up_in_channels"
# On the way up a level has `blocks_per_level + 1` blocks: one for each skip. Each reads $x$ and a skip side by side.
# How many channels does each block read, from the lowest level up?
#
# The middle keeps the lowest level's width. A block gives its level's width, and upsampling does not change it.

# %% solution="up_in_channels"

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

# %% [markdown] exercise="resblock_parameters"
# How many parameters does a ResBlock have? Count: `norm1` and `norm2` (GroupNorm), `conv1` and `conv2` (3×3),
# `time_proj` (a linear layer from `t_emb_dim`), and the shortcut: a 1×1 convolution if the widths differ, nothing if
# they are equal. All layers have biases.

# %% solution="resblock_parameters"

# %% [markdown] exercise="up_to_down"
# No code here. A U looks the same on both sides. In Stable Diffusion 1's U-Net, how many times as many parameters
# does the way up have as the way down? (A level's upsample or downsample counts; the middle belongs
# to neither side.)
#
# Guess first: 1, less, more? The exercises above give you all you need for a good estimate: within a tenth of the
# true number is near enough. Say in two sentences what makes the difference. The check shows a model answer.

# %% solution="up_to_down"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** Then you have a U-Net. Next: lesson 09, where its context comes from.
