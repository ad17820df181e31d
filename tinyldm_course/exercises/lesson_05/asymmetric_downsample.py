"""Exercise asymmetric_downsample of lesson 05: The encoder's down block."""

import torch
import torch.nn.functional as F
from torch import Generator, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def asymmetric_downsample(x, weight, bias):
    """Pad right and bottom with zeros, then convolve with stride 2.

    x: (B, C, H, W), H and W even; weight: (C', C, 3, 3); bias: (C',).  Returns (B, C', H/2, W/2).
    """
    ### BEGIN SOLUTION
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, stride=2)
    ### END SOLUTION


def down_cases(generator: Generator) -> list[Call]:
    """x (B, C, H, W) with even sides, weight (C', C, 3, 3), bias (C',)."""
    weight = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    calls = [Call((torch.arange(16.0).view(1, 1, 4, 4), weight, torch.tensor([0.5])))]
    for B, C, H, W in ((2, 3, 4, 4), (1, 2, 6, 10), (3, 4, 8, 8)):
        shapes = ((B, C, H, W), (C, C, 3, 3), (C,))
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for shape in shapes)))
    return calls


def down_symmetric(x, weight, bias):
    return F.conv2d(x, weight, bias, stride=2, padding=1)


def down_not_padded(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 0, 0, 0)), weight, bias, stride=2)


def down_padded_in_width_only(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1)), weight, bias, stride=2)


def down_padded_twice(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, stride=2, padding=1)


def down_right_and_top(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 1, 0)), weight, bias, stride=2)


def down_replicated(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), weight, bias, stride=2)


def down_without_stride(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=1)


def down_padded_without_stride(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias)


def down_with_neither(x, weight, bias):
    return F.conv2d(x, weight, bias)


def down_without_bias(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, stride=2)


def down_pooled(x, weight, bias):
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)


def down_reflected(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1), mode="reflect"), weight, bias, stride=2)


def down_padded_in_height_only(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 0, 0, 1)), weight, bias, stride=2)


def down_left_and_bottom(x, weight, bias):
    return F.conv2d(F.pad(x, (1, 0, 0, 1)), weight, bias, stride=2)


def down_padded_with_one(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1), value=1.0), weight, bias, stride=2)


def down_true_convolution(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight.flip(2, 3), bias, stride=2)


def down_interpolated(x, weight, bias):
    return F.conv2d(F.interpolate(x, scale_factor=0.5), weight, bias, padding=1)


def down_by_every_second(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=1)[:, :, 1::2, 1::2]


def down_by_layers(x, weight, bias):
    padded = nn.ZeroPad2d((0, 1, 0, 1))(x)
    patches = padded.unfold(2, 3, 2).unfold(3, 3, 2)
    return torch.einsum("bchwij,ocij->bohw", patches, weight) + bias.view(-1, 1, 1)


EXERCISE = Exercise(
    name="asymmetric_downsample",
    title="The encoder's down block",
    stars=1,
    minutes=6,
    answer=asymmetric_downsample,
    cases=down_cases,
    hints=(
        "Two steps: F.pad, then F.conv2d with stride 2 and no padding of its own.",
        "F.pad counts from the *last* dimension: (left, right, top, bottom).",
        "F.pad(x, (0, 1, 0, 1))",
    ),
    shape_hint=1,
    insight="padding=1 gives the same shape, but every result is moved by one pixel of its input. Over the three "
    "downsamples of a VAE that is 1 + 2 + 4 = 7 pixels of the picture. The U-Net's own downsample does pad on all "
    "sides: the two differ only because their checkpoints do.",
    wrong=(
        Wrong(
            "symmetric-padding",
            down_symmetric,
            "You padded on all sides (padding=1), or left and top: with stride 2 that is the same, because the "
            "right and bottom borders are never read. The shape fits, but each result looks one pixel further up "
            "and left than the VAE was trained with. F.pad's order is (left, right, top, bottom).",
        ),
        Wrong(
            "right-and-top",
            down_right_and_top,
            "You padded right and *top*. F.pad's order is (left, right, top, bottom): (0, 1, 0, 1).",
        ),
        Wrong(
            "not-padded",
            down_not_padded,
            "Without padding the last row and column are lost: H/2 - 1 rows instead of H/2.",
        ),
        Wrong(
            "width-only",
            down_padded_in_width_only,
            "You padded the width only. F.pad takes two numbers for each dimension, the last dimension first.",
        ),
        Wrong(
            "padded-twice",
            down_padded_twice,
            "You padded by hand, and the convolution pads again. Leave out its padding=1.",
        ),
        Wrong("replicated", down_replicated, "You repeated the border. The reference pads with zeros."),
        Wrong("no-stride", down_without_stride, "The size is not halved: stride=2."),
        Wrong(
            "stride-forgotten",
            down_padded_without_stride,
            "You padded, but the convolution visits every pixel, so the size is not halved: stride=2.",
        ),
        Wrong(
            "neither-padded-nor-halved", down_with_neither, "You neither padded nor halved: F.pad first, then stride=2."
        ),
        Wrong("pooled", down_pooled, "You averaged 2×2 pixels. Here the convolution itself takes every second place."),
        Wrong("no-bias", down_without_bias, "The bias is missing."),
        Wrong("reflected", down_reflected, "You mirrored the border. The reference pads with zeros."),
        Wrong(
            "height-only",
            down_padded_in_height_only,
            "You padded the height only. F.pad takes two numbers for each dimension, the last dimension first.",
        ),
        Wrong(
            "left-and-bottom",
            down_left_and_bottom,
            "You padded *left* and bottom. F.pad's order is (left, right, top, bottom): (0, 1, 0, 1).",
        ),
        Wrong("padded-with-ones", down_padded_with_one, "You padded with ones. The reference pads with zeros."),
        Wrong(
            "kernel-turned",
            down_true_convolution,
            "You flipped the kernel, as a mathematical convolution does. torch's conv2d does not.",
        ),
        Wrong(
            "resized-first",
            down_interpolated,
            "You resized the picture, then convolved. Here the convolution itself takes every second place.",
        ),
    ),
    right=(down_by_every_second, down_by_layers),
)
