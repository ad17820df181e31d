"""`check("q_sample", q_sample)`: what the learner calls, in the cell below the answer.

from tinyldm_course.checking import check
"""

import contextlib
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import tinyldm  # noqa: F401  (its libraries are loaded here, not in the first check)
from tinyldm_course.checks import progress
from tinyldm_course.checks.calls import Call, Outcome, described, perform
from tinyldm_course.checks.feedback import Feedback
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import find

torch.ones(2, device="meta") * 2  # loads what "meta" needs, a second or more, now instead of in the first check

SECONDS = 1.8  # for all calls of a check together: with the rest, less than the two that a reader waits
MOST_PRINTED = 500  # characters of what an answer printed that are shown


class CheckFailed(AssertionError):
    """Raised by `check` under nbgrader, which gives no points to a cell that raises."""


class TimeUp(BaseException):
    """Raised inside the learner's function when its time is up; no `except Exception` of theirs swallows it."""


def check(name: str, answer: Any) -> Feedback | None:
    """Check an answer to an exercise, show what was found, and keep it in the progress file.

    Args:
        name: the exercise's name, as its notebook gives it.
        answer: the function or class that was written; for a question without code, the answer itself.
    Returns: the feedback, true if it is right; None in Jupyter, where it is shown as a page already.
    Raises: ValueError for an unknown name; CheckFailed under nbgrader.
    """
    exercise = find(name)
    runner = Here(answer if callable(answer) else lambda: answer)
    result = run_check(exercise, runner, seed=time.time_ns() % 2**31)
    attempts, trouble = _kept(name, result.passed, result.diagnosis == "not-written")
    # Hints are about the formula: no help to one whose values are right.
    hint = "" if result.passed or result.verified else "".join(exercise.hints[:attempts][-1:])
    note = " ".join(part for part in (_outdated(name), trouble) if part)
    feedback = Feedback(exercise, result, hint, runner.printed, note)
    if not result.passed and "NBGRADER_EXECUTION" in os.environ:
        raise CheckFailed(str(feedback))
    if _in_jupyter():
        from IPython.display import display

        display(feedback)
        return None
    encoding = sys.stdout.encoding or "utf-8"
    print(str(feedback).encode(encoding, "replace").decode(encoding), file=sys.stdout)  # not every terminal knows ᾱ
    return feedback


def _kept(name: str, passed: bool, untouched: bool) -> tuple[int, str]:
    """Write the progress file; return the number of attempts at this exercise and a note if writing failed."""
    if untouched:
        return progress.read().get(name, progress.Record()).attempts, ""
    record = progress.after_check(progress.read().get(name, progress.Record()), passed)
    try:
        with progress.alone():
            records = progress.read()
            record = progress.after_check(records.get(name, progress.Record()), passed)
            progress.write(records | {name: record})
    except OSError as error:
        return record.attempts, f"your progress could not be kept in {progress.place()} ({error.strerror or error})"
    return record.attempts, ""


def _shell() -> Any:
    """IPython's shell, where there is one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _outdated(name: str) -> str:
    """A note if the cell before was to write the answer and failed: then what is checked is older than it."""
    last = getattr(_shell(), "last_execution_result", None)
    cell = "" if last is None or last.success else str(last.info.raw_cell)
    if "check(" in cell or not re.search(rf"^(def|class)\s+{name}\b|^{name}\s*=", cell, re.MULTILINE):
        return ""
    error = type(last.error_before_exec or last.error_in_exec).__name__
    return f"Your last cell stopped with a {error}. So this is about {name} as it was before."


def _in_jupyter() -> bool:
    """Is this a notebook's kernel? (IPython in a terminal shows text.)"""
    shell = _shell()
    return shell is not None and shell.has_trait("kernel")


class Here:
    """Runs a learner's function in this process, with a limit on the seconds of all calls together.

    Attributes:
        printed: the beginning of what the first call printed; what later calls print is dropped.
    """

    def __init__(self, answer: Callable[..., Any], seconds: float = SECONDS):
        self.answer, self.left, self.printed, self.calls = answer, seconds, "", 0

    def __call__(self, call: Call) -> Outcome:
        start, output = time.perf_counter(), io.StringIO()
        try:
            with contextlib.redirect_stdout(output), _limit(self.left):
                outcome = perform(self.answer, call)
        except TimeUp as error:
            outcome = Outcome(error=described(error, self.answer))
        self.left = max(0.001, self.left - (time.perf_counter() - start))
        self.calls += 1
        if self.calls == 1:
            self.printed = output.getvalue()[:MOST_PRINTED].rstrip()
        return outcome


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the block when its time is up. Without POSIX's alarm, or outside the main thread, after it."""
    start = time.perf_counter()
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        if time.perf_counter() - start > seconds:
            raise TimeUp(f"stopped after {seconds:.1f} s")
        return

    def ring(*_) -> None:
        raise TimeUp(f"still running after {seconds:.1f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
