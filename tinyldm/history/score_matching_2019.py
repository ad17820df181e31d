"""2019: noise conditional score networks (NCSN, also SMLD).  Learn the slope of log p, then walk uphill with noise.

Song & Ermon: Generative Modeling by Estimating Gradients of the Data Distribution, NeurIPS 2019,
arXiv 1907.05600.  Equation and algorithm numbers are that paper's; eq. 2 is Vincent's, Neural Computation 2011.

    Langevin   x_t = x_{t-1} + (step / 2) grad log p(x_{t-1}) + sqrt(step) z                 eq. 4
    objective  l(theta; sigma) = 1/2 E || s_theta(x~, sigma) + (x~ - x) / sigma^2 ||^2       eq. 5
               L(theta) = 1/L sum_i lambda(sigma_i) l(theta; sigma_i), lambda = sigma^2      eq. 6
    sampling   Langevin at each noise level, from the largest to the smallest                Algorithm 1

No Markov chain of data is inverted and no likelihood is bounded here.  Why noise levels at all?  Plain Langevin
dynamics needs the score where there are no data (section 3.2.1) and, even with the exact score, cannot find
the weights of two separated modes in reasonable time (section 3.2.2): `langevin` below shows that failure,
`annealed_langevin` the remedy.

One detail is more recent: the network's output is divided by sigma (Song & Ermon 2020, arXiv 2006.09011), which
makes eq. 6 with lambda = sigma^2 the same loss at each level and lets one small MLP serve all of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tinyldm.history.network import STANDARD, Budget, NoiseMLP, Progress, checked_points, minibatch, minimise

Score = Callable[[Tensor, float], Tensor]  # (points (B, 2), sigma) -> grad log p_sigma (B, 2)


def geometric_levels(sigma_1: float = 3.0, sigma_L: float = 0.03, L: int = 10) -> Tensor:
    """sigma_1 > ... > sigma_L with a constant ratio, (L,) float32."""
    if not sigma_1 > sigma_L > 0 or L < 2:
        raise ValueError(f"expected sigma_1 > sigma_L > 0 and L >= 2, got {sigma_1}, {sigma_L}, {L}")
    return torch.logspace(0, 1, L, base=sigma_L / sigma_1, dtype=torch.float64).mul(sigma_1).float()


class ScoreNetwork(nn.Module):
    """s_theta(x, sigma), the learnt gradient of the log-density of the data with noise sigma."""

    def __init__(self, sigmas: Tensor, generator: torch.Generator):
        super().__init__()
        self.sigmas = sigmas
        self.net = NoiseMLP(2, 2, generator)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, 2), sigma (B,) -> score (B, 2)."""
        largest, smallest = self.sigmas[0], self.sigmas[-1]
        clock = (sigma / smallest).log() / (largest / smallest).log()  # 0 ... 1, even in log sigma
        size = (1 + sigma**2).sqrt()[:, None]  # spread of noised data of variance 1
        return self.net(x / size, clock) / sigma[:, None]

    def at(self, x: Tensor, sigma: float) -> Tensor:
        """The score of all points x (B, 2) at one level; has the signature `Score` that the samplers take."""
        return self(x, torch.full((len(x),), sigma))


def denoising_score_matching(s: ScoreNetwork, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """lambda(sigma) l(theta; sigma), eq. 5 times eq. 6's weight: x (B, 2), sigma (B,) -> (B,).

    The score of q(x~ | x) points from the noisy point back to its own clean one; its average over all
    clean points that could have become x~ is the score of the noised data (Vincent 2011).
    """
    x_noisy = x + sigma[:, None] * torch.randn(x.shape, generator=generator)
    target = -(x_noisy - x) / sigma[:, None] ** 2
    return 0.5 * sigma**2 * (s(x_noisy, sigma) - target).square().sum(dim=1)


def train(
    x_train: Tensor, sigmas: Tensor, generator: torch.Generator, budget: Budget = STANDARD, progress: Progress = iter
) -> ScoreNetwork:
    """Minimise eq. 6: each point of a batch gets one of the L levels at random."""
    x_train = checked_points(x_train, 2)
    s = ScoreNetwork(sigmas, generator)

    def loss() -> Tensor:
        x = minibatch(x_train, budget.batch, generator)
        sigma = sigmas[torch.randint(len(sigmas), (budget.batch,), generator=generator)]
        return denoising_score_matching(s, x, sigma, generator).mean()

    minimise(loss, s, budget, progress)
    return s


@torch.no_grad()
def langevin(
    score: Callable[[Tensor], Tensor], x: Tensor, step: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Eq. 4, `steps` times from the starting points x (B, 2); returns all positions, (steps+1, B, 2)."""
    path = [x]
    for _ in range(steps):
        z = torch.randn(x.shape, generator=generator)
        path.append(path[-1] + step / 2 * score(path[-1]) + step**0.5 * z)
    return torch.stack(path)


@torch.no_grad()
def annealed_langevin(
    score: Score, x: Tensor, sigmas: Tensor, epsilon: float, T: int, generator: torch.Generator
) -> Tensor:
    """Algorithm 1 from the starting points x (B, 2); returns the points after each level, (L+1, B, 2).

    epsilon is the last level's step; L * T network calls.
    """
    path = [x]
    for sigma in sigmas.tolist():  # 2: for i <- 1 to L
        alpha = epsilon * sigma**2 / sigmas[-1].item() ** 2  # 3: step size of this level
        for _ in range(T):  # 4: for t <- 1 to T
            z = torch.randn(x.shape, generator=generator)  # 5: z ~ N(0, I)
            x = x + alpha / 2 * score(x, sigma) + alpha**0.5 * z  # 6
        path.append(x)  # 8: start the next level here
    return torch.stack(path)


def sample(s: ScoreNetwork, n: int, generator: torch.Generator, T: int = 20, relative_step: float = 0.2) -> Tensor:
    """Algorithm 1 from noise of the largest level, (L+1, n, 2).

    relative_step = epsilon / sigma_L^2, the share of a level's variance that one step adds; the paper's
    experiments use 2e-5 / 0.01^2 = 0.2 with T = 100.
    """
    start = s.sigmas[0] * torch.randn(n, 2, generator=generator)
    return annealed_langevin(s.at, start, s.sigmas, relative_step * s.sigmas[-1].item() ** 2, T, generator)
