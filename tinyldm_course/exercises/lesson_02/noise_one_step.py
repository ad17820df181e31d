"""Exercise noise_one_step of lesson 02: One step of the chain."""

import math

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong


def noise_one_step(z, beta, generator):
    """One step of the noising chain: √(1-β) z + √β · fresh normal noise.

    z: (B, …) float; beta: a number in (0, 1); generator: a torch.Generator of the CPU.
    Returns (B, …), in the dtype of z and on its device.
    """
    ### BEGIN SOLUTION
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise
    ### END SOLUTION


def step_cases(generator: Generator) -> list[Call]:
    """z of several shapes, β, a generator."""
    calls = [Call((torch.tensor([[2.0, -1.0]]), 0.36, Seeded(3)))]
    for shape in ((2, 4, 4, 4), (3, 2, 8, 8)):
        z, seed = torch.randn(shape, generator=generator), int(torch.randint(10**6, (), generator=generator))
        calls.append(Call((z, 0.1 + 0.3 * torch.rand((), generator=generator).item(), Seeded(seed))))
    return calls


def normal(shape: tuple, z: Tensor, generator: Generator) -> Tensor:
    """Normal noise of this shape, in the dtype of z and on its device."""
    return torch.randn(shape, generator=generator, dtype=z.dtype).to(z.device)


def step_moments(z: Tensor, beta: float, _generator) -> tuple:
    """Mean and standard deviation of the step."""
    return (1 - beta) ** 0.5 * z, beta**0.5


def step_without_root_of_beta(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta * normal(z.shape, z, generator)


def step_signal_kept(z, beta, generator):
    return z + beta**0.5 * normal(z.shape, z, generator)


def step_signal_not_rooted(z, beta, generator):
    return (1 - beta) * z + beta**0.5 * normal(z.shape, z, generator)


def step_uniform(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * torch.rand(z.shape, generator=generator, dtype=z.dtype).to(z.device)


def step_uniform_of_variance_one(z, beta, generator):
    noise = (torch.rand(z.shape, generator=generator, dtype=z.dtype).to(z.device) * 2 - 1) * 3**0.5
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise


def step_shared_noise(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * normal(z.shape[1:], z, generator)


def step_global_noise(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn_like(z)


def step_seeded_inside(z, beta, generator):
    return noise_one_step(z, beta, torch.Generator().manual_seed(0))


def step_on_cpu(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn(z.shape, generator=generator, dtype=z.dtype)


def step_drawn_around_z(z, beta, generator):
    return torch.normal((1 - beta) ** 0.5 * z, beta**0.5, generator=generator)


def step_alpha_for_both(z, beta, generator):
    return (1 - beta) ** 0.5 * z + (1 - beta) ** 0.5 * normal(z.shape, z, generator)


def step_factors_swapped(z, beta, generator):
    return beta**0.5 * z + (1 - beta) ** 0.5 * normal(z.shape, z, generator)


def step_no_roots(z, beta, generator):
    return (1 - beta) * z + beta * normal(z.shape, z, generator)


def step_noise_not_scaled(z, beta, generator):
    return (1 - beta) ** 0.5 * z + normal(z.shape, z, generator)


def step_without_noise(z, beta, generator):
    return (1 - beta) ** 0.5 * z


def step_one_minus_root(z, beta, generator):
    return (1 - beta**0.5) * z + beta**0.5 * normal(z.shape, z, generator)


def step_noise_only(z, beta, generator):
    return beta**0.5 * normal(z.shape, z, generator)


def step_drawn_backwards(z, beta, generator):
    noise = torch.randn(z.numel(), generator=generator, dtype=z.dtype).flip(0).view(z.shape)
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise.to(z.device)


def step_by_normal(z, beta, generator):
    noise = torch.empty(z.shape, dtype=z.dtype).normal_(0, math.sqrt(beta), generator=generator)
    return z * math.sqrt(1 - beta) + noise.to(z.device)


def step_drawn_around_z_on_cpu(z, beta, generator):
    return torch.normal((1 - beta) ** 0.5 * z.cpu(), beta**0.5, generator=generator).to(z.device)


EXERCISE = Exercise(
    name="noise_one_step",
    title="One step of the chain",
    stars=1,
    minutes=8,
    answer=noise_one_step,
    cases=step_cases,
    moments=step_moments,
    constants=("z",),
    hints=(
        "β is a variance. By which factor do you multiply numbers of variance 1 to get variance β?",
        "The signal shrinks so that the total variance stays 1: by √(1-β).",
        "torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device). The generator lives on the CPU: "
        "draw there, then move the noise to where z is.",
    ),
    insight="A thousand such steps and the one jump of q_sample give the same distribution: sums of normal numbers "
    "are normal. So training never walks the chain.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            step_without_root_of_beta,
            "You scaled the noise by β. β is its *variance*: multiply by the standard deviation √β.",
        ),
        Wrong(
            "signal-not-scaled",
            step_signal_kept,
            "The signal keeps its size, so the variance grows with every step. Scale z by √(1-β).",
        ),
        Wrong(
            "signal-not-rooted",
            step_signal_not_rooted,
            "You scaled the signal by 1-β; the variance stays 1 with √(1-β).",
        ),
        Wrong(
            "uniform-noise",
            step_uniform,
            "torch.rand draws uniformly between 0 and 1, so it adds brightness too. Gaussian noise is torch.randn.",
        ),
        Wrong("noise-not-normal", step_uniform_of_variance_one),
        Wrong("noise-shared", step_shared_noise),
        Wrong("generator-ignored", step_global_noise),
        Wrong("always-the-same", step_seeded_inside),
        Wrong("wrong-device", step_on_cpu),
        Wrong("generator-elsewhere", step_drawn_around_z),
        Wrong(
            "factors-swapped",
            step_factors_swapped,
            "The factors of signal and noise are swapped: √(1-β) belongs to z, √β to the noise.",
        ),
        Wrong(
            "no-roots",
            step_no_roots,
            "You mixed with 1-β and β. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong("noise-not-scaled", step_noise_not_scaled, "Your noise has variance 1. Scale it by √β."),
        Wrong(
            "no-noise",
            step_without_noise,
            "Nothing is added: that is only the signal, scaled. Add √β times normal noise.",
        ),
        Wrong("same-factor", step_alpha_for_both, "Your noise has the signal's factor √(1-β). Its own is √β."),
        Wrong(
            "one-minus-root", step_one_minus_root, "You scaled the signal by 1-√β. It is √(1-β): the root comes last."
        ),
        Wrong("signal-forgotten", step_noise_only, "That is the noise alone. √(1-β) z is missing."),
    ),
    right=(step_drawn_backwards, step_by_normal, step_drawn_around_z_on_cpu),
)
