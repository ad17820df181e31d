"""Exercise signal_to_noise of lesson 02: The signal-to-noise ratio."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import random_alpha_bar


def signal_to_noise(alpha_bar):
    """The variance of the signal in z_t over that of the noise.

    alpha_bar: float of any shape, in (0, 1).  Returns the same shape and dtype.
    """
    ### BEGIN SOLUTION
    return alpha_bar / (1 - alpha_bar)
    ### END SOLUTION


def snr_cases(generator: Generator) -> list[Call]:
    """(T,) falling, and numbers of any shape."""
    return [
        Call((torch.tensor([0.9, 0.5, 0.2]),)),
        Call((random_alpha_bar(20, generator),)),
        Call((0.05 + 0.85 * torch.rand(2, 3, generator=generator),)),
        Call((0.9 + 0.09 * torch.rand(4, generator=generator),)),
    ]


def snr_of_roots(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).sqrt()


def snr_inverted(alpha_bar):
    return (1 - alpha_bar) / alpha_bar


def snr_logarithm(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).log()


def snr_decibel(alpha_bar):
    return 10 * (alpha_bar / (1 - alpha_bar)).log10()


def snr_root_then_minus(alpha_bar):
    return alpha_bar.sqrt() / (1 - alpha_bar.sqrt())


def snr_without_parentheses(alpha_bar):
    return alpha_bar / 1 - alpha_bar


def snr_squared(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)) ** 2


def snr_in_place(alpha_bar):
    return alpha_bar.div_(1 - alpha_bar)


def snr_is_signal(alpha_bar):
    return alpha_bar + 0.0


def snr_is_noise(alpha_bar):
    return 1 - alpha_bar


def snr_of_root_to_variance(alpha_bar):
    return alpha_bar.sqrt() / (1 - alpha_bar)


def snr_of_variance_to_root(alpha_bar):
    return alpha_bar / (1 - alpha_bar).sqrt()


def snr_difference(alpha_bar):
    return 2 * alpha_bar - 1


def snr_product(alpha_bar):
    return alpha_bar * (1 - alpha_bar)


def snr_half_logarithm(alpha_bar):
    return 0.5 * (alpha_bar / (1 - alpha_bar)).log()


def snr_with_ceiling(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).clamp(max=5)


def snr_noise_plus_signal(alpha_bar):
    return alpha_bar / (1 + alpha_bar)


def snr_of_inverted_roots(alpha_bar):
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def snr_by_numbers(alpha_bar):
    ratios = [a / (1 - a) for a in alpha_bar.flatten().tolist()]
    return torch.tensor(ratios, dtype=alpha_bar.dtype).view(alpha_bar.shape)


def snr_by_logit(alpha_bar):
    return torch.logit(alpha_bar).exp()


def snr_by_reciprocal(alpha_bar):
    return 1 / (1 / alpha_bar - 1)


EXERCISE = Exercise(
    name="signal_to_noise",
    title="The signal-to-noise ratio",
    stars=1,
    minutes=5,
    answer=signal_to_noise,
    cases=snr_cases,
    constants=("alpha_bar",),
    hints=(
        "z_t = √ᾱ z0 + √(1-ᾱ) ε. If z0 and ε have variance 1, what is the variance of each of the two terms?",
        "Scaling by c scales the variance by c²; the roots go away.",
        "Variance of the signal over variance of the noise.",
    ),
    insight="The ratio, not t, is what a noise level is: two schedules with the same ratio are the same problem "
    "for the network. Stable Diffusion's falls from 1175 at t = 0 to 0.0047 at t = 999; it passes 1 at t = 354.",
    wrong=(
        Wrong(
            "of-amplitudes",
            snr_of_roots,
            "That is the ratio of the standard deviations; SNR is the ratio of the variances.",
        ),
        Wrong("inverted", snr_inverted, "That is noise to signal: it grows with the noise. Invert the fraction."),
        Wrong(
            "logarithm",
            snr_logarithm,
            "That is log SNR, which is useful too; here the exercise asks for the ratio itself.",
        ),
        Wrong("decibel", snr_decibel, "That is the ratio in decibels; here the exercise asks for the ratio itself."),
        Wrong(
            "root-in-the-wrong-place",
            snr_root_then_minus,
            "The noise's factor is √(1-ᾱ), with variance 1-ᾱ; you subtracted √ᾱ from 1 instead.",
        ),
        Wrong(
            "parentheses",
            snr_without_parentheses,
            "Your result is 0 everywhere. Is it alpha_bar / 1 - alpha_bar? That divides by 1, and then subtracts ᾱ "
            "from ᾱ: put 1 - alpha_bar in parentheses.",
        ),
        Wrong(
            "squared",
            snr_squared,
            "You squared once too often. ᾱ and 1-ᾱ are variances already: the squares of the factors √ᾱ and √(1-ᾱ).",
        ),
        Wrong("inputs-changed", snr_in_place),
        Wrong(
            "signal-only",
            snr_is_signal,
            "That is the variance of the signal alone. Divide it by that of the noise, 1-ᾱ.",
        ),
        Wrong(
            "noise-only", snr_is_noise, "That is the variance of the noise alone. Divide that of the signal, ᾱ, by it."
        ),
        Wrong(
            "root-over-variance",
            snr_of_root_to_variance,
            "You divided the signal's factor √ᾱ by the noise's *variance*. The variance of the signal is ᾱ.",
        ),
        Wrong(
            "variance-over-root",
            snr_of_variance_to_root,
            "You divided the signal's variance by the noise's factor √(1-ᾱ). The variance of the noise is 1-ᾱ.",
        ),
        Wrong("difference", snr_difference, "You subtracted the variances. The exercise asks for a ratio."),
        Wrong("product", snr_product, "You multiplied the variances. The exercise asks for a ratio: divide."),
        Wrong(
            "half-logarithm",
            snr_half_logarithm,
            "That is λ, half the logarithm of the ratio. The exercise asks for the ratio itself.",
        ),
        Wrong(
            "limited",
            snr_with_ceiling,
            "You limited the ratio to 5, as Min-SNR weights do. The ratio itself has no limit.",
        ),
        Wrong("plus-for-minus", snr_noise_plus_signal, "You divided by 1 + ᾱ. The variance of the noise is 1 - ᾱ."),
        Wrong(
            "sigma",
            snr_of_inverted_roots,
            "That is σ = √((1-ᾱ)/ᾱ), noise to signal in amplitudes. The ratio asked for is 1/σ².",
        ),
    ),
    right=(snr_by_logit, snr_by_reciprocal, snr_by_numbers),
)
