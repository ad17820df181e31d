"""Exercise SpatialTransformer of lesson 07: One query a pixel."""

import torch
from torch import Generator, Tensor, nn

from tinyldm.spatial_transformer import TransformerBlock
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


class SpatialTransformer(nn.Module):
    """A transformer over the pixels of a feature map."""

    def __init__(self, channels, context_dim, heads, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.block = TransformerBlock(channels, context_dim, heads)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x, context):
        """x: (B, C, H, W); context: (B, L, D).  Returns (B, C, H, W)."""
        ### BEGIN SOLUTION
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, HW, C)
        pixels = self.proj_out(self.block(self.proj_in(pixels), context))
        return x + pixels.transpose(1, 2).reshape(x.shape)  # (B, HW, C) -> (B, C, H, W)
        ### END SOLUTION


def spatial_cases(generator: Generator) -> list[Call]:
    """x (B, C, H, W), context (B, L, D); equal widths first, but never as many pixels as channels."""
    calls = [
        Call(
            (torch.tensor([[[[1.0, -2.0, 0.0]], [[0.5, 3.0, -1.0]]]]), torch.tensor([[[2.0, -1.0]]])),
            build=(2, 2, 1, 1),
        )
    ]
    for (B, C, H, W), L, D, heads, groups in (
        ((2, 4, 4, 4), 3, 4, 2, 2),
        ((1, 6, 3, 5), 4, 8, 3, 3),
        ((2, 8, 4, 6), 5, 6, 4, 2),
    ):
        x, context = torch.randn(B, C, H, W, generator=generator), torch.randn(B, L, D, generator=generator)
        calls.append(Call((x, context), build=(C, D, heads, groups)))
    return calls


class SpatialTransformerInParts(SpatialTransformer):
    """norm → one query a pixel → proj_in → block → proj_out → back to an image, + input."""

    def inside(self, pixels: Tensor, context: Tensor) -> Tensor:
        """(B, HW, C) -> (B, HW, C)."""
        return self.proj_out(self.block(self.proj_in(pixels), context))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, L, D) -> (B, C, H, W)."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialWithoutResidual(SpatialTransformerInParts):
    def forward(self, x, context):
        return super().forward(x, context) - x


class SpatialWithoutNorm(SpatialTransformerInParts):
    def forward(self, x, context):
        pixels = x.flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialNormalisedResidual(SpatialTransformerInParts):
    def forward(self, x, context):
        x = self.norm(x)
        pixels = x.flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialViewed(SpatialTransformerInParts):
    def forward(self, x, context):
        B, C, H, W = x.shape
        return x + self.inside(self.norm(x).reshape(B, H * W, C), context).reshape(x.shape)


class SpatialViewedIn(SpatialTransformerInParts):
    def forward(self, x, context):
        B, C, H, W = x.shape
        pixels = self.norm(x).reshape(B, H * W, C)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialViewedOut(SpatialTransformerInParts):
    def forward(self, x, context):
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.inside(pixels, context).reshape(x.shape)


class SpatialTurned(SpatialTransformerInParts):
    def forward(self, x, context):
        pixels = self.norm(x).permute(0, 3, 2, 1).flatten(1, 2)
        return x + self.inside(pixels, context).transpose(1, 2).reshape(x.shape)


class SpatialWithoutContext(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.proj_out(self.block(self.proj_in(pixels)))


class SpatialWithoutProjections(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.block(pixels, context)


class SpatialWithoutProjectionOut(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.block(self.proj_in(pixels), context)


class SpatialWithoutProjectionIn(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.proj_out(self.block(pixels, context))


class SpatialProjectionsExchanged(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.proj_in(self.block(self.proj_out(pixels), context))


class SpatialBlockAddedTwice(SpatialTransformerInParts):
    def inside(self, pixels, context):
        pixels = self.proj_in(pixels)
        return self.proj_out(pixels + self.block(pixels, context))


class SpatialNormalisedLater(SpatialTransformerInParts):
    def forward(self, x, context):
        pixels = self.norm(self.proj_in(x.flatten(2).transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        return x + self.proj_out(self.block(pixels, context)).transpose(1, 2).reshape(x.shape)


class SpatialNotTransposed(SpatialTransformerInParts):
    def forward(self, x, context):
        return x + self.inside(self.norm(x).flatten(2), context).reshape(x.shape)


class SpatialTransformerContextAsks(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.proj_out(self.block(context, self.proj_in(pixels)))


class SpatialTransformerSubtracted(SpatialTransformerInParts):
    def forward(self, x, context):
        return 2 * x - super().forward(x, context)


class SpatialTransformerTwice(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.proj_out(self.block(self.block(self.proj_in(pixels), context), context))


class SpatialTransformerResidualOfPixels(SpatialTransformerInParts):
    def inside(self, pixels, context):
        return self.proj_out(pixels + self.block(self.proj_in(pixels), context))


class SpatialTransformerDoubled(SpatialTransformerInParts):
    def forward(self, x, context):
        return x + super().forward(x, context)


class SpatialTransformerFirstContext(SpatialTransformerInParts):
    def forward(self, x, context):
        return super().forward(x, context[:1].expand_as(context))


class SpatialColumnByColumn(SpatialTransformerInParts):
    """Pixels in another order, there and back: attention does not mind."""

    def forward(self, x, context):
        B, C, H, W = x.shape
        pixels = self.norm(x).permute(0, 3, 2, 1).reshape(B, W * H, C)
        return self.inside(pixels, context).reshape(B, W, H, C).permute(0, 3, 2, 1) + x


class SpatialByEinsum(SpatialTransformerInParts):
    def forward(self, x, context):
        B, C, H, W = x.shape
        pixels = torch.einsum("bcp->bpc", self.norm(x).view(B, C, H * W))
        return torch.einsum("bpc->bcp", self.inside(pixels, context)).unflatten(2, (H, W)) + x


EXERCISE = Exercise(
    name="SpatialTransformer",
    title="One query a pixel",
    stars=2,
    minutes=12,
    answer=SpatialTransformer,
    cases=spatial_cases,
    hints=(
        "A transformer reads (B, N, C): N = H · W pixels, each a vector of its C channels.",
        ".flatten(2) makes (B, C, HW); .transpose(1, 2) moves the channels to the end.",
        "norm → flatten, transpose → proj_in → block(pixels, context) → proj_out → transpose(1, 2), "
        ".reshape(x.shape), and + x.",
    ),
    shape_hint=2,
    insight="Nothing in here knows where a pixel lies: shuffle the pixels and the result is shuffled the same way. "
    "It is the zero padding of the convolutions around it that tells the pixels their place.",
    wrong=(
        Wrong(
            "no-residual",
            SpatialWithoutResidual,
            "The input is not added at the end. The block has sums inside, but they start after norm and proj_in: "
            "the feature map itself needs this outer one.",
        ),
        Wrong("not-normalised", SpatialWithoutNorm, "The GroupNorm at the start is missing."),
        Wrong(
            "residual-normalised",
            SpatialNormalisedResidual,
            "You added the normalised input. Keep x untouched: was it overwritten on the way?",
        ),
        Wrong(
            "viewed-both-ways",
            SpatialViewed,
            'You reshaped (B, C, H, W) straight into (B, HW, C): the shape fits, but a "pixel" is then C numbers '
            "of one channel from neighbouring places. Flatten, then transpose.",
        ),
        Wrong(
            "viewed-in",
            SpatialViewedIn,
            "On the way in you reshaped straight into (B, HW, C), which mixes channels and places. Flatten, then "
            "transpose.",
        ),
        Wrong(
            "viewed-out",
            SpatialViewedOut,
            "On the way back you reshaped (B, HW, C) straight into (B, C, H, W). Transpose first.",
        ),
        Wrong(
            "rows-and-columns-swapped",
            SpatialTurned,
            "You flattened column by column and un-flattened row by row: the result is mirrored along its "
            "diagonal. Either order works, but it must be the same both ways.",
        ),
        Wrong(
            "no-context", SpatialWithoutContext, "The context is not passed to the block: the caption has no effect."
        ),
        Wrong("no-projections", SpatialWithoutProjections, "proj_in and proj_out are missing."),
        Wrong("no-output-projection", SpatialWithoutProjectionOut, "proj_out is missing."),
        Wrong("no-input-projection", SpatialWithoutProjectionIn, "proj_in is missing: it comes before the block."),
        Wrong(
            "projections-exchanged",
            SpatialProjectionsExchanged,
            "proj_in and proj_out are swapped: proj_in comes before the block, proj_out after it.",
        ),
        Wrong(
            "block-added",
            SpatialBlockAddedTwice,
            "You added the block's input to its result. The block has its sums inside: here they would count twice.",
        ),
        Wrong(
            "normalised-after-proj_in",
            SpatialNormalisedLater,
            "You normalised what comes out of proj_in. The GroupNorm comes first, before proj_in.",
        ),
        Wrong(
            "not-transposed",
            SpatialNotTransposed,
            ".flatten(2) makes (B, C, HW), and a Linear works on the last dimension: that is HW now, and not C. "
            ".transpose(1, 2) moves the channels to the end.",
        ),
        Wrong(
            "context-asks",
            SpatialTransformerContextAsks,
            "The two arguments of the block are swapped: the pixels ask, the context answers: self.block(pixels, "
            "context).",
        ),
        Wrong("subtracted", SpatialTransformerSubtracted, "You subtracted what the block makes from x. It is added."),
        Wrong("block-twice", SpatialTransformerTwice, "The block runs twice."),
        Wrong(
            "residual-inside",
            SpatialTransformerResidualOfPixels,
            "You added the pixels before proj_out. The sum comes at the very end, with x itself.",
        ),
        Wrong("added-twice", SpatialTransformerDoubled, "x is added twice."),
        Wrong(
            "one-context-for-all",
            SpatialTransformerFirstContext,
            "Every image of the batch reads the first one's context. Each has its own.",
        ),
    ),
    right=(SpatialTransformerInParts, SpatialColumnByColumn, SpatialByEinsum),
)
