"""Exercise image_to_signed of lesson 05: What the encoder expects."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def image_to_signed(pixels):
    """pixels: (B, H, W, 3) uint8.  Returns (B, 3, H, W) float, in [-1, 1]."""
    ### BEGIN SOLUTION
    image = pixels.float() / 255
    return 2 * image.permute(0, 3, 1, 2) - 1  # (B, H, W, 3) -> (B, 3, H, W)
    ### END SOLUTION


def pixel_cases(generator: Generator) -> list[Call]:
    """uint8 (B, H, W, 3); no picture is so kind as to reach 255."""
    calls = [Call((torch.tensor([[[[0, 51, 102], [153, 204, 50]]]], dtype=torch.uint8),))]
    for B, H, W in ((2, 4, 4), (1, 3, 5), (3, 8, 8)):
        calls.append(Call((torch.randint(0, 230, (B, H, W, 3), generator=generator, dtype=torch.uint8),)))
    return calls


def signed_only_to_one(pixels):
    return (pixels.float() / 255).permute(0, 3, 1, 2)


def signed_by_maximum(pixels):
    return 2 * (pixels.float() / pixels.max()).permute(0, 3, 1, 2) - 1


def signed_by_256(pixels):
    return 2 * (pixels.float() / 256).permute(0, 3, 1, 2) - 1


def signed_by_127(pixels):
    return pixels.float().permute(0, 3, 1, 2) / 127 - 1


def signed_by_half(pixels):
    return (pixels.float() / 255).permute(0, 3, 1, 2) - 0.5


def signed_overflowing(pixels):
    return (2 * pixels / 255).permute(0, 3, 1, 2) - 1


def signed_overflowing_below(pixels):
    return (2 * pixels - 255).permute(0, 3, 1, 2) / 255


def signed_normalised(pixels):
    x = pixels.float().permute(0, 3, 1, 2)
    return (x - x.mean()) / x.std()


def signed_not_permuted(pixels):
    return 2 * (pixels.float() / 255) - 1


def signed_viewed(pixels):
    B, H, W, C = pixels.shape
    return 2 * (pixels.float() / 255).reshape(B, C, H, W) - 1


def signed_turned(pixels):
    return 2 * (pixels.float() / 255).permute(0, 3, 2, 1) - 1


def signed_shifted_only(pixels):
    return (pixels.float() / 255).permute(0, 3, 1, 2) - 1


def signed_doubled_only(pixels):
    return 2 * (pixels.float() / 255).permute(0, 3, 1, 2)


def signed_bracket_early(pixels):
    return 2 * ((pixels.float() / 255).permute(0, 3, 1, 2) - 1)


def signed_negated(pixels):
    return 1 - 2 * (pixels.float() / 255).permute(0, 3, 1, 2)


def signed_not_divided(pixels):
    return 2 * pixels.float().permute(0, 3, 1, 2) - 1


def signed_channels_second_to_last(pixels):
    return 2 * (pixels.float() / 255).permute(0, 1, 3, 2) - 1


def signed_bgr(pixels):
    return image_to_signed(pixels).flip(1)


def signed_by_128(pixels):
    return (pixels.float() - 128).permute(0, 3, 1, 2) / 127


def signed_of_imagenet(pixels):
    x = (pixels.float() / 255).permute(0, 3, 1, 2)
    return (x - x.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / x.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def signed_subtracted_first(shift, divisor):
    """A wrong answer that subtracts from bytes, which wrap around below 0."""

    def answer(pixels):
        return (pixels - shift).permute(0, 3, 1, 2) / divisor

    return answer


def signed_by_movedim(pixels):
    return torch.movedim(pixels, -1, 1).to(torch.float32).sub(127.5).div(127.5)


def signed_in_float64(pixels):
    return torch.stack([pixels[..., c] for c in range(3)], dim=1).double() * (2 / 255) - 1


WRAPPED = (
    "You subtract from bytes: below 0 they wrap around, and 3 - 127 becomes 132. Make floats first: pixels.float()."
)


EXERCISE = Exercise(
    name="image_to_signed",
    title="What the encoder expects",
    stars=1,
    minutes=6,
    answer=image_to_signed,
    cases=pixel_cases,
    hints=(
        "Make floats first: 8-bit integers cannot represent 2 · 200.",
        "0 … 255 → 0 … 1 → 0 … 2 → -1 … 1.",
        ".permute(0, 3, 1, 2) moves the colours to the front; reshape would only rename the dimensions.",
    ),
    shape_hint=3,
    insight="0 is now mid-grey, so zeros padded around a picture are grey, not black. A wrong range is the most "
    "common silent bug of all: the encoder takes any numbers, and pictures come out pale or burnt.",
    wrong=(
        Wrong(
            "only-to-one",
            signed_only_to_one,
            "Your image lies in [0, 1]. The encoder was trained on [-1, 1]: for the encoder, yours has no dark half.",
        ),
        Wrong(
            "image-maximum",
            signed_by_maximum,
            "You divided by the image's own maximum. Then a dark picture becomes as bright as a light one. Always "
            "divide by 255.",
        ),
        Wrong(
            "by-256",
            signed_by_256,
            "You divided by 256 (or by 128, before subtracting 1): white, 255, becomes 0.992 instead of 1.",
        ),
        Wrong("by-127", signed_by_127, "You divided by 127: white, 255, becomes 1.008. Half of 255 is 127.5."),
        Wrong("half-range", signed_by_half, "Your image lies in [-0.5, 0.5]: multiply by 2 before subtracting 1."),
        Wrong(
            "overflow",
            signed_overflowing,
            "You doubled while the numbers were still uint8: above 127 they wrap around, 2 · 200 = 144. Convert to "
            "float first.",
        ),
        Wrong(
            "overflow-below",
            signed_overflowing_below,
            "You computed 2 · pixels - 255 while the numbers were still uint8, which cannot be negative: 2 · 100 - "
            "255 became 201 instead of -55. Convert to float first.",
        ),
        Wrong(
            "standardised",
            signed_normalised,
            "You subtracted the mean and divided by the spread of this batch: each image changes with the others. "
            "The range is fixed: 0 … 255 to -1 … 1.",
        ),
        Wrong(
            "channels-last",
            signed_not_permuted,
            "The numbers are right; the colours are still last. Convolutions want (B, 3, H, W).",
        ),
        Wrong(
            "reshaped",
            signed_viewed,
            'You reshaped (B, H, W, 3) into (B, 3, H, W): each "colour" is then a third of the rows. Permute.',
        ),
        Wrong(
            "turned", signed_turned, "Height and width are swapped: the picture lies on its side. permute(0, 3, 1, 2)."
        ),
        Wrong("shifted-only", signed_shifted_only, "Your image lies in [-1, 0]: multiply by 2 before subtracting 1."),
        Wrong("doubled-only", signed_doubled_only, "Your image lies in [0, 2]: subtract 1."),
        Wrong(
            "bracket",
            signed_bracket_early,
            "Your image lies in [-2, 0]: you subtracted 1 before doubling. Double first, then subtract 1.",
        ),
        Wrong("negated", signed_negated, "Your image is a negative: white is -1 and black is 1."),
        Wrong("not-divided", signed_not_divided, "The division by 255 is missing."),
        Wrong(
            "colours-third",
            signed_channels_second_to_last,
            "The colours are the third dimension now. Convolutions want (B, 3, H, W): permute(0, 3, 1, 2).",
        ),
        Wrong("colours-reversed", signed_bgr, "Red and blue are swapped. The order of the colours stays."),
        Wrong(
            "centred-on-128",
            signed_by_128,
            "You subtracted 128 and divided by 127. 0 must become -1 and 255 must become 1: the middle is 127.5.",
        ),
        Wrong(
            "imagenet",
            signed_of_imagenet,
            "You standardised with ImageNet's means and deviations, as classifiers do. A VAE wants [-1, 1].",
        ),
        Wrong("subtracted-127-over-128", signed_subtracted_first(127, 128), WRAPPED),
        Wrong("subtracted-127-over-127", signed_subtracted_first(127, 127), WRAPPED),
        Wrong("subtracted-128-over-128", signed_subtracted_first(128, 128), WRAPPED),
        Wrong("subtracted-128-over-127", signed_subtracted_first(128, 127), WRAPPED),
    ),
    right=(signed_by_movedim, signed_in_float64),
)
