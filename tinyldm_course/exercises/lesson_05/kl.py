"""Exercise kl of lesson 05: How far from a standard normal?"""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def kl(mean, logvar):
    """KL(N(μ, σ²) ‖ N(0, 1)) of each image, in nats.

    mean, logvar: (B, C, h, w); logvar is log σ².  Returns (B,).
    """
    ### BEGIN SOLUTION
    parts = 0.5 * (mean**2 + logvar.exp() - 1 - logvar)
    return parts.flatten(1).sum(1)
    ### END SOLUTION


def kl_cases(generator: Generator) -> list[Call]:
    """mean and log-variance."""
    calls = [Call((torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[0.0, -1.0]]]])))]
    for shape in ((2, 4, 4, 4), (1, 2, 3, 5), (3, 4, 6, 6)):
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for _ in range(2))))
    return calls


def kl_averaged(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).mean(1)


def kl_of_the_batch(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum()


def kl_elementwise(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar)


def kl_without_half(mean, logvar):
    return 2 * kl(mean, logvar)


def kl_negated(mean, logvar):
    return -kl(mean, logvar)


def kl_without_one(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - logvar).flatten(1).sum(1)


def kl_without_exp(mean, logvar):
    return 0.5 * (mean**2 - 1 + 0 * logvar).flatten(1).sum(1)


def kl_with_deviation(mean, logvar):
    return 0.5 * (mean**2 + (0.5 * logvar).exp() - 1 - logvar).flatten(1).sum(1)


def kl_with_log_of_deviation(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - 0.5 * logvar).flatten(1).sum(1)


def kl_with_doubled_logarithm(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - 2 * logvar).flatten(1).sum(1)


def kl_with_logarithm_added(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 + logvar).flatten(1).sum(1)


def kl_with_squared_variance(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() ** 2 - 1 - logvar).flatten(1).sum(1)


def kl_with_logarithm_of_logarithm(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar.log()).flatten(1).sum(1)


def kl_logvar_as_variance(mean, logvar):
    return 0.5 * (mean**2 + logvar - 1 - logvar.abs().log()).flatten(1).sum(1)


def kl_logvar_as_deviation(mean, logvar):
    return 0.5 * (mean**2 + logvar**2 - 1 - (logvar**2).log()).flatten(1).sum(1)


def kl_mean_not_squared(mean, logvar):
    return 0.5 * (mean + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def kl_backwards(mean, logvar):
    return 0.5 * ((mean**2 + 1) / logvar.exp() - 1 + logvar).flatten(1).sum(1)


def kl_of_log_deviation(mean, logvar):
    return 0.5 * (mean**2 + (2 * logvar).exp() - 1 - 2 * logvar).flatten(1).sum(1)


def kl_of_channels_only(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)


def kl_over_the_batch(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(0)


def kl_mean_of_images(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean()


def kl_mean_of_all(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()


def kl_in_bits(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1) / 0.6931471805599453


def kl_with_one_added(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() + 1 - logvar).flatten(1).sum(1)


def kl_without_mean(mean, logvar):
    return 0.5 * (logvar.exp() - 1 - logvar + 0 * mean).flatten(1).sum(1)


def kl_without_logarithm(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1).flatten(1).sum(1)


def kl_mean_subtracted(mean, logvar):
    return 0.5 * (-(mean**2) + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def kl_with_absolute_mean(mean, logvar):
    return 0.5 * (mean.abs() + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def kl_by_library(mean, logvar):
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp(), validate_args=False)
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean), validate_args=False)
    return torch.distributions.kl_divergence(q, p).sum((1, 2, 3))


def kl_by_image(mean, logvar):
    return torch.stack([-0.5 * torch.sum(1 + s - m.pow(2) - s.exp()) for m, s in zip(mean, logvar)])


EXERCISE = Exercise(
    name="kl",
    title="How far from a standard normal?",
    stars=2,
    minutes=8,
    answer=kl,
    cases=kl_cases,
    hints=(
        "σ² = exp(logvar), and log σ² is logvar itself.",
        "First ½ (μ² + σ² - 1 - log σ²) for each number of the latent.",
        "Then the sum over all dimensions but the batch: .flatten(1).sum(1)",
    ),
    shape_hint=3,
    insight="It is 0 exactly where μ = 0 and σ = 1. Stable Diffusion weights it with only 10⁻⁶: enough to keep the "
    "latent from growing without bound, too little to give it variance 1. That is why a scale is needed afterwards.",
    wrong=(
        Wrong(
            "averaged",
            kl_averaged,
            "You averaged over the latent. The divergences of independent numbers add up: the sum is the KL of the "
            "image; with a mean, its weight would depend on the size of the latent.",
        ),
        Wrong(
            "one-for-the-batch",
            kl_of_the_batch,
            "You return one number for the whole batch. Sum over each image's latent only: (B,).",
        ),
        Wrong("not-summed", kl_elementwise, "These are the parts; sum them over each image's latent."),
        Wrong("half-missing", kl_without_half, "The ½ is missing."),
        Wrong(
            "sign",
            kl_negated,
            "The sign is flipped: a divergence is never below 0. (The bound of the papers has -KL in it.)",
        ),
        Wrong("one-missing", kl_without_one, "The -1 is missing: for μ = 0, σ = 1 it must be 0."),
        Wrong(
            "exp-missing",
            kl_without_exp,
            "You took logvar for σ², so it cancels and the spread no longer matters. σ² = exp(logvar).",
        ),
        Wrong(
            "deviation-for-variance", kl_with_deviation, "exp(½ logvar) is σ. The formula has σ², which is exp(logvar)."
        ),
        Wrong(
            "log-of-deviation",
            kl_with_log_of_deviation,
            "½ logvar is log σ. The formula has log σ², which is logvar itself.",
        ),
        Wrong(
            "logarithm-doubled",
            kl_with_doubled_logarithm,
            "You doubled logvar. It is log σ² already, the 2 is inside: it is 2 log σ.",
        ),
        Wrong(
            "logarithm-added",
            kl_with_logarithm_added,
            "You added the log-variance; it is subtracted. With + the result falls below 0 for a small spread, and "
            "a divergence never does.",
        ),
        Wrong(
            "variance-squared",
            kl_with_squared_variance,
            "You squared exp(logvar). That is σ² already; its square is σ⁴.",
        ),
        Wrong(
            "logarithm-of-logarithm",
            kl_with_logarithm_of_logarithm,
            "Your result is NaN: a negative number has no logarithm (and no root). logvar *is* log σ², and "
            "negative wherever σ < 1: take it as it is.",
        ),
        Wrong(
            "variance-for-logarithm",
            kl_logvar_as_variance,
            "You treated the second input as σ² and took its logarithm. It *is* the logarithm.",
        ),
        Wrong(
            "logarithm-for-deviation",
            kl_logvar_as_deviation,
            "You took logvar for σ. It is log σ²: so σ² is exp(logvar), and log σ² is logvar itself.",
        ),
        Wrong("mean-not-squared", kl_mean_not_squared, "The mean is not squared: a negative mean is just as far off."),
        Wrong(
            "directions-swapped",
            kl_backwards,
            "That is KL(N(0, 1) ‖ q), the other direction. The exercise asks for KL(q ‖ N(0, 1)): the two differ.",
        ),
        Wrong(
            "logvar-as-log-deviation",
            kl_of_log_deviation,
            "You took logvar for log σ. It is log σ²: σ² = exp(logvar), and log σ² is logvar itself.",
        ),
        Wrong(
            "summed-over-channels",
            kl_of_channels_only,
            "You summed over the channels only. Sum over all dimensions but the batch.",
        ),
        Wrong(
            "summed-over-batch",
            kl_over_the_batch,
            "You summed over the batch. Sum over all dimensions *but* the batch: (B,).",
        ),
        Wrong(
            "averaged-over-batch",
            kl_mean_of_images,
            "You averaged over the batch. The exercise asks for one number for each image: (B,).",
        ),
        Wrong(
            "averaged-over-all",
            kl_mean_of_all,
            "You averaged over everything. The exercise asks for one sum for each image: (B,).",
        ),
        Wrong("bits", kl_in_bits, "That is in bits; the exercise asks for nats: the natural logarithm."),
        Wrong(
            "one-added",
            kl_with_one_added,
            "You added the 1; it is subtracted. For μ = 0 and σ = 1 the result must be 0.",
        ),
        Wrong("mean-missing", kl_without_mean, "μ² is missing: a mean far from 0 costs, too."),
        Wrong(
            "logarithm-missing",
            kl_without_logarithm,
            "log σ² is missing: without it, σ = 0 would be no further from 1 than σ = √2.",
        ),
        Wrong("mean-subtracted", kl_mean_subtracted, "You subtracted μ²; it is added: a mean far from 0 costs."),
        Wrong("mean-absolute", kl_with_absolute_mean, "You took |μ|. The mean counts by its square, μ²."),
    ),
    right=(kl_by_library, kl_by_image),
)
