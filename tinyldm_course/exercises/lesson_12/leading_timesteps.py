"""Exercise leading_timesteps of lesson 12: Which timesteps: Stable Diffusion's way."""

import torch
from torch import Generator

from tinyldm import reverse_diffusion
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def leading_timesteps(steps, T):
    """Exactly `steps` falling timesteps: multiples of T // steps, plus 1.  Returns (steps,) int64."""
    ### BEGIN SOLUTION
    return torch.arange(steps - 1, -1, -1) * (T // steps) + 1
    ### END SOLUTION


def leading_cases(generator: Generator) -> list[Call]:
    """Numbers of steps, and T; in some of them T is not a multiple of steps."""
    return [Call((3, 10)), Call((integer(4, 10, generator), 101)), Call((7, 1000)), Call((50, 1000))]


def leading_from_zero(steps, T):
    return reverse_diffusion.leading_from_zero(steps, T)


def leading_rising(steps, T):
    return torch.arange(steps) * (T // steps) + 1


def leading_is_trailing(steps, T):
    return reverse_diffusion.trailing(steps, T)


def leading_both_ends(steps, T):
    return torch.linspace(T - 1, 0, steps).round().long()


def leading_too_many(steps, T):
    return torch.arange(0, T, T // steps).flip(0) + 1


def leading_stride_not_whole(steps, T):
    return torch.tensor([round(i * T / steps) + 1 for i in reversed(range(steps))])


def leading_both_ends_cut(steps, T):
    return torch.linspace(T - 1, 0, steps).long()


def leading_fractions(steps, T):
    return torch.arange(steps - 1, -1, -1) * (T / steps) + 1


def leading_each_cut(steps, T):
    return torch.arange(steps - 1, -1, -1) * T // steps + 1


def leading_stride_rounded(steps, T):
    return torch.arange(steps - 1, -1, -1) * round(T / steps) + 1


def leading_from_one_stride(steps, T):
    return torch.arange(steps, 0, -1) * (T // steps) + 1


def leading_minus_one(steps, T):
    return torch.arange(steps, 0, -1) * (T // steps) - 1


def leading_one_too_few(steps, T):
    return torch.arange(steps - 2, -1, -1) * (T // steps) + 1


def leading_offset_multiplied(steps, T):
    return (torch.arange(steps - 1, -1, -1) + 1) * (T // steps)


def leading_remainder(steps, T):
    return torch.arange(steps - 1, -1, -1) * (T % steps) + 1


def leading_stride_rounded_up(steps, T):
    return torch.arange(steps - 1, -1, -1) * -(-T // steps) + 1


def leading_two(steps, T):
    return torch.arange(steps - 1, -1, -1) * (T // steps) + 2


def leading_stride_of_intervals(steps, T):
    return torch.arange(steps - 1, -1, -1) * (T // (steps - 1)) + 1


def leading_consecutive(steps, T):
    return torch.arange(steps, 0, -1)


def leading_last_ones(steps, T):
    return torch.arange(T - 1, T - 1 - steps, -1)


def leading_down_from_the_last(steps, T):
    return T - 1 - torch.arange(steps) * (T // steps)


def leading_down_from_T(steps, T):
    return T - torch.arange(steps) * (T // steps)


def leading_by_list(steps, T):
    return torch.tensor([i * (T // steps) + 1 for i in range(steps)][::-1])


def leading_by_range(steps, T):
    stride = T // steps
    return torch.tensor(range(1, steps * stride + 1, stride)).flip(0)


EXERCISE = Exercise(
    name="leading_timesteps",
    title="Which timesteps: Stable Diffusion's way",
    stars=1,
    minutes=6,
    answer=leading_timesteps,
    cases=leading_cases,
    hints=(
        "The distance between neighbours is an integer, T // steps.",
        "Multiply steps - 1, …, 1, 0 with it; then add 1 to all of them.",
        "torch.arange(steps - 1, -1, -1) * (T // steps) + 1",
    ),
    insight='"Leading" fixes the clean end and lets the noisy end fall where it will: 981 with 50 steps, 901 with '
    "10, 801 with 5. The fewer steps, the more signal the network expects in what is pure noise.",
    wrong=(
        Wrong(
            "offset-missing",
            leading_from_zero,
            "The 1 is missing: you end at t = 0, Stable Diffusion at t = 1. (diffusers calls it steps_offset; "
            "leaving it out is diffusers' own default, and its pictures differ.)",
        ),
        Wrong(
            "rising",
            leading_rising,
            "The order is reversed: sampling goes from much noise to little, so the largest comes first.",
        ),
        Wrong(
            "trailing",
            leading_is_trailing,
            'That is "trailing" spacing, which starts at T - 1. "Leading" starts where the multiples of T // steps '
            "happen to end.",
        ),
        Wrong(
            "both-ends",
            leading_both_ends,
            'That is "linspace" spacing, from T - 1 to 0 with both ends. Here the distance is T // steps.',
        ),
        Wrong(
            "both-ends-cut",
            leading_both_ends_cut,
            'That is "linspace" spacing, from T - 1 to 0 with both ends, its fractions cut off. Here the distance '
            "is T // steps.",
        ),
        Wrong(
            "too-many",
            leading_too_many,
            "If T is not a multiple of steps, counting through all of T gives more than `steps` timesteps. Take "
            "exactly `steps` multiples of T // steps.",
        ),
        Wrong(
            "distance-not-whole",
            leading_stride_not_whole,
            "You rounded each timestep. Here the distance is rounded down once: T // steps for all.",
        ),
        Wrong(
            "each-cut",
            leading_each_cut,
            "You multiplied first and cut the fraction off each timestep, as in i * T // steps. Here the distance "
            "is made whole first: i * (T // steps).",
        ),
        Wrong(
            "fractions",
            leading_fractions,
            "Your distance is T / steps, and some timesteps are fractions. Take the integer T // steps.",
        ),
        Wrong(
            "distance-rounded",
            leading_stride_rounded,
            "You rounded the distance to the nearest integer. It is rounded *down*, T // steps, so that all "
            "the multiples lie inside the table.",
        ),
        Wrong(
            "multiples-from-one",
            leading_from_one_stride,
            "Your multiples are 1 … steps; they are 0 … steps - 1. Yours can go past the end of the table.",
        ),
        Wrong(
            "multiples-minus-one",
            leading_minus_one,
            "Your timesteps are multiples of the distance, minus 1. They are the multiples 0 … steps - 1, *plus* 1.",
        ),
        Wrong(
            "one-too-few", leading_one_too_few, "You return steps - 1 timesteps. The exercise asks for exactly `steps`."
        ),
        Wrong(
            "one-added-too-early",
            leading_offset_multiplied,
            "You added 1 before multiplying. Multiply first, then add 1 to all.",
        ),
        Wrong("remainder", leading_remainder, "% is the remainder. The distance is T // steps."),
        Wrong(
            "distance-rounded-up",
            leading_stride_rounded_up,
            "You rounded the distance up. It is rounded *down*, T // steps, so that all the multiples lie inside "
            "the table.",
        ),
        Wrong("two-added", leading_two, "You added 2. It is 1."),
        Wrong(
            "one-interval-less",
            leading_stride_of_intervals,
            "You divided by steps - 1, as for both ends. Here the distance is T // steps.",
        ),
        Wrong("neighbours", leading_consecutive, "Your timesteps are neighbours. They are T // steps apart."),
        Wrong(
            "last-ones",
            leading_last_ones,
            "Your timesteps are the last `steps` of the table. They are T // steps apart.",
        ),
        Wrong(
            "counted-down",
            leading_down_from_the_last,
            "You count down from T - 1. Leading timesteps are counted up from 1, then reversed: the *last* one is 1.",
        ),
        Wrong(
            "counted-down-from-T",
            leading_down_from_T,
            "You count down from T. Leading timesteps are counted up from 1, then reversed: the *last* one is 1.",
        ),
    ),
    right=(reverse_diffusion.leading, leading_by_list, leading_by_range),
)
