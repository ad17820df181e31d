"""Exercises of lesson 04, three ancestors: a term of 2015's bound, 2019's score and Langevin step, and σ against ᾱ."""

import math

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call, Made, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.checks.makers import ToyScoreNetwork, toy_score

TITLE = "Three ancestors"


# ── 2015: KL between two Gaussians ───────────────────────────────────────────────────────────────────


def gaussians_cases(generator: Generator) -> list[Call]:
    """Mean and standard deviation of q, mean and standard deviation of p."""
    calls = [Call(tuple(torch.tensor([value]) for value in (1.0, 0.5, -0.5, 2.0)))]
    for shape in ((2, 2), (1, 3, 4), (5, 2)):
        means = [torch.randn(shape, generator=generator) for _ in range(2)]
        stds = [0.5 + 1.5 * torch.rand(shape, generator=generator) for _ in range(2)]
        calls.append(Call((means[0], stds[0], means[1], stds[1])))
    return calls


def gaussians_right(mean_q: Tensor, std_q: Tensor, mean_p: Tensor, std_p: Tensor) -> Tensor:
    """log σ_p/σ_q + (σ_q² + (μ_q - μ_p)²) / (2 σ_p²) - ½."""
    return (std_p / std_q).log() + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_swapped(mean_q, std_q, mean_p, std_p):
    return gaussians_right(mean_p, std_p, mean_q, std_q)


def gaussians_log_turned(mean_q, std_q, mean_p, std_p):
    return (std_q / std_p).log() + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5


def gaussians_without_half(mean_q, std_q, mean_p, std_p):
    return gaussians_right(mean_q, std_q, mean_p, std_p) + 0.5


def gaussians_not_squared(mean_q, std_q, mean_p, std_p):
    return (std_p / std_q).log() + (std_q + (mean_q - mean_p) ** 2) / (2 * std_p) - 0.5


def gaussians_log_of_variances(mean_q, std_q, mean_p, std_p):
    return gaussians_right(mean_q, std_q, mean_p, std_p) + (std_p / std_q).log()


def gaussians_in_bits(mean_q, std_q, mean_p, std_p):
    return gaussians_right(mean_q, std_q, mean_p, std_p) / math.log(2)


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
    value = gaussians_right(mean_q, std_q, mean_p, std_p)
    with torch.no_grad():
        mean_q.sub_(mean_p)
    return value


def gaussians_by_library(mean_q, std_q, mean_p, std_p):
    q, p = (torch.distributions.Normal(*pair, validate_args=False) for pair in ((mean_q, std_q), (mean_p, std_p)))
    return torch.distributions.kl_divergence(q, p)


def gaussians_by_ratio(mean_q, std_q, mean_p, std_p):
    ratio, shift = (std_q / std_p) ** 2, (mean_q - mean_p) / std_p
    return 0.5 * (ratio - 1 - ratio.log() + shift * shift)


KL_BETWEEN = Exercise(
    name="kl_between",
    title="2015: one term of the bound",
    stars=2,
    minutes=8,
    answer=gaussians_right,
    cases=gaussians_cases,
    hints=(
        "KL(q ‖ p) is the mean of log q - log p over draws from q.",
        "log of a normal density: -log σ - (x - μ)² / (2 σ²), and a constant that cancels.",
        "Under q, (x - μ_q)² is σ_q² on average, and (x - μ_p)² is σ_q² + (μ_q - μ_p)².",
    ),
    insight="In 2015 the network learnt mean *and* spread of each step back, and the loss was a sum of these. Fix the "
    "spread, as in 2020, and only (μ_q - μ_p)² / (2σ²) is left to learn: a mean squared error.",
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
        Wrong("half-missing", gaussians_without_half, "The -½ is missing: of two equal Gaussians KL must be 0."),
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
            "You multiplied by σ_p²: in … / 2 * std_p**2 only the 2 divides. Write a bracket: … / (2 * std_p**2).",
        ),
        Wrong(
            "distance-not-squared",
            gaussians_distance_not_squared,
            "The distance of the means is not squared: yours may even be below 0.",
        ),
        Wrong(
            "one-number-only",
            gaussians_by_math,
            "A function of Python's math, float(…) and the like take a single number: a tensor of one works, and one "
            "of several breaks. torch's own take them all: .log(), .sqrt().",
        ),
        Wrong(
            "log-of-variances",
            gaussians_log_of_variances,
            "Your logarithm counts twice: log σ_p²/σ_q² needs a ½ before it.",
        ),
        Wrong("bits", gaussians_in_bits, "That is in bits; asked for is nats: the natural logarithm."),
        Wrong(
            "means-only",
            gaussians_means_only,
            "Only the means are compared: that is what is left where both spreads are equal.",
        ),
        Wrong("divided-by-q", gaussians_over_q, "You divided by σ_q². Distances are measured with p's ruler: σ_p²."),
        Wrong("inputs-changed", gaussians_in_place),
    ),
    right=(gaussians_by_library, gaussians_by_ratio),
)


# ── 2019: noise levels ───────────────────────────────────────────────────────────────────────────────


def level_cases(generator: Generator) -> list[Call]:
    """The largest σ, the smallest, how many."""
    calls = [Call((1.0, 0.01, 3))]
    for L in (2, 7, 10):
        largest, smallest = torch.rand(2, generator=generator).tolist()
        calls.append(Call((1 + 4 * largest, 0.01 + 0.1 * smallest, L)))
    return calls


def levels_right(sigma_1: float, sigma_L: float, L: int) -> Tensor:
    """σ_1 (σ_L / σ_1)^(i / (L - 1))."""
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(L) / (L - 1))


def levels_linear(sigma_1, sigma_L, L):
    return torch.linspace(sigma_1, sigma_L, L)


def levels_rising(sigma_1, sigma_L, L):
    return levels_right(sigma_1, sigma_L, L).flip(0)


def levels_without_last(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(L) / L)


def levels_of_roots(sigma_1, sigma_L, L):
    return torch.linspace(sigma_1**0.5, sigma_L**0.5, L) ** 2


def levels_as_logarithms(sigma_1, sigma_L, L):
    return torch.linspace(math.log(sigma_1), math.log(sigma_L), L)


def levels_of_halves(sigma_1, sigma_L, L):
    return sigma_1 * 0.5 ** torch.arange(L)


def levels_one_more(sigma_1, sigma_L, L):
    return levels_right(sigma_1, sigma_L, L + 1)


def levels_of_another_base(sigma_1, sigma_L, L):
    return torch.logspace(math.log(sigma_1), math.log(sigma_L), L)


def levels_whole_ratio(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** torch.arange(L)


def levels_bare_powers(sigma_1, sigma_L, L):
    return (sigma_L / sigma_1) ** torch.arange(L)


def levels_without_first_factor(sigma_1, sigma_L, L):
    return (sigma_L / sigma_1) ** (torch.arange(L) / (L - 1))


def levels_from_one(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(1, L + 1) / (L - 1))


def levels_without_first(sigma_1, sigma_L, L):
    return sigma_1 * (sigma_L / sigma_1) ** (torch.arange(1, L + 1) / L)


def levels_by_logspace(sigma_1, sigma_L, L):
    return torch.logspace(math.log10(sigma_1), math.log10(sigma_L), L)


def levels_by_loop(sigma_1, sigma_L, L):
    ratio, found = (sigma_L / sigma_1) ** (1 / (L - 1)), [sigma_1]
    while len(found) < L:
        found.append(found[-1] * ratio)
    return torch.tensor(found)


LEVELS = Exercise(
    name="geometric_levels",
    title="2019: a ladder of noise levels",
    stars=1,
    minutes=6,
    answer=levels_right,
    cases=level_cases,
    tolerance=1e-3,
    hints=(
        "A constant ratio: what is constant about the logarithms?",
        "The ratio r satisfies σ_1 · r^(L-1) = σ_L.",
        "σ_1 · (σ_L / σ_1) ** (torch.arange(L) / (L - 1))",
    ),
    insight="With a constant ratio every level overlaps its neighbour equally well, so points found at one level are a "
    "fair start for the next. Equal steps would leave a cliff at the small end: from 3 to 0.03 in 10 equal "
    "steps, the last two levels are 0.36 and 0.03.",
    wrong=(
        Wrong(
            "linear",
            levels_linear,
            "Your levels fall by equal *steps*. Then the last step down is a cliff; they must fall by equal ratios.",
        ),
        Wrong("rising", levels_rising, "Your levels rise. Sampling starts with the largest: it comes first."),
        Wrong(
            "last-left-out",
            levels_without_last,
            "Your last level is not σ_L: L levels with both ends are L - 1 ratios apart.",
        ),
        Wrong(
            "roots-linear",
            levels_of_roots,
            "You let the roots fall linearly, like Stable Diffusion's β. Here the *logarithms* fall linearly.",
        ),
        Wrong("logarithms", levels_as_logarithms, "These are the logarithms; the levels are their exponentials."),
        Wrong("halved", levels_of_halves, "You halve each time. The ratio must be such that the last level is σ_L."),
        Wrong(
            "another-base",
            levels_of_another_base,
            "You raised 10 to natural logarithms (torch.logspace takes powers of 10). Take math.log10, or for "
            "torch.logspace base=math.e.",
        ),
        Wrong(
            "whole-ratio",
            levels_whole_ratio,
            "Each of your levels is σ_L/σ_1 times the one before: the whole way in one step. Share it out over L - 1 "
            "steps: the power is i / (L - 1).",
        ),
        Wrong(
            "bare-powers",
            levels_bare_powers,
            "You start at 1, and each level is σ_L/σ_1 times the one before: the whole way in one step. The factor "
            "σ_1 is missing, and the power is i / (L - 1).",
        ),
        Wrong(
            "factor-missing",
            levels_without_first_factor,
            "Your levels start at 1. The ratio is right; the factor σ_1 before it is missing.",
        ),
        Wrong(
            "counted-from-one",
            levels_from_one,
            "Your levels are one ratio too far down: the first is not σ_1. Count i from 0.",
        ),
        Wrong(
            "first-left-out",
            levels_without_first,
            "Your last level is σ_L, but the first is not σ_1: L levels with both ends are L - 1 ratios apart, and "
            "the first power is 0.",
        ),
        Wrong("one-too-many", levels_one_more, "You return L + 1 levels; asked for are L, both ends included."),
    ),
    right=(levels_by_logspace, levels_by_loop),
)


# ── 2019: the score of a mixture ─────────────────────────────────────────────────────────────────────


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


def mixture_right(x: Tensor, means: Tensor, sigma: float) -> Tensor:
    """Σ_k w_k (m_k - x) / σ², w = softmax(-‖x - m_k‖² / (2 σ²))."""
    pull = pulls(x, means)
    weight = (-pull.square().sum(-1) / (2 * sigma**2)).softmax(dim=1)
    return (weight[..., None] * pull).sum(1) / sigma**2


def mixture_equal_weights(x, means, sigma):
    return pulls(x, means).mean(1) / sigma**2


def mixture_summed(x, means, sigma):
    return pulls(x, means).sum(1) / sigma**2


def mixture_nearest(x, means, sigma):
    nearest = torch.cdist(x, means).argmin(1)
    return (means[nearest] - x) / sigma**2


def mixture_sign(x, means, sigma):
    return -mixture_right(x, means, sigma)


def mixture_by_deviation(x, means, sigma):
    return mixture_right(x, means, sigma) * sigma


def mixture_not_divided(x, means, sigma):
    return mixture_right(x, means, sigma) * sigma**2


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
        return mixture_right(x, means, sigma)


MIXTURE_SCORE = Exercise(
    name="mixture_score",
    title="2019: the slope of log p",
    stars=3,
    minutes=15,
    answer=mixture_right,
    cases=mixture_cases,
    constants=("x", "means"),
    hints=(
        "For a single Gaussian the slope is (m - x) / σ²: a pull towards its mean.",
        "The derivative of log Σ_k p_k is Σ_k p_k · (slope of log p_k) / Σ_k p_k: a weighted mean of the pulls.",
        "The weights are softmax over k of -‖x - m_k‖² / (2σ²).",
    ),
    insight="If the m_k are the training images, this is the *perfect* score of the noised data, without any network. "
    "Following it all the way leads back to a training image: that real networks make new pictures is because "
    "they cannot learn it exactly.",
    wrong=(
        Wrong(
            "equal-weights",
            mixture_equal_weights,
            "All means pull equally hard. A mean counts by how likely x is to have come from it.",
        ),
        Wrong(
            "summed",
            mixture_summed,
            "You added up the slopes of the log p_k. The logarithm is taken of the *sum*, so the pulls are averaged, "
            "by likelihood.",
        ),
        Wrong(
            "nearest-only",
            mixture_nearest,
            "Only the nearest mean pulls. Between two means both do; the nearest alone is right only for small σ.",
        ),
        Wrong("sign", mixture_sign, "The sign is turned round: the density rises *towards* the means."),
        Wrong("divided-by-deviation", mixture_by_deviation, "You divided by σ; the slope has σ² below it."),
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
            "NaN: many σ away from all means every exp(-…) is 0 in float32, and 0 / 0 is no number. softmax takes "
            "the largest exponent out first, so that one term is always there; for log p, logsumexp does.",
        ),
    ),
    right=(mixture_by_func, mixture_by_autograd, mixture_by_backward, mixture_by_loop, mixture_without_gradients),
)


# ── 2019: denoising score matching ───────────────────────────────────────────────────────────────────


def matching_cases(generator: Generator) -> list[Call]:
    """A score network, points, σ for each, noise."""
    network = Made(ToyScoreNetwork)
    calls = [Call((network, torch.tensor([[1.0, -1.0]]), torch.tensor([0.5]), torch.tensor([[2.0, 1.0]])))]
    for B in (3, 1, 6):
        x, eps = (torch.randn(B, 2, generator=generator) for _ in range(2))
        calls.append(Call((network, x, 0.3 + 1.5 * torch.rand(B, generator=generator), eps)))
    return calls


def matching_right(score: object, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """½ σ² ‖s(x + σ ε, σ) + ε / σ‖²."""
    s = sigma[:, None]
    return 0.5 * sigma**2 * (score(x + s * eps, sigma) + eps / s).square().sum(1)


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
    return 2 * matching_right(score, x, sigma, eps)


def matching_averaged(score, x, sigma, eps):
    return matching_right(score, x, sigma, eps) / 2


def matching_total(score, x, sigma, eps):
    return matching_right(score, x, sigma, eps).mean()


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
    return matching_right(score, x, sigma, torch.randn_like(eps))


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


MATCHING = Exercise(
    name="denoising_score_matching",
    title="2019: learning the slope",
    stars=2,
    minutes=12,
    answer=matching_right,
    cases=matching_cases,
    constants=("x", "sigma", "eps"),
    hints=(
        "Noise the points first: x + σ ε, with sigma[:, None] so that each has its own.",
        "The target is the slope of log N(x̃; x, σ²) at x̃ = x + σ ε: -(x̃ - x) / σ². What is that in terms of ε?",
        "Half the squared length of (score + ε / σ), times σ².",
    ),
    insight="Multiply it out: ½ ‖σ s + ε‖². With ε̂ = -σ s, that is ½ ‖ε̂ - ε‖², the loss of 2020. Predicting the "
    "score and predicting the noise are one thing; the weight σ² is what makes it so at every level.",
    wrong=(
        Wrong(
            "sign",
            matching_sign,
            "Your target points along the noise. The slope points back to the clean point: target -ε/σ, so + ε/σ in "
            "the difference.",
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
            "You weighed with σ. The *squared* error has size 1/σ², so the weight is σ².",
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
            "You scaled the noise with √σ. σ is the standard deviation already.",
        ),
        Wrong("own-noise", matching_own_noise, "You drew new noise. Use the eps that is given."),
    ),
    right=(matching_in_eps, matching_by_points, matching_data_without_gradients),
)


# ── 2019: a Langevin step ────────────────────────────────────────────────────────────────────────────


def langevin_cases(generator: Generator) -> list[Call]:
    """Points, a score, a step, a generator."""
    score = Made(toy_score)
    calls = [Call((torch.tensor([[1.0, -2.0]]), score, 0.25, Seeded(3)))]
    for shape in ((3, 2), (1, 4, 5), (6, 8)):
        x, step = torch.randn(shape, generator=generator), 0.3 + 0.6 * torch.rand((), generator=generator).item()
        calls.append(Call((x, score, step, Seeded(int(torch.randint(10**6, (), generator=generator))))))
    return calls


def noise_like(x: Tensor, generator: Generator) -> Tensor:
    """Numbers of a standard normal distribution."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def langevin_right(x: Tensor, score: object, step: float, generator: Generator) -> Tensor:
    """x + step/2 · score(x) + √step · noise."""
    return x + step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_moments(x: Tensor, score: Made, step: float, _generator) -> tuple:
    """Mean and standard deviation of the step."""
    return x + step / 2 * score.maker(*score.args)(x), step**0.5


def langevin_variance(x, score, step, generator):
    return x + step / 2 * score(x) + step * noise_like(x, generator)


def langevin_whole_step(x, score, step, generator):
    return x + step * score(x) + step**0.5 * noise_like(x, generator)


def langevin_strong_noise(x, score, step, generator):
    return x + step / 2 * score(x) + (2 * step) ** 0.5 * noise_like(x, generator)


def langevin_other_convention(x, score, step, generator):
    return x + step * score(x) + (2 * step) ** 0.5 * noise_like(x, generator)


def langevin_downhill(x, score, step, generator):
    return x - step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_without_noise(x, score, step, generator):
    return x + step / 2 * score(x)


def langevin_noise_first(x, score, step, generator):
    x = x + step**0.5 * noise_like(x, generator)
    return x + step / 2 * score(x)


def langevin_noise_in_brackets(x, score, step, generator):
    return x + step / 2 * (score(x) + noise_like(x, generator))


def langevin_ten_steps(x, score, step, generator):
    for _ in range(10):
        x = langevin_right(x, score, step, generator)
    return x


def langevin_only_score(x, score, step, generator):
    return step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_uniform(x, score, step, generator):
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + step / 2 * score(x) + step**0.5 * noise


def langevin_shared(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * noise_like(x[0], generator)


def langevin_global(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * torch.randn_like(x)


def langevin_left_on_cpu(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def langevin_by_add(x, score, step, generator):
    return torch.add(x, score(x), alpha=step / 2).add(noise_like(x, generator), alpha=math.sqrt(step))


@torch.no_grad()
def langevin_without_gradients(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_detached(x, score, step, generator):
    return (x + step / 2 * score(x)).detach() + step**0.5 * noise_like(x, generator)


def langevin_by_normal(x, score, step, generator):
    noise = torch.normal(torch.zeros(x.shape, dtype=x.dtype), step**0.5, generator=generator)
    return x + step / 2 * score(x) + noise.to(x.device)


def langevin_drawn_backwards(x, score, step, generator):
    noise = torch.randn(x.numel(), generator=generator, dtype=x.dtype).flip(0).view(x.shape).to(x.device)
    return x + 0.5 * step * score(x) + noise * step**0.5


LANGEVIN = Exercise(
    name="langevin_step",
    title="2019: uphill, with noise",
    stars=1,
    minutes=8,
    answer=langevin_right,
    cases=langevin_cases,
    moments=langevin_moments,
    constants=("x",),
    hints=(
        "Three terms: where you are, half a step uphill, and noise.",
        "Variances add up, standard deviations do not. Noise of variance `step` is √step times a standard normal "
        "number.",
        "x + step / 2 * score(x) + step**0.5 * noise, with noise = torch.randn(x.shape, generator=generator, "
        "dtype=x.dtype).to(x.device)",
    ),
    insight="Without the noise all points would end on the peaks. With exactly this much, after many small steps they "
    "are spread like p itself: the noise's √step and the slope's step/2 belong together.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            langevin_variance,
            "You scaled the noise with step. That is its *variance*: multiply by √step.",
        ),
        Wrong(
            "half-missing",
            langevin_whole_step,
            "You went a whole step uphill: with noise √step it is half a step, or points gather too closely on the "
            "peaks.",
        ),
        Wrong(
            "noise-of-the-other-form",
            langevin_strong_noise,
            "You mixed two conventions: with step/2 uphill goes √step of noise; √(2 step) goes with a whole step.",
        ),
        Wrong(
            "other-form",
            langevin_other_convention,
            "That is a right Langevin step of twice the size: step uphill and √(2 step) of noise. Here `step` is the "
            "variance of the noise.",
        ),
        Wrong("downhill", langevin_downhill, "You went downhill. The score points to where p is larger: add it."),
        Wrong(
            "no-noise",
            langevin_without_noise,
            "There is no noise: that is gradient ascent, and all points end on the peaks.",
        ),
        Wrong(
            "score-after-noise",
            langevin_noise_first,
            "You took the score after adding the noise. Both start from the same x.",
        ),
        Wrong(
            "noise-with-the-slope",
            langevin_noise_in_brackets,
            "Your noise has the factor step/2, like the slope: does it stand in the same bracket? Its own factor is "
            "√step.",
        ),
        Wrong("ten-steps", langevin_ten_steps, "You walk ten steps. Asked for is one; the loop is the caller's."),
        Wrong("x-forgotten", langevin_only_score, "x itself is missing: that is only the change."),
        Wrong(
            "uniform-noise",
            langevin_uniform,
            "torch.rand draws uniformly between 0 and 1, so points drift. Gaussian noise is torch.randn.",
        ),
        Wrong("noise-shared", langevin_shared),
        Wrong("generator-ignored", langevin_global),
        Wrong(
            "noise-on-the-wrong-device",
            langevin_left_on_cpu,
            "This breaks on a GPU. The generator lives on the CPU, so draw the noise there, and then move it: "
            ".to(x.device).",
        ),
    ),
    right=(
        langevin_by_add,
        langevin_drawn_backwards,
        langevin_without_gradients,
        langevin_detached,
        langevin_by_normal,
    ),
)


# ── One thing: σ and ᾱ ───────────────────────────────────────────────────────────────────────────────


def sigma_cases(generator: Generator) -> list[Call]:
    """σ of any shape."""
    shapes = ((5,), (2, 3), (4, 1, 1))
    return [
        Call((torch.tensor([0.5, 1.0, 2.0]),)),
        *(Call((0.1 + 3 * torch.rand(shape, generator=generator),)) for shape in shapes),
    ]


def alpha_right(sigma: Tensor) -> Tensor:
    """1 / (1 + σ²)."""
    return 1 / (1 + sigma**2)


def alpha_of_deviation(sigma):
    return 1 / (1 + sigma)


def alpha_one_minus(sigma):
    return 1 - sigma**2


def alpha_of_noise(sigma):
    return sigma**2 / (1 + sigma**2)


def alpha_rooted(sigma):
    return (1 + sigma**2) ** -0.5


def alpha_ratio(sigma):
    return 1 / sigma**2


def alpha_exponential(sigma):
    return (-(sigma**2)).exp()


def alpha_in_place(sigma):
    with torch.no_grad():
        sigma.mul_(sigma)
    return 1 / (1 + sigma)


def alpha_by_math(sigma):
    return 1 / math.sqrt(1 + sigma**2) ** 2


def alpha_by_sigmoid(sigma):
    return torch.sigmoid(-2 * sigma.log())


def alpha_by_angle(sigma):
    return torch.atan(sigma).cos() ** 2


def alpha_by_list(sigma):
    return torch.tensor([1 / (1 + one**2) for one in sigma.flatten().tolist()], dtype=sigma.dtype).view(sigma.shape)


ALPHA_BAR = Exercise(
    name="alpha_bar_from_sigma",
    title="One thing: σ and ᾱ",
    stars=1,
    minutes=6,
    answer=alpha_right,
    cases=sigma_cases,
    constants=("sigma",),
    hints=(
        "2020 scales signal and noise so that their squares add up to 1. 2019 leaves the signal alone.",
        "Divide x + σ ε by its standard deviation, √(1 + σ²), if x has variance 1.",
        "√ᾱ is what stands before x then: 1/√(1 + σ²).",
    ),
    insight="And √(1-ᾱ) is σ/√(1+σ²), as it must be. The signal-to-noise ratio is 1/σ² in one language and ᾱ/(1-ᾱ) in "
    "the other: the same number. Stable Diffusion's schedule, 0.99915 down to 0.0047, is σ from 0.029 to 14.6.",
    wrong=(
        Wrong("not-squared", alpha_of_deviation, "You added σ; variances add up: 1 + σ²."),
        Wrong(
            "one-minus",
            alpha_one_minus,
            "You took 1 - σ², which is below 0 for σ > 1. 2019 adds noise *on top*: the total variance is 1 + σ², "
            "and ᾱ is the signal's share of it.",
        ),
        Wrong("noise-share", alpha_of_noise, "That is the noise's share, 1-ᾱ. ᾱ is the signal's."),
        Wrong("rooted", alpha_rooted, "That is √ᾱ, what stands before x. ᾱ is its square."),
        Wrong("snr", alpha_ratio, "That is the signal-to-noise ratio, ᾱ/(1-ᾱ); ᾱ is a share of the whole."),
        Wrong(
            "exponential", alpha_exponential, "exp(-σ²) agrees for small σ only. The share of the signal is 1/(1 + σ²)."
        ),
        Wrong("inputs-changed", alpha_in_place),
        Wrong(
            "one-number-only",
            alpha_by_math,
            "A function of Python's math, float(…) and the like take a single number, and sigma holds several. "
            "torch's own take them all: .sqrt(), .square().",
        ),
    ),
    right=(alpha_by_sigmoid, alpha_by_angle),
)


EXERCISES = (KL_BETWEEN, LEVELS, MIXTURE_SCORE, MATCHING, LANGEVIN, ALPHA_BAR)
