"""Exercise slip_in_percent of lesson 05: Predict: a slip in the scale."""

from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong

### BEGIN SOLUTION
slip_in_percent = 100 * (0.18215 / 0.18125 - 1)
### END SOLUTION


def one_number(generator: Generator) -> list[Call]:
    """Nothing to try it on: the answer is a number."""
    return [Call(())]


EXERCISE = Exercise(
    name="slip_in_percent",
    title="Predict: a slip in the scale",
    stars=1,
    minutes=6,
    answer=lambda: slip_in_percent,
    cases=one_number,
    tolerance=0.05,
    hints=(
        "Encoding multiplies by 0.18215, decoding divides by 0.18125. What is left of a latent of 1?",
        "0.18215 / 0.18125 = 1.00497",
        "In percent: 100 · (1.00497 - 1).",
    ),
    insight="0.5 % too large, in every picture: less than anyone sees, which is why such a slip lives long. Leave "
    "the scale out in one place only, and the decoder gets latents 5.49 times too small or too large: that shows "
    "at once. A constant that is used both ways belongs in one place.",
    wrong=(
        Wrong(
            "too-small",
            lambda: 100 * (0.18125 / 0.18215 - 1),
            "The size is right, the direction is not: dividing by the *smaller* number makes the result larger.",
        ),
        Wrong("fraction", lambda: 0.18215 / 0.18125 - 1, "That is the fraction; in percent it is 100 times as much."),
        Wrong("factor", lambda: 0.18215 / 0.18125, "That is the factor. How many percent is it above 1?"),
        Wrong(
            "difference",
            lambda: 100 * (0.18215 - 0.18125),
            "You subtracted the two scales. What matters is their ratio: the latent is multiplied and divided.",
        ),
        Wrong(
            "difference-itself",
            lambda: 0.18215 - 0.18125,
            "You subtracted the two scales. What matters is their ratio, in percent.",
        ),
        Wrong("ten-times", lambda: 1000 * (0.18215 / 0.18125 - 1), "Ten times too much: a decimal place slipped."),
    ),
    right=(lambda: 0.5, lambda: (0.18215 - 0.18125) / 0.18125 * 100),
)
