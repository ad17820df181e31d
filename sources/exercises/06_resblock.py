# %% [markdown]
# # Exercises 06: the ResBlock
#
# How does a network know how noisy its input is? You write a timestep as waves, normalise groups of channels by hand,
# assemble a ResBlock that the time scales and shifts, and count how far it sees. The first three ask for a variation of
# what the lesson builds.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown] exercise="timestep_embedding"
# A network cannot read $t = 500$ well as a single number. So it is written as waves (Vaswani et al. 2017, § 3.5; here
# with all cosines first):
#
# $$[\cos(t f_0), \dots, \cos(t f_{n-1}), \sin(t f_0), \dots, \sin(t f_{n-1})], \qquad f_i = \text{base}^{-i/n}, \quad
#   n = \lfloor \text{dim} / 2 \rfloor$$
#
# Two things are more general than in the lesson, as in Stable Diffusion's original code. How far the frequencies fall
# is an argument, `base` (the lesson's is 10,000). And `dim` may be odd: then one column is left over, and it is 0, at
# the end. $t$ may be a whole number or a fraction.

# %% solution="timestep_embedding"

# %% [markdown] exercise="group_norm"
# GroupNorm splits the $C$ channels into `groups` groups of neighbours. In each group of each image, with mean and
# variance over channels *and* positions,
#
# $$\hat x = \gamma_c \, \frac{x - \mathrm{mean}}{\sqrt{\mathrm{var} + \varepsilon}} + \delta_c$$
#
# (Wu & He 2018). $\gamma$ is `weight` and $\delta$ is `bias`, a number for each channel; $\varepsilon$ is `eps`. The
# variance is the mean of the squared differences, divided by $n$. Unlike in the lesson, the image comes as a *sequence*
# of $N$ positions with the channels last, `(B, N, C)`, as the attention of lesson 07 wants it. Write it without
# `nn.GroupNorm` or `F.group_norm`.

# %% solution="group_norm"

# %% [markdown] exercise="ResBlock"
# The lesson's block *adds* the time before norm2. Here it *scales and shifts* what norm2 has normalised (Nichol &
# Dhariwal 2021): `time_proj` has two numbers for each channel, first all scales, then all shifts.
#
# ```
#                        t_emb ─► SiLU ─► time_proj ─► scale, shift
#                                                           ▼
# x ─► norm1 ─► SiLU ─► conv1 ─► norm2 ─► · (1 + scale) + shift ─► SiLU ─► conv2 ─► + ─► out
# └──────────────────────────────────── shortcut ──────────────────────────────────┘
# ```
#
# The layers are there; you write `forward`.

# %% solution="ResBlock"

# %% [markdown] exercise="receptive_field"
# A stack of convolutions; each is given as (kernel, stride). How many pixels of the input, in a row, can one pixel of
# the last output see, from the first to the last of them? One layer of kernel 3 sees 3; two of them, 5. Kernels may be
# even. Padding plays no role.

# %% solution="receptive_field"

# %% [markdown]
# **Done?** `tinyldm progress` in a terminal shows how far you are. Next: lesson 07, where pixels read words.
