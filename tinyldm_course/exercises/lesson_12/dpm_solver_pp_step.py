"""Exercise dpm_solver_pp_step of lesson 12: A step of DPM-Solver++."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


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


def multistep_cases(generator: Generator) -> list[Call]:
    """z, ẑ0, the ẑ0 before, and three ᾱ; once the first step, once the last, and steps to nearly clean latents."""
    calls = [Call((torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([0.3]), 0.1, 0.36, 0.9216))]
    for shape, first, end in (
        ((3, 5), True, None),
        ((1, 2, 4, 4), False, 1.0),
        ((2, 4, 8, 8), False, None),
        ((2, 3), False, uniform(0.96, 0.98, generator)),
        ((2, 3), False, uniform(0.9992, 0.9998, generator)),
    ):
        z, z0_hat, before = (torch.randn(shape, generator=generator) for _ in range(3))
        levels = (
            uniform(0.05, 0.2, generator),
            uniform(0.3, 0.5, generator),
            uniform(0.6, 0.9, generator) if end is None else end,
        )
        calls.append(Call((z, z0_hat, None if first else before, None if first else levels[0], *levels[1:])))
    return calls


def half_log_snr(alpha_bar: float) -> float:
    """λ = log √(ᾱ / (1-ᾱ)); infinite at ᾱ = 1."""
    return math.inf if alpha_bar == 1 else 0.5 * math.log(alpha_bar / (1 - alpha_bar))


def first_order(z, z0_hat, alpha_bar, next_alpha_bar):
    """√((1-ᾱ')/(1-ᾱ)) z + √ᾱ' (1 - e^-h) ẑ0."""
    h = half_log_snr(next_alpha_bar) - half_log_snr(alpha_bar)
    return ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z - next_alpha_bar**0.5 * math.expm1(-h) * z0_hat


def lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar):
    """h of this step and of the one before it."""
    here = half_log_snr(alpha_bar)
    return half_log_snr(next_alpha_bar) - here, here - half_log_snr(previous_alpha_bar)


def dpm_first_order_only(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    return first_order(z, z0_hat, alpha_bar, next_alpha_bar)


def dpm_whole_step(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / before * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_backwards(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat - h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_ratio_inverted(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + before / (2 * h) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_equal_steps(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    return first_order(z, 1.5 * z0_hat - 0.5 * previous_z0, alpha_bar, next_alpha_bar)


def dpm_also_at_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_of(z, z0_hat, previous_z0, levels, time=half_log_snr, kept=None, entering=None, exponent=-1, to_the_end=False):
    """The step with another time λ, or other factors of z and D, or with h_prev up to the end of this step."""
    previous_alpha_bar, alpha_bar, next_alpha_bar = levels
    h, guess = time(next_alpha_bar) - time(alpha_bar), z0_hat
    if previous_z0 is not None and next_alpha_bar < 1:
        before = time(next_alpha_bar if to_the_end else alpha_bar) - time(previous_alpha_bar)
        guess = z0_hat + h / (2 * before) * (z0_hat - previous_z0)
    kept = ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 if kept is None else kept
    entering = next_alpha_bar**0.5 if entering is None else entering
    return kept * z + entering * (1 - math.exp(exponent * h)) * guess


def infinite_at_the_end(time):
    """A time that is infinite at ᾱ = 1, as the exercise says."""
    return lambda alpha_bar: math.inf if alpha_bar == 1 else time(alpha_bar)


def dpm_lambda_not_halved(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, lambda alpha_bar: 2 * half_log_snr(alpha_bar))


def dpm_lambda_inverted(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(lambda a: 0.5 * math.log((1 - a) / a)))


def dpm_lambda_inverted_not_halved(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(lambda a: math.log((1 - a) / a)))


def dpm_log_alpha_bar(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(math.log))


def dpm_log_alpha_bar_to_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, math.log)


def dpm_log_of_half_a_root(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(lambda a: math.log(a**0.5 / (1 - a))))


def dpm_exponent_positive(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, exponent=1)


def dpm_kept_by_variance(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, kept=(1 - next_alpha_bar) / (1 - alpha_bar))


def dpm_entering_by_variance(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, entering=next_alpha_bar)


def dpm_entering_at_old_level(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, entering=alpha_bar**0.5)


def dpm_without_infinity(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, lambda alpha_bar: 0.5 * math.log(alpha_bar / (1 - alpha_bar)))


def dpm_before_to_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, to_the_end=True)


def dpm_sign(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    kept = ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z
    return 2 * kept - dpm_solver_pp_step(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar)


def dpm_first_order_above(limit):
    """A wrong answer that is of first order near the clean end."""

    def answer(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
        if previous_z0 is None or next_alpha_bar > limit:
            return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
        return dpm_solver_pp_step(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar)

    return answer


def dpm_previous_only(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    return first_order(z, z0_hat if previous_z0 is None else previous_z0, alpha_bar, next_alpha_bar)


def dpm_averaged(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    return first_order(z, (z0_hat + previous_z0) / 2, alpha_bar, next_alpha_bar)


def dpm_from_the_previous(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, previous_z0 + h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_by_ddim(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is not None and next_alpha_bar != 1:
        h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
        z0_hat = z0_hat + h / before * (z0_hat - previous_z0) / 2
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def dpm_by_weights(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    ratio = math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar))
    factor = math.sqrt(next_alpha_bar) - ratio * math.sqrt(alpha_bar)
    if previous_z0 is None or next_alpha_bar > 1 - 1e-9:
        return ratio * z + factor * z0_hat
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    r = before / h
    return ratio * z + factor * ((1 + 1 / (2 * r)) * z0_hat - 1 / (2 * r) * previous_z0)


EXERCISE = Exercise(
    name="dpm_solver_pp_step",
    title="A step of DPM-Solver++",
    stars=3,
    minutes=20,
    answer=dpm_solver_pp_step,
    cases=multistep_cases,
    constants=("z", "z0_hat", "previous_z0"),
    hints=(
        "Write λ(ᾱ) first, then the step of first order with plain ẑ0; check that. Extrapolate afterwards.",
        "Measured in λ, the estimate moved by ẑ0 - ẑ0_prev while λ moved by h_prev. Half of this step is h / 2.",
        "D = ẑ0 + h / (2 h_prev) (ẑ0 - ẑ0_prev) in place of ẑ0; but plain ẑ0 where there is none before, and "
        "where ᾱ' = 1, as λ is infinite there: e^-h = 0.",
    ),
    insight="At first order this is DDIM again. The second order costs no further model call, only the memory of "
    "the last estimate; the error of a step then falls with h³ instead of h².",
    wrong=(
        Wrong(
            "first-order-only",
            dpm_first_order_only,
            "You never use previous_z0: that is the first-order step, DDIM in other words. Extrapolate ẑ0 by half "
            "a step.",
        ),
        Wrong(
            "whole-step",
            dpm_whole_step,
            "You extrapolated ẑ0 to the *end* of the step. Half-way is right: ẑ0 stands for the whole step, and "
            "its mean value over it is the one in the middle.",
        ),
        Wrong(
            "backwards",
            dpm_backwards,
            "You extrapolated backwards: ẑ0 moves on as it moved before, from previous_z0 to z0_hat and further.",
        ),
        Wrong(
            "ratio-inverted",
            dpm_ratio_inverted,
            "The ratio of the two steps is inverted: the longer *this* step is, the further ẑ0 will move.",
        ),
        Wrong(
            "steps-taken-as-equal",
            dpm_equal_steps,
            "3/2 ẑ0 - 1/2 ẑ0_prev is right for steps of equal length in λ. These are not: weight by h / h_prev.",
        ),
        Wrong(
            "extrapolated-at-the-end",
            dpm_also_at_the_end,
            "Onto the clean latent, ᾱ' = 1, λ is infinite and so is your extrapolation. That step takes plain ẑ0.",
        ),
        Wrong(
            "lambda-not-halved",
            dpm_lambda_not_halved,
            "Your λ is log(ᾱ/(1-ᾱ)). It is the logarithm of the *root*, half of that: e^-h must be a ratio of "
            "amplitudes.",
        ),
        Wrong(
            "lambda-inverted",
            dpm_lambda_inverted,
            "You have e^h for e^-h. Is your λ inverted, log √((1-ᾱ)/ᾱ)? It is signal over noise, log √(ᾱ/(1-ᾱ)), "
            "which grows on the way, so that h is positive. Or is the sign of the exponent missing?",
        ),
        Wrong(
            "lambda-inverted-not-halved",
            dpm_lambda_inverted_not_halved,
            "Your λ is log((1-ᾱ)/ᾱ). It is inverted, and the root is missing: log √(ᾱ/(1-ᾱ)), which grows on the way.",
        ),
        Wrong(
            "log-alpha-bar",
            dpm_log_alpha_bar,
            "Your λ is log ᾱ, of the signal alone. It is signal over noise: log √(ᾱ/(1-ᾱ)).",
        ),
        Wrong(
            "log-alpha-bar-to-the-end",
            dpm_log_alpha_bar_to_the_end,
            "Your λ is log ᾱ, of the signal alone, and 0 at ᾱ = 1. It is signal over noise, log √(ᾱ/(1-ᾱ)), and "
            "infinite there.",
        ),
        Wrong(
            "half-a-root",
            dpm_log_of_half_a_root,
            "Your λ is log(√ᾱ / (1-ᾱ)): the root covers ᾱ only. The noise's amplitude is √(1-ᾱ).",
        ),
        Wrong(
            "exponent-positive",
            dpm_exponent_positive,
            "The sign in the exponent is wrong: it is e^-h, which is below 1. e^h grows without bound towards the "
            "clean latent.",
        ),
        Wrong(
            "z-by-variance",
            dpm_kept_by_variance,
            "The root is missing in the factor of z: (1-ᾱ')/(1-ᾱ) is a ratio of variances.",
        ),
        Wrong(
            "estimate-by-variance",
            dpm_entering_by_variance,
            "The root is missing in the factor of D: it enters with √ᾱ' (1 - e^-h).",
        ),
        Wrong(
            "estimate-at-old-level",
            dpm_entering_at_old_level,
            "D enters with the √ᾱ of where z is. It belongs to the new mixture: √ᾱ' (1 - e^-h).",
        ),
        Wrong(
            "before-to-the-end",
            dpm_before_to_the_end,
            "Your h_prev reaches from the last level to the *end* of this step. It ends where this step begins: "
            "λ - λ_prev.",
        ),
        Wrong(
            "divided-by-zero",
            dpm_without_infinity,
            "Onto the clean latent ᾱ' is 1, and ᾱ'/(1-ᾱ') divides by zero. λ' is infinite there: take math.inf for "
            "it, and e^-h is 0.",
        ),
        Wrong(
            "sign",
            dpm_sign,
            "The part of ẑ0 has the wrong sign: the factor is √ᾱ' (1 - e^-h), which is positive. (expm1(-h) is "
            "e^-h - 1, negative.)",
        ),
        Wrong(
            "first-order-near-the-end",
            dpm_first_order_above(0.95),
            "You leave the second order out wherever ᾱ' is near 1. Only ᾱ' = 1 itself, the last step, is of first "
            "order.",
        ),
        Wrong(
            "first-order-at-the-very-end",
            dpm_first_order_above(0.999),
            "You leave the second order out wherever ᾱ' is near 1. Only ᾱ' = 1 itself, the last step, is of first "
            "order.",
        ),
        Wrong(
            "previous-only",
            dpm_previous_only,
            "You used the ẑ0 of the step before in place of the new one. Both count: ẑ0 + h / (2 h_prev) (ẑ0 - "
            "ẑ0_prev).",
        ),
        Wrong(
            "averaged",
            dpm_averaged,
            "You averaged the two ẑ0. The line through them is followed *further*, by half a step: extrapolate.",
        ),
        Wrong(
            "from-the-previous",
            dpm_from_the_previous,
            "Your extrapolation starts at the previous estimate. It starts at the current one, ẑ0, and goes on in "
            "the same direction.",
        ),
    ),
    right=(dpm_by_ddim, dpm_by_weights, torch.no_grad()(dpm_solver_pp_step)),
)
