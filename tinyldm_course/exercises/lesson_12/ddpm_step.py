"""Exercise ddpm_step of lesson 12: A step of DDPM, of any length."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def ddpm_step(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    """Draw z' from the posterior between z and ẑ0.

    z, z0_hat: (B, …) float; alpha_bar, next_alpha_bar: numbers, 0 < ᾱ < ᾱ' < 1; generator: a torch.Generator of the
    CPU, from which the noise is drawn; then move it, .to(z.device).  Returns z' (B, …), in the dtype of z.
    """
    ### BEGIN SOLUTION
    alpha = alpha_bar / next_alpha_bar
    mean = (next_alpha_bar**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)
    variance = (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha)
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return mean + variance**0.5 * noise
    ### END SOLUTION


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
    return ddpm_step(z0_hat, z, alpha_bar, next_alpha_bar, generator)


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


def ddpm_z0_at_old_level(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, z0_factor=alpha_bar**0.5)


def ddpm_z_by_alpha_bar(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, z_factor=alpha_bar**0.5)


def ddpm_divided_at_new_level(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_of(z, z0_hat, (alpha_bar, next_alpha_bar), generator, below=1 - next_alpha_bar)


def ddpm_as_ddim(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    variance = ancestral_variance(alpha_bar, next_alpha_bar)
    kept = max(1 - next_alpha_bar - variance, 0) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + kept * eps_hat + variance**0.5 * noise_like(z, generator)


def ddpm_drawn_backwards(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    noise = noise_like(z.reshape(-1), generator).flip(0).view(z.shape)
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise


EXERCISE = Exercise(
    name="ddpm_step",
    title="A step of DDPM, of any length",
    stars=2,
    minutes=12,
    answer=ddpm_step,
    cases=ancestral_cases,
    moments=ddpm_moments,
    constants=("z", "z0_hat"),
    hints=(
        "Lesson 03's posterior, where α is now what *all* the steps jumped over keep together.",
        "α = ᾱ / ᾱ'. The mean takes both z and ẑ0 in; the variance is (1-ᾱ')/(1-ᾱ) · (1-α).",
        "The noise is torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device): drawn where the "
        "generator is, then moved to z. Multiply it by the *root* of the variance.",
    ),
    insight="It is DDIM with part of ε̂ replaced by fresh noise (η = 1). Fresh noise washes old mistakes out, and "
    "costs: DDPM needs more steps. Onto the clean latent, ᾱ' = 1, the variance is 0 by itself: nothing to forget.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            ddpm_variance_for_deviation,
            "You multiplied the noise by its variance. To give numbers of variance 1 another variance, multiply by "
            "its root.",
        ),
        Wrong(
            "beta-for-variance",
            ddpm_beta_for_variance,
            "You took the variance 1-α of the way *there*. On the way back ẑ0 is known, which leaves less to "
            "chance: (1-ᾱ')/(1-ᾱ) of it, and nothing in the last step.",
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
            "The fraction in your variance is upside down. Knowing ẑ0 leaves *less* to chance than 1-α: the factor "
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
            "The noise is added with variance 1, as drawn. Multiply it by the root of the posterior's variance.",
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
        Wrong("half-divided", ddpm_half_divided, "Only the z part is divided by 1-ᾱ. Brackets: (… ẑ0 + … z) / (1-ᾱ)."),
        Wrong(
            "root-of-negative",
            ddpm_root_of_negative,
            "A function of `math` got a number outside its domain, such as a negative one for math.sqrt. Is "
            "something inverted? α = ᾱ / ᾱ' is below 1, and ᾱ, of where z is, below ᾱ'.",
        ),
        Wrong(
            "not-a-number",
            ddpm_tensor_root_of_negative,
            "Your result is NaN everywhere: torch gives NaN for the root of a negative number. Is something "
            "inverted? α = ᾱ / ᾱ' is below 1, and ᾱ, of where z is, below ᾱ'.",
        ),
        Wrong(
            "alpha-inverted",
            ddpm_alpha_inverted_in_the_mean,
            "In your mean α is inverted: ᾱ' / ᾱ. What the steps jumped over *keep* is below 1: α = ᾱ / ᾱ'.",
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
            "The factors of z and ẑ0 are swapped: ẑ0 goes with √ᾱ' (1-α), z with √α (1-ᾱ').",
        ),
        Wrong(
            "uniform-noise",
            ddpm_uniform,
            "torch.rand draws uniformly between 0 and 1, which brightens everything. Gaussian noise is torch.randn.",
        ),
        Wrong(
            "no-noise",
            ddpm_mean_only,
            "That is the mean of the posterior. DDPM *draws* from it: fresh noise is added, or the pictures come "
            "out washed out.",
        ),
        Wrong("noise-shared", ddpm_shared_noise),
        Wrong("generator-ignored", ddpm_global_noise),
        Wrong(
            "mean-z0-at-old-level",
            ddpm_z0_at_old_level,
            "In the mean you scaled ẑ0 by √ᾱ. It is √ᾱ': the mean is a point at the level after the step.",
        ),
        Wrong(
            "mean-z-by-alpha-bar",
            ddpm_z_by_alpha_bar,
            "In the mean you scaled z by √ᾱ. It is √α with α = ᾱ / ᾱ', of this one step.",
        ),
        Wrong(
            "divided-at-new-level",
            ddpm_divided_at_new_level,
            "You divided the mean by 1-ᾱ'. It is 1-ᾱ, the noise in z before the step.",
        ),
    ),
    right=(ddpm_as_ddim, ddpm_drawn_backwards, torch.no_grad()(ddpm_step)),
)
