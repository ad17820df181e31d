"""Exercise zero_conv_widths of lesson 18: Where the zeros stand."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def zero_conv_widths(channels, blocks_per_level):
    """The widths of a ControlNet's zero convolutions on the skips, in the order in which the U-Net pushes them.

    conv_in pushes one of width channels[0]. Then each level pushes one for each block, and one for its downsample,
    which has the level's width; the last level has no downsample.

    channels: tuple of widths, one per level.  blocks_per_level: an int.  Returns a list of ints.
    """
    ### BEGIN SOLUTION
    widths = [channels[0]]
    for i, width in enumerate(channels):
        has_downsample = i < len(channels) - 1
        widths += [width] * (blocks_per_level + has_downsample)
    return widths
    ### END SOLUTION


def width_cases(generator: Generator) -> list[Call]:
    """One to four levels; the widths of Stable Diffusion 1."""
    calls = [Call(((8, 16), 1)), Call(((4,), 2))]
    for levels, blocks in ((3, 2), (4, 1), (2, 3)):
        calls.append(Call((tuple(torch.randint(2, 99, (levels,), generator=generator).tolist()), blocks)))
    return [*calls, Call(((320, 640, 1280, 1280), 2))]


def widths_without_conv_in(channels, blocks_per_level):
    return zero_conv_widths(channels, blocks_per_level)[1:]


def widths_with_last_downsample(channels, blocks_per_level):
    return [*zero_conv_widths(channels, blocks_per_level), channels[-1]]


def widths_without_downsamples(channels, blocks_per_level):
    return [channels[0], *(width for width in channels for _ in range(blocks_per_level))]


def widths_popped(channels, blocks_per_level):
    return zero_conv_widths(channels, blocks_per_level)[::-1]


def widths_of_next_level(channels, blocks_per_level):
    widths = [channels[0]]
    for i, width in enumerate(channels):
        widths += [width] * blocks_per_level
        widths += [channels[i + 1]] if i + 1 < len(channels) else []
    return widths


def widths_of_decoder(channels, blocks_per_level):
    return [width for width in channels for _ in range(blocks_per_level + 1)][::-1]


def widths_of_levels(channels, blocks_per_level):
    return list(channels)


def widths_by_cutting(channels, blocks_per_level):
    return [channels[0], *(width for width in channels for _ in range(blocks_per_level + 1))][:-1]


def widths_by_building(channels, blocks_per_level):
    widths = [channels[0]]
    *upper, last = channels
    for width in upper:
        widths.extend(width for _ in range(blocks_per_level))
        widths.append(width)
    return widths + blocks_per_level * [last]


EXERCISE = Exercise(
    name="zero_conv_widths",
    title="Where the zeros stand",
    stars=2,
    minutes=8,
    answer=zero_conv_widths,
    cases=width_cases,
    hints=(
        "Walk down the U-Net of lesson 08, and write down the width of each tensor that is pushed.",
        "A downsample keeps the width: its tensor has the width of the level that it leaves.",
        "[c0], then for each level blocks_per_level times its width, and once more if it is not the last.",
    ),
    insight="Stable Diffusion 1 has 12 of them, and a thirteenth for the middle: 320 four times, 640 three times, 1280 "
    "five times.",
    wrong=(
        Wrong("no-conv-in", widths_without_conv_in, "The first skip is missing: what conv_in gives is pushed, too."),
        Wrong("one-more", widths_with_last_downsample, "One too many: the last level has no downsample."),
        Wrong("no-downsamples", widths_without_downsamples, "What a downsample gives is pushed, too: one per level."),
        Wrong("popped", widths_popped, "That is the order in which the decoder pops them. Asked: that of pushing."),
        Wrong(
            "next-width",
            widths_of_next_level,
            "As long as it should be, but the width changes one place too early. The first skip is that of conv_in; a "
            "downsample keeps its level's width; the last level has none.",
        ),
        Wrong("decoder", widths_of_decoder, "Those are the decoder's blocks. A ControlNet copies the encoder."),
        Wrong("one-per-level", widths_of_levels, "That is one per level. Each block and each downsample pushes one."),
    ),
    right=(widths_by_cutting, widths_by_building),
    shape_hint=3,
)
