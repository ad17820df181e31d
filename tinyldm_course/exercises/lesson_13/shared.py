"""What several exercises of lesson 13 use."""

from torch import Generator

from tinyldm import forward_diffusion
from tinyldm_course.exercises.inputs import uniform


def random_alpha_bar(T: int, generator: Generator) -> list[float]:
    """T numbers of a schedule with random ends. No tensor, as nobody asks for a gradient of them."""
    beta = forward_diffusion.linear_betas(T, uniform(0.02, 0.1, generator), uniform(0.3, 0.5, generator))
    return forward_diffusion.NoiseSchedule(beta).alpha_bar.tolist()


def noised(z0, eps, alpha_bar):
    """√ᾱ z0 + √(1-ᾱ) ε."""
    return alpha_bar**0.5 * z0 + (1 - alpha_bar) ** 0.5 * eps


def mixed(z0_hat, eps_hat, before, after):
    """The two at the level ᾱ that a step leads to, from the one before it."""
    return noised(z0_hat, eps_hat, after)
