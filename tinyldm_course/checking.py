"""`check("q_sample", q_sample)`: what the learner calls, in the cell below the answer.

    from tinyldm_course.checking import check

What runs when `check` is called, top-down:

    check                      checking.py             run the check, save the progress, show the feedback
      find                     exercises/__init__.py   the exercise: right answer, inputs, known mistakes
      InProcessRunner          checks/in_process.py    calls the learner's function, with a limit on its time
      run_check                checks/pipeline.py      values → inputs → dtype → gradients → generator → device
        Trials                 checks/trials.py        every call, made with the learner's answer and the right one
          perform              checks/calls.py         one call: its result, or the error that it raised
        values, inputs, …      checks/phases.py        one function per phase: what is wrong, or None
          first_difference     checks/comparing.py     two outcomes of a call side by side
          diagnose             checks/naming.py        the name of the mistake, from the first of these that fits:
            known_mistake      checks/naming.py          a wrong answer of the exercise gives the same results
            one_slip           checks/slips.py           the right answer with one change does
            observations       checks/relations.py       what is true about the numbers: transposed, off by one, …
      hint_topic               checking.py             if the mistake is not known: is there a hint that belongs to it?
      keep_progress            checks/progress.py      one more attempt in the progress file
      Feedback                 checks/feedback.py      the result as text, or as a page in Jupyter

Under nbgrader, `check` raises if the answer is wrong; in Jupyter it displays the feedback; elsewhere it prints it.
"""

import os
import re
import sys
import time
from typing import Any

import torch

import tinyldm  # noqa: F401  (its libraries are loaded here, not in the first check)
from tinyldm_course.checks import progress
from tinyldm_course.checks.diagnoses import ABOUT_FORMULA, ABOUT_SHAPE
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.feedback import Feedback
from tinyldm_course.checks.in_process import InProcessRunner
from tinyldm_course.checks.pipeline import Result, run_check
from tinyldm_course.exercises import find

SHAPE_ERROR = re.compile(r"\b(size|shape|dimension|broadcast)", re.IGNORECASE)  # in torch's message

torch.ones(2, device="meta") * 2  # load the meta backend now (over a second), not during the first check


class CheckFailed(AssertionError):
    """Raised by `check` under nbgrader, which gives no points to a cell that raises."""


def check(name: str, answer: Any) -> Feedback | None:
    """Check an answer to an exercise, show what was found, and save it in the progress file.

    Args:
        name: the exercise's name, as its notebook gives it.
        answer: the function or class that was written; for a question without code, the answer itself.
    Returns: the feedback, truthy if the answer is right; None in Jupyter, where it has been displayed already.
    Raises: ValueError for an unknown name; CheckFailed under nbgrader.
    """
    exercise = find(name)
    runner = InProcessRunner(answer if callable(answer) else lambda: answer)
    result = run_check(exercise, runner, seed=time.time_ns() % 2**31)
    topic = hint_topic(result)
    record, save_note = keep_progress(name, result, topic == "formula")
    hint = hint_about(topic, exercise, record.hints)
    note = " ".join(part for part in (outdated_answer(name), save_note) if part)
    feedback = Feedback(exercise, result, hint, runner.printed, note)
    if not result.passed and "NBGRADER_EXECUTION" in os.environ:
        raise CheckFailed(str(feedback))
    if in_jupyter():
        from IPython.display import display

        display(feedback)
        return None
    encoding = sys.stdout.encoding or "utf-8"
    print(str(feedback).encode(encoding, "replace").decode(encoding), file=sys.stdout)  # not every terminal knows ᾱ
    return feedback


def hint_topic(result: Result) -> str:
    """What a hint should be about: the "formula", the "shape", or "" if the diagnosis says what to do.

    A known mistake says it, and so do a wrong dtype, device or generator: a hint beside them would be about something
    else. Once the values are right, no hint is needed.
    """
    if result.diagnosis in ABOUT_FORMULA and not result.verified:
        return "formula"
    clash = result.diagnosis == "crash" and result.error is not None and SHAPE_ERROR.search(result.error.message)
    return "shape" if clash or result.diagnosis in ABOUT_SHAPE else ""


def hint_about(topic: str, exercise: Exercise, shown: int) -> str:
    """The hint on a topic, "" if there is none.  shown: how many hints about the formula were shown, with this one."""
    if topic == "formula":
        return "".join(exercise.hints[:shown][-1:])  # one more each time; at last the last one
    return exercise.hints[exercise.shape_hint - 1] if topic == "shape" and exercise.shape_hint else ""


def keep_progress(name: str, result: Result, hinted: bool) -> tuple[progress.Record, str]:
    """Write the progress file; return the exercise's record, and a note if writing failed.

    hinted: is the next hint about the formula shown with this result?
    """
    record = progress.read().get(name, progress.Record())  # unlocked; returned if nothing can be written
    if result.diagnosis == "not-written":
        return record, ""
    try:
        with progress.locked():
            records = progress.read()
            after = progress.after_check(records.get(name, progress.Record()), result.passed, hinted)
            progress.write(records | {name: after})
            return after, ""
    except progress.NoHome as error:
        trouble = f"Your progress was not saved: {error}."
    except OSError as error:
        trouble = f"Your progress could not be saved in {progress.progress_file()} ({error.strerror or error})."
    return progress.after_check(record, result.passed, hinted), trouble


def outdated_answer(name: str) -> str:
    """A note if the cell that should define the answer has just failed: then an older definition is checked."""
    last = getattr(shell(), "last_execution_result", None)
    cell = "" if last is None or last.success else str(last.info.raw_cell)
    if "check(" in cell or not re.search(rf"^(def|class)\s+{name}\b|^{name}\s*=", cell, re.MULTILINE):
        return ""
    error = type(last.error_before_exec or last.error_in_exec).__name__
    return f"Your last cell stopped with {error}, so the previous definition of {name} was checked."


def shell() -> Any:
    """IPython's shell, if there is one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def in_jupyter() -> bool:
    """Is this a notebook's kernel? (IPython in a terminal shows text.)"""
    found = shell()
    return found is not None and found.has_trait("kernel")
