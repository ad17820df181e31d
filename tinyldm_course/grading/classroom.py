"""All submissions of a class, several at a time. One that kills its grader loses only its own grade.

    main process ── thread ── grader process (marking.py) ── the student's process (child.py)
                 └─ thread ── grader process              ── the student's process

All files are read before the first of them runs. A result goes into the journal as soon as it is known: a grader that
is killed loses at most the submissions that it had begun.
"""

import hashlib
import multiprocessing
import queue
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

from tinyldm_course.grading.isolation import ANOTHER_USER, Isolation
from tinyldm_course.grading.journal import Journal, key_of
from tinyldm_course.grading.kernel import PR_SET_CHILD_SUBREAPER, control
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.marking import Graded, checks_of, grade, read_hidden, unmarked
from tinyldm_course.grading.processes import end_all, end_family, processes_of
from tinyldm_course.grading.right import RightAnswers
from tinyldm_course.grading.submissions import Submission

MAX_FAILURES = 3  # of the machine, one after the other


@dataclass(frozen=True)
class Terms:
    """The conditions under which a class is graded, the same for all.

    Attributes:
        hidden: the folder with the teacher's own checks, or None.
        seed: of the inputs.
    """

    isolation: Isolation
    bounds: Limits
    hidden: Path | None
    seed: int

    def facts(self) -> list:
        """All that a result depends on, beside the submission."""
        files = sorted(self.hidden.glob("*.py")) if self.hidden else []
        own = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
        return [self.isolation.statements(), asdict(self.bounds), own, self.seed]


def seed_of(submissions: list[Submission]) -> int:
    """A seed that the class itself determines: the same files give the same grades. Nobody knows it in advance."""
    whole = hashlib.sha256()
    for submission in submissions:
        for part in (submission.student, str(submission.lesson), *submission.cells):
            whole.update(len(part).to_bytes(8, "big") + part.encode(errors="surrogatepass"))
    return int.from_bytes(whole.digest()[:4], "big") >> 1


def grade_class(
    submissions: list[Submission],
    terms: Terms,
    jobs: int,
    progress: Callable[[], None] = lambda: None,
    journal: Journal | None = None,
) -> list[Graded]:
    """Grade all, in their order. What this machine could not grade is marked `again`.

    Args:
        jobs: submissions to grade at the same time.
        progress: called after each.
        journal: where results are kept, and where those of a run that was interrupted are found.

    Raises: OSError if this machine cannot run student code at all.
    """
    hidden = read_hidden(terms.hidden)
    facts = terms.facts()
    keys = [key_of(submission, *facts) for submission in submissions]
    known = journal.read() if journal else {}
    found = settled(submissions, keys, known, hidden)
    waiting: queue.Queue[int] = queue.Queue()
    for index in range(len(submissions)):
        if index in found:
            progress()
        else:
            waiting.put(index)
    failures = Failures()

    def serve() -> None:
        with Grader(terms) as grader:
            while not failures.hopeless():
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                checks = checks_of(submissions[index].lesson, hidden)
                try:
                    found[index] = grader.grade(submissions[index], checks)
                    if journal:
                        journal.append(keys[index], found[index])
                    failures.end()
                except Exception as error:  # the machine's fault, not a student's
                    found[index] = failures.add(submissions[index], checks, error)
                progress()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(max(1, min(jobs, waiting.qsize())))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures.last is not None and not known and failures.successes == 0:
        raise failures.last
    left = "this computer could not grade others before it"
    return [
        found[index] if index in found else failures.unfit(submission, checks_of(submission.lesson, hidden), left)
        for index, submission in enumerate(submissions)
    ]


def settled(
    submissions: list[Submission], keys: list[str], known: dict[str, Graded], hidden: dict
) -> dict[int, Graded]:
    """Index -> the result of what needs no grading: known from an earlier run, or not readable."""
    found = {index: known[key] for index, key in enumerate(keys) if key in known}
    for index, submission in enumerate(submissions):
        if submission.problem:
            found[index] = unmarked(submission, checks_of(submission.lesson, hidden), submission.problem)
    return found


@dataclass
class Failures:
    """What this machine failed at. A student who was unlucky is graded again; a machine that is broken stops.

    Attributes:
        last: the latest error; None if nothing failed.
        successes: how often it did not fail.
    """

    last: Exception | None = None
    successes: int = 0
    _in_a_row: int = 0

    def add(self, submission: Submission, checks: dict, error: Exception) -> Graded:
        """Note a failure; the result that stands for it."""
        self.last, self._in_a_row = error, self._in_a_row + 1
        return self.unfit(submission, checks, f"this computer could not grade it ({error})")

    def end(self) -> None:
        """Something worked."""
        self.successes, self._in_a_row = self.successes + 1, 0

    def hopeless(self) -> bool:
        """Does nothing work any more?"""
        return self._in_a_row >= MAX_FAILURES

    @staticmethod
    def unfit(submission: Submission, checks: dict, why: str) -> Graded:
        """The result of what was not graded, and should be."""
        return replace(unmarked(submission, checks, f"not graded: {why}; run the same command again"), again=True)


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
        """Grade one. Raises OSError if this machine cannot run student code at all."""
        if self._process is None:
            self._start()
        bounds = self.terms.bounds
        try:
            self._connection.send(submission)
            # Allow extra time beyond the submission's limit, for judging and for a slow start.
            if not self._connection.poll(2 * bounds.submission + 2 * bounds.start):
                raise EOFError
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._stop()
            return unmarked(
                submission,
                checks,
                "the process that graded it was killed or did not finish; inspect this submission manually",
            )
        if isinstance(answer, str):
            raise OSError(answer)
        return answer

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share this process's memory
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self.terms), daemon=True)
        self._process.start()
        theirs.close()

    def _stop(self) -> None:
        if self._process is not None:
            number = self._process.pid
            end_family(number)
            self._process.join()
            if self.terms.isolation.other_user:  # where it was ended by somebody else, they have lost their parent
                end_all(lambda: processes_of(ANOTHER_USER + number))
            self._connection.close()
            self._process = self._connection = None


def work(connection: Connection, terms: Terms) -> None:
    """What a grader process does: submissions in, `Graded` out, until nobody asks any more."""
    import torch

    torch.set_num_threads(1)
    control(PR_SET_CHILD_SUBREAPER, 1)
    hidden, answers = read_hidden(terms.hidden), RightAnswers()
    while True:
        try:
            submission = connection.recv()
        except EOFError:
            return
        checks = checks_of(submission.lesson, hidden)
        try:
            answer = grade(submission, checks, terms.isolation, terms.bounds, terms.seed, answers)
        except OSError as error:
            answer = str(error)
        except Exception as error:
            answer = unmarked(
                submission, checks, f"the grader failed on it ({type(error).__name__}: {error}); please report this"
            )
        connection.send(answer)
