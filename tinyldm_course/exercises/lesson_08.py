"""Exercises of lesson 08, the U-Net: the skip stack, its widths, a small U-Net put together, parameters counted."""

import copy
from collections import deque

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm.resblock import Downsample, ResBlock, Upsample
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong

TITLE = "The U-Net"


# ── The skip stack ───────────────────────────────────────────────────────────────────────────────────


def stack_cases(generator: Generator) -> list[Call]:
    """x, blocks down, a block in the middle, blocks up: one more than down.

    In the smallest case the skips are 1, 2 and 4, the middle makes 8, and each block up writes one digit: 8421.
    """
    readable = (
        Made(makers.blocks, ("x + 1", "x + 2")),
        Made(makers.block, ("x + 4",)),
        Made(makers.blocks, ("10 * x + skip",) * 3),
    )
    calls = [Call((torch.ones(1, 1, 1, 1), *readable))]
    for B, C, H, W, count in ((1, 1, 1, 2, 1), (2, 3, 4, 4, 2), (1, 4, 3, 5, 4), (3, 2, 6, 6, 3)):
        seed = int(torch.randint(10**6, (), generator=generator))
        toys = (
            Made(makers.toy_blocks, (seed, count, C, C)),
            Made(makers.toy_block, (seed + 50, C, C)),
            Made(makers.toy_blocks, (seed + 100, count + 1, 2 * C, C)),
        )
        calls.append(Call((torch.randn(B, C, H, W, generator=generator), *toys)))
    return calls


def pushed(x: Tensor, down: list) -> list[Tensor]:
    """x and what each block down makes of it."""
    skips = [x]
    for block in down:
        skips.append(block(skips[-1]))
    return skips


def stack_right(x: Tensor, down: list, middle, up: list) -> Tensor:
    """Down, pushing; the middle; up, popping."""
    skips = pushed(x, down)
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_as_queue(x, down, middle, up):
    skips = pushed(x, down)
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips.pop(0)], dim=1))
    return x


def stack_without_input(x, down, middle, up):
    skips = pushed(x, down)[1:]
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_joined(join):
    """The stack, with another way to put x and a skip together."""

    def stack(x, down, middle, up):
        skips = pushed(x, down)
        x = middle(skips[-1])
        for block in up:
            x = block(join(x, skips.pop()))
        return x

    return stack


stack_cat_turned = stack_joined(lambda x, skip: torch.cat([skip, x], dim=1))
stack_added = stack_joined(lambda x, skip: x + skip)
stack_along_batch = stack_joined(lambda x, skip: torch.cat([x, skip]))
stack_along_height = stack_joined(lambda x, skip: torch.cat([x, skip], dim=2))
stack_along_width = stack_joined(lambda x, skip: torch.cat([x, skip], dim=3))
stack_skips_cut = stack_joined(lambda x, skip: torch.cat([x, skip.detach()], dim=1))


def stack_zipped_too_short(x, down, middle, up):
    skips = pushed(x, down)[1:]
    x = middle(skips[-1])
    for block, skip in zip(up, reversed(skips)):
        x = block(torch.cat([x, skip], dim=1))
    return x


def stack_up_reversed(x, down, middle, up):
    return stack_right(x, down, middle, up[::-1])


def stack_of_the_caller(x, down, middle, up):
    skips = [x]
    while down:
        skips.append(down.pop(0)(skips[-1]))
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_not_popped(x, down, middle, up):
    skips = pushed(x, down)
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips[-1]], dim=1))
    return x


def stack_first_only(x, down, middle, up):
    skips = pushed(x, down)
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips[0]], dim=1))
    return x


def stack_without_middle(x, down, middle, up):
    skips = pushed(x, down)
    x = skips[-1]
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_with_middle_pushed(x, down, middle, up):
    skips = pushed(x, down)
    x = middle(skips[-1])
    skips.append(x)
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_down_not_chained(x, down, middle, up):
    skips = [x, *(block(x) for block in down)]
    x = middle(skips[-1])
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_by_recursion(x, down, middle, up):
    def around(x, level):
        inside = around(down[level](x), level + 1) if level < len(down) else middle(x)
        return up[len(down) - level](torch.cat([inside, x], dim=1))

    return around(x, 0)


def stack_by_zip(x, down, middle, up):
    skips = deque([x])
    for block in down:
        x = block(x)
        skips.appendleft(x)
    x = middle(x)
    for block, skip in zip(up, skips):
        x = block(torch.hstack([x, skip]))
    return x


def stack_by_copies(x, down, middle, up):
    rest, skips = copy.copy(up), []
    rest.reverse()
    for block in down + [middle]:
        skips += [x]
        x = block(x)
    while rest:
        x = rest.pop()(torch.cat([x, skips.pop()], dim=-3))
    return x


SKIP_STACK = Exercise(
    name="skip_stack",
    title="Last in, first out",
    stars=2,
    minutes=10,
    answer=stack_right,
    cases=stack_cases,
    hints=(
        "A Python list is a stack: .append() pushes, .pop() takes the last one off.",
        "Push x before the first block, then the output of every block down. So there is one skip for each block up.",
        "On the way up: x = block(torch.cat([x, skips.pop()], dim=1))",
    ),
    insight="The last map pushed has the size and the meaning of what comes up first: so the way up gets back, level "
    "by level, the fine detail that the way down threw away. Stable Diffusion 1 pushes 12 maps and pops 12.",
    wrong=(
        Wrong(
            "first-in-first-out",
            stack_as_queue,
            "You take the *oldest* skip first. At the bottom of a real U-Net it would not even have the right size: "
            "last in, first out.",
        ),
        Wrong(
            "one-too-few",
            stack_without_input,
            "The stack runs empty before the last block up: it held a map too few. Either one was not pushed (x "
            "itself and the output of *every* block down are), or one was popped too early: the middle reads the "
            "last map and leaves it there, so not middle(skips.pop()).",
        ),
        Wrong(
            "last-block-not-called",
            stack_zipped_too_short,
            "The last block up is never called: zip ends with the shorter list, and x itself is not among your skips.",
        ),
        Wrong(
            "order-of-channels",
            stack_cat_turned,
            "You put the skip first. The weights of the first convolution know which channels are which: x first, "
            "then the skip.",
        ),
        Wrong(
            "not-side-by-side",
            stack_added,
            "A block up reads twice the channels: x and the skip side by side (dim=1). What you give it has those "
            "of one map: the two are not to be added, and neither is to be left out.",
        ),
        Wrong(
            "along-the-batch",
            stack_along_batch,
            "You put x and skip one behind the other in the batch: torch.cat joins along dim 0 if it is not told "
            "otherwise. The channels are dim=1.",
        ),
        Wrong(
            "along-the-height",
            stack_along_height,
            "You put x and skip one below the other: dim 2 is the height. The channels are dim=1.",
        ),
        Wrong(
            "along-the-width",
            stack_along_width,
            "You put x and skip side by side in the *picture*: dim 3 is the width. The channels are dim=1.",
        ),
        Wrong(
            "callers-list-changed",
            stack_of_the_caller,
            "You change a list that you were given (pop, append, reverse, …). It belongs to the caller: a network "
            "that loses its blocks on the way works only once. Loop over it, or copy it first: list(down).",
        ),
        Wrong(
            "never-popped",
            stack_not_popped,
            "You look at the top of the stack and leave it there: every block gets the same skip. Use .pop().",
        ),
        Wrong("first-skip-for-all", stack_first_only, "Every block up gets the first map. Each has its own: .pop()."),
        Wrong("no-middle", stack_without_middle, "The middle block is never called."),
        Wrong(
            "middle-pushed",
            stack_with_middle_pushed,
            "You pushed the middle's output too: the first block up then gets the same map twice, and all others the "
            "skip of their neighbour.",
        ),
        Wrong(
            "up-reversed",
            stack_up_reversed,
            "You run through the blocks up from the last to the first. They stand in the order in which they run; "
            "only the skips come back in reverse.",
        ),
        Wrong(
            "down-not-chained",
            stack_down_not_chained,
            "Every block down reads the first x. Each reads what the one before it made.",
        ),
        Wrong("gradient-wrong", stack_skips_cut),
    ),
    right=(stack_by_recursion, stack_by_zip, stack_by_copies),
)


# ── The widths on the stack ──────────────────────────────────────────────────────────────────────────


def width_cases(generator: Generator) -> list[Call]:
    """Feature-map widths, full resolution first, and blocks a level."""
    calls = [Call(([1, 2], 1)), Call(([5], 2))]
    for levels, blocks in ((3, 2), (2, 3), (4, 1)):
        widths = (32 * (1 + torch.randperm(9, generator=generator)[:levels])).tolist()
        calls.append(Call((widths, blocks)))
    return [*calls, Call(([320, 640, 1280, 1280], 2))]


def skips_right(channels: list[int], blocks_per_level: int) -> list[int]:
    """conv_in, then for each level its blocks and, but for the last, its downsample."""
    widths = [channels[0]]
    for i, width in enumerate(channels):
        last = i == len(channels) - 1
        widths += [width] * (blocks_per_level + (not last))
    return widths


def skips_without_conv_in(channels, blocks_per_level):
    return skips_right(channels, blocks_per_level)[1:]


def skips_without_downsamples(channels, blocks_per_level):
    return [channels[0]] + [width for width in channels for _ in range(blocks_per_level)]


def skips_with_last_downsample(channels, blocks_per_level):
    return skips_right(channels, blocks_per_level) + [channels[-1]]


def skips_wider_downsamples(channels, blocks_per_level):
    widths = [channels[0]]
    for i, width in enumerate(channels):
        widths += [width] * blocks_per_level + channels[i + 1 : i + 2]
    return widths


def skips_popped(channels, blocks_per_level):
    return skips_right(channels, blocks_per_level)[::-1]


def skips_with_middle(channels, blocks_per_level):
    return skips_right(channels, blocks_per_level) + [channels[-1]] * 2


def skips_one_a_level(channels, blocks_per_level):
    return [channels[0], *channels]


def skips_by_blocks_up(channels, blocks_per_level):
    return skips_right(channels, blocks_per_level + 1)


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


SKIP_CHANNELS = Exercise(
    name="skip_channels",
    title="What lies on the stack",
    stars=1,
    minutes=8,
    answer=skips_right,
    cases=width_cases,
    hints=(
        "Follow the diagram with a pencil for channels = [1, 2] and one block a level. Four numbers.",
        "conv_in pushes channels[0]; each level pushes once for every block; then its downsample pushes too.",
        "The last level has no downsample. A downsample keeps the width.",
    ),
    insight="For Stable Diffusion 1: 320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280. Four of these 12 "
    "are there because conv_in and the three downsamples push too: leave those out and no checkpoint fits.",
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
            "popping-order", skips_popped, "That is the order in which they are popped; asked for is that of pushing."
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


def up_popping(channels, blocks_per_level, skips):
    """The right way up, with this stack of skips."""
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level + 1):
            found.append(width_in + skips.pop())
            width_in = width
    return found


def up_right(channels: list[int], blocks_per_level: int) -> list[int]:
    """What comes from below or from the block before, plus the skip."""
    return up_popping(channels, blocks_per_level, skips_right(channels, blocks_per_level))


def up_without_skips(channels, blocks_per_level):
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        found += [width_in] + [width] * blocks_per_level
        width_in = width
    return found


def up_doubled(channels, blocks_per_level):
    return [2 * width for width in reversed(channels) for _ in range(blocks_per_level + 1)]


def up_own_width(channels, blocks_per_level):
    skips = skips_right(channels, blocks_per_level)
    return [width + skips.pop() for width in reversed(channels) for _ in range(blocks_per_level + 1)]


def up_own_skips(channels, blocks_per_level):
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level + 1):
            found.append(width_in + width)
            width_in = width
    return found


def up_as_queue(channels, blocks_per_level):
    return up_popping(channels, blocks_per_level, skips_right(channels, blocks_per_level)[::-1])


def up_as_many_as_down(channels, blocks_per_level):
    skips = skips_right(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        for _ in range(blocks_per_level):
            found.append(width_in + skips.pop())
            width_in = width
    return found


def up_from_the_top(channels, blocks_per_level):
    return up_right(channels, blocks_per_level)[::-1]


def up_grown(channels, blocks_per_level):
    skips = skips_right(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    while skips:
        width_in += skips.pop()
        found.append(width_in)
    return found


def up_only_skips(channels, blocks_per_level):
    return skips_right(channels, blocks_per_level)[::-1]


def up_never_updated(channels, blocks_per_level):
    return [channels[-1] + skip for skip in skips_right(channels, blocks_per_level)[::-1]]


def up_updated_late(channels, blocks_per_level):
    skips = skips_right(channels, blocks_per_level)
    found, width_in = [], channels[-1]
    for width in reversed(channels):
        found += [width_in + skips.pop() for _ in range(blocks_per_level + 1)]
        width_in = width
    return found


def up_not_reversed(channels, blocks_per_level):
    skips = skips_right(channels, blocks_per_level)
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


def up_by_formula(channels, blocks_per_level):
    found, last = [], len(channels) - 1
    for i in range(last, -1, -1):
        x = [channels[min(i + 1, last)]] + [channels[i]] * blocks_per_level
        skip = [channels[i]] * blocks_per_level + [channels[max(i - 1, 0)]]
        found.extend(a + b for a, b in zip(x, skip))
    return found


def up_by_zip(channels, blocks_per_level):
    outputs = [channels[-1]] + [width for width in channels[::-1] for _ in range(blocks_per_level + 1)]
    return [a + b for a, b in zip(outputs, skips_right(channels, blocks_per_level)[::-1])]


UP_CHANNELS = Exercise(
    name="up_in_channels",
    title="What the way up reads",
    stars=3,
    minutes=15,
    answer=up_right,
    cases=width_cases,
    hints=(
        "Each block reads x and a skip side by side: two widths to add. There is one block for each skip.",
        "x comes from the level below for a level's first block, and from the block before for the others. In the "
        "lowest level it comes from the middle, which has the last width.",
        "Run through the levels backwards with the stack of the exercise before: width_in + skips.pop(), then "
        "width_in = width.",
    ),
    insight="For Stable Diffusion 1: 2560, 2560, 2560, 2560, 2560, 1920, 1920, 1280, 960, 960, 640, 640. The odd ones, "
    "1920 and 960, are where a level's last skip comes from the level above it; they are in every list of its "
    "weights' shapes.",
    wrong=(
        Wrong("skips-not-counted", up_without_skips, "Only x is counted. The skip's channels stand beside it."),
        Wrong("only-skips", up_only_skips, "Only the skip is counted. x's own channels stand before it."),
        Wrong(
            "width-never-updated",
            up_never_updated,
            "Your x has the lowest level's width all the way up. Each block gives its level's width: width_in = "
            "width after every block.",
        ),
        Wrong(
            "width-updated-late",
            up_updated_late,
            "Within a level your x keeps the width that came from below. Already its first block turns it into the "
            "level's own: width_in = width after every block, not after every level.",
        ),
        Wrong(
            "levels-not-reversed",
            up_not_reversed,
            "You run through the levels from the top. The way up starts at the lowest one: reversed(channels).",
        ),
        Wrong(
            "downsamples-forgotten",
            up_without_downsamples,
            "The stack runs empty as soon as there are several levels: it holds too few maps for blocks_per_level + "
            "1 pops a level. The downsampled maps are pushed too.",
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
            "You doubled each level's width. But the first x comes from the level below, and the last skip from the "
            "level above.",
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
            "You counted blocks_per_level blocks a level. On the way up there is one more: one for each skip.",
        ),
        Wrong("from-the-top", up_from_the_top, "The order is turned round: the way up starts at the lowest level."),
        Wrong(
            "widths-grow",
            up_grown,
            "Your x keeps everything it has read. A block turns x and skip into its level's width again.",
        ),
    ),
    right=(up_by_formula, up_by_zip),
)


# ── A small U-Net ────────────────────────────────────────────────────────────────────────────────────


def unet_cases(generator: Generator) -> list[Call]:
    """z_t, t_emb."""
    calls = []
    for B, h, w, width, t_emb_dim, groups in ((1, 2, 2, 2, 2, 1), (2, 4, 6, 4, 6, 2), (3, 8, 4, 8, 5, 2)):
        z_t, t_emb = torch.randn(B, 4, h, w, generator=generator), torch.randn(B, t_emb_dim, generator=generator)
        calls.append(Call((z_t, t_emb), build=(width, t_emb_dim, groups)))
    return calls


class SmallUNetRight(nn.Module):
    """Two levels, one ResBlock each."""

    def __init__(self, width: int, t_emb_dim: int, groups: int):
        super().__init__()
        self.conv_in = nn.Conv2d(4, width, 3, padding=1)
        self.down_block0 = ResBlock(width, width, t_emb_dim, groups)
        self.downsample = Downsample(width)
        self.down_block1 = ResBlock(width, 2 * width, t_emb_dim, groups)
        self.middle = ResBlock(2 * width, 2 * width, t_emb_dim, groups)
        self.up_block1a = ResBlock(4 * width, 2 * width, t_emb_dim, groups)
        self.up_block1b = ResBlock(3 * width, 2 * width, t_emb_dim, groups)
        self.upsample = Upsample(2 * width)
        self.up_block0a = ResBlock(3 * width, width, t_emb_dim, groups)
        self.up_block0b = ResBlock(2 * width, width, t_emb_dim, groups)
        self.norm_out = nn.GroupNorm(groups, width)
        self.conv_out = nn.Conv2d(width, 4, 3, padding=1)

    def down(self, z_t: Tensor, t_emb: Tensor) -> list[Tensor]:
        """The four maps that are pushed."""
        entered = self.conv_in(z_t)
        fine = self.down_block0(entered, t_emb)
        halved = self.downsample(fine)
        return [entered, fine, halved, self.down_block1(halved, t_emb)]

    def bottom(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """The middle."""
        return self.middle(x, t_emb)

    def joined(self, x: Tensor, skip: Tensor) -> Tensor:
        """Side by side."""
        return torch.cat([x, skip], dim=1)

    def up(self, x: Tensor, skips: list[Tensor], t_emb: Tensor) -> Tensor:
        """Pop four."""
        x = self.up_block1a(self.joined(x, skips.pop()), t_emb)
        x = self.upsample(self.up_block1b(self.joined(x, skips.pop()), t_emb))
        x = self.up_block0a(self.joined(x, skips.pop()), t_emb)
        return self.up_block0b(self.joined(x, skips.pop()), t_emb)

    def out(self, x: Tensor) -> Tensor:
        """To four channels."""
        return self.conv_out(F.silu(self.norm_out(x)))

    def forward(self, z_t: Tensor, t_emb: Tensor) -> Tensor:
        """z_t (B, 4, h, w), t_emb (B, D_t) -> (B, 4, h, w)."""
        skips = self.down(z_t, t_emb)
        return self.out(self.up(self.bottom(skips[3], t_emb), skips, t_emb))


class SmallUNetTopSkipsSwapped(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[1], skips[0], skips[2], skips[3]], t_emb)


class SmallUNetOneSkipTwice(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[0], skips[0], skips[2], skips[3]], t_emb)


class SmallUNetFineSkipTwice(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[1], skips[1], skips[2], skips[3]], t_emb)


class SmallUNetMiddleTwice(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [*skips[:3], x], t_emb)


class SmallUNetHalvedNotPushed(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[0], skips[1], skips[3]], t_emb)


class SmallUNetConvInNotPushed(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, skips[1:], t_emb)


class SmallUNetPoppedEarly(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, skips[:3], t_emb)


class SmallUNetMiddlePushed(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [*skips, x], t_emb)


class SmallUNetAlongBatch(SmallUNetRight):
    def joined(self, x, skip):
        return torch.cat([x, skip])


class SmallUNetWithoutSkips(SmallUNetRight):
    def joined(self, x, skip):
        return x


class SmallUNetCatTurned(SmallUNetRight):
    def joined(self, x, skip):
        return torch.cat([skip, x], dim=1)


class SmallUNetWithoutMiddle(SmallUNetRight):
    def bottom(self, x, t_emb):
        return x


class SmallUNetOutNotNormalised(SmallUNetRight):
    def out(self, x):
        return self.conv_out(x)


class SmallUNetOutNotActivated(SmallUNetRight):
    def out(self, x):
        return self.conv_out(self.norm_out(x))


class SmallUNetOutOnlyActivated(SmallUNetRight):
    def out(self, x):
        return self.conv_out(F.silu(x))


class SmallUNetOutActivatedFirst(SmallUNetRight):
    def out(self, x):
        return self.conv_out(self.norm_out(F.silu(x)))


class SmallUNetWithResidual(SmallUNetRight):
    def forward(self, z_t, t_emb):
        return z_t + super().forward(z_t, t_emb)


class SmallUNetNoiseSubtracted(SmallUNetRight):
    def forward(self, z_t, t_emb):
        return z_t - super().forward(z_t, t_emb)


class SmallUNetOneTime(SmallUNetRight):
    def forward(self, z_t, t_emb):
        return super().forward(z_t, t_emb[:1].expand_as(t_emb))


class SmallUNetSkipsCut(SmallUNetRight):
    def up(self, x, skips, t_emb):
        return super().up(x, [skip.detach() for skip in skips], t_emb)


class SmallUNetByStack(SmallUNetRight):
    def forward(self, z_t, t_emb):
        skips = [self.conv_in(z_t)]
        skips.append(self.down_block0(skips[-1], t_emb))
        skips.append(self.downsample(skips[-1]))
        skips.append(self.down_block1(skips[-1], t_emb))
        x = self.middle(skips[-1], t_emb)
        for block in (self.up_block1a, self.up_block1b, None, self.up_block0a, self.up_block0b):
            x = self.upsample(x) if block is None else block(torch.cat((x, skips.pop()), 1), t_emb)
        return self.conv_out(nn.SiLU()(self.norm_out(x)))


class SmallUNetByImage(SmallUNetRight):
    def forward(self, z_t, t_emb):
        images = [super(SmallUNetByImage, self).forward(z[None], e[None]) for z, e in zip(z_t, t_emb)]
        return torch.cat(images)


SMALL_UNET = Exercise(
    name="SmallUNet",
    title="A U-Net, put together",
    stars=3,
    minutes=20,
    answer=SmallUNetRight,
    cases=unet_cases,
    hints=(
        "Write it as a list: conv_in, down_block0, downsample, down_block1; after each of them push x. Then the "
        "middle.",
        "up_block1a and up_block1b pop one skip each; then upsample; then up_block0a and up_block0b pop one each.",
        "The last three: norm_out, SiLU, conv_out. All ResBlocks are called as block(x, t_emb).",
    ),
    insight="This is Stable Diffusion's U-Net but for the SpatialTransformers, two more levels and a second block a "
    "level. Whether what comes out is the noise or the velocity, nobody has told it: the loss decides.",
    wrong=(
        Wrong(
            "top-skips-swapped",
            SmallUNetTopSkipsSwapped,
            "up_block0a and up_block0b have each other's skip: both fit in shape. Last in, first out: the output of "
            "down_block0 comes first, that of conv_in last.",
        ),
        Wrong(
            "conv-in-twice",
            SmallUNetOneSkipTwice,
            "Both upper blocks get the output of conv_in. up_block0a gets that of down_block0.",
        ),
        Wrong(
            "down-block-twice",
            SmallUNetFineSkipTwice,
            "Both upper blocks get the output of down_block0. The last one, up_block0b, gets that of conv_in.",
        ),
        Wrong(
            "middle-twice",
            SmallUNetMiddleTwice,
            "up_block1a gets the middle's output twice. Its skip is the output of down_block1, from before the middle.",
        ),
        Wrong(
            "sizes-differ",
            SmallUNetHalvedNotPushed,
            "A skip is larger than the x beside it. Is the output of downsample pushed too (to forget it is the "
            "usual mistake)? Is the *last* map popped, not the first? Is x upsampled before up_block0a?",
        ),
        Wrong(
            "one-too-few",
            SmallUNetConvInNotPushed,
            "The stack runs empty before up_block0b: of the two maps at full size, from conv_in and from "
            "down_block0, one was not pushed. Four are pushed and four popped.",
        ),
        Wrong(
            "popped-early",
            SmallUNetPoppedEarly,
            "up_block1a reads three times `width` channels instead of four: its skip is not the output of "
            "down_block1. Either that was not pushed, or middle(skips.pop(), t_emb) took it off too early.",
        ),
        Wrong(
            "middle-pushed",
            SmallUNetMiddlePushed,
            "up_block1b reads four times `width` channels instead of three: its skip is not the downsampled map, "
            "which has `width`. Did you push the middle's output too, or look at the top of the stack, skips[-1], "
            "and leave it there?",
        ),
        Wrong(
            "along-the-batch",
            SmallUNetAlongBatch,
            "You put x and skip one behind the other in the batch: torch.cat joins along dim 0 if it is not told "
            "otherwise. The channels are dim=1.",
        ),
        Wrong(
            "not-side-by-side",
            SmallUNetWithoutSkips,
            "up_block1a reads twice as many channels as you give it: x and the skip side by side, torch.cat([x, "
            "skip], dim=1). The two are not to be added, and neither is to be left out.",
        ),
        Wrong(
            "order-of-channels",
            SmallUNetCatTurned,
            "You put the skips first. The weights know which channels are which: x first, then the skip.",
        ),
        Wrong("no-middle", SmallUNetWithoutMiddle, "The middle block is never called."),
        Wrong(
            "output-not-normalised",
            SmallUNetOutNotNormalised,
            "norm_out and SiLU are missing before conv_out: the sums of all residuals arrive there in any size.",
        ),
        Wrong("output-not-activated", SmallUNetOutNotActivated, "SiLU is missing between norm_out and conv_out."),
        Wrong(
            "norm-missing",
            SmallUNetOutOnlyActivated,
            "norm_out is missing before the last SiLU: the sums of all residuals arrive there in any size.",
        ),
        Wrong(
            "activated-before-norm",
            SmallUNetOutActivatedFirst,
            "You put SiLU before norm_out. As in every ResBlock the norm comes first, then SiLU, then the convolution.",
        ),
        Wrong(
            "input-added",
            SmallUNetWithResidual,
            "You added z_t at the end. The U-Net has no outer sum: it predicts the noise itself.",
        ),
        Wrong(
            "noise-subtracted",
            SmallUNetNoiseSubtracted,
            "You subtracted the prediction from z_t. Cleaning is the sampler's work; the U-Net only predicts.",
        ),
        Wrong(
            "one-t-for-all", SmallUNetOneTime, "Every image gets the first one's time; each has its own row of t_emb."
        ),
        Wrong("gradient-wrong", SmallUNetSkipsCut),
    ),
    right=(SmallUNetByStack, SmallUNetByImage),
)


# ── Parameters ───────────────────────────────────────────────────────────────────────────────────────


def count_cases(generator: Generator) -> list[Call]:
    """Widths, equal and different."""
    calls = [Call((1, 1, 1)), Call((1, 2, 3))]
    for width_in, width_out, t_emb_dim in (torch.randint(2, 300, (4, 3), generator=generator)).tolist():
        calls += [Call((width_in, width_out, t_emb_dim)), Call((width_in, width_in, t_emb_dim))]
    return [*calls, Call((2560, 1280, 1280))]


def count_right(in_channels: int, out_channels: int, t_emb_dim: int) -> int:
    """Weights and biases of norm1, conv1, time_proj, norm2, conv2, shortcut."""
    shortcut = 0 if in_channels == out_channels else in_channels * out_channels + out_channels
    return (
        2 * in_channels
        + 9 * in_channels * out_channels
        + out_channels
        + (t_emb_dim + 1) * out_channels
        + 2 * out_channels
        + 9 * out_channels**2
        + out_channels
        + shortcut
    )


def count_without_biases(in_channels, out_channels, t_emb_dim):
    shortcut = 0 if in_channels == out_channels else in_channels * out_channels
    return (
        2 * in_channels
        + 9 * in_channels * out_channels
        + t_emb_dim * out_channels
        + 2 * out_channels
        + 9 * out_channels**2
        + shortcut
    )


def count_without_norms(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - 2 * in_channels - 2 * out_channels


def count_norms_once(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - in_channels - out_channels


def count_shortcut_always(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return count_right(in_channels, out_channels, t_emb_dim) + same * (in_channels * out_channels + out_channels)


def count_shortcut_never(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return count_right(in_channels, out_channels, t_emb_dim) - (not same) * (in_channels + 1) * out_channels


def count_shortcut_of_three(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return count_right(in_channels, out_channels, t_emb_dim) + (not same) * 8 * in_channels * out_channels


def count_kernels_of_three(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - 6 * (in_channels + out_channels) * out_channels


def count_without_time(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - (t_emb_dim + 1) * out_channels


def count_conv2_of_input(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) + 9 * out_channels * (in_channels - out_channels)


def count_norm2_of_input(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) + 2 * (in_channels - out_channels)


def count_two_less(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - 2 * out_channels


def count_convolutions_without_biases(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return count_right(in_channels, out_channels, t_emb_dim) - (2 if same else 3) * out_channels


def count_one_less(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - out_channels


def count_shortcut_without_bias(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) - (in_channels != out_channels) * out_channels


def count_shortcut_inverted(in_channels, out_channels, t_emb_dim):
    shortcut = (in_channels + 1) * out_channels
    return count_right(in_channels, out_channels, t_emb_dim) + (1 if in_channels == out_channels else -1) * shortcut


def count_time_to_input(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) + (t_emb_dim + 1) * (in_channels - out_channels)


def count_norm1_of_output(in_channels, out_channels, t_emb_dim):
    return count_right(in_channels, out_channels, t_emb_dim) + 2 * (out_channels - in_channels)


def count_by_building(in_channels, out_channels, t_emb_dim):
    with torch.device("meta"):
        block = ResBlock(in_channels, out_channels, t_emb_dim, groups=1)
    return sum(parameter.numel() for parameter in block.parameters())


def count_by_parts(in_channels, out_channels, t_emb_dim):
    def linear(a, b, kernel=1):
        return (a * kernel * kernel + 1) * b

    parts = [
        2 * in_channels,
        linear(in_channels, out_channels, 3),
        linear(t_emb_dim, out_channels),
        2 * out_channels,
        linear(out_channels, out_channels, 3),
    ]
    return sum(parts) + (linear(in_channels, out_channels) if in_channels != out_channels else 0)


COUNT = Exercise(
    name="resblock_parameters",
    title="Counting by hand",
    stars=2,
    minutes=10,
    answer=count_right,
    cases=count_cases,
    hints=(
        "A 3×3 convolution from a to b channels has 9 · a · b weights and b biases; a linear layer a · b and b.",
        "GroupNorm has two numbers for each channel, however many groups there are.",
        "norm1 has 2 · in, norm2 2 · out. The shortcut, a 1×1 convolution, exists only if the widths differ.",
    ),
    insight="From 2560 to 1280 channels a single block has 49,164,800 parameters, more than 17 of the whole tiny "
    "U-Net. Nine tenths sit in the two 3×3 convolutions: doubling all widths makes four times as many.",
    wrong=(
        Wrong(
            "no-biases",
            count_without_biases,
            "You left out the biases: one for each output channel of a convolution or linear layer.",
        ),
        Wrong(
            "two-out-missing",
            count_two_less,
            "2 · out numbers are missing: either the biases of conv1 and conv2, or norm2, which has a factor and a "
            "summand for each channel.",
        ),
        Wrong(
            "convolutions-without-biases",
            count_convolutions_without_biases,
            "The biases of the three convolutions are missing: conv1, conv2 and, where there is one, the shortcut "
            "have `out` each.",
        ),
        Wrong(
            "one-out-missing",
            count_one_less,
            "`out` numbers are missing: either the biases of conv1, of conv2 or of time_proj, or one of the two "
            "numbers that norm2 has for each channel.",
        ),
        Wrong(
            "shortcut-without-bias",
            count_shortcut_without_bias,
            "Where the widths differ, `out` numbers are missing: the shortcut is a convolution with biases, too.",
        ),
        Wrong(
            "shortcut-inverted",
            count_shortcut_inverted,
            "You counted the shortcut where the widths are *equal*. It is there to change the width, so it exists "
            "where they differ.",
        ),
        Wrong("no-norms", count_without_norms, "The norms have parameters too: a factor and a summand a channel."),
        Wrong("norms-once", count_norms_once, "A norm has two numbers for each channel: weight and bias."),
        Wrong(
            "shortcut-always",
            count_shortcut_always,
            "You counted a shortcut where the widths are equal. There it is the identity, without parameters.",
        ),
        Wrong(
            "shortcut-never",
            count_shortcut_never,
            "The shortcut's 1×1 convolution is missing, where the widths differ.",
        ),
        Wrong(
            "shortcut-3x3", count_shortcut_of_three, "You counted 9 weights a channel pair in the shortcut: it is 1×1."
        ),
        Wrong("kernel-3", count_kernels_of_three, "You counted 3 weights a channel pair. A 3×3 kernel has 9."),
        Wrong("no-time", count_without_time, "time_proj is missing: t_emb_dim · out weights, and out biases."),
        Wrong(
            "conv2-from-input", count_conv2_of_input, "conv2 goes from out to out channels: conv1 changed the width."
        ),
        Wrong(
            "time-to-input",
            count_time_to_input,
            "time_proj makes `out` numbers: they are added after conv1, which has changed the width already.",
        ),
        Wrong("norm1-of-output", count_norm1_of_output, "norm1 comes before conv1: it normalises `in` channels."),
        Wrong("norm2-of-input", count_norm2_of_input, "norm2 comes after conv1: it normalises `out` channels."),
    ),
    right=(count_by_building, count_by_parts),
)


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────


def one_number(generator: Generator) -> list[Call]:
    """Nothing to try it on: the answer is a number."""
    return [Call(())]


UP_TO_DOWN = Exercise(
    name="up_to_down",
    title="Predict: up against down",
    stars=1,
    minutes=6,
    answer=lambda: 510_795_840 / 249_612_480,
    cases=one_number,
    tolerance=0.0911,
    hints=(
        "Count blocks first: 2 a level down, 3 a level up.",
        "And a block up reads x and a skip: what does that do to conv1, what to conv2?",
        "Three blocks for two make 1.5; wider first convolutions and shortcuts add about a third more.",
    ),
    insight="2.05: 249,612,480 parameters down, 510,795,840 up. Three blocks for two make 1.5; the rest comes from the "
    "skips, which double what conv1 and the shortcut read, but neither conv2 nor the transformers. The U is "
    "symmetrical in its sizes only.",
    wrong=(
        Wrong(
            "symmetrical",
            lambda: 1.0,
            "The U looks symmetrical, but the way up has one block more a level, and each reads a skip beside its x.",
        ),
        Wrong(
            "not-enough",
            lambda: 1.7,
            "Nearly: it is more than the 3 blocks for 2, but the skips add more than you say. Twice the channels to "
            "read make conv1 twice as large, and they give every block up a shortcut.",
        ),
        Wrong(
            "blocks-only",
            lambda: 1.5,
            "3 blocks a level for 2 make 1.5 already, before any skip. Each block up also reads twice the channels, "
            "so its conv1 is larger.",
        ),
        Wrong(
            "skips-only",
            lambda: 4 / 3,
            "It is more. The skips alone, with a wider conv1 and shortcuts, add about a third; and there are 3 "
            "blocks a level for the 2 on the way down.",
        ),
        Wrong(
            "transformers-forgotten",
            lambda: 338_128_000 / 137_265_280,
            "A little less. 2.46 would be right for the ResBlocks alone; but a level has as many transformers as "
            "blocks, and a skip makes none of them larger: of those there are just 3 for 2.",
        ),
        Wrong(
            "everything-doubled",
            lambda: 3.0,
            "Too much: 1.5 · 2 would double whole blocks. Only conv1 and the shortcut read the skip; conv2 and the "
            "transformer have the same size as on the way down.",
        ),
        Wrong("upside-down", lambda: 249_612_480 / 510_795_840, "Turn the fraction round: up over down."),
        Wrong(
            "squared",
            lambda: 4.0,
            "Twice the channels *in and out* would be four times the weights. Only what goes in is doubled.",
        ),
    ),
    right=(lambda: 2, lambda: 2.05, lambda: 2.25),
)


EXERCISES = (SKIP_STACK, SKIP_CHANNELS, UP_CHANNELS, SMALL_UNET, COUNT, UP_TO_DOWN)
