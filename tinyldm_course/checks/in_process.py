"""Runs a learner's function in this process, with a limit on its time, and keeps what it prints."""

import contextlib
import io
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tinyldm_course.checks.calls import Call, Outcome, describe_error, perform

CPU_LIMIT = 1.8  # seconds, for all calls of a check; with overhead, under the two seconds a learner will wait
PATIENCE = 10.0  # wall-clock limit as a multiple of the CPU limit: on a busy machine a right answer waits for its turn
TICK = 0.05  # seconds between checks of the time
GRACE = 0.5  # seconds before a function that caught TimeUp is interrupted again
MAX_PRINTED = 500  # characters shown of what an answer printed


class TimeUp(BaseException):
    """Raised inside the learner's function when its time is up; no `except Exception` there swallows it."""


class InProcessRunner:
    """Makes calls of a learner's function in this process.

    Args:
        answer: the function.
        seconds: CPU time that all calls together may take; `PATIENCE` times that on the wall clock.

    Attributes:
        printed: the beginning of what the first call printed; what later calls print is dropped.
    """

    def __init__(self, answer: Callable[..., Any], seconds: float = CPU_LIMIT):
        self.answer, self.printed, self.calls = answer, "", 0
        self.computing_left, self.waiting_left = seconds, PATIENCE * seconds

    def __call__(self, call: Call) -> Outcome:
        computed, clock, output = time.thread_time(), time.perf_counter(), io.StringIO()
        try:
            with contextlib.redirect_stdout(output), time_limit(self.computing_left, self.waiting_left):
                outcome = perform(self.answer, call)
        except TimeUp as error:
            outcome = Outcome(error=describe_error(error, self.answer))
        self.computing_left = max(0.001, self.computing_left - (time.thread_time() - computed))
        self.waiting_left = max(0.001, self.waiting_left - (time.perf_counter() - clock))
        self.calls += 1
        if self.calls == 1:
            self.printed = output.getvalue()[:MAX_PRINTED].rstrip()
        return outcome


@contextlib.contextmanager
def time_limit(computing: float, waiting: float) -> Iterator[None]:
    """Raise TimeUp in the block once this thread has computed, or waited, for the given number of seconds.

    Without POSIX's timers, or outside the main thread, TimeUp is raised after the block.
    """
    computed, clock = time.thread_time(), time.perf_counter()

    def too_late() -> str:
        if time.thread_time() - computed > computing:
            return f"still running after {computing:.1f} s of computing"
        return f"still running after {waiting:.1f} s" if time.perf_counter() - clock > waiting else ""

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        if too_late():
            raise TimeUp(too_late())
        return

    next_ring = 0.0

    def ring(*_: Any) -> None:
        nonlocal next_ring
        if time.perf_counter() > next_ring and too_late():
            next_ring = time.perf_counter() + GRACE  # a function that catches TimeUp is interrupted again
            raise TimeUp(too_late())

    before = signal.signal(signal.SIGALRM, ring)
    first = max(0.001, min(TICK, computing, waiting))
    signal.setitimer(signal.ITIMER_REAL, first, TICK)
    try:
        yield
        if next_ring:  # TimeUp was raised in the block, but caught there: raise it again
            raise TimeUp(too_late())
    finally:
        next_ring = float("inf")  # a signal that is already on its way raises nothing
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
