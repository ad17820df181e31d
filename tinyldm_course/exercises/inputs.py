"""What the exercises of several lessons use: random numbers, a random schedule, no inputs at all, a message."""

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks.calls import Call


def uniform(low: float, high: float, generator: Generator) -> float:
    """A random number between two others."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def integer(low: int, high: int, generator: Generator) -> int:
    """A random integer: low ≤ … < high."""
    return int(torch.randint(low, high, (), generator=generator))


def no_inputs(generator: Generator) -> list[Call]:
    """The one call of a question whose answer is a value."""
    return [Call(())]


ONE_NUMBER = (
    "The functions of math, float(…) and .item() take a single number. Here there is one for each image, so "
    "it works for one image and breaks for two: torch.sqrt(…), or .sqrt(), takes a whole tensor."
)


def random_alpha_bar(T: int, generator: Generator) -> Tensor:
    """(T,) of a schedule with random ends: so that no answer can bring its own numbers."""
    ends = torch.rand(2, generator=generator).tolist()
    return forward_diffusion.NoiseSchedule(
        forward_diffusion.linear_betas(T, 0.02 + 0.1 * ends[0], 0.3 + 0.2 * ends[1])
    ).alpha_bar


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, …, 1), which broadcasts over an image."""
    return values.view(-1, *[1] * (like.dim() - 1))
