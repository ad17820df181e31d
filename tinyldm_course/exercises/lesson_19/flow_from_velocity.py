"""Exercise flow_from_velocity of lesson 19: One network, two names."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def flow_from_velocity(v, z_t, alpha_bar):
    """The flow u = ε - z0 that belongs to a predicted velocity, in v's shape.

    v: (B, …) = √ᾱ ε - √(1-ᾱ) z0;  z_t: (B, …) = √ᾱ z0 + √(1-ᾱ) ε;  alpha_bar: a float in (0, 1).
    """
    ### BEGIN SOLUTION
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    eps = signal * v + noise * z_t
    z0 = signal * z_t - noise * v
    return eps - z0
    ### END SOLUTION


def velocity_cases(generator: Generator) -> list[Call]:
    """Points and latents at several noise levels."""

    def call(alpha_bar: float, *shape: int) -> Call:
        return Call((*(torch.randn(shape, generator=generator) for _ in range(2)), alpha_bar))

    low, high = uniform(0.05, 0.3, generator), uniform(0.7, 0.95, generator)
    return [call(low, 1, 1), call(high, 3, 2), call(0.5, 2, 2), call(low, 2, 4, 2, 2)]


def velocity_itself(v, z_t, alpha_bar):
    return v.clone()


def velocity_times_root(v, z_t, alpha_bar):
    return 2**0.5 * v


def velocity_reversed(v, z_t, alpha_bar):
    return -flow_from_velocity(v, z_t, alpha_bar)


def velocity_no_roots(v, z_t, alpha_bar):
    return flow_from_velocity(v, z_t, (alpha_bar**2 / (alpha_bar**2 + (1 - alpha_bar) ** 2)))


def velocity_variances(v, z_t, alpha_bar):
    eps = alpha_bar * v + (1 - alpha_bar) * z_t
    return eps - (alpha_bar * z_t - (1 - alpha_bar) * v)


def velocity_sum(v, z_t, alpha_bar):
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return signal * v + noise * z_t + signal * z_t - noise * v


def velocity_eps_only(v, z_t, alpha_bar):
    return alpha_bar**0.5 * v + (1 - alpha_bar) ** 0.5 * z_t


def velocity_swapped(v, z_t, alpha_bar):
    return flow_from_velocity(v, z_t, 1 - alpha_bar)


def velocity_minus_state(v, z_t, alpha_bar):
    return v - z_t


def velocity_from_eps(v, z_t, alpha_bar):
    z0 = alpha_bar**0.5 * z_t - (1 - alpha_bar) ** 0.5 * v
    return (z_t - alpha_bar**0.5 * z0) / (1 - alpha_bar) ** 0.5 - z0


def velocity_collected(v, z_t, alpha_bar):
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return (signal + noise) * v + (noise - signal) * z_t


EXERCISE = Exercise(
    name="flow_from_velocity",
    title="One network, two names",
    stars=2,
    minutes=8,
    answer=flow_from_velocity,
    cases=velocity_cases,
    hints=(
        "First find z0 and ε from v and z_t: two equations with two unknowns. Lesson 03 solved them.",
        "ε = √ᾱ v + √(1-ᾱ) z_t, and z0 = √ᾱ z_t - √(1-ᾱ) v.",
    ),
    insight="u = (√ᾱ + √(1-ᾱ)) v + (√(1-ᾱ) - √ᾱ) z_t: known factors of what the network predicts and reads. So a "
    "v-network and a flow network can do the same; they differ in how their errors are weighted.",
    wrong=(
        Wrong("velocity-itself", velocity_itself, "v and u are not the same thing; only at ᾱ = ½ are they parallel."),
        Wrong("half-only", velocity_times_root, "u = √2 v holds at ᾱ = ½ only. In general u also depends on z_t."),
        Wrong("reversed", velocity_reversed, "That is z0 - ε. The flow goes towards noise: ε - z0."),
        Wrong(
            "other-coordinates",
            velocity_no_roots,
            "You took ᾱ and 1 - ᾱ for the factors of signal and noise, and normalised them. The factors are √ᾱ, "
            "√(1-ᾱ).",
        ),
        Wrong(
            "roots", velocity_variances, "The factors of signal and noise are √ᾱ and √(1-ᾱ); you took their squares."
        ),
        Wrong("minus-state", velocity_minus_state, "v is not ε and z_t is not z0: first get ε and z0 out of both."),
        Wrong("sum", velocity_sum, "You added ε and z0. The flow is their difference."),
        Wrong("noise-only", velocity_eps_only, "That is ε. Subtract z0 = √ᾱ z_t - √(1-ᾱ) v from it."),
        Wrong("swapped", velocity_swapped, "ᾱ is the share of the *signal*: z_t = √ᾱ z0 + √(1-ᾱ) ε."),
    ),
    right=(velocity_from_eps, velocity_collected),
)
