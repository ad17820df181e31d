"""Exercise posterior_sample of lesson 05: A draw from the posterior."""

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def posterior_sample(moments, generator):
    """A draw from the encoder's distribution.

    moments: (B, 2C, h, w), mean ‖ log-variance; generator: a torch.Generator.  Returns (B, C, h, w).
    """
    ### BEGIN SOLUTION
    mean, logvar = moments.chunk(2, dim=1)
    std = torch.exp(0.5 * logvar.clamp(-30, 20))
    noise = torch.randn(mean.shape, generator=generator).to(mean)  # drawn where the generator lives
    return mean + std * noise
    ### END SOLUTION


def posterior_cases(generator: Generator) -> list[Call]:
    """moments (B, 2C, h, w), some with log-variances far too small or too large, some with large means; a generator."""
    calls = [Call((torch.tensor([[[[1.0, -2.0]], [[-1.0, 0.5]]]]), Seeded(3)))]
    # σ may not fall below e⁻¹⁵ = 3 · 10⁻⁷: beside a mean of 0 that can be seen.
    surest = torch.tensor([0.0, 0.0, -60.0, -60.0]).view(1, 4, 1, 1).expand(1, 4, 4, 4)
    calls.append(Call((surest, Seeded(integer(0, 10**6, generator)))))
    # Means far outside of [-30, 20]: the limits are the log-variance's alone.
    for B, C, h, w, far, top in ((2, 4, 4, 4, 1, 0), (1, 2, 3, 5, 1, 45), (2, 2, 4, 4, 60, 0), (3, 4, 6, 6, 1, 0)):
        moments = torch.randn(B, 2 * C, h, w, generator=generator)
        moments[:, :C] *= far
        moments[:, C:] += top
        calls.append(Call((moments, Seeded(integer(0, 10**6, generator)))))
    return calls


def halves(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and clamped log-variance."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean, logvar.clamp(-30, 20)


def normal_like(mean: Tensor, generator: Generator) -> Tensor:
    """Numbers of a standard normal distribution, drawn where the generator lives."""
    return torch.randn(mean.shape, generator=generator).to(mean)


def sample_moments(moments: Tensor, _generator) -> tuple:
    """Mean and standard deviation of the sample."""
    mean, logvar = halves(moments)
    return mean, (0.5 * logvar).exp()


def sample_with_variance(moments, generator):
    mean, logvar = halves(moments)
    return mean + logvar.exp() * normal_like(mean, generator)


def sample_with_logarithm(moments, generator):
    mean, logvar = halves(moments)
    return mean + logvar * normal_like(mean, generator)


def sample_with_half_logarithm(moments, generator):
    mean, logvar = halves(moments)
    return mean + 0.5 * logvar * normal_like(mean, generator)


def sample_with_double(moments, generator):
    mean, logvar = halves(moments)
    return mean + (2 * logvar).exp() * normal_like(mean, generator)


def sample_not_clamped(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).exp() * normal_like(mean, generator)


def sample_within(low, high):
    """A wrong answer that clamps to other limits."""

    def answer(moments, generator):
        mean, logvar = moments.chunk(2, dim=1)
        return mean + (0.5 * logvar.clamp(low, high)).exp() * normal_like(mean, generator)

    return answer


def sample_of_clamped_moments(moments, generator):
    return posterior_sample(moments.clamp(-30, 20), generator)


def sample_of_clamped_half(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).clamp(-30, 20).exp() * normal_like(mean, generator)


def sample_of_clamped_deviation(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).exp().clamp(-30, 20) * normal_like(mean, generator)


def sample_of_clamped_variance(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + logvar.exp().clamp(-30, 20) ** 0.5 * normal_like(mean, generator)


def sample_swapped(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return posterior_sample(torch.cat([logvar, mean], 1), generator)


def sample_of_unit_spread(moments, generator):
    mean, _ = halves(moments)
    return mean + normal_like(mean, generator)


def sample_mean_only(moments, generator):
    return halves(moments)[0]


def sample_noise_scaled_mean(moments, generator):
    mean, logvar = halves(moments)
    return (mean + normal_like(mean, generator)) * (0.5 * logvar).exp()


def sample_uniform(moments, generator):
    mean, logvar = halves(moments)
    noise = torch.rand(mean.shape, generator=generator).to(mean)
    return mean + (0.5 * logvar).exp() * noise


def sample_shared(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * normal_like(mean[0], generator)


def sample_global(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * torch.randn_like(mean)


def sample_left_on_cpu(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=generator)


def sample_by_torch(moments, generator):
    mean, logvar = halves(moments)
    return posterior_sample(moments, generator).detach() + 0 * (mean + logvar)


def sample_spread_cut(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp().detach() * normal_like(mean, generator)


def sample_of_even_channels(moments, generator):
    return posterior_sample(torch.cat([moments[:, ::2], moments[:, 1::2]], 1), generator)


def sample_of_even_channels_swapped(moments, generator):
    return posterior_sample(torch.cat([moments[:, 1::2], moments[:, ::2]], 1), generator)


def sample_with_small_number(moments, generator):
    mean, logvar = halves(moments)
    return mean + ((0.5 * logvar).exp() + 1e-6) * normal_like(mean, generator)


def sample_with_root_of_log(moments, generator):
    mean, logvar = halves(moments)
    return mean + logvar.abs().sqrt() * normal_like(mean, generator)


def sample_with_negative_half(moments, generator):
    mean, logvar = halves(moments)
    return mean + (-0.5 * logvar).exp() * normal_like(mean, generator)


def sample_noise_only(moments, generator):
    mean, logvar = halves(moments)
    return (0.5 * logvar).exp() * normal_like(mean, generator)


def sample_mean_times_noise(moments, generator):
    mean, logvar = halves(moments)
    return mean * normal_like(mean, generator) + (0.5 * logvar).exp()


def sample_with_softplus(moments, generator):
    mean, logvar = halves(moments)
    return mean + torch.nn.functional.softplus(logvar) * normal_like(mean, generator)


def sample_by_addcmul(moments, generator):
    C = moments.shape[1] // 2
    std = torch.exp(torch.clamp(moments[:, C:], min=-30.0, max=20.0)) ** 0.5
    return torch.addcmul(moments[:, :C], std, normal_like(std, generator))


def sample_drawn_backwards(moments, generator):
    mean, logvar = halves(moments)
    noise = torch.randn(mean.numel(), generator=generator).flip(0).view(mean.shape).to(mean)
    return mean + (logvar / 2).exp() * noise


def sample_drawn_in_the_dtype(moments, generator):
    mean, logvar = halves(moments)
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
    return mean + logvar.exp().sqrt() * noise


EXERCISE = Exercise(
    name="posterior_sample",
    title="A draw from the posterior",
    stars=2,
    minutes=10,
    answer=posterior_sample,
    cases=posterior_cases,
    moments=sample_moments,
    hints=(
        "Split the channels in two: .chunk(2, dim=1). Clamp the second half.",
        "log σ² = 2 log σ. So what is σ?",
        "mean + exp(0.5 · logvar) · noise, with noise = torch.randn(mean.shape, generator=generator).to(mean).",
    ),
    shape_hint=1,
    insight="μ + σ ε is the reparameterisation (Kingma & Welling 2014, § 2.4): the randomness sits outside, in ε, "
    "so gradients reach both μ and σ. A network predicts log σ², because that may be any number, while σ must stay "
    "above 0.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            sample_with_variance,
            "You multiplied the noise by exp(logvar), the *variance*. σ = exp(½ logvar): the half is the root.",
        ),
        Wrong(
            "logarithm-for-deviation",
            sample_with_logarithm,
            "You multiplied the noise by the log-variance itself. It may be negative; σ = exp(½ logvar).",
        ),
        Wrong(
            "exp-missing",
            sample_with_half_logarithm,
            "½ logvar is log σ. The exponential is missing: σ = exp(½ logvar).",
        ),
        Wrong("doubled", sample_with_double, "You doubled the log-variance; a root halves a logarithm."),
        Wrong(
            "not-clamped",
            sample_not_clamped,
            "Right except for the clamp: log-variances are kept in [-30, 20], so that exp() can neither overflow "
            "nor vanish.",
        ),
        Wrong(
            "not-clamped-below",
            sample_within(None, 20),
            "You clamped the log-variance from above only. It may not fall below -30 either.",
        ),
        Wrong(
            "not-clamped-above",
            sample_within(-30, None),
            "You clamped the log-variance from below only. It may not rise above 20 either.",
        ),
        Wrong(
            "limits-of-20",
            sample_within(-20, 20),
            "Wrong limits: you clamped the log-variance to [-20, 20]. The lower limit is -30: σ may be as small as "
            "e⁻¹⁵.",
        ),
        Wrong(
            "limits-of-30",
            sample_within(-30, 30),
            "Wrong limits: you clamped the log-variance to [-30, 30]. The upper limit is 20.",
        ),
        Wrong(
            "limits-exchanged",
            sample_within(-20, 30),
            "Wrong limits: you clamped the log-variance to [-20, 30]. It is the other way round: [-30, 20].",
        ),
        Wrong(
            "mean-clamped",
            sample_of_clamped_moments,
            "You clamped the mean as well. The limits are for the log-variance, which goes into exp(); a mean may "
            "be any number. Split first.",
        ),
        Wrong(
            "half-clamped",
            sample_of_clamped_half,
            "You clamped ½ logvar, which is log σ. The limits are for logvar itself: clamp first, then halve.",
        ),
        Wrong(
            "deviation-clamped",
            sample_of_clamped_deviation,
            "You clamped σ, after exp(). The limits are for the log-variance (a σ is never negative): clamp before "
            "exp().",
        ),
        Wrong(
            "variance-clamped",
            sample_of_clamped_variance,
            "You clamped the variance, after exp(). The limits are for its logarithm: clamp before exp().",
        ),
        Wrong("halves-swapped", sample_swapped, "Mean and log-variance are swapped: the first half is the mean."),
        Wrong(
            "unit-noise",
            sample_of_unit_spread,
            "You added noise of variance 1 everywhere. The encoder says how sure it is: multiply by σ.",
        ),
        Wrong(
            "mean-only",
            sample_mean_only,
            "That is the mean, the deterministic choice. Here the exercise asks for a sample.",
        ),
        Wrong("mean-scaled", sample_noise_scaled_mean, "You multiplied the mean by σ too. Only the noise is scaled."),
        Wrong(
            "uniform-noise",
            sample_uniform,
            "torch.rand draws uniformly between 0 and 1, so it moves the mean too. Use torch.randn.",
        ),
        Wrong("noise-shared", sample_shared),
        Wrong("generator-ignored", sample_global),
        Wrong(
            "not-reparameterised",
            sample_by_torch,
            "The values are right, but no gradient reaches the moments, so the encoder cannot learn: torch.normal, "
            "detach() or no_grad() cut it. Write mean + std * noise.",
        ),
        Wrong(
            "noise-on-the-wrong-device",
            sample_left_on_cpu,
            "This breaks on a GPU. The generator lives on the CPU, so draw the noise there, and then move it: "
            ".to(mean).",
        ),
        Wrong("gradient-wrong", sample_spread_cut),
        Wrong(
            "every-second-channel",
            sample_of_even_channels,
            "You took every second channel for the mean. Mean and log-variance are halves: the first C channels, "
            "then the last C.",
        ),
        Wrong(
            "every-second-channel-swapped",
            sample_of_even_channels_swapped,
            "You took every second channel for the log-variance, the others for the mean. They are halves: the "
            "first C channels are the mean, the last C the log-variance.",
        ),
        Wrong(
            "small-number-added",
            sample_with_small_number,
            "You added a small number to σ. exp() is never 0, and the log-variance is clamped: nothing needs it.",
        ),
        Wrong(
            "root-of-logarithm",
            sample_with_root_of_log,
            "You took the root of the log-variance. First exp(), then the root: exp(½ logvar).",
        ),
        Wrong(
            "exponent-negative",
            sample_with_negative_half,
            "There is one minus too many: σ = exp(½ logvar). Yours is 1/σ.",
        ),
        Wrong("mean-forgotten", sample_noise_only, "The mean is missing: μ + σ ε."),
        Wrong(
            "factors-exchanged", sample_mean_times_noise, "You multiplied the noise by μ and added σ. It is μ + σ ε."
        ),
        Wrong(
            "softplus",
            sample_with_softplus,
            "You took softplus for σ, as some networks do. This encoder gives log σ²: σ = exp(½ logvar).",
        ),
    ),
    right=(sample_by_addcmul, sample_drawn_backwards, sample_drawn_in_the_dtype),
)
