"""Exercises of lesson 13: where image-to-image starts, keeping the known in inpainting, slerp, and the capstone."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion, reverse_diffusion
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform

TITLE = "The full sampler"


def random_alpha_bar(T: int, generator: Generator) -> list[float]:
    """T numbers of a schedule with random ends. No tensor, as nobody asks for a gradient of them."""
    beta = forward_diffusion.linear_betas(T, uniform(0.02, 0.1, generator), uniform(0.3, 0.5, generator))
    return forward_diffusion.NoiseSchedule(beta).alpha_bar.tolist()


# ── Image to image ───────────────────────────────────────────────────────────────────────────────────


def start_cases(generator: Generator) -> list[Call]:
    """z0, ε, timesteps, strength, ᾱ; three strengths are senseless. S · strength is nearer to the whole number above
    it in the first and last, to the one below in the second."""
    calls = [
        Call(
            (
                torch.tensor([[1.0, -2.0]]),
                torch.tensor([[0.5, 1.0]]),
                torch.tensor([3, 2, 1, 0]),
                0.7,
                [0.81, 0.64, 0.36, 0.04],
            )
        )
    ]
    for shape, strength in (
        ((2, 4, 2, 2), uniform(0.42, 0.48, generator)),
        ((2, 3), 0.05),
        ((1, 4, 4, 4), 0.0),
        ((1, 4, 4, 4), -0.5),
        ((1, 4, 4, 4), 1.5),
        ((1, 4, 4, 4), 1.0),
        ((3, 4, 8, 8), uniform(0.55, 0.59, generator)),
    ):
        z0, eps = (torch.randn(shape, generator=generator) for _ in range(2))
        calls.append(Call((z0, eps, reverse_diffusion.trailing(5, 20), strength, random_alpha_bar(20, generator))))
    return calls


def require_strength(strength):
    """As the exercise asks for."""
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}; expected above 0 and at most 1")


def noised(z0, eps, alpha_bar):
    """√ᾱ z0 + √(1-ᾱ) ε."""
    return alpha_bar**0.5 * z0 + (1 - alpha_bar) ** 0.5 * eps


def last_of(ts, strength):
    """The timesteps that are left."""
    return ts[len(ts) - max(int(len(ts) * strength), 1) :]


def start_right(z0: Tensor, eps: Tensor, ts: Tensor, strength: float, alpha_bar: list) -> tuple[Tensor, Tensor]:
    """z0 noised to the first of the last int(S · strength) timesteps, and these."""
    require_strength(strength)
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_inverted(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[len(ts) - max(int(len(ts) * (1 - strength)), 1) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_by_rounding(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[len(ts) - max(round(len(ts) * strength), 1) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_by_rounding_up(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[len(ts) - math.ceil(len(ts) * strength) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_by_minus_zero(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[-int(len(ts) * strength) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_first_ones(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[: max(int(len(ts) * strength), 1)]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_from_noise(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    return eps.clone(), last_of(ts, strength)


def start_clean(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    return z0.clone(), last_of(ts, strength)


def start_at_the_very_start(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    return noised(z0, eps, alpha_bar[ts[0]]), last_of(ts, strength)


def start_one_late(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[min(1, len(left) - 1)]]), left


def start_at_share_of_T(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    t = min(int(len(alpha_bar) * strength), len(alpha_bar) - 1)
    return noised(z0, eps, alpha_bar[t]), last_of(ts, strength)


def start_without_roots(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    a = alpha_bar[left[0]]
    return a * z0 + (1 - a) * eps, left


def start_mixed_by_strength(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    return (1 - strength) * z0 + strength * eps, last_of(ts, strength)


def start_of_none(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[len(ts) - int(len(ts) * strength) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_unchecked(z0, eps, ts, strength, alpha_bar):
    left = ts[max(len(ts) - max(int(len(ts) * strength), 1), 0) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_by_slicing_from_behind(z0, eps, ts, strength, alpha_bar):
    if strength <= 0 or strength > 1:
        raise ValueError("strength must be in (0, 1]")
    left = ts[-max(math.floor(strength * len(ts)), 1) :]
    a = alpha_bar[int(left[0])]
    return math.sqrt(a) * z0 + math.sqrt(1 - a) * eps, left


def start_by_schedule(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    skipped = min(len(ts) - int(len(ts) * strength), len(ts) - 1)
    t = ts[skipped].expand(len(z0))
    a = torch.tensor(alpha_bar, dtype=z0.dtype)[t].view(-1, *[1] * (z0.dim() - 1))
    return z0 * a.sqrt() + eps * (1 - a).sqrt(), ts[skipped:]


@torch.no_grad()
def start_without_gradient(z0, eps, ts, strength, alpha_bar):
    return start_right(z0, eps, ts, strength, alpha_bar)


IMG2IMG_START = Exercise(
    name="img2img_start",
    title="Image to image: where to start",
    stars=2,
    minutes=12,
    answer=start_right,
    cases=start_cases,
    constants=("z0", "eps"),
    hints=(
        "Of S timesteps the last int(S · strength) are walked, at least one. Which slice of ts is that?",
        "z must be as noisy as the first of them says: the network will be told that t.",
        "left = ts[len(ts) - max(int(len(ts) * strength), 1):]; then noise z0 to left[0] as in lesson 02.",
    ),
    insight="Nothing in the network knows about this: z_t is a state of the ordinary walk, only entered half-way. What "
    "the noise has drowned by then, details first, is invented anew under the caption; the rest stays.",
    wrong=(
        Wrong(
            "strength-inverted",
            start_inverted,
            "You walk 1 - strength of the steps. Strength is how much is *changed*: 1 walks all steps and keeps "
            "almost nothing of the picture.",
        ),
        Wrong(
            "rounded",
            start_by_rounding,
            "You rounded S · strength to the nearest whole number. ⌊ ⌋ cuts the fraction off: int(2.8) is 2.",
        ),
        Wrong(
            "rounded-up",
            start_by_rounding_up,
            "You rounded S · strength up. ⌊ ⌋ cuts the fraction off: int(2.8) is 2. At least one step is walked all "
            "the same.",
        ),
        Wrong(
            "minus-zero",
            start_by_minus_zero,
            "With a small strength int(S · strength) is 0, and ts[-0:] is ts[0:], *all* timesteps. Take at least "
            "one: max(int(S · strength), 1).",
        ),
        Wrong(
            "first-timesteps",
            start_first_ones,
            "You kept the first timesteps, the noisy ones. The walk must end at the clean latent: keep the *last*.",
        ),
        Wrong(
            "from-noise",
            start_from_noise,
            "You start from pure noise: then the picture plays no part. Mix it in: noise z0 to the first timestep "
            "that is left.",
        ),
        Wrong(
            "not-noised",
            start_clean,
            "You start from the clean latent, but tell the network a noisy t: it would take the picture itself for "
            "noise. Noise z0 first.",
        ),
        Wrong(
            "noised-to-the-very-start",
            start_at_the_very_start,
            "You noised to ts[0], the first timestep of the *full* walk, but return the last ones only: z is far "
            "noisier than the network is told, and what it does not remove stays in the picture. Noise to left[0].",
        ),
        Wrong(
            "one-step-late",
            start_one_late,
            "z has the noise of the second timestep that is left, but the network is asked at the first: it would "
            "remove noise that is not there.",
        ),
        Wrong(
            "share-of-T",
            start_at_share_of_T,
            "You noised to t = strength · T. That is near, but not a timestep of this walk: noise to ts' own entry, "
            "the first that is left.",
        ),
        Wrong(
            "no-roots",
            start_without_roots,
            "You mixed with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "mixed-by-strength",
            start_mixed_by_strength,
            "You mixed with strength itself. It says how many steps are walked; the mixture follows from ᾱ at the "
            "first of them.",
        ),
        Wrong(
            "none-left",
            start_of_none,
            "With a small strength no timestep is left, and [0] of nothing fails. At least one step is walked.",
        ),
        Wrong("should-refuse", start_unchecked),
    ),
    right=(start_by_slicing_from_behind, start_by_schedule, start_without_gradient),
)


# ── Inpainting ───────────────────────────────────────────────────────────────────────────────────────


def known_cases(generator: Generator) -> list[Call]:
    """z after a step, z0, ε, mask, ᾱ before and after the step; once the last step, onto the clean latent."""
    calls = [
        Call(
            (
                torch.tensor([[[[1.0, -2.0]]]]),
                torch.tensor([[[[3.0, 4.0]]]]),
                torch.tensor([[[[0.5, 1.0]]]]),
                torch.tensor([[[[1, 0]]]]),
                0.36,
                0.64,
            )
        )
    ]
    for shape, clean in (((2, 3, 4, 4), True), ((3, 4, 8, 8), False)):
        z, z0, eps = (torch.randn(shape, generator=generator) for _ in range(3))
        mask = (torch.rand(shape[0], 1, *shape[2:], generator=generator) < 0.5).long()
        mask[0, 0, 0, :2] = torch.tensor([0, 1])
        calls.append(
            Call((z, z0, eps, mask, uniform(0.2, 0.5, generator), 1.0 if clean else uniform(0.6, 0.9, generator)))
        )
    return calls


def known_right(z: Tensor, z0: Tensor, eps: Tensor, mask: Tensor, alpha_bar: float, next_alpha_bar: float) -> Tensor:
    """m z + (1-m) (√ᾱ' z0 + √(1-ᾱ') ε)."""
    return mask * z + (1 - mask) * noised(z0, eps, next_alpha_bar)


def known_inverted(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return known_right(z, z0, eps, 1 - mask, alpha_bar, next_alpha_bar)


def known_clean(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * z0


def known_of_old_level(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return known_right(z, z0, eps, mask, alpha_bar, alpha_bar)


def known_added(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + noised(z0, eps, next_alpha_bar)


def known_fresh_noise(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return known_right(z, z0, torch.randn_like(z0), mask, alpha_bar, next_alpha_bar)


def known_without_roots(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * (next_alpha_bar * z0 + (1 - next_alpha_bar) * eps)


def known_all_noised(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return noised(mask * z + (1 - mask) * z0, eps, next_alpha_bar)


def known_in_place(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    z *= mask
    return z + (1 - mask) * noised(z0, eps, next_alpha_bar)


def known_by_where(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return torch.where(mask.bool(), z, noised(z0, eps, next_alpha_bar))


def known_by_lerp(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return torch.lerp(noised(z0, eps, next_alpha_bar), z, mask.to(z).expand_as(z))


def known_by_difference(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    known = noised(z0, eps, next_alpha_bar)
    return known + mask * (z - known)


@torch.no_grad()
def known_without_gradient(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return known_right(z, z0, eps, mask, alpha_bar, next_alpha_bar)


KEEP_KNOWN = Exercise(
    name="keep_known",
    title="Inpainting: put the known back",
    stars=2,
    minutes=10,
    answer=known_right,
    cases=known_cases,
    constants=("z", "z0", "eps"),
    hints=(
        "Where the mask is 1, z stays as the sampler made it. Where it is 0 belongs the given picture.",
        "But a clean picture does not fit a noisy z: noise z0 to the level that z has *now*.",
        "After the step that level is next_alpha_bar.",
    ),
    insight="The known part is overwritten after every step, so what the network thinks of it never counts; but it "
    "sees it, and so the repainted part learns to fit. In the last step ᾱ' = 1: the known comes back clean.",
    wrong=(
        Wrong(
            "mask-inverted",
            known_inverted,
            "The mask is read the other way round: 1 marks what is repainted, so z; 0 what is kept, so z0.",
        ),
        Wrong(
            "known-not-noised",
            known_clean,
            "You put the clean z0 into a noisy z. The network expects the same noise everywhere; it would see two "
            "pictures with an edge between them. Noise z0 to the level ᾱ'.",
        ),
        Wrong(
            "level-before-the-step",
            known_of_old_level,
            "You noised the known part to ᾱ, the level before the step. z has taken the step already: ᾱ'. (In the "
            "last one noise would be left in the picture.)",
        ),
        Wrong(
            "added",
            known_added,
            "You added the known part everywhere. Multiply it with 1 - mask, so that each number comes from one side.",
        ),
        Wrong(
            "fresh-noise",
            known_fresh_noise,
            "You drew new noise. Use the eps given: the same in every step, or the known part flickers.",
        ),
        Wrong(
            "no-roots",
            known_without_roots,
            "You mixed with ᾱ' and 1-ᾱ'. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "all-noised",
            known_all_noised,
            "You noised the repainted part as well: it has its noise already. Noise z0 only, then blend.",
        ),
        Wrong("inputs-changed", known_in_place),
    ),
    right=(known_by_where, known_by_lerp, known_by_difference, known_without_gradient),
)


# ── Slerp ────────────────────────────────────────────────────────────────────────────────────────────


def slerp_cases(generator: Generator) -> list[Call]:
    """Two tensors of one shape, a weight."""
    calls = [Call((torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [1.0, 0.0]]), 0.25))]
    for shape in ((3, 5), (1, 4, 8, 8)):
        a, b = (torch.randn(shape, generator=generator) for _ in range(2))
        calls.append(Call((a, b, uniform(0.1, 0.4, generator))))
    return calls


def angle_between(a, b):
    """Of the whole tensors."""
    return ((a * b).sum() / (a.norm() * b.norm())).arccos()


def slerp_right(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """(sin((1-w)θ) a + sin(wθ) b) / sin θ."""
    angle = angle_between(a, b)
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()


def slerp_straight(a, b, weight):
    return (1 - weight) * a + weight * b


def slerp_straight_rescaled(a, b, weight):
    mixed = (1 - weight) * a + weight * b
    return mixed / mixed.norm() * ((1 - weight) * a.norm() + weight * b.norm())


def slerp_ends_swapped(a, b, weight):
    return slerp_right(b, a, weight)


def slerp_not_divided(a, b, weight):
    angle = angle_between(a, b)
    return torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b


def slerp_unit_length(a, b, weight):
    return slerp_right(a / a.norm(), b / b.norm(), weight)


def turned_by(angle, a, b, weight):
    """The formula, with an angle (a number or a tensor) that may be wrong."""
    angle = torch.as_tensor(angle)
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()


def slerp_norms_forgotten(a, b, weight):
    return turned_by((a * b).sum().arccos(), a, b, weight)


def slerp_norms_forgotten_in_python(a, b, weight):
    return turned_by(math.acos((a * b).sum()), a, b, weight)


def slerp_cosine_not_normalised(a, b, weight):
    return turned_by((a * b).sum().clamp(-0.9995, 0.9995).arccos(), a, b, weight)


def slerp_arccos_forgotten(a, b, weight):
    return turned_by((a * b).sum() / (a.norm() * b.norm()), a, b, weight)


def slerp_by_row(a, b, weight):
    angle = ((a * b).sum(-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True))).arccos()
    return turned_by(angle, a, b, weight)


def slerp_quarter_circle(a, b, weight):
    return math.cos(weight * math.pi / 2) * a + math.sin(weight * math.pi / 2) * b


def slerp_by_math(a, b, weight):
    angle = math.acos(((a * b).sum() / (a.norm() * b.norm())).item())
    return (math.sin((1 - weight) * angle) * a + math.sin(weight * angle) * b) / math.sin(angle)


def slerp_by_library(a, b, weight):
    angle = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).arccos()
    return a * (torch.sin((1 - weight) * angle) / angle.sin()) + b * (torch.sin(weight * angle) / angle.sin())


def slerp_by_tangent(a, b, weight):
    unit_a, unit_b = a / a.norm(), b / b.norm()
    angle = torch.atan2((unit_b - (unit_a * unit_b).sum() * unit_a).norm(), (unit_a * unit_b).sum())
    return torch.sin(angle - weight * angle) / angle.sin() * a + torch.sin(weight * angle) / angle.sin() * b


SLERP = Exercise(
    name="slerp",
    title="From one noise to another",
    stars=2,
    minutes=10,
    answer=slerp_right,
    cases=slerp_cases,
    constants=("a", "b"),
    hints=(
        "θ is the angle between the two as vectors of all their numbers: cos θ = a·b / (|a| |b|).",
        "(a * b).sum() and .norm() go over the whole tensor; .arccos() gives θ.",
        "(sin((1-w)θ) a + sin(wθ) b) / sin θ",
    ),
    insight="Two independent noises of many numbers are nearly at right angles. The straight middle between them has "
    "1/√2 = 0.71 of their length, and the U-Net has never seen noise that weak: such pictures are flat and "
    "dull.",
    wrong=(
        Wrong(
            "straight",
            slerp_straight,
            "That is the straight line (lerp). Its middle is shorter than both ends: the way leaves the sphere on "
            "which all Gaussian noise lies.",
        ),
        Wrong(
            "straight-rescaled",
            slerp_straight_rescaled,
            "You went straight and stretched the result. Its length is right then, but not its place: it moves "
            "slowly at the ends and fast in the middle. Turn by equal angles instead.",
        ),
        Wrong("ends-swapped", slerp_ends_swapped, "The ends are exchanged: weight 0 is a, weight 1 is b."),
        Wrong(
            "not-divided",
            slerp_not_divided,
            "The division by sin θ is missing: with weight 0 you get sin θ · a instead of a.",
        ),
        Wrong(
            "length-lost",
            slerp_unit_length,
            "You made both of length 1 and left them so. Only the *angle* needs unit vectors; noise of N numbers "
            "has a length of about √N, and the U-Net expects it.",
        ),
        Wrong(
            "norms-forgotten",
            slerp_norms_forgotten,
            "Your result is NaN: a·b is not yet a cosine, it may lie far outside of [-1, 1], where arccos is not "
            "defined. Divide by both lengths, |a| |b|.",
        ),
        Wrong(
            "norms-forgotten-in-python",
            slerp_norms_forgotten_in_python,
            "math.acos refuses a number outside of [-1, 1]: a·b is not yet a cosine. Divide by both lengths, |a| |b|.",
        ),
        Wrong(
            "cosine-not-normalised",
            slerp_cosine_not_normalised,
            "a·b is not yet a cosine: divide by both lengths, |a| |b|. (To clamp it only hides that.)",
        ),
        Wrong("arccos-forgotten", slerp_arccos_forgotten, "You took cos θ for θ: the arccos is missing."),
        Wrong(
            "angle-for-each-row",
            slerp_by_row,
            "You took an angle for each row. The noise is one vector of all its numbers: one dot product, one angle.",
        ),
        Wrong(
            "right-angle-assumed",
            slerp_quarter_circle,
            "You took θ = 90°. Independent noises are close to it, but not there; compute θ.",
        ),
    ),
    right=(slerp_by_library, slerp_by_tangent, slerp_by_math),
)


# ── The capstone ─────────────────────────────────────────────────────────────────────────────────────


def capstone_cases(generator: Generator) -> list[Call]:
    """Captions; text encoder, U-Net, decoder; ᾱ, noise, steps, w. With 3 steps the timesteps must be rounded."""
    parts = Made(makers.toy_text_encoder), Made(makers.strict_unet), Made(makers.toy_decoder)
    calls = [Call((["a tree"], *parts, [0.9, 0.7, 0.5, 0.3, 0.1], torch.tensor([[[[1.0]]]]), 3, 3.0))]
    for B, steps, w in ((2, 3, uniform(1.5, 3, generator)), (3, 5, uniform(3, 5, generator))):
        noise, alpha_bar = torch.randn(B, 4, 4, 4, generator=generator), random_alpha_bar(20, generator)
        captions = [f"a {word} {integer(0, 99, generator)}" for word in ("star", "ring", "moon")[:B]]
        calls.append(Call((captions, *parts, alpha_bar, noise, steps, w)))
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


def mixed(z0_hat, eps_hat, before, after):
    """The two at the level ᾱ that a step leads to, from the one before it."""
    return noised(z0_hat, eps_hat, after)


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


image_right = image_with()


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
    'You spaced the timesteps evenly from T - 1 to 0, with both ends. "Trailing" ones are T / steps apart: '
    "round(T - i · T / steps) - 1."
)

CAPTION_TO_IMAGE = Exercise(
    name="caption_to_image",
    title="Capstone: a picture from a caption",
    stars=3,
    minutes=40,
    answer=image_right,
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
            "You encoded the empty caption once for several images; tinyldm's U-Net refuses that. It wants a context "
            'for each: encode([""] * len(captions)).',
        ),
        Wrong(
            "one-null-context-in-the-batch",
            image_with(contexts=one_null_context, ask=asked_together_rightly),
            "You ask for both contexts in one batch, but encoded the empty caption only once. It is needed for each "
            'image: encode([""] * len(captions)).',
        ),
        Wrong(
            "index-beyond-the-end",
            image_with(spacing=trailing_without_minus_one),
            "An index lies beyond the end of a list. Either a timestep is T: the last is T - 1, so do not forget the "
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
            "You went w - 1 times the way from the null prediction to the caption's; w times is asked for, so that 1 "
            "means no guidance.",
        ),
        Wrong(
            "w-plus-one",
            image_with(guide=lambda w: times(w + 1)),
            "You started at the caption's prediction and went w times the way *further*: that is w + 1. Start at the "
            "null prediction.",
        ),
        Wrong(
            "guidance-sign",
            image_with(guide=lambda w: times(-w)),
            "A sign is turned round: from the null prediction you go *away* from the caption's. "
            "v_null + w (v_caption - v_null).",
        ),
        Wrong(
            "contexts-swapped",
            image_with(contexts=contexts_swapped),
            "The two predictions are exchanged: you guide *away* from the caption, from it to the empty one.",
        ),
        Wrong(
            "zeros-for-null",
            image_with(contexts=zeros_for_null),
            'You took zeros for the null context; "no caption" is the *encoded* empty caption, as in training.',
        ),
        Wrong(
            "eps-for-velocity",
            image_with(read=eps_read),
            "You read the output as the noise ε̂. This U-Net predicts the velocity: ẑ0 = √ᾱ z - √(1-ᾱ) v, "
            "ε̂ = √ᾱ v + √(1-ᾱ) z.",
        ),
        Wrong(
            "exchanged",
            image_with(read=read_exchanged),
            "ẑ0 and ε̂ are exchanged: the picture is ẑ0 = √ᾱ z - √(1-ᾱ) v and gets √ᾱ', the noise is "
            "ε̂ = √ᾱ v + √(1-ᾱ) z and gets √(1-ᾱ').",
        ),
        Wrong(
            "velocity-sign",
            image_with(read=read_with_other_sign),
            "You took the velocity with the other sign: ẑ0 = √ᾱ z *minus* √(1-ᾱ) v, ε̂ = √ᾱ v *plus* √(1-ᾱ) z.",
        ),
        Wrong(
            "no-roots",
            image_with(read=read_without_roots, mix=mixed_without_roots),
            "You reckoned with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots.",
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
            "You told the U-Net the number of the step, 0, 1, 2, … It was trained on timesteps: give it t, the same "
            "for all images, as (B,) numbers.",
        ),
        Wrong(
            "timesteps-cut",
            image_with(spacing=trailing_cut),
            'You cut the timesteps off, with int(…) or //. "Trailing" ones are rounded to the nearest whole number.',
        ),
        Wrong(
            "timesteps-rounded-up",
            image_with(spacing=trailing_cut_before_subtracting),
            'You divided i · T // steps, which is cut off, so that the timesteps are rounded *up*. "Trailing" ones '
            "are rounded to the nearest whole number.",
        ),
        Wrong(
            "whole-strides",
            image_with(spacing=trailing_of_whole_strides),
            'You went down in strides of T // steps. "Trailing" divides exactly, and rounds each timestep: '
            "round(T - i · T / steps) - 1.",
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
            "You visited all T timesteps. Only `steps` of them are asked for.",
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
            "Your last step lands on ᾱ[0], where a little noise is left. That is Stable Diffusion's habit; here the "
            "last step lands on ᾱ' = 1.",
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
            "You mixed ẑ0 with new noise in each step. DDIM without chance takes ε̂, the noise that the U-Net found "
            "in z.",
        ),
        Wrong(
            "ddpm",
            image_with(mix=mixed_as_in_ddpm),
            "You drew new noise in each step, as DDPM does. Here all chance is in the noise to start from: "
            "√ᾱ' ẑ0 + √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "range-forgotten",
            image_with(finish=finished_in_signed_range),
            "The decoder gives [-1, 1]; the picture is asked for in [0, 1]: (y + 1) / 2, then clip.",
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
    ),
    right=(image_by_the_package, image_one_batch, image_without_gradient),
)


EXERCISES = (IMG2IMG_START, KEEP_KNOWN, SLERP, CAPTION_TO_IMAGE)
