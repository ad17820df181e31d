"""Exercise SmallUNet of lesson 08: A U-Net, put together."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm.resblock import Downsample, ResBlock, Upsample
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


class SmallUNet(nn.Module):
    """A U-Net of two levels, without attention."""

    def __init__(self, width, t_emb_dim, groups):
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

    def forward(self, z_t, t_emb):
        """z_t: (B, 4, h, w), h and w even; t_emb: (B, D_t).  Returns the prediction, (B, 4, h, w)."""
        ### BEGIN SOLUTION
        skips = [self.conv_in(z_t)]
        skips.append(self.down_block0(skips[-1], t_emb))
        skips.append(self.downsample(skips[-1]))
        skips.append(self.down_block1(skips[-1], t_emb))
        x = self.middle(skips[-1], t_emb)
        x = self.up_block1a(torch.cat([x, skips.pop()], dim=1), t_emb)
        x = self.up_block1b(torch.cat([x, skips.pop()], dim=1), t_emb)
        x = self.upsample(x)
        x = self.up_block0a(torch.cat([x, skips.pop()], dim=1), t_emb)
        x = self.up_block0b(torch.cat([x, skips.pop()], dim=1), t_emb)
        return self.conv_out(F.silu(self.norm_out(x)))
        ### END SOLUTION


def unet_cases(generator: Generator) -> list[Call]:
    """z_t, t_emb."""
    calls = []
    for B, h, w, width, t_emb_dim, groups in ((1, 2, 2, 2, 2, 1), (2, 4, 6, 4, 6, 2), (3, 8, 4, 8, 5, 2)):
        z_t, t_emb = torch.randn(B, 4, h, w, generator=generator), torch.randn(B, t_emb_dim, generator=generator)
        calls.append(Call((z_t, t_emb), build=(width, t_emb_dim, groups)))
    return calls


class SmallUNetInParts(SmallUNet):
    """Two levels, one ResBlock each."""

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


class SmallUNetTopSkipsSwapped(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[1], skips[0], skips[2], skips[3]], t_emb)


class SmallUNetOneSkipTwice(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[0], skips[0], skips[2], skips[3]], t_emb)


class SmallUNetFineSkipTwice(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[1], skips[1], skips[2], skips[3]], t_emb)


class SmallUNetMiddleTwice(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [*skips[:3], x], t_emb)


class SmallUNetHalvedNotPushed(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [skips[0], skips[1], skips[3]], t_emb)


class SmallUNetConvInNotPushed(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, skips[1:], t_emb)


class SmallUNetPoppedEarly(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, skips[:3], t_emb)


class SmallUNetMiddlePushed(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [*skips, x], t_emb)


class SmallUNetAlongBatch(SmallUNetInParts):
    def joined(self, x, skip):
        return torch.cat([x, skip])


class SmallUNetWithoutSkips(SmallUNetInParts):
    def joined(self, x, skip):
        return x


class SmallUNetCatTurned(SmallUNetInParts):
    def joined(self, x, skip):
        return torch.cat([skip, x], dim=1)


class SmallUNetWithoutMiddle(SmallUNetInParts):
    def bottom(self, x, t_emb):
        return x


class SmallUNetOutNotNormalised(SmallUNetInParts):
    def out(self, x):
        return self.conv_out(x)


class SmallUNetOutNotActivated(SmallUNetInParts):
    def out(self, x):
        return self.conv_out(self.norm_out(x))


class SmallUNetOutOnlyActivated(SmallUNetInParts):
    def out(self, x):
        return self.conv_out(F.silu(x))


class SmallUNetOutActivatedFirst(SmallUNetInParts):
    def out(self, x):
        return self.conv_out(self.norm_out(F.silu(x)))


class SmallUNetWithResidual(SmallUNetInParts):
    def forward(self, z_t, t_emb):
        return z_t + super().forward(z_t, t_emb)


class SmallUNetNoiseSubtracted(SmallUNetInParts):
    def forward(self, z_t, t_emb):
        return z_t - super().forward(z_t, t_emb)


class SmallUNetOneTime(SmallUNetInParts):
    def forward(self, z_t, t_emb):
        return super().forward(z_t, t_emb[:1].expand_as(t_emb))


class SmallUNetSkipsCut(SmallUNetInParts):
    def up(self, x, skips, t_emb):
        return super().up(x, [skip.detach() for skip in skips], t_emb)


class SmallUNetWithoutTime(SmallUNetInParts):
    def forward(self, z_t, t_emb):
        return super().forward(z_t, torch.zeros_like(t_emb))


class SmallUNetByStack(SmallUNetInParts):
    def forward(self, z_t, t_emb):
        skips = [self.conv_in(z_t)]
        skips.append(self.down_block0(skips[-1], t_emb))
        skips.append(self.downsample(skips[-1]))
        skips.append(self.down_block1(skips[-1], t_emb))
        x = self.middle(skips[-1], t_emb)
        for block in (self.up_block1a, self.up_block1b, None, self.up_block0a, self.up_block0b):
            x = self.upsample(x) if block is None else block(torch.cat((x, skips.pop()), 1), t_emb)
        return self.conv_out(nn.SiLU()(self.norm_out(x)))


class SmallUNetByImage(SmallUNetInParts):
    def forward(self, z_t, t_emb):
        images = [super(SmallUNetByImage, self).forward(z[None], e[None]) for z, e in zip(z_t, t_emb)]
        return torch.cat(images)


EXERCISE = Exercise(
    name="SmallUNet",
    title="A U-Net, put together",
    stars=3,
    minutes=20,
    answer=SmallUNet,
    cases=unet_cases,
    hints=(
        "Write it as a list: conv_in, down_block0, downsample, down_block1; after each of them push x. Then the "
        "middle.",
        "up_block1a and up_block1b pop one skip each; then upsample; then up_block0a and up_block0b pop one each.",
        "The last three: norm_out, SiLU, conv_out. All ResBlocks are called as block(x, t_emb).",
    ),
    shape_hint=2,
    insight="This is Stable Diffusion's U-Net but for the SpatialTransformers, two more levels and a second block "
    "per level. Nothing in it says whether its output is the noise or the velocity: the loss decides.",
    wrong=(
        Wrong(
            "top-skips-swapped",
            SmallUNetTopSkipsSwapped,
            "The skips of up_block0a and up_block0b are swapped: both fit in shape. Last in, first out: the output "
            "of down_block0 comes first, that of conv_in last.",
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
            "A skip is larger than the x beside it. Is the output of downsample pushed too (forgetting it is the "
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
            "You put x and skip one behind the other in the batch: torch.cat joins along dim 0 by default. The "
            "channels are dim=1.",
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
        Wrong(
            "no-time",
            SmallUNetWithoutTime,
            "t_emb has no effect: your U-Net cannot know how noisy its input is. Every ResBlock gets t_emb.",
        ),
    ),
    right=(SmallUNetInParts, SmallUNetByStack, SmallUNetByImage),
)
