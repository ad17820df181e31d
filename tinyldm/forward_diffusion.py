"""§ Training and inference, first half: the noise schedule, noising in one jump, targets and the loss.

    z_t = √ᾱ_t · z0 + √(1-ᾱ_t) · ε,   ε ~ N(0, 1),   ᾱ_t = ∏_{s ≤ t} (1 - β_s)

The article applies Gaussian noise iteratively, in a Markov chain. A chain of Gaussians is a Gaussian, so the
T steps collapse into the one line above; training only ever uses that line, at a uniformly drawn t. (A test in
`tests/core/test_article.py` shows that both agree.) The chain lives on *latents*, not on images.

Where the article and the reference code differ, the code wins:

* t = 0 is not noiseless: index 0 is already one step of noise, ᾱ_0 = 0.99915;
* t = 100 of T = 1000 is not "much noise": the signal is still √ᾱ = 0.946, the noise √(1-ᾱ) = 0.325;
* the network predicts the **total** noise ε in z_t, not the noise that step t added;
* ᾱ_999 = 0.0047: training never sees pure noise, from which sampling starts;
* Stable Diffusion 2 at 768 pixels predicts a velocity instead of the noise.

Source: Ho et al. 2020 (DDPM), eq. 4 and 14; Salimans & Ho 2022 (velocity), appendix D; Nichol & Dhariwal
2021, eq. 17 (cosine); CompVis `ldm/modules/diffusionmodules/util.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyldm import shapes

# ── How much noise each step adds ────────────────────────────────────────────────────────────────────


def scaled_linear_betas(T: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Stable Diffusion's: √β rises linearly. (T,) float64. CompVis calls it "linear", diffusers "scaled_linear"."""
    return torch.linspace(math.sqrt(start), math.sqrt(end), T, dtype=torch.float64) ** 2


def linear_betas(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """DDPM's: β rises linearly. (T,) float64. Ho et al. 2020, § 4."""
    return torch.linspace(start, end, T, dtype=torch.float64)


def cosine_betas(T: int = 1000, s: float = 0.008) -> Tensor:
    """ᾱ_t falls like cos²; β follows from it, at most 0.999. (T,) float64. Nichol & Dhariwal 2021, eq. 17."""
    steps = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((steps + s) / (1 + s) * math.pi / 2) ** 2  # ᾱ_t = f(t) / f(0), and f(0) cancels below
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


# ── z0, ε and the velocity: with z_t known, each of the three gives the other two ─────────────────────

Level = float | Tensor  # ᾱ: a number, or a tensor that broadcasts against z_t


def velocity(z0: Tensor, eps: Tensor, alpha_bar: Level) -> Tensor:
    """v = √ᾱ ε - √(1-ᾱ) z0: the direction in which z_t moves as the angle between signal and noise grows."""
    return alpha_bar**0.5 * eps - (1 - alpha_bar) ** 0.5 * z0


def z0_from_eps(eps: Tensor, z_t: Tensor, alpha_bar: Level) -> Tensor:
    """z0 = (z_t - √(1-ᾱ) ε) / √ᾱ. At ᾱ → 0 a small error in ε becomes a large one in z0."""
    return (z_t - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5


def z0_from_velocity(v: Tensor, z_t: Tensor, alpha_bar: Level) -> Tensor:
    """z0 = √ᾱ z_t - √(1-ᾱ) v: no division, so well behaved at every noise level."""
    return alpha_bar**0.5 * z_t - (1 - alpha_bar) ** 0.5 * v


def eps_from_velocity(v: Tensor, z_t: Tensor, alpha_bar: Level) -> Tensor:
    """ε = √ᾱ v + √(1-ᾱ) z_t."""
    return alpha_bar**0.5 * v + (1 - alpha_bar) ** 0.5 * z_t


@dataclass(frozen=True)
class Prediction:
    """What a network's output *means*: a convention, which cannot be read from its weights."""

    name: str  # as scheduler_config.json calls it
    from_z0_and_eps: Callable[[Tensor, Tensor, Level], Tensor]  # (z0, eps, ᾱ) -> what the network should output
    to_z0: Callable[[Tensor, Tensor, Level], Tensor]  # (output, z_t, ᾱ) -> z0
    to_eps: Callable[[Tensor, Tensor, Level], Tensor]  # (output, z_t, ᾱ) -> eps


EPS = Prediction("epsilon", lambda z0, eps, alpha_bar: eps, z0_from_eps, lambda eps, z_t, alpha_bar: eps)
VELOCITY = Prediction("v_prediction", velocity, z0_from_velocity, eps_from_velocity)


# ── The schedule ─────────────────────────────────────────────────────────────────────────────────────


class NoiseSchedule(nn.Module):
    """ᾱ_t for t = 0 … T-1, and what the network predicts at it.

    Args:
        beta: (T,) the variance of the noise that each step adds, in (0, 1); the last may be 1.
        prediction: EPS or VELOCITY.
        final_alpha_bar: where DDIM stops: 1 is the clean latent, Stable Diffusion takes ᾱ_0 = 0.99915.
    Attributes:
        alpha_bar: (T,) float32, computed in float64: the share of the signal's variance that is left.
    """

    alpha_bar: Tensor

    def __init__(self, beta: Tensor, prediction: Prediction = EPS, final_alpha_bar: float = 1.0):
        super().__init__()
        shapes.require_betas(beta)
        self.register_buffer("alpha_bar", torch.cumprod(1 - beta.double(), dim=0).float())
        # float32 like alpha_bar, so that a given ᾱ_0 equals alpha_bar[0] exactly.
        self.final_alpha_bar = torch.tensor(final_alpha_bar, dtype=torch.float32).item()
        self.prediction, self.T = prediction, len(beta)

    def at(self, t: Tensor) -> Tensor:
        """ᾱ at any t in [0, T-1], whole or fractional, in t's shape, float32.

        Between two table entries log σ, σ = √((1-ᾱ)/ᾱ), is interpolated linearly, as k-diffusion does.
        """
        shapes.require_timesteps(t, self.alpha_bar)
        return _interpolated(self.alpha_bar, t) if t.is_floating_point() else self.alpha_bar[t]

    def q_sample(self, z0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Noise clean latents to timestep t in one jump: z_t = √ᾱ_t z0 + √(1-ᾱ_t) ε.

        Args: z0, eps: (B, …) of one shape; t: (B,) in 0 … T-1.
        Returns: z_t (B, …), in the dtype of z0.  Ho et al. 2020, eq. 4.
        """
        shapes.require_alike(z0, t, eps)
        alpha_bar = self._alpha_bar_for(z0, t)
        return alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * eps

    def target(self, z0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What the network should output for q_sample(z0, t, eps): the noise, or the velocity. (B, …)."""
        shapes.require_alike(z0, t, eps)
        return self.prediction.from_z0_and_eps(z0, eps, self._alpha_bar_for(z0, t))

    def _alpha_bar_for(self, z: Tensor, t: Tensor) -> Tensor:
        return self.at(t).to(z.dtype).view(-1, *(1 for _ in z.shape[1:]))  # (B,) -> (B, 1, 1, 1)


def log_sigma(alpha_bar: Tensor) -> Tensor:
    """log σ = ½ log((1-ᾱ)/ᾱ); where ᾱ is 0, of what diffusers puts in its place, 2^-24."""
    alpha_bar = torch.where(alpha_bar > 0, alpha_bar, 2**-24)
    return 0.5 * (torch.log1p(-alpha_bar) - alpha_bar.log())


def _interpolated(alpha_bar: Tensor, t: Tensor) -> Tensor:
    """ᾱ = 1 / (1 + σ²) for fractional t, log σ interpolated linearly between the two entries around it."""
    table = log_sigma(alpha_bar)
    below = t.long().clamp(max=max(len(alpha_bar) - 2, 0))
    above = (below + 1).clamp(max=len(alpha_bar) - 1)
    return torch.sigmoid(-2 * torch.lerp(table[below], table[above], (t - below).to(table.dtype)))


def diffusion_loss(
    model: Callable[..., Tensor], schedule: NoiseSchedule, z0: Tensor, context: Tensor | None, t: Tensor, eps: Tensor
) -> Tensor:
    """The mean squared error between prediction and target: Ho et al. 2020, eq. 14 (for EPS).

    Args:
        model: (z_t, t, context) -> prediction, such as a `UNet`.
        z0, eps: (B, C, h, w) clean scaled latent and fresh N(0, 1) noise.
        context: (B, L, D) or None; t: (B,) int64, drawn uniformly from 0 … T-1.
    Returns: a scalar.
    """
    prediction = model(schedule.q_sample(z0, t, eps), t, context)
    return (prediction - schedule.target(z0, t, eps)).square().mean()
