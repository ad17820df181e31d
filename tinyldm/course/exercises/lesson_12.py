"""Exercises of lesson 12: which timesteps, the steps of four samplers, guidance, negative captions."""

import math

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion, reverse_diffusion
from tinyldm.course import makers
from tinyldm.course.calls import Call, Made, Seeded
from tinyldm.course.exercise import Exercise, Wrong
from tinyldm.course.exercises.inputs import integer, no_inputs, uniform

TITLE = "Samplers and guidance"


# ── Timesteps: leading ───────────────────────────────────────────────────────────────────────────────

def leading_cases(generator: Generator) -> list[Call]:
    """Numbers of steps, and T; T is no multiple of steps in some of them."""
    return [Call((3, 10)), Call((integer(4, 10, generator), 101)), Call((7, 1000)), Call((50, 1000))]


def leading_from_zero(steps, T):
    return reverse_diffusion.leading_from_zero(steps, T)


def leading_rising(steps, T):
    return torch.arange(steps) * (T // steps) + 1


def leading_is_trailing(steps, T):
    return reverse_diffusion.trailing(steps, T)


def leading_both_ends(steps, T):
    return torch.linspace(T - 1, 0, steps).round().long()


def leading_too_many(steps, T):
    return torch.arange(0, T, T // steps).flip(0) + 1


def leading_stride_not_whole(steps, T):
    return torch.tensor([round(i * T / steps) + 1 for i in reversed(range(steps))])


def leading_from_one_stride(steps, T):
    return torch.arange(steps, 0, -1) * (T // steps) + 1


def leading_by_list(steps, T):
    return torch.tensor([i * (T // steps) + 1 for i in range(steps)][::-1])


def leading_by_range(steps, T):
    stride = T // steps
    return torch.tensor(range(1, steps * stride + 1, stride)).flip(0)


LEADING = Exercise(
    name="leading_timesteps", title="Which timesteps: Stable Diffusion's way", stars=1, minutes=6,
    answer=reverse_diffusion.leading, cases=leading_cases,
    hints=("The distance between neighbours is a whole number, T // steps.",
           "Multiply steps - 1, …, 1, 0 with it; then add 1 to all of them.",
           "torch.arange(steps - 1, -1, -1) * (T // steps) + 1"),
    insight="\"Leading\" fixes the clean end and lets the noisy end fall where it will: 981 with 50 steps, 901 with "
            "10, 801 with 5. The fewer steps, the more signal the network expects in what is pure noise.",
    wrong=(
        Wrong("offset-missing", leading_from_zero,
              "The 1 is missing: you end at t = 0, Stable Diffusion at t = 1. (diffusers calls it steps_offset; "
              "leaving it out is diffusers' own default, and its pictures differ.)"),
        Wrong("rising", leading_rising,
              "The order is turned round: sampling goes from much noise to little, so the largest comes first."),
        Wrong("trailing", leading_is_trailing,
              "That is \"trailing\" spacing, which starts at T - 1. \"Leading\" starts where the multiples of T // "
              "steps happen to end."),
        Wrong("both-ends", leading_both_ends,
              "That is \"linspace\" spacing, from T - 1 to 0 with both ends. Here the distance is T // steps."),
        Wrong("too-many", leading_too_many,
              "Where T is no multiple of steps, counting through all of T gives more than `steps` timesteps. Take "
              "exactly `steps` multiples of T // steps."),
        Wrong("distance-not-whole", leading_stride_not_whole,
              "You rounded each timestep. Here the distance is rounded down once: T // steps for all."),
        Wrong("multiples-from-one", leading_from_one_stride,
              "Your multiples are 1 … steps; they are 0 … steps - 1. Yours can step over the end of the table."),
    ),
    right=(leading_by_list, leading_by_range))


# ── Timesteps: trailing ──────────────────────────────────────────────────────────────────────────────

def trailing_cases(generator: Generator) -> list[Call]:
    """Numbers of steps, and T. Odd ones, so that nothing lies halfway between two whole numbers."""
    return [Call((3, 10)), Call((2 * integer(2, 6, generator) + 1, 100)), Call((7, 1000)), Call((25, 1000))]


def trailing_from_T(steps, T):
    return reverse_diffusion.trailing(steps, T) + 1


def trailing_is_leading(steps, T):
    return reverse_diffusion.leading(steps, T)


def trailing_cut(steps, T):
    return torch.tensor([int(T - i * T / steps) - 1 for i in range(steps)])


def trailing_both_ends(steps, T):
    return torch.linspace(T - 1, 0, steps).round().long()


def trailing_rising(steps, T):
    return reverse_diffusion.trailing(steps, T).flip(0)


def trailing_stride_cut(steps, T):
    return T - 1 - torch.arange(steps) * (T // steps)


def trailing_not_rounded(steps, T):
    return T - torch.arange(steps) * (T / steps) - 1


def trailing_by_arange(steps, T):
    return torch.arange(T, 0, -T / steps, dtype=torch.float64)[:steps].round().long() - 1


def trailing_by_counting_up(steps, T):
    return torch.tensor([round((i + 1) * T / steps) - 1 for i in range(steps)]).flip(0)


TRAILING = Exercise(
    name="trailing_timesteps", title="Which timesteps: from the very end", stars=1, minutes=6,
    answer=reverse_diffusion.trailing, cases=trailing_cases,
    hints=("The distance T / steps need not be whole. Count down from T, not from T - 1.",
           "The i-th number is T - i T / steps, for i = 0 … steps - 1.",
           "Round each to a whole number and subtract 1."),
    insight="\"Trailing\" fixes the noisy end: whatever the number of steps, the first is at T - 1, where z_t is as "
            "near to pure noise as training ever saw. The tiny model samples this way.",
    wrong=(
        Wrong("minus-one-missing", trailing_from_T,
              "Your first timestep is T; the table has 0 … T - 1. Subtract 1."),
        Wrong("leading", trailing_is_leading,
              "That is \"leading\" spacing: it starts where the multiples of T // steps end, not at T - 1."),
        Wrong("cut-not-rounded", trailing_cut,
              "int() cuts the fraction off; the nearest whole number is asked for: round()."),
        Wrong("both-ends", trailing_both_ends,
              "That is \"linspace\" spacing, which visits 0 too. Here the last one is a whole distance from the end: "
              "the last step leads to the clean latent."),
        Wrong("rising", trailing_rising,
              "The order is turned round: sampling goes from much noise to little, so T - 1 comes first."),
        Wrong("distance-cut", trailing_stride_cut,
              "You made the distance whole, T // steps, before counting down. The rest adds up: go down by T / steps "
              "and round each timestep."),
        Wrong("not-rounded", trailing_not_rounded,
              "These are fractions. The schedule is a table, so round each timestep to a whole number."),
    ),
    right=(trailing_by_arange, trailing_by_counting_up))


# ── DDIM ─────────────────────────────────────────────────────────────────────────────────────────────

def step_cases(generator: Generator) -> list[Call]:
    """z, ε̂, ᾱ here, ᾱ after the step; once the step onto the clean latent."""
    calls = [Call((torch.tensor([[1.0, -0.5]]), torch.tensor([[0.5, 1.0]]), 0.36, 0.64))]
    for shape, clean in (((3, 5), False), ((1, 2, 4, 4), True), ((2, 4, 8, 8), False)):
        z, eps_hat = (torch.randn(shape, generator=generator) for _ in range(2))
        alpha_bar = uniform(0.1, 0.5, generator)
        calls.append(Call((z, eps_hat, alpha_bar, 1.0 if clean else uniform(0.6, 0.95, generator))))
    return calls


def clean_latent(z, eps_hat, alpha_bar):
    """ẑ0 = (z - √(1-ᾱ) ε̂) / √ᾱ."""
    return (z - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5


def ddim_right(z: Tensor, eps_hat: Tensor, alpha_bar: float, next_alpha_bar: float) -> Tensor:
    """√ᾱ' ẑ0 + √(1-ᾱ') ε̂."""
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_z0_not_divided(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = z - (1 - alpha_bar) ** 0.5 * eps_hat
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_without_roots(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = (z - (1 - alpha_bar) * eps_hat) / alpha_bar
    return next_alpha_bar * z0_hat + (1 - next_alpha_bar) * eps_hat


def ddim_old_noise(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) + (1 - alpha_bar) ** 0.5 * eps_hat


def ddim_stops_at_z0(z, eps_hat, alpha_bar, next_alpha_bar):
    return clean_latent(z, eps_hat, alpha_bar)


def ddim_levels_swapped(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_right(z, eps_hat, next_alpha_bar, alpha_bar)


def ddim_fresh_noise(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * torch.randn_like(z)


def ddim_back_again(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_right(z, eps_hat, alpha_bar, alpha_bar)


def ddim_noise_added(z, eps_hat, alpha_bar, next_alpha_bar):
    return ddim_right(z, -eps_hat, alpha_bar, next_alpha_bar) + 2 * (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_noise_divided(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = z - (1 - alpha_bar) ** 0.5 * eps_hat / alpha_bar**0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_squared(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = (z - (1 - alpha_bar) ** 2 * eps_hat) / alpha_bar**2
    return next_alpha_bar**2 * z0_hat + (1 - next_alpha_bar) ** 2 * eps_hat


def ddim_noise_by_variance(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) + (1 - next_alpha_bar) * eps_hat


def ddim_one_minus_root(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = (z - (1 - alpha_bar**0.5) * eps_hat) / alpha_bar**0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar**0.5) * eps_hat


def ddim_clamped(z, eps_hat, alpha_bar, next_alpha_bar):
    z0_hat = clean_latent(z, eps_hat, alpha_bar).clamp(-1, 1)
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_subtracted(z, eps_hat, alpha_bar, next_alpha_bar):
    return z - ((1 - alpha_bar) ** 0.5 - (1 - next_alpha_bar) ** 0.5) * eps_hat


def ddim_mixed_with_z(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * clean_latent(z, eps_hat, alpha_bar) + (1 - next_alpha_bar) ** 0.5 * z


def ddim_in_place(z, eps_hat, alpha_bar, next_alpha_bar):
    z = z.detach()
    z -= (1 - alpha_bar) ** 0.5 * eps_hat.detach()
    return (next_alpha_bar / alpha_bar) ** 0.5 * z + (1 - next_alpha_bar) ** 0.5 * eps_hat


def ddim_without_gradient(z, eps_hat, alpha_bar, next_alpha_bar):
    with torch.no_grad():
        return ddim_right(z, eps_hat, alpha_bar, next_alpha_bar)


def ddim_by_two_factors(z, eps_hat, alpha_bar, next_alpha_bar):
    ratio = math.sqrt(next_alpha_bar / alpha_bar)
    return ratio * z + (math.sqrt(1 - next_alpha_bar) - ratio * math.sqrt(1 - alpha_bar)) * eps_hat


def ddim_by_rotation(z, eps_hat, alpha_bar, next_alpha_bar):
    angle, next_angle = math.acos(math.sqrt(alpha_bar)), math.acos(math.sqrt(next_alpha_bar))
    v = (eps_hat - math.sin(angle) * z) / math.cos(angle)
    return math.cos(angle - next_angle) * z - math.sin(angle - next_angle) * v


DDIM_STEP = Exercise(
    name="ddim_step", title="A step of DDIM", stars=2, minutes=10,
    answer=ddim_right, cases=step_cases,
    hints=("Two steps: which clean latent would explain z, if eps_hat is the noise in it? Then mix again.",
           "ẑ0 = (z - √(1-ᾱ) ε̂) / √ᾱ, with the ᾱ of where z is.",
           "The new mixture has the ᾱ of where you land: √ᾱ' ẑ0 + √(1-ᾱ') ε̂, the same ε̂."),
    insight="Nothing is drawn, so a noise belongs to one picture for good. And nothing asks how far the step is: 50 "
            "steps or 5, the formula is the same, only ẑ0 is believed over a longer way.",
    wrong=(
        Wrong("z0-not-divided", ddim_z0_not_divided,
              "What is left when the noise is taken off is √ᾱ ẑ0, the signal as it is *in z*. Divide by √ᾱ to get ẑ0."),
        Wrong("no-roots", ddim_without_roots,
              "You mixed with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots."),
        Wrong("noise-of-old-level", ddim_old_noise,
              "You put back as much noise as was there before, √(1-ᾱ). After the step there is less: √(1-ᾱ')."),
        Wrong("stops-at-z0", ddim_stops_at_z0,
              "You return ẑ0, and with it jump to the end. It is a blurred guess at first; go back to the next noise "
              "level, so that the model can be asked again."),
        Wrong("levels-swapped", ddim_levels_swapped,
              "The two ᾱ are exchanged: z has the noise of alpha_bar, and the result that of next_alpha_bar."),
        Wrong("fresh-noise", ddim_fresh_noise,
              "You noised ẑ0 again with new noise. DDIM goes back along the *same* ε̂: this is what makes it "
              "deterministic."),
        Wrong("back-again", ddim_back_again,
              "You mixed again with the ᾱ of where you came from, so z comes back as it was. The new mixture has ᾱ'."),
        Wrong("noise-added", ddim_noise_added,
              "You added the noise on the way to ẑ0. z holds it already: take it off, z - √(1-ᾱ) ε̂."),
        Wrong("noise-divided-only", ddim_noise_divided,
              "Only the noise is divided by √ᾱ. Brackets: (z - √(1-ᾱ) ε̂) / √ᾱ."),
        Wrong("squares-for-roots", ddim_squared, "You squared ᾱ and 1-ᾱ. Their *roots* are needed: ** 0.5."),
        Wrong("noise-by-variance", ddim_noise_by_variance,
              "You put the noise back with 1-ᾱ'. That is its variance; the factor is √(1-ᾱ')."),
        Wrong("one-minus-root", ddim_one_minus_root,
              "You took 1 - √ᾱ for the noise. It is √(1-ᾱ): the *squares* of both factors add up to 1."),
        Wrong("clamped", ddim_clamped,
              "You cut ẑ0 off at -1 and 1. That is done to pixels; latents have no such bounds."),
        Wrong("signal-not-rescaled", ddim_subtracted,
              "You only took some noise off. The signal must also grow from √ᾱ to √ᾱ' of its size; without that the "
              "picture stays too faint."),
        Wrong("z-for-eps", ddim_mixed_with_z,
              "You mixed ẑ0 with z. z is signal and noise together; the noise alone is eps_hat."),
        Wrong("inputs-changed", ddim_in_place),
        Wrong("gradient-cut", ddim_without_gradient),
    ),
    right=(ddim_by_two_factors, ddim_by_rotation))


# ── Euler ────────────────────────────────────────────────────────────────────────────────────────────

def sigma_of(alpha_bar: float) -> float:
    """√((1-ᾱ) / ᾱ)."""
    return math.sqrt((1 - alpha_bar) / alpha_bar)


def euler_right(z: Tensor, eps_hat: Tensor, alpha_bar: float, next_alpha_bar: float) -> Tensor:
    """x = z / √ᾱ; x' = x + (σ' - σ) ε̂; z' = √ᾱ' x'."""
    x = z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_not_entered(z, eps_hat, alpha_bar, next_alpha_bar):
    return next_alpha_bar**0.5 * (z + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat)


def euler_not_left(z, eps_hat, alpha_bar, next_alpha_bar):
    return z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat


def euler_in_z(z, eps_hat, alpha_bar, next_alpha_bar):
    return z + (sigma_of(next_alpha_bar) - sigma_of(alpha_bar)) * eps_hat


def euler_sign(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + (sigma_of(alpha_bar) - sigma_of(next_alpha_bar)) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_sigma_of_variance_preserving(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + ((1 - next_alpha_bar) ** 0.5 - (1 - alpha_bar) ** 0.5) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_sigma_not_rooted(z, eps_hat, alpha_bar, next_alpha_bar):
    x = z / alpha_bar**0.5 + (sigma_of(next_alpha_bar) ** 2 - sigma_of(alpha_bar) ** 2) * eps_hat
    return next_alpha_bar**0.5 * x


def euler_left_by_old_level(z, eps_hat, alpha_bar, next_alpha_bar):
    return alpha_bar**0.5 * euler_right(z, eps_hat, alpha_bar, next_alpha_bar) / next_alpha_bar**0.5


def euler_by_karras_scale(z, eps_hat, alpha_bar, next_alpha_bar):
    sigma, next_sigma = sigma_of(alpha_bar), sigma_of(next_alpha_bar)
    x = z * math.sqrt(1 + sigma**2)
    return torch.add(x, eps_hat, alpha=next_sigma - sigma) / math.sqrt(1 + next_sigma**2)


EULER_STEP = Exercise(
    name="euler_step", title="A step of Euler", stars=2, minutes=10,
    answer=euler_right, cases=step_cases,
    hints=("Three lines: into the coordinate x, the step, out of it again.",
           "σ = √((1-ᾱ)/ᾱ) is the size of the noise in x = z / √ᾱ, where the signal has its full size.",
           "x + (σ' - σ) ε̂, where σ' < σ; back with √ᾱ'."),
    insight="Work it out and you find DDIM's step: the same numbers, but for rounding. Euler's way of saying it shows "
            "what DDIM is, a straight step along the curve of an ordinary differential equation.",
    wrong=(
        Wrong("in-z", euler_in_z,
              "You stepped z itself. \"dx/dσ = ε̂\" holds for x = z / √ᾱ only: go into x first, and out again after "
              "it."),
        Wrong("x-not-entered", euler_not_entered,
              "You took z for x. In x the signal has its full size: x = z / √ᾱ."),
        Wrong("x-not-left", euler_not_left,
              "That is x after the step. The model expects z, of variance about 1: multiply with √ᾱ'."),
        Wrong("sign", euler_sign,
              "You *added* noise. The step is σ' - σ, which is negative, as there is less noise after it."),
        Wrong("noise-level-in-z", euler_sigma_of_variance_preserving,
              "√(1-ᾱ) is how much noise there is in z. In x = z / √ᾱ it is √((1-ᾱ)/ᾱ)."),
        Wrong("sigma-not-rooted", euler_sigma_not_rooted,
              "(1-ᾱ)/ᾱ is the noise's variance in x. σ is its root."),
        Wrong("left-by-old-level", euler_left_by_old_level,
              "You left x with the √ᾱ by which you entered. After the step the level is ᾱ': multiply with √ᾱ'."),
    ),
    right=(ddim_right, euler_by_karras_scale))


# ── DDPM ─────────────────────────────────────────────────────────────────────────────────────────────

def ancestral_cases(generator: Generator) -> list[Call]:
    """z, ẑ0, ᾱ here, ᾱ after the step (below 1, so that there is something to draw), a generator."""
    calls = [Call((torch.tensor([[1.0, -0.5]]), torch.tensor([[0.5, 1.0]]), 0.36, 0.64, Seeded(3)))]
    for shape in ((3, 5), (4, 4, 8, 8)):
        z, z0_hat = (torch.randn(shape, generator=generator) for _ in range(2))
        levels = uniform(0.1, 0.5, generator), uniform(0.6, 0.9, generator)
        calls.append(Call((z, z0_hat, *levels, Seeded(integer(0, 10**6, generator)))))
    return calls


def noise_like(z, generator):
    """Drawn where the generator lives."""
    return torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)


def ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar):
    """Of the posterior q(z' | z, ẑ0)."""
    alpha = alpha_bar / next_alpha_bar
    return (next_alpha_bar**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)


def ancestral_variance(alpha_bar, next_alpha_bar):
    """Of the same."""
    return (1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar / next_alpha_bar)


def ddpm_right(z: Tensor, z0_hat: Tensor, alpha_bar: float, next_alpha_bar: float, generator: Generator) -> Tensor:
    """μ + √β̃ · fresh noise."""
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_moments(z, z0_hat, alpha_bar, next_alpha_bar, _generator) -> tuple:
    """Mean and standard deviation of the step."""
    return (ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar),
            ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5)


def ddpm_variance_for_deviation(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) * noise_like(z, generator)


def ddpm_beta_for_variance(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + (1 - alpha_bar / next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_mean_only(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)


def ddpm_alpha_bar_for_alpha(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = (next_alpha_bar**0.5 * (1 - alpha_bar) * z0_hat
            + alpha_bar**0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)
    return mean + ((1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar)) ** 0.5 * noise_like(z, generator)


def ddpm_noised_again(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * noise_like(z, generator)


def ddpm_mean_swapped(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    return ddpm_right(z0_hat, z, alpha_bar, next_alpha_bar, generator)


def ddpm_uniform(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    noise = torch.rand(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise


def ddpm_shared_noise(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise_like(z[0], generator)


def ddpm_global_noise(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * torch.randn_like(z)


def ddpm_as_ddim(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    variance = ancestral_variance(alpha_bar, next_alpha_bar)
    kept = max(1 - next_alpha_bar - variance, 0) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + kept * eps_hat + variance**0.5 * noise_like(z, generator)


def ddpm_drawn_backwards(z, z0_hat, alpha_bar, next_alpha_bar, generator):
    noise = noise_like(z.reshape(-1), generator).flip(0).view(z.shape)
    mean = ancestral_mean(z, z0_hat, alpha_bar, next_alpha_bar)
    return mean + ancestral_variance(alpha_bar, next_alpha_bar) ** 0.5 * noise


DDPM_STEP = Exercise(
    name="ddpm_step", title="A step of DDPM, of any length", stars=2, minutes=12,
    answer=ddpm_right, cases=ancestral_cases, moments=ddpm_moments,
    hints=("Lesson 03's posterior, where α is now what *all* the steps jumped over keep together.",
           "α = ᾱ / ᾱ'. The mean takes both z and ẑ0 in; the variance is (1-ᾱ')/(1-ᾱ) · (1-α).",
           "Multiply torch.randn(z.shape, generator=generator, dtype=z.dtype) with the *root* of the variance."),
    insight="It is DDIM with part of ε̂ exchanged for fresh noise (η = 1). Fresh noise washes old mistakes out, and "
            "costs: DDPM needs more steps. Onto the clean latent, ᾱ' = 1, the variance is 0 by itself: nothing to "
            "forget.",
    wrong=(
        Wrong("variance-for-deviation", ddpm_variance_for_deviation,
              "You multiplied the noise with its variance. Numbers of variance 1 get another by its root."),
        Wrong("beta-for-variance", ddpm_beta_for_variance,
              "You took the variance 1-α of the way *there*. On the way back ẑ0 is known, which leaves less to chance: "
              "(1-ᾱ')/(1-ᾱ) of it, and nothing in the last step."),
        Wrong("alpha-bar-for-alpha", ddpm_alpha_bar_for_alpha,
              "Your α is ᾱ, what all steps from the start keep. Between the two levels it is ᾱ / ᾱ'."),
        Wrong("noised-again", ddpm_noised_again,
              "You noised ẑ0 with nothing but new noise. That forgets z: the posterior's mean lies between z and ẑ0."),
        Wrong("mean-swapped", ddpm_mean_swapped,
              "z and ẑ0 have each other's factor: ẑ0 goes with √ᾱ' (1-α), z with √α (1-ᾱ')."),
        Wrong("uniform-noise", ddpm_uniform,
              "torch.rand draws uniformly between 0 and 1, which brightens everything. Gaussian noise is torch.randn."),
        Wrong("no-noise", ddpm_mean_only,
              "That is the mean of the posterior. DDPM *draws* from it: fresh noise is added, or the pictures come out "
              "washed out."),
        Wrong("noise-shared", ddpm_shared_noise),
        Wrong("generator-ignored", ddpm_global_noise),
    ),
    right=(ddpm_as_ddim, ddpm_drawn_backwards))


# ── DPM-Solver++ ─────────────────────────────────────────────────────────────────────────────────────

def multistep_cases(generator: Generator) -> list[Call]:
    """z, ẑ0, the ẑ0 before, and three ᾱ; once the first step, once the last."""
    calls = [Call((torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([0.3]), 0.2, 0.36, 0.8))]
    for shape, first, clean in (((3, 5), True, False), ((1, 2, 4, 4), False, True), ((2, 4, 8, 8), False, False)):
        z, z0_hat, before = (torch.randn(shape, generator=generator) for _ in range(3))
        levels = (uniform(0.05, 0.2, generator), uniform(0.3, 0.5, generator),
                  1.0 if clean else uniform(0.6, 0.95, generator))
        calls.append(Call((z, z0_hat, None if first else before, None if first else levels[0], *levels[1:])))
    return calls


def half_log_snr(alpha_bar: float) -> float:
    """λ = log √(ᾱ / (1-ᾱ)); infinite at ᾱ = 1."""
    return math.inf if alpha_bar == 1 else 0.5 * math.log(alpha_bar / (1 - alpha_bar))


def first_order(z, z0_hat, alpha_bar, next_alpha_bar):
    """√((1-ᾱ')/(1-ᾱ)) z + √ᾱ' (1 - e^-h) ẑ0."""
    h = half_log_snr(next_alpha_bar) - half_log_snr(alpha_bar)
    return ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z - next_alpha_bar**0.5 * math.expm1(-h) * z0_hat


def lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar):
    """h of this step and of the one before it."""
    here = half_log_snr(alpha_bar)
    return half_log_snr(next_alpha_bar) - here, here - half_log_snr(previous_alpha_bar)


def dpm_right(z: Tensor, z0_hat: Tensor, previous_z0: Tensor | None, previous_alpha_bar: float | None,
              alpha_bar: float, next_alpha_bar: float) -> Tensor:
    """First order with ẑ0 extrapolated by half a step; plain ẑ0 in the first step and in the last."""
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_first_order_only(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    return first_order(z, z0_hat, alpha_bar, next_alpha_bar)


def dpm_whole_step(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / before * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_backwards(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat - h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_ratio_inverted(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + before / (2 * h) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_equal_steps(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None or next_alpha_bar == 1:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    return first_order(z, 1.5 * z0_hat - 0.5 * previous_z0, alpha_bar, next_alpha_bar)


def dpm_also_at_the_end(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is None:
        return first_order(z, z0_hat, alpha_bar, next_alpha_bar)
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    return first_order(z, z0_hat + h / (2 * before) * (z0_hat - previous_z0), alpha_bar, next_alpha_bar)


def dpm_lambda_not_halved(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    guess = z0_hat
    if previous_z0 is not None and next_alpha_bar < 1:
        h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
        guess = z0_hat + h / (2 * before) * (z0_hat - previous_z0)
    h = 2 * (half_log_snr(next_alpha_bar) - half_log_snr(alpha_bar))
    return ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z - next_alpha_bar**0.5 * math.expm1(-h) * guess


def dpm_sign(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    kept = ((1 - next_alpha_bar) / (1 - alpha_bar)) ** 0.5 * z
    return 2 * kept - dpm_right(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar)


def dpm_by_ddim(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    if previous_z0 is not None and next_alpha_bar != 1:
        h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
        z0_hat = z0_hat + h / before * (z0_hat - previous_z0) / 2
    eps_hat = (z - alpha_bar**0.5 * z0_hat) / (1 - alpha_bar) ** 0.5
    return next_alpha_bar**0.5 * z0_hat + (1 - next_alpha_bar) ** 0.5 * eps_hat


def dpm_by_weights(z, z0_hat, previous_z0, previous_alpha_bar, alpha_bar, next_alpha_bar):
    ratio = math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar))
    factor = math.sqrt(next_alpha_bar) - ratio * math.sqrt(alpha_bar)
    if previous_z0 is None or next_alpha_bar > 1 - 1e-9:
        return ratio * z + factor * z0_hat
    h, before = lambda_steps(previous_alpha_bar, alpha_bar, next_alpha_bar)
    r = before / h
    return ratio * z + factor * ((1 + 1 / (2 * r)) * z0_hat - 1 / (2 * r) * previous_z0)


DPM_STEP = Exercise(
    name="dpm_solver_pp_step", title="A step of DPM-Solver++", stars=3, minutes=20,
    answer=dpm_right, cases=multistep_cases,
    hints=("Write λ(ᾱ) first, then the step of first order with plain ẑ0; check that. Extrapolate afterwards.",
           "In λ's time the estimate moved by ẑ0 - ẑ0_before while λ moved by h_before. Half of this step is h / 2.",
           "D = ẑ0 + h / (2 h_before) (ẑ0 - ẑ0_before) in the place of ẑ0; but plain ẑ0 where there is none before, "
           "and where ᾱ' = 1, as λ is infinite there: e^-h = 0."),
    insight="First order, this is DDIM once more. The second order costs no further model call, only the memory of the "
            "last estimate; the error of a step then falls with h³ instead of h².",
    wrong=(
        Wrong("first-order-only", dpm_first_order_only,
              "You never use previous_z0: that is the first-order step, DDIM in other words. Extrapolate ẑ0 by half a "
              "step."),
        Wrong("whole-step", dpm_whole_step,
              "You extrapolated ẑ0 to the *end* of the step. Half-way is right: ẑ0 stands for the whole step, and its "
              "mean value over it is the one in the middle."),
        Wrong("backwards", dpm_backwards,
              "You extrapolated backwards: ẑ0 moves on as it moved before, from previous_z0 to z0_hat and further."),
        Wrong("ratio-inverted", dpm_ratio_inverted,
              "The ratio of the two steps is turned round: the longer *this* step is, the further ẑ0 will move."),
        Wrong("steps-taken-as-equal", dpm_equal_steps,
              "3/2 ẑ0 - 1/2 ẑ0_before is right for steps of equal length in λ. These are not: weigh with h / "
              "h_before."),
        Wrong("extrapolated-at-the-end", dpm_also_at_the_end,
              "Onto the clean latent, ᾱ' = 1, λ is infinite and so is your extrapolation. That step takes plain ẑ0."),
        Wrong("lambda-not-halved", dpm_lambda_not_halved,
              "Your λ is log(ᾱ/(1-ᾱ)). It is the logarithm of the *root*, half of that: e^-h must be a ratio of "
              "amplitudes."),
        Wrong("sign", dpm_sign,
              "The part of ẑ0 has the wrong sign: the factor is √ᾱ' (1 - e^-h), which is positive. (expm1(-h) is "
              "e^-h - 1, negative.)"),
    ),
    right=(dpm_by_ddim, dpm_by_weights))


# ── Guidance ─────────────────────────────────────────────────────────────────────────────────────────

def guidance_cases(generator: Generator) -> list[Call]:
    """A model, z, t, context (B, L, D), null context (1, L, D), w."""
    calls = [Call((Made(makers.toy_unet), torch.tensor([[[[1.0]]]]), torch.tensor([3]), torch.tensor([[[0.5, 1.0]]]),
                   torch.tensor([[[0.0, -0.5]]]), 3.0))]
    for shape, w in (((2, 3, 4, 4), uniform(1.5, 6, generator)), ((3, 4, 8, 8), 7.5)):
        z, B = torch.randn(shape, generator=generator), shape[0]
        context, null = (torch.randn(n, 5, 6, generator=generator) for n in (B, 1))
        calls.append(Call((Made(makers.toy_unet), z, torch.randperm(50, generator=generator)[:B], context, null, w)))
    return calls


def asked_twice(model, z, t, context, null_context):
    """The prediction without and with the caption."""
    return model(z, t, null_context.expand(len(z), -1, -1)), model(z, t, context)


def guided_right(model, z: Tensor, t: Tensor, context: Tensor, null_context: Tensor, guidance_scale: float) -> Tensor:
    """ε_null + w (ε_caption - ε_null)."""
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return without + guidance_scale * (with_caption - without)


def guided_w_minus_one(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, null_context, guidance_scale - 1)


def guided_as_in_the_paper(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, null_context, guidance_scale + 1)


def guided_sign(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return with_caption + guidance_scale * (without - with_caption)


def guided_away(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, null_context, -guidance_scale)


def guided_scaled_only(model, z, t, context, null_context, guidance_scale):
    return guidance_scale * model(z, t, context)


def guided_context_mixed(model, z, t, context, null_context, guidance_scale):
    return model(z, t, null_context + guidance_scale * (context - null_context))


def guided_zeros_for_null(model, z, t, context, null_context, guidance_scale):
    return guided_right(model, z, t, context, torch.zeros_like(null_context), guidance_scale)


def guided_difference_only(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return guidance_scale * (with_caption - without)


def guided_in_one_batch(model, z, t, context, null_context, guidance_scale):
    both = torch.cat([null_context.repeat(len(z), 1, 1), context])
    without, with_caption = model(torch.cat([z, z]), torch.cat([t, t]), both).chunk(2)
    return without + guidance_scale * (with_caption - without)


def guided_by_lerp(model, z, t, context, null_context, guidance_scale):
    return torch.lerp(*asked_twice(model, z, t, context, null_context), guidance_scale)


def guided_from_the_caption(model, z, t, context, null_context, guidance_scale):
    without, with_caption = asked_twice(model, z, t, context, null_context)
    return with_caption + (guidance_scale - 1) * (with_caption - without)


GUIDANCE = Exercise(
    name="guided_prediction", title="Classifier-free guidance", stars=2, minutes=12,
    answer=guided_right, cases=guidance_cases,
    hints=("Ask the model twice, with the caption's context and with the null context.",
           "null_context is (1, L, D): null_context.expand(len(z), -1, -1) fits the batch.",
           "Start at the answer without the caption and go w times the way to the answer with it."),
    insight="At w = 1 the null prediction cancels; at w = 0 the caption does. Beyond 1 you leave everything the model "
            "was trained to say: guidance is extrapolation, which is why too much of it burns the colours.",
    wrong=(
        Wrong("w-minus-one", guided_w_minus_one,
              "You went w - 1 times the way from the null prediction. w - 1 belongs to the other form, which starts at "
              "the caption's: ε_caption + (w-1)(ε_caption - ε_null)."),
        Wrong("the-papers-w", guided_as_in_the_paper,
              "That is the w of Ho & Salimans' paper, (1+w) ε_caption - w ε_null, where 0 means no guidance. Here, as "
              "in Stable Diffusion, 1 means no guidance."),
        Wrong("roles-swapped", guided_sign,
              "The two predictions are exchanged: you start at the caption's and go towards *no* caption. Was the "
              "batch split in another order than it was put together?"),
        Wrong("away-from-the-caption", guided_away,
              "The sign of the difference is wrong: ε_caption - ε_null points to the caption, yours away from it."),
        Wrong("prediction-scaled", guided_scaled_only,
              "You scaled the whole prediction with w, all of its noise too. Only what the caption *changes* is "
              "exaggerated."),
        Wrong("context-extrapolated", guided_context_mixed,
              "You extrapolated the context and asked once. The model has never seen such a context; it is its two "
              "*answers* that are extrapolated."),
        Wrong("zeros-for-null", guided_zeros_for_null,
              "You took zeros for the null context. In training \"no caption\" was the encoded empty caption; zeros "
              "mean nothing to this model."),
        Wrong("start-missing", guided_difference_only,
              "That is only the w-fold difference. It is added to ε_null."),
    ),
    right=(guided_in_one_batch, guided_by_lerp, guided_from_the_caption))


# ── Negative captions ────────────────────────────────────────────────────────────────────────────────

def negative_cases(generator: Generator) -> list[Call]:
    """A text encoder, captions, negative captions or None; once too few of them."""
    encode, words = Made(makers.toy_text_encoder), ("circle", "star", "ring", "cross", "square", "moon")
    chosen = [words[i] for i in torch.randperm(6, generator=generator).tolist()]
    return [Call((encode, ["a star"], None)), Call((encode, ["a star"], ["red"])), Call((encode, chosen[:2], None)),
            Call((encode, [f"a {word}" for word in chosen[:3]], chosen[3:])),
            Call((encode, chosen[:2], chosen[2:3])), Call((encode, chosen[:2], chosen[2:4]))]


def negative_right(encode, captions: list, negative: list | None) -> Tensor:
    """[null or negative; captions]: (2B, L, D)."""
    if negative is None:
        negative = [""] * len(captions)
    if len(negative) != len(captions):
        raise ValueError(f"{len(negative)} negative captions for {len(captions)} captions; expected as many")
    return torch.cat([encode(negative), encode(captions)])


def negative_not_used(encode, captions, negative):
    if negative is not None and len(negative) != len(captions):
        raise ValueError
    return torch.cat([encode([""] * len(captions)), encode(captions)])


def negative_swapped(encode, captions, negative):
    return negative_right(encode, captions, negative).roll(len(captions), 0)


def negative_in_words(encode, captions, negative):
    if negative is not None:
        if len(negative) != len(captions):
            raise ValueError
        captions = [f"{caption}, no {word}" for caption, word in zip(captions, negative)]
    return negative_right(encode, captions, None)


def negative_subtracted(encode, captions, negative):
    contexts = negative_right(encode, captions, negative)
    B, null = len(captions), encode([""] * len(captions))
    return contexts if negative is None else torch.cat([null, contexts[B:] - contexts[:B]])


def negative_joined(encode, captions, negative):
    if negative is None:
        return negative_right(encode, captions, None)
    negative_right(encode, captions, negative)
    return torch.cat([encode([""] * len(captions)), encode(negative), encode(captions)])


def negative_zeros_for_none(encode, captions, negative):
    contexts = negative_right(encode, captions, negative)
    if negative is None:
        contexts[:len(captions)] = 0
    return contexts


def negative_of_any_number(encode, captions, negative):
    return torch.cat([encode([""] * len(captions) if negative is None else negative), encode(captions)])


def negative_in_one_call(encode, captions, negative):
    left_out = ["" for _ in captions] if negative is None else list(negative)
    if len(left_out) - len(captions):
        raise ValueError("as many negative captions as captions")
    return encode(left_out + list(captions))


def negative_one_by_one(encode, captions, negative):
    pairs = zip(captions, [""] * len(captions) if negative is None else negative, strict=True)
    contexts = [(encode([away])[0], encode([caption])[0]) for caption, away in pairs]
    return torch.stack([away for away, _ in contexts] + [caption for _, caption in contexts])


NEGATIVE = Exercise(
    name="contexts_for_guidance", title="Negative captions", stars=2, minutes=10,
    answer=negative_right, cases=negative_cases,
    hints=("Guidance goes from one prediction towards another, and beyond. What if it starts at \"red\"?",
           "The negative captions take the place of the empty ones; nothing else changes.",
           "torch.cat([encode(negative), encode(captions)]), with negative = [\"\"] * B where it is None."),
    insight="There is no negation in it: the text encoder never sees \"not\". A negative caption is a different point "
            "to extrapolate *from*; at w = 1, where that point cancels, it does nothing at all.",
    wrong=(
        Wrong("negative-not-used", negative_not_used,
              "The negative captions are not used: the null half is always the empty caption."),
        Wrong("halves-swapped", negative_swapped,
              "The captions come first here. The null half leads by agreement (diffusers and this package): the code "
              "that splits the batch would guide *towards* the negative caption."),
        Wrong("written-into-the-caption", negative_in_words,
              "You wrote the negation into the caption. CLIP hardly reads \"no red\" as less red; the word alone "
              "makes it more likely. Guidance away from it needs its own context."),
        Wrong("contexts-subtracted", negative_subtracted,
              "You subtracted contexts. The U-Net was never trained on differences of contexts; guidance subtracts its "
              "predictions."),
        Wrong("third-part", negative_joined,
              "Three predictions would be needed for this. The negative context *replaces* the empty one."),
        Wrong("zeros-for-none", negative_zeros_for_none,
              "Without negative captions the null half is the *encoded* empty caption, not zeros: that is what "
              "training dropped captions to."),
        Wrong("should-refuse", negative_of_any_number),
    ),
    right=(negative_in_one_call, negative_one_by_one))


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────

def alpha_bar_at(t: int) -> float:
    """ᾱ of Stable Diffusion's schedule."""
    return forward_diffusion.NoiseSchedule(forward_diffusion.scaled_linear_betas()).alpha_bar[t].item()


def signal_right():
    return alpha_bar_at(901) ** 0.5


def signal_of_variance():
    return alpha_bar_at(901)


def signal_none():
    return 0.0


def signal_of_trailing():
    return alpha_bar_at(999) ** 0.5


def signal_is_noise():
    return (1 - alpha_bar_at(901)) ** 0.5


def signal_of_fifty_steps():
    return alpha_bar_at(981) ** 0.5


def signal_to_three_digits():
    return 0.118


def signal_to_two_digits():
    return 0.12


SIGNAL = Exercise(
    name="signal_at_the_start", title="Predict: ten steps of Stable Diffusion", stars=1, minutes=10,
    answer=signal_right, cases=no_inputs, tolerance=0.02,
    hints=("With \"leading\" spacing ten steps are at 901, 801, … 1.",
           "Signal means the factor of z0 in z_t.", "√ᾱ of Stable Diffusion's schedule at t = 901."),
    insight="0.118: in training, nearly 12 % of the picture's amplitude was still in z_t there, its mean brightness "
            "above all. Sampling starts from pure noise, whose mean is near 0, and the network believes it: with few "
            "steps all pictures come out of medium brightness (Lin et al. 2024). \"Trailing\" spacing starts at 0.068.",
    wrong=(
        Wrong("variance", signal_of_variance,
              "That is ᾱ, the share of the *variance*. The signal in z_t is scaled with its root."),
        Wrong("nothing", signal_none,
              "Sampling starts from pure noise, true; but the question is what the network was *trained* on at that t. "
              "Stable Diffusion's ᾱ never is 0."),
        Wrong("t-999", signal_of_trailing,
              "That is the signal at t = 999. \"Leading\" spacing with ten steps does not start there."),
        Wrong("noise-factor", signal_is_noise, "That is √(1-ᾱ), the factor of the noise."),
        Wrong("fifty-steps", signal_of_fifty_steps,
              "That is where fifty steps start, at t = 981. Ten start at 901."),
    ),
    right=(signal_to_three_digits, signal_to_two_digits))


EXERCISES = (LEADING, TRAILING, DDIM_STEP, EULER_STEP, DDPM_STEP, DPM_STEP, GUIDANCE, NEGATIVE, SIGNAL)
