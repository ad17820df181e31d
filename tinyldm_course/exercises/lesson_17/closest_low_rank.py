"""Exercise closest_low_rank of lesson 17: A LoRA out of two models."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def closest_low_rank(before, after, rank):
    """The matrix of at most this rank that is closest to what training changed in a weight, after - before.

    Closest: with the least sum of squared differences.  Eckart & Young 1936.
    before, after: (out, in), the weight of a layer in two models.  rank: at least 1.  Returns (out, in), B A of a LoRA.
    """
    ### BEGIN SOLUTION
    U, S, Vh = torch.linalg.svd(after - before, full_matrices=False)
    B, A = U[:, :rank] * S[:rank], Vh[:rank]
    return B @ A
    ### END SOLUTION


def extraction_cases(generator: Generator) -> list[Call]:
    """Tall and wide layers, ranks from 1 up to that of the change itself."""
    return [
        Call((torch.randn(out, inputs, generator=generator), torch.randn(out, inputs, generator=generator), rank))
        for out, inputs, rank in ((3, 2, 1), (4, 6, 2), (7, 5, 3), (3, 4, 3))
    ]


def extraction_of_after(before, after, rank):
    U, S, Vh = torch.linalg.svd(after, full_matrices=False)
    return U[:, :rank] * S[:rank] @ Vh[:rank]


def extraction_backwards(before, after, rank):
    return closest_low_rank(after, before, rank)


def extraction_of_smallest(before, after, rank):
    U, S, Vh = torch.linalg.svd(after - before, full_matrices=False)
    return U[:, -rank:] * S[-rank:] @ Vh[-rank:]


def extraction_without_sizes(before, after, rank):
    U, _, Vh = torch.linalg.svd(after - before, full_matrices=False)
    return U[:, :rank] @ Vh[:rank]


def extraction_with_squares(before, after, rank):
    U, S, Vh = torch.linalg.svd(after - before, full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ (S[:rank, None] * Vh[:rank])


def extraction_with_roots(before, after, rank):
    U, S, Vh = torch.linalg.svd(after - before, full_matrices=False)
    return U[:, :rank] * S[:rank].sqrt() @ Vh[:rank]


def extraction_of_rows(before, after, rank):
    change = after - before
    kept = torch.zeros_like(change)
    kept[:rank] = change[:rank]
    return kept


def extraction_of_everything(before, after, rank):
    return after - before


def extraction_added(before, after, rank):
    return before + closest_low_rank(before, after, rank)


def extraction_by_eigenvectors(before, after, rank):
    change = after - before
    vectors = torch.linalg.eigh(change @ change.T)[1][:, -rank:]  # the largest come last
    return vectors @ (vectors.T @ change)


def extraction_by_removing(before, after, rank):
    left, total = after - before, torch.zeros_like(before)
    for _ in range(rank):
        U, S, Vh = torch.linalg.svd(left)
        piece = S[0] * torch.outer(U[:, 0], Vh[0])
        left, total = left - piece, total + piece
    return total


EXERCISE = Exercise(
    name="closest_low_rank",
    title="A LoRA out of two models",
    stars=2,
    minutes=12,
    answer=closest_low_rank,
    cases=extraction_cases,
    constants=("before", "after"),
    hints=(
        "A matrix is a sum of matrices of rank 1, the largest first: torch.linalg.svd(…, full_matrices=False).",
        "U (out, n), S (n,) and Vh (n, in) with n the smaller of out and in. Which of the n belong to the LoRA?",
        "The first `rank` columns of U, each times its number in S, are B; the first `rank` rows of Vh are A.",
    ),
    insight="Scripts that extract a LoRA from a finetuned model do this, layer by layer. What is lost is the sum of "
    "the squares of the numbers in S that are left out: if they fall fast, the change was of low rank.",
    wrong=(
        Wrong("of-after", extraction_of_after, "You took `after` apart. A LoRA is the *change*: after - before."),
        Wrong("backwards", extraction_backwards, "That is before - after: it would undo what was learnt."),
        Wrong(
            "smallest",
            extraction_of_smallest,
            "You kept the smallest singular values. They come in falling order: keep the first ones.",
        ),
        Wrong("no-sizes", extraction_without_sizes, "You left out S: columns of U and rows of Vh all have length 1."),
        Wrong("squares", extraction_with_squares, "S is in there twice, in B and in A. It belongs to one of them."),
        Wrong("roots", extraction_with_roots, "You put √S into one factor only. √S in both, or S in one."),
        Wrong("rows", extraction_of_rows, "You kept the first rows of the change. That has the rank, but is not near."),
        Wrong("everything", extraction_of_everything, "That is the whole change, of full rank: `rank` is not used."),
        Wrong("with-before", extraction_added, "You added `before`. Asked: the change alone, which a LoRA stores."),
    ),
    right=(extraction_by_eigenvectors, extraction_by_removing),
    shape_hint=2,
)
