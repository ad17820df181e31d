"""Exercises of lesson 16, the clinic: find what is wrong in five broken pieces of a pipeline, and mend it."""

import math

import torch
from torch import Generator, Tensor

from tinyldm import resblock
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, no_inputs, uniform

TITLE = "The clinic"


# ── Range and scale ──────────────────────────────────────────────────────────────────────────────────


def encoding_cases(generator: Generator) -> list[Call]:
    """An encoder, images in [0, 1], the scale."""
    image = torch.tensor([[[[0.0, 0.5], [0.25, 1.0]]]])
    calls = [Call((Made(makers.toy_encoder), image, 0.2))]
    for B, side in ((2, 4), (3, 8)):
        images = torch.rand(B, 3, side, side, generator=generator)
        calls.append(Call((Made(makers.toy_encoder), images, uniform(0.1, 0.3, generator))))
    return calls


def encode_right(encode, images: Tensor, scale: float) -> Tensor:
    """scale · E(2x - 1)."""
    return scale * encode(2 * images - 1)


def encode_broken(encode, images, scale):
    return encode(images) / scale


def encode_range_only(encode, images, scale):
    return encode(2 * images - 1) / scale


def encode_scale_only(encode, images, scale):
    return scale * encode(images)


def encode_range_wrong_way(encode, images, scale):
    return scale * encode((images + 1) / 2)


def encode_unscaled(encode, images, scale):
    return encode(2 * images - 1)


def encode_scaled_inside(encode, images, scale):
    return encode(scale * (2 * images - 1))


def encode_bytes(encode, images, scale):
    return scale * encode(images / 127.5 - 1)


def encode_half_shift(encode, images, scale):
    return scale * encode(images - 0.5)


def encode_in_place(encode, images, scale):
    images = images.detach().mul_(2).sub_(1)
    return scale * encode(images)


@torch.no_grad()
def encode_by_centre(encode, images, scale):
    return encode((images - 0.5) / 0.5) * scale


def encode_each(encode, images, scale):
    return (
        torch.cat([encode(torch.lerp(-torch.ones_like(one), torch.ones_like(one), one)) for one in images.split(1)])
        * scale
    )


MENDED_ENCODE = Exercise(
    name="mended_encode",
    title="Patient 1: swollen latents",
    stars=1,
    minutes=8,
    answer=encode_right,
    cases=encoding_cases,
    constants=("images",),
    hints=(
        "There are two mistakes. Which range do images have here, and which does the encoder expect?",
        "And of which size shall the latents be? The encoder's are too large, by about 1 / scale.",
        "To the encoder in [-1, 1]: 2 x - 1. From it times scale.",
    ),
    insight="Neither mistake raises an error: shapes are right, and the loss falls. But latents that are 5.5 times too "
    "large (1 / 0.18215), or even that squared, are not covered by the noise: the network never learns to work "
    "from pure noise, where sampling begins.",
    wrong=(
        Wrong("still-broken", encode_broken, "That is the patient as he came in: both mistakes are still there."),
        Wrong(
            "scale-still-divides",
            encode_range_only,
            "The range is mended. But latents are *multiplied* with the scale when encoded; dividing, as before "
            "decoding, makes them larger still.",
        ),
        Wrong(
            "range-still-wrong",
            encode_scale_only,
            "The scale is mended. But the encoder was trained on [-1, 1] and gets [0, 1]: it sees only bright images.",
        ),
        Wrong(
            "range-the-other-way",
            encode_range_wrong_way,
            "(x + 1) / 2 leads from [-1, 1] to [0, 1]. The encoder wants the other direction, 2 x - 1.",
        ),
        Wrong(
            "scale-removed",
            encode_unscaled,
            "The scale is gone altogether: the latents are as large as they leave the encoder. Multiply with it.",
        ),
        Wrong(
            "image-scaled",
            encode_scaled_inside,
            "You scaled the image. The scale belongs to the *latent*, after the encoder.",
        ),
        Wrong(
            "as-if-bytes",
            encode_bytes,
            "x / 127.5 - 1 is for bytes, 0 to 255. These images are in [0, 1] already: 2 x - 1.",
        ),
        Wrong(
            "half-the-range", encode_half_shift, "x - 0.5 gives [-0.5, 0.5]: half the contrast. 2 x - 1 gives [-1, 1]."
        ),
        Wrong("inputs-changed", encode_in_place),
    ),
    right=(encode_by_centre, encode_each),
)


# ── cos and sin ──────────────────────────────────────────────────────────────────────────────────────


def embedding_cases(generator: Generator) -> list[Call]:
    """Timesteps, even widths."""
    return [
        Call((torch.tensor([1, 500]), 4)),
        *(Call((torch.randint(1, 1000, (B,), generator=generator), dim)) for B, dim in ((1, 6), (5, 16), (3, 32))),
    ]


def sinusoids(t, dim, divisor, halves):
    """Frequencies 10000^(-i / divisor); halves: (cos, sin) -> the two in their order."""
    i = torch.arange(dim // 2, device=t.device)
    angle = t.float()[:, None] * torch.exp(-math.log(10000) * i / divisor)
    return torch.cat(halves(angle.cos(), angle.sin()), dim=1)


def embedding_right(t: Tensor, dim: int) -> Tensor:
    """cos ‖ sin, frequencies 10000^(-i / (dim/2))."""
    return resblock.timestep_embedding(t, dim)


def embedding_broken(t, dim):
    return sinusoids(t, dim, dim // 2 - 1, lambda cos, sin: (sin, cos))


def embedding_order_only(t, dim):
    return sinusoids(t, dim, dim // 2 - 1, lambda cos, sin: (cos, sin))


def embedding_divisor_only(t, dim):
    return sinusoids(t, dim, dim // 2, lambda cos, sin: (sin, cos))


def embedding_interleaved(t, dim):
    cos, sin = embedding_right(t, dim).chunk(2, dim=1)
    return torch.stack([cos, sin], dim=2).flatten(1)


def embedding_whole_dim(t, dim):
    return sinusoids(t, dim, dim, lambda cos, sin: (cos, sin))


def embedding_t_scaled(t, dim):
    return sinusoids(t / 1000, dim, dim // 2, lambda cos, sin: (cos, sin))


def embedding_by_powers(t, dim):
    angle = t[:, None] / 10000 ** (torch.arange(0, dim, 2, device=t.device) / dim)
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


def embedding_by_phase(t, dim):
    angle = t.double()[:, None] * torch.logspace(0, -1, dim // 2 + 1, 10000, dtype=torch.float64)[:-1].to(t.device)
    return torch.cat([torch.sin(angle + math.pi / 2), torch.sin(angle)], dim=1).float()


MENDED_EMBEDDING = Exercise(
    name="mended_embedding",
    title="Patient 2: good weights, bad pictures",
    stars=2,
    minutes=10,
    answer=embedding_right,
    cases=embedding_cases,
    tolerance=1e-3,
    hints=(
        "There are two mistakes. The first: which half comes first in Stable Diffusion?",
        "The second: the highest frequency is 1; is the lowest one 1/10000, or is it left out?",
        "cos first, then sin; the exponent is -i / (dim / 2).",
    ),
    insight="Both versions are good embeddings, and a network trained with either works. But weights trained with the "
    "one misread the other: a convention is part of the weights, and no file tells it.",
    wrong=(
        Wrong("still-broken", embedding_broken, "That is the patient as he came in: both mistakes are still there."),
        Wrong(
            "frequencies-still-wrong",
            embedding_order_only,
            "The order is mended. But your frequencies end at exactly 1/10000: dim/2 - 1 divides, as in the DDPM "
            "code. In Stable Diffusion dim/2 does.",
        ),
        Wrong(
            "order-still-wrong",
            embedding_divisor_only,
            "The frequencies are mended. But sin still comes first; Stable Diffusion has cos first.",
        ),
        Wrong(
            "interleaved",
            embedding_interleaved,
            'You interleave cos and sin, as "Attention is all you need" writes it. Here they are two halves.',
        ),
        Wrong(
            "whole-dim",
            embedding_whole_dim,
            "You divide i by dim. There are dim/2 frequencies, and i counts those: divide by dim/2.",
        ),
        Wrong(
            "t-scaled", embedding_t_scaled, "You scaled t to [0, 1]. The sinusoids expect the timestep itself, 0 … 999."
        ),
    ),
    right=(embedding_by_powers, embedding_by_phase),
)


# ── Guidance ─────────────────────────────────────────────────────────────────────────────────────────


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


def clinic_right(model, z: Tensor, t: Tensor, context: Tensor, null_context: Tensor, guidance_scale: float) -> Tensor:
    """ε_null + w (ε_caption - ε_null)."""
    return guided(model(z, t, null_context), model(z, t, context), guidance_scale)


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
    return clinic_right(model, z, t, context, null_context, guidance_scale - 1)


@torch.no_grad()
def clinic_one_batch(model, z, t, context, null_context, guidance_scale):
    both = model(torch.cat([z, z]), torch.cat([t, t]), torch.cat([null_context, context]))
    without, with_caption = both.chunk(2)
    return guided(without, with_caption, guidance_scale)


def clinic_weighted(model, z, t, context, null_context, guidance_scale):
    return guidance_scale * model(z, t, context) + (1 - guidance_scale) * model(z, t, null_context)


MENDED_GUIDANCE = Exercise(
    name="mended_guidance",
    title="Patient 3: deaf to the caption",
    stars=1,
    minutes=8,
    answer=clinic_right,
    cases=guidance_cases,
    constants=("z", "context", "null_context"),
    hints=(
        "There are two mistakes, and the first hides the second. What does the model read in each of its two calls?",
        "With the same context twice, the difference is 0, whatever its sign.",
        "The caption's context in the second call; then plus w times the difference.",
    ),
    insight="While the context did not arrive, the wrong sign did no harm: w times nothing is nothing. Mending one "
    "mistake can make a patient look worse; that is no reason to undo it.",
    wrong=(
        Wrong(
            "still-broken",
            clinic_broken,
            "The caption's context still does not reach the model: both calls read the empty one, and their "
            "difference is 0. So the sign cannot show yet, to no check: if you have mended it already, leave it so.",
        ),
        Wrong(
            "sign-still-wrong",
            clinic_sign_still_wrong,
            "The context arrives now. One more: the sign is wrong, you guide *away* from the caption.",
        ),
        Wrong(
            "guidance-removed",
            clinic_plain_caption,
            "The caption arrives, but guidance is gone, and w has no effect. Either one prediction is left, or both "
            "calls read the caption's context.",
        ),
        Wrong(
            "halves-swapped",
            clinic_halves_swapped,
            "The two predictions are exchanged: from the caption's you go w times the way to the empty one's.",
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
    ),
    right=(clinic_one_batch, clinic_weighted),
)


# ── The average that never moved ─────────────────────────────────────────────────────────────────────


def descent_cases(generator: Generator) -> list[Call]:
    """Weights, a gradient for each step, learning rate, decay."""
    calls = [Call((torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 1.0], [0.5, -1.0]]), 0.1, 0.9))]
    for D, steps in ((3, 4), (8, 6)):
        weights, gradients = torch.randn(D, generator=generator), torch.randn(steps, D, generator=generator)
        calls.append(Call((weights, gradients, uniform(0.05, 0.2, generator), uniform(0.7, 0.95, generator))))
    return calls


def descended(weights, gradients, lr, decay, update):
    """SGD with an average; update: (average, weights before the step, weights after it) -> average."""
    average = weights
    for gradient in gradients:
        before, weights = weights, weights - lr * gradient
        average = update(average, before, weights)
    return weights, average


def descent_right(weights: Tensor, gradients: Tensor, lr: float, decay: float) -> tuple[Tensor, Tensor]:
    """Each step: w ← w - lr g, then average ← d average + (1-d) w."""
    return descended(weights, gradients, lr, decay, lambda average, _, w: decay * average + (1 - decay) * w)


def descent_broken(weights, gradients, lr, decay):
    last, average = descended(weights, gradients, lr, decay, lambda average, *_: average)
    return last, decay * last + (1 - decay) * average


def descent_once(weights, gradients, lr, decay):
    last, average = descended(weights, gradients, lr, decay, lambda average, *_: average)
    return last, decay * average + (1 - decay) * last


def descent_never(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, *_: average)


def descent_alias(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, _, w: w)


def descent_before_the_step(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, before, _: decay * average + (1 - decay) * before)


def descent_swapped(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, _, w: (1 - decay) * average + decay * w)


def descent_swapped_before_the_step(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, before, _: (1 - decay) * average + decay * before)


def descent_returned_swapped(weights, gradients, lr, decay):
    return descent_right(weights, gradients, lr, decay)[::-1]


def descent_average_alone(weights, gradients, lr, decay):
    return descent_right(weights, gradients, lr, decay)[1]


def descent_from_zero(weights, gradients, lr, decay):
    last, average = descent_right(weights, gradients, lr, decay)
    return last, average - decay ** len(gradients) * weights


def descent_trains_the_average(weights, gradients, lr, decay):
    average = weights
    for gradient in gradients:
        weights = average - lr * gradient
        average = decay * average + (1 - decay) * weights
    return weights, average


def descent_uphill(weights, gradients, lr, decay):
    return descent_right(weights, -gradients, lr, decay)


def descent_in_place(weights, gradients, lr, decay):
    _, average = descent_right(weights.detach().clone(), gradients, lr, decay)
    with torch.no_grad():
        for gradient in gradients:
            weights -= lr * gradient
    return weights, average


def descent_of_one_tensor(weights, gradients, lr, decay):
    average = weights
    with torch.no_grad():
        for gradient in gradients:
            weights -= lr * gradient
            average = decay * average + (1 - decay) * weights
    return weights, average


def descent_by_lerp(weights, gradients, lr, decay):
    w, average = weights.clone(), weights.clone()
    for gradient in gradients.unbind():
        w = torch.add(w, gradient, alpha=-lr)
        average = torch.lerp(average, w, 1 - decay)
    return w, average


@torch.no_grad()
def descent_without_gradients(weights, gradients, lr, decay):
    w, average = weights.clone(), weights.detach().clone()
    for gradient in gradients:
        w -= lr * gradient
        average.mul_(decay).add_(w, alpha=1 - decay)
    return w, average


def descent_by_sums(weights, gradients, lr, decay):
    path = weights - lr * gradients.cumsum(0)
    steps = len(gradients)
    factors = (1 - decay) * decay ** torch.arange(steps - 1, -1, -1, device=weights.device, dtype=weights.dtype)
    return path[-1], decay**steps * weights + factors @ path


MENDED_AVERAGE = Exercise(
    name="mended_average",
    title="Patient 4: an average that averages nothing",
    stars=2,
    minutes=10,
    answer=descent_right,
    cases=descent_cases,
    constants=("weights", "gradients"),
    hints=(
        "Which line runs once, that should run in every step?",
        "And read the line itself: which of the two gets the large factor?",
        "In the loop, after the step: average = decay * average + (1 - decay) * weights.",
    ),
    insight="The two mistakes nearly cancelled. With the factors alone mended, an average that takes part once stays "
    "where it began: at decay 0.999 it is 99.9 % day one, and so are its pictures, while the loss falls. So "
    "look at pictures from both, the weights and their average.",
    wrong=(
        Wrong("still-broken", descent_broken, "That is the patient as he came in: both mistakes are still there."),
        Wrong(
            "still-outside",
            descent_once,
            "The factors are mended. One more: the average is still updated only once, after the loop. It stays "
            "nearly where it began.",
        ),
        Wrong("never", descent_never, "The average never moves: it is still the starting weights."),
        Wrong("copy", descent_alias, "Your average is the newest weights themselves: nothing is averaged."),
        Wrong(
            "before-the-step",
            descent_before_the_step,
            "You average *before* the step: the average is one step late, and the last step is lost to it.",
        ),
        Wrong(
            "factors-swapped",
            descent_swapped,
            "The average is updated in each step now. One more: the factors are still exchanged, so that it takes in "
            "most of the newest weights at once. decay belongs to the average.",
        ),
        Wrong(
            "swapped-before-the-step",
            descent_swapped_before_the_step,
            "The average is updated in each step now. Two more: the factors are still exchanged, and it takes in the "
            "weights as they were *before* the step.",
        ),
        Wrong(
            "returned-swapped",
            descent_returned_swapped,
            "Both are right, but returned in the other order: (weights, average) is asked for.",
        ),
        Wrong("average-alone", descent_average_alone, "The average is right. Return both: weights, average."),
        Wrong("from-zero", descent_from_zero, "Your average starts at 0. It starts at the weights."),
        Wrong(
            "average-is-trained",
            descent_trains_the_average,
            "You step from the average. Training goes on from the weights; the average only watches.",
        ),
        Wrong("uphill", descent_uphill, "The sign of the step is wrong: w - lr · gradient goes down."),
        Wrong(
            "one-tensor",
            descent_of_one_tensor,
            "weights -= … changes the very tensor that `average` still names in the first step, and the caller's as "
            "well. weights = weights - … makes a new one.",
        ),
        Wrong("inputs-changed", descent_in_place),
    ),
    right=(descent_by_lerp, descent_by_sums, descent_without_gradients),
)


# ── The walk ─────────────────────────────────────────────────────────────────────────────────────────


def walk_cases(generator: Generator) -> list[Call]:
    """A model that predicts the noise, z, context, falling timesteps, ᾱ as a list. One walk ends at t = 0."""

    def levels(T: int) -> list[float]:
        kept, found = 1.0, []
        for _ in range(T):
            kept *= 1 - uniform(0.05, 0.25, generator)
            found.append(kept)
        return found

    calls = [
        Call(
            (
                Made(makers.strict_unet),
                torch.tensor([[[[1.0, -0.5]]]]),
                torch.tensor([[[0.5, 1.0]]]),
                [3, 1],
                [0.9, 0.6, 0.3, 0.1],
            )
        )
    ]
    for shape, ts in (
        ((2, 3, 2, 2), [8, 5, 2]),
        ((3, 2, 4, 4), [9, 7, 4, integer(1, 3, generator)]),
        ((2, 4, 4, 4), [9, 6, 0]),
    ):
        z, context = torch.randn(shape, generator=generator), torch.randn(shape[0], 5, 6, generator=generator)
        calls.append(Call((Made(makers.strict_unet), z, context, ts, levels(10))))
    return calls


def walk(model, z, context, told, levels):
    """DDIM; told: what the model is told; levels: ᾱ in each step as (now, after)."""
    for t, (now, after) in zip(told, levels):
        eps = model(z, torch.full((len(z),), t, device=z.device), context)
        z0_hat = (z - (1 - now) ** 0.5 * eps) / now**0.5
        z = after**0.5 * z0_hat + (1 - after) ** 0.5 * eps
    return z


def pairs(ts, alpha_bar, last=1.0):
    """(ᾱ now, ᾱ after) of each step."""
    levels = [*(alpha_bar[t] for t in ts), last]
    return list(zip(levels, levels[1:]))


def pairs_one_below(ts, alpha_bar, last=None):
    """The same, with ᾱ at t - 1 after each step; last: after the last one, if not that, too."""
    after = [alpha_bar[t - 1] for t in ts]
    return [(alpha_bar[t], level) for t, level in zip(ts, after if last is None else [*after[:-1], last])]


def one_below(ts):
    """t - 1 for each t."""
    return [t - 1 for t in ts]


def walk_right(model, z: Tensor, context: Tensor, ts: list, alpha_bar: list) -> Tensor:
    """DDIM from ts[0] to the clean latent."""
    return walk(model, z, context, ts, pairs(ts, alpha_bar))


def walk_broken(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs_one_below(ts, alpha_bar))


def walk_t_only(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs_one_below(ts, alpha_bar))


def walk_next_only(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar, alpha_bar[ts[-1] - 1]))


def walk_last_only(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs_one_below(ts, alpha_bar, 1.0))


def walk_t_still_wrong(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar))


def walk_next_still_wrong(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs_one_below(ts, alpha_bar, 1.0))


def walk_last_still_wrong(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar, alpha_bar[ts[-1] - 1]))


def walk_ends_early(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar)[:-1])


def walk_ends_early_off_by_one(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar)[:-1])


def walk_to_the_first_level(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar, alpha_bar[0]))


def walk_to_the_first_level_off_by_one(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar, alpha_bar[0]))


def walk_beyond_the_end(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, [(alpha_bar[t], alpha_bar[ts[i + 1]]) for i, t in enumerate(ts)])


def walk_zero_for_none(model, z, context, ts, alpha_bar):
    following = [*ts[1:], None]
    return walk(
        model, z, context, ts, [(alpha_bar[t], alpha_bar[after] if after else 1.0) for t, after in zip(ts, following)]
    )


def walk_told_the_next(model, z, context, ts, alpha_bar):
    return walk(model, z, context, [*ts[1:], 0], pairs(ts, alpha_bar))


def walk_told_one_number(model, z, context, ts, alpha_bar):
    def one_for_all(z, t, context):
        return model(z, t[:1], context)

    return walk_right(one_for_all, z, context, ts, alpha_bar)


def walk_told_no_tensor(model, z, context, ts, alpha_bar):
    return walk_right(lambda z, t, context: model(z, ts[0], context), z, context, ts, alpha_bar)


def walk_rising(model, z, context, ts, alpha_bar):
    return walk_right(model, z, context, ts[::-1], alpha_bar)


def walk_by_factors(model, z, context, ts, alpha_bar):
    for i, t in enumerate(ts):
        now, after = alpha_bar[t], alpha_bar[ts[i + 1]] if t != ts[-1] else 1
        ratio = math.sqrt(after / now)
        eps = model(z, torch.tensor([t] * len(z), device=z.device), context)
        z = ratio * z + (math.sqrt(1 - after) - ratio * math.sqrt(1 - now)) * eps
    return z


@torch.no_grad()
def walk_in_sigma(model, z, context, ts, alpha_bar):
    sigmas = [math.sqrt((1 - alpha_bar[t]) / alpha_bar[t]) for t in ts] + [0.0]
    x = z * math.sqrt(1 + sigmas[0] ** 2)
    for t, sigma, after in zip(ts, sigmas, sigmas[1:]):
        eps = model(x / math.sqrt(1 + sigma**2), torch.full(z.shape[:1], t, device=z.device), context)
        x = x + (after - sigma) * eps
    return x


MENDED_WALK = Exercise(
    name="mended_walk",
    title="Patient 5: good with all steps only",
    stars=3,
    minutes=15,
    answer=walk_right,
    cases=walk_cases,
    constants=("z", "context"),
    hints=(
        "There are three mistakes. First: which t belongs to a z with the noise of alpha_bar[t]?",
        "Second: the next question is asked at the next *visited* timestep. To which ᾱ must this step lead?",
        "Third: after the last timestep comes the clean latent, ᾱ = 1.",
    ),
    insight="With all steps the second mistake is none, as the next timestep *is* t - 1. Code that was tested with all "
    "steps only breaks when someone takes fifty.",
    wrong=(
        Wrong("still-broken", walk_broken, "That is the patient as he came in: all three mistakes are still there."),
        Wrong(
            "only-t-mended",
            walk_t_only,
            "The model is told the right t. Two more: each step still leads to ᾱ at t - 1, but the next question is "
            "asked many timesteps further down; and the last step must land on the clean latent.",
        ),
        Wrong(
            "only-next-mended",
            walk_next_only,
            "Each step leads to the next visited timestep now. Two more: what the model is told, and where the last "
            "step lands.",
        ),
        Wrong(
            "only-last-mended",
            walk_last_only,
            "The last step lands on the clean latent now. Two more: what the model is told, and where the steps "
            "before it lead.",
        ),
        Wrong(
            "t-still-off-by-one",
            walk_t_still_wrong,
            "The levels are mended. One more: the model is still told t - 1, while z has the noise of t.",
        ),
        Wrong(
            "next-still-t-minus-one",
            walk_next_still_wrong,
            "The model is told the right t, and the last step is mended. One more: the others still lead to ᾱ at "
            "t - 1; the next question is asked many timesteps further down, so z has too much noise for it.",
        ),
        Wrong(
            "last-still-t-minus-one",
            walk_last_still_wrong,
            "The model is told the right t, and each step leads to the next one. One more: the last step still leads "
            "to ᾱ at t - 1, where noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "one-step-missing",
            walk_ends_early,
            "You stop at the last timestep: its own step, onto the clean latent, is missing.",
        ),
        Wrong(
            "step-missing-and-t",
            walk_ends_early_off_by_one,
            "Each step leads to the next visited timestep now. Two more: the model is still told t - 1, and the last "
            "timestep's own step, onto the clean latent, is missing.",
        ),
        Wrong(
            "not-quite-clean",
            walk_to_the_first_level,
            "The last step leads to ᾱ[0], where a little noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "not-quite-clean-and-t",
            walk_to_the_first_level_off_by_one,
            "Each step leads to the next visited timestep now. Two more: the model is still told t - 1, and the last "
            "step leads to ᾱ[0], where a little noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "beyond-the-end",
            walk_beyond_the_end,
            "In the last step there is no next timestep: ts[i + 1] lies beyond the end of the list. After the last "
            "comes the clean latent, ᾱ = 1.",
        ),
        Wrong(
            "zero-for-none",
            walk_zero_for_none,
            'Timestep 0 is taken for "no next timestep": in Python 0 counts as false, too. Ask whether '
            "it is the last step instead.",
        ),
        Wrong(
            "told-the-next",
            walk_told_the_next,
            "The model is told the timestep *after* the step. It must be told the one whose noise z has now.",
        ),
        Wrong(
            "one-t-for-all",
            walk_told_one_number,
            "t has one entry, whatever the batch. The U-Net wants one timestep for each latent, (B,), as the patient "
            "made it: torch.full((len(z),), t, …).",
        ),
        Wrong(
            "t-is-a-number",
            walk_told_no_tensor,
            "The U-Net wants t as a tensor, one timestep for each latent, (B,), as the patient made it: "
            "torch.full((len(z),), t, …).",
        ),
        Wrong(
            "rising",
            walk_rising,
            "You walk upwards, from little noise to much. The timesteps are given in falling order.",
        ),
    ),
    right=(walk_by_factors, walk_in_sigma),
)


# ── Symptoms ─────────────────────────────────────────────────────────────────────────────────────────


def letters_right():
    return "DBEAC"


def letters_deaf_and_average():
    return "BDEAC"


def letters_deaf_and_sign():
    return "EBDAC"


def letters_range_and_clean():
    return "DBECA"


def letters_average_and_clean():
    return "DCEAB"


def letters_by_join():
    return "".join(["D", "B", "E", "A", "C"])


def letters_by_table():
    return "".join({1: "D", 2: "B", 3: "E", 4: "A", 5: "C"}[symptom] for symptom in range(1, 6))


SYMPTOMS = Exercise(
    name="symptoms",
    title="Predict: which fault has which symptom?",
    stars=2,
    minutes=10,
    answer=letters_right,
    cases=no_inputs,
    hints=(
        "Begin with the surest: with one of the faults even the final latent is right, to the last bit. Which one, "
        "and what does it do to pixels?",
        "Two faults concern the caption. Ask of each what *another* caption, from the same noise, would change. A "
        "third concerns neither captions nor sampling, but which weights draw.",
        "Symptom 4 is A, symptom 5 is C.",
    ),
    insight="Only the pictures tell: in all five cases the training loss falls. So look at pictures early, with a "
    "fixed seed, with two different captions, and from both sets of weights.",
    wrong=(
        Wrong(
            "context-and-average",
            letters_deaf_and_average,
            "1 and 2 are exchanged. A network that never reads its captions still makes good pictures; an average "
            "that never moved makes none.",
        ),
        Wrong(
            "context-and-sign",
            letters_deaf_and_sign,
            "1 and 3 are exchanged. Without context the caption has *no* effect; with the wrong sign it has the "
            "opposite one.",
        ),
        Wrong(
            "range-and-last-step",
            letters_range_and_clean,
            "4 and 5 are exchanged. Grain is noise that is left; a black half is a matter of range.",
        ),
        Wrong(
            "average-and-last-step",
            letters_average_and_clean,
            "2 and 5 are exchanged. A walk that stops a little early leaves a little noise; it does not depend on "
            "which weights are used.",
        ),
    ),
    right=(letters_by_join, letters_by_table),
)


EXERCISES = (MENDED_ENCODE, MENDED_EMBEDDING, MENDED_GUIDANCE, MENDED_AVERAGE, MENDED_WALK, SYMPTOMS)
