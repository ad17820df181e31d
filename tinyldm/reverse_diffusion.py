"""§ Training and inference, second half: from noise to a latent, guided by a caption.

    z_T ~ N(0, 1);   for each timestep t, from noisy to clean:   z_t ─model─► ẑ0, ε̂ ─sampler─► z_{t-1}

The article says that the predicted noise is "scaled down and subtracted". What happens is: estimate the
clean latent ẑ0 (`z0_from_eps` does the subtracting), then mix it with a little less noise than before. The
samplers differ in how they mix; DDPM also adds *fresh* noise; `euler` is literally "scaled down and
subtracted", but from z / √ᾱ. In practice every step uses classifier-free guidance, which the article names
once, in its version history, and does not explain.

A sampler is a pure function of (model, z_T, schedule, timesteps, …). `model` is any (z_t, t) -> prediction:
`guided` makes one from a U-Net and a caption, so samplers need not know about captions, nor guidance about
samplers.

Source: Ho et al. 2020 (DDPM); Song et al. 2021 (DDIM); Karras et al. 2022 (Euler); Lu et al. 2022
(DPM-Solver++); Ho & Salimans 2022 (guidance); the schedulers of diffusers.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tinyldm import shapes
from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.seeds import Generators, per_picture, randn

Model = Callable[[Tensor, Tensor], Tensor]  # (z_t (B, C, h, w), t (B,)) -> prediction (B, C, h, w)
# (step index, z after the step, ẑ0) -> None, or a latent that replaces z
Callback = Callable[[int, Tensor, Tensor], Tensor | None] | None
Sampler = Callable[..., Tensor]  # (model, z_T, schedule, timesteps, generator=…, callback=…) -> z0, such as `ddim`
Spacing = Callable[[int, int], Tensor]  # (steps, T) -> falling timesteps, such as `trailing`


# ── Guidance ─────────────────────────────────────────────────────────────────────────────────────────


def guided(
    model: Callable[..., Tensor],
    context: Tensor,
    null_context: Tensor,
    guidance_scale: float,
    added: Tensor | None = None,
    null_added: Tensor | None = None,
) -> Model:
    """Classifier-free guidance: exaggerate what the caption changes. Ho & Salimans 2022, eq. 6.

    ε̂ = ε_null + w (ε_caption - ε_null): w = 1 is the plain conditional model, w = 0 ignores the caption.
    (The paper's w is one less.) The model must have been trained with some captions dropped.

    Args:
        model: (z_t, t, context) -> prediction, such as a `UNet`.
        context: (B, L, D) of the captions; null_context: (1 or B, L', D) of the empty or negative caption.
        guidance_scale: w; at exactly 1 a step asks the model once, otherwise with and without the caption.
        added, null_added: (B, D_a), Stable Diffusion XL's added vectors; else None.
    Returns: a function (z_t, t) -> prediction.
    """
    shapes.require_guidance(context, null_context, guidance_scale, added, null_added)
    null_context = null_context.expand(len(context), -1, -1)
    # What the model reads besides (z_t, t): (context,) or, for XL, (context, added).
    caption = (context,) if added is None else (context, added)
    null = (null_context,) if null_added is None else (null_context, null_added)

    def guided_model(z_t: Tensor, t: Tensor) -> Tensor:
        if guidance_scale == 1:
            return model(z_t, t, *caption)
        if caption[0].shape != null[0].shape:  # a picture's vectors follow the caption's, so the lengths differ
            without, with_caption = model(z_t, t, *null), model(z_t, t, *caption)
        else:  # both halves in one batch, which is faster: (2B, C, h, w), (2B,), (2B, L, D)
            both = (torch.cat(pair) for pair in zip((z_t, t, *null), (z_t, t, *caption)))
            without, with_caption = model(*both).chunk(2)
        return without + guidance_scale * (with_caption - without)

    return guided_model


# ── Which timesteps to visit ─────────────────────────────────────────────────────────────────────────


def trailing(steps: int, T: int) -> Tensor:
    """Evenly spaced, counted down from the last: 999 … Starts where the noise is largest. Lin et al. 2024."""
    return torch.tensor([round(T - i * T / steps) - 1 for i in range(steps)])


def leading(steps: int, T: int) -> Tensor:
    """Stable Diffusion's: multiples of T // steps, plus 1, counted down: 981 … 1 for 50 steps.

    The 1 is dropped if it would run past the end of the table, at steps = T.
    """
    stride = T // steps
    offset = min(1, T - 1 - (steps - 1) * stride)
    return torch.arange(steps - 1, -1, -1) * stride + offset


def leading_from_zero(steps: int, T: int) -> Tensor:
    """diffusers' own default: multiples of T // steps, counted down: 980 … 0 for 50 steps."""
    return torch.arange(steps - 1, -1, -1) * (T // steps)


def linspace(steps: int, T: int) -> Tensor:
    """From T - 1 to 0 with both ends, at fractional timesteps: float32. diffusers' default for Euler."""
    return torch.linspace(T - 1, 0, steps)


def timesteps(schedule: NoiseSchedule, steps: int, spacing: Spacing = trailing) -> Tensor:
    """Exactly `steps` falling timesteps inside the schedule's table: (steps,).

    Args: steps: 1 … T; spacing: `trailing`, `leading`, `leading_from_zero` or `linspace`.
    Raises: ValueError for another number of steps.
    Warns: if the first one is so low that starting from pure noise would contradict training.
    """
    shapes.require_steps(steps, schedule.T)
    ts = spacing(steps, schedule.T)
    shapes.warn_of_signal(schedule.at(ts[:1].to(schedule.alpha_bar.device)).item(), ts, spacing)
    return ts


# ── Samplers ─────────────────────────────────────────────────────────────────────────────────────────
# All take and return unit-variance latents: z_t = √ᾱ z0 + √(1-ᾱ) ε. `final_alpha_bar` is the ᾱ that the
# last step lands on: 1 is the clean latent. Only Stable Diffusion's DDIM stops at ᾱ_0 = 0.99915 instead, a value
# of the schedule; so only `ddim` asks the schedule for it.


def ddim(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    eta: float = 0.0,
    generator: Generators = None,
    final_alpha_bar: float | None = None,
    callback: Callback = None,
) -> Tensor:
    """Song et al. 2021 (DDIM), eq. 12: jump to ẑ0, come back to the next noise level along ε̂.

    z_next = √ᾱ_next ẑ0 + √(1 - ᾱ_next - σ²) ε̂ + σ · fresh noise, σ as in eq. 16.

    Args:
        model: (z_t, t) -> prediction; z: (B, C, h, w) noise to start from; timesteps: (S,), falling.
        eta: how much fresh noise: 0 is deterministic, 1 is DDPM.
        generator: source of the fresh noise: one, from which each picture gets a child, or a list of one per picture.
        final_alpha_bar: None takes the schedule's own.
        callback: see `Callback`; called after each step.
    Returns: z0 (B, C, h, w).
    """
    shapes.require_between("eta", eta, 0, 1)
    generators = per_picture(generator, len(z))
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar):
        z0_hat, eps_hat = z0_and_eps(model, z, t, schedule, alpha_bar)
        sigma = eta * math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar / next_alpha_bar))
        # max() guards against rounding errors.
        z = math.sqrt(next_alpha_bar) * z0_hat + math.sqrt(max(1 - next_alpha_bar - sigma**2, 0)) * eps_hat
        z = z + sigma * randn(z.shape, generators, z.device, z.dtype) if sigma > 0 else z
        z = finish_step(callback, i, z, z0_hat)
    return z


def ddpm(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float = 1.0,
    callback: Callback = None,
) -> Tensor:
    """Ho et al. 2020 (DDPM), eq. 7: draw from the posterior q(z_{t-1} | z_t, ẑ0). Arguments as `ddim`.

    The posterior is a Gaussian between z_t and ẑ0; its fresh noise makes this sampler stochastic.
    """
    generators = per_picture(generator, len(z))
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar):
        z0_hat, _ = z0_and_eps(model, z, t, schedule, alpha_bar)
        alpha = alpha_bar / next_alpha_bar  # the product of α over all timesteps that this step skips
        mean = (math.sqrt(next_alpha_bar) * (1 - alpha) * z0_hat + math.sqrt(alpha) * (1 - next_alpha_bar) * z) / (
            1 - alpha_bar
        )
        variance = (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha)
        z = mean + math.sqrt(variance) * randn(z.shape, generators, z.device, z.dtype) if variance > 0 else mean
        z = finish_step(callback, i, z, z0_hat)
    return z


def euler(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float = 1.0,
    callback: Callback = None,
) -> Tensor:
    """Karras et al. 2022, algorithm 1 without the second-order correction: follow the ODE dx/dσ = ε̂ in straight steps.

    x = z / √ᾱ and σ = √((1-ᾱ)/ᾱ) are the coordinates in which the ODE has this short form.
    In exact arithmetic it is `ddim` with eta = 0. Arguments as `ddim`; nothing is random.
    """
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar, SMALLEST_ALPHA_BAR):
        z0_hat, eps_hat = z0_and_eps(model, z, t, schedule, alpha_bar)
        sigma, next_sigma = (math.sqrt((1 - a) / a) for a in (alpha_bar, next_alpha_bar))
        x = z / math.sqrt(alpha_bar) - (sigma - next_sigma) * eps_hat
        z = finish_step(callback, i, math.sqrt(next_alpha_bar) * x, z0_hat)
    return z


def dpm_solver_pp(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float = 1.0,
    callback: Callback = None,
) -> Tensor:
    """Lu et al. 2022 (DPM-Solver++), algorithm 2, "2M": second order from one model call per step.

    z_next = √((1-ᾱ_next) / (1-ᾱ)) z - √ᾱ_next (e^-h - 1) D, with h = λ_next - λ and λ = log √(ᾱ / (1-ᾱ)). In the
    variable λ, ẑ0 changes slowly, so D extrapolates the last two estimates by half a step. The first step, and a step
    that ends on the clean latent (λ = ∞), are first order: D = ẑ0. Arguments as `ddim`; nothing is random.
    """
    previous_z0, previous_lambda = z, math.nan  # not used in the first step
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar, SMALLEST_ALPHA_BAR):
        z0_hat, _ = z0_and_eps(model, z, t, schedule, alpha_bar)
        lambda_, next_lambda = _half_log_snr(alpha_bar), _half_log_snr(next_alpha_bar)
        h = next_lambda - lambda_
        extrapolated = z0_hat
        if i > 0 and next_alpha_bar < 1:
            extrapolated = z0_hat + h / (2 * (lambda_ - previous_lambda)) * (z0_hat - previous_z0)
        previous_z0, previous_lambda = z0_hat, lambda_
        z = (
            math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar)) * z
            - math.sqrt(next_alpha_bar) * math.expm1(-h) * extrapolated
        )
        z = finish_step(callback, i, z, z0_hat)
    return z


# Used in place of ᾱ = 0, where σ or λ would be infinite, as in diffusers. (`zero_terminal_snr` ends there.)
SMALLEST_ALPHA_BAR = 2.0**-24


def noise_levels(
    schedule: NoiseSchedule, timesteps: Tensor, final_alpha_bar: float | None, for_zero: float = 0.0
) -> Iterator[tuple[int, Tensor, float, float]]:
    """(step index, t, ᾱ now, ᾱ after) for each step; the ᾱ are Python floats, exact on every device."""
    final_alpha_bar = schedule.final_alpha_bar if final_alpha_bar is None else final_alpha_bar
    shapes.require_walk(timesteps)
    alpha_bars = [*schedule.at(timesteps.to(schedule.alpha_bar.device)).tolist(), final_alpha_bar]
    shapes.require_falling_noise(alpha_bars)
    alpha_bars = [alpha_bar or for_zero for alpha_bar in alpha_bars]
    yield from zip(range(len(timesteps)), timesteps, alpha_bars, alpha_bars[1:])


def z0_and_eps(model: Model, z: Tensor, t: Tensor, schedule: NoiseSchedule, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """Ask the model once; read its prediction as (ẑ0, ε̂)."""
    return read_prediction(predict(model, z, t), z, schedule, alpha_bar)


def finish_step(callback: Callback, i: int, z: Tensor, z0_hat: Tensor) -> Tensor:
    """Tell the callback about step i; return z, or what the callback puts in its place."""
    if callback is None:
        return z
    shapes.require_function(callback, "callback", "lambda step, z, z0_hat: print(step)")
    replacement = callback(i, z, z0_hat)
    return z if replacement is None else replacement


def predict(model: Model, z: Tensor, t: Tensor) -> Tensor:
    """Run the model on a batch that shares one timestep."""
    return model(z, t.to(z.device).expand(len(z)))


def read_prediction(output: Tensor, z: Tensor, schedule: NoiseSchedule, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """Convert a prediction to (ẑ0, ε̂)."""
    return schedule.prediction.to_z0(output, z, alpha_bar), schedule.prediction.to_eps(output, z, alpha_bar)


def _half_log_snr(alpha_bar: float) -> float:
    return math.inf if alpha_bar == 1 else 0.5 * (math.log(alpha_bar) - math.log1p(-alpha_bar))
