# %% [markdown]
# # Exercises 02: forward diffusion
#
# A clean latent $z_0$ is drowned in noise, in one jump to any step $t$. You write the noise schedule, what it leaves
# of the signal, the jump, and the single step that the jump replaces.
#
# Write each function, then run the cell below it: it says at once what is right, or which mistake it sees. Hints are
# folded; open them one by one.

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
def scaled_linear_betas(T, start, end):
    """The variances β that Stable Diffusion's steps add: (T,).

    T: number of steps; start, end: β of the first and of the last step.
    """
    ### BEGIN SOLUTION
    return torch.linspace(start**0.5, end**0.5, T) ** 2
    ### END SOLUTION

# %% [markdown] exercise="alpha_bar_from_beta"
# Step $s$ keeps the share $1 - \beta_s$ of the signal's variance. All steps up to $t$ together keep
#
# $$\bar\alpha_t = \prod_{s=0}^{t} (1 - \beta_s)$$
#
# (Ho et al. 2020, below eq. 4). Return it for every $t$.

# %% solution="alpha_bar_from_beta"
def alpha_bar_from_beta(beta):
    """ᾱ_t = ∏ (1 - β_s) over s = 0 … t.  beta: (T,) -> (T,)."""
    ### BEGIN SOLUTION
    return torch.cumprod(1 - beta, dim=0)
    ### END SOLUTION

# %% [markdown] exercise="q_sample"
# All steps up to $t$ in one jump (Ho et al. 2020, eq. 4):
#
# $$z_t = \sqrt{\bar\alpha_t}\, z_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1)$$
#
# Each item of the batch has its own $t$. The items may have any number of dimensions: `(B, 4, 8, 8)` for latents,
# `(B, 2)` for points.

# %% solution="q_sample"
def q_sample(z0, t, eps, alpha_bar):
    """Noise z0 to timestep t in one jump: √ᾱ_t z0 + √(1-ᾱ_t) ε.

    z0, eps: (B, …) float; t: (B,) int64 in 0 … T-1; alpha_bar: (T,).  Returns z_t (B, …).
    """
    ### BEGIN SOLUTION
    a = alpha_bar[t].view(-1, *[1] * (z0.dim() - 1))      # (B,) -> (B, 1, …, 1)
    return a.sqrt() * z0 + (1 - a).sqrt() * eps
    ### END SOLUTION

# %% [markdown] exercise="signal_to_noise"
# How noisy is $z_t$? If $z_0$ and $\varepsilon$ have variance 1, the *signal-to-noise ratio* is the variance of the
# first term of $z_t$ over the variance of the second. Work it out on paper, then write it down.

# %% solution="signal_to_noise"
def signal_to_noise(alpha_bar):
    """The variance of the signal in z_t over that of the noise.  alpha_bar: any shape, in (0, 1) -> the same shape."""
    ### BEGIN SOLUTION
    return alpha_bar / (1 - alpha_bar)
    ### END SOLUTION

# %% [markdown] exercise="noise_one_step"
# The chain that the jump replaces adds a little noise at a time (Ho et al. 2020, eq. 2):
#
# $$z_t = \sqrt{1 - \beta}\, z_{t-1} + \sqrt{\beta}\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1)$$
#
# Draw $\varepsilon$ from the generator that is given, so that the same seed gives the same result. The generator lives
# on the CPU, $z$ perhaps on a GPU: draw on the CPU, then move the noise to where $z$ is, with `.to(z.device)`.

# %% solution="noise_one_step"
def noise_one_step(z, beta, generator):
    """One step of the noising chain: √(1-β) z + √β · fresh normal noise.

    z: (B, …) float; beta: a number in (0, 1); generator: a torch.Generator of the CPU.
    Returns (B, …), in the dtype of z and on its device.
    """
    ### BEGIN SOLUTION
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise
    ### END SOLUTION

# %% [markdown]
# **All right?** `tinyldm progress` in a terminal shows how far you are. Next: lesson 03, the way back.
