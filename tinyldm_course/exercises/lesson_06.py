"""Exercises of lesson 06, the ResBlock: sinusoids for t, GroupNorm by hand, the block, how far it sees."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong

TITLE = "ResBlock with time embedding"


# ── Sinusoids ────────────────────────────────────────────────────────────────────────────────────────


def embedding_cases(generator: Generator) -> list[Call]:
    """t (B,) of whole numbers and of fractions, dim."""

    def steps(B: int) -> Tensor:
        return torch.randint(1, 1000, (B,), generator=generator)

    return [
        Call((torch.tensor([3]), 4)),
        Call((steps(3), 8)),
        Call((steps(2) + 0.25 + 0.5 * torch.rand(2, generator=generator), 6)),
        Call((steps(5), 320)),
    ]


def angles(t: Tensor, count: int, whole: float) -> Tensor:
    """t · 10000^(-i / whole) for i < count: (B,) -> (B, count)."""
    exponent = torch.arange(count, dtype=torch.float32, device=t.device) / whole
    return t[:, None] * torch.exp(-math.log(10_000) * exponent)


def embedding_right(t: Tensor, dim: int) -> Tensor:
    """[cos(t f_0), …, sin(t f_0), …] with f_i = 10000^(-i / (dim/2))."""
    angle = angles(t, dim // 2, dim / 2)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def embedding_sines_first(t, dim):
    angle = angles(t, dim // 2, dim / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def embedding_interleaved(t, dim):
    angle = angles(t, dim // 2, dim / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def embedding_interleaved_cosine_first(t, dim):
    angle = angles(t, dim // 2, dim / 2)
    return torch.stack([angle.cos(), angle.sin()], dim=2).flatten(1)


def embedding_of_ddpm(t, dim):
    angle = angles(t, dim // 2, dim // 2 - 1)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def embedding_by_dim(t, dim):
    angle = angles(t, dim // 2, dim)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def embedding_of(t, frequency):
    angle = t[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


# Three ways to write rising frequencies: where t·f is in the millions, each rounds to another wave.
def embedding_rising(t, dim):
    return embedding_of(t, torch.exp(math.log(10_000) * (torch.arange(dim // 2) / (dim // 2))))


def embedding_rising_too(t, dim):
    return embedding_of(t, torch.exp(math.log(10_000) * torch.arange(dim // 2) / (dim // 2)))


def embedding_rising_by_powers(t, dim):
    return embedding_of(t, 10_000 ** (torch.arange(dim // 2) / (dim // 2)))


def embedding_from_one(t, dim):
    return embedding_of(t, torch.exp(-math.log(10_000) * torch.arange(1, dim // 2 + 1) / (dim // 2)))


def embedding_of_other_logarithm(t, dim):
    return embedding_of(t, torch.exp(-math.log10(10_000) * torch.arange(dim // 2) / (dim // 2)))


def embedding_by_math(t, dim):
    return embedding_of(t, math.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2)))


def embedding_of_whole_numbers(t, dim):
    return embedding_right(t.long(), dim)


def embedding_of_shares(t, dim):
    return embedding_right(t / 1000, dim)


def embedding_on_cpu(t, dim):
    return embedding_of(t, torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2)))


def embedding_by_power(t, dim):
    frequency = 10_000 ** (-torch.arange(dim // 2, device=t.device) / (dim // 2))
    angle = torch.einsum("b,f->bf", t.float(), frequency)
    return torch.hstack([torch.cos(angle), torch.sin(angle)])


def embedding_in_float64(t, dim):
    exponent = torch.linspace(0, 1, dim // 2 + 1, dtype=torch.float64, device=t.device)[:-1]
    angle = t.double().view(-1, 1) / torch.tensor(10_000.0).double().to(t.device) ** exponent
    return torch.cat([angle.cos(), angle.sin()], dim=-1).float()


def embedding_by_loop(t, dim):
    columns = [wave(t * 10_000 ** (-i / (dim // 2))) for wave in (torch.cos, torch.sin) for i in range(dim // 2)]
    return torch.stack(columns, dim=1)


RISING = (
    "Your frequencies rise from 1 towards 10000: the minus in the exponent is missing. Waves that turn many "
    "times from one t to the next are as good as noise."
)

TIMESTEP_EMBEDDING = Exercise(
    name="timestep_embedding",
    title="Writing a timestep as waves",
    stars=2,
    minutes=10,
    answer=embedding_right,
    cases=embedding_cases,
    tolerance=1e-2,
    hints=(
        "Make the frequencies first: dim / 2 numbers that fall from 1 towards 1/10000.",
        "f_i = exp(-ln(10000) · i / (dim/2)); every t times every f_i is a table (B, dim/2): t[:, None] * f.",
        "torch.cat([angle.cos(), angle.sin()], dim=1), and torch.arange(…, device=t.device).",
    ),
    insight="The fast waves tell 500 from 501, the slow ones tell early from late: with dim = 320 the slowest turns by "
    "only 0.1 radians in 1000 steps. Cosines come first because every Stable Diffusion checkpoint was trained "
    "so; with sines first it would read another t, and no error would be raised.",
    wrong=(
        Wrong(
            "sines-first",
            embedding_sines_first,
            "Your sines come first. Papers differ here; the Stable Diffusion checkpoints have all cosines, then all "
            "sines.",
        ),
        Wrong(
            "interleaved",
            embedding_interleaved,
            "You alternate sine and cosine, as the Transformer paper does. Here the two halves stand one after the "
            "other: all cosines, then all sines.",
        ),
        Wrong(
            "interleaved-cosine-first",
            embedding_interleaved_cosine_first,
            "You alternate cosine and sine (stack). They stand one after the other here: torch.cat, not stack.",
        ),
        Wrong(
            "half-minus-one",
            embedding_of_ddpm,
            "You divided i by dim/2 - 1, as DDPM's own code does: your slowest frequency is exactly 1/10000. Stable "
            "Diffusion divides by dim/2 and stops one step short of it.",
        ),
        Wrong(
            "divided-by-dim",
            embedding_by_dim,
            "You divided i by dim. There are only dim/2 frequencies, so yours fall only to about 1/100: divide by "
            "dim/2.",
        ),
        Wrong("frequencies-rise", embedding_rising, RISING),
        Wrong("frequencies-rise-too", embedding_rising_too, RISING),
        Wrong("frequencies-rise-by-powers", embedding_rising_by_powers, RISING),
        Wrong(
            "counted-from-one",
            embedding_from_one,
            "Your i counts from 1, so the fastest wave, f = 1, is missing. It runs from 0 to dim/2 - 1.",
        ),
        Wrong(
            "other-logarithm",
            embedding_of_other_logarithm,
            "Your frequencies fall towards e^-4 = 1/55 instead of 1/10000: with exp goes the natural logarithm, "
            "math.log.",
        ),
        Wrong(
            "one-number-only",
            embedding_by_math,
            "A function of Python's math, float(…) and the like take a single number, and got a tensor of several. "
            "torch's own take them all: torch.exp, torch.cos, torch.sin.",
        ),
        Wrong(
            "fractions-cut",
            embedding_of_whole_numbers,
            "You rounded t down to a whole number. Samplers also ask for t = 10.5.",
        ),
        Wrong(
            "t-as-a-share",
            embedding_of_shares,
            "You divided t by 1000. These waves are made for whole steps: t goes in as it is.",
        ),
        Wrong("wrong-device", embedding_on_cpu),
    ),
    right=(embedding_by_power, embedding_in_float64, embedding_by_loop),
)


# ── GroupNorm ────────────────────────────────────────────────────────────────────────────────────────


def norm_cases(generator: Generator) -> list[Call]:
    """x with channels of different means and spreads, groups, weight, bias, eps (a large one too).

    W is never C, so that no shapes fit by chance.
    """
    x, ones = torch.tensor([[[[1.0, 3.0, 5.0]], [[5.0, 7.0, 9.0]]]]), torch.ones(2)
    calls = [
        Call((x, 1, ones, 0 * ones, 1e-5)),
        Call((x, 1, ones, 0 * ones, 0.1)),
        Call((x, 1, torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0]), 1e-5)),
    ]
    for (B, C, H, W), groups, eps in (((2, 4, 3, 5), 2, 0.1), ((3, 6, 4, 4), 3, 1e-6), ((2, 8, 6, 6), 2, 1e-5)):
        mean, weight, bias = (torch.randn(C, generator=generator) for _ in range(3))
        spread = 0.5 + torch.rand(C, 1, 1, generator=generator)
        x = mean.view(C, 1, 1) + spread * torch.randn(B, C, H, W, generator=generator)
        calls.append(Call((x, groups, weight, bias, eps)))
    return calls


def normalised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Less its mean, over the root of its variance, both over some dimensions."""
    centred = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + eps).sqrt()


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One factor and one summand for each channel."""
    return x * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)


def group_norm_right(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Mean 0 and variance 1 in each group of channels of each image, then a factor and a summand for each channel."""
    grouped = x.unflatten(1, (groups, -1))
    return affine(normalised(grouped, (2, 3, 4), eps).view(x.shape), weight, bias)


def group_norm_of_layers(x, groups, weight, bias, eps):
    return affine(normalised(x, (1, 2, 3), eps), weight, bias)


def group_norm_of_instances(x, groups, weight, bias, eps):
    return affine(normalised(x, (2, 3), eps), weight, bias)


def group_norm_of_batches(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (groups, -1)), (0, 2, 3, 4), eps).view(x.shape), weight, bias)


def group_norm_interleaved(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (-1, groups)), (1, 3, 4), eps).view(x.shape), weight, bias)


def group_norm_of_that_size(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (-1, groups)), (2, 3, 4), eps).view(x.shape), weight, bias)


def group_norm_of_each_pixel(x, groups, weight, bias, eps):
    return affine(normalised(x.unflatten(1, (groups, -1)), (2,), eps).view(x.shape), weight, bias)


def group_norm_unbiased(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), keepdim=True)
    return affine(((grouped - mean) / (variance + eps).sqrt()).view(x.shape), weight, bias)


def group_norm_eps_outside(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / (variance.sqrt() + eps)).view(x.shape), weight, bias)


def group_norm_by_variance(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / (variance + eps)).view(x.shape), weight, bias)


def group_norm_without_weight(x, groups, weight, bias, eps):
    return normalised(x.unflatten(1, (groups, -1)), (2, 3, 4), eps).view(x.shape)


def group_norm_without_the_weight(x, groups, weight, bias, eps):
    return group_norm_right(x, groups, 0 * weight + 1, bias, eps)


def group_norm_without_bias(x, groups, weight, bias, eps):
    return group_norm_right(x, groups, weight, 0 * bias, eps)


def group_norm_without_eps(x, groups, weight, bias, eps):
    return group_norm_right(x, groups, weight, bias, 1e-5)


def group_norm_along_width(x, groups, weight, bias, eps):
    return normalised(x.unflatten(1, (groups, -1)), (2, 3, 4), eps).view(x.shape) * weight + bias


def group_norm_not_centred(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    size = (grouped.square().mean((2, 3, 4), keepdim=True) + eps).sqrt()
    return affine((grouped / size).view(x.shape), weight, bias)


def group_norm_with_fixed_statistics(x, groups, weight, bias, eps):
    grouped = x.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped.detach(), (2, 3, 4), correction=0, keepdim=True)
    return affine(((grouped - mean) / (variance + eps).sqrt()).view(x.shape), weight, bias)


def group_norm_of_torch(x, groups, weight, bias, eps):
    return F.group_norm(x, groups, weight, bias, eps)


def group_norm_by_loop(x, groups, weight, bias, eps):
    parts = []
    for part in x.chunk(groups, dim=1):
        mean = part.mean((1, 2, 3), keepdim=True)
        variance = (part**2).mean((1, 2, 3), keepdim=True) - mean**2
        parts.append((part - mean) * torch.rsqrt(variance + eps))
    return torch.einsum("bchw,c->bchw", torch.cat(parts, 1), weight) + bias[:, None, None]


GROUP_NORM = Exercise(
    name="group_norm",
    title="GroupNorm by hand",
    stars=2,
    minutes=12,
    answer=group_norm_right,
    cases=norm_cases,
    hints=(
        "Make the groups visible: x.view(B, groups, C // groups, H, W).",
        "Mean and variance are over everything inside a group: the last three of those five dimensions, with "
        "keepdim=True. The variance is the plain mean of squares: correction=0.",
        "(x - mean) / (variance + eps).sqrt(), back to (B, C, H, W), then weight.view(-1, 1, 1) and bias.",
    ),
    insight="The numbers of one image never touch those of another: unlike BatchNorm it works with a batch of 1, and "
    "is the same in training and in use. One group is LayerNorm over the image, one group a channel is "
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
            "Your mean and variance are taken over the batch too, so one image changes with what else is in the "
            "batch. Each image stands alone.",
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
            "You took mean and variance at each pixel. They are over height and width too.",
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
            "Normalised right, but weight and bias are not applied: one of each for every channel.",
        ),
        Wrong(
            "weight-missing",
            group_norm_without_the_weight,
            "Normalised right, and bias is added, but weight is not applied: each channel has its own factor, too.",
        ),
        Wrong(
            "bias-missing",
            group_norm_without_bias,
            "Normalised right, and weight is applied, but bias is not added: each channel has its own summand, too.",
        ),
        Wrong(
            "eps-not-used",
            group_norm_without_eps,
            "eps plays no part in your result, or another number stands in its place. Add the eps that is given to "
            "the variance.",
        ),
        Wrong(
            "along-the-width",
            group_norm_along_width,
            "weight is (C,). Beside (B, C, H, W) torch lays it along the *last* dimension, the width. Each number "
            "belongs to a channel: weight.view(-1, 1, 1), and bias alike.",
        ),
        Wrong(
            "mean-kept",
            group_norm_not_centred,
            "You divided by the root of the mean square and left the mean in (RMSNorm). Subtract the mean first.",
        ),
        Wrong("gradient-wrong", group_norm_with_fixed_statistics),
    ),
    right=(group_norm_of_torch, group_norm_by_loop),
)


# ── The block ────────────────────────────────────────────────────────────────────────────────────────


def block_cases(generator: Generator) -> list[Call]:
    """x, t_emb; with and without a change of width. H and W are never C_out, so that no shapes fit by chance."""
    x, t_emb = torch.tensor([[[[1.0, -2.0, 0.0]], [[0.5, 3.0, -1.0]]]]), torch.tensor([[1.0, -1.0]])
    calls = [Call((x, t_emb), build=(2, 2, 2, 1))]
    for (B, C, H, W), out, width, groups in (((2, 4, 3, 5), 8, 6, 2), ((1, 6, 4, 4), 6, 5, 3), ((3, 8, 6, 6), 4, 8, 2)):
        x, t_emb = torch.randn(B, C, H, W, generator=generator), torch.randn(B, width, generator=generator)
        calls.append(Call((x, t_emb), build=(C, out, width, groups)))
    return calls


class ResBlockRight(nn.Module):
    """norm1 → SiLU → conv1, + time, norm2 → SiLU → conv2, + input."""

    def __init__(self, in_channels: int, out_channels: int, t_emb_dim: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = nn.Linear(t_emb_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def time(self, t_emb: Tensor) -> Tensor:
        """(B, D_t) -> (B, C_out, 1, 1)."""
        return self.time_proj(F.silu(t_emb))[:, :, None, None]

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """x (B, C_in, H, W), t_emb (B, D_t) -> (B, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockWithoutResidual(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.conv2(F.silu(self.norm2(h)))


class ResBlockWithoutTime(ResBlockRight):
    def forward(self, x, t_emb):
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class ResBlockTimeNotActivated(ResBlockRight):
    def time(self, t_emb):
        return self.time_proj(t_emb)[:, :, None, None]


class ResBlockTimeActivatedAfter(ResBlockRight):
    def time(self, t_emb):
        return F.silu(self.time_proj(t_emb))[:, :, None, None]


class ResBlockTimeTwice(ResBlockRight):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) + self.time(t_emb)


class ResBlockTimeAtTheEnd(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return self.shortcut(x) + h + self.time(t_emb)


class ResBlockTimeAlongWidth(ResBlockRight):
    def time(self, t_emb):
        return self.time_proj(F.silu(t_emb))


class ResBlockTimeAlongHeight(ResBlockRight):
    def time(self, t_emb):
        return self.time_proj(F.silu(t_emb))[:, :, None]


class ResBlockTimeMultiplied(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) * self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockTimeAfterNorm(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(h))


class ResBlockWithoutActivation(ResBlockRight):
    def forward(self, x, t_emb):
        return self.shortcut(x) + self.conv2(self.norm2(self.conv1(self.norm1(x)) + self.time(t_emb)))


class ResBlockFirstActivationMissing(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(x)) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockSecondActivationMissing(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(self.norm2(h))


class ResBlockFirstNormMissing(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(x)) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockSecondNormMissing(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(h))


class ResBlockConvolvedFirst(ResBlockRight):
    def forward(self, x, t_emb):
        h = F.silu(self.norm1(self.conv1(x))) + self.time(t_emb)
        return self.shortcut(x) + F.silu(self.norm2(self.conv2(h)))


class ResBlockActivatedFirst(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(F.silu(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(self.norm2(F.silu(h)))


class ResBlockWithRelu(ResBlockRight):
    def forward(self, x, t_emb):
        h = self.conv1(F.relu(self.norm1(x))) + self.time_proj(F.relu(t_emb))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.relu(self.norm2(h)))


class ResBlockNormalisedShortcut(ResBlockRight):
    def forward(self, x, t_emb):
        x = F.silu(self.norm1(x))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(x) + self.time(t_emb))))


class ResBlockOverwritten(ResBlockRight):
    def forward(self, x, t_emb):
        x = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        x = self.conv2(F.silu(self.norm2(x)))
        return self.shortcut(x) + x


class ResBlockWithoutShortcut(ResBlockRight):
    def forward(self, x, t_emb):
        return x + ResBlockWithoutResidual.forward(self, x, t_emb)


class ResBlockWithoutShortcutBehind(ResBlockRight):
    def forward(self, x, t_emb):
        return ResBlockWithoutResidual.forward(self, x, t_emb) + x


class ResBlockInPlace(ResBlockRight):
    def forward(self, x, t_emb):
        new = super().forward(x, t_emb)
        with torch.no_grad():
            x.add_(1)
        return new


class ResBlockByStages(ResBlockRight):
    def forward(self, x, t_emb):
        stages = [self.norm1, nn.SiLU(), self.conv1, lambda h: h + self.time(t_emb), self.norm2, nn.SiLU(), self.conv2]
        h = x
        for stage in stages:
            h = stage(h)
        return h + self.shortcut(x)


class ResBlockByImage(ResBlockRight):
    def forward(self, x, t_emb):
        return torch.cat([super(ResBlockByImage, self).forward(x[i : i + 1], t_emb[i : i + 1]) for i in range(len(x))])


class ResBlockByHand(ResBlockRight):
    def forward(self, x, t_emb):
        def swish(y):
            return y * torch.sigmoid(y)

        h = self.conv1(swish(self.norm1(x)))
        h = h + self.time_proj(swish(t_emb)).unsqueeze(-1).unsqueeze(-1).expand_as(h)
        return self.conv2(swish(self.norm2(h))) + self.shortcut(x)


# Two wrong answers, as torch's words depend on which of the two stands first in the sum.
NO_SHORTCUT = (
    "You add x itself. That works only where the number of channels stays; else self.shortcut, a 1 × 1 "
    "convolution, carries x across: self.shortcut(x)."
)

RES_BLOCK = Exercise(
    name="ResBlock",
    title="The ResBlock",
    stars=2,
    minutes=15,
    answer=ResBlockRight,
    cases=block_cases,
    hints=(
        "Follow the diagram from left to right; keep x, you need it again at the end.",
        "The time arrives as (B, C_out); to be added to (B, C_out, H, W) it needs two more dimensions: "
        "[:, :, None, None].",
        "h = conv1(silu(norm1(x))) + time; return shortcut(x) + conv2(silu(norm2(h)))",
    ),
    insight="The time is one number for each channel, the same at every pixel. norm2 comes right after it and takes "
    "out what all channels of a group have in common: only *differences* between channels get through. With "
    "one channel a group, t would have no effect at all.",
    wrong=(
        Wrong(
            "no-residual",
            ResBlockWithoutResidual,
            "The input is not added at the end. Without this sum the block must rebuild all it wants to keep, and "
            "gradients have no straight way through a deep stack.",
        ),
        Wrong("no-time", ResBlockWithoutTime, "t_emb is never used: the block cannot know how noisy its input is."),
        Wrong(
            "time-not-activated",
            ResBlockTimeNotActivated,
            "t_emb goes into time_proj without SiLU. The network's time MLP ends in a linear layer, and two linear "
            "layers in a row are no more than one.",
        ),
        Wrong(
            "time-activated-after",
            ResBlockTimeActivatedAfter,
            "You applied SiLU after time_proj. It comes before: what is added may be negative without a limit.",
        ),
        Wrong(
            "time-twice",
            ResBlockTimeTwice,
            "The time is added once more after conv2, as the article has it. In the reference code it enters once, "
            "between the two convolutions.",
        ),
        Wrong(
            "time-at-the-end",
            ResBlockTimeAtTheEnd,
            "The time is added after conv2. It comes between the convolutions, so that the second can act on it.",
        ),
        Wrong(
            "time-along-the-width",
            ResBlockTimeAlongWidth,
            "The time's numbers lie along the *last* dimension, the width: there torch lays a (B, C_out) beside "
            "a (B, C_out, H, W). Each belongs to a channel: the new dimensions go to the end, [:, :, None, None].",
        ),
        Wrong(
            "time-along-the-height",
            ResBlockTimeAlongHeight,
            "With one new dimension the time is (B, C_out, 1). torch counts dimensions from the end, and so lays the "
            "channels along the height. It takes two: [:, :, None, None].",
        ),
        Wrong(
            "time-multiplied",
            ResBlockTimeMultiplied,
            "You multiplied by the time. Some later networks scale (and shift) with it; Stable Diffusion adds.",
        ),
        Wrong(
            "time-after-norm",
            ResBlockTimeAfterNorm,
            "The time is added after norm2. In Stable Diffusion it comes before norm2, right after conv1.",
        ),
        Wrong(
            "no-activation",
            ResBlockWithoutActivation,
            "SiLU is missing before the convolutions: then the block is nearly linear and two convolutions are "
            "little more than one.",
        ),
        Wrong(
            "first-activation-missing",
            ResBlockFirstActivationMissing,
            "The SiLU between norm1 and conv1 is missing. The other two are there.",
        ),
        Wrong(
            "second-activation-missing",
            ResBlockSecondActivationMissing,
            "The SiLU between norm2 and conv2 is missing. The other two are there.",
        ),
        Wrong(
            "first-norm-missing",
            ResBlockFirstNormMissing,
            "norm1 is missing: x comes in at any size, and SiLU and conv1 are to see numbers of size 1.",
        ),
        Wrong(
            "second-norm-missing",
            ResBlockSecondNormMissing,
            "norm2 is missing: it comes after the time is added, before the second SiLU.",
        ),
        Wrong(
            "convolution-first",
            ResBlockConvolvedFirst,
            "You wrote convolution → norm → SiLU, the classic order. Here it is norm → SiLU → convolution, twice: "
            "norm1 is made for the channels that come in, and the last thing before the sum is a convolution.",
        ),
        Wrong(
            "activated-before-norm",
            ResBlockActivatedFirst,
            "You applied SiLU before the norm. It is norm → SiLU → convolution: so SiLU always sees numbers of the "
            "same size.",
        ),
        Wrong(
            "relu",
            ResBlockWithRelu,
            "You used ReLU, the activation of the first U-Nets. Stable Diffusion was trained with SiLU: x · σ(x).",
        ),
        Wrong(
            "shortcut-normalised",
            ResBlockNormalisedShortcut,
            "The shortcut carries the normalised input. It must carry x untouched: was x overwritten on the way?",
        ),
        Wrong(
            "x-overwritten",
            ResBlockOverwritten,
            "The shortcut got the block's own result: x was overwritten on the way. Call what you compute h, and "
            "keep x for the end.",
        ),
        Wrong("shortcut-not-used", ResBlockWithoutShortcut, NO_SHORTCUT),
        Wrong("shortcut-not-used-behind", ResBlockWithoutShortcutBehind, NO_SHORTCUT),
        Wrong("inputs-changed", ResBlockInPlace),
    ),
    right=(ResBlockByStages, ResBlockByImage, ResBlockByHand),
)


# ── The receptive field ──────────────────────────────────────────────────────────────────────────────


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


def field_right(layers: list[tuple[int, int]]) -> int:
    """1 + Σ (kernel - 1) · product of the strides before."""
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field


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
    return field_right(layers) - 1


def field_summed_strides(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump += stride
    return field


def field_of_halves(layers):
    return field_right([(2 * (kernel // 2) + 1, stride) for kernel, stride in layers])


def field_of_smaller_halves(layers):
    return field_right([(2 * ((kernel - 1) // 2) + 1, stride) for kernel, stride in layers])


def field_reversed(layers):
    return field_right(layers[::-1])


def field_backwards(layers):
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def field_by_products(layers):
    return 1 + sum((kernel - 1) * math.prod(stride for _, stride in layers[:i]) for i, (kernel, _) in enumerate(layers))


RECEPTIVE_FIELD = Exercise(
    name="receptive_field",
    title="How far does it see?",
    stars=2,
    minutes=10,
    answer=field_right,
    cases=field_cases,
    hints=(
        "A single pixel sees itself: start with 1. A 3×3 convolution adds one neighbour on each side.",
        "After a layer of stride 2, neighbours are 2 pixels of the input apart; after two of them, 4.",
        "Keep two numbers: field += (kernel - 1) * jump, then jump *= stride.",
    ),
    insight="Two 3×3 convolutions see 5 pixels. Behind three layers of stride 2, each further 3×3 convolution adds 16. "
    "So a U-Net sees far by going down, not by stacking convolutions, and attention does the rest.",
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
            "Right for odd kernels. An even one has no middle: kernel 2 sees 2 pixels. What a kernel adds is always "
            "kernel - 1, and not 2 * (kernel // 2).",
        ),
        Wrong(
            "even-kernels-too-narrow",
            field_of_smaller_halves,
            "Right for odd kernels. An even one has no middle: kernel 2 sees 2 pixels. What a kernel adds is always "
            "kernel - 1, and not 2 * ((kernel - 1) // 2).",
        ),
        Wrong(
            "from-the-last",
            field_reversed,
            "You went from the last layer to the first. What spreads a kernel out are the strides of the layers "
            "*before* it.",
        ),
    ),
    right=(field_backwards, field_by_products),
)


EXERCISES = (TIMESTEP_EMBEDDING, GROUP_NORM, RES_BLOCK, RECEPTIVE_FIELD)
