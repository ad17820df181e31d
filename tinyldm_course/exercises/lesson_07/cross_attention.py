"""Exercise CrossAttention of lesson 07: Pixels read words."""

import torch
import torch.nn.functional as F
from torch import Generator, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.lesson_07.attention import attention
from tinyldm_course.exercises.lesson_07.multi_head_attention import (
    heads_by_einsum,
    heads_length_of_queries,
    heads_merged_by_view_only,
    heads_over_queries,
    heads_scaled_by_width,
    heads_split_by_view_only,
    heads_view_after_transpose,
    heads_viewed,
    heads_without_scale,
    multi_head_attention,
)


class CrossAttention(nn.Module):
    """Each pixel reads the context."""

    def __init__(self, query_dim, context_dim, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(query_dim, query_dim, bias=False)
        self.to_k = nn.Linear(context_dim, query_dim, bias=False)
        self.to_v = nn.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.Linear(query_dim, query_dim)

    def forward(self, x, context):
        """x: (B, N, C); context: (B, L, D), or None for self-attention.  Returns (B, N, C)."""
        ### BEGIN SOLUTION
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(mixed.transpose(1, 2).flatten(2))
        ### END SOLUTION


def cross_cases(generator: Generator) -> list[Call]:
    """x, context or None; equal widths and lengths first, later neither: there a wrong source fails in its Linear."""
    calls = [
        Call(
            (
                torch.tensor([[[1.0, -1.0, 0.0, 2.0], [0.5, 1.0, -2.0, 0.0]]]),
                torch.tensor([[[2.0, 0.5, 1.0, 0.0], [-1.0, 3.0, 0.0, 1.0]]]),
            ),
            build=(4, 4, 2),
        )
    ]
    for B, N, L, C, D, heads in ((2, 5, 3, 4, 6, 2), (2, 6, 4, 8, 6, 4), (3, 9, 7, 6, 12, 2)):
        x, context = torch.randn(B, N, C, generator=generator), torch.randn(B, L, D, generator=generator)
        calls += [Call((x, None), build=(C, C, heads)), Call((x, context), build=(C, D, heads))]
    return calls


class CrossAttentionToItself(CrossAttention):
    def forward(self, x, context):
        return super().forward(x, None)


class CrossAttentionOfNothing(CrossAttention):
    def forward(self, x, context):
        return super().forward(x, torch.zeros_like(x) if context is None else context)


class CrossAttentionSkipped(CrossAttention):
    def forward(self, x, context):
        return x if context is None else super().forward(x, context)


class CrossAttentionSharedProjection(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(multi_head_attention(self.to_q(x), self.to_k(context), self.to_k(context), self.heads))


class CrossAttentionContextAsks(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(multi_head_attention(self.to_q(context), self.to_k(x), self.to_v(x), self.heads))


class CrossAttentionKeysAndValuesSwapped(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(multi_head_attention(self.to_q(x), self.to_v(context), self.to_k(context), self.heads))


class CrossAttentionWithoutOut(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return multi_head_attention(self.to_q(x), self.to_k(context), self.to_v(context), self.heads)


class CrossAttentionOneHead(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(attention(self.to_q(x), self.to_k(context), self.to_v(context)))


class CrossAttentionSplitByView(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_split_by_view_only(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionMergedByView(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_merged_by_view_only(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionScaledByWidth(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(heads_scaled_by_width(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionBy(CrossAttention):
    """With other heads: a function (q, k, v, heads) -> (B, N, C)."""

    mixed = staticmethod(multi_head_attention)

    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(self.mixed(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionWithoutScale(CrossAttentionBy):
    mixed = staticmethod(heads_without_scale)


class CrossAttentionOverQueries(CrossAttentionBy):
    mixed = staticmethod(heads_over_queries)


class CrossAttentionViewed(CrossAttentionBy):
    mixed = staticmethod(heads_viewed)


class CrossAttentionViewAfterTranspose(CrossAttentionBy):
    mixed = staticmethod(heads_view_after_transpose)


class CrossAttentionLengthOfQueries(CrossAttentionBy):
    mixed = staticmethod(heads_length_of_queries)


class CrossAttentionNoneForgotten(CrossAttention):
    def forward(self, x, context):
        return self.to_out(multi_head_attention(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class CrossAttentionNoneHasNoShape(CrossAttention):
    def forward(self, x, context):
        L = context.shape[1]
        return super().forward(x, context[:, :L])


class CrossAttentionConditionTurned(CrossAttentionNoneForgotten):
    def forward(self, x, context):
        if context is not None:
            context = x
        return super().forward(x, context)


class CrossAttentionTruthOfATensor(CrossAttentionNoneForgotten):
    def forward(self, x, context):
        return super().forward(x, context or x)


class CrossAttentionKeysFromPixels(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(multi_head_attention(self.to_q(x), self.to_k(x), self.to_v(context), self.heads))


class CrossAttentionValuesFromPixels(CrossAttention):
    def forward(self, x, context):
        context = x if context is None else context
        return self.to_out(multi_head_attention(self.to_q(x), self.to_k(context), self.to_v(x), self.heads))


class CrossAttentionWithResidual(CrossAttention):
    def forward(self, x, context):
        return x + super().forward(x, context)


class CrossAttentionContextCut(CrossAttention):
    def forward(self, x, context):
        return super().forward(x, x if context is None else context.detach())


class CrossAttentionOneContextForAll(CrossAttention):
    def forward(self, x, context):
        source = x if context is None else context
        k, v = (layer(source[:1]).expand(len(x), -1, -1) for layer in (self.to_k, self.to_v))
        return self.to_out(multi_head_attention(self.to_q(x), k, v, self.heads))


class CrossAttentionOneGivenContextForAll(CrossAttention):
    def forward(self, x, context):
        return super().forward(x, context if context is None else context[:1].expand(len(x), -1, -1))


class CrossAttentionByWidth(CrossAttention):
    def forward(self, x, context):
        return super().forward(x, x if x.shape[-1] == self.to_k.in_features else context)


class CrossAttentionByLoop(CrossAttention):
    def forward(self, x, context):
        source = x if context is None else context
        d, found = x.shape[-1] // self.heads, []
        for head in range(self.heads):
            rows = slice(head * d, (head + 1) * d)
            q, k, v = (
                F.linear(y, layer.weight[rows])
                for y, layer in ((x, self.to_q), (source, self.to_k), (source, self.to_v))
            )
            found.append(attention(q, k, v))
        return self.to_out(torch.cat(found, -1))


class CrossAttentionByEinsum(CrossAttention):
    def forward(self, x, context):
        if context is None:
            context = x
        return self.to_out(heads_by_einsum(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


ONE_CONTEXT = "Every picture reads the first one's context. Each has its own: context is (B, L, D)."


EXERCISE = Exercise(
    name="CrossAttention",
    title="Pixels read words",
    stars=2,
    minutes=12,
    answer=CrossAttention,
    cases=cross_cases,
    hints=(
        "Who asks? The pixels: q comes from x. Who answers? The words: k and v come from the context.",
        "With no context, x takes its place. Then split into heads as before.",
        "to_q(x), to_k(context), to_v(context) → heads → F.scaled_dot_product_attention → heads side by side → to_out.",
    ),
    shape_hint=3,
    insight="The result has one vector for each pixel, however many words there are: so captions, class labels and "
    "pictures all fit the same U-Net. In Stable Diffusion 1 the context is 768 wide and pixels are 320 to 1280: "
    'there "no context" cannot mean self-attention, and "no caption" is the encoding of "".',
    wrong=(
        Wrong(
            "none-forgotten",
            CrossAttentionNoneForgotten,
            "Without a context, `context` is None, and None cannot go through a Linear. x takes its place: if "
            "context is None: context = x.",
        ),
        Wrong(
            "none-has-no-shape",
            CrossAttentionNoneHasNoShape,
            "Without a context, `context` is None, and None has no .shape. Let x take its place first: if context "
            "is None: context = x.",
        ),
        Wrong(
            "condition-turned",
            CrossAttentionConditionTurned,
            "Your condition is inverted: x takes the place of a context that is there, and None stays None. It is: "
            "if context is None: context = x.",
        ),
        Wrong(
            "truth-of-a-tensor",
            CrossAttentionTruthOfATensor,
            "You asked whether the context is true (`context or x`, `if context:`, `if not context:`). A tensor of "
            "several numbers is neither true nor false: ask `context is None`.",
        ),
        Wrong(
            "keys-from-pixels",
            CrossAttentionKeysFromPixels,
            "Your keys come from x and your values from the context. Both come from the context: what is compared "
            "and what is passed on belong to the same words.",
        ),
        Wrong(
            "values-from-pixels",
            CrossAttentionValuesFromPixels,
            "Your keys come from the context and your values from x. Both come from the context: then what the "
            "words say reaches the pixels.",
        ),
        Wrong(
            "scale-missing",
            CrossAttentionWithoutScale,
            "You left out 1/√d, where d = C / heads is the width of a head.",
        ),
        Wrong(
            "softmax-over-queries",
            CrossAttentionOverQueries,
            "Your softmax runs over the queries. Each query must distribute a total weight of 1 among the keys: "
            "dim=-1.",
        ),
        Wrong(
            "viewed-both-ways",
            CrossAttentionViewed,
            'You reshaped (B, N, C) straight into (B, heads, N, d) and back. The shapes fit, but each "head" is '
            "then some of the *positions*. View as (B, N, heads, d), then transpose, as in exercise 7.2.",
        ),
        Wrong(
            "view-after-transpose",
            CrossAttentionViewAfterTranspose,
            "`.view` cannot merge what does not lie side by side in memory, such as the heads after a transpose: "
            "`.reshape` can, or `.contiguous()` first. On the way back it is .transpose(1, 2), then .reshape(B, N, "
            "C).",
        ),
        Wrong(
            "length-of-queries",
            CrossAttentionLengthOfQueries,
            "You gave k or v the length of q. There are L keys, not N: take the length of each from its own "
            ".shape, or leave it to torch with unflatten or -1.",
        ),
        Wrong(
            "context-ignored",
            CrossAttentionToItself,
            "The context is never read: pixels look at each other, and the caption has no effect.",
        ),
        Wrong(
            "zeros-for-no-context",
            CrossAttentionOfNothing,
            "Without a context you read zeros. x takes its place: then this is self-attention.",
        ),
        Wrong(
            "skipped-without-context",
            CrossAttentionSkipped,
            "Without a context you return x as it is. x takes the context's place: then this is self-attention.",
        ),
        Wrong(
            "one-projection-for-both",
            CrossAttentionSharedProjection,
            "Keys and values come from one projection, to_k. How a word is found and what it says are two "
            "different things: the values come from to_v.",
        ),
        Wrong(
            "context-asks",
            CrossAttentionContextAsks,
            "The words ask and the pixels answer. Each pixel must get a result: queries come from x.",
        ),
        Wrong(
            "keys-and-values-swapped",
            CrossAttentionKeysAndValuesSwapped,
            "to_v makes your keys and to_k your values: a trained checkpoint would give nonsense.",
        ),
        Wrong(
            "no-output-projection",
            CrossAttentionWithoutOut,
            "to_out is missing: without it the heads stand side by side and never mix.",
        ),
        Wrong("one-head", CrossAttentionOneHead, "The heads are not split: one softmax over the whole width."),
        Wrong(
            "split-by-view",
            CrossAttentionSplitByView,
            "On the way in you reshaped straight into (B, heads, N, d): the shape fits, but numbers of several "
            "positions get mixed. View as (B, N, heads, d), then transpose, as in exercise 7.2.",
        ),
        Wrong(
            "merged-by-view",
            CrossAttentionMergedByView,
            "On the way back you reshaped (B, heads, N, d) without transposing: the heads' results end up at other "
            "positions. .transpose(1, 2) first, as in exercise 7.2.",
        ),
        Wrong(
            "scaled-by-whole-width",
            CrossAttentionScaledByWidth,
            "You divided by √C. A score sums over one head's d = C / heads numbers only, so it is √d.",
        ),
        Wrong(
            "residual-inside",
            CrossAttentionWithResidual,
            "You added x. The sum belongs to the TransformerBlock around this layer; here it would count twice.",
        ),
        Wrong("gradient-cut", CrossAttentionContextCut),
        Wrong("one-source-for-all", CrossAttentionOneContextForAll, ONE_CONTEXT),
        Wrong("one-context-for-all", CrossAttentionOneGivenContextForAll, ONE_CONTEXT),
        Wrong(
            "context-ignored-if-as-wide",
            CrossAttentionByWidth,
            "Where the context is as wide as x, you ignore it and attend to x. The width tells nothing: ask "
            "whether context is None.",
        ),
    ),
    right=(CrossAttentionByLoop, CrossAttentionByEinsum),
)
