"""Exercise eps_from_velocity of lesson 03: One prediction, another name."""

import math

import torch
from torch import Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import ONE_NUMBER
from tinyldm_course.exercises.lesson_03.shared import conversion_cases


def eps_from_velocity(velocity, z_t, alpha_bar):
    """The ε for which z_t = √ᾱ z0 + √(1-ᾱ) ε and v = √ᾱ ε - √(1-ᾱ) z0.

    velocity, z_t: (B, …); alpha_bar: (B, 1, …, 1), in (0, 1).  Returns (B, …).
    """
    ### BEGIN SOLUTION
    return alpha_bar.sqrt() * velocity + (1 - alpha_bar).sqrt() * z_t
    ### END SOLUTION


def eps_by_the_package(velocity: Tensor, z_t: Tensor, alpha_bar: Tensor) -> Tensor:
    """√ᾱ v + √(1-ᾱ) z_t."""
    return forward_diffusion.eps_from_velocity(velocity, z_t, alpha_bar)


def eps_is_z0(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * z_t - (1 - alpha_bar).sqrt() * velocity


def eps_swapped(velocity, z_t, alpha_bar):
    return (1 - alpha_bar).sqrt() * velocity + alpha_bar.sqrt() * z_t


def eps_minus(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * velocity - (1 - alpha_bar).sqrt() * z_t


def eps_without_roots(velocity, z_t, alpha_bar):
    return alpha_bar * velocity + (1 - alpha_bar) * z_t


def eps_as_if_z_t_were_z0(velocity, z_t, alpha_bar):
    return (velocity + (1 - alpha_bar).sqrt() * z_t) / alpha_bar.sqrt()


def eps_by_math(velocity, z_t, alpha_bar):
    return math.sqrt(alpha_bar) * velocity + math.sqrt(1 - alpha_bar) * z_t


def eps_velocity_not_rooted(velocity, z_t, alpha_bar):
    return alpha_bar * velocity + (1 - alpha_bar).sqrt() * z_t


def eps_z_t_not_rooted(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * velocity + (1 - alpha_bar) * z_t


def eps_of_z0_formula(velocity, z_t, alpha_bar):
    return (z_t - alpha_bar.sqrt() * velocity) / (1 - alpha_bar).sqrt()


def eps_negated(velocity, z_t, alpha_bar):
    return -alpha_bar.sqrt() * velocity - (1 - alpha_bar).sqrt() * z_t


def eps_velocity_negated(velocity, z_t, alpha_bar):
    return (1 - alpha_bar).sqrt() * z_t - alpha_bar.sqrt() * velocity


def eps_divided(velocity, z_t, alpha_bar):
    return velocity / alpha_bar.sqrt() + (1 - alpha_bar).sqrt() * z_t


def eps_unscaled_z_t(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * velocity + z_t


def eps_unscaled_velocity(velocity, z_t, alpha_bar):
    return velocity + (1 - alpha_bar).sqrt() * z_t


def eps_one_minus_root(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * velocity + (1 - alpha_bar.sqrt()) * z_t


def eps_by_z0(velocity, z_t, alpha_bar):
    z0 = alpha_bar.sqrt() * z_t - (1 - alpha_bar).sqrt() * velocity
    return (z_t - alpha_bar.sqrt() * z0) / (1 - alpha_bar).sqrt()


def eps_by_matrix(velocity, z_t, alpha_bar):
    factors = torch.stack([alpha_bar, 1 - alpha_bar]).sqrt()
    return (factors * torch.stack([velocity, z_t])).sum(0)


EXERCISE = Exercise(
    name="eps_from_velocity",
    title="One prediction, another name",
    stars=2,
    minutes=10,
    answer=eps_from_velocity,
    cases=conversion_cases,
    constants=("alpha_bar",),
    hints=(
        "Two equations, two unknowns: z_t = √ᾱ z0 + √(1-ᾱ) ε and v = √ᾱ ε - √(1-ᾱ) z0. Get rid of z0.",
        "Multiply the first by √(1-ᾱ) and the second by √ᾱ, and add them.",
        "The factor of ε is then ᾱ + (1-ᾱ) = 1.",
    ),
    insight="(z0, ε) → (z_t, v) is a rotation, so its inverse has the same numbers and no division: unlike ẑ0 from "
    "ε̂, it is harmless at every noise level. So ε, v and z0 are three names for one prediction.",
    wrong=(
        Wrong("that-is-z0", eps_is_z0, "That is z0: √ᾱ z_t - √(1-ᾱ) v. For ε the other combination is needed."),
        Wrong("swapped", eps_swapped, "The factors are swapped: √ᾱ belongs to v, √(1-ᾱ) to z_t."),
        Wrong("sign", eps_minus, "A sign is wrong: z0 drops out when the two equations are added."),
        Wrong("no-roots", eps_without_roots, "ᾱ and 1-ᾱ are variances; the factors are their roots."),
        Wrong(
            "z-t-for-z0",
            eps_as_if_z_t_were_z0,
            "You solved v = √ᾱ ε - √(1-ᾱ) z0 for ε with z_t in place of z0. The noised latent is not the clean one.",
        ),
        Wrong("one-number-only", eps_by_math, ONE_NUMBER),
        Wrong("velocity-not-rooted", eps_velocity_not_rooted, "You scaled v with ᾱ; it is the root √ᾱ."),
        Wrong("z-t-not-rooted", eps_z_t_not_rooted, "You scaled z_t with 1-ᾱ; it is the root √(1-ᾱ)."),
        Wrong(
            "velocity-for-z0",
            eps_of_z0_formula,
            "You took v for z0 and solved z_t = √ᾱ z0 + √(1-ᾱ) ε for ε. Take √ᾱ v + √(1-ᾱ) z_t: z0 cancels.",
        ),
        Wrong("negated", eps_negated, "All signs are flipped."),
        Wrong("velocity-negated", eps_velocity_negated, "The sign of v is flipped: √ᾱ v + √(1-ᾱ) z_t."),
        Wrong("divided", eps_divided, "You divided v by √ᾱ. Multiply: √ᾱ v = ᾱ ε - √ᾱ√(1-ᾱ) z0."),
        Wrong("z-t-not-scaled", eps_unscaled_z_t, "z_t has no factor in your result. It is √(1-ᾱ)."),
        Wrong("velocity-not-scaled", eps_unscaled_velocity, "v has no factor in your result. It is √ᾱ."),
        Wrong("one-minus-root", eps_one_minus_root, "You scaled z_t with 1-√ᾱ. It is √(1-ᾱ): the root comes last."),
    ),
    right=(eps_by_the_package, eps_by_z0, eps_by_matrix),
)
