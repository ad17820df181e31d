"""The check itself: make the calls of an exercise, compare with the right answer, and name the mistake.

    values → inputs unchanged → float64 → gradients → generator → device: the first property that fails is told.

A mistake is recognised by doing the same: each wrong answer of the exercise makes the same calls, and the one whose
outcomes are the learner's gives its name. Where none does, the check says what fails and does not guess.
"""

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Error, Outcome, Runner, Seeded, perform, tensors_in
from tinyldm_course.checks.comparing import ASPECTS, Fault, first_difference, observation, shown
from tinyldm_course.checks.diagnoses import GENERAL
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.randomness import drawn_wrongly, other_generator, takes_generator

BY_ASPECT = {
    "parameters": "wrong-parameters",
    "kind": "wrong-kind",
    "length": "wrong-length",
    "shape": "wrong-shape",
    "device": "wrong-device",
    "value": "wrong-value",
    "dtype": "wrong-dtype",
    "gradient": "gradient-wrong",
    "inputs": "inputs-changed",
}
WHOLE = [str(dtype) for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)]
STRUCTURE = ("kind", "length", "shape")
SHORT = 60  # characters of a result of several parts that is shown as a whole
ANY_NUMBER = 1e30  # a tolerance under which all numbers are alike
BY_ERROR = {
    "NotImplementedError": "not-written",
    "TimeUp": "too-slow",
    "WrongSignature": "signature",
    "WrongKind": "wrong-kind",
    "GeneratorElsewhere": "generator-elsewhere",
}


@dataclass(frozen=True)
class Trial:
    """A call, what came of it, and what should have come of it."""

    call: Call
    got: Outcome
    want: Outcome


@dataclass(frozen=True)
class CounterExample:
    """The smallest input on which the answer is wrong, all in words."""

    inputs: tuple[tuple[str, str], ...]  # (name, value)
    yours: str
    expected: str  # "" for a question without code
    difference: str


@dataclass(frozen=True)
class Result:
    """What a check found. All of it is text, numbers and tuples of them: it can be stored and compared.

    Attributes:
        diagnosis: "" where it passed; else a name of `diagnoses.GENERAL` or of the exercise's wrong answers.
        verified: the properties that hold, in words, as far as the check got.
        error: what the learner's code raised, with its line, where it did.
    """

    passed: bool
    diagnosis: str = ""
    message: str = ""
    verified: tuple[str, ...] = ()
    counter_example: CounterExample | None = None
    error: Error | None = None
    seconds: float = 0.0


def run_check(exercise: Exercise, runner: Runner, seed: int = 0) -> Result:
    """Check an answer on the inputs that a seed draws. The same seed and answer give the same result.

    runner: makes calls of the learner's function, wherever it is: `lambda call: perform(function, call)`, or `Here`.
    """
    start = time.perf_counter()
    result = _checked(exercise, runner, seed)
    return replace(result, seconds=time.perf_counter() - start)


def _checked(exercise: Exercise, runner: Runner, seed: int) -> Result:
    calls = exercise.cases(torch.Generator().manual_seed(seed))
    trials = _tried(exercise, runner, calls)
    found, exercise = _found_or_drawn(exercise, runner, trials)
    if found is not None:
        return found
    verified, values = _values_verified(trials), trials
    usual = [_with_constants(exercise, trial.call) for trial in trials if trial.want.error is None][-1:]
    for prepare, sentence in MORE:
        trials = [trial for call in usual for trial in _tried(exercise, runner, [prepare(call)]) if _telling(trial)]
        found, _ = _found_or_drawn(exercise, runner, trials, values)
        if found is not None:
            return replace(found, verified=tuple(verified))
        verified += [sentence] * bool(trials)
    for call in usual:
        if takes_generator(call) and other_generator(lambda call: perform(exercise.answer, call), call) is None:
            diagnosis = other_generator(runner, call)
            if diagnosis is not None:
                return Result(False, diagnosis, GENERAL[diagnosis], tuple(verified))
            verified.append("the same generator, the same result; another one, another")
    return Result(True, verified=tuple(verified))


def _found_or_drawn(
    exercise: Exercise, runner: Runner, trials: list[Trial], before: list[Trial] | tuple = ()
) -> tuple[Result | None, Exercise]:
    """What is wrong, None for nothing; and the exercise, of any numbers where the answer draws others as good.

    before: trials that the answer passed. A mistake that would not have passed them is none of this answer's.
    """
    found = _found(exercise, trials, before)
    if found is None or found.diagnosis != "wrong-value" or not any(takes_generator(trial.call) for trial in trials):
        return found, exercise
    diagnosis = _drawn(exercise, runner, trials)
    if diagnosis is None:  # other draws of the right distribution: all but the numbers must still be right
        exercise = replace(exercise, tolerance=ANY_NUMBER, wrong=())
        return _found(exercise, trials), exercise
    if diagnosis != "wrong-value":
        found = replace(found, diagnosis=diagnosis, message=GENERAL[diagnosis])
    return found, exercise


def _drawn(exercise: Exercise, runner: Runner, trials: list[Trial]) -> str | None:
    """None if the values are as good as the expected ones, though drawn in another way; else what is wrong."""
    if _found(exercise, [trial for trial in trials if not takes_generator(trial.call)]) is not None:
        return "wrong-value"
    for trial in trials:
        if takes_generator(trial.call) and trial.want.error is None:
            diagnosis = drawn_wrongly(exercise.moments, runner, trial.call)
            if diagnosis is not None:
                return diagnosis
    return None


# ── Calls ────────────────────────────────────────────────────────────────────────────────────────────


def _tried(exercise: Exercise, runner: Runner, calls: list[Call]) -> list[Trial]:
    """Make the calls, up to the first that shows that more would tell nothing new."""
    trials = []
    for call in calls:
        want = perform(exercise.answer, call)  # first, so that torch's one-time work is not on the learner's clock
        trials.append(Trial(call, runner(call), want))
        if _plain_error(trials[-1].got.error) is not None:
            break
    return trials


def _plain_error(error: Error | None) -> str | None:
    """The diagnosis of an error that says all by itself; None for others.

    torch raises NotImplementedError, too (for x ^ 0.5 with floats, say): only that of the stub says nothing more.
    """
    if error is None or error.type == "NotImplementedError" and error.message and not error.code.startswith("raise"):
        return None
    return BY_ERROR.get(error.type)


def _with_constants(exercise: Exercise, call: Call) -> Call:
    """The call, with the places of the exercise's constants in it."""
    names = inspect.signature(exercise.answer).parameters
    return replace(call, constants=tuple(place for place, name in enumerate(names) if name in exercise.constants))


def _in_float64(value: Any) -> Any:
    """The same call, or argument, with float64 for all float tensors."""
    if isinstance(value, Call):
        return replace(value, args=_in_float64(value.args))
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        return type(value)([_in_float64(item) for item in value])
    if isinstance(value, dict):
        return {key: _in_float64(item) for key, item in value.items()}
    return value


MORE: tuple[tuple[Callable[[Call], Call], str], ...] = (
    (_in_float64, "float64 in, float64 out"),
    (lambda call: replace(call, gradients=True), "gradients come through, and are right"),
    (lambda call: replace(call, device="meta"), "new tensors are made on the input's device"),
)


def _telling(trial: Trial) -> bool:
    """Does the right answer say anything about this property? (Not every function has gradients or runs on meta.)"""
    call, want = trial.call, trial.want
    if want.error is not None or not any(isinstance(arg, Tensor) for arg in call.args):
        return False
    if call.gradients:
        return any(gradient is not None and gradient.any() for gradient in want.gradients)
    if call.device == "meta":
        undecided = trial.got.error and first_difference(trial.got, want, call, 1.0) is None
        return not undecided and any(item.is_meta for item in tensors_in(want.value))
    return any(arg.dtype == torch.float64 for arg in tensors_in(call.args)) and bool(tensors_in(want.value))


def _shapes(call: Call) -> tuple:
    return tuple(tuple(tensor.shape) for tensor in tensors_in(call.args))


def _values_verified(trials: list[Trial]) -> list[str]:
    shapes = len({_shapes(trial.call) for trial in trials if _shapes(trial.call)})
    refused = sum(trial.want.error is not None for trial in trials)
    tried = len(trials) - refused
    words = [f"the right values on {tried} fresh input{'s' * (tried > 1)}" + f" of {shapes} shapes" * (shapes > 1)]
    if not any(trial.call.args for trial in trials):
        words = ["the right answer"]
    words += [f"{refused} senseless input{'s' * (refused > 1)} refused"] * bool(refused)
    changeable = any(isinstance(arg, (list, dict)) for trial in trials for arg in trial.call.args)
    if any(_changed_by_right(trial, index) for trial in trials[:1] for index in range(len(trial.call.args))):
        return words + ["what is to be changed ends as it should"]
    return words + ["the inputs are unchanged"] * (bool(shapes) or changeable)


# ── Diagnosis ────────────────────────────────────────────────────────────────────────────────────────


def _found(exercise: Exercise, trials: list[Trial], before: list[Trial] | tuple = ()) -> Result | None:
    """The diagnosis of the first trial that went wrong; None if all are right."""
    faults = [first_difference(trial.got, trial.want, trial.call, exercise.tolerance) for trial in trials]
    index = next((index for index, fault in enumerate(faults) if fault is not None), None)
    if index is None:
        return None
    trial, fault = trials[index], faults[index]
    error = trial.got.error
    plain_error = _plain_error(error)
    if plain_error is not None:
        diagnosis, message = plain_error, GENERAL[plain_error]
    elif error is None and trial.got.value is None and trial.want.value is not None and not trial.call.gradients:
        diagnosis, message = "no-return", GENERAL["no-return"]
    elif error is None and trial.got.value is ...:  # `answer = ...`, as the notebook leaves it
        diagnosis, message = "not-written", GENERAL["not-written"]
    else:
        diagnosis, message = _named(exercise, trials, fault, before) or _unnamed(trials, faults, index)
    example = None if diagnosis in ("not-written", "no-return", "signature") else _example(exercise, trial, fault)
    return Result(False, diagnosis, message, counter_example=example, error=error)


def _named(
    exercise: Exercise, trials: list[Trial], fault: Fault, before: list[Trial] | tuple
) -> tuple[str, str] | None:
    """The first wrong answer of the exercise that does what the learner's does on all trials."""

    def exactly(trial: Trial, theirs: Outcome) -> bool:
        return first_difference(trial.got, theirs, trial.call, exercise.tolerance) is None

    def as_far_as_it_goes(trial: Trial, theirs: Outcome) -> bool:
        apart = first_difference(trial.got, theirs, trial.call, exercise.tolerance)
        if apart is not None and apart.aspect == "inputs" and _changed(replace(trial, got=theirs)):
            return False  # theirs is known for changing an argument, which the learner's leaves alone
        refused = trial.got.error is not None and "raise ValueError" in trial.got.error.code
        unasked = trial.got.error and theirs.error and trial.want.error is None and not refused
        if unasked and trial.got.error.message != theirs.error.message:
            return False  # broken, too, but in another way; with what words a ValueError refuses is free
        if apart is not None and fault.aspect in STRUCTURE and apart.aspect in STRUCTURE:
            return False  # another structure of another kind
        return apart is None or ASPECTS.index(apart.aspect) > ASPECTS.index(fault.aspect)

    candidates = []
    for wrong in exercise.wrong:
        theirs = []
        for trial in trials:
            theirs.append(perform(wrong.answer, trial.call))
            if not as_far_as_it_goes(trial, theirs[-1]):
                break
        else:
            candidates.append((not all(map(exactly, trials, theirs)), wrong))
    for _, wrong in sorted(candidates, key=lambda candidate: candidate[0]):  # those that do exactly the same first
        if _passes(replace(exercise, wrong=()), wrong.answer, before):
            return wrong.diagnosis, wrong.message or GENERAL[wrong.diagnosis]
    return None


def _passes(exercise: Exercise, answer: Callable[..., Any], trials: list[Trial] | tuple) -> bool:
    """Would this answer have passed these trials?"""
    theirs = [replace(trial, got=perform(answer, trial.call)) for trial in trials]
    return _found_or_drawn(exercise, lambda call: perform(answer, call), theirs)[0] is None


def _unnamed(trials: list[Trial], faults: list[Fault | None], index: int) -> tuple[str, str]:
    """What fails, where no wrong answer of the exercise is recognised."""
    trial, fault = trials[index], faults[index]
    if fault.aspect in ("error", "shape"):
        if trial.call.device == "meta":
            return "wrong-device", GENERAL["wrong-device"]
        if trial.want.error is not None:
            diagnosis = "should-refuse" if trial.got.error is None else "other-error"
            return diagnosis, GENERAL[diagnosis]
        if index > 0 and _shapes(trial.call) not in [_shapes(before.call) for before in trials[:index]]:
            return "one-shape-only", GENERAL["one-shape-only"]
    if trial.call.gradients and (fault.aspect in ("error", "kind") or fault.yours == "none"):
        return "gradient-cut", GENERAL["gradient-cut"]
    if fault.aspect == "error":
        return "crash", GENERAL["crash"]
    if any(tensor.is_complex() for tensor in tensors_in(trial.got.value)):
        return "complex", GENERAL["complex"]
    diagnosis = BY_ASPECT[fault.aspect]
    if fault.aspect == "dtype" and fault.expected in WHOLE:
        diagnosis = "other-whole" if fault.yours in WHOLE else "not-whole"
    elif fault.aspect == "dtype" and not all(_dtype_is_the_inputs(trial) for trial in trials):
        diagnosis = "other-dtype"
    if fault.aspect == "inputs" and _changed_by_right(trial, fault.argument()[0]):
        diagnosis = "ends-wrong"
    words = [GENERAL[diagnosis]]
    if diagnosis == "wrong-value":
        words += [observation(trial.got.value, trial.want.value), GENERAL["changed-too"] * _changed(trial)]
    return diagnosis, " ".join(part for part in words if part)


def _dtype_is_the_inputs(trial: Trial) -> bool:
    """Is everything that is expected of the dtype of an argument?"""
    given = {arg.dtype for arg in tensors_in(trial.call.args)}
    return all(tensor.dtype in given for tensor in tensors_in(trial.want.value))


def _changed(trial: Trial) -> bool:
    """Was an argument changed in place that should stay, whatever the value is?"""
    as_wanted = replace(trial.got, value=trial.want.value, gradients=trial.want.gradients)
    fault = first_difference(as_wanted, trial.want, trial.call, 1e-4)
    return fault is not None and fault.aspect == "inputs" and not _changed_by_right(trial, fault.argument()[0])


def _changed_by_right(trial: Trial, index: int) -> bool:
    """Does the right answer itself change this argument, such as a model that is to be trained?"""
    if trial.want.error is not None:
        return False
    left_alone = perform(lambda *args: None, replace(trial.call, build=None, gradients=False)).args_after
    before, after = (
        replace(trial.want, args_after=(args[index],), gradients=()) for args in (left_alone, trial.want.args_after)
    )
    return first_difference(before, after, trial.call, 1e-6) is not None


def _example(exercise: Exercise, trial: Trial, fault: Fault) -> CounterExample:
    names = list(inspect.signature(exercise.answer).parameters)
    if trial.call.build is not None:
        names = list(inspect.signature(exercise.answer.forward).parameters)[1:]
    names += [f"argument {index + 1}" for index in range(len(names), len(trial.call.args))]
    inputs = [(name, _input(arg)) for name, arg in zip(names, trial.call.args)]
    if trial.call.build is not None:
        of_class = inspect.signature(exercise.answer).parameters
        built = ", ".join(f"{name}={shown(arg)}" for name, arg in zip(of_class, trial.call.build))
        inputs.insert(0, ("__init__", built))
    yours, expected, difference = fault.yours, fault.expected, fault.difference
    if fault.aspect in ("gradient", "inputs"):
        what = "gradient of" if fault.aspect == "gradient" else "afterwards,"
        place, inside = fault.argument()
        yours, expected = (f"{what} {names[place]}{inside}: {side}" for side in (yours, expected))
    elif fault.part:
        whole = shown(trial.got.value), shown(trial.want.value)
        short = fault.aspect == "value" and max(len(side) for side in whole) <= SHORT
        yours, expected = whole if short else (f"{fault.part} = {side}" for side in (yours, expected))
        difference = f"{fault.part}: {difference}" if short and difference else difference
    if not names:  # a question without code: the expected answer would end the guessing
        expected = difference = ""
    return CounterExample(tuple(inputs), yours, expected, difference)


def _input(arg: Any) -> str:
    if isinstance(arg, Seeded):
        return f"torch.Generator().manual_seed({arg.seed})"
    maker = getattr(arg, "maker", None)
    if maker is None:
        return shown(arg)
    names = inspect.signature(maker).bind(*arg.args).arguments
    spoken = names.keys() if len(names) == len(arg.args) > 1 else ()  # several arguments, none of them *args
    inside = [f"{name}={shown(item)}" for name, item in zip(spoken, arg.args)] or [shown(item) for item in arg.args]
    return f"{maker.__name__}({', '.join(inside)})"
