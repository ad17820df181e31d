"""Exercise receptive_field of lesson 06: How far does it see?"""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def receptive_field(layers):
    """The width, in pixels of the input, that one pixel of the output depends on.

    layers: a list of (kernel, stride), the first layer first; it may be empty.  Returns an int.
    """
    ### BEGIN SOLUTION
    field, jump = 1, 1  # jump: how far apart, in the input, two neighbours of the current layer are
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field
    ### END SOLUTION


def field_cases(generator: Generator) -> list[Call]:
    """Lists of (kernel, stride), with even kernels and without."""
    drawn = torch.randint(0, 3, (2, 6, 2), generator=generator).tolist()
    calls = [
        Call(([(3, 1), (3, 1)],)),
        Call(([(3, 2), (3, 1)],)),
        Call(([],)),
        Call(([(2, 1)],)),
        Call(([(4, 2), (2, 2), (3, 1)],)),
    ]
    calls += [Call(([(3, 1), *((2 * k + 1, s + 1) for k, s in layers), (3, 2), (5, 2), (3, 1)],)) for layers in drawn]
    return [*calls, Call(([(3, 1), (3, 1), (3, 2)] * 3 + [(3, 1)],))]


def field_of_kernels(layers):
    return sum(kernel for kernel, _ in layers)


def field_without_strides(layers):
    return 1 + sum(kernel - 1 for kernel, _ in layers)


def field_stride_too_early(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        field += (kernel - 1) * jump
    return field


def field_of_last_stride(layers):
    field, before = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * before
        before = stride
    return field


def field_of_whole_kernels(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field += kernel * jump
        jump *= stride
    return field


def field_from_zero(layers):
    return receptive_field(layers) - 1


def field_summed_strides(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump += stride
    return field


def field_of_halves(layers):
    return receptive_field([(2 * (kernel // 2) + 1, stride) for kernel, stride in layers])


def field_of_smaller_halves(layers):
    return receptive_field([(2 * ((kernel - 1) // 2) + 1, stride) for kernel, stride in layers])


def field_reversed(layers):
    return receptive_field(layers[::-1])


def field_kernels_multiplied(layers):
    return math.prod(kernel for kernel, _ in layers)


def field_of_largest(layers):
    return max((kernel for kernel, _ in layers), default=1)


def field_strides_multiplied(layers):
    return receptive_field(layers) * math.prod(stride for _, stride in layers)


def field_kernel_times_stride(layers):
    return 1 + sum((kernel - 1) * stride for kernel, stride in layers)


def field_squared(layers):
    return receptive_field(layers) ** 2


def field_of_half(layers):
    return (receptive_field(layers) - 1) // 2


def field_without_first(layers):
    return receptive_field(layers[1:])


def field_without_last(layers):
    return receptive_field(layers[:-1])


def field_of_three(layers):
    return receptive_field([(3, stride) for _, stride in layers])


def field_summed_jumps(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump += stride - 1
    return field


def field_backwards(layers):
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def field_by_products(layers):
    return 1 + sum((kernel - 1) * math.prod(stride for _, stride in layers[:i]) for i, (kernel, _) in enumerate(layers))


EXERCISE = Exercise(
    name="receptive_field",
    title="How far does it see?",
    stars=2,
    minutes=10,
    answer=receptive_field,
    cases=field_cases,
    hints=(
        "A single pixel sees itself: start with 1. A 3×3 convolution adds one neighbour on each side.",
        "After a layer of stride 2, neighbours are 2 pixels of the input apart; after two of them, 4.",
        "Keep two numbers: field += (kernel - 1) * jump, then jump *= stride.",
    ),
    insight="Two 3×3 convolutions see 5 pixels. After three layers of stride 2, each further 3×3 convolution adds "
    "16. So a U-Net sees far by going down, not by stacking convolutions, and attention does the rest.",
    wrong=(
        Wrong(
            "kernels-summed",
            field_of_kernels,
            "You summed the kernels. Each layer only adds what is new at its border: kernel - 1.",
        ),
        Wrong(
            "strides-ignored",
            field_without_strides,
            "You left the strides out. After a layer of stride 2, one step of the next kernel is two pixels of the "
            "input.",
        ),
        Wrong(
            "stride-too-early",
            field_stride_too_early,
            "You let a layer's stride count for its own kernel. It spreads out what comes *after* it.",
        ),
        Wrong(
            "only-the-stride-before",
            field_of_last_stride,
            "You used only the stride of the layer just before. Strides multiply: two of stride 2 make 4.",
        ),
        Wrong(
            "whole-kernel-added",
            field_of_whole_kernels,
            "You added kernel where kernel - 1 is new: the centre was seen before.",
        ),
        Wrong("started-at-zero", field_from_zero, "You are short by one: without any layer a pixel still sees itself."),
        Wrong("strides-summed", field_summed_strides, "You added up the strides. They multiply."),
        Wrong(
            "even-kernels-too-wide",
            field_of_halves,
            "Right for odd kernels. An even one has no middle: kernel 2 sees 2 pixels. What a kernel adds is "
            "always kernel - 1, and not 2 * (kernel // 2).",
        ),
        Wrong(
            "even-kernels-too-narrow",
            field_of_smaller_halves,
            "Right for odd kernels. An even one has no middle: kernel 2 sees 2 pixels. What a kernel adds is "
            "always kernel - 1, and not 2 * ((kernel - 1) // 2).",
        ),
        Wrong(
            "from-the-last",
            field_reversed,
            "You went from the last layer to the first. What spreads a kernel out are the strides of the layers "
            "*before* it.",
        ),
        Wrong(
            "kernels-multiplied",
            field_kernels_multiplied,
            "You multiplied the kernels. Each layer *adds* kernel - 1 of its own steps.",
        ),
        Wrong(
            "largest-kernel",
            field_of_largest,
            "You took the largest kernel. Layers build on each other: what each adds is summed.",
        ),
        Wrong(
            "multiplied-by-strides",
            field_strides_multiplied,
            "You multiplied by all strides at the end. A stride only spreads out the layers after it.",
        ),
        Wrong(
            "own-stride-only",
            field_kernel_times_stride,
            "You multiplied each kernel by its own stride. It is the product of the strides *before* it.",
        ),
        Wrong(
            "area",
            field_squared,
            "That is the number of pixels in the square. The exercise asks for the width, in a row.",
        ),
        Wrong("radius", field_of_half, "That is how far it sees to one side. The exercise asks for the whole width."),
        Wrong("first-layer-skipped", field_without_first, "The first layer is left out."),
        Wrong("last-layer-skipped", field_without_last, "The last layer is left out."),
        Wrong("kernel-3-assumed", field_of_three, "You took 3 for every kernel. Take the kernel of each layer."),
        Wrong(
            "strides-less-one-summed",
            field_summed_jumps,
            "You added stride - 1 to the jump. Strides multiply: two of stride 2 make 4, and yours make 3.",
        ),
    ),
    right=(field_backwards, field_by_products),
)
