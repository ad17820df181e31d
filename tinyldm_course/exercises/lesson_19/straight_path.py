"""Exercise straight_path of lesson 19: A point on the line, and where it goes."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import per_image


def straight_path(z0, eps, tau):
    """The noised latent and the target of flow matching: z_τ and u = dz_τ/dτ, both (B, …).

    z0, eps: (B, …) float; tau: (B,) float in [0, 1], one for each item: 0 is data, 1 is noise.
    """
    ### BEGIN SOLUTION
    share = tau.view(-1, *[1] * (z0.dim() - 1))
    return (1 - share) * z0 + share * eps, eps - z0
    ### END SOLUTION


def path_cases(generator: Generator) -> list[Call]:
    """Points, latents, and the two ends."""

    def call(*shape: int) -> Call:
        z0, eps = (torch.randn(shape, generator=generator) for _ in range(2))
        return Call((z0, eps, torch.rand(shape[0], generator=generator)))

    ends = Call((torch.ones(2, 1), 3 * torch.ones(2, 1), torch.tensor([0.0, 1.0])))
    return [call(2, 1), ends, call(5, 2), call(3, 4, 2, 2)]


def path_other_direction(z0, eps, tau):
    share = per_image(tau, z0)
    return share * z0 + (1 - share) * eps, eps - z0


def path_target_reversed(z0, eps, tau):
    z, u = straight_path(z0, eps, tau)
    return z, -u


def path_of_2022(z0, eps, tau):
    share = per_image(tau, z0)
    return share * z0 + (1 - share) * eps, z0 - eps


def path_on_the_circle(z0, eps, tau):
    share = per_image(tau, z0)
    return (1 - share).sqrt() * z0 + share.sqrt() * eps, eps - z0


def path_target_is_noise(z0, eps, tau):
    return straight_path(z0, eps, tau)[0], eps.clone()


def path_target_is_velocity(z0, eps, tau):
    share = per_image(tau, z0)
    return straight_path(z0, eps, tau)[0], (1 - share) * eps - share * z0


def path_target_is_the_rest(z0, eps, tau):
    z, _ = straight_path(z0, eps, tau)
    return z, eps - z


def path_in_place(z0, eps, tau):
    z, u = straight_path(z0, eps, tau)
    eps.data.sub_(z0.data)
    return z, u


def path_by_lerp(z0, eps, tau):
    return torch.lerp(z0, eps, per_image(tau, z0)), eps - z0


def path_one_by_one(z0, eps, tau):
    z = torch.stack([z0[i] + tau[i] * (eps[i] - z0[i]) for i in range(len(z0))])
    return z, -(z0 - eps)


EXERCISE = Exercise(
    name="straight_path",
    title="A point on the line, and where it goes",
    stars=1,
    minutes=5,
    answer=straight_path,
    cases=path_cases,
    hints=(
        "At τ = 0 it is z0, at τ = 1 it is ε, and half way it is their mean.",
        "Give tau as many dimensions as z0 has: tau.view(-1, 1, 1, 1) for pictures.",
        "Differentiate (1 - τ) z0 + τ ε with respect to τ.",
    ),
    shape_hint=2,
    insight="The target does not depend on τ. The best prediction does: many lines pass through one point.",
    wrong=(
        Wrong(
            "other-direction",
            path_other_direction,
            "Your point is at the data for τ = 1. Here τ = 1 is noise, as in Stable Diffusion 3.",
        ),
        Wrong(
            "target-reversed",
            path_target_reversed,
            "The point is right, but your target leads from noise to data: dz/dτ points to where z goes as τ *grows*.",
        ),
        Wrong(
            "time-of-2022",
            path_of_2022,
            "That is the convention of Liu et al. and Lipman et al.: there, time 0 is noise. Here τ = 1 is.",
        ),
        Wrong(
            "circle",
            path_on_the_circle,
            "You took roots of the factors, as with ᾱ: that is the circle of diffusion. The line has 1 - τ and τ.",
        ),
        Wrong("predicts-noise", path_target_is_noise, "That is DDPM's target, ε. The slope of the line also has -z0."),
        Wrong(
            "velocity",
            path_target_is_velocity,
            "That is like the velocity of diffusion, which turns with the noise level. A line's slope is constant.",
        ),
        Wrong(
            "rest-of-the-way",
            path_target_is_the_rest,
            "ε - z_τ is the rest of the way. The slope is the *whole* way, ε - z0, because all of it takes time 1.",
        ),
        Wrong("inputs-changed", path_in_place),
    ),
    right=(path_by_lerp, path_one_by_one),
)
