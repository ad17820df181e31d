"""Exercise trailing_timesteps of lesson 12: Which timesteps: from the very end."""

import math

import torch
from torch import Generator

from tinyldm import reverse_diffusion
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def trailing_timesteps(steps, T):
    """Exactly `steps` falling timesteps, evenly spaced from T - 1 downwards.  Returns (steps,) int64."""
    ### BEGIN SOLUTION
    return torch.tensor([round(T - i * T / steps) - 1 for i in range(steps)])
    ### END SOLUTION


def trailing_cases(generator: Generator) -> list[Call]:
    """Numbers of steps, and T. Odd ones, so that nothing lies halfway between two integers.

    But for 3.5, from which both "half to even" and "half up" go to 4: only an answer that subtracts 1 first is led
    astray. And for the fifth pair T / steps, as a float, fits into T once more than `steps` times.
    """
    return [
        Call((3, 10)),
        Call((2, 7)),
        Call((2 * integer(2, 6, generator) + 1, 100)),
        Call((7, 1000)),
        Call(((29, 100), (31, 100), (97, 100), (61, 1000))[integer(0, 4, generator)]),
        Call((25, 1000)),
    ]


def trailing_from_T(steps, T):
    return reverse_diffusion.trailing(steps, T) + 1


def trailing_is_leading(steps, T):
    return reverse_diffusion.leading(steps, T)


def trailing_cut(steps, T):
    return torch.tensor([int(T - i * T / steps) - 1 for i in range(steps)])


def trailing_both_ends(steps, T):
    return torch.linspace(T - 1, 0, steps).round().long()


def trailing_both_ends_cut(steps, T):
    return torch.linspace(T - 1, 0, steps).long()


def trailing_minus_one_first(steps, T):
    return torch.tensor([round(T - 1 - i * T / steps) for i in range(steps)])


def trailing_rising(steps, T):
    return reverse_diffusion.trailing(steps, T).flip(0)


def trailing_stride_cut(steps, T):
    return T - 1 - torch.arange(steps) * (T // steps)


def trailing_not_rounded(steps, T):
    return T - torch.arange(steps) * (T / steps) - 1


def trailing_by_bare_arange(steps, T):
    return torch.arange(T, 0, -T / steps).round().long() - 1


def trailing_rounded_up(steps, T):
    return torch.tensor([math.ceil(T - i * T / steps) - 1 for i in range(steps)])


def trailing_from_T_minus_one_twice(steps, T):
    return torch.tensor([round((T - 1) * (1 - i / steps)) for i in range(steps)])


def trailing_to_zero(steps, T):
    return torch.tensor([round(T - (i + 1) * T / steps) for i in range(steps)])


def trailing_one_too_many(steps, T):
    return torch.tensor([max(round(T - i * T / steps) - 1, 0) for i in range(steps + 1)])


def trailing_stride_rounded(steps, T):
    return T - 1 - torch.arange(steps) * round(T / steps)


def trailing_two_below(steps, T):
    return reverse_diffusion.trailing(steps, T) - 1


def trailing_one_distance_late(steps, T):
    return torch.tensor([max(round(T - (i + 1) * T / steps) - 1, 0) for i in range(steps)])


def trailing_one_distance_late_below_zero(steps, T):
    return torch.tensor([round(T - (i + 1) * T / steps) - 1 for i in range(steps)])


def trailing_by_arange(steps, T):
    return torch.arange(T, 0, -T / steps, dtype=torch.float64)[:steps].round().long() - 1


def trailing_half_up(steps, T):
    return torch.tensor([math.floor(T - i * T / steps + 0.5) - 1 for i in range(steps)])


def trailing_by_counting_up(steps, T):
    return torch.tensor([round((i + 1) * T / steps) - 1 for i in range(steps)]).flip(0)


LATE = "Your first timestep is one distance too low: begin with i = 0, which gives T - 1."


EXERCISE = Exercise(
    name="trailing_timesteps",
    title="Which timesteps: from the very end",
    stars=1,
    minutes=6,
    answer=trailing_timesteps,
    cases=trailing_cases,
    hints=(
        "The distance T / steps need not be whole. Count down from T, not from T - 1.",
        "The i-th number is T - i T / steps, for i = 0 … steps - 1.",
        "Round each to an integer and subtract 1.",
    ),
    shape_hint=2,
    insight='"Trailing" fixes the noisy end: whatever the number of steps, the first is at T - 1, where z_t is as '
    "near to pure noise as training ever saw. The tiny model samples this way.",
    wrong=(
        Wrong("minus-one-missing", trailing_from_T, "Your first timestep is T; the table has 0 … T - 1. Subtract 1."),
        Wrong(
            "leading",
            trailing_is_leading,
            'That is "leading" spacing: it starts where the multiples of T // steps end, not at T - 1.',
        ),
        Wrong(
            "cut-not-rounded",
            trailing_cut,
            "int() cuts the fraction off; the exercise asks for the nearest integer: round().",
        ),
        Wrong(
            "both-ends",
            trailing_both_ends,
            'That is "linspace" spacing, which visits 0 too. Here the last one is a whole distance from the end: '
            "the last step leads to the clean latent.",
        ),
        Wrong(
            "both-ends-cut",
            trailing_both_ends_cut,
            'That is "linspace" spacing, from T - 1 to 0 with both ends, its fractions cut off. Here the last one '
            "is a whole distance, T / steps, from the end.",
        ),
        Wrong(
            "minus-one-first",
            trailing_minus_one_first,
            "Nearly: do you subtract 1 before you round? Halfway between two integers that matters, as Python "
            "rounds to the even one: 3.5 to 4, but 2.5 to 2. Round first, then subtract 1.",
        ),
        Wrong(
            "rising",
            trailing_rising,
            "The order is reversed: sampling goes from much noise to little, so T - 1 comes first.",
        ),
        Wrong(
            "distance-cut",
            trailing_stride_cut,
            "You made the distance whole, T // steps, before counting down. The rest adds up: go down by T / steps "
            "and round each timestep.",
        ),
        Wrong(
            "not-rounded",
            trailing_not_rounded,
            "These are fractions. The schedule is a table, so round each timestep to an integer.",
        ),
        Wrong(
            "one-too-many-by-rounding",
            trailing_by_bare_arange,
            "Right for most numbers, and one timestep too many for some: T / steps is rounded to a float, and "
            "torch.arange(T, 0, -T / steps) may fit in one more. Take exactly `steps` of them.",
        ),
        Wrong("rounded-up", trailing_rounded_up, "You rounded up; the exercise asks for the nearest integer: round()."),
        Wrong(
            "distance-of-T-minus-one",
            trailing_from_T_minus_one_twice,
            "You divided T - 1 by steps. The distance is T / steps: count down from T, round, then subtract 1.",
        ),
        Wrong(
            "one-distance-late",
            trailing_to_zero,
            "You start one distance too late: i counts from 0, and the first timestep is T - 1.",
        ),
        Wrong(
            "one-too-many",
            trailing_one_too_many,
            "You return steps + 1 timesteps. The exercise asks for exactly `steps`: i = 0 … steps - 1.",
        ),
        Wrong(
            "distance-rounded",
            trailing_stride_rounded,
            "You rounded the distance, T / steps, before counting down. The rest adds up: round each timestep instead.",
        ),
        Wrong("minus-one-twice", trailing_two_below, "You subtracted 1 twice: the first timestep is T - 1."),
        Wrong("one-distance-too-far", trailing_one_distance_late, LATE),
        Wrong("one-distance-too-far-below-0", trailing_one_distance_late_below_zero, LATE),
    ),
    right=(reverse_diffusion.trailing, trailing_by_arange, trailing_by_counting_up, trailing_half_up),
)
