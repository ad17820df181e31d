"""Exercise caption_to_image of lesson 13: Capstone: a picture from a caption."""

import math
from collections.abc import Callable

import torch
from torch import Generator

from tinyldm import forward_diffusion, reverse_diffusion
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform
from tinyldm_course.exercises.lesson_13.shared import mixed, noised, random_alpha_bar


def caption_to_image(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    """B captions -> B images in [0, 1], clipped.

    encode: list of n strings -> (n, L, D); unet: (z (n, C, h, w), t (n,), context (n, L, D)) -> velocity (n, C, h, w);
    decode: z0 -> images in [-1, 1], with a little overshoot; alpha_bar: T numbers, a list; noise: (B, C, h, w)
    to start from.
    """
    ### BEGIN SOLUTION
    null_context, context = encode([""] * len(captions)), encode(captions)
    T, z = len(alpha_bar), noise
    ts = [round(T - i * T / steps) - 1 for i in range(steps)]
    levels = [alpha_bar[t] for t in ts] + [1.0]
    for t, a, next_a in zip(ts, levels, levels[1:]):
        t = torch.full((len(z),), t, device=z.device)
        without, with_caption = unet(z, t, null_context), unet(z, t, context)
        v = without + guidance_scale * (with_caption - without)
        z0_hat = a**0.5 * z - (1 - a) ** 0.5 * v
        eps_hat = a**0.5 * v + (1 - a) ** 0.5 * z
        z = next_a**0.5 * z0_hat + (1 - next_a) ** 0.5 * eps_hat
    return ((decode(z) + 1) / 2).clamp(0, 1)
    ### END SOLUTION


def capstone_cases(generator: Generator) -> list[Call]:
    """Captions; text encoder, U-Net, decoder; ᾱ, noise, steps, w. With 3 steps the timesteps must be rounded."""
    parts = Made(makers.toy_text_encoder), Made(makers.strict_unet), Made(makers.toy_decoder)
    calls = [Call((["a tree"], *parts, [0.9, 0.7, 0.5, 0.3, 0.1], torch.tensor([[[[1.0]]]]), 3, 3.0))]
    for B, steps, w in ((2, 3, uniform(1.5, 3, generator)), (3, 5, uniform(3, 5, generator))):
        noise, alpha_bar = torch.randn(B, 4, 4, 4, generator=generator), random_alpha_bar(20, generator)
        captions = [f"a {word} {integer(0, 99, generator)}" for word in ("star", "ring", "moon")[:B]]
        calls.append(Call((captions, *parts, alpha_bar, noise, steps, w)))
    # Latents far beyond ±3, and a decoder so weak that its pictures show them: who clips ẑ0 is seen.
    far = 3 * torch.randn(2, 4, 8, 8, generator=generator)
    weak = (*parts[:2], Made(makers.toy_decoder, (0.1,)))
    calls.append(
        Call((["a boat", "a kite"], *weak, random_alpha_bar(20, generator), far, 4, uniform(1.2, 1.6, generator)))
    )
    return calls


def contexts_of(encode, captions):
    """Of nothing, and of the captions."""
    return encode([""] * len(captions)), encode(captions)


def asked(unet, z, i, t, contexts):
    """The predictions for both contexts, in step i at timestep t."""
    return [unet(z, t.expand(len(z)), context) for context in contexts]


def times(w):
    """Guidance of a given w."""
    return lambda without, with_caption: without + w * (with_caption - without)


def velocity_read(v, z, alpha_bar):
    """(ẑ0, ε̂)."""
    return alpha_bar**0.5 * z - (1 - alpha_bar) ** 0.5 * v, alpha_bar**0.5 * v + (1 - alpha_bar) ** 0.5 * z


def following(ts, i, alpha_bar):
    """ᾱ at the next timestep of the walk; 1 after the last."""
    return alpha_bar[ts[i + 1]] if i + 1 < len(ts) else 1.0


def finished(decode, z0):
    """Decoded, [-1, 1] -> [0, 1], clipped."""
    return ((decode(z0) + 1) / 2).clamp(0, 1)


def image_with(
    *,
    contexts: Callable = contexts_of,
    spacing: Callable = reverse_diffusion.trailing,
    walked: slice = slice(None),
    ask: Callable = asked,
    guide: Callable = times,
    read: Callable = velocity_read,
    level: Callable = following,
    mix: Callable = mixed,
    finish: Callable = finished,
) -> Callable:
    """The right answer; with another part in the place of one of these, a wrong one."""

    def answer(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
        z, both, ts = noise, contexts(encode, captions), spacing(steps, len(alpha_bar))
        for i, t in [*enumerate(ts)][walked]:
            v = guide(guidance_scale)(*ask(unet, z, i, t, both))
            z = mix(*read(v, z, alpha_bar[t]), alpha_bar[t], level(ts, i, alpha_bar))
        return finish(decode, z)

    return answer


image_in_parts = image_with()


# The U-Net is asked wrongly.
def asked_with_numbers(unet, z, i, t, contexts):
    return [unet(z, t.item(), context) for context in contexts]


def asked_with_one_timestep(unet, z, i, t, contexts):
    return [unet(z, t.view(1), context) for context in contexts]


def asked_with_the_index(unet, z, i, t, contexts):
    return asked(unet, z, i, torch.tensor(i), contexts)


def asked_together(unet, z, t, contexts):
    """Both in one batch."""
    return unet(torch.cat([z, z]), t, torch.cat(contexts)).chunk(2)


def asked_together_with_one_timestep(unet, z, i, t, contexts):
    return asked_together(unet, z, t.view(1), contexts)


def asked_together_with_half_the_timesteps(unet, z, i, t, contexts):
    return asked_together(unet, z, t.expand(len(z)), contexts)


def asked_together_rightly(unet, z, i, t, contexts):
    return asked_together(unet, z, t.expand(2 * len(z)), contexts)


def one_null_context(encode, captions):
    return encode([""]), encode(captions)


def contexts_swapped(encode, captions):
    return contexts_of(encode, captions)[::-1]


def zeros_for_null(encode, captions):
    context = encode(captions)
    return torch.zeros_like(context), context


# Other timesteps are visited.
def trailing_without_minus_one(steps, T):
    return reverse_diffusion.trailing(steps, T) + 1


def trailing_cut(steps, T):
    return torch.tensor([int(T - i * T / steps) - 1 for i in range(steps)])


def trailing_cut_before_subtracting(steps, T):
    return torch.tensor([T - i * T // steps - 1 for i in range(steps)])


def trailing_of_whole_strides(steps, T):
    return torch.tensor([T - i * (T // steps) - 1 for i in range(steps)])


def both_ends_rounded(steps, T):
    return reverse_diffusion.linspace(steps, T).round().long()


def both_ends_cut(steps, T):
    return reverse_diffusion.linspace(steps, T).long()


def rising(steps, T):
    return reverse_diffusion.trailing(steps, T).flip(0)


def all_timesteps(steps, T):
    return torch.arange(T - 1, -1, -1)


# The output is read wrongly.
def eps_read(eps, z, alpha_bar):
    return (z - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5, eps


def read_exchanged(v, z, alpha_bar):
    return velocity_read(v, z, alpha_bar)[::-1]


def read_with_other_sign(v, z, alpha_bar):
    return velocity_read(-v, z, alpha_bar)


def read_without_roots(v, z, alpha_bar):
    return alpha_bar * z - (1 - alpha_bar) * v, alpha_bar * v + (1 - alpha_bar) * z


# A step leads to another place.
def level_one_below(ts, i, alpha_bar):
    return alpha_bar[ts[i] - 1] if i + 1 < len(ts) else 1.0


def level_of_the_table(ts, i, alpha_bar):
    return alpha_bar[ts[i + 1]] if i + 1 < len(ts) else alpha_bar[0]


def level_before_the_step(ts, i, alpha_bar):
    return alpha_bar[ts[i]]


def level_before_but_for_the_last(ts, i, alpha_bar):
    return alpha_bar[ts[i]] if i + 1 < len(ts) else 1.0


def mixed_without_roots(z0_hat, eps_hat, before, after):
    return after * z0_hat + (1 - after) * eps_hat


def mixed_with_fresh_noise(z0_hat, eps_hat, before, after):
    return noised(z0_hat, torch.randn_like(z0_hat), after)


def mixed_as_in_ddpm(z0_hat, eps_hat, before, after):
    variance = (1 - after) / (1 - before) * (1 - before / after)
    return after**0.5 * z0_hat + (1 - after - variance) ** 0.5 * eps_hat + variance**0.5 * torch.randn_like(z0_hat)


# The end.
def finished_in_signed_range(decode, z0):
    return decode(z0)


def finished_cut_off(decode, z0):
    return decode(z0).clamp(0, 1)


def finished_without_clipping(decode, z0):
    return (decode(z0) + 1) / 2


def finished_unscaled_again(decode, z0):
    return finished(decode, z0 / 0.18215)


# ẑ0 and ε̂ are read nearly right.


def read_clipped(low, high):
    """ẑ0 within limits."""

    def read(v, z, alpha_bar):
        z0_hat, eps_hat = velocity_read(v, z, alpha_bar)
        return z0_hat.clamp(low, high), eps_hat

    return read


def read_clipped_with_its_noise(v, z, alpha_bar):
    z0_hat = velocity_read(v, z, alpha_bar)[0].clamp(-1, 1)
    return z0_hat, (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5


def read_plus(v, z, alpha_bar):
    return alpha_bar**0.5 * z + (1 - alpha_bar) ** 0.5 * v, alpha_bar**0.5 * v + (1 - alpha_bar) ** 0.5 * z


def read_minus(v, z, alpha_bar):
    return alpha_bar**0.5 * z - (1 - alpha_bar) ** 0.5 * v, alpha_bar**0.5 * v - (1 - alpha_bar) ** 0.5 * z


def read_overwritten(v, z, alpha_bar):
    z = alpha_bar**0.5 * z - (1 - alpha_bar) ** 0.5 * v
    return z, alpha_bar**0.5 * v + (1 - alpha_bar) ** 0.5 * z


def read_noise_is_velocity(v, z, alpha_bar):
    return velocity_read(v, z, alpha_bar)[0], v


def read_as_z0(z0, z, alpha_bar):
    return z0, (z - alpha_bar**0.5 * z0) / (1 - alpha_bar) ** 0.5


def image_read_one_below(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    z, both, ts = noise, contexts_of(encode, captions), reverse_diffusion.trailing(steps, len(alpha_bar))
    for i, t in enumerate(ts):
        v = times(guidance_scale)(*asked(unet, z, i, t, both))
        z = noised(*velocity_read(v, z, alpha_bar[t - 1]), following(ts, i, alpha_bar))
    return finished(decode, z)


def mixed_with_noise_subtracted(z0_hat, eps_hat, before, after):
    return noised(z0_hat, -eps_hat, after)


def mixed_noise_not_rooted(z0_hat, eps_hat, before, after):
    return after**0.5 * z0_hat + (1 - after) * eps_hat


def mixed_at_both(z0_hat, eps_hat, before, after):
    return after**0.5 * z0_hat + (1 - before) ** 0.5 * eps_hat


def mixed_swapped(z0_hat, eps_hat, before, after):
    return noised(eps_hat, z0_hat, after)


def mixed_z0_only(z0_hat, eps_hat, before, after):
    return z0_hat


def spaced_one_less(steps, T):
    return reverse_diffusion.trailing(steps, T)[:-1]


def finished_divided_only(decode, z0):
    return (decode(z0) / 2).clamp(0, 1)


def finished_shifted_only(decode, z0):
    return (decode(z0) + 1).clamp(0, 1)


def finished_clipped_first(decode, z0):
    return (decode(z0.clamp(-1, 1)) + 1).div(2).clamp(0, 1)


def finished_by_sigmoid(decode, z0):
    return decode(z0).sigmoid()


def finished_as_bytes(decode, z0):
    return finished(decode, z0) * 255


def finished_stretched(decode, z0):
    image = decode(z0)
    return (image - image.min()) / (image.max() - image.min())


def finished_scaled(decode, z0):
    return finished(decode, z0 * 0.18215)


def finished_without_decoder(decode, z0):
    return ((z0 + 1) / 2).clamp(0, 1)


def image_asked_at(place):
    """A wrong answer that asks the U-Net at another timestep: place(t of the step, t of the next or None) -> t."""

    def answer(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
        z, both, ts = noise, contexts_of(encode, captions), reverse_diffusion.trailing(steps, len(alpha_bar))
        for i, t in enumerate(ts):
            told = place(t, ts[i + 1] if i + 1 < len(ts) else None)
            v = times(guidance_scale)(*asked(unet, z, i, told, both))
            z = noised(*velocity_read(v, z, alpha_bar[t]), following(ts, i, alpha_bar))
        return finished(decode, z)

    return answer


def image_of_scaled_noise(factor):
    """A wrong answer that scales the noise it starts from: factor(ᾱ at the first timestep)."""

    def answer(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
        scaled = factor(alpha_bar[-1]) * noise
        return caption_to_image(captions, encode, unet, decode, alpha_bar, scaled, steps, guidance_scale)

    return answer


def image_of_one_caption(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    repeated = captions[:1] * len(captions)
    return caption_to_image(repeated, encode, unet, decode, alpha_bar, noise, steps, guidance_scale)


# Other right answers.
def image_by_the_package(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    beta = [1 - here / before for before, here in zip([1.0, *alpha_bar], alpha_bar)]
    schedule = forward_diffusion.NoiseSchedule(torch.tensor(beta, dtype=torch.float64), forward_diffusion.VELOCITY)
    null_context, context = contexts_of(encode, captions)
    model, ts = reverse_diffusion.guided(unet, context, null_context, guidance_scale), reverse_diffusion.trailing
    return finished(decode, reverse_diffusion.ddim(model, noise, schedule, ts(steps, schedule.T)))


def image_one_batch(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    contexts, z, T = torch.cat(contexts_of(encode, captions)), noise, len(alpha_bar)
    ts = [round(T - i * T / steps) - 1 for i in range(steps)]
    for t, after in zip(ts, [*ts[1:], None]):
        v0, v1 = unet(torch.cat([z, z]), torch.full((2 * len(z),), t, device=z.device), contexts).chunk(2)
        v = (1 - guidance_scale) * v0 + guidance_scale * v1
        angle = math.acos(alpha_bar[t] ** 0.5) - (0 if after is None else math.acos(alpha_bar[after] ** 0.5))
        z = math.cos(angle) * z - math.sin(angle) * v
    return finished(decode, z)


def image_without_gradient(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    null_context, context = encode([""]).expand(len(captions), -1, -1), encode(captions)
    levels, z = torch.tensor([*alpha_bar, 1.0], dtype=noise.dtype), noise
    ts = [*reverse_diffusion.trailing(steps, len(alpha_bar)).tolist(), -1]
    with torch.no_grad():
        for t, after in zip(ts, ts[1:]):
            without, with_caption = (unet(z, torch.tensor(t), one) for one in (null_context, context))
            v = without.lerp(with_caption, guidance_scale)
            z0_hat, eps_hat = velocity_read(v, z, levels[t])
            z = levels[after].sqrt() * z0_hat + (1 - levels[after]).sqrt() * eps_hat
        return finished(decode, z)


BOTH_ENDS = (
    'You spaced the timesteps evenly from T - 1 to 0, with both ends. "Trailing" ones are T / steps apart: round(T '
    "- i · T / steps) - 1."
)


TOLD_THE_NEXT = "The U-Net is told the timestep *after* the step. Tell it the one whose noise z has now."


EXERCISE = Exercise(
    name="caption_to_image",
    title="Capstone: a picture from a caption",
    stars=3,
    minutes=40,
    answer=caption_to_image,
    cases=capstone_cases,
    constants=("noise",),
    hints=(
        'Four parts, one after the other: contexts (as many of "" as of captions); timesteps; the loop; the '
        "decoder. Write them in this order.",
        "In the loop: ask for both contexts, guide, read the velocity as ẑ0 and ε̂, mix them at the *next* "
        "timestep's ᾱ.",
        "The last step lands on ᾱ' = 1. Then decode, bring [-1, 1] to [0, 1] and clip.",
    ),
    insight="This is all of it: some fifteen lines around three networks. Whatever the size of the parts, tiny or "
    "Stable Diffusion's, these lines stay the same.",
    wrong=(
        Wrong(
            "timestep-a-number",
            image_with(ask=asked_with_numbers),
            "You gave the U-Net t as a plain number. It wants a tensor, one timestep for each image: "
            "torch.full((len(z),), t).",
        ),
        Wrong(
            "one-timestep",
            image_with(ask=asked_with_one_timestep),
            "You gave the U-Net one timestep, of shape (1,), for several images; tinyldm's refuses that. It wants "
            "one for each: torch.full((len(z),), t).",
        ),
        Wrong(
            "one-timestep-for-both",
            image_with(ask=asked_together_with_one_timestep),
            "You ask for both contexts in one batch, with a single timestep. It wants one for each entry of the "
            "batch: torch.full((2 * len(z),), t).",
        ),
        Wrong(
            "half-the-timesteps",
            image_with(ask=asked_together_with_half_the_timesteps),
            "You ask for both contexts in one batch, of twice as many images, but t is given for half of them: "
            "torch.full((2 * len(z),), t).",
        ),
        Wrong(
            "one-null-context",
            image_with(contexts=one_null_context),
            "You encoded the empty caption once for several images; tinyldm's U-Net refuses that. It wants a "
            'context for each: encode([""] * len(captions)).',
        ),
        Wrong(
            "one-null-context-in-the-batch",
            image_with(contexts=one_null_context, ask=asked_together_rightly),
            "You ask for both contexts in one batch, but encoded the empty caption only once. It is needed for "
            'each image: encode([""] * len(captions)).',
        ),
        Wrong(
            "index-beyond-the-end",
            image_with(spacing=trailing_without_minus_one),
            "An index is past the end of a list. Either a timestep is T: the last is T - 1, so do not forget the "
            "-1 at the end of round(…) - 1. Or you look for a timestep after the last one: there is none, and ᾱ' "
            "is 1.",
        ),
        Wrong(
            "no-guidance",
            image_with(guide=lambda w: times(1.0)),
            "guidance_scale has no effect: your picture follows the caption's prediction alone.",
        ),
        Wrong(
            "w-minus-one",
            image_with(guide=lambda w: times(w - 1)),
            "You went w - 1 times the way from the null prediction to the caption's; the exercise asks for w "
            "times, so that 1 means no guidance.",
        ),
        Wrong(
            "w-plus-one",
            image_with(guide=lambda w: times(w + 1)),
            "You started at the caption's prediction and went w times the way *further*: that is w + 1. Start at "
            "the null prediction.",
        ),
        Wrong(
            "guidance-sign",
            image_with(guide=lambda w: times(-w)),
            "A sign is flipped: from the null prediction you go *away* from the caption's. v_null + w (v_caption - "
            "v_null).",
        ),
        Wrong(
            "contexts-swapped",
            image_with(contexts=contexts_swapped),
            "The two predictions are swapped: you guide *away* from the caption, from it to the empty one.",
        ),
        Wrong(
            "zeros-for-null",
            image_with(contexts=zeros_for_null),
            'You took zeros for the null context; "no caption" is the *encoded* empty caption, as in training.',
        ),
        Wrong(
            "eps-for-velocity",
            image_with(read=eps_read),
            "You read the output as the noise ε̂. This U-Net predicts the velocity: ẑ0 = √ᾱ z - √(1-ᾱ) v, ε̂ = √ᾱ "
            "v + √(1-ᾱ) z.",
        ),
        Wrong(
            "exchanged",
            image_with(read=read_exchanged),
            "ẑ0 and ε̂ are swapped: the picture is ẑ0 = √ᾱ z - √(1-ᾱ) v and gets √ᾱ', the noise is ε̂ = √ᾱ v + "
            "√(1-ᾱ) z and gets √(1-ᾱ').",
        ),
        Wrong(
            "velocity-sign",
            image_with(read=read_with_other_sign),
            "You took the velocity with the other sign: ẑ0 = √ᾱ z *minus* √(1-ᾱ) v, ε̂ = √ᾱ v *plus* √(1-ᾱ) z.",
        ),
        Wrong(
            "no-roots",
            image_with(read=read_without_roots, mix=mixed_without_roots),
            "You computed with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "no-roots-in-reading",
            image_with(read=read_without_roots),
            "You read the velocity with ᾱ and 1-ᾱ. It takes their roots: ẑ0 = √ᾱ z - √(1-ᾱ) v.",
        ),
        Wrong(
            "no-roots-in-mixing",
            image_with(mix=mixed_without_roots),
            "You mixed ẑ0 and ε̂ with ᾱ' and 1-ᾱ'. It takes their roots: √ᾱ' ẑ0 + √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "told-the-index",
            image_with(ask=asked_with_the_index),
            "You told the U-Net the number of the step, 0, 1, 2, … It was trained on timesteps: give it t, the "
            "same for all images, as (B,) numbers.",
        ),
        Wrong(
            "timesteps-cut",
            image_with(spacing=trailing_cut),
            'You cut the timesteps off, with int(…) or //. "Trailing" ones are rounded to the nearest integer.',
        ),
        Wrong(
            "timesteps-rounded-up",
            image_with(spacing=trailing_cut_before_subtracting),
            'You divided i · T // steps, which is cut off, so that the timesteps are rounded *up*. "Trailing" ones '
            "are rounded to the nearest integer.",
        ),
        Wrong(
            "whole-strides",
            image_with(spacing=trailing_of_whole_strides),
            'You went down in strides of T // steps. "Trailing" divides exactly, and rounds each timestep: round(T '
            "- i · T / steps) - 1.",
        ),
        Wrong(
            "leading",
            image_with(spacing=reverse_diffusion.leading),
            'Your timesteps are "leading": they start too early for pure noise. This model samples "trailing", '
            "from T - 1.",
        ),
        Wrong(
            "leading-from-zero",
            image_with(spacing=reverse_diffusion.leading_from_zero),
            'Your timesteps are the multiples of T // steps, from 0: "leading" ones without their + 1. This model '
            'samples "trailing", from T - 1.',
        ),
        Wrong("both-ends", image_with(spacing=both_ends_rounded), BOTH_ENDS),
        Wrong("both-ends-cut", image_with(spacing=both_ends_cut), BOTH_ENDS),
        Wrong(
            "rising",
            image_with(spacing=rising),
            "You walk from little noise to much: the timesteps must fall, from T - 1 down.",
        ),
        Wrong(
            "all-timesteps",
            image_with(spacing=all_timesteps),
            "You visited all T timesteps. The exercise asks for only `steps` of them.",
        ),
        Wrong(
            "last-step-forgotten",
            image_with(walked=slice(-1)),
            "You stopped one step early: at the last timestep the U-Net is asked once more, and that step lands on "
            "ᾱ' = 1.",
        ),
        Wrong(
            "next-is-t-minus-one",
            image_with(level=level_one_below),
            "After each step you go to ᾱ at t - 1. But the walk jumps: the next question is asked at the next "
            "*visited* timestep, so z must have that one's ᾱ.",
        ),
        Wrong(
            "not-quite-clean",
            image_with(level=level_of_the_table),
            "Your last step lands on ᾱ[0], where a little noise is left. That is Stable Diffusion's habit; here "
            "the last step lands on ᾱ' = 1.",
        ),
        Wrong(
            "level-before-the-step",
            image_with(level=level_before_the_step),
            "You mixed at ᾱ, the level that z has already, so it never gets cleaner. Mix at the *next* timestep's ᾱ'.",
        ),
        Wrong(
            "level-before-but-for-the-last",
            image_with(level=level_before_but_for_the_last),
            "In the last step you land on ᾱ' = 1, as asked; but before it you mixed at ᾱ, the level that z has "
            "already. Mix at the *next* timestep's ᾱ'.",
        ),
        Wrong(
            "fresh-noise",
            image_with(mix=mixed_with_fresh_noise),
            "You mixed ẑ0 with new noise in each step. Deterministic DDIM takes ε̂, the noise that the U-Net found "
            "in z.",
        ),
        Wrong(
            "ddpm",
            image_with(mix=mixed_as_in_ddpm),
            "You drew new noise in each step, as DDPM does. Here all randomness is in the starting noise: √ᾱ' ẑ0 + "
            "√(1-ᾱ') ε̂.",
        ),
        Wrong(
            "range-forgotten",
            image_with(finish=finished_in_signed_range),
            "The decoder gives [-1, 1]; the exercise asks for the picture in [0, 1]: (y + 1) / 2, then clip.",
        ),
        Wrong(
            "dark-half-black",
            image_with(finish=finished_cut_off),
            "You clipped [-1, 1] to [0, 1]: all of the darker half becomes black. First (y + 1) / 2, then clip.",
        ),
        Wrong(
            "not-clipped",
            image_with(finish=finished_without_clipping),
            "A decoder overshoots a little: some numbers leave [0, 1]. Clip them.",
        ),
        Wrong(
            "scaled-twice",
            image_with(finish=finished_unscaled_again),
            "You divided by 0.18215. The scale lives inside the VAE: decode takes z0 as the U-Net leaves it.",
        ),
        Wrong(
            "z0-clipped",
            image_with(read=read_clipped(-1, 1)),
            "You clipped ẑ0 to [-1, 1]. That is for pixels; a latent has no such limits, and the picture is ruined.",
        ),
        Wrong(
            "z0-clipped-to-three",
            image_with(read=read_clipped(-3, 3)),
            "You clipped ẑ0. That is for pixels; a latent has no such limits.",
        ),
        Wrong(
            "z0-clipped-from-above",
            image_with(read=read_clipped(None, 1)),
            "You clipped ẑ0 from above. That is for pixels; a latent has no such limits.",
        ),
        Wrong(
            "z0-clipped-and-read-again",
            image_with(read=read_clipped_with_its_noise),
            "You clipped ẑ0 to [-1, 1] and recomputed ε̂ from it. That is for pixels; a latent has no such limits.",
        ),
        Wrong("z0-plus", image_with(read=read_plus), "A sign is wrong in ẑ0: √ᾱ z *minus* √(1-ᾱ) v."),
        Wrong("eps-minus", image_with(read=read_minus), "A sign is wrong in ε̂: √ᾱ v *plus* √(1-ᾱ) z."),
        Wrong(
            "z-overwritten",
            image_with(read=read_overwritten),
            "ε̂ is computed from ẑ0 where it needs z: was z overwritten by ẑ0 before? Give ẑ0 a name of its own.",
        ),
        Wrong(
            "eps-is-velocity",
            image_with(read=read_noise_is_velocity),
            "You mixed ẑ0 with the velocity itself. The noise is ε̂ = √ᾱ v + √(1-ᾱ) z.",
        ),
        Wrong(
            "z0-for-velocity",
            image_with(read=read_as_z0),
            "You read the output as the clean latent ẑ0. This U-Net predicts the velocity: ẑ0 = √ᾱ z - √(1-ᾱ) v, "
            "ε̂ = √ᾱ v + √(1-ᾱ) z.",
        ),
        Wrong(
            "level-of-t-minus-one",
            image_read_one_below,
            "You read the velocity with ᾱ[t - 1]. z has the noise of t: alpha_bar[t].",
        ),
        Wrong(
            "noise-subtracted",
            image_with(mix=mixed_with_noise_subtracted),
            "You subtracted ε̂ when mixing. It is added: √ᾱ' ẑ0 + √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "noise-not-rooted",
            image_with(mix=mixed_noise_not_rooted),
            "You mixed with 1-ᾱ'. The noise has the root, √(1-ᾱ').",
        ),
        Wrong(
            "noise-of-the-old-level",
            image_with(mix=mixed_at_both),
            "You mixed ẑ0 at the new level with the noise of the old one: both have ᾱ', the *next* timestep's.",
        ),
        Wrong(
            "not-mixed",
            image_with(mix=mixed_z0_only),
            "You went on with ẑ0 itself. Mix it with the noise of the next level: √ᾱ' ẑ0 + √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "one-step-too-few",
            image_with(spacing=spaced_one_less),
            "The last timestep is missing: exactly `steps` of them are visited.",
        ),
        Wrong(
            "halved-only",
            image_with(finish=finished_divided_only),
            "[-1, 1] / 2 is [-0.5, 0.5]: add 1 before you divide.",
        ),
        Wrong("shifted-only", image_with(finish=finished_shifted_only), "[-1, 1] + 1 is [0, 2]: divide by 2."),
        Wrong(
            "latent-clipped",
            image_with(finish=finished_clipped_first),
            "You clipped the latent before decoding. It has no limits; clip the *picture*.",
        ),
        Wrong(
            "sigmoid",
            image_with(finish=finished_by_sigmoid),
            "You took a sigmoid of the picture. Its range is shifted, (y + 1) / 2, and clipped.",
        ),
        Wrong(
            "bytes",
            image_with(finish=finished_as_bytes),
            "You multiplied by 255. The exercise asks for the picture in [0, 1].",
        ),
        Wrong(
            "stretched",
            image_with(finish=finished_stretched),
            "You stretched the pictures to their own darkest and brightest number. The range is fixed: (y + 1) / "
            "2, then clip.",
        ),
        Wrong(
            "multiplied-by-the-scale",
            image_with(finish=finished_scaled),
            "You multiplied by 0.18215. The scale lives inside the VAE: decode takes z0 as the U-Net leaves it.",
        ),
        Wrong(
            "not-decoded",
            image_with(finish=finished_without_decoder),
            "You did not decode: a latent is not a picture yet.",
        ),
        Wrong("told-the-next", image_asked_at(lambda t, after: t if after is None else after), TOLD_THE_NEXT),
        Wrong("told-the-next-and-0", image_asked_at(lambda t, after: 0 * t if after is None else after), TOLD_THE_NEXT),
        Wrong(
            "told-t-minus-one",
            image_asked_at(lambda t, after: t - 1),
            "The U-Net is told t - 1, but z has the noise of t. Tell it the timestep of the step itself.",
        ),
        Wrong(
            "told-t-plus-one",
            image_asked_at(lambda t, after: t + 1),
            "The U-Net is told t + 1, but z has the noise of t. Tell it the timestep of the step itself.",
        ),
        Wrong(
            "noise-scaled",
            image_of_scaled_noise(lambda a: (1 - a) ** 0.5),
            "You scaled the noise by √(1-ᾱ) before the first step. It is given as the z of the first timestep "
            "already: start from it as it is.",
        ),
        Wrong(
            "noise-scaled-by-signal",
            image_of_scaled_noise(lambda a: a**0.5),
            "You scaled the noise by √ᾱ before the first step. It is given as the z of the first timestep "
            "already: start from it as it is.",
        ),
        Wrong("one-caption-for-all", image_of_one_caption, "Every picture shows the first caption. Each has its own."),
    ),
    right=(image_in_parts, image_by_the_package, image_one_batch, image_without_gradient),
)
