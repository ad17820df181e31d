"""Exercise straightness of lesson 19: How bent are the paths?"""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def straightness(path, times):
    """S = ∫ E ‖(z_1 - z_0) - dz/dτ‖² dτ of sampled paths: one number, 0 for straight ones.

    path: (S + 1, B, D) the states of a solver; times: (S + 1,) falling from 1 to 0, not evenly.
    On each step dz/dτ is the difference of its states over that of its times.
    """
    ### BEGIN SOLUTION
    length = times[1:] - times[:-1]
    slope = (path[1:] - path[:-1]) / length[:, None, None]
    whole = (path[-1] - path[0]) / (times[-1] - times[0])
    squared = (slope - whole).square().sum(2).mean(1)
    return (squared * length.abs()).sum()
    ### END SOLUTION


def straightness_cases(generator: Generator) -> list[Call]:
    """Random paths at uneven times."""

    def call(steps: int, batch: int, numbers: int) -> Call:
        inner = torch.rand(steps - 1, generator=generator).sort(descending=True).values * 0.8 + 0.1
        times = torch.cat([torch.ones(1), inner, torch.zeros(1)])
        return Call((torch.randn(steps + 1, batch, numbers, generator=generator), times))

    return [call(2, 1, 1), call(3, 2, 1), call(4, 3, 2), call(5, 2, 3)]


def straightness_even(path, times):
    return _of(path, times, weights=torch.ones_like(times[1:]) / (len(times) - 1))


def straightness_mean_of_numbers(path, times):
    return straightness(path, times) / path.shape[2]


def straightness_sum_of_batch(path, times):
    return straightness(path, times) * path.shape[1]


def straightness_root(path, times):
    return straightness(path, times).sqrt()


def straightness_signed(path, times):
    return -straightness(path, times)


def straightness_other_way(path, times):
    length = times[1:] - times[:-1]
    slope = (path[1:] - path[:-1]) / length[:, None, None]
    return ((slope - (path[0] - path[-1]) / (times[-1] - times[0])).square().sum(2).mean(1) * length.abs()).sum()


def straightness_of_steps(path, times):
    length = (times[1:] - times[:-1]).abs()
    steps = path[1:] - path[:-1]
    return ((steps - steps.mean(0)).square().sum(2).mean(1) * length).sum()


def straightness_without_squares(path, times):
    length = times[1:] - times[:-1]
    slope = (path[1:] - path[:-1]) / length[:, None, None]
    whole = (path[-1] - path[0]) / (times[-1] - times[0])
    return ((slope - whole).square().sum(2).sqrt().mean(1) * length.abs()).sum()


def straightness_from_mean_slope(path, times):
    length = times[1:] - times[:-1]
    slope = (path[1:] - path[:-1]) / length[:, None, None]
    return ((slope - slope.mean(0)).square().sum(2).mean(1) * length.abs()).sum()


def _of(path, times, weights):
    length = times[1:] - times[:-1]
    slope = (path[1:] - path[:-1]) / length[:, None, None]
    whole = (path[-1] - path[0]) / (times[-1] - times[0])
    return ((slope - whole).square().sum(2).mean(1) * weights).sum()


def straightness_by_loop(path, times):
    total = 0
    for i in range(len(times) - 1):
        slope = (path[i + 1] - path[i]) / (times[i + 1] - times[i])
        total = total + (times[i] - times[i + 1]) * (path[0] - path[-1] - slope).square().sum(-1).mean()
    return total


def straightness_by_variance(path, times):
    length = (times[:-1] - times[1:])[:, None, None]
    slope = (path[:-1] - path[1:]) / length
    return ((slope.square() * length).sum(0) - (path[0] - path[-1]).square()).sum(1).mean()


EXERCISE = Exercise(
    name="straightness",
    title="How bent are the paths?",
    stars=2,
    minutes=12,
    answer=straightness,
    cases=straightness_cases,
    constants=("times",),
    tolerance=1e-3,
    hints=(
        "An integral over steps: a sum, in which each step counts as much as the time that it takes.",
        "E is the mean over the B paths; ‖·‖² is the sum over the D numbers of one point.",
        "Falling times: differences are negative, above and below the fraction bar alike. The weight is positive.",
    ),
    shape_hint=2,
    insight="S is the variance of the direction along the way. S = 0 means that one Euler step is exact; reflow "
    "took it from 0.89 to 0.001 in lesson 19.",
    wrong=(
        Wrong("all-steps-alike", straightness_even, "Each step counts as much as the time that it takes, not 1/S."),
        Wrong(
            "mean-of-numbers", straightness_mean_of_numbers, "‖·‖² is the *sum* of squares over a point's D numbers."
        ),
        Wrong("sum-of-batch", straightness_sum_of_batch, "E is the *mean* over the B paths; you added them up."),
        Wrong("root", straightness_root, "You took a root of the whole at the end; S is a mean square."),
        Wrong("negative", straightness_signed, "S is negative: times fall, so their differences are; weight by |Δτ|."),
        Wrong(
            "other-way",
            straightness_other_way,
            "The two directions that you compare are opposite: one of them goes from the last state to the first.",
        ),
        Wrong(
            "mean-slope",
            straightness_from_mean_slope,
            "You compare with the plain mean of the slopes. The direction from start to end is (last state - first "
            "state) over the whole time: in it, a long step counts more than a short one.",
        ),
        Wrong("steps-for-slopes", straightness_of_steps, "You compare steps. Divide each by the time that it takes."),
        Wrong("lengths", straightness_without_squares, "That is the mean of ‖·‖; the integral has ‖·‖²."),
    ),
    right=(straightness_by_loop, straightness_by_variance),
)
