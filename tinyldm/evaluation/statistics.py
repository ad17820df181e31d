"""Statistics of an evaluation: shares with their uncertainty, distances between sets of images, memorisation.

The judge (`judge.py`) reads images; here its verdicts become numbers that can be compared.
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Share:
    """A share, counted, and the 95 % interval of the true share."""

    right: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.right / self.of

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%} of {self.of})"


def share(right: int, of: int, z: float = 1.959963984540054) -> Share:
    """The share `right` / `of` with its Wilson score interval (Wilson 1927, JASA 22, p. 209).

        (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Unlike p ± z √(p(1-p)/n) it stays within [0, 1] and has a width at 0 and 100 %, too. z = 1.96: 95 %.
    Raises ValueError unless 0 ≤ right ≤ of and of ≥ 1.
    """
    if not 0 <= right <= of or of < 1:
        raise ValueError(f"a share needs 0 ≤ right ≤ of and of ≥ 1, got right = {right} and of = {of}")
    p = right / of
    scale = 1 + z * z / of
    middle = (p + z * z / (2 * of)) / scale
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / scale
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Share(right, of, 0.0 if right == 0 else low, 1.0 if right == of else high)


def shares(verdicts: list[dict[str, bool]]) -> dict[str, Share]:
    """For each attribute, the share of right ones among the verdicts that judge it."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict)
    judged = {name: [verdict[name] for verdict in verdicts if name in verdict] for name in names}
    return {name: share(sum(rights), len(rights)) for name, rights in judged.items()}


def frechet_distance(features: torch.Tensor, others: torch.Tensor) -> float:
    """The Fréchet distance between two sets of features (N, D) and (M, D), each modelled as a Gaussian.

        d² = |μ₁ - μ₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½)            (Heusel et al. 2017, equation 6)

    Papers call this d², in the features of an Inception network, "FID". The trace of the root is the sum of the
    roots of the eigenvalues of C₁^½ C₂ C₁^½, which is symmetric, so no complex numbers arise.
    In float64, as the result is a small difference of large traces.
    """
    for name, given in (("features", features), ("others", others)):
        if given.ndim != 2 or len(given) < 2:
            raise ValueError(f"{name} must be (N, D) with N ≥ 2, got {tuple(given.shape)}")
    if features.shape[1] != others.shape[1]:
        raise ValueError(f"both sets need the same width, got {features.shape[1]} and {others.shape[1]}")
    a, b = features.double().cpu(), others.double().cpu()
    cov_a, cov_b = torch.atleast_2d(torch.cov(a.T)), torch.atleast_2d(torch.cov(b.T))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    trace_of_root = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * trace_of_root
    return max(0.0, distance.item())


def psnr(image: torch.Tensor, other: torch.Tensor, peak: float = 1.0) -> torch.Tensor:
    """Peak signal to noise ratio of each pair of images (B, C, H, W), in decibels: (B,); infinite if equal.

    `peak` is the range of the values: 1 for images in [0, 1], 2 for [-1, 1].
    """
    if image.shape != other.shape:
        raise ValueError(f"images need the same shape, got {tuple(image.shape)} and {tuple(other.shape)}")
    error = (image.double() - other.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(peak**2 / error)


def nearest(images: torch.Tensor, among: torch.Tensor, chunk: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest of the images `among` (N, C, H, W) to each of `images` (B, C, H, W), any dtype.

    Returns the root mean square difference per value (B,) float32, in the unit of the images, and the
    index (B,) int64. `among` is compared in chunks, so it may be large, and uint8.
    """
    if images.shape[1:] != among.shape[1:] or len(among) == 0:
        raise ValueError(f"cannot compare images {tuple(images.shape)} with {tuple(among.shape)}")
    flat = images.flatten(1).float()
    best = torch.full((len(flat),), torch.inf)
    index = torch.zeros(len(flat), dtype=torch.int64)
    for first in range(0, len(among), chunk):
        distance, place = torch.cdist(flat, among[first : first + chunk].flatten(1).float()).min(1)
        closer = distance < best
        best, index = torch.where(closer, distance, best), torch.where(closer, place + first, index)
    # cdist multiplies matrices, which rounds: a copy would be a little way off. So the distance is taken once more.
    return (flat - among[index].flatten(1).float()).square().mean(1).sqrt(), index


def memorised(samples: torch.Tensor, training: torch.Tensor, fresh: torch.Tensor) -> Share:
    """The share of samples that are copies: nearer to a training image than 99 % of fresh real images are.

    A model that only repeats its training set gets near 100 %; one that does not, about 1 %, as fresh images do.
    All are images (N, C, H, W) of one range; `fresh` were made like the training set but are not in it.
    """
    return copies(nearest(samples, training)[0], nearest(fresh, training)[0])


def copies(distance: torch.Tensor, usual: torch.Tensor) -> Share:
    """As `memorised`, from the distances to the nearest training image: of samples (N,), of fresh images (M,)."""
    return share(int((distance < torch.quantile(usual, 0.01)).sum()), len(distance))
