"""Exercise consistency_loss of lesson 21: Agree with yourself, a little further on."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def consistency_loss(here, ahead):
    """The mean squared difference of two estimates of z0, where only the first one learns: a scalar.

    here: (B, …) the network's ẑ0 at the noisier point; ahead: (B, …) the same network's ẑ0 one step further on,
    which serves as the target.
    """
    ### BEGIN SOLUTION
    return (here - ahead.detach()).square().mean()
    ### END SOLUTION


def consistency_cases(generator: Generator) -> list[Call]:
    """Points and latents."""

    def call(*shape: int) -> Call:
        return Call(tuple(torch.randn(shape, generator=generator) for _ in range(2)))

    return [call(1, 2), call(3, 2), call(2, 4, 2, 2)]


def consistency_both_learn(here, ahead):
    return (here - ahead).square().mean()


def consistency_wrong_one(here, ahead):
    return (here.detach() - ahead).square().mean()


def consistency_nobody(here, ahead):
    return (here - ahead).detach().square().mean()


def consistency_sum(here, ahead):
    return (here - ahead.detach()).square().sum()


def consistency_absolute(here, ahead):
    return (here - ahead.detach()).abs().mean()


def consistency_root(here, ahead):
    return (here - ahead.detach()).square().mean().sqrt()


def consistency_per_item(here, ahead):
    return (here - ahead.detach()).square().flatten(1).mean(1)


def consistency_by_function(here, ahead):
    return torch.nn.functional.mse_loss(here, ahead.detach())


def consistency_by_hand(here, ahead):
    target = ahead.detach()
    return ((here - target) ** 2).sum() / here.numel()


EXERCISE = Exercise(
    name="consistency_loss",
    title="Agree with yourself, a little further on",
    stars=1,
    minutes=5,
    answer=consistency_loss,
    cases=consistency_cases,
    hints=(
        "All points of one path end in the same z0. So two estimates along a path should agree.",
        "One number comes out: the mean of the squares, over pictures, channels and pixels alike.",
        "The one that is nearer to the data knows better: it is the target, and a target gets no gradient.",
    ),
    insight="Without the stop the network can agree with itself by predicting the same for everything. With it, "
    "what is known at small noise spreads, step by step, to large noise (Song et al. 2023, algorithm 2 "
    "and 3).",
    wrong=(
        Wrong(
            "both-learn",
            consistency_both_learn,
            "The value is right, but `ahead` learns, too: both could agree on nonsense. Detach the target.",
        ),
        Wrong(
            "wrong-one-learns",
            consistency_wrong_one,
            "You stopped the gradient of `here`. The estimate at the noisier point has to learn.",
        ),
        Wrong("gradient-cut", consistency_nobody),
        Wrong("sum", consistency_sum, "That is the sum; the loss is the mean."),
        Wrong("absolute", consistency_absolute, "Those are absolute differences; squared ones are asked for."),
        Wrong("root", consistency_root, "Leave out the root: the loss is the mean square itself."),
        Wrong(
            "per-item",
            consistency_per_item,
            "You return one number for each item. The loss is one number: the mean of all.",
        ),
    ),
    right=(consistency_by_function, consistency_by_hand),
    shape_hint=2,
)
