"""A student's notebook in a sandbox, started again when it dies: one bad cell or function does not affect the others.

`Session.runner(name)` is a Runner for `pipeline.run_check`, except that the function is in another process.
"""

import time
from dataclasses import replace
from typing import Any

from torch import Tensor

from tinyldm_course.checks.calls import Call, Error, Made, Outcome, Runner
from tinyldm_course.checks.comparing import undecidable
from tinyldm_course.grading import wire
from tinyldm_course.grading.isolation import Isolation
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.right import RightAnswer
from tinyldm_course.grading.sandbox import Ended, Sandbox

MAX_CRASHES = 3  # cells that end the process; after that the rest of the notebook is not run
MAX_LOG = 2**16
MAX_USED = 20  # functions that a process names; it may invent any number of them


class Session:
    """One notebook.

    Attributes:
        cell_errors: number of a cell, from 1 -> what went wrong in it.
        used: function of the student -> functions of this package that it was seen to call.
        undecided: exercise -> an error that says why it cannot be tried on another device.
        forged: did it ever send what it was not asked for?
        log: what it printed, cut.
    """

    def __init__(self, cells: tuple[str, ...], isolation: Isolation, bounds: Limits):
        self.cells, self.isolation, self.bounds = cells, isolation, bounds
        self.cell_errors: dict[int, Error] = {}
        self.used: dict[str, list[str]] = {}
        self.undecided: dict[str, str] = {}
        self.forged = False
        self.log = bytearray()
        self._crashing_cells: set[int] = set()
        self._sandbox: Sandbox | None = None
        self._deadline = time.monotonic() + bounds.submission

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        self._close()

    # ── The notebook ─────────────────────────────────────────────────────────────────────────────────

    def _running_sandbox(self) -> Sandbox:
        """A process in which all cells have run, except those that ended it before."""
        while self._sandbox is None:
            self._require_time()
            self._sandbox = Sandbox(self.isolation, self.bounds).__enter__()
            for number, source in enumerate(self.cells, 1):
                if number in self._crashing_cells:
                    continue
                if len(self._crashing_cells) >= MAX_CRASHES:
                    self.cell_errors[number] = Error(
                        "NotRun", "not run, because too many earlier cells crashed the process"
                    )
                elif not self._run(number, source):
                    break
        return self._sandbox

    def _require_time(self) -> None:
        """Raise Ended if the time of the whole notebook is over."""
        if time.monotonic() > self._deadline:
            raise Ended(f"the whole notebook took longer than {self.bounds.submission:g} seconds", late=True)

    def _ask(self, question: dict[str, Any], seconds: float, call: bytes | None = None) -> dict[str, Any]:
        """Ask the current process. Raises Ended."""
        try:
            return self._sandbox.ask(question, seconds, self._deadline, call)
        except Ended:
            self._require_time()  # says so, rather than that this cell was slow
            raise

    def _run(self, number: int, source: str) -> bool:
        """Run a cell. Did the process survive it?"""
        question = {"do": "cell", "number": number, "source": source}
        try:
            error = self._ask(question, self.bounds.seconds).get("error")
        except Ended as ended:
            self._crashing_cells.add(number)
            self.cell_errors[number] = self._close_dead(ended)
            return False
        try:
            if error is not None:
                self.cell_errors[number] = validated_error(error)
        except wire.BadFrame:
            self.forged = True
        return True

    def _close_dead(self, ended: Ended) -> Error:
        """Close a dead process; return the error to show."""
        self.forged = self.forged or ended.forged
        self._close()
        return Error("TimeUp" if ended.late else "Died", str(ended))

    def _close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
            self.log += self._sandbox.log[: MAX_LOG - len(self.log)]
            self._sandbox = None

    # ── Its functions ────────────────────────────────────────────────────────────────────────────────

    def holds(self, exercise: str) -> bool:
        """Did the student give `check` an answer to an exercise, or write a function of its name?

        Also True if the time is over, so that the first call says so.
        """
        try:
            self._running_sandbox()
            answer = self._ask({"do": "find", "name": exercise}, self.bounds.seconds)
        except Ended as ended:
            self._close_dead(ended)
            return time.monotonic() > self._deadline
        return answer.get("found") is True

    def runner(self, exercise: str, right: RightAnswer) -> Runner:
        """Makes the calls of one exercise, with a limit on the seconds of all of them together.

        right: what the course's own answer gives; it knows frames of calls and of outcomes that were met before.
        """
        left, failed = self.bounds.seconds, None

        def run(call: Call) -> Outcome:
            nonlocal left, failed
            if failed is not None:  # not restarted within an exercise
                return Outcome(error=failed)
            try:
                sandbox = self._running_sandbox()
                spent = sandbox.spent
                answer = self._ask({"do": "call", "name": exercise}, left, right.frame(call))
                left -= sandbox.spent - spent
                self._note_used(exercise, answer.get("used"))
                outcome = right.recognised(call, answer["outcome"])
                if outcome is None:
                    outcome = validated_outcome(wire.value_of(answer["outcome"]), call)
                if undecidable(call, outcome):
                    self.undecided[exercise] = outcome.error.message[:200]
                return outcome
            except Ended as ended:
                failed = self._close_dead(ended)
            except wire.BadFrame as error:
                self.forged = True
                failed = Error("Died", f"the reply is not a valid outcome: {error}")
            return Outcome(error=failed)

        return run

    def _note_used(self, exercise: str, used: Any) -> None:
        """Keep what the child says about itself. It may lie; so this can only add to what the teacher looks at."""
        names = [name[:200] for name in used[:MAX_USED] if isinstance(name, str)] if isinstance(used, list) else []
        self.used[exercise] = sorted({*self.used.get(exercise, ()), *names})[:MAX_USED]


# ── Nothing that comes back is taken for granted ─────────────────────────────────────────────────────


def validated_outcome(outcome: Any, call: Call) -> Outcome:
    """An Outcome whose parts are what an honest one would contain. Raises BadFrame."""
    if not isinstance(outcome, Outcome):
        raise wire.BadFrame(f"a {type(outcome).__name__}")
    error = None if outcome.error is None else validated_error(outcome.error)
    if error is not None:
        return Outcome(error=error)
    for name in ("gradients", "args_after"):
        if not isinstance(getattr(outcome, name), tuple) or len(getattr(outcome, name)) != len(call.args):
            raise wire.BadFrame(f"{name} that do not belong to the call")
    if not all(gradient is None or isinstance(gradient, Tensor) for gradient in outcome.gradients):
        raise wire.BadFrame("gradients that are not tensors")
    shapes = outcome.parameters
    if not isinstance(shapes, dict) or not all(isinstance(shape, tuple) for shape in shapes.values()):
        raise wire.BadFrame("parameters without shapes")
    after = tuple(
        given if isinstance(given, Made) and came is None else came
        for given, came in zip(call.args, outcome.args_after)
    )
    return replace(outcome, args_after=after, seconds=0.0)


def validated_error(error: Any) -> Error:
    """An Error whose parts have the types they should have, and a length that fits into a report. Raises BadFrame."""
    if not isinstance(error, Error) or not isinstance(error.line, int):
        raise wire.BadFrame("a malformed error")
    # A type without a name would look like no error at all.
    return Error(str(error.type)[:100] or "Error", str(error.message)[:1000], error.line, str(error.code)[:300])
