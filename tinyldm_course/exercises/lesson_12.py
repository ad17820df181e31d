"""Exercises of lesson 12: which timesteps, the steps of four samplers, guidance, negative captions."""

import math

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion, reverse_diffusion
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, no_inputs, uniform

TITLE = "Samplers and guidance"


# ── Timesteps: leading ───────────────────────────────────────────────────────────────────────────────


def leading_cases(generator: Generator) -> list[Call]:
    """Numbers of steps, and T; T is no multiple of steps in some of them."""
    return [Call((3, 10)), Call((integer(4, 10, generator), 101)), Call((7, 1000)), Call((50, 1000))]


def leading_from_zero(steps, T):
    return reverse_diffusion.leading_from_zero(steps, T)


def leading_rising(steps, T):
    return torch.arange(steps) * (T // steps) + 1


def leading_is_trailing(steps, T):
    return reverse_diffusion.trailing(steps, T)


def leading_both_ends(steps, T):
    return torch.linspace(T - 1, 0, steps).round().long()


def leading_too_many(steps, T):
    return torch.arange(0, T, T // steps).flip(0) + 1


def leading_stride_not_whole(steps, T):
    return torch.tensor([round(i * T / steps) + 1 for i in reversed(range(steps))])


def leading_both_ends_cut(steps, T):
    return torch.linspace(T - 1, 0, steps).long()


def leading_fractions(steps, T):
    return torch.arange(steps - 1, -1, -1) * (T / steps) + 1


def leading_each_cut(steps, T):
    return torch.arange(steps - 1, -1, -1) * T // steps + 1


def leading_stride_rounded(steps, T):
    return torch.arange(steps - 1, -1, -1) * round(T / steps) + 1


def leading_from_one_stride(steps, T):
    return torch.arange(steps, 0, -1) * (T // steps) + 1


def leading_by_list(steps, T):
    return torch.tensor([i * (T // steps) + 1 for i in range(steps)][::-1])


def leading_by_range(steps, T):
    stride = T // steps
    return torch.tensor(range(1, steps * stride + 1, stride)).flip(0)


LEADING = Exercise(
    name="leading_timesteps",
    title="Which timesteps: Stable Diffusion's way",
    stars=1,
    minutes=6,
    answer=reverse_diffusion.leading,
    cases=leading_cases,
    hints=(
        "The distance between neighbours is a whole number, T // steps.",
        "Multiply steps - 1, …, 1, 0 with it; then add 1 to all of them.",
        "torch.arange(steps - 1, -1, -1) * (T // steps) + 1",
    ),
    insight='"Leading" fixes the clean end and lets the noisy end fall where it will: 981 with 50 steps, 901 with '
    "10, 801 with 5. The fewer steps, the more signal the network expects in what is pure noise.",
    wrong=(
        Wrong(
            "offset-missing",
            leading_from_zero,
            "The 1 is missing: you end at t = 0, Stable Diffusion at t = 1. (diffusers calls it steps_offset; "
            "leaving it out is diffusers' own default, and its pictures differ.)",
        ),
        Wrong(
            "rising",
            leading_rising,
            "The order is turned round: sampling goes from much noise to little, so the largest comes first.",
        ),
        Wrong(
            "trailing",
            leading_is_trailing,
            'That is "trailing" spacing, which starts at T - 1. "Leading" starts where the multiples of T // '
            "steps happen to end.",
        ),
        Wrong(
            "both-ends",
            leading_both_ends,
            'That is "linspace" spacing, from T - 1 to 0 with both ends. Here the distance is T // steps.',
        ),
        Wrong(
            "both-ends-cut",
            leading_both_ends_cut,
            'That is "linspace" spacing, from T - 1 to 0 with both ends, its fractions cut off. Here the distance '
            "is T // steps.",
        ),
        Wrong(
            "too-many",
            leading_too_many,
            "Where T is no multiple of steps, counting through all of T gives more than `steps` timesteps. Take "
            "exactly `steps` multiples of T // steps.",
        ),
        Wrong(
            "distance-not-whole",
            leading_stride_not_whole,
            "You rounded each timestep. Here the distance is rounded down once: T // steps for all.",
        ),
        Wrong(
            "each-cut",
            leading_each_cut,
            "You multiplied first and cut the fraction off each timestep, as in i * T // steps. Here the distance is "
            "made whole first: i * (T // steps).",
        ),
        Wrong(
            "fractions",
            leading_fractions,
            "Your distance is T / steps, and some timesteps are fractions. Take the whole number T // steps.",
        ),
        Wrong(
            "distance-rounded",
            leading_stride_rounded,
            "You rounded the distance to the nearest whole number. It is rounded *down*, T // steps, so that all the "
            "multiples lie inside the table.",
        ),
        Wrong(
            "multiples-from-one",
            leading_from_one_stride,
            "Your multiples are 1 … steps; they are 0 … steps - 1. Yours can step over the end of the table.",
        ),
    ),
    right=(leading_by_list, leading_by_range),
)


# ── Timesteps: trailing ──────────────────────────────────────────────────────────────────────────────


def trailing_cases(generator: Generator) -> list[Call]:
    """Numbers of steps, and T. Odd ones, so that nothing lies halfway between two whole numbers.

    But for 3.5, from which both "half to even" and "half up" go to 4: only who subtracts 1 first is led astray.
    """
    return [
        Call((3, 10)),
        Call((2, 7)),
        Call((2 * integer(2, 6, generator) + 1, 100)),
        Call((7, 1000)),
        Call((25, 1000)),
    ]


def trailing_from_T(steps, T):
    return reverse_diffusion.trailing(steps, T) + 1


def trailing_is_leading(steps, T):
    return reverse_diffusion.leading(steps, T)


def trailing_cut(steps, T):
    return torch.tensor([int(T - i * T / steps) - 1 for i in range(steps)])


def trailing_both_ends(steps, T):
    return torch.linspace(T - 1, 0, steps).round().long()


def trailing_both_ends_cut(steps, T):
    return torch.linspace(T - 1, 0, steps).long()


def trailing_minus_one_first(steps, T):
    return torch.tensor([round(T - 1 - i * T / steps) for i in range(steps)])


def trailing_rising(steps, T):
    return reverse_diffusion.trailing(steps, T).flip(0)


def trailing_stride_cut(steps, T):
    return T - 1 - torch.arange(steps) * (T // steps)


def trailing_not_rounded(steps, T):
    return T - torch.arange(steps) * (T / steps) - 1


def trailing_by_arange(steps, T):
    return torch.arange(T, 0, -T / steps, dtype=torch.float64)[:steps].round().long() - 1


def trailing_half_up(steps, T):
    return torch.tensor([math.floor(T - i * T / steps + 0.5) - 1 for i in range(steps)])


def trailing_by_counting_up(steps, T):
    return torch.tensor([round((i + 1) * T / steps) - 1 for i in range(steps)]).flip(0)


TRAILING = Exercise(
    name="trailing_timesteps",
    title="Which timesteps: from the very end",
    stars=1,
    minutes=6,
    answer=reverse_diffusion.trailing,
    cases=trailing_cases,
    hints=(
        "The distance T / steps need not be whole. Count down from T, not from T - 1.",
        "The i-th number is T - i T / steps, for i = 0 … steps - 1.",
        "Round each to a whole number and subtract 1.",
    ),
    insight='"Trailing" fixes the noisy end: whatever the number of steps, the first is at T - 1, where z_t is as '
    "near to pure noise as training ever saw. The tiny model samples this way.",
    wrong=(
        Wrong("minus-one-missing", trailing_from_T, "Your first timestep is T; the table has 0 … T - 1. Subtract 1."),
        Wrong(
            "leading",
            trailing_is_leading,
            'That is "leading" spacing: it starts where the multiples of T // steps end, not at T - 1.',
        ),
        Wrong(
            "cut-not-rounded",
            trailing_cut,
            "int() cuts the fraction off; the nearest whole number is asked for: round().",
        ),
        Wrong(
            "both-ends",
            trailing_both_ends,
            'That is "linspace" spacing, which visits 0 too. Here the last one is a whole distance from the end: '
            "the last step leads to the clean latent.",
        ),
        Wrong(
            "both-ends-cut",
            trailing_both_ends_cut,
            'That is "linspace" spacing, from T - 1 to 0 with both ends, its fractions cut off. Here the last one '
            "is a whole distance, T / steps, from the end.",
        ),
        Wrong(
            "minus-one-first",
            trailing_minus_one_first,
            "Nearly: do you subtract 1 before you round? Halfway between two whole numbers that matters, as Python "
            "rounds to the even one: 3.5 to 4, but 2.5 to 2. Round first, then subtract 1.",
        ),
        Wrong(
            "rising",
            trailing_rising,
            "The order is turned round: sampling goes from much noise to little, so T - 1 comes first.",
        ),
        Wrong(
            "distance-cut",
            trailing_stride_cut,
            "You made the distance whole, T // steps, before counting down. The rest adds up: go down by T / steps "
            "and round each timestep.",
        ),
        Wrong(
            "not-rounded",
            trailing_not_rounded,
            "These are fractions. The schedule is a table, so round each timestep to a whole number.",
        ),
    ),
    right=(trailing_by_arange, trailing_by_counting_up, trailing_half_up),
)


# ── DDIM ─────────────────────────────────────────────────────────────────────────────────────────────


def step_cases(generator: Generator) -> list[Call]:
    """z, ε̂, ᾱ here, ᾱ after the step; once the step onto the clean latent.

    The roots of the first one's ᾱ and 1-ᾱ are 0.8, 0.6, and 0.96, 0.28: no two alike.
    """
    calls = [Call((torch.tensor([[1.0, -0.5]]), torch.tensor([[0.5, 1.0]]), 0.64, 0.9216))]
    for shape, clean in (((3, 5), False), ((1, 2, 4, 4), True), ((2, 4, 8, 8), False)):
        z, eps_hat = (torch.randn(shape, generator=generator) for _ in range(2))
        alpha_bar = uniform(0.1, 0.5, generator)
        calls.append(Call((z, eps_hat, alpha_bar, 1.0 if clean else uniform(0.6, 0.95, generator))))
    return calls


def clean_latent(z, eps_hat, alpha_bar):
    """ẑ0 = (z - √(1-ᾱ) ε̂) / √ᾱ."""
    return (z - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5


def ddim_right(z: Tensor, eps_hat: Tensor, alpha_bar: float, next_alpha_bar: float) -> Tensor:
    """√ᾱ' ẑ0 + √(1-ᾱ') ε̂."""
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def mixed_anew(z, eps_hat, signal, noise, next_signal, next_noise):
    """A step of DDIM with any four factors."""
    return next_signal * (z - noise * eps_hat) / signal + next_noise * eps_hat


def ddim_z0_not_divided(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = z - (1 - alpha_bar) ** 0.5 * eps_hat
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_without_roots(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = (z - (1 - alpha_bar) * eps_hat) / alpha_bar
    return next_alpha_bar * z0_hat + (1 - next_alpha_bar) * eps_hat


def ddim_old_noise(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) + (1 - alpha_bar) ** 0.5 * eps_hat


def ddim_stops_at_z0(z, eps_hat, alpha_bar, next_alpha_bar):
    return clean_latent(z, eps_hat, alpha_bar)


def ddim_levels_swapped(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_right(z, eps_hat, next_alpha_bar, alpha_bar)


def ddim_fresh_noise(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * torch.randn_like(z)


def ddim_back_again(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_right(z, eps_hat, alpha_bar, alpha_bar)


def ddim_noise_added(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_right(z, -eps_hat, alpha_bar, next_alpha_bar) + 2 * (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_noise_divided(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = z - (1 - alpha_bar) ** 0.5 * eps_hat / alpha_bar**0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_squared(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = (z - (1 - alpha_bar) ** 2 * eps_hat) / alpha_bar**2
    return next_alpha_bar**2 * z0_hat + (1 - next_alpha_bar) ** 2 * eps_hat


def ddim_noise_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) + (1 - next_alpha_bar) * eps_hat


def ddim_one_minus_root(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = (z - (1 - alpha_bar**0.5) * eps_hat) / alpha_bar**0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar**0.5) * eps_hat


def ddim_clamped(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar).clamp(-1, 1)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_subtracted(z, eps_hat, alpha_bar, next_alpha_bar):
    return z - ((1 - alpha_bar) ** 0.5 - (1 - next_alpha_bar) ** 0.5) * eps_hat


def ddim_mixed_with_z(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) + (1 - next_alpha_bar) ** 0.5 * z


def ddim_signal_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_anew(z, eps_hat, alpha_bar**0.5, (1 - alpha_bar) ** 0.5, next_alpha_bar, (1 - next_alpha_bar) ** 0.5)


def ddim_mixed_by_variances(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_anew(z, eps_hat, alpha_bar**0.5, (1 - alpha_bar) ** 0.5, next_alpha_bar, 1 - next_alpha_bar)


def ddim_z0_divided_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_anew(z, eps_hat, alpha_bar, (1 - alpha_bar) ** 0.5, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5)


def ddim_variance_taken_off(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_anew(z, eps_hat, alpha_bar**0.5, 1 - alpha_bar, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5)


def ddim_z0_by_variances(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_anew(z, eps_hat, alpha_bar, 1 - alpha_bar, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5)


def ddim_z0_multiplied(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_anew(
        z, eps_hat, alpha_bar**-0.5, (1 - alpha_bar) ** 0.5, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5
    )


def ddim_noise_forgotten(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar)


def ddim_parts_exchanged(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * eps_hat + (1 - next_alpha_bar) ** 0.5 * clean_latent(z, eps_hat, alpha_bar)


def ddim_eps_for_z0(z, eps_hat, alpha_bar, next_alpha_bar):
    noise = (z - alpha_bar**0.5 * eps_hat) / (1 - alpha_bar) ** 0.5
    return next_alpha_bar**0.5 * eps_hat + (1 - next_alpha_bar) ** 0.5 * noise


def ddim_in_place(z, eps_hat, alpha_bar, next_alpha_bar):
    z -= (1 - alpha_bar) ** 0.5 * eps_hat
    return (next_alpha_bar / alpha_bar) ** 0.5 * z + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_by_two_factors(z, eps_hat, alpha_bar, next_alpha_bar):
    ratio = math.sqrt(next_alpha_bar / alpha_bar)
    return ratio * z + (math.sqrt(1 - next_alpha_bar) - ratio * math.sqrt(1 - alpha_bar)) * eps_hat


def ddim_by_rotation(z, eps_hat, alpha_bar, next_alpha_bar):
    angle, next_angle = math.acos(math.sqrt(alpha_bar)), math.acos(math.sqrt(next_alpha_bar))
    v = (eps_hat - math.sin(angle) * z) / math.cos(angle)
    return math.cos(angle - next_angle) * z - math.sin(angle - next_angle) * v


DDIM_STEP = Exercise(
    name="ddim_step",
    title="A step of DDIM",
    stars=2,
    minutes=10,
    answer=ddim_right,
    cases=step_cases,
    constants=("z", "eps_hat"),
    hints=(
        "Two steps: which clean latent would explain z, if eps_hat is the noise in it? Then mix again.",
        "ẑ0 = (z - √(1-ᾱ) ε̂) / √ᾱ, with the ᾱ of where z is.",
        "The new mixture has the ᾱ of where you land: √ᾱ' ẑ0 + √(1-ᾱ') ε̂, the same ε̂.",
    ),
    insight="Nothing is drawn, so a noise belongs to one picture for good. And nothing asks how far the step is: 50 "
    "steps or 5, the formula is the same, only ẑ0 is believed over a longer way.",
    wrong=(
        Wrong(
            "z0-not-divided",
            ddim_z0_not_divided,
            "What is left when the noise is taken off is √ᾱ ẑ0, the signal as it is *in z*. Divide by √ᾱ to get ẑ0.",
        ),
        Wrong(
            "no-roots",
            ddim_without_roots,
            "You mixed with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "noise-of-old-level",
            ddim_old_noise,
            "You put back as much noise as was there before, √(1-ᾱ). After the step there is less: √(1-ᾱ').",
        ),
        Wrong(
            "stops-at-z0",
            ddim_stops_at_z0,
            "You return ẑ0, and with it jump to the end. It is a blurred guess at first; go back to the next noise "
            "level, so that the model can be asked again.",
        ),
        Wrong(
            "levels-swapped",
            ddim_levels_swapped,
            "The two ᾱ are exchanged: z has the noise of alpha_bar, and the result that of next_alpha_bar.",
        ),
        Wrong(
            "fresh-noise",
            ddim_fresh_noise,
            "You noised ẑ0 again with new noise. DDIM goes back along the *same* ε̂: this is what makes it "
            "deterministic.",
        ),
        Wrong(
            "back-again",
            ddim_back_again,
            "z comes back as it was. Did you take it apart and mix it again at one and the same level? Take it apart "
            "with the ᾱ of where it is, and mix with the ᾱ' of where it lands.",
        ),
        Wrong(
            "noise-added",
            ddim_noise_added,
            "You added the noise on the way to ẑ0. z holds it already: take it off, z - √(1-ᾱ) ε̂.",
        ),
        Wrong(
            "noise-divided-only", ddim_noise_divided, "Only the noise is divided by √ᾱ. Brackets: (z - √(1-ᾱ) ε̂) / √ᾱ."
        ),
        Wrong("squares-for-roots", ddim_squared, "You squared ᾱ and 1-ᾱ. Their *roots* are needed: ** 0.5."),
        Wrong(
            "noise-by-variance",
            ddim_noise_by_variance,
            "You put the noise back with 1-ᾱ'. That is its variance; the factor is √(1-ᾱ').",
        ),
        Wrong(
            "signal-by-variance",
            ddim_signal_by_variance,
            "You mixed ẑ0 in with ᾱ'. That is its share of the variance; the factor is √ᾱ'.",
        ),
        Wrong(
            "mixed-by-variances",
            ddim_mixed_by_variances,
            "Your ẑ0 is right, but you mixed with ᾱ' and 1-ᾱ', the shares of variance. The factors are their roots.",
        ),
        Wrong(
            "z0-divided-by-variance",
            ddim_z0_divided_by_variance,
            "On the way to ẑ0 you divided by ᾱ. The signal's factor in z is √ᾱ: divide by the root.",
        ),
        Wrong(
            "variance-taken-off",
            ddim_variance_taken_off,
            "On the way to ẑ0 you took off (1-ᾱ) ε̂. The noise's factor in z is the root, √(1-ᾱ).",
        ),
        Wrong(
            "z0-by-variances",
            ddim_z0_by_variances,
            "You mixed with roots, but took z apart without them: in ẑ0 they are missing from both 1-ᾱ and ᾱ.",
        ),
        Wrong(
            "z0-multiplied",
            ddim_z0_multiplied,
            "On the way to ẑ0 you multiplied with √ᾱ, which makes the signal smaller still. *Divide* by it.",
        ),
        Wrong(
            "noise-forgotten",
            ddim_noise_forgotten,
            "You put no noise back: √ᾱ' ẑ0 is only the signal of the new mixture. Add √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "parts-exchanged",
            ddim_parts_exchanged,
            "ẑ0 and ε̂ have each other's factor in the new mixture: it is √ᾱ' ẑ0 + √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "eps-for-z0",
            ddim_eps_for_z0,
            "You took eps_hat for the clean latent and computed the noise from it. The network predicts the noise: "
            "ẑ0 is what is to be computed.",
        ),
        Wrong(
            "one-minus-root",
            ddim_one_minus_root,
            "You took 1 - √ᾱ for the noise. It is √(1-ᾱ): the *squares* of both factors add up to 1.",
        ),
        Wrong(
            "clamped", ddim_clamped, "You cut ẑ0 off at -1 and 1. That is done to pixels; latents have no such bounds."
        ),
        Wrong(
            "signal-not-rescaled",
            ddim_subtracted,
            "You only took some noise off. The signal must also grow from √ᾱ to √ᾱ' of its size; without that the "
            "picture stays too faint.",
        ),
        Wrong(
            "z-for-eps",
            ddim_mixed_with_z,
            "You mixed ẑ0 with z. z is signal and noise together; the noise alone is eps_hat.",
        ),
        Wrong("inputs-changed", ddim_in_place),
    ),
    right=(ddim_by_two_factors, ddim_by_rotation, torch.no_grad()(ddim_right)),
)


# ── Euler ────────────────────────────────────────────────────────────────────────────────────────────


def sigma_of(alpha_bar: float) -> float:
    """√((1-ᾱ) / ᾱ)."""
    return math.sqrt((1 - alpha_bar) / alpha_bar)


def euler_right(z: Tensor, eps_hat: Tensor, alpha_bar: float, next_alpha_bar: float) -> Tensor:
    """x = z / √ᾱ; x' = x + (σ' - σ) ε̂; z' = √ᾱ' x'."""
    x = z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_not_entered(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * (z + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat)


def euler_not_left(z, eps_hat, alpha_bar, next_alpha_bar):
    return z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat


def euler_in_z(z, eps_hat, alpha_bar, next_alpha_bar):
    return z + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat


def euler_sign(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + (sigma_of(alpha_bar) - sigma_of(next_alpha_bar)) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_sigma_of_variance_preserving(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + ((1 - next_alpha_bar) ** 0.5 - (1 - alpha_bar) ** 0.5) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_sigma_not_rooted(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) ** 2 - sigma_of(alpha_bar) ** 2) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_left_by_old_level(z, eps_hat, alpha_bar, next_alpha_bar):
    return alpha_bar**0.5 * euler_right(z, eps_hat, alpha_bar, next_alpha_bar) / next_alpha_bar**0.5


def euler_of(z, slope, enter, step, leave):
    """A straight step with any factors."""
    return leave * (z * enter + step * slope)


def euler_sigma_inverted(z, eps_hat, alpha_bar, next_alpha_bar):
    sigma, next_sigma = (math.sqrt(a / (1 - a)) for a in (alpha_bar, next_alpha_bar))
    return euler_of(z, eps_hat, alpha_bar**-0.5, next_sigma - sigma, next_alpha_bar**0.5)


def euler_entered_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) - sigma_of(alpha_bar)
    return euler_of(z, eps_hat, 1 / alpha_bar, step, next_alpha_bar**0.5)


def euler_left_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, alpha_bar**-0.5, sigma_of(next_alpha_bar) - sigma_of(alpha_bar), next_alpha_bar)


def euler_both_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return euler_of(z, eps_hat, 1 / alpha_bar, sigma_of(next_alpha_bar) - sigma_of(alpha_bar), next_alpha_bar)


def euler_entered_backwards(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) - sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**0.5, step, next_alpha_bar**0.5)


def euler_left_backwards(z, eps_hat, alpha_bar, next_alpha_bar):
    step = sigma_of(next_alpha_bar) - sigma_of(alpha_bar)
    return euler_of(z, eps_hat, alpha_bar**-0.5, step, next_alpha_bar**-0.5)


def euler_along_z0(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return euler_of(z, z0_hat, alpha_bar**-0.5, sigma_of(next_alpha_bar) - sigma_of(alpha_bar), next_alpha_bar**0.5)


def euler_by_karras_scale(z, eps_hat, alpha_bar, next_alpha_bar):
    sigma, next_sigma = sigma_of(alpha_bar), sigma_of(next_alpha_bar)
    x = z * math.sqrt(1 + sigma**2)
    return torch.add(x, eps_hat, alpha=next_sigma - sigma) / math.sqrt(1 + next_sigma**2)


EULER_STEP = Exercise(
    name="euler_step",
    title="A step of Euler",
    stars=2,
    minutes=10,
    answer=euler_right,
    cases=step_cases,
    constants=("z", "eps_hat"),
    hints=(
        "Three lines: into the coordinate x, the step, out of it again.",
        "σ = √((1-ᾱ)/ᾱ) is the size of the noise in x = z / √ᾱ, where the signal has its full size.",
        "x + (σ' - σ) ε̂, where σ' < σ; back with √ᾱ'.",
    ),
    insight="Work it out and you find DDIM's step: the same numbers, but for rounding. Euler's way of saying it shows "
    "what DDIM is, a straight step along the curve of an ordinary differential equation.",
    wrong=(
        Wrong(
            "in-z",
            euler_in_z,
            'You stepped z itself. "dx/dσ = ε̂" holds for x = z / √ᾱ only: go into x first, and out again after it.',
        ),
        Wrong("x-not-entered", euler_not_entered, "You took z for x. In x the signal has its full size: x = z / √ᾱ."),
        Wrong(
            "x-not-left",
            euler_not_left,
            "That is x after the step. The model expects z, of variance about 1: multiply with √ᾱ'.",
        ),
        Wrong(
            "sign",
            euler_sign,
            "You *added* noise. The step is σ' - σ, which is negative, as there is less noise after it.",
        ),
        Wrong(
            "noise-level-in-z",
            euler_sigma_of_variance_preserving,
            "√(1-ᾱ) is how much noise there is in z. In x = z / √ᾱ it is √((1-ᾱ)/ᾱ).",
        ),
        Wrong("sigma-not-rooted", euler_sigma_not_rooted, "(1-ᾱ)/ᾱ is the noise's variance in x. σ is its root."),
        Wrong(
            "sigma-inverted",
            euler_sigma_inverted,
            "Your σ is turned round: √(ᾱ/(1-ᾱ)) is signal per noise, and grows as the noise goes. σ is noise per "
            "signal, √((1-ᾱ)/ᾱ).",
        ),
        Wrong(
            "entered-by-variance",
            euler_entered_by_variance,
            "You entered x with z / ᾱ. The signal's factor in z is √ᾱ: divide by the root.",
        ),
        Wrong(
            "left-by-variance",
            euler_left_by_variance,
            "You left x with ᾱ'. The signal's factor in z' is the root: multiply with √ᾱ'.",
        ),
        Wrong(
            "both-by-variance",
            euler_both_by_variance,
            "You entered x with z / ᾱ and left it with ᾱ'. Both are factors of an amplitude: take their roots.",
        ),
        Wrong(
            "entered-backwards",
            euler_entered_backwards,
            "You entered x with √ᾱ z, which is z / √(σ²+1). That is the way *out* of x: in, it is z / √ᾱ, or "
            "z √(σ²+1).",
        ),
        Wrong(
            "left-backwards",
            euler_left_backwards,
            "You left x by dividing by √ᾱ', or multiplying with √(σ'²+1). That is the way *into* x: out, it is √ᾱ' x'.",
        ),
        Wrong(
            "along-z0",
            euler_along_z0,
            "You stepped along ẑ0. The slope dx/dσ is the noise, ε̂: where σ falls by 1, x loses one ε̂.",
        ),
        Wrong(
            "left-by-old-level",
            euler_left_by_old_level,
            "You left x with the √ᾱ by which you entered. After the step the level is ᾱ': multiply with √ᾱ'.",
        ),
    ),
    right=(ddim_right, euler_by_karras_scale, torch.no_grad()(euler_right)),
)


# ── DDPM ─────────────────────────────────────────────────────────────────────────────────────────────


def ancestral_cases(generator: Generator) -> list[Call]:
    """z, ẑ0, ᾱ here, ᾱ after the step (below 1, so that there is something to draw), a generator."""
    calls = [Call((torch.tensor([[1.0, -0.5]]), torch.tensor([[0.5, 1.0]]), 0.64, 0.9216, Seeded(3)))]
    for shape in ((3, 5), (4, 4, 8, 8)):
        z, z0_hat = (torch.randn(shape, generator=generator) for _ in range(2))
        levels = uniform(0.1, 0.5, generator), uniform(0.6, 0.9, generator)
        calls.append(Call((z, z0_hat, *levels, Seeded(integer(0, 10**6, generator)))))
    return calls


def noise_like(z, generator):
    """Drawn where the generator lives."""
    return torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)


def ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar):
    """Of the posterior q(z' | z, ẑ0)."""
    alpha = alpha_bar / next_alpha_bar
    return (next_alpha_bar**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)


def ancestral_variance(alpha_bar, next_alpha_bar):
    """Of the same."""
    return (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar / next_alpha_bar)


def ddpm_right(z: Tensor, z0_hat: Tensor, alpha_bar: float, next_alpha_bar: float, generator: Generator) -> Tensor:
    """μ + √β̃ · fresh noise."""
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_moments(z, z0_hat, alpha_bar, next_alpha_bar, _generator) -> tuple:
    """Mean and standard deviation of the step."""
    return (ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar), ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5)


def ddpm_variance_for_deviation(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) * noise_like(z, generator)


def ddpm_beta_for_variance(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + (1 - alpha_bar / next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_mean_only(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)


def ddpm_alpha_bar_for_alpha(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = (next_alpha_bar**0.5 * (1 - alpha_bar) * z0_hat + alpha_bar**0.5 * (1 - next_alpha_bar) * z) / (
        1 - alpha_bar
    )
    return mean + ((1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar)) ** 0.5 * noise_like(z, generator)


def ddpm_noised_again(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_mean_swapped(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_right(z0_hat, z, alpha_bar, next_alpha_bar, generator)


def ddpm_uniform(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    noise = torch.rand(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise


def ddpm_shared_noise(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise_like(z[0], generator)


def ddpm_global_noise(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * torch.randn_like(z)


def ddpm_of(z, z0_hat, levels, generator, deviation=None, z0_factor=None, z_factor=None, below=None):
    """The step with other factors; None for the right one."""
    alpha_bar, next_alpha_bar = levels
    alpha = alpha_bar / next_alpha_bar
    deviation = ancestral_variance(*levels) ** 0.5 if deviation is None else deviation
    z0_factor = next_alpha_bar**0.5 if z0_factor is None else z0_factor
    z_factor = alpha**0.5 if z_factor is None else z_factor
    mean = z0_factor * (1 - alpha) * z0_hat + z_factor * (1 - next_alpha_bar) * z
    return mean / (below or 1 - alpha_bar) + deviation * noise_like(z, generator)


def ddpm_noise_of_the_level(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, deviation=(1 - next_alpha_bar) ** 0.5)


def ddpm_fraction_inverted(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    variance = (1 - alpha_bar) / (1 - next_alpha_bar) * (1 - alpha_bar / next_alpha_bar)
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, deviation=variance**0.5)


def ddpm_beta_missing(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    deviation = ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, deviation)


def ddpm_noise_not_scaled(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, deviation=1)


def ddpm_z0_by_variance(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, z0_factor=next_alpha_bar)


def ddpm_z_by_variance(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, z_factor=alpha_bar / next_alpha_bar)


def ddpm_mean_without_roots(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(
        z, z0_hat, (alpha_bar, next_alpha_bar), generator, z0_factor=next_alpha_bar, z_factor=alpha_bar / next_alpha_bar
    )


def ddpm_not_divided(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, below=1)


def ddpm_half_divided(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    z0_factor = next_alpha_bar**0.5 * (1 - alpha_bar)
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, z0_factor=z0_factor)


def ddpm_root_of_negative(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    variance = (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - next_alpha_bar / alpha_bar)
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, math.sqrt(variance))


def ddpm_tensor_root_of_negative(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, deviation=math.nan)


def ddpm_alpha_inverted_in_the_mean(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    alpha = next_alpha_bar / alpha_bar
    mean = (next_alpha_bar**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_as_ddim(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    variance = ancestral_variance(alpha_bar, next_alpha_bar)
    kept = max(1 - next_alpha_bar - variance, 0) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + kept * eps_hat + variance**0.5 * noise_like(z, generator)


def ddpm_drawn_backwards(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    noise = noise_like(z.reshape(-1), generator).flip(0).view(z.shape)
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise


DDPM_STEP = Exercise(
    name="ddpm_step",
    title="A step of DDPM, of any length",
    stars=2,
    minutes=12,
    answer=ddpm_right,
    cases=ancestral_cases,
    moments=ddpm_moments,
    constants=("z", "z0_hat"),
    hints=(
        "Lesson 03's posterior, where α is now what *all* the steps jumped over keep together.",
        "α = ᾱ / ᾱ'. The mean takes both z and ẑ0 in; the variance is (1-ᾱ')/(1-ᾱ) · (1-α).",
        "The noise is torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device): drawn where the "
        "generator is, then moved to z. Multiply it with the *root* of the variance.",
    ),
    insight="It is DDIM with part of ε̂ exchanged for fresh noise (η = 1). Fresh noise washes old mistakes out, and "
    "costs: DDPM needs more steps. Onto the clean latent, ᾱ' = 1, the variance is 0 by itself: nothing to "
    "forget.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            ddpm_variance_for_deviation,
            "You multiplied the noise with its variance. Numbers of variance 1 get another by its root.",
        ),
        Wrong(
            "beta-for-variance",
            ddpm_beta_for_variance,
            "You took the variance 1-α of the way *there*. On the way back ẑ0 is known, which leaves less to chance: "
            "(1-ᾱ')/(1-ᾱ) of it, and nothing in the last step.",
        ),
        Wrong(
            "noise-of-the-level",
            ddpm_noise_of_the_level,
            "Your noise has the factor √(1-ᾱ'). That is *all* the noise at the new level, and part of it is in the "
            "mean already, with z. Fresh is only √((1-ᾱ')/(1-ᾱ) · (1-α)).",
        ),
        Wrong(
            "fraction-inverted",
            ddpm_fraction_inverted,
            "The fraction in your variance is turned round. Knowing ẑ0 leaves *less* to chance than 1-α: the factor "
            "is (1-ᾱ')/(1-ᾱ), which is below 1.",
        ),
        Wrong(
            "beta-missing",
            ddpm_beta_missing,
            "The factor 1-α is missing in your variance. Without it even a step of no length would add noise.",
        ),
        Wrong(
            "noise-not-scaled",
            ddpm_noise_not_scaled,
            "The noise is added as it is drawn, of variance 1. Multiply it with the root of the posterior's variance.",
        ),
        Wrong(
            "mean-z0-by-variance",
            ddpm_z0_by_variance,
            "In the mean a root is missing: ẑ0 has the factor √ᾱ' (1-α), you took ᾱ'.",
        ),
        Wrong(
            "mean-z-by-variance",
            ddpm_z_by_variance,
            "In the mean a root is missing: z has the factor √α (1-ᾱ'), you took α.",
        ),
        Wrong(
            "mean-without-roots",
            ddpm_mean_without_roots,
            "In the mean both roots are missing: it is √ᾱ' (1-α) ẑ0 + √α (1-ᾱ') z, divided by 1-ᾱ.",
        ),
        Wrong("not-divided", ddpm_not_divided, "The mean is not divided by 1-ᾱ, so z and ẑ0 are far too faint in it."),
        Wrong(
            "half-divided", ddpm_half_divided, "Only the part of z is divided by 1-ᾱ. Brackets: (… ẑ0 + … z) / (1-ᾱ)."
        ),
        Wrong(
            "root-of-negative",
            ddpm_root_of_negative,
            "A function of `math` got a number that it is not made for, such as math.sqrt a negative one. Is "
            "something turned round? α = ᾱ / ᾱ' is below 1, and ᾱ, of where z is, below ᾱ'.",
        ),
        Wrong(
            "not-a-number",
            ddpm_tensor_root_of_negative,
            "Your result is NaN everywhere, as a root of a negative number is for torch. Is something turned round? "
            "α = ᾱ / ᾱ' is below 1, and ᾱ, of where z is, below ᾱ'.",
        ),
        Wrong(
            "alpha-inverted",
            ddpm_alpha_inverted_in_the_mean,
            "In your mean α is turned round, ᾱ' / ᾱ. What the steps jumped over *keep* is below 1: α = ᾱ / ᾱ'.",
        ),
        Wrong(
            "alpha-bar-for-alpha",
            ddpm_alpha_bar_for_alpha,
            "Your α is ᾱ, what all steps from the start keep. Between the two levels it is ᾱ / ᾱ'.",
        ),
        Wrong(
            "noised-again",
            ddpm_noised_again,
            "You noised ẑ0 with nothing but new noise. That forgets z: the posterior's mean lies between z and ẑ0.",
        ),
        Wrong(
            "mean-swapped",
            ddpm_mean_swapped,
            "z and ẑ0 have each other's factor: ẑ0 goes with √ᾱ' (1-α), z with √α (1-ᾱ').",
        ),
        Wrong(
            "uniform-noise",
            ddpm_uniform,
            "torch.rand draws uniformly between 0 and 1, which brightens everything. Gaussian noise is torch.randn.",
        ),
        Wrong(
            "no-noise",
            ddpm_mean_only,
            "That is the mean of the posterior. DDPM *draws* from it: fresh noise is added, or the pictures come out "
            "washed out.",
        ),
        Wrong("noise-shared", ddpm_shared_noise),
        Wrong("generator-ignored", ddpm_global_noise),
    ),
    right=(ddpm_as_ddim, ddpm_drawn_backwards, torch.no_grad()(ddpm_right)),
)


# ── DPM-Solver++ ─────────────────────────────────────────────────────────────────────────────────────


def multistep_cases(generator: Generator) -> list[Call]:
    """z, ẑ0, the ẑ0 before, and three ᾱ; once the first step, once the last."""
    calls = [Call((torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([0.3]), 0.1, 0.36, 0.9216))]
    for shape, first, clean in (((3, 5), True, False), ((1, 2, 4, 4), False, True), ((2, 4, 8, 8), False, False)):
        z, z0_hat, before = (torch.randn(shape, generator=generator) for _ in range(3))
        levels = (
            uniform(0.05, 0.2, generator),
            uniform(0.3, 0.5, generator),
            1.0 if clean else uniform(0.6, 0.95, generator),
        )
        calls.append(Call((z, z0_hat, None if first else before, None if first else levels[0], *levels[1:])))
    return calls


def half_log_snr(alpha_bar: float) -> float:
    """λ = log √(ᾱ / (1-ᾱ)); infinite at ᾱ = 1."""
    return math.inf if alpha_bar == 1 else 0.5 * math.log(alpha_bar / (1 - alpha_bar))


def first_order(z, z0_hat, alpha_bar, next_alpha_bar):
    """√((1-ᾱ')/(1-ᾱ)) z + √ᾱ' (1 - e^-h) ẑ0."""
    h = half_log_snr(next_alpha_bar) - half_log_snr(alpha_bar)
    return ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z - next_alpha_bar**0.5 * math.expm1(-h) * z0_hat


def lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar):
    """h of this step and of the one before it."""
    here = half_log_snr(alpha_bar)
    return half_log_snr(next_alpha_bar) - here, here - half_log_snr(previous_alpha_bar)


def dpm_right(
    z: Tensor,
    z0_hat: Tensor,
    previous_z0: Tensor | None,
    previous_alpha_bar: float | None,
    alpha_bar: float,
    next_alpha_bar: float,
) -> Tensor:
    """First order with ẑ0 extrapolated by half a step; plain ẑ0 in the first step and in the last."""
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_first_order_only(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    return first_order(z, z0_hat, alpha_bar, next_alpha_bar)


def dpm_whole_step(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / before * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_backwards(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat - h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_ratio_inverted(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + before / (2 * h) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_equal_steps(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    return first_order(z, 1.5 * z0_hat - 0.5 * previous_z0, alpha_bar, next_alpha_bar)


def dpm_also_at_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_of(z, z0_hat, previous_z0, levels, time=half_log_snr, kept=None, entering=None, exponent=-1, to_the_end=False):
    """The step with another time λ, or other factors of z and D, or with h_before up to the end of this step."""
    previous_alpha_bar, alpha_bar, next_alpha_bar = levels
    h, guess = time(next_alpha_bar) - time(alpha_bar), z0_hat
    if previous_z0 is not None and next_alpha_bar < 1:
        before = time(next_alpha_bar if to_the_end else alpha_bar) - time(previous_alpha_bar)
        guess = z0_hat + h / (2 * before) * (z0_hat - previous_z0)
    kept = ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 if kept is None else kept
    entering = next_alpha_bar**0.5 if entering is None else entering
    return kept * z + entering * (1 - math.exp(exponent * h)) * guess


def infinite_at_the_end(time):
    """A time that is infinite at ᾱ = 1, as the exercise says."""
    return lambda alpha_bar: math.inf if alpha_bar == 1 else time(alpha_bar)


def dpm_lambda_not_halved(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, lambda alpha_bar: 2 * half_log_snr(alpha_bar))


def dpm_lambda_inverted(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(lambda a: 0.5 * math.log((1 - a) / a)))


def dpm_lambda_inverted_not_halved(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(lambda a: math.log((1 - a) / a)))


def dpm_log_alpha_bar(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(math.log))


def dpm_log_alpha_bar_to_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, math.log)


def dpm_log_of_half_a_root(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, infinite_at_the_end(lambda a: math.log(a**0.5 / (1 - a))))


def dpm_exponent_positive(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, exponent=1)


def dpm_kept_by_variance(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, kept=(1 - next_alpha_bar) / (1 - alpha_bar))


def dpm_entering_by_variance(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, entering=next_alpha_bar)


def dpm_entering_at_old_level(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, entering=alpha_bar**0.5)


def dpm_without_infinity(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, lambda alpha_bar: 0.5 * math.log(alpha_bar / (1 - alpha_bar)))


def dpm_before_to_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    levels = previous_alpha_bar, alpha_bar, next_alpha_bar
    return dpm_of(z, z0_hat, previous_z0, levels, to_the_end=True)


def dpm_sign(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    kept = ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z
    return 2 * kept - dpm_right(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar)


def dpm_by_ddim(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is not None and next_alpha_bar != 1:
        h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
        z0_hat = z0_hat + h / before * (z0_hat - previous_z0) / 2
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def dpm_by_weights(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    ratio = math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar))
    factor = math.sqrt(next_alpha_bar) - ratio * math.sqrt(alpha_bar)
    if previous_z0 is None or next_alpha_bar > 1 - 1e-9:
        return ratio * z + factor * z0_hat
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    r = before / h
    return ratio * z + factor * ((1 + 1 / (2 * r)) * z0_hat - 1 / (2 * r) * previous_z0)


DPM_STEP = Exercise(
    name="dpm_solver_pp_step",
    title="A step of DPM-Solver++",
    stars=3,
    minutes=20,
    answer=dpm_right,
    cases=multistep_cases,
    constants=("z", "z0_hat", "previous_z0"),
    hints=(
        "Write λ(ᾱ) first, then the step of first order with plain ẑ0; check that. Extrapolate afterwards.",
        "In λ's time the estimate moved by ẑ0 - ẑ0_before while λ moved by h_before. Half of this step is h / 2.",
        "D = ẑ0 + h / (2 h_before) (ẑ0 - ẑ0_before) in the place of ẑ0; but plain ẑ0 where there is none before, "
        "and where ᾱ' = 1, as λ is infinite there: e^-h = 0.",
    ),
    insight="First order, this is DDIM once more. The second order costs no further model call, only the memory of the "
    "last estimate; the error of a step then falls with h³ instead of h².",
    wrong=(
        Wrong(
            "first-order-only",
            dpm_first_order_only,
            "You never use previous_z0: that is the first-order step, DDIM in other words. Extrapolate ẑ0 by half a "
            "step.",
        ),
        Wrong(
            "whole-step",
            dpm_whole_step,
            "You extrapolated ẑ0 to the *end* of the step. Half-way is right: ẑ0 stands for the whole step, and its "
            "mean value over it is the one in the middle.",
        ),
        Wrong(
            "backwards",
            dpm_backwards,
            "You extrapolated backwards: ẑ0 moves on as it moved before, from previous_z0 to z0_hat and further.",
        ),
        Wrong(
            "ratio-inverted",
            dpm_ratio_inverted,
            "The ratio of the two steps is turned round: the longer *this* step is, the further ẑ0 will move.",
        ),
        Wrong(
            "steps-taken-as-equal",
            dpm_equal_steps,
            "3/2 ẑ0 - 1/2 ẑ0_before is right for steps of equal length in λ. These are not: weigh with h / h_before.",
        ),
        Wrong(
            "extrapolated-at-the-end",
            dpm_also_at_the_end,
            "Onto the clean latent, ᾱ' = 1, λ is infinite and so is your extrapolation. That step takes plain ẑ0.",
        ),
        Wrong(
            "lambda-not-halved",
            dpm_lambda_not_halved,
            "Your λ is log(ᾱ/(1-ᾱ)). It is the logarithm of the *root*, half of that: e^-h must be a ratio of "
            "amplitudes.",
        ),
        Wrong(
            "lambda-inverted",
            dpm_lambda_inverted,
            "You have e^h for e^-h. Is your λ turned round, log √((1-ᾱ)/ᾱ)? It is signal per noise, log √(ᾱ/(1-ᾱ)), "
            "which grows on the way, so that h is positive. Or is the sign of the exponent missing?",
        ),
        Wrong(
            "lambda-inverted-not-halved",
            dpm_lambda_inverted_not_halved,
            "Your λ is log((1-ᾱ)/ᾱ). It is turned round, and the root is missing: log √(ᾱ/(1-ᾱ)), which grows on the "
            "way.",
        ),
        Wrong(
            "log-alpha-bar",
            dpm_log_alpha_bar,
            "Your λ is log ᾱ, of the signal alone. It is signal per noise: log √(ᾱ/(1-ᾱ)).",
        ),
        Wrong(
            "log-alpha-bar-to-the-end",
            dpm_log_alpha_bar_to_the_end,
            "Your λ is log ᾱ, of the signal alone, and 0 at ᾱ = 1. It is signal per noise, log √(ᾱ/(1-ᾱ)), and "
            "infinite there.",
        ),
        Wrong(
            "half-a-root",
            dpm_log_of_half_a_root,
            "Your λ is log(√ᾱ / (1-ᾱ)): the root covers ᾱ only. The noise's amplitude is √(1-ᾱ).",
        ),
        Wrong(
            "exponent-positive",
            dpm_exponent_positive,
            "The sign in the exponent is wrong: it is e^-h, which is below 1. e^h grows beyond all bounds towards "
            "the clean latent.",
        ),
        Wrong(
            "z-by-variance",
            dpm_kept_by_variance,
            "The root is missing in the factor of z: (1-ᾱ')/(1-ᾱ) is a ratio of variances.",
        ),
        Wrong(
            "estimate-by-variance",
            dpm_entering_by_variance,
            "The root is missing in the factor of D: it enters with √ᾱ' (1 - e^-h).",
        ),
        Wrong(
            "estimate-at-old-level",
            dpm_entering_at_old_level,
            "D enters with the √ᾱ of where z is. It belongs to the new mixture: √ᾱ' (1 - e^-h).",
        ),
        Wrong(
            "before-to-the-end",
            dpm_before_to_the_end,
            "Your h_before reaches from the last level to the *end* of this step. It ends where this step begins: "
            "λ - λ_before.",
        ),
        Wrong(
            "divided-by-zero",
            dpm_without_infinity,
            "Onto the clean latent ᾱ' is 1, and ᾱ'/(1-ᾱ') divides by zero. λ' is infinite there: take math.inf for "
            "it, and e^-h is 0.",
        ),
        Wrong(
            "sign",
            dpm_sign,
            "The part of ẑ0 has the wrong sign: the factor is √ᾱ' (1 - e^-h), which is positive. (expm1(-h) is "
            "e^-h - 1, negative.)",
        ),
    ),
    right=(dpm_by_ddim, dpm_by_weights, torch.no_grad()(dpm_right)),
)


# ── Guidance ─────────────────────────────────────────────────────────────────────────────────────────


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


def guided_right(model, z: Tensor, t: Tensor, context: Tensor, null_context: Tensor, guidance_scale: float) -> Tensor:
    """ε_null + w (ε_caption - ε_null)."""
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return without + guidance_scale * (with_caption - without)


def guided_w_minus_one(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, null_context, guidance_scale - 1)


def guided_as_in_the_paper(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, null_context, guidance_scale + 1)


def guided_sign(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return with_caption + guidance_scale * (without - with_caption)


def guided_away(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, null_context, -guidance_scale)


def guided_scaled_only(model, z, t, context, null_context, guidance_scale):
    return guidance_scale * model(z, t, context)


def guided_context_mixed(model, z, t, context, null_context, guidance_scale):
    return model(z, t, null_context + guidance_scale * (context - null_context))


def guided_zeros_for_null(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, torch.zeros_like(null_context), guidance_scale)


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
    return guided_right(model, z, t, context, null_context, max(guidance_scale, 1))


def guided_caption_only(model, z, t, context, null_context, guidance_scale):
    return model(z, t, context)


def guided_null_only(model, z, t, context, null_context, guidance_scale):
    return model(z, t, null_context.expand(len(z), -1, -1))


def guided_added(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return without + guidance_scale * with_caption


def guided_with_shortcuts(model, z, t, context, null_context, guidance_scale):
    if guidance_scale == 1:
        return model(z, t, context)
    if guidance_scale == 0:
        return model(z, t, null_context.expand(z.shape[0], -1, -1))
    return guided_right(model, z, t, context, null_context, guidance_scale)


def guided_in_one_batch(model, z, t, context, null_context, guidance_scale):
    without, with_caption = halves_of(model, z, t, torch.cat([null_context.repeat(len(z), 1, 1), context]))
    return without + guidance_scale * (with_caption - without)


def guided_by_lerp(model, z, t, context, null_context, guidance_scale):
    return torch.lerp(*asked_twice(model, z, t, context, null_context), guidance_scale)


def guided_from_the_caption(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return with_caption + (guidance_scale - 1) * (with_caption - without)


GUIDANCE = Exercise(
    name="guided_prediction",
    title="Classifier-free guidance",
    stars=2,
    minutes=12,
    answer=guided_right,
    cases=guidance_cases,
    constants=("z", "context", "null_context"),
    hints=(
        "Ask the model twice, with the caption's context and with the null context.",
        "null_context is (1, L, D), and the model wants a context for each image: null_context.expand(len(z), -1, -1).",
        "Start at the answer without the caption and go w times the way to the answer with it.",
    ),
    insight="At w = 1 the null prediction cancels; at w = 0 the caption does. Beyond 1 you leave everything the model "
    "was trained to say: guidance is extrapolation, which is why too much of it burns the colours.",
    wrong=(
        Wrong(
            "w-minus-one",
            guided_w_minus_one,
            "You went w - 1 times the way from the null prediction. w - 1 belongs to the other form, which starts at "
            "the caption's: ε_caption + (w-1)(ε_caption - ε_null).",
        ),
        Wrong(
            "the-papers-w",
            guided_as_in_the_paper,
            "That is the w of Ho & Salimans' paper, (1+w) ε_caption - w ε_null, where 0 means no guidance. Here, as "
            "in Stable Diffusion, 1 means no guidance.",
        ),
        Wrong(
            "roles-swapped",
            guided_sign,
            "The two predictions are exchanged: you start at the caption's and go towards *no* caption. Was the "
            "batch split in another order than it was put together?",
        ),
        Wrong(
            "away-from-the-caption",
            guided_away,
            "The sign of the difference is wrong: ε_caption - ε_null points to the caption, yours away from it.",
        ),
        Wrong(
            "prediction-scaled",
            guided_scaled_only,
            "You scaled the whole prediction with w, all of its noise too. Only what the caption *changes* is "
            "exaggerated.",
        ),
        Wrong(
            "context-extrapolated",
            guided_context_mixed,
            "You extrapolated the context and asked once. The model has never seen such a context; it is its two "
            "*answers* that are extrapolated.",
        ),
        Wrong(
            "zeros-for-null",
            guided_zeros_for_null,
            'You took zeros for the null context. In training "no caption" was the encoded empty caption; zeros '
            "mean nothing to this model.",
        ),
        Wrong("start-missing", guided_difference_only, "That is only the w-fold difference. It is added to ε_null."),
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
            "The batch was two halves, first without, then with the captions, but you split the predictions by "
            "turns. Take the halves: .chunk(2).",
        ),
        Wrong(
            "not-below-one",
            guided_not_below_one,
            "For w below 1 you return the caption's prediction, as if w were 1. The formula holds there, too: at "
            "w = 0 the caption plays no part, at 0.5 half of it.",
        ),
        Wrong(
            "caption-only",
            guided_caption_only,
            "That is the caption's prediction, whatever w is: no guidance. Ask for the one without the caption, too, "
            "and go on from it.",
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
            "You added w times the caption's whole prediction to ε_null: together 1 + w times the noise. Add w times "
            "the *difference*, ε_caption - ε_null.",
        ),
    ),
    right=(
        guided_in_one_batch,
        guided_by_lerp,
        guided_from_the_caption,
        guided_with_shortcuts,
        torch.no_grad()(guided_right),
    ),
)


# ── Negative captions ────────────────────────────────────────────────────────────────────────────────


def negative_cases(generator: Generator) -> list[Call]:
    """A text encoder, captions, negative captions or None; too few of them, too many, none at all."""
    encode, words = Made(makers.toy_text_encoder), ("circle", "star", "ring", "cross", "square", "moon")
    chosen = [words[i] for i in torch.randperm(6, generator=generator).tolist()]
    return [
        Call((encode, ["a star"], None)),
        Call((encode, ["a star"], ["red"])),
        Call((encode, chosen[:2], None)),
        Call((encode, [f"a {word}" for word in chosen[:3]], chosen[3:])),
        Call((encode, chosen[:2], chosen[2:3])),
        Call((encode, chosen[:2], chosen[2:5])),
        Call((encode, chosen[:2], [])),
        Call((encode, chosen[:2], chosen[2:4])),
    ]


def negative_right(encode, captions: list, negative: list | None) -> Tensor:
    """[null or negative; captions]: (2B, L, D)."""
    if negative is None:
        negative = [""] * len(captions)
    if len(negative) != len(captions):
        raise ValueError(f"{len(negative)} negative captions for {len(captions)} captions; expected as many")
    return torch.cat([encode(negative), encode(captions)])


def negative_not_used(encode, captions, negative):
    if negative is not None and len(negative) != len(captions):
        raise ValueError
    return torch.cat([encode([""] * len(captions)), encode(captions)])


def negative_swapped(encode, captions, negative):
    return negative_right(encode, captions, negative).roll(len(captions), 0)


def negative_in_words(encode, captions, negative):
    if negative is not None:
        if len(negative) != len(captions):
            raise ValueError
        captions = [f"{caption}, no {word}" for caption, word in zip(captions, negative)]
    return negative_right(encode, captions, None)


def negative_subtracted(encode, captions, negative):
    contexts = negative_right(encode, captions, negative)
    B, null = len(captions), encode([""] * len(captions))
    return contexts if negative is None else torch.cat([null, contexts[B:] - contexts[:B]])


def negative_joined(encode, captions, negative):
    if negative is None:
        return negative_right(encode, captions, None)
    negative_right(encode, captions, negative)
    return torch.cat([encode([""] * len(captions)), encode(negative), encode(captions)])


def negative_zeros_for_none(encode, captions, negative):
    contexts = negative_right(encode, captions, negative)
    if negative is None:
        contexts[: len(captions)] = 0
    return contexts


def negative_of_any_number(encode, captions, negative):
    return torch.cat([encode([""] * len(captions) if negative is None else negative), encode(captions)])


def negative_too_many_accepted(encode, captions, negative):
    if negative is not None and len(negative) < len(captions):
        raise ValueError
    return negative_of_any_number(encode, captions, negative)


def negative_too_few_accepted(encode, captions, negative):
    if negative is not None and len(negative) > len(captions):
        raise ValueError
    return negative_of_any_number(encode, captions, negative)


def negative_empty_for_none(encode, captions, negative):
    return negative_right(encode, captions, negative or None)


def negative_null_once(encode, captions, negative):
    if negative is not None:
        return negative_right(encode, captions, negative)
    return torch.cat([encode([""]), encode(captions)])


def negative_none_refused(encode, captions, negative):
    return negative_right(encode, captions, [""] if negative is None else negative)


def negative_interleaved(encode, captions, negative):
    return torch.stack(negative_right(encode, captions, negative).chunk(2), 1).flatten(0, 1)


def negative_by_expanding(encode, captions, negative):
    if negative is None:
        return torch.cat([encode([""]).expand(len(captions), -1, -1), encode(captions)])
    if len(negative) != len(captions):
        raise ValueError
    return torch.cat((encode(negative), encode(captions)), 0)


def negative_in_one_call(encode, captions, negative):
    left_out = ["" for _ in captions] if negative is None else list(negative)
    if len(left_out) - len(captions):
        raise ValueError("as many negative captions as captions")
    return encode(left_out + list(captions))


def negative_one_by_one(encode, captions, negative):
    pairs = zip(captions, [""] * len(captions) if negative is None else negative, strict=True)
    contexts = [(encode([away])[0], encode([caption])[0]) for caption, away in pairs]
    return torch.stack([away for away, _ in contexts] + [caption for _, caption in contexts])


NEGATIVE = Exercise(
    name="contexts_for_guidance",
    title="Negative captions",
    stars=2,
    minutes=10,
    answer=negative_right,
    cases=negative_cases,
    hints=(
        'Guidance goes from one prediction towards another, and beyond. What if it starts at "red"?',
        "The negative captions take the place of the empty ones; nothing else changes.",
        'torch.cat([encode(negative), encode(captions)]), with negative = [""] * B where it is None.',
    ),
    insight='There is no negation in it: the text encoder never sees "not". A negative caption is a different point '
    "to extrapolate *from*; at w = 1, where that point cancels, it does nothing at all.",
    wrong=(
        Wrong(
            "negative-not-used",
            negative_not_used,
            "The negative captions are not used: the null half is always the empty caption.",
        ),
        Wrong(
            "halves-swapped",
            negative_swapped,
            "The captions come first here. The null half leads by agreement (diffusers and this package): the code "
            "that splits the batch would guide *towards* the negative caption.",
        ),
        Wrong(
            "written-into-the-caption",
            negative_in_words,
            'You wrote the negation into the caption. CLIP hardly reads "no red" as less red; the word alone '
            "makes it more likely. Guidance away from it needs its own context.",
        ),
        Wrong(
            "contexts-subtracted",
            negative_subtracted,
            "You subtracted contexts. The U-Net was never trained on differences of contexts; guidance subtracts its "
            "predictions.",
        ),
        Wrong(
            "third-part",
            negative_joined,
            "Three predictions would be needed for this. The negative context *replaces* the empty one.",
        ),
        Wrong(
            "zeros-for-none",
            negative_zeros_for_none,
            "Without negative captions the null half is the *encoded* empty caption, not zeros: that is what "
            "training dropped captions to.",
        ),
        Wrong(
            "null-once",
            negative_null_once,
            'Without negative captions you encode "" only once, which makes B + 1 contexts. Each caption needs its '
            'own to walk away from: [""] * B.',
        ),
        Wrong(
            "none-refused",
            negative_none_refused,
            "Where `negative` is None, several captions are refused. None is welcome and stands for as many empty "
            'captions as there are captions: [""] * len(captions).',
        ),
        Wrong(
            "interleaved",
            negative_interleaved,
            "You put each caption beside its negative one, by turns. Two halves are asked for: first all B to walk "
            "away from, then all B captions.",
        ),
        Wrong(
            "empty-list-for-none",
            negative_empty_for_none,
            "You took [] for None. An empty list is a list of the wrong length, and to be refused; ask `negative is "
            "None`: `not negative` is true for both.",
        ),
        Wrong(
            "too-many-accepted",
            negative_too_many_accepted,
            "You refuse too few negative captions, but not too many: then the two halves are not of the same length. "
            "Any other number is to be refused: !=.",
        ),
        Wrong(
            "too-few-accepted",
            negative_too_few_accepted,
            "You refuse too many negative captions, but not too few: then the two halves are not of the same length. "
            "Any other number is to be refused: !=.",
        ),
        Wrong("should-refuse", negative_of_any_number),
    ),
    right=(negative_in_one_call, negative_one_by_one, negative_by_expanding),
)


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────


def alpha_bar_at(t: int) -> float:
    """ᾱ of Stable Diffusion's schedule."""
    return forward_diffusion.NoiseSchedule(forward_diffusion.scaled_linear_betas()).alpha_bar[t].item()


def signal_right():
    return alpha_bar_at(901) ** 0.5


def signal_of_variance():
    return alpha_bar_at(901)


def signal_none():
    return 0.0


def signal_of_trailing():
    return alpha_bar_at(999) ** 0.5


def signal_is_noise():
    return (1 - alpha_bar_at(901)) ** 0.5


def signal_of_fifty_steps():
    return alpha_bar_at(981) ** 0.5


def signal_to_three_digits():
    return 0.118


def signal_to_two_digits():
    return 0.12


def signal_nearly():
    return 0.114


SIGNAL = Exercise(
    name="signal_at_the_start",
    title="Predict: ten steps of Stable Diffusion",
    stars=1,
    minutes=10,
    answer=signal_right,
    cases=no_inputs,
    tolerance=0.04,  # 0.005 either way
    hints=(
        'With "leading" spacing ten steps are at 901, 801, … 1.',
        "Signal means the factor of z0 in z_t.",
        "√ᾱ of Stable Diffusion's schedule at t = 901.",
    ),
    insight="0.118: in training, nearly 12 % of the picture's amplitude was still in z_t there, its mean brightness "
    "above all. Sampling starts from pure noise, whose mean is near 0, and the network believes it: with few "
    'steps all pictures come out of medium brightness (Lin et al. 2024). "Trailing" spacing starts at 0.068.',
    wrong=(
        Wrong(
            "variance",
            signal_of_variance,
            "That is ᾱ, the share of the *variance*, or ᾱ/(1-ᾱ), which is nearly the same here. The signal in z_t is "
            "scaled with √ᾱ.",
        ),
        Wrong(
            "nothing",
            signal_none,
            "Nothing, or next to it. Sampling starts from pure noise, true; but the question is what the network was "
            "*trained* on at that t, and Stable Diffusion's ᾱ never is 0. (If you computed it: √β rises linearly, "
            "and is squared to β before 1-β is taken.)",
        ),
        Wrong(
            "t-999",
            signal_of_trailing,
            '0.068 is the signal at t = 999, where "trailing" spacing starts; "leading" with ten steps does not. '
            "(0.070 is that at the right t, but with *β* rising linearly; here √β does.)",
        ),
        Wrong(
            "noise-factor",
            signal_is_noise,
            "Close to 1 there are the factor of the noise, √(1-ᾱ), its variance, 1-ᾱ, and what a single step keeps, "
            "√(1-β); and the signal itself only at the clean end, in the *last* step. Asked is √ᾱ in the first.",
        ),
        Wrong("fifty-steps", signal_of_fifty_steps, "That is where fifty steps start, at t = 981. Ten start at 901."),
    ),
    right=(signal_to_three_digits, signal_to_two_digits, signal_nearly),
)


EXERCISES = (LEADING, TRAILING, DDIM_STEP, EULER_STEP, DDPM_STEP, DPM_STEP, GUIDANCE, NEGATIVE, SIGNAL)
