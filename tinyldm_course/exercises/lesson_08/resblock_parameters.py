"""Exercise resblock_parameters of lesson 08: Counting by hand."""

import torch
from torch import Generator

from tinyldm.resblock import ResBlock
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def resblock_parameters(in_channels, out_channels, t_emb_dim):
    """The number of parameters of ResBlock(in_channels, out_channels, t_emb_dim).  Three ints.  Returns an int."""
    ### BEGIN SOLUTION
    norms = 2 * in_channels + 2 * out_channels
    convolutions = (9 * in_channels + 1) * out_channels + (9 * out_channels + 1) * out_channels
    time_proj = (t_emb_dim + 1) * out_channels
    shortcut = 0 if in_channels == out_channels else (in_channels + 1) * out_channels
    return norms + convolutions + time_proj + shortcut
    ### END SOLUTION


def count_cases(generator: Generator) -> list[Call]:
    """Widths, equal and different."""
    calls = [Call((1, 1, 1)), Call((1, 2, 3))]
    for width_in, width_out, t_emb_dim in (torch.randint(2, 300, (4, 3), generator=generator)).tolist():
        calls += [Call((width_in, width_out, t_emb_dim)), Call((width_in, width_in, t_emb_dim))]
    return [*calls, Call((2560, 1280, 1280))]


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
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - 2 * in_channels - 2 * out_channels


def count_norms_once(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - in_channels - out_channels


def count_shortcut_always(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return resblock_parameters(in_channels, out_channels, t_emb_dim) + same * (
        in_channels * out_channels + out_channels
    )


def count_shortcut_never(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - (not same) * (in_channels + 1) * out_channels


def count_shortcut_of_three(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return resblock_parameters(in_channels, out_channels, t_emb_dim) + (not same) * 8 * in_channels * out_channels


def count_kernels_of_three(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - 6 * (in_channels + out_channels) * out_channels


def count_without_time(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - (t_emb_dim + 1) * out_channels


def count_conv2_of_input(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) + 9 * out_channels * (in_channels - out_channels)


def count_norm2_of_input(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) + 2 * (in_channels - out_channels)


def count_two_less(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - 2 * out_channels


def count_convolutions_without_biases(in_channels, out_channels, t_emb_dim):
    same = in_channels == out_channels
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - (2 if same else 3) * out_channels


def count_one_less(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - out_channels


def count_shortcut_without_bias(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) - (in_channels != out_channels) * out_channels


def count_shortcut_inverted(in_channels, out_channels, t_emb_dim):
    shortcut = (in_channels + 1) * out_channels
    return (
        resblock_parameters(in_channels, out_channels, t_emb_dim)
        + (1 if in_channels == out_channels else -1) * shortcut
    )


def count_time_to_input(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) + (t_emb_dim + 1) * (in_channels - out_channels)


def count_norm1_of_output(in_channels, out_channels, t_emb_dim):
    return resblock_parameters(in_channels, out_channels, t_emb_dim) + 2 * (out_channels - in_channels)


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


EXERCISE = Exercise(
    name="resblock_parameters",
    title="Counting by hand",
    stars=2,
    minutes=10,
    answer=resblock_parameters,
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
            "2 · out numbers are missing: either the biases of conv1 and conv2, or norm2, which has a scale and a "
            "shift for each channel.",
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
        Wrong("no-norms", count_without_norms, "The norms have parameters too: a scale and a shift for each channel."),
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
            "shortcut-3x3",
            count_shortcut_of_three,
            "You counted 9 weights per pair of channels in the shortcut: it is 1×1.",
        ),
        Wrong("kernel-3", count_kernels_of_three, "You counted 3 weights per pair of channels. A 3×3 kernel has 9."),
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
