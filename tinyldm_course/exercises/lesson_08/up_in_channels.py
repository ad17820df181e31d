"""Exercise up_in_channels of lesson 08: What the way up reads."""

from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.lesson_08.skip_channels import (
    skip_channels,
    skips_without_conv_in,
    skips_without_downsamples,
    width_cases,
)


def up_in_channels(channels, blocks_per_level):
    """The input channels of the blocks on the way up, in the order in which they run.

    channels: a list of ints, one for each level, full resolution first; blocks_per_level: an int.  Returns a list of
    ints.
    """
    ### BEGIN SOLUTION
    skips = [channels[0]]
    for width in channels:
        skips += [width] * (blocks_per_level + 1)
    skips.pop()  # the last level has no downsample
    found, x = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level + 1):
            found.append(x + skips.pop())
            x = width
    return found
    ### END SOLUTION


def up_popping(channels, blocks_per_level, skips):
    """The right way up, with this stack of skips."""
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level + 1):
            found.append(width_in + skips.pop())
            width_in = width
    return found


def up_without_skips(channels, blocks_per_level):
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        found += [width_in] + [width] * blocks_per_level
        width_in = width
    return found


def up_doubled(channels, blocks_per_level):
    return [2 * width for width in reversed(channels) for _ in range(blocks_per_level + 1)]


def up_own_width(channels, blocks_per_level):
    skips = skip_channels(channels, blocks_per_level)
    return [width + skips.pop() for width in reversed(channels) for _ in range(blocks_per_level + 1)]


def up_own_skips(channels, blocks_per_level):
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level + 1):
            found.append(width_in + width)
            width_in = width
    return found


def up_as_queue(channels, blocks_per_level):
    return up_popping(channels, blocks_per_level, skip_channels(channels, blocks_per_level)[::-1])


def up_as_many_as_down(channels, blocks_per_level):
    skips = skip_channels(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level):
            found.append(width_in + skips.pop())
            width_in = width
    return found


def up_from_the_top(channels, blocks_per_level):
    return up_in_channels(channels, blocks_per_level)[::-1]


def up_grown(channels, blocks_per_level):
    skips = skip_channels(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    while skips:
        width_in += skips.pop()
        found.append(width_in)
    return found


def up_only_skips(channels, blocks_per_level):
    return skip_channels(channels, blocks_per_level)[::-1]


def up_never_updated(channels, blocks_per_level):
    return [channels[-1] + skip for skip in skip_channels(channels, blocks_per_level)[::-1]]


def up_updated_late(channels, blocks_per_level):
    skips = skip_channels(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        found += [width_in + skips.pop() for _ in range(blocks_per_level + 1)]
        width_in = width
    return found


def up_not_reversed(channels, blocks_per_level):
    skips = skip_channels(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    for width in channels:
        for _ in range(blocks_per_level + 1):
            found.append(width_in + skips.pop())
            width_in = width
    return found


def up_without_downsamples(channels, blocks_per_level):
    return up_popping(channels, blocks_per_level, skips_without_downsamples(channels, blocks_per_level))


def up_without_conv_in(channels, blocks_per_level):
    return up_popping(channels, blocks_per_level, skips_without_conv_in(channels, blocks_per_level))


def up_from_first_width(channels, blocks_per_level):
    found = up_in_channels(channels, blocks_per_level)
    return [found[0] - channels[-1] + channels[0], *found[1:]]


def up_by_formula(channels, blocks_per_level):
    found, last = [], len(channels) - 1
    for i in range(last, -1, -1):
        x = [channels[min(i + 1, last)]] + [channels[i]] * blocks_per_level
        skip = [channels[i]] * blocks_per_level + [channels[max(i - 1, 0)]]
        found.extend(a + b for a, b in zip(x, skip))
    return found


def up_by_zip(channels, blocks_per_level):
    outputs = [channels[-1]] + [width for width in channels[::-1] for _ in range(blocks_per_level + 1)]
    return [a + b for a, b in zip(outputs, skip_channels(channels, blocks_per_level)[::-1])]


EXERCISE = Exercise(
    name="up_in_channels",
    title="What the way up reads",
    stars=3,
    minutes=15,
    answer=up_in_channels,
    cases=width_cases,
    hints=(
        "Each block reads x and a skip side by side: two widths to add. There is one block for each skip.",
        "x comes from the level below for a level's first block, and from the block before for the others. In the "
        "lowest level it comes from the middle, which has the last width.",
        "Run through the levels backwards with the stack of the exercise before: width_in + skips.pop(), then "
        "width_in = width.",
    ),
    insight="For Stable Diffusion 1: 2560, 2560, 2560, 2560, 2560, 1920, 1920, 1280, 960, 960, 640, 640. The odd "
    "ones, 1920 and 960, are where a level's last skip comes from the level above it; they are in every list of "
    "its weights' shapes.",
    wrong=(
        Wrong("skips-not-counted", up_without_skips, "Only x is counted. The channels of the skip come on top."),
        Wrong("only-skips", up_only_skips, "Only the skip is counted. The channels of x itself come on top."),
        Wrong(
            "width-never-updated",
            up_never_updated,
            "Your x has the lowest level's width all the way up. Each block gives its level's width: width_in = "
            "width after every block.",
        ),
        Wrong(
            "width-updated-late",
            up_updated_late,
            "Within a level your x keeps the width that came from below. The first block of the level already "
            "changes it to the level's own width: width_in = width after every block, not after every level.",
        ),
        Wrong(
            "levels-not-reversed",
            up_not_reversed,
            "You run through the levels from the top. The way up starts at the lowest one: reversed(channels).",
        ),
        Wrong(
            "downsamples-forgotten",
            up_without_downsamples,
            "The stack runs empty as soon as there are several levels: it contains too few maps for blocks_per_level "
            "+ 1 pops per level. The downsampled maps are pushed too.",
        ),
        Wrong(
            "conv-in-forgotten",
            up_without_conv_in,
            "The stack runs empty even with a single level: one of its blocks_per_level + 1 maps is the output of "
            "conv_in. Compare with your answer to the exercise before.",
        ),
        Wrong(
            "twice-the-width",
            up_doubled,
            "You doubled each level's width. But the first x comes from the level below, and the last skip from "
            "the level above.",
        ),
        Wrong(
            "from-below-forgotten",
            up_own_width,
            "A level's first block still gets the width of the level *below*: upsampling keeps the width.",
        ),
        Wrong(
            "last-skip-forgotten",
            up_own_skips,
            "All your skips have the level's own width. The last one that a level pops entered that level from above.",
        ),
        Wrong("first-in-first-out", up_as_queue, "You take the oldest skips first: last in, first out."),
        Wrong(
            "one-block-too-few",
            up_as_many_as_down,
            "You counted blocks_per_level blocks per level. On the way up there is one more: one for each skip.",
        ),
        Wrong("from-the-top", up_from_the_top, "The order is reversed: the way up starts at the lowest level."),
        Wrong(
            "widths-grow",
            up_grown,
            "Your x keeps everything it has read. A block turns x and skip into its level's width again.",
        ),
        Wrong(
            "started-at-the-first-level",
            up_from_first_width,
            "Your first block reads x of the first level's width. The way up begins at the bottom: there x has "
            "the last level's width, channels[-1].",
        ),
    ),
    right=(up_by_formula, up_by_zip),
)
