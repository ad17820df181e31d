# %% [markdown]
# # Exercises 06: the ResBlock
#
# How does a network know how noisy its input is? You write a timestep as waves, normalise groups of channels by hand,
# assemble the ResBlock that every other part is made of, and count how far it sees.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown] exercise="timestep_embedding"
# A network cannot read $t = 500$ well as a single number. So it is written as `dim` waves (Vaswani et al. 2017, §
# 3.5; here with all cosines first):
#
# $$[\cos(t f_0), \dots, \cos(t f_{n-1}), \sin(t f_0), \dots, \sin(t f_{n-1})], \qquad f_i = 10000^{-i/n}, \quad
#   n = \text{dim} / 2$$
#
# $t$ may be a whole number or a fraction.

# %% solution="timestep_embedding"

# %% [markdown] exercise="group_norm"
# GroupNorm splits the $C$ channels into `groups` groups of neighbours. In each group of each image, with mean and
# variance over channels *and* pixels,
#
# $$\hat x = \gamma_c \, \frac{x - \mathrm{mean}}{\sqrt{\mathrm{var} + \varepsilon}} + \delta_c$$
#
# (Wu & He 2018). $\gamma$ is `weight` and $\delta$ is `bias`, a number for each channel; $\varepsilon$ is `eps`. The
# variance is the mean of the squared differences, divided by $n$. Write it without `nn.GroupNorm` or `F.group_norm`.

# %% solution="group_norm"

# %% [markdown] exercise="ResBlock"
# ```
#                                 t_emb ─► SiLU ─► time_proj
#                                              ▼
# x ─► norm1 ─► SiLU ─► conv1 ───────────────► + ─► norm2 ─► SiLU ─► conv2 ─► + ─► out
# └─────────────────────────────── shortcut ──────────────────────────────────┘
# ```
#
# The layers are there; you write `forward`. (The article adds the time twice. The reference code adds it once, and so
# do you.)

# %% solution="ResBlock"

# %% [markdown] exercise="receptive_field"
# A stack of convolutions; each is given as (kernel, stride). How many pixels of the input, in a row, can one pixel of
# the last output see, from the first to the last of them? One layer of kernel 3 sees 3; two of them, 5. Kernels may be
# even. Padding plays no role.

# %% solution="receptive_field"

# %% [markdown]
# **Done?** `tinyldm progress` in a terminal shows how far you are. Next: lesson 07, where pixels read words.
