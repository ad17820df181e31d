"""2021, the second bridge: latent diffusion is diffusion after a change of data.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752.  Their recipe in its
smallest form: points of the plane are hidden in 32 dimensions; a linear autoencoder (PCA) finds the 2 that matter; the
2020 model trains on z = scale * encode(x) by the same `ddpm_2020.train`, not one line of which knows about the latents.

`scale` is 1 / std of the training latents: the 0.18215 of Stable Diffusion, computed here instead of copied.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH = 32


@dataclass(frozen=True)
class LinearAutoencoder:
    """Project on k orthonormal directions and rescale; and back."""

    mean: Tensor  # (D,)
    frame: Tensor  # (D, k), orthonormal columns
    scale: float  # latents times this have variance 1

    def encode(self, x: Tensor) -> Tensor:
        """x (B, D) -> scaled latents (B, k)."""
        return self.scale * (x - self.mean) @ self.frame

    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents (B, k) -> (B, D)."""
        return (z / self.scale) @ self.frame.T + self.mean


def hidden_frame(generator: torch.Generator) -> Tensor:
    """Two random orthonormal directions in 32 dimensions, (32, 2)."""
    return torch.linalg.qr(torch.randn(WIDTH, 2, generator=generator)).Q


def hide(points: Tensor, frame: Tensor, generator: torch.Generator, size: float = 5.0, dust: float = 0.02) -> Tensor:
    """points (B, 2) -> (B, 32): laid out along `frame`, `size` times larger, with noise `dust` in every direction."""
    return size * points @ frame.T + dust * torch.randn(len(points), WIDTH, generator=generator)


def fit_autoencoder(x_train: Tensor, k: int = 2) -> LinearAutoencoder:
    """The k directions of largest variance of x_train (N, D), and the scale that gives their latents variance 1."""
    if x_train.ndim != 2 or not 1 <= k <= x_train.shape[1]:
        raise ValueError(f"expected x_train (N, D) and 1 <= k <= D, got {tuple(x_train.shape)} and k = {k}")
    mean = x_train.mean(dim=0)
    _, spread, directions = torch.linalg.svd(x_train - mean, full_matrices=False)
    variance = spread[:k].square().sum().item() / (k * len(x_train))
    return LinearAutoencoder(mean, directions[:k].T, 1 / math.sqrt(variance))
