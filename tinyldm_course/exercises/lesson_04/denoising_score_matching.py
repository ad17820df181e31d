"""Exercise denoising_score_matching of lesson 04: 2019: learning the slope."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.checks.makers import ToyScoreNetwork


def denoising_score_matching(score, x, sigma, eps):
    """The weighted loss of each point.

    score: (points (B, 2), sigma (B,)) -> (B, 2); x: (B, 2) clean; sigma: (B,); eps: (B, 2) the noise to use.
    Returns (B,).
    """
    ### BEGIN SOLUTION
    s = sigma[:, None]
    noisy = x + s * eps
    target = -eps / s
    return 0.5 * sigma**2 * (score(noisy, sigma) - target).square().sum(dim=1)
    ### END SOLUTION


def matching_cases(generator: Generator) -> list[Call]:
    """A score network, points, σ for each, noise."""
    network = Made(ToyScoreNetwork)
    calls = [Call((network, torch.tensor([[1.0, -1.0]]), torch.tensor([0.5]), torch.tensor([[2.0, 1.0]])))]
    for B in (3, 1, 6):
        x, eps = (torch.randn(B, 2, generator=generator) for _ in range(2))
        calls.append(Call((network, x, 0.3 + 1.5 * torch.rand(B, generator=generator), eps)))
    return calls


def matching_sign(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) - eps / s).square().sum(1)


def matching_unweighted(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * (score(x + s * eps, sigma) + eps / s).square().sum(1)


def matching_weighted_by_sigma(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma * (score(x + s * eps, sigma) + eps / s).square().sum(1)


def matching_clean(score, x, sigma, eps):
    return 0.5 * sigma**2 * (score(x, sigma) + eps / sigma[:, None]).square().sum(1)


def matching_without_half(score, x, sigma, eps):
    return 2 * denoising_score_matching(score, x, sigma, eps)


def matching_averaged(score, x, sigma, eps):
    return denoising_score_matching(score, x, sigma, eps) / 2


def matching_total(score, x, sigma, eps):
    return denoising_score_matching(score, x, sigma, eps).mean()


def matching_noise_not_divided(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) + eps).square().sum(1)


def matching_noise_divided_twice(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) + eps / s**2).square().sum(1)


def matching_sigma_as_variance(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s.sqrt() * eps, sigma) + eps / s).square().sum(1)


def matching_own_noise(score, x, sigma, eps):
    return denoising_score_matching(score, x, sigma, torch.randn_like(eps))


def matching_weighted_twice(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**4 * (score(x + s * eps, sigma) + eps / s).square().sum(1)


def matching_noise_not_scaled(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + eps, sigma) + eps / s).square().sum(1)


def matching_not_squared(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) + eps / s).norm(dim=1)


def matching_absolute(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) + eps / s).abs().sum(1)


def matching_elementwise(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * s**2 * (score(x + s * eps, sigma) + eps / s).square()


def matching_summed(score, x, sigma, eps):
    return denoising_score_matching(score, x, sigma, eps).sum()


def matching_noise_times_sigma(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) + s * eps).square().sum(1)


def matching_weighted_inversely(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 / sigma**2 * (score(x + s * eps, sigma) + eps / s).square().sum(1)


def matching_noise_subtracted(score, x, sigma, eps):
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x - s * eps, sigma) + eps / s).square().sum(1)


def matching_data_without_gradients(score, x, sigma, eps):
    with torch.no_grad():
        noisy = x + sigma[:, None] * eps
        target = -(noisy - x) / sigma[:, None] ** 2
    return 0.5 * sigma**2 * (score(noisy, sigma) - target).square().sum(1)


def matching_in_eps(score, x, sigma, eps):
    predicted = -sigma.view(-1, 1) * score(x + sigma.view(-1, 1) * eps, sigma)
    return ((predicted - eps) ** 2).sum(-1) / 2


def matching_by_points(score, x, sigma, eps):
    found = []
    for i in range(len(x)):
        noisy = x[i : i + 1] + sigma[i] * eps[i : i + 1]
        target = -(noisy - x[i : i + 1]) / sigma[i] ** 2
        found.append(torch.sum((score(noisy, sigma[i : i + 1]) - target) ** 2) * sigma[i] ** 2 / 2)
    return torch.stack(found)


EXERCISE = Exercise(
    name="denoising_score_matching",
    title="2019: learning the slope",
    stars=2,
    minutes=12,
    answer=denoising_score_matching,
    cases=matching_cases,
    constants=("x", "sigma", "eps"),
    hints=(
        "Noise the points first: x + σ ε, with sigma[:, None] so that each has its own.",
        "The target is the slope of log N(x̃; x, σ²) at x̃ = x + σ ε: -(x̃ - x) / σ². What is that in terms of ε?",
        "Half the squared length of (score + ε / σ), times σ².",
    ),
    shape_hint=1,
    insight="Multiply it out: ½ ‖σ s + ε‖². With ε̂ = -σ s, that is ½ ‖ε̂ - ε‖², the loss of 2020. Predicting the "
    "score and predicting the noise are one thing; the weight σ² is what makes it so at every level.",
    wrong=(
        Wrong(
            "sign",
            matching_sign,
            "Your target points along the noise. The slope points back to the clean point: target -ε/σ, so + ε/σ "
            "in the difference.",
        ),
        Wrong(
            "not-weighted",
            matching_unweighted,
            "The weight σ² is missing. The target has size 1/σ: without it, the smallest noise would be all that "
            "counts.",
        ),
        Wrong(
            "weighted-by-sigma",
            matching_weighted_by_sigma,
            "You weighted by σ. The *squared* error has size 1/σ², so the weight is σ².",
        ),
        Wrong("clean-input", matching_clean, "The network was shown the clean points: it must see x + σ ε."),
        Wrong("half-missing", matching_without_half, "The ½ is missing."),
        Wrong(
            "averaged-over-coordinates",
            matching_averaged,
            "You averaged over the two coordinates; the squared length is their sum.",
        ),
        Wrong("averaged-over-batch", matching_total, "Return one number for each point, (B,), not their mean."),
        Wrong(
            "target-is-eps", matching_noise_not_divided, "You took -ε as the target. That is σ times the slope: -ε/σ."
        ),
        Wrong(
            "divided-twice",
            matching_noise_divided_twice,
            "You divided ε by σ². The slope is -(x̃ - x)/σ², and x̃ - x is σ ε: one σ cancels.",
        ),
        Wrong(
            "sigma-as-variance",
            matching_sigma_as_variance,
            "You scaled the noise by √σ. σ is the standard deviation already.",
        ),
        Wrong("own-noise", matching_own_noise, "You drew new noise. Use the eps that is given."),
        Wrong("weighted-twice", matching_weighted_twice, "The weight σ² is applied twice."),
        Wrong(
            "noise-not-scaled", matching_noise_not_scaled, "The network was shown x + ε. The noise has size σ: x + σ ε."
        ),
        Wrong(
            "length-not-squared",
            matching_not_squared,
            "You took the length of the difference; it is the *squared* length.",
        ),
        Wrong("absolute", matching_absolute, "You summed absolute differences; they are squared."),
        Wrong("not-summed", matching_elementwise, "You return one number for each coordinate. Sum the two: (B,)."),
        Wrong("summed-over-batch", matching_summed, "Return one number for each point, (B,), not their sum."),
        Wrong(
            "multiplied",
            matching_noise_times_sigma,
            "You took -σ ε as the target. The slope is steeper for small σ: -ε/σ.",
        ),
        Wrong(
            "weighted-inversely",
            matching_weighted_inversely,
            "You divided by σ². The target has size 1/σ: the weight σ² takes that out again.",
        ),
        Wrong(
            "noise-subtracted",
            matching_noise_subtracted,
            "The network was shown x - σ ε. The noise is added; then the slope is -ε/σ.",
        ),
    ),
    right=(matching_in_eps, matching_by_points, matching_data_without_gradients),
)
