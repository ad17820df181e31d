"""Exercises of lesson 07, the SpatialTransformer: attention, heads, cross-attention, GEGLU, one query a pixel."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm.spatial_transformer import TransformerBlock
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong

TITLE = "SpatialTransformer"


# ── Attention ────────────────────────────────────────────────────────────────────────────────────────


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


def attention_right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v."""
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


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


ATTENTION = Exercise(
    name="attention",
    title="Attention by hand",
    stars=1,
    minutes=10,
    answer=attention_right,
    cases=attention_cases,
    hints=(
        "First a table of scores: every query with every key, (B, N, L). It is one matrix product.",
        "Each query shares out one whole among the keys: each row of the table must add up to 1.",
        "scores = q @ k.transpose(1, 2) / d**0.5; then softmax(dim=-1), then @ v.",
    ),
    insight="The result of a query is a weighted mean of the values: it never leaves the range they span. Why √d? A "
    "product of d numbers of variance 1 has variance d; without the division, wide heads would listen to one "
    "key only, and softmax would pass no gradient on.",
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
            "You divided by d. The scores have *variance* d, so it is their standard deviation √d that must go.",
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
            "Your softmax runs over the queries: each *key* shares itself out. Each query must share out one whole "
            "among the keys: dim=-1.",
        ),
        Wrong(
            "softmax-over-the-batch",
            attention_over_the_batch,
            "Your softmax runs over the batch, so images mix. Each row of scores must add up to 1: dim=-1.",
        ),
        Wrong(
            "no-softmax",
            attention_without_softmax,
            "There is no softmax: weights may be negative and add up to anything, so this is no mean of the values.",
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
            "turns the table over, reshape only reads it in another width.",
        ),
        Wrong(
            "divided-by-2d",
            attention_divided_by_two_d,
            "Your scores are divided by 2 d. Did you write / d**1/2? ** goes first, then from left to right: by "
            "d**1, then by 2. The root is d**0.5.",
        ),
        Wrong(
            "divided-by-half-d",
            attention_divided_by_half_d,
            "Your scores are divided by d / 2. Did you write d**1/2? ** goes before /, so that is half of d. The "
            "root is d**0.5.",
        ),
        Wrong(
            "not-normalised",
            attention_only_exponential,
            "You took exp of the scores, but a row of weights does not add up to 1: divide by its sum. Softmax does "
            "both.",
        ),
        Wrong(
            "keys-averaged", attention_keys_averaged, "The weights are right, but you took the mean of the keys: @ v."
        ),
        Wrong("weights-only", attention_weights_only, "These are the weights. Now take the mean of the values: @ v."),
        Wrong("inputs-changed", attention_in_place),
        Wrong("gradient-cut", attention_with_weights_cut),
    ),
    right=(attention_of_torch, attention_by_einsum, attention_by_loop),
)


# ── Heads ────────────────────────────────────────────────────────────────────────────────────────────


def heads_cases(generator: Generator) -> list[Call]:
    """q (B, N, C), k and v (B, L, C), heads; with N = L first, and d > 1 so that .view fails after a transpose.

    Once q lies in memory with its batch last: then F.scaled_dot_product_attention on a CPU gives its result in the
    order of its shape, as it does on other devices, and .view fails after a transpose of that, too.
    """
    q, k, v = (
        [[1.0, 2.0, 0.0, -1.0], [0.0, -1.0, 1.0, 1.0]],
        [[2.0, 0.0, 1.0, -2.0], [-1.0, 1.0, 0.0, 1.0]],
        [[3.0, 1.0, 0.0, 5.0], [4.0, -2.0, 2.0, 1.0]],
    )
    calls = [Call((torch.tensor([q]), torch.tensor([k]), torch.tensor([v]), 2))]
    for B, N, L, C, heads in ((2, 6, 6, 6, 3), (2, 5, 3, 4, 2), (1, 4, 9, 8, 2), (3, 7, 4, 12, 4)):
        q, k, v = (torch.randn(B, n, C, generator=generator) for n in (N, L, L))
        q = q.permute(1, 2, 0).contiguous().permute(2, 0, 1) if N == 5 else q
        calls.append(Call((q, k, v, heads)))
    return calls


def split(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, C)."""
    return x.transpose(1, 2).flatten(2)


def heads_right(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention in each slice of d = C / heads numbers, side by side."""
    return merged(F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v))))


def heads_one(q, k, v, heads):
    return F.scaled_dot_product_attention(q, k, v)


def heads_scaled_by_width(q, k, v, heads):
    return merged(F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v)), scale=q.shape[-1] ** -0.5))


def heads_without_scale(q, k, v, heads):
    return merged(F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v)), scale=1.0))


def heads_scaled_by_number(q, k, v, heads):
    return merged(F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v)), scale=heads**-0.5))


def heads_scaled_by_d(q, k, v, heads):
    return merged(F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v)), scale=heads / q.shape[-1]))


def heads_keys_and_values_swapped(q, k, v, heads):
    return heads_right(q, v, k, heads)


def heads_softmax_over(q, k, v, heads, dim):
    """(B, heads, N, d) before they are merged, the softmax over any dimension of (B, heads, N, L)."""
    q, k, v = (split(x, heads) for x in (q, k, v))
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim) @ v


def heads_over_queries(q, k, v, heads):
    return merged(heads_softmax_over(q, k, v, heads, dim=-2))


def heads_over_heads(q, k, v, heads):
    return merged(heads_softmax_over(q, k, v, heads, dim=1))


def heads_view_after_transpose(q, k, v, heads):
    return heads_softmax_over(q, k, v, heads, dim=-1).transpose(1, 2).view(q.shape)


def heads_view_after_torch(q, k, v, heads):
    return F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v))).transpose(1, 2).view(q.shape)


def heads_view_not_transposed(q, k, v, heads):
    return F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v))).view(q.shape)


def heads_length_of_queries(q, k, v, heads):
    B, N, C = q.shape
    q, k, v = (x.reshape(B, N, heads, C // heads).transpose(1, 2) for x in (q, k, v))
    return merged(F.scaled_dot_product_attention(q, k, v))


def heads_viewed(q, k, v, heads):
    B, N, C = q.shape
    q, k, v = (x.reshape(B, heads, -1, C // heads) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).reshape(B, N, C)


def heads_split_by_view_only(q, k, v, heads):
    q, k, v = (x.reshape(len(x), heads, x.shape[1], -1) for x in (q, k, v))
    return merged(F.scaled_dot_product_attention(q, k, v))


def heads_merged_by_view_only(q, k, v, heads):
    return F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v))).reshape(q.shape)


def heads_interleaved(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).permute(0, 2, 3, 1).flatten(2)


def heads_among_themselves(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))
    return ((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v).flatten(2)


def heads_averaged(q, k, v, heads):
    return F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v))).mean(1)


def heads_size_for_number(q, k, v, heads):
    return heads_right(q, k, v, q.shape[-1] // heads)


def heads_by_loop(q, k, v, heads):
    return torch.cat([attention_right(*slices) for slices in zip(*(x.chunk(heads, -1) for x in (q, k, v)))], dim=-1)


def heads_by_einsum(q, k, v, heads):
    q, k, v = (x.view(*x.shape[:2], heads, -1) for x in (q, k, v))
    weights = torch.einsum("bnhd,blhd->bhnl", q, k).div(q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bhnl,blhd->bnhd", weights, v).flatten(2)


def heads_as_batch(q, k, v, heads):
    def rows(x):
        return split(x, heads).reshape(-1, x.shape[1], x.shape[2] // heads)

    mixed = (
        torch.baddbmm(
            torch.zeros_like(rows(v)[:, :1, :1]), rows(q), rows(k).mT, beta=0, alpha=(q.shape[2] // heads) ** -0.5
        )
        .softmax(-1)
        .bmm(rows(v))
    )
    return merged(mixed.view(len(q), heads, q.shape[1], -1))


HEADS = Exercise(
    name="multi_head_attention",
    title="Several heads",
    stars=2,
    minutes=12,
    answer=heads_right,
    cases=heads_cases,
    hints=(
        "A head is a slice of C / heads neighbouring numbers of every q, k and v. Within it: the attention that you "
        "know.",
        "(B, N, C) → (B, N, heads, d) is a view; then swap to (B, heads, N, d), so that the last two dimensions are "
        "what attention works on. F.scaled_dot_product_attention takes it from there.",
        "On the way back: .transpose(1, 2) first, then .reshape(B, N, C).",
    ),
    insight="Heads cost nothing: the same multiplications, only sliced. Each can listen to something else: one "
    "softmax can point at one thing. And the scale follows the head: Stable Diffusion 1 has 8 heads of 40 to "
    "160 numbers, Stable Diffusion 2 made all of them 64 wide.",
    wrong=(
        Wrong("one-head", heads_one, "`heads` is not used: one softmax over the whole width. Slice first."),
        Wrong(
            "scaled-by-whole-width",
            heads_scaled_by_width,
            "You divided by √C. A score sums over one head's d = C / heads numbers only, so it is √d.",
        ),
        Wrong("scale-missing", heads_without_scale, "You left out 1/√d, where d = C / heads is the width of a head."),
        Wrong(
            "scaled-by-number-of-heads",
            heads_scaled_by_number,
            "You divided by √heads. It is the width of a head, d = C / heads, over which a score sums: √d.",
        ),
        Wrong(
            "scaled-by-d",
            heads_scaled_by_d,
            "You divided by d = C / heads. The scores have *variance* d: divide by the root, √d.",
        ),
        Wrong(
            "keys-and-values-swapped",
            heads_keys_and_values_swapped,
            "Keys and values are swapped: the order is (q, k, v), here and in F.scaled_dot_product_attention.",
        ),
        Wrong(
            "softmax-over-queries",
            heads_over_queries,
            "Your softmax runs over the queries. Each query must share out one whole among the keys: dim=-1.",
        ),
        Wrong(
            "softmax-over-heads",
            heads_over_heads,
            "Your softmax runs over the heads: dimension 1 of (B, heads, N, L). Each query of each head shares out "
            "one whole among the keys: dim=-1.",
        ),
        Wrong(
            "view-after-transpose",
            heads_view_after_transpose,
            "`.view` cannot merge what does not lie side by side in memory, as the heads after a transpose: "
            "`.reshape` can, or `.contiguous()` first.",
        ),
        Wrong(
            "view-by-luck",
            heads_view_after_torch,
            "The numbers are right, but `.view` works only where they happen to lie in the right order in memory. "
            "Here q comes in another order (q.permute(…) makes such tensors), and it breaks. After .transpose(1, 2) "
            "take `.reshape`, or `.contiguous()` first.",
        ),
        Wrong(
            "not-transposed-back",
            heads_view_not_transposed,
            "On the way back, .transpose(1, 2) is missing before you merge (B, heads, N, d). `.view` fails as well "
            "where the numbers lie in another order in memory: take `.reshape`.",
        ),
        Wrong(
            "length-of-queries",
            heads_length_of_queries,
            "You gave k or v the length of q. There are L keys, not N: take the length of each from its own "
            ".shape, or leave it to torch with unflatten or -1.",
        ),
        Wrong(
            "viewed-both-ways",
            heads_viewed,
            'You reshaped (B, N, C) straight into (B, heads, N, d) and back. The shapes fit, but each "head" is '
            "then some of the *positions*. View as (B, N, heads, d), then transpose.",
        ),
        Wrong(
            "split-by-view",
            heads_split_by_view_only,
            "On the way in you reshaped straight into (B, heads, N, d): the shape fits, but numbers of several "
            "positions get mixed. View as (B, N, heads, d), then transpose.",
        ),
        Wrong(
            "merged-by-view",
            heads_merged_by_view_only,
            "On the way back you reshaped (B, heads, N, d) without transposing: the heads' results end up at other "
            "positions. .transpose(1, 2) first.",
        ),
        Wrong(
            "interleaved",
            heads_interleaved,
            "Your head takes every heads-th number. A head is a block of neighbours: (heads, d), not (d, heads).",
        ),
        Wrong(
            "heads-among-themselves",
            heads_among_themselves,
            "Without the transpose the softmax runs over the heads of one position: positions never see each other.",
        ),
        Wrong("heads-averaged", heads_averaged, "You averaged the heads. They stand side by side: heads · d = C."),
        Wrong(
            "size-for-number",
            heads_size_for_number,
            "You made heads of `heads` numbers each. It is the *number* of heads: each has C // heads numbers.",
        ),
    ),
    right=(heads_by_loop, heads_by_einsum, heads_as_batch),
)


# ── Cross-attention ──────────────────────────────────────────────────────────────────────────────────


def cross_cases(generator: Generator) -> list[Call]:
    """x, context or None; equal widths and lengths first, later neither: there a wrong source fails in its Linear."""
    calls = [
        Call(
            (
                torch.tensor([[[1.0, -1.0, 0.0, 2.0], [0.5, 1.0, -2.0, 0.0]]]),
                torch.tensor([[[2.0, 0.5, 1.0, 0.0], [-1.0, 3.0, 0.0, 1.0]]]),
            ),
            build=(4, 4, 2),
        )
    ]
    for B, N, L, C, D, heads in ((2, 5, 3, 4, 6, 2), (2, 6, 4, 8, 6, 4), (3, 9, 7, 6, 12, 2)):
        x, context = torch.randn(B, N, C, generator=generator), torch.randn(B, L, D, generator=generator)
        calls += [Call((x, None), build=(C, C, heads)), Call((x, context), build=(C, D, heads))]
    return calls


class CrossAttentionRight(nn.Module):
    """Queries from x, keys and values from the context; without one, from x."""

    def __init__(self, query_dim: int, context_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(query_dim, query_dim, bias=False)
        self.to_k = nn.Linear(context_dim, query_dim, bias=False)
        self.to_v = nn.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.Linear(query_dim, query_dim)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """x (B, N, C), context (B, L, D) or None -> (B, N, C)."""
        context = x if context is None else context
        return self.to_out(heads_right(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionToItself(CrossAttentionRight):
    def forward(self, x, context):
        return super().forward(x, None)


class CrossAttentionOfNothing(CrossAttentionRight):
    def forward(self, x, context):
        return super().forward(x, torch.zeros_like(x) if context is None else context)


class CrossAttentionSkipped(CrossAttentionRight):
    def forward(self, x, context):
        return x if context is None else super().forward(x, context)


class CrossAttentionSharedProjection(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_right(self.to_q(x), self.to_k(context), self.to_k(context), self.heads))


class CrossAttentionContextAsks(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_right(self.to_q(context), self.to_k(x), self.to_v(x), self.heads))


class CrossAttentionKeysAndValuesSwapped(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_right(self.to_q(x), self.to_v(context), self.to_k(context), self.heads))


class CrossAttentionWithoutOut(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return heads_right(self.to_q(x), self.to_k(context), self.to_v(context), self.heads)


class CrossAttentionOneHead(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(attention_right(self.to_q(x), self.to_k(context), self.to_v(context)))


class CrossAttentionSplitByView(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_split_by_view_only(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionMergedByView(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_merged_by_view_only(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionScaledByWidth(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_scaled_by_width(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionBy(CrossAttentionRight):
    """With other heads: a function (q, k, v, heads) -> (B, N, C)."""

    mixed = staticmethod(heads_right)

    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(self.mixed(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionWithoutScale(CrossAttentionBy):
    mixed = staticmethod(heads_without_scale)


class CrossAttentionOverQueries(CrossAttentionBy):
    mixed = staticmethod(heads_over_queries)


class CrossAttentionViewed(CrossAttentionBy):
    mixed = staticmethod(heads_viewed)


class CrossAttentionViewAfterTranspose(CrossAttentionBy):
    mixed = staticmethod(heads_view_after_transpose)


class CrossAttentionLengthOfQueries(CrossAttentionBy):
    mixed = staticmethod(heads_length_of_queries)


class CrossAttentionNoneForgotten(CrossAttentionRight):
    def forward(self, x, context):
        return self.to_out(heads_right(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionNoneHasNoShape(CrossAttentionRight):
    def forward(self, x, context):
        L = context.shape[1]
        return super().forward(x, context[:, :L])


class CrossAttentionConditionTurned(CrossAttentionNoneForgotten):
    def forward(self, x, context):
        if context is not None:
            context = x
        return super().forward(x, context)


class CrossAttentionTruthOfATensor(CrossAttentionNoneForgotten):
    def forward(self, x, context):
        return super().forward(x, context or x)


class CrossAttentionKeysFromPixels(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_right(self.to_q(x), self.to_k(x), self.to_v(context), self.heads))


class CrossAttentionValuesFromPixels(CrossAttentionRight):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_right(self.to_q(x), self.to_k(context), self.to_v(x), self.heads))


class CrossAttentionWithResidual(CrossAttentionRight):
    def forward(self, x, context):
        return x + super().forward(x, context)


class CrossAttentionContextCut(CrossAttentionRight):
    def forward(self, x, context):
        return super().forward(x, x if context is None else context.detach())


class CrossAttentionByLoop(CrossAttentionRight):
    def forward(self, x, context):
        source = x if context is None else context
        d, found = x.shape[-1] // self.heads, []
        for head in range(self.heads):
            rows = slice(head * d, (head + 1) * d)
            q, k, v = (
                F.linear(y, layer.weight[rows])
                for y, layer in ((x, self.to_q), (source, self.to_k), (source, self.to_v))
            )
            found.append(attention_right(q, k, v))
        return self.to_out(torch.cat(found, -1))


class CrossAttentionByEinsum(CrossAttentionRight):
    def forward(self, x, context):
        if context is None:
            context = x
        return self.to_out(heads_by_einsum(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


CROSS_ATTENTION = Exercise(
    name="CrossAttention",
    title="Pixels read words",
    stars=2,
    minutes=12,
    answer=CrossAttentionRight,
    cases=cross_cases,
    hints=(
        "Who asks? The pixels: q comes from x. Who answers? The words: k and v come from the context.",
        "With no context, x takes its place. Then split into heads as before.",
        "to_q(x), to_k(context), to_v(context) → heads → F.scaled_dot_product_attention → heads side by side → to_out.",
    ),
    insight="The result has one vector for each pixel, however many words there are: so captions, class labels and "
    "pictures all fit the same U-Net. In Stable Diffusion 1 the context is 768 wide and pixels are 320 to "
    '1280: there "no context" cannot mean self-attention, and "no caption" is the encoding of "".',
    wrong=(
        Wrong(
            "none-forgotten",
            CrossAttentionNoneForgotten,
            "Without a context, `context` is None, and None cannot go through a Linear. x takes its place: if "
            "context is None: context = x.",
        ),
        Wrong(
            "none-has-no-shape",
            CrossAttentionNoneHasNoShape,
            "Without a context, `context` is None, and None has no .shape. Let x take its place first: if context "
            "is None: context = x.",
        ),
        Wrong(
            "condition-turned",
            CrossAttentionConditionTurned,
            "Your condition is turned round: x takes the place of a context that is there, and None stays None. It "
            "is: if context is None: context = x.",
        ),
        Wrong(
            "truth-of-a-tensor",
            CrossAttentionTruthOfATensor,
            "You asked whether the context is true (`context or x`, `if context:`, `if not context:`). A tensor of "
            "several numbers is neither true nor false: ask `context is None`.",
        ),
        Wrong(
            "keys-from-pixels",
            CrossAttentionKeysFromPixels,
            "Your keys come from x and your values from the context. Both come from the context: what is compared "
            "and what is passed on belong to the same words.",
        ),
        Wrong(
            "values-from-pixels",
            CrossAttentionValuesFromPixels,
            "Your keys come from the context and your values from x. Both come from the context: then what the "
            "words say reaches the pixels.",
        ),
        Wrong(
            "scale-missing",
            CrossAttentionWithoutScale,
            "You left out 1/√d, where d = C / heads is the width of a head.",
        ),
        Wrong(
            "softmax-over-queries",
            CrossAttentionOverQueries,
            "Your softmax runs over the queries. Each query must share out one whole among the keys: dim=-1.",
        ),
        Wrong(
            "viewed-both-ways",
            CrossAttentionViewed,
            'You reshaped (B, N, C) straight into (B, heads, N, d) and back. The shapes fit, but each "head" is '
            "then some of the *positions*. View as (B, N, heads, d), then transpose, as in exercise 7.2.",
        ),
        Wrong(
            "view-after-transpose",
            CrossAttentionViewAfterTranspose,
            "`.view` cannot merge what does not lie side by side in memory, such as the heads after a transpose: "
            "`.reshape` can, or `.contiguous()` first. On the way back it is .transpose(1, 2), then "
            ".reshape(B, N, C).",
        ),
        Wrong(
            "length-of-queries",
            CrossAttentionLengthOfQueries,
            "You gave k or v the length of q. There are L keys, not N: take the length of each from its own "
            ".shape, or leave it to torch with unflatten or -1.",
        ),
        Wrong(
            "context-ignored",
            CrossAttentionToItself,
            "The context is never read: pixels look at each other, and the caption has no effect.",
        ),
        Wrong(
            "zeros-for-no-context",
            CrossAttentionOfNothing,
            "Without a context you read zeros. x takes its place: then this is self-attention.",
        ),
        Wrong(
            "skipped-without-context",
            CrossAttentionSkipped,
            "Without a context you return x as it is. x takes the context's place: then this is self-attention.",
        ),
        Wrong(
            "one-projection-for-both",
            CrossAttentionSharedProjection,
            "Keys and values come from one projection, to_k. What a word is found by and what it tells are two "
            "different things: the values come from to_v.",
        ),
        Wrong(
            "context-asks",
            CrossAttentionContextAsks,
            "The words ask and the pixels answer. Each pixel must get a result: queries come from x.",
        ),
        Wrong(
            "keys-and-values-swapped",
            CrossAttentionKeysAndValuesSwapped,
            "to_v makes your keys and to_k your values: a trained checkpoint would give nonsense.",
        ),
        Wrong(
            "no-output-projection",
            CrossAttentionWithoutOut,
            "to_out is missing: without it the heads stand side by side and never mix.",
        ),
        Wrong("one-head", CrossAttentionOneHead, "The heads are not split: one softmax over the whole width."),
        Wrong(
            "split-by-view",
            CrossAttentionSplitByView,
            "On the way in you reshaped straight into (B, heads, N, d): the shape fits, but numbers of several "
            "positions get mixed. View as (B, N, heads, d), then transpose, as in exercise 7.2.",
        ),
        Wrong(
            "merged-by-view",
            CrossAttentionMergedByView,
            "On the way back you reshaped (B, heads, N, d) without transposing: the heads' results end up at other "
            "positions. .transpose(1, 2) first, as in exercise 7.2.",
        ),
        Wrong(
            "scaled-by-whole-width",
            CrossAttentionScaledByWidth,
            "You divided by √C. A score sums over one head's d = C / heads numbers only, so it is √d.",
        ),
        Wrong(
            "residual-inside",
            CrossAttentionWithResidual,
            "You added x. The sum belongs to the TransformerBlock around this layer; here it would count twice.",
        ),
        Wrong("gradient-cut", CrossAttentionContextCut),
    ),
    right=(CrossAttentionByLoop, CrossAttentionByEinsum),
)


# ── GEGLU ────────────────────────────────────────────────────────────────────────────────────────────


def geglu_cases(generator: Generator) -> list[Call]:
    """x (B, N, C), weight (2 h, C), bias (2 h,)."""
    calls = [Call((torch.tensor([[[1.0], [-2.0]]]), torch.tensor([[1.0], [0.5]]), torch.tensor([0.5, 1.0])))]
    for B, N, C, h in ((2, 4, 3, 5), (1, 7, 6, 24), (3, 4, 8, 32)):
        shapes = ((B, N, C), (2 * h, C), (2 * h,))
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for shape in shapes)))
    return calls


def geglu_right(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """value · GELU(gate), value ‖ gate = x Wᵀ + b."""
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate)


def geglu_swapped(x, weight, bias):
    gate, value = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate)


def geglu_with_tanh(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate, approximate="tanh")


def geglu_with_sigmoid(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate.sigmoid()


def geglu_with_silu(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.silu(gate)


def geglu_not_activated(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate


def geglu_both_activated(x, weight, bias):
    value, gate = F.gelu(F.linear(x, weight, bias)).chunk(2, dim=-1)
    return value * gate


def geglu_without_gate(x, weight, bias):
    return F.gelu(F.linear(x, weight, bias))


def geglu_interleaved(x, weight, bias):
    both = F.linear(x, weight, bias)
    return both[..., ::2] * F.gelu(both[..., 1::2])


def geglu_without_bias(x, weight, bias):
    value, gate = F.linear(x, weight).chunk(2, dim=-1)
    return value * F.gelu(gate)


def geglu_of_positions(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=1)
    return value * F.gelu(gate)


def geglu_with_relu(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.relu(gate)


def geglu_without_factor(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * (1 + torch.erf(gate / 2**0.5)) / 2


def geglu_of_the_product(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return F.gelu(value * gate)


def geglu_in_place(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    value *= F.gelu(gate)
    return value


def geglu_by_halves(x, weight, bias):
    h = len(bias) // 2
    value = x @ weight[:h].T + bias[:h]
    gate = x @ weight[h:].T + bias[h:]
    return torch.nn.GELU()(gate) * value


def geglu_by_erf(x, weight, bias):
    both = torch.einsum("bnc,hc->bnh", x, weight) + bias
    value, gate = both[..., : both.shape[-1] // 2], both[..., both.shape[-1] // 2 :]
    return value * gate * (1 + torch.erf(gate / 2**0.5)) / 2


GEGLU = Exercise(
    name="geglu",
    title="A gate: GEGLU",
    stars=1,
    minutes=6,
    answer=geglu_right,
    cases=geglu_cases,
    tolerance=1e-5,
    hints=(
        "One linear layer makes twice as many numbers as needed: F.linear(x, weight, bias).",
        "Cut the last dimension into two halves: .chunk(2, dim=-1). Value first, gate second.",
        "value * F.gelu(gate)",
    ),
    insight="Where the gate is far below 0 the value is shut out, where it is large it goes through, multiplied: so "
    "this layer can *multiply* two features, which a linear layer with an activation can only imitate. The "
    "order, value first, is an accident that every checkpoint now depends on.",
    wrong=(
        Wrong(
            "halves-swapped",
            geglu_swapped,
            "Value and gate are swapped: the *second* half is the gate. Both orders would train; the checkpoints "
            "have the value first.",
        ),
        Wrong(
            "tanh-approximation",
            geglu_with_tanh,
            "You took GELU's tanh approximation, as GPT-2 does. Stable Diffusion uses the exact one, with erf: "
            "F.gelu's default.",
        ),
        Wrong("sigmoid-gate", geglu_with_sigmoid, "You gated with a sigmoid: that is GLU. GEGLU gates with GELU."),
        Wrong(
            "silu-gate",
            geglu_with_silu,
            "You gated with SiLU: that is SwiGLU, of the later language models. GEGLU gates with GELU.",
        ),
        Wrong("relu-gate", geglu_with_relu, "You gated with ReLU: that is ReGLU. GEGLU gates with GELU."),
        Wrong(
            "gate-factor-missing",
            geglu_without_factor,
            "You multiplied with Φ(gate), a share between 0 and 1. GELU is gate · Φ(gate): the factor gate is missing.",
        ),
        Wrong(
            "product-activated",
            geglu_of_the_product,
            "You took GELU of the product. Only the gate goes through GELU; then the value is multiplied.",
        ),
        Wrong(
            "changed-in-place",
            geglu_in_place,
            "The values are right, but one half was changed in place (*=, mul_). Both halves are views of one "
            "tensor, and autograd refuses that: value * F.gelu(gate) makes a new one.",
        ),
        Wrong("gate-not-activated", geglu_not_activated, "The gate is not activated: it would never shut."),
        Wrong(
            "both-activated",
            geglu_both_activated,
            "You activated both halves. The value passes as it is; only the gate goes through GELU.",
        ),
        Wrong("no-gate", geglu_without_gate, "That is GELU of all numbers; one half must gate the other."),
        Wrong(
            "interleaved",
            geglu_interleaved,
            "You took every second number as the gate. The halves stand one after the other.",
        ),
        Wrong("no-bias", geglu_without_bias, "The bias is missing."),
        Wrong(
            "positions-halved",
            geglu_of_positions,
            "You cut dimension 1, the positions, in half. Cut the last one, the numbers of each position.",
        ),
    ),
    right=(geglu_by_halves, geglu_by_erf),
)


# ── The SpatialTransformer ───────────────────────────────────────────────────────────────────────────


def spatial_cases(generator: Generator) -> list[Call]:
    """x (B, C, H, W), context (B, L, D); equal widths first, but never as many pixels as channels."""
    calls = [
        Call(
            (torch.tensor([[[[1.0, -2.0, 0.0]], [[0.5, 3.0, -1.0]]]]), torch.tensor([[[2.0, -1.0]]])),
            build=(2, 2, 1, 1),
        )
    ]
    for (B, C, H, W), L, D, heads, groups in (
        ((2, 4, 4, 4), 3, 4, 2, 2),
        ((1, 6, 3, 5), 4, 8, 3, 3),
        ((2, 8, 4, 6), 5, 6, 4, 2),
    ):
        x, context = torch.randn(B, C, H, W, generator=generator), torch.randn(B, L, D, generator=generator)
        calls.append(Call((x, context), build=(C, D, heads, groups)))
    return calls


class SpatialRight(nn.Module):
    """norm → one query a pixel → proj_in → block → proj_out → back to an image, + input."""

    def __init__(self, channels: int, context_dim: int, heads: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.block = TransformerBlock(channels, context_dim, heads)
        self.proj_out = nn.Linear(channels, channels)

    def inside(self, pixels: Tensor, context: Tensor) -> Tensor:
        """(B, HW, C) -> (B, HW, C)."""
        return self.proj_out(self.block(self.proj_in(pixels), context))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, L, D) -> (B, C, H, W)."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialWithoutResidual(SpatialRight):
    def forward(self, x, context):
        return super().forward(x, context) - x


class SpatialWithoutNorm(SpatialRight):
    def forward(self, x, context):
        pixels = x.flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialNormalisedResidual(SpatialRight):
    def forward(self, x, context):
        x = self.norm(x)
        pixels = x.flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialViewed(SpatialRight):
    def forward(self, x, context):
        B, C, H, W = x.shape
        return x + self.inside(self.norm(x).reshape(B, H * W, C), context).reshape(x.shape)


class SpatialViewedIn(SpatialRight):
    def forward(self, x, context):
        B, C, H, W = x.shape
        pixels = self.norm(x).reshape(B, H * W, C)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialViewedOut(SpatialRight):
    def forward(self, x, context):
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).reshape(x.shape)


class SpatialTurned(SpatialRight):
    def forward(self, x, context):
        pixels = self.norm(x).permute(0, 3, 2, 1).flatten(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialWithoutContext(SpatialRight):
    def inside(self, pixels, context):
        return self.proj_out(self.block(self.proj_in(pixels)))


class SpatialWithoutProjections(SpatialRight):
    def inside(self, pixels, context):
        return self.block(pixels, context)


class SpatialWithoutProjectionOut(SpatialRight):
    def inside(self, pixels, context):
        return self.block(self.proj_in(pixels), context)


class SpatialWithoutProjectionIn(SpatialRight):
    def inside(self, pixels, context):
        return self.proj_out(self.block(pixels, context))


class SpatialProjectionsExchanged(SpatialRight):
    def inside(self, pixels, context):
        return self.proj_in(self.block(self.proj_out(pixels), context))


class SpatialBlockAddedTwice(SpatialRight):
    def inside(self, pixels, context):
        pixels = self.proj_in(pixels)
        return self.proj_out(pixels + self.block(pixels, context))


class SpatialNormalisedLater(SpatialRight):
    def forward(self, x, context):
        pixels = self.norm(self.proj_in(x.flatten(2).transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        return x + self.proj_out(self.block(pixels, context)).transpose(1, 2).reshape(x.shape)


class SpatialNotTransposed(SpatialRight):
    def forward(self, x, context):
        return x + self.inside(self.norm(x).flatten(2), context).reshape(x.shape)


class SpatialColumnByColumn(SpatialRight):
    """Pixels in another order, there and back: attention does not mind."""

    def forward(self, x, context):
        B, C, H, W = x.shape
        pixels = self.norm(x).permute(0, 3, 2, 1).reshape(B, W * H, C)
        return self.inside(pixels, context).reshape(B, W, H, C).permute(0, 3, 2, 1) + x


class SpatialByEinsum(SpatialRight):
    def forward(self, x, context):
        B, C, H, W = x.shape
        pixels = torch.einsum("bcp->bpc", self.norm(x).view(B, C, H * W))
        return torch.einsum("bpc->bcp", self.inside(pixels, context)).unflatten(2, (H, W)) + x


SPATIAL_TRANSFORMER = Exercise(
    name="SpatialTransformer",
    title="One query a pixel",
    stars=2,
    minutes=12,
    answer=SpatialRight,
    cases=spatial_cases,
    hints=(
        "A transformer reads (B, N, C): N = H · W pixels, each a vector of its C channels.",
        ".flatten(2) makes (B, C, HW); .transpose(1, 2) brings the channels to the end.",
        "norm → flatten, transpose → proj_in → block(pixels, context) → proj_out → transpose(1, 2), "
        ".reshape(x.shape), and + x.",
    ),
    insight="Nothing in here knows where a pixel lies: shuffle the pixels and the result is shuffled the same way. It "
    "is the zero padding of the convolutions around it that tells the pixels their place.",
    wrong=(
        Wrong(
            "no-residual",
            SpatialWithoutResidual,
            "The input is not added at the end. The block has sums inside, but they start after norm and proj_in: "
            "the feature map itself needs this outer one.",
        ),
        Wrong("not-normalised", SpatialWithoutNorm, "The GroupNorm at the start is missing."),
        Wrong(
            "residual-normalised",
            SpatialNormalisedResidual,
            "You added the normalised input. Keep x untouched: was it overwritten on the way?",
        ),
        Wrong(
            "viewed-both-ways",
            SpatialViewed,
            'You reshaped (B, C, H, W) straight into (B, HW, C): the shape fits, but a "pixel" is then C numbers '
            "of one channel from neighbouring places. Flatten, then transpose.",
        ),
        Wrong(
            "viewed-in",
            SpatialViewedIn,
            "On the way in you reshaped straight into (B, HW, C), which mixes channels and places. Flatten, then "
            "transpose.",
        ),
        Wrong(
            "viewed-out",
            SpatialViewedOut,
            "On the way back you reshaped (B, HW, C) straight into (B, C, H, W). Transpose first.",
        ),
        Wrong(
            "rows-and-columns-swapped",
            SpatialTurned,
            "You flattened column by column and un-flattened row by row: the result is turned over its diagonal. "
            "Either order will do, but the same both ways.",
        ),
        Wrong(
            "no-context", SpatialWithoutContext, "The context is not handed to the block: the caption has no effect."
        ),
        Wrong("no-projections", SpatialWithoutProjections, "proj_in and proj_out are missing."),
        Wrong("no-output-projection", SpatialWithoutProjectionOut, "proj_out is missing."),
        Wrong("no-input-projection", SpatialWithoutProjectionIn, "proj_in is missing: it stands before the block."),
        Wrong(
            "projections-exchanged",
            SpatialProjectionsExchanged,
            "proj_in and proj_out are exchanged: proj_in comes before the block, proj_out after it.",
        ),
        Wrong(
            "block-added",
            SpatialBlockAddedTwice,
            "You added the block's input to its result. The block has its sums inside: here they would count twice.",
        ),
        Wrong(
            "normalised-after-proj_in",
            SpatialNormalisedLater,
            "You normalised what comes out of proj_in. The GroupNorm stands first, before proj_in.",
        ),
        Wrong(
            "not-transposed",
            SpatialNotTransposed,
            ".flatten(2) makes (B, C, HW), and a Linear works on the last dimension: that is HW now, and not C. "
            ".transpose(1, 2) brings the channels to the end.",
        ),
    ),
    right=(SpatialColumnByColumn, SpatialByEinsum),
)


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────


def one_number(generator: Generator) -> list[Call]:
    """Nothing to try it on: the answer is a number."""
    return [Call(())]


WEIGHTS = Exercise(
    name="attention_weights",
    title="Predict: how many weights?",
    stars=1,
    minutes=6,
    answer=lambda: 134_217_728.0,
    cases=one_number,
    tolerance=0.036,  # of 1.1 times the number
    hints=(
        "How many queries are there? One a pixel of the *feature map*.",
        "In self-attention the pixels are the keys too.",
        "heads · N · N, with N = 64 · 64.",
    ),
    insight="8 · 4096² = 134,217,728: in float32, 512 MiB for one image in one layer. The cost grows with the fourth "
    "power of the side: at 32×32 it is a sixteenth, on the 512×512 pixels themselves 4096 times as much. That "
    "is why diffusion moved to latents. Cross-attention has only 8 · 4096 · 77 = 2,523,136.",
    wrong=(
        Wrong(
            "power-of-ten",
            lambda: 1e8,
            "The power of ten is right. Now work the number out: within 4 % is near enough.",
        ),
        Wrong(
            "heads-forgotten",
            lambda: 4096.0**2,
            "That is one head's table, 4096². There are 8, each with a table of its own.",
        ),
        Wrong(
            "cross-attention",
            lambda: 8.0 * 4096 * 77,
            "That is cross-attention, with 77 words as keys. In self-attention the 4096 pixels are the keys too.",
        ),
        Wrong(
            "pixels-counted-once",
            lambda: 8.0 * 64 * 64,
            "That is one weight for each pixel and head. Each pixel has one weight for *every* pixel: N².",
        ),
        Wrong(
            "side-for-pixels",
            lambda: 8.0 * 64,
            "You took the side, 64, for the number of queries. It is one query a pixel: 64 · 64 of them.",
        ),
        Wrong(
            "channels-counted",
            lambda: 320.0 * 4096,
            "That is the size of the feature map. Weights stand between pixels: channels do not matter.",
        ),
        Wrong(
            "channels-for-heads",
            lambda: 320.0 * 4096**2,
            "You counted a table for each channel. There is one for each of the 8 heads: a head's 40 numbers are "
            "summed up in one score.",
        ),
        Wrong(
            "image-pixels",
            lambda: 8.0 * (512 * 512) ** 2,
            "You counted the pixels of the image. The U-Net works on the latent: its first feature map is 64×64.",
        ),
    ),
    right=(lambda: 8 * (64 * 64) ** 2, lambda: 134e6, lambda: 1.3e8),
)


EXERCISES = (ATTENTION, HEADS, CROSS_ATTENTION, GEGLU, SPATIAL_TRANSFORMER, WEIGHTS)
