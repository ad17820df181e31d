"""Exercise z0_from_eps of lesson 03: The clean latent behind the noise."""

import math

import torch

from tinyldm import forward_diffusion
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import ONE_NUMBER
from tinyldm_course.exercises.lesson_03.shared import conversion_cases


def z0_from_eps(eps, z_t, alpha_bar):
    """The z0 for which z_t = √ᾱ z0 + √(1-ᾱ) ε.

    eps, z_t: (B, …); alpha_bar: (B, 1, …, 1), in (0, 1).  Returns (B, …).
    """
    ### BEGIN SOLUTION
    return (z_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    ### END SOLUTION


def z0_noise_subtracted(eps, z_t, alpha_bar):
    return z_t - eps


def z0_not_divided(eps, z_t, alpha_bar):
    return z_t - (1 - alpha_bar).sqrt() * eps


def z0_without_roots(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar) * eps) / alpha_bar


def z0_factors_swapped(eps, z_t, alpha_bar):
    return (z_t - alpha_bar.sqrt() * eps) / (1 - alpha_bar).sqrt()


def z0_multiplied(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar).sqrt() * eps) * alpha_bar.sqrt()


def z0_divided_too_early(eps, z_t, alpha_bar):
    return z_t - (1 - alpha_bar).sqrt() * eps / alpha_bar.sqrt()


def z0_noise_added(eps, z_t, alpha_bar):
    return (z_t + (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()


def z0_noise_not_rooted(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar) * eps) / alpha_bar.sqrt()


def z0_divisor_not_rooted(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar


def z0_only_signal_divided(eps, z_t, alpha_bar):
    return z_t / alpha_bar.sqrt() - (1 - alpha_bar).sqrt() * eps


def z0_arguments_swapped(eps, z_t, alpha_bar):
    return forward_diffusion.z0_from_eps(z_t, eps, alpha_bar)


def z0_of_first_level(eps, z_t, alpha_bar):
    return forward_diffusion.z0_from_eps(eps, z_t, alpha_bar[:1])


def z0_by_math(eps, z_t, alpha_bar):
    return (z_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def z0_in_place(eps, z_t, alpha_bar):
    with torch.no_grad():
        z_t.sub_((1 - alpha_bar).sqrt() * eps)
    return z_t / alpha_bar.sqrt()


def z0_noise_unscaled(eps, z_t, alpha_bar):
    return (z_t - eps) / alpha_bar.sqrt()


def z0_only_divided(eps, z_t, alpha_bar):
    return z_t / alpha_bar.sqrt() + 0 * eps


def z0_of_velocity(eps, z_t, alpha_bar):
    return alpha_bar.sqrt() * z_t - (1 - alpha_bar).sqrt() * eps


def z0_noise_of_signal(eps, z_t, alpha_bar):
    return (z_t - alpha_bar.sqrt() * eps) / alpha_bar.sqrt()


def z0_clipped(eps, z_t, alpha_bar):
    return ((z_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()).clamp(-1, 1)


def z0_one_minus_root(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar.sqrt()) * eps) / alpha_bar.sqrt()


def z0_divided_by_noise(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar).sqrt() * eps) / (1 - alpha_bar).sqrt()


def z0_by_sigma(eps, z_t, alpha_bar):
    return z_t / alpha_bar.sqrt() - (1 / alpha_bar - 1).sqrt() * eps


def z0_by_addcmul(eps, z_t, alpha_bar):
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return torch.addcmul(z_t, noise.expand_as(eps), eps, value=-1) / signal


def z0_by_image(eps, z_t, alpha_bar):
    return torch.stack(
        [(z - math.sqrt(1 - a.item()) * e) / math.sqrt(a.item()) for e, z, a in zip(eps, z_t, alpha_bar)]
    )


EXERCISE = Exercise(
    name="z0_from_eps",
    title="The clean latent behind the noise",
    stars=1,
    minutes=6,
    answer=z0_from_eps,
    cases=conversion_cases,
    constants=("alpha_bar",),
    hints=(
        "Write down z_t = √ᾱ z0 + √(1-ᾱ) ε and solve it for z0.",
        "First subtract the noise, then undo the scaling of the signal.",
        "The difference of z_t and √(1-ᾱ) ε, divided by √ᾱ.",
    ),
    insight="The article says that the predicted noise is scaled down and subtracted: this is that line, and the "
    "division is what it leaves out. At small ᾱ the division magnifies every error of ε̂.",
    wrong=(
        Wrong(
            "not-scaled",
            z0_noise_subtracted,
            "You subtracted ε as it is. In z_t it is scaled by √(1-ᾱ), and so is the signal, by √ᾱ.",
        ),
        Wrong("not-divided", z0_not_divided, "The noise is gone, but the signal is still scaled by √ᾱ: divide by it."),
        Wrong("no-roots", z0_without_roots, "ᾱ and 1-ᾱ are variances: signal and noise are scaled by their roots."),
        Wrong(
            "swapped", z0_factors_swapped, "The two factors are swapped: √(1-ᾱ) belongs to the noise, √ᾱ to the signal."
        ),
        Wrong("multiplied", z0_multiplied, "You multiplied by √ᾱ; the signal was scaled by it, so divide."),
        Wrong(
            "only-noise-divided",
            z0_divided_too_early,
            "Only the noise is divided by √ᾱ; a pair of parentheses is missing: divide the whole difference.",
        ),
        Wrong("only-signal-divided", z0_only_signal_divided, "Only z_t is divided by √ᾱ: divide the whole difference."),
        Wrong("noise-added", z0_noise_added, "You added the noise once more. Subtract it."),
        Wrong(
            "noise-not-rooted",
            z0_noise_not_rooted,
            "You scaled the noise by its variance 1-ᾱ; in z_t it is scaled by the root √(1-ᾱ).",
        ),
        Wrong(
            "divisor-not-rooted",
            z0_divisor_not_rooted,
            "You divided by ᾱ, the signal's variance. In z_t the signal is scaled by the root: divide by √ᾱ.",
        ),
        Wrong(
            "arguments-swapped",
            z0_arguments_swapped,
            "z_t and ε are swapped: subtract the noise from z_t, not z_t from the noise.",
        ),
        Wrong(
            "one-level-for-all",
            z0_of_first_level,
            "Every image of the batch gets the first one's ᾱ. Each has its own: alpha_bar is shaped so that you "
            "can multiply by it as it is.",
        ),
        Wrong("one-number-only", z0_by_math, ONE_NUMBER),
        Wrong("inputs-changed", z0_in_place),
        Wrong("noise-not-scaled", z0_noise_unscaled, "You subtracted ε as it is. In z_t it is scaled by √(1-ᾱ)."),
        Wrong(
            "noise-not-removed",
            z0_only_divided,
            "You undid the scaling of the signal, but the noise is still in it: subtract √(1-ᾱ) ε first.",
        ),
        Wrong(
            "from-velocity",
            z0_of_velocity,
            "√ᾱ z_t - √(1-ᾱ) v gives z0 from the *velocity*. From the noise: subtract √(1-ᾱ) ε, then divide by √ᾱ.",
        ),
        Wrong(
            "signal-factor-twice",
            z0_noise_of_signal,
            "You scaled ε with √ᾱ, the signal's factor. In z_t the noise has √(1-ᾱ).",
        ),
        Wrong(
            "clipped", z0_clipped, "You clipped the result to [-1, 1]. That is for pixels; a latent has no such limits."
        ),
        Wrong("one-minus-root", z0_one_minus_root, "You scaled ε with 1-√ᾱ. It is √(1-ᾱ): the root comes last."),
        Wrong(
            "divided-by-noise",
            z0_divided_by_noise,
            "You divided by √(1-ᾱ), the noise's factor. The signal is scaled by √ᾱ.",
        ),
    ),
    right=(forward_diffusion.z0_from_eps, z0_by_sigma, z0_by_addcmul, z0_by_image),
)
