"""Exercise img2img_start of lesson 13: Image to image: where to start."""

import math

import torch
from torch import Generator

from tinyldm import reverse_diffusion
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform
from tinyldm_course.exercises.lesson_13.shared import noised, random_alpha_bar


def img2img_start(z0, eps, ts, strength, alpha_bar):
    """Where image-to-image starts: z (B, …), noised to the first timestep that is left, and the timesteps left (n,).

    z0, eps: (B, …) the picture's latent, and noise; ts: (S,) falling int64; strength: in (0, 1]; alpha_bar: T
    numbers, a list.  Returns (z, left).  Raises ValueError for another strength.
    """
    ### BEGIN SOLUTION
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}; expected above 0 and at most 1")
    left = ts[len(ts) - max(int(len(ts) * strength), 1) :]
    a = alpha_bar[left[0]]
    return a**0.5 * z0 + (1 - a) ** 0.5 * eps, left
    ### END SOLUTION


def start_cases(generator: Generator) -> list[Call]:
    """z0, ε, timesteps, strength, ᾱ; three strengths are invalid.

    S · strength is nearer to the whole number above it in the first and last, to the one below in the second. In
    none as many timesteps are left as are skipped, so that skipping int(S · strength) is not keeping as many.
    """
    calls = [
        Call(
            (
                torch.tensor([[1.0, -2.0]]),
                torch.tensor([[0.5, 1.0]]),
                torch.tensor([3, 2, 1, 0]),
                0.9,
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
    uneven = torch.tensor([19, 17, 15, 13, 3])  # of which the share of T says something else than the share of steps
    for strength in (0.69, uniform(0.55, 0.59, generator)):  # (T - 1) · 0.69 and T · 0.69 are both 13 and a bit
        calls.append(Call((z0, eps, uneven, strength, random_alpha_bar(20, generator))))
    return calls


def require_strength(strength):
    """As the exercise asks for."""
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}; expected above 0 and at most 1")


def last_of(ts, strength):
    """The timesteps that are left."""
    return ts[len(ts) - max(int(len(ts) * strength), 1) :]


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


def start_by_level_of_T(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[ts <= len(alpha_bar) * strength]
    left = left if len(left) else ts[-1:]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_below_level_of_T(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[ts < int(len(alpha_bar) * strength)]
    left = left if len(left) else ts[-1:]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_by_level_of_last_t(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[ts <= int((len(alpha_bar) - 1) * strength)]
    left = left if len(left) else ts[-1:]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_at_level_of_T(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    t = max(int(len(alpha_bar) * strength) - 1, 0)
    return noised(z0, eps, alpha_bar[t]), last_of(ts, strength)


def start_one_more(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[max(len(ts) - max(int(len(ts) * strength), 1) - 1, 0) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_skipping_by_strength(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[min(int(len(ts) * strength), len(ts) - 1) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_swapped(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    return noised(eps, z0, alpha_bar[left[0]]), left


def start_at_last(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[-1]]), left


def start_all_left(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[0]]), ts.clone()


def start_first_dropped(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[0]]), left[1:]


def start_noise_added(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = last_of(ts, strength)
    return z0 + (1 - alpha_bar[left[0]]) ** 0.5 * eps, left


def start_zero_allowed(z0, eps, ts, strength, alpha_bar):
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}")
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_one_refused(z0, eps, ts, strength, alpha_bar):
    if not 0 < strength < 1:
        raise ValueError(f"strength is {strength}")
    left = last_of(ts, strength)
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_skipping_or_crashing(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[int(len(ts) * strength) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_skipping_at_least_one(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[min(max(int(len(ts) * strength), 1), len(ts) - 1) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_skipping_one_or_crashing(z0, eps, ts, strength, alpha_bar):
    require_strength(strength)
    left = ts[max(int(len(ts) * strength), 1) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_more_than_one_allowed(z0, eps, ts, strength, alpha_bar):
    if strength <= 0:
        raise ValueError(f"strength is {strength}")
    left = ts[max(len(ts) - max(int(len(ts) * strength), 1), 0) :]
    return noised(z0, eps, alpha_bar[left[0]]), left


def start_negative_allowed(z0, eps, ts, strength, alpha_bar):
    if strength == 0 or strength > 1:
        raise ValueError(f"strength is {strength}")
    left = last_of(ts, max(strength, 0))
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
    return img2img_start(z0, eps, ts, strength, alpha_bar)


SKIPPED = "You *skipped* int(S · strength) timesteps. That many are *left*: they are the last of ts."


EXERCISE = Exercise(
    name="img2img_start",
    title="Image to image: where to start",
    stars=2,
    minutes=12,
    answer=img2img_start,
    cases=start_cases,
    constants=("z0", "eps"),
    hints=(
        "Of S timesteps the last int(S · strength) are used, at least one. Which slice of ts is that?",
        "z must be as noisy as the first of them says: the network will be told that t.",
        "left = ts[len(ts) - max(int(len(ts) * strength), 1):]; then noise z0 to left[0] as in lesson 02.",
    ),
    insight="The network knows nothing about this: z_t is a state of the ordinary walk, entered half-way. What the "
    "noise has drowned by then, details first, is reinvented from the caption; the rest stays.",
    wrong=(
        Wrong(
            "strength-inverted",
            start_inverted,
            "You take 1 - strength of the steps. Strength is how much is *changed*: 1 takes all steps and keeps "
            "almost nothing of the picture.",
        ),
        Wrong(
            "rounded",
            start_by_rounding,
            "You rounded S · strength to the nearest integer. ⌊ ⌋ cuts the fraction off: int(2.8) is 2.",
        ),
        Wrong(
            "rounded-up",
            start_by_rounding_up,
            "You rounded S · strength up. ⌊ ⌋ cuts the fraction off: int(2.8) is 2. At least one step is still taken.",
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
            "You noised to t = strength · T. That is near, but not a timestep of this walk: noise to ts' own "
            "entry, the first that is left.",
        ),
        Wrong(
            "no-roots",
            start_without_roots,
            "You mixed with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "mixed-by-strength",
            start_mixed_by_strength,
            "You mixed with strength itself. It says how many steps are taken; the mixture follows from ᾱ at the "
            "first of them.",
        ),
        Wrong(
            "none-left",
            start_of_none,
            "With a small strength no timestep is left, and [0] of nothing fails. At least one step is taken.",
        ),
        Wrong("should-refuse", start_unchecked),
        Wrong(
            "by-share-of-T",
            start_by_level_of_T,
            "You kept the timesteps up to T · strength. The *number* of steps decides: the last int(S · strength) "
            "of ts, at least one.",
        ),
        Wrong(
            "below-share-of-T",
            start_below_level_of_T,
            "You kept the timesteps below T · strength. The *number* of steps decides: the last int(S · strength) "
            "of ts, at least one.",
        ),
        Wrong(
            "by-share-of-the-last-t",
            start_by_level_of_last_t,
            "You kept the timesteps up to (T - 1) · strength. The *number* of steps decides: the last int(S · "
            "strength) of ts, at least one.",
        ),
        Wrong(
            "noised-to-share-of-T",
            start_at_level_of_T,
            "You noised to T · strength. Noise to the first timestep that is left: the U-Net is asked about that one.",
        ),
        Wrong(
            "one-too-many",
            start_one_more,
            "One timestep too many is left: the last int(S · strength) of ts, at least one.",
        ),
        Wrong(
            "strength-skipped",
            start_skipping_by_strength,
            "You *skipped* int(S · strength) timesteps. That many are *left*.",
        ),
        Wrong(
            "signal-and-noise-swapped",
            start_swapped,
            "The factors of picture and noise are swapped: √ᾱ belongs to z0, √(1-ᾱ) to ε.",
        ),
        Wrong("noised-to-the-last", start_at_last, "You noised to the last timestep. It is the *first* of those left."),
        Wrong("nothing-skipped", start_all_left, "You return all timesteps. Those before the start are left out."),
        Wrong(
            "first-left-out",
            start_first_dropped,
            "The first timestep is missing: z has its noise, and the U-Net is asked about it first.",
        ),
        Wrong(
            "signal-not-scaled", start_noise_added, "The picture keeps its full size. Scale it by √ᾱ, as in q_sample."
        ),
        Wrong(
            "zero-accepted",
            start_zero_allowed,
            "A strength of 0 makes no sense, nothing would be left: refuse it with a ValueError.",
        ),
        Wrong(
            "one-refused",
            start_one_refused,
            "A strength of 1 makes sense: all steps are left. Only more than 1 is refused.",
        ),
        Wrong("strength-skipped-to-the-end", start_skipping_or_crashing, SKIPPED),
        Wrong("strength-skipped-at-least-one", start_skipping_at_least_one, SKIPPED),
        Wrong("strength-skipped-one-or-all", start_skipping_one_or_crashing, SKIPPED),
        Wrong(
            "more-than-one-accepted",
            start_more_than_one_allowed,
            "A strength above 1 is accepted. More than all steps cannot be taken: refuse it with a ValueError.",
        ),
        Wrong(
            "negative-accepted",
            start_negative_allowed,
            "A negative strength is accepted. Refuse it with a ValueError: 0 < strength <= 1.",
        ),
    ),
    right=(start_by_slicing_from_behind, start_by_schedule, start_without_gradient),
)
