# %% [markdown]
# # Exercises 12: samplers and guidance
#
# The network is trained; now it is used, step by step. You write which timesteps are visited, one step of each of
# four samplers, guidance, and what a negative caption is.
#
# In all of them $\bar\alpha$ (`alpha_bar`) belongs to the latent `z` that you have, and $\bar\alpha'$
# (`next_alpha_bar`, larger) to the one that you return. Both are numbers.

# %%
import math

import torch

# %% [markdown] exercise="leading_timesteps"
# Training used $T$ timesteps; sampling visits only some. Stable Diffusion's choice, "leading": the multiples $0, d,
# 2d, \dots$ of the whole number $d = \lfloor T / \text{steps} \rfloor$, plus 1, in falling order.
#
# Three steps of $T = 10$: $7, 4, 1$.

# %% solution="leading_timesteps"

# %% [markdown] exercise="trailing_timesteps"
# The other choice, "trailing" (Lin et al. 2024): count down from $T$ in steps of $T / \text{steps}$, round to whole
# numbers (a half to the nearest even one, as Python's `round` does), subtract 1:
#
# $$t_i = \operatorname{round}\!\left(T - i\,\frac{T}{\text{steps}}\right) - 1, \qquad i = 0, \dots, \text{steps} - 1$$
#
# Three steps of $T = 10$: $9, 6, 2$.

# %% solution="trailing_timesteps"

# %% [markdown] exercise="ddim_step"
# The network says that $\hat\epsilon$ is the noise in $z$. Then $z = \sqrt{\bar\alpha}\,\hat z_0 +
# \sqrt{1-\bar\alpha}\,\hat\epsilon$ gives $\hat z_0$; mix the same two again, with less noise (Song et al. 2021,
# eq. 12, $\sigma = 0$):
#
# $$z' = \sqrt{\bar\alpha'}\,\hat z_0 + \sqrt{1-\bar\alpha'}\,\hat\epsilon$$

# %% solution="ddim_step"

# %% [markdown] exercise="euler_step"
# Karras et al. 2022 write the way back as a differential equation. It is short in the coordinates
# $x = z / \sqrt{\bar\alpha}$ and $\sigma = \sqrt{(1-\bar\alpha)/\bar\alpha}$, where
#
# $$\frac{dx}{d\sigma} = \hat\epsilon \qquad\Longrightarrow\qquad x' = x + (\sigma' - \sigma)\,\hat\epsilon$$
#
# Change to $x$, take this step, and return to $z'$ at the new level.

# %% solution="euler_step"

# %% [markdown] exercise="ddpm_step"
# DDPM draws $z'$ from the posterior $q(z' \mid z, \hat z_0)$ (Ho et al. 2020, eq. 7). A step may jump over many
# timesteps; together they keep $\alpha = \bar\alpha / \bar\alpha'$:
#
# $$\mu = \frac{\sqrt{\bar\alpha'}\,(1-\alpha)\,\hat z_0 + \sqrt{\alpha}\,(1-\bar\alpha')\,z}{1-\bar\alpha},
# \qquad \text{variance} = \frac{1-\bar\alpha'}{1-\bar\alpha}\,(1-\alpha)$$

# %% solution="ddpm_step"

# %% [markdown] exercise="dpm_solver_pp_step"
# The time of DPM-Solver++ (Lu et al. 2022, algorithm 2) is $\lambda = \log\sqrt{\bar\alpha/(1-\bar\alpha)}$. With
# $h = \lambda' - \lambda$ for this step and $h_\text{prev}$ for the step before, which had the estimate
# $\hat z_0^\text{prev}$ (`previous_z0`):
#
# $$D = \hat z_0 + \frac{h}{2 h_\text{prev}}\big(\hat z_0 - \hat z_0^\text{prev}\big), \qquad
# z' = \sqrt{\frac{1-\bar\alpha'}{1-\bar\alpha}}\; z + \sqrt{\bar\alpha'}\,(1 - e^{-h})\, D$$
#
# $D = \hat z_0$ in the first step, where `previous_z0` is `None`, and in one onto $\bar\alpha' = 1$, where
# $\lambda' = \infty$.

# %% solution="dpm_solver_pp_step"

# %% [markdown] exercise="guided_prediction"
# Classifier-free guidance exaggerates what the caption changes in the prediction (Ho & Salimans 2022, eq. 6; $w$
# counted as in Stable Diffusion):
#
# $$\hat\epsilon = \hat\epsilon_\varnothing + w\,(\hat\epsilon_c - \hat\epsilon_\varnothing)$$
#
# `model(z, t, context)` gives a prediction (B, C, h, w). It needs a context and a timestep for each image of `z`, as
# the U-Net does. Call it twice, or once with a batch of twice the size.

# %% solution="guided_prediction"

# %% [markdown] exercise="contexts_for_guidance"
# A *negative caption* says what the picture should not show. The U-Net does not understand "not"; but guidance walks
# away from one prediction towards another. So let it start somewhere other than at the empty caption.
#
# Write what the U-Net reads in a step with guidance, both halves in one batch: (2B, L, D). First the B contexts to
# walk away from, then those of the captions. `negative` is a list of B strings, or `None`: then the empty caption
# `""` is encoded. Any other number of them is a mistake: raise a `ValueError`.

# %% solution="contexts_for_guidance"

# %% [markdown] exercise="signal_at_the_start"
# **Predict**, before you compute: Stable Diffusion samples with ten "leading" steps. In the first of them the network
# gets pure noise. How much *signal*, as a factor of $z_0$, was in $z_t$ when the network was trained at that $t$?
# ($\sqrt{\beta}$ rises linearly from $\sqrt{0.00085}$ to $\sqrt{0.012}$ over 1000 steps.) Within 0.005 is near
# enough; write down your guess first, then compute.
#
# **Then explain**, in two sentences of your own: what does this do to the pictures? Compare with what the check says.

# %% solution="signal_at_the_start"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** Try your own step in lesson 12. Its loop `walk` calls each as `step(z, z0_hat, eps_hat, now, after)`;
# yours take fewer arguments. So copy your `ddim_step` there under the name `mine`, and give `walk`, in place of
# `ddim_step`, `lambda z, z0_hat, eps_hat, now, after: mine(z, eps_hat, now, after)`. The strip of pictures should not
# change. Next: lesson 13, everything together.
