"""Exercise alpha_bar_from_sigma of lesson 04: One thing: σ and ᾱ."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def alpha_bar_from_sigma(sigma):
    """The ᾱ for which √ᾱ x + √(1-ᾱ) ε is a multiple of x + σ ε.  sigma: any shape, above 0 -> the same shape."""
    ### BEGIN SOLUTION
    return 1 / (1 + sigma**2)
    ### END SOLUTION


def sigma_cases(generator: Generator) -> list[Call]:
    """σ of any shape."""
    shapes = ((5,), (2, 3), (4, 1, 1))
    return [
        Call((torch.tensor([0.5, 1.0, 2.0]),)),
        *(Call((0.1 + 3 * torch.rand(shape, generator=generator),)) for shape in shapes),
    ]


def alpha_of_deviation(sigma):
    return 1 / (1 + sigma)


def alpha_one_minus(sigma):
    return 1 - sigma**2


def alpha_of_noise(sigma):
    return sigma**2 / (1 + sigma**2)


def alpha_rooted(sigma):
    return (1 + sigma**2) ** -0.5


def alpha_ratio(sigma):
    return 1 / sigma**2


def alpha_exponential(sigma):
    return (-(sigma**2)).exp()


def alpha_in_place(sigma):
    with torch.no_grad():
        sigma.mul_(sigma)
    return 1 / (1 + sigma)


def alpha_by_math(sigma):
    return 1 / math.sqrt(1 + sigma**2) ** 2


def alpha_one_over_root(sigma):
    return 1 / (1 + sigma**0.5)


def alpha_squared(sigma):
    return 1 / (1 + sigma**2) ** 2


def alpha_of_noise_factor(sigma):
    return sigma / (1 + sigma**2).sqrt()


def alpha_ratio_of_sigma(sigma):
    return sigma / (1 + sigma)


def alpha_inverted(sigma):
    return 1 + sigma**2


def alpha_of_variance_one_minus(sigma):
    return 1 / (1 - sigma**2)


def alpha_of_half_exponential(sigma):
    return torch.exp(-(sigma**2) / 2)


def alpha_one_minus_sigma(sigma):
    return 1 - sigma


def alpha_by_sigmoid(sigma):
    return torch.sigmoid(-2 * sigma.log())


def alpha_by_angle(sigma):
    return torch.atan(sigma).cos() ** 2


EXERCISE = Exercise(
    name="alpha_bar_from_sigma",
    title="One thing: σ and ᾱ",
    stars=1,
    minutes=6,
    answer=alpha_bar_from_sigma,
    cases=sigma_cases,
    constants=("sigma",),
    hints=(
        "2020 scales signal and noise so that their squares add up to 1. 2019 leaves the signal alone.",
        "Divide x + σ ε by its standard deviation, √(1 + σ²), if x has variance 1.",
        "Then √ᾱ is the factor of x: 1/√(1 + σ²).",
    ),
    insight="And √(1-ᾱ) is σ/√(1+σ²), as it must be. The signal-to-noise ratio is 1/σ² in one language and ᾱ/(1-ᾱ) "
    "in the other: the same number. Stable Diffusion's schedule, 0.99915 down to 0.0047, is σ from 0.029 to 14.6.",
    wrong=(
        Wrong("not-squared", alpha_of_deviation, "You added σ; variances add up: 1 + σ²."),
        Wrong(
            "one-minus",
            alpha_one_minus,
            "You took 1 - σ², which is below 0 for σ > 1. 2019 adds noise *on top*: the total variance is 1 + σ², "
            "and ᾱ is the signal's share of it.",
        ),
        Wrong("noise-share", alpha_of_noise, "That is the noise's share, 1-ᾱ. ᾱ is the signal's."),
        Wrong("rooted", alpha_rooted, "That is √ᾱ, the factor of x. ᾱ is its square."),
        Wrong("snr", alpha_ratio, "That is the signal-to-noise ratio, ᾱ/(1-ᾱ); ᾱ is a share of the whole."),
        Wrong(
            "exponential", alpha_exponential, "exp(-σ²) agrees for small σ only. The share of the signal is 1/(1 + σ²)."
        ),
        Wrong("inputs-changed", alpha_in_place),
        Wrong(
            "one-number-only",
            alpha_by_math,
            "A function of Python's math, float(…) and the like take a single number, and sigma contains several. "
            "torch's own take them all: .sqrt(), .square().",
        ),
        Wrong("root-for-square", alpha_one_over_root, "You took the root of σ; variances add up: 1 + σ²."),
        Wrong("squared-again", alpha_squared, "You squared once too often: 1/(1 + σ²) is ᾱ, not √ᾱ."),
        Wrong("noise-factor", alpha_of_noise_factor, "That is √(1-ᾱ), the factor of ε."),
        Wrong(
            "not-squared-noise-share",
            alpha_ratio_of_sigma,
            "You took σ/(1 + σ). ᾱ is the *signal's* share of the *variance*: 1/(1 + σ²).",
        ),
        Wrong("inverted", alpha_inverted, "That is the total variance. The signal's share of it is 1 divided by that."),
        Wrong(
            "minus-below",
            alpha_of_variance_one_minus,
            "The variances of signal and noise add up: 1 + σ² below the fraction.",
        ),
        Wrong(
            "half-exponential",
            alpha_of_half_exponential,
            "exp(-σ²/2) is the shape of a Gaussian. The share of the signal is 1/(1 + σ²).",
        ),
        Wrong(
            "one-minus-sigma",
            alpha_one_minus_sigma,
            "You took 1 - σ. The noise comes on top of the signal: the total variance is 1 + σ², and ᾱ is the "
            "signal's share.",
        ),
    ),
    right=(alpha_by_sigmoid, alpha_by_angle),
)
