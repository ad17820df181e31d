"""Checks of answers that draw random numbers: do they come from the generator, and from a normal distribution?"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Runner, Seeded, tensors_in

DRAWS = 40  # calls with a generator each, for the moments
SURE = 5.0  # standard errors that a moment may be off: a right answer fails once in a million checks


def takes_generator(call: Call) -> bool:
    """Is there a generator among the arguments?"""
    return any(isinstance(arg, Seeded) for arg in call.args)


def with_generator(call: Call, seed: int) -> Call:
    """The same call with another seed for its generators."""
    return replace(call, args=tuple(Seeded(seed) if isinstance(arg, Seeded) else arg for arg in call.args))


def other_generator(runner: Runner, call: Call) -> str | None:
    """The name of what is wrong with the use of the generator, or None; also where an error or NaN hides it."""
    calls = (call, replace(call, seed=call.seed + 1), with_generator(call, 10**6))
    first, again, other = (runner(one) for one in calls)
    if first.error or again.error or other.error or any(value.isnan().any() for value in tensors_in(first.value)):
        return None
    if not _same(first.value, again.value):
        return "generator-ignored"
    return "always-the-same" if _same(first.value, other.value) else None


def _same(left, right) -> bool:
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right))
    return torch.equal(left, right) if isinstance(left, Tensor) and isinstance(right, Tensor) else left == right


def drawn_wrongly(moments: Callable[..., tuple] | None, runner: Runner, call: Call) -> str | None:
    """None if values drawn with many generators are normal, of the right mean and spread; else the name of what is not.

    moments: (*args of the call) -> (mean like the value, standard deviation); None where that is not known: then only
        the use of the generator is looked at.
    """
    if moments is None:
        return other_generator(runner, call) or "wrong-value"
    mean, spread = moments(*call.args)
    if not torch.as_tensor(spread).any():  # nothing is random here, such as in a last step
        value = runner(call).value
        right = isinstance(value, Tensor) and value.shape == mean.shape and torch.allclose(value, mean.to(value), 1e-3)
        return None if right else "wrong-value"
    diagnosis = other_generator(runner, call)
    if diagnosis is not None:
        return diagnosis
    values = [runner(with_generator(call, seed)).value for seed in range(1, DRAWS + 1)]
    if not all(isinstance(value, Tensor) and value.shape == mean.shape for value in values):
        return "wrong-value"
    z = (torch.stack(values).double() - mean) / spread  # (DRAWS, …): standard normal if all is right
    return _not_standard_normal(z) or (None if _mean_moves_rightly(moments, runner, call) else "noise-mean")


def _not_standard_normal(z: Tensor) -> str | None:
    """What is wrong with (DRAWS, B, …) numbers that should be independent and standard normal; None if they are.

    Shape and independence are looked at first, around each number's own mean and with its own spread: a wrong mean or
    spread changes neither. The spread comes before the mean, as it is known without the mean, but not the reverse.
    """
    n, own = z.numel(), z - z.mean(0)
    own = own / own.square().mean(0).sqrt().clamp(min=1e-12)  # each number, over its draws, of spread 1
    pairs = own[:, 0] * own[:, -1]  # of the first and the last item of each batch
    if z.dim() > 1 and z.shape[1] > 1 and pairs.mean().abs() > SURE * pairs.std() / pairs.numel() ** 0.5:
        return "noise-shared"
    # Of independent numbers the sum over a draw squares to their count, a χ² of one degree of freedom for each draw.
    sums = own.reshape(DRAWS, -1).sum(1)
    if z[0].numel() > 8 and (sums.square().mean() / z[0].numel() - 1) > 1.5 * SURE * (2 / DRAWS) ** 0.5:
        return "noise-shared"
    usual = (own**4).mean() - 3 * (DRAWS - 1) / (DRAWS + 1)  # a uniform distribution has 1.8 instead of 3
    if not usual.abs() < SURE * (24 / n) ** 0.5 * (1 + 60 / n):  # of few numbers it has a long tail
        return "noise-not-normal"
    spread = (z - z.mean(0)).square().sum() / (n - z[0].numel())
    if not (spread - 1).abs() < SURE * (2 / n) ** 0.5:
        return "noise-spread"
    # Of each number over the draws: Σ mean² · DRAWS is a χ² with as many degrees of freedom as there are numbers.
    apart = (z.mean(0).square() * DRAWS).mean() - 1
    right = z.mean().abs() < SURE / n**0.5 and apart < 3 * SURE * (2 / z[0].numel()) ** 0.5
    return None if right else "noise-mean"


def _mean_moves_rightly(moments: Callable[..., tuple], runner: Runner, call: Call) -> bool:
    """Does the value move as the mean does, if one tensor changes and the noise stays the same?

    The noise cancels in the difference. So this is exact where a mean over draws sees large mistakes only.
    """
    mean, spread = moments(*call.args)
    before = runner(call).value
    for place, arg in enumerate(call.args):
        if not (isinstance(arg, Tensor) and arg.is_floating_point()):
            continue
        moved = replace(call, args=(*call.args[:place], 2 * arg + 1, *call.args[place + 1 :]))
        moved_mean, moved_spread = moments(*moved.args)
        if not torch.equal(torch.as_tensor(spread), torch.as_tensor(moved_spread)):
            continue  # it changes the noise as well: nothing cancels
        after = runner(moved).value
        if not (isinstance(after, Tensor) and after.shape == before.shape):
            return False
        expected = moved_mean - mean
        rounding = 1e-3 * (1 + expected.abs()) + 1e-5 * spread  # large noise cancels to float32's digits only
        if not ((after - before).to(expected) - expected).abs().le(rounding).all():
            return False
    return True
