"""Four 2-D data sets whose density, score and entropy are known, at every noise level.

Each paper of this folder is run on the same four shapes: a Swiss roll, two moons, a ring of Gaussians and
a checkerboard.  All are rescaled to mean 0 and E||x||^2 = 2 (variance 1 per coordinate, on average), so that
"noise of size 1" means the same on all of them and the bound of 2015 needs no correction terms.

The trick that makes them useful as ground truth: noising a mixture of Gaussians gives a mixture of
Gaussians.  If x_0 ~ sum_k w_k N(m_k, s^2 I) and x = signal * x_0 + noise * eps, then

    p(x) = sum_k w_k N(x; signal * m_k, (signal^2 s^2 + noise^2) I)

so p and its score, grad log p, are closed forms for DDPM's (signal, noise) = (sqrt(alpha_bar),
sqrt(1 - alpha_bar)) and for NCSN's (1, sigma) alike.  The Swiss roll and the moons are such mixtures too:
their centres are strung along a curve at a spacing of about one standard deviation, where the ripple of the
sum is about 2 exp(-2 pi^2) = 5e-9 of its height: negligible.  The checkerboard is a mixture of uniform
squares, and a noised square is a product of two differences of normal distribution functions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ENTROPY_CELLS = 480  # cells per side of the grid on which the entropy is integrated
ENTROPY_HALF_WIDTH = 3 * math.sqrt(3)  # no data set has mass beyond it, and the checkerboard's edges fall between cells


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k w_k N(m_k, s^2 I) in the plane, and the same seen through signal and noise."""

    name: str
    means: Tensor  # (K, 2)
    std: float  # s, shared by all K components
    weights: Tensor  # (K,), sums to 1

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, (n, 2) float32."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.means[k] + self.std * torch.randn(n, 2, generator=generator)

    def _log_components(self, x: Tensor, signal: float, noise: float) -> tuple[Tensor, float]:
        """log(w_k N(x; signal m_k, var I)), (B, K), and var = signal^2 s^2 + noise^2."""
        var = (signal * self.std) ** 2 + noise**2
        squared = torch.cdist(x, signal * self.means.to(x), compute_mode="donot_use_mm_for_euclid_dist") ** 2
        return self.weights.to(x).log() - squared / (2 * var) - math.log(2 * math.pi * var), var

    def log_density(self, x: Tensor, signal: float = 1.0, noise: float = 0.0) -> Tensor:
        """log p of signal * x_0 + noise * eps at x (B, 2), in nats, (B,)."""
        return self._log_components(x, signal, noise)[0].logsumexp(dim=1)

    def score(self, x: Tensor, signal: float = 1.0, noise: float = 0.0) -> Tensor:
        """grad_x log p at x (B, 2): the pull towards each centre, weighted by its responsibility, (B, 2)."""
        log_components, var = self._log_components(x, signal, noise)
        responsibility = log_components.softmax(dim=1)  # (B, K)
        return (responsibility @ (signal * self.means.to(x)) - x) / var


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the 8 dark squares of a 4 x 4 board over [-h, h]^2; h = sqrt(3) gives variance 1."""

    name: str = "checkerboard"
    half_width: float = math.sqrt(3)

    def corners(self) -> Tensor:
        """Lower-left corners of the dark squares, (8, 2) float64."""
        side = self.half_width / 2
        cells = [(i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0]
        return torch.tensor(cells, dtype=torch.float64) * side - self.half_width

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, (n, 2) float32."""
        square = torch.randint(8, (n,), generator=generator)
        return self.corners().float()[square] + self.half_width / 2 * torch.rand(n, 2, generator=generator)

    def _log_components(self, x: Tensor, signal: float, noise: float) -> tuple[Tensor, Tensor]:
        """log of each noised square's density over 8, (B, 8), and its slope, d log / d x, (B, 8, 2).

        Along one axis a noised square is (Phi(high) - Phi(low)) / side, Phi the normal distribution function.  In the
        upper tail both are almost 1, so we mirror it to the lower tail first, where differences keep their digits.
        """
        side = signal * self.half_width / 2
        low = (signal * self.corners() - x.double()[:, None]) / noise  # (B, 8, 2)
        mirrored = (low > 0).double() * 2 - 1  # +1 where the square lies above x
        near, far = -mirrored * low, -mirrored * low - mirrored * side / noise
        high, low = torch.maximum(near, far), torch.minimum(near, far)
        log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
        log_mass = log_high + torch.log1p(-torch.exp(log_low - log_high))
        slope = torch.exp(log_normal_pdf(low) - log_mass) - torch.exp(log_normal_pdf(high) - log_mass)
        return (log_mass - math.log(side)).sum(dim=2) - math.log(8), -mirrored * slope / noise

    def log_density(self, x: Tensor, signal: float = 1.0, noise: float = 0.0) -> Tensor:
        """log p of signal * x_0 + noise * eps at x (B, 2), in nats, (B,); -inf off the board at noise 0."""
        if noise == 0:
            offset = x.double()[:, None] - signal * self.corners()
            inside = ((offset >= 0) & (offset < signal * self.half_width / 2)).all(dim=2).any(dim=1)
            return inside.log().to(x) - math.log(2 * (signal * self.half_width) ** 2)
        return self._log_components(x, signal, noise)[0].logsumexp(dim=1).to(x)

    def score(self, x: Tensor, signal: float = 1.0, noise: float = 0.0) -> Tensor:
        """grad_x log p at x (B, 2), (B, 2); needs noise > 0, because a step function has no gradient."""
        if noise <= 0:
            raise ValueError(f"the checkerboard's score needs noise > 0, got {noise}; add a little noise")
        log_components, slopes = self._log_components(x, signal, noise)
        responsibility = log_components.softmax(dim=1)  # (B, 8)
        return (responsibility[:, :, None] * slopes).sum(dim=1).to(x)


DataSet = GaussianMixture | Checkerboard


def log_normal_pdf(u: Tensor) -> Tensor:
    """The logarithm of the standard normal density at u, elementwise."""
    return -0.5 * u**2 - 0.5 * math.log(2 * math.pi)


def mixture_of_unit_size(name: str, means: Tensor, std: float, weights: Tensor) -> GaussianMixture:
    """The mixture moved to mean 0 and scaled to E||x||^2 = 2, exactly (both moments are closed forms)."""
    weights = weights / weights.sum()
    centred = means - weights @ means
    scale = math.sqrt(2 / (weights @ centred.square().sum(dim=1) + 2 * std**2).item())
    return GaussianMixture(name, (scale * centred).float(), scale * std, weights.float())


def swiss_roll() -> GaussianMixture:
    """A spiral of 1.5 turns with Gaussian width: scikit-learn's make_swiss_roll seen from above."""
    angle = math.pi * torch.linspace(1.5, 4.5, 400, dtype=torch.float64)
    curve = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1)
    return mixture_of_unit_size("swiss roll", curve, 0.4, torch.ones(400, dtype=torch.float64))


def two_moons() -> GaussianMixture:
    """Two interlocking half circles with Gaussian width (the curve of scikit-learn's make_moons)."""
    angle = torch.linspace(0, math.pi, 150, dtype=torch.float64)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    return mixture_of_unit_size("two moons", torch.cat([upper, lower]), 0.06, torch.ones(300, dtype=torch.float64))


def ring_of_gaussians() -> GaussianMixture:
    """Eight Gaussians on a circle; every second one has three times its neighbours' weight."""
    angle = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64).repeat(4)
    return mixture_of_unit_size("ring of Gaussians", circle, 0.08, weights)


def checkerboard() -> Checkerboard:
    """A 4 x 4 checkerboard; its entropy is log2(6) bits exactly."""
    return Checkerboard()


def two_distant_modes() -> GaussianMixture:
    """0.2 N((-5,-5), I) + 0.8 N((5,5), I): the mixture of Song & Ermon 2019, section 3.2 (not rescaled)."""
    return GaussianMixture("two distant modes", torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), 1.0, torch.tensor([0.2, 0.8]))


def four_sets() -> tuple[DataSet, ...]:
    """The four data sets of the comparison, in the order of the report."""
    return swiss_roll(), two_moons(), ring_of_gaussians(), checkerboard()


def entropy_bits(data: DataSet) -> float:
    """H = -integral p log2 p in bits, by the midpoint rule on ENTROPY_CELLS^2 cells.

    It can be negative: a density may exceed 1.  The best possible negative log-likelihood of any model,
    in bits per point, is this number; the distance above it is the model's Kullback-Leibler divergence.
    """
    width = 2 * ENTROPY_HALF_WIDTH / ENTROPY_CELLS
    middle = (torch.arange(ENTROPY_CELLS, dtype=torch.float64) + 0.5) * width - ENTROPY_HALF_WIDTH
    total = 0.0
    for rows in middle.split(40):  # in strips, to stay small in memory
        log_p = data.log_density(torch.cartesian_prod(rows, middle))
        total -= torch.special.xlogy(log_p.exp(), log_p.exp()).sum().item() * width**2
    return total / math.log(2)
