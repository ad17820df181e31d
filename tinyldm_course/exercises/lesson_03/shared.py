"""What several exercises of lesson 03 use."""

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.exercises.inputs import per_image


def conversion_cases(generator: Generator) -> list[Call]:
    """Two tensors of one shape, and ᾱ (B, 1, …, 1) between 0.1 and 0.9."""
    calls = [Call((torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0]]), torch.tensor([[0.36]])))]
    for shape in ((2, 3), (1, 4, 5, 7), (3, 4, 8, 8)):
        first, second = (torch.randn(shape, generator=generator) for _ in range(2))
        alpha_bar = 0.1 + 0.8 * torch.rand(shape[0], generator=generator)
        calls.append(Call((first, second, per_image(alpha_bar, first))))
    return calls


def levels(t: int, alpha_bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ᾱ_t, ᾱ_{t-1} (1 before the first step) and β_t."""
    before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[0])
    return alpha_bar[t], before, 1 - alpha_bar[t] / before
