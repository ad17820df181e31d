"""Exercise end_token_vector of lesson 09: A caption as one vector."""

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def end_token_vector(hidden, tokens, end):
    """The vector at each caption's first end token.

    hidden: (B, L, D); tokens: (B, L) int64, at least one end token in each row; end: an int.  Returns (B, D).
    """
    ### BEGIN SOLUTION
    place = (tokens == end).int().argmax(dim=1)  # the first of the largest: (B,)
    return hidden[torch.arange(len(hidden), device=hidden.device), place]
    ### END SOLUTION


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


def end_after(hidden, tokens, end):
    place = ((tokens == end).int().argmax(dim=1) + 1).clamp(max=tokens.shape[1] - 1)
    return at(hidden, place)


def end_smallest_token(hidden, tokens, end):
    return at(hidden, tokens.argmin(dim=1))


def end_mean_until(hidden, tokens, end):
    place = (tokens == end).int().argmax(dim=1)
    seen = (torch.arange(tokens.shape[1], device=tokens.device) <= place[:, None])[..., None]
    return (hidden * seen).sum(1) / seen.sum(1)


def end_word_before_or_first(hidden, tokens, end):
    return at(hidden, ((tokens == end).int().argmax(dim=1) - 1).clamp(min=0))


def end_tokens_averaged(hidden, tokens, end):
    ends = (tokens == end)[..., None]
    return (hidden * ends).sum(1) / ends.sum(1)


def end_by_loop(hidden, tokens, end):
    return torch.stack([vectors[row.tolist().index(end)] for vectors, row in zip(hidden, tokens)])


def end_by_index(hidden, tokens, end):
    return hidden[torch.arange(len(hidden)), (tokens == end).int().argmax(dim=-1)]


def end_by_mask(hidden, tokens, end):
    ends = tokens == end
    first = ends & (ends.cumsum(1) == 1)
    return torch.einsum("bl,bld->bd", first.to(hidden), hidden)


EXERCISE = Exercise(
    name="end_token_vector",
    title="A caption as one vector",
    stars=2,
    minutes=8,
    answer=end_token_vector,
    cases=end_cases,
    hints=(
        "tokens == end says where the end tokens are; the padding may be made of them too.",
        "You need the *first* one of each row: (tokens == end).int().argmax(dim=1).",
        "Then one vector from each row: hidden[torch.arange(B), place].",
    ),
    shape_hint=3,
    insight="Why the end? The mask is causal, so only there has the whole caption been read. OpenAI's own code "
    "takes the *largest* token of a row instead: the end token, 49407, is the last in the list. That holds until "
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
            "You took the first position, as BERT does; or you looked for something that is in no row: argmax of "
            "all zeros is 0. In a causal encoder the first token has seen nothing of the caption.",
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
            "You looked for 49407, CLIP's own end token. Here it is a different one: compare with `end`.",
        ),
        Wrong(
            "words-counted",
            end_words_counted,
            "Your place is the number of tokens that are not `end`. If the padding is a different token, it is "
            "counted, too: look for the first end token.",
        ),
        Wrong(
            "averaged", end_mean, "You averaged over all positions, padding included. CLIP reads one: the end token."
        ),
        Wrong(
            "last-end-token",
            end_last_one,
            "You took the last end token. If the padding is also made of end tokens, that is padding: the first "
            "one counts.",
        ),
        Wrong(
            "largest-token",
            end_largest_token,
            "You looked for the largest token. In CLIP's own list that is the end token, but not here: compare "
            "with `end`.",
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
        Wrong("one-too-late", end_after, "You took the position after the end token."),
        Wrong(
            "smallest-token",
            end_smallest_token,
            "You looked for the smallest token. Compare with `end`: (tokens == end).",
        ),
        Wrong(
            "averaged-to-the-end",
            end_mean_until,
            "You averaged up to the end token. The exercise asks for its own vector: it has read all words before it.",
        ),
        Wrong(
            "word-before-or-first",
            end_word_before_or_first,
            "You are one short: that is the last word, not the end token after it.",
        ),
        Wrong(
            "end-tokens-averaged",
            end_tokens_averaged,
            "You averaged over all end tokens. If the padding is also made of end tokens, only the first counts.",
        ),
    ),
    right=(end_by_loop, end_by_index, end_by_mask),
)
