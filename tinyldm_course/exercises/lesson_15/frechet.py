"""Exercise frechet of lesson 15: The Fréchet distance."""

import math

import torch
from torch import Generator, Tensor

from tinyldm.evaluation import statistics as evaluation
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def frechet(features, others):
    """d² between two sets of features, each taken for a Gaussian.

    features: (N, D) float; others: (M, D) float; N, M > D.  Returns a number.
    """
    ### BEGIN SOLUTION
    a, b = features.double(), others.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0)  # real and ≥ 0, but for rounding
    means = (a.mean(0) - b.mean(0)).square().sum()
    return (means + cov_a.trace() + cov_b.trace() - 2 * values.sqrt().sum()).item()
    ### END SOLUTION


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


def distance_by_the_package(features: Tensor, others: Tensor) -> float:
    """|μ₁ - μ₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½)."""
    return evaluation.frechet_distance(features, others)


def distance_rooted(features, others):
    return math.sqrt(frechet(features, others))


def distance_of_means(features, others):
    first, second, *_ = gaussians(features, others)
    return (first - second).square().sum().item()


def distance_mean_not_squared(features, others):
    first, second, *_ = gaussians(features, others)
    squared = (first - second).square().sum().item()
    return frechet(features, others) - squared + math.sqrt(squared)


def distance_without_means(features, others):
    return frechet(features, others) - distance_of_means(features, others)


def distance_without_two(features, others):
    *_, first, second = gaussians(features, others)
    return frechet(features, others) + trace_of_root(first, second).item()


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
    return frechet(features, others) - squared + squared / features.shape[1]


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


def distance_of_sums(features, others):
    a, b = features.double(), others.double()
    return (a.mean(0) - b.mean(0)).square().sum().item() + (torch.cov(a.T) - torch.cov(b.T)).square().sum().item()


def distance_of_absolute_means(features, others):
    mean_a, mean_b, first, second = gaussians(features, others)
    spread = first.trace() + second.trace() - 2 * trace_of_root(first, second)
    return ((mean_a - mean_b).abs().sum() + spread).item()


def distance_traces_subtracted(features, others):
    mean_a, mean_b, first, second = gaussians(features, others)
    spread = first.trace() - second.trace() - 2 * trace_of_root(first, second)
    return ((mean_a - mean_b).square().sum() + spread).item()


def distance_means_added(features, others):
    mean_a, mean_b, first, second = gaussians(features, others)
    spread = first.trace() + second.trace() - 2 * trace_of_root(first, second)
    return ((mean_a + mean_b).square().sum() + spread).item()


def distance_of_summed_covariances(features, others):
    mean_a, mean_b, first, second = gaussians(features, others)
    spread = first.sum() + second.sum() - 2 * trace_of_root(first, second)
    return ((mean_a - mean_b).square().sum() + spread).item()


def distance_by_eigenvalues(features, others):
    first, second, cov_a, cov_b = gaussians(features, others)
    values = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0)
    return ((first - second) ** 2).sum() + cov_a.trace() + cov_b.trace() - 2 * values.sqrt().sum()


def distance_by_singular_values(features, others):
    a, b = (x.double() - x.double().mean(0) for x in (features, others))
    a, b = a / math.sqrt(len(a) - 1), b / math.sqrt(len(b) - 1)
    spread = a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return (spread + (features.double().mean(0) - others.double().mean(0)).square().sum()).item()


EXERCISE = Exercise(
    name="frechet",
    title="The Fréchet distance",
    stars=3,
    minutes=20,
    answer=frechet,
    cases=feature_cases,
    tolerance=1e-3,
    hints=(
        "torch.cov wants the features in rows: torch.cov(features.T). Work in float64.",
        "tr (C₁ C₂)^½ is the sum of the roots of the eigenvalues of C₁ C₂; no matrix root is needed. C₁ C₂ is not "
        "symmetric, so torch.linalg.eigvals.",
        "torch.linalg.eigvals(C₁ @ C₂) are real and ≥ 0 but for rounding: .real.clamp(min=0).sqrt().sum()",
    ),
    shape_hint=1,
    insight="It is 0 when both sets have the same mean and covariance, whatever else differs. And it depends on "
    "how many pictures are taken: few pictures give a larger distance, so only equal numbers may be compared.",
    wrong=(
        Wrong("rooted", distance_rooted, "You took the root at the end. What papers report (as FID) is d² itself."),
        Wrong(
            "means-only",
            distance_of_means,
            "You compared the means only. Pictures that are all alike can have the right mean, too; the spread "
            "must count.",
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
            "torch.cov takes each *row* for one feature, but the rows here are pictures: your matrices are N × N "
            "and M × M. Take torch.cov(features.T).",
        ),
        Wrong("means-left-out", distance_without_means, "The term of the means, |μ₁ - μ₂|², is missing."),
        Wrong(
            "two-left-out",
            distance_without_two,
            "The root is subtracted *twice*: 2 (C₁ C₂)^½. Otherwise the distance of a set from itself is not 0.",
        ),
        Wrong(
            "root-term-left-out",
            distance_without_root_term,
            "You only added the traces: the term -2 (C₁ C₂)^½ is missing. A set would be far from itself.",
        ),
        Wrong(
            "plus-two",
            distance_plus_two,
            "You added 2 (C₁ C₂)^½; it is subtracted. Otherwise the distance of a set from itself is not 0.",
        ),
        Wrong(
            "root-missing",
            distance_without_root,
            "You subtracted 2 tr (C₁ C₂), without a root. Take the root of each eigenvalue of C₁ C₂, then their sum.",
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
            "You multiplied the eigenvalues of C₁ and of C₂, as they came. The eigenvalues of a product are not "
            "the products: multiply the matrices first, C₁ @ C₂.",
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
            "You took the root of each number of C₁ C₂, and some are below 0. A *matrix* root R has R R = C₁ C₂: "
            "use eigenvalues.",
        ),
        Wrong(
            "root-of-the-trace",
            distance_of_the_traces_root,
            "You took the root of the trace of C₁ C₂. First the root of each eigenvalue, then their sum: the trace "
            "of a root is not the root of the trace.",
        ),
        Wrong(
            "not-centred",
            distance_uncentred,
            "Your covariances are made of the features as they are. Subtract the mean of each feature first; "
            "torch.cov does.",
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
            "and multiply them by @, as * leaves no more than variances on the diagonal.",
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
            "Your covariance divides by N; after subtracting the mean of the sample, N - 1 is right (torch.cov's "
            "default).",
        ),
        Wrong(
            "covariances-subtracted",
            distance_of_sums,
            "You took the squared difference of the covariances. It is tr(C₁ + C₂ - 2 (C₁ C₂)^½).",
        ),
        Wrong(
            "means-absolute",
            distance_of_absolute_means,
            "You summed the absolute differences of the means. They are squared.",
        ),
        Wrong(
            "traces-subtracted",
            distance_traces_subtracted,
            "You subtracted the second trace. Both are added: tr C₁ + tr C₂.",
        ),
        Wrong("means-added", distance_means_added, "You added the means. It is their difference that is squared."),
        Wrong(
            "covariances-summed",
            distance_of_summed_covariances,
            "You summed all numbers of the covariances. The trace is the sum of the diagonal: .trace().",
        ),
    ),
    right=(distance_by_the_package, distance_by_eigenvalues, distance_by_singular_values),
)
