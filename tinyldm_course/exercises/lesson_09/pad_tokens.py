"""Exercise pad_tokens of lesson 09: Every caption the same length."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def pad_tokens(pieces, length, start, end, pad):
    """Captions as rows of one length.

    pieces: a list of B lists of ints, each of any length, also 0; length: an int; start, end, pad: ints, the tokens to
    add.  Returns (B, length) int64.
    """
    ### BEGIN SOLUTION
    rows = [[start, *piece[: length - 2], end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    ### END SOLUTION


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
    return pad_tokens(pieces, length, start, end, 0)


def padding_with_end(pieces, length, start, end, pad):
    return pad_tokens(pieces, length, start, end, end)


def padding_before_end(pieces, length, start, end, pad):
    rows = [[start, *piece[: length - 2]] for piece in pieces]
    return torch.tensor([row + [pad] * (length - 1 - len(row)) + [end] for row in rows])


def padding_two_longer(pieces, length, start, end, pad):
    return pad_tokens(pieces, length + 2, start, end, pad)


def padding_one_place_short(pieces, length, start, end, pad):
    rows = [[start, *piece[: length - 1], end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def padding_of_the_first(pieces, length, start, end, pad):
    return pad_tokens(pieces[:1], length, start, end, pad)


def padding_last_pieces(pieces, length, start, end, pad):
    return pad_tokens([piece[-(length - 2) :] for piece in pieces], length, start, end, pad)


def padding_to_longest(pieces, length, start, end, pad):
    longest = min(length, max(len(piece) for piece in pieces) + 2)
    return pad_tokens(pieces, longest, start, end, pad)


def padding_start_for_end(pieces, length, start, end, pad):
    return pad_tokens(pieces, length, end, start, pad)


def padding_three_places(pieces, length, start, end, pad):
    return pad_tokens([piece[: length - 3] for piece in pieces], length, start, end, pad)


def padding_in_eight_bits(pieces, length, start, end, pad):
    return pad_tokens(pieces, length, start, end, pad).to(torch.uint8)


def padding_in_sixteen_bits(pieces, length, start, end, pad):
    return pad_tokens(pieces, length, start, end, pad).to(torch.int16)


def padding_filled_with_bytes(pieces, length, start, end, pad):
    tokens = torch.full((len(pieces), length), pad, dtype=torch.uint8)
    for row, right in zip(tokens, pad_tokens(pieces, length, start, end, pad).tolist()):
        for place, token in enumerate(right):
            row[place] = token
    return tokens


def padding_made_of_bytes(pieces, length, start, end, pad):
    return torch.tensor(pad_tokens(pieces, length, start, end, pad).tolist(), dtype=torch.uint8)


def padding_in_thirty_two_bits(pieces, length, start, end, pad):
    return pad_tokens(pieces, length, start, end, pad).int()


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


EXERCISE = Exercise(
    name="pad_tokens",
    title="Every caption the same length",
    stars=1,
    minutes=8,
    answer=pad_tokens,
    cases=padding_cases,
    hints=(
        "Make each row as a Python list first: start, pieces, end, padding.",
        "Start and end need two places, so at most length - 2 pieces fit: cut before you add them.",
        "row + [pad] * (length - len(row)); then torch.tensor(rows).",
    ),
    shape_hint=2,
    insight="CLIP's length is 77, so 75 pieces of a caption are read and the rest is dropped. Stable Diffusion "
    "makes no mask for the padding: the U-Net reads those vectors too. Version 1 pads with the end token, version "
    "2 with token 0, and neither works with the padding of the other.",
    wrong=(
        Wrong("no-start", padding_without_start, "The start token is missing: every row begins with it."),
        Wrong("no-end", padding_without_end, "The end token is missing: it comes right after the last piece."),
        Wrong(
            "end-cut-off",
            padding_end_cut_off,
            "You cut after adding the end token, so a long caption loses it. CLIP reads the whole caption from "
            "that token: cut the pieces to length - 2 first.",
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
            "You padded with the end token. Stable Diffusion 1 does; here, as in version 2, `pad` is different.",
        ),
        Wrong(
            "end-at-the-end",
            padding_before_end,
            "Your end token comes after the padding. It comes right after the last piece.",
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
            "You return the row of the first caption only. Is `return` inside the loop?",
        ),
        Wrong(
            "start-and-end-exchanged",
            padding_start_for_end,
            "Start and end are swapped: a row begins with `start`, and `end` comes after the last piece.",
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
        Wrong("other-whole", padding_in_thirty_two_bits),
    ),
    right=(padding_into_full, padding_by_loop),
)
