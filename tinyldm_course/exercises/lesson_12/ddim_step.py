"""Exercise ddim_step of lesson 12: A step of DDIM."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def ddim_step(z, eps_hat, alpha_bar, next_alpha_bar):
    """From noise level ᾱ to ᾱ', without randomness.

    z, eps_hat: (B, …) float; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' ≤ 1.  Returns z' (B, …).
    """
    ### BEGIN SOLUTION
    z0_hat = (z - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat
    ### END SOLUTION


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


def mixed_again(z, eps_hat, signal, noise, next_signal, next_noise):
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
    return ddim_step(z, eps_hat, next_alpha_bar, alpha_bar)


def ddim_fresh_noise(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * torch.randn_like(z)


def ddim_back_again(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_step(z, eps_hat, alpha_bar, alpha_bar)


def ddim_noise_added(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_step(z, -eps_hat, alpha_bar, next_alpha_bar) + 2 * (1 - next_alpha_bar) ** 0.5 * eps_hat


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
    return mixed_again(z, eps_hat, alpha_bar**0.5, (1 - alpha_bar) ** 0.5, next_alpha_bar, (1 - next_alpha_bar) ** 0.5)


def ddim_mixed_by_variances(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_again(z, eps_hat, alpha_bar**0.5, (1 - alpha_bar) ** 0.5, next_alpha_bar, 1 - next_alpha_bar)


def ddim_z0_divided_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_again(z, eps_hat, alpha_bar, (1 - alpha_bar) ** 0.5, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5)


def ddim_variance_taken_off(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_again(z, eps_hat, alpha_bar**0.5, 1 - alpha_bar, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5)


def ddim_z0_by_variances(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_again(z, eps_hat, alpha_bar, 1 - alpha_bar, next_alpha_bar**0.5, (1 - next_alpha_bar) ** 0.5)


def ddim_z0_multiplied(z, eps_hat, alpha_bar, next_alpha_bar):
    return mixed_again(
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


def ddim_clamped_to_three(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar).clamp(-3, 3)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_with_eps_read_again(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar).clamp(-1, 1)
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_noise_minus(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) - (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_ratio_only(z, eps_hat, alpha_bar, next_alpha_bar):
    return (next_alpha_bar / alpha_bar) ** 0.5 * z


def ddim_of_ratio(z, eps_hat, alpha_bar, next_alpha_bar):
    a = alpha_bar / next_alpha_bar
    return (z - (1 - a) ** 0.5 * eps_hat) / a**0.5


def ddim_of_velocity(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = alpha_bar**0.5 * z - (1 - alpha_bar) ** 0.5 * eps_hat
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_z_for_z0(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * z + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_by_two_factors(z, eps_hat, alpha_bar, next_alpha_bar):
    ratio = math.sqrt(next_alpha_bar / alpha_bar)
    return ratio * z + (math.sqrt(1 - next_alpha_bar) - ratio * math.sqrt(1 - alpha_bar)) * eps_hat


def ddim_by_rotation(z, eps_hat, alpha_bar, next_alpha_bar):
    angle, next_angle = math.acos(math.sqrt(alpha_bar)), math.acos(math.sqrt(next_alpha_bar))
    v = (eps_hat - math.sin(angle) * z) / math.cos(angle)
    return math.cos(angle - next_angle) * z - math.sin(angle - next_angle) * v


EXERCISE = Exercise(
    name="ddim_step",
    title="A step of DDIM",
    stars=2,
    minutes=10,
    answer=ddim_step,
    cases=step_cases,
    constants=("z", "eps_hat"),
    hints=(
        "Two steps: which clean latent would explain z, if eps_hat is the noise in it? Then mix again.",
        "ẑ0 = (z - √(1-ᾱ) ε̂) / √ᾱ, with the ᾱ of where z is.",
        "The new mixture has the ᾱ of where you land: √ᾱ' ẑ0 + √(1-ᾱ') ε̂, the same ε̂.",
    ),
    insight="Nothing is drawn, so each noise belongs to one picture for good. And nothing asks how far the step "
    "is: 50 steps or 5, the formula is the same, only ẑ0 has to hold over a longer distance.",
    wrong=(
        Wrong(
            "z0-not-divided",
            ddim_z0_not_divided,
            "What is left after removing the noise is √ᾱ ẑ0, the signal as it is *in z*. Divide by √ᾱ to get ẑ0.",
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
            "You return ẑ0, which jumps to the end. It is a blurred guess at first; go back to the next noise "
            "level, so that the model can be asked again.",
        ),
        Wrong(
            "levels-swapped",
            ddim_levels_swapped,
            "The two ᾱ are swapped: z has the noise of alpha_bar, and the result that of next_alpha_bar.",
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
            "z comes back as it was. Did you take it apart and mix it again at one and the same level? Take it "
            "apart with the ᾱ of where it is, and mix with the ᾱ' of where it lands.",
        ),
        Wrong(
            "noise-added",
            ddim_noise_added,
            "You added the noise on the way to ẑ0. z contains it already: take it off, z - √(1-ᾱ) ε̂.",
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
            "On the way to ẑ0 you multiplied by √ᾱ, which makes the signal smaller still. *Divide* by it.",
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
        Wrong(
            "clamped-to-three",
            ddim_clamped_to_three,
            "You clipped ẑ0. That is for pixels; a latent has no such limits.",
        ),
        Wrong(
            "clamped-and-read-again",
            ddim_with_eps_read_again,
            "You clipped ẑ0 to [-1, 1] and recomputed ε̂ from it. That is for pixels; a latent has no such limits.",
        ),
        Wrong("noise-subtracted", ddim_noise_minus, "You subtracted the noise of the new level. It is added."),
        Wrong(
            "noise-of-one-step-removed",
            ddim_of_ratio,
            "You took α = ᾱ/ᾱ' and inverted one noising step with ε̂ for its noise. First estimate ẑ0, then mix it "
            "at ᾱ' with √(1-ᾱ') ε̂.",
        ),
        Wrong(
            "read-as-velocity",
            ddim_of_velocity,
            "You read ε̂ as a velocity: √ᾱ z - √(1-ᾱ) v. From the noise: (z - √(1-ᾱ) ε̂) / √ᾱ.",
        ),
        Wrong(
            "noise-not-removed",
            ddim_ratio_only,
            "You only rescaled z: the noise in it grew along with the signal. Estimate ẑ0 first, then mix it with "
            "less noise.",
        ),
        Wrong(
            "z-for-z0",
            ddim_z_for_z0,
            "You mixed z itself with the noise. Compute ẑ0 from z first, then mix ẑ0 with ε̂ at the level ᾱ'.",
        ),
    ),
    right=(ddim_by_two_factors, ddim_by_rotation, torch.no_grad()(ddim_step)),
)
