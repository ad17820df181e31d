"""Exercise z0_from_flow of lesson 19: Straight on to the data."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def z0_from_flow(u, z, tau):
    """The clean latent to which the predicted flow points, in u's shape.

    u: (B, …) the predicted flow ε - z0; z: (B, …) = (1 - τ) z0 + τ ε; tau: a float in [0, 1].
    """
    ### BEGIN SOLUTION
    return z - tau * u
    ### END SOLUTION


def z0_cases(generator: Generator) -> list[Call]:
    """Points and latents; both ends of the line."""

    def call(tau: float, *shape: int) -> Call:
        return Call((*(torch.randn(shape, generator=generator) for _ in range(2)), tau))

    return [call(0.25, 1, 1), call(uniform(0.1, 0.9, generator), 3, 2), call(0.0, 2, 2), call(1.0, 2, 4, 2, 2)]


def z0_plus(u, z, tau):
    return z + tau * u


def z0_is_eps(u, z, tau):
    return z + (1 - tau) * u


def z0_rest(u, z, tau):
    return z - (1 - tau) * u


def z0_divided(u, z, tau):
    return (z - tau * u) / max(1 - tau, 1e-3)


def z0_whole_step(u, z, tau):
    return z - u


def z0_of_velocity(u, z, tau):
    return (1 - tau) * z - tau * u


def z0_by_one_step(u, z, tau):
    return z + (0 - tau) * u


def z0_by_eps(u, z, tau):
    return (z + (1 - tau) * u) - u


EXERCISE = Exercise(
    name="z0_from_flow",
    title="Straight on to the data",
    stars=1,
    minutes=4,
    answer=z0_from_flow,
    cases=z0_cases,
    hints=(
        "You are at τ and want to be at 0. How far is that, and in which direction does u point?",
        "Put z = (1 - τ) z0 + τ ε and u = ε - z0 into z - c u. Which c leaves z0 alone?",
    ),
    insight="No division at any τ: unlike ẑ0 from ε, which divides by √ᾱ, the error of u never grows on the way. "
    "It is also one Euler step to τ = 0.",
    wrong=(
        Wrong("minus", z0_plus, "u points from data to noise; you want to go the other way: subtract."),
        Wrong("noise", z0_is_eps, "That goes straight *back* to τ = 1: it is the noise ε."),
        Wrong("rest-of-the-way", z0_rest, "The distance from τ down to 0 is τ; 1 - τ is the distance to the noise."),
        Wrong(
            "divided",
            z0_divided,
            "z - τ ε would have to be divided by 1 - τ. z - τ u must not: u contains -z0 already.",
        ),
        Wrong("whole-step", z0_whole_step, "A step of 1 is right from τ = 1 only. From τ, the step has length τ."),
        Wrong(
            "velocity",
            z0_of_velocity,
            "That is built like the formula for the velocity, √ᾱ z - √(1-ᾱ) v. On the line, z keeps its factor 1.",
        ),
    ),
    right=(z0_by_one_step, z0_by_eps),
)
