"""Trials: the same call, made with the learner's answer and with the right one.

    exercise.cases(seed) ──► calls ──► Trial (call, got, want)

`Trials` contains all trials of one check. Each kind (plain, in float64, with gradients, on "meta") is made when a phase
first asks for it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Error, Outcome, Runner, perform, tensors_in
from tinyldm_course.checks.comparing import UP_TO_VALUE, Fault, first_difference
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.randomness import noise_diagnosis, takes_generator, with_noise_of

BY_ERROR = {  # self-explanatory errors -> the diagnosis
    "NotImplementedError": "not-written",
    "TimeUp": "too-slow",
    "WrongSignature": "signature",
    "WrongKind": "wrong-kind",
    "GeneratorElsewhere": "generator-elsewhere",
}


@dataclass(frozen=True)
class Trial:
    """A call, the answer's outcome, and the right one.

    Attributes:
        noise_diagnosis: what is wrong with the random numbers in `got`, a name of `diagnoses.GENERAL`; None if
            nothing is known to be wrong.
    """

    call: Call
    got: Outcome
    want: Outcome
    noise_diagnosis: str | None = None


class Trials:
    """All trials of one answer to an exercise.

    Args:
        exercise: whose right answer and tolerance are used.
        runner: makes a call of the learner's function, wherever it runs.
        calls: the exercise's inputs, the smallest first.
        right: makes a call of the right answer; None makes it here and now.
    """

    def __init__(self, exercise: Exercise, runner: Runner, calls: list[Call], right: Runner | None = None):
        self.exercise, self.runner, self.calls = exercise, runner, calls
        self.right: Runner = right or (lambda call: perform(exercise.answer, call))

    # ── The kinds of trials ──────────────────────────────────────────────────────────────────────────

    @cached_property
    def plain(self) -> list[Trial]:
        """Every call of the exercise as it is, up to an error that ends the check."""
        return self._make(self.calls)

    @cached_property
    def in_float64(self) -> list[Trial]:
        """The largest valid call with float64 for all float tensors; empty if float64 would show nothing."""
        trials = self._of_largest_valid_call(lambda call: replace(call, args=to_float64(call.args)))
        return [
            trial
            for trial in trials
            if any(arg.dtype == torch.float64 for arg in tensors_in(trial.call.args)) and tensors_in(trial.want.value)
        ]

    @cached_property
    def with_gradients(self) -> list[Trial]:
        """The largest valid call with gradients; empty if the right answer has none."""
        trials = self._of_largest_valid_call(lambda call: replace(call, gradients=True))
        return [t for t in trials if any(gradient is not None and gradient.any() for gradient in t.want.gradients)]

    @cached_property
    def on_meta(self) -> list[Trial]:
        """The largest valid call on the device "meta"; empty if that shows nothing about devices."""

        def only_error_is_undecidable(trial: Trial) -> bool:
            return trial.got.error is not None and first_difference(trial.got, trial.want, trial.call, 1.0) is None

        trials = self._of_largest_valid_call(lambda call: replace(call, device="meta"))
        return [
            t
            for t in trials
            if any(item.is_meta for item in tensors_in(t.want.value)) and not only_error_is_undecidable(t)
        ]

    @property
    def largest_valid_call(self) -> Call | None:
        """The last and largest call that the right answer does not refuse; None if there is none."""
        valid = [trial.call for trial in self.plain if trial.want.error is None]
        if not valid:
            return None
        names = inspect.signature(self.exercise.answer).parameters
        constant_indices = tuple(index for index, name in enumerate(names) if name in self.exercise.constants)
        return replace(valid[-1], constant_indices=constant_indices)

    def _of_largest_valid_call(self, prepare: Callable[[Call], Call]) -> list[Trial]:
        """The one trial of the largest valid call, prepared; none if the right answer cannot be called that way."""
        if self.largest_valid_call is None:
            return []
        trials = self._make([prepare(self.largest_valid_call)])
        return [t for t in trials if t.want.error is None and any(isinstance(arg, Tensor) for arg in t.call.args)]

    # ── Making them ──────────────────────────────────────────────────────────────────────────────────

    def _make(self, calls: list[Call]) -> list[Trial]:
        trials = []
        for call in calls:
            # The right answer runs first, so torch's start-up cost is not charged to the learner.
            want = self.right(call)
            trials.append(Trial(call, self.runner(call), want))
            if error_diagnosis(trials[-1].got.error) is not None:
                break
        return self._accept_other_noise(trials)

    def _accept_other_noise(self, trials: list[Trial]) -> list[Trial]:
        """Judge noise by its distribution; if it is statistically equivalent, expect the answer's own noise.

        For example, the right answer draws the noise of a whole batch at once, the learner's draws it image by image.
        Not one number is the same, yet both are correct. So the expected outcome is rebuilt with the learner's noise;
        everything else is still compared exactly: the part without noise, gradients, dtypes, inputs.
        """
        faults = [self.fault(trial) for trial in trials]
        wrong = [index for index, fault in enumerate(faults) if fault and fault.aspect in UP_TO_VALUE]
        random = all(takes_generator(trials[index].call) and trials[index].want.error is None for index in wrong)
        if not wrong or faults[wrong[0]].aspect != "value" or not random:
            return trials
        diagnoses = (noise_diagnosis(self.exercise, self.runner, trials[index].call) for index in wrong)
        diagnosis = next((name for name in diagnoses if name is not None), None)
        if diagnosis is not None:
            return [replace(trial, noise_diagnosis=diagnosis) for trial in trials]
        # So few draws cannot distinguish nearly equal spreads, but an exact match with a known mistake can.
        if self._is_a_known_mistake(trials):
            return trials
        return [self._with_its_noise(trial) if index in wrong else trial for index, trial in enumerate(trials)]

    def _with_its_noise(self, trial: Trial) -> Trial:
        """The trial, with the noise of the learner's value in the expected outcome."""
        redrawn = with_noise_of(trial.got.value, self.exercise.moments, trial.call)
        return replace(trial, want=perform(redrawn, trial.call))

    def _is_a_known_mistake(self, trials: list[Trial]) -> bool:
        """Does a wrong answer of the exercise do exactly the same?"""
        return any(
            all(self.difference(trial, perform(wrong.answer, trial.call)) is None for trial in trials)
            for wrong in self.exercise.wrong
        )

    # ── Comparing ────────────────────────────────────────────────────────────────────────────────────

    def fault(self, trial: Trial) -> Fault | None:
        """The first difference between the answer's outcome and the right one."""
        return self.difference(trial, trial.want)

    def difference(self, trial: Trial, other: Outcome) -> Fault | None:
        """The first difference between the answer's outcome and a given one."""
        if trial.got is other:
            return None
        exercise = self.exercise
        return first_difference(trial.got, other, trial.call, exercise.tolerance, exercise.exact_dtype)

    def would_pass(self, answer: Callable[..., Any]) -> bool:
        """Would this other answer pass the plain trials?"""
        others = Trials(self.exercise, lambda call: perform(answer, call), self.calls)
        return all(others.fault(trial) is None for trial in others.plain)


def to_float64(value: Any) -> Any:
    """An argument with float64 for all float tensors in it."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        return type(value)([to_float64(item) for item in value])
    if isinstance(value, dict):
        return {key: to_float64(item) for key, item in value.items()}
    return value


def error_diagnosis(error: Error | None) -> str | None:
    """The diagnosis of a self-explanatory error; None for others.

    torch also raises NotImplementedError (for x ^ 0.5 with floats, say): only the stub's has no message.
    """
    if error is None or error.type == "NotImplementedError" and error.message and not error.code.startswith("raise"):
        return None
    return BY_ERROR.get(error.type)


def shapes_of(call: Call) -> tuple:
    """The shapes of all tensors among the arguments."""
    return tuple(tuple(tensor.shape) for tensor in tensors_in(call.args))


def changes_argument(trial: Trial, index: int) -> bool:
    """Does the right answer itself change this argument, such as a model that is to be trained?"""
    if trial.want.error is not None:
        return False
    untouched = perform(lambda *args: None, replace(trial.call, build=None, gradients=False)).args_after
    # `first_difference` compares outcomes: so make two that differ in nothing but this argument.
    before, after = (
        replace(trial.want, args_after=(args[index],), gradients=()) for args in (untouched, trial.want.args_after)
    )
    return first_difference(before, after, trial.call, 1e-6) is not None


def changed_in_place(trial: Trial) -> bool:
    """Did the answer change an argument in place that should stay as it is, regardless of its value?"""
    # `first_difference` reports the value first, so substitute the right value and gradients.
    right_but_for_inputs = replace(trial.got, value=trial.want.value, gradients=trial.want.gradients)
    fault = first_difference(right_but_for_inputs, trial.want, trial.call, 1e-4)
    return fault is not None and fault.aspect == "inputs" and not changes_argument(trial, fault.argument()[0])
