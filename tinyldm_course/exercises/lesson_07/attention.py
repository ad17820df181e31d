"""Exercise attention of lesson 07: Attention by hand."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def attention(q, k, v):
    """softmax(q kᵀ / √d) v.  q: (B, N, d); k, v: (B, L, d).  Returns (B, N, d)."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, N, L)
    return scores.softmax(dim=-1) @ v
    ### END SOLUTION


def attention_cases(generator: Generator) -> list[Call]:
    """q (B, N, d), k and v (B, L, d); once with N = L."""
    calls = [
        Call(
            (
                torch.tensor([[[1.0, 0.0], [1.0, -1.0]]]),
                torch.tensor([[[2.0, 0.0], [1.0, 2.0], [0.0, -1.0]]]),
                torch.tensor([[[1.0, 3.0], [5.0, -1.0], [0.0, 2.0]]]),
            )
        )
    ]
    for B, N, L, d in ((2, 5, 5, 4), (1, 4, 9, 3), (3, 7, 4, 8)):
        calls.append(Call(tuple(torch.randn(B, n, d, generator=generator) for n in (N, L, L))))
    return calls


def attention_without_scale(q, k, v):
    return (q @ k.transpose(1, 2)).softmax(dim=-1) @ v


def attention_scaled_by_d(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1]).softmax(dim=-1) @ v


def attention_multiplied(q, k, v):
    return (q @ k.transpose(1, 2) * q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def attention_scaled_by_length(q, k, v):
    return (q @ k.transpose(1, 2) / k.shape[1] ** 0.5).softmax(dim=-1) @ v


def attention_scaled_by_queries(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[1] ** 0.5).softmax(dim=-1) @ v


def attention_over_queries(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=1) @ v


def attention_over_the_batch(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=0) @ v


def attention_without_softmax(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5) @ v


def attention_scaled_too_late(q, k, v):
    return (q @ k.transpose(1, 2)).softmax(dim=-1) / q.shape[-1] ** 0.5 @ v


def attention_keys_as_values(q, k, v):
    return (q @ v.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ k


def attention_queries_as_keys(q, k, v):
    return (k @ q.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def attention_weights_only(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)


def attention_keys_reshaped(q, k, v):
    return (q @ k.reshape(len(k), k.shape[2], k.shape[1]) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def attention_divided_by_two_d(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] / 2).softmax(dim=-1) @ v


def attention_divided_by_half_d(q, k, v):
    return (q @ k.transpose(1, 2) / (q.shape[-1] / 2)).softmax(dim=-1) @ v


def attention_only_exponential(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).exp() @ v


def attention_keys_averaged(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ k


def attention_in_place(q, k, v):
    with torch.no_grad():
        q.div_(q.shape[-1] ** 0.5)
    return (q @ k.transpose(1, 2)).softmax(dim=-1) @ v


def attention_with_weights_cut(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1).detach() @ v


def attention_scaled_by_square(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 2).softmax(dim=-1) @ v


def attention_by_sigmoid(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).sigmoid() @ v


def attention_normalised_by_sum(q, k, v):
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return scores / scores.sum(-1, keepdim=True) @ v


def attention_by_cosine(q, k, v):
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2)).softmax(dim=-1) @ v


def attention_negative(q, k, v):
    return (-q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def attention_hard(q, k, v):
    best = (q @ k.transpose(1, 2)).argmax(-1)
    return v.gather(1, best[..., None].expand(-1, -1, v.shape[-1])) + 0 * q


def attention_averaged(q, k, v):
    return v.mean(1, keepdim=True).expand(-1, q.shape[1], -1) + 0 * q


def attention_with_residual(q, k, v):
    return q + (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def attention_over_all_pairs(q, k, v):
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return scores.flatten(1).softmax(1).view(scores.shape) @ v


def attention_of_torch(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def attention_by_einsum(q, k, v):
    scores = torch.einsum("bnd,bld->bnl", q, k) * q.shape[-1] ** -0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return torch.einsum("bnl,bld->bnd", weights / weights.sum(-1, keepdim=True), v)


def attention_by_loop(q, k, v):
    found = []
    for i in range(q.shape[1]):
        scores = (q[:, i : i + 1] * k).sum(-1) / q.shape[-1] ** 0.5
        found.append((scores.softmax(-1)[..., None] * v).sum(1))
    return torch.stack(found, dim=1)


EXERCISE = Exercise(
    name="attention",
    title="Attention by hand",
    stars=1,
    minutes=10,
    answer=attention,
    cases=attention_cases,
    hints=(
        "First a table of scores: every query with every key, (B, N, L). It is one matrix product.",
        "Each query distributes a total weight of 1 among the keys: each row of the table must add up to 1.",
        "scores = q @ k.transpose(1, 2) / d**0.5; then softmax(dim=-1), then @ v.",
    ),
    shape_hint=1,
    insight="The result of a query is a weighted mean of the values: it never leaves the range they span. Why √d? "
    "A product of d numbers of variance 1 has variance d; without the division, wide heads would attend to one key "
    "only, and softmax would pass no gradient on.",
    wrong=(
        Wrong(
            "scale-missing",
            attention_without_scale,
            "You left out 1/√d. The scores then grow with the width d, and softmax gives nearly all its weight to "
            "one key.",
        ),
        Wrong(
            "scaled-by-d",
            attention_scaled_by_d,
            "You divided by d. The scores have *variance* d, so divide by their standard deviation, √d.",
        ),
        Wrong("scale-multiplied", attention_multiplied, "You multiplied by √d; divide: the scores are too large."),
        Wrong(
            "scaled-by-length",
            attention_scaled_by_length,
            "You divided by the root of the number of keys. It is the width d, over which the product sums, that "
            "makes the scores large.",
        ),
        Wrong(
            "scaled-by-queries",
            attention_scaled_by_queries,
            "You divided by the root of the number of queries, q.shape[1]. It is the width d = q.shape[-1], over "
            "which the product sums, that makes the scores large.",
        ),
        Wrong(
            "softmax-over-queries",
            attention_over_queries,
            "Your softmax runs over the queries: each *key* distributes its weight. Each query must distribute a "
            "total of 1 among the keys: dim=-1.",
        ),
        Wrong(
            "softmax-over-the-batch",
            attention_over_the_batch,
            "Your softmax runs over the batch, so images mix. Each row of scores must add up to 1: dim=-1.",
        ),
        Wrong(
            "no-softmax",
            attention_without_softmax,
            "There is no softmax: weights may be negative and add up to anything, so the result is not a mean of "
            "the values.",
        ),
        Wrong(
            "scaled-after-softmax",
            attention_scaled_too_late,
            "You divided by √d after softmax: now the weights add up to 1/√d. Divide the scores.",
        ),
        Wrong(
            "keys-as-values",
            attention_keys_as_values,
            "Keys and values are swapped: keys are compared with the query, values are what is passed on.",
        ),
        Wrong(
            "queries-as-keys",
            attention_queries_as_keys,
            "Queries and keys are swapped: there is one result for each query, so scores are q kᵀ.",
        ),
        Wrong(
            "keys-reshaped",
            attention_keys_reshaped,
            "You reshaped k to (B, d, L). The shape fits, but numbers of several keys get mixed: transpose(1, 2) "
            "flips the table, reshape only reads it with a different width.",
        ),
        Wrong(
            "divided-by-2d",
            attention_divided_by_two_d,
            "Your scores are divided by 2 d. Did you write / d**1/2? ** binds first, then / from left to right: by "
            "d**1, then by 2. The root is d**0.5.",
        ),
        Wrong(
            "divided-by-half-d",
            attention_divided_by_half_d,
            "Your scores are divided by d / 2. Did you write d**1/2? ** binds before /, so that is half of d. The "
            "root is d**0.5.",
        ),
        Wrong(
            "not-normalised",
            attention_only_exponential,
            "You took exp of the scores, but a row of weights does not add up to 1: divide by its sum. Softmax "
            "does both.",
        ),
        Wrong(
            "keys-averaged", attention_keys_averaged, "The weights are right, but you took the mean of the keys: @ v."
        ),
        Wrong("weights-only", attention_weights_only, "These are the weights. Now take the mean of the values: @ v."),
        Wrong("inputs-changed", attention_in_place),
        Wrong("gradient-cut", attention_with_weights_cut),
        Wrong("scaled-by-square", attention_scaled_by_square, "You divided by d². It is the root, √d."),
        Wrong(
            "sigmoid",
            attention_by_sigmoid,
            "You took a sigmoid of each score: the weights of a query do not add up to 1. Take softmax.",
        ),
        Wrong(
            "divided-by-sum",
            attention_normalised_by_sum,
            "You divided the scores by their sum, which may be near 0 or negative. Take softmax: exp first.",
        ),
        Wrong(
            "cosine",
            attention_by_cosine,
            "You normalised q and k to length 1 (cosine attention). Here the plain products are divided by √d.",
        ),
        Wrong("sign", attention_negative, "The sign of the scores is flipped: each query reads what fits it *least*."),
        Wrong(
            "hard",
            attention_hard,
            "You took the best value only (argmax). Softmax mixes all of them, so that gradients reach each.",
        ),
        Wrong("all-alike", attention_averaged, "Your weights are all alike: the result is the mean of the values."),
        Wrong(
            "residual-inside",
            attention_with_residual,
            "You added q. The residual belongs to the block around; here the exercise asks for only the mix of the "
            "values.",
        ),
        Wrong(
            "softmax-over-all-pairs",
            attention_over_all_pairs,
            "Your softmax runs over all pairs of a query and a key. The weights of each query must sum "
            "to 1: softmax over the last dimension alone.",
        ),
    ),
    right=(attention_of_torch, attention_by_einsum, attention_by_loop),
)
