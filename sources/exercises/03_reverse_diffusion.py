# %% [markdown]
# # Exercises 03: reverse diffusion
#
# The way back. First, three names for one prediction: the noise, the velocity, the clean latent; and a fourth, the
# score. Then the posterior, which says how to go one step back when $z_0$ is known; then the loss that makes a network
# guess it.
#
# In the first four exercises `alpha_bar` has one number for each image, already shaped `(B, 1, …, 1)`.

# %%
import torch

# %% [markdown] exercise="z0_from_eps"
# A network has looked at $z_t = \sqrt{\bar\alpha}\, z_0 + \sqrt{1-\bar\alpha}\, \epsilon$ and predicts
# $\epsilon$. Which clean latent $z_0$ does that mean?

# %% solution="z0_from_eps"

# %% [markdown] exercise="velocity"
# With $\sqrt{\bar\alpha} = \cos\varphi$ and $\sqrt{1-\bar\alpha} = \sin\varphi$, the noised latent
# $z_t = \cos\varphi\, z_0 + \sin\varphi\, \epsilon$ walks along a circle from the image to the noise. The velocity
# is
#
# $$v = \frac{d z_t}{d\varphi}$$
#
# (Salimans & Ho 2022, appendix D). Write it in terms of $z_0$, $\epsilon$ and $\bar\alpha$.

# %% solution="velocity"

# %% [markdown] exercise="eps_from_velocity"
# This network predicts the velocity instead. A sampler wants the noise: work it out from $v$ and $z_t$. ($z_0$ is not
# known.)

# %% solution="eps_from_velocity"

# %% [markdown] exercise="score_from_eps"
# The *score* is the direction in which the noised density rises fastest (Song & Ermon 2019):
#
# $$s(z_t) = \nabla_{z_t} \log q(z_t \mid z_0)$$
#
# where $q(z_t \mid z_0)$ is the normal distribution with mean $\sqrt{\bar\alpha}\, z_0$ and variance $1-\bar\alpha$.
# Write it in terms of $\epsilon$ instead of $z_t$ and $z_0$.

# %% solution="score_from_eps"

# %% [markdown] exercise="posterior_mean"
# If $z_0$ were known, one step back would be a draw from a normal distribution, $q(z_{t-1} \mid z_t, z_0)$, with the
# mean
#
# $$\frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1-\bar\alpha_t}\, z_0
#   + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\, z_t, \qquad \alpha_t = 1-\beta_t$$
#
# (Ho et al. 2020, eq. 7). Only $\bar\alpha$ is given; before the first step, $\bar\alpha_{-1} = 1$.

# %% solution="posterior_mean"

# %% [markdown] exercise="posterior_variance"
# And its variance:
#
# $$\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\, \beta_t$$

# %% solution="posterior_variance"

# %% [markdown] exercise="diffusion_loss"
# $z_0$ is not known when sampling, so a network learns to guess the noise. Its loss (Ho et al. 2020, eq. 14):
#
# $$L = \operatorname{mean}\Big(\big(\text{model}(z_t, t) - \epsilon\big)^2\Big)$$
#
# Square each difference, then take the mean over all numbers of the batch. Noise with `alpha_bar` as in `q_sample` of
# exercises 02, for items of any number of dimensions.

# %% solution="diffusion_loss"

# %% [markdown]
# **Done?** Then you have written everything that training needs except the network. Next: lesson 04.
