"""All submissions of a class, several at a time. One that kills its grader costs itself, and nobody else.

    main process ── thread ── grader process (marking.py) ── the student's process (child.py)
                 └─ thread ── grader process              ── the student's process

All files are read before the first of them runs, and all grades are written after the last: what a submission may do to
files on the way changes no grade.
"""

import hashlib
import multiprocessing
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from tinyldm_course.grading.isolation import Isolation
from tinyldm_course.grading.limits import PR_SET_CHILD_SUBREAPER, Limits, control
from tinyldm_course.grading.marking import Graded, checks_of, grade, read_hidden, unmarked
from tinyldm_course.grading.submissions import Submission


@dataclass(frozen=True)
class Terms:
    """On which terms a class is graded: the same for all.

    Attributes:
        hidden: the folder with the teacher's own checks, or None.
        seed: of the inputs.
    """

    isolation: Isolation
    bounds: Limits
    hidden: Path | None
    seed: int


def seed_of(submissions: list[Submission]) -> int:
    """A seed that the class itself determines: the same files, the same grades; and nobody knew it while writing."""
    whole = hashlib.sha256()
    for submission in submissions:
        for part in (submission.student, str(submission.lesson), *submission.cells):
            whole.update(len(part).to_bytes(8, "big") + part.encode(errors="surrogatepass"))
    return int.from_bytes(whole.digest()[:4], "big") >> 1


def grade_class(
    submissions: list[Submission], terms: Terms, processes: int, progress: Callable[[], None]
) -> list[Graded]:
    """Grade all, in their order. progress: called after each.

    Raises: OSError where this machine cannot run student code at all.
    """
    hidden = read_hidden(terms.hidden)
    waiting: queue.Queue[int] = queue.Queue()
    for index in range(len(submissions)):
        waiting.put(index)
    found: dict[int, Graded] = {}
    failures: list[Exception] = []

    def serve() -> None:
        with Grader(terms) as grader:
            while not failures:
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    found[index] = grader.grade(submissions[index], checks_of(submissions[index].lesson, hidden))
                except Exception as error:  # the machine's fault, not a student's: tell it and stop
                    failures.append(error)
                progress()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(max(1, min(processes, len(submissions))))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [found[index] for index in range(len(submissions))]


@dataclass
class Grader:
    """A process that grades one submission after the other, replaced when it dies."""

    terms: Terms
    _process: multiprocessing.Process | None = field(default=None, init=False)
    _connection: Connection | None = field(default=None, init=False)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def grade(self, submission: Submission, checks: dict) -> Graded:
        """Grade one. Raises OSError where this machine cannot run student code at all."""
        if self._process is None:
            self._start()
        bounds = self.terms.bounds
        try:
            self._connection.send(submission)
            # Longer than a submission's own limit by what judging it may take, and by a process that starts last.
            if not self._connection.poll(2 * bounds.submission + 2 * bounds.start):
                raise EOFError
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._stop()
            return unmarked(
                submission,
                checks,
                "the process that graded it was ended or did not come to an end; see by hand what the submission does",
            )
        if isinstance(answer, str):
            raise OSError(answer)
        return answer

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would hand this process's memory on
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self.terms), daemon=True)
        self._process.start()
        theirs.close()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None


def work(connection: Connection, terms: Terms) -> None:
    """What a grader process does: submissions in, `Graded` out, until nobody asks any more."""
    import torch

    torch.set_num_threads(1)
    control(PR_SET_CHILD_SUBREAPER, 1)
    hidden = read_hidden(terms.hidden)
    while True:
        try:
            submission = connection.recv()
        except EOFError:
            return
        checks = checks_of(submission.lesson, hidden)
        try:
            answer = grade(submission, checks, terms.isolation, terms.bounds, terms.seed)
        except OSError as error:
            answer = str(error)
        except Exception as error:
            answer = unmarked(
                submission, checks, f"the grader failed on it ({type(error).__name__}: {error}); please report this"
            )
        connection.send(answer)
