"""The check itself: six phases, one after the other. The first that finds something ends the check.

Exercise ──cases(seed)──► calls ──► Trials ──► values → inputs → dtype → gradients → generator → device ──► Result
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tinyldm_course.checks import phases
from tinyldm_course.checks.calls import Error, Runner
from tinyldm_course.checks.counter_example import CounterExample
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.naming import Diagnosis
from tinyldm_course.checks.trials import Trials

Phase = Callable[[Trials], Diagnosis | None]  # what is wrong, or None
Verified = Callable[[Trials], list[str]]  # what the phase verified, in words, if it found nothing wrong

PHASES: tuple[tuple[Phase, Verified], ...] = (
    (phases.values, phases.values_verified),
    (phases.inputs, phases.inputs_verified),
    (phases.dtype, phases.dtype_verified),
    (phases.gradients, phases.gradients_verified),
    (phases.generator, phases.generator_verified),
    (phases.device, phases.device_verified),
)


@dataclass(frozen=True)
class Result:
    """What a check found. All of it is text, numbers and tuples of them: it can be stored and compared.

    Attributes:
        diagnosis: "" if it passed; otherwise a key of `diagnoses.GENERAL` or one of the exercise's own.
        verified: the properties that hold, in words, as far as the check got.
        error: what the learner's code raised, with its line, if it did.
    """

    passed: bool
    diagnosis: str = ""
    message: str = ""
    verified: tuple[str, ...] = ()
    counter_example: CounterExample | None = None
    error: Error | None = None
    seconds: float = 0.0


def run_check(exercise: Exercise, runner: Runner, seed: int = 0, right: Runner | None = None) -> Result:
    """Check an answer on the inputs that belong to a seed. The same seed and answer give the same result.

    Args:
        runner: makes calls of the learner's function, wherever it is: `lambda call: perform(function, call)`, or an
            `InProcessRunner`, which limits their time.
        right: makes calls of the right answer; None makes each of them anew.
    """
    start = time.perf_counter()
    trials = Trials(exercise, runner, exercise.cases(torch.Generator().manual_seed(seed)), right)
    return replace(run_phases(trials), seconds=time.perf_counter() - start)


def run_phases(trials: Trials) -> Result:
    """Run the phases in their order, up to the first that finds something."""
    verified: list[str] = []
    for phase, verified_by in PHASES:
        found = phase(trials)
        if found is not None:
            return Result(False, found.name, found.message, tuple(verified), found.counter_example, found.error)
        verified += verified_by(trials)
    return Result(True, verified=tuple(verified))
