"""One submission: run it, judge it, and say what a teacher should look at (in a process of its own: classroom.py)."""

import importlib.util
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tinyldm_course.checks.calls import Error
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.feedback import Feedback
from tinyldm_course.checks.pipeline import Result
from tinyldm_course.exercises import numbers, of_lesson
from tinyldm_course.grading import wire
from tinyldm_course.grading.isolation import PACKAGES, Isolation
from tinyldm_course.grading.judging import ADDRESS, judged, tells_of_devices
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.right import RightAnswers
from tinyldm_course.grading.sandbox import Ended, ask_once
from tinyldm_course.grading.session import Session
from tinyldm_course.grading.source import Notebook, without_magics
from tinyldm_course.grading.submissions import Submission, cells_of

READING = Limits(memory=2**30, processes=4, processor=20, start=120.0)  # for a text of 1 MB, where seconds are enough
POINTS = 10  # for each star, as in the notebooks' own metadata
SOLUTIONS = PACKAGES[0].parent / "exercises" / "solutions"


@dataclass(frozen=True)
class Mark:
    """What one exercise got.

    Attributes:
        diagnosis: why it got nothing, a name of `diagnoses.py` or of the exercise; "" if it passed.
        page: the feedback, as HTML.
        look_at: what the teacher should see: borrowed answers, unusual tools, forged replies.
    """

    exercise: str
    title: str
    points: int
    out_of: int
    diagnosis: str
    page: str
    look_at: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """What one submission got.

    Attributes:
        problem: why nothing of it was graded; "" if it was.
        cell_errors: (number of the cell, what went wrong in it).
        log: what the student's code printed, cut.
        again: was it this computer that failed? Then it is graded by the next run.
        look_at: what the teacher should see in the notebook as a whole: unusual tools, code that cannot be read.
        prints: exercise -> what `similarity.py` compares.
    """

    student: str
    lesson: int
    marks: tuple[Mark, ...]
    problem: str = ""
    cell_errors: tuple[tuple[int, str], ...] = ()
    log: bytes = b""
    again: bool = False
    look_at: tuple[str, ...] = ()
    prints: dict[str, list[int]] = field(default_factory=dict)


# ── Exercises ────────────────────────────────────────────────────────────────────────────────────────


def read_hidden(folder: Path | None) -> dict[int, tuple[Exercise, ...]]:
    """The teacher's own checks: `lesson_NN.py` in a folder, with a tuple `EXERCISES`.

    An exercise of the same name as one of the course adds its inputs to that one: both must pass. One of a new name
    is one more exercise. Raises ValueError that names the offending file.
    """
    found = {}
    if folder is not None and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected one that contains lesson_NN.py")
    for file in sorted(folder.glob("*.py")) if folder else ():
        match = re.fullmatch(r"lesson_(\d\d)", file.stem)
        if match is None:
            raise ValueError(f"{file} is not named lesson_NN.py; put helper functions into that lesson's file")
        spec = importlib.util.spec_from_file_location(f"hidden_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            found[int(match[1])] = tuple(module.EXERCISES)
            for exercise in found[int(match[1])]:
                require_sendable(exercise)
        except Exception as error:
            raise ValueError(f"{file} does not load: {type(error).__name__}: {error}") from error
    if folder is not None and not found:
        raise ValueError(f"{folder} contains no lesson_NN.py")
    return found


def require_sendable(exercise: Exercise) -> None:
    """Can the calls of an exercise go to another process? Raises ValueError or TypeError that says what cannot."""
    for call in exercise.cases(torch.Generator().manual_seed(0)):
        wire.frame({"call": call})


def checks_of(lesson: int, hidden: dict[int, tuple[Exercise, ...]]) -> dict[str, list[Exercise]]:
    """Name of an exercise -> the checks that it must pass: the course's, then the teacher's."""
    checks: dict[str, list[Exercise]] = {}
    own = of_lesson(lesson) if lesson in numbers() else ()
    for exercise in (*own, *hidden.get(lesson, ())):
        checks.setdefault(exercise.name, []).append(exercise)
    return checks


# ── A submission ─────────────────────────────────────────────────────────────────────────────────────


def grade(
    submission: Submission,
    checks: dict[str, list[Exercise]],
    isolation: Isolation,
    bounds: Limits,
    seed: int,
    answers: RightAnswers,
) -> Graded:
    """Mark all exercises of one submission. Only a broken machine raises.

    answers: what the course's answers gave to other submissions.
    """
    problem = submission.problem or ("" if checks else f"lesson {submission.lesson:02d} has no exercises")
    if problem:
        return unmarked(submission, checks, problem)
    try:
        text = read_source(submission.cells, list(checks), isolation)
    except Ended as error:
        return unmarked(submission, checks, f"its code could not be read: {error}; inspect it manually")
    with Session(tuple(text["cells"]), isolation, bounds) as session:
        borrowed = {name: without_usual(text["borrowed"][name], submission.lesson, name) for name in checks}
        marks = tuple(
            mark(name, exercises, borrowed[name], submission, session, seed, answers)
            for name, exercises in checks.items()
        )
    errors = tuple((number, in_words(error)) for number, error in sorted(session.cell_errors.items()))
    told = {path for paths in text["borrowed"].values() for path in paths}
    look_at = [f"uses {one} somewhere" for one in text["unusual"] if one not in told | allowed(submission.lesson)]
    look_at += [f"cell {number} is too large or too deeply nested to be inspected" for number in text["unread"]]
    log = bytes(session.log)
    return Graded(
        submission.student, submission.lesson, marks, "", errors, log, look_at=tuple(look_at), prints=text["prints"]
    )


def read_source(cells: tuple[str, ...], exercises: list[str], isolation: Isolation) -> dict:
    """What `source.read` says of a notebook. It runs nothing, but parses; so a process of its own does it.

    Raises: Ended if that process did not finish, or sent what no honest one would.
    """
    question = {"cells": cells, "exercises": exercises}
    text = ask_once(isolation, READING, "tinyldm_course.grading.source", question)
    if not is_reading(text, cells, exercises):
        raise Ended("the process that read it sent something else")
    return text


def is_reading(text: Any, cells: tuple[str, ...], exercises: list[str]) -> bool:
    """Has it the form of what `source.read` returns?"""

    def strings(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    def numbers(value: Any) -> bool:
        return isinstance(value, list) and all(type(item) is int for item in value)

    return (
        isinstance(text, dict)
        and text.keys() == {"cells", "unread", "borrowed", "unusual", "prints"}
        and (strings(text["cells"]) and len(text["cells"]) == len(cells) and strings(text["unusual"]))
        and numbers(text["unread"])
        and all(isinstance(text[part], dict) and list(text[part]) == exercises for part in ("borrowed", "prints"))
        and all(map(strings, text["borrowed"].values()))
        and all(map(numbers, text["prints"].values()))
    )


def without_usual(paths: list[str], lesson: int, name: str) -> list[str]:
    """What an answer uses, without what the course's own does."""
    return [path for path in paths if path not in allowed(lesson, name)]


def unmarked(submission: Submission, checks: dict[str, list[Exercise]], problem: str) -> Graded:
    """What a submission gets that could not be graded."""
    marks = tuple(
        Mark(name, all_of[0].title, 0, POINTS * all_of[0].stars, "not-graded", "") for name, all_of in checks.items()
    )
    return Graded(submission.student, submission.lesson, marks, problem)


def mark(
    name: str,
    exercises: list[Exercise],
    borrowed: list[str],
    submission: Submission,
    session: Session,
    seed: int,
    answers: RightAnswers,
) -> Mark:
    """Judge one exercise by all of its checks. borrowed: what its answer uses that deserves a glance."""
    usual = allowed(submission.lesson, name)
    look_at = [f"uses {one}" for one in borrowed]
    if not session.holds(name):
        result, exercise = missing(name, session), exercises[0]
    else:
        for exercise in exercises:
            result, strange = judged(exercise, session, seed, answers)
            look_at += strange
            if not result.passed:
                break
        known = {*usual, *(note.removeprefix("uses ") for note in look_at)}
        methods = tuple(f"{one}." for one in known)  # of a class that may be used, or was already reported
        look_at += [
            f"called {one}" for one in session.used.get(name, ()) if one not in known and not one.startswith(methods)
        ]
    if name in session.undecided and tells_of_devices(exercise, seed, answers):
        look_at.append(f"could not be tried on another device: {session.undecided[name]}")
    look_at += ["sent forged replies to the grader"] * session.forged
    title, points = exercises[0].title, POINTS * exercises[0].stars
    page = ADDRESS.sub("0x…", Feedback(exercise, result)._repr_html_())
    return Mark(name, title, points if result.passed else 0, points, result.diagnosis, page, tuple(look_at))


def missing(name: str, session: Session) -> Result:
    """There is no answer of that name: say which cell should have defined it and failed."""
    message = f"There is no function or value {name} in the notebook."
    number = next(
        (
            number
            for number, cell in enumerate(session.cells, 1)
            if number in session.cell_errors and re.search(rf"\b{re.escape(name)}\b", cell)
        ),
        None,
    )
    if number is None:
        return Result(False, "missing", message)
    return Result(
        False, "missing", f"{message} Cell {number}, which mentions it, failed.", error=session.cell_errors[number]
    )


def in_words(error: Error) -> str:
    """One line about an error in a cell."""
    where = f"line {error.line}: {error.code} · " if error.line else ""
    return ADDRESS.sub("0x…", f"{where}{error.type}: {error.message}")


@cache
def allowed(lesson: int, name: str = "") -> frozenset[str]:
    """What the course's own solution of an exercise (or of all) uses: not flagged. Empty without a checkout."""
    found: set[str] = set()
    for file in sorted(SOLUTIONS.glob(f"{lesson:02d}_*.ipynb")):
        notebook = Notebook([without_magics(cell) for cell in cells_of(file)])
        found |= set(notebook.borrowed(name) if name else notebook.unusual())
    return frozenset(found)
