"""Exercise unpatchify of lesson 20: A sequence as a latent."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def unpatchify(tokens, patch, height, width):
    """Undo `patchify`: (B, h/p · w/p, p·p·C) -> (B, C, h, w).

    patch: p; height, width: h and w, multiples of p. Within a token: row, then column, then channel.
    """
    ### BEGIN SOLUTION
    B, _, numbers = tokens.shape
    z = tokens.reshape(B, height // patch, width // patch, patch, patch, numbers // patch**2)
    return z.permute(0, 5, 1, 3, 2, 4).reshape(B, -1, height, width)
    ### END SOLUTION


def unpatch_cases(generator: Generator) -> list[Call]:
    """Several sizes, none of them square."""

    def call(patch: int, B: int, C: int, h: int, w: int) -> Call:
        tokens = torch.randn(B, h * w // patch**2, patch**2 * C, generator=generator)
        return Call((tokens, patch, h, w))

    return [call(2, 1, 1, 2, 4), call(2, 2, 3, 6, 4), call(1, 1, 2, 2, 3), call(3, 2, 4, 3, 6)]


def unpatch_swapped_sides(tokens, patch, height, width):
    return unpatchify(tokens, patch, width, height).reshape(len(tokens), -1, height, width)


def unpatch_channels_first(tokens, patch, height, width):
    z = tokens.reshape(len(tokens), height // patch, width // patch, -1, patch, patch)
    return z.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, height, width)


def unpatch_view_only(tokens, patch, height, width):
    return tokens.reshape(len(tokens), -1, height, width)


def unpatch_transposed(tokens, patch, height, width):
    z = tokens.reshape(len(tokens), height // patch, width // patch, patch, patch, -1)
    return z.permute(0, 5, 1, 4, 2, 3).reshape(len(tokens), -1, height, width)


def unpatch_not_woven(tokens, patch, height, width):
    z = tokens.reshape(len(tokens), height // patch, width // patch, patch, patch, -1)
    return z.permute(0, 5, 1, 2, 3, 4).reshape(len(tokens), -1, height, width)


def unpatch_by_shuffle(tokens, patch, height, width):
    z = tokens.reshape(len(tokens), height // patch, width // patch, patch * patch, -1)
    z = z.permute(0, 4, 3, 1, 2).flatten(1, 2)
    return torch.nn.functional.pixel_shuffle(z, patch)


def unpatch_by_fold(tokens, patch, height, width):
    columns = tokens.unflatten(2, (patch * patch, -1)).permute(0, 3, 2, 1).flatten(1, 2)
    return torch.nn.functional.fold(columns, (height, width), patch, stride=patch)


EXERCISE = Exercise(
    name="unpatchify",
    title="A sequence as a latent",
    stars=2,
    minutes=10,
    answer=unpatchify,
    cases=unpatch_cases,
    hints=(
        "Go through `patchify` backwards: six dimensions first, then a permutation, then four.",
        "In the end each row of pixels is (which patch, which column in it): these two must stand side by side.",
        "tokens.reshape(B, h // p, w // p, p, p, C).permute(0, 5, 1, 3, 2, 4)",
    ),
    insight="The last layer of a DiT predicts patches, not pixels: whatever it learns of the seams between them, "
    "it learns through attention.",
    wrong=(
        Wrong("sides-exchanged", unpatch_swapped_sides, "Height and width are exchanged: rows of patches come first."),
        Wrong(
            "channels-first", unpatch_channels_first, "You read a token as channel, row, column. The channel is last."
        ),
        Wrong(
            "only-a-view", unpatch_view_only, "The shape is right, but reshape alone lays each token out along a row."
        ),
        Wrong("patch-transposed", unpatch_transposed, "Within a patch, rows and columns are exchanged."),
        Wrong(
            "not-woven",
            unpatch_not_woven,
            "A row of pixels runs through several patches: put (row of patches, row in it) side by side, and "
            "likewise the columns.",
        ),
    ),
    right=(unpatch_by_shuffle, unpatch_by_fold),
    shape_hint=3,
)
