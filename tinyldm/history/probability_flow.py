"""2021, the bridge: one ordinary differential equation under DDPM and NCSN alike.

Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, ICLR 2021,
arXiv 2011.13456: every diffusion has a deterministic twin with the same marginals at all times,

    dx = [ f(x, t) - g(t)^2 grad log p_t(x) / 2 ] dt                                         eq. 13

We write it in the coordinates where it is shortest (Song, Meng & Ermon, DDIM, arXiv 2010.02502, eq. 14; Karras et
al. 2022, arXiv 2206.00364, eq. 1 with sigma(t) = t).  With x_bar = x_t / sqrt(abar_t) and sigma its noise,

    d x_bar / d sigma = eps(x_bar, sigma) = -sigma grad log p_sigma(x_bar)

The right-hand side is DDPM's predicted noise and NCSN's score at once: `noise_of_ddpm`, `noise_of_ncsn` and
`noise_of_data` (no network, exact) give functions of one type, and the solvers below do not know which one they get.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tinyldm.history.data import DataSet
from tinyldm.history.ddpm_2020 import NoisePredictor
from tinyldm.history.notation import eps_from_score, preserving_from_exploding
from tinyldm.history.score_matching_2019 import ScoreNetwork

Noise = Callable[[Tensor, float], Tensor]  # (x_bar (B, 2), sigma) -> eps (B, 2)


def noise_of_ncsn(s: ScoreNetwork) -> Noise:
    """eps = -sigma * score: the 2019 network as a noise predictor."""
    return lambda x_bar, sigma: eps_from_score(s.at(x_bar, sigma), sigma)


def noise_of_data(data: DataSet) -> Noise:
    """The same from the exact score of a data set: what a perfect network would predict."""
    return lambda x_bar, sigma: eps_from_score(data.score(x_bar, 1.0, sigma), sigma)


def time_of_sigma(sigma: float, sigmas: Tensor) -> float:
    """The (fractional) index t at which the rising sequence `sigmas` (T,) equals sigma, linear in log sigma."""
    log_sigmas, wanted = sigmas.log(), math.log(sigma)
    right = int(torch.searchsorted(log_sigmas, wanted).clamp(1, len(sigmas) - 1))
    left = right - 1
    share = (wanted - log_sigmas[left].item()) / (log_sigmas[right] - log_sigmas[left]).item()
    return left + min(max(share, 0.0), 1.0)


def noise_of_ddpm(eps_theta: NoisePredictor) -> Noise:
    """The 2020 network in x_bar coordinates: scale x_bar to unit size and evaluate at the t that has this sigma."""
    sigmas = eps_theta.q.sigma()

    def noise(x_bar: Tensor, sigma: float) -> Tensor:
        t = torch.full((len(x_bar),), time_of_sigma(sigma, sigmas))
        return eps_theta(preserving_from_exploding(x_bar, sigma), t)

    return noise


def karras_sigmas(sigma_max: float, sigma_min: float, steps: int, rho: float = 7.0) -> list[float]:
    """`steps` levels from sigma_max to sigma_min, dense where sigma is small (Karras et al. 2022, eq. 5)."""
    if not sigma_max > sigma_min > 0 or steps < 2:
        raise ValueError(f"expected sigma_max > sigma_min > 0 and steps >= 2, got {sigma_max}, {sigma_min}, {steps}")
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)]


@torch.no_grad()
def euler(eps: Noise, x_bar: Tensor, sigmas: list[float]) -> Tensor:
    """Follow the flow through the levels `sigmas` by straight lines; all states, (len(sigmas), B, 2).

    This is DDIM with eta = 0 (arXiv 2010.02502, eq. 12 and 13), one call a step.  Falling levels sample, rising encode.
    """
    path = [x_bar]
    for now, after in zip(sigmas, sigmas[1:]):
        path.append(path[-1] + (after - now) * eps(path[-1], now))
    return torch.stack(path)


@torch.no_grad()
def heun(eps: Noise, x_bar: Tensor, sigmas: list[float]) -> Tensor:
    """The same with the slope averaged over both ends of a step (Karras et al. 2022, Algorithm 1), two calls a step.

    A last level of 0 is reached by one Euler step, because the slope has no value there.
    """
    path = [x_bar]
    for now, after in zip(sigmas, sigmas[1:]):
        slope = eps(path[-1], now)  # 4: d_i
        guess = path[-1] + (after - now) * slope  # 5: Euler step
        if after > 0:
            slope = (slope + eps(guess, after)) / 2  # 7, 8: trapezoid
        path.append(path[-1] + (after - now) * slope)
    return torch.stack(path)


def noise_and_divergence(eps: Noise, x_bar: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """eps (B, 2) and sum_i d eps_i / d x_i (B,) by two backward passes: exact, since the plane has two axes."""
    with torch.enable_grad():
        x = x_bar.detach().requires_grad_(True)
        out = eps(x, sigma)
        along = [torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2)]
    return out.detach(), along[0] + along[1]


def log_likelihood(eps: Noise, x: Tensor, sigma_min: float, sigma_max: float, steps: int = 100) -> Tensor:
    """log p_{sigma_min}(x) in nats for x (B, 2): push x up the flow and integrate the change of volume.

    Song et al. 2021, app. D.2: log p_min(x) = log p_max(x(sigma_max)) + integral of div eps d sigma, where p_max is
    taken as N(0, (1 + sigma_max^2) I).
    Unlike 2015's bound this is an equality, up to the solver's error and that last approximation.
    """
    sigmas = karras_sigmas(sigma_max, sigma_min, steps)[::-1]
    gained = torch.zeros(len(x), dtype=x.dtype)
    for now, after in zip(sigmas, sigmas[1:]):
        slope, divergence = noise_and_divergence(eps, x, now)
        guess_slope, guess_divergence = noise_and_divergence(eps, x + (after - now) * slope, after)
        x = x + (after - now) * (slope + guess_slope) / 2
        gained = gained + (after - now) * (divergence + guess_divergence) / 2
    variance = 1 + sigma_max**2
    return gained - x.square().sum(dim=1) / (2 * variance) - math.log(2 * math.pi * variance)
