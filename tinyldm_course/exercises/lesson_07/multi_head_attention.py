"""Exercise multi_head_attention of lesson 07: Several heads."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.lesson_07.attention import attention


def multi_head_attention(q, k, v, heads):
    """Attention in each of `heads` blocks of C / heads numbers.

    q: (B, N, C); k, v: (B, L, C); heads: divides C.  Returns (B, N, C).
    """
    ### BEGIN SOLUTION
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))  # -> (B, heads, N or L, d)
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).flatten(2)  # -> (B, N, C)
    ### END SOLUTION


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
    return multi_head_attention(q, v, k, heads)


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
    return multi_head_attention(q, k, v, q.shape[-1] // heads)


def heads_put_back_in_reverse(q, k, v, heads):
    return merged(F.scaled_dot_product_attention(*(split(x, heads) for x in (q, k, v))).flip(1))


def heads_by_loop(q, k, v, heads):
    return torch.cat([attention(*slices) for slices in zip(*(x.chunk(heads, -1) for x in (q, k, v)))], dim=-1)


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


EXERCISE = Exercise(
    name="multi_head_attention",
    title="Several heads",
    stars=2,
    minutes=12,
    answer=multi_head_attention,
    cases=heads_cases,
    hints=(
        "A head is a slice of C / heads neighbouring numbers of every q, k and v. Within it: ordinary attention.",
        "(B, N, C) → (B, N, heads, d) is a view; then swap to (B, heads, N, d), so that the last two dimensions "
        "are what attention works on. F.scaled_dot_product_attention takes it from there.",
        "On the way back: .transpose(1, 2) first, then .reshape(B, N, C).",
    ),
    shape_hint=2,
    insight="Heads cost nothing: the same multiplications, only sliced. Each can attend to something else: one "
    "softmax can point at one thing. And the scale follows the head: Stable Diffusion 1 has 8 heads of 40 to 160 "
    "numbers, Stable Diffusion 2 made all of them 64 wide.",
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
            "Your softmax runs over the queries. Each query must distribute a total weight of 1 among the keys: "
            "dim=-1.",
        ),
        Wrong(
            "softmax-over-heads",
            heads_over_heads,
            "Your softmax runs over the heads: dimension 1 of (B, heads, N, L). Each query of each head "
            "distributes a total weight of 1 among the keys: dim=-1.",
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
            "Here q comes in a different order (q.permute(…) makes such tensors), and it breaks. After .transpose(1, "
            "2) take `.reshape`, or `.contiguous()` first.",
        ),
        Wrong(
            "not-transposed-back",
            heads_view_not_transposed,
            "On the way back, .transpose(1, 2) is missing before you merge (B, heads, N, d). `.view` fails as well "
            "if the numbers are in a different order in memory: take `.reshape`.",
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
        Wrong("heads-averaged", heads_averaged, "You averaged the heads. They belong side by side: heads · d = C."),
        Wrong(
            "size-for-number",
            heads_size_for_number,
            "You made heads of `heads` numbers each. It is the *number* of heads: each has C // heads numbers.",
        ),
        Wrong(
            "heads-reversed",
            heads_put_back_in_reverse,
            "The heads come back in reverse order. The first head's numbers come first.",
        ),
    ),
    right=(heads_by_loop, heads_by_einsum, heads_as_batch),
)
