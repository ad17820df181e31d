"""Exercise low_end_of_100 of lesson 15: Predict: a hundred of a hundred."""

from tinyldm.evaluation import statistics as evaluation
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import no_inputs
from tinyldm_course.exercises.lesson_15.wilson_interval import Z

### BEGIN SOLUTION
low_end_of_100 = 100 / (100 + 1.96**2)
### END SOLUTION


def low_sure():
    return 1.0


def low_confidence():
    return 0.95


def low_miss():
    return 0.99


def low_of_ninety():
    return 0.9


def low_of_three():
    return 0.97


def low_in_percent():
    return 100 * low_end_of_100


def low_rounded():
    return 0.96


def low_undivided():
    return 1 - Z**2 / 100


def low_exact_binomial():
    return 0.025**0.01


def low_middle():
    return (1 + low_end_of_100) / 2


def low_of_ninety_percent():
    return 100 / (100 + 1.645**2)


def low_of_ninety_nine_percent():
    return 100 / (100 + 2.576**2)


def low_other_side():
    return 1 - low_end_of_100


def low_three_digits():
    return 0.963


def low_by_the_package():
    return evaluation.share(100, 100).low


EXERCISE = Exercise(
    name="low_end_of_100",
    title="Predict: a hundred of a hundred",
    stars=1,
    minutes=6,
    answer=lambda: low_end_of_100,
    cases=no_inputs,
    tolerance=0.0005,
    hints=(
        "Not 1: a model that fails once in a hundred often makes a hundred right ones in a row.",
        "Insert p = 1 into Wilson's formula: the root becomes z / (2n).",
        "n / (n + z²) with n = 100, z = 1.96",
    ),
    insight="0.963. So of 100 and 97 of 100 you can say little: the intervals, 96.3 to 100 % and 91.5 to 99.0 %, "
    "overlap, and the range of the difference, -1 to 8 points (Newcombe's, in lesson 15), contains 0. The first "
    "model may be better; to know, generate more pictures. To show 99 % it takes 381 without a single mistake.",
    wrong=(
        Wrong("percent", low_in_percent, "That is in percent; the exercise asks for a share between 0 and 1."),
        Wrong(
            "rule-of-three",
            low_of_three,
            "1 - 3/n, the rule of three, bounds the share on one side only, and so with a smaller z. Insert p = 1 "
            "into Wilson's formula.",
        ),
        Wrong(
            "rounded",
            low_rounded,
            "Near, but three decimals are asked for. Insert p = 1 into Wilson's formula, with z = 1.96.",
        ),
        Wrong(
            "not-divided",
            low_undivided,
            "Near: that is 1 - z²/n, or your z is 2. Wilson's formula also divides by 1 + z²/n, and z = 1.96.",
        ),
        Wrong(
            "clopper-pearson",
            low_exact_binomial,
            "That is the end of Clopper and Pearson's interval, the p with pⁿ = 2.5 %. It is a good one; but the "
            "exercise asks for Wilson's.",
        ),
        Wrong("middle", low_middle, "That is the middle of the interval. Subtract the half-width."),
        Wrong(
            "surely-all",
            low_sure,
            "That would mean that no failure is possible. A model that is right in 99 % of the cases makes a "
            "hundred right ones in a row more than one time in three.",
        ),
        Wrong(
            "confidence-for-share",
            low_confidence,
            "0.95 is the confidence of the interval, not its end. Where it ends depends on n.",
        ),
        Wrong(
            "one-in-a-hundred",
            low_miss,
            '1 - 1/100 would be the guess "at most one mistake". But with 2 % of failures, none in a hundred is '
            "not rare either: 0.98¹⁰⁰ = 13 %.",
        ),
        Wrong(
            "too-low", low_of_ninety, "Too careful: at 90 % a hundred in a row would be a miracle, 0.9¹⁰⁰ = 0.003 %."
        ),
        Wrong(
            "ninety-percent",
            low_of_ninety_percent,
            "That is the low end for z = 1.645, of a 90 % interval. For 95 % z = 1.96.",
        ),
        Wrong(
            "ninety-nine-percent",
            low_of_ninety_nine_percent,
            "That is the low end for z = 2.576, of a 99 % interval. For 95 % z = 1.96.",
        ),
        Wrong(
            "other-side",
            low_other_side,
            "That is how far the end is from 1: the largest share of *wrong* ones. The exercise asks for the low "
            "end of the right ones.",
        ),
    ),
    right=(low_three_digits, low_by_the_package),
)
