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

    eps: (B, …); alpha_bar: (B, 1, …, 1), in (0, 1).  Returns (B, …).
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
        Wrong("sign", score_sign, "The sign is turned round: the density rises *against* the noise."),
        Wrong(
            "variance-for-deviation",
            score_by_variance,
            "You divided by the variance 1-ᾱ. One root of it cancels against the size of the noise in z_t: √(1-ᾱ) "
            "is left.",
        ),
        Wrong(
            "signal-for-noise", score_by_signal, "You divided by √ᾱ, the signal's factor; it is the noise's, √(1-ᾱ)."
        ),
        Wrong("multiplied", score_multiplied, "You multiplied by √(1-ᾱ); divide: less noise is a steeper density."),
        Wrong("is-minus-eps", score_is_minus_eps, "The direction is right, the length is not: it depends on ᾱ."),
        Wrong(
            "variance-and-sign",
            score_by_variance_without_minus,
            "Two things: the sign is turned round, for the density rises *against* the noise; and you divided by "
            "the variance 1-ᾱ, of which one root cancels: √(1-ᾱ) is left.",
        ),
        Wrong(
            "halved",
            score_halved,
            "It is half of the score. The square brings a 2 when it is differentiated: it cancels the ½ of the "
            "log-density.",
        ),
        Wrong("one-number-only", score_by_math, ONE_NUMBER),
    ),
    right=(score_by_power, score_by_autograd),
)
