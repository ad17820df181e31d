"""What the cases of several lessons draw: numbers in a range; and no inputs at all, for questions without code."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call


def uniform(low: float, high: float, generator: Generator) -> float:
    """A random number between two others."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def integer(low: int, high: int, generator: Generator) -> int:
    """A random whole number: low ≤ … < high."""
    return int(torch.randint(low, high, (), generator=generator))


def no_inputs(generator: Generator) -> list[Call]:
    """The one call of a question whose answer is a value."""
    return [Call(())]
