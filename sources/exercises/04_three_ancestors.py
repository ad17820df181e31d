# %% [markdown]
# # Exercises 04: three ancestors
#
# Three papers, three ways to say the same thing. 2015 (Sohl-Dickstein et al.): undo each noising step; the loss is a
# sum of KL terms. 2019 (Song & Ermon): learn the slope of $\log p$ and walk uphill with noise. 2020 (Ho et al.):
# predict the noise. You write a piece of each, and the two lines that show they are one.

# %%
import torch

# %% [markdown] exercise="kl_between"
# 2015's loss compares the true step back $q$ with the learned one $p$, both Gaussian. Write
# $\mathrm{KL}(q \,\|\, p)$, in nats, for each number:
#
# $$\log\frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2 \sigma_p^2} - \frac12$$

# %% solution="kl_between"

# %% [markdown] exercise="geometric_levels"
# 2019 noises the data at $L$ standard deviations, from a large $\sigma_1$ to a small $\sigma_L$. Each is the same
# fraction of the one before.

# %% solution="geometric_levels"

# %% [markdown] exercise="mixture_score"
# $K$ points, noised with $\sigma$, have the density $p(x) = \frac1K \sum_k \mathcal N(x;\, m_k, \sigma^2)$. Its
# *score* is $\nabla_x \log p(x)$: which way does the density rise? Work it out:
#
# $$\nabla_x \log p(x) = \sum_k w_k(x)\, \frac{m_k - x}{\sigma^2}$$
#
# What are the weights $w_k$? They are above 0 and add up to 1.

# %% solution="mixture_score"

# %% [markdown] exercise="denoising_score_matching"
# With real data nobody knows $p$. But noise a point, $\tilde x = x + \sigma \epsilon$, and the slope of
# $\log \mathcal N(\tilde x;\, x, \sigma^2)$ is known; a network that guesses *that* learns the score of all noised data
# (Vincent 2011). Its loss at each point, with the weight $\sigma^2$ (Song & Ermon 2019, eq. 5 and 6):
#
# $$\tfrac12\, \sigma^2\, \Big\lVert s(\tilde x, \sigma) + \frac{\tilde x - x}{\sigma^2} \Big\rVert^2$$

# %% solution="denoising_score_matching"

# %% [markdown] exercise="langevin_step"
# With a score you sample points by walking (Song & Ermon 2019, eq. 4):
#
# $$x \leftarrow x + \frac{\text{step}}{2}\, \nabla \log p(x) + \sqrt{\text{step}}\; \epsilon,
#   \qquad \epsilon \sim \mathcal N(0, 1)$$
#
# Draw $\epsilon$ from the given generator.

# %% solution="langevin_step"

# %% [markdown] exercise="alpha_bar_from_sigma"
# 2019 noises with $x + \sigma\epsilon$, 2020 with $\sqrt{\bar\alpha}\, x + \sqrt{1-\bar\alpha}\, \epsilon$. Up
# to a factor these are the same picture. Which $\bar\alpha$ belongs to $\sigma$?

# %% solution="alpha_bar_from_sigma"

# %% [markdown]
# **Done?** Then you know that the three are one. Next: lesson 05, which makes pictures small.
