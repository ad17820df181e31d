# %% [markdown]
# # Exercises 05: the autoencoder
#
# An image becomes a latent an eighth of its size on each side, and comes back. You write both ends (pixels to what
# the encoder expects, and back), the layer that halves the size, a sample from the posterior and its KL, and the
# scale.

# %%
import torch
import torch.nn.functional as F

# %% [markdown] exercise="image_to_signed"
# Picture files hold whole numbers from 0 to 255, colours last. The encoder expects numbers from $-1$ to $1$, colours
# first: 0 becomes $-1$, 255 becomes $1$.

# %% solution="image_to_signed"

# %% [markdown] exercise="signed_to_image"
# And back. A decoder's output can lie a little outside $[-1, 1]$: clip it. Round to the nearest whole number.

# %% solution="signed_to_image"

# %% [markdown] exercise="asymmetric_downsample"
# The encoder halves height and width with a 3×3 convolution of stride 2. Stable Diffusion's VAE pads zeros on two
# sides only: one column on the **right** and one row at the **bottom**.

# %% solution="asymmetric_downsample"

# %% [markdown] exercise="posterior_sample"
# The encoder does not give a latent but a distribution: for each number of the latent a mean $\mu$ and a
# *log-variance* $\log \sigma^2$, side by side as channels. Clamp the log-variance (and only that) to $[-30, 20]$, and
# sample
#
# $$z = \mu + \sigma\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1)$$
#
# with $\epsilon$ from the given generator. Gradients must reach both halves.

# %% solution="posterior_sample"

# %% [markdown] exercise="kl"
# In training, the posterior is pulled a little towards a standard normal distribution. How far away it is (Kingma &
# Welling 2014, appendix B):
#
# $$\mathrm{KL} = \tfrac12 \sum \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right)$$
#
# with the sum over all numbers of one image's latent.

# %% solution="kl"

# %% [markdown] exercise="scale_factor"
# The noise schedule is made for latents of variance 1, and the encoder's are not. Given a batch of raw latents, by
# which *one* number must they be multiplied to have standard deviation 1? (Whether the sum of squares is divided by $n$
# or by $n - 1$ does not matter here.)

# %% solution="scale_factor"

# %% [markdown] exercise="slip_in_percent"
# No code here. Suppose that latents are encoded with the scale 0.18215 and decoded with 0.18125, two digits swapped
# (it has happened in print). By how many percent is the decoder's input too large (or, with a minus, too small)? One
# digit after the point is enough.
#
# Guess first whether you would see it. Then work it out, and say in a sentence: which slip with the scale *would* you
# see at once? The check shows a model answer.

# %% solution="slip_in_percent"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** Then you can move between pixels and latents. Next: lesson 06, the block that all the networks are made
# of.
