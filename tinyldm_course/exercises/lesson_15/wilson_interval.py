"""Exercise wilson_interval of lesson 15: How sure is a share?"""

import math

from torch import Generator

from tinyldm.evaluation import statistics as evaluation
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def wilson_interval(right, of):
    """The two ends (low, high) of the 95 % interval of a share.

    right, of: whole numbers, 0 ≤ right ≤ of, of ≥ 1.  Raises ValueError for others.
    """
    ### BEGIN SOLUTION
    if not 0 <= right <= of or of < 1:
        raise ValueError(f"a share needs 0 ≤ right ≤ of and of ≥ 1, got right = {right} and of = {of}")
    p, z = right / of, 1.96
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)  # but for rounding, they are anyway
    ### END SOLUTION


Z = 1.96


def interval_cases(generator: Generator) -> list[Call]:
    """Right answers, and of how many; also none, all, one of one, and senseless ones."""
    n = integer(30, 200, generator)
    senseless = [(5, 4), (-1, 4), (0, 0), (-1, -1), (2, -4)]
    return [Call(pair) for pair in ((8, 10), (0, 20), (20, 20), (1, 1), *senseless, (integer(1, n // 2, generator), n))]


def require_share(right, of):
    """As the exercise asks for."""
    if not 0 <= right <= of or of < 1:
        raise ValueError(f"a share needs 0 ≤ right ≤ of and of ≥ 1, got {right} and {of}")


def wilson(right, of, z):
    """Its two ends, which rounding may not carry out of [0, 1]."""
    require_share(right, of)
    p = right / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def interval_in_parts(right: int, of: int) -> tuple[float, float]:
    """Wilson's score interval with z = 1.96."""
    return wilson(right, of, Z)


def interval_of_wald(right, of):
    require_share(right, of)
    p = right / of
    half = Z * math.sqrt(p * (1 - p) / of)
    return p - half, p + half


def interval_of_wald_clipped(right, of):
    low, high = interval_of_wald(right, of)
    return max(0.0, low), min(1.0, high)


def interval_of_one_error(right, of):
    return wilson(right, of, 1.0)


def interval_of_90_percent(right, of):
    return wilson(right, of, 1.645)


def interval_not_divided(right, of):
    require_share(right, of)
    p = right / of
    middle, half = p + Z * Z / (2 * of), Z * math.sqrt(p * (1 - p) / of + Z * Z / (4 * of * of))
    return middle - half, middle + half


def interval_middle_divided(right, of):
    low, high = interval_not_divided(right, of)
    middle = (low + high) / 2 / (1 + Z * Z / of)
    return middle - (high - low) / 2, middle + (high - low) / 2


def interval_half_divided(right, of):
    low, high = interval_not_divided(right, of)
    half = (high - low) / 2 / (1 + Z * Z / of)
    return (low + high) / 2 - half, (low + high) / 2 + half


def slipped(right, of, first=lambda n: Z**2 / (2 * n), second=lambda n: Z**2 / (4 * n**2), factor=Z, root=math.sqrt):
    """Wilson's formula with a mistake in one of its parts: z²/2n, z²/4n², the z before the root, the root."""
    require_share(right, of)
    p, scale = right / of, 1 + Z**2 / of
    middle, half = (p + first(of)) / scale, factor / scale * root(p * (1 - p) / of + second(of))
    return middle - half, middle + half


def interval_without_factor(right, of):
    return slipped(right, of, factor=1.0)


def interval_without_root(right, of):
    return slipped(right, of, root=float)


def interval_n_not_squared(right, of):
    return slipped(right, of, second=lambda n: Z**2 / (4 * n))


def interval_slip_in_the_middle(right, of):
    return slipped(right, of, first=lambda n: Z**2 / 2 * n)


def interval_slip_in_the_root(right, of):
    return slipped(right, of, second=lambda n: Z**2 / 4 * n**2)


def interval_two_slips(right, of):
    return slipped(right, of, first=lambda n: Z**2 / 2 * n, second=lambda n: Z**2 / 4 * n**2)


def interval_of_z_two(right, of):
    return wilson(right, of, 2.0)


def interval_of_99_percent(right, of):
    return wilson(right, of, 2.576)


def interval_zero_refused(right, of):
    if right < 1 or right > of:
        raise ValueError("not a share")
    return wilson(right, of, Z)


def interval_all_refused(right, of):
    if not 0 <= right < of:
        raise ValueError("not a share")
    return wilson(right, of, Z)


def interval_high_first(right, of):
    return wilson_interval(right, of)[::-1]


def interval_around_the_share(right, of):
    low, high = wilson(right, of, Z)
    return right / of - (high - low) / 2, right / of + (high - low) / 2


def interval_middle_and_half(right, of):
    low, high = wilson(right, of, Z)
    return (low + high) / 2, (high - low) / 2


def interval_in_percent(right, of):
    low, high = wilson(right, of, Z)
    return 100 * low, 100 * high


def interval_unchecked(right, of):
    p, n = right / max(of, 1), max(of, 1)
    middle, spread = (p + Z * Z / (2 * n)) / (1 + Z * Z / n), max(p * (1 - p) / n + Z * Z / (4 * n * n), 0)
    half = Z / (1 + Z * Z / n) * math.sqrt(spread)
    return middle - half, middle + half


def interval_of_wrong_ones(right, of):
    require_share(right, of)
    return wilson(of - right, of, Z)


def interval_middle_only(right, of):
    low, high = wilson(right, of, Z)
    return (low + high) / 2


def interval_of_counts(right, of):
    low, high = wilson(right, of, Z)
    return low * of, high * of


def interval_of_agresti(right, of):
    require_share(right, of)
    n = of + Z**2
    p = (right + Z**2 / 2) / n
    half = Z * math.sqrt(p * (1 - p) / n)
    return max(0.0, p - half), min(1.0, p + half)


def interval_of_whole_root(right, of):
    require_share(right, of)
    p, z = right / of, Z
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(p * (1 - p) / of) + z**2 / (4 * of**2)
    return max(0.0, middle - half), min(1.0, middle + half)


def interval_of_plus_in_share(right, of):
    require_share(right, of)
    p, z = right / of, Z
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(p * (1 + p) / of + z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def interval_of_middle_minus(right, of):
    require_share(right, of)
    p, z = right / of, Z
    middle = (p - z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def interval_negative_accepted(right, of):
    if right > of or of < 1:
        raise ValueError("not a share")
    return interval_unchecked(right, of)


def interval_more_accepted(right, of):
    if right < 0 or of < 1:
        raise ValueError("not a share")
    return interval_unchecked(right, of)


def interval_of_none_accepted(right, of):
    if not 0 <= right <= of:
        raise ValueError("not a share")
    return interval_unchecked(right, of)


def interval_whole_in_the_middle(right, of):
    return slipped(right, of, first=lambda n: Z**2 / n)


def interval_of_rooted_terms(right, of):
    require_share(right, of)
    p, scale = right / of, 1 + Z**2 / of
    middle, half = p + Z**2 / (2 * of), Z * (math.sqrt(p * (1 - p) / of) + Z / (2 * of))
    return (middle - half) / scale, (middle + half) / scale


def interval_by_the_package(right, of):
    found = evaluation.share(right, of, z=Z)
    return found.low, found.high


def interval_by_the_equation(right, of):
    """The two p at which |right/of - p| is z standard errors *of that p*: a quadratic equation."""
    if of < 1 or right < 0 or right > of:
        raise ValueError("not a share")
    a, b, c = of + Z**2, -2 * right - Z**2, right**2 / of
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


EXERCISE = Exercise(
    name="wilson_interval",
    title="How sure is a share?",
    stars=2,
    minutes=10,
    answer=wilson_interval,
    cases=interval_cases,
    hints=(
        "Write p, then the middle, then the half-width; return middle minus and plus half.",
        "Mind the parentheses: both middle and half-width are divided by 1 + z²/n.",
        "half = z / (1 + z²/n) · math.sqrt(p (1-p) / n + z² / (4 n²))",
    ),
    insight='With p ± z √(p(1-p)/n), 20 of 20 right would be "100 %, for sure". Wilson\'s interval says 84 % to '
    "100 %: which is what twenty pictures can tell.",
    wrong=(
        Wrong(
            "wald",
            interval_of_wald,
            "That is p ± z √(p(1-p)/n). At 0 and at 100 % it has no width at all, and near them it leaves [0, 1]. "
            "Use Wilson's formula.",
        ),
        Wrong(
            "wald-clipped",
            interval_of_wald_clipped,
            'You cut p ± z √(p(1-p)/n) off at 0 and 1. That hides the trouble: 20 of 20 would still be "surely 100 %".',
        ),
        Wrong(
            "one-standard-error",
            interval_of_one_error,
            "Your z is 1: one standard error, a 68 % interval. For 95 % z = 1.96.",
        ),
        Wrong("ninety-percent", interval_of_90_percent, "Your z is 1.645, which gives 90 %. For 95 % z = 1.96."),
        Wrong("z-two", interval_of_z_two, "Your z is 2. That is near, but for 95 % z = 1.96."),
        Wrong("ninety-nine-percent", interval_of_99_percent, "Your z is 2.576, which gives 99 %. For 95 % z = 1.96."),
        Wrong(
            "factor-missing",
            interval_without_factor,
            "The z before the root is missing: the half-width is z √(…) / (1 + z²/n).",
        ),
        Wrong(
            "root-missing",
            interval_without_root,
            "The root is missing: the term under it is a variance, and the half-width is z times its root.",
        ),
        Wrong(
            "n-not-squared", interval_n_not_squared, "The term under the root is z²/(4n²); your n is not squared there."
        ),
        Wrong(
            "slip-in-the-middle",
            interval_slip_in_the_middle,
            "z**2 / 2 * of divides by 2 and then *multiplies* by of. Use parentheses: z**2 / (2 * of).",
        ),
        Wrong(
            "slip-in-the-root",
            interval_slip_in_the_root,
            "z**2 / 4 * of**2 divides by 4 and then *multiplies* by of². Use parentheses: z**2 / (4 * of**2).",
        ),
        Wrong(
            "two-slips",
            interval_two_slips,
            "z**2 / 2 * of and z**2 / 4 * of**2 divide by 2 or 4 only and then *multiply*. Use parentheses: z**2 / (2 "
            "* of), z**2 / (4 * of**2).",
        ),
        Wrong(
            "zero-refused",
            interval_zero_refused,
            "You refuse right = 0. None right is a possible count, and its interval tells something: 0 of 20 "
            "leaves up to 16 %. Refuse negative counts, more right than there are, and of = 0.",
        ),
        Wrong(
            "all-refused",
            interval_all_refused,
            "You refuse right = of. All right is a possible count; refuse only *more* right than there are.",
        ),
        Wrong(
            "not-divided",
            interval_not_divided,
            "The division by 1 + z²/n is missing, for the middle and for the half-width.",
        ),
        Wrong(
            "half-width-not-divided",
            interval_middle_divided,
            "The middle is right, but the half-width is too large: divide it by 1 + z²/n, too.",
        ),
        Wrong(
            "middle-not-divided",
            interval_half_divided,
            "The half-width is right, but the middle is not: divide it by 1 + z²/n, too.",
        ),
        Wrong("high-first", interval_high_first, "The ends are swapped: the low one comes first."),
        Wrong(
            "around-the-share",
            interval_around_the_share,
            "The width is right, but it does not lie around p: its middle is pulled towards 1/2, more so the fewer "
            "pictures there are.",
        ),
        Wrong(
            "middle-and-half",
            interval_middle_and_half,
            "These are the middle and the half-width. Return the ends: middle - half, middle + half.",
        ),
        Wrong("percent", interval_in_percent, "These are percents; the exercise asks for shares between 0 and 1."),
        Wrong("should-refuse", interval_unchecked),
        Wrong("wrong-ones", interval_of_wrong_ones, "That is the interval of the *wrong* ones, of - right."),
        Wrong(
            "counts",
            interval_of_counts,
            "Those are counts. The exercise asks for the interval of the share, in [0, 1].",
        ),
        Wrong(
            "agresti-coull",
            interval_of_agresti,
            "That is Agresti and Coull's interval: Wilson's middle with a simpler half-width. The exercise asks "
            "for Wilson's.",
        ),
        Wrong("root-too-short", interval_of_whole_root, "The root ends too early: z²/(4n²) belongs under it, too."),
        Wrong(
            "middle-only",
            interval_middle_only,
            "That is the middle of the interval. The exercise asks for its two ends.",
        ),
        Wrong("plus-for-minus-in-the-root", interval_of_plus_in_share, "Under the root it is p (1 - p)."),
        Wrong("minus-for-plus-in-the-middle", interval_of_middle_minus, "In the middle z²/(2n) is added."),
        Wrong(
            "negative-accepted",
            interval_negative_accepted,
            "You accept a negative number of right ones. Refuse it with a ValueError.",
        ),
        Wrong(
            "more-than-all-accepted",
            interval_more_accepted,
            "You accept more right ones than there are. Refuse that with a ValueError.",
        ),
        Wrong(
            "none-at-all-accepted",
            interval_of_none_accepted,
            "You accept of = 0, for which no share is defined. Refuse it with a ValueError.",
        ),
        Wrong(
            "half-missing-in-the-middle",
            interval_whole_in_the_middle,
            "In the middle you added z²/n. It is half of that: z²/(2n).",
        ),
        Wrong(
            "roots-added",
            interval_of_rooted_terms,
            "You took the root of each term. The root is taken of their sum: √(p (1-p) / n + z² / (4n²)).",
        ),
    ),
    right=(interval_in_parts, interval_by_the_package, interval_by_the_equation),
)
