"""Which answers are built alike: a list for the teacher to read, never a verdict. No points depend on it.

    grades/similar.csv    "SpatialTransformer", "ada", "bob", "94 %"

Compared are the rows of `source.GRAM` tokens of two answers, whatever their names, comments and texts are. Rows that
the course's own answer has too, or that much of the class has, tell nothing and are left out; so short answers, which
cannot help being alike, do not appear.
"""

import csv
import inspect
import io
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinyldm.formats.files import write_bytes
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.exercises import lessons
from tinyldm_course.grading.marking import Graded
from tinyldm_course.grading.reports import csv_safe
from tinyldm_course.grading.source import Notebook

COURSE = "the course's own answer"
MIN_ROWS = 12  # that an answer must have left to be compared
MIN_SHARE = 0.8  # of the shorter answer's rows
MAX_ALIKE = 5  # students, or a quarter of the class: what more of them write is usual


@dataclass(frozen=True)
class Pair:
    """Two answers to an exercise. share: how much of the shorter one is in the other, from 0 to 1."""

    exercise: str
    one: str
    other: str
    share: float


def write(file: Path, graded: list[Graded]) -> None:
    """Write the list."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows.writerow(["exercise", "student", "built like that of", "share of the shorter one"])
    for pair in pairs(graded):
        rows.writerow([csv_safe(pair.exercise), csv_safe(pair.one), csv_safe(pair.other), f"{100 * pair.share:.0f} %"])
    write_bytes(file, text.getvalue().encode(errors="backslashreplace"))


def pairs(graded: Iterable[Graded]) -> list[Pair]:
    """All pairs that are alike, by exercise; those that are most alike first."""
    answers: dict[str, dict[str, set[int]]] = {}
    for one in graded:
        for exercise, rows in one.prints.items():
            answers.setdefault(exercise, {})[one.student] = set(rows)
    return [pair for exercise, each in sorted(answers.items()) for pair in alike(exercise, each)]


def alike(exercise: str, answers: dict[str, set[int]]) -> list[Pair]:
    """The pairs of one exercise."""
    own = prints_of_the_course().get(exercise, set())
    found = [
        Pair(exercise, student, COURSE, share)
        for student, rows in answers.items()
        if (share := overlap(rows, own)) >= MIN_SHARE
    ]
    counts = Counter(row for rows in answers.values() for row in rows)
    usual = {row for row, count in counts.items() if count > max(MAX_ALIKE, len(answers) // 4)} | own
    rest = {student: rows - usual for student, rows in sorted(answers.items())}
    long_enough = [(student, rows) for student, rows in rest.items() if len(rows) >= MIN_ROWS]
    for (one, rows), (other, others) in itertools.combinations(long_enough, 2):
        if (share := overlap(rows, others)) >= MIN_SHARE:
            found.append(Pair(exercise, one, other, share))
    return sorted(found, key=lambda pair: (-pair.share, pair.one, pair.other))


def overlap(rows: set[int], others: set[int]) -> float:
    """How much of the smaller set is in the other; 0 where one is too small to tell."""
    smaller = min(len(rows), len(others))
    return len(rows & others) / smaller if smaller >= MIN_ROWS else 0.0


@cache
def prints_of_the_course() -> dict[str, set[int]]:
    """Exercise -> the rows of the course's own answer."""
    return {exercise.name: prints_of(exercise) for each in lessons().values() for exercise in each}


def prints_of(exercise: Exercise) -> set[int]:
    """The rows of an exercise's answer and of what it uses in its file."""
    file = inspect.getsourcefile(exercise.answer)
    if file is None:
        return set()
    return set(Notebook([Path(file).read_text(encoding="utf-8")]).prints(exercise.answer.__name__))
