"""Exercise posterior_mean of lesson 03: The mean of the posterior."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import random_alpha_bar
from tinyldm_course.exercises.lesson_03.shared import levels


def posterior_mean(z0, z_t, t, alpha_bar):
    """The mean of q(z_{t-1} | z_t, z0).

    z0, z_t: (B, …); t: an int in 0 … T-1, the same for all; alpha_bar: (T,).  Returns (B, …).
    """
    ### BEGIN SOLUTION
    before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[0])
    alpha = alpha_bar[t] / before
    weighted = before.sqrt() * (1 - alpha) * z0 + alpha.sqrt() * (1 - before) * z_t
    return weighted / (1 - alpha_bar[t])
    ### END SOLUTION


def posterior_cases(generator: Generator) -> list[Call]:
    """z0, z_t, t, ᾱ; t = 0 is among them."""
    alpha_bar = torch.tensor([0.8, 0.6, 0.3])
    z0, z_t = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0]])
    calls = [Call((z0, z_t, t, alpha_bar)) for t in (2, 1, 0)]
    for shape in ((2, 3), (3, 4, 8, 8)):
        z0, z_t = (torch.randn(shape, generator=generator) for _ in range(2))
        t = int(torch.randint(2, 10, (), generator=generator))
        calls.append(Call((z0, z_t, t, random_alpha_bar(10, generator))))
    return calls


def mean_from_the_end_at_0(z0, z_t, t, alpha_bar):
    now, before = alpha_bar[t], alpha_bar[t - 1]
    beta = 1 - now / before
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_swapped(z0, z_t, t, alpha_bar):
    return posterior_mean(z_t, z0, t, alpha_bar)


def mean_without_roots(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before * beta * z0 + (1 - beta) * (1 - before) * z_t) / (1 - now)


def mean_not_divided(z0, z_t, t, alpha_bar):
    return posterior_mean(z0, z_t, t, alpha_bar) * (1 - alpha_bar[t])


def mean_with_this_level(z0, z_t, t, alpha_bar):
    now, _, beta = levels(t, alpha_bar)
    return (now.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - now) * z_t) / (1 - now)


def mean_with_alpha_bar_for_alpha(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + now.sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_noise_of_all_steps(z0, z_t, t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    return (before.sqrt() * (1 - now) * z0 + now.sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_difference(z0, z_t, t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    beta = before - now
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_from_the_start_at_1(z0, z_t, t, alpha_bar):
    return z0 + 0 * z_t if t == 1 else posterior_mean(z0, z_t, t, alpha_bar)


def mean_with_this_signal(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (now.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_divisor_rooted(z0, z_t, t, alpha_bar):
    return posterior_mean(z0, z_t, t, alpha_bar) * (1 - alpha_bar[t]).sqrt()


def mean_is_z_t_at_0(z0, z_t, t, alpha_bar):
    return z_t + 0 * z0 if t == 0 else posterior_mean(z0, z_t, t, alpha_bar)


def mean_of_the_jump(z0, z_t, t, alpha_bar):
    return levels(t, alpha_bar)[1].sqrt() * z0 + 0 * z_t


def mean_minus(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 - (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_alpha_not_rooted(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + (1 - beta) * (1 - before) * z_t) / (1 - now)


def mean_with_signal_not_rooted(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_divided_by_before(z0, z_t, t, alpha_bar):
    if t == 0:
        return z0 + 0 * z_t
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - before)


def mean_of_the_next(z0, z_t, t, alpha_bar):
    now, after = alpha_bar[t], alpha_bar[min(t + 1, len(alpha_bar) - 1)]
    beta = 1 - after / now
    return (now.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - now) * z_t) / (1 - after)


def mean_with_signal_for_noise(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * before * z_t) / (1 - now)


def mean_with_beta_rooted(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta.sqrt() * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_alpha_for_beta(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * (1 - beta) * z0 + beta.sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_inverted_alpha(z0, z_t, t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    beta = 1 - before / now
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_noise_of_t(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - now) * z_t) / (1 - now)


def mean_with_beta_of_all_steps(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * (1 - now) * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_by_eps(z0, z_t, t, alpha_bar):
    now, _, beta = levels(t, alpha_bar)
    eps = (z_t - now.sqrt() * z0) / (1 - now).sqrt()
    return (z_t - beta / (1 - now).sqrt() * eps) / (1 - beta).sqrt()


def mean_by_precisions(z0, z_t, t, alpha_bar):
    """The product of two Gaussians: each mean counts by its precision."""
    if t == 0:
        return z0 + 0 * z_t
    _, before, beta = levels(t, alpha_bar)
    prior, seen = 1 / (1 - before), (1 - beta) / beta
    return (prior * before.sqrt() * z0 + seen * z_t / (1 - beta).sqrt()) / (prior + seen)


EXERCISE = Exercise(
    name="posterior_mean",
    title="The mean of the posterior",
    stars=3,
    minutes=15,
    answer=posterior_mean,
    cases=posterior_cases,
    constants=("alpha_bar",),
    hints=(
        "Get β_t first: ᾱ_t = ᾱ_{t-1} (1-β_t).",
        "Before the first step nothing is noised: for t = 0 take ᾱ_{t-1} = 1. (In Python, alpha_bar[-1] is the "
        "last entry.)",
        "(√ᾱ_{t-1} β_t z0 + √(1-β_t) (1-ᾱ_{t-1}) z_t) / (1-ᾱ_t)",
    ),
    insight="The mean lies between z0 and z_t: at t = 0 it is z0 itself. In sampling z0 is not known, and the "
    "network's ẑ0 takes its place: that is all there is to DDPM.",
    wrong=(
        Wrong(
            "last-entry-at-0",
            mean_from_the_end_at_0,
            "At t = 0 your alpha_bar[t - 1] is alpha_bar[-1], the *last* entry. Before the first step ᾱ is 1.",
        ),
        Wrong("swapped", mean_swapped, "The factors of z0 and z_t are swapped."),
        Wrong("no-roots", mean_without_roots, "√ᾱ_{t-1} and √α_t are roots: they scale tensors, not variances."),
        Wrong(
            "not-divided",
            mean_not_divided,
            "The division by 1-ᾱ_t is missing: the two weights must add up to the whole.",
        ),
        Wrong(
            "level-of-t",
            mean_with_this_level,
            "You took ᾱ_t in place of ᾱ_{t-1}: the posterior is about the step *before* t.",
        ),
        Wrong(
            "alpha-bar-for-alpha",
            mean_with_alpha_bar_for_alpha,
            "You scaled z_t with √ᾱ_t. It is √α_t = √(1-β_t), of this one step.",
        ),
        Wrong(
            "beta-of-all-steps",
            mean_with_noise_of_all_steps,
            "You took 1-ᾱ_t for β_t, and ᾱ_t for α_t. That is the noise of all steps up to t; this one step adds "
            "β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "beta-is-difference",
            mean_with_difference,
            "You took ᾱ_{t-1} - ᾱ_t for β_t. β is a share of what was left before, so divide: β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "start-at-1",
            mean_from_the_start_at_1,
            "At t = 1 your result is z0, as if ᾱ_{t-1} were 1. That holds at t = 0; at t = 1 it is alpha_bar[0].",
        ),
        Wrong(
            "signal-of-t", mean_with_this_signal, "You scaled z0 by √ᾱ_t. It is √ᾱ_{t-1}: the mean is a point at t-1."
        ),
        Wrong("divisor-rooted", mean_divisor_rooted, "You divided by √(1-ᾱ_t). It is 1-ᾱ_t, without a root."),
        Wrong(
            "z-t-at-0",
            mean_is_z_t_at_0,
            "At t = 0 you return z_t. There 1-ᾱ_{t-1} is 0, so z_t has no weight: the mean is z0.",
        ),
        Wrong(
            "prior-only",
            mean_of_the_jump,
            "That is the mean of q(z_{t-1} | z0), which does not know z_t. The posterior knows both.",
        ),
        Wrong("minus", mean_minus, "You subtracted the two parts. The mean lies *between* z0 and z_t: add them."),
        Wrong("alpha-not-rooted", mean_with_alpha_not_rooted, "z_t has α_t in your result. It is the root, √α_t."),
        Wrong(
            "signal-not-rooted", mean_with_signal_not_rooted, "z0 has ᾱ_{t-1} in your result. It is the root, √ᾱ_{t-1}."
        ),
        Wrong(
            "divided-by-noise-before",
            mean_divided_by_before,
            "You divided by 1-ᾱ_{t-1}, the noise before the step. It is 1-ᾱ_t.",
        ),
        Wrong(
            "one-late", mean_of_the_next, "Everything is one step late: you took ᾱ_{t+1} and ᾱ_t for ᾱ_t and ᾱ_{t-1}."
        ),
        Wrong(
            "signal-for-noise",
            mean_with_signal_for_noise,
            "z_t has ᾱ_{t-1} where it needs 1-ᾱ_{t-1}, the noise that was there before the step.",
        ),
        Wrong("beta-rooted", mean_with_beta_rooted, "You took the root of β_t. In the mean β_t has no root."),
        Wrong(
            "alpha-and-beta-swapped",
            mean_with_alpha_for_beta,
            "α_t and β_t = 1 - α_t are swapped: β_t belongs to z0, √α_t to z_t.",
        ),
        Wrong(
            "alpha-inverted",
            mean_with_inverted_alpha,
            "Your α_t is ᾱ_{t-1} / ᾱ_t, above 1. It is ᾱ_t / ᾱ_{t-1}, what step t keeps.",
        ),
        Wrong(
            "noise-of-t",
            mean_with_noise_of_t,
            "You weighted z_t with 1-ᾱ_t. It is 1-ᾱ_{t-1}, the noise that is left one step earlier.",
        ),
        Wrong(
            "z0-by-all-noise",
            mean_with_beta_of_all_steps,
            "You weighted z0 with 1-ᾱ_t, the noise of all steps up to t. It is β_t, the noise of this one step.",
        ),
    ),
    right=(mean_by_eps, mean_by_precisions),
)
