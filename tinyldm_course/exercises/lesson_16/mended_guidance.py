"""Exercise mended_guidance of lesson 16: Patient 3: deaf to the caption."""

import torch
from torch import Generator

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def mended_guidance(model, z, t, context, null_context, guidance_scale):
    """Classifier-free guidance: 1 is the plain conditional model, 0 ignores the caption.

    model: (z, t, context) -> prediction; z: (B, C, h, w); t: (B,); context, null_context: (B, L, D).
    """
    ### BEGIN SOLUTION
    without = model(z, t, null_context)
    with_caption = model(z, t, context)
    return without + guidance_scale * (with_caption - without)
    ### END SOLUTION


def guidance_cases(generator: Generator) -> list[Call]:
    """A model, z, t, context, null context, w."""
    calls = [
        Call(
            (
                Made(makers.toy_unet),
                torch.tensor([[[[1.0]]]]),
                torch.tensor([3]),
                torch.tensor([[[0.5, 1.0]]]),
                torch.tensor([[[0.0, -0.5]]]),
                3.0,
            )
        )
    ]
    for shape in ((2, 3, 4, 4), (3, 4, 8, 8)):
        B, z = shape[0], torch.randn(shape, generator=generator)
        context, null = (torch.randn(B, 5, 6, generator=generator) for _ in range(2))
        t = torch.randperm(50, generator=generator)[:B]
        calls.append(Call((Made(makers.toy_unet), z, t, context, null, uniform(2, 8, generator))))
    return calls


def guided(first, second, w):
    """first + w (second - first)."""
    return first + w * (second - first)


def clinic_broken(model, z, t, context, null_context, guidance_scale):
    without, with_caption = model(z, t, null_context), model(z, t, null_context)
    return without - guidance_scale * (with_caption - without)


def clinic_sign_still_wrong(model, z, t, context, null_context, guidance_scale):
    without, with_caption = model(z, t, null_context), model(z, t, context)
    return without - guidance_scale * (with_caption - without)


def clinic_no_difference(model, z, t, context, null_context, guidance_scale):
    return model(z, t, null_context) + guidance_scale * model(z, t, context)


def clinic_no_start(model, z, t, context, null_context, guidance_scale):
    return guidance_scale * (model(z, t, context) - model(z, t, null_context))


def clinic_plain_caption(model, z, t, context, null_context, guidance_scale):
    return model(z, t, context)


def clinic_halves_swapped(model, z, t, context, null_context, guidance_scale):
    return guided(model(z, t, context), model(z, t, null_context), guidance_scale)


def clinic_from_the_caption(model, z, t, context, null_context, guidance_scale):
    without, with_caption = model(z, t, null_context), model(z, t, context)
    return with_caption + guidance_scale * (with_caption - without)


def clinic_w_minus_one(model, z, t, context, null_context, guidance_scale):
    return mended_guidance(model, z, t, context, null_context, guidance_scale - 1)


def clinic_sum(model, z, t, context, null_context, guidance_scale):
    without, with_caption = model(z, t, null_context), model(z, t, context)
    return without + guidance_scale * (with_caption + without)


@torch.no_grad()
def clinic_one_batch(model, z, t, context, null_context, guidance_scale):
    both = model(torch.cat([z, z]), torch.cat([t, t]), torch.cat([null_context, context]))
    without, with_caption = both.chunk(2)
    return guided(without, with_caption, guidance_scale)


def clinic_weighted(model, z, t, context, null_context, guidance_scale):
    return guidance_scale * model(z, t, context) + (1 - guidance_scale) * model(z, t, null_context)


EXERCISE = Exercise(
    name="mended_guidance",
    title="Patient 3: deaf to the caption",
    stars=1,
    minutes=8,
    answer=mended_guidance,
    cases=guidance_cases,
    constants=("z", "context", "null_context"),
    hints=(
        "There are two mistakes, and the first hides the second. What does the model read in each of its two calls?",
        "With the same context twice, the difference is 0, whatever its sign.",
        "The caption's context in the second call; then plus w times the difference.",
    ),
    insight="As long as the context did not arrive, the wrong sign did no harm: w times 0 is 0. Mending one "
    "mistake can make a patient look worse; that is no reason to undo it.",
    wrong=(
        Wrong(
            "still-broken",
            clinic_broken,
            "The caption's context still does not reach the model: both calls read the empty one, and their "
            "difference is 0. So no check can see the sign yet: if you have already mended it, leave it.",
        ),
        Wrong(
            "sign-still-wrong",
            clinic_sign_still_wrong,
            "The context arrives now. One more: the sign is wrong, you guide *away* from the caption.",
        ),
        Wrong(
            "guidance-removed",
            clinic_plain_caption,
            "The caption arrives, but guidance is gone, and w has no effect. Either one prediction is left, or "
            "both calls read the caption's context.",
        ),
        Wrong(
            "halves-swapped",
            clinic_halves_swapped,
            "The two predictions are swapped: from the caption's you go w times the way to the empty one's.",
        ),
        Wrong(
            "started-at-the-caption",
            clinic_from_the_caption,
            "You start at the caption's prediction and go w times *further*: that is w + 1. Start at the empty one's.",
        ),
        Wrong(
            "difference-forgotten",
            clinic_no_difference,
            "You add w times the caption's whole prediction to the empty one's. Add w times their *difference*.",
        ),
        Wrong(
            "start-forgotten",
            clinic_no_start,
            "You return w times the difference alone. It is added to the empty one's prediction.",
        ),
        Wrong("w-minus-one", clinic_w_minus_one, "w - 1 is too little: at w = 1 the caption would be ignored."),
        Wrong("plus-for-minus", clinic_sum, "You added the predictions inside the bracket. It is their difference."),
    ),
    right=(clinic_one_batch, clinic_weighted),
)
