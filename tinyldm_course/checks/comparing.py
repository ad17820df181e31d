"""Two Outcomes of one Call side by side: what is the first difference? And how to show it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Outcome, tensors_in

# In the order they are checked: after an error there is no value; with a wrong shape, values cannot be compared.
ASPECTS = ("error", "parameters", "kind", "length", "shape", "device", "value", "inputs", "dtype", "gradient")
MAX_SHOWN = 4000  # characters of a value in words
UP_TO_VALUE = ASPECTS[: ASPECTS.index("value") + 1]
# Parts of torch's messages about operations that "meta" cannot do: it has no numbers, and does not support every
# memory layout.
UNDECIDABLE = (
    "on meta tensors",
    "meta tensor",
    "'Meta' backend",
    "raises unimplemented by default",
    "view size is not compatible",
)


@dataclass(frozen=True)
class Fault:
    """The first difference: in which aspect, in which part ("" is the whole value), and both sides in words.

    For a gradient or a changed argument, `part` starts with its index: "0", or "0['weight']".
    """

    aspect: str
    part: str
    yours: str
    expected: str
    difference: str = ""

    def argument(self) -> tuple[int, str]:
        """The index of the argument that a gradient or a change belongs to, and the part of it."""
        index, inside = re.match(r"(\d+)(.*)", self.part, re.DOTALL).groups()
        return int(index), inside


def first_difference(
    got: Outcome, want: Outcome, call: Call, tolerance: float, exact_dtype: bool = False
) -> Fault | None:
    """The first aspect, in the order of ASPECTS, in which two outcomes of a call differ; None if they agree.

    exact_dtype: compare float dtypes even if no float tensor is among the arguments, as `Exercise.exact_dtype` says.
    """
    if got.error or want.error:
        return _errors(got, want, call)
    if got.parameters != want.parameters:
        return Fault("parameters", "", str(got.parameters), str(want.parameters))
    # Without a float tensor among the arguments, one float dtype is as good as another.
    any_float = not exact_dtype and not any(arg.is_floating_point() for arg in tensors_in(call.args))
    faults = [*_values(got.value, want.value, "", any_float, tolerance)]
    for index, (mine, theirs) in enumerate(zip(got.gradients, want.gradients)):
        faults += _gradient_faults(mine, theirs, index, tolerance)
    for index, (mine, theirs) in enumerate(zip(got.args_after, want.args_after)):
        faults += [
            Fault("inputs", f"{index}{fault.part}", fault.yours, fault.expected, fault.difference)
            for fault in _values(mine, theirs, "", False, tolerance)
        ]
    return min(faults, key=lambda fault: ASPECTS.index(fault.aspect), default=None)


def undecidable(call: Call, got: Outcome) -> bool:
    """Does an answer need numbers on "meta", which has none, so that nothing can be said about devices?"""
    return call.device == "meta" and bool(got.error) and any(text in got.error.message for text in UNDECIDABLE)


def _errors(got: Outcome, want: Outcome, call: Call) -> Fault | None:
    mine, theirs = (outcome.error.type if outcome.error else "" for outcome in (got, want))
    if mine == theirs or undecidable(call, got):
        return None
    return Fault("error", "", f"{mine}: {got.error.message}" if mine else shown(got.value), theirs or shown(want.value))


def _values(got: Any, want: Any, part: str, any_float: bool, tolerance: float) -> Iterator[Fault]:
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(got) != len(want):
            yield Fault(
                "length",
                part,
                *(f"{len(items)} {_entries(len(items))}: {shown(items)}" for items in (got, want)),
                f"{len(got) - len(want):+d} {_entries(len(got) - len(want))}",
            )
            return
        for index, (mine, theirs) in enumerate(zip(got, want)):
            yield from _values(mine, theirs, f"{part}[{index}]", any_float, tolerance)
    elif isinstance(want, dict) and isinstance(got, dict) and got.keys() == want.keys():
        for key in want:
            yield from _values(got[key], want[key], f"{part}[{key!r}]", any_float, tolerance)
    elif _numeric(got) and _numeric(want):
        yield from _numbers(got, want, part, any_float, tolerance)
    elif isinstance(want, str) and _spelled(got) == _spelled(want):
        return
    elif type(got) is not type(want) or got != want:
        same_kind = isinstance(want, str) and isinstance(got, str)
        yield (
            Fault("value", part, shown(got), shown(want))
            if same_kind
            else Fault("kind", part, _with_kind(got), _with_kind(want))
        )


def _entries(count: int) -> str:
    return "entry" if abs(count) == 1 else "entries"


def _spelled(value: Any) -> Any:
    """Normalise letter answers: "d, b" and ["D", "B"] are "DB"."""
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        value = "".join(value)
    return re.sub(r"[\s,;]", "", value).upper() if isinstance(value, str) else value


def _numeric(value: Any) -> bool:
    return isinstance(value, (Tensor, bool, int, float))


def _numbers(got: Any, want: Any, part: str, any_float: bool, tolerance: float) -> Iterator[Fault]:
    mine, theirs = torch.as_tensor(got), torch.as_tensor(want)
    if mine.is_complex() != theirs.is_complex():
        yield Fault("kind", part, _with_kind(got), _with_kind(want))
    elif mine.shape != theirs.shape:
        yield Fault("shape", part, f"shape {tuple(mine.shape)}", f"shape {tuple(theirs.shape)}")
    elif mine.device != theirs.device:
        yield Fault("device", part, f"a result on {mine.device}", f"a result on {theirs.device}")
    else:
        if not _dtypes_agree(got, want, any_float):
            yield Fault("dtype", part, str(mine.dtype), str(theirs.dtype))
        if mine.device.type != "meta" and not close(mine, theirs, tolerance).all():
            yield _apart(mine, theirs, part, tolerance)


def _dtypes_agree(got: Any, want: Any, any_float: bool) -> bool:
    """Is the dtype right? Python numbers have none: 5 and 5.0 are both accepted; a float counts as a float tensor."""
    if not isinstance(want, Tensor):
        return True
    if not isinstance(got, Tensor):
        return isinstance(got, int) and want.is_floating_point() or isinstance(got, float) == want.is_floating_point()
    return got.dtype == want.dtype or any_float and got.is_floating_point() and want.is_floating_point()


def close(got: Tensor, want: Tensor, tolerance: float) -> Tensor:
    """Elementwise: |got - want| ≤ tolerance · (|want| + max|want| / 10) + 1e-7, or equal, or both NaN."""
    if not (got.is_floating_point() or want.is_floating_point()) or got.is_complex() or want.is_complex():
        return got == want
    got, want = got.double(), want.double()
    finite = want[want.isfinite()].abs()
    largest = finite.max().item() if finite.numel() else 0.0
    near = (got - want).abs() <= tolerance * (want.abs() + 0.1 * largest) + 1e-7
    near &= want.isfinite()  # infinities match only themselves
    return near | (got == want) | (got.isnan() & want.isnan())


def _apart(got: Tensor, want: Tensor, part: str, tolerance: float) -> Fault:
    if got.is_complex() or want.is_complex():
        return Fault("value", part, shown(got), shown(want))
    distance = (got.double() - want.double()).abs()
    if got.numel() <= 8:
        return Fault("value", part, shown(got), shown(want), shown(got.double() - want.double()))
    wrong = ~close(got, want, tolerance)
    worst = torch.where(wrong, distance.nan_to_num(torch.inf, torch.inf), -1.0).argmax()
    index = [int(i) for i in torch.unravel_index(worst, got.shape)]
    at, count = f" at {index}", f"; {int(wrong.sum())} of {got.numel()} numbers are wrong"
    return Fault(
        "value",
        part,
        number(got[tuple(index)]) + at,
        number(want[tuple(index)]) + at,
        number(got[tuple(index)].double() - want[tuple(index)].double()) + count,
    )


def _gradient_faults(got: Tensor | None, want: Tensor | None, index: int, tolerance: float) -> Iterator[Fault]:
    """A missing gradient counts as all zeros."""
    mine, theirs = (None if g is None or not g.any() else g for g in (got, want))
    if mine is None and theirs is None:
        return
    if mine is None or theirs is None:
        yield Fault(
            "gradient", str(index), "none" if mine is None else shown(mine), "none" if theirs is None else shown(theirs)
        )
    elif not close(mine, theirs, 10 * tolerance).all():
        yield replace(_apart(mine, theirs, str(index), tolerance), aspect="gradient")


def number(value: Any) -> str:
    """A number, floats with five significant digits."""
    value = value.item() if isinstance(value, Tensor) else value
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def shown(value: Any) -> str:
    """A value in a few words: small tensors in full, large ones by shape and range; cut after MAX_SHOWN characters."""
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_SHOWN:  # a list of a million numbers is not even looked through
            return f"{text[:MAX_SHOWN]}…"
    return text


def _pieces(value: Any) -> Iterator[str]:
    """The text of a value, piece by piece."""
    if isinstance(value, Tensor):
        yield _tensor_shown(value)
    elif isinstance(value, (list, tuple)):
        yield "[" if isinstance(value, list) else "("
        for index, item in enumerate(value):
            yield ", " * bool(index)
            yield from _pieces(item)
        yield "]" if isinstance(value, list) else ")"
    elif isinstance(value, dict):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield ", " * bool(index) + f"{key}: "
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, str):
        yield repr(value[: MAX_SHOWN + 1])
    else:
        yield number(value) if isinstance(value, float) else repr(value)


def _with_kind(value: Any) -> str:
    """A value prefixed with its kind, as a list looks like a tensor if both are shown in full."""
    text = shown(value)
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}: {text}"
    if value is None or isinstance(value, Tensor) and not text.startswith("["):
        return text
    kind = "tensor" if isinstance(value, Tensor) else "string" if isinstance(value, str) else "number"
    return f"a {kind}: {text}"


def _tensor_shown(value: Tensor) -> str:
    kind = str(value.dtype).removeprefix("torch.")
    if value.is_complex():
        return f"complex numbers of shape {tuple(value.shape)}"
    shape = f"shape {tuple(value.shape)}, {kind}"
    if value.device.type == "meta" or not value.numel():
        return f"tensor of {shape}"
    if value.numel() <= 8:
        return _nested(value)
    return f"tensor of {shape}, from {number(value.min())} to {number(value.max())}"


def _nested(value: Tensor) -> str:
    return number(value) if value.dim() == 0 else "[" + ", ".join(_nested(item) for item in value) + "]"
