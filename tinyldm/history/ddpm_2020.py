"""2020: DDPM.  The chain of 2015 with the loss of 2019.

Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, NeurIPS 2020, arXiv 2006.11239.  Equation and
algorithm numbers are that paper's.

    forward    q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I)                            eq. 4
    reverse    mu_theta = 1/sqrt(alpha_t) (x_t - beta_t / sqrt(1 - abar_t) eps_theta(x_t, t))  eq. 11
    loss       L_simple = E || eps - eps_theta(sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, t) ||^2  eq. 14

To 2015: same chain, but the variance is fixed and the network predicts the noise.  Then each KL of the bound *is*
`bound_weight(t)` x the squared error of the noise (eq. 12), and L_simple only drops the weight.
To 2019: eps_theta is the score in another unit, score = -eps / sqrt(1 - abar_t), and L_simple is eq. 6 of 2019 with
sigma_t = sqrt((1 - abar_t) / abar_t).  Both statements are functions here and equalities in the tests.

Indices: Python's t = 0 ... T-1 stands for the paper's t+1, so alpha_bar[0] has already one step of noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyldm.history.network import STANDARD, Budget, NoiseMLP, Progress, checked_points, minibatch, minimise
from tinyldm.history.notation import sigma_from_alpha_bar


@dataclass(frozen=True)
class Diffusion2020:
    """The noise schedule."""

    beta: Tensor  # (T,) float32
    alpha_bar: Tensor  # (T,) product of 1 - beta

    @property
    def T(self) -> int:
        return len(self.beta)

    def sigma(self) -> Tensor:
        """sqrt((1 - abar) / abar), (T,): the noise of x_t / sqrt(abar_t), NCSN's level."""
        return sigma_from_alpha_bar(self.alpha_bar)


def linear_schedule(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Diffusion2020:
    """beta from beta_1 to beta_T in T equal steps (section 4)."""
    if T < 2 or not 0 < beta_1 < beta_T < 1:
        raise ValueError(f"expected T >= 2 and 0 < beta_1 < beta_T < 1, got {T}, {beta_1}, {beta_T}")
    beta = torch.linspace(beta_1, beta_T, T, dtype=torch.float64)
    return Diffusion2020(beta.float(), (1 - beta).cumprod(0).float())


class NoisePredictor(nn.Module):
    """eps_theta(x_t, t)."""

    def __init__(self, q: Diffusion2020, generator: torch.Generator):
        super().__init__()
        self.q = q
        self.net = NoiseMLP(2, 2, generator)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t (B, 2), t (B,) in 0 ... T-1, whole or not -> eps_hat (B, 2)."""
        return self.net(x_t, t / self.q.T)


def q_sample(x0: Tensor, t: Tensor, eps: Tensor, q: Diffusion2020) -> Tensor:
    """x_t from x_0 and noise in one jump, eq. 4: x0, eps (B, 2), t (B,) -> (B, 2)."""
    alpha_bar = q.alpha_bar[t][:, None]
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def posterior(x0: Tensor, x_t: Tensor, t: Tensor, q: Diffusion2020) -> tuple[Tensor, Tensor]:
    """q(x_{t-1} | x_t, x_0), eq. 6 and 7: mean (B, 2), variance (B, 1); t (B,) in 1 ... T-1."""
    beta, now, before = q.beta[t][:, None], q.alpha_bar[t][:, None], q.alpha_bar[t - 1][:, None]
    mean = before.sqrt() * beta / (1 - now) * x0 + (1 - beta).sqrt() * (1 - before) / (1 - now) * x_t
    return mean, (1 - before) / (1 - now) * beta


def reverse_mean(x_t: Tensor, t: Tensor, eps: Tensor, q: Diffusion2020) -> Tensor:
    """mu_theta of eq. 11, (B, 2)."""
    beta, alpha_bar = q.beta[t][:, None], q.alpha_bar[t][:, None]
    return (x_t - beta / (1 - alpha_bar).sqrt() * eps) / (1 - beta).sqrt()


def bound_weight(q: Diffusion2020) -> Tensor:
    """Eq. 12's factor beta_t^2 / (2 sigma_t^2 alpha_t (1 - abar_t)) with sigma_t^2 = beta_t, (T,).

    What L_simple sets to 1.  It is largest at small t: the bound cares most about the finest details.
    """
    return q.beta / (2 * (1 - q.beta) * (1 - q.alpha_bar))


def train(
    x_train: Tensor, q: Diffusion2020, generator: torch.Generator, budget: Budget = STANDARD, progress: Progress = iter
) -> NoisePredictor:
    """Algorithm 1."""
    x_train = checked_points(x_train, 2)
    eps_theta = NoisePredictor(q, generator)

    def l_simple() -> Tensor:
        x0 = minibatch(x_train, budget.batch, generator)  # 2: x_0 ~ q(x_0)
        t = torch.randint(q.T, (budget.batch,), generator=generator)  # 3: t ~ Uniform
        eps = torch.randn(x0.shape, generator=generator)  # 4: eps ~ N(0, I)
        return (eps - eps_theta(q_sample(x0, t, eps, q), t)).square().mean()  # 5: eq. 14

    minimise(l_simple, eps_theta, budget, progress)
    return eps_theta


@torch.no_grad()
def sample(eps_theta: NoisePredictor, n: int, generator: torch.Generator) -> Tensor:
    """Algorithm 2, ancestral sampling with sigma_t^2 = beta_t; all T+1 states, (T+1, n, 2), in T network calls."""
    q = eps_theta.q
    path = [torch.randn(n, 2, generator=generator)]  # 1: x_T ~ N(0, I)
    for step in reversed(range(q.T)):  # 2: for t = T, ..., 1
        z = torch.randn(n, 2, generator=generator) if step > 0 else 0.0  # 3: no noise in the last step
        t = torch.full((n,), step)
        mean = reverse_mean(path[-1], t, eps_theta(path[-1], t), q)  # 4: eq. 11
        path.append(mean + q.beta[step].sqrt() * z)
    return torch.stack(path)


def every_kth(q: Diffusion2020, steps: int) -> tuple[Diffusion2020, Tensor]:
    """A shorter chain with the same alpha_bar at `steps` evenly chosen times, and those times, (steps,).

    Not in the paper: it is how DDPM is sampled with fewer calls than T (Nichol & Dhariwal 2021, section 4,
    arXiv 2102.09672).  beta'_i = 1 - abar_i / abar_{i-1} over the chosen times.
    """
    if not 1 <= steps <= q.T:
        raise ValueError(f"expected 1 <= steps <= {q.T}, got {steps}")
    times = torch.linspace(q.T - 1, 0, steps).round().long().flip(0) if steps > 1 else torch.tensor([q.T - 1])
    alpha_bar = q.alpha_bar.double()[times]
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return Diffusion2020((1 - alpha_bar / before).float(), alpha_bar.float()), times


@torch.no_grad()
def sample_respaced(eps_theta: NoisePredictor, n: int, steps: int, generator: torch.Generator) -> Tensor:
    """Algorithm 2 on `steps` of the T times, with the posterior's variance (eq. 7); the final points, (n, 2)."""
    short, times = every_kth(eps_theta.q, steps)
    x = torch.randn(n, 2, generator=generator)
    for i in reversed(range(steps)):
        index = torch.full((n,), i)
        mean = reverse_mean(x, index, eps_theta(x, times[index]), short)
        if i == 0:
            return mean
        variance = (1 - short.alpha_bar[i - 1]) / (1 - short.alpha_bar[i]) * short.beta[i]
        x = mean + variance.sqrt() * torch.randn(n, 2, generator=generator)
    return x
