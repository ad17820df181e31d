"""Exercise with_lora of lesson 17: A layer with its LoRA."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def with_lora(x, W, A, B, alpha):
    """The output of a linear layer with its LoRA attached: W x + α/r · B A x.

    x: (…, in).  W: (out, in).  A: (r, in).  B: (out, r).  alpha: a number.  Returns (…, out).
    """
    ### BEGIN SOLUTION
    return x @ W.T + alpha / len(A) * (x @ A.T @ B.T)
    ### END SOLUTION


def attached_cases(generator: Generator) -> list[Call]:
    """One vector, a batch of sequences; ranks above and below α."""
    calls = []
    for lead, inputs, out, rank, alpha in (((1,), 3, 2, 2, 1.0), ((2, 4), 5, 7, 3, 8.0), ((6,), 8, 4, 4, 2.5)):
        shapes = ((*lead, inputs), (out, inputs), (rank, inputs), (out, rank))
        calls.append(Call((*(torch.randn(shape, generator=generator) for shape in shapes), alpha)))
    return calls


def attached_without_scale(x, W, A, B, alpha):
    return x @ W.T + x @ A.T @ B.T


def attached_with_alpha(x, W, A, B, alpha):
    return x @ W.T + alpha * (x @ A.T @ B.T)


def attached_over_width(x, W, A, B, alpha):
    return x @ W.T + alpha / A.shape[1] * (x @ A.T @ B.T)


def attached_over_out(x, W, A, B, alpha):
    return x @ W.T + alpha / len(B) * (x @ A.T @ B.T)


def attached_root(x, W, A, B, alpha):
    return x @ W.T + alpha / len(A) ** 0.5 * (x @ A.T @ B.T)


def attached_alone(x, W, A, B, alpha):
    return alpha / len(A) * (x @ A.T @ B.T)


def attached_scaled_all(x, W, A, B, alpha):
    return alpha / len(A) * (x @ W.T + x @ A.T @ B.T)


def attached_minus(x, W, A, B, alpha):
    return x @ W.T - alpha / len(A) * (x @ A.T @ B.T)


def attached_merged(x, W, A, B, alpha):
    return F.linear(x, W + alpha / A.shape[0] * (B @ A))


def attached_by_einsum(x, W, A, B, alpha):
    inner = torch.einsum("...i,ri->...r", x, A)
    return torch.einsum("...i,oi->...o", x, W) + torch.einsum("...r,or->...o", inner, B) * alpha / B.shape[1]


EXERCISE = Exercise(
    name="with_lora",
    title="A layer with its LoRA",
    stars=1,
    minutes=7,
    answer=with_lora,
    cases=attached_cases,
    constants=("alpha",),
    hints=(
        "A row of x is a vector: x @ W.T is W x for each of them.",
        "First A, down to r numbers, then B, up to out.",
        "The scale is alpha / r, and r is the number of rows of A.",
    ),
    insight="x goes through r numbers and out again, r (in + out) products; ΔW is never made. With B = 0 the layer is "
    "as before.",
    wrong=(
        Wrong("no-scale", attached_without_scale, "You left out α/r. The file says α for a reason."),
        Wrong("alpha-not-divided", attached_with_alpha, "You multiplied by α. Divide it by the rank, the rows of A."),
        Wrong("over-in", attached_over_width, "You divided α by `in`, the columns of A. The rank is its rows."),
        Wrong("over-out", attached_over_out, "You divided α by `out`, the rows of B. The rank is its columns."),
        Wrong(
            "root-of-rank",
            attached_root,
            "You divided by √r. That is rank-stabilised LoRA (Kalajdzievski 2023); the original divides by r.",
        ),
        Wrong("change-alone", attached_alone, "That is what the LoRA adds. Add W x, the layer itself."),
        Wrong("all-scaled", attached_scaled_all, "You scaled W x too. Only the change is scaled."),
        Wrong("minus", attached_minus, "You subtracted the change. That is how one takes a LoRA off again."),
    ),
    right=(attached_merged, attached_by_einsum),
    shape_hint=1,
)
