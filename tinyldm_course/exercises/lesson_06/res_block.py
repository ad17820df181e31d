"""Exercise ResBlock of lesson 06: The ResBlock."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


class ResBlock(nn.Module):
    """Two convolutions around a time embedding, added to what came in."""

    def __init__(self, in_channels, out_channels, t_emb_dim, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = nn.Linear(t_emb_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, t_emb):
        """x: (B, C_in, H, W); t_emb: (B, D_t).  Returns (B, C_out, H, W)."""
        ### BEGIN SOLUTION
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C_in, H, W) -> (B, C_out, H, W)
        h = h + self.time_proj(F.silu(t_emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
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
    """norm1 → SiLU → conv1, + time, norm2 → SiLU → conv2, + input."""

    def time(self, t_emb: Tensor) -> Tensor:
        """(B, D_t) -> (B, C_out, 1, 1)."""
        return self.time_proj(F.silu(t_emb))[:, :, None, None]

    def forward(self, x: Tensor, t_emb: Tensor) -> Tensor:
        """x (B, C_in, H, W), t_emb (B, D_t) -> (B, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockWithoutResidual(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.conv2(F.silu(self.norm2(h)))


class ResBlockWithoutTime(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class ResBlockTimeNotActivated(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(t_emb)[:, :, None, None]


class ResBlockTimeActivatedAfter(ResBlockInParts):
    def time(self, t_emb):
        return F.silu(self.time_proj(t_emb))[:, :, None, None]


class ResBlockTimeTwice(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) + self.time(t_emb)


class ResBlockTimeAtTheEnd(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return self.shortcut(x) + h + self.time(t_emb)


class ResBlockTimeAlongWidth(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.silu(t_emb))


class ResBlockTimeAlongHeight(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.silu(t_emb))[:, :, None]


class ResBlockTimeMultiplied(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) * self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockTimeAfterNorm(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(h))


class ResBlockWithoutActivation(ResBlockInParts):
    def forward(self, x, t_emb):
        return self.shortcut(x) + self.conv2(self.norm2(self.conv1(self.norm1(x)) + self.time(t_emb)))


class ResBlockFirstActivationMissing(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(x)) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockSecondActivationMissing(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(self.norm2(h))


class ResBlockFirstNormMissing(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(x)) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockSecondNormMissing(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(h))


class ResBlockConvolvedFirst(ResBlockInParts):
    def forward(self, x, t_emb):
        h = F.silu(self.norm1(self.conv1(x))) + self.time(t_emb)
        return self.shortcut(x) + F.silu(self.norm2(self.conv2(h)))


class ResBlockActivatedFirst(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(F.silu(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(self.norm2(F.silu(h)))


class ResBlockWithRelu(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.relu(self.norm1(x))) + self.time_proj(F.relu(t_emb))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.relu(self.norm2(h)))


class ResBlockNormalisedShortcut(ResBlockInParts):
    def forward(self, x, t_emb):
        x = F.silu(self.norm1(x))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(x) + self.time(t_emb))))


class ResBlockOverwritten(ResBlockInParts):
    def forward(self, x, t_emb):
        x = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        x = self.conv2(F.silu(self.norm2(x)))
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
        return -super().time(t_emb)


class ResBlockShortcutSubtracted(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.conv2(F.silu(self.norm2(h))) - self.shortcut(x)


class ResBlockAveraged(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) / 2**0.5


class ResBlockSigmoid(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(x).sigmoid()) + self.time_proj(t_emb.sigmoid())[:, :, None, None]
        return self.shortcut(x) + self.conv2(self.norm2(h).sigmoid())


class ResBlockGelu(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.gelu(self.norm1(x))) + self.time_proj(F.gelu(t_emb))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.gelu(self.norm2(h)))


class ResBlockActivatedEnd(ResBlockInParts):
    def forward(self, x, t_emb):
        return F.silu(super().forward(x, t_emb))


class ResBlockSecondConvMissing(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + F.silu(self.norm2(h))


class ResBlockShortcutAdded(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.shortcut(x) + self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.conv2(F.silu(self.norm2(h)))


class ResBlockTimeOnceForAll(ResBlockInParts):
    def time(self, t_emb):
        return super().time(t_emb[:1])


class ResBlockFirstActivatedEarly(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(self.norm1(F.silu(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockSecondActivatedEarly(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(self.norm2(F.silu(h)))


class ResBlockFirstRelu(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.relu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ResBlockSecondRelu(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.relu(self.norm2(h)))


class ResBlockReluOfTime(ResBlockInParts):
    def time(self, t_emb):
        return self.time_proj(F.relu(t_emb))[:, :, None, None]


class ResBlockReluInTheBlock(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.relu(self.norm1(x))) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.relu(self.norm2(h)))


class ResBlockTimeDoubled(ResBlockInParts):
    def time(self, t_emb):
        return 2 * super().time(t_emb)


class ResBlockTimeBeforeAndAfterNorm(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.norm2(self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)) + self.time(t_emb)
        return self.shortcut(x) + self.conv2(F.silu(h))


class ResBlockShortcutOfFirstConvolution(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t_emb)
        return h + self.conv2(F.silu(self.norm2(h)))


class ResBlockShortcutWithoutTime(ResBlockInParts):
    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x)))
        return h + self.conv2(F.silu(self.norm2(h + self.time(t_emb))))


class ResBlockShortcutOfNorm(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) - self.shortcut(x) + self.shortcut(self.norm1(x))


class ResBlockShortcutActivated(ResBlockInParts):
    def forward(self, x, t_emb):
        return super().forward(x, t_emb) - self.shortcut(x) + F.silu(self.shortcut(x))


class ResBlockByStages(ResBlockInParts):
    def forward(self, x, t_emb):
        stages = [self.norm1, nn.SiLU(), self.conv1, lambda h: h + self.time(t_emb), self.norm2, nn.SiLU(), self.conv2]
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

        h = self.conv1(swish(self.norm1(x)))
        h = h + self.time_proj(swish(t_emb)).unsqueeze(-1).unsqueeze(-1).expand_as(h)
        return self.conv2(swish(self.norm2(h))) + self.shortcut(x)


# Two wrong answers, as torch's words depend on which of the two stands first in the sum.
NO_SHORTCUT = (
    "You add x itself. That works only where the number of channels stays; else self.shortcut, a 1 × 1 "
    "convolution, carries x across: self.shortcut(x)."
)


EXERCISE = Exercise(
    name="ResBlock",
    title="The ResBlock",
    stars=2,
    minutes=15,
    answer=ResBlock,
    cases=block_cases,
    hints=(
        "Follow the diagram from left to right; keep x, you need it again at the end.",
        "The time arrives as (B, C_out); to be added to (B, C_out, H, W) it needs two more dimensions: [:, :, "
        "None, None].",
        "h = conv1(silu(norm1(x))) + time; return shortcut(x) + conv2(silu(norm2(h)))",
    ),
    shape_hint=2,
    insight="The time is one number for each channel, the same at every pixel. norm2 comes right after it and "
    "removes what all channels of a group have in common: only *differences* between channels get through. With "
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
            "You applied SiLU after time_proj. It comes before: the sum may then be as negative as it likes.",
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
            "norm1 is missing: x may have any size, but SiLU and conv1 should see numbers of size 1.",
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
        Wrong("time-subtracted", ResBlockTimeSubtracted, "You subtracted the time. It is added."),
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
        Wrong("time-added-twice", ResBlockTimeDoubled, "The time is added twice before norm2. It is added once."),
        Wrong(
            "time-around-norm",
            ResBlockTimeBeforeAndAfterNorm,
            "The time is added before norm2 and once more after it. It is added once, before norm2.",
        ),
        Wrong(
            "shortcut-of-conv1",
            ResBlockShortcutOfFirstConvolution,
            "You added what norm2 reads: the output of conv1 with the time. The shortcut starts at the very "
            "beginning: self.shortcut(x).",
        ),
        Wrong(
            "shortcut-of-conv1-alone",
            ResBlockShortcutWithoutTime,
            "You added the output of conv1. The shortcut starts at the very beginning: self.shortcut(x).",
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
