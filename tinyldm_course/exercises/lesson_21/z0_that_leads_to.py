"""Exercise z0_that_leads_to of lesson 21: The answer that a student should give."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import random_alpha_bar


def z0_that_leads_to(z_end, z, alpha_bar, end_alpha_bar):
    """The ẑ0 with which *one* DDIM step from z arrives at z_end: (B, …).

    z, z_end: (B, …); alpha_bar, end_alpha_bar: floats, ᾱ before and after the step. The step keeps the noise that
    belongs to ẑ0: z_end = √ᾱ_end ẑ0 + √(1-ᾱ_end) ε̂ with ε̂ = (z - √ᾱ ẑ0) / √(1-ᾱ).
    """
    ### BEGIN SOLUTION
    ratio = ((1 - end_alpha_bar) / (1 - alpha_bar)) ** 0.5
    return (z_end - ratio * z) / (end_alpha_bar**0.5 - ratio * alpha_bar**0.5)
    ### END SOLUTION


def z0_cases(generator: Generator) -> list[Call]:
    """Points and latents; an end on the clean latent."""

    def call(*shape: int, clean: bool = False) -> Call:
        table = random_alpha_bar(12, generator)
        now, end = table[9].item(), 1.0 if clean else table[3].item()
        return Call((*(torch.randn(shape, generator=generator) for _ in range(2)), now, end))

    return [call(1, 1), call(3, 2), call(2, 2, clean=True), call(2, 4, 2, 2)]


def leads_z_end(z_end, z, alpha_bar, end_alpha_bar):
    return z_end.clone()


def leads_divided(z_end, z, alpha_bar, end_alpha_bar):
    return z_end / end_alpha_bar**0.5


def leads_without_roots(z_end, z, alpha_bar, end_alpha_bar):
    ratio = (1 - end_alpha_bar) / (1 - alpha_bar)
    return (z_end - ratio * z) / (end_alpha_bar - ratio * alpha_bar)


def leads_ratio_of_signals(z_end, z, alpha_bar, end_alpha_bar):
    ratio = (end_alpha_bar / alpha_bar) ** 0.5
    noise = (1 - end_alpha_bar) ** 0.5 - ratio * (1 - alpha_bar) ** 0.5
    return (z_end - ratio * z) / noise


def leads_same_noise_amount(z_end, z, alpha_bar, end_alpha_bar):
    return (z_end - z) / (end_alpha_bar**0.5 - alpha_bar**0.5)


def leads_swapped(z_end, z, alpha_bar, end_alpha_bar):
    ratio = ((1 - alpha_bar) / (1 - min(end_alpha_bar, 0.999))) ** 0.5
    return (z_end - ratio * z) / (end_alpha_bar**0.5 - ratio * alpha_bar**0.5)


def leads_plus(z_end, z, alpha_bar, end_alpha_bar):
    ratio = ((1 - end_alpha_bar) / (1 - alpha_bar)) ** 0.5
    return (z_end + ratio * z) / (end_alpha_bar**0.5 + ratio * alpha_bar**0.5)


def leads_z_for_noise(z_end, z, alpha_bar, end_alpha_bar):
    return (z_end - (1 - end_alpha_bar) ** 0.5 * z) / end_alpha_bar**0.5


def leads_by_eps(z_end, z, alpha_bar, end_alpha_bar):
    a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    b, r = end_alpha_bar**0.5, (1 - end_alpha_bar) ** 0.5
    return (s * z_end - r * z) / (s * b - r * a)


def leads_by_solving(z_end, z, alpha_bar, end_alpha_bar):
    a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    b, r = end_alpha_bar**0.5, (1 - end_alpha_bar) ** 0.5
    eps = (a * z_end - b * z) / (a * r - b * s)
    return (z - s * eps) / a


EXERCISE = Exercise(
    name="z0_that_leads_to",
    title="The answer that a student should give",
    stars=3,
    minutes=15,
    answer=z0_that_leads_to,
    cases=z0_cases,
    tolerance=1e-3,
    hints=(
        "Put ε̂ into the equation of the step. Only ẑ0 is unknown, and it occurs twice.",
        "With r = √((1-ᾱ_end) / (1-ᾱ)):  z_end = √ᾱ_end ẑ0 + r (z - √ᾱ ẑ0).",
        "Collect the terms with ẑ0.",
    ),
    insight="Any point z_end can be reached, so the student's target exists always. At the last step r = 0, and "
    "the target is simply where the teacher ended.",
    wrong=(
        Wrong("end-itself", leads_z_end, "That is right only if the step ends on the clean latent, ᾱ_end = 1."),
        Wrong(
            "end-without-noise",
            leads_divided,
            "z_end is not only signal: it also contains noise, as much as ᾱ_end says.",
        ),
        Wrong("no-roots", leads_without_roots, "The factors of signal and noise are roots: √ᾱ and √(1-ᾱ)."),
        Wrong("noise", leads_ratio_of_signals, "You eliminated ẑ0 and found ε̂."),
        Wrong(
            "ratio-missing",
            leads_same_noise_amount,
            "The noise shrinks during the step: z enters with the factor √((1-ᾱ_end) / (1-ᾱ)).",
        ),
        Wrong(
            "ratio-inverted", leads_swapped, "The ratio is upside down: the noise after the step over the noise before."
        ),
        Wrong("z-for-noise", leads_z_for_noise, "You took z for the noise ε̂. It contains signal as well."),
        Wrong("sign", leads_plus, "Check the signs: z - √ᾱ ẑ0 is what is left for the noise."),
    ),
    right=(leads_by_eps, leads_by_solving),
)
