"""Exercise merged_weight of lesson 17: Merge a LoRA."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def merged_weight(W, A, B, alpha, weight):
    """The weight of a layer after a LoRA has been merged into it at a weight: W + weight · α/r · B A.

    W: (out, in).  A: (r, in).  B: (out, r).  alpha, weight: numbers.  Returns (out, in), a new tensor.
    """
    ### BEGIN SOLUTION
    return W + weight * alpha / len(A) * (B @ A)
    ### END SOLUTION


def merge_cases(generator: Generator) -> list[Call]:
    """Tall and wide layers; weights below and above 1, and negative, which unmerges."""
    calls = []
    for out, inputs, rank, alpha, weight in ((2, 3, 2, 1.0, 0.5), (5, 4, 3, 8.0, 1.5), (4, 6, 4, 3.0, -0.7)):
        shapes = ((out, inputs), (rank, inputs), (out, rank))
        calls.append(Call((*(torch.randn(shape, generator=generator) for shape in shapes), alpha, weight)))
    return calls


def merge_without_weight(W, A, B, alpha, weight):
    return W + alpha / len(A) * (B @ A)


def merge_without_alpha(W, A, B, alpha, weight):
    return W + weight * (B @ A)


def merge_without_rank(W, A, B, alpha, weight):
    return W + weight * alpha * (B @ A)


def merge_interpolated(W, A, B, alpha, weight):
    return (1 - weight) * W + weight * alpha / len(A) * (B @ A)


def merge_scaled_all(W, A, B, alpha, weight):
    return weight * (W + alpha / len(A) * (B @ A))


def merge_minus(W, A, B, alpha, weight):
    return W - weight * alpha / len(A) * (B @ A)


def merge_delta(W, A, B, alpha, weight):
    return weight * alpha / len(A) * (B @ A)


def merge_in_place(W, A, B, alpha, weight):
    with torch.no_grad():
        W += weight * alpha / len(A) * (B @ A)
    return W


def merge_squared(W, A, B, alpha, weight):
    return W + (weight * B) @ (weight * A) * alpha / len(A)


def merge_by_addmm(W, A, B, alpha, weight):
    return torch.addmm(W, B, A, alpha=weight * alpha / A.shape[0])


def merge_by_ranks(W, A, B, alpha, weight):
    merged = W
    for row, column in zip(A, B.T):
        merged = merged + weight * alpha / len(A) * torch.outer(column, row)
    return merged


EXERCISE = Exercise(
    name="merged_weight",
    title="Merge a LoRA",
    stars=1,
    minutes=7,
    answer=merged_weight,
    cases=merge_cases,
    constants=("alpha", "weight"),
    hints=(
        "Which of A @ B and B @ A has the shape of W?",
        "The scale is alpha / r, r the number of rows of A; the weight multiplies it.",
        "W + weight * alpha / len(A) * (B @ A), and do not change W itself.",
    ),
    insight="A merged model is as fast as before, and the LoRA is gone from sight: W + ΔW is just another matrix. "
    "Subtracting the same ΔW undoes it, up to rounding, which in float16 is not nothing.",
    wrong=(
        Wrong("weight-ignored", merge_without_weight, "You did not use `weight`: LoRAs are put on at 0.8, or at 0.5."),
        Wrong("alpha-ignored", merge_without_alpha, "You left out α/r."),
        Wrong("rank-ignored", merge_without_rank, "You multiplied by α. Divide it by the rank, the rows of A."),
        Wrong(
            "interpolated",
            merge_interpolated,
            "You interpolated between W and ΔW. ΔW is a change: W stays whole, however much of it is added.",
        ),
        Wrong("all-scaled", merge_scaled_all, "You multiplied W by the weight too. Only the change is weighted."),
        Wrong("minus", merge_minus, "You subtracted ΔW. That is unmerging."),
        Wrong("change-alone", merge_delta, "That is ΔW. The layer's new weight is W + ΔW."),
        Wrong("inputs-changed", merge_in_place),
        Wrong(
            "weight-squared",
            merge_squared,
            "You multiplied A and B both by the weight, so that it counts twice: 0.8 acts as 0.64.",
        ),
    ),
    right=(merge_by_addmm, merge_by_ranks),
    shape_hint=1,
)
