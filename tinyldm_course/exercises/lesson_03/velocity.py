"""Exercise velocity of lesson 03: The velocity."""

import math

import torch

from tinyldm import forward_diffusion
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import ONE_NUMBER
from tinyldm_course.exercises.lesson_03.shared import conversion_cases


def velocity(z0, eps, alpha_bar):
    """dz_t/dφ, where √ᾱ = cos φ.

    z0, eps: (B, …); alpha_bar: (B, 1, …, 1), in (0, 1).  Returns (B, …).
    """
    ### BEGIN SOLUTION
    return alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * z0
    ### END SOLUTION


def velocity_negated(z0, eps, alpha_bar):
    return (1 - alpha_bar).sqrt() * z0 - alpha_bar.sqrt() * eps


def velocity_swapped(z0, eps, alpha_bar):
    return (1 - alpha_bar).sqrt() * eps - alpha_bar.sqrt() * z0


def velocity_summed(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * eps + (1 - alpha_bar).sqrt() * z0


def velocity_of_straight_lines(z0, eps, alpha_bar):
    return eps - z0 + 0 * alpha_bar


def velocity_without_roots(z0, eps, alpha_bar):
    return alpha_bar * eps - (1 - alpha_bar) * z0


def velocity_is_z_t(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * eps


def velocity_arguments_swapped(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * z0 - (1 - alpha_bar).sqrt() * eps


def velocity_angle_not_rooted(z0, eps, alpha_bar):
    angle = torch.acos(alpha_bar)
    return angle.cos() * eps - angle.sin() * z0


def velocity_by_math(z0, eps, alpha_bar):
    return math.sqrt(alpha_bar) * eps - math.sqrt(1 - alpha_bar) * z0


def velocity_noise_not_rooted(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * eps - (1 - alpha_bar) * z0


def velocity_signal_not_rooted(z0, eps, alpha_bar):
    return alpha_bar * eps - (1 - alpha_bar).sqrt() * z0


def velocity_one_minus_root(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * eps - (1 - alpha_bar.sqrt()) * z0


def velocity_noise_only(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * eps + 0 * z0


def velocity_signal_only(z0, eps, alpha_bar):
    return 0 * eps - (1 - alpha_bar).sqrt() * z0


def velocity_unscaled_noise(z0, eps, alpha_bar):
    return eps - (1 - alpha_bar).sqrt() * z0


def velocity_unscaled_signal(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * eps - z0


def velocity_same_factor(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * (eps - z0)


def velocity_by_angle(z0, eps, alpha_bar):
    angle = torch.acos(alpha_bar.sqrt())
    return angle.cos() * eps - angle.sin() * z0


def velocity_by_z_t(z0, eps, alpha_bar):
    z_t = alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * eps
    return (eps - (1 - alpha_bar).sqrt() * z_t) / alpha_bar.sqrt()


EXERCISE = Exercise(
    name="velocity",
    title="The velocity",
    stars=1,
    minutes=6,
    answer=velocity,
    cases=conversion_cases,
    constants=("alpha_bar",),
    hints=(
        "With √ᾱ = cos φ and √(1-ᾱ) = sin φ, z_t = cos φ z0 + sin φ ε. The velocity is dz_t/dφ.",
        "The derivative of cos is -sin, that of sin is cos.",
        "√ᾱ belongs to ε, and √(1-ᾱ) to z0, with a minus.",
    ),
    insight="At ᾱ = 1 the velocity is the noise, at ᾱ = 0 it is minus the image: a network that predicts it is "
    "never asked for what it is already given. Stable Diffusion 2 at 768 pixels predicts it.",
    wrong=(
        Wrong(
            "sign", velocity_negated, "All signs are flipped: as the angle grows, z_t moves towards ε, away from z0."
        ),
        Wrong(
            "swapped", velocity_swapped, "The factors are swapped: in z_t, √ᾱ belongs to z0; in its derivative, to ε."
        ),
        Wrong("no-minus", velocity_summed, "The minus is missing: the derivative of the cosine is minus the sine."),
        Wrong(
            "straight-line",
            velocity_of_straight_lines,
            "ε - z0 is the velocity of flow matching, where z_t goes along a straight line. Here it goes along a "
            "circle.",
        ),
        Wrong("no-roots", velocity_without_roots, "ᾱ and 1-ᾱ are variances; the factors are their roots."),
        Wrong(
            "is-z-t",
            velocity_is_z_t,
            "That is z_t, the position. The velocity is its derivative with respect to the angle.",
        ),
        Wrong(
            "arguments-swapped",
            velocity_arguments_swapped,
            "z0 and ε are swapped: the derivative of cos φ z0 is -sin φ z0, so the minus belongs to z0.",
        ),
        Wrong(
            "angle-not-rooted",
            velocity_angle_not_rooted,
            "Your angle has the cosine ᾱ. It is √ᾱ that is cos φ: torch.acos(alpha_bar.sqrt()).",
        ),
        Wrong("one-number-only", velocity_by_math, ONE_NUMBER),
        Wrong("signal-not-rooted", velocity_noise_not_rooted, "You scaled z0 by 1-ᾱ; it is the root √(1-ᾱ) = sin φ."),
        Wrong("noise-not-rooted", velocity_signal_not_rooted, "You scaled ε with ᾱ; it is the root √ᾱ = cos φ."),
        Wrong("one-minus-root", velocity_one_minus_root, "You scaled z0 by 1-√ᾱ. It is √(1-ᾱ): the root comes last."),
        Wrong("noise-only", velocity_noise_only, "Only the noise's term is there: subtract √(1-ᾱ) z0."),
        Wrong("signal-only", velocity_signal_only, "Only the signal's term is there: add √ᾱ ε."),
        Wrong("noise-not-scaled", velocity_unscaled_noise, "ε has no factor in your result. It is √ᾱ = cos φ."),
        Wrong("signal-not-scaled", velocity_unscaled_signal, "z0 has no factor in your result. It is √(1-ᾱ) = sin φ."),
        Wrong("same-factor", velocity_same_factor, "z0 has the noise's factor √ᾱ. Its own is √(1-ᾱ) = sin φ."),
    ),
    right=(forward_diffusion.velocity, velocity_by_angle, velocity_by_z_t),
)
