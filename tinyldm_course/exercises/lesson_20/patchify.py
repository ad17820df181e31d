"""Exercise patchify of lesson 20: A latent as a sequence."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def patchify(z, patch):
    """Cut a latent into square patches, row by row: (B, C, h, w) -> (B, h/p · w/p, p·p·C).

    patch: p. Within a patch: row, then column, then channel. Raises ValueError where p does not divide h and w.
    """
    ### BEGIN SOLUTION
    B, C, h, w = z.shape
    if h % patch or w % patch:
        raise ValueError(f"{h}×{w} does not divide into patches of {patch}×{patch}")
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    return z.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, patch * patch * C)
    ### END SOLUTION


def patch_cases(generator: Generator) -> list[Call]:
    """Several sizes; sides that do not divide."""

    def call(patch: int, *shape: int) -> Call:
        return Call((torch.randn(shape, generator=generator), patch))

    return [
        call(2, 1, 1, 2, 4),
        call(2, 2, 3, 4, 6),
        call(1, 1, 2, 2, 3),
        call(3, 2, 4, 6, 3),
        call(2, 1, 1, 3, 4),
        call(2, 1, 1, 4, 3),
    ]


def patch_channels_first(z, patch):
    patchify(z, patch)
    B, C, h, w = z.shape
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    return z.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, patch * patch * C)


def patch_column_by_column(z, patch):
    patchify(z, patch)
    B, C, h, w = z.shape
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    return z.permute(0, 4, 2, 3, 5, 1).reshape(B, -1, patch * patch * C)


def patch_transposed(z, patch):
    patchify(z, patch)
    B, C, h, w = z.shape
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    return z.permute(0, 2, 4, 5, 3, 1).reshape(B, -1, patch * patch * C)


def patch_view_only(z, patch):
    patchify(z, patch)
    return z.reshape(len(z), -1, patch * patch * z.shape[1])


def patch_interleaved(z, patch):
    patchify(z, patch)
    B, C, h, w = z.shape
    z = z.reshape(B, C, patch, h // patch, patch, w // patch)
    return z.permute(0, 3, 5, 2, 4, 1).reshape(B, -1, patch * patch * C)


def patch_without_check(z, patch):
    B, C, h, w = z.shape
    return patchify(z[:, :, : h - h % patch, : w - w % patch], patch)


def patch_library_order(z, patch):
    return torch.nn.functional.unfold(z, patch, stride=patch).transpose(1, 2)


def patch_by_unfold(z, patch):
    if z.shape[2] % patch or z.shape[3] % patch:
        raise ValueError
    columns = torch.nn.functional.unfold(z, patch, stride=patch)
    return columns.unflatten(1, (z.shape[1], -1)).permute(0, 3, 2, 1).flatten(2)


def patch_by_loops(z, patch):
    B, C, h, w = z.shape
    if h % patch or w % patch:
        raise ValueError
    places = [(y, x) for y in range(0, h, patch) for x in range(0, w, patch)]
    patches = [z[:, :, y : y + patch, x : x + patch].permute(0, 2, 3, 1).reshape(B, -1) for y, x in places]
    return torch.stack(patches, dim=1)


EXERCISE = Exercise(
    name="patchify",
    title="A latent as a sequence",
    stars=2,
    minutes=12,
    answer=patchify,
    cases=patch_cases,
    hints=(
        "Split each side in two: h = (number of patches) · p. reshape makes six dimensions of four.",
        "Which of the six say *which* patch, and which say *where in it*? Put the first kind before the second.",
        "z.reshape(B, C, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1), then reshape to three dimensions.",
    ),
    shape_hint=3,
    insight="A transformer does not know any order, so any order would do, as long as the weights were trained "
    "with it. Patches of 2 make a 4-channel latent of 64×64 a sequence of 1,024 vectors of 16 numbers.",
    wrong=(
        Wrong("should-refuse", patch_without_check),
        Wrong(
            "order-of-unfold",
            patch_library_order,
            "F.unfold puts the channels first within a patch; here they come last. It also drops what does not divide, "
            "without a word.",
        ),
        Wrong("channels-first", patch_channels_first, "Within a patch, your channels come first; here they come last."),
        Wrong(
            "columns-first",
            patch_column_by_column,
            "Your sequence goes down the columns of patches. It should go along the rows, as one reads.",
        ),
        Wrong("patch-transposed", patch_transposed, "Within a patch, rows and columns are exchanged."),
        Wrong(
            "only-a-view",
            patch_view_only,
            "The shape is right, but reshape alone takes neighbours in memory. They are pixels of one row of one "
            "channel, not a patch.",
        ),
        Wrong(
            "interleaved",
            patch_interleaved,
            "You split the sides in the wrong order: each of your patches takes every n-th pixel. Split h into "
            "(h // p, p).",
        ),
    ),
    right=(patch_by_unfold, patch_by_loops),
)
