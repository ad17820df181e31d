"""What an exercise is: a right answer, inputs to try it on, and mistakes that people really make.

An exercise is literal data: `exercises/lesson_06/group_norm.py` holds one `Exercise`, named `EXERCISE`. Each
wrong answer is a function. The check recognises a learner's mistake because its results match; tests ensure that each
wrong answer gets its own diagnosis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Generator

from tinyldm_course.checks.calls import Call


@dataclass(frozen=True)
class Wrong:
    """A plausible wrong answer.

    Args:
        diagnosis: its name in lower case with hyphens: one of `diagnoses.GENERAL`, or the exercise's own.
        answer: a function (or class) that makes the mistake, with the signature of the right one.
        message: one to three sentences to the learner: what was done, and why it is wrong. None for a general
            diagnosis, which has its own text.
    """

    diagnosis: str
    answer: Callable[..., Any]
    message: str | None = None


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Args:
        name: as in `check("name", …)`; unique in the course, and the name of the function in the notebook.
        title: a few words.
        stars: 1 (a line or two) to 3 (think).
        minutes: how long it takes.
        answer: a right answer. Its parameter names are the signature; its behaviour (dtypes, gradients, ValueErrors) is
            the specification.
        cases: (generator) -> the calls to try, the smallest first (it becomes the counter-example), of several
            shapes and batch sizes, with fresh random numbers from the generator.
        hints: in order, from a nudge to nearly the answer.
        shape_hint: the number of the hint (1, 2, …) that helps if only the shape is wrong; 0 if there is none.
        insight: what a right answer teaches, beyond the formula: one or two sentences.
        wrong: at least four wrong answers, each with its own diagnosis; the more specific ones first.
        right: at least two other right answers: einsum, a loop, float64 inside, another style.
        moments: for an answer that draws normal noise: (args of a call) -> (mean, standard deviation) of its value,
            both differentiable; any other way of drawing from the same distribution is then also right.
        tolerance: largest relative error.
        constants: names of arguments that need no gradient, such as ᾱ: .item() may be called on them.
        exact_dtype: require the exact float dtype (`Returns … float32`) even if no argument is a float tensor. (Integer
            dtypes must always match exactly.)
    """

    name: str
    title: str
    stars: int
    minutes: int
    answer: Callable[..., Any]
    cases: Callable[[Generator], list[Call]]
    hints: tuple[str, ...]
    insight: str
    wrong: tuple[Wrong, ...]
    right: tuple[Callable[..., Any], ...]
    moments: Callable[..., tuple] | None = None
    tolerance: float = 1e-4
    constants: tuple[str, ...] = ()
    exact_dtype: bool = False
    shape_hint: int = 0
