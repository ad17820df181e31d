"""The name of a mistake: one that the exercise knows, or else a general one.

A mistake is recognised by its results: each wrong answer of the exercise makes the same calls, and the first one whose
outcomes match the learner's gives its name and message. If none matches, the right answer is tried with one change
(`slips.py`). Otherwise the check says what fails, and what is certain about the numbers (`relations.py`). It does not
guess.
"""

import warnings
from dataclasses import dataclass, replace

import torch

from tinyldm_course.checks.calls import Call, Error, Outcome, perform, tensors_in
from tinyldm_course.checks.comparing import ASPECTS, Fault
from tinyldm_course.checks.counter_example import CounterExample, counter_example
from tinyldm_course.checks.diagnoses import GENERAL
from tinyldm_course.checks.exercise import Wrong
from tinyldm_course.checks.relations import gradient_relation, noise_relations, relation
from tinyldm_course.checks.slips import Slip, slips_of
from tinyldm_course.checks.trials import Trial, Trials, changed_in_place, changes_argument, error_diagnosis, shapes_of

BY_ASPECT = {
    "parameters": "wrong-parameters",
    "kind": "wrong-kind",
    "length": "wrong-length",
    "shape": "wrong-shape",
    "device": "wrong-device",
    "value": "wrong-value",
    "inputs": "inputs-changed",
    "dtype": "wrong-dtype",
    "gradient": "gradient-wrong",
}
STRUCTURE = ("kind", "length", "shape")
INTEGERS = [str(dtype) for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)]
WITHOUT_EXAMPLE = ("not-written", "no-return", "signature")


@dataclass(frozen=True)
class Failure:
    """Trials, at least one of which fails: the first that does is at `index`. `faults` has a fault or None for each."""

    trials: list[Trial]
    faults: list[Fault | None]
    index: int

    @property
    def trial(self) -> Trial:
        return self.trials[self.index]

    @property
    def fault(self) -> Fault:
        fault = self.faults[self.index]
        assert fault is not None
        return fault


@dataclass(frozen=True)
class Diagnosis:
    """A mistake: its name, what to say about it, and where it shows."""

    name: str
    message: str
    counter_example: CounterExample | None = None
    error: Error | None = None


def diagnose(trials: Trials, failure: Failure, passed_plain: bool = False) -> Diagnosis:
    """The diagnosis of a failure.

    passed_plain: the answer has passed the plain trials, so a known mistake that fails them cannot be this one.
    """
    got = failure.trial.got
    name = error_diagnosis(got.error) or missing_result(failure.trial)
    message = GENERAL.get(name or "", "")
    if name is None:
        wrong = known_mistake(trials, failure, passed_plain)
        if wrong is not None:
            name, message = wrong.diagnosis, wrong.message or GENERAL[wrong.diagnosis]
        else:
            general = general_mistake(failure)
            slip = None if passed_plain else one_slip(trials, failure)
            name = "one-slip" if slip else general
            parts = [GENERAL[name], *observations(trials, failure, general)]
            message = " ".join([*parts, f"Your result is {slip.change}."] if slip else parts)
    has_example = name not in WITHOUT_EXAMPLE
    example = counter_example(trials.exercise, failure.trial, failure.fault) if has_example else None
    return Diagnosis(name, message, example, got.error)


def missing_result(trial: Trial) -> str | None:
    """The diagnosis for a missing result: no `return`, or the dots of the notebook."""
    got, want = trial.got, trial.want
    if got.error is None and got.value is None and want.value is not None and not trial.call.gradients:
        return "no-return"
    return "not-written" if got.error is None and got.value is ... else None


# ── Mistakes that the exercise knows ─────────────────────────────────────────────────────────────────


def known_mistake(trials: Trials, failure: Failure, passed_plain: bool) -> Wrong | None:
    """The first wrong answer of the exercise whose results match the learner's on all trials; exact matches first."""
    exact_matches, other_matches = [], []
    for wrong in trials.exercise.wrong:
        outcomes: list[Outcome] = []
        for trial in failure.trials:
            outcomes.append(perform(wrong.answer, trial.call))
            if not matches_up_to(failure.fault, trials, trial, outcomes[-1]):
                break
        else:  # it matches on all trials
            exact = all(trials.difference(trial, theirs) is None for trial, theirs in zip(failure.trials, outcomes))
            (exact_matches if exact else other_matches).append(wrong)
    for wrong in exact_matches + other_matches:
        if not passed_plain or trials.would_pass(wrong.answer):
            return wrong
    return None


def one_slip(trials: Trials, failure: Failure) -> Slip | None:
    """The right answer with one change, if that gives the learner's results on all trials."""
    numbers = [tensor.double() for tensor in tensors_in(failure.trial.got.value) if not tensor.is_complex()]
    telling = all(tensor.isfinite().all() and tensor.any() for tensor in numbers)  # many slips give NaN, or 0
    if failure.fault.aspect not in ("value", "shape") or not telling:
        return None
    first = [failure.trial, *failure.trials]  # most slips are ruled out by the trial that fails
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for slip in slips_of(trials.exercise.answer):
            if all(matches_up_to(failure.fault, trials, one, perform(slip.answer, one.call)) for one in first):
                return slip
    return None


def matches_up_to(fault: Fault, trials: Trials, trial: Trial, theirs: Outcome) -> bool:
    """Does a wrong answer do what the learner's does, in the aspect that fails and in all before it?"""
    apart = trials.difference(trial, theirs)
    if apart is not None and apart.aspect == "inputs" and changed_in_place(replace(trial, got=theirs)):
        return False  # this mistake changes an argument; the learner's answer does not
    mine = trial.got.error
    refused = mine is not None and "raise ValueError" in mine.code
    if mine and theirs.error and trial.want.error is None and not refused and mine.message != theirs.error.message:
        return False  # it also fails, but differently; the wording of a ValueError does not matter
    if apart is not None and fault.aspect in STRUCTURE and apart.aspect in STRUCTURE:
        return False  # both structures are wrong, in different ways
    return apart is None or ASPECTS.index(apart.aspect) > ASPECTS.index(fault.aspect)


# ── Mistakes that belong to no exercise ──────────────────────────────────────────────────────────────


def general_mistake(failure: Failure) -> str:
    """A name of `diagnoses.GENERAL`: the general diagnosis, if no known mistake matches.

    The order matters: the more specific cause comes first. On "meta" any error means a wrong device, for example.
    """
    trial, fault = failure.trial, failure.fault
    if fault.aspect in ("error", "shape"):
        if trial.call.device == "meta":
            return "wrong-device"
        if trial.want.error is not None:
            return "should-refuse" if trial.got.error is None else "other-error"
        if only_shapes_are_new(trial.call, [one.call for one in failure.trials[: failure.index]]):
            return "one-shape-only"
    if trial.call.gradients and (fault.aspect in ("error", "kind") or fault.yours == "none"):
        return "gradient-cut"
    if fault.aspect == "error":
        return "crash"
    if any(tensor.is_complex() for tensor in tensors_in(trial.got.value)):
        return "complex"
    if fault.aspect == "dtype":
        return dtype_mistake(failure)
    if fault.aspect == "inputs" and changes_argument(trial, fault.argument()[0]):
        return "ends-wrong"
    if fault.aspect == "value" and trial.noise_diagnosis is not None:
        return trial.noise_diagnosis
    return BY_ASPECT[fault.aspect]


def only_shapes_are_new(call: Call, before: list[Call]) -> bool:
    """Are the shapes of this call new, while an earlier call has the same numbers, such as a strength?"""

    def numbers(one: Call) -> list[float]:
        return [arg for arg in one.args if isinstance(arg, float)]  # integers are sizes: groups, heads

    return shapes_of(call) not in map(shapes_of, before) and numbers(call) in map(numbers, before)


def dtype_mistake(failure: Failure) -> str:
    """Which dtype was expected: an integer dtype, the input's, or a different one?"""
    if failure.fault.expected in INTEGERS:
        return "other-whole" if failure.fault.yours in INTEGERS else "not-whole"

    def is_the_inputs(trial: Trial) -> bool:
        given = {arg.dtype for arg in tensors_in(trial.call.args)}
        return all(tensor.dtype in given for tensor in tensors_in(trial.want.value))

    return "wrong-dtype" if all(map(is_the_inputs, failure.trials)) else "other-dtype"


def observations(trials: Trials, failure: Failure, name: str) -> list[str]:
    """Further facts that are certain, one sentence each."""
    words = []
    if name in ("wrong-value", "wrong-shape", "wrong-kind", "wrong-length", "one-shape-only"):
        words.append(relation(trials.exercise, failure.trials))
    if name in ("wrong-mean", "noise-spread"):
        words += noise_relations(trials.exercise, trials.runner, failure.trials)
    if name == "gradient-wrong":
        words.append(gradient_relation(trials.exercise, failure.trial))
    if name == "wrong-value" and changed_in_place(failure.trial):
        words.append(GENERAL["changed-too"])
    return [word for word in words if word]
