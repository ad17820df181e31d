"""Exercise prior_preservation_loss of lesson 17: DreamBooth's loss."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def prior_preservation_loss(predicted, target, weight):
    """DreamBooth's loss of a batch whose first half are new pictures, and whose second half the model drew itself.

    The mean squared error of the first half, plus `weight` times that of the second.  Ruiz et al. 2023, eq. 2.
    predicted, target: (2 B, C, h, w).  weight: a number.  Returns a scalar.
    """
    ### BEGIN SOLUTION
    of_new, of_old = (predicted - target).square().chunk(2)
    return of_new.mean() + weight * of_old.mean()
    ### END SOLUTION


def prior_cases(generator: Generator) -> list[Call]:
    """Batches of 2, 4 and 6, with weights below and above 1."""
    return [
        Call((*(torch.randn(2 * B, C, h, 2, generator=generator) for _ in range(2)), weight))
        for B, C, h, weight in ((1, 1, 1, 0.5), (2, 4, 3, 0.3), (3, 2, 2, 2.0))
    ]


def prior_of_all(predicted, target, weight):
    return (predicted - target).square().mean()


def prior_without_weight(predicted, target, weight):
    of_new, of_old = (predicted - target).square().chunk(2)
    return of_new.mean() + of_old.mean()


def prior_weight_on_new(predicted, target, weight):
    of_new, of_old = (predicted - target).square().chunk(2)
    return weight * of_new.mean() + of_old.mean()


def prior_mixed(predicted, target, weight):
    of_new, of_old = (predicted - target).square().chunk(2)
    return (1 - weight) * of_new.mean() + weight * of_old.mean()


def prior_sums(predicted, target, weight):
    of_new, of_old = (predicted - target).square().chunk(2)
    return of_new.sum() + weight * of_old.sum()


def prior_absolute(predicted, target, weight):
    of_new, of_old = (predicted - target).abs().chunk(2)
    return of_new.mean() + weight * of_old.mean()


def prior_every_second(predicted, target, weight):
    errors = (predicted - target).square()
    return errors[::2].mean() + weight * errors[1::2].mean()


def prior_averaged(predicted, target, weight):
    of_new, of_old = (predicted - target).square().chunk(2)
    return (of_new.mean() + weight * of_old.mean()) / 2


def prior_of_new(predicted, target, weight):
    return (predicted - target).square().chunk(2)[0].mean()


def prior_by_function(predicted, target, weight):
    half = len(predicted) // 2
    return F.mse_loss(predicted[:half], target[:half]) + weight * F.mse_loss(predicted[half:], target[half:])


def prior_by_weights(predicted, target, weight):
    errors = (predicted - target).square().flatten(1).mean(1)
    weights = torch.ones(len(errors), dtype=errors.dtype, device=errors.device)
    weights[len(errors) // 2 :] = weight
    return 2 * (errors * weights).mean()


EXERCISE = Exercise(
    name="prior_preservation_loss",
    title="DreamBooth's loss",
    stars=2,
    minutes=8,
    answer=prior_preservation_loss,
    cases=prior_cases,
    constants=("weight",),
    hints=(
        "tensor.chunk(2) cuts a batch into its two halves.",
        "Each half has a mean of its own.",
        "The weight belongs to the half that the model drew itself: how much it is to stay as it was.",
    ),
    insight="Both halves go through the network as one batch, which is faster; only the loss tells them apart. "
    "With a weight of 0 the model forgets; with a large one it learns nothing new.",
    wrong=(
        Wrong("one-mean", prior_of_all, "That is the plain mean over the whole batch: it has no halves and no weight."),
        Wrong("weight-ignored", prior_without_weight, "You did not use `weight`."),
        Wrong("weight-on-the-new", prior_weight_on_new, "You weighted the new half. The weight is for the old ones."),
        Wrong("mixed", prior_mixed, "You mixed with 1 - weight and weight. The new pictures count fully, always."),
        Wrong("sums", prior_sums, "You summed. Take the mean of each half, or the learning rate depends on the size."),
        Wrong("absolute", prior_absolute, "You took absolute errors; the loss of diffusion models is squared."),
        Wrong(
            "interleaved", prior_every_second, "You took every second picture for new. The first half of the batch is."
        ),
        Wrong("halved", prior_averaged, "You divided by 2. The two means are added."),
        Wrong("new-only", prior_of_new, "You left out the pictures that the model drew: now nothing keeps it."),
    ),
    right=(prior_by_function, prior_by_weights),
    shape_hint=2,
)
