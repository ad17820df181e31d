"""Exercise group_norm of lesson 06: GroupNorm by hand."""

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def group_norm(x, groups, weight, bias, eps):
    """Normalise each group of channels of each image; then one scale and one shift for each channel.

    x: (B, N, C), the channels last; groups: divides C; weight, bias: (C,); eps: a small number.  Returns (B, N, C).
    """
    ### BEGIN SOLUTION
    B, N, C = x.shape
    grouped = x.view(B, N, groups, C // groups)
    variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0, keepdim=True)
    grouped = (grouped - mean) / (variance + eps).sqrt()
    return grouped.view(B, N, C) * weight + bias
    ### END SOLUTION


def norm_cases(generator: Generator) -> list[Call]:
    """x with channels of different means and spreads, groups, weight, bias, eps (a large one too).

    N is never C, so that no shapes fit by chance; B is never the number of groups: an image is no group.
    """
    x, ones = torch.tensor([[[1.0, 5.0], [3.0, 7.0], [5.0, 9.0]]]), torch.ones(2)
    calls = [
        Call((x, 1, ones, 0 * ones, 1e-5)),
        Call((x, 1, ones, 0 * ones, 0.1)),
        Call((x, 1, torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0]), 1e-5)),
    ]
    for (B, N, C), groups, eps in (((3, 15, 4), 2, 0.1), ((2, 16, 6), 3, 1e-6), ((3, 36, 8), 2, 1e-5)):
        mean, weight, bias = (torch.randn(C, generator=generator) for _ in range(3))
        spread = 0.5 + torch.rand(C, generator=generator)
        x = mean + spread * torch.randn(B, N, C, generator=generator)
        calls.append(Call((x, groups, weight, bias, eps)))
    return calls


def of_maps(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A norm of maps (B, C, H, W) as one of sequences (B, N, C)."""

    @wraps(norm)
    def of_sequences(x, groups, weight, bias, eps):
        maps = x.transpose(1, 2).unsqueeze(-1).contiguous()  # (B, N, C) -> (B, C, N, 1)
        return norm(maps, groups, weight, bias, eps).squeeze(-1).transpose(1, 2)

    return of_sequences


def normalised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x − mean) / √(variance + eps), both over some dimensions."""
    centred = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + eps).sqrt()


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One scale and one shift for each channel."""
    return x * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)


@of_maps
def group_norm_of_layers(x, groups, weight, bias, eps):
    return affine(normalised(x, (1, 2, 3), eps), weight, bias)


@of_maps
def group_norm_of_instances(x, groups, weight, bias, eps):
    return affine(normalised(x, (2, 3), eps), weight, bias)


@of_maps
def group_norm_of_batches(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (groups, -1)), (0, 2, 3, 4), eps).view(x.shape), weight, bias)


@of_maps
def group_norm_interleaved(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (-1, groups)), (1, 3, 4), eps).view(x.shape), weight, bias)


@of_maps
def group_norm_of_that_size(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (-1, groups)), (2, 3, 4), eps).view(x.shape), weight, bias)


@of_maps
def group_norm_of_each_pixel(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (groups, -1)), (2,), eps).view(x.shape), weight, bias)


@of_maps
def group_norm_unbiased(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), keepdim=True)
    return affine(((grouped - mean) / (variance + eps).sqrt()).view(x.shape), weight, bias)


@of_maps
def group_norm_eps_outside(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / (variance.sqrt() + eps)).view(x.shape), weight, bias)


@of_maps
def group_norm_by_variance(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / (variance + eps)).view(x.shape), weight, bias)


@of_maps
def group_norm_without_weight(x, groups, weight, bias, eps):
    return normalised(x.unflatten(1, (groups, -1)), (2, 3, 4), eps).view(x.shape)


def group_norm_without_the_weight(x, groups, weight, bias, eps):
    return group_norm(x, groups, 0 * weight + 1, bias, eps)


def group_norm_without_bias(x, groups, weight, bias, eps):
    return group_norm(x, groups, weight, 0 * bias, eps)


def group_norm_without_eps(x, groups, weight, bias, eps):
    return group_norm(x, groups, weight, bias, 1e-5)


def group_norm_of_runs(x, groups, weight, bias, eps):
    return normalised(x.reshape(len(x), groups, -1), (2,), eps).view(x.shape) * weight + bias


@of_maps
def group_norm_not_centred(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    size = (grouped.square().mean((2, 3, 4), keepdim=True) + eps).sqrt()
    return affine((grouped / size).view(x.shape), weight, bias)


@of_maps
def group_norm_with_fixed_statistics(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped.detach(), (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / (variance + eps).sqrt()).view(x.shape), weight, bias)


def group_norm_viewed_over_the_batch(x, groups, weight, bias, eps):
    return normalised(x.reshape(groups, -1), (1,), eps).view(x.shape) * weight + bias


@of_maps
def group_norm_mean_only(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    return affine((grouped - grouped.mean((2, 3, 4), keepdim=True)).view(x.shape), weight, bias)


@of_maps
def group_norm_eps_added_after(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / variance.sqrt() + eps).view(x.shape), weight, bias)


@of_maps
def group_norm_bias_inside(x, groups, weight, bias, eps):
    y = normalised(x.unflatten(1, (groups, -1)), (2, 3, 4), eps).view(x.shape)
    return (y + bias.view(-1, 1, 1)) * weight.view(-1, 1, 1)


def group_norm_one_plus_weight(x, groups, weight, bias, eps):
    return group_norm(x, groups, 1 + weight, bias, eps)


@of_maps
def group_norm_of_all(x, groups, weight, bias, eps):
    return affine(normalised(x, (0, 1, 2, 3), eps), weight, bias)


@of_maps
def group_norm_of_batch_norm(x, groups, weight, bias, eps):
    return affine(normalised(x, (0, 2, 3), eps), weight, bias)


@of_maps
def group_norm_variance_summed(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    centred = grouped - grouped.mean((2, 3, 4), keepdim=True)
    return affine((centred / (centred.square().sum((2, 3, 4), keepdim=True) + eps).sqrt()).view(x.shape), weight, bias)


def group_norm_affine_swapped(x, groups, weight, bias, eps):
    return group_norm(x, groups, bias, weight, eps)


@of_maps
def group_norm_of_transposed_channels(x, groups, weight, bias, eps):
    y = normalised(x.unflatten(1, (groups, -1)), (2, 3, 4), eps)
    return affine(y.transpose(1, 2).reshape(x.shape), weight, bias)


@of_maps
def group_norm_unbiased_outside(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), keepdim=True)
    return affine(((grouped - mean) / (variance.sqrt() + eps)).view(x.shape), weight, bias)


def group_norm_of_torch(x, groups, weight, bias, eps):
    return F.group_norm(x.transpose(1, 2), groups, weight, bias, eps).transpose(1, 2)


def group_norm_by_loop(x, groups, weight, bias, eps):
    parts = []
    for part in x.chunk(groups, dim=2):
        mean = part.mean((1, 2), keepdim=True)
        variance = (part**2).mean((1, 2), keepdim=True) - mean**2
        parts.append((part - mean) * torch.rsqrt(variance + eps))
    return torch.einsum("bnc,c->bnc", torch.cat(parts, 2), weight) + bias


EXERCISE = Exercise(
    name="group_norm",
    title="GroupNorm by hand",
    stars=2,
    minutes=12,
    answer=group_norm,
    cases=norm_cases,
    hints=(
        "Make the groups visible: x.view(B, N, groups, C // groups).",
        "Mean and variance are over everything inside a group: all positions and the group's channels, dim=(1, 3), "
        "with keepdim=True. The variance is the plain mean of squares: correction=0.",
        "(x - mean) / (variance + eps).sqrt(), back to (B, N, C), then weight and bias, which meet the last axis.",
    ),
    shape_hint=1,
    insight="The numbers of one image never touch those of another: unlike BatchNorm it works with a batch of 1, "
    "and is the same in training and in use. One group is LayerNorm over the image, one group per channel is "
    "InstanceNorm; Stable Diffusion has 32 groups.",
    wrong=(
        Wrong(
            "all-channels-together",
            group_norm_of_layers,
            "You took mean and variance over all channels: that is one group only. Each group has its own.",
        ),
        Wrong(
            "each-channel-alone",
            group_norm_of_instances,
            "You normalised each channel by itself (InstanceNorm). Then no channel can be stronger than another; a "
            "group keeps the differences between its channels.",
        ),
        Wrong(
            "over-the-batch",
            group_norm_of_batches,
            "Your mean and variance are taken over the batch too, so each image changes with the rest of the "
            "batch. Each image is on its own.",
        ),
        Wrong(
            "interleaved-groups",
            group_norm_interleaved,
            "Your groups are every groups-th channel. Groups are neighbours: the first C / groups channels are the "
            "first group.",
        ),
        Wrong(
            "size-for-number",
            group_norm_of_that_size,
            "You made groups of `groups` channels each. It is the *number* of groups: each has C // groups.",
        ),
        Wrong(
            "each-pixel-alone",
            group_norm_of_each_pixel,
            "You took mean and variance at each position. They are over all positions, too.",
        ),
        Wrong(
            "unbiased-variance",
            group_norm_unbiased,
            "You divided the sum of squares by n - 1, torch's default. Normalisation layers divide by n: correction=0.",
        ),
        Wrong(
            "eps-outside-the-root",
            group_norm_eps_outside,
            "You added eps to the standard deviation. It is added to the variance, under the root.",
        ),
        Wrong(
            "variance-for-deviation",
            group_norm_by_variance,
            "You divided by the variance: the result has variance 1/σ² instead of 1. Divide by its root.",
        ),
        Wrong(
            "no-weight-and-bias",
            group_norm_without_weight,
            "The normalisation is right, but weight and bias are not applied: one of each for every channel.",
        ),
        Wrong(
            "weight-missing",
            group_norm_without_the_weight,
            "The normalisation is right, and bias is added, but weight is not applied: each channel has its own scale.",
        ),
        Wrong(
            "bias-missing",
            group_norm_without_bias,
            "The normalisation is right, and weight is applied, but bias is not added: each channel has its own shift.",
        ),
        Wrong(
            "eps-not-used",
            group_norm_without_eps,
            "Your result does not use eps, or uses a different number in its place. Add the eps that is given to "
            "the variance.",
        ),
        Wrong(
            "cut-into-runs",
            group_norm_of_runs,
            "Your reshape(B, groups, -1) cuts each image into runs of positions. The channels come *last* here, so a "
            "group is no run: give the groups an axis of their own, x.view(B, N, groups, C // groups).",
        ),
        Wrong(
            "mean-kept",
            group_norm_not_centred,
            "You divided by the root of the mean square and left the mean in (RMSNorm). Subtract the mean first.",
        ),
        Wrong("gradient-wrong", group_norm_with_fixed_statistics),
        Wrong(
            "viewed-over-the-batch",
            group_norm_viewed_over_the_batch,
            "Your view(groups, -1) cuts the whole batch into `groups` parts. Each *image* has that many: x.view(B, "
            "N, groups, …).",
        ),
        Wrong(
            "not-divided",
            group_norm_mean_only,
            "You subtracted the mean, but did not divide by the standard deviation.",
        ),
        Wrong(
            "eps-added-after",
            group_norm_eps_added_after,
            "You added eps to the result of the division. It is added to the variance, under the root.",
        ),
        Wrong(
            "bias-inside",
            group_norm_bias_inside,
            "You added bias first and multiplied by weight then. Multiply first: y · weight + bias.",
        ),
        Wrong(
            "one-plus-weight",
            group_norm_one_plus_weight,
            "You multiplied by 1 + weight, as adaptive layers do. Here it is weight itself.",
        ),
        Wrong(
            "everything-together",
            group_norm_of_all,
            "You took one mean and variance over everything. Each group of each image has its own.",
        ),
        Wrong(
            "batch-norm",
            group_norm_of_batch_norm,
            "That is BatchNorm: each channel over the whole batch. A group belongs to one image and has several "
            "channels.",
        ),
        Wrong("variance-summed", group_norm_variance_summed, "You summed the squares. The variance is their *mean*."),
        Wrong("weight-and-bias-swapped", group_norm_affine_swapped, "weight and bias are swapped: y · weight + bias."),
        Wrong(
            "channels-mixed-up",
            group_norm_of_transposed_channels,
            "The channels come back in a different order: view (B, N, groups, C/groups) as (B, N, C) again, "
            "without a transposition.",
        ),
        Wrong(
            "unbiased-and-eps-outside",
            group_norm_unbiased_outside,
            "Two things: you divided the sum of squares by n - 1 (take correction=0), and you added eps to the "
            "standard deviation (add it to the variance, under the root).",
        ),
    ),
    right=(group_norm_of_torch, group_norm_by_loop),
)
