"""Exercise scale_factor of lesson 05: Where 0.18215 comes from."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def scale_factor(latents):
    """The scale of a batch of raw latents.  latents: (B, C, h, w).  Returns a number."""
    ### BEGIN SOLUTION
    return 1 / latents.std().item()
    ### END SOLUTION


def latent_cases(generator: Generator) -> list[Call]:
    """(B, C, h, w); means and spreads differ from channel to channel and from image to image."""
    calls = []
    for B, C, h, w in ((2, 4, 4, 4), (3, 4, 6, 5), (5, 4, 8, 8)):
        size = 1 + 5 * torch.rand(1, C, 1, 1, generator=generator)
        shift = 1.5 + 2 * torch.arange(B).view(B, 1, 1, 1) + 3 * torch.arange(C).view(1, C, 1, 1)
        shift = shift + torch.rand(1, C, 1, 1, generator=generator)
        size = size * (1 + torch.arange(B).view(B, 1, 1, 1) / 2)
        calls.append(Call((size * torch.randn(B, C, h, w, generator=generator) + shift,)))
    return calls


def scale_is_deviation(latents):
    return latents.std().item()


def scale_by_variance(latents):
    return 1 / latents.var().item()


def scale_by_root_mean_square(latents):
    return 1 / latents.square().mean().sqrt().item()


def scale_by_channel(latents):
    return 1 / latents.std(dim=(0, 2, 3), keepdim=True)


def scale_by_channel_in_a_row(latents):
    return 1 / latents.std(dim=(0, 2, 3))


def scale_applied(latents):
    return latents / latents.std()


def scale_of_stable_diffusion(latents):
    return 0.18215


def scale_by_image(latents):
    return 1 / latents.std(dim=(1, 2, 3)).mean().item()


def scale_by_largest(latents):
    return 1 / latents.abs().max().item()


def scale_by_range(latents):
    return 2 / (latents.max() - latents.min()).item()


def scale_of_first(latents):
    return 1 / latents[0].std().item()


def scale_by_mean_variance_of_images(latents):
    return 1 / latents.var(dim=(1, 2, 3)).mean().sqrt().item()


def scale_by_mean_variance_of_channels(latents):
    return 1 / latents.var(dim=(0, 2, 3)).mean().sqrt().item()


def scale_by_mean_deviation_of_channels(latents):
    return 1 / latents.std(dim=(0, 2, 3)).mean().item()


def scale_by_mean_of_inverses(latents):
    return (1 / latents.std(dim=(0, 2, 3))).mean().item()


def scale_by_mean_of_pixels(latents):
    return 1 / latents.std(dim=0).mean().item()


def scale_by_maps(latents):
    return 1 / latents.std(dim=(2, 3)).mean().item()


def scale_by_absolute(latents):
    return 1 / latents.abs().mean().item()


def scale_by_mean(latents):
    return 1 / latents.mean().item()


def scale_root_of_deviation(latents):
    return 1 / latents.std().sqrt().item()


def scale_is_variance(latents):
    return latents.var().item()


def scale_by_first_channel(latents):
    return 1 / latents[:, 0].std().item()


def scale_as_tensor(latents):
    return latents.flatten().var() ** -0.5


def scale_by_sums(latents):
    numbers = latents.double().flatten()
    return (numbers.pow(2).mean() - numbers.mean() ** 2).rsqrt().item()


EXERCISE = Exercise(
    name="scale_factor",
    title="Where 0.18215 comes from",
    stars=1,
    minutes=5,
    answer=scale_factor,
    cases=latent_cases,
    tolerance=0.01,
    hints=(
        "By which factor must you multiply numbers of standard deviation s to get standard deviation 1?",
        "One number for all: the standard deviation over batch, channels and pixels together.",
        "1 / latents.std()",
    ),
    shape_hint=2,
    insight="0.18215 means that Stable Diffusion's raw latents had a standard deviation of about 5.5. The noise "
    "schedule is made for variance 1: with raw latents, the signal would drown much later than the schedule says. "
    "It is one number: it neither centres nor decorrelates.",
    wrong=(
        Wrong("deviation-itself", scale_is_deviation, "That is the standard deviation s. The scale is 1/s."),
        Wrong("by-variance", scale_by_variance, "You divided by the variance; numbers scale by its root."),
        Wrong(
            "mean-not-removed",
            scale_by_root_mean_square,
            "You took the root of the mean square, which counts the mean too. 0.18215 is 1 / standard deviation.",
        ),
        Wrong(
            "per-channel",
            scale_by_channel,
            "You made one scale for each channel. It would be better whitening, but Stable Diffusion has a single "
            "number for all.",
        ),
        Wrong(
            "per-channel-in-a-row",
            scale_by_channel_in_a_row,
            "You made one scale for each channel. The exercise asks for one number: the standard deviation over "
            "all of them.",
        ),
        Wrong(
            "applied", scale_applied, "These are the latents, scaled already. Return the number they are multiplied by."
        ),
        Wrong(
            "copied",
            scale_of_stable_diffusion,
            "0.18215 belongs to the latents of Stable Diffusion's VAE. Measure the latents that are given.",
        ),
        Wrong(
            "per-image",
            scale_by_image,
            "You averaged the standard deviations of the single images: this leaves out how much images differ "
            "from each other.",
        ),
        Wrong("by-largest", scale_by_largest, "You scaled the largest number to 1. It is the *spread* that must be 1."),
        Wrong(
            "to-a-range",
            scale_by_range,
            "You scaled the whole range to a width of 2, as for pixels. The standard deviation must become 1.",
        ),
        Wrong("first-image-only", scale_of_first, "You measured the first image only; the others may differ."),
        Wrong(
            "mean-variance-of-images",
            scale_by_mean_variance_of_images,
            "You averaged the variances of the single images: this leaves out how much images differ from each "
            "other. Take the standard deviation over everything.",
        ),
        Wrong(
            "mean-variance-of-channels",
            scale_by_mean_variance_of_channels,
            "You averaged the variances of the channels: this leaves out how much channels differ from each other. "
            "Take the standard deviation over everything.",
        ),
        Wrong(
            "mean-of-channels",
            scale_by_mean_deviation_of_channels,
            "You averaged the standard deviations of the channels. Take one over everything.",
        ),
        Wrong(
            "mean-of-inverses",
            scale_by_mean_of_inverses,
            "You averaged one scale for each channel. Take one standard deviation over everything, then its inverse.",
        ),
        Wrong(
            "mean-of-places",
            scale_by_mean_of_pixels,
            "You measured each place over the batch and averaged. Take one standard deviation over everything.",
        ),
        Wrong(
            "mean-of-maps",
            scale_by_maps,
            "You averaged the standard deviations of single maps. Take one over everything.",
        ),
        Wrong(
            "mean-of-sizes",
            scale_by_absolute,
            "You divided by the mean of |z|. It is the standard deviation that must become 1.",
        ),
        Wrong("by-mean", scale_by_mean, "You divided by the mean. It is the standard deviation that must become 1."),
        Wrong(
            "rooted", scale_root_of_deviation, "You took the root of the standard deviation, which is a root already."
        ),
        Wrong("variance-itself", scale_is_variance, "That is the variance. The scale is 1 / standard deviation."),
        Wrong(
            "first-channel-only",
            scale_by_first_channel,
            "You measured the first channel only. The exercise asks for one number for all of them.",
        ),
    ),
    right=(scale_as_tensor, scale_by_sums),
)
