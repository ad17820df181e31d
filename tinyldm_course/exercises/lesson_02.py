"""Exercises of lesson 02, forward diffusion: schedules, ᾱ, q_sample, the signal-to-noise ratio, one noising step."""

import math

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks.calls import Call, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong

TITLE = "Forward diffusion"
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


# ── √β rises linearly ────────────────────────────────────────────────────────────────────────────────


def schedule_cases(generator: Generator) -> list[Call]:
    """T, the first β and the last."""
    start, end = (0.001 + 0.1 * torch.rand(2, generator=generator)).tolist()
    return [Call((3, 0.01, 0.09)), Call((7, start, start + end)), Call((1000, 0.00085, 0.012))]


def betas_linear(T, start, end):
    return torch.linspace(start, end, T)


def betas_not_squared(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T)


def betas_squared_ends(T, start, end):
    return torch.linspace(start**2, end**2, T) ** 0.5


def betas_without_end(T, start, end):
    return (start**0.5 + (end**0.5 - start**0.5) * torch.arange(T) / T) ** 2


def betas_cumulated(T, start, end):
    return torch.cumprod(1 - forward_diffusion.scaled_linear_betas(T, start, end), 0)


def betas_one_too_many(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T + 1) ** 2


def betas_of_squares(T, start, end):
    return torch.linspace(start, end, T) ** 2


def betas_falling(T, start, end):
    return forward_diffusion.scaled_linear_betas(T, end, start)


def betas_with_own_ends(T, start, end):
    return forward_diffusion.scaled_linear_betas(T, 0.00085, 0.012)


def betas_with_own_count(T, start, end):
    return forward_diffusion.scaled_linear_betas(1000, start, end)


def betas_by_arange(T, start, end):
    share = torch.arange(T, dtype=torch.float64) / (T - 1)
    return (math.sqrt(start) * (1 - share) + math.sqrt(end) * share).square().float()


def betas_by_loop(T, start, end):
    step = (end**0.5 - start**0.5) / (T - 1)
    return torch.tensor([(start**0.5 + i * step) ** 2 for i in range(T)])


SCALED_LINEAR_BETAS = Exercise(
    name="scaled_linear_betas",
    title="Stable Diffusion's schedule",
    stars=1,
    minutes=5,
    answer=forward_diffusion.scaled_linear_betas,
    cases=schedule_cases,
    hints=(
        "Which quantity rises linearly here: β, or its square root?",
        "torch.linspace gives T numbers with both ends; from √start to √end.",
        "Square what linspace gives.",
    ),
    insight="Because √β and not β rises linearly, early steps add less noise than in DDPM's own schedule: a latent is "
    'smaller than an image and is drowned sooner. CompVis calls it "linear", diffusers "scaled_linear".',
    wrong=(
        Wrong(
            "beta-linear",
            betas_linear,
            "You made β itself rise linearly: that is DDPM's schedule. Here its square root rises linearly.",
        ),
        Wrong(
            "not-squared",
            betas_not_squared,
            "These are the square roots: they rise linearly as they should, but β is their square.",
        ),
        Wrong(
            "root-and-square-swapped",
            betas_squared_ends,
            "Root and square are swapped: take the roots of the ends, go linearly, and square at the end.",
        ),
        Wrong(
            "end-left-out",
            betas_without_end,
            "Your last β is not `end`: T numbers with both ends lie (end - start) / (T - 1) apart, not / T.",
        ),
        Wrong(
            "alpha-bar-for-beta", betas_cumulated, "That is ᾱ, what is left after all steps; β is what one step adds."
        ),
        Wrong("one-too-many", betas_one_too_many, "You return T + 1 numbers: there is one β for each of the T steps."),
        Wrong(
            "ends-not-rooted",
            betas_of_squares,
            "You squared, but took no roots before: your first β is start² instead of start. Go from √start to √end, "
            "then square.",
        ),
        Wrong(
            "ends-swapped",
            betas_falling,
            "Your β fall from `end` to `start`. The first step adds `start`, the last one `end`.",
        ),
        Wrong(
            "own-ends",
            betas_with_own_ends,
            "Your β go from 0.00085 to 0.012, whatever is asked for: those are Stable Diffusion's ends. Take `start` "
            "and `end`.",
        ),
        Wrong("own-T", betas_with_own_count, "You return 1000 numbers, however many are asked for. Take T."),
    ),
    right=(betas_by_arange, betas_by_loop),
)


# ── ᾱ from β ─────────────────────────────────────────────────────────────────────────────────────────


def beta_cases(generator: Generator) -> list[Call]:
    """(T,) numbers in (0, 1)."""
    return [
        Call((torch.tensor([0.1, 0.2, 0.5]),)),
        *(Call((0.01 + 0.3 * torch.rand(T, generator=generator),)) for T in (1, 5, 12)),
    ]


def alpha_bar_right(beta: Tensor) -> Tensor:
    """∏ (1 - β_s) over s ≤ t."""
    return torch.cumprod(1 - beta, dim=0)


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


ALPHA_BAR = Exercise(
    name="alpha_bar_from_beta",
    title="What is left of the signal",
    stars=1,
    minutes=5,
    answer=alpha_bar_right,
    cases=beta_cases,
    constants=("beta",),
    hints=(
        "Each step keeps the share 1 - β of the signal's variance. What do two steps keep?",
        "Shares multiply. You need the product of the first t + 1 of them, for every t.",
        "torch.cumprod(…, dim=0)",
    ),
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
            "You subtracted the sum of the β. Shares multiply: each step takes its part of what is left, not of the "
            "whole, and your ᾱ can fall below 0.",
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
            "You return T + 1 numbers; there is one for each of the T steps. Entry 0 already has one step of noise: "
            "no 1 belongs in front of it.",
        ),
    ),
    right=(alpha_bar_by_logarithms, alpha_bar_by_loop, alpha_bar_from_list),
)


# ── q_sample ─────────────────────────────────────────────────────────────────────────────────────────


def noising_cases(generator: Generator) -> list[Call]:
    """z0, t, eps, ᾱ; batch sizes 1, 2, 3 and 5, with and without channels. t = 0 is among them.

    Width and height are the batch size, so that (B,) and (B, 1) are laid along the wrong dimension without an error.
    """
    calls = [
        Call(
            (
                torch.tensor([[1.0, -2.0]]),
                torch.tensor([1]),
                torch.tensor([[0.5, 1.0]]),
                torch.tensor([0.81, 0.36, 0.04]),
            )
        )
    ]
    for shape in ((2, 2), (3, 4, 3, 3), (5, 1, 5, 5)):
        z0, eps = (torch.randn(shape, generator=generator) for _ in range(2))
        t = 1 + torch.randperm(9, generator=generator)[: shape[0]]
        calls.append(Call((z0, t, eps, random_alpha_bar(10, generator))))
    calls[-1].args[1][-1] = 0
    return calls


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, …, 1), which broadcasts over an image."""
    return values.view(-1, *[1] * (like.dim() - 1))


def q_sample_right(z0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """√ᾱ_t z0 + √(1-ᾱ_t) ε."""
    a = per_image(alpha_bar[t], z0)
    return a.sqrt() * z0 + (1 - a).sqrt() * eps


def q_sample_without_roots(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return a * z0 + (1 - a) * eps


def q_sample_with_beta(z0, t, eps, alpha_bar):
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    a, beta = per_image(alpha_bar[t], z0), per_image((1 - alpha_bar / before)[t], z0)
    return a.sqrt() * z0 + beta.sqrt() * eps


def q_sample_swapped(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return (1 - a).sqrt() * z0 + a.sqrt() * eps


def q_sample_variance_of_noise(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return a.sqrt() * z0 + (1 - a) * eps


def q_sample_one_minus_root(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0).sqrt()
    return a * z0 + (1 - a) * eps


def q_sample_signal_unscaled(z0, t, eps, alpha_bar):
    return z0 + (1 - per_image(alpha_bar[t], z0)).sqrt() * eps


def q_sample_signal_not_rooted(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return a * z0 + (1 - a).sqrt() * eps


def q_sample_minus(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t, -eps, alpha_bar)


def q_sample_off_by_one(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t - 1, eps, alpha_bar)


def q_sample_off_by_one_but_at_0(z0, t, eps, alpha_bar):
    return q_sample_right(z0, (t - 1).clamp(min=0), eps, alpha_bar)


def q_sample_one_step_late(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t, eps, torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar]))


def q_sample_multiplied_again(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t, eps, torch.cumprod(alpha_bar, dim=0))


def q_sample_not_shaped(z0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return a.sqrt() * z0 + (1 - a).sqrt() * eps


def q_sample_for_points(z0, t, eps, alpha_bar):
    a = alpha_bar[t].view(-1, 1)
    return a.sqrt() * z0 + (1 - a).sqrt() * eps


def q_sample_for_images(z0, t, eps, alpha_bar):
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return a.sqrt() * z0 + (1 - a).sqrt() * eps


def q_sample_by_math(z0, t, eps, alpha_bar):
    return math.sqrt(alpha_bar[t]) * z0 + math.sqrt(1 - alpha_bar[t]) * eps


def q_sample_first_t(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t[:1].expand_as(t), eps, alpha_bar)


def q_sample_fresh_noise(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t, torch.randn_like(z0), alpha_bar)


def q_sample_in_place(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    with torch.no_grad():
        z0.mul_(a.sqrt())
    return z0 + (1 - a).sqrt() * eps


def q_sample_detached(z0, t, eps, alpha_bar):
    return q_sample_right(z0, t, eps, alpha_bar).detach()


def q_sample_float32(z0, t, eps, alpha_bar):
    return q_sample_right(z0.float(), t, eps.float(), alpha_bar.float())


def q_sample_on_cpu(z0, t, eps, alpha_bar):
    z_t = torch.zeros(z0.shape, dtype=z0.dtype)
    return z_t + q_sample_right(z0, t, eps, alpha_bar)


def q_sample_by_loop(z0, t, eps, alpha_bar):
    return torch.stack([alpha_bar[i].sqrt() * z + (1 - alpha_bar[i]).sqrt() * e for z, i, e in zip(z0, t, eps)])


def q_sample_by_einsum(z0, t, eps, alpha_bar):
    a = alpha_bar.gather(0, t)
    return torch.einsum("b,b...->b...", a**0.5, z0) + torch.einsum("b,b...->b...", (1 - a) ** 0.5, eps)


def q_sample_in_float64(z0, t, eps, alpha_bar):
    angle = torch.acos(alpha_bar.double()[t].sqrt())[(...,) + (None,) * (z0.dim() - 1)]
    return (angle.cos() * z0 + angle.sin() * eps).to(z0.dtype)


Q_SAMPLE = Exercise(
    name="q_sample",
    title="Noising in one jump",
    stars=2,
    minutes=10,
    answer=q_sample_right,
    cases=noising_cases,
    constants=("alpha_bar",),
    hints=(
        "Pick each image's own ᾱ with alpha_bar[t]: (B,).",
        "To multiply (B,) with (B, C, H, W) it must become (B, 1, 1, 1): .view(-1, 1, 1, 1), or for any number of "
        "dimensions .view(-1, *[1] * (z0.dim() - 1)).",
        "Signal times √ᾱ, noise times √(1-ᾱ): the squares add up to 1.",
    ),
    insight="The squares of the two factors add up to 1, so if z0 and ε have variance 1, so has z_t at every t: the "
    "network always sees numbers of the same size.",
    wrong=(
        Wrong(
            "no-roots",
            q_sample_without_roots,
            "You mixed with ᾱ and 1-ᾱ. Those are shares of *variance*; the tensors are scaled by their roots.",
        ),
        Wrong(
            "root-beta",
            q_sample_with_beta,
            "You scaled the noise with √β_t, what the last step adds. In one jump it is all the noise up to t: "
            "√(1-ᾱ_t).",
        ),
        Wrong(
            "swapped",
            q_sample_swapped,
            "Signal and noise have each other's factor: at small t, where ᾱ is near 1, almost all should be signal.",
        ),
        Wrong(
            "noise-not-rooted",
            q_sample_variance_of_noise,
            "You scaled the noise with its variance 1-ᾱ; it needs the standard deviation √(1-ᾱ).",
        ),
        Wrong(
            "signal-not-rooted",
            q_sample_signal_not_rooted,
            "You scaled the signal with ᾱ, its share of the variance; z0 itself is scaled by the root √ᾱ.",
        ),
        Wrong(
            "minus",
            q_sample_minus,
            "You subtracted the noise; it is added. The network will be asked for this eps, sign included.",
        ),
        Wrong(
            "one-minus-root",
            q_sample_one_minus_root,
            "You scaled the noise with 1-√ᾱ. It is √(1-ᾱ): the root comes last.",
        ),
        Wrong(
            "signal-not-scaled",
            q_sample_signal_unscaled,
            "The signal keeps its full size while noise is added, so z_t grows with t. Scale z0 with √ᾱ.",
        ),
        Wrong(
            "off-by-one",
            q_sample_off_by_one,
            "You took ᾱ[t-1], which at t = 0 is even ᾱ[-1], the last one. Index t is right as it is: entry 0 already "
            "has one step of noise.",
        ),
        Wrong(
            "off-by-one-but-at-0",
            q_sample_off_by_one_but_at_0,
            "You took ᾱ[t-1], and ᾱ[0] at t = 0. Index t is right as it is: entry 0 already has one step of noise.",
        ),
        Wrong(
            "one-step-late",
            q_sample_one_step_late,
            "Your noise is one step late: at t = 0 there is none. Take alpha_bar[t] as it is: entry 0 already has "
            "one step of noise.",
        ),
        Wrong(
            "multiplied-again",
            q_sample_multiplied_again,
            "You multiplied the ᾱ with each other. They already are the products over all steps: take alpha_bar[t].",
        ),
        Wrong(
            "one-t-for-all",
            q_sample_first_t,
            "Every image of the batch gets the first one's t. Each has its own: alpha_bar[t], shaped (B, 1, 1, 1).",
        ),
        Wrong(
            "broadcast-along-last",
            q_sample_not_shaped,
            "alpha_bar[t] is (B,). Beside (B, …) torch lays it along the *last* dimension: if that has length B, "
            "too, there is not even an error. Each ᾱ_t belongs to an image: make it (B, 1, …, 1).",
        ),
        Wrong(
            "for-points-only",
            q_sample_for_points,
            "You made ᾱ_t (B, 1). That fits points (B, 2); beside (B, C, H, W) torch lays the B along the height. "
            "Items may have any number of dimensions: .view(-1, *[1] * (z0.dim() - 1)).",
        ),
        Wrong(
            "for-images-only",
            q_sample_for_images,
            "You made ᾱ_t (B, 1, 1, 1). That fits (B, C, H, W); beside points (B, 2) it makes a result of four "
            "dimensions. Items may have any number of them: .view(-1, *[1] * (z0.dim() - 1)).",
        ),
        Wrong("one-number-only", q_sample_by_math, ONE_NUMBER),
        Wrong(
            "own-noise",
            q_sample_fresh_noise,
            "You drew new noise. Use the eps that is given: it is what the network will be asked for.",
        ),
        Wrong("inputs-changed", q_sample_in_place),
        Wrong("gradient-cut", q_sample_detached),
        Wrong("wrong-dtype", q_sample_float32),
        Wrong("wrong-device", q_sample_on_cpu),
    ),
    right=(q_sample_by_loop, q_sample_by_einsum, q_sample_in_float64),
)


# ── Signal to noise ──────────────────────────────────────────────────────────────────────────────────


def snr_cases(generator: Generator) -> list[Call]:
    """(T,) falling, and numbers of any shape."""
    return [
        Call((torch.tensor([0.9, 0.5, 0.2]),)),
        Call((random_alpha_bar(20, generator),)),
        Call((0.05 + 0.9 * torch.rand(2, 3, generator=generator),)),
    ]


def snr_right(alpha_bar: Tensor) -> Tensor:
    """ᾱ / (1-ᾱ)."""
    return alpha_bar / (1 - alpha_bar)


def snr_of_roots(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).sqrt()


def snr_inverted(alpha_bar):
    return (1 - alpha_bar) / alpha_bar


def snr_logarithm(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).log()


def snr_decibel(alpha_bar):
    return 10 * (alpha_bar / (1 - alpha_bar)).log10()


def snr_root_then_minus(alpha_bar):
    return alpha_bar.sqrt() / (1 - alpha_bar.sqrt())


def snr_without_parentheses(alpha_bar):
    return alpha_bar / 1 - alpha_bar


def snr_squared(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)) ** 2


def snr_in_place(alpha_bar):
    return alpha_bar.div_(1 - alpha_bar)


def snr_by_numbers(alpha_bar):
    ratios = [a / (1 - a) for a in alpha_bar.flatten().tolist()]
    return torch.tensor(ratios, dtype=alpha_bar.dtype).view(alpha_bar.shape)


def snr_by_logit(alpha_bar):
    return torch.logit(alpha_bar).exp()


def snr_by_reciprocal(alpha_bar):
    return 1 / (1 / alpha_bar - 1)


SNR = Exercise(
    name="signal_to_noise",
    title="The signal-to-noise ratio",
    stars=1,
    minutes=5,
    answer=snr_right,
    cases=snr_cases,
    constants=("alpha_bar",),
    hints=(
        "z_t = √ᾱ z0 + √(1-ᾱ) ε. If z0 and ε have variance 1, what is the variance of each of the two terms?",
        "Scaling by c scales the variance by c²; the roots go away.",
        "Variance of the signal over variance of the noise.",
    ),
    insight="The ratio, not t, is what a noise level is: two schedules with the same ratio are the same problem for "
    "the network. Stable Diffusion's falls from 1175 at t = 0 to 0.0047 at t = 999; it passes 1 at t = 354.",
    wrong=(
        Wrong(
            "of-amplitudes",
            snr_of_roots,
            "That is the ratio of the standard deviations; SNR is the ratio of the variances.",
        ),
        Wrong("inverted", snr_inverted, "That is noise to signal: it grows with the noise. Turn the fraction round."),
        Wrong("logarithm", snr_logarithm, "That is log SNR, which is useful too; here the ratio itself is asked for."),
        Wrong("decibel", snr_decibel, "That is the ratio in decibels; here the ratio itself is asked for."),
        Wrong(
            "root-in-the-wrong-place",
            snr_root_then_minus,
            "The noise's factor is √(1-ᾱ), with variance 1-ᾱ; you subtracted √ᾱ from 1 instead.",
        ),
        Wrong(
            "parentheses",
            snr_without_parentheses,
            "Your result is 0 everywhere. Is it alpha_bar / 1 - alpha_bar? That divides by 1, and then subtracts ᾱ "
            "from ᾱ: put 1 - alpha_bar in parentheses.",
        ),
        Wrong(
            "squared",
            snr_squared,
            "You squared once too often. ᾱ and 1-ᾱ are variances already: the squares of the factors √ᾱ and √(1-ᾱ).",
        ),
        Wrong("inputs-changed", snr_in_place),
    ),
    right=(snr_by_logit, snr_by_reciprocal, snr_by_numbers),
)


# ── One step of the chain ────────────────────────────────────────────────────────────────────────────


def step_cases(generator: Generator) -> list[Call]:
    """z of several shapes, β, a generator."""
    calls = [Call((torch.tensor([[2.0, -1.0]]), 0.36, Seeded(3)))]
    for shape in ((2, 4, 4, 4), (3, 2, 8, 8)):
        z, seed = torch.randn(shape, generator=generator), int(torch.randint(10**6, (), generator=generator))
        calls.append(Call((z, 0.1 + 0.3 * torch.rand((), generator=generator).item(), Seeded(seed))))
    return calls


def normal(shape: tuple, z: Tensor, generator: Generator) -> Tensor:
    """Normal noise of this shape, in the dtype of z and on its device."""
    return torch.randn(shape, generator=generator, dtype=z.dtype).to(z.device)


def step_right(z: Tensor, beta: float, generator: Generator) -> Tensor:
    """√(1-β) z + √β · fresh noise."""
    return (1 - beta) ** 0.5 * z + beta**0.5 * normal(z.shape, z, generator)


def step_moments(z: Tensor, beta: float, _generator) -> tuple:
    """Mean and standard deviation of the step."""
    return (1 - beta) ** 0.5 * z, beta**0.5


def step_without_root_of_beta(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta * normal(z.shape, z, generator)


def step_signal_kept(z, beta, generator):
    return z + beta**0.5 * normal(z.shape, z, generator)


def step_signal_not_rooted(z, beta, generator):
    return (1 - beta) * z + beta**0.5 * normal(z.shape, z, generator)


def step_uniform(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * torch.rand(z.shape, generator=generator, dtype=z.dtype).to(z.device)


def step_uniform_of_variance_one(z, beta, generator):
    noise = (torch.rand(z.shape, generator=generator, dtype=z.dtype).to(z.device) * 2 - 1) * 3**0.5
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise


def step_shared_noise(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * normal(z.shape[1:], z, generator)


def step_global_noise(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn_like(z)


def step_seeded_inside(z, beta, generator):
    return step_right(z, beta, torch.Generator().manual_seed(0))


def step_on_cpu(z, beta, generator):
    return (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn(z.shape, generator=generator, dtype=z.dtype)


def step_drawn_around_z(z, beta, generator):
    return torch.normal((1 - beta) ** 0.5 * z, beta**0.5, generator=generator)


def step_drawn_backwards(z, beta, generator):
    noise = torch.randn(z.numel(), generator=generator, dtype=z.dtype).flip(0).view(z.shape)
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise.to(z.device)


def step_by_normal(z, beta, generator):
    noise = torch.empty(z.shape, dtype=z.dtype).normal_(0, math.sqrt(beta), generator=generator)
    return z * math.sqrt(1 - beta) + noise.to(z.device)


def step_drawn_around_z_on_cpu(z, beta, generator):
    return torch.normal((1 - beta) ** 0.5 * z.cpu(), beta**0.5, generator=generator).to(z.device)


NOISE_ONE_STEP = Exercise(
    name="noise_one_step",
    title="One step of the chain",
    stars=1,
    minutes=8,
    answer=step_right,
    cases=step_cases,
    moments=step_moments,
    constants=("z",),
    hints=(
        "β is a variance. By what do you multiply numbers of variance 1 so that their variance becomes β?",
        "The signal shrinks so that the total variance stays 1: by √(1-β).",
        "torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device). The generator lives on the CPU: "
        "draw there, then move the noise to where z is.",
    ),
    insight="A thousand such steps and the one jump of q_sample give the same distribution: sums of normal numbers are "
    "normal. So training never walks the chain.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            step_without_root_of_beta,
            "You scaled the noise with β. β is its *variance*: multiply with the standard deviation √β.",
        ),
        Wrong(
            "signal-not-scaled",
            step_signal_kept,
            "The signal keeps its size, so the variance grows with every step. Scale z with √(1-β).",
        ),
        Wrong(
            "signal-not-rooted",
            step_signal_not_rooted,
            "You scaled the signal with 1-β; the variance stays 1 with √(1-β).",
        ),
        Wrong(
            "uniform-noise",
            step_uniform,
            "torch.rand draws uniformly between 0 and 1, so it adds brightness too. Gaussian noise is torch.randn.",
        ),
        Wrong("noise-not-normal", step_uniform_of_variance_one),
        Wrong("noise-shared", step_shared_noise),
        Wrong("generator-ignored", step_global_noise),
        Wrong("always-the-same", step_seeded_inside),
        Wrong("wrong-device", step_on_cpu),
        Wrong("generator-elsewhere", step_drawn_around_z),
    ),
    right=(step_drawn_backwards, step_by_normal, step_drawn_around_z_on_cpu),
)


EXERCISES = (SCALED_LINEAR_BETAS, ALPHA_BAR, Q_SAMPLE, SNR, NOISE_ONE_STEP)
