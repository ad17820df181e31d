"""Exercises of lesson 03, reverse diffusion: three names for one prediction, the score, the posterior, the loss."""

import math

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.checks.makers import ToyModel
from tinyldm_course.exercises.lesson_02 import ONE_NUMBER, per_image, q_sample_right, random_alpha_bar

TITLE = "Reverse diffusion"


def conversion_cases(generator: Generator) -> list[Call]:
    """Two tensors of one shape, and ᾱ (B, 1, …, 1) between 0.1 and 0.9."""
    calls = [Call((torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0]]), torch.tensor([[0.36]])))]
    for shape in ((2, 3), (1, 4, 5, 7), (3, 4, 8, 8)):
        first, second = (torch.randn(shape, generator=generator) for _ in range(2))
        alpha_bar = 0.1 + 0.8 * torch.rand(shape[0], generator=generator)
        calls.append(Call((first, second, per_image(alpha_bar, first))))
    return calls


# ── ẑ0 from ε̂ ────────────────────────────────────────────────────────────────────────────────────────


def z0_noise_subtracted(eps, z_t, alpha_bar):
    return z_t - eps


def z0_not_divided(eps, z_t, alpha_bar):
    return z_t - (1 - alpha_bar).sqrt() * eps


def z0_without_roots(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar) * eps) / alpha_bar


def z0_factors_swapped(eps, z_t, alpha_bar):
    return (z_t - alpha_bar.sqrt() * eps) / (1 - alpha_bar).sqrt()


def z0_multiplied(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar).sqrt() * eps) * alpha_bar.sqrt()


def z0_divided_too_early(eps, z_t, alpha_bar):
    return z_t - (1 - alpha_bar).sqrt() * eps / alpha_bar.sqrt()


def z0_noise_added(eps, z_t, alpha_bar):
    return (z_t + (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()


def z0_noise_not_rooted(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar) * eps) / alpha_bar.sqrt()


def z0_divisor_not_rooted(eps, z_t, alpha_bar):
    return (z_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar


def z0_only_signal_divided(eps, z_t, alpha_bar):
    return z_t / alpha_bar.sqrt() - (1 - alpha_bar).sqrt() * eps


def z0_arguments_swapped(eps, z_t, alpha_bar):
    return forward_diffusion.z0_from_eps(z_t, eps, alpha_bar)


def z0_of_first_level(eps, z_t, alpha_bar):
    return forward_diffusion.z0_from_eps(eps, z_t, alpha_bar[:1])


def z0_by_math(eps, z_t, alpha_bar):
    return (z_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def z0_in_place(eps, z_t, alpha_bar):
    with torch.no_grad():
        z_t.sub_((1 - alpha_bar).sqrt() * eps)
    return z_t / alpha_bar.sqrt()


def z0_by_sigma(eps, z_t, alpha_bar):
    return z_t / alpha_bar.sqrt() - (1 / alpha_bar - 1).sqrt() * eps


def z0_by_addcmul(eps, z_t, alpha_bar):
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return torch.addcmul(z_t, noise.expand_as(eps), eps, value=-1) / signal


def z0_by_image(eps, z_t, alpha_bar):
    return torch.stack(
        [(z - math.sqrt(1 - a.item()) * e) / math.sqrt(a.item()) for e, z, a in zip(eps, z_t, alpha_bar)]
    )


Z0_FROM_EPS = Exercise(
    name="z0_from_eps",
    title="The clean latent behind the noise",
    stars=1,
    minutes=6,
    answer=forward_diffusion.z0_from_eps,
    cases=conversion_cases,
    constants=("alpha_bar",),
    hints=(
        "Write down z_t = √ᾱ z0 + √(1-ᾱ) ε and solve it for z0.",
        "First take the noise away, then undo the scaling of the signal.",
        "The difference of z_t and √(1-ᾱ) ε, divided by √ᾱ.",
    ),
    insight="The article says that the predicted noise is scaled down and subtracted: this is that line, and the "
    "division "
    "is what it leaves out. At small ᾱ the division magnifies every error of ε̂.",
    wrong=(
        Wrong(
            "not-scaled",
            z0_noise_subtracted,
            "You subtracted ε as it is. In z_t it is scaled by √(1-ᾱ), and so is the signal, by √ᾱ.",
        ),
        Wrong("not-divided", z0_not_divided, "The noise is gone, but the signal is still scaled by √ᾱ: divide by it."),
        Wrong("no-roots", z0_without_roots, "ᾱ and 1-ᾱ are variances: signal and noise are scaled by their roots."),
        Wrong(
            "swapped", z0_factors_swapped, "The two factors are swapped: √(1-ᾱ) belongs to the noise, √ᾱ to the signal."
        ),
        Wrong("multiplied", z0_multiplied, "You multiplied by √ᾱ; the signal was scaled by it, so divide."),
        Wrong(
            "only-noise-divided",
            z0_divided_too_early,
            "Only the noise is divided by √ᾱ; a pair of parentheses is missing: divide the whole difference.",
        ),
        Wrong("only-signal-divided", z0_only_signal_divided, "Only z_t is divided by √ᾱ: divide the whole difference."),
        Wrong("noise-added", z0_noise_added, "You added the noise once more. Take it away."),
        Wrong(
            "noise-not-rooted",
            z0_noise_not_rooted,
            "You scaled the noise with its variance 1-ᾱ; in z_t it is scaled by the root √(1-ᾱ).",
        ),
        Wrong(
            "divisor-not-rooted",
            z0_divisor_not_rooted,
            "You divided by ᾱ, the signal's variance. In z_t the signal is scaled by the root: divide by √ᾱ.",
        ),
        Wrong(
            "arguments-swapped",
            z0_arguments_swapped,
            "z_t and ε have each other's place: the noise is taken away from z_t, not z_t from the noise.",
        ),
        Wrong(
            "one-level-for-all",
            z0_of_first_level,
            "Every image of the batch gets the first one's ᾱ. Each has its own: alpha_bar is shaped so that it "
            "multiplies as it is.",
        ),
        Wrong("one-number-only", z0_by_math, ONE_NUMBER),
        Wrong("inputs-changed", z0_in_place),
    ),
    right=(z0_by_sigma, z0_by_addcmul, z0_by_image),
)


# ── The velocity ─────────────────────────────────────────────────────────────────────────────────────


def velocity_negated(z0, eps, alpha_bar):
    return (1 - alpha_bar).sqrt() * z0 - alpha_bar.sqrt() * eps


def velocity_swapped(z0, eps, alpha_bar):
    return (1 - alpha_bar).sqrt() * eps - alpha_bar.sqrt() * z0


def velocity_summed(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * eps + (1 - alpha_bar).sqrt() * z0


def velocity_of_straight_lines(z0, eps, alpha_bar):
    return eps - z0 + 0 * alpha_bar


def velocity_without_roots(z0, eps, alpha_bar):
    return alpha_bar * eps - (1 - alpha_bar) * z0


def velocity_is_z_t(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * eps


def velocity_arguments_swapped(z0, eps, alpha_bar):
    return alpha_bar.sqrt() * z0 - (1 - alpha_bar).sqrt() * eps


def velocity_angle_not_rooted(z0, eps, alpha_bar):
    angle = torch.acos(alpha_bar)
    return angle.cos() * eps - angle.sin() * z0


def velocity_by_math(z0, eps, alpha_bar):
    return math.sqrt(alpha_bar) * eps - math.sqrt(1 - alpha_bar) * z0


def velocity_by_angle(z0, eps, alpha_bar):
    angle = torch.acos(alpha_bar.sqrt())
    return angle.cos() * eps - angle.sin() * z0


def velocity_by_z_t(z0, eps, alpha_bar):
    z_t = alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * eps
    return (eps - (1 - alpha_bar).sqrt() * z_t) / alpha_bar.sqrt()


VELOCITY = Exercise(
    name="velocity",
    title="The velocity",
    stars=1,
    minutes=6,
    answer=forward_diffusion.velocity,
    cases=conversion_cases,
    constants=("alpha_bar",),
    hints=(
        "With √ᾱ = cos φ and √(1-ᾱ) = sin φ, z_t = cos φ z0 + sin φ ε. The velocity is dz_t/dφ.",
        "The derivative of cos is -sin, that of sin is cos.",
        "√ᾱ goes to ε, √(1-ᾱ) to z0 with a minus.",
    ),
    insight="At ᾱ = 1 the velocity is the noise, at ᾱ = 0 it is minus the image: a network that predicts it is never "
    "asked "
    "for what it is already given. Stable Diffusion 2 at 768 pixels predicts it.",
    wrong=(
        Wrong(
            "sign",
            velocity_negated,
            "All signs are turned round: as the angle grows, z_t moves towards ε, away from z0.",
        ),
        Wrong("swapped", velocity_swapped, "The factors are swapped: z_t has √ᾱ at z0; in its derivative √ᾱ is at ε."),
        Wrong("no-minus", velocity_summed, "The minus is missing: the derivative of the cosine is minus the sine."),
        Wrong(
            "straight-line",
            velocity_of_straight_lines,
            "ε - z0 is the velocity of flow matching, where z_t goes along a straight line. Here it goes along a "
            "circle.",
        ),
        Wrong("no-roots", velocity_without_roots, "ᾱ and 1-ᾱ are variances; the factors are their roots."),
        Wrong("is-z-t", velocity_is_z_t, "That is z_t, the place. The velocity is its derivative by the angle."),
        Wrong(
            "arguments-swapped",
            velocity_arguments_swapped,
            "z0 and ε have each other's place: the derivative of cos φ z0 is -sin φ z0, so the minus is at z0.",
        ),
        Wrong(
            "angle-not-rooted",
            velocity_angle_not_rooted,
            "Your angle has the cosine ᾱ. It is √ᾱ that is cos φ: torch.acos(alpha_bar.sqrt()).",
        ),
        Wrong("one-number-only", velocity_by_math, ONE_NUMBER),
    ),
    right=(velocity_by_angle, velocity_by_z_t),
)


# ── ε from the velocity ──────────────────────────────────────────────────────────────────────────────


def eps_right(velocity: Tensor, z_t: Tensor, alpha_bar: Tensor) -> Tensor:
    """√ᾱ v + √(1-ᾱ) z_t."""
    return forward_diffusion.eps_from_velocity(velocity, z_t, alpha_bar)


def eps_is_z0(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * z_t - (1 - alpha_bar).sqrt() * velocity


def eps_swapped(velocity, z_t, alpha_bar):
    return (1 - alpha_bar).sqrt() * velocity + alpha_bar.sqrt() * z_t


def eps_minus(velocity, z_t, alpha_bar):
    return alpha_bar.sqrt() * velocity - (1 - alpha_bar).sqrt() * z_t


def eps_without_roots(velocity, z_t, alpha_bar):
    return alpha_bar * velocity + (1 - alpha_bar) * z_t


def eps_as_if_z_t_were_z0(velocity, z_t, alpha_bar):
    return (velocity + (1 - alpha_bar).sqrt() * z_t) / alpha_bar.sqrt()


def eps_by_math(velocity, z_t, alpha_bar):
    return math.sqrt(alpha_bar) * velocity + math.sqrt(1 - alpha_bar) * z_t


def eps_by_z0(velocity, z_t, alpha_bar):
    z0 = alpha_bar.sqrt() * z_t - (1 - alpha_bar).sqrt() * velocity
    return (z_t - alpha_bar.sqrt() * z0) / (1 - alpha_bar).sqrt()


def eps_by_matrix(velocity, z_t, alpha_bar):
    factors = torch.stack([alpha_bar, 1 - alpha_bar]).sqrt()
    return (factors * torch.stack([velocity, z_t])).sum(0)


EPS_FROM_VELOCITY = Exercise(
    name="eps_from_velocity",
    title="One prediction, another name",
    stars=2,
    minutes=10,
    answer=eps_right,
    cases=conversion_cases,
    constants=("alpha_bar",),
    hints=(
        "Two equations, two unknowns: z_t = √ᾱ z0 + √(1-ᾱ) ε and v = √ᾱ ε - √(1-ᾱ) z0. Get rid of z0.",
        "Multiply the first by √(1-ᾱ) and the second by √ᾱ, and add them.",
        "What stands before ε then is ᾱ + (1-ᾱ) = 1.",
    ),
    insight="(z0, ε) → (z_t, v) is a rotation, so its inverse has the same numbers and no division: unlike ẑ0 from "
    "ε̂, it "
    "is harmless at every noise level. So ε, v and z0 are three names for one prediction.",
    wrong=(
        Wrong("that-is-z0", eps_is_z0, "That is z0: √ᾱ z_t - √(1-ᾱ) v. For ε the other combination is needed."),
        Wrong("swapped", eps_swapped, "The factors are swapped: √ᾱ belongs to v, √(1-ᾱ) to z_t."),
        Wrong("sign", eps_minus, "A sign is wrong: z0 drops out when the two equations are added."),
        Wrong("no-roots", eps_without_roots, "ᾱ and 1-ᾱ are variances; the factors are their roots."),
        Wrong(
            "z-t-for-z0",
            eps_as_if_z_t_were_z0,
            "You solved v = √ᾱ ε - √(1-ᾱ) z0 for ε with z_t in the place of z0. The noised latent is not the clean "
            "one.",
        ),
        Wrong("one-number-only", eps_by_math, ONE_NUMBER),
    ),
    right=(eps_by_z0, eps_by_matrix),
)


# ── The score ────────────────────────────────────────────────────────────────────────────────────────


def score_cases(generator: Generator) -> list[Call]:
    """ε and ᾱ."""
    return [Call((call.args[0], call.args[2])) for call in conversion_cases(generator)]


def score_right(eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """-ε / √(1-ᾱ)."""
    return -eps / (1 - alpha_bar).sqrt()


def score_sign(eps, alpha_bar):
    return eps / (1 - alpha_bar).sqrt()


def score_by_variance(eps, alpha_bar):
    return -eps / (1 - alpha_bar)


def score_by_signal(eps, alpha_bar):
    return -eps / alpha_bar.sqrt()


def score_multiplied(eps, alpha_bar):
    return -eps * (1 - alpha_bar).sqrt()


def score_is_minus_eps(eps, alpha_bar):
    return -eps + 0 * alpha_bar


def score_by_variance_without_minus(eps, alpha_bar):
    return eps / (1 - alpha_bar)


def score_halved(eps, alpha_bar):
    return -eps / (2 * (1 - alpha_bar).sqrt())


def score_by_math(eps, alpha_bar):
    return -eps / math.sqrt(1 - alpha_bar)


def score_by_power(eps, alpha_bar):
    return eps * -((1 - alpha_bar) ** -0.5)


def score_by_autograd(eps, alpha_bar):
    """The gradient of log N(z; √ᾱ z0, 1-ᾱ) at z = √ᾱ z0 + √(1-ᾱ) ε, for z0 = 0."""

    def log_density(z):
        return (-z.square() / (2 * (1 - alpha_bar))).sum()

    return torch.func.grad(log_density)((1 - alpha_bar).sqrt() * eps)


SCORE = Exercise(
    name="score_from_eps",
    title="The score and the noise",
    stars=2,
    minutes=10,
    answer=score_right,
    cases=score_cases,
    constants=("alpha_bar",),
    hints=(
        "q(z_t | z0) is a normal distribution with mean √ᾱ z0 and variance 1-ᾱ. What is its log-density, up to a "
        "constant?",
        "d/dz of -(z - m)² / (2 s²) is -(z - m) / s². And what is z_t - √ᾱ z0?",
        "z_t - √ᾱ z0 = √(1-ᾱ) ε, and s² = 1-ᾱ: one root cancels.",
    ),
    insight="The score points against the noise, and its length grows without bound as the noise becomes small: so "
    "networks "
    "predict ε, which has the same size everywhere. The 2019 and the 2020 papers learn the same thing.",
    wrong=(
        Wrong("sign", score_sign, "The sign is turned round: the density rises *against* the noise."),
        Wrong(
            "variance-for-deviation",
            score_by_variance,
            "You divided by the variance 1-ᾱ. One root of it cancels against the size of the noise in z_t: √(1-ᾱ) "
            "is left.",
        ),
        Wrong(
            "signal-for-noise", score_by_signal, "You divided by √ᾱ, the signal's factor; it is the noise's, √(1-ᾱ)."
        ),
        Wrong("multiplied", score_multiplied, "You multiplied by √(1-ᾱ); divide: less noise is a steeper density."),
        Wrong("is-minus-eps", score_is_minus_eps, "The direction is right, the length is not: it depends on ᾱ."),
        Wrong(
            "variance-and-sign",
            score_by_variance_without_minus,
            "Two things: the sign is turned round, for the density rises *against* the noise; and you divided by the "
            "variance 1-ᾱ, of which one root cancels: √(1-ᾱ) is left.",
        ),
        Wrong(
            "halved",
            score_halved,
            "It is half of the score. The square brings a 2 when it is differentiated: it cancels the ½ of the "
            "log-density.",
        ),
        Wrong("one-number-only", score_by_math, ONE_NUMBER),
    ),
    right=(score_by_power, score_by_autograd),
)


# ── The posterior q(z_{t-1} | z_t, z0) ───────────────────────────────────────────────────────────────


def posterior_cases(generator: Generator) -> list[Call]:
    """z0, z_t, t, ᾱ; t = 0 is among them."""
    alpha_bar = torch.tensor([0.8, 0.6, 0.3])
    z0, z_t = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0]])
    calls = [Call((z0, z_t, t, alpha_bar)) for t in (2, 1, 0)]
    for shape in ((2, 3), (3, 4, 8, 8)):
        z0, z_t = (torch.randn(shape, generator=generator) for _ in range(2))
        t = int(torch.randint(2, 10, (), generator=generator))
        calls.append(Call((z0, z_t, t, random_alpha_bar(10, generator))))
    return calls


def levels(t: int, alpha_bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ᾱ_t, ᾱ_{t-1} (1 before the first step) and β_t."""
    before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[0])
    return alpha_bar[t], before, 1 - alpha_bar[t] / before


def posterior_mean_right(z0: Tensor, z_t: Tensor, t: int, alpha_bar: Tensor) -> Tensor:
    """(√ᾱ_{t-1} β_t z0 + √α_t (1-ᾱ_{t-1}) z_t) / (1-ᾱ_t)."""
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_from_the_end_at_0(z0, z_t, t, alpha_bar):
    now, before = alpha_bar[t], alpha_bar[t - 1]
    beta = 1 - now / before
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_swapped(z0, z_t, t, alpha_bar):
    return posterior_mean_right(z_t, z0, t, alpha_bar)


def mean_without_roots(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before * beta * z0 + (1 - beta) * (1 - before) * z_t) / (1 - now)


def mean_not_divided(z0, z_t, t, alpha_bar):
    return posterior_mean_right(z0, z_t, t, alpha_bar) * (1 - alpha_bar[t])


def mean_with_this_level(z0, z_t, t, alpha_bar):
    now, _, beta = levels(t, alpha_bar)
    return (now.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - now) * z_t) / (1 - now)


def mean_with_alpha_bar_for_alpha(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (before.sqrt() * beta * z0 + now.sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_noise_of_all_steps(z0, z_t, t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    return (before.sqrt() * (1 - now) * z0 + now.sqrt() * (1 - before) * z_t) / (1 - now)


def mean_with_difference(z0, z_t, t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    beta = before - now
    return (before.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_from_the_start_at_1(z0, z_t, t, alpha_bar):
    return z0 + 0 * z_t if t == 1 else posterior_mean_right(z0, z_t, t, alpha_bar)


def mean_with_this_signal(z0, z_t, t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (now.sqrt() * beta * z0 + (1 - beta).sqrt() * (1 - before) * z_t) / (1 - now)


def mean_divisor_rooted(z0, z_t, t, alpha_bar):
    return posterior_mean_right(z0, z_t, t, alpha_bar) * (1 - alpha_bar[t]).sqrt()


def mean_is_z_t_at_0(z0, z_t, t, alpha_bar):
    return z_t + 0 * z0 if t == 0 else posterior_mean_right(z0, z_t, t, alpha_bar)


def mean_of_the_jump(z0, z_t, t, alpha_bar):
    return levels(t, alpha_bar)[1].sqrt() * z0 + 0 * z_t


def mean_by_eps(z0, z_t, t, alpha_bar):
    now, _, beta = levels(t, alpha_bar)
    eps = (z_t - now.sqrt() * z0) / (1 - now).sqrt()
    return (z_t - beta / (1 - now).sqrt() * eps) / (1 - beta).sqrt()


def mean_by_precisions(z0, z_t, t, alpha_bar):
    """The product of two Gaussians: each mean counts by its precision."""
    if t == 0:
        return z0 + 0 * z_t
    _, before, beta = levels(t, alpha_bar)
    prior, seen = 1 / (1 - before), (1 - beta) / beta
    return (prior * before.sqrt() * z0 + seen * z_t / (1 - beta).sqrt()) / (prior + seen)


POSTERIOR_MEAN = Exercise(
    name="posterior_mean",
    title="The mean of the posterior",
    stars=3,
    minutes=15,
    answer=posterior_mean_right,
    cases=posterior_cases,
    constants=("alpha_bar",),
    hints=(
        "Get β_t first: ᾱ_t = ᾱ_{t-1} (1-β_t).",
        "Before the first step nothing is noised: for t = 0 take ᾱ_{t-1} = 1. (In Python, alpha_bar[-1] is the last "
        "entry.)",
        "(√ᾱ_{t-1} β_t z0 + √(1-β_t) (1-ᾱ_{t-1}) z_t) / (1-ᾱ_t)",
    ),
    insight="The mean lies between z0 and z_t: at t = 0 it is z0 itself. In sampling z0 is not known, and the "
    "network's ẑ0 "
    "takes its place: that is all of DDPM.",
    wrong=(
        Wrong(
            "last-entry-at-0",
            mean_from_the_end_at_0,
            "At t = 0 your alpha_bar[t - 1] is alpha_bar[-1], the *last* entry. Before the first step ᾱ is 1.",
        ),
        Wrong("swapped", mean_swapped, "z0 and z_t have each other's factor."),
        Wrong("no-roots", mean_without_roots, "√ᾱ_{t-1} and √α_t are roots: they scale tensors, not variances."),
        Wrong(
            "not-divided",
            mean_not_divided,
            "The division by 1-ᾱ_t is missing: the two weights must add up to the whole.",
        ),
        Wrong(
            "level-of-t",
            mean_with_this_level,
            "You took ᾱ_t where ᾱ_{t-1} stands: the posterior is about the step *before* t.",
        ),
        Wrong(
            "alpha-bar-for-alpha",
            mean_with_alpha_bar_for_alpha,
            "You scaled z_t with √ᾱ_t. It is √α_t = √(1-β_t), of this one step.",
        ),
        Wrong(
            "beta-of-all-steps",
            mean_with_noise_of_all_steps,
            "You took 1-ᾱ_t for β_t, and ᾱ_t for α_t. That is the noise of all steps up to t; this one step adds "
            "β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "beta-is-difference",
            mean_with_difference,
            "You took ᾱ_{t-1} - ᾱ_t for β_t. β is a share of what was left before, so divide: β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "start-at-1",
            mean_from_the_start_at_1,
            "At t = 1 your result is z0, as if ᾱ_{t-1} were 1. That is so at t = 0; at t = 1 it is alpha_bar[0].",
        ),
        Wrong(
            "signal-of-t", mean_with_this_signal, "You scaled z0 with √ᾱ_t. It is √ᾱ_{t-1}: the mean is a place at t-1."
        ),
        Wrong("divisor-rooted", mean_divisor_rooted, "You divided by √(1-ᾱ_t). It is 1-ᾱ_t, without a root."),
        Wrong(
            "z-t-at-0",
            mean_is_z_t_at_0,
            "At t = 0 you return z_t. There 1-ᾱ_{t-1} is 0, so z_t counts for nothing: the mean is z0.",
        ),
        Wrong(
            "prior-only",
            mean_of_the_jump,
            "That is the mean of q(z_{t-1} | z0), which does not know z_t. The posterior knows both.",
        ),
    ),
    right=(mean_by_eps, mean_by_precisions),
)


def variance_cases(generator: Generator) -> list[Call]:
    """t and ᾱ, with t = 0 among them."""
    calls = [Call((t, torch.tensor([0.8, 0.6, 0.3]))) for t in (2, 1, 0)]
    return [*calls, *(Call((t, random_alpha_bar(T, generator))) for t, T in ((3, 5), (15, 20), (7, 10)))]


def posterior_variance_right(t: int, alpha_bar: Tensor) -> Tensor:
    """β̃_t = (1-ᾱ_{t-1}) / (1-ᾱ_t) β_t."""
    now, before, beta = levels(t, alpha_bar)
    return (1 - before) / (1 - now) * beta


def variance_is_beta(t, alpha_bar):
    return levels(t, alpha_bar)[2]


def variance_is_deviation(t, alpha_bar):
    return posterior_variance_right(t, alpha_bar).sqrt()


def variance_is_logarithm(t, alpha_bar):
    return posterior_variance_right(t, alpha_bar).log()


def variance_is_clamped_logarithm(t, alpha_bar):
    return posterior_variance_right(t, alpha_bar).clamp(min=1e-20).log()


def variance_from_the_end_at_0(t, alpha_bar):
    now, before = alpha_bar[t], alpha_bar[t - 1]
    return (1 - before) / (1 - now) * (1 - now / before)


def variance_inverted(t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return (1 - now) / (1 - before) * beta


def variance_of_signals(t, alpha_bar):
    now, before, beta = levels(t, alpha_bar)
    return before / now * beta


def variance_with_noise_of_all_steps(t, alpha_bar):
    return 1 - levels(t, alpha_bar)[1]


def variance_with_difference(t, alpha_bar):
    now, before, _ = levels(t, alpha_bar)
    return (1 - before) / (1 - now) * (before - now)


def variance_from_the_start_at_1(t, alpha_bar):
    return posterior_variance_right(0 if t == 1 else t, alpha_bar)


def variance_floored(t, alpha_bar):
    return posterior_variance_right(max(t, 1), alpha_bar)


def variance_by_precisions(t, alpha_bar):
    if t == 0:
        return alpha_bar[0] * 0
    _, before, beta = levels(t, alpha_bar)
    return 1 / (1 / (1 - before) + (1 - beta) / beta)


def variance_by_padding(t, alpha_bar):
    padded = torch.cat([alpha_bar.new_ones(1), alpha_bar])
    return (1 - padded[t]) * (padded[t] - padded[t + 1]) / (padded[t] * (1 - padded[t + 1]))


POSTERIOR_VARIANCE = Exercise(
    name="posterior_variance",
    title="The variance of the posterior",
    stars=2,
    minutes=10,
    answer=posterior_variance_right,
    cases=variance_cases,
    constants=("alpha_bar",),
    hints=(
        "β_t = 1 - ᾱ_t / ᾱ_{t-1}, with ᾱ_{-1} = 1.",
        "Knowing z0 as well makes z_{t-1} more certain than β_t alone: by the factor (1-ᾱ_{t-1}) / (1-ᾱ_t).",
        "At t = 0 the factor is 0: the last step adds no noise.",
    ),
    insight="It is 0 at t = 0, so its logarithm is not finite there: reference code takes that of t = 1 instead. The "
    "variance is smaller than β_t and close to it for large t; both are used in sampling.",
    wrong=(
        Wrong(
            "last-entry-at-0",
            variance_from_the_end_at_0,
            "At t = 0 your alpha_bar[t - 1] is alpha_bar[-1], the *last* entry. Before the first step ᾱ is 1.",
        ),
        Wrong(
            "is-beta",
            variance_is_beta,
            "That is β_t, the upper choice of the DDPM paper. The posterior knows z0 too, and is narrower.",
        ),
        Wrong("is-deviation", variance_is_deviation, "You returned the standard deviation; the variance is asked for."),
        Wrong(
            "is-clamped-logarithm",
            variance_is_clamped_logarithm,
            "You returned the logarithm, kept finite at t = 0; the variance itself is asked for.",
        ),
        Wrong("is-logarithm", variance_is_logarithm, "You returned the logarithm; the variance itself is asked for."),
        Wrong("inverted", variance_inverted, "The fraction is upside down: the factor must be below 1."),
        Wrong(
            "beta-of-all-steps",
            variance_with_noise_of_all_steps,
            "Your result is 1-ᾱ_{t-1}. That comes out if β_t is taken for 1-ᾱ_t, the noise of all steps up to t; "
            "this one step adds β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "beta-is-difference",
            variance_with_difference,
            "You took ᾱ_{t-1} - ᾱ_t for β_t. β is a share of what was left before, so divide: β_t = 1 - ᾱ_t / ᾱ_{t-1}.",
        ),
        Wrong(
            "start-at-1",
            variance_from_the_start_at_1,
            "At t = 1 your result is 0, as if ᾱ_{t-1} were 1. That is so at t = 0; at t = 1 it is alpha_bar[0].",
        ),
        Wrong(
            "signal-for-noise",
            variance_of_signals,
            "The factor has ᾱ where it needs 1-ᾱ: it is about how much *noise* there is at t-1 and at t.",
        ),
        Wrong(
            "that-of-1-at-0",
            variance_floored,
            "At t = 0 you return the value of t = 1: that is done for the logarithm only. The variance itself is 0.",
        ),
    ),
    right=(variance_by_precisions, variance_by_padding),
)


# ── The loss ─────────────────────────────────────────────────────────────────────────────────────────


def loss_cases(generator: Generator) -> list[Call]:
    """A model, z0, t, eps, ᾱ. The shapes are those of q_sample: ᾱ along a wrong dimension makes no error."""
    calls = [
        Call(
            (
                Made(ToyModel),
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
        calls.append(Call((Made(ToyModel), z0, t, eps, random_alpha_bar(10, generator))))
    return calls


def loss_right(model, z0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """mean((model(z_t, t) - ε)²)."""
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - eps).square().mean()


def loss_summed(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - eps).square().sum()


def loss_absolute(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - eps).abs().mean()


def loss_against_z0(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - z0).square().mean()


def loss_on_clean(model, z0, t, eps, alpha_bar):
    return (model(z0, t) - eps).square().mean()


def loss_of_previous_t(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t - 1) - eps).square().mean()


def loss_rooted(model, z0, t, eps, alpha_bar):
    return loss_right(model, z0, t, eps, alpha_bar).sqrt()


def loss_own_noise(model, z0, t, eps, alpha_bar):
    return loss_right(model, z0, t, torch.randn_like(z0), alpha_bar)


def loss_not_averaged(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - eps).square()


def loss_of_scaled_noise(model, z0, t, eps, alpha_bar):
    noise = (1 - per_image(alpha_bar[t], z0)).sqrt() * eps
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - noise).square().mean()


def loss_of_shaped(model, z0, t, eps, a):
    """The loss with ᾱ_t in some shape."""
    return (model(a.sqrt() * z0 + (1 - a).sqrt() * eps, t) - eps).square().mean()


def loss_not_shaped(model, z0, t, eps, alpha_bar):
    return loss_of_shaped(model, z0, t, eps, alpha_bar[t])


def loss_for_points(model, z0, t, eps, alpha_bar):
    return loss_of_shaped(model, z0, t, eps, alpha_bar[t].view(-1, 1))


def loss_for_images(model, z0, t, eps, alpha_bar):
    return loss_of_shaped(model, z0, t, eps, alpha_bar[t].view(-1, 1, 1, 1))


def loss_by_math(model, z0, t, eps, alpha_bar):
    z_t = math.sqrt(alpha_bar[t]) * z0 + math.sqrt(1 - alpha_bar[t]) * eps
    return (model(z_t, t) - eps).square().mean()


def loss_summed_over_items(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - eps).square().flatten(1).sum(1).mean()


def loss_squared_at_the_end(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - eps).mean() ** 2


def loss_on_sum(model, z0, t, eps, alpha_bar):
    return (model(z0 + eps, t) - eps).square().mean()


def loss_without_roots(model, z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return (model(a * z0 + (1 - a) * eps, t) - eps).square().mean()


def loss_against_velocity(model, z0, t, eps, alpha_bar):
    v = forward_diffusion.velocity(z0, eps, per_image(alpha_bar[t], z0))
    return (model(q_sample_right(z0, t, eps, alpha_bar), t) - v).square().mean()


def loss_told_alpha_bar(model, z0, t, eps, alpha_bar):
    return (model(q_sample_right(z0, t, eps, alpha_bar), alpha_bar[t]) - eps).square().mean()


def loss_without_gradient(model, z0, t, eps, alpha_bar):
    with torch.no_grad():
        prediction = model(q_sample_right(z0, t, eps, alpha_bar), t)
    return (prediction - eps).square().mean()


def loss_by_library(model, z0, t, eps, alpha_bar):
    return torch.nn.functional.mse_loss(model(q_sample_right(z0, t, eps, alpha_bar), t), eps)


def loss_by_image(model, z0, t, eps, alpha_bar):
    total = 0
    for i in range(len(z0)):
        z_t = alpha_bar[t[i]].sqrt() * z0[i : i + 1] + (1 - alpha_bar[t[i]]).sqrt() * eps[i : i + 1]
        total = total + ((model(z_t, t[i : i + 1]) - eps[i : i + 1]) ** 2).sum()
    return total / z0.numel()


def loss_of_noised_without_gradient(model, z0, t, eps, alpha_bar):
    with torch.no_grad():
        z_t = q_sample_right(z0, t, eps, alpha_bar)
    return (model(z_t, t) - eps).square().mean()


DIFFUSION_LOSS = Exercise(
    name="diffusion_loss",
    title="The loss",
    stars=2,
    minutes=10,
    answer=loss_right,
    cases=loss_cases,
    constants=("z0", "eps", "alpha_bar"),
    hints=(
        "Three lines: noise z0 to t, ask the model, compare.",
        "The model is asked with the noised latent and with t: model(z_t, t).",
        "The mean over all numbers of the squared difference between prediction and eps.",
    ),
    insight="The target is the total noise in z_t, not what step t added. The weights that the bound would give to "
    "each t "
    "are left out on purpose (Ho et al. 2020, eq. 14): pictures come out better.",
    wrong=(
        Wrong(
            "summed", loss_summed, "You summed; the mean is asked for, so that the size of the batch does not matter."
        ),
        Wrong(
            "summed-over-items",
            loss_summed_over_items,
            "You summed over the numbers of an item and took the mean over the batch only. Take the mean over all "
            "numbers, so that the size of a picture does not matter.",
        ),
        Wrong(
            "squared-at-the-end",
            loss_squared_at_the_end,
            "You took the mean first and squared it: errors of both signs cancel. Square each difference, then take "
            "the mean.",
        ),
        Wrong("absolute", loss_absolute, "You took the absolute difference; it is squared here."),
        Wrong("rooted", loss_rooted, "You took the root of the mean. The loss is the mean squared error itself."),
        Wrong(
            "not-averaged",
            loss_not_averaged,
            "You return one number for each pixel. Average them: the loss is a scalar.",
        ),
        Wrong(
            "target-z0",
            loss_against_z0,
            "You compared with the clean latent; this model predicts the noise, so compare with eps.",
        ),
        Wrong(
            "target-velocity",
            loss_against_velocity,
            "You compared with the velocity; this model predicts the noise, so compare with eps.",
        ),
        Wrong("clean-input", loss_on_clean, "The model was shown the clean latent. Noise it first: it must see z_t."),
        Wrong(
            "sum-as-input",
            loss_on_sum,
            "The model was shown z0 + ε. Both are scaled in z_t, as in q_sample: √ᾱ_t z0 + √(1-ᾱ_t) ε.",
        ),
        Wrong(
            "no-roots",
            loss_without_roots,
            "You mixed z_t with ᾱ and 1-ᾱ. Those are variances: z0 and ε are scaled by their roots.",
        ),
        Wrong("off-by-one", loss_of_previous_t, "The model was told t - 1, but z_t has the noise of t."),
        Wrong(
            "told-alpha-bar",
            loss_told_alpha_bar,
            "The model was told alpha_bar[t]. Its second argument is the timestep t itself.",
        ),
        Wrong(
            "broadcast-along-last",
            loss_not_shaped,
            "alpha_bar[t] is (B,). Beside (B, …) torch lays it along the *last* dimension: if that has length B, "
            "too, there is not even an error. Each ᾱ_t belongs to an image: make it (B, 1, …, 1).",
        ),
        Wrong(
            "for-points-only",
            loss_for_points,
            "You made ᾱ_t (B, 1). That fits points (B, 2); beside (B, C, H, W) torch lays the B along the height. "
            "Items may have any number of dimensions: .view(-1, *[1] * (z0.dim() - 1)).",
        ),
        Wrong(
            "for-images-only",
            loss_for_images,
            "You made ᾱ_t (B, 1, 1, 1). That fits (B, C, H, W); beside points (B, 2) every image is mixed with every "
            "ᾱ_t, without an error. Items may have any number of dimensions: .view(-1, *[1] * (z0.dim() - 1)).",
        ),
        Wrong("one-number-only", loss_by_math, ONE_NUMBER),
        Wrong("own-noise", loss_own_noise, "You drew new noise. Use the eps that is given, for z_t and as the target."),
        Wrong(
            "noise-scaled",
            loss_of_scaled_noise,
            "You compared with √(1-ᾱ) ε, the noise as it is in z_t. The target is ε itself, of variance 1.",
        ),
        Wrong("gradient-cut", loss_without_gradient),
    ),
    right=(loss_by_library, loss_by_image, loss_of_noised_without_gradient),
)


EXERCISES = (Z0_FROM_EPS, VELOCITY, EPS_FROM_VELOCITY, SCORE, POSTERIOR_MEAN, POSTERIOR_VARIANCE, DIFFUSION_LOSS)
