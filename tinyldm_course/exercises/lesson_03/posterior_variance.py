"""Exercise posterior_variance of lesson 03: The variance of the posterior."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import random_alpha_bar
from tinyldm_course.exercises.lesson_03.shared import levels


def posterior_variance(t, alpha_bar):
    """The variance of q(z_{t-1} | z_t, z0).  t: an int in 0 … T-1; alpha_bar: (T,).  Returns a number."""
    ### BEGIN SOLUTION
    before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[0])
    beta = 1 - alpha_bar[t] / before
    return (1 - before) / (1 - alpha_bar[t]) * beta
    ### END SOLUTION


def variance_cases(generator: Generator) -> list[Call]:
    """t and ᾱ, with t = 0 among them."""
    calls = [Call((t, torch.tensor([0.8, 0.6, 0.3]))) for t in (2, 1, 0)]
    return [*calls, *(Call((t, random_alpha_bar(T, generator))) for t, T in ((3, 5), (15, 20), (7, 10)))]


def variance_is_beta(t, alpha_bar):
    return levels(t, alpha_bar)[2]


def variance_is_deviation(t, alpha_bar):
    return posterior_variance(t, alpha_bar).sqrt()


def variance_is_logarithm(t, alpha_bar):
    return posterior_variance(t, alpha_bar).log()


def variance_is_clamped_logarithm(t, alpha_bar):
    return posterior_variance(t, alpha_bar).clamp(min=1e-20).log()


def variance_from_the_end_at_0(t, alpha_bar):
    now, before = alpha_bar[t], alpha_bar[t - 1]
    return (1 - before) / (1 - now) * (1 - now / before)


def variance_inverted(t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (1 - now) / (1 - before) * beta


def variance_of_signals(t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return before / now * beta


def variance_with_noise_of_all_steps(t, alpha_bar):
    return 1 - levels(t, alpha_bar)[1]


def variance_with_difference(t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    return (1 - before) / (1 - now) * (before - now)


def variance_from_the_start_at_1(t, alpha_bar):
    return posterior_variance(0 if t == 1 else t, alpha_bar)


def variance_floored(t, alpha_bar):
    return posterior_variance(max(t, 1), alpha_bar)


def variance_not_times_beta(t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    return (1 - before) / (1 - now)


def variance_times_alpha(t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (1 - before) / (1 - now) * (1 - beta)


def variance_not_divided(t, alpha_bar):
    _, before, beta = levels(t, alpha_bar)
    return (1 - before) * beta


def variance_of_the_next(t, alpha_bar):
    now, after = alpha_bar[t], alpha_bar[min(t + 1, len(alpha_bar) - 1)]
    return (1 - now) / (1 - after) * (1 - after / now)


def variance_with_inverted_alpha(t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    return (1 - before) / (1 - now) * (1 - before / now)


def variance_is_beta_at_0(t, alpha_bar):
    return 1 - alpha_bar[0] if t == 0 else posterior_variance(t, alpha_bar)


def variance_by_precisions(t, alpha_bar):
    if t == 0:
        return alpha_bar[0] * 0
    _, before, beta = levels(t, alpha_bar)
    return 1 / (1 / (1 - before) + (1 - beta) / beta)


def variance_by_padding(t, alpha_bar):
    padded = torch.cat([alpha_bar.new_ones(1), alpha_bar])
    return (1 - padded[t]) * (padded[t] - padded[t + 1]) / (padded[t] * (1 - padded[t + 1]))


EXERCISE = Exercise(
    name="posterior_variance",
    title="The variance of the posterior",
    stars=2,
    minutes=10,
    answer=posterior_variance,
    cases=variance_cases,
    constants=("alpha_bar",),
    hints=(
        "β_t = 1 - ᾱ_t / ᾱ_{t-1}, with ᾱ_{-1} = 1.",
        "Knowing z0 as well makes z_{t-1} more certain than β_t alone: by the factor (1-ᾱ_{t-1}) / (1-ᾱ_t).",
        "At t = 0 the factor is 0: the last step adds no noise.",
    ),
    insight="It is 0 at t = 0, so its logarithm is not finite there: reference code takes the value at t = 1 "
    "instead. The variance is smaller than β_t and close to it for large t; both are used in sampling.",
    wrong=(
        Wrong(
            "last-entry-at-0",
            variance_from_the_end_at_0,
            "At t = 0 your alpha_bar[t - 1] is alpha_bar[-1], the *last* entry. Before the first step ᾱ is 1.",
        ),
        Wrong(
            "is-beta",
            variance_is_beta,
            "That is β_t, the upper choice of the DDPM paper. The posterior knows z0 too, and is narrower.",
        ),
        Wrong(
            "is-deviation",
            variance_is_deviation,
            "You returned the standard deviation; the exercise asks for the variance.",
        ),
        Wrong(
            "is-clamped-logarithm",
            variance_is_clamped_logarithm,
            "You returned the logarithm, kept finite at t = 0; the exercise asks for the variance itself.",
        ),
        Wrong(
            "is-logarithm",
            variance_is_logarithm,
            "You returned the logarithm; the exercise asks for the variance itself.",
        ),
        Wrong("inverted", variance_inverted, "The fraction is upside down: the factor must be below 1."),
        Wrong(
            "beta-of-all-steps",
            variance_with_noise_of_all_steps,
            "Your result is 1-ᾱ_{t-1}. That comes out if β_t is taken for 1-ᾱ_t, the noise of all steps up to t; "
            "this one step adds β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "beta-is-difference",
            variance_with_difference,
            "You took ᾱ_{t-1} - ᾱ_t for β_t. β is a share of what was left before, so divide: β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "start-at-1",
            variance_from_the_start_at_1,
            "At t = 1 your result is 0, as if ᾱ_{t-1} were 1. That holds at t = 0; at t = 1 it is alpha_bar[0].",
        ),
        Wrong(
            "signal-for-noise",
            variance_of_signals,
            "The factor has ᾱ where it needs 1-ᾱ: it is about how much *noise* there is at t-1 and at t.",
        ),
        Wrong(
            "that-of-1-at-0",
            variance_floored,
            "At t = 0 you return the value of t = 1: reference code does that for the logarithm only. The variance "
            "itself is 0.",
        ),
        Wrong("beta-missing", variance_not_times_beta, "That is the factor before β_t alone: multiply by β_t."),
        Wrong(
            "alpha-for-beta",
            variance_times_alpha,
            "You multiplied by α_t, what step t keeps. It is β_t = 1 - α_t, what it adds.",
        ),
        Wrong("not-divided", variance_not_divided, "The division by 1-ᾱ_t is missing."),
        Wrong(
            "one-late",
            variance_of_the_next,
            "Everything is one step late: you took ᾱ_{t+1} and ᾱ_t for ᾱ_t and ᾱ_{t-1}.",
        ),
        Wrong(
            "alpha-inverted",
            variance_with_inverted_alpha,
            "Your α_t is ᾱ_{t-1} / ᾱ_t, above 1. It is ᾱ_t / ᾱ_{t-1}, what step t keeps.",
        ),
        Wrong(
            "beta-at-0",
            variance_is_beta_at_0,
            "At t = 0 you return β_0. There ᾱ_{t-1} is 1, so 1-ᾱ_{t-1} is 0: nothing is left to draw, and the "
            "variance is 0.",
        ),
    ),
    right=(variance_by_precisions, variance_by_padding),
)
