"""Measurements: how far is a cloud of samples from the truth, and how well do simple models do on the same data?

All models of one row see the same finite training set, the three papers' networks have the same budget
(network.Budget), and every distance is to fresh data that no model saw.  `one_seed` is the whole protocol.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tinyldm.history import ddpm_2020, nonequilibrium_2015, score_matching_2019
from tinyldm.history.data import DataSet, GaussianMixture
from tinyldm.history.network import STANDARD, Budget
from tinyldm.history.probability_flow import Noise, heun, karras_sigmas, log_likelihood, noise_of_ddpm, noise_of_ncsn

N_TRAIN, N_TEST, N_BITS = 2000, 4000, 1000
T_2015 = (10, 40)  # steps of the 2015 chain: each needs its own training
T_2019 = (1, 2, 5, 10, 20, 50)  # Langevin steps at each of the 10 levels
STEPS_2020 = (10, 20, 50, 100, 1000)  # times of the 2020 chain
STEPS_FLOW = (5, 10, 25, 50)  # Heun steps of the probability flow
ROWS_A_SEED = 4 + len(T_2015) + len(T_2019) + len(STEPS_2020) + len(STEPS_FLOW)
FLOW_START = 10.0  # sigma at which the flow starts: the data are 1 part in 101 of the variance
# Two-sided 95 % points of Student's t for 2 ... 10 seeds.
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


@dataclass(frozen=True)
class Row:
    """One measurement of one model on one data set with one seed."""

    data: str
    method: str
    calls: int  # network evaluations per sample; 0 for a model without a network
    seed: int
    distance: float  # sliced Wasserstein-2 to fresh data
    fine_mmd: float  # squared MMD at FINE_SCALE, x 1000
    bits: float | None  # upper bound of, or estimate of, the cross-entropy on fresh data, bits per point


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 128) -> float:
    """Mean over directions of the 1-D Wasserstein-2 distance of the projections: a, b (N, 2), equal N.

    In the plane the directions need not be random: `directions` equally spaced angles over half a turn.  In the units
    of the data (their standard deviation is 1).  Two fresh samples of N points are not at distance 0:
    report that floor as well.
    """
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2:
        raise ValueError(f"expected two clouds of one shape (N, 2), got {tuple(a.shape)} and {tuple(b.shape)}")
    angle = math.pi * (torch.arange(directions) + 0.5) / directions
    project = torch.stack([angle.cos(), angle.sin()])  # (2, directions)
    difference = (a @ project).sort(dim=0).values - (b @ project).sort(dim=0).values
    return difference.square().mean(dim=0).sqrt().mean().item()


FINE_SCALE = 0.1  # width of the MMD's kernel: it sees details that the sliced distance averages away


def squared_mmd(a: Tensor, b: Tensor, scale: float = FINE_SCALE) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel exp(-|x-y|^2 / (2 scale^2)); may be below 0.

    Gretton et al., JMLR 2012, eq. 3.  a (N, 2), b (M, 2).
    """
    aa, bb, ab = (torch.exp(-torch.cdist(x, y).square() / (2 * scale**2)) for x, y in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    within_a = (aa.sum() - n) / (n * (n - 1))  # the diagonals, all ones, do not count
    within_b = (bb.sum() - m) / (m * (m - 1))
    return (within_a + within_b - 2 * ab.mean()).item()


def fit_gaussian(x_train: Tensor) -> torch.distributions.MultivariateNormal:
    """The one Gaussian with the training points' mean and covariance."""
    return torch.distributions.MultivariateNormal(x_train.mean(dim=0), torch.cov(x_train.T))


def scott_bandwidth(x_train: Tensor) -> float:
    """n^(-1/(d+4)) times the data's standard deviation; in d = 2 Silverman's rule gives the same number."""
    return x_train.std(dim=0).mean().item() * len(x_train) ** (-1 / 6)


def best_bandwidth(x_train: Tensor) -> float:
    """The bandwidth with the best leave-one-out likelihood, of 60 between 0.005 and 1: a KDE at its strongest."""
    squared = torch.cdist(x_train, x_train).square()
    squared.fill_diagonal_(math.inf)
    candidates = torch.logspace(math.log10(0.005), 0, 60).tolist()
    likelihood = [(-squared / (2 * h * h)).logsumexp(dim=1).mean().item() - 2 * math.log(h) for h in candidates]
    return candidates[likelihood.index(max(likelihood))]


def kernel_density(x_train: Tensor, bandwidth: float) -> GaussianMixture:
    """A kernel density estimate is a mixture of one Gaussian per training point."""
    n = len(x_train)
    return GaussianMixture("kernel density", x_train, bandwidth, torch.full((n,), 1 / n))


def bits_of_flow(eps: Noise, x: Tensor, sigma_min: float, sigma_max: float) -> float:
    """Mean -log2 p of the probability flow's density on the points x."""
    return -log_likelihood(eps, x, sigma_min, sigma_max, steps=60).mean().item() / math.log(2)


def relative_step(T: int) -> float:
    """2019's step for T steps a level, fixed before measuring: 4 / T, at most 1, and the paper's 0.2 from T = 20 on."""
    return min(1.0, max(0.2, 4 / T))


class Judge:
    """Fresh data of one data set and seed, against which samples are measured."""

    def __init__(self, data: DataSet, seed: int, generator: torch.Generator):
        self.data, self.seed = data, seed
        self.fresh = data.sample(N_TEST, generator)

    def row(self, method: str, calls: int, samples: Tensor, bits: float | None = None) -> Row:
        """samples (N_TEST, 2) -> the measurement."""
        distance = sliced_wasserstein(samples, self.fresh)
        return Row(self.data.name, method, calls, self.seed, distance, 1000 * squared_mmd(samples, self.fresh), bits)


def baselines(judge: Judge, x_train: Tensor, generator: torch.Generator) -> Iterator[Row]:
    """The floor (a second fresh sample) and the three models without a network."""
    yield judge.row("fresh data (floor)", 0, judge.data.sample(N_TEST, generator))
    gaussian = fit_gaussian(x_train)
    white = torch.randn(N_TEST, 2, generator=generator)
    yield judge.row(
        "one Gaussian",
        0,
        gaussian.mean + white @ gaussian.scale_tril.T,
        -gaussian.log_prob(judge.fresh).mean().item() / math.log(2),
    )
    for name, bandwidth in ("KDE, Scott's rule", scott_bandwidth(x_train)), ("KDE, tuned", best_bandwidth(x_train)):
        kde = kernel_density(x_train, bandwidth)
        bits = -kde.log_density(judge.fresh).mean().item() / math.log(2)
        yield judge.row(name, 0, kde.sample(N_TEST, generator), bits)


def rows_2015(judge: Judge, x_train: Tensor, budget: Budget, generator: torch.Generator) -> Iterator[Row]:
    """One training for each length of the chain, because its steps are what is learnt."""
    for T in T_2015:
        kernel = nonequilibrium_2015.train(x_train, nonequilibrium_2015.constant_share_schedule(T), generator, budget)
        bits = nonequilibrium_2015.bits(kernel, judge.fresh, generator).mean().item()
        samples = nonequilibrium_2015.sample(kernel, N_TEST, generator)[-1]
        yield judge.row("2015", T - 1, samples, bits)


def rows_2019(judge: Judge, x_train: Tensor, budget: Budget, generator: torch.Generator) -> Iterator[Row]:
    """One training; Algorithm 1 with more and more steps per level."""
    s = score_matching_2019.train(x_train, score_matching_2019.geometric_levels(), generator, budget)
    high, low = s.sigmas[0].item(), s.sigmas[-1].item()
    bits = bits_of_flow(noise_of_ncsn(s), judge.fresh[:N_BITS], low, high)
    for T in T_2019:
        samples = score_matching_2019.sample(s, N_TEST, generator, T, relative_step(T))[-1]
        yield judge.row("2019", T * len(s.sigmas), samples, bits)


def rows_2020(judge: Judge, x_train: Tensor, budget: Budget, generator: torch.Generator) -> Iterator[Row]:
    """One training; ancestral sampling on part or all of the times, then the probability flow of the same network."""
    eps_theta = ddpm_2020.train(x_train, ddpm_2020.linear_schedule(), generator, budget)
    sigmas, eps = eps_theta.q.sigma(), noise_of_ddpm(eps_theta)
    low, high = sigmas[0].item(), FLOW_START
    bits = bits_of_flow(eps, judge.fresh[:N_BITS], low, high)
    for steps in STEPS_2020:
        yield judge.row("2020", steps, ddpm_2020.sample_respaced(eps_theta, N_TEST, steps, generator), bits)
    start = math.sqrt(1 + high**2) * torch.randn(N_TEST, 2, generator=generator)
    for steps in STEPS_FLOW:
        levels = karras_sigmas(high, low, steps) + [0.0]
        yield judge.row("2020 network, flow", 2 * steps - 1, heun(eps, start, levels)[-1], bits)


def one_seed(data: DataSet, seed: int, budget: Budget = STANDARD) -> Iterator[Row]:
    """Every method on one data set with one seed: one training set for all, one fresh set to judge by."""
    generator = torch.Generator().manual_seed(seed)
    x_train = data.sample(N_TRAIN, generator)
    judge = Judge(data, seed, generator)
    yield from baselines(judge, x_train, generator)
    yield from rows_2015(judge, x_train, budget, generator)
    yield from rows_2019(judge, x_train, budget, generator)
    yield from rows_2020(judge, x_train, budget, generator)


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """The mean and the half-width of its 95 % interval over seeds (Student's t)."""
    n = len(values)
    if n not in STUDENT_T:
        raise ValueError(f"expected 2 to 10 values, one per seed, got {n}")
    spread = torch.tensor(values, dtype=torch.float64)
    return spread.mean().item(), STUDENT_T[n] * spread.std().item() / math.sqrt(n)
