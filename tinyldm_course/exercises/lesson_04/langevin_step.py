"""Exercise langevin_step of lesson 04: 2019: uphill, with noise."""

import math

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call, Made, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.checks.makers import toy_score


def langevin_step(x, score, step, generator):
    """One step uphill, with noise.

    x: (B, …); score: a function of x, of the same shape; step: a number above 0; generator: a torch.Generator.
    Returns (B, …), in the dtype of x.
    """
    ### BEGIN SOLUTION
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + step / 2 * score(x) + step**0.5 * noise
    ### END SOLUTION


def langevin_cases(generator: Generator) -> list[Call]:
    """Points, a score, a step, a generator."""
    score = Made(toy_score)
    calls = [Call((torch.tensor([[1.0, -2.0]]), score, 0.25, Seeded(3)))]
    for shape in ((3, 2), (1, 4, 5), (6, 8)):
        x, step = torch.randn(shape, generator=generator), 0.3 + 0.6 * torch.rand((), generator=generator).item()
        calls.append(Call((x, score, step, Seeded(int(torch.randint(10**6, (), generator=generator))))))
    return calls


def noise_like(x: Tensor, generator: Generator) -> Tensor:
    """Numbers of a standard normal distribution."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def langevin_moments(x: Tensor, score: Made, step: float, _generator) -> tuple:
    """Mean and standard deviation of the step."""
    return x + step / 2 * score.maker(*score.args)(x), step**0.5


def langevin_variance(x, score, step, generator):
    return x + step / 2 * score(x) + step * noise_like(x, generator)


def langevin_whole_step(x, score, step, generator):
    return x + step * score(x) + step**0.5 * noise_like(x, generator)


def langevin_strong_noise(x, score, step, generator):
    return x + step / 2 * score(x) + (2 * step) ** 0.5 * noise_like(x, generator)


def langevin_other_convention(x, score, step, generator):
    return x + step * score(x) + (2 * step) ** 0.5 * noise_like(x, generator)


def langevin_downhill(x, score, step, generator):
    return x - step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_without_noise(x, score, step, generator):
    return x + step / 2 * score(x)


def langevin_noise_first(x, score, step, generator):
    x = x + step**0.5 * noise_like(x, generator)
    return x + step / 2 * score(x)


def langevin_noise_in_brackets(x, score, step, generator):
    return x + step / 2 * (score(x) + noise_like(x, generator))


def langevin_ten_steps(x, score, step, generator):
    for _ in range(10):
        x = langevin_step(x, score, step, generator)
    return x


def langevin_only_score(x, score, step, generator):
    return step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_uniform(x, score, step, generator):
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + step / 2 * score(x) + step**0.5 * noise


def langevin_shared(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * noise_like(x[0], generator)


def langevin_global(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * torch.randn_like(x)


def langevin_left_on_cpu(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def langevin_noise_not_scaled(x, score, step, generator):
    return x + step / 2 * score(x) + noise_like(x, generator)


def langevin_noise_of_half_step(x, score, step, generator):
    return x + step / 2 * score(x) + (step / 2) ** 0.5 * noise_like(x, generator)


def langevin_slope_rooted(x, score, step, generator):
    return x + step**0.5 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_slope_not_scaled(x, score, step, generator):
    return x + score(x) + step**0.5 * noise_like(x, generator)


def langevin_double_step(x, score, step, generator):
    return x + 2 * step * score(x) + step**0.5 * noise_like(x, generator)


def langevin_quarter(x, score, step, generator):
    return x + step**2 / 2 * score(x) + step * noise_like(x, generator)


def langevin_only_noise(x, score, step, generator):
    return x + step**0.5 * noise_like(x, generator)


def langevin_by_add(x, score, step, generator):
    return torch.add(x, score(x), alpha=step / 2).add(noise_like(x, generator), alpha=math.sqrt(step))


@torch.no_grad()
def langevin_without_gradients(x, score, step, generator):
    return x + step / 2 * score(x) + step**0.5 * noise_like(x, generator)


def langevin_detached(x, score, step, generator):
    return (x + step / 2 * score(x)).detach() + step**0.5 * noise_like(x, generator)


def langevin_by_normal(x, score, step, generator):
    noise = torch.normal(torch.zeros(x.shape, dtype=x.dtype), step**0.5, generator=generator)
    return x + step / 2 * score(x) + noise.to(x.device)


def langevin_drawn_backwards(x, score, step, generator):
    noise = torch.randn(x.numel(), generator=generator, dtype=x.dtype).flip(0).view(x.shape).to(x.device)
    return x + 0.5 * step * score(x) + noise * step**0.5


EXERCISE = Exercise(
    name="langevin_step",
    title="2019: uphill, with noise",
    stars=1,
    minutes=8,
    answer=langevin_step,
    cases=langevin_cases,
    moments=langevin_moments,
    constants=("x",),
    hints=(
        "Three terms: where you are, half a step uphill, and noise.",
        "Variances add up, standard deviations do not. Noise of variance `step` is √step times a standard normal "
        "number.",
        "x + step / 2 * score(x) + step**0.5 * noise, with noise = torch.randn(x.shape, generator=generator, "
        "dtype=x.dtype).to(x.device)",
    ),
    insight="Without the noise all points would end on the peaks. With exactly this much, after many small steps "
    "they are spread like p itself: the noise's √step and the slope's step/2 belong together.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            langevin_variance,
            "You scaled the noise by step. That is its *variance*: multiply by √step.",
        ),
        Wrong(
            "half-missing",
            langevin_whole_step,
            "You went a whole step uphill: with noise √step it is half a step, or points gather too closely on the "
            "peaks.",
        ),
        Wrong(
            "noise-of-the-other-form",
            langevin_strong_noise,
            "You mixed two conventions: step/2 uphill belongs with √step of noise; √(2 step) belongs with a whole "
            "step.",
        ),
        Wrong(
            "other-form",
            langevin_other_convention,
            "That is a correct Langevin step of twice the size: step uphill and √(2 step) of noise. Here `step` is "
            "the variance of the noise.",
        ),
        Wrong("downhill", langevin_downhill, "You went downhill. The score points to where p is larger: add it."),
        Wrong(
            "no-noise",
            langevin_without_noise,
            "There is no noise: that is gradient ascent, and all points end on the peaks.",
        ),
        Wrong(
            "score-after-noise",
            langevin_noise_first,
            "You took the score after adding the noise. Both start from the same x.",
        ),
        Wrong(
            "noise-with-the-slope",
            langevin_noise_in_brackets,
            "Your noise has the factor step/2, like the slope: is it inside the same parentheses? Its own factor "
            "is √step.",
        ),
        Wrong(
            "ten-steps", langevin_ten_steps, "You walk ten steps. The exercise asks for one; the loop is the caller's."
        ),
        Wrong("x-forgotten", langevin_only_score, "x itself is missing: that is only the change."),
        Wrong(
            "uniform-noise",
            langevin_uniform,
            "torch.rand draws uniformly between 0 and 1, so points drift. Gaussian noise is torch.randn.",
        ),
        Wrong("noise-shared", langevin_shared),
        Wrong("generator-ignored", langevin_global),
        Wrong(
            "noise-on-the-wrong-device",
            langevin_left_on_cpu,
            "This breaks on a GPU. The generator lives on the CPU, so draw the noise there, and then move it: "
            ".to(x.device).",
        ),
        Wrong("noise-not-scaled", langevin_noise_not_scaled, "Your noise has variance 1. Scale it by √step."),
        Wrong(
            "noise-halved",
            langevin_noise_of_half_step,
            "Your noise has variance step/2. The half belongs to the slope; the noise has √step.",
        ),
        Wrong(
            "slope-rooted",
            langevin_slope_rooted,
            "You scaled the slope with √step. That is the noise's factor; the slope's is step/2.",
        ),
        Wrong("slope-not-scaled", langevin_slope_not_scaled, "You added the whole slope. Its factor is step/2."),
        Wrong("doubled", langevin_double_step, "You multiplied by 2 where it is divided: step/2."),
        Wrong(
            "step-is-deviation",
            langevin_quarter,
            "You took `step` for the standard deviation of the noise, as Hamiltonian samplers do. Here it is the "
            "variance: step/2 uphill, √step of noise.",
        ),
        Wrong("slope-forgotten", langevin_only_noise, "The slope is missing: that is a random walk."),
    ),
    right=(
        langevin_by_add,
        langevin_drawn_backwards,
        langevin_without_gradients,
        langevin_detached,
        langevin_by_normal,
    ),
)
