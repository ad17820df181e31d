"""Trials: the same call, made with the learner's answer and with the right one.

    exercise.cases(seed) ──► calls ──► Trial (call, got, want)

`Trials` holds all trials of one check. Each kind (plain, in float64, with gradients, on "meta") is made when a phase
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
from tinyldm_course.checks.randomness import noise_fault, takes_generator, with_noise_of

BY_ERROR = {  # errors that say everything by themselves -> the diagnosis
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
        noise: what is wrong with the random numbers in `got`, a name of `diagnoses.GENERAL`; None where nothing is
            known to be.
    """

    call: Call
    got: Outcome
    want: Outcome
    noise: str | None = None


class Trials:
    """All trials of one answer to an exercise.

    Args:
        exercise: whose right answer and tolerance are used.
        runner: makes a call of the learner's function, wherever that runs.
        calls: the exercise's inputs, the smallest first.
    """

    def __init__(self, exercise: Exercise, runner: Runner, calls: list[Call]):
        self.exercise, self.runner, self.calls = exercise, runner, calls

    # ── The kinds of trials ──────────────────────────────────────────────────────────────────────────

    @cached_property
    def plain(self) -> list[Trial]:
        """Every call of the exercise as it is, up to an error that ends the check."""
        return self._make(self.calls)

    @cached_property
    def in_float64(self) -> list[Trial]:
        """The last usual call with float64 for all float tensors; empty where float64 would tell nothing."""
        trials = self._of_usual_call(lambda call: replace(call, args=to_float64(call.args)))
        return [
            trial
            for trial in trials
            if any(arg.dtype == torch.float64 for arg in tensors_in(trial.call.args)) and tensors_in(trial.want.value)
        ]

    @cached_property
    def with_gradients(self) -> list[Trial]:
        """The last usual call with gradients; empty where the right answer has none."""
        trials = self._of_usual_call(lambda call: replace(call, gradients=True))
        return [t for t in trials if any(gradient is not None and gradient.any() for gradient in t.want.gradients)]

    @cached_property
    def on_meta(self) -> list[Trial]:
        """The last usual call on the device "meta"; empty where that tells nothing about devices."""

        def undecided(trial: Trial) -> bool:
            return trial.got.error is not None and first_difference(trial.got, trial.want, trial.call, 1.0) is None

        trials = self._of_usual_call(lambda call: replace(call, device="meta"))
        return [t for t in trials if not undecided(t) and any(item.is_meta for item in tensors_in(t.want.value))]

    @property
    def usual_call(self) -> Call | None:
        """The last and largest call that the right answer does not refuse; None where there is none."""
        usual = [trial.call for trial in self.plain if trial.want.error is None]
        if not usual:
            return None
        names = inspect.signature(self.exercise.answer).parameters
        constants = tuple(place for place, name in enumerate(names) if name in self.exercise.constants)
        return replace(usual[-1], constants=constants)

    def _of_usual_call(self, prepare: Callable[[Call], Call]) -> list[Trial]:
        """The one trial of the usual call, prepared; none where the right answer cannot be called so."""
        if self.usual_call is None:
            return []
        trials = self._make([prepare(self.usual_call)])
        return [t for t in trials if t.want.error is None and any(isinstance(arg, Tensor) for arg in t.call.args)]

    # ── Making them ──────────────────────────────────────────────────────────────────────────────────

    def _make(self, calls: list[Call]) -> list[Trial]:
        trials = []
        for call in calls:
            want = perform(self.exercise.answer, call)  # first: torch's one-time work is not on the learner's clock
            trials.append(Trial(call, self.runner(call), want))
            if error_diagnosis(trials[-1].got.error) is not None:
                break
        return self._accept_other_noise(trials)

    def _accept_other_noise(self, trials: list[Trial]) -> list[Trial]:
        """Noise may be drawn in another way. Where it is as good, the expected outcome gets the answer's own noise.

        So everything else is still compared exactly: the part without noise, gradients, dtypes, inputs.
        """
        faults = [fault if fault and fault.aspect in UP_TO_VALUE else None for fault in map(self.fault, trials)]
        first = next((fault for fault in faults if fault is not None), None)
        drawn = [takes_generator(trial.call) and trial.want.error is None for trial in trials]
        if first is None or first.aspect != "value" or any(f is not None and not d for f, d in zip(faults, drawn)):
            return trials
        accepted = []
        for trial, fault in zip(trials, faults):
            if fault is None:
                accepted.append(trial)
                continue
            noise = noise_fault(self.exercise, self.runner, trial.call)
            if noise is not None:
                return [replace(one, noise=noise) for one in trials]
            redrawn = with_noise_of(trial.got.value, self.exercise.moments, trial.call)
            accepted.append(replace(trial, want=perform(redrawn, trial.call)))
        # Forty draws cannot tell a standard deviation from one that is nearly as large; a known mistake can.
        return trials if self._is_a_known_mistake(trials) else accepted

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
        """The first difference between the answer's outcome and another one."""
        exercise = self.exercise
        return first_difference(trial.got, other, trial.call, exercise.tolerance, exercise.exact_dtype)

    def would_pass(self, answer: Callable[..., Any]) -> bool:
        """Would another answer pass the plain trials?"""
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
    """The diagnosis of an error that says everything by itself; None for others.

    torch raises NotImplementedError, too (for x ^ 0.5 with floats, say): only the stub's says nothing more.
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
    before, after = (
        replace(trial.want, args_after=(args[index],), gradients=()) for args in (untouched, trial.want.args_after)
    )
    return first_difference(before, after, trial.call, 1e-6) is not None


def changed_in_place(trial: Trial) -> bool:
    """Did the answer change an argument in place that should stay as it is, whatever the value is?"""
    right_but_for_inputs = replace(trial.got, value=trial.want.value, gradients=trial.want.gradients)
    fault = first_difference(right_but_for_inputs, trial.want, trial.call, 1e-4)
    return fault is not None and fault.aspect == "inputs" and not changes_argument(trial, fault.argument()[0])
