"""Exercises of lesson 15: caption accuracy, its interval, the Fréchet distance."""

import math

import torch
from torch import Generator, Tensor

from tinyldm.evaluation import statistics as evaluation
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, no_inputs

TITLE = "Is it any good?"


# ── Caption accuracy ─────────────────────────────────────────────────────────────────────────────────


def verdict_cases(generator: Generator) -> list[Call]:
    """Verdicts of a judge: attribute -> right or not; not every picture has every attribute, and one has none."""

    def verdict() -> dict[str, bool]:
        chances = torch.rand(6, generator=generator).tolist()
        named = {"shape": chances[0] < 0.7, "colour": chances[1] < 0.7, "relation": chances[2] < 0.6}
        return {name: right for name, right in named.items() if chances.pop() < 0.7}

    calls = [
        Call(
            (
                [
                    {"shape": True, "colour": True},
                    {"shape": True, "colour": False},
                    {"shape": False},
                    {"shape": False, "colour": True},
                ],
            )
        ),
        Call(([{}, {"shape": True, "colour": False}, {"colour": True}],)),
    ]
    for n in (5, 12):
        verdicts = [verdict() for _ in range(n)]
        verdicts[:2] = [{"shape": True, "relation": False}, {"colour": True, "shape": True}]
        calls.append(Call((verdicts,)))
    return calls


def accuracy_right(verdicts: list) -> float:
    """The share of verdicts in which all attributes are right."""
    return sum(all(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_of_attributes(verdicts):
    truths = [right for verdict in verdicts for right in verdict.values()]
    return sum(truths) / len(truths)


def accuracy_of_parts(verdicts):
    return sum(sum(verdict.values()) / len(verdict) for verdict in verdicts) / len(verdicts)


def accuracy_of_any(verdicts):
    return sum(any(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_of_product(verdicts):
    shares = evaluation.shares(verdicts)
    return math.prod(share.value for share in shares.values())


def accuracy_of_worst(verdicts):
    return min(share.value for share in evaluation.shares(verdicts).values())


def accuracy_of_names(verdicts):
    return sum(all(verdict) for verdict in verdicts) / len(verdicts)


def accuracy_of_failures(verdicts):
    return sum(not all(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_whole(verdicts):
    return sum(all(verdict.values()) for verdict in verdicts) // len(verdicts)


def accuracy_of_first(verdicts):
    return sum(list(verdict.values())[0] for verdict in verdicts) / len(verdicts)


def accuracy_of_next(verdicts):
    return sum(next(iter(verdict.values())) for verdict in verdicts) / len(verdicts)


def accuracy_of_shape(verdicts):
    return sum(verdict["shape"] for verdict in verdicts) / len(verdicts)


def accuracy_of_shape_and_colour(verdicts):
    return sum(verdict.get("shape", True) and verdict.get("colour", True) for verdict in verdicts) / len(verdicts)


def accuracy_empty_is_wrong(verdicts):
    return sum(bool(verdict) and all(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_empty_left_out(verdicts):
    return accuracy_right([verdict for verdict in verdicts if verdict])


def accuracy_in_percent(verdicts):
    return 100 * accuracy_right(verdicts)


def accuracy_count(verdicts):
    return sum(all(verdict.values()) for verdict in verdicts)


def accuracy_absent_is_wrong(verdicts):
    names = {name for verdict in verdicts for name in verdict}
    return sum(all(verdict.get(name, False) for name in names) for verdict in verdicts) / len(verdicts)


def accuracy_by_tensor(verdicts):
    return torch.tensor([all(verdict.values()) for verdict in verdicts]).double().mean()


def accuracy_by_failures(verdicts):
    return 1 - len([verdict for verdict in verdicts if False in verdict.values()]) / len(verdicts)


CAPTION_ACCURACY = Exercise(
    name="caption_accuracy",
    title="Caption accuracy",
    stars=1,
    minutes=6,
    answer=accuracy_right,
    cases=verdict_cases,
    hints=(
        "When does a picture show its caption? When nothing about it is wrong.",
        "all(verdict.values()) is the truth about one picture.",
        "Count those, and divide by the number of pictures.",
    ),
    insight="Whole captions are a harsh measure: if three attributes are each right in 90 % of the pictures, and "
    "mistakes fall independently, only 73 % of the captions come true.",
    wrong=(
        Wrong(
            "attributes-counted",
            accuracy_of_attributes,
            "You counted single attributes. A picture with the right shape in the wrong colour is not half right: "
            "its caption is not shown.",
        ),
        Wrong(
            "parts-averaged",
            accuracy_of_parts,
            "You gave each picture its share of right attributes. A caption is shown or not: one wrong attribute is "
            "enough.",
        ),
        Wrong("any", accuracy_of_any, "One right attribute is enough for you. *All* must be right."),
        Wrong(
            "product",
            accuracy_of_product,
            "You multiplied the shares of the attributes, as if mistakes fell independently. They do not: a bad "
            "picture often fails in several. Look at each picture.",
        ),
        Wrong(
            "worst-attribute",
            accuracy_of_worst,
            "That is the share of the worst attribute: an upper bound, as different pictures fail in different ones.",
        ),
        Wrong("percent", accuracy_in_percent, "That is in percent; a share between 0 and 1 is asked for."),
        Wrong("count", accuracy_count, "That is their number. Divide by the number of pictures."),
        Wrong(
            "absent-is-wrong",
            accuracy_absent_is_wrong,
            "You count an attribute that a caption does not name as wrong. A verdict lists what it judges; judge by "
            "that alone.",
        ),
        Wrong(
            "names-for-values",
            accuracy_of_names,
            "all(verdict) looks at the names of the attributes, and a name that is not empty counts as true. Look at "
            "verdict.values().",
        ),
        Wrong(
            "wrong-ones",
            accuracy_of_failures,
            "That is the share of the pictures on which something is wrong. The others are asked for.",
        ),
        Wrong("whole-division", accuracy_whole, "// divides and cuts off: 1 // 4 is 0. A share needs /."),
        Wrong(
            "first-attribute",
            accuracy_of_first,
            "You look at each verdict's first attribute only, and an empty verdict has none. Look at all of them.",
        ),
        Wrong(
            "next-attribute",
            accuracy_of_next,
            "next(iter(…)) gives each verdict's first attribute only, and an empty verdict has none. Look at all of "
            "them.",
        ),
        Wrong(
            "shape-only",
            accuracy_of_shape,
            "You look at the shape only. A caption may name other attributes, too, or not name the shape at all.",
        ),
        Wrong(
            "shape-and-colour-only",
            accuracy_of_shape_and_colour,
            "You look at shape and colour only. There may be others, such as a relation: look at all that a verdict "
            "holds.",
        ),
        Wrong(
            "empty-is-wrong",
            accuracy_empty_is_wrong,
            "You count an empty verdict as wrong. Where nothing was judged nothing is wrong: the picture counts as "
            "right.",
        ),
        Wrong(
            "empty-left-out",
            accuracy_empty_left_out,
            "You leave empty verdicts out of the count. Each picture counts: where nothing was judged nothing is "
            "wrong.",
        ),
    ),
    right=(accuracy_by_tensor, accuracy_by_failures),
)


# ── Its interval ─────────────────────────────────────────────────────────────────────────────────────

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


def interval_right(right: int, of: int) -> tuple[float, float]:
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
    return interval_right(right, of)[::-1]


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


WILSON = Exercise(
    name="wilson_interval",
    title="How sure is a share?",
    stars=2,
    minutes=10,
    answer=interval_right,
    cases=interval_cases,
    hints=(
        "Write p, then the middle, then the half-width; return middle minus and plus half.",
        "Mind the brackets: both middle and half-width are divided by 1 + z²/n.",
        "half = z / (1 + z²/n) · math.sqrt(p (1-p) / n + z² / (4 n²))",
    ),
    insight='With p ± z √(p(1-p)/n), 20 of 20 right would be "100 %, for sure". Wilson\'s interval says 84 % to 100 '
    "%: what twenty pictures can tell.",
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
            "The root is missing: what stands under it is a variance, and the half-width is z times its root.",
        ),
        Wrong("n-not-squared", interval_n_not_squared, "Under the root stands z²/(4n²); your n there is not squared."),
        Wrong(
            "slip-in-the-middle",
            interval_slip_in_the_middle,
            "z**2 / 2 * of divides by 2 and then *multiplies* by of. Set brackets: z**2 / (2 * of).",
        ),
        Wrong(
            "slip-in-the-root",
            interval_slip_in_the_root,
            "z**2 / 4 * of**2 divides by 4 and then *multiplies* by of². Set brackets: z**2 / (4 * of**2).",
        ),
        Wrong(
            "two-slips",
            interval_two_slips,
            "z**2 / 2 * of and z**2 / 4 * of**2 divide by 2 or 4 only and then *multiply*. Set brackets: z**2 / (2 * "
            "of), z**2 / (4 * of**2).",
        ),
        Wrong(
            "zero-refused",
            interval_zero_refused,
            "You refuse right = 0. None right is a possible count, and its interval tells something: 0 of 20 leaves "
            "up to 16 %. Refuse negative counts, more right than there are, and of = 0.",
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
        Wrong("high-first", interval_high_first, "The ends are exchanged: the low one comes first."),
        Wrong(
            "around-the-share",
            interval_around_the_share,
            "The width is right, but it does not lie around p: its middle is drawn towards 1/2, the more the fewer "
            "pictures there are.",
        ),
        Wrong(
            "middle-and-half",
            interval_middle_and_half,
            "These are the middle and the half-width. Return the ends: middle - half, middle + half.",
        ),
        Wrong("percent", interval_in_percent, "These are percents; shares between 0 and 1 are asked for."),
        Wrong("should-refuse", interval_unchecked),
    ),
    right=(interval_by_the_package, interval_by_the_equation),
)


# ── The Fréchet distance ─────────────────────────────────────────────────────────────────────────────


def feature_cases(generator: Generator) -> list[Call]:
    """Two sets of features, of different size, mean and spread; once nearly all of a covariance's eigenvalues are 0."""
    calls = [
        Call(
            (
                torch.tensor([[0.0, 0.0], [2.0, 1.0], [1.0, 3.0]]),
                torch.tensor([[1.0, 1.0], [3.0, 0.0], [2.0, 0.5], [0.0, 2.0]]),
            )
        )
    ]
    calls.append(
        Call(tuple(torch.randn(n, 3, generator=generator) @ torch.randn(3, 32, generator=generator) for n in (40, 60)))
    )  # what looks at 3 things in 32 ways
    for n, m, D in ((12, 15, 3), (40, 60, 8)):
        mixing = torch.randn(D, D, generator=generator)
        calls.append(
            Call((torch.randn(n, D, generator=generator), 0.5 * torch.randn(m, D, generator=generator) @ mixing + 0.7))
        )
    return calls


def gaussians(features, others):
    """Means and covariances, float64."""
    a, b = features.double(), others.double()
    return a.mean(0), b.mean(0), torch.cov(a.T), torch.cov(b.T)


def root_of(matrix):
    """The symmetric root of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def trace_of_root(first, second):
    """tr (C₁ C₂)^½."""
    root = root_of(first)
    return root_of(root @ second @ root).trace()


def distance_right(features: Tensor, others: Tensor) -> float:
    """|μ₁ - μ₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½)."""
    return evaluation.frechet_distance(features, others)


def distance_rooted(features, others):
    return math.sqrt(distance_right(features, others))


def distance_of_means(features, others):
    first, second, *_ = gaussians(features, others)
    return (first - second).square().sum().item()


def distance_mean_not_squared(features, others):
    first, second, *_ = gaussians(features, others)
    squared = (first - second).square().sum().item()
    return distance_right(features, others) - squared + math.sqrt(squared)


def distance_without_means(features, others):
    return distance_right(features, others) - distance_of_means(features, others)


def distance_without_two(features, others):
    *_, first, second = gaussians(features, others)
    return distance_right(features, others) + trace_of_root(first, second).item()


def distance_without_root_term(features, others):
    *_, first, second = gaussians(features, others)
    return distance_of_means(features, others) + (first.trace() + second.trace()).item()


def traces_and(sign_and_roots, features, others):
    """|μ₁ - μ₂|² + tr C₁ + tr C₂ and what a mistake makes of the term with the root."""
    *_, first, second = gaussians(features, others)
    spread = first.trace() + second.trace() + sign_and_roots(first, second)
    return distance_of_means(features, others) + spread.item()


def distance_plus_two(features, others):
    return traces_and(lambda first, second: 2 * trace_of_root(first, second), features, others)


def distance_without_root(features, others):
    return traces_and(lambda first, second: -2 * (first @ second).trace(), features, others)


def distance_of_product_elementwise(features, others):
    return traces_and(
        lambda first, second: -2 * torch.linalg.eigvals(first * second).real.clamp(min=0).sqrt().sum(), features, others
    )


def distance_of_sorted_eigenvalues(features, others):
    def roots(first, second):
        products = torch.linalg.eigvalsh(first) * torch.linalg.eigvalsh(second)
        return -2 * products.clamp(min=0).sqrt().sum()

    return traces_and(roots, features, others)


def distance_of_eigenvalues_as_they_come(features, others):
    def roots(first, second):
        products = torch.linalg.eigvals(first).real * torch.linalg.eigvals(second).real
        return -2 * products.clamp(min=0).sqrt().sum()

    return traces_and(roots, features, others)


def distance_of_svd(features, others):
    return traces_and(lambda first, second: -2 * torch.linalg.svdvals(first @ second).sqrt().sum(), features, others)


def distance_of_mean_means(features, others):
    squared = distance_of_means(features, others)
    return distance_right(features, others) - squared + squared / features.shape[1]


def distance_not_transposed(features, others):
    first, second = torch.cov(features.double()), torch.cov(others.double())
    return distance_of_means(features, others) - 2 * trace_of_root(first, first @ second).item()


def distance_elementwise_root(features, others):
    *_, first, second = gaussians(features, others)
    root = (first @ second).clamp(min=0).sqrt().trace()
    return distance_of_means(features, others) + (first.trace() + second.trace() - 2 * root).item()


def distance_elementwise_root_not_clamped(features, others):
    *_, first, second = gaussians(features, others)
    root = (first @ second).sqrt().trace()
    return distance_of_means(features, others) + (first.trace() + second.trace() - 2 * root).item()


def distance_of_the_traces_root(features, others):
    *_, first, second = gaussians(features, others)
    root = (first @ second).trace().sqrt()
    return distance_of_means(features, others) + (first.trace() + second.trace() - 2 * root).item()


def distance_uncentred(features, others):
    a, b = features.double(), others.double()
    first, second = a.T @ a / (len(a) - 1), b.T @ b / (len(b) - 1)
    spread = first.trace() + second.trace() - 2 * torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt().sum()
    return distance_of_means(features, others) + spread.item()


def distance_of_symmetric_eigenvalues(features, others):
    *_, first, second = gaussians(features, others)
    roots = torch.linalg.eigvalsh(first @ second).clamp(min=0).sqrt().sum()
    return distance_of_means(features, others) + (first.trace() + second.trace() - 2 * roots).item()


def distance_of_variances(features, others):
    *_, first, second = gaussians(features, others)
    return distance_of_means(features, others) + (first.diag().sqrt() - second.diag().sqrt()).square().sum().item()


def distance_of_roots(features, others):
    *_, first, second = gaussians(features, others)
    return distance_of_means(features, others) + (root_of(first) - root_of(second)).square().sum().item()


def distance_biased(features, others):
    a, b = features.double(), others.double()
    first, second = torch.cov(a.T, correction=0), torch.cov(b.T, correction=0)
    spread = first.trace() + second.trace() - 2 * trace_of_root(first, second)
    return distance_of_means(features, others) + spread.item()


def distance_not_clamped(features, others):
    first, second, cov_a, cov_b = gaussians(features, others)
    values = torch.linalg.eigvals(cov_a @ cov_b).real
    return ((first - second) ** 2).sum() + cov_a.trace() + cov_b.trace() - 2 * values.sqrt().sum()


def distance_by_eigenvalues(features, others):
    first, second, cov_a, cov_b = gaussians(features, others)
    values = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0)
    return ((first - second) ** 2).sum() + cov_a.trace() + cov_b.trace() - 2 * values.sqrt().sum()


def distance_by_singular_values(features, others):
    a, b = (x.double() - x.double().mean(0) for x in (features, others))
    a, b = a / math.sqrt(len(a) - 1), b / math.sqrt(len(b) - 1)
    spread = a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return (spread + (features.double().mean(0) - others.double().mean(0)).square().sum()).item()


FRECHET = Exercise(
    name="frechet",
    title="The Fréchet distance",
    stars=3,
    minutes=20,
    answer=distance_right,
    cases=feature_cases,
    tolerance=1e-3,
    hints=(
        "torch.cov wants the features in rows: torch.cov(features.T). Work in float64.",
        "tr (C₁ C₂)^½ is the sum of the roots of the eigenvalues of C₁ C₂; no matrix root is needed. C₁ C₂ is not "
        "symmetric, so torch.linalg.eigvals.",
        "torch.linalg.eigvals(C₁ @ C₂) are real and ≥ 0 but for rounding: .real.clamp(min=0).sqrt().sum()",
    ),
    insight="It is 0 when both sets have the same mean and covariance, whatever else differs. And it depends on how "
    "many pictures are taken: few pictures give a larger distance, so only equal numbers may be compared.",
    wrong=(
        Wrong("rooted", distance_rooted, "You took the root at the end. What papers report (as FID) is d² itself."),
        Wrong(
            "means-only",
            distance_of_means,
            "You compared the means only. Pictures that are all alike have the right mean, too; the spread must count.",
        ),
        Wrong("mean-not-squared", distance_mean_not_squared, "The distance of the means comes in squared: |μ₁ - μ₂|²."),
        Wrong(
            "means-averaged",
            distance_of_mean_means,
            "You took the mean of the squared differences of the means. |μ₁ - μ₂|² is their *sum*.",
        ),
        Wrong(
            "not-transposed",
            distance_not_transposed,
            "torch.cov takes each *row* for one feature, but the rows here are pictures: your matrices are N × N and "
            "M × M. Take torch.cov(features.T).",
        ),
        Wrong("means-left-out", distance_without_means, "The term of the means, |μ₁ - μ₂|², is missing."),
        Wrong(
            "two-left-out",
            distance_without_two,
            "The root is taken off *twice*: 2 (C₁ C₂)^½. Otherwise a set is not at distance 0 from itself.",
        ),
        Wrong(
            "root-term-left-out",
            distance_without_root_term,
            "You only added the traces: the term -2 (C₁ C₂)^½ is missing. A set would be far from itself.",
        ),
        Wrong(
            "plus-two",
            distance_plus_two,
            "You added 2 (C₁ C₂)^½; it is taken off. Otherwise a set is not at distance 0 from itself.",
        ),
        Wrong(
            "root-missing",
            distance_without_root,
            "You took off 2 tr (C₁ C₂), without a root. Take the root of each eigenvalue of C₁ C₂, then their sum.",
        ),
        Wrong(
            "elementwise-product",
            distance_of_product_elementwise,
            "C₁ * C₂ multiplies number by number. The product of matrices is C₁ @ C₂.",
        ),
        Wrong(
            "eigenvalues-multiplied",
            distance_of_sorted_eigenvalues,
            "You multiplied the eigenvalues of C₁ and of C₂, by size. The eigenvalues of a product are not the "
            "products: multiply the matrices first, C₁ @ C₂.",
        ),
        Wrong(
            "eigenvalues-multiplied-in-any-order",
            distance_of_eigenvalues_as_they_come,
            "You multiplied the eigenvalues of C₁ and of C₂, as they came. The eigenvalues of a product are not the "
            "products: multiply the matrices first, C₁ @ C₂.",
        ),
        Wrong(
            "singular-values",
            distance_of_svd,
            "You took the singular values of C₁ C₂. They are its eigenvalues only where it is symmetric, and it is "
            "not: torch.linalg.eigvals.",
        ),
        Wrong(
            "elementwise-root",
            distance_elementwise_root,
            "You took the root of each number of C₁ C₂. A *matrix* root R has R R = C₁ C₂: use eigenvalues.",
        ),
        Wrong(
            "elementwise-root-not-clamped",
            distance_elementwise_root_not_clamped,
            "You took the root of each number of C₁ C₂, and some are below 0. A *matrix* root R has R R = C₁ C₂: use "
            "eigenvalues.",
        ),
        Wrong(
            "root-of-the-trace",
            distance_of_the_traces_root,
            "You took the root of the trace of C₁ C₂. First the root of each eigenvalue, then their sum: tr √ is not "
            "√ tr.",
        ),
        Wrong(
            "not-centred",
            distance_uncentred,
            "Your covariances are made of the features as they are. Take each feature's mean off first; torch.cov "
            "does.",
        ),
        Wrong(
            "eigenvalues-of-a-symmetric-matrix",
            distance_of_symmetric_eigenvalues,
            "eigvalsh reads half of the matrix and takes it for symmetric. C₁ C₂ is not symmetric, though both "
            "factors are: torch.linalg.eigvals.",
        ),
        Wrong(
            "variances-only",
            distance_of_variances,
            "You compared variances only, as if the features were uncorrelated. Use the whole covariance matrices; "
            "and multiply them with @, as * leaves no more than variances on the diagonal.",
        ),
        Wrong(
            "roots-taken-apart",
            distance_of_roots,
            "You took the root of each covariance and then their difference. C₁^½ C₂^½ is not (C₁ C₂)^½ unless the "
            "two commute.",
        ),
        Wrong(
            "not-clamped",
            distance_not_clamped,
            "Where features say the same thing twice, eigenvalues are 0, and rounding leaves some of them a little "
            "below 0: their roots are NaN. Clamp them first: .clamp(min=0).",
        ),
        Wrong(
            "biased-covariance",
            distance_biased,
            "Your covariance divides by N; with the sample's own mean taken off, N - 1 is right (torch.cov's default).",
        ),
    ),
    right=(distance_by_eigenvalues, distance_by_singular_values),
)


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────


def low_right():
    return 100 / (100 + Z**2)


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
    return 100 * low_right()


def low_rounded():
    return 0.96


def low_undivided():
    return 1 - Z**2 / 100


def low_exact_binomial():
    return 0.025**0.01


def low_middle():
    return (1 + low_right()) / 2


def low_three_digits():
    return 0.963


def low_by_the_package():
    return evaluation.share(100, 100).low


LOW_END = Exercise(
    name="low_end_of_100",
    title="Predict: a hundred of a hundred",
    stars=1,
    minutes=6,
    answer=low_right,
    cases=no_inputs,
    tolerance=0.0005,
    hints=(
        "Not 1: a model that fails once in a hundred often makes a hundred right ones in a row.",
        "Put p = 1 into Wilson's formula: the root becomes z / (2n).",
        "n / (n + z²) with n = 100, z = 1.96",
    ),
    insight="0.963. So of 100 and 97 of 100 you can say little: the intervals, 96.3 to 100 % and 91.5 to 99.0 %, "
    "overlap, and the range of the difference, -1 to 8 points (Newcombe's, in lesson 15), contains 0. The "
    "first model may be better; to know, draw more pictures. To show 99 % it takes 381 without a single "
    "mistake.",
    wrong=(
        Wrong("percent", low_in_percent, "That is in percent; a share between 0 and 1 is asked for."),
        Wrong(
            "rule-of-three",
            low_of_three,
            "1 - 3/n, the rule of three, bounds the share on one side only, and so with a smaller z. Put p = 1 into "
            "Wilson's formula.",
        ),
        Wrong(
            "rounded",
            low_rounded,
            "Near, but three decimals are asked for. Put p = 1 into Wilson's formula, with z = 1.96.",
        ),
        Wrong(
            "not-divided",
            low_undivided,
            "Near: that is 1 - z²/n, or your z is 2. Wilson's formula also divides by 1 + z²/n, and z = 1.96.",
        ),
        Wrong(
            "clopper-pearson",
            low_exact_binomial,
            "That is the end of Clopper and Pearson's interval, the p with pⁿ = 2.5 %. It is a good one; but "
            "Wilson's is asked for.",
        ),
        Wrong("middle", low_middle, "That is the middle of the interval. Take the half-width off."),
        Wrong(
            "surely-all",
            low_sure,
            "That would mean that no failure is possible. A model that is right in 99 % of the cases makes a hundred "
            "right ones in a row more than one time in three.",
        ),
        Wrong(
            "confidence-for-share",
            low_confidence,
            "0.95 is how sure the interval is, not where it ends. Where it ends depends on n.",
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
    ),
    right=(low_three_digits, low_by_the_package),
)


EXERCISES = (CAPTION_ACCURACY, WILSON, FRECHET, LOW_END)
