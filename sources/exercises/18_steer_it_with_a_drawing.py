# %% [markdown]
# # Exercises 18: steer it with a drawing
#
# A ControlNet is a copy of the U-Net's encoder with zeros at its outputs. You compute why zeros learn, find out where
# they stand, add what they give to the skips, and make the drawings that it is trained on.

# %%
import torch

# %% [markdown] exercise="zero_conv_gradient"
# A 1×1 convolution without bias is the same matrix at each pixel: $y_o = \sum_i w_{oi}\, x_i$. Training needs
# $\partial L / \partial w$. You get $x$ and $\partial L / \partial y$ (`gradient`): write it without autograd, and look
# for $w$ in your formula.

# %% solution="zero_conv_gradient"

# %% [markdown] exercise="zero_conv_widths"
# Each skip of the U-Net has a zero convolution of its own, as wide as the skip. Walk down the U-Net of lesson 08, and
# list the widths in the order of pushing. For two levels (64, 96) with one block each: 64, 64, 64, 96.

# %% solution="zero_conv_widths"

# %% [markdown] exercise="steered_skips"
# Now add them. The scale says how strictly the drawing is followed: 0 is the U-Net alone.

# %% solution="steered_skips"

# %% [markdown] exercise="outline"
# Training pairs need drawings. The small world knows the signed distance $d$ of each pixel to the nearest edge, in
# pixels and negative inside. A line of width $b$ is where $|d| < b/2$: white on black, three equal channels.

# %% solution="outline"

# %% [markdown]
# **Done?** In lesson 18, `outlines` is your fourth exercise, and `steered_unet` adds as your third does. Next: lesson
# 19, straight lines from noise to picture.
