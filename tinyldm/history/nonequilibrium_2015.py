"""2015: diffusion probabilistic models.  Destroy structure slowly, learn to reverse it.

Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli: Deep Unsupervised Learning using Nonequilibrium
Thermodynamics, ICML 2015, arXiv 1503.03585.  Equation numbers are that paper's.

    forward   q(x^t | x^{t-1}) = N(sqrt(1 - beta_t) x^{t-1}, beta_t I)                       eq. 2, Table App.1
    reverse   p(x^{t-1} | x^t) = N(f_mu(x^t, t), f_Sigma(x^t, t))                            eq. 5, Table App.1
    bound     K = - sum_{t=2}^T E KL( q(x^{t-1}|x^t,x^0) || p(x^{t-1}|x^t) )
                  + H_q(X^T|X^0) - H_q(X^1|X^0) - H_p(X^T)   <=   E log p(x^0)               eq. 13, 14

What this paper has that 2020 drops: the reverse *variance* is learnt too, and the loss is the bound itself,
so the model states how many bits it needs per point.  -K cannot fall below the entropy of the data.

The last reverse step is not learnt: p(x^0 | x^1) is q(x^1 | x^0) pi(x^0) / pi(x^1), the forward kernel read
backwards (the paper's appendix, "edge effects"), which is why the sum starts at t = 2 and beta_1 is the
finest detail that the model can show.  The entropies in K are exact because data.py scales E||x||^2 to 2.

Indices: Python's t = 0 ... T-1 stands for the paper's t+1.
Two choices that the paper leaves open follow its released code: beta_t destroys a constant share of the *original*
variance at each step, and (mu, Sigma) are perturbations of the forward kernel.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyldm.history.network import STANDARD, Budget, NoiseMLP, Progress, checked_points, minibatch, minimise

NATS_PER_BIT = math.log(2)


@dataclass(frozen=True)
class Diffusion2015:
    """The forward trajectory: one number per step."""

    beta: Tensor  # (T,) float32 in (0, 1)
    alpha_bar: Tensor  # (T,) product of 1 - beta: the share of the original variance that is left

    @property
    def T(self) -> int:
        return len(self.beta)


def constant_share_schedule(T: int = 40, beta_1: float = 1e-3) -> Diffusion2015:
    """beta_t = 1/T, 1/(T-1), ..., about 1/2: each step removes about 1/T of the original variance.

    T (>= 2) steps; beta_1 in (0, 1) replaces the first, the smallest noise that the model will ever remove.
    """
    if T < 2 or not 0 < beta_1 < 1:
        raise ValueError(f"expected T >= 2 and 0 < beta_1 < 1, got T = {T} and beta_1 = {beta_1}")
    beta = 1 / torch.linspace(T, 2, T, dtype=torch.float64)
    beta[0] = beta_1
    return Diffusion2015(beta.float(), (1 - beta).cumprod(0).float())


def forward_posterior(x0: Tensor, x_t: Tensor, t: Tensor, q: Diffusion2015) -> tuple[Tensor, Tensor]:
    """q(x^{t-1} | x^t, x^0), the target of every reverse step (Table App.1, "forward posterior").

    Two Gaussians describe x^{t-1}: N(sqrt(abar_{t-1}) x^0, 1 - abar_{t-1}) from the past and
    N(x^t / sqrt(1 - beta_t), beta_t / (1 - beta_t)) from the future.  Their product has the precision-weighted mean.
    x0, x_t (B, 2); t (B,) in 1 ... T-1.  Returns mean (B, 2) and variance (B, 1).
    """
    beta, before = q.beta[t][:, None], q.alpha_bar[t - 1][:, None]  # (B, 1)
    from_past, from_future = 1 / (1 - before), (1 - beta) / beta  # precisions
    variance = 1 / (from_past + from_future)
    mean = variance * (from_past * before.sqrt() * x0 + from_future * x_t / (1 - beta).sqrt())
    return mean, variance


class ReverseKernel(nn.Module):
    """p(x^{t-1} | x^t): mean and variance, each a learnt perturbation of the forward kernel's."""

    def __init__(self, q: Diffusion2015, generator: torch.Generator):
        super().__init__()
        self.q = q
        self.net = NoiseMLP(2, 4, generator)

    def forward(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t (B, 2), t (B,) int -> mean f_mu (B, 2), variance f_Sigma (B, 2) in (0, 1), one per coordinate."""
        beta = self.q.beta[t][:, None]
        shift, log_odds = self.net(x_t, t / self.q.T).chunk(2, dim=1)  # (B, 4) -> 2 x (B, 2)
        mean = (1 - beta).sqrt() * x_t + beta.sqrt() * shift
        return mean, torch.sigmoid(torch.logit(beta) + log_odds)  # at log_odds = 0: beta


def gaussian_kl(mean_q: Tensor, var_q: Tensor, mean_p: Tensor, var_p: Tensor) -> Tensor:
    """KL(N(mean_q, var_q) || N(mean_p, var_p)) of diagonal Gaussians in nats, summed over coordinates, (B,)."""
    kl = 0.5 * (var_p.log() - var_q.log() + (var_q + (mean_q - mean_p) ** 2) / var_p - 1)
    return kl.sum(dim=1)


def diffuse(x0: Tensor, t: Tensor, q: Diffusion2015, generator: torch.Generator) -> Tensor:
    """x^t straight from x^0 (B, 2): the composition of t Gaussian kernels is one Gaussian kernel."""
    share = q.alpha_bar[t][:, None]
    return share.sqrt() * x0 + (1 - share).sqrt() * torch.randn(x0.shape, generator=generator)


def step_kl(kernel: ReverseKernel, x0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    """One sample of the KL inside eq. 14 at steps t (B,) in 1 ... T-1, in nats, (B,)."""
    x_t = diffuse(x0, t, kernel.q, generator)
    return gaussian_kl(*forward_posterior(x0, x_t, t, kernel.q), *kernel(x_t, t))


def entropy_terms(q: Diffusion2015, dimensions: int = 2) -> float:
    """H_q(X^T|X^0) - H_q(X^1|X^0) - H_p(X^T) of eq. 14, in nats: three entropies of isotropic Gaussians."""
    last, first, prior = (
        0.5 * dimensions * math.log(2 * math.pi * math.e * variance)
        for variance in (1 - q.alpha_bar[-1].item(), q.beta[0].item(), 1.0)
    )
    return last - first - prior


@torch.no_grad()
def bits(kernel: ReverseKernel, x0: Tensor, generator: torch.Generator) -> Tensor:
    """-K in bits for each point of x0 (N, 2), (N,): the KL of every step, each at one noise sample.

    The mean over fresh data is an upper bound of the cross-entropy, which is above the data's entropy.
    """
    total = torch.full((len(x0),), -entropy_terms(kernel.q))
    for t in range(1, kernel.q.T):
        total += step_kl(kernel, x0, torch.full((len(x0),), t), generator)
    return total / NATS_PER_BIT


def train(
    x_train: Tensor, q: Diffusion2015, generator: torch.Generator, budget: Budget = STANDARD, progress: Progress = iter
) -> ReverseKernel:
    """Maximise K by stochastic gradients: one random step t per point, (T - 1) x its KL estimates the sum."""
    x_train = checked_points(x_train, 2)
    kernel = ReverseKernel(q, generator)

    def minus_bound() -> Tensor:
        x0 = minibatch(x_train, budget.batch, generator)
        t = torch.randint(1, q.T, (budget.batch,), generator=generator)
        return (q.T - 1) * step_kl(kernel, x0, t, generator).mean() - entropy_terms(q)

    minimise(minus_bound, kernel, budget, progress)
    return kernel


@torch.no_grad()
def sample(kernel: ReverseKernel, n: int, generator: torch.Generator) -> Tensor:
    """The whole reverse trajectory, (T+1, n, 2): from x^T ~ pi = N(0, I) (eq. 4) to x^0, in T - 1 network calls."""
    q = kernel.q
    path = [torch.randn(n, 2, generator=generator)]  # eq. 4
    for t in reversed(range(1, q.T)):
        mean, variance = kernel(path[-1], torch.full((n,), t))  # eq. 5
        path.append(mean + variance.sqrt() * torch.randn(n, 2, generator=generator))
    last = (1 - q.beta[0]).sqrt() * path[-1]  # the unlearnt step to x^0
    path.append(last + q.beta[0].sqrt() * torch.randn(n, 2, generator=generator))
    return torch.stack(path)
