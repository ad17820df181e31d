"""Exercise shifted_times of lesson 19: More steps where there is noise."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def shifted_times(steps, shift):
    """The flow times of a sampler: (steps + 1,) float32, falling from 1 to 0.

    Evenly spaced, then each moved to s τ / (1 + (s - 1) τ), s = shift > 0.
    """
    ### BEGIN SOLUTION
    tau = torch.linspace(1, 0, steps + 1)
    return shift * tau / (1 + (shift - 1) * tau)
    ### END SOLUTION


def times_cases(generator: Generator) -> list[Call]:
    """Few and many steps; shifts below and above 1, and 1."""
    return [
        Call((2, 3.0)),
        Call((1, 2.0)),
        Call((4, 1.0)),
        Call((integer(5, 12, generator), uniform(1.5, 6.0, generator))),
        Call((integer(5, 12, generator), uniform(0.3, 0.8, generator))),
    ]


def times_rising(steps, shift):
    return shifted_times(steps, shift).flip(0)


def times_without_the_end(steps, shift):
    return shifted_times(steps, shift)[:-1]


def times_one_too_few(steps, shift):
    tau = torch.linspace(1, 0, steps)
    return shift * tau / (1 + (shift - 1) * tau)


def times_unshifted(steps, shift):
    return torch.linspace(1, 0, steps + 1)


def times_inverse(steps, shift):
    return shifted_times(steps, 1 / shift)


def times_multiplied(steps, shift):
    return (shift * torch.linspace(1, 0, steps + 1)).clamp(max=1)


def times_power(steps, shift):
    return torch.linspace(1, 0, steps + 1) ** (1 / shift)


def times_sign(steps, shift):
    tau = torch.linspace(1, 0, steps + 1)
    return shift * tau / (1 + (shift + 1) * tau)


def times_in_timesteps(steps, shift):
    return 1000 * shifted_times(steps, shift)


def times_by_sigma(steps, shift):
    sigma = shift * torch.linspace(1, 0, steps + 1).double() / (1 - torch.linspace(1, 0, steps + 1).double())
    return torch.where(sigma.isinf(), 1.0, sigma / (1 + sigma)).float()


def times_by_loop(steps, shift):
    even = [1 - i / steps for i in range(steps + 1)]
    return torch.tensor([shift * tau / (1 + (shift - 1) * tau) for tau in even])


EXERCISE = Exercise(
    name="shifted_times",
    title="More steps where there is noise",
    stars=1,
    minutes=6,
    answer=shifted_times,
    cases=times_cases,
    exact_dtype=True,
    hints=("n steps have n + 1 ends.", "torch.linspace(1, 0, …), then the formula: it leaves 0 and 1 where they are."),
    shape_hint=1,
    insight="In σ = τ / (1 - τ) the shift is a plain product, σ' = s σ. Stable Diffusion 3 samples with s = 3 at "
    "1024 pixels; two shifts in a row multiply.",
    wrong=(
        Wrong("rising", times_rising, "Your times rise. Sampling begins with noise, at 1."),
        Wrong("no-end", times_without_the_end, "The last time is missing: sampling must arrive at τ = 0."),
        Wrong("one-too-few", times_one_too_few, "n steps need n + 1 times."),
        Wrong("unshifted", times_unshifted, "These times are even: the shift has no effect."),
        Wrong("inverse", times_inverse, "You shifted towards the data. With s > 1 times move towards 1, the noise."),
        Wrong(
            "multiplied",
            times_multiplied,
            "It is σ that is multiplied by s, not τ: τ must stay between 0 and 1 by itself.",
        ),
        Wrong("power", times_power, "You raised τ to the power 1/s. It has the same ends, but it is another curve."),
        Wrong("sign", times_sign, "The denominator is 1 + (s - 1) τ: at τ = 1 the result must be 1."),
        Wrong("timesteps", times_in_timesteps, "Those are the network's timesteps, 1000 τ. Return τ itself."),
    ),
    right=(times_by_sigma, times_by_loop),
)
