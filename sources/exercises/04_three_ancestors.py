# %% [markdown]
# # Exercises 04: three ancestors
#
# Three papers, three ways to say it. 2015 (Sohl-Dickstein et al.): undo each noising step; the loss is a sum of KL
# terms. 2019 (Song & Ermon): learn the slope of $\log p$ and walk uphill with noise. 2020 (Ho et al.): predict the
# noise. You write a piece of each, and the two lines that make them one thing.

# %%
import torch

# %% [markdown] exercise="kl_between"
# 2015's loss compares the true step back $q$ with the learned one $p$, both Gaussian. Write
# $\mathrm{KL}(q \,\|\, p)$, in nats, for each number:
#
# $$\log\frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2 \sigma_p^2} - \frac12$$

# %% solution="kl_between"
def kl_between(mean_q, std_q, mean_p, std_p):
    """KL(N(mean_q, std_q²) ‖ N(mean_p, std_p²)), number by number.

    All four are of one shape, which is also the result's.
    """
    ### BEGIN SOLUTION
    distance = std_q**2 + (mean_q - mean_p) ** 2
    return (std_p / std_q).log() + distance / (2 * std_p**2) - 0.5
    ### END SOLUTION

# %% [markdown] exercise="geometric_levels"
# 2019 noises the data with $L$ standard deviations at once, from a large $\sigma_1$ to a small $\sigma_L$. Each is the
# same fraction of the one before.

# %% solution="geometric_levels"
def geometric_levels(sigma_1, sigma_L, L):
    """L noise levels, falling from sigma_1 to sigma_L by a constant ratio, both ends included: (L,).

    sigma_1 > sigma_L > 0; L: an int, at least 2.
    """
    ### BEGIN SOLUTION
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(L) / (L - 1))
    ### END SOLUTION

# %% [markdown] exercise="mixture_score"
# $K$ points, noised with $\sigma$, have the density $p(x) = \frac1K \sum_k \mathcal N(x;\, m_k, \sigma^2)$. Its *score*
# is $\nabla_x \log p(x)$: where is more? Work it out:
#
# $$\nabla_x \log p(x) = \sum_k w_k(x)\, \frac{m_k - x}{\sigma^2}$$
#
# What are the weights $w_k$? They are above 0 and add up to 1.

# %% solution="mixture_score"
def mixture_score(x, means, sigma):
    """∇ log p at x, for p = the mean of the Gaussians N(m_k, σ²).

    x: (B, 2) points, some of them many sigma away from all means; means: (K, 2); sigma: a number above 0.
    Returns (B, 2).
    """
    ### BEGIN SOLUTION
    pull = means - x[:, None]  # (B, K, 2)
    weight = (-pull.square().sum(-1) / (2 * sigma**2)).softmax(dim=1)  # (B, K)
    return (weight[:, :, None] * pull).sum(1) / sigma**2
    ### END SOLUTION

# %% [markdown] exercise="denoising_score_matching"
# With real data nobody knows $p$. But noise a point, $\tilde x = x + \sigma \varepsilon$, and the slope of
# $\log \mathcal N(\tilde x;\, x, \sigma^2)$ is known; a network that guesses *that* learns the score of all noised data
# (Vincent 2011). Its loss at each point, with the weight $\sigma^2$ (Song & Ermon 2019, eq. 5 and 6):
#
# $$\tfrac12\, \sigma^2\, \Big\lVert s(\tilde x, \sigma) + \frac{\tilde x - x}{\sigma^2} \Big\rVert^2$$

# %% solution="denoising_score_matching"
def denoising_score_matching(score, x, sigma, eps):
    """The weighted loss of each point.

    score: (points (B, 2), sigma (B,)) -> (B, 2); x: (B, 2) clean; sigma: (B,); eps: (B, 2) the noise to use.
    Returns (B,).
    """
    ### BEGIN SOLUTION
    s = sigma[:, None]
    noisy = x + s * eps
    target = -eps / s
    return 0.5 * sigma**2 * (score(noisy, sigma) - target).square().sum(dim=1)
    ### END SOLUTION

# %% [markdown] exercise="langevin_step"
# With a score, points are drawn by walking (Song & Ermon 2019, eq. 4):
#
# $$x \leftarrow x + \frac{\text{step}}{2}\, \nabla \log p(x) + \sqrt{\text{step}}\; \varepsilon,
#   \qquad \varepsilon \sim \mathcal N(0, 1)$$
#
# Draw $\varepsilon$ from the generator that is given.

# %% solution="langevin_step"
def langevin_step(x, score, step, generator):
    """One step uphill, with noise.

    x: (B, …); score: a function of x, of the same shape; step: a number above 0; generator: a torch.Generator.
    Returns (B, …), in the dtype of x.
    """
    ### BEGIN SOLUTION
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + step / 2 * score(x) + step**0.5 * noise
    ### END SOLUTION

# %% [markdown] exercise="alpha_bar_from_sigma"
# 2019 noises with $x + \sigma\varepsilon$, 2020 with $\sqrt{\bar\alpha}\, x + \sqrt{1-\bar\alpha}\, \varepsilon$. Up to
# a factor they are the same picture. Which $\bar\alpha$ belongs to $\sigma$?

# %% solution="alpha_bar_from_sigma"
def alpha_bar_from_sigma(sigma):
    """The ᾱ for which √ᾱ x + √(1-ᾱ) ε is a multiple of x + σ ε.  sigma: any shape, above 0 -> the same shape."""
    ### BEGIN SOLUTION
    return 1 / (1 + sigma**2)
    ### END SOLUTION

# %% [markdown]
# **All right?** Then the three are one to you. Next: lesson 05, which makes pictures small.
