# %% [markdown]
# # Exercises 12: samplers and guidance
#
# The network is trained; now it is asked, step by step. You write which timesteps are visited, one step of each of four
# samplers, guidance, and what a negative caption is.
#
# In all of them $\bar\alpha$ (`alpha_bar`) belongs to the latent `z` that you have, and $\bar\alpha'$
# (`next_alpha_bar`, larger) to the one that you return. Both are numbers.

# %%
import math

import torch

# %% [markdown] exercise="leading_timesteps"
# Training knew $T$ timesteps; sampling visits only some. Stable Diffusion's choice, "leading": the multiples
# $0, d, 2d, \dots$ of the whole number $d = \lfloor T / \text{steps} \rfloor$, plus 1, in falling order.
#
# Three steps of $T = 10$: $7, 4, 1$.

# %% solution="leading_timesteps"
def leading_timesteps(steps, T):
    """Exactly `steps` falling timesteps: multiples of T // steps, plus 1.  Returns (steps,) int64."""
    ### BEGIN SOLUTION
    return torch.arange(steps - 1, -1, -1) * (T // steps) + 1
    ### END SOLUTION

# %% [markdown] exercise="trailing_timesteps"
# The other choice, "trailing" (Lin et al. 2024): count down from $T$ in steps of $T / \text{steps}$, round to whole
# numbers, subtract 1:
#
# $$t_i = \operatorname{round}\!\left(T - i\,\frac{T}{\text{steps}}\right) - 1, \qquad i = 0, \dots, \text{steps} - 1$$
#
# Three steps of $T = 10$: $9, 6, 2$.

# %% solution="trailing_timesteps"
def trailing_timesteps(steps, T):
    """Exactly `steps` falling timesteps, evenly spaced from T - 1 downwards.  Returns (steps,) int64."""
    ### BEGIN SOLUTION
    return torch.tensor([round(T - i * T / steps) - 1 for i in range(steps)])
    ### END SOLUTION

# %% [markdown] exercise="ddim_step"
# The network says that $\hat\varepsilon$ is the noise in $z$. Then $z = \sqrt{\bar\alpha}\,\hat z_0 +
# \sqrt{1-\bar\alpha}\,\hat\varepsilon$ gives $\hat z_0$; mix the same two again, with less noise (Song et al. 2021,
# eq. 12, $\sigma = 0$):
#
# $$z' = \sqrt{\bar\alpha'}\,\hat z_0 + \sqrt{1-\bar\alpha'}\,\hat\varepsilon$$

# %% solution="ddim_step"
def ddim_step(z, eps_hat, alpha_bar, next_alpha_bar):
    """From noise level ᾱ to ᾱ', without chance.

    z, eps_hat: (B, …) float; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' ≤ 1.  Returns z' (B, …).
    """
    ### BEGIN SOLUTION
    z0_hat = (z - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat
    ### END SOLUTION

# %% [markdown] exercise="euler_step"
# Karras et al. 2022 write the way back as a differential equation. It is short in the coordinates
# $x = z / \sqrt{\bar\alpha}$ and $\sigma = \sqrt{(1-\bar\alpha)/\bar\alpha}$, where
#
# $$\frac{dx}{d\sigma} = \hat\varepsilon \qquad\Longrightarrow\qquad x' = x + (\sigma' - \sigma)\,\hat\varepsilon$$
#
# Go into $x$, make this step, and come back to $z'$ at the new level.

# %% solution="euler_step"
def euler_step(z, eps_hat, alpha_bar, next_alpha_bar):
    """One straight step along dx/dσ = ε̂.

    z, eps_hat: (B, …) float; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' ≤ 1.  Returns z' (B, …), not x'.
    """
    ### BEGIN SOLUTION
    sigma, next_sigma = (math.sqrt((1 - a) / a) for a in (alpha_bar, next_alpha_bar))
    x = z / math.sqrt(alpha_bar) + (next_sigma - sigma) * eps_hat
    return math.sqrt(next_alpha_bar) * x
    ### END SOLUTION

# %% [markdown] exercise="ddpm_step"
# DDPM draws $z'$ from the posterior $q(z' \mid z, \hat z_0)$ (Ho et al. 2020, eq. 7). A step may jump over many
# timesteps; together they keep $\alpha = \bar\alpha / \bar\alpha'$:
#
# $$\mu = \frac{\sqrt{\bar\alpha'}\,(1-\alpha)\,\hat z_0 + \sqrt{\alpha}\,(1-\bar\alpha')\,z}{1-\bar\alpha},
# \qquad \text{variance} = \frac{1-\bar\alpha'}{1-\bar\alpha}\,(1-\alpha)$$

# %% solution="ddpm_step"
def ddpm_step(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    """Draw z' from the posterior between z and ẑ0.

    z, z0_hat: (B, …) float; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' < 1; generator: a torch.Generator of the
    CPU, from which the noise is drawn; then move it, .to(z.device).  Returns z' (B, …), in the dtype of z.
    """
    ### BEGIN SOLUTION
    alpha = alpha_bar / next_alpha_bar
    mean = (next_alpha_bar**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)
    variance = (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha)
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return mean + variance**0.5 * noise
    ### END SOLUTION

# %% [markdown] exercise="dpm_solver_pp_step"
# The time of DPM-Solver++ (Lu et al. 2022, algorithm 2) is $\lambda = \log\sqrt{\bar\alpha/(1-\bar\alpha)}$. With
# $h = \lambda' - \lambda$ for this step and $h_-$ for the step before, which had the estimate $\hat z_{0-}$:
#
# $$D = \hat z_0 + \frac{h}{2 h_-}(\hat z_0 - \hat z_{0-}), \qquad
# z' = \sqrt{\frac{1-\bar\alpha'}{1-\bar\alpha}}\; z + \sqrt{\bar\alpha'}\,(1 - e^{-h})\, D$$
#
# $D = \hat z_0$ in the first step, where `previous_z0` is `None`, and in one onto $\bar\alpha' = 1$, where
# $\lambda' = \infty$.

# %% solution="dpm_solver_pp_step"
def dpm_solver_pp_step(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    """One step of DPM-Solver++ (2M).

    z, z0_hat: (B, …) float; previous_z0: the same shape, and previous_alpha_bar: the ᾱ of the step before; both None
    in the first step; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' ≤ 1.  Returns z' (B, …).
    """
    ### BEGIN SOLUTION
    def half_log_snr(a):
        return math.inf if a == 1 else 0.5 * math.log(a / (1 - a))

    h = half_log_snr(next_alpha_bar) - half_log_snr(alpha_bar)
    estimate = z0_hat
    if previous_z0 is not None and next_alpha_bar < 1:
        before = half_log_snr(alpha_bar) - half_log_snr(previous_alpha_bar)
        estimate = z0_hat + h / (2 * before) * (z0_hat - previous_z0)
    kept = math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar))
    return kept * z + math.sqrt(next_alpha_bar) * (1 - math.exp(-h)) * estimate
    ### END SOLUTION

# %% [markdown] exercise="guided_prediction"
# Classifier-free guidance exaggerates what the caption changes in the prediction (Ho & Salimans 2022, eq. 6; $w$
# counted as in Stable Diffusion):
#
# $$\hat\varepsilon = \varepsilon_\text{null} + w\,(\varepsilon_\text{caption} - \varepsilon_\text{null})$$
#
# `model(z, t, context)` gives a prediction (B, C, h, w). It wants a context and a timestep for each image of `z`, as
# the U-Net does. Ask it twice, or once with twice the batch.

# %% solution="guided_prediction"
def guided_prediction(model, z, t, context, null_context, guidance_scale):
    """ε_null + w (ε_caption - ε_null).

    z: (B, C, h, w); t: (B,) int64; context: (B, L, D) of the captions; null_context: (1, L, D) of the empty caption;
    guidance_scale: w.  Returns (B, C, h, w).
    """
    ### BEGIN SOLUTION
    without = model(z, t, null_context.expand(len(z), -1, -1))
    with_caption = model(z, t, context)
    return without + guidance_scale * (with_caption - without)
    ### END SOLUTION

# %% [markdown] exercise="contexts_for_guidance"
# A *negative caption* says what the picture shall not show. The U-Net knows no "not"; but guidance walks from one
# prediction away to another. So let it start somewhere else than at the empty caption.
#
# Write what the U-Net reads in a step with guidance, both halves in one batch: (2B, L, D). First the B contexts to
# walk away from, then those of the captions. `negative` is a list of B strings, or `None`: then the empty caption `""`
# is encoded. Another number of them is a mistake: raise a `ValueError`.

# %% solution="contexts_for_guidance"
def contexts_for_guidance(encode, captions, negative):
    """What guidance walks away from, then what it walks towards: (2B, L, D).

    encode: a list of n strings -> (n, L, D); captions: B strings; negative: B strings, or None.
    Raises ValueError where there are not as many negative captions as captions.
    """
    ### BEGIN SOLUTION
    if negative is None:
        negative = [""] * len(captions)
    if len(negative) != len(captions):
        raise ValueError(f"{len(negative)} negative captions for {len(captions)} captions; expected as many")
    return torch.cat([encode(negative), encode(captions)])
    ### END SOLUTION

# %% [markdown] exercise="signal_at_the_start"
# **Predict**, before you compute: Stable Diffusion samples with ten "leading" steps. What the sampler gives to the
# network in the first of them is pure noise. How much *signal*, as a factor of $z_0$, was in $z_t$ when the network was
# trained at that $t$? ($\sqrt{\beta}$ rises linearly from $\sqrt{0.00085}$ to $\sqrt{0.012}$ over 1000 steps.) 0.005
# more or less is near enough; write down your guess first, then compute.
#
# **Then explain**, in two sentences of your own: what does this do to the pictures? Compare with what the check says.

# %% solution="signal_at_the_start"
### BEGIN SOLUTION
signal_at_the_start = 0.118
### END SOLUTION

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **All right?** Try a step of yours in lesson 12. Its loop `walk` calls each as `step(z, z0_hat, eps_hat, now, after)`;
# yours take less. So copy your `ddim_step` there under the name `mine`, and give `walk`, in the place of `ddim_step`,
# `lambda z, z0_hat, eps_hat, now, after: mine(z, eps_hat, now, after)`. The strip of pictures should not change. Next:
# lesson 13, everything together.
