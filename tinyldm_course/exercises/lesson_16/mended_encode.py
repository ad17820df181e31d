"""Exercise mended_encode of lesson 16: Patient 1: swollen latents."""

import torch
from torch import Generator, Tensor

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def mended_encode(encode, images, scale):
    """z0 of about unit variance.

    encode: images in [-1, 1] -> unscaled latents; images: (B, 3, H, W) in [0, 1]; scale: a number below 1.
    """
    ### BEGIN SOLUTION
    return scale * encode(2 * images - 1)
    ### END SOLUTION


def encoding_cases(generator: Generator) -> list[Call]:
    """An encoder, images in [0, 1], the scale."""
    image = torch.tensor([[[[0.0, 0.5], [0.25, 1.0]]]])
    calls = [Call((Made(makers.toy_encoder), image, 0.2))]
    for B, side in ((2, 4), (3, 8)):
        images = torch.rand(B, 3, side, side, generator=generator)
        calls.append(Call((Made(makers.toy_encoder), images, uniform(0.1, 0.3, generator))))
    return calls


def encode_broken(encode, images, scale):
    return encode(images) / scale


def encode_range_only(encode, images, scale):
    return encode(2 * images - 1) / scale


def encode_scale_only(encode, images, scale):
    return scale * encode(images)


def encode_range_wrong_way(encode, images, scale):
    return scale * encode((images + 1) / 2)


def encode_unscaled(encode, images, scale):
    return encode(2 * images - 1)


def encode_scaled_inside(encode, images, scale):
    return encode(scale * (2 * images - 1))


def encode_bytes(encode, images, scale):
    return scale * encode(images / 127.5 - 1)


def encode_half_shift(encode, images, scale):
    return scale * encode(images - 0.5)


def encode_in_place(encode, images, scale):
    images = images.detach().mul_(2).sub_(1)
    return scale * encode(images)


def encode_shift_only(encode, images, scale):
    return scale * encode(images - 1)


def encode_double_only(encode, images, scale):
    return scale * encode(2 * images)


def encode_bracket(encode, images, scale):
    return scale * encode(2 * (images - 1))


def encode_negative(encode, images, scale):
    return scale * encode(1 - 2 * images)


def encode_squared(encode, images, scale):
    return scale**2 * encode(2 * images - 1)


def encode_own_scale(encode, images, scale):
    return 0.18215 * encode(2 * images - 1)


def encode_after(encode, images, scale):
    return 2 * scale * encode(images) - 1


def encode_plus_one(encode, images, scale):
    return scale * encode(2 * images + 1)


def deviation(z: Tensor) -> Tensor:
    """The standard deviation; of a single number NaN, without torch's warning."""
    return ((z - z.mean()).square().sum() / (z.numel() - 1)).sqrt()


def encode_by_own_deviation(encode, images, scale):
    z = encode(2 * images - 1)
    return z / deviation(z)


def encode_standardised(encode, images, scale):
    z = encode(2 * images - 1)
    return (z - z.mean()) / deviation(z)


@torch.no_grad()
def encode_by_centre(encode, images, scale):
    return encode((images - 0.5) / 0.5) * scale


def encode_each(encode, images, scale):
    return (
        torch.cat([encode(torch.lerp(-torch.ones_like(one), torch.ones_like(one), one)) for one in images.split(1)])
        * scale
    )


EXERCISE = Exercise(
    name="mended_encode",
    title="Patient 1: swollen latents",
    stars=1,
    minutes=8,
    answer=mended_encode,
    cases=encoding_cases,
    constants=("images",),
    hints=(
        "There are two mistakes. Which range do images have here, and which does the encoder expect?",
        "And which size should the latents have? The encoder's are too large, by about 1 / scale.",
        "To the encoder in [-1, 1]: 2 x - 1. From it times scale.",
    ),
    insight="Neither mistake raises an error: shapes are right, and the loss falls. But latents that are 5.5 times "
    "too large (1 / 0.18215), or even that squared, are not covered by the noise: the network never learns to work "
    "from pure noise, where sampling begins.",
    wrong=(
        Wrong("still-broken", encode_broken, "That is the patient as he came in: both mistakes are still there."),
        Wrong(
            "scale-still-divides",
            encode_range_only,
            "The range is mended. But latents are *multiplied* with the scale when encoded; dividing, as before "
            "decoding, makes them larger still.",
        ),
        Wrong(
            "range-still-wrong",
            encode_scale_only,
            "The scale is mended. But the encoder was trained on [-1, 1] and gets [0, 1]: it sees only bright images.",
        ),
        Wrong(
            "range-the-other-way",
            encode_range_wrong_way,
            "(x + 1) / 2 leads from [-1, 1] to [0, 1]. The encoder wants the other direction, 2 x - 1.",
        ),
        Wrong(
            "scale-removed",
            encode_unscaled,
            "The scale is gone altogether: the latents are as large as the encoder makes them. Multiply by it.",
        ),
        Wrong(
            "image-scaled",
            encode_scaled_inside,
            "You scaled the image. The scale belongs to the *latent*, after the encoder.",
        ),
        Wrong(
            "as-if-bytes",
            encode_bytes,
            "x / 127.5 - 1 is for bytes, 0 to 255. These images are in [0, 1] already: 2 x - 1.",
        ),
        Wrong(
            "half-the-range", encode_half_shift, "x - 0.5 gives [-0.5, 0.5]: half the contrast. 2 x - 1 gives [-1, 1]."
        ),
        Wrong("inputs-changed", encode_in_place),
        Wrong("shifted-only", encode_shift_only, "[0, 1] - 1 is [-1, 0]: multiply by 2 first."),
        Wrong("doubled-only", encode_double_only, "2 · [0, 1] is [0, 2]: subtract 1."),
        Wrong("bracket", encode_bracket, "2 · ([0, 1] - 1) is [-2, 0]: double first, then subtract 1."),
        Wrong("negative", encode_negative, "Your image is a negative: white is -1 and black is 1."),
        Wrong("scaled-twice", encode_squared, "You scaled twice."),
        Wrong("own-scale", encode_own_scale, "You took 0.18215. Take the scale that is given."),
        Wrong(
            "latent-shifted",
            encode_after,
            "You shifted the range of the *latent*. It is the image that is brought from [0, 1] to [-1, 1].",
        ),
        Wrong("plus-one", encode_plus_one, "You added 1. From [0, 1] to [-1, 1] it is 2x - 1."),
        Wrong(
            "own-deviation",
            encode_by_own_deviation,
            "You divided by the standard deviation of these latents. Then the scale depends on the pictures at "
            "hand: multiply by the one that is given.",
        ),
        Wrong(
            "standardised",
            encode_standardised,
            "You standardised these latents. Then the scale depends on the pictures at hand: multiply by the one "
            "that is given.",
        ),
    ),
    right=(encode_by_centre, encode_each),
)
