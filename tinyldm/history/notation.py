"""One noising, six dialects: how noisy a point is, in which coordinates, and what the papers call it.

    x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps          DDPM (2020): "variance preserving"
    x_bar = x_t / sqrt(alpha_bar) = x_0 + sigma eps              NCSN (2019), EDM (2022): "variance exploding"
    score = grad log p(x_bar) = -eps / sigma                     what 2019 learns
    velocity = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0     Salimans & Ho 2022, arXiv 2202.00512 (SD 2.x at 768)
    log_snr = log(alpha_bar / (1 - alpha_bar))                   Kingma et al. 2021, arXiv 2107.00630
    x_tau = (1 - tau) x_0 + tau eps                              rectified flow (2022), arXiv 2209.03003; SD 3
    flow = d x_tau / d tau = eps - x_0                           what it learns

Here: alpha_bar <-> sigma, alpha_bar <-> log_snr, sigma <-> tau, x_bar -> x_t, x_bar -> x_tau, x_t <-> x_tau,
score -> eps, velocity -> flow.  The conversions between x_0, eps and velocity at a given x_t are in
`tinyldm.forward_diffusion`; those between x_0, eps and flow in `tinyldm.beyond.flow_matching`.
Everything is elementwise: a level is a float or a tensor that broadcasts against the points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Level = float | Tensor


def _level(value: Level) -> Tensor:
    """A level as a tensor; a plain float becomes float64, which does not promote the points' dtype."""
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def _between_0_and_1(alpha_bar: Level) -> Tensor:
    level = _level(alpha_bar)
    if not ((level > 0) & (level < 1)).all():
        raise ValueError(f"expected alpha_bar strictly between 0 and 1, got {alpha_bar}; is it a sigma?")
    return level


def _positive(sigma: Level) -> Tensor:
    level = _level(sigma)
    if not (level > 0).all():
        raise ValueError(f"expected sigma > 0, got {sigma}")
    return level


# How noisy.


def sigma_from_alpha_bar(alpha_bar: Level) -> Tensor:
    """sigma = sqrt((1 - alpha_bar) / alpha_bar)."""
    level = _between_0_and_1(alpha_bar)
    return ((1 - level) / level).sqrt()


def alpha_bar_from_sigma(sigma: Level) -> Tensor:
    """alpha_bar = 1 / (1 + sigma^2)."""
    return 1 / (1 + _positive(sigma) ** 2)


def log_snr_from_alpha_bar(alpha_bar: Level) -> Tensor:
    """log(alpha_bar / (1 - alpha_bar)), natural logarithm; it is -2 log sigma."""
    return torch.logit(_between_0_and_1(alpha_bar))


def alpha_bar_from_log_snr(log_snr: Level) -> Tensor:
    """The logistic function of log_snr."""
    return torch.sigmoid(_level(log_snr))


def tau_from_sigma(sigma: Level) -> Tensor:
    """tau = sigma / (1 + sigma): noise as a share of noise and signal together."""
    return _positive(sigma) / (1 + _positive(sigma))


def sigma_from_tau(tau: Level) -> Tensor:
    """sigma = tau / (1 - tau)."""
    level = _level(tau)
    if not ((level > 0) & (level < 1)).all():
        raise ValueError(f"expected tau strictly between 0 and 1, got {tau}; is it a timestep of 0 ... 1000?")
    return level / (1 - level)


# Which coordinates, and what is learnt in them.


def preserving_from_exploding(x_bar: Tensor, sigma: Level) -> Tensor:
    """x_t = x_bar / sqrt(1 + sigma^2): diffusers' scale_model_input."""
    return x_bar / (1 + _positive(sigma) ** 2).sqrt()


def straight_from_exploding(x_bar: Tensor, sigma: Level) -> Tensor:
    """x_tau = x_bar / (1 + sigma), which is (1 - tau) x_bar."""
    return x_bar / (1 + _positive(sigma))


def straight_from_preserving(x_t: Tensor, tau: Level) -> Tensor:
    """x_tau = x_t sqrt((1 - tau)^2 + tau^2): the same point, no longer on the circle but on its chord."""
    return x_t * _chord(tau)


def preserving_from_straight(x_tau: Tensor, tau: Level) -> Tensor:
    """x_t = x_tau / sqrt((1 - tau)^2 + tau^2)."""
    return x_tau / _chord(tau)


def flow_from_velocity(velocity: Tensor, x_t: Tensor, tau: Level) -> Tensor:
    """flow = (velocity - (1 - 2 tau) x_t) / sqrt((1 - tau)^2 + tau^2), from x_0 and eps of velocity and x_t.

    A known linear function of what the network predicts and reads: to learn the one is to learn the other, with
    another weight for each noise level.  At tau = 1/2, alpha_bar = 1/2, the two are parallel: flow = sqrt(2) velocity.
    """
    return (velocity - (1 - 2 * _level(tau)) * x_t) / _chord(tau)


def _chord(tau: Level) -> Tensor:
    return ((1 - _level(tau)) ** 2 + _level(tau) ** 2).sqrt()


def eps_from_score(score: Tensor, sigma: Level) -> Tensor:
    """eps = -sigma score, where score = grad log p(x_bar) and eps is the mean noise given x_bar."""
    return -_positive(sigma) * score


@dataclass(frozen=True)
class Name:
    """One quantity and what it is called elsewhere."""

    here: str
    meaning: str
    ddpm: str  # symbol in the 2020 paper
    ncsn: str  # symbol in the 2019 paper or EDM
    compvis: str  # CompVis latent-diffusion / stable-diffusion, ldm/models/diffusion/ddpm.py
    diffusers: str  # attribute or argument of diffusers' schedulers


NAMES = (
    Name("beta", "variance added by one step", "β_t", "", "betas", "betas"),
    Name("alpha_bar", "share of signal variance", "ᾱ_t", "1/(1+σ²)", "alphas_cumprod", "alphas_cumprod"),
    Name("sqrt(alpha_bar)", "signal", "√ᾱ_t", "1/√(1+σ²)", "sqrt_alphas_cumprod", "alpha_t"),
    Name("sqrt(1 - alpha_bar)", "noise", "√(1-ᾱ_t)", "σ/√(1+σ²)", "sqrt_one_minus_alphas_cumprod", "sigma_t"),
    Name("sigma", "noise beside a signal of 1", "√((1-ᾱ_t)/ᾱ_t)", "σ_i", "", "sigmas"),
    Name("tau", "share of noise on the straight path", "", "σ/(1+σ)", "", "sigmas (FlowMatch schedulers)"),
    Name("log_snr", "log of signal to noise", "log(ᾱ_t/(1-ᾱ_t))", "-2 log σ", "", "lambda_t (half of it)"),
    Name("x0", "clean point", "x_0", "x", "x_start", "original_samples, pred_original_sample"),
    Name("x_t", "noised point", "x_t", "x̃/√(1+σ²)", "x_noisy", "sample"),
    Name(
        "eps",
        "the noise in x_t, all of it",
        "ε",
        "-σ s(x̃, σ)",
        'noise, parameterization="eps"',
        'prediction_type="epsilon"',
    ),
    Name("score", "slope of log p", "-ε/√(1-ᾱ_t)", "s(x̃, σ)", "", ""),
    Name(
        "velocity",
        "turn of signal into noise",
        "√ᾱ_t ε - √(1-ᾱ_t) x_0",
        "",
        'parameterization="v"',
        'prediction_type="v_prediction"',
    ),
    Name("flow", "noise minus clean point", "ε - x_0", "", "", "model_output (FlowMatch schedulers)"),
)


def names_table() -> str:
    """NAMES as a Markdown table."""
    head = "| here | meaning | DDPM 2020 | NCSN 2019, EDM | CompVis | diffusers |\n|---|---|---|---|---|---|\n"
    rows = ((n.here, n.meaning, n.ddpm, n.ncsn, n.compvis, n.diffusers) for n in NAMES)
    return head + "\n".join("| " + " | ".join(cell or "-" for cell in row) + " |" for row in rows) + "\n"
