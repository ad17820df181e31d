"""Exercise head_width of lesson 14: Predict: a number that means another."""

from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import no_inputs

### BEGIN SOLUTION
head_width = 160
### END SOLUTION


def width_by_name():
    return 8


def width_of_two():
    return 64


def width_of_first_level():
    return 40


def width_of_second_level():
    return 80


def width_of_all():
    return 1280


def width_by_multiplication():
    return 1280 * 8


def width_of_sixty_four():
    return 1280 // 64


def width_of_levels():
    return 320


def width_by_division():
    return 1280 // 8


def width_by_counting():
    return len(range(0, 1280, 8))


EXERCISE = Exercise(
    name="head_width",
    title="Predict: a number that means another",
    stars=1,
    minutes=6,
    answer=lambda: head_width,
    cases=no_inputs,
    hints=(
        "Count: the projections to q, k and v are 1280 wide, and are split among the heads.",
        "What if the 8 were the *number* of heads?",
        "1280 / 8",
    ),
    insight="160. The field is misnamed: in Stable Diffusion 1 it holds the number of heads, 8 at every level, so "
    "heads are 40, 80 and 160 wide. Stable Diffusion 2 made all heads 64 wide, and its file says 5, 10, 20, 20: "
    "heads again.",
    wrong=(
        Wrong(
            "by-its-name",
            width_by_name,
            "So it is called, but the name is wrong, and is kept for the sake of old files. With heads 8 wide "
            "there would be 160 of them.",
        ),
        Wrong("stable-diffusion-2", width_of_two, "64 is the width of a head in Stable Diffusion 2; this is 1."),
        Wrong(
            "first-level",
            width_of_first_level,
            "That is 320 / 8, the highest level. The question is about 1280 channels.",
        ),
        Wrong(
            "second-level",
            width_of_second_level,
            "That is 640 / 8, the second level. The question is about 1280 channels.",
        ),
        Wrong("all-heads", width_of_all, "That is all heads together."),
        Wrong(
            "multiplied",
            width_by_multiplication,
            "You multiplied. All heads together are 1280 wide: 8 heads share these numbers.",
        ),
        Wrong(
            "heads-of-64",
            width_of_sixty_four,
            "That is the *number* of heads if each were 64 wide. The question is how wide one head is.",
        ),
        Wrong(
            "channels-of-the-first-level",
            width_of_levels,
            "320 is the number of channels at the first level. The question is about one head at 1280 channels.",
        ),
    ),
    right=(width_by_division, width_by_counting),
)
