"""Exercise scaled_linear_betas of lesson 02: Stable Diffusion's schedule."""

import math

import torch
from torch import Generator

from tinyldm import forward_diffusion
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def scaled_linear_betas(T, start, end):
    """The variances β that Stable Diffusion's steps add: (T,).

    T: number of steps; start, end: β of the first and of the last step.
    """
    ### BEGIN SOLUTION
    return torch.linspace(start**0.5, end**0.5, T) ** 2
    ### END SOLUTION


def schedule_cases(generator: Generator) -> list[Call]:
    """T, the first β and the last."""
    start, end = (0.001 + 0.1 * torch.rand(2, generator=generator)).tolist()
    return [Call((3, 0.01, 0.09)), Call((7, start, start + end)), Call((1000, 0.00085, 0.012))]


def betas_linear(T, start, end):
    return torch.linspace(start, end, T)


def betas_not_squared(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T)


def betas_squared_ends(T, start, end):
    return torch.linspace(start**2, end**2, T) ** 0.5


def betas_without_end(T, start, end):
    return (start**0.5 + (end**0.5 - start**0.5) * torch.arange(T) / T) ** 2


def betas_cumulated(T, start, end):
    return torch.cumprod(1 - forward_diffusion.scaled_linear_betas(T, start, end), 0)


def betas_one_too_many(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T + 1) ** 2


def betas_of_squares(T, start, end):
    return torch.linspace(start, end, T) ** 2


def betas_falling(T, start, end):
    return forward_diffusion.scaled_linear_betas(T, end, start)


def betas_with_own_ends(T, start, end):
    return forward_diffusion.scaled_linear_betas(T, 0.00085, 0.012)


def betas_with_own_count(T, start, end):
    return forward_diffusion.scaled_linear_betas(1000, start, end)


def betas_of_diffusers_cosine(T, start, end):
    return start + (end - start) * torch.sin(torch.linspace(0, math.pi / 2, T)) ** 2


def betas_without_start(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T + 1)[1:] ** 2


def betas_geometric(T, start, end):
    return start * (end / start) ** (torch.arange(T) / (T - 1))


def betas_doubled(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T) * 2


def betas_as_alphas(T, start, end):
    return 1 - torch.linspace(start**0.5, end**0.5, T) ** 2


def betas_quadratic(T, start, end):
    return start + (end - start) * torch.linspace(0, 1, T) ** 2


def betas_by_arange(T, start, end):
    share = torch.arange(T, dtype=torch.float64) / (T - 1)
    return (math.sqrt(start) * (1 - share) + math.sqrt(end) * share).square().float()


def betas_by_loop(T, start, end):
    step = (end**0.5 - start**0.5) / (T - 1)
    return torch.tensor([(start**0.5 + i * step) ** 2 for i in range(T)])


EXERCISE = Exercise(
    name="scaled_linear_betas",
    title="Stable Diffusion's schedule",
    stars=1,
    minutes=5,
    answer=scaled_linear_betas,
    cases=schedule_cases,
    hints=(
        "Which quantity rises linearly here: β, or its square root?",
        "torch.linspace gives T numbers with both ends; from √start to √end.",
        "Square what linspace gives.",
    ),
    shape_hint=2,
    insight="Because √β and not β rises linearly, early steps add less noise than in DDPM's own schedule: a latent "
    'is smaller than an image and is drowned sooner. CompVis calls it "linear", diffusers "scaled_linear".',
    wrong=(
        Wrong(
            "beta-linear",
            betas_linear,
            "You made β itself rise linearly: that is DDPM's schedule. Here its square root rises linearly.",
        ),
        Wrong(
            "not-squared",
            betas_not_squared,
            "These are the square roots: they rise linearly as they should, but β is their square.",
        ),
        Wrong(
            "root-and-square-swapped",
            betas_squared_ends,
            "Root and square are swapped: take the roots of the ends, go linearly, and square at the end.",
        ),
        Wrong(
            "end-left-out",
            betas_without_end,
            "Your last β is not `end`: T numbers with both ends lie (end - start) / (T - 1) apart, not / T.",
        ),
        Wrong(
            "alpha-bar-for-beta", betas_cumulated, "That is ᾱ, what is left after all steps; β is what one step adds."
        ),
        Wrong("one-too-many", betas_one_too_many, "You return T + 1 numbers: there is one β for each of the T steps."),
        Wrong(
            "ends-not-rooted",
            betas_of_squares,
            "You squared, but took no roots before: your first β is start² instead of start. Go from √start to "
            "√end, then square.",
        ),
        Wrong(
            "ends-swapped",
            betas_falling,
            "Your β fall from `end` to `start`. The first step adds `start`, the last one `end`.",
        ),
        Wrong(
            "own-ends",
            betas_with_own_ends,
            "Your β go from 0.00085 to 0.012, whatever is asked for: those are Stable Diffusion's ends. Take "
            "`start` and `end`.",
        ),
        Wrong("own-T", betas_with_own_count, "You return 1000 numbers, however many are asked for. Take T."),
        Wrong("sine", betas_of_diffusers_cosine, "Your β rise along a sine. Here their square roots rise linearly."),
        Wrong(
            "start-left-out",
            betas_without_start,
            "Your first β is not `start`: both ends are included, and T numbers lie (√end - √start) / (T - 1) apart.",
        ),
        Wrong(
            "geometric",
            betas_geometric,
            "Your β grow by a constant factor: their *logarithms* rise linearly. Here their square roots do.",
        ),
        Wrong(
            "doubled-for-squared", betas_doubled, "You multiplied by 2 at the end. The square undoes the roots: ** 2."
        ),
        Wrong(
            "alphas", betas_as_alphas, "Those are α = 1 - β, what a step keeps. The exercise asks for the β themselves."
        ),
        Wrong(
            "quadratic",
            betas_quadratic,
            "You let β rise from start with the square of the share t / (T - 1). It is √β that goes linearly from "
            "√start to √end; then square.",
        ),
    ),
    right=(forward_diffusion.scaled_linear_betas, betas_by_arange, betas_by_loop),
)
