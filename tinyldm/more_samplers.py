"""§ Inference: more samplers, and the timesteps that they visit. Folders of real checkpoints name them.

The interface is that of the samplers in `reverse_diffusion`: pure functions of (model, z_T, schedule, timesteps, …).
`pndm` is what Stable Diffusion 1 was published with, `euler_ancestral` is popular for its variety, and `lcm` is for
networks that were distilled to need a few steps only.

Source: Liu et al. 2022 (PNDM); Luo et al. 2023 (LCM); k-diffusion; diffusers' schedulers.
"""

import math

import torch
from torch import Tensor

from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.reverse_diffusion import (
    SMALLEST_ALPHA_BAR,
    Callback,
    Model,
    finish_step,
    noise_levels,
    predict,
    read_prediction,
    z0_and_eps,
)
from tinyldm.seeds import Generators, per_picture, randn

# ── Which timesteps to visit ─────────────────────────────────────────────────────────────────────────


def lcm_timesteps(steps: int, T: int) -> Tensor:
    """Evenly chosen, from the last down, among the 50 that latent consistency models are distilled at."""
    if steps > 50:
        raise ValueError(f"{steps} steps; a latent consistency model is distilled at 50 timesteps, so expected 1 … 50")
    return T // 50 * (50 - torch.arange(steps) * 50 // steps) - 1


# ── Samplers ─────────────────────────────────────────────────────────────────────────────────────────


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
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar, SMALLEST_ALPHA_BAR):
        z0_hat, eps_hat = z0_and_eps(model, z, t, schedule, alpha_bar)
        sigma, next_sigma = (math.sqrt((1 - a) / a) for a in (alpha_bar, next_alpha_bar))
        sigma_down = next_sigma**2 / sigma
        sigma_up = math.sqrt(max(next_sigma**2 - sigma_down**2, 0))
        x = z / math.sqrt(alpha_bar) - (sigma - sigma_down) * eps_hat
        x = x + sigma_up * randn(z.shape, generators, z.device, z.dtype) if sigma_up > 0 else x
        z = finish_step(callback, i, math.sqrt(next_alpha_bar) * x, z0_hat)
    return z


# Of the newest output, the one before, …, where there are 1, 2, 3 or 4 of them.
ADAMS_BASHFORTH = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


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
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar):
        outputs = [predict(model, z, t), *outputs[:3]]
        mixed = extrapolated(outputs)
        if i == 0 and len(timesteps) > 1:
            ahead, _ = along(outputs[0], z, schedule, alpha_bar, next_alpha_bar)
            mixed = (outputs[0] + predict(model, ahead, timesteps[1])) / 2
        z, z0_hat = along(mixed, z, schedule, alpha_bar, next_alpha_bar)
        z = finish_step(callback, i, z, z0_hat)
    return z


def extrapolated(outputs: list[Tensor]) -> Tensor:
    """One to four outputs, the newest first, mixed to what the output will be in the middle of the next step."""
    weights = ADAMS_BASHFORTH[len(outputs) - 1]
    return sum((weight * output for weight, output in zip(weights, outputs)), torch.zeros_like(outputs[0]))


def along(
    output: Tensor, z: Tensor, schedule: NoiseSchedule, alpha_bar: float, next_alpha_bar: float
) -> tuple[Tensor, Tensor]:
    """`ddim`'s step along an output, and the ẑ0 that it points to."""
    z0_hat, eps_hat = read_prediction(output, z, schedule, alpha_bar)
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
    for i, t, alpha_bar, next_alpha_bar in noise_levels(schedule, timesteps, final_alpha_bar):
        z0_hat, _ = z0_and_eps(model, z, t, schedule, alpha_bar)
        scaled = 10 * t.item() / 0.5  # 0.5 stands for the standard deviation of the data
        c_skip, c_out = 1 / (scaled**2 + 1), scaled / math.sqrt(scaled**2 + 1)
        clean = c_skip * z + c_out * z0_hat
        z = math.sqrt(next_alpha_bar) * clean
        if next_alpha_bar < 1:
            z = z + math.sqrt(1 - next_alpha_bar) * randn(z.shape, generators, z.device, z.dtype)
        z = finish_step(callback, i, z, z0_hat)
    return z
