"""Exercise alpha_bar_from_beta of lesson 02: What is left of the signal."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def alpha_bar_from_beta(beta):
    """ᾱ_t = ∏ (1 - β_s) over s = 0 … t.  beta: (T,) -> (T,)."""
    ### BEGIN SOLUTION
    return torch.cumprod(1 - beta, dim=0)
    ### END SOLUTION


def beta_cases(generator: Generator) -> list[Call]:
    """(T,) numbers in (0, 1)."""
    return [
        Call((torch.tensor([0.1, 0.2, 0.5]),)),
        *(Call((0.01 + 0.3 * torch.rand(T, generator=generator),)) for T in (1, 5, 12)),
    ]


def alpha_bar_of_betas(beta):
    return torch.cumprod(beta, dim=0)


def alpha_bar_without_product(beta):
    return 1 - beta


def alpha_bar_summed(beta):
    return 1 - torch.cumsum(beta, dim=0)


def alpha_bar_total(beta):
    return torch.prod(1 - beta)


def alpha_bar_shifted(beta):
    return torch.cat([torch.ones_like(beta[:1]), torch.cumprod(1 - beta, dim=0)[:-1]])


def alpha_bar_rooted(beta):
    return torch.cumprod((1 - beta).sqrt(), dim=0)


def alpha_bar_backwards(beta):
    return torch.cumprod((1 - beta).flip(0), dim=0)


def alpha_bar_minus_too_late(beta):
    return 1 - torch.cumprod(beta, dim=0)


def alpha_bar_with_a_start(beta):
    return torch.cat([torch.ones_like(beta[:1]), torch.cumprod(1 - beta, dim=0)])


def alpha_bar_of_continuous_time(beta):
    return torch.exp(-torch.cumsum(beta, dim=0))


def alpha_bar_as_noise(beta):
    return 1 - torch.cumprod(1 - beta, dim=0)


def alpha_bar_of_sums(beta):
    return torch.cumsum(1 - beta, dim=0)


def alpha_bar_of_linear_powers(beta):
    return (1 - beta) ** torch.arange(1, len(beta) + 1)


def alpha_bar_squared(beta):
    return torch.cumprod((1 - beta) ** 2, dim=0)


def alpha_bar_multiplied_twice(beta):
    return torch.cumprod(torch.cumprod(1 - beta, dim=0), dim=0)


def alpha_bar_of_squared_roots(beta):
    return torch.cumprod(1 - beta.sqrt(), dim=0)


def alpha_bar_from_list(beta):
    return torch.tensor(torch.cumprod(1 - beta, dim=0).tolist(), dtype=beta.dtype)


def alpha_bar_by_logarithms(beta):
    return torch.log1p(-beta).cumsum(0).exp()


def alpha_bar_by_loop(beta):
    left, found = 1.0, []
    for b in beta:
        left = left * (1 - b)
        found.append(left)
    return torch.stack(found)


EXERCISE = Exercise(
    name="alpha_bar_from_beta",
    title="What is left of the signal",
    stars=1,
    minutes=5,
    answer=alpha_bar_from_beta,
    cases=beta_cases,
    constants=("beta",),
    hints=(
        "Each step keeps the share 1 - β of the signal's variance. What do two steps keep?",
        "Shares multiply. You need the product of the first t + 1 of them, for every t.",
        "torch.cumprod(…, dim=0)",
    ),
    shape_hint=2,
    insight="ᾱ is a share of variance, so the signal itself is scaled by its root. Index 0 is already one step of "
    "noise: in Stable Diffusion ᾱ[0] = 0.99915.",
    wrong=(
        Wrong(
            "product-of-betas",
            alpha_bar_of_betas,
            "You multiplied the β themselves, what each step adds; ᾱ multiplies what each step keeps, 1 - β.",
        ),
        Wrong(
            "no-product",
            alpha_bar_without_product,
            "That is α = 1 - β, what one step keeps. ᾱ_t is what all steps up to t keep together.",
        ),
        Wrong(
            "summed",
            alpha_bar_summed,
            "You subtracted the sum of the β. Shares multiply: each step takes its part of what is left, not of "
            "the whole, and your ᾱ can fall below 0.",
        ),
        Wrong("total-only", alpha_bar_total, "That is the last entry only; ᾱ has one for each t, so use cumprod."),
        Wrong(
            "off-by-one",
            alpha_bar_shifted,
            "Everything is one step late: your ᾱ starts at 1, but index 0 already has one step of noise.",
        ),
        Wrong(
            "rooted", alpha_bar_rooted, "You multiplied the √(1-β): that is √ᾱ, by which the signal is scaled, not ᾱ."
        ),
        Wrong(
            "backwards",
            alpha_bar_backwards,
            "You multiplied from the last step backwards; ᾱ_t is the product of the *first* t + 1 factors.",
        ),
        Wrong(
            "minus-too-late",
            alpha_bar_minus_too_late,
            "You multiplied the β and then subtracted from 1. First subtract: each factor of the product is 1 - β.",
        ),
        Wrong(
            "one-too-many",
            alpha_bar_with_a_start,
            "You return T + 1 numbers; there is one for each of the T steps. Entry 0 already has one step of "
            "noise: no 1 belongs in front of it.",
        ),
        Wrong(
            "exponential-of-the-sum",
            alpha_bar_of_continuous_time,
            "That is exp(-Σ β), the limit of infinitely many small steps. It is near ᾱ where β is small, but each "
            "of these steps keeps exactly 1 - β: multiply.",
        ),
        Wrong(
            "noise-for-signal",
            alpha_bar_as_noise,
            "That is 1 - ᾱ, the share of the noise. ᾱ is what is left of the signal.",
        ),
        Wrong(
            "summed-up",
            alpha_bar_of_sums,
            "You added the shares 1 - β; your ᾱ grows past 1. What is kept of what was kept is a product: cumprod.",
        ),
        Wrong(
            "powers",
            alpha_bar_of_linear_powers,
            "You raised 1 - β_t to the power t + 1, as if all steps so far had the β of the last one. Each has its "
            "own: multiply them, cumprod.",
        ),
        Wrong("squared", alpha_bar_squared, "You squared each factor. 1 - β is a share of the variance already."),
        Wrong("multiplied-again", alpha_bar_multiplied_twice, "You took the cumulative product twice."),
        Wrong(
            "beta-rooted",
            alpha_bar_of_squared_roots,
            "You took the root of β before subtracting. β is a variance, and so is 1 - β, its share that is kept.",
        ),
    ),
    right=(alpha_bar_by_logarithms, alpha_bar_by_loop, alpha_bar_from_list),
)
