"""Exercise geometric_levels of lesson 04: 2019: a ladder of noise levels."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def geometric_levels(sigma_1, sigma_L, L):
    """L noise levels, falling from sigma_1 to sigma_L by a constant ratio, both ends included: (L,).

    sigma_1 > sigma_L > 0; L: an int, at least 2.
    """
    ### BEGIN SOLUTION
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(L) / (L - 1))
    ### END SOLUTION


def level_cases(generator: Generator) -> list[Call]:
    """The largest σ, the smallest, how many."""
    calls = [Call((1.0, 0.01, 3))]
    for L in (2, 7, 10):
        largest, smallest = torch.rand(2, generator=generator).tolist()
        calls.append(Call((1 + 4 * largest, 0.01 + 0.1 * smallest, L)))
    return calls


def levels_linear(sigma_1, sigma_L, L):
    return torch.linspace(sigma_1, sigma_L, L)


def levels_rising(sigma_1, sigma_L, L):
    return geometric_levels(sigma_1, sigma_L, L).flip(0)


def levels_without_last(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(L) / L)


def levels_of_roots(sigma_1, sigma_L, L):
    return torch.linspace(sigma_1**0.5, sigma_L**0.5, L) ** 2


def levels_as_logarithms(sigma_1, sigma_L, L):
    return torch.linspace(math.log(sigma_1), math.log(sigma_L), L)


def levels_of_halves(sigma_1, sigma_L, L):
    return sigma_1 * 0.5 ** torch.arange(L)


def levels_one_more(sigma_1, sigma_L, L):
    return geometric_levels(sigma_1, sigma_L, L + 1)


def levels_of_another_base(sigma_1, sigma_L, L):
    return torch.logspace(math.log(sigma_1), math.log(sigma_L), L)


def levels_whole_ratio(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** torch.arange(L)


def levels_bare_powers(sigma_1, sigma_L, L):
    return (sigma_L / sigma_1) ** torch.arange(L)


def levels_without_first_factor(sigma_1, sigma_L, L):
    return (sigma_L / sigma_1) ** (torch.arange(L) / (L - 1))


def levels_from_one(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(1, L + 1) / (L - 1))


def levels_without_first(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(1, L + 1) / L)


def levels_inverted_ratio(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_1 / sigma_L) ** (torch.arange(L) / (L - 1))


def levels_of_inverses(sigma_1, sigma_L, L):
    return 1 / torch.linspace(1 / sigma_1, 1 / sigma_L, L)


def levels_harmonic(sigma_1, sigma_L, L):
    return sigma_1 / torch.arange(1, L + 1)


def levels_of_karras(sigma_1, sigma_L, L):
    return (torch.linspace(sigma_1 ** (1 / 7), sigma_L ** (1 / 7), L)) ** 7


def levels_squared(sigma_1, sigma_L, L):
    return geometric_levels(sigma_1, sigma_L, L) ** 2


def levels_from_the_smallest(sigma_1, sigma_L, L):
    return sigma_L * (sigma_L / sigma_1) ** (torch.arange(L) / (L - 1))


def levels_one_less(sigma_1, sigma_L, L):
    return geometric_levels(sigma_1, sigma_L, L)[:-1]


def levels_by_logspace(sigma_1, sigma_L, L):
    return torch.logspace(math.log10(sigma_1), math.log10(sigma_L), L)


def levels_by_loop(sigma_1, sigma_L, L):
    ratio, found = (sigma_L / sigma_1) ** (1 / (L - 1)), [sigma_1]
    while len(found) < L:
        found.append(found[-1] * ratio)
    return torch.tensor(found)


EXERCISE = Exercise(
    name="geometric_levels",
    title="2019: a ladder of noise levels",
    stars=1,
    minutes=6,
    answer=geometric_levels,
    cases=level_cases,
    tolerance=1e-3,
    hints=(
        "A constant ratio: what is constant about the logarithms?",
        "The ratio r satisfies σ_1 · r^(L-1) = σ_L.",
        "σ_1 · (σ_L / σ_1) ** (torch.arange(L) / (L - 1))",
    ),
    insight="With a constant ratio every level overlaps its neighbour equally well, so points found at one level "
    "are a good start for the next. Equal steps would leave a cliff at the small end: from 3 to 0.03 in 10 equal "
    "steps, the last two levels are 0.36 and 0.03.",
    wrong=(
        Wrong(
            "linear",
            levels_linear,
            "Your levels fall by equal *steps*. Then the last step down is a cliff; they must fall by equal ratios.",
        ),
        Wrong("rising", levels_rising, "Your levels rise. Sampling starts with the largest: it comes first."),
        Wrong(
            "last-left-out",
            levels_without_last,
            "Your last level is not σ_L: L levels with both ends have L - 1 ratios between them.",
        ),
        Wrong(
            "roots-linear",
            levels_of_roots,
            "You let the roots fall linearly, like Stable Diffusion's β. Here the *logarithms* fall linearly.",
        ),
        Wrong("logarithms", levels_as_logarithms, "These are the logarithms; the levels are their exponentials."),
        Wrong("halved", levels_of_halves, "You halve each time. The ratio must be such that the last level is σ_L."),
        Wrong(
            "another-base",
            levels_of_another_base,
            "You raised 10 to natural logarithms (torch.logspace takes powers of 10). Take math.log10, or for "
            "torch.logspace base=math.e.",
        ),
        Wrong(
            "whole-ratio",
            levels_whole_ratio,
            "Each of your levels is σ_L/σ_1 times the one before: the whole way in one step. Spread it over L - 1 "
            "steps: the exponent is i / (L - 1).",
        ),
        Wrong(
            "bare-powers",
            levels_bare_powers,
            "You start at 1, and each level is σ_L/σ_1 times the one before: the whole way in one step. The factor "
            "σ_1 is missing, and the exponent is i / (L - 1).",
        ),
        Wrong(
            "factor-missing",
            levels_without_first_factor,
            "Your levels start at 1. The ratio is right; the factor σ_1 before it is missing.",
        ),
        Wrong(
            "counted-from-one",
            levels_from_one,
            "Your levels are one ratio too far down: the first is not σ_1. Count i from 0.",
        ),
        Wrong(
            "first-left-out",
            levels_without_first,
            "Your last level is σ_L, but the first is not σ_1: L levels with both ends have L - 1 ratios between "
            "them, and the first exponent is 0.",
        ),
        Wrong("one-too-many", levels_one_more, "You return L + 1 levels; the exercise asks for L, both ends included."),
        Wrong(
            "ratio-inverted",
            levels_inverted_ratio,
            "Your ratio is σ_1/σ_L, above 1: the levels grow beyond σ_1. It is σ_L/σ_1.",
        ),
        Wrong("inverses-linear", levels_of_inverses, "You let 1/σ rise linearly. Here the *logarithms* fall linearly."),
        Wrong(
            "harmonic",
            levels_harmonic,
            "You divided σ_1 by 1, 2, 3, …. The ratio of neighbours is to be constant, and the last level σ_L.",
        ),
        Wrong(
            "karras",
            levels_of_karras,
            "Those are the levels of Karras et al. 2022 (ρ = 7). Here the ratio of neighbours is constant.",
        ),
        Wrong(
            "variances",
            levels_squared,
            "You squared the levels: those are variances. The exercise asks for the standard deviations σ themselves.",
        ),
        Wrong(
            "factor-is-the-smallest",
            levels_from_the_smallest,
            "Your levels start at σ_L and fall from there. The first is σ_1.",
        ),
        Wrong("one-too-few", levels_one_less, "You return L - 1 levels; both ends are included."),
    ),
    right=(levels_by_logspace, levels_by_loop),
)
