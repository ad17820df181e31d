"""2015, second half: diffusion is not only for Gaussians.  Binary sequences and the binomial kernel.

Sohl-Dickstein et al. 2015 (arXiv 1503.03585), section 3.1 and Table App.1: sequences of 20 bits with a 1 in every fifth
place and 0 elsewhere.  Only the phase is random, so there are five sequences and the entropy is log2(5) = 2.32 bits.

    forward   q(x^t | x^{t-1}) = Bernoulli( x^{t-1} (1 - beta_t) + beta_t / 2 )     a fair coin replaces the bit
    schedule  beta_t = 1 / (T - t + 1)                                              after T steps: 20 fair coins
    reverse   p(x^{t-1} | x^t) = Bernoulli( f_b(x^t, t) ), one probability per bit
    bound     eq. 14, as for Gaussians: nothing in it says that x is continuous

An early step changes a bit with a probability of about 1/(2T), so a reverse kernel is best described by the log-odds
that *this step flipped this bit*.  Evidence from past and future adds up in log-odds, and small probabilities keep
their precision.

With five sequences the best reverse kernel that treats bits independently is a closed form, `exact_kernel`; the network
is compared with it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyldm.history.network import STANDARD, Budget, NoiseMLP, Progress, checked_points, minibatch, minimise

LENGTH, PERIOD = 20, 5
ENTROPY_BITS = math.log2(PERIOD)

FlipKernel = Callable[[Tensor, Tensor], Tensor]  # (x_t (B, 20), t (B,)) -> log-odds of a flip (B, 20)


def all_heartbeats() -> Tensor:
    """The five sequences, (5, 20) float32 of 0 and 1."""
    place = torch.arange(LENGTH)
    return torch.stack([(place % PERIOD == phase).float() for phase in range(PERIOD)])


def heartbeats(n: int, generator: torch.Generator) -> Tensor:
    """n sequences with random phases, (n, 20)."""
    return all_heartbeats()[torch.randint(PERIOD, (n,), generator=generator)]


@dataclass(frozen=True)
class BinomialDiffusion:
    """beta_t = 1/(T - t + 1), so the share of bits not yet replaced falls on a straight line: keep_t = 1 - t/T."""

    T: int = 2000

    def beta(self, t: Tensor) -> Tensor:
        """t (B,) in 0 ... T-1 (the paper's t+1) -> (B, 1)."""
        return (1 / (self.T - t).double()).float()[:, None]

    def keep(self, t: Tensor) -> Tensor:
        """Share of bits that no coin has replaced after step t, (B, 1); keep(-1) is 1."""
        return (1 - (t + 1).double() / self.T).float()[:, None]


def diffuse(x0: Tensor, t: Tensor, q: BinomialDiffusion, generator: torch.Generator) -> Tensor:
    """x^t from x^0 (B, 20) in one jump: keep each bit with probability keep_t, else toss a coin."""
    kept = torch.rand(x0.shape, generator=generator) < q.keep(t)
    coin = torch.randint(2, x0.shape, generator=generator).float()
    return torch.where(kept, x0, coin)


def stay_log_odds(t: Tensor, q: BinomialDiffusion) -> Tensor:
    """log q(x^t = x^{t-1}) / q(x^t != x^{t-1}) of one forward step, (B, 1), at least 0."""
    beta = q.beta(t)
    return torch.log((2 - beta) / beta)


def past_log_odds(t: Tensor, q: BinomialDiffusion) -> Tensor:
    """log q(x^{t-1} = x^0 | x^0) / q(x^{t-1} != x^0 | x^0), (B, 1): how much x^0 still says before step t."""
    keep = q.keep(t - 1)
    return torch.log((1 + keep) / (1 - keep))


def posterior_flip_log_odds(x0: Tensor, x_t: Tensor, t: Tensor, q: BinomialDiffusion) -> Tensor:
    """Log-odds under q(x^{t-1} | x^t, x^0) that step t flipped the bit, (B, 20); t in 1 ... T-1.

    Evidence from the future (a flip is rare) plus evidence from the past (x^0 is evidence for or against x^t).
    """
    return -stay_log_odds(t, q) - (2 * x_t - 1) * past_log_odds(t, q) * (2 * x0 - 1)


def bernoulli_kl(log_odds_q: Tensor, log_odds_p: Tensor) -> Tensor:
    """KL between Bernoulli variables given by log-odds, in nats, elementwise; exact where both are rare events."""
    softplus = nn.functional.softplus
    return torch.sigmoid(log_odds_q) * (log_odds_q - log_odds_p) - softplus(log_odds_q) + softplus(log_odds_p)


class LearntKernel(nn.Module):
    """f_b as a perturbation of the forward step: the posterior with the network's vote in x^0's place.

    A vote of 0 gives the forward kernel, the true bit (+1 or -1) the exact posterior.
    """

    def __init__(self, q: BinomialDiffusion, generator: torch.Generator):
        super().__init__()
        self.q = q
        self.net = NoiseMLP(LENGTH, LENGTH, generator)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t (B, 20) of 0 and 1, t (B,) -> (B, 20)."""
        vote = self.net(2 * x_t - 1, t / self.q.T)  # (B, 20), about 2 x^0 - 1
        return -stay_log_odds(t, self.q) - (2 * x_t - 1) * past_log_odds(t, self.q) * vote


def exact_kernel(q: BinomialDiffusion) -> FlipKernel:
    """The best factorised reverse kernel: average the posterior over the five sequences that x^0 may have been."""
    sequences = all_heartbeats()  # (5, 20)

    def kernel(x_t: Tensor, t: Tensor) -> Tensor:
        keep = q.keep(t)[:, None]  # (B, 1, 1)
        agrees = x_t[:, None] == sequences  # (B, 5, 20)
        belief = torch.where(agrees, (1 + keep) / 2, (1 - keep) / 2).log().sum(dim=2).softmax(dim=1)
        each = torch.stack([posterior_flip_log_odds(x0, x_t, t, q) for x0 in sequences], dim=1)
        flip = (belief[:, :, None] * torch.sigmoid(each)).sum(dim=1)  # (B, 20)
        return torch.logit(flip)

    return kernel


def step_kl(kernel: FlipKernel, x0: Tensor, t: Tensor, q: BinomialDiffusion, generator: torch.Generator) -> Tensor:
    """One sample of the KL inside eq. 14, in nats, summed over the 20 bits, (B,)."""
    x_t = diffuse(x0, t, q, generator)
    return bernoulli_kl(posterior_flip_log_odds(x0, x_t, t, q), kernel(x_t, t)).sum(dim=1)


def entropy_terms(q: BinomialDiffusion) -> float:
    """H_q(X^T|X^0) - H_q(X^1|X^0) - H_p(X^T) in nats; the first and the last are 20 fair coins and cancel."""
    flip = 1 / (2 * q.T)  # beta_1 / 2
    return LENGTH * (flip * math.log(flip) + (1 - flip) * math.log(1 - flip))


@torch.no_grad()
def bits(kernel: FlipKernel, q: BinomialDiffusion, generator: torch.Generator, draws: int = 40) -> float:
    """-K in bits per sequence, averaged over the five sequences and `draws` noise samples at every step."""
    x0 = all_heartbeats().repeat(draws, 1)
    steps = range(1, q.T)
    total = sum(step_kl(kernel, x0, torch.full((len(x0),), t), q, generator).mean().item() for t in steps)
    return (total - entropy_terms(q)) / math.log(2)


def train(
    x_train: Tensor,
    q: BinomialDiffusion,
    generator: torch.Generator,
    budget: Budget = STANDARD,
    progress: Progress = iter,
) -> LearntKernel:
    """Maximise eq. 14 on sequences x_train (N, 20), one random step per sequence."""
    x_train = checked_points(x_train, LENGTH)
    kernel = LearntKernel(q, generator)

    def minus_bound() -> Tensor:
        x0 = minibatch(x_train, budget.batch, generator)
        t = torch.randint(1, q.T, (budget.batch,), generator=generator)
        return (q.T - 1) * step_kl(kernel, x0, t, q, generator).mean()

    minimise(minus_bound, kernel, budget, progress)
    return kernel


@torch.no_grad()
def sample(kernel: FlipKernel, n: int, q: BinomialDiffusion, generator: torch.Generator) -> Tensor:
    """The reverse trajectory from 20 fair coins to a heartbeat, (T+1, n, 20)."""
    path = [torch.randint(2, (n, LENGTH), generator=generator).float()]
    for t in reversed(range(1, q.T)):
        flip = torch.sigmoid(kernel(path[-1], torch.full((n,), t)))
        flipped = torch.rand(n, LENGTH, generator=generator) < flip
        path.append(torch.where(flipped, 1 - path[-1], path[-1]))
    last = torch.rand(n, LENGTH, generator=generator) < 1 / (2 * q.T)  # the unlearnt step to x^0
    path.append(torch.where(last, 1 - path[-1], path[-1]))
    return torch.stack(path)


def share_of_heartbeats(x: Tensor) -> float:
    """The share of sequences (n, 20) that are one of the five."""
    return (x[:, None] == all_heartbeats()).all(dim=2).any(dim=1).float().mean().item()
