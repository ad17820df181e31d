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

# %% [markdown] exercise="multi_head_attention"
# Cut every $q$, $k$ and $v$ into `heads` blocks of $d = C / \text{heads}$ neighbouring numbers, attend within each
# block, and put the results side by side again. (`F.scaled_dot_product_attention` is what you have just written, for
# any number of dimensions in front; you may use it from here on.)

# %% solution="multi_head_attention"

# %% [markdown] exercise="CrossAttention"
# Now with learned projections: the pixels `x` ask, the context answers. Without a context (`None`) the pixels answer
# themselves. Several heads, then `to_out`.

# %% solution="CrossAttention"

# %% [markdown] exercise="geglu"
# The feed-forward part of Stable Diffusion's transformers starts with a gate (Shazeer 2020): one linear layer makes
# $2h$ numbers, the first $h$ are the value, the other $h$ the gate,
#
# $$\text{value} \cdot \operatorname{GELU}(\text{gate})$$
#
# with the exact GELU.

# %% solution="geglu"

# %% [markdown] exercise="SpatialTransformer"
# A feature map is not a sequence, so: normalise, turn it into one vector per pixel, `proj_in`, `block`, `proj_out`,
# turn it back, add the input.
#
# The block is the package's: self-attention, cross-attention, feed-forward, each pre-norm with a residual around it.
# Call it as `self.block(pixels, context)`.

# %% solution="SpatialTransformer"

# %% [markdown] exercise="attention_weights"
# No code here. Stable Diffusion 1 makes 512×512 pictures; its first SpatialTransformer works on a feature map of the
# latent, (320, 64, 64), with 8 heads. How many attention weights (the numbers after softmax) does its
# *self*-attention have, for one image?
#
# Guess the power of ten first. Then work it out: within 4 % is near enough. Then say in a sentence or two: why is
# there no attention on the pixels themselves, and why is cross-attention so much cheaper? The check shows a model
# answer.

# %% solution="attention_weights"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** Then pixels can read words. Next: lesson 08, where blocks become a U-Net.
