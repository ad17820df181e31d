# %% [markdown]
# # Exercises 02: forward diffusion
#
# A clean latent $z_0$ is drowned in noise, in one jump to any step $t$. You write the noise schedule, what it leaves
# of the signal, the jump, and the single step that the jump replaces.

# %%
import torch

# %% [markdown] exercise="scaled_linear_betas"
# $\beta_t$ is the variance of the noise that step $t$ adds. In Stable Diffusion it is not $\beta$ that rises in
# equal steps, but its square root:
#
# $$\sqrt{\beta_t} \text{ goes linearly from } \sqrt{\text{start}} \text{ to } \sqrt{\text{end}}$$
#
# Return the $T$ numbers $\beta_t$, both ends included.

# %% solution="scaled_linear_betas"

# %% [markdown] exercise="alpha_bar_from_beta"
# Step $s$ keeps the share $1 - \beta_s$ of the signal's variance. All steps up to $t$ together keep
#
# $$\bar\alpha_t = \prod_{s=0}^{t} (1 - \beta_s)$$
#
# (Ho et al. 2020, below eq. 4). Return it for every $t$.

# %% solution="alpha_bar_from_beta"

# %% [markdown] exercise="q_sample"
# All steps up to $t$ in one jump (Ho et al. 2020, eq. 4):
#
# $$z_t = \sqrt{\bar\alpha_t}\, z_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1)$$
#
# Each item of the batch has its own $t$. The items may have any number of dimensions: `(B, 4, 8, 8)` for latents,
# `(B, 2)` for points.

# %% solution="q_sample"

# %% [markdown] exercise="signal_to_noise"
# How noisy is $z_t$? If $z_0$ and $\epsilon$ have variance 1, the *signal-to-noise ratio* is the variance of the
# first term of $z_t$ over the variance of the second. Work it out on paper, then write it down.

# %% solution="signal_to_noise"

# %% [markdown] exercise="noise_one_step"
# The chain that the jump replaces adds a little noise at a time (Ho et al. 2020, eq. 2):
#
# $$z_t = \sqrt{1 - \beta}\, z_{t-1} + \sqrt{\beta}\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1)$$
#
# Draw $\epsilon$ from the given generator, so that the same seed gives the same result. The generator lives on the
# CPU, $z$ perhaps on a GPU: draw on the CPU, then move the noise to where $z$ is, with `.to(z.device)`.

# %% solution="noise_one_step"

# %% [markdown]
# **Done?** `tinyldm progress` in a terminal shows how far you are. Next: lesson 03, the way back.
