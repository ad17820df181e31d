"""One call of a learner's function as data, and its outcome.

    Call (arguments, what to inspect) ──perform──► Outcome (value, gradients, arguments afterwards, error, seconds)

A check never touches the learner's function itself: it makes `Call`s and judges `Outcome`s. So the function may run in
the notebook's own process (`in_process.py`), or in another process that the grader does not trust (`grading/`): both
use nothing but `perform`. Everything in a Call and in an Outcome is plain: tensors, numbers, strings, None, and lists,
tuples and dictionaries of them. Anything else, such as a generator or a model, is described (`Seeded`, `Made`) and only
made where the learner's function runs.
"""

import contextlib
import inspect
import linecache
import math
import numbers
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Seeded:
    """Stands for `torch.Generator().manual_seed(seed)` among the arguments of a Call."""

    seed: int


@dataclass(frozen=True)
class Made:
    """Stands for an object that `maker(*args)` makes afresh for each call: a small model, a schedule.

    maker: a function or class at the top level of a module of this package, so that another process can import it.
    """

    maker: Callable[..., Any]
    args: tuple = ()


@dataclass(frozen=True)
class Call:
    """How to call the learner's function.

    Args:
        args: the positional arguments.
        build: for a class: its `__init__` arguments. The parameters of the object are then filled with numbers that
            depend on `seed` and on their names only, and the object is called with `args`.
        gradients: also compute d(Σ w·value)/d(argument), with fixed weights w, for each float tensor among `args`,
            and for the parameters of each Made module.
        constant_indices: indices in `args` of tensors that need no gradient.
        device: "cpu", or "meta", where tensors have a shape but no numbers. A tensor made on the wrong device raises an
            error there, as it would on a GPU.
        seed: seed of torch's global RNG, which a function that is given a generator must not use. (Not 0 or 42,
            because learners use these.)
        twice: call it twice in a row with the same generators and fresh copies of all other arguments; the value is
            the pair of results.
    """

    args: tuple
    build: tuple | None = None
    gradients: bool = False
    constant_indices: tuple[int, ...] = ()
    device: str = "cpu"
    seed: int = 190_511
    twice: bool = False


@dataclass(frozen=True)
class Error:
    """What was raised: its type's name, its message, and where in the learner's code (line 0: outside it)."""

    type: str
    message: str
    line: int = 0
    code: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a Call. Tensors are detached; on "meta" they have shape and dtype only.

    Attributes:
        value: what the function returned; None if there is an `error`.
        gradients: one entry for each of `call.args`: a tensor, or None if there is none or none was requested.
        args_after: `call.args` as they were after the call; Made and Seeded placeholders are unchanged, except that a
            Made `nn.Module` becomes its state_dict.
        parameters: name -> shape of the object that was built; empty for functions.
    """

    value: Any = None
    gradients: tuple = ()
    args_after: tuple = ()
    parameters: dict[str, tuple[int, ...]] | None = None
    error: Error | None = None
    seconds: float = 0.0


Runner = Callable[[Call], Outcome]  # the learner's function, wherever it runs


def perform(function: Callable[..., Any], call: Call) -> Outcome:
    """Make the call in this process. An error is part of the outcome; only KeyboardInterrupt and TimeUp propagate."""
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
        if call.gradients:  # torch warns about float(x) if x requires grad; many correct answers do that
            warnings.simplefilter("ignore")
        # torch.manual_seed also notes, for GPUs, where it was called from, which takes longer than most calls.
        torch.default_generator.manual_seed(call.seed)
        try:
            outcome = _call_function(function, call)
        except (Exception, SystemExit) as error:
            outcome = Outcome(error=describe_error(error, function))
    return replace(outcome, seconds=time.perf_counter() - start)


def _call_function(function: Callable[..., Any], call: Call) -> Outcome:
    """Make the arguments, call the function, and collect the gradients and the arguments as they are afterwards."""
    parameters = {}
    constant = replace(call, gradients=False)
    args = tuple(
        _make_argument(arg, constant if place in call.constant_indices else call) for place, arg in enumerate(call.args)
    )
    if call.build is not None:
        if isinstance(function, nn.Module):
            raise TypeError("you passed an instance; pass the class itself, without parentheses")
        _require_signature(function, call.build)
        function = function(*(_make_argument(arg, call) for arg in call.build)).to(call.device)
        _fill(function, call.seed)
        parameters = {name: tuple(parameter.shape) for name, parameter in function.named_parameters()}
        value = function(*args)
    else:
        _require_signature(function, args)
        with _RefuseCpuGenerators() if call.device == "meta" else contextlib.nullcontext():
            value = function(*args)
            if call.twice:
                fresh = (_make_argument(arg, constant) for arg in call.args)
                again = [arg if isinstance(arg, torch.Generator) else new for arg, new in zip(args, fresh)]
                value = [plain(value), function(*again)]
    gradients = _gradients(value, args) if call.gradients else (None,) * len(args)
    after = tuple(_argument_after(given, arg) for given, arg in zip(call.args, args))
    return Outcome(plain(value), gradients, after, parameters)


class GeneratorElsewhere(RuntimeError):
    """Random numbers are drawn on one device with a generator of a different one."""


class _RefuseCpuGenerators(TorchFunctionMode):
    """Refuses what a GPU refuses and "meta" does not: drawing there with a CPU generator."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if kwargs and kwargs.get("generator") is not None and isinstance(made, Tensor) and made.is_meta:
            raise GeneratorElsewhere("Expected a GPU generator, but found a CPU generator")
        return made


def _make_argument(value: Any, call: Call) -> Any:
    """A fresh copy of an argument: described objects are made, tensors are copied to the call's device."""
    if isinstance(value, Seeded):
        return torch.Generator().manual_seed(value.seed)
    if isinstance(value, Made):
        made = value.maker(*value.args)
        return made.to(call.device) if isinstance(made, nn.Module) else made
    if isinstance(value, Tensor):
        copy = value.detach().clone().to(call.device)
        return copy.requires_grad_(call.gradients and copy.is_floating_point())
    if isinstance(value, (list, tuple)):
        return type(value)(_make_argument(item, call) for item in value)
    if isinstance(value, dict):
        return {key: _make_argument(item, call) for key, item in value.items()}
    return value


def _argument_after(given: Any, arg: Any) -> Any:
    if isinstance(given, Made):
        return plain(dict(arg.state_dict())) if isinstance(arg, nn.Module) else given
    return given if isinstance(given, Seeded) else plain(arg)


def plain(value: Any) -> Any:
    """A detached copy that is made of plain values only. Raises WrongKind for anything else."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if value is None or value is ... or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value) if isinstance(value, tuple) else [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if type(value).__module__ == "numpy":
        return torch.as_tensor(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, complex):
        return torch.tensor(value)
    if isinstance(value, BaseException) or isinstance(value, type) and issubclass(value, BaseException):
        name = value.__name__ if isinstance(value, type) else type(value).__name__
        raise WrongKind(f"{name} was returned instead of raised: use raise {name}(…)")
    raise WrongKind(
        f"an object of type {type(value).__name__} was returned; expected tensors, numbers or strings, or lists, "
        "tuples or dictionaries of them"
    )


def _gradients(value: Any, args: tuple) -> tuple:
    """d(Σ w·value)/d(arg) for each argument; None if the value does not depend on it, or it is not a float tensor.

    For a module, the gradients of all its parameters, concatenated.
    """
    outputs = [item for item in tensors_in(value) if item.requires_grad]
    wanted = [_leaves(arg) for arg in args]
    if not outputs or not any(wanted):
        return (None,) * len(args)
    # Weights of both signs, the same for everyone: with a plain sum, errors of opposite sign would cancel.
    total = sum((item * torch.arange(1, item.numel() + 1).cos().to(item).view(item.shape)).sum() for item in outputs)
    found = iter(torch.autograd.grad(total, [leaf for leaves in wanted for leaf in leaves], allow_unused=True))
    return tuple(_concatenate([next(found) for _ in leaves], leaves, arg) for leaves, arg in zip(wanted, args))


def _leaves(arg: Any) -> list[Tensor]:
    """The tensors whose gradients belong to an argument."""
    tensors = list(arg.parameters()) if isinstance(arg, nn.Module) else [arg] if isinstance(arg, Tensor) else []
    return [tensor for tensor in tensors if tensor.requires_grad]


def _concatenate(gradients: list[Tensor | None], leaves: list[Tensor], arg: Any) -> Tensor | None:
    """The gradients of an argument as one tensor; None if there is none at all."""
    if all(gradient is None for gradient in gradients):
        return None
    if isinstance(arg, Tensor):
        return gradients[0]
    return torch.cat(
        [
            torch.zeros_like(leaf).flatten() if gradient is None else gradient.flatten()
            for gradient, leaf in zip(gradients, leaves)
        ]
    )


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in tensors_in(item)]


def _fill(module: nn.Module, seed: int) -> None:
    """Give each parameter numbers that depend on the seed and its name only, so parameters may be made in any order."""
    for name, parameter in module.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
        scale = 1 / math.sqrt(max(1, parameter[0].numel())) if parameter.dim() > 1 else 0.5
        if parameter.device.type != "meta":
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * scale


class WrongKind(TypeError):
    """The returned value cannot be compared with anything."""


class WrongSignature(TypeError):
    """The function cannot be called with the arguments that the exercise gives it."""


def _require_signature(function: Callable[..., Any], args: tuple) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*args)
    except TypeError:
        raise WrongSignature(f"its signature is {signature}") from None


def describe_error(error: BaseException, function: Callable[..., Any]) -> Error:
    """An exception, with the innermost line of the learner's own file in the traceback."""
    kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__  # a subclass counts as ValueError
    file = _file_of(function)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not frames or isinstance(error, WrongSignature):
        return Error(kind, str(error))
    line = frames[-1].lineno
    return Error(kind, str(error), line, linecache.getline(file, line).strip())


def _file_of(function: Callable[..., Any]) -> str:
    """The file, or notebook cell, that defines a function or a class with `forward`."""
    function = getattr(function, "forward", function) if isinstance(function, (type, nn.Module)) else function
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    return "" if code is None else code.co_filename
