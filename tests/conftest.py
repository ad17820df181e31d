"""Shared by all tests."""

import pytest
import torch
from small_models import make_model

from tinyldm import LatentDiffusion


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small_model() -> LatentDiffusion:
    """Not to be changed by a test: it is shared."""
    return make_model()
