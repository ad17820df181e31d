"""§ Training and inference, second half: from noise to a latent, guided by a caption.

    z_T ~ N(0, 1);   for each timestep t, from noisy to clean:   z_t ─model─► ẑ0, ε̂ ─sampler─► z_{t-1}

The article says that the predicted noise is "scaled down and subtracted". What happens is: estimate the
clean latent ẑ0 (`z0_from_eps` does the subtracting), then mix it with noise again, a little less of it. The
samplers differ in how they mix; DDPM also adds *fresh* noise; `euler` is literally "scaled down and
subtracted", but from z / √ᾱ. In practice every step uses classifier-free guidance, which the article names
once, in its version history, and does not explain.

A sampler is a pure function of (model, z_T, schedule, timesteps, …). `model` is any (z_t, t) -> prediction:
`guided` makes one from a U-Net and a caption, so that no sampler knows of captions, and no guidance knows
of samplers.

Source: Ho et al. 2020 (DDPM); Song et al. 2021 (DDIM); Karras et al. 2022 (Euler); Lu et al. 2022
(DPM-Solver++); Ho & Salimans 2022 (guidance); the schedulers of diffusers.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from tinyldm.forward_diffusion import NoiseSchedule, log_sigma
from tinyldm.seeds import Generators, per_picture, randn

Model = Callable[[Tensor, Tensor], Tensor]  # (z_t (B, C, h, w), t (B,)) -> prediction (B, C, h, w)
# Nothing, or (step index, z after the step, ẑ0) -> None, or a latent that takes the place of z
Callback = Callable[[int, Tensor, Tensor], Tensor | None] | None


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
    (What the paper calls w is one less.)

    Args:
        model: (z_t, t, context) -> prediction, such as a `UNet`.
        context: (B, L, D) of the captions; null_context: (1 or B, L', D) of the empty or negative caption.
        guidance_scale: w; at exactly 1 the model runs once a step, otherwise on twice the batch.
        added, null_added: (B, D_a), Stable Diffusion XL's added vectors; else None.
    Returns: a function (z_t, t) -> prediction.
    """
    # Each of the two is (context,) or, for XL, (context, added).
    caption, null = _conditions(context, null_context, guidance_scale, added, null_added)

    def guided_model(z_t: Tensor, t: Tensor) -> Tensor:
        if guidance_scale == 1:
            return model(z_t, t, *caption)
        if caption[0].shape != null[0].shape:  # a picture beside the caption makes its context longer
            without, with_caption = model(z_t, t, *null), model(z_t, t, *caption)
        else:  # both halves in one batch, which is faster: (2B, C, h, w), (2B,), (2B, L, D)
            both = (torch.cat(pair) for pair in zip((z_t, t, *null), (z_t, t, *caption)))
            without, with_caption = model(*both).chunk(2)
        return without + guidance_scale * (with_caption - without)

    return guided_model


def _conditions(
    context: Tensor, null_context: Tensor, guidance_scale: float, added: Tensor | None, null_added: Tensor | None
) -> tuple:
    """What the model reads beside (z_t, t) with the caption, and without it, once all arguments have been checked."""
    _require_finite("guidance_scale", guidance_scale)
    B, D = len(context), context.shape[-1]
    if context.dim() != 3 or null_context.dim() != 3 or len(null_context) not in (1, B) or null_context.shape[2] != D:
        raise ValueError(
            f"null_context has shape {tuple(null_context.shape)}, context {tuple(context.shape)}; "
            f"expected (1 or {B}, L, {D}) and (B, L, D)"
        )
    null_context = null_context.expand(B, -1, -1)
    if added is None and null_added is None:
        return (context,), (null_context,)
    if added is None or null_added is None or added.shape != null_added.shape:
        shapes = [None if given is None else tuple(given.shape) for given in (added, null_added)]
        raise ValueError(f"added has shape {shapes[0]}, null_added {shapes[1]}; expected both of one shape, or neither")
    return (context, added), (null_context, null_added)


def _require_finite(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        expected = "a finite number" if low == -math.inf else f"{low:g} … {high:g}"
        raise ValueError(f"{name} is {value}; expected {expected}")


# ── Which timesteps to visit ─────────────────────────────────────────────────────────────────────────


def trailing(steps: int, T: int) -> Tensor:
    """Evenly spaced, counted down from the last: 999 … Starts where the noise is largest. Lin et al. 2024."""
    return torch.tensor([round(T - i * T / steps) - 1 for i in range(steps)])


def leading(steps: int, T: int) -> Tensor:
    """Stable Diffusion's: multiples of T // steps, plus 1, counted down: 981 … 1 for 50 steps.

    The 1 is left out where it would step over the end of the table, at steps = T.
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


@dataclass(frozen=True, eq=False)
class Karras:
    """Fractional timesteps at which σ^(1/ρ) falls evenly: small steps where little noise is left.

    σ_i = (σ_max^(1/ρ) + i/(S-1) · (σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ, ρ = 7.   Karras et al. 2022, eq. 5.
    """

    schedule: NoiseSchedule
    ends: Callable[[int, int], Tensor] = linspace  # the spacing whose first and last timesteps give σ_max and σ_min

    def __call__(self, steps: int, T: int) -> Tensor:
        """`steps` falling timesteps in [0, T - 1]: (steps,), float32."""
        alpha_bar = self.schedule.alpha_bar
        first, last = log_sigma(self.schedule.at(self.ends(steps, T)[[0, -1]].to(alpha_bar.device))).cpu().double()
        roots = torch.lerp((first / 7).exp(), (last / 7).exp(), torch.linspace(0, 1, steps, dtype=torch.float64))
        wanted, table = 7 * roots.log(), log_sigma(alpha_bar).cpu().double()  # both log σ
        above = torch.searchsorted(table, wanted).clamp(1, T - 1)
        return (above - 1 + (wanted - table[above - 1]) / (table[above] - table[above - 1])).clamp(0, T - 1).float()


def lcm_timesteps(steps: int, T: int) -> Tensor:
    """Evenly chosen, from the last down, among the 50 that latent consistency models are distilled at."""
    if steps > 50:
        raise ValueError(f"{steps} steps; a latent consistency model is distilled at 50 timesteps, so expected 1 … 50")
    return T // 50 * (50 - torch.arange(steps) * 50 // steps) - 1


def timesteps(schedule: NoiseSchedule, steps: int, spacing: Callable[[int, int], Tensor] = trailing) -> Tensor:
    """Exactly `steps` falling timesteps inside the schedule's table: (steps,).

    Args: steps: 1 … T; spacing: `trailing`, `leading` or `linspace`.
    Raises: ValueError for another number of steps.
    Warns: where the first one is so early that starting from pure noise would contradict training.
    """
    if not isinstance(steps, Integral) or not 1 <= steps <= schedule.T:
        raise ValueError(f"{steps} steps; expected 1 … {schedule.T}")
    ts = spacing(steps, schedule.T)
    first = schedule.at(ts[:1].to(schedule.alpha_bar.device)).item()
    if first > 0.05:
        name = getattr(spacing, "__name__", type(spacing).__name__)
        warnings.warn(
            f"{steps} steps with '{name}' spacing start at t = {ts[0].item():g}, where √ᾱ = "
            f"{math.sqrt(first):.2f} of the signal is still there; but sampling starts from pure noise: take "
            "more steps, or 'trailing' spacing",
            stacklevel=2,
        )
    return ts


# ── Samplers ─────────────────────────────────────────────────────────────────────────────────────────
# All take and return unit-variance latents: z_t = √ᾱ z0 + √(1-ᾱ) ε. `final_alpha_bar` is the ᾱ that the
# last step lands on: 1 is the clean latent. Only Stable Diffusion's DDIM stops at ᾱ_0 = 0.99915 instead, a number
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
        eta: share of fresh noise: 0 is deterministic, 1 is DDPM.
        generator: of the fresh noise: one, of which each picture gets a child, or a list with one per picture.
        final_alpha_bar: None takes the schedule's own.
        callback: see `Callback`; called after each step.
    Returns: z0 (B, C, h, w).
    """
    _require_finite("eta", eta, 0, 1)
    generators = per_picture(generator, len(z))
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar):
        z0_hat, eps_hat = _z0_and_eps(model, z, t, schedule, alpha_bar)
        sigma = eta * math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar / next_alpha_bar))
        # (The max is against rounding.)
        z = math.sqrt(next_alpha_bar) * z0_hat + math.sqrt(max(1 - next_alpha_bar - sigma**2, 0)) * eps_hat
        z = z + sigma * randn(z.shape, generators, z.device, z.dtype) if sigma > 0 else z
        z = _call_back(callback, i, z, z0_hat)
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

    The posterior is a Gaussian between z_t and ẑ0; its noise is what makes the walk ancestral.
    """
    generators = per_picture(generator, len(z))
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar):
        z0_hat, _ = _z0_and_eps(model, z, t, schedule, alpha_bar)
        alpha = alpha_bar / next_alpha_bar  # of the steps that this one jumps over, together
        mean = (math.sqrt(next_alpha_bar) * (1 - alpha) * z0_hat + math.sqrt(alpha) * (1 - next_alpha_bar) * z) / (
            1 - alpha_bar
        )
        variance = (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha)
        z = mean + math.sqrt(variance) * randn(z.shape, generators, z.device, z.dtype) if variance > 0 else mean
        z = _call_back(callback, i, z, z0_hat)
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
    """Karras et al. 2022, algorithm 1 without its second half: follow the ODE dx/dσ = ε̂ in straight steps.

    x = z / √ᾱ and σ = √((1-ᾱ)/ᾱ) are the coordinates in which the ODE has this short form.
    In exact arithmetic it is `ddim` with eta = 0. Arguments as `ddim`; nothing is random.
    """
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar, FOR_ZERO):
        z0_hat, eps_hat = _z0_and_eps(model, z, t, schedule, alpha_bar)
        sigma, next_sigma = (math.sqrt((1 - a) / a) for a in (alpha_bar, next_alpha_bar))
        x = z / math.sqrt(alpha_bar) - (sigma - next_sigma) * eps_hat
        z = _call_back(callback, i, math.sqrt(next_alpha_bar) * x, z0_hat)
    return z


def euler_ancestral(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float = 1.0,
    callback: Callback = None,
) -> Tensor:
    """`euler`, but each step goes too far down, to σ_down, and fresh noise brings it back up. k-diffusion.

    σ_down² + σ_up² = σ_next²,  σ_down = σ_next² / σ.  Arguments as `ddim`. In exact arithmetic it is `ddpm`: the two
    draw the same pictures from the same noise.
    """
    generators = per_picture(generator, len(z))
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar, FOR_ZERO):
        z0_hat, eps_hat = _z0_and_eps(model, z, t, schedule, alpha_bar)
        sigma, next_sigma = (math.sqrt((1 - a) / a) for a in (alpha_bar, next_alpha_bar))
        sigma_down = next_sigma**2 / sigma
        sigma_up = math.sqrt(max(next_sigma**2 - sigma_down**2, 0))
        x = z / math.sqrt(alpha_bar) - (sigma - sigma_down) * eps_hat
        x = x + sigma_up * randn(z.shape, generators, z.device, z.dtype) if sigma_up > 0 else x
        z = _call_back(callback, i, math.sqrt(next_alpha_bar) * x, z0_hat)
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
    """Lu et al. 2022 (DPM-Solver++), algorithm 2, "2M": second order from one model call a step.

    λ = log √(ᾱ / (1-ᾱ)) is the time in which ẑ0 changes slowly, so the last two estimates are
    extrapolated by half a step. The first step, and one onto the clean latent (λ = ∞), are first order.
    Arguments as `ddim`; nothing is random.
    """
    previous_z0, previous_lambda = None, None
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar, FOR_ZERO):
        z0_hat, _ = _z0_and_eps(model, z, t, schedule, alpha_bar)
        lambda_, next_lambda = _half_log_snr(alpha_bar), _half_log_snr(next_alpha_bar)
        h = next_lambda - lambda_
        extrapolated = z0_hat
        if previous_z0 is not None and next_alpha_bar < 1:
            extrapolated = z0_hat + h / (2 * (lambda_ - previous_lambda)) * (z0_hat - previous_z0)
        previous_z0, previous_lambda = z0_hat, lambda_
        z = (
            math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar)) * z
            - math.sqrt(next_alpha_bar) * math.expm1(-h) * extrapolated
        )
        z = _call_back(callback, i, z, z0_hat)
    return z


def pndm(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float | None = None,
    callback: Callback = None,
) -> Tensor:
    """Liu et al. 2022 (PNDM), eq. 12, without Runge-Kutta steps: "PLMS", the default of Stable Diffusion 1.

    Each step is `ddim`'s, along a mixture of the last four outputs that extrapolates them to the middle of the step
    (Adams-Bashforth). The first has no history: it looks ahead, steps back and goes along the mean of both outputs,
    which takes one more call. Arguments as `ddim`; nothing is random.
    """
    outputs: list[Tensor] = []
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar):
        outputs = [_call(model, z, t), *outputs[:3]]
        mixed = sum(weight * output for weight, output in zip(ADAMS_BASHFORTH[len(outputs) - 1], outputs))
        if i == 0 and len(timesteps) > 1:
            ahead, _ = _ddim_step(outputs[0], z, schedule, alpha_bar, next_alpha_bar)
            mixed = (outputs[0] + _call(model, ahead, timesteps[1])) / 2
        z, z0_hat = _ddim_step(mixed, z, schedule, alpha_bar, next_alpha_bar)
        z = _call_back(callback, i, z, z0_hat)
    return z


# Of the newest output, the one before, …, where there are 1, 2, 3 or 4 of them.
ADAMS_BASHFORTH = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def _ddim_step(output: Tensor, z: Tensor, schedule: NoiseSchedule, alpha_bar: float, next_alpha_bar: float) -> tuple:
    z0_hat, eps_hat = _read(output, z, schedule, alpha_bar)
    return math.sqrt(next_alpha_bar) * z0_hat + math.sqrt(1 - next_alpha_bar) * eps_hat, z0_hat


def lcm(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float = 1.0,
    callback: Callback = None,
) -> Tensor:
    """Luo et al. 2023 (latent consistency models), algorithm 3: jump to the clean latent, noise it again, repeat.

    f(z, t) = c_skip z + c_out ẑ0 is the identity at t = 0 (eq. 9); at any t that is visited it is nearly ẑ0. Only for
    networks distilled to make that jump, in 1 to 8 steps. Arguments as `ddim`.
    """
    generators = per_picture(generator, len(z))
    for i, t, alpha_bar, next_alpha_bar in _steps(schedule, timesteps, final_alpha_bar):
        z0_hat, _ = _z0_and_eps(model, z, t, schedule, alpha_bar)
        scaled = 10 * t.item() / 0.5  # 0.5 stands for the standard deviation of the data
        c_skip, c_out = 1 / (scaled**2 + 1), scaled / math.sqrt(scaled**2 + 1)
        clean = c_skip * z + c_out * z0_hat
        z = math.sqrt(next_alpha_bar) * clean
        if next_alpha_bar < 1:
            z = z + math.sqrt(1 - next_alpha_bar) * randn(z.shape, generators, z.device, z.dtype)
        z = _call_back(callback, i, z, z0_hat)
    return z


FOR_ZERO = 2.0**-24  # what stands for ᾱ = 0 where σ or λ would be infinite, as in diffusers


def _steps(
    schedule: NoiseSchedule, timesteps: Tensor, final_alpha_bar: float | None, for_zero: float = 0.0
) -> Iterator[tuple]:
    """(step index, t, ᾱ now, ᾱ after) for each step; the ᾱ are Python floats, exact on every device."""
    final_alpha_bar = schedule.final_alpha_bar if final_alpha_bar is None else final_alpha_bar
    alpha_bars = _checked([*schedule.at(timesteps.to(schedule.alpha_bar.device)).tolist(), final_alpha_bar], timesteps)
    alpha_bars = [alpha_bar or for_zero for alpha_bar in alpha_bars]
    yield from zip(range(len(timesteps)), timesteps, alpha_bars, alpha_bars[1:])


def _checked(alpha_bars: list[float], timesteps: Tensor) -> list[float]:
    """The same, if each level has less noise than the one before it."""
    if timesteps.dim() != 1 or not len(timesteps):
        raise ValueError(
            f"timesteps has shape {tuple(timesteps.shape)}, {timesteps.numel()} timesteps; expected (S,), at least 1"
        )
    *visited, final = alpha_bars
    if any(a >= b for a, b in zip(visited, visited[1:])) or not visited[-1] <= final <= 1:
        raise ValueError(
            "each step must land on less noise than it leaves; expected strictly falling timesteps, and "
            f"final_alpha_bar ({final:g}) between ᾱ at the last ({visited[-1]:g}) and 1"
        )
    return alpha_bars


def _z0_and_eps(model: Model, z: Tensor, t: Tensor, schedule: NoiseSchedule, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """Ask the model once; read its prediction as (ẑ0, ε̂)."""
    return _read(_call(model, z, t), z, schedule, alpha_bar)


def _call(model: Model, z: Tensor, t: Tensor) -> Tensor:
    return model(z, t.to(z.device).expand(len(z)))


def _read(output: Tensor, z: Tensor, schedule: NoiseSchedule, alpha_bar: float) -> tuple[Tensor, Tensor]:
    return schedule.prediction.to_z0(output, z, alpha_bar), schedule.prediction.to_eps(output, z, alpha_bar)


def _half_log_snr(alpha_bar: float) -> float:
    return math.inf if alpha_bar == 1 else 0.5 * (math.log(alpha_bar) - math.log1p(-alpha_bar))


def _call_back(callback: Callback, i: int, z: Tensor, z0_hat: Tensor) -> Tensor:
    replacement = None if callback is None else callback(i, z, z0_hat)
    return z if replacement is None else replacement
