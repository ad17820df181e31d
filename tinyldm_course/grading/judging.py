"""One exercise of one submission: the check, run twice.

    call ──► student ─────► outcome, noted ─┐
      └────► RightAnswer ─► outcome ────────┴──► run_check ──► Result
    the same calls again ─► the same outcomes? ──► the same Result

The second round makes the calls of the first. Where each outcome is the same, so is the result, and nothing is compared
with the right answer again (`right.py`). At the first outcome that differs, the check goes on with what came the second
time.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Error, Outcome, Runner, tensors_in
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.pipeline import Result, run_check
from tinyldm_course.checks.trials import Trials
from tinyldm_course.grading.right import RightAnswers
from tinyldm_course.grading.session import Session

ADDRESS = re.compile(r"0x[0-9a-f]{6,}")  # of an object in memory: differs in each run
MAX_TEXT = 4000  # characters of a value or a message
MAX_NOTED = 2**26  # bytes of tensors in the outcomes of a check; beyond that they are not kept


def judged(exercise: Exercise, session: Session, seed: int, answers: RightAnswers) -> tuple[Result, list[str]]:
    """The result of a check, and what is strange about it. Asked twice: an answer that differs is wrong."""
    right = answers.to(exercise)
    exercise = right.exercise
    try:
        first, noted = check_and_note(exercise, session.runner(exercise.name, right), seed, right)
        if first.error is not None and first.error.type in ("TimeUp", "Died"):
            return first, []
        if first == check_again(exercise, session.runner(exercise.name, right), seed, right, first, noted):
            return first, []
    except Exception as error:  # a value no check anticipated: never a pass
        problem = f"the check cannot judge the returned value ({type(error).__name__})"
        return Result(False, "not-judged", f"What your code returned could not be judged: {error}"), [problem]
    return Result(
        False,
        "not-repeatable",
        "The same inputs and the same seeds gave a different result the second time. "
        "Draw random numbers only from the given generator, and keep no state between calls.",
    ), []


def check_and_note(
    exercise: Exercise, runner: Runner, seed: int, right: Runner
) -> tuple[Result, list[tuple[Call, Outcome]]]:
    """The result of a check, and the calls it made with their outcomes: none where they are too large to keep."""
    noted: list[tuple[Call, Outcome]] = []
    room = MAX_NOTED

    def run(call: Call) -> Outcome:
        nonlocal room
        outcome = runner(call)
        room -= sum(one.nbytes for one in tensors_in([outcome.value, outcome.gradients, outcome.args_after]))
        if room >= 0:
            noted.append((call, outcome))
        else:
            noted.clear()
        return outcome

    return without_run_noise(run_check(exercise, run, seed, right)), noted


def check_again(
    exercise: Exercise, runner: Runner, seed: int, right: Runner, first: Result, noted: list[tuple[Call, Outcome]]
) -> Result:
    """The result of the same check, the second time."""
    again: list[Outcome] = []
    for call, outcome in noted:
        again.append(runner(call))
        if not same(again[-1], outcome):
            break
    else:
        if noted:
            return first
    came: Iterator[Outcome] = iter(again)

    def go_on(call: Call) -> Outcome:
        outcome = next(came, None)
        return runner(call) if outcome is None else outcome

    return without_run_noise(run_check(exercise, go_on, seed, right))


def same(one: Any, other: Any) -> bool:
    """Are two outcomes, or parts of them, exactly alike? NaN is not: then the check itself looks."""
    if one is other and isinstance(one, Outcome):
        return True  # the right one, recognised twice
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
            return False
        return one.is_meta or torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if isinstance(one, (Outcome, Error)):
        return same(vars(one), vars(other))
    return one is other or one == other


def without_run_noise(result: Result) -> Result:
    """A result without what differs from run to run: seconds, and addresses in messages; and with short texts."""
    error, example = result.error, result.counter_example
    if error is not None:
        error = replace(error, message=ADDRESS.sub("0x…", error.message))
    if example is not None:
        yours, expected, difference = map(cut, (example.yours, example.expected, example.difference))
        example = replace(example, yours=yours, expected=expected, difference=difference)
    return replace(result, seconds=0.0, error=error, message=cut(result.message), counter_example=example)


def cut(text: str) -> str:
    """A text that fits on a page: what an answer returns may be shown in millions of characters."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def tells_of_devices(exercise: Exercise, seed: int, answers: RightAnswers) -> bool:
    """Can the course's own answer be tried on another device? One that ends in a Python number cannot."""
    right = answers.to(exercise)
    return bool(Trials(exercise, right, right.exercise.cases(torch.Generator().manual_seed(seed)), right).on_meta)
