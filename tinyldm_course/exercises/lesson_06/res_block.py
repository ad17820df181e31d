"""Exercise ResBlock of lesson 06: A ResBlock that time scales and shifts."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


class ResBlock(nn.Module):
    """Two convolutions; between them the time scales and shifts what norm2 has normalised; added to what came in."""

    def __init__(self, in_channels, out_channels, t_emb_dim, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = nn.Linear(t_emb_dim, 2 * out_channels)  # first all scales, then all shifts
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, t_emb):
        """x: (B, C_in, H, W); t_emb: (B, D_t).  Returns (B, C_out, H, W)."""
        ### BEGIN SOLUTION
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C_in, H, W) -> (B, C_out, H, W)
        scale, shift = self.time_proj(F.silu(t_emb))[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        h = self.conv2(F.silu(h))
        return self.shortcut(x) + h
        ### END SOLUTION


def block_cases(generator: Generator) -> list[Call]:
    """x, t_emb; with and without a change of width. H and W are never C_out, so that no shapes fit by chance."""
    x, t_emb = torch.tensor([[[[1.0, -2.0, 0.0]], [[0.5, 3.0, -1.0]]]]), torch.tensor([[1.0, -1.0]])
    calls = [Call((x, t_emb), build=(2, 2, 2, 1))]
    for (B, C, H, W), out, width, groups in (((2, 4, 3, 5), 8, 6, 2), ((1, 6, 4, 4), 6, 5, 3), ((3, 8, 6, 6), 4, 8, 2)):
        x, t_emb = torch.randn(B, C, H, W, generator=generator), torch.randn(B, width, generator=generator)
        calls.append(Call((x, t_emb), build=(C, out, width, groups)))
    return calls


class ResBlockInParts(ResBlock):
    """norm1 → SiLU → conv1, norm2 → scale and shift by the time → SiLU → conv2, + input."""

    def first(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        return self.conv1(F.silu(self.norm1(x)))

    def time(self, t_emb: Tensor) -> Sequence[Tensor]:
        """(B, D_t) -> scale and shift, each (B, C_out, 1, 1)."""
        return self.time_proj(F.silu(t_emb))[:, :, None, None].chunk(2, dim=1)

    def told(self, h: Tensor, t_emb: Tensor) -> Tensor:
        """Normalised, then scaled and shifted by the time: (B, C_out, H, W)."""
        scale, shift = self.time(t_emb)
        return self.norm2(h) * (1 + scale) + shift

    def last(self, h: Tensor) -> Tensor:
        """(B, C_out, H, W) -> the same shape."""
        return self.conv2(F.silu(h))

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """x (B, C_in, H, W), t_emb (B, D_t) -> (B, C_out, H, W)."""
        return self.shortcut(x) + self.last(self.told(self.first(x), t_emb))


class ResBlockOfTheLesson(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.first(x) + self.time_proj(F.silu(t_emb))[:, :, None, None]
        return self.shortcut(x) + self.last(self.norm2(h))


class ResBlockWithoutResidual(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.last(self.told(self.first(x), t_emb))


class ResBlockWithoutTime(ResBlockInParts):
    def told(self, h, t_emb):
        return self.norm2(h)


class ResBlockTimeNotActivated(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(t_emb)[:, :, None, None].chunk(2, dim=1)


class ResBlockTimeActivatedAfter(ResBlockInParts):
    def time(self, t_emb):
        return F.silu(self.time_proj(t_emb))[:, :, None, None].chunk(2, dim=1)


class ResBlockTimeAtTheEnd(ResBlockInParts):
    def forward(self, x, t_emb):
        scale, shift = self.time(t_emb)
        return self.shortcut(x) + self.last(self.norm2(self.first(x))) * (1 + scale) + shift


class ResBlockTimeAlongWidth(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.silu(t_emb)).chunk(2, dim=1)


class ResBlockTimeAlongHeight(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.silu(t_emb))[:, :, None].chunk(2, dim=1)


class ResBlockTimeBeforeNorm(ResBlockInParts):
    def told(self, h, t_emb):
        scale, shift = self.time(t_emb)
        return self.norm2(h * (1 + scale) + shift)


class ResBlockScaleWithoutOne(ResBlockInParts):
    def told(self, h, t_emb):
        scale, shift = self.time(t_emb)
        return self.norm2(h) * scale + shift


class ResBlockScaleAndShiftSwapped(ResBlockInParts):
    def told(self, h, t_emb):
        shift, scale = self.time(t_emb)
        return self.norm2(h) * (1 + scale) + shift


class ResBlockTimeInterleaved(ResBlockInParts):
    def time(self, t_emb):
        both = self.time_proj(F.silu(t_emb))[:, :, None, None]
        return both[:, ::2], both[:, 1::2]


class ResBlockShiftScaled(ResBlockInParts):
    def told(self, h, t_emb):
        scale, shift = self.time(t_emb)
        return (self.norm2(h) + shift) * (1 + scale)


class ResBlockScaleMissing(ResBlockInParts):
    def told(self, h, t_emb):
        return self.norm2(h) + self.time(t_emb)[1]


class ResBlockShiftMissing(ResBlockInParts):
    def told(self, h, t_emb):
        return self.norm2(h) * (1 + self.time(t_emb)[0])


class ResBlockTimeAfterActivation(ResBlockInParts):
    def forward(self, x, t_emb):
        scale, shift = self.time(t_emb)
        h = F.silu(self.norm2(self.first(x))) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(h)


class ResBlockWithoutActivation(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.shortcut(x) + self.conv2(self.told(self.conv1(self.norm1(x)), t_emb))


class ResBlockFirstActivationMissing(ResBlockInParts):
    def first(self, x):
        return self.conv1(self.norm1(x))


class ResBlockSecondActivationMissing(ResBlockInParts):
    def last(self, h):
        return self.conv2(h)


class ResBlockFirstNormMissing(ResBlockInParts):
    def first(self, x):
        return self.conv1(F.silu(x))


class ResBlockSecondNormMissing(ResBlockInParts):
    def told(self, h, t_emb):
        scale, shift = self.time(t_emb)
        return h * (1 + scale) + shift


class ResBlockConvolvedFirst(ResBlockInParts):
    def forward(self, x, t_emb):
        h = F.silu(self.norm1(self.conv1(x)))
        return self.shortcut(x) + F.silu(self.told(self.conv2(h), t_emb))


class ResBlockActivatedFirst(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(F.silu(x)))
        return self.shortcut(x) + self.conv2(self.told(F.silu(h), t_emb))


class ResBlockWithRelu(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.relu(t_emb))[:, :, None, None].chunk(2, dim=1)

    def forward(self, x, t_emb):
        h = self.conv1(F.relu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.relu(self.told(h, t_emb)))


class ResBlockNormalisedShortcut(ResBlockInParts):
    def forward(self, x, t_emb):
        x = F.silu(self.norm1(x))
        return self.shortcut(x) + self.last(self.told(self.conv1(x), t_emb))


class ResBlockOverwritten(ResBlockInParts):
    def forward(self, x, t_emb):
        x = self.told(self.first(x), t_emb)
        x = self.last(x)
        return self.shortcut(x) + x


class ResBlockWithoutShortcut(ResBlockInParts):
    def forward(self, x, t_emb):
        return x + ResBlockWithoutResidual.forward(self, x, t_emb)


class ResBlockWithoutShortcutBehind(ResBlockInParts):
    def forward(self, x, t_emb):
        return ResBlockWithoutResidual.forward(self, x, t_emb) + x


class ResBlockInPlace(ResBlockInParts):
    def forward(self, x, t_emb):
        new = super().forward(x, t_emb)
        with torch.no_grad():
            x.add_(1)
        return new


class ResBlockTimeSubtracted(ResBlockInParts):
    def time(self, t_emb):
        scale, shift = super().time(t_emb)
        return -scale, -shift


class ResBlockShortcutSubtracted(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.last(self.told(self.first(x), t_emb)) - self.shortcut(x)


class ResBlockAveraged(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) / 2**0.5


class ResBlockSigmoid(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(t_emb.sigmoid())[:, :, None, None].chunk(2, dim=1)

    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(x).sigmoid())
        return self.shortcut(x) + self.conv2(self.told(h, t_emb).sigmoid())


class ResBlockGelu(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.gelu(t_emb))[:, :, None, None].chunk(2, dim=1)

    def forward(self, x, t_emb):
        h = self.conv1(F.gelu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.gelu(self.told(h, t_emb)))


class ResBlockActivatedEnd(ResBlockInParts):
    def forward(self, x, t_emb):
        return F.silu(super().forward(x, t_emb))


class ResBlockSecondConvMissing(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.shortcut(x) + F.silu(self.told(self.first(x), t_emb))


class ResBlockShortcutAdded(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.last(self.told(self.shortcut(x) + self.first(x), t_emb))


class ResBlockTimeOnceForAll(ResBlockInParts):
    def time(self, t_emb):
        return super().time(t_emb[:1])


class ResBlockFirstActivatedEarly(ResBlockInParts):
    def first(self, x):
        return self.conv1(self.norm1(F.silu(x)))


class ResBlockSecondActivatedEarly(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.shortcut(x) + self.conv2(self.told(F.silu(self.first(x)), t_emb))


class ResBlockFirstRelu(ResBlockInParts):
    def first(self, x):
        return self.conv1(F.relu(self.norm1(x)))


class ResBlockSecondRelu(ResBlockInParts):
    def last(self, h):
        return self.conv2(F.relu(h))


class ResBlockReluOfTime(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.relu(t_emb))[:, :, None, None].chunk(2, dim=1)


class ResBlockReluInTheBlock(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.relu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.relu(self.told(h, t_emb)))


class ResBlockTimeAroundNorm(ResBlockInParts):
    def told(self, h, t_emb):
        scale, shift = self.time(t_emb)
        return super().told(h * (1 + scale) + shift, t_emb)


class ResBlockShortcutOfFirstConvolution(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.first(x)
        return h + self.last(self.told(h, t_emb))


class ResBlockShortcutOfNorm(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) - self.shortcut(x) + self.shortcut(self.norm1(x))


class ResBlockShortcutActivated(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) - self.shortcut(x) + F.silu(self.shortcut(x))


class ResBlockByStages(ResBlockInParts):
    def forward(self, x, t_emb):
        stages = [self.norm1, nn.SiLU(), self.conv1, lambda h: self.told(h, t_emb), nn.SiLU(), self.conv2]
        h = x
        for stage in stages:
            h = stage(h)
        return h + self.shortcut(x)


class ResBlockByImage(ResBlockInParts):
    def forward(self, x, t_emb):
        return torch.cat([super(ResBlockByImage, self).forward(x[i : i + 1], t_emb[i : i + 1]) for i in range(len(x))])


class ResBlockByHand(ResBlockInParts):
    def forward(self, x, t_emb):
        def swish(y):
            return y * torch.sigmoid(y)

        h = self.norm2(self.conv1(swish(self.norm1(x))))
        both = self.time_proj(swish(t_emb)).unsqueeze(-1).unsqueeze(-1)
        C = h.shape[1]
        h = h + h * both[:, :C] + both[:, C:]
        return self.conv2(swish(h)) + self.shortcut(x)


# Two wrong answers, as torch's words depend on which of the two stands first in the sum.
NO_SHORTCUT = (
    "You add x itself. That works only where the number of channels stays; else self.shortcut, a 1 × 1 "
    "convolution, carries x across: self.shortcut(x)."
)


EXERCISE = Exercise(
    name="ResBlock",
    title="A ResBlock that time scales and shifts",
    stars=2,
    minutes=15,
    answer=ResBlock,
    cases=block_cases,
    hints=(
        "Follow the diagram from left to right; keep x, you need it again at the end.",
        "time_proj's output is (B, 2 C_out); to meet (B, C_out, H, W) it needs two more dimensions, [:, :, None, "
        "None], and a cut into two halves: scale, shift = ….chunk(2, dim=1).",
        "h = norm2(conv1(silu(norm1(x)))) * (1 + scale) + shift; return shortcut(x) + conv2(silu(h))",
    ),
    shape_hint=2,
    insight="The time is two numbers for each channel, the same at every pixel. Stable Diffusion's block adds one "
    "before norm2, which removes what all channels of a group have in common. With one channel a group, t would have "
    "no effect at all. Scale and shift after the norm always get through (Nichol & Dhariwal 2021), and the transformer "
    "blocks of lesson 20 are told the time in the same way.",
    wrong=(
        Wrong(
            "block-of-the-lesson",
            ResBlockOfTheLesson,
            "That is the lesson's block. Here time_proj has two numbers for each channel: the first half scales, the "
            "second half shifts, and both act after norm2. chunk(2, dim=1) cuts them apart.",
        ),
        Wrong("no-time", ResBlockWithoutTime, "t_emb is never used: the block cannot know how noisy its input is."),
        Wrong(
            "scale-without-one",
            ResBlockScaleWithoutOne,
            "You multiplied by scale. It is 1 + scale: where time_proj says 0, norm2's result passes unchanged.",
        ),
        Wrong(
            "scale-and-shift-swapped",
            ResBlockScaleAndShiftSwapped,
            "Scale and shift are swapped: the first half of time_proj's output scales, the second shifts.",
        ),
        Wrong(
            "time-interleaved",
            ResBlockTimeInterleaved,
            "You took every second number as scale. The first *half* are all scales, the second all shifts: chunk.",
        ),
        Wrong(
            "shift-scaled",
            ResBlockShiftScaled,
            "You shifted first and scaled then. Scale first: norm2 · (1 + scale) + shift.",
        ),
        Wrong(
            "scale-missing",
            ResBlockScaleMissing,
            "The shift is right, but nothing is scaled: norm2 · (1 + scale) + shift.",
        ),
        Wrong(
            "shift-missing",
            ResBlockShiftMissing,
            "The scale is right, but nothing is shifted: norm2 · (1 + scale) + shift.",
        ),
        Wrong(
            "time-before-norm",
            ResBlockTimeBeforeNorm,
            "You scaled and shifted before norm2, which takes part of it away again. The time comes after norm2 here.",
        ),
        Wrong(
            "time-after-activation",
            ResBlockTimeAfterActivation,
            "You scaled and shifted after the second SiLU. It comes between norm2 and SiLU: so the time decides what "
            "SiLU lets through.",
        ),
        Wrong(
            "time-around-norm",
            ResBlockTimeAroundNorm,
            "The time scales and shifts before norm2 and once more after it. It acts once, after norm2.",
        ),
        Wrong(
            "time-at-the-end",
            ResBlockTimeAtTheEnd,
            "The time acts after conv2. It comes between norm2 and the second SiLU, so that conv2 can act on it.",
        ),
        Wrong(
            "time-along-the-width",
            ResBlockTimeAlongWidth,
            "The time's numbers lie along the *last* dimension, the width: torch broadcasts (B, C_out) against (B, "
            "C_out, H, W) that way. Each belongs to a channel: the new dimensions go to the end, [:, :, None, "
            "None].",
        ),
        Wrong(
            "time-along-the-height",
            ResBlockTimeAlongHeight,
            "With one new dimension the time is (B, C_out, 1). torch counts dimensions from the end, so the "
            "channels end up along the height. It takes two: [:, :, None, None].",
        ),
        Wrong(
            "time-subtracted",
            ResBlockTimeSubtracted,
            "You subtracted scale and shift. Both are added: 1 + scale, + shift.",
        ),
        Wrong(
            "second-norm-missing",
            ResBlockSecondNormMissing,
            "norm2 is missing: it comes first, then the time scales and shifts, then SiLU.",
        ),
        Wrong(
            "shortcut-of-conv1",
            ResBlockShortcutOfFirstConvolution,
            "You added what norm2 reads, the output of conv1. The shortcut starts at the very beginning: "
            "self.shortcut(x).",
        ),
        Wrong(
            "no-residual",
            ResBlockWithoutResidual,
            "The input is not added at the end. Without this sum the block must rebuild all it wants to keep, and "
            "gradients have no straight way through a deep stack.",
        ),
        Wrong(
            "time-not-activated",
            ResBlockTimeNotActivated,
            "t_emb goes into time_proj without SiLU. The network's time MLP ends in a linear layer, and two linear "
            "layers in a row are no more than one.",
        ),
        Wrong(
            "time-activated-after",
            ResBlockTimeActivatedAfter,
            "You applied SiLU after time_proj. It comes before: scale and shift may then be as negative as they like.",
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
            "norm1 is missing: x may have any size, but SiLU and conv1 should see numbers of size 1.",
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
        Wrong("shortcut-subtracted", ResBlockShortcutSubtracted, "You subtracted the input. It is added."),
        Wrong(
            "divided-by-root-2",
            ResBlockAveraged,
            "You divided the sum by √2, as some later networks do. Stable Diffusion leaves it as it is.",
        ),
        Wrong("sigmoid", ResBlockSigmoid, "You used the sigmoid σ(x). SiLU is x · σ(x)."),
        Wrong("gelu", ResBlockGelu, "You used GELU, which the transformer blocks use. Here it is SiLU: x · σ(x)."),
        Wrong(
            "sum-activated",
            ResBlockActivatedEnd,
            "You applied SiLU to the sum, as the first ResNets did with ReLU. Here nothing comes after it: the "
            "shortcut stays untouched.",
        ),
        Wrong("second-convolution-missing", ResBlockSecondConvMissing, "conv2 is missing: norm2 → SiLU → conv2."),
        Wrong(
            "shortcut-too-early",
            ResBlockShortcutAdded,
            "You added the input before norm2. It is added at the very end, so that nothing touches it.",
        ),
        Wrong(
            "one-time-for-all",
            ResBlockTimeOnceForAll,
            "Every image of the batch gets the first one's time. Each has its own.",
        ),
        Wrong(
            "activated-before-norm1",
            ResBlockFirstActivatedEarly,
            "You applied SiLU before norm1. It is norm1 → SiLU → conv1: so SiLU always sees numbers of the same size.",
        ),
        Wrong(
            "activated-before-norm2",
            ResBlockSecondActivatedEarly,
            "You applied SiLU before norm2. It is norm2 → SiLU → conv2: so SiLU always sees numbers of the same size.",
        ),
        Wrong(
            "relu-before-conv1",
            ResBlockFirstRelu,
            "You used ReLU before conv1. All three activations are SiLU: x · σ(x).",
        ),
        Wrong(
            "relu-before-conv2",
            ResBlockSecondRelu,
            "You used ReLU before conv2. All three activations are SiLU: x · σ(x).",
        ),
        Wrong(
            "relu-of-the-time",
            ResBlockReluOfTime,
            "You applied ReLU to t_emb. All three activations are SiLU: x · σ(x).",
        ),
        Wrong(
            "relu-in-the-block",
            ResBlockReluInTheBlock,
            "You used ReLU before both convolutions. All three activations are SiLU: x · σ(x).",
        ),
        Wrong(
            "shortcut-of-norm1",
            ResBlockShortcutOfNorm,
            "The shortcut carries the output of norm1. It must carry x itself: was x overwritten on the way?",
        ),
        Wrong(
            "shortcut-activated",
            ResBlockShortcutActivated,
            "You applied SiLU to the shortcut. It carries x untouched, or through the 1 × 1 convolution alone.",
        ),
    ),
    right=(ResBlockInParts, ResBlockByStages, ResBlockByImage, ResBlockByHand),
)
