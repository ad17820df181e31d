"""Exercise causal_attention of lesson 09: No word sees the next."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def causal_attention(q, k, v):
    """Attention in which no position sees a later one.  q, k, v: (B, L, d).  Returns (B, L, d)."""
    ### BEGIN SOLUTION
    L, d = q.shape[1:]
    scores = q @ k.transpose(1, 2) / d**0.5  # (B, L, L)
    future = torch.ones(L, L, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ v
    ### END SOLUTION


def causal_cases(generator: Generator) -> list[Call]:
    """q, k, v: (B, L, d).

    Of the two words of the second call, the first must not see the other, whose score is 86 higher and whose value is
    huge: it would shine through a mask of -100. Nothing of it is too large or too small for float32.
    """
    ones = torch.tensor([[[1.0], [2.0], [-1.0]]])
    calls = [
        Call((ones, ones.flip(1), torch.tensor([[[1.0], [10.0], [100.0]]]))),
        Call(tuple(torch.tensor([[[one], [two]]]) for one, two in ((1.0, -1.0), (-86.5, -0.5), (1.0, 1e6)))),
    ]
    for shape in ((2, 4, 3), (1, 7, 8), (3, 5, 4)):
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for _ in range(3))))
    return calls


def scores_of(q: Tensor, k: Tensor) -> Tensor:
    """q kᵀ / √d: (B, L, L)."""
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5


def future(q: Tensor, diagonal: int = 1) -> Tensor:
    """True where the key comes after the query: (L, L)."""
    return torch.ones(q.shape[1], q.shape[1], dtype=torch.bool, device=q.device).triu(diagonal)


def causal_without_mask(q, k, v):
    return scores_of(q, k).softmax(-1) @ v


def causal_turned(q, k, v):
    return scores_of(q, k).masked_fill(future(q).T, float("-inf")).softmax(-1) @ v


def causal_without_itself(q, k, v):
    return scores_of(q, k).masked_fill(future(q, 0), float("-inf")).softmax(-1) @ v


def causal_with_next(q, k, v):
    return scores_of(q, k).masked_fill(future(q, 2), float("-inf")).softmax(-1) @ v


def causal_after_softmax(q, k, v):
    return scores_of(q, k).softmax(-1).masked_fill(future(q), 0) @ v


def causal_with_zeros(q, k, v):
    return scores_of(q, k).masked_fill(future(q), 0).softmax(-1) @ v


def causal_without_scale(q, k, v):
    return (q @ k.transpose(1, 2)).masked_fill(future(q), float("-inf")).softmax(-1) @ v


def causal_over_queries(q, k, v):
    return scores_of(q, k).masked_fill(future(q), float("-inf")).softmax(1) @ v


def causal_itself_only(q, k, v):
    return v + 0 * (q + k)


def causal_lowered_by_hundred(q, k, v):
    return (scores_of(q, k) - 100 * future(q).to(q)).softmax(-1) @ v


def causal_filled_with_minus_hundred(q, k, v):
    return scores_of(q, k).masked_fill(future(q), -100.0).softmax(-1) @ v


def causal_inverted(q, k, v):
    return scores_of(q, k).masked_fill(~future(q), float("-inf")).softmax(-1) @ v


def causal_true_is_kept(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=future(q))


def causal_zero_times_infinity(q, k, v):
    return (scores_of(q, k) + torch.ones_like(scores_of(q, k)).triu(1) * float("-inf")).softmax(-1) @ v


def causal_infinity_after_softmax(q, k, v):
    return scores_of(q, k).softmax(-1).masked_fill(future(q), float("-inf")) @ v


def causal_scaled_by_d(q, k, v):
    return causal_attention(q / q.shape[-1] ** 0.5, k, v)


def causal_scaled_by_length(q, k, v):
    return causal_attention(q * (q.shape[-1] / q.shape[1]) ** 0.5, k, v)


def causal_on_cpu(q, k, v):
    mask = torch.ones(q.shape[1], q.shape[1]).triu(1).bool()
    return torch.where(mask, torch.full_like(scores_of(q, k), float("-inf")), scores_of(q, k)).softmax(-1) @ v


def causal_window_of_two(q, k, v):
    L, d = q.shape[1:]
    hidden = ~torch.ones(L, L, dtype=torch.bool, device=q.device).tril().triu(-1)
    return (q @ k.transpose(1, 2) / d**0.5).masked_fill(hidden, float("-inf")).softmax(dim=-1) @ v


def causal_mask_divided(q, k, v):
    L, d = q.shape[1:]
    scores = q @ k.transpose(1, 2) + torch.ones(L, L, device=q.device, dtype=q.dtype).triu(1) * -1
    return (scores / d**0.5).softmax(dim=-1) @ v


def causal_first_hidden(q, k, v):
    L, d = q.shape[1:]
    hidden = torch.ones(L, L, dtype=torch.bool, device=q.device).triu(1)
    hidden[1:, 0] = True
    return (q @ k.transpose(1, 2) / d**0.5).masked_fill(hidden, float("-inf")).softmax(dim=-1) @ v


def causal_averaged(q, k, v):
    L = q.shape[1]
    seen = torch.ones(L, L, dtype=q.dtype, device=q.device).tril()
    return seen / seen.sum(1, keepdim=True) @ v + 0 * q


def causal_without_itself_but_for_the_first(q, k, v):
    hidden = future(q, 0)
    hidden[0, 0] = False
    return scores_of(q, k).masked_fill(hidden, float("-inf")).softmax(-1) @ v


def causal_filled_with(score):
    """A wrong answer that gives later positions a score that is not low enough."""

    def answer(q, k, v):
        return scores_of(q, k).masked_fill(future(q), score).softmax(-1) @ v

    return answer


def causal_of_torch(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def causal_by_loop(q, k, v):
    found = []
    for i in range(q.shape[1]):
        scores = torch.einsum("bd,bld->bl", q[:, i], k[:, : i + 1]) / q.shape[-1] ** 0.5
        found.append(torch.einsum("bl,bld->bd", scores.softmax(-1), v[:, : i + 1]))
    return torch.stack(found, dim=1)


def causal_renormalised(q, k, v):
    scores = scores_of(q, k)
    weights = (scores - scores.amax(-1, keepdim=True)).exp() * (~future(q))
    return weights / weights.sum(-1, keepdim=True) @ v


def causal_with_a_very_low_score(q, k, v):
    return (scores_of(q, k) - 1e4 * future(q).to(q)).softmax(-1) @ v


def causal_renormalised_late(q, k, v):
    weights = scores_of(q, k).softmax(-1).tril()
    return weights / weights.sum(-1, keepdim=True) @ v


def causal_by_plain_exponential(q, k, v):
    weights = scores_of(q, k).exp().tril()
    return weights / weights.sum(-1, keepdim=True) @ v


NOT_LOW_ENOUGH = (
    "You gave later positions a low score, but not low enough: after the softmax they still have a "
    "weight. Use minus infinity."
)


EXERCISE = Exercise(
    name="causal_attention",
    title="No word sees the next",
    stars=2,
    minutes=10,
    answer=causal_attention,
    cases=causal_cases,
    hints=(
        "Position i may look at positions 0 … i: of the (L, L) table of scores the lower triangle, with the diagonal.",
        "What softmax must ignore gets the score -∞, *before* softmax: exp(-∞) is 0.",
        'mask = torch.ones(L, L, dtype=torch.bool, device=q.device).triu(1); scores.masked_fill(mask, float("-inf"))',
    ),
    shape_hint=1,
    insight="So the first vector, that of the start token, sees nothing of the caption: it is the same for all "
    "captions. The end token sees everything. The U-Net's own attention has no such mask: pixels have no before "
    "and after.",
    wrong=(
        Wrong("no-mask", causal_without_mask, "There is no mask: every word sees the whole caption."),
        Wrong(
            "mask-turned",
            causal_turned,
            "The mask is flipped: your words see the future and not the past. Hide what lies *above* the diagonal.",
        ),
        Wrong(
            "itself-hidden",
            causal_without_itself,
            "You hid the diagonal too. A word sees itself; and the first, with nothing left to see, became NaN.",
        ),
        Wrong("sees-the-next", causal_with_next, "Off by one: your mask lets each word see the next one. triu(1)."),
        Wrong(
            "masked-after-softmax",
            causal_after_softmax,
            "You masked after softmax: what is left of a row no longer adds up to 1. Mask the scores, with -∞.",
        ),
        Wrong(
            "zeros-for-infinity",
            causal_with_zeros,
            "You set the hidden scores to 0. exp(0) is 1, so the future still counts: it must be -∞.",
        ),
        Wrong("scale-missing", causal_without_scale, "You left out 1/√d."),
        Wrong(
            "softmax-over-queries",
            causal_over_queries,
            "Your softmax runs over the queries. Each query distributes a total weight of 1 among its keys: dim=-1.",
        ),
        Wrong(
            "not-minus-infinity",
            causal_lowered_by_hundred,
            "You lowered the hidden scores by 100. Where scores are large, a hidden word still gets through: add "
            '-∞, float("-inf"), or fill it in.',
        ),
        Wrong(
            "filled-with-minus-100",
            causal_filled_with_minus_hundred,
            "You gave what is hidden the score -100. If the other scores are also that low, a hidden word still "
            'gets through: fill in -∞, float("-inf").',
        ),
        Wrong(
            "mask-inverted",
            causal_inverted,
            "Your mask hides what should be seen: the past and the word itself. The last word sees nothing and "
            "becomes NaN. Hide what lies *above* the diagonal: triu(1).",
        ),
        Wrong(
            "true-is-kept",
            causal_true_is_kept,
            "Your words see only what comes after them; the last sees nothing. In F.scaled_dot_product_attention, "
            "True in attn_mask means: look there. So use the other part, torch.ones(…).tril().",
        ),
        Wrong(
            "zero-times-infinity",
            causal_zero_times_infinity,
            'Every number is NaN. Did you multiply a mask of zeros and ones with float("-inf")? 0 · ∞ is NaN: fill '
            'it in with masked_fill(mask, float("-inf")).',
        ),
        Wrong(
            "infinity-after-softmax",
            causal_infinity_after_softmax,
            "You put -∞ in after softmax, among the weights. It belongs among the scores, before: softmax makes it 0.",
        ),
        Wrong(
            "scaled-by-d", causal_scaled_by_d, "You divided by d. The scores have *variance* d: divide by the root, √d."
        ),
        Wrong(
            "scaled-by-length",
            causal_scaled_by_length,
            "You divided by √L, the root of the number of words. It is the width d over which a score sums: √d.",
        ),
        Wrong("itself-only", causal_itself_only, "Each word sees only itself. It sees all that come before it, too."),
        Wrong("wrong-device", causal_on_cpu),
        Wrong(
            "two-only",
            causal_window_of_two,
            "Each position sees itself and the one before only. It sees *all* earlier ones.",
        ),
        Wrong(
            "minus-one",
            causal_mask_divided,
            "You lowered the scores of the future by 1. They must not count at all: -∞.",
        ),
        Wrong(
            "first-hidden",
            causal_first_hidden,
            "The first position is hidden, too. It is earlier than all others: everyone sees it.",
        ),
        Wrong(
            "all-alike",
            causal_averaged,
            "Your weights are all alike: the mean of what may be seen. The scores q kᵀ decide.",
        ),
        Wrong(
            "itself-hidden-but-for-the-first",
            causal_without_itself_but_for_the_first,
            "A position does not see itself, but for the first one. Each sees itself and all before it: the mask "
            "begins one above the diagonal, triu(1).",
        ),
        Wrong("filled-with-minus-1", causal_filled_with(-1.0), NOT_LOW_ENOUGH),
        Wrong("filled-with-minus-10", causal_filled_with(-10.0), NOT_LOW_ENOUGH),
    ),
    right=(
        causal_of_torch,
        causal_by_loop,
        causal_renormalised,
        causal_with_a_very_low_score,
        causal_renormalised_late,
        causal_by_plain_exponential,
    ),
)
