"""Exercise two_steps of lesson 21: What a student has to match."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import random_alpha_bar


def two_steps(z, eps_first, eps_second, alpha_bar):
    """Two DDIM steps of a teacher, from noise level to noise level: (B, …).

    A step: ẑ0 = (z - √(1-ᾱ) ε̂) / √ᾱ, then z ← √ᾱ_next ẑ0 + √(1-ᾱ_next) ε̂.
    z, eps_first, eps_second: (B, …), the latent and the noise that the teacher predicts in each of its two steps;
    alpha_bar: (3,) rising: now, in the middle, at the end.
    """
    ### BEGIN SOLUTION
    for eps, now, after in zip((eps_first, eps_second), alpha_bar[:-1], alpha_bar[1:]):
        z0 = (z - (1 - now).sqrt() * eps) / now.sqrt()
        z = after.sqrt() * z0 + (1 - after).sqrt() * eps
    return z
    ### END SOLUTION


def two_step_cases(generator: Generator) -> list[Call]:
    """Rising ᾱ; and an end on the clean latent."""

    def call(*shape: int, clean: bool = False) -> Call:
        table = random_alpha_bar(12, generator)
        levels = torch.stack([table[9], table[5], torch.ones(()) if clean else table[1]])
        return Call((*(torch.randn(shape, generator=generator) for _ in range(3)), levels))

    return [call(1, 1), call(3, 2), call(2, 2, clean=True), call(2, 4, 2, 2)]


def _step(z, eps, now, after):
    return after.sqrt() * (z - (1 - now).sqrt() * eps) / now.sqrt() + (1 - after).sqrt() * eps


def two_first_only(z, eps_first, eps_second, alpha_bar):
    return _step(z, eps_first, alpha_bar[0], alpha_bar[1])


def two_one_large(z, eps_first, eps_second, alpha_bar):
    return _step(z, eps_first, alpha_bar[0], alpha_bar[2])


def two_exchanged(z, eps_first, eps_second, alpha_bar):
    return two_steps(z, eps_second, eps_first, alpha_bar)


def two_from_the_start(z, eps_first, eps_second, alpha_bar):
    return _step(z, eps_second, alpha_bar[0], alpha_bar[2])


def two_without_roots(z, eps_first, eps_second, alpha_bar):
    for eps, now, after in zip((eps_first, eps_second), alpha_bar[:-1], alpha_bar[1:]):
        z = after * (z - (1 - now) * eps) / now + (1 - after) * eps
    return z


def two_clean_at_the_end(z, eps_first, eps_second, alpha_bar):
    z = _step(z, eps_first, alpha_bar[0], alpha_bar[1])
    return (z - (1 - alpha_bar[1]).sqrt() * eps_second) / alpha_bar[1].sqrt()


def two_mean_noise(z, eps_first, eps_second, alpha_bar):
    return _step(z, (eps_first + eps_second) / 2, alpha_bar[0], alpha_bar[2])


def two_by_sigma(z, eps_first, eps_second, alpha_bar):
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x = z / alpha_bar[0].sqrt()
    x = x + (sigma[1] - sigma[0]) * eps_first + (sigma[2] - sigma[1]) * eps_second
    return alpha_bar[2].sqrt() * x


def two_written_out(z, eps_first, eps_second, alpha_bar):
    now, middle, after = alpha_bar
    z0 = (z - (1 - now) ** 0.5 * eps_first) / now**0.5
    z = middle**0.5 * z0 + (1 - middle) ** 0.5 * eps_first
    z0 = (z - (1 - middle) ** 0.5 * eps_second) / middle**0.5
    return after**0.5 * z0 + (1 - after) ** 0.5 * eps_second


EXERCISE = Exercise(
    name="two_steps",
    title="What a student has to match",
    stars=1,
    minutes=8,
    answer=two_steps,
    cases=two_step_cases,
    constants=("alpha_bar",),
    hints=(
        "Write one step as lesson 03 did, then do it twice.",
        "alpha_bar[0], alpha_bar[1] and alpha_bar[2] are single numbers: never multiply z by all three at once.",
        "The second step starts where the first one ended: with its z, and with ᾱ in the middle.",
    ),
    insight="In the coordinates z / √ᾱ, two steps are a sum: (σ' - σ) ε̂ + (σ'' - σ') ε̂'. A student's one step "
    "has a single ε̂ for the whole way: it must predict the weighted mean of both.",
    wrong=(
        Wrong("first-only", two_first_only, "You stopped after the first step."),
        Wrong(
            "one-large-step",
            two_one_large,
            "That is one large step with the first prediction, which is what a student without training would "
            "do. (Two steps with the same prediction come to the same.)",
        ),
        Wrong("exchanged", two_exchanged, "The predictions are used in the wrong order."),
        Wrong("second-from-the-start", two_from_the_start, "That is one large step with the second prediction."),
        Wrong("no-roots", two_without_roots, "ᾱ is a variance. The factors of signal and noise are √ᾱ and √(1-ᾱ)."),
        Wrong("clean", two_clean_at_the_end, "You return ẑ0. Unless ᾱ is 1 at the end, noise has to be added again."),
        Wrong(
            "mean-noise",
            two_mean_noise,
            "The plain mean of both predictions is not right: the two steps have different lengths in σ.",
        ),
    ),
    right=(two_by_sigma, two_written_out),
    shape_hint=2,
)
