"""Answers that draw random numbers: do they come from the generator, and from the right normal distribution?

An answer need not draw the same numbers as the right one: with the exercise's `moments` its values, over many
generators, are compared with a normal distribution of the right mean and standard deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Runner, Seeded, perform, tensors_in
from tinyldm_course.checks.exercise import Exercise

DRAWS = 40  # calls, each with its own generator, for the moments
SURE = 5.0  # allowed deviation in standard errors; with normal errors, a right answer fails once in a million checks
FITTED = 5  # calls, each with its own generator, for the two parts of an answer that draws the expected numbers
ROUNDING = 2e-6  # of float32, after a few operations
# Relative error of a right mean or factor. At t = 0, 1 - ᾱ is about 1e-3, which float32 knows to 6e-8, so to 6e-5; and
# a formula has a few such differences.
PARTS_TOLERANCE = 2e-4


def takes_generator(call: Call) -> bool:
    """Is there a generator among the arguments?"""
    return any(isinstance(arg, Seeded) for arg in call.args)


def with_generator(call: Call, seed: int) -> Call:
    """The same call with another seed for its generators."""
    return replace(call, args=tuple(Seeded(seed) if isinstance(arg, Seeded) else arg for arg in call.args))


# ── The generator ────────────────────────────────────────────────────────────────────────────────────


def generator_diagnosis(runner: Runner, call: Call) -> str | None:
    """What is wrong with the use of the generator. None if nothing is wrong, or if an error or NaN hides it.

    If a result depends only on the generator's state and differs in the next call, the generator has advanced. So a
    copied or re-seeded generator is caught as well.
    """
    calls = (
        call,
        replace(call, seed=call.seed + 1),  # of torch's global generator
        with_generator(call, 10**6),
        replace(call, twice=True),
    )
    first, again, other, twice = outcomes = [runner(one) for one in calls]
    numbers = [tensor for outcome in outcomes for tensor in tensors_in(outcome.value)]
    if any(outcome.error for outcome in outcomes) or any(one.is_meta or one.isnan().any() for one in numbers):
        return None
    if not same(first.value, again.value):
        return "generator-ignored"
    if same(first.value, other.value):
        return "always-the-same"
    return "generator-stands-still" if same(*twice.value) else None


def same(left: Any, right: Any) -> bool:
    """Are two results equal in every number?"""
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return isinstance(left, Tensor) and isinstance(right, Tensor) and torch.equal(left, right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


# ── The noise ────────────────────────────────────────────────────────────────────────────────────────


def noise_diagnosis(exercise: Exercise, runner: Runner, call: Call) -> str | None:
    """What is wrong with values that are not the expected ones; None if they are equally valid.

    Without the exercise's `moments`, only the use of the generator is checked.
    """
    fault = generator_diagnosis(runner, call)
    if exercise.moments is None:
        return fault or "wrong-value"
    mean, spread = exercise.moments(*call.args)
    if not torch.as_tensor(spread).any():  # nothing is random here, such as in a last step
        value = value_like(mean, runner, call)
        return None if value is not None and torch.allclose(value, mean.double(), 1e-3) else "wrong-value"
    if fault is not None:
        return fault
    parts = noise_parts(exercise, runner, call)
    if parts is not None:
        return parts_fault(parts, mean, spread)
    values = [value_like(mean, runner, with_generator(call, seed)) for seed in range(1, DRAWS + 1)]
    if any(value is None for value in values):
        return "wrong-value"
    z = (torch.stack(values) - mean) / spread  # (DRAWS, …): standard normal if all is right
    fault = normal_fault(z)
    if fault in (None, "noise-mean") and not mean_follows(exercise.moments, runner, call):
        return "wrong-mean"
    return fault


def value_like(mean: Tensor, runner: Runner, call: Call) -> Tensor | None:
    """The value of a call in float64; None if it is not a real tensor with the mean's shape."""
    value = runner(call).value
    if not isinstance(value, Tensor) or value.shape != mean.shape or value.is_complex() or value.is_meta:
        return None
    return value.double()


@dataclass(frozen=True)
class Parts:
    """An answer that draws the expected numbers ε, as mean + factor · ε, with the rounding error of each."""

    mean: Tensor
    factor: Tensor
    mean_rounding: Tensor
    factor_rounding: Tensor


def noise_parts(exercise: Exercise, runner: Runner, call: Call) -> Parts | None:
    """The two parts of the answer's value if it is mean + factor · ε with the right answer's ε; None otherwise."""
    mean, spread = (torch.as_tensor(one).double() for one in exercise.moments(*call.args))
    calls = [with_generator(call, seed) for seed in range(1, FITTED + 1)]
    values = [value_like(mean, runner, one) for one in calls]
    right = [value_like(mean, lambda one: perform(exercise.answer, one), one) for one in calls]
    if any(value is None for value in values + right):
        return None
    got, want, spread = torch.stack(values), torch.stack(right), spread.expand(mean.shape)
    if not got.isfinite().all():
        return None
    eps = torch.where(spread == 0, 0.0, (want - mean) / spread)  # (FITTED, …)
    centred = eps - eps.mean(0)
    varies = centred.square().sum(0).clamp(min=1e-12)
    factor = (centred * got).sum(0) / varies  # a straight line through FITTED points, for each number
    base = got.mean(0) - factor * eps.mean(0)
    eps_rounding = torch.where(spread == 0, 0.0, ROUNDING * want.abs().amax(0) / spread)
    rounding = ROUNDING * got.abs().amax(0) + factor.abs() * eps_rounding + 1e-12
    if (got - base - factor * eps).abs().gt(rounding).any():
        return None
    return Parts(base, factor, 3 * rounding, 3 * rounding / varies.sqrt())


def parts_fault(parts: Parts, mean: Tensor, spread: Any) -> str | None:
    """What is wrong with the two parts; None if they are right. (-ε is as good as ε.)"""
    spread = torch.as_tensor(spread).double().expand(mean.shape)
    if (parts.factor.abs() - spread).abs().gt(PARTS_TOLERANCE * spread + parts.factor_rounding).any():
        return "noise-spread"
    off = parts.mean - mean
    if off.abs().le(PARTS_TOLERANCE * mean.abs() + parts.mean_rounding).all():
        return None
    shift = (off * spread).sum() / spread.square().sum().clamp(min=1e-30)  # the same multiple of each deviation?
    return "noise-mean" if (off - shift * spread).abs().le(parts.mean_rounding).all() else "wrong-mean"


def normal_fault(z: Tensor) -> str | None:
    """What is wrong with (DRAWS, B, …) numbers that should be independent and standard normal; None if they are.

    Checked first: shape and independence, relative to each number's own mean and spread, which do not affect them. The
    spread comes before the mean, because it can be estimated without knowing the mean, but not the reverse.
    """
    n, centred = z.numel(), z - z.mean(0)
    size = centred.square().mean(0).sqrt()
    # Beside a mean this large, rounding is more than 1/100 of the spread: the distribution cannot be seen.
    coarse = size < 100 * ROUNDING * z.abs().mean(0)
    unit = torch.where(coarse, 0.0, centred / size.clamp(min=1e-12))  # each number, over its draws, of spread 1
    count = int((~coarse).sum())
    pairs = unit[:, 0] * unit[:, -1]  # of the first and the last item of each batch
    if z.dim() > 1 and z.shape[1] > 1 and pairs.mean().abs() > SURE * pairs.std() / pairs.numel() ** 0.5:
        return "noise-shared"
    # For independent numbers, the expected squared sum of one draw equals their count; added up over all draws, it
    # follows a χ² distribution with DRAWS degrees of freedom. 1.5, because its right tail is long: without it, one
    # right answer in 20,000 would fail.
    sums = unit.reshape(DRAWS, -1).sum(1)
    if count > 8 and (sums.square().mean() / count - 1) > 1.5 * SURE * (2 / DRAWS) ** 0.5:
        return "noise-shared"
    seen = max(1, DRAWS * count)
    kurtosis = (unit**4).sum() / seen - 3 * (DRAWS - 1) / (DRAWS + 1)  # a uniform distribution has 1.8 instead of 3
    # 1 + 60 / seen, because the kurtosis of few numbers is heavy-tailed: in a simulation of 400,000 right answers with
    # one number, DRAWS times, 1 in 1,000 was beyond SURE, and none beyond the larger bound.
    if count and not kurtosis.abs() < SURE * (24 / seen) ** 0.5 * (1 + 60 / seen):
        return "noise-not-normal"
    spread = centred.square().sum() / (n - z[0].numel())
    if not (spread - 1).abs() < SURE * (2 / n) ** 0.5:
        return "noise-spread"
    # Σ mean² · DRAWS, with each number's mean over the draws, is a χ² with as many degrees of freedom as there are
    # numbers. 3, because with few of them its right tail is long: with one, 1 in 200 would be beyond SURE.
    apart = (z.mean(0).square() * DRAWS).mean() - 1
    right = z.mean().abs() < SURE / n**0.5 and apart < 3 * SURE * (2 / z[0].numel()) ** 0.5
    return None if right else "noise-mean"


def mean_follows(moments: Callable[..., tuple], runner: Runner, call: Call) -> bool:
    """Does the value move as the mean does, if one tensor changes and the noise stays the same?

    The noise cancels in the difference, so this is exact. A mean over draws detects only large errors.
    """
    mean, spread = moments(*call.args)
    before = value_like(mean, runner, call)
    for index, arg in enumerate(call.args):
        if not (isinstance(arg, Tensor) and arg.is_floating_point()):
            continue
        moved = replace(call, args=(*call.args[:index], 2 * arg + 1, *call.args[index + 1 :]))
        moved_mean, moved_spread = moments(*moved.args)
        if not torch.equal(torch.as_tensor(spread), torch.as_tensor(moved_spread)):
            continue  # the noise changes as well, so nothing cancels
        after = value_like(mean, runner, moved)
        if before is None or after is None:
            return False
        expected = (moved_mean - mean).double()
        rounding = 1e-3 * (1 + expected.abs()) + 1e-5 * spread  # large noise cancels to float32's digits only
        if not (after - before - expected).abs().le(rounding).all():
            return False
    return True


def with_noise_of(value: Tensor, moments: Callable[..., tuple], call: Call) -> Callable[..., Tensor]:
    """The right answer with the noise of a value: mean + spread · (value - mean) / spread, the last part held fixed.

    Its value is the given one. Its gradients, dtype and shape are the right ones for that noise.
    """

    def answer(*args: Any) -> Tensor:
        mean, spread = moments(*(mine if isinstance(mine, Tensor) else given for mine, given in zip(args, call.args)))
        scale = torch.as_tensor(spread).detach().double()
        noise = torch.where(scale == 0, 0.0, (value.double() - mean.detach()) / scale)
        return mean + spread * noise.to(mean.dtype)

    return answer
