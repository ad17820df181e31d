"""Exercise skip_channels of lesson 08: What lies on the stack."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def skip_channels(channels, blocks_per_level):
    """The channels of the maps pushed on the way down.

    channels: a list of ints, one for each level, full resolution first; blocks_per_level: an int.  Returns a list of
    ints.
    """
    ### BEGIN SOLUTION
    widths = [channels[0]]
    for i, width in enumerate(channels):
        widths += [width] * blocks_per_level
        if i < len(channels) - 1:
            widths.append(width)
    return widths
    ### END SOLUTION


def width_cases(generator: Generator) -> list[Call]:
    """Feature-map widths, full resolution first, and blocks a level."""
    calls = [Call(([1, 2], 1)), Call(([5], 2))]
    for levels, blocks in ((3, 2), (2, 3), (4, 1)):
        widths = (32 * (1 + torch.randperm(9, generator=generator)[:levels])).tolist()
        calls.append(Call((widths, blocks)))
    return [*calls, Call(([320, 640, 1280, 1280], 2))]


def skips_without_conv_in(channels, blocks_per_level):
    return skip_channels(channels, blocks_per_level)[1:]


def skips_without_downsamples(channels, blocks_per_level):
    return [channels[0]] + [width for width in channels for _ in range(blocks_per_level)]


def skips_with_last_downsample(channels, blocks_per_level):
    return skip_channels(channels, blocks_per_level) + [channels[-1]]


def skips_wider_downsamples(channels, blocks_per_level):
    widths = [channels[0]]
    for i, width in enumerate(channels):
        widths += [width] * blocks_per_level + channels[i + 1 : i + 2]
    return widths


def skips_popped(channels, blocks_per_level):
    return skip_channels(channels, blocks_per_level)[::-1]


def skips_with_middle(channels, blocks_per_level):
    return skip_channels(channels, blocks_per_level) + [channels[-1]] * 2


def skips_one_a_level(channels, blocks_per_level):
    return [channels[0], *channels]


def skips_by_blocks_up(channels, blocks_per_level):
    return skip_channels(channels, blocks_per_level + 1)


def skips_only_of_blocks(channels, blocks_per_level):
    return [width for width in channels for _ in range(blocks_per_level)]


def skips_nested(channels, blocks_per_level):
    widths = [channels[0]]
    for i, width in enumerate(channels):
        widths.append([width] * blocks_per_level)
        widths += [width] * (i < len(channels) - 1)
    return widths


def skips_nested_levels(channels, blocks_per_level):
    last = len(channels) - 1
    return [channels[0]] + [[width] * (blocks_per_level + (i < last)) for i, width in enumerate(channels)]


def skips_by_sum(channels, blocks_per_level):
    levels = [[width] * (blocks_per_level + 1) for width in channels]
    return [channels[0]] + sum(levels, [])[:-1]


def skips_by_loop(channels, blocks_per_level):
    widths = list(channels[:1])
    for i in range(len(channels)):
        for _ in range(blocks_per_level):
            widths.append(channels[i])
        if i + 1 < len(channels):
            widths.append(channels[i])
    return widths


EXERCISE = Exercise(
    name="skip_channels",
    title="What lies on the stack",
    stars=1,
    minutes=8,
    answer=skip_channels,
    cases=width_cases,
    hints=(
        "Follow the diagram with a pencil for channels = [1, 2] and one block per level. Four numbers.",
        "conv_in pushes channels[0]; each level pushes once for every block; then its downsample pushes too.",
        "The last level has no downsample. A downsample keeps the width.",
    ),
    insight="For Stable Diffusion 1: 320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280. Four of "
    "these 12 are there because conv_in and the three downsamples push too: leave those out and no checkpoint fits.",
    wrong=(
        Wrong(
            "nested-lists",
            skips_nested,
            "There are lists inside your list: .append([32, 32]) puts a list in as *one* entry. .extend([32, 32]) "
            "or += adds the numbers.",
        ),
        Wrong(
            "nested-levels",
            skips_nested_levels,
            "You made a list for each level. All maps lie on one stack: .extend(…) or += instead of .append([…]).",
        ),
        Wrong(
            "only-blocks",
            skips_only_of_blocks,
            "Only the blocks' outputs are counted. The output of conv_in is pushed too, and so is each downsampled "
            "map.",
        ),
        Wrong(
            "conv-in-forgotten",
            skips_without_conv_in,
            "The output of conv_in is missing: it is pushed before the first level.",
        ),
        Wrong(
            "downsamples-forgotten",
            skips_without_downsamples,
            "The downsampled maps are missing: each is pushed too, so that a level on the way up has one block more.",
        ),
        Wrong(
            "one-too-many",
            skips_with_last_downsample,
            "There is one map too many at the end. The last level has no downsample, and the middle pushes nothing.",
        ),
        Wrong(
            "downsample-widens",
            skips_wider_downsamples,
            "Your downsamples already have the next level's width. A downsample keeps the width; the next level's "
            "first block changes it.",
        ),
        Wrong(
            "popping-order",
            skips_popped,
            "That is the order in which they are popped; the exercise asks for the order of pushing.",
        ),
        Wrong("middle-pushed", skips_with_middle, "The middle's blocks push nothing: their way is not left and right."),
        Wrong("one-a-level", skips_one_a_level, "Each *block* pushes its output, not each level."),
        Wrong(
            "blocks-up",
            skips_by_blocks_up,
            "You counted blocks_per_level + 1 blocks: that many are on the way *up*. Down there are blocks_per_level.",
        ),
    ),
    right=(skips_by_sum, skips_by_loop),
)
