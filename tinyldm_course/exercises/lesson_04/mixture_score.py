"""Exercise mixture_score of lesson 04: 2019: the slope of log p."""

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def mixture_score(x, means, sigma):
    """∇ log p at x, for p = the mean of the Gaussians N(m_k, σ²).

    x: (B, 2) points, some of them many sigma away from all means; means: (K, 2); sigma: a number above 0.
    Returns (B, 2).
    """
    ### BEGIN SOLUTION
    pull = means - x[:, None]  # (B, K, 2)
    weight = (-pull.square().sum(-1) / (2 * sigma**2)).softmax(dim=1)  # (B, K)
    return (weight[:, :, None] * pull).sum(1) / sigma**2
    ### END SOLUTION


def mixture_cases(generator: Generator) -> list[Call]:
    """Points (B, 2), means (K, 2), σ; the second point lies many σ from all means."""
    calls = [
        Call((torch.tensor([[0.5, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), 1.5)),
        Call((torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, -1.0]]), 0.1)),
    ]
    for B, K, sigma in ((3, 2, 0.8), (5, 4, 1.3), (4, 7, 0.6)):
        x, means = torch.randn(B, 2, generator=generator), 1.2 * torch.randn(K, 2, generator=generator)
        calls.append(Call((x, means, sigma)))
    return calls


def pulls(x: Tensor, means: Tensor) -> Tensor:
    """m_k - x: (B, K, 2)."""
    return means - x[:, None]


def mixture_equal_weights(x, means, sigma):
    return pulls(x, means).mean(1) / sigma**2


def mixture_summed(x, means, sigma):
    return pulls(x, means).sum(1) / sigma**2


def mixture_nearest(x, means, sigma):
    nearest = torch.cdist(x, means).argmin(1)
    return (means[nearest] - x) / sigma**2


def mixture_sign(x, means, sigma):
    return -mixture_score(x, means, sigma)


def mixture_by_deviation(x, means, sigma):
    return mixture_score(x, means, sigma) * sigma


def mixture_not_divided(x, means, sigma):
    return mixture_score(x, means, sigma) * sigma**2


def mixture_over_points(x, means, sigma):
    pull = pulls(x, means)
    weight = (-pull.square().sum(-1) / (2 * sigma**2)).softmax(dim=0)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_without_two(x, means, sigma):
    pull = pulls(x, means)
    weight = (-pull.square().sum(-1) / sigma**2).softmax(dim=1)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_distance_not_squared(x, means, sigma):
    pull = pulls(x, means)
    weight = (-pull.norm(dim=-1) / (2 * sigma**2)).softmax(dim=1)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_not_normalised(x, means, sigma):
    pull = pulls(x, means)
    weight = (-pull.square().sum(-1) / (2 * sigma**2)).exp()
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_underflow(x, means, sigma):
    pull = pulls(x, means)
    likelihood = (-pull.square().sum(-1) / (2 * sigma**2)).exp()
    weight = likelihood / likelihood.sum(1, keepdim=True)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_log_density(x, means, sigma):
    return (-(means - x[:, None]).square().sum(-1) / (2 * sigma**2)).logsumexp(1).sum()


def mixture_underflow_hidden(x, means, sigma):
    pull = pulls(x, means)
    likelihood = (-pull.square().sum(-1) / (2 * sigma**2)).exp()
    weight = likelihood / (likelihood.sum(1, keepdim=True) + 1e-8)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_underflow_less_hidden(x, means, sigma):
    pull = pulls(x, means)
    likelihood = (-pull.square().sum(-1) / (2 * sigma**2)).exp() + 1e-8
    weight = likelihood / likelihood.sum(1, keepdim=True)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_exponent_not_scaled(x, means, sigma):
    pull = pulls(x, means)
    weight = (-pull.square().sum(-1) / 2).softmax(dim=1)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_exponent_by_deviation(x, means, sigma):
    pull = pulls(x, means)
    weight = (-pull.square().sum(-1) / (2 * sigma)).softmax(dim=1)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_farthest(x, means, sigma):
    pull = pulls(x, means)
    weight = (pull.square().sum(-1) / (2 * sigma**2)).softmax(dim=1)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_averaged(x, means, sigma):
    return mixture_score(x, means, sigma) / len(means)


def mixture_weighted_mean_only(x, means, sigma):
    weight = (-pulls(x, means).square().sum(-1) / (2 * sigma**2)).softmax(dim=1)
    return weight @ means / sigma**2


def mixture_by_func(x, means, sigma):
    return torch.func.grad(mixture_log_density)(x, means, sigma)


def mixture_by_autograd(x, means, sigma):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(mixture_log_density(x, means, sigma), x)[0]


def mixture_by_backward(x, means, sigma):
    x.requires_grad_()
    mixture_log_density(x, means, sigma).backward()
    return x.grad


def mixture_by_loop(x, means, sigma):
    found = []
    for point in x:
        closeness = -((means - point) ** 2).sum(1) / (2 * sigma**2)
        likelihood = torch.exp(closeness - closeness.max())
        found.append((likelihood / likelihood.sum()) @ means - point)
    return torch.stack(found) / sigma**2


def mixture_without_gradients(x, means, sigma):
    with torch.no_grad():
        return mixture_score(x, means, sigma)


EXERCISE = Exercise(
    name="mixture_score",
    title="2019: the slope of log p",
    stars=3,
    minutes=15,
    answer=mixture_score,
    cases=mixture_cases,
    constants=("x", "means"),
    hints=(
        "For a single Gaussian the slope is (m - x) / σ²: a pull towards its mean.",
        "The derivative of log Σ_k p_k is Σ_k p_k · (slope of log p_k) / Σ_k p_k: a weighted mean of the pulls.",
        "The weights are softmax over k of -‖x - m_k‖² / (2σ²).",
    ),
    insight="If the m_k are the training images, this is the *perfect* score of the noised data, without any "
    "network. Following it all the way leads back to a training image: real networks make new pictures because "
    "they cannot learn it exactly.",
    wrong=(
        Wrong(
            "equal-weights",
            mixture_equal_weights,
            "All means pull equally hard. The weight of a mean is how likely x is to have come from it.",
        ),
        Wrong(
            "summed",
            mixture_summed,
            "You added up the slopes of the log p_k. It is the logarithm of the *sum*, so the pulls are averaged, "
            "weighted by likelihood.",
        ),
        Wrong(
            "nearest-only",
            mixture_nearest,
            "Only the nearest mean pulls. Between two means both do; the nearest alone is right only for small σ.",
        ),
        Wrong("sign", mixture_sign, "The sign is flipped: the density rises *towards* the means."),
        Wrong("divided-by-deviation", mixture_by_deviation, "You divided by σ; divide by σ²."),
        Wrong("not-divided", mixture_not_divided, "The direction is right; the division by σ² is missing."),
        Wrong(
            "softmax-over-points",
            mixture_over_points,
            "Your softmax runs over the points of the batch: then one point's score depends on the others. It runs "
            "over the means.",
        ),
        Wrong("two-missing", mixture_without_two, "The 2 is missing in the exponent: -‖x - m‖² / (2σ²)."),
        Wrong("distance-not-squared", mixture_distance_not_squared, "The distance in the exponent is squared."),
        Wrong(
            "weights-not-normalised",
            mixture_not_normalised,
            "Your weights do not add up to 1: that is the slope of p (up to a factor). Dividing by p gives that of "
            "log p.",
        ),
        Wrong(
            "underflow",
            mixture_underflow,
            "NaN: many σ away from all means every exp(-…) is 0 in float32, and 0 / 0 is NaN. softmax subtracts "
            "the largest exponent first, so that one term is always there; for log p, logsumexp does.",
        ),
        Wrong(
            "underflow-hidden",
            mixture_underflow_hidden,
            "You added a small number to the sum, so there is no NaN; but many σ away from all means every exp(-…) "
            "is 0 in float32, and so is your slope, where it should be steepest. softmax subtracts the largest "
            "exponent first.",
        ),
        Wrong(
            "underflow-evened-out",
            mixture_underflow_less_hidden,
            "You added a small number to each likelihood, so there is no NaN; but many σ away from all means only "
            "that number is left, and all means pull equally. softmax subtracts the largest exponent first.",
        ),
        Wrong("exponent-not-divided", mixture_exponent_not_scaled, "σ² is missing in the exponent: -‖x - m‖² / (2σ²)."),
        Wrong("exponent-by-deviation", mixture_exponent_by_deviation, "You divided by 2σ in the exponent; it is 2σ²."),
        Wrong(
            "farthest-most",
            mixture_farthest,
            "The minus is missing in the exponent: your weights are largest for the farthest mean.",
        ),
        Wrong(
            "averaged",
            mixture_averaged,
            "You divided by the number of means. It appears above and below the fraction and cancels: the weights "
            "add up to 1 already.",
        ),
        Wrong("x-not-subtracted", mixture_weighted_mean_only, "x is not subtracted: each mean pulls by m_k - x."),
    ),
    right=(mixture_by_func, mixture_by_autograd, mixture_by_backward, mixture_by_loop, mixture_without_gradients),
)
