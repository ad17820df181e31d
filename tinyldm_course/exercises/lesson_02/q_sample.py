"""Exercise q_sample of lesson 02: Noising in one jump."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import ONE_NUMBER, per_image, random_alpha_bar


def q_sample(z0, t, eps, alpha_bar):
    """Noise z0 to timestep t in one jump: √ᾱ_t z0 + √(1-ᾱ_t) ε.

    z0, eps: (B, …) float; t: (B,) int64 in 0 … T-1; alpha_bar: (T,).  Returns z_t (B, …).
    """
    ### BEGIN SOLUTION
    a = alpha_bar[t].view(-1, *[1] * (z0.dim() - 1))  # (B,) -> (B, 1, …, 1)
    return a.sqrt() * z0 + (1 - a).sqrt() * eps
    ### END SOLUTION


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
    return q_sample(z0, t, -eps, alpha_bar)


def q_sample_off_by_one(z0, t, eps, alpha_bar):
    return q_sample(z0, t - 1, eps, alpha_bar)


def q_sample_off_by_one_but_at_0(z0, t, eps, alpha_bar):
    return q_sample(z0, (t - 1).clamp(min=0), eps, alpha_bar)


def q_sample_one_step_late(z0, t, eps, alpha_bar):
    return q_sample(z0, t, eps, torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar]))


def q_sample_multiplied_again(z0, t, eps, alpha_bar):
    return q_sample(z0, t, eps, torch.cumprod(alpha_bar, dim=0))


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
    return q_sample(z0, t[:1].expand_as(t), eps, alpha_bar)


def q_sample_fresh_noise(z0, t, eps, alpha_bar):
    return q_sample(z0, t, torch.randn_like(z0), alpha_bar)


def q_sample_in_place(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    with torch.no_grad():
        z0.mul_(a.sqrt())
    return z0 + (1 - a).sqrt() * eps


def q_sample_detached(z0, t, eps, alpha_bar):
    return q_sample(z0, t, eps, alpha_bar).detach()


def q_sample_float32(z0, t, eps, alpha_bar):
    return q_sample(z0.float(), t, eps.float(), alpha_bar.float())


def q_sample_on_cpu(z0, t, eps, alpha_bar):
    z_t = torch.zeros(z0.shape, dtype=z0.dtype)
    return z_t + q_sample(z0, t, eps, alpha_bar)


def q_sample_noise_unscaled(z0, t, eps, alpha_bar):
    return per_image(alpha_bar[t], z0).sqrt() * z0 + eps


def q_sample_nothing_scaled(z0, t, eps, alpha_bar):
    return z0 + eps + 0 * per_image(alpha_bar[t], z0)


def q_sample_of_alpha(z0, t, eps, alpha_bar):
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return q_sample(z0, t, eps, alpha_bar / before)


def q_sample_squared(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return a**2 * z0 + (1 - a) ** 2 * eps


def q_sample_signal_only(z0, t, eps, alpha_bar):
    return per_image(alpha_bar[t], z0).sqrt() * z0 + 0 * eps


def q_sample_variance_exploding(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return z0 + ((1 - a) / a).sqrt() * eps


def q_sample_one_step_on(z0, t, eps, alpha_bar):
    return q_sample(z0, (t + 1).clamp(max=len(alpha_bar) - 1), eps, alpha_bar)


def q_sample_last_for_all(z0, t, eps, alpha_bar):
    return q_sample(z0, t[-1:].expand_as(t), eps, alpha_bar)


def q_sample_from_the_end(z0, t, eps, alpha_bar):
    return q_sample(z0, len(alpha_bar) - 1 - t, eps, alpha_bar)


def q_sample_signal_rooted_inside(z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return a.sqrt() * z0 + (1 - a.sqrt()).sqrt() * eps


def q_sample_by_loop(z0, t, eps, alpha_bar):
    return torch.stack([alpha_bar[i].sqrt() * z + (1 - alpha_bar[i]).sqrt() * e for z, i, e in zip(z0, t, eps)])


def q_sample_by_einsum(z0, t, eps, alpha_bar):
    a = alpha_bar.gather(0, t)
    return torch.einsum("b,b...->b...", a**0.5, z0) + torch.einsum("b,b...->b...", (1 - a) ** 0.5, eps)


def q_sample_in_float64(z0, t, eps, alpha_bar):
    angle = torch.acos(alpha_bar.double()[t].sqrt())[(...,) + (None,) * (z0.dim() - 1)]
    return (angle.cos() * z0 + angle.sin() * eps).to(z0.dtype)


EXERCISE = Exercise(
    name="q_sample",
    title="Noising in one jump",
    stars=2,
    minutes=10,
    answer=q_sample,
    cases=noising_cases,
    constants=("alpha_bar",),
    hints=(
        "Pick each image's own ᾱ with alpha_bar[t]: (B,).",
        "To multiply (B,) with (B, C, H, W) it must become (B, 1, 1, 1): .view(-1, 1, 1, 1), or for any number of "
        "dimensions .view(-1, *[1] * (z0.dim() - 1)).",
        "Signal times √ᾱ, noise times √(1-ᾱ): the squares add up to 1.",
    ),
    shape_hint=2,
    insight="The squares of the two factors add up to 1, so if z0 and ε have variance 1, so has z_t at every t: "
    "the network always sees numbers of the same size.",
    wrong=(
        Wrong(
            "no-roots",
            q_sample_without_roots,
            "You mixed with ᾱ and 1-ᾱ. Those are shares of *variance*; the tensors are scaled by their roots.",
        ),
        Wrong(
            "root-beta",
            q_sample_with_beta,
            "You scaled the noise by √β_t, what the last step adds. In one jump it is all the noise up to t: √(1-ᾱ_t).",
        ),
        Wrong(
            "swapped",
            q_sample_swapped,
            "The factors of signal and noise are swapped: at small t, where ᾱ is near 1, almost all should be signal.",
        ),
        Wrong(
            "noise-not-rooted",
            q_sample_variance_of_noise,
            "You scaled the noise by its variance 1-ᾱ; it needs the standard deviation √(1-ᾱ).",
        ),
        Wrong(
            "signal-not-rooted",
            q_sample_signal_not_rooted,
            "You scaled the signal by ᾱ, its share of the variance; z0 itself is scaled by the root √ᾱ.",
        ),
        Wrong(
            "minus",
            q_sample_minus,
            "You subtracted the noise; it is added. The network will be asked for this eps, sign included.",
        ),
        Wrong(
            "one-minus-root",
            q_sample_one_minus_root,
            "You scaled the noise by 1-√ᾱ. It is √(1-ᾱ): the root comes last.",
        ),
        Wrong(
            "signal-not-scaled",
            q_sample_signal_unscaled,
            "The signal keeps its full size while noise is added, so z_t grows with t. Scale z0 by √ᾱ.",
        ),
        Wrong(
            "off-by-one",
            q_sample_off_by_one,
            "You took ᾱ[t-1], which at t = 0 is even ᾱ[-1], the last one. Index t is right as it is: entry 0 "
            "already has one step of noise.",
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
            "alpha_bar[t] is (B,). Against (B, …) torch broadcasts it along the *last* dimension: if that has "
            "length B as well, there is not even an error. Each ᾱ_t belongs to an image: make it (B, 1, …, 1).",
        ),
        Wrong(
            "for-points-only",
            q_sample_for_points,
            "You made ᾱ_t (B, 1). That fits points (B, 2); against (B, C, H, W) torch broadcasts B along the "
            "height. Items may have any number of dimensions: .view(-1, *[1] * (z0.dim() - 1)).",
        ),
        Wrong(
            "for-images-only",
            q_sample_for_images,
            "You made ᾱ_t (B, 1, 1, 1). That fits (B, C, H, W); against points (B, 2) it gives a result of four "
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
        Wrong(
            "noise-not-scaled",
            q_sample_noise_unscaled,
            "The noise keeps its full size. Scale it by √(1-ᾱ), so that the squares of the two factors add up to 1.",
        ),
        Wrong(
            "nothing-scaled",
            q_sample_nothing_scaled,
            "You added signal and noise as they are. Both are scaled: z0 with √ᾱ_t, ε with √(1-ᾱ_t).",
        ),
        Wrong(
            "alpha-for-alpha-bar",
            q_sample_of_alpha,
            "You used α_t = 1 - β_t, what one step keeps. One jump to t takes ᾱ_t, what all steps up to t keep.",
        ),
        Wrong("squared", q_sample_squared, "You squared the factors. ᾱ and 1-ᾱ are variances: take their roots."),
        Wrong("no-noise", q_sample_signal_only, "There is no noise in your z_t: add √(1-ᾱ_t) ε."),
        Wrong(
            "variance-exploding",
            q_sample_variance_exploding,
            "That is z_t / √ᾱ, where the signal keeps its size and the noise grows (the convention of score "
            "models, σ = √((1-ᾱ)/ᾱ)). Here both are scaled.",
        ),
        Wrong("one-step-early", q_sample_one_step_on, "You took ᾱ[t+1]. Index t is right as it is."),
        Wrong(
            "last-t-for-all",
            q_sample_last_for_all,
            "Every image of the batch gets the last one's t. Each has its own: alpha_bar[t], shaped (B, 1, …, 1).",
        ),
        Wrong(
            "counted-from-the-end",
            q_sample_from_the_end,
            "You counted t from the end: small t must mean little noise. Take alpha_bar[t].",
        ),
        Wrong(
            "root-inside",
            q_sample_signal_rooted_inside,
            "You scaled the noise by √(1-√ᾱ). The variance of the noise, 1-ᾱ, goes under the root.",
        ),
    ),
    right=(q_sample_by_loop, q_sample_by_einsum, q_sample_in_float64),
)
