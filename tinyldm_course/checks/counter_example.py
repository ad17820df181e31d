"""The counter-example: the first input on which an answer fails, and both results, in words."""

import inspect
from dataclasses import dataclass
from typing import Any

from tinyldm_course.checks.calls import Call, Made, Seeded
from tinyldm_course.checks.comparing import Fault, shown
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.trials import Trial

MAX_SHORT = 60  # characters; longer results of several parts are shown in part


@dataclass(frozen=True)
class CounterExample:
    """An input on which the answer is wrong, all in words."""

    inputs: tuple[tuple[str, str], ...]  # (name, value)
    yours: str
    expected: str  # "" for a question without code
    difference: str


def counter_example(exercise: Exercise, trial: Trial, fault: Fault) -> CounterExample:
    """A trial and the fault in it, as the learner reads them."""
    names = argument_names(exercise, trial.call)
    inputs = [(name, in_words(arg)) for name, arg in zip(names, trial.call.args)]
    if trial.call.build is not None:
        of_class = inspect.signature(exercise.answer).parameters
        built = ", ".join(f"{name}={shown(arg)}" for name, arg in zip(of_class, trial.call.build))
        inputs.insert(0, ("__init__", built))
    yours, expected, difference = fault.yours, fault.expected, fault.difference
    if fault.aspect in ("gradient", "inputs"):
        index, inside = fault.argument()
        part = f"{names[index]}{inside}"
        what = f"gradient of {part}" if fault.aspect == "gradient" else f"{part} after the call"
        yours, expected = (f"{what}: {side}" for side in (yours, expected))
    elif fault.part:
        whole = shown(trial.got.value), shown(trial.want.value)
        short = fault.aspect == "value" and max(len(side) for side in whole) <= MAX_SHORT
        yours, expected = whole if short else (f"{fault.part} = {side}" for side in (yours, expected))
        difference = f"{fault.part}: {difference}" if short and difference else difference
    if not names:  # a question without code: the expected answer would give it away
        expected = difference = ""
    return CounterExample(tuple(inputs), yours, expected, difference)


def argument_names(exercise: Exercise, call: Call) -> list[str]:
    """The names of a call's arguments; for a class, those of its `forward`."""
    names = list(inspect.signature(exercise.answer).parameters)
    if call.build is not None:
        names = list(inspect.signature(exercise.answer.forward).parameters)[1:]
    return names + [f"argument {index + 1}" for index in range(len(names), len(call.args))]


def in_words(arg: Any) -> str:
    """An argument in a few words."""
    if isinstance(arg, Seeded):
        return f"torch.Generator().manual_seed({arg.seed})"
    if not isinstance(arg, Made):
        return shown(arg)
    names = inspect.signature(arg.maker).bind(*arg.args).arguments
    named = names.keys() if len(names) == len(arg.args) > 1 else ()  # several arguments, none of them *args
    inside = [f"{name}={shown(item)}" for name, item in zip(named, arg.args)] or [shown(item) for item in arg.args]
    return f"{arg.maker.__name__}({', '.join(inside)})"
