"""Exercise diffusion_loss of lesson 03: The loss."""

import math

import torch
from torch import Generator

from tinyldm import forward_diffusion
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.checks.makers import ToyModel
from tinyldm_course.exercises.inputs import ONE_NUMBER, per_image, random_alpha_bar
from tinyldm_course.exercises.lesson_02.q_sample import q_sample


def diffusion_loss(model, z0, t, eps, alpha_bar):
    """The mean squared error of a model that predicts the noise.

    model: (z_t, t) -> prediction (B, …); z0, eps: (B, …); t: (B,) int64; alpha_bar: (T,).  Returns a scalar.
    """
    ### BEGIN SOLUTION
    a = alpha_bar[t].view(-1, *[1] * (z0.dim() - 1))
    z_t = a.sqrt() * z0 + (1 - a).sqrt() * eps
    return (model(z_t, t) - eps).square().mean()
    ### END SOLUTION


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
    calls[-1].args[2][-1] = 0  # where there is so little noise that weights for it, as in Min-SNR, show
    return calls


def loss_summed(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).square().sum()


def loss_absolute(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).abs().mean()


def loss_against_z0(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - z0).square().mean()


def loss_on_clean(model, z0, t, eps, alpha_bar):
    return (model(z0, t) - eps).square().mean()


def loss_of_previous_t(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t - 1) - eps).square().mean()


def loss_rooted(model, z0, t, eps, alpha_bar):
    return diffusion_loss(model, z0, t, eps, alpha_bar).sqrt()


def loss_own_noise(model, z0, t, eps, alpha_bar):
    return diffusion_loss(model, z0, t, torch.randn_like(z0), alpha_bar)


def loss_not_averaged(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).square()


def loss_of_scaled_noise(model, z0, t, eps, alpha_bar):
    noise = (1 - per_image(alpha_bar[t], z0)).sqrt() * eps
    return (model(q_sample(z0, t, eps, alpha_bar), t) - noise).square().mean()


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
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).square().flatten(1).sum(1).mean()


def loss_squared_at_the_end(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).mean() ** 2


def loss_on_sum(model, z0, t, eps, alpha_bar):
    return (model(z0 + eps, t) - eps).square().mean()


def loss_without_roots(model, z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return (model(a * z0 + (1 - a) * eps, t) - eps).square().mean()


def loss_against_velocity(model, z0, t, eps, alpha_bar):
    v = forward_diffusion.velocity(z0, eps, per_image(alpha_bar[t], z0))
    return (model(q_sample(z0, t, eps, alpha_bar), t) - v).square().mean()


def loss_told_alpha_bar(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), alpha_bar[t]) - eps).square().mean()


def loss_without_gradient(model, z0, t, eps, alpha_bar):
    with torch.no_grad():
        prediction = model(q_sample(z0, t, eps, alpha_bar), t)
    return (prediction - eps).square().mean()


def loss_of_min_snr(model, z0, t, eps, alpha_bar):
    snr = per_image(alpha_bar[t] / (1 - alpha_bar[t]), z0)
    return (snr.clamp(max=5) / snr * (model(q_sample(z0, t, eps, alpha_bar), t) - eps).square()).mean()


def loss_weighted_by_snr(model, z0, t, eps, alpha_bar):
    snr = per_image(alpha_bar[t] / (1 - alpha_bar[t]), z0)
    return (snr * (model(q_sample(z0, t, eps, alpha_bar), t) - eps).square()).mean()


def loss_huber(model, z0, t, eps, alpha_bar):
    return torch.nn.functional.smooth_l1_loss(model(q_sample(z0, t, eps, alpha_bar), t), eps)


def loss_halved(model, z0, t, eps, alpha_bar):
    return diffusion_loss(model, z0, t, eps, alpha_bar) / 2


def loss_of_noised_twice(model, z0, t, eps, alpha_bar):
    z_t = q_sample(z0, t, eps, alpha_bar)
    return (model(q_sample(z_t, t, eps, alpha_bar), t) - eps).square().mean()


def loss_of_factors_swapped(model, z0, t, eps, alpha_bar):
    return (model(q_sample(eps, t, z0, alpha_bar), t) - eps).square().mean()


def loss_of_noise_subtracted(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, -eps, alpha_bar), t) - eps).square().mean()


def loss_noise_not_rooted(model, z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return (model(a.sqrt() * z0 + (1 - a) * eps, t) - eps).square().mean()


def loss_signal_not_rooted(model, z0, t, eps, alpha_bar):
    a = per_image(alpha_bar[t], z0)
    return (model(a * z0 + (1 - a).sqrt() * eps, t) - eps).square().mean()


def loss_against_z_t(model, z0, t, eps, alpha_bar):
    z_t = q_sample(z0, t, eps, alpha_bar)
    return (model(z_t, t) - z_t).square().mean()


def loss_signed(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).mean()


def loss_of_shares_of_t(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t / len(alpha_bar)) - eps).square().mean()


def loss_target_cut_sign(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) + eps).square().mean()


def loss_of_one_t(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t[:1].expand_as(t), eps, alpha_bar), t) - eps).square().mean()


def loss_of_last_t(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t[-1:].expand_as(t), eps, alpha_bar), t) - eps).square().mean()


def loss_of_each_item(model, z0, t, eps, alpha_bar):
    return (model(q_sample(z0, t, eps, alpha_bar), t) - eps).square().flatten(1).mean(1)


def loss_by_library(model, z0, t, eps, alpha_bar):
    return torch.nn.functional.mse_loss(model(q_sample(z0, t, eps, alpha_bar), t), eps)


def loss_by_image(model, z0, t, eps, alpha_bar):
    total = 0
    for i in range(len(z0)):
        z_t = alpha_bar[t[i]].sqrt() * z0[i : i + 1] + (1 - alpha_bar[t[i]]).sqrt() * eps[i : i + 1]
        total = total + ((model(z_t, t[i : i + 1]) - eps[i : i + 1]) ** 2).sum()
    return total / z0.numel()


def loss_of_noised_without_gradient(model, z0, t, eps, alpha_bar):
    with torch.no_grad():
        z_t = q_sample(z0, t, eps, alpha_bar)
    return (model(z_t, t) - eps).square().mean()


EXERCISE = Exercise(
    name="diffusion_loss",
    title="The loss",
    stars=2,
    minutes=10,
    answer=diffusion_loss,
    cases=loss_cases,
    constants=("z0", "eps", "alpha_bar"),
    hints=(
        "Three lines: noise z0 to t, call the model, compare.",
        "Call the model with the noised latent and t: model(z_t, t).",
        "The mean over all numbers of the squared difference between prediction and eps.",
    ),
    shape_hint=3,
    insight="The target is the total noise in z_t, not what step t added. The weights that the bound gives to each "
    "t are left out on purpose (Ho et al. 2020, eq. 14): pictures come out better.",
    wrong=(
        Wrong(
            "summed",
            loss_summed,
            "You summed; the exercise asks for the mean, so that the size of the batch does not matter.",
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
            "You took the mean first and squared it: errors of both signs cancel. Square each difference, then "
            "take the mean.",
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
            "alpha_bar[t] is (B,). Against (B, …) torch broadcasts it along the *last* dimension: if that has "
            "length B as well, there is not even an error. Each ᾱ_t belongs to an image: make it (B, 1, …, 1).",
        ),
        Wrong(
            "for-points-only",
            loss_for_points,
            "You made ᾱ_t (B, 1). That fits points (B, 2); against (B, C, H, W) torch broadcasts B along the "
            "height. Items may have any number of dimensions: .view(-1, *[1] * (z0.dim() - 1)).",
        ),
        Wrong(
            "for-images-only",
            loss_for_images,
            "You made ᾱ_t (B, 1, 1, 1). That fits (B, C, H, W); against points (B, 2) every image is mixed with "
            "every ᾱ_t, without an error. Items may have any number of dimensions: .view(-1, *[1] * (z0.dim() - "
            "1)).",
        ),
        Wrong("one-number-only", loss_by_math, ONE_NUMBER),
        Wrong("own-noise", loss_own_noise, "You drew new noise. Use the eps that is given, for z_t and as the target."),
        Wrong(
            "noise-scaled",
            loss_of_scaled_noise,
            "You compared with √(1-ᾱ) ε, the noise as it is in z_t. The target is ε itself, of variance 1.",
        ),
        Wrong("gradient-cut", loss_without_gradient),
        Wrong(
            "min-snr",
            loss_of_min_snr,
            "You weighted each item by min(SNR, 5) / SNR (Min-SNR, Hang et al. 2023). Here all t have the same "
            "weight: the plain mean.",
        ),
        Wrong(
            "snr-weighted",
            loss_weighted_by_snr,
            "You weighted each item by its SNR, which turns the error of ε̂ into that of ẑ0. Here all t have the "
            "same weight: the plain mean.",
        ),
        Wrong("huber", loss_huber, "You used the Huber loss (smooth L1). Here every difference is squared."),
        Wrong("halved", loss_halved, "You halved it. The loss is the mean squared error, without ½."),
        Wrong("noised-twice", loss_of_noised_twice, "The model was shown z0 with noise added twice."),
        Wrong(
            "noising-swapped",
            loss_of_factors_swapped,
            "In your z_t the factors of signal and noise are swapped: √ᾱ belongs to z0, √(1-ᾱ) to ε.",
        ),
        Wrong(
            "noise-subtracted",
            loss_of_noise_subtracted,
            "In your z_t the noise is subtracted. It is added; then the target has its sign.",
        ),
        Wrong(
            "noise-not-rooted",
            loss_noise_not_rooted,
            "In your z_t the noise is scaled by 1-ᾱ. It is scaled with the root √(1-ᾱ).",
        ),
        Wrong(
            "signal-not-rooted",
            loss_signal_not_rooted,
            "In your z_t the signal is scaled by ᾱ. It is scaled with the root √ᾱ.",
        ),
        Wrong(
            "target-z-t",
            loss_against_z_t,
            "You compared with z_t, the model's own input; this model predicts the noise, so compare with eps.",
        ),
        Wrong(
            "not-squared",
            loss_signed,
            "You averaged the differences themselves: errors of both signs cancel. Square them first.",
        ),
        Wrong(
            "t-as-a-share",
            loss_of_shares_of_t,
            "The model was told t / T. Its second argument is the timestep t itself.",
        ),
        Wrong(
            "plus-for-minus", loss_target_cut_sign, "You added eps to the prediction. The error is their difference."
        ),
        Wrong(
            "one-t-for-all",
            loss_of_one_t,
            "All items of the batch are noised to the first one's t. Each has its own: alpha_bar[t] is (B,).",
        ),
        Wrong(
            "last-t-for-all",
            loss_of_last_t,
            "All items of the batch are noised to the last one's t. Each has its own: alpha_bar[t] is (B,).",
        ),
        Wrong(
            "one-for-each-item",
            loss_of_each_item,
            "You return one loss for each item. Take the mean over the batch, too: the loss is a scalar.",
        ),
    ),
    right=(loss_by_library, loss_by_image, loss_of_noised_without_gradient),
)
