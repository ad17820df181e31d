"""Exercise guided_prediction of lesson 12: Classifier-free guidance."""

import torch
from torch import Generator

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def guided_prediction(model, z, t, context, null_context, guidance_scale):
    """ε_null + w (ε_caption - ε_null).

    z: (B, C, h, w); t: (B,) int64; context: (B, L, D) of the captions; null_context: (1, L, D) of the empty caption;
    guidance_scale: w.  Returns (B, C, h, w).
    """
    ### BEGIN SOLUTION
    without = model(z, t, null_context.expand(len(z), -1, -1))
    with_caption = model(z, t, context)
    return without + guidance_scale * (with_caption - without)
    ### END SOLUTION


def guidance_cases(generator: Generator) -> list[Call]:
    """A model, z, t, context (B, L, D), null context (1, L, D), w: first a model that a reader can compute; w ≤ 1, too.

    The last models are as strict as the real U-Net: without a context for each image they refuse.
    """
    calls = [
        Call(
            (
                Made(makers.z_plus_square_of_context),
                torch.tensor([[[[0.5]]]]),
                torch.tensor([3]),
                torch.tensor([[[2.0]]]),
                torch.tensor([[[-0.5]]]),
                w,
            )
        )
        for w in (3.0, 1.0, 0.5, 0.0)
    ]
    for shape, w in (
        ((2, 3, 4, 4), uniform(1.5, 6, generator)),
        ((3, 2, 4, 4), uniform(0.2, 0.8, generator)),
        ((3, 4, 8, 8), 7.5),
    ):
        z, B = torch.randn(shape, generator=generator), shape[0]
        context, null = (torch.randn(n, 5, 6, generator=generator) for n in (B, 1))
        calls.append(Call((Made(makers.strict_unet), z, torch.randperm(50, generator=generator)[:B], context, null, w)))
    return calls


def asked_twice(model, z, t, context, null_context):
    """The prediction without and with the caption."""
    return model(z, t, null_context.expand(len(z), -1, -1)), model(z, t, context)


def guided_w_minus_one(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context, null_context, guidance_scale - 1)


def guided_as_in_the_paper(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context, null_context, guidance_scale + 1)


def guided_sign(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return with_caption + guidance_scale * (without - with_caption)


def guided_away(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context, null_context, -guidance_scale)


def guided_scaled_only(model, z, t, context, null_context, guidance_scale):
    return guidance_scale * model(z, t, context)


def guided_context_mixed(model, z, t, context, null_context, guidance_scale):
    return model(z, t, null_context + guidance_scale * (context - null_context))


def guided_zeros_for_null(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context, torch.zeros_like(null_context), guidance_scale)


def guided_difference_only(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return guidance_scale * (with_caption - without)


def guided_null_not_expanded(model, z, t, context, null_context, guidance_scale):
    without, with_caption = model(z, t, null_context), model(z, t, context)
    return without + guidance_scale * (with_caption - without)


def halves_of(model, z, t, contexts):
    """One call with twice the batch: its first and its second half."""
    return model(torch.cat([z, z]), torch.cat([t, t]), contexts).chunk(2)


def guided_null_once_in_the_batch(model, z, t, context, null_context, guidance_scale):
    without, with_caption = halves_of(model, z, t, torch.cat([null_context, context]))
    return without + guidance_scale * (with_caption - without)


def guided_t_not_doubled(model, z, t, context, null_context, guidance_scale):
    without, with_caption = model(torch.cat([z, z]), t, torch.cat([null_context.expand_as(context), context])).chunk(2)
    return without + guidance_scale * (with_caption - without)


def guided_images_interleaved(model, z, t, context, null_context, guidance_scale):
    z, t = z.repeat_interleave(2, 0), t.repeat_interleave(2, 0)
    without, with_caption = model(z, t, torch.cat([null_context.expand_as(context), context])).chunk(2)
    return without + guidance_scale * (with_caption - without)


def guided_contexts_interleaved(model, z, t, context, null_context, guidance_scale):
    contexts = torch.stack([null_context.expand_as(context), context], 1).flatten(0, 1)
    without, with_caption = halves_of(model, z, t, contexts)
    return without + guidance_scale * (with_caption - without)


def guided_split_by_parity(model, z, t, context, null_context, guidance_scale):
    both = torch.cat(halves_of(model, z, t, torch.cat([null_context.expand_as(context), context])))
    return both[0::2] + guidance_scale * (both[1::2] - both[0::2])


def guided_not_below_one(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context, null_context, max(guidance_scale, 1))


def guided_caption_only(model, z, t, context, null_context, guidance_scale):
    return model(z, t, context)


def guided_null_only(model, z, t, context, null_context, guidance_scale):
    return model(z, t, null_context.expand(len(z), -1, -1))


def guided_added(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return without + guidance_scale * with_caption


def guided_sum(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return without + guidance_scale * (with_caption + without)


def guided_divided(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return without + (with_caption - without) / guidance_scale if guidance_scale else without


def guided_at_most(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context, null_context, min(guidance_scale, 1.0))


def guided_t_interleaved(model, z, t, context, null_context, guidance_scale):
    contexts = torch.cat([null_context.expand_as(context), context])
    without, with_caption = model(torch.cat([z, z]), t.repeat_interleave(2), contexts).chunk(2)
    return without + guidance_scale * (with_caption - without)


def guided_z_interleaved(model, z, t, context, null_context, guidance_scale):
    contexts = torch.cat([null_context.expand_as(context), context])
    without, with_caption = model(z.repeat_interleave(2, 0), torch.cat([t, t]), contexts).chunk(2)
    return without + guidance_scale * (with_caption - without)


def guided_by_one_context(model, z, t, context, null_context, guidance_scale):
    return guided_prediction(model, z, t, context[:1].expand_as(context), null_context, guidance_scale)


def guided_with_shortcuts(model, z, t, context, null_context, guidance_scale):
    if guidance_scale == 1:
        return model(z, t, context)
    if guidance_scale == 0:
        return model(z, t, null_context.expand(z.shape[0], -1, -1))
    return guided_prediction(model, z, t, context, null_context, guidance_scale)


def guided_in_one_batch(model, z, t, context, null_context, guidance_scale):
    without, with_caption = halves_of(model, z, t, torch.cat([null_context.repeat(len(z), 1, 1), context]))
    return without + guidance_scale * (with_caption - without)


def guided_by_lerp(model, z, t, context, null_context, guidance_scale):
    return torch.lerp(*asked_twice(model, z, t, context, null_context), guidance_scale)


def guided_from_the_caption(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return with_caption + (guidance_scale - 1) * (with_caption - without)


EXERCISE = Exercise(
    name="guided_prediction",
    title="Classifier-free guidance",
    stars=2,
    minutes=12,
    answer=guided_prediction,
    cases=guidance_cases,
    constants=("z", "context", "null_context"),
    hints=(
        "Ask the model twice, with the caption's context and with the null context.",
        "null_context is (1, L, D), and the model wants a context for each image: null_context.expand(len(z), -1, -1).",
        "Start at the answer without the caption and go w times the way to the answer with it.",
    ),
    shape_hint=2,
    insight="At w = 1 the null prediction cancels; at w = 0 the caption does. Beyond 1 you leave everything the "
    "model was trained to say: guidance is extrapolation, which is why too much of it burns the colours.",
    wrong=(
        Wrong(
            "w-minus-one",
            guided_w_minus_one,
            "You went w - 1 times the way from the null prediction. w - 1 belongs to the other form, which starts "
            "at the caption's: ε_caption + (w-1)(ε_caption - ε_null).",
        ),
        Wrong(
            "the-papers-w",
            guided_as_in_the_paper,
            "That is the w of Ho & Salimans' paper, (1+w) ε_caption - w ε_null, where 0 means no guidance. Here, "
            "as in Stable Diffusion, 1 means no guidance.",
        ),
        Wrong(
            "roles-swapped",
            guided_sign,
            "The two predictions are swapped: you start at the caption's and go towards *no* caption. Was the "
            "batch split in a different order from the one it was joined in?",
        ),
        Wrong(
            "away-from-the-caption",
            guided_away,
            "The sign of the difference is wrong: ε_caption - ε_null points to the caption, yours away from it.",
        ),
        Wrong(
            "prediction-scaled",
            guided_scaled_only,
            "You scaled the whole prediction by w, all of its noise too. Only what the caption *changes* is "
            "exaggerated.",
        ),
        Wrong(
            "context-extrapolated",
            guided_context_mixed,
            "You extrapolated the context and asked once. The model has never seen such a context; guidance "
            "extrapolates its two *answers*.",
        ),
        Wrong(
            "zeros-for-null",
            guided_zeros_for_null,
            'You took zeros for the null context. In training "no caption" was the encoded empty caption; zeros '
            "mean nothing to this model.",
        ),
        Wrong("start-missing", guided_difference_only, "That is only w times the difference. It is added to ε_null."),
        Wrong(
            "null-not-expanded",
            guided_null_not_expanded,
            "null_context is (1, L, D), one for all. The U-Net wants a context for each image and refuses another "
            "number of them: null_context.expand(len(z), -1, -1).",
        ),
        Wrong(
            "null-once-in-the-batch",
            guided_null_once_in_the_batch,
            "You doubled the images, but null_context came into the batch only once: that is B + 1 contexts for 2B "
            "images. Expand it to B first: null_context.expand(len(z), -1, -1).",
        ),
        Wrong(
            "t-not-doubled",
            guided_t_not_doubled,
            "You doubled the images, but not their timesteps. The model wants a t for each: torch.cat([t, t]).",
        ),
        Wrong(
            "images-interleaved",
            guided_images_interleaved,
            "You doubled the images one by one (1, 1, 2, 2, …), the contexts as two halves. So they do not belong "
            "together: torch.cat([z, z]) and torch.cat([t, t]) make halves.",
        ),
        Wrong(
            "contexts-interleaved",
            guided_contexts_interleaved,
            "In your batch the contexts alternate (null, caption, null, caption, …), the images are two halves. So "
            "they do not belong together: first all null contexts, then all captions'.",
        ),
        Wrong(
            "split-by-parity",
            guided_split_by_parity,
            "The batch was two halves, first without, then with the captions, but you split the predictions "
            "alternately. Take the halves: .chunk(2).",
        ),
        Wrong(
            "not-below-one",
            guided_not_below_one,
            "For w below 1 you return the caption's prediction, as if w were 1. The formula also holds there: at w "
            "= 0 the caption plays no part, at 0.5 half of it.",
        ),
        Wrong(
            "caption-only",
            guided_caption_only,
            "That is the caption's prediction, whatever w is: no guidance. Ask for the one without the caption, "
            "too, and go on from it.",
        ),
        Wrong(
            "null-only",
            guided_null_only,
            "That is the prediction without the caption, whatever w is: the picture would know nothing of its "
            "caption. Go from it w times the way to the one with the caption.",
        ),
        Wrong(
            "caption-added",
            guided_added,
            "You added w times the caption's whole prediction to ε_null: together 1 + w times the noise. Add w "
            "times the *difference*, ε_caption - ε_null.",
        ),
        Wrong(
            "plus-for-minus",
            guided_sum,
            "You added the two predictions inside the bracket. The direction is their *difference*: ε_caption - "
            "ε_null.",
        ),
        Wrong("divided-by-w", guided_divided, "You divided the difference by w. It is multiplied."),
        Wrong(
            "w-at-most-one",
            guided_at_most,
            "You limited w to 1. Guidance goes *beyond* the caption's prediction where w is above 1.",
        ),
        Wrong(
            "t-interleaved",
            guided_t_interleaved,
            "In the doubled batch z is [z, z], but t is [t0, t0, t1, t1, …]: most images are asked with another "
            "one's t. Double it as z: torch.cat([t, t]).",
        ),
        Wrong(
            "z-interleaved",
            guided_z_interleaved,
            "In the doubled batch t is [t, t], but z is [z0, z0, z1, z1, …]. Double it as t: torch.cat([z, z]).",
        ),
        Wrong(
            "one-context-for-all",
            guided_by_one_context,
            "Every image is guided by the first one's caption. Each has its own: context is (B, L, D).",
        ),
    ),
    right=(
        guided_in_one_batch,
        guided_by_lerp,
        guided_from_the_caption,
        guided_with_shortcuts,
        torch.no_grad()(guided_prediction),
    ),
)
