"""What grading found, as a CSV for the teacher and a page for each student. Nothing in them depends on the clock."""

import csv
import io
from collections.abc import Iterable
from html import escape
from pathlib import Path

from tinyldm.formats.files import write_bytes
from tinyldm_course.grading.classroom import Terms
from tinyldm_course.grading.marking import POINTS, Graded, Mark, checks_of, read_hidden

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}
h1,h2{line-height:1.2}table{border-collapse:collapse}
th,td{text-align:left;padding:.15em .8em .15em 0;vertical-align:top}
.look{border-left:6px solid #D55E00;padding:.4em 1em}.small{color:#555;font-size:.9em}code{white-space:pre-wrap}"""


def write(out: Path, graded: list[Graded], terms: Terms) -> Path:
    """Write the CSV, and beside it a folder of its name with the students' pages and what their code printed.

    Returns: the folder. Raises: OSError.
    """
    hidden = read_hidden(terms.hidden)
    exercises = {
        name: POINTS * checks[0].stars
        for lesson in sorted({one.lesson for one in graded})
        for name, checks in checks_of(lesson, hidden).items()
    }
    folder = out.with_suffix("")
    (folder / "printed").mkdir(parents=True, exist_ok=True)
    for student, lessons in by_student(graded).items():
        absent = sorted({one.lesson for one in graded} - {one.lesson for one in lessons})
        text = page(student, lessons, absent, sum(exercises.values()), terms)
        write_bytes(folder / f"{student}.html", text.encode(errors="backslashreplace"))
        for one in lessons:
            if one.log:
                write_bytes(folder / "printed" / f"{student}_{one.lesson:02d}.txt", one.log)
    write_bytes(out, table(graded, exercises).encode(errors="backslashreplace"))
    return folder


def by_student(graded: Iterable[Graded]) -> dict[str, list[Graded]]:
    """Student -> what was found in each of the lessons, in order."""
    found: dict[str, list[Graded]] = {}
    for one in sorted(graded, key=lambda one: (one.student, one.lesson)):
        found.setdefault(one.student, []).append(one)
    return found


def table(graded: list[Graded], exercises: dict[str, int]) -> str:
    """The CSV: a line for each student, a column for each exercise of the lessons that anybody handed in.

    exercises: name -> points that it gives. What was not handed in is empty, and counts as nothing.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", "points", "out of", *exercises, "look at"])
    for student, lessons in by_student(graded).items():
        marks = {mark.exercise: mark for one in lessons for mark in one.marks}
        got = [marks[name].points if name in marks else "" for name in exercises]
        notes = [f"{one.lesson:02d}: {one.problem}" for one in lessons if one.problem]
        notes += [f"{mark.exercise}: {note}" for mark in marks.values() for note in mark.look_at]
        rows.writerow(
            [
                inert(student),
                sum(point for point in got if point),
                sum(exercises.values()),
                *got,
                inert("; ".join(notes)),
            ]
        )
    return text.getvalue()


def inert(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def page(student: str, lessons: list[Graded], absent: list[int], out_of: int, terms: Terms) -> str:
    """The report for one student, complete in one HTML file.

    absent: lessons that others handed in; out_of: points that the whole class could get.
    """
    points = sum(mark.points for one in lessons for mark in one.marks)
    body = [
        f"<h1>{escape(student)}: {points} of {out_of} points</h1>",
        *map(_lesson, lessons),
        *(f"<h2>Lesson {lesson:02d}</h2><p>Not handed in.</p>" for lesson in absent),
        "<h2>How this was graded</h2>",
        f'<p class="small">Inputs drawn with seed {terms.seed}. '
        + " ".join(map(escape, terms.isolation.statements()))
        + "</p>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(student)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _lesson(one: Graded) -> str:
    parts = [f"<h2>Lesson {one.lesson:02d}</h2>"]
    if one.problem:
        parts.append(f'<p class="look">{escape(one.problem)}</p>')
    rows = "".join(
        f"<tr><td>{escape(mark.title)}</td><td>{mark.points} of {mark.out_of}</td>"
        f"<td>{escape(mark.diagnosis)}</td></tr>"
        for mark in one.marks
    )
    parts.append(f"<table><tr><th>Exercise</th><th>Points</th><th>Diagnosis</th></tr>{rows}</table>")
    if one.cell_errors:
        rows = "".join(
            f"<tr><td>{number}</td><td><code>{escape(error)}</code></td></tr>" for number, error in one.cell_errors
        )
        parts.append(f"<h3>Cells that did not run</h3><table><tr><th>Cell</th><th>Error</th></tr>{rows}</table>")
    return "\n".join(parts + [_exercise(mark) for mark in one.marks if mark.page])


def _exercise(mark: Mark) -> str:
    notes = "".join(f"<li><code>{escape(note)}</code></li>" for note in mark.look_at)
    look_at = f'<div class="look">For the teacher to look at:<ul>{notes}</ul></div>' if notes else ""
    return f"<h3>{escape(mark.title)} <code>{escape(mark.exercise)}</code></h3>{look_at}\n{mark.page}"
