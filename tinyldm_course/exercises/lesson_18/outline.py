"""Exercise outline of lesson 18: A drawing from a distance."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def outline(distance, width):
    """A line drawing, white on black, from signed distances to the edge.

    A pixel is on the line if it is less than half the line's width from the edge, on either side.
    distance: (B, H, W) float, pixels, negative inside.  width: of the line, pixels.
    Returns (B, 3, H, W) in distance's dtype: 1 on the line, 0 elsewhere, the same in all three channels.
    """
    ### BEGIN SOLUTION
    line = (distance.abs() < width / 2).to(distance.dtype)  # (B, H, W)
    return line[:, None].repeat(1, 3, 1, 1)
    ### END SOLUTION


def outline_cases(generator: Generator) -> list[Call]:
    """Distances on both sides of the edge, batches of 1 to 3."""
    return [
        Call((torch.tensor([[[-3.0, -0.9, -0.2, 0.2, 0.9, 3.0]]]), 2.0)),
        Call((4 * torch.randn(2, 5, 4, generator=generator), 3.0)),
        Call((2 * torch.randn(3, 6, 6, generator=generator), 1.5)),
    ]


def outline_filled(distance, width):
    return (distance < width / 2).to(distance.dtype)[:, None].repeat(1, 3, 1, 1)


def outline_inside(distance, width):
    return ((distance < 0) & (distance > -width / 2)).to(distance.dtype)[:, None].repeat(1, 3, 1, 1)


def outline_twice_as_wide(distance, width):
    return (distance.abs() < width).to(distance.dtype)[:, None].repeat(1, 3, 1, 1)


def outline_inverted(distance, width):
    return (distance.abs() >= width / 2).to(distance.dtype)[:, None].repeat(1, 3, 1, 1)


def outline_of_one_channel(distance, width):
    return (distance.abs() < width / 2).to(distance.dtype)[:, None]


def outline_channels_last(distance, width):
    return (distance.abs() < width / 2).to(distance.dtype)[..., None].repeat(1, 1, 1, 3)


def outline_boolean(distance, width):
    return (distance.abs() < width / 2)[:, None].repeat(1, 3, 1, 1)


def outline_of_255(distance, width):
    return 255 * (distance.abs() < width / 2).to(distance.dtype)[:, None].repeat(1, 3, 1, 1)


def outline_signed(distance, width):
    return 2 * (distance.abs() < width / 2).to(distance.dtype)[:, None].repeat(1, 3, 1, 1) - 1


def outline_soft(distance, width):
    return (width / 2 - distance.abs() + 0.5).clamp(0, 1)[:, None].repeat(1, 3, 1, 1)


def outline_by_where(distance, width):
    on_line = (distance > -width / 2) & (distance < width / 2)
    line = torch.where(on_line, torch.ones_like(distance), torch.zeros_like(distance))
    return torch.stack([line, line, line], dim=1)


def outline_by_expanding(distance, width):
    B, H, W = distance.shape
    return (2 * distance.abs() < width).type_as(distance).view(B, 1, H, W).expand(B, 3, H, W).clone()


EXERCISE = Exercise(
    name="outline",
    title="A drawing from a distance",
    stars=1,
    minutes=8,
    answer=outline,
    cases=outline_cases,
    constants=("distance", "width"),
    hints=(
        "The edge is where the distance is 0. Which distances are near it, on either side?",
        "abs() < width / 2 is boolean; .to(distance.dtype) makes 0 and 1 of it.",
        "[:, None] gives the channel, repeat(1, 3, 1, 1) three of them.",
    ),
    insight="For photographs edge detectors do this, and lose what the edge was of. That is the point: the drawing "
    "says where, the caption what.",
    wrong=(
        Wrong("filled", outline_filled, "You filled the shape: the distance is negative inside. Take abs()."),
        Wrong("one-sided", outline_inside, "You drew the inner half of the line only. It goes to either side."),
        Wrong("too-wide", outline_twice_as_wide, "Your line is twice as wide: half of `width` goes to each side."),
        Wrong("inverted", outline_inverted, "You drew black on white. ControlNets of edges expect white on black."),
        Wrong("one-channel", outline_of_one_channel, "You returned one channel. The drawing's encoder reads three."),
        Wrong("channels-last", outline_channels_last, "You put the channels last. Asked: (B, 3, H, W)."),
        Wrong("255", outline_of_255, "You returned 0 and 255. Asked: 0 and 1."),
        Wrong("signed", outline_signed, "You returned -1 and 1. Drawings are in [0, 1]."),
        Wrong("soft", outline_soft, "Your line has soft edges. Asked: 1 on the line, 0 elsewhere."),
        Wrong("boolean", outline_boolean, "You returned booleans. Convert them to the dtype of the distance."),
    ),
    right=(outline_by_where, outline_by_expanding),
    shape_hint=3,
)
