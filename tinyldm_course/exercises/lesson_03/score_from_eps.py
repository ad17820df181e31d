"""Exercise score_from_eps of lesson 03: The score and the noise."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import ONE_NUMBER
from tinyldm_course.exercises.lesson_03.shared import conversion_cases


def score_from_eps(eps, alpha_bar):
    """∇ log q(z_t | z0) at z_t = √ᾱ z0 + √(1-ᾱ) ε.

    eps: (B, …); alpha_bar: (B, 1, …, 1), in (0, 1).  Returns (B, …), through which a gradient reaches eps.
    """
    ### BEGIN SOLUTION
    return -eps / (1 - alpha_bar).sqrt()
    ### END SOLUTION


def score_cases(generator: Generator) -> list[Call]:
    """ε and ᾱ."""
    return [Call((call.args[0], call.args[2])) for call in conversion_cases(generator)]


def score_sign(eps, alpha_bar):
    return eps / (1 - alpha_bar).sqrt()


def score_by_variance(eps, alpha_bar):
    return -eps / (1 - alpha_bar)


def score_by_signal(eps, alpha_bar):
    return -eps / alpha_bar.sqrt()


def score_multiplied(eps, alpha_bar):
    return -eps * (1 - alpha_bar).sqrt()


def score_is_minus_eps(eps, alpha_bar):
    return -eps + 0 * alpha_bar


def score_by_variance_without_minus(eps, alpha_bar):
    return eps / (1 - alpha_bar)


def score_halved(eps, alpha_bar):
    return -eps / (2 * (1 - alpha_bar).sqrt())


def score_by_math(eps, alpha_bar):
    return -eps / math.sqrt(1 - alpha_bar)


def score_of_noise_to_signal(eps, alpha_bar):
    return -eps * (1 - alpha_bar).sqrt() / alpha_bar.sqrt()


def score_not_negated_and_multiplied(eps, alpha_bar):
    return eps * (1 - alpha_bar).sqrt()


def score_one_minus_root(eps, alpha_bar):
    return -eps / (1 - alpha_bar.sqrt())


def score_times_variance(eps, alpha_bar):
    return -eps * (1 - alpha_bar)


def score_by_sigma_of_ve(eps, alpha_bar):
    return -eps / ((1 - alpha_bar) / alpha_bar).sqrt()


def score_by_signal_variance(eps, alpha_bar):
    return -eps / alpha_bar


def score_is_eps(eps, alpha_bar):
    return eps + 0 * alpha_bar


def score_by_signal_without_minus(eps, alpha_bar):
    return eps / alpha_bar.sqrt()


def score_doubled(eps, alpha_bar):
    return -2 * eps / (1 - alpha_bar).sqrt()


def score_by_power(eps, alpha_bar):
    return eps * -((1 - alpha_bar) ** -0.5)


def score_by_autograd(eps, alpha_bar):
    """The gradient of log N(z; √ᾱ z0, 1-ᾱ) at z = √ᾱ z0 + √(1-ᾱ) ε, for z0 = 0."""

    def log_density(z):
        return (-z.square() / (2 * (1 - alpha_bar))).sum()

    return torch.func.grad(log_density)((1 - alpha_bar).sqrt() * eps)


EXERCISE = Exercise(
    name="score_from_eps",
    title="The score and the noise",
    stars=2,
    minutes=10,
    answer=score_from_eps,
    cases=score_cases,
    constants=("alpha_bar",),
    hints=(
        "q(z_t | z0) is a normal distribution with mean √ᾱ z0 and variance 1-ᾱ. What is its log-density, up to a "
        "constant?",
        "d/dz of -(z - m)² / (2 s²) is -(z - m) / s². And what is z_t - √ᾱ z0?",
        "z_t - √ᾱ z0 = √(1-ᾱ) ε, and s² = 1-ᾱ: one root cancels.",
    ),
    insight="The score points against the noise, and its length grows without bound as the noise becomes small: so "
    "networks predict ε, which has the same size everywhere. The 2019 and the 2020 papers learn the same thing.",
    wrong=(
        Wrong("sign", score_sign, "The sign is flipped: the density rises *against* the noise."),
        Wrong(
            "variance-for-deviation",
            score_by_variance,
            "You divided by the variance 1-ᾱ. One root of it cancels with the size of the noise in z_t: √(1-ᾱ) is "
            "left.",
        ),
        Wrong(
            "signal-for-noise", score_by_signal, "You divided by √ᾱ, the signal's factor; it is the noise's, √(1-ᾱ)."
        ),
        Wrong("multiplied", score_multiplied, "You multiplied by √(1-ᾱ); divide: less noise means a steeper density."),
        Wrong("is-minus-eps", score_is_minus_eps, "The direction is right, the length is not: it depends on ᾱ."),
        Wrong(
            "variance-and-sign",
            score_by_variance_without_minus,
            "Two things: the sign is flipped, because the density rises *against* the noise; and you divided by "
            "the variance 1-ᾱ, of which one root cancels: √(1-ᾱ) is left.",
        ),
        Wrong(
            "halved",
            score_halved,
            "It is half of the score. The square brings a 2 when it is differentiated: it cancels the ½ of the "
            "log-density.",
        ),
        Wrong("one-number-only", score_by_math, ONE_NUMBER),
        Wrong(
            "multiplied-and-sign",
            score_not_negated_and_multiplied,
            "Two things: the sign is flipped, and you multiplied by √(1-ᾱ) where it divides.",
        ),
        Wrong("one-minus-root", score_one_minus_root, "You divided by 1-√ᾱ. It is √(1-ᾱ): the root comes last."),
        Wrong(
            "times-variance",
            score_times_variance,
            "You multiplied by the variance 1-ᾱ. Divide by its root: less noise means a steeper density.",
        ),
        Wrong(
            "sigma-of-score-models",
            score_by_sigma_of_ve,
            "You divided by σ = √((1-ᾱ)/ᾱ), the noise level of z_t / √ᾱ. The noise in z_t itself has size √(1-ᾱ).",
        ),
        Wrong(
            "signal-variance",
            score_by_signal_variance,
            "You divided by ᾱ, the variance of the signal; it is √(1-ᾱ), the size of the noise.",
        ),
        Wrong(
            "is-eps",
            score_is_eps,
            "That is ε itself. The score points *against* the noise, and its length depends on ᾱ: divide by √(1-ᾱ).",
        ),
        Wrong(
            "signal-and-sign",
            score_by_signal_without_minus,
            "Two things: the sign is flipped, and you divided by √ᾱ, the signal's factor, where it is the noise's, "
            "√(1-ᾱ).",
        ),
        Wrong(
            "doubled",
            score_doubled,
            "It is twice the score. The square brings a 2 when it is differentiated, and the log-density has ½: "
            "they cancel.",
        ),
        Wrong(
            "noise-to-signal",
            score_of_noise_to_signal,
            "You multiplied by √((1-ᾱ)/ᾱ). The score is -ε divided by √(1-ᾱ).",
        ),
    ),
    right=(score_by_power, score_by_autograd),
)
