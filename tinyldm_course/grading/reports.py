"""What grading found, as a CSV for the teacher and a page for each student. Nothing in them depends on the clock."""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from tinyldm.formats.files import write_bytes
from tinyldm_course.grading.classroom import Terms
from tinyldm_course.grading.marking import POINTS, Graded, Mark, checks_of, read_hidden
from tinyldm_course.grading.submissions import WHOLE

MAX_NOTES = 30  # of a student in the table, of an exercise on a page
MAX_NOTE = 200  # characters
MAX_FILE_NAME = 120  # bytes; file systems take 255, with the ending and ".partial"
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|", re.IGNORECASE)  # by Windows; and no name at all

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}
h1,h2{line-height:1.2}table{border-collapse:collapse}
th,td{text-align:left;padding:.15em .8em .15em 0;vertical-align:top}
.look{border-left:6px solid #D55E00;padding:.4em 1em}.small{color:#555;font-size:.9em}code{white-space:pre-wrap}"""


def write(out: Path, graded: list[Graded], terms: Terms) -> Path:
    """Write the CSV, then, beside it, a folder of the same name with the students' pages and what their code printed.

    Returns: the folder. Raises: OSError that says how many pages could not be written; the others are.
    """
    hidden = read_hidden(terms.hidden)
    exercises = {
        name: POINTS * checks[0].stars
        for lesson in sorted({one.lesson for one in graded})
        for name, checks in checks_of(lesson, hidden).items()
    }
    names = page_names({one.student for one in graded})
    write_bytes(out, table(graded, exercises, names).encode(errors="backslashreplace"))
    folder = out.with_suffix("")
    (folder / "printed").mkdir(parents=True, exist_ok=True)
    failures: list[OSError] = []
    for student, lessons in by_student(graded).items():
        absent = sorted({one.lesson for one in graded} - {one.lesson for one in lessons} - {WHOLE})
        text = page(student, lessons, absent, sum(exercises.values()), terms)
        try:
            write_bytes(folder / f"{names[student]}.html", text.encode(errors="backslashreplace"))
            for one in lessons:
                if one.log:
                    write_bytes(folder / "printed" / f"{names[student]}_{one.lesson:02d}.txt", plain(one.log))
        except OSError as error:
            failures.append(error)
    if failures:
        raise OSError(f"{out} is written, but {len(failures)} pages are not: {failures[0]}")
    return folder


def page_names(students: Iterable[str]) -> dict[str, str]:
    """Student -> a short name for files that every file system takes, different for each of them."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for student in sorted(students):
        name = "".join(letter if letter.isalnum() or letter in " ._-~" else "_" for letter in student)
        name = name.encode()[:MAX_FILE_NAME].decode(errors="ignore").strip(" .")
        if name != student or name.lower() in taken or RESERVED.fullmatch(name):
            name = f"{name}~{hashlib.sha256(student.encode(errors='surrogatepass')).hexdigest()[:8]}"
        found[student] = name
        taken.add(name.lower())
    return found


def plain(printed: bytes) -> bytes:
    """What was printed, without the characters that steer a terminal."""
    text = printed.decode(errors="replace")
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text).encode()


def by_student(graded: Iterable[Graded]) -> dict[str, list[Graded]]:
    """Student -> what was found in each of the lessons, in order."""
    found: dict[str, list[Graded]] = {}
    for one in sorted(graded, key=lambda one: (one.student, one.lesson)):
        found.setdefault(one.student, []).append(one)
    return found


def table(graded: list[Graded], exercises: dict[str, int], pages: dict[str, str]) -> str:
    """The CSV: a row for each student, a column for each exercise of the lessons that anybody handed in.

    exercises: name -> points that it gives. What was not handed in is empty, and counts as 0.
    pages: student -> name of the page.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows.writerow(["student", "points", "out of", *exercises, "look at", "page"])
    for student, lessons in by_student(graded).items():
        marks = {mark.exercise: mark for one in lessons for mark in one.marks}
        got = [marks[name].points if name in marks else "" for name in exercises]
        points = sum(marks[name].points for name in exercises if name in marks)
        look_at = csv_safe(" | ".join(few(notes_on(lessons))))
        rows.writerow(
            [csv_safe(student), points, sum(exercises.values()), *got, look_at, csv_safe(f"{pages[student]}.html")]
        )
    return text.getvalue()


def notes_on(lessons: list[Graded]) -> list[str]:
    """What the teacher should review: what could not be graded, then what is unusual."""
    problems = [one.problem if one.lesson == WHOLE else f"{one.lesson:02d}: {one.problem}" for one in lessons]
    marks = [mark for one in lessons for mark in one.marks]
    found = [problem for problem, one in zip(problems, lessons) if one.problem]
    found += [f"{one.lesson:02d}: {note}" for one in lessons for note in one.look_at]
    return found + [f"{mark.exercise}: {note}" for mark in marks for note in mark.look_at]


def few(notes: Sequence[str]) -> list[str]:
    """The first notes, each of bounded length; and how many are left out."""
    cut = [note if len(note) <= MAX_NOTE else f"{note[:MAX_NOTE]}…" for note in notes[:MAX_NOTES]]
    return cut + [f"and {len(notes) - MAX_NOTES:,} more"] * (len(notes) > MAX_NOTES)


def csv_safe(text: str) -> str:
    """Text that no spreadsheet will treat as a formula, and no terminal as a command.

    Where ";" is the separator, a spreadsheet would begin a cell at each of them, quoted or not.
    """
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).replace(";", ",").split())
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
    parts = ["<h2>What was handed in</h2>" if one.lesson == WHOLE else f"<h2>Lesson {one.lesson:02d}</h2>"]
    if one.problem:
        parts.append(f'<p class="look">{escape(one.problem)}</p>')
    if not one.marks:
        return parts[0] + "".join(parts[1:])
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
    notes = "".join(f"<li><code>{escape(note)}</code></li>" for note in few(mark.look_at))
    look_at = f'<div class="look">For the teacher to review:<ul>{notes}</ul></div>' if notes else ""
    return f"<h3>{escape(mark.title)} <code>{escape(mark.exercise)}</code></h3>{look_at}\n{mark.page}"
