"""The network and the training budget that all three papers share.

What differs between 2015, 2019 and 2020 should be the idea, not the capacity: every method trains this
one small network with this one loop, for the same number of steps with the same batch size.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Progress = Callable[[range], Iterable[int]]  # tqdm, or iter for silence


@dataclass(frozen=True)
class Budget:
    """What one training run may spend; the defaults take about 10 s on one core of a laptop."""

    steps: int = 4000
    batch: int = 256
    lr: float = 2e-3  # falls to 0 along a half cosine

    def __post_init__(self):
        if self.steps < 1 or self.batch < 1 or not self.lr > 0:
            raise ValueError(
                f"a budget of {self.steps} steps, batch {self.batch}, lr {self.lr:g}; expected at least "
                "1 step, 1 point and a learning rate above 0"
            )


STANDARD = Budget()


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's default initialisation, drawn from `generator`, not the global stream."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    bound = 1 / math.sqrt(n_in)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def clock_features(u: Tensor, n: int) -> Tensor:
    """u (B,) in [0, 1] -> (B, 2n): sines and cosines of n frequencies, pi/2 * (1 ... 2^(n-1))."""
    angle = u[:, None] * (math.pi / 2) * 2.0 ** torch.arange(n)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class NoiseMLP(nn.Module):
    """(point, noise level) -> vector: residual layers, the noise level added before each nonlinearity.

    A miniature of the U-Net's job: the same weights serve every noise level because each layer is told
    which one it is looking at.
    """

    def __init__(self, n_in: int, n_out: int, generator: torch.Generator, width: int = 96, depth: int = 3):
        super().__init__()
        self.n_in = n_in
        self.into = linear(n_in, width, generator)
        self.clock = linear(2 * 6, width, generator)
        self.layers = nn.ModuleList(linear(width, width, generator) for _ in range(depth))
        self.out = linear(width, n_out, generator)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """x (B, n_in), clock u (B,) in [0, 1] -> (B, n_out)."""
        if x.ndim != 2 or x.shape[1] != self.n_in or u.shape != x.shape[:1]:
            raise ValueError(
                f"expected x (B, {self.n_in}) and u (B,), got {tuple(x.shape)} and {tuple(u.shape)}: "
                "give one noise level per point"
            )
        clock = self.clock(clock_features(u, 6))  # (B, width)
        h = self.into(x)
        for layer in self.layers:
            h = h + nn.functional.silu(layer(h + clock))
        return self.out(h)


def minibatch(x_train: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n training points drawn with replacement, (n, D)."""
    return x_train[torch.randint(len(x_train), (n,), generator=generator)]


def minimise(loss: Callable[[], Tensor], net: nn.Module, budget: Budget, progress: Progress = iter) -> list[float]:
    """Adam on a stochastic loss, learning rate falling to 0; returns the loss at every step."""
    optimiser = torch.optim.Adam(net.parameters(), lr=budget.lr, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.steps)
    history = []
    for _ in progress(range(budget.steps)):
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
        history.append(value.item())
    return history


def checked_points(x_train: Tensor, n: int) -> Tensor:
    """x_train as float32, after making sure that it is (N, n) with N >= 1."""
    if x_train.ndim != 2 or x_train.shape[1] != n or len(x_train) == 0:
        raise ValueError(f"expected training points of shape (N, {n}), got {tuple(x_train.shape)}")
    return x_train.float()
