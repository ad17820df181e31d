"""Exercises of lesson 09, the context: tokens padded, a causal mask, CLIP's end token and loss, a label as context."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong

TITLE = "Words, pictures and labels as context"


# ── Tokens and padding ───────────────────────────────────────────────────────────────────────────────


def padding_cases(generator: Generator) -> list[Call]:
    """Pieces of each caption, length, start, end, pad: one caption is empty, one too long, one with CLIP's numbers."""

    def pieces(*counts: int, low: int = 10, high: int = 100) -> list[list[int]]:
        return [torch.randint(low, high, (count,), generator=generator).tolist() for count in counts]

    return [
        Call(([[5, 6]], 5, 1, 2, 9)),
        Call(([[5, 6, 7, 8]], 5, 1, 2, 9)),
        Call((pieces(3, 0, 6), 8, 1, 2, 3)),
        Call((pieces(4, 9, 2), 6, 7, 8, 0)),
        Call((pieces(2, low=40_000, high=49_000), 5, 49_406, 49_407, 0)),
        Call((pieces(1, 12, 20, 5), 12, 101, 102, 102)),
    ]


def padding_right(pieces: list[list[int]], length: int, start: int, end: int, pad: int) -> Tensor:
    """start, at most length - 2 pieces, end, then padding."""
    rows = [[start, *piece[: length - 2], end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_without_start(pieces, length, start, end, pad):
    rows = [[*piece[: length - 1], end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_without_end(pieces, length, start, end, pad):
    rows = [[start, *piece[: length - 1]] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_end_cut_off(pieces, length, start, end, pad):
    rows = [[start, *piece, end][:length] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_not_cut(pieces, length, start, end, pad):
    rows = [[start, *piece, end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_on_the_left(pieces, length, start, end, pad):
    rows = [[start, *piece[: length - 2], end] for piece in pieces]
    return torch.tensor([[pad] * (length - len(row)) + row for row in rows])


def padding_with_zeros(pieces, length, start, end, pad):
    return padding_right(pieces, length, start, end, 0)


def padding_with_end(pieces, length, start, end, pad):
    return padding_right(pieces, length, start, end, end)


def padding_before_end(pieces, length, start, end, pad):
    rows = [[start, *piece[: length - 2]] for piece in pieces]
    return torch.tensor([row + [pad] * (length - 1 - len(row)) + [end] for row in rows])


def padding_two_longer(pieces, length, start, end, pad):
    return padding_right(pieces, length + 2, start, end, pad)


def padding_one_place_short(pieces, length, start, end, pad):
    rows = [[start, *piece[: length - 1], end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_of_the_first(pieces, length, start, end, pad):
    return padding_right(pieces[:1], length, start, end, pad)


def padding_last_pieces(pieces, length, start, end, pad):
    return padding_right([piece[-(length - 2) :] for piece in pieces], length, start, end, pad)


def padding_to_longest(pieces, length, start, end, pad):
    longest = min(length, max(len(piece) for piece in pieces) + 2)
    return padding_right(pieces, longest, start, end, pad)


def padding_start_for_end(pieces, length, start, end, pad):
    return padding_right(pieces, length, end, start, pad)


def padding_three_places(pieces, length, start, end, pad):
    return padding_right([piece[: length - 3] for piece in pieces], length, start, end, pad)


def padding_in_eight_bits(pieces, length, start, end, pad):
    return padding_right(pieces, length, start, end, pad).to(torch.uint8)


def padding_in_sixteen_bits(pieces, length, start, end, pad):
    return padding_right(pieces, length, start, end, pad).to(torch.int16)


def padding_filled_with_bytes(pieces, length, start, end, pad):
    tokens = torch.full((len(pieces), length), pad, dtype=torch.uint8)
    for row, right in zip(tokens, padding_right(pieces, length, start, end, pad).tolist()):
        for place, token in enumerate(right):
            row[place] = token
    return tokens


def padding_made_of_bytes(pieces, length, start, end, pad):
    return torch.tensor(padding_right(pieces, length, start, end, pad).tolist(), dtype=torch.uint8)


def padding_in_thirty_two_bits(pieces, length, start, end, pad):
    return padding_right(pieces, length, start, end, pad).int()


def padding_into_full(pieces, length, start, end, pad):
    tokens = torch.full((len(pieces), length), pad)
    tokens[:, 0] = start
    for row, piece in zip(tokens, pieces):
        kept = torch.tensor(piece[: length - 2], dtype=torch.int64)
        row[1 : 1 + len(kept)] = kept
        row[1 + len(kept)] = end
    return tokens


def padding_by_loop(pieces, length, start, end, pad):
    rows = []
    for piece in pieces:
        row = [start]
        for token in piece:
            if len(row) < length - 1:
                row.append(token)
        row.append(end)
        while len(row) < length:
            row.append(pad)
        rows.append(row)
    return torch.as_tensor(rows)


TOO_SMALL = (
    "CLIP's tokens go up to 49407. uint8 ends at 255 and int16 at 32767: larger tokens do not fit, or become "
    "others. Take int64."
)

PAD_TOKENS = Exercise(
    name="pad_tokens",
    title="Every caption the same length",
    stars=1,
    minutes=8,
    answer=padding_right,
    cases=padding_cases,
    hints=(
        "Make each row as a Python list first: start, pieces, end, padding.",
        "Start and end need two places, so at most length - 2 pieces fit: cut before you add them.",
        "row + [pad] * (length - len(row)); then torch.tensor(rows).",
    ),
    insight="CLIP's length is 77, so 75 pieces of a caption are read and the rest is dropped. Stable Diffusion makes "
    "no mask for the padding: the U-Net reads those vectors too. Version 1 pads with the end token, version 2 "
    "with token 0, and neither forgives the other's.",
    wrong=(
        Wrong("no-start", padding_without_start, "The start token is missing: every row begins with it."),
        Wrong("no-end", padding_without_end, "The end token is missing: it comes right after the last piece."),
        Wrong(
            "end-cut-off",
            padding_end_cut_off,
            "You cut after adding the end token, so a long caption loses it. CLIP reads the whole caption off that "
            "very token: cut the pieces to length - 2 first.",
        ),
        Wrong(
            "not-cut",
            padding_not_cut,
            "A long caption is not cut: its row is longer than the others and makes no tensor. At most length - 2 "
            "pieces.",
        ),
        Wrong(
            "padded-left",
            padding_on_the_left,
            "You padded on the left, as for generating text. CLIP's captions begin at position 0.",
        ),
        Wrong(
            "padded-with-zeros", padding_with_zeros, "You padded with 0. The pad token is given; 0 is a word to CLIP."
        ),
        Wrong(
            "padded-with-end",
            padding_with_end,
            "You padded with the end token. Stable Diffusion 1 does; here, as in version 2, `pad` is another.",
        ),
        Wrong(
            "end-at-the-end",
            padding_before_end,
            "Your end token stands behind the padding. It comes right after the last piece.",
        ),
        Wrong(
            "two-too-long", padding_two_longer, "Your rows have length + 2 tokens: start and end are included in it."
        ),
        Wrong(
            "one-place-short",
            padding_one_place_short,
            "You kept length - 1 pieces of a long caption. Start *and* end need a place: length - 2.",
        ),
        Wrong(
            "first-caption-only",
            padding_of_the_first,
            "You return the row of the first caption only. Does `return` stand inside the loop?",
        ),
        Wrong(
            "start-and-end-exchanged",
            padding_start_for_end,
            "Start and end are exchanged: a row begins with `start`, and `end` comes after the last piece.",
        ),
        Wrong(
            "one-piece-too-few",
            padding_three_places,
            "Of a long caption you kept length - 3 pieces. Only start and end need a place: length - 2 fit.",
        ),
        Wrong("eight-bits", padding_in_eight_bits, TOO_SMALL),
        Wrong("sixteen-bits", padding_in_sixteen_bits, TOO_SMALL),
        Wrong("eight-bits-filled", padding_filled_with_bytes, TOO_SMALL),
        Wrong("eight-bits-from-a-list", padding_made_of_bytes, TOO_SMALL),
        Wrong("last-pieces", padding_last_pieces, "You kept the *last* pieces of a long caption. The first are kept."),
        Wrong(
            "to-the-longest",
            padding_to_longest,
            "You padded to the longest caption only. The length is fixed: the text encoder has a position for each.",
        ),
    ),
    right=(padding_into_full, padding_by_loop, padding_in_thirty_two_bits),
)


# ── The causal mask ──────────────────────────────────────────────────────────────────────────────────


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


def causal_right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax of the scores, those of the future set to -∞."""
    return scores_of(q, k).masked_fill(future(q), float("-inf")).softmax(-1) @ v


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
    return causal_right(q / q.shape[-1] ** 0.5, k, v)


def causal_scaled_by_length(q, k, v):
    return causal_right(q * (q.shape[-1] / q.shape[1]) ** 0.5, k, v)


def causal_on_cpu(q, k, v):
    mask = torch.ones(q.shape[1], q.shape[1]).triu(1).bool()
    return torch.where(mask, torch.full_like(scores_of(q, k), float("-inf")), scores_of(q, k)).softmax(-1) @ v


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


CAUSAL = Exercise(
    name="causal_attention",
    title="No word sees the next",
    stars=2,
    minutes=10,
    answer=causal_right,
    cases=causal_cases,
    hints=(
        "Position i may look at positions 0 … i: of the (L, L) table of scores the lower triangle, with the diagonal.",
        "What softmax must ignore gets the score -∞, *before* softmax: exp(-∞) is 0.",
        'mask = torch.ones(L, L, dtype=torch.bool, device=q.device).triu(1); scores.masked_fill(mask, float("-inf"))',
    ),
    insight="So the first vector, that of the start token, sees nothing of the caption: it is the same for all "
    "captions. The end token sees everything. The U-Net's own attention has no such mask: pixels have no "
    "before and after.",
    wrong=(
        Wrong("no-mask", causal_without_mask, "There is no mask: every word sees the whole caption."),
        Wrong(
            "mask-turned",
            causal_turned,
            "The mask is turned round: your words see the future and not the past. Hide what lies *above* the "
            "diagonal.",
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
            "Your softmax runs over the queries. Each query shares out one whole among its keys: dim=-1.",
        ),
        Wrong(
            "not-minus-infinity",
            causal_lowered_by_hundred,
            "You lowered the hidden scores by 100. Where scores are large, a hidden word still shines through: add "
            '-∞, float("-inf"), or fill it in.',
        ),
        Wrong(
            "filled-with-minus-100",
            causal_filled_with_minus_hundred,
            "You gave what is hidden the score -100. Where the other scores are that low too, a hidden word still "
            'shines through: fill in -∞, float("-inf").',
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
            "Your words see only what comes after them; the last sees nothing. In "
            "F.scaled_dot_product_attention, True in attn_mask means: look there. So it is the other part, "
            "torch.ones(…).tril().",
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


# ── The end token ────────────────────────────────────────────────────────────────────────────────────


def end_cases(generator: Generator) -> list[Call]:
    """Vectors (B, L, D), tokens (B, L), the end token: padded with it or with another, and not always the largest.

    Once there is no start token and an empty caption: the first place is then the end, and what is no end comes later.
    """
    calls = [Call((torch.tensor([[[1.0], [2.0], [3.0], [5.0]]]), torch.tensor([[1, 30, 20, 20]]), 20))]
    for rows, end in (([[20, 0, 0], [31, 20, 0]], 20), ([[49_406, 320, 49_407, 49_407]], 49_407)):
        calls.append(Call((torch.randn(len(rows), len(rows[0]), 2, generator=generator), torch.tensor(rows), end)))
    for B, L, D, pad in ((3, 6, 4, 20), (2, 5, 3, 0), (4, 9, 8, 20)):
        rows = []
        for count in torch.randint(1, L - 2, (B,), generator=generator).tolist():
            words = torch.randint(21, 60, (count,), generator=generator).tolist()
            rows.append([1, *words, 20] + [pad] * (L - 2 - count))
        calls.append(Call((torch.randn(B, L, D, generator=generator), torch.tensor(rows), 20)))
    return calls


def at(hidden: Tensor, place: Tensor) -> Tensor:
    """One vector of each row: (B, L, D), (B,) -> (B, D)."""
    return hidden.gather(1, place.view(-1, 1, 1).expand(-1, 1, hidden.shape[2])).squeeze(1)


def end_right(hidden: Tensor, tokens: Tensor, end: int) -> Tensor:
    """The vector of the first end token."""
    return at(hidden, (tokens == end).int().argmax(dim=1))


def end_last_position(hidden, tokens, end):
    return hidden[:, -1]


def end_first_position(hidden, tokens, end):
    return hidden[:, 0]


def end_mean(hidden, tokens, end):
    return hidden.mean(dim=1)


def end_last_one(hidden, tokens, end):
    return at(hidden, tokens.shape[1] - 1 - (tokens == end).int().flip(1).argmax(dim=1))


def end_largest_token(hidden, tokens, end):
    return at(hidden, tokens.argmax(dim=1))


def end_word_before(hidden, tokens, end):
    return hidden[torch.arange(len(hidden), device=hidden.device), (tokens == end).int().argmax(dim=1) - 1]


def end_summed(hidden, tokens, end):
    return (hidden * (tokens == end)[..., None]).sum(1)


def end_place_of_first_caption(hidden, tokens, end):
    return at(hidden, (tokens == end).int().argmax(dim=1)[:1].expand(len(tokens)))


def end_largest_values(hidden, tokens, end):
    return hidden.amax(dim=1)


def end_first_other(hidden, tokens, end):
    return at(hidden, (tokens != end).int().argmax(dim=1))


def end_of_clip(hidden, tokens, end):
    return at(hidden, (tokens == 49_407).int().argmax(dim=1))


def end_words_counted(hidden, tokens, end):
    return at(hidden, (tokens != end).sum(1))


def end_by_loop(hidden, tokens, end):
    return torch.stack([vectors[row.tolist().index(end)] for vectors, row in zip(hidden, tokens)])


def end_by_index(hidden, tokens, end):
    return hidden[torch.arange(len(hidden)), (tokens == end).int().argmax(dim=-1)]


def end_by_mask(hidden, tokens, end):
    ends = tokens == end
    first = ends & (ends.cumsum(1) == 1)
    return torch.einsum("bl,bld->bd", first.to(hidden), hidden)


END_TOKEN = Exercise(
    name="end_token_vector",
    title="A caption as one vector",
    stars=2,
    minutes=8,
    answer=end_right,
    cases=end_cases,
    hints=(
        "tokens == end says where the end tokens are; the padding may be made of them too.",
        "You need the *first* one of each row: (tokens == end).int().argmax(dim=1).",
        "Then one vector from each row: hidden[torch.arange(B), place].",
    ),
    insight="Why the end? The mask is causal, so only there has the whole caption been read. OpenAI's own code takes "
    "the *largest* token of a row instead: the end token, 49407, is the last in the list. That holds until "
    "somebody teaches the model a new word, which gets the number 49408.",
    wrong=(
        Wrong(
            "last-position",
            end_last_position,
            "You took the last position. In a short caption that is padding: look for the end token.",
        ),
        Wrong(
            "start-token",
            end_first_position,
            "You took the first position, as BERT does; or you looked for something that is in no row: argmax of all "
            "zeros is 0. In a causal encoder the first token has seen nothing of the caption.",
        ),
        Wrong(
            "first-other-token",
            end_first_other,
            "You took the first place that is *not* the end token: argmax of tokens != end, or argmin of tokens == "
            "end. It is argmax of tokens == end.",
        ),
        Wrong(
            "number-written-in",
            end_of_clip,
            "You looked for 49407, CLIP's own end token. Here it is another: compare with `end`.",
        ),
        Wrong(
            "words-counted",
            end_words_counted,
            "Your place is the number of tokens that are not `end`. Where the padding is another token, it is "
            "counted, too: look for the first end token.",
        ),
        Wrong(
            "averaged", end_mean, "You averaged over all positions, padding included. CLIP reads one: the end token."
        ),
        Wrong(
            "last-end-token",
            end_last_one,
            "You took the last end token. Where the padding is made of end tokens too, that is padding: the first "
            "one counts.",
        ),
        Wrong(
            "largest-token",
            end_largest_token,
            "You looked for the largest token. In CLIP's own list that is the end token, but not here: compare with "
            "`end`.",
        ),
        Wrong("word-before", end_word_before, "You are one short: that is the last word, not the end token after it."),
        Wrong(
            "all-end-tokens", end_summed, "You added up all end tokens, the padding among them. Only the first counts."
        ),
        Wrong(
            "one-place-for-all",
            end_place_of_first_caption,
            "You took the first caption's place for all. Each caption ends elsewhere.",
        ),
        Wrong("largest-values", end_largest_values, "You took the largest number of each column (max pooling)."),
    ),
    right=(end_by_loop, end_by_index, end_by_mask),
)


# ── The contrastive loss ─────────────────────────────────────────────────────────────────────────────


def contrast_cases(generator: Generator) -> list[Call]:
    """Vectors of pictures and captions, not of length 1; a scale."""
    calls = [
        Call((torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0], [-1.0, 2.0, 0.0]]), 2.0))
    ]
    for B, D, scale in ((3, 4, 1.5), (7, 5, 3.0), (4, 8, 5.0)):
        calls.append(Call((*(2 * torch.randn(B, D, generator=generator) for _ in range(2)), scale)))
    return calls


def similarities(image: Tensor, text: Tensor) -> Tensor:
    """Cosines of all pictures with all captions: (B, B)."""
    return F.normalize(image, dim=1) @ F.normalize(text, dim=1).T


def matched(logits: Tensor, **options) -> Tensor:
    """Cross-entropy of each row, the right answer on the diagonal."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device), **options)


def contrast_right(image: Tensor, text: Tensor, scale: float) -> Tensor:
    """Mean of both directions' cross-entropies."""
    logits = scale * similarities(image, text)
    return (matched(logits) + matched(logits.T)) / 2


def contrast_not_normalised(image, text, scale):
    logits = scale * image @ text.T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_normalised_over_batch(image, text, scale):
    logits = scale * F.normalize(image, dim=0) @ F.normalize(text, dim=0).T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_one_way(image, text, scale):
    return matched(scale * similarities(image, text))


def contrast_other_way(image, text, scale):
    return matched(scale * similarities(image, text).T)


def contrast_both_summed(image, text, scale):
    return 2 * contrast_right(image, text, scale)


def contrast_divided(image, text, scale):
    return contrast_right(image, text, 1 / scale)


def contrast_without_scale(image, text, scale):
    return contrast_right(image, text, 1.0)


def contrast_scale_exponential(image, text, scale):
    return contrast_right(image, text, torch.tensor(scale).exp().item())


def contrast_summed(image, text, scale):
    logits = scale * similarities(image, text)
    return (matched(logits, reduction="sum") + matched(logits.T, reduction="sum")) / 2


def contrast_first_label(image, text, scale):
    logits = scale * similarities(image, text)
    label = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2


def contrast_softmax_twice(image, text, scale):
    logits = scale * similarities(image, text)
    return (matched(logits.softmax(1)) + matched(logits.T.softmax(1))) / 2


def contrast_of_probabilities(image, text, scale):
    shares = (scale * similarities(image, text)).softmax(1)
    return (matched(shares) + matched(shares.T)) / 2


def contrast_length_of_all(image, text, scale):
    logits = scale * (image / image.norm()) @ (text / text.norm()).T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_text_as_it_is(image, text, scale):
    logits = scale * F.normalize(image, dim=1) @ text.T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_image_as_it_is(image, text, scale):
    logits = scale * image @ F.normalize(text, dim=1).T
    return (matched(logits) + matched(logits.T)) / 2


def contrast_diagonal_only(image, text, scale):
    return -scale * similarities(image, text).diagonal().mean()


def contrast_negative(image, text, scale):
    return -contrast_right(image, text, scale)


def contrast_scaled_twice(image, text, scale):
    return contrast_right(image, text, scale**2)


def contrast_products_normalised(image, text, scale):
    logits = scale * F.normalize(image @ text.T, dim=1)
    return (matched(logits) + matched(logits.T)) / 2


def contrast_logits_normalised(image, text, scale):
    logits = F.normalize(scale * image @ text.T, dim=1)
    return (matched(logits) + matched(logits.T)) / 2


def contrast_on_cpu(image, text, scale):
    logits = scale * similarities(image, text)
    label = torch.arange(len(logits))
    return (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2


def contrast_text_cut(image, text, scale):
    return contrast_right(image, text.detach(), scale)


def contrast_by_logsumexp(image, text, scale):
    image, text = (x / x.norm(dim=1, keepdim=True) for x in (image, text))
    logits = torch.einsum("id,td->it", image, text) * scale
    both = logits.logsumexp(1) + logits.logsumexp(0)
    return (both / 2 - logits.diagonal()).mean()


def contrast_by_loop(image, text, scale):
    logits, parts = scale * F.cosine_similarity(image[:, None], text[None], dim=2), []
    for i in range(len(logits)):
        parts += [-logits[i].log_softmax(0)[i], -logits[:, i].log_softmax(0)[i]]
    return torch.stack(parts).mean()


CONTRASTIVE = Exercise(
    name="contrastive_loss",
    title="Which caption belongs to which picture?",
    stars=2,
    minutes=12,
    answer=contrast_right,
    cases=contrast_cases,
    hints=(
        "Bring all vectors to length 1 first: F.normalize(…, dim=1). Then one matrix product compares all with all.",
        "Row i asks: which of these captions belongs to picture i? The right answer is number i: cross-entropy with "
        "the labels 0, 1, 2, …",
        "(F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2, with labels on the same device.",
    ),
    insight="Guessing gives ln B: 3.47 in a batch of 32. A larger batch is a harder question, and a better teacher, "
    "and nobody needs to write down what makes a caption wrong: the others in the batch are the wrong answers. "
    "That is also its weakness: to tell *these* apart, a bag of words is often enough.",
    wrong=(
        Wrong(
            "not-normalised",
            contrast_not_normalised,
            "The vectors are not of length 1: a long one then wins every comparison. The cosine is asked for.",
        ),
        Wrong(
            "normalised-over-batch",
            contrast_normalised_over_batch,
            "You normalised over the batch (dim=0). Each *vector* must have length 1: dim=1.",
        ),
        Wrong(
            "pictures-only",
            contrast_one_way,
            "You asked one way only, picture → caption. The other way counts as well: take the mean of both.",
        ),
        Wrong(
            "captions-only",
            contrast_other_way,
            "You asked one way only, caption → picture. The other way counts as well: take the mean of both.",
        ),
        Wrong("both-summed", contrast_both_summed, "You added the two directions; take their mean."),
        Wrong(
            "divided-by-scale",
            contrast_divided,
            "You divided by the scale. That would be right for a temperature, which is 1/scale.",
        ),
        Wrong(
            "scale-missing",
            contrast_without_scale,
            "The scale is not used. Cosines lie in [-1, 1]: without a scale softmax can never be sure.",
        ),
        Wrong(
            "wrong-sign",
            contrast_negative,
            "The sign is turned round: cross-entropy is already -log p, and is to become small.",
        ),
        Wrong(
            "scaled-twice",
            contrast_scaled_twice,
            "The scale comes in twice. Multiply the cosines with it, once; not both kinds of vectors.",
        ),
        Wrong(
            "products-normalised",
            contrast_products_normalised,
            "You normalised the table of products. Each *vector* must have length 1, before it is multiplied.",
        ),
        Wrong(
            "logits-normalised",
            contrast_logits_normalised,
            "You normalised the logits, and the scale fell out again. Each *vector* must have length 1, before it is "
            "multiplied.",
        ),
        Wrong(
            "scale-exponential",
            contrast_scale_exponential,
            "You took exp(scale). CLIP stores the logarithm, but here the scale itself is given.",
        ),
        Wrong("summed", contrast_summed, "You summed over the batch; the mean is asked for."),
        Wrong(
            "label-0-for-all",
            contrast_first_label,
            "Your labels are all 0: as if caption 0 belonged to every picture. The i-th belongs to the i-th.",
        ),
        Wrong(
            "softmax-twice",
            contrast_softmax_twice,
            "F.cross_entropy does the softmax itself; you gave it probabilities.",
        ),
        Wrong(
            "probabilities",
            contrast_of_probabilities,
            "You took the softmax of the logits first. F.cross_entropy does that itself: give it the logits.",
        ),
        Wrong(
            "length-of-all",
            contrast_length_of_all,
            "You divided by the length of all vectors together: .norm() without a dim. Each vector must get length "
            "1: .norm(dim=1, keepdim=True), or F.normalize(…, dim=1).",
        ),
        Wrong(
            "text-not-normalised",
            contrast_text_as_it_is,
            "Only the pictures' vectors have length 1. The captions' need it, too.",
        ),
        Wrong(
            "image-not-normalised",
            contrast_image_as_it_is,
            "Only the captions' vectors have length 1. The pictures' need it, too.",
        ),
        Wrong(
            "diagonal-only",
            contrast_diagonal_only,
            "You only pull pairs together. Without pushing the others apart, all vectors may become one and the same.",
        ),
        Wrong("wrong-device", contrast_on_cpu),
        Wrong("gradient-wrong", contrast_text_cut),
    ),
    right=(contrast_by_logsumexp, contrast_by_loop),
)


# ── A label as context ───────────────────────────────────────────────────────────────────────────────


def label_cases(generator: Generator) -> list[Call]:
    """Labels (B,), a table (K + 1, D), which to drop (B,)."""
    calls = [Call((torch.tensor([0, 1]), torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([False, True])))]
    for B, K, D in ((3, 4, 5), (6, 3, 4), (5, 7, 8)):
        label = torch.randint(0, K, (B,), generator=generator)
        drop = torch.arange(B) % 2 == int(torch.randint(2, (), generator=generator))
        calls.append(Call((label, torch.randn(K + 1, D, generator=generator), drop)))
    return calls


def label_right(label: Tensor, table: Tensor, drop: Tensor) -> Tensor:
    """The row of the label, or the last one: (B, 1, D)."""
    return table[torch.where(drop, len(table) - 1, label)][:, None]


def label_without_sequence(label, table, drop):
    return label_right(label, table, drop)[:, 0]


def label_batch_second(label, table, drop):
    return label_right(label, table, drop).transpose(0, 1)


def label_dropped_to_zero(label, table, drop):
    return table[label][:, None] * (~drop).view(-1, 1, 1)


def label_dropped_to_first(label, table, drop):
    return table[torch.where(drop, 0, label)][:, None]


def label_dropped_to_last_class(label, table, drop):
    return table[torch.where(drop, len(table) - 2, label)][:, None]


def label_never_dropped(label, table, drop):
    return table[label][:, None]


def label_dropped_wrongly(label, table, drop):
    return label_right(label, table, ~drop)


def label_all_dropped(label, table, drop):
    return label_right(label, table, drop.any().expand(drop.shape))


def label_dropped_to_mean(label, table, drop):
    return torch.where(drop.view(-1, 1, 1), table[:-1].mean(0), table[label][:, None])


def label_removed(label, table, drop):
    return table[label[~drop]][:, None]


def label_in_place(label, table, drop):
    label[drop] = len(table) - 1
    return table[label][:, None]


def label_table_cut(label, table, drop):
    return label_right(label, table.detach(), drop)


def label_by_one_hot(label, table, drop):
    rows = torch.arange(len(table), device=label.device)
    chosen = rows == label.masked_fill(drop, len(table) - 1)[:, None]
    return (chosen.to(table) @ table).unsqueeze(1)


def label_by_choice(label, table, drop):
    null = table[-1:].expand(len(label), -1)
    return torch.where(drop[:, None], null, F.embedding(label, table)).view(len(label), 1, -1)


CLASS_CONTEXT = Exercise(
    name="class_context",
    title="A label instead of a caption",
    stars=1,
    minutes=8,
    answer=label_right,
    cases=label_cases,
    hints=(
        "table[label] takes one row for each label: (B, D).",
        "Where drop is True take the last row, number len(table) - 1: torch.where(drop, …, label).",
        "The context is a *sequence* of vectors; yours has length 1: [:, None].",
    ),
    insight="Cross-attention never learns where its vectors come from: 77 words, 65 parts of a picture or one label, "
    'the U-Net is the same. The last row, for "no label", is trained by dropping some labels; guidance will '
    "later push away from what it gives.",
    wrong=(
        Wrong(
            "no-sequence",
            label_without_sequence,
            "The length is missing: the context is (B, 1, D), a sequence of one vector for each image.",
        ),
        Wrong(
            "batch-second",
            label_batch_second,
            "Your shape is (1, B, D): every image would read all labels of the batch. It is (B, 1, D).",
        ),
        Wrong(
            "zeros-for-none",
            label_dropped_to_zero,
            'You made dropped labels zero. "No label" has a row of its own, the last, which is learned.',
        ),
        Wrong(
            "first-row-for-none",
            label_dropped_to_first,
            'Dropped labels get row 0, which is a class like any other. "No label" is the last row.',
        ),
        Wrong(
            "last-class-for-none",
            label_dropped_to_last_class,
            'Off by one: you took the last *class*. "No label" is the row after it, the last of the table.',
        ),
        Wrong("never-dropped", label_never_dropped, "`drop` is not used: no label is ever dropped."),
        Wrong("drop-turned-round", label_dropped_wrongly, "You dropped those that should stay, and kept the others."),
        Wrong(
            "all-or-nothing",
            label_all_dropped,
            "If one label is dropped you drop all. Each has its own entry in `drop`.",
        ),
        Wrong(
            "mean-for-none",
            label_dropped_to_mean,
            'You took the mean of all classes for "no label". It has a row of its own, the last, which is learned.',
        ),
        Wrong("removed", label_removed, "You removed the dropped ones: the batch must keep its size."),
        Wrong("inputs-changed", label_in_place),
        Wrong("gradient-cut", label_table_cut),
    ),
    right=(label_by_one_hot, label_by_choice),
)


EXERCISES = (PAD_TOKENS, CAUSAL, END_TOKEN, CONTRASTIVE, CLASS_CONTEXT)
