"""Exercise signed_to_image of lesson 05: Back to pixels."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def signed_to_image(image):
    """image: (B, 3, H, W) float, in [-1, 1] but for some overshoot.  Returns (B, H, W, 3) uint8."""
    ### BEGIN SOLUTION
    image = ((image + 1) / 2).clamp(0, 1)
    return (255 * image).round().to(torch.uint8).permute(0, 2, 3, 1)  # (B, 3, H, W) -> (B, H, W, 3)
    ### END SOLUTION


def decoded_cases(generator: Generator) -> list[Call]:
    """(B, 3, H, W) between -1 and 1, with overshoot; no number lies where rounding could go either way."""
    calls = [Call((torch.tensor([[[[-1.0, 0.9965]], [[1.2, -0.5]], [[-1.1, 0.42]]]]),))]
    for B, H, W in ((2, 4, 4), (1, 3, 5), (3, 8, 8)):
        whole = torch.randint(-40, 296, (B, 3, H, W), generator=generator)
        between = 0.8 * torch.rand(B, 3, H, W, generator=generator) - 0.4
        calls.append(Call(((whole + between) / 127.5 - 1,)))
    return calls


def back_not_clipped(image):
    return ((image + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_truncated(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)


def back_truncated_and_not_clipped(image):
    return ((image + 1) / 2 * 255).to(torch.uint8).permute(0, 2, 3, 1)


def back_not_shifted(image):
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_clipped_too_early(image):
    return ((image.clamp(0, 1) + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_by_256(image):
    return (((image + 1) / 2).clamp(0, 1) * 256).round().clamp(max=255).to(torch.uint8).permute(0, 2, 3, 1)


def back_stretched(image):
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_as_floats(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)


def back_not_permuted(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8)


def back_viewed(image):
    B, C, H, W = image.shape
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8).reshape(B, H, W, C)


def back_turned(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 3, 2, 1)


def back_in_place(image):
    return ((image.clamp_(-1, 1) + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_not_halved(image):
    return ((image + 1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_not_scaled(image):
    return ((image + 1) / 2).clamp(0, 1).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_rounded_up(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).ceil().to(torch.uint8).permute(0, 2, 3, 1)


def back_shifted_after(image):
    return ((image / 2 + 1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_rounded_too_early(image):
    return (((image + 1) / 2).clamp(0, 1).round() * 255).to(torch.uint8).permute(0, 2, 3, 1)


def back_by_128(image):
    return (image * 127 + 128).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_bgr(image):
    return signed_to_image(image).flip(-1)


def back_by_255_and_half_truncated(image):
    return (((image + 1) / 2).clamp(0, 1) * 255.999).to(torch.uint8).permute(0, 2, 3, 1)


def back_absolute(image):
    return (image.abs().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_at_once(image):
    return torch.einsum("bchw->bhwc", image).mul(127.5).add(127.5).clamp(0, 255).round().byte()


def back_by_floor(image):
    bright = torch.floor(127.5 * (image.double() + 1) + 0.5)
    return torch.minimum(bright.clamp(min=0), torch.full_like(bright, 255)).to(torch.uint8).movedim(1, -1)


EXERCISE = Exercise(
    name="signed_to_image",
    title="Back to pixels",
    stars=1,
    minutes=6,
    answer=signed_to_image,
    cases=decoded_cases,
    hints=(
        "Undo the steps in the opposite order: -1 … 1 → 0 … 2 → 0 … 1 → 0 … 255.",
        "A decoder overshoots a little: clip to [0, 1] before the numbers become whole.",
        ".round(), .to(torch.uint8), and .permute(0, 2, 3, 1).",
    ),
    shape_hint=3,
    insight="Clipping belongs here, at the very end, and not into the decoder: a clipped pixel has no gradient, so "
    "in training nothing would pull an overshooting pixel back.",
    wrong=(
        Wrong(
            "not-clipped",
            back_not_clipped,
            "You did not clip, or only after .to(torch.uint8), when it is too late: 1.02 becomes 258, and in 8 "
            "bits that wraps around to 2, black specks in white places. Clip while the numbers are floats.",
        ),
        Wrong(
            "truncated",
            back_truncated,
            "You cut off the fraction, as .to(torch.uint8) does: every pixel gets darker, by half a step on "
            "average. Round before the conversion.",
        ),
        Wrong(
            "truncated-and-not-clipped",
            back_truncated_and_not_clipped,
            "Two things. You cut off the fraction, as .to(torch.uint8) does: round before. And you did not clip, "
            "or only after it, when 258 has become 2 already: clip while the numbers are floats.",
        ),
        Wrong(
            "not-shifted",
            back_not_shifted,
            "You took [-1, 1] for [0, 1]: everything darker than mid-grey turns black. First (image + 1) / 2.",
        ),
        Wrong(
            "clipped-too-early",
            back_clipped_too_early,
            "You clipped to [0, 1] before shifting, so everything darker than mid-grey is lost.",
        ),
        Wrong(
            "by-256",
            back_by_256,
            "You multiplied by 256; 1 must become 255, so that the two directions fit each other.",
        ),
        Wrong(
            "stretched",
            back_stretched,
            "You stretched each batch to its own darkest and brightest pixel, as a plot does. The range is fixed.",
        ),
        Wrong("not-uint8", back_as_floats, "The numbers are right, but they are still floats: .to(torch.uint8)."),
        Wrong("channels-first", back_not_permuted, "The colours are still first. Picture files want (B, H, W, 3)."),
        Wrong("reshaped", back_viewed, "You reshaped where a permutation is needed: colours and places get mixed."),
        Wrong(
            "turned", back_turned, "Height and width are swapped: the picture lies on its side. permute(0, 2, 3, 1)."
        ),
        Wrong("inputs-changed", back_in_place),
        Wrong(
            "not-halved",
            back_not_halved,
            "The division by 2 is missing: [-1, 1] + 1 is [0, 2], and everything lighter than mid-grey turns white.",
        ),
        Wrong("not-scaled", back_not_scaled, "The factor 255 is missing: your pixels are 0 or 1."),
        Wrong("rounded-up", back_rounded_up, "You rounded up. Round to the nearest integer: .round()."),
        Wrong(
            "shifted-too-late",
            back_shifted_after,
            "A pair of parentheses is missing: image / 2 + 1 lies in [0.5, 1.5]. It is (image + 1) / 2.",
        ),
        Wrong(
            "rounded-too-early",
            back_rounded_too_early,
            "You rounded before multiplying by 255: only black and white are left.",
        ),
        Wrong(
            "centred-on-128",
            back_by_128,
            "You multiplied by 127 and added 128. -1 must become 0 and 1 must become 255: the middle is 127.5.",
        ),
        Wrong("colours-reversed", back_bgr, "Red and blue are swapped. The order of the colours stays."),
        Wrong(
            "not-quite-256",
            back_by_255_and_half_truncated,
            "You multiplied by nearly 256 and cut off the fraction. Multiply by 255 and round.",
        ),
        Wrong(
            "absolute",
            back_absolute,
            "You took absolute values: black and white become the same. Shift: (image + 1) / 2.",
        ),
    ),
    right=(back_at_once, back_by_floor),
)
