"""Exercise skip_stack of lesson 08: Last in, first out."""

import copy
from collections import deque

import torch
from torch import Generator, Tensor

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong


def skip_stack(x, down, middle, up):
    """Down, middle, up.

    x: (B, C, H, W); down: a list of functions (B, C, H, W) -> (B, C, H, W); middle: one more of these; up: a list, one
    longer than down, of functions (B, 2C, H, W) -> (B, C, H, W), in the order in which they run.  Returns (B, C, H, W).
    Both lists belong to the caller and stay as they are.
    """
    ### BEGIN SOLUTION
    skips = [x]
    for block in down:
        x = block(x)
        skips.append(x)
    x = middle(x)
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))  # (B, C, H, W) -> (B, 2C, H, W)
    return x
    ### END SOLUTION


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
    return skip_stack(x, down, middle, up[::-1])


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


def stack_of_inputs(x, down, middle, up):
    skips = [x]
    for block in down:
        skips.append(x)
        x = block(x)
    x = middle(x)
    for block in up:
        x = block(torch.cat([x, skips.pop()], dim=1))
    return x


def stack_with_middle_in_place_of_last(x, down, middle, up):
    skips = pushed(x, down)
    x = skips[-1] = middle(skips[-1])
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


EXERCISE = Exercise(
    name="skip_stack",
    title="Last in, first out",
    stars=2,
    minutes=10,
    answer=skip_stack,
    cases=stack_cases,
    hints=(
        "A Python list is a stack: .append() pushes, .pop() takes the last one off.",
        "Push x before the first block, then the output of every block down. So there is one skip for each block up.",
        "On the way up: x = block(torch.cat([x, skips.pop()], dim=1))",
    ),
    shape_hint=3,
    insight="The last map pushed has the size and the meaning of what comes up first: so the way up gets back, "
    "level by level, the fine detail that the way down threw away. Stable Diffusion 1 pushes 12 maps and pops 12.",
    wrong=(
        Wrong(
            "first-in-first-out",
            stack_as_queue,
            "You take the *oldest* skip first. At the bottom of a real U-Net it would not even have the right "
            "size: last in, first out.",
        ),
        Wrong(
            "one-too-few",
            stack_without_input,
            "The stack runs empty before the last block up: it held one map too few. Either one was not pushed (x "
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
            "A block on the way up reads twice the channels: x and the skip side by side (dim=1). What you give it "
            "has those of one map: the two are not to be added, and neither is to be left out.",
        ),
        Wrong(
            "along-the-batch",
            stack_along_batch,
            "You put x and skip one behind the other in the batch: torch.cat joins along dim 0 by default. The "
            "channels are dim=1.",
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
            "You pushed the middle's output too: the first block up then gets the same map twice, and all others "
            "the skip of their neighbour.",
        ),
        Wrong(
            "up-reversed",
            stack_up_reversed,
            "You run through the blocks up from the last to the first. They are in the order in which they run; "
            "only the skips come back in reverse.",
        ),
        Wrong(
            "down-not-chained",
            stack_down_not_chained,
            "Every block down reads the first x. Each reads what the one before it made.",
        ),
        Wrong("gradient-wrong", stack_skips_cut),
        Wrong(
            "inputs-pushed",
            stack_of_inputs,
            "You pushed what each block down *reads*, so x is there twice and the last output is missing. Push "
            "what each block makes: first x = block(x), then skips.append(x).",
        ),
        Wrong(
            "middle-for-the-last-skip",
            stack_with_middle_in_place_of_last,
            "The middle's output took the place of the last skip: the first block up gets the same map twice. The"
            " skip is what the middle *reads*.",
        ),
    ),
    right=(stack_by_recursion, stack_by_zip, stack_by_copies),
)
