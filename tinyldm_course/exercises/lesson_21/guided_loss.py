"""Exercise guided_loss of lesson 21: Guidance, folded into the student."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def guided_loss(student, with_caption, without, w):
    """The mean squared error of a student, who is asked once, against the teacher's guided prediction: a scalar.

    student: (B, …) its prediction with the caption; with_caption, without: (B, …) the teacher's predictions; w: float,
    1 is no guidance. No gradient reaches the teacher.
    """
    ### BEGIN SOLUTION
    target = without + w * (with_caption - without)
    return (student - target.detach()).square().mean()
    ### END SOLUTION


def guided_cases(generator: Generator) -> list[Call]:
    """Scales above, at and below 1."""

    def call(w: float, *shape: int) -> Call:
        return Call((*(torch.randn(shape, generator=generator) for _ in range(3)), w))

    return [call(3.0, 1, 1), call(1.0, 2, 2), call(0.0, 3, 2), call(uniform(2, 8, generator), 2, 4, 2, 2)]


def _loss(student, target):
    return (student - target.detach()).square().mean()


def guided_with_gradient(student, with_caption, without, w):
    return (student - without - w * (with_caption - without)).square().mean()


def guided_half_stopped(student, with_caption, without, w):
    return (student - without.detach() - w * (with_caption - without.detach())).square().mean()


def guided_papers_w(student, with_caption, without, w):
    return _loss(student, with_caption + w * (with_caption - without))


def guided_exchanged(student, with_caption, without, w):
    return _loss(student, with_caption + w * (without - with_caption))


def guided_difference(student, with_caption, without, w):
    return _loss(student, w * (with_caption - without))


def guided_plain(student, with_caption, without, w):
    return _loss(student, with_caption)


def guided_mixed(student, with_caption, without, w):
    return _loss(student, (w * with_caption + without) / (1 + w))


def guided_student(student, with_caption, without, w):
    return _loss(without + w * (student - without), with_caption)


def guided_no_grad(student, with_caption, without, w):
    with torch.no_grad():
        target = w * with_caption + (1 - w) * without
    return torch.nn.functional.mse_loss(student, target)


def guided_by_lerp(student, with_caption, without, w):
    return ((student - torch.lerp(without.detach(), with_caption.detach(), w)) ** 2).mean()


EXERCISE = Exercise(
    name="guided_loss",
    title="Guidance, folded into the student",
    stars=1,
    minutes=5,
    answer=guided_loss,
    cases=guided_cases,
    hints=(
        "Guidance is lesson 12's formula: from `without`, w times the way to `with_caption`.",
        "One number comes out: the mean of the squares, over pictures, channels and pixels alike.",
        "A target is a number to aim at. `.detach()` keeps gradients from moving the aim instead of the arrow.",
    ),
    insight="A guided step asks the network twice, its student asks once: the same steps cost half. In return w "
    "is fixed, and there are no negative captions.",
    wrong=(
        Wrong(
            "gradient-to-the-teacher",
            guided_with_gradient,
            "The values are right, but gradients flow into the teacher: detach the target.",
        ),
        Wrong("half-detached", guided_half_stopped, "One of the two predictions still passes gradients on."),
        Wrong("w-of-the-paper", guided_papers_w, "There w = 0 is no guidance, as in the paper; here w = 1 is."),
        Wrong("exchanged", guided_exchanged, "You walk away from the caption: start at `without`."),
        Wrong("difference-only", guided_difference, "The start of the walk, `without`, is missing."),
        Wrong("not-guided", guided_plain, "w has no effect: that is the prediction without guidance."),
        Wrong(
            "student-guided",
            guided_student,
            "You guide the student, which then would have to be guided for ever. Guide the teacher: that is the "
            "target.",
        ),
        Wrong("averaged", guided_mixed, "You average the two. Guidance goes *beyond* the prediction with the caption."),
    ),
    right=(guided_no_grad, guided_by_lerp),
    shape_hint=2,
)
