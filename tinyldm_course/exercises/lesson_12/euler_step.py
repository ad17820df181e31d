"""Exercise euler_step of lesson 12: A step of Euler."""

import math

import torch

from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.lesson_12.ddim_step import clean_latent, ddim_step, step_cases


def euler_step(z, eps_hat, alpha_bar, next_alpha_bar):
    """One straight step along dx/dσ = ε̂.

    z, eps_hat: (B, …) float; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' ≤ 1.  Returns z' (B, …), not x'.
    """
    ### BEGIN SOLUTION
    sigma, next_sigma = (math.sqrt((1 - a) / a) for a in (alpha_bar, next_alpha_bar))
    x = z / math.sqrt(alpha_bar) + (next_sigma - sigma) * eps_hat
    return math.sqrt(next_alpha_bar) * x
    ### END SOLUTION


def sigma_of(alpha_bar: float) -> float:
    """√((1-ᾱ) / ᾱ)."""
    return math.sqrt((1 - alpha_bar) / alpha_bar)


def euler_not_entered(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * (z + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat)


def euler_not_left(z, eps_hat, alpha_bar, next_alpha_bar):
    return z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat


def euler_in_z(z, eps_hat, alpha_bar, next_alpha_bar):
    return z + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat


def euler_sign(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + (sigma_of(alpha_bar) - sigma_of(next_alpha_bar)) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_sigma_of_variance_preserving(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + ((1 - next_alpha_bar) ** 0.5 - (1 - alpha_bar) ** 0.5) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_sigma_not_rooted(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) ** 2 - sigma_of(alpha_bar) ** 2) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_left_by_old_level(z, eps_hat, alpha_bar, next_alpha_bar):
    return alpha_bar**0.5 * euler_step(z, eps_hat, alpha_bar, next_alpha_bar) / next_alpha_bar**0.5


def euler_of(z, slope, enter, step, leave):
    """A straight step with any factors."""
    return leave * (z * enter + step * slope)


def euler_sigma_inverted(z, eps_hat, alpha_bar, next_alpha_bar):
    sigma, next_sigma = (math.sqrt(a / (1 - a)) for a in (alpha_bar, next_alpha_bar))
    return euler_of(z, eps_hat, alpha_bar**-0.5, next_sigma - sigma, next_alpha_bar**0.5)


def euler_entered_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) - sigma_of(alpha_bar)
    return euler_of(z, eps_hat, 1 / alpha_bar, step, next_alpha_bar**0.5)


def euler_left_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, alpha_bar**-0.5, sigma_of(next_alpha_bar) - sigma_of(alpha_bar), next_alpha_bar)


def euler_both_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, 1 / alpha_bar, sigma_of(next_alpha_bar) - sigma_of(alpha_bar), next_alpha_bar)


def euler_entered_backwards(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) - sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**0.5, step, next_alpha_bar**0.5)


def euler_left_backwards(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) - sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**-0.5, step, next_alpha_bar**-0.5)


def euler_along_z0(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return euler_of(z, z0_hat, alpha_bar**-0.5, sigma_of(next_alpha_bar) - sigma_of(alpha_bar), next_alpha_bar**0.5)


def euler_of_half(z, eps_hat, alpha_bar, next_alpha_bar):
    step = 0.5 * (sigma_of(next_alpha_bar) - sigma_of(alpha_bar))
    return euler_of(z, eps_hat, alpha_bar**-0.5, step, next_alpha_bar**0.5)


def euler_of_levels(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, alpha_bar**-0.5, next_alpha_bar - alpha_bar, next_alpha_bar**0.5)


def euler_to_zero(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, alpha_bar**-0.5, -sigma_of(alpha_bar), next_alpha_bar**0.5)


def euler_of_ratio(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) / sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**-0.5, step, next_alpha_bar**0.5)


def euler_of_sum(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) + sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**-0.5, step, next_alpha_bar**0.5)


def euler_to_next_sigma(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, alpha_bar**-0.5, sigma_of(next_alpha_bar), next_alpha_bar**0.5)


def euler_along_slope_of_x(z, eps_hat, alpha_bar, next_alpha_bar):
    step = (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) / sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**-0.5, step, next_alpha_bar**0.5)


def euler_by_karras_scale(z, eps_hat, alpha_bar, next_alpha_bar):
    sigma, next_sigma = sigma_of(alpha_bar), sigma_of(next_alpha_bar)
    x = z * math.sqrt(1 + sigma**2)
    return torch.add(x, eps_hat, alpha=next_sigma - sigma) / math.sqrt(1 + next_sigma**2)


EXERCISE = Exercise(
    name="euler_step",
    title="A step of Euler",
    stars=2,
    minutes=10,
    answer=euler_step,
    cases=step_cases,
    constants=("z", "eps_hat"),
    hints=(
        "Three lines: enter the coordinate x, take the step, leave it again.",
        "σ = √((1-ᾱ)/ᾱ) is the size of the noise in x = z / √ᾱ, where the signal has its full size.",
        "x + (σ' - σ) ε̂, where σ' < σ; back with √ᾱ'.",
    ),
    insight="Work it out and you get DDIM's step: the same numbers, except for rounding. Euler's form shows what "
    "DDIM is, a straight step along the curve of an ordinary differential equation.",
    wrong=(
        Wrong(
            "in-z",
            euler_in_z,
            'You stepped z itself. "dx/dσ = ε̂" holds for x = z / √ᾱ only: convert to x first, then back to z.',
        ),
        Wrong("x-not-entered", euler_not_entered, "You took z for x. In x the signal has its full size: x = z / √ᾱ."),
        Wrong(
            "x-not-left",
            euler_not_left,
            "That is x after the step. The model expects z, of variance about 1: multiply by √ᾱ'.",
        ),
        Wrong(
            "sign",
            euler_sign,
            "You *added* noise. The step is σ' - σ, which is negative, as there is less noise after it.",
        ),
        Wrong(
            "noise-level-in-z",
            euler_sigma_of_variance_preserving,
            "√(1-ᾱ) is how much noise there is in z. In x = z / √ᾱ it is √((1-ᾱ)/ᾱ).",
        ),
        Wrong("sigma-not-rooted", euler_sigma_not_rooted, "(1-ᾱ)/ᾱ is the noise's variance in x. σ is its root."),
        Wrong(
            "sigma-inverted",
            euler_sigma_inverted,
            "Your σ is inverted: √(ᾱ/(1-ᾱ)) is signal over noise, and grows as the noise goes. σ is noise over "
            "signal, √((1-ᾱ)/ᾱ).",
        ),
        Wrong(
            "entered-by-variance",
            euler_entered_by_variance,
            "You entered x with z / ᾱ. The signal's factor in z is √ᾱ: divide by the root.",
        ),
        Wrong(
            "left-by-variance",
            euler_left_by_variance,
            "You left x with ᾱ'. The signal's factor in z' is the root: multiply by √ᾱ'.",
        ),
        Wrong(
            "both-by-variance",
            euler_both_by_variance,
            "You entered x with z / ᾱ and left it with ᾱ'. Both are factors of an amplitude: take their roots.",
        ),
        Wrong(
            "entered-backwards",
            euler_entered_backwards,
            "You entered x with √ᾱ z, which is z / √(σ²+1). That is the way *out* of x: in, it is z / √ᾱ, or z "
            "√(σ²+1).",
        ),
        Wrong(
            "left-backwards",
            euler_left_backwards,
            "You left x by dividing by √ᾱ', or multiplying by √(σ'²+1). That is the way *into* x: out, it is √ᾱ' x'.",
        ),
        Wrong(
            "along-z0",
            euler_along_z0,
            "You stepped along ẑ0. The slope dx/dσ is the noise, ε̂: where σ falls by 1, x loses one ε̂.",
        ),
        Wrong(
            "left-by-old-level",
            euler_left_by_old_level,
            "You left x with the √ᾱ by which you entered. After the step the level is ᾱ': multiply by √ᾱ'.",
        ),
        Wrong("half-a-step", euler_of_half, "You went half the way. The step is σ' - σ."),
        Wrong(
            "step-in-alpha-bar",
            euler_of_levels,
            "Your step is ᾱ' - ᾱ. The slope is dx/dσ, so it is σ' - σ, with σ = √((1-ᾱ)/ᾱ).",
        ),
        Wrong("all-the-way", euler_to_zero, "You went all the way to σ = 0. The step ends at σ'."),
        Wrong("sigmas-divided", euler_of_ratio, "You divided the two σ. The step is their difference, σ' - σ."),
        Wrong("sigmas-added", euler_of_sum, "You added the two σ. The step is their difference, σ' - σ."),
        Wrong(
            "sigma-for-step", euler_to_next_sigma, "Your step is σ'. It is the difference σ' - σ, which is negative."
        ),
        Wrong(
            "slope-divided-by-sigma",
            euler_along_slope_of_x,
            "You divided the slope by σ. ε̂ itself is the slope: dx/dσ = ε̂.",
        ),
    ),
    right=(ddim_step, euler_by_karras_scale, torch.no_grad()(euler_step)),
)
