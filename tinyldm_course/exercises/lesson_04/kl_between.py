"""Exercise kl_between of lesson 04: 2015: one term of the bound."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def kl_between(mean_q, std_q, mean_p, std_p):
    """KL(N(mean_q, std_q²) ‖ N(mean_p, std_p²)), number by number.

    All four are of one shape, which is also the result's.
    """
    ### BEGIN SOLUTION
    distance = std_q**2 + (mean_q - mean_p) ** 2
    return (std_p / std_q).log() + distance / (2 * std_p**2) - 0.5
    ### END SOLUTION


def gaussians_cases(generator: Generator) -> list[Call]:
    """Mean and standard deviation of q, mean and standard deviation of p."""
    calls = [Call(tuple(torch.tensor([value]) for value in (1.0, 0.5, -0.5, 2.0)))]
    for shape in ((2, 2), (1, 3, 4), (5, 2)):
        means = [torch.randn(shape, generator=generator) for _ in range(2)]
        stds = [0.5 + 1.5 * torch.rand(shape, generator=generator) for _ in range(2)]
        calls.append(Call((means[0], stds[0], means[1], stds[1])))
    return calls


def gaussians_swapped(mean_q, std_q, mean_p, std_p):
    return kl_between(mean_p, std_p, mean_q, std_q)


def gaussians_log_turned(mean_q, std_q, mean_p, std_p):
    return (std_q / std_p).log() + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_without_half(mean_q, std_q, mean_p, std_p):
    return kl_between(mean_q, std_q, mean_p, std_p) + 0.5


def gaussians_not_squared(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q + (mean_q - mean_p) ** 2) / (2 * std_p) - 0.5


def gaussians_log_of_variances(mean_q, std_q, mean_p, std_p):
    return kl_between(mean_q, std_q, mean_p, std_p) + (std_p / std_q).log()


def gaussians_in_bits(mean_q, std_q, mean_p, std_p):
    return kl_between(mean_q, std_q, mean_p, std_p) / math.log(2)


def gaussians_means_only(mean_q, std_q, mean_p, std_p):
    return (mean_q - mean_p) ** 2 / (2 * std_p**2) + 0 * std_q


def gaussians_of_variances(mean_q, std_q, mean_p, std_p):
    return 0.5 * ((std_p / std_q).log() + (std_q + (mean_q - mean_p) ** 2) / std_p - 1)


def gaussians_bracket_missing(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p) ** 2) / 2 * std_p**2 - 0.5


def gaussians_distance_not_squared(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p)) / (2 * std_p**2) - 0.5


def gaussians_by_math(mean_q, std_q, mean_p, std_p):
    return math.log(std_p / std_q) + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_over_q(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_q**2) - 0.5


def gaussians_in_place(mean_q, std_q, mean_p, std_p):
    value = kl_between(mean_q, std_q, mean_p, std_p)
    with torch.no_grad():
        mean_q.sub_(mean_p)
    return value


def gaussians_sign(mean_q, std_q, mean_p, std_p):
    return -kl_between(mean_q, std_q, mean_p, std_p)


def gaussians_summed(mean_q, std_q, mean_p, std_p):
    return kl_between(mean_q, std_q, mean_p, std_p).sum()


def gaussians_averaged(mean_q, std_q, mean_p, std_p):
    return kl_between(mean_q, std_q, mean_p, std_p).mean()


def gaussians_two_missing(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p) ** 2) / std_p**2 - 0.5


def gaussians_doubled(mean_q, std_q, mean_p, std_p):
    return 2 * kl_between(mean_q, std_q, mean_p, std_p)


def gaussians_by_deviation(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p) - 0.5


def gaussians_minus_one(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 1


def gaussians_distance_missing(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + std_q**2 / (2 * std_p**2) - 0.5 + 0 * (mean_q - mean_p)


def gaussians_without_log(mean_q, std_q, mean_p, std_p):
    return (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_means_added(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 + (mean_q + mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_variances_subtracted(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q**2 - (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_by_library(mean_q, std_q, mean_p, std_p):
    q, p = (torch.distributions.Normal(*pair, validate_args=False) for pair in ((mean_q, std_q), (mean_p, std_p)))
    return torch.distributions.kl_divergence(q, p)


def gaussians_by_ratio(mean_q, std_q, mean_p, std_p):
    ratio, shift = (std_q / std_p) ** 2, (mean_q - mean_p) / std_p
    return 0.5 * (ratio - 1 - ratio.log() + shift * shift)


EXERCISE = Exercise(
    name="kl_between",
    title="2015: one term of the bound",
    stars=2,
    minutes=8,
    answer=kl_between,
    cases=gaussians_cases,
    hints=(
        "KL(q ‖ p) is the mean of log q - log p over draws from q.",
        "log of a normal density: -log σ - (x - μ)² / (2 σ²), and a constant that cancels.",
        "Under q, (x - μ_q)² is σ_q² on average, and (x - μ_p)² is σ_q² + (μ_q - μ_p)².",
    ),
    insight="In 2015 the network learnt the mean *and* the spread of each reverse step, and the loss was a sum of "
    "these. Fix the spread, as in 2020, and only (μ_q - μ_p)² / (2σ²) is left to learn: a mean squared error.",
    wrong=(
        Wrong(
            "directions-swapped",
            gaussians_swapped,
            "That is KL(p ‖ q). The two differ: KL(q ‖ p) averages over q, the true way back.",
        ),
        Wrong(
            "log-upside-down",
            gaussians_log_turned,
            "The fraction in the logarithm is upside down. It is log σ_p/σ_q: KL must grow where p is far too wide.",
        ),
        Wrong("half-missing", gaussians_without_half, "The -½ is missing: for two equal Gaussians KL must be 0."),
        Wrong(
            "not-squared",
            gaussians_not_squared,
            "You took standard deviations for variances: σ_q and σ_p are squared in the fraction.",
        ),
        Wrong(
            "variances-expected",
            gaussians_of_variances,
            "That is the formula for variances, and you were given standard deviations. Square them first: var = "
            "std**2.",
        ),
        Wrong(
            "bracket-missing",
            gaussians_bracket_missing,
            "You multiplied by σ_p²: in … / 2 * std_p**2 only the 2 divides. Use parentheses: … / (2 * std_p**2).",
        ),
        Wrong(
            "distance-not-squared",
            gaussians_distance_not_squared,
            "The distance of the means is not squared: yours may even be below 0.",
        ),
        Wrong(
            "one-number-only",
            gaussians_by_math,
            "A function of Python's math, float(…) and the like take a single number: a tensor of one works, and "
            "one of several breaks. torch's own take them all: .log(), .sqrt().",
        ),
        Wrong(
            "log-of-variances",
            gaussians_log_of_variances,
            "Your logarithm counts twice: log σ_p²/σ_q² needs a ½ before it.",
        ),
        Wrong("bits", gaussians_in_bits, "That is in bits; the exercise asks for nats: the natural logarithm."),
        Wrong(
            "means-only",
            gaussians_means_only,
            "Only the means are compared: that is what is left where both spreads are equal.",
        ),
        Wrong("divided-by-q", gaussians_over_q, "You divided by σ_q². Distances are measured with p's ruler: σ_p²."),
        Wrong("inputs-changed", gaussians_in_place),
        Wrong("sign", gaussians_sign, "The sign is flipped: a divergence is never below 0."),
        Wrong(
            "summed-over-all",
            gaussians_summed,
            "You summed. The result has the shape of the inputs, one divergence for each number.",
        ),
        Wrong(
            "averaged-over-all",
            gaussians_averaged,
            "You averaged. The result has the shape of the inputs, one divergence for each number.",
        ),
        Wrong("two-missing", gaussians_two_missing, "The 2 below the fraction is missing: … / (2 σ_p²)."),
        Wrong("doubled", gaussians_doubled, "It is twice the divergence."),
        Wrong("divided-by-deviation", gaussians_by_deviation, "You divided by 2 σ_p; it is 2 σ_p²."),
        Wrong(
            "one-for-half",
            gaussians_minus_one,
            "You subtracted 1. It is ½: for two equal Gaussians the result must be 0.",
        ),
        Wrong(
            "means-ignored",
            gaussians_distance_missing,
            "The distance of the means is missing: (μ_q - μ_p)² is added to σ_q².",
        ),
        Wrong("log-missing", gaussians_without_log, "The logarithm is missing: log σ_p/σ_q."),
        Wrong(
            "means-added", gaussians_means_added, "You added the means. It is their distance that counts: μ_q - μ_p."
        ),
        Wrong(
            "distance-subtracted",
            gaussians_variances_subtracted,
            "You subtracted the squared distance of the means; it is added to σ_q².",
        ),
    ),
    right=(gaussians_by_library, gaussians_by_ratio),
)
