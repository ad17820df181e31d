"""Exercise steered_skips of lesson 18: Adding to the skips."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def steered_skips(skips, residuals, scale):
    """The U-Net's skips after a ControlNet has added to them: each plus `scale` times its residual.

    skips, residuals: lists of tensors (B, C, H, W), as many and of the same shapes.  scale: a number.
    Returns a new list.
    """
    ### BEGIN SOLUTION
    return [skip + scale * residual for skip, residual in zip(skips, residuals)]
    ### END SOLUTION


def skip_cases(generator: Generator) -> list[Call]:
    """Lists of one to three tensors, of equal shapes, so that a wrong order shows; scales below and above 1."""
    calls = []
    for count, shape, scale in ((1, (1, 2, 1, 1), 0.5), (3, (2, 3, 2, 2), 1.5), (2, (1, 4, 3, 2), 0.3)):
        lists = [[torch.randn(shape, generator=generator) for _ in range(count)] for _ in range(2)]
        calls.append(Call((*lists, scale)))
    return calls


def skips_without_scale(skips, residuals, scale):
    return [skip + residual for skip, residual in zip(skips, residuals)]


def skips_scaled_all(skips, residuals, scale):
    return [scale * (skip + residual) for skip, residual in zip(skips, residuals)]


def skips_reversed(skips, residuals, scale):
    return [skip + scale * residual for skip, residual in zip(skips, reversed(residuals))]


def skips_replaced(skips, residuals, scale):
    return [scale * residual for residual in residuals]


def skips_mixed(skips, residuals, scale):
    return [(1 - scale) * skip + scale * residual for skip, residual in zip(skips, residuals)]


def skips_minus(skips, residuals, scale):
    return [skip - scale * residual for skip, residual in zip(skips, residuals)]


def skips_last_only(skips, residuals, scale):
    return [*skips[:-1], skips[-1] + scale * residuals[-1]]


def skips_of_skips_scaled(skips, residuals, scale):
    return [scale * skip + residual for skip, residual in zip(skips, residuals)]


def skips_by_add(skips, residuals, scale):
    return [torch.add(skip, residual, alpha=scale) for skip, residual in zip(skips, residuals)]


def skips_by_index(skips, residuals, scale):
    steered = []
    for i in range(len(skips)):
        steered.append(skips[i] + residuals[i] * scale)
    return steered


EXERCISE = Exercise(
    name="steered_skips",
    title="Adding to the skips",
    stars=1,
    minutes=5,
    answer=steered_skips,
    cases=skip_cases,
    constants=("scale",),
    hints=(
        "zip(skips, residuals) gives them in pairs, in the order of pushing. As many come out, each in its own shape.",
        "The scale belongs to what is added, not to what was there.",
        "[skip + scale * residual for …]",
    ),
    insight="At scale 0 the U-Net is itself again, bit for bit. Between 0 and 1 the drawing is a suggestion.",
    wrong=(
        Wrong("scale-ignored", skips_without_scale, "You did not use `scale`."),
        Wrong("all-scaled", skips_scaled_all, "You scaled the skips too. At scale 0 the U-Net must be as it was."),
        Wrong(
            "skips-scaled", skips_of_skips_scaled, "You scaled the skips instead of what is added. Scale the residuals."
        ),
        Wrong("reversed", skips_reversed, "You took the residuals from last to first; both lists go the same way."),
        Wrong("replaced", skips_replaced, "You replaced the skips. A ControlNet adds to them."),
        Wrong("mixed", skips_mixed, "You mixed with 1 - scale and scale. The skips stay whole."),
        Wrong("minus", skips_minus, "You subtracted. What the ControlNet finds is added."),
        Wrong("last-only", skips_last_only, "You changed the last skip only. Every skip has its residual."),
    ),
    right=(skips_by_add, skips_by_index),
    shape_hint=1,
)
