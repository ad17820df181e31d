"""What is certain about wrong numbers: "your result is the square of the expected one", "it is right for t - 1".

A relation is stated only if it holds, to float32's digits, on every input that was tried, with enough distinct numbers
that it cannot hold by chance. `tests/course/test_relations.py` tries random answers.

    number_relations   got = f(want): a factor, an offset, a square, …
    order_relations    got = want in a different order: transposed, reversed, shifted
    part_relations     some rows are right, or each row is the expected one times its own factor
    input_relations    got = the right answer for another input: t - 1 for t, two arguments swapped
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Runner, perform
from tinyldm_course.checks.comparing import UP_TO_VALUE, close, first_difference, number
from tinyldm_course.checks.counter_example import argument_names
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.randomness import noise_parts
from tinyldm_course.checks.trials import Trial

TOLERANCE = 1e-4
# Distinct expected numbers that a relation needs: if all are 1, a result of all 2 could be twice as much, or 1 more.
MIN_NUMBERS = 4  # in all inputs together; for a factor or an offset, 3 numbers are enough, 2 of them distinct
MIN_IN_A_ROW = 3  # in each row, if each row has its own factor


@dataclass(frozen=True)
class Pair:
    """A result and the expected one, both float64."""

    call: Call
    got: Tensor
    want: Tensor


def relation(exercise: Exercise, trials: list[Trial], subject: str = "Your result") -> str:
    """A sentence about the results of all trials and the expected ones; "" if nothing is certain."""
    tried = [trial for trial in trials if trial.want.error is None and trial.call.device != "meta"]
    if not tried or any(trial.got.error is not None for trial in tried) or not any(trial.call.args for trial in tried):
        return ""
    pairs = [pair for trial in tried for pair in pairs_in(trial.call, trial.got.value, trial.want.value)]
    if not pairs or any(pair is None for pair in pairs):
        return structure_relations(tried) or how_many_are_right(exercise, tried)
    found = one_for_all(exercise, tried) or relation_of_pairs(pairs, argument_names(exercise, tried[0].call), subject)
    return found or input_relations(exercise, tried) or how_many_are_right(exercise, tried)


def relation_of_pairs(pairs: list[Pair], names: list[str], subject: str) -> str:
    """A sentence about results of the expected shapes; "" if nothing is certain, or nothing is wrong."""
    if all(equal(pair.got, pair.want) for pair in pairs):
        return ""
    if any(not pair.got.isfinite().all() and pair.want.isfinite().all() for pair in pairs):
        return f"{subject} contains NaN or infinity: check for a division by zero or the root of a negative number."
    if not all(pair.want.isfinite().all() for pair in pairs):
        return ""
    words = next(itertools.chain(number_relations(pairs, names), order_relations(pairs), part_relations(pairs)), "")
    return f"{subject} {words}." if words else ""


def noise_relations(exercise: Exercise, runner: Runner, trials: list[Trial]) -> list[str]:
    """Sentences about mean and factor of results mean + factor · ε with the expected ε, as far as it is certain."""
    means, factors = [], []
    for trial in trials:
        parts = None if exercise.moments is None else noise_parts(exercise, runner, trial.call)
        if parts is None:
            return []
        mean, spread = (torch.as_tensor(one).double() for one in exercise.moments(*trial.call.args))
        means.append(Pair(trial.call, parts.mean, mean))
        factors.append(Pair(trial.call, parts.factor.abs(), spread.expand(mean.shape)))
    named = ("The part without noise", means), ("The factor of the noise", factors)
    names = argument_names(exercise, trials[0].call) if trials else []
    words = [relation_of_pairs(pairs, names, subject) for subject, pairs in named]
    return [sentence for sentence in words if sentence]


def gradient_relation(exercise: Exercise, trial: Trial) -> str:
    """A sentence about the first wrong gradient of a trial; "" if nothing is certain."""
    names = argument_names(exercise, trial.call)
    for name, got, want in zip(names, trial.got.gradients, trial.want.gradients):
        if isinstance(got, Tensor) and isinstance(want, Tensor) and not equal(got.double(), want.double()):
            pairs = [Pair(trial.call, got.double(), want.double())]
            words = next(number_relations(pairs, names), "") if got.shape == want.shape else ""
            return f"Your gradient of {name} {words}." if words else ""
    return ""


def pairs_in(call: Call, got: Any, want: Any) -> Iterator[Pair | None]:
    """The numbers of two values of the same structure; None if the structures differ. Strings are left out."""
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)) and len(got) == len(want):
        for mine, theirs in zip(got, want):
            yield from pairs_in(call, mine, theirs)
    elif isinstance(want, dict) and isinstance(got, dict) and got.keys() == want.keys():
        for key in want:
            yield from pairs_in(call, got[key], want[key])
    elif isinstance(want, (Tensor, int, float)) and isinstance(got, (Tensor, int, float)):
        mine, theirs = torch.as_tensor(got), torch.as_tensor(want)
        real = not (mine.is_complex() or theirs.is_complex() or mine.is_meta)
        fits = real and mine.shape == theirs.shape
        yield Pair(call, mine.double(), theirs.double()) if fits else None
    elif type(got) is not type(want) or not isinstance(want, str):
        yield None


def equal(got: Tensor, want: Tensor) -> bool:
    """Are all numbers equal, to float32's digits?"""
    return got.shape == want.shape and bool(close(got, want, TOLERANCE).all())


def enough(tensors: Any, count: int = MIN_NUMBERS) -> bool:
    """Do they contain this many distinct numbers?"""
    return len(torch.cat([tensor.flatten() for tensor in tensors]).unique()) >= count


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────────

MAPS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("is the square of the expected one", Tensor.square),
    ("is the square root of the expected one", Tensor.sqrt),
    ("is 1 divided by the expected one", Tensor.reciprocal),
    ("is the absolute value of the expected one", Tensor.abs),
    ("is the logarithm of the expected one", Tensor.log),
    ("is e to the power of the expected one", Tensor.exp),
    ("is 1 minus the expected one", lambda want: 1 - want),
    ("is the expected one, clipped to [-1, 1]", lambda want: want.clamp(-1, 1)),
    ("is the expected one, clipped to [0, 1]", lambda want: want.clamp(0, 1)),
    ("is the expected one with everything below 0 set to 0", lambda want: want.clamp(min=0)),
    ("is the expected one, rounded down to integers", Tensor.floor),
    ("is the expected one, rounded to integers", Tensor.round),
)


def number_relations(pairs: list[Pair], names: list[str]) -> Iterator[str]:
    """got = f(want), number by number, with the same f on every input."""
    got, want = (torch.cat([getattr(pair, side).flatten() for pair in pairs]) for side in ("got", "want"))
    if len(want) < 3 or not enough([want], 2):
        return
    if not got.any():
        yield "is 0 everywhere"
        return
    factor, offset = (got @ want / (want @ want)).item(), (got - want).mean().item()
    if all(equal(pair.got, factor * pair.want) for pair in pairs):
        yield "has the opposite sign" if abs(factor + 1) < TOLERANCE else f"is {number(factor)} times the expected one"
    elif all(equal(pair.got, pair.want + offset) for pair in pairs):
        yield f"is the expected one plus {number(offset)}"
    for words, function in MAPS:
        if enough([want]) and all(equal(pair.got, function(pair.want)) for pair in pairs):
            yield words
    yield from by_a_size(pairs, names)


def by_a_size(pairs: list[Pair], names: list[str]) -> Iterator[str]:
    """got = want times a size of the input, for example if a sum is taken instead of a mean, or the reverse."""
    factors = [(pair.got.flatten() @ pair.want.flatten() / pair.want.square().sum()).item() for pair in pairs]
    if not all(equal(pair.got, factor * pair.want) for pair, factor in zip(pairs, factors)):
        return
    for index, arg in enumerate(pairs[0].call.args):
        tensors = [pair.call.args[index] for pair in pairs]
        if not isinstance(arg, Tensor) or not all(isinstance(one, Tensor) for one in tensors):
            continue
        sizes = {f"the number of entries of {names[index]}": [one.numel() for one in tensors]}
        for dim in range(min(one.dim() for one in tensors)):
            sizes[f"the size of dimension {dim} of {names[index]}"] = [one.shape[dim] for one in tensors]
        for size, values in sizes.items():
            for words, power in (("times", 1.0), ("divided by", -1.0), ("times the root of", 0.5)):
                powers = [float(value) ** power if value else 0.0 for value in values]
                near = all(abs(f - p) <= TOLERANCE * abs(f) for f, p in zip(factors, powers))
                if near and len(set(values)) > 1:
                    yield f"is the expected one {words} {size}"
    if all(enough([pair.want], MIN_IN_A_ROW) and abs(factor - 1) > TOLERANCE for pair, factor in zip(pairs, factors)):
        yield "is the expected one times a factor that differs for each input"


# ── Order ────────────────────────────────────────────────────────────────────────────────────────────


def order_relations(pairs: list[Pair]) -> Iterator[str]:
    """got = want in a different order, with the same change on every input."""
    moved = [pair for pair in pairs if not equal(pair.got, pair.want)]
    if not enough([pair.want for pair in moved]):
        return
    dims = min(pair.want.dim() for pair in pairs)
    changes: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        (f"is the expected one with dimensions {i} and {j} swapped", lambda x, i=i, j=j: x.transpose(i, j))
        for i, j in itertools.combinations(range(dims), 2)
    ]
    for d in range(dims):
        where = f" along dimension {d}" if dims > 1 else ""
        changes += [
            (f"is the expected one in reverse order{where}", lambda x, d=d: x.flip(d)),
            (f"is the expected one with its two halves swapped{where}", lambda x, d=d: x.roll(x.shape[d] // 2, d)),
            (f"is the expected one, shifted by one place{where}", lambda x, d=d: x.roll(1, d)),
            (f"is the expected one, shifted back by one place{where}", lambda x, d=d: x.roll(-1, d)),
        ]
    for words, change in changes:
        if all(equal(pair.got, change(pair.want)) for pair in pairs):
            yield words
    yield from shifted(pairs, dims)
    if all(equal(pair.got.flatten().sort().values, pair.want.flatten().sort().values) for pair in pairs):
        yield "contains the right numbers in a different order"


def shifted(pairs: list[Pair], dims: int) -> Iterator[str]:
    """Shifted by one, except at one edge."""
    for d in range(dims):
        inner = [
            (pair.got.narrow(d, 0, n - 1), pair.want.narrow(d, 1, n - 1)) for pair in pairs if (n := pair.got.shape[d])
        ]
        outer = [
            (pair.got.narrow(d, 1, n - 1), pair.want.narrow(d, 0, n - 1)) for pair in pairs if (n := pair.got.shape[d])
        ]
        where = f" along dimension {d}" if dims > 1 else ""
        for words, both in (("one place too early", inner), ("one place too late", outer)):
            if enough([want for _, want in both]) and all(equal(got, want) for got, want in both):
                yield f"has the expected numbers {words}{where}"


# ── Parts ────────────────────────────────────────────────────────────────────────────────────────────


def part_relations(pairs: list[Pair]) -> Iterator[str]:
    """Some positions along a dimension are right, or each position has its own factor or offset."""
    for d in range(min(pair.want.dim() for pair in pairs)):
        place = "item of the batch" if d == 0 and pairs[0].want.dim() > 1 else f"position along dimension {d}"
        yield from right_places(pairs, d, place)
    for d in range(min(pair.want.dim() for pair in pairs)):
        place = "item of the batch" if d == 0 else f"position along dimension {d}"
        yield from scaled_places(pairs, d, place)


def right_places(pairs: list[Pair], d: int, place: str) -> Iterator[str]:
    """Is the same part right on every input: the first position along dimension d, all but the first, …?"""
    found = []
    for pair in pairs:
        n = pair.want.shape[d]
        right = tuple(equal(pair.got.select(d, i), pair.want.select(d, i)) for i in range(n))
        if n > 1:
            found.append(right)
        elif not all(right):
            return
    patterns: dict[str, Callable[[int], list[bool]]] = {
        f"is right for the first {place} only": lambda n: [i == 0 for i in range(n)],
        f"is right for the last {place} only": lambda n: [i == n - 1 for i in range(n)],
        f"is wrong for the first {place} only": lambda n: [i > 0 for i in range(n)],
        f"is wrong for the last {place} only": lambda n: [i < n - 1 for i in range(n)],
        f"is right in the first half of dimension {d} only": lambda n: [i < n // 2 for i in range(n)],
        f"is right in the second half of dimension {d} only": lambda n: [i >= n // 2 for i in range(n)],
    }
    for words, pattern in patterns.items():
        telling = max((len(right) for right in found), default=0) >= (2 if "item" in words else 4)
        if telling and all(list(right) == pattern(len(right)) for right in found):
            yield words


def scaled_places(pairs: list[Pair], d: int, place: str) -> Iterator[str]:
    """Is each position along dimension d the expected one times its own factor, or plus its own number?"""
    rows = [(pair.got.select(d, i), pair.want.select(d, i)) for pair in pairs for i in range(pair.want.shape[d])]
    if len(rows) <= len(pairs) or not all(enough([want], MIN_IN_A_ROW) for _, want in rows):
        return
    factors = [(got.flatten() @ want.flatten() / want.square().sum()).item() for got, want in rows]
    offsets = [(got - want).mean().item() for got, want in rows]
    if differ(factors, pairs, d) and all(equal(got, factor * want) for (got, want), factor in zip(rows, factors)):
        yield f"is the expected one times a factor that differs for each {place}"
    if differ(offsets, pairs, d) and all(equal(got, want + offset) for (got, want), offset in zip(rows, offsets)):
        yield f"is the expected one plus a number that differs for each {place}"


def differ(numbers: list[float], pairs: list[Pair], d: int) -> bool:
    """Do the numbers for the positions along dimension d all differ, in every pair?"""
    of_pair = iter(numbers)
    for pair in pairs:
        values = sorted(next(of_pair) for _ in range(pair.want.shape[d]))
        if any(after - before < 1e-2 * abs(after) for before, after in itertools.pairwise(values)):
            return False
    return True


# ── Inputs ───────────────────────────────────────────────────────────────────────────────────────────

FLOAT_CHANGES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("√{0}", lambda x: x**0.5),
    ("{0}²", lambda x: x**2),
    ("-{0}", lambda x: -x),
    ("1 - {0}", lambda x: 1 - x),
    ("√(1 - {0})", lambda x: (1 - x) ** 0.5),
    ("1 / {0}", lambda x: 1 / x),
    ("exp({0})", lambda x: x.exp() if isinstance(x, Tensor) else 2.718281828459045**x),
    ("0", lambda x: 0 * x),
    ("1", lambda x: 0 * x + 1),
)
INTEGER_CHANGES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("{0} - 1", lambda x: x - 1),
    ("{0} + 1", lambda x: x + 1),
)


def input_relations(exercise: Exercise, trials: list[Trial]) -> str:
    """Is it the right result for a different input? Then the formula is right, but one symbol in it is wrong."""
    names = argument_names(exercise, trials[0].call)
    for words, change in input_changes(names, trials[0].call):
        if all(equals_the_right_one(exercise, trial, change) for trial in trials):
            return f"Your result is the right one for {words}."
    return ""


def input_changes(names: list[str], call: Call) -> Iterator[tuple[str, Callable[[tuple], tuple]]]:
    """(words, args -> other args), for each argument by itself and for each pair of the same kind."""
    for place, arg in enumerate(call.args):
        for words, function in changes_of(arg):
            changed = words.format(names[place])
            yield f"{changed} in place of {names[place]}", at(place, function)
    for i, j in itertools.combinations(range(len(call.args)), 2):
        if kind_of(call.args[i]) is not None and kind_of(call.args[i]) == kind_of(call.args[j]):
            yield f"{names[i]} and {names[j]} swapped", swapped(i, j)


def changes_of(arg: Any) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """The changes that an argument of this kind can have."""
    kind = kind_of(arg)
    return FLOAT_CHANGES if kind == "float" else INTEGER_CHANGES if kind == "integer" else ()


def kind_of(arg: Any) -> str | None:
    """Does an argument contain floats or integers? None for anything else."""
    if isinstance(arg, Tensor):
        return "float" if arg.is_floating_point() else "integer" if arg.dtype == torch.int64 else None
    if isinstance(arg, (list, tuple)):
        kinds = {kind_of(item) for item in arg}
        return kinds.pop() if len(kinds) == 1 else None
    return "float" if isinstance(arg, float) else "integer" if type(arg) is int else None


def one_for_all(exercise: Exercise, trials: list[Trial]) -> str:
    """Is it the right result if every item of the batch gets the first one's t, context, mask, …?"""

    def first(arg: Any) -> Any:
        return arg[:1].expand_as(arg) if isinstance(arg, Tensor) and arg.dim() else arg

    for place, name in enumerate(argument_names(exercise, trials[0].call)[: len(trials[0].call.args)]):
        if all(equals_the_right_one(exercise, trial, at(place, first)) for trial in trials):
            return f"Your result is what you get if every item uses the first entry of {name}."
    return ""


def at(place: int, function: Callable[[Any], Any]) -> Callable[[tuple], tuple]:
    """Change one argument, every number in it."""

    def deep(arg: Any) -> Any:
        return type(arg)(map(deep, arg)) if isinstance(arg, (list, tuple)) else function(arg)

    return lambda args: (*args[:place], deep(args[place]), *args[place + 1 :])


def swapped(i: int, j: int) -> Callable[[tuple], tuple]:
    """Swap two arguments."""
    return lambda args: tuple(args[{i: j, j: i}.get(place, place)] for place in range(len(args)))


def equals_the_right_one(exercise: Exercise, trial: Trial, change: Callable[[tuple], tuple]) -> bool:
    """Is the answer's result the right one for changed arguments?"""
    try:
        call = replace(trial.call, args=change(trial.call.args))
    except (ArithmeticError, ValueError, TypeError):  # 1 / 0, the root of a negative number in a list
        return False
    right = perform(exercise.answer, call)
    if right.error is not None:
        return False
    pairs = list(pairs_in(call, trial.got.value, right.value))
    return bool(pairs) and all(pair is not None and equal(pair.got, pair.want) for pair in pairs)


# ── Structure ────────────────────────────────────────────────────────────────────────────────────────


def structure_relations(trials: list[Trial]) -> str:
    """Are the numbers right, and only the shape or the kind wrong?"""
    both = [(as_tensor(trial.got.value), trial.want.value) for trial in trials]
    if any(got is None or not isinstance(want, Tensor) or got.is_complex() for got, want in both):
        return ""
    tensors = [(got.double(), want.double()) for got, want in both if isinstance(got, Tensor)]
    if not enough([want for _, want in tensors]) or all(equal(got, want) for got, want in tensors):
        return "The numbers are right." if enough([want for _, want in tensors]) else ""
    if all(got.numel() == want.numel() and equal(got.reshape(want.shape), want) for got, want in tensors):
        return "The numbers are right, and in the right order; only the shape is wrong."
    dims = min(want.dim() for _, want in tensors)
    for i, j in itertools.combinations(range(dims), 2):
        if all(equal(got, want.transpose(i, j)) for got, want in tensors):
            return f"Your result is the expected one with dimensions {i} and {j} swapped."
    for d, keep in itertools.product([None, *range(dims)], (False, True)):
        for words, reduce in (("mean", torch.mean), ("sum", torch.sum)):
            if all(equal(got, reduce(want, dim=d, keepdim=keep)) for got, want in tensors):
                over = "all of the expected numbers" if d is None else f"the expected one over dimension {d}"
                return f"Your result is the {words} of {over}."
    return ""


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, or a list of numbers or of tensors of one shape, as a tensor; None for anything else."""
    if isinstance(value, (list, tuple)):
        items = [as_tensor(item) for item in value]
        same_shape = items and all(item is not None and item.shape == items[0].shape for item in items)
        return torch.stack([item.double() for item in items]) if same_shape else None
    if isinstance(value, Tensor):
        return None if value.is_meta else value
    return torch.tensor(float(value)) if isinstance(value, (int, float)) else None


def how_many_are_right(exercise: Exercise, trials: list[Trial]) -> str:
    """How many inputs are right, if any."""

    def is_right(trial: Trial) -> bool:
        fault = first_difference(trial.got, trial.want, trial.call, exercise.tolerance)
        return fault is None or fault.aspect not in UP_TO_VALUE

    right = sum(map(is_right, trials))
    return f"It is right on {right} of the {len(trials)} inputs that were tried." if right else ""
