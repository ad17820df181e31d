"""Grades as learning platforms import them: a table of `tinyldm grade` as a CSV for Canvas or Moodle.

Both platforms hand out a list of the students (Canvas: Grades, Export; Moodle: the assignment's grading worksheet) and
take it back with grades in it. With that list, `roster`, students are found by any name or number in it. Without it,
they are known by the numbers that the platform itself wrote into the names of a download:

    Canvas    doejane_1234_567890_02.ipynb            student "doejane_1234", user 1234
    Moodle    Jane Doe_4321_assignsubmission_file_    student "Jane Doe_4321", participant 4321
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

CANVAS = (
    "Student",
    "ID",
    "SIS User ID",
    "SIS Login ID",
    "Section",
)  # the columns before the assignments, in this order
MOODLE = ("Identifier", "Full name", "Grade", "Last modified (grade)", "Feedback comments")
NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>\d+)")  # how `collecting.py` calls them


@dataclass(frozen=True)
class Row:
    """A line of the table. feedback: what could not be graded."""

    student: str
    points: str
    out_of: str
    feedback: str


def read_table(file: Path) -> list[Row]:
    """The lines of a table of `tinyldm grade`. Raises ValueError where it is none."""
    rows = read_csv(file)
    if not rows or not {"student", "points", "out of", "look at"} <= set(rows[0]):
        raise ValueError(f"{file} is not a table of `tinyldm grade`")
    return [Row(row["student"], row["points"], row["out of"], row["look at"]) for row in rows]


def read_csv(file: Path) -> list[dict[str, str]]:
    """The lines of a CSV, by the names of their columns. Raises ValueError."""
    try:
        lines = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a CSV: {error}") from None
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    return [dict(zip(lines[0], line + [""] * len(lines[0]))) for line in lines[1:]]


def written(rows: list[list[str]]) -> str:
    """A CSV of these lines."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


# ── Who is who ───────────────────────────────────────────────────────────────────────────────────────


def words(text: str) -> str:
    """A name as it is compared: its letters and digits, in lower case, its words in order of the alphabet."""
    return " ".join(sorted(re.findall(r"\w+", text.lower().replace("_", " "))))


def match(rows: list[Row], roster: list[dict[str, str]], columns: tuple[str, ...]) -> dict[int, Row]:
    """Index in the roster -> the student's line. A name that two students have is matched to none of them."""
    known: dict[str, set[int]] = {}
    for index, line in enumerate(roster):
        for column in columns:
            value = re.sub(r"^Participant ", "", line.get(column, "").strip())  # which Moodle puts before its numbers
            for key in {words(value), words(value.partition("@")[0])}:
                known.setdefault(key, set()).add(index)
    found = {}
    for row in rows:
        numbered = NUMBERED.fullmatch(row.student)
        names = [row.student, *([numbered["number"], numbered["name"]] if numbered else [])]
        candidates = [known[words(name)] for name in names if words(name) and len(known.get(words(name), ())) == 1]
        if candidates:
            found[next(iter(candidates[0]))] = row
    return found


def unmatched(rows: list[Row], found: dict[int, Row]) -> list[str]:
    """Students who are not in the roster."""
    taken = {row.student for row in found.values()}
    return [row.student for row in rows if row.student not in taken]


# ── Canvas ───────────────────────────────────────────────────────────────────────────────────────────


def canvas(rows: list[Row], roster: list[dict[str, str]] | None, title: str) -> tuple[str, list[str]]:
    """A CSV for Grades, Import in Canvas; and the students who have no line in it.

    title: of the assignment, as in the header of an export ("Lesson 02 (4711)") for one that exists; otherwise Canvas
        offers to create it.
    """
    points = [["    Points Possible", *[""] * (len(CANVAS) - 1), rows[0].out_of if rows else ""]]
    if roster is not None:
        students = [line for line in roster if "Points Possible" not in line.get("Student", "")]
        found = match(rows, students, ("ID", "SIS User ID", "SIS Login ID", "Student"))
        lines = [
            [*(students[index].get(name, "") for name in CANVAS), row.points] for index, row in sorted(found.items())
        ]
        return written([[*CANVAS, title], *points, *lines]), unmatched(rows, found)
    matches = [(row, NUMBERED.fullmatch(row.student)) for row in rows]
    lines = [[one["name"], one["number"], "", "", "", row.points] for row, one in matches if one]
    return written([[*CANVAS, title], *points, *lines]), [row.student for row, one in matches if not one]


# ── Moodle ───────────────────────────────────────────────────────────────────────────────────────────


def moodle(rows: list[Row], roster: list[dict[str, str]] | None) -> tuple[str, list[str]]:
    """A grading worksheet for an assignment in Moodle; and the students who have no line in it.

    With a worksheet of Moodle's as roster, all of its columns stay as they are but grade and feedback.
    """
    if roster is not None:
        found = match(rows, roster, ("Identifier", "ID number", "Email address", "Username", "Full name"))
        columns = list(roster[0]) if roster else []
        columns += [name for name in ("Grade", "Feedback comments") if name not in columns]
        lines = []
        for index, row in sorted(found.items()):
            filled = roster[index] | {"Grade": row.points, "Feedback comments": row.feedback}
            lines.append([filled[name] for name in columns])
        return written([columns, *lines]), unmatched(rows, found)
    matches = [(row, NUMBERED.fullmatch(row.student)) for row in rows]
    lines = [[f"Participant {one['number']}", one["name"], row.points, "", row.feedback] for row, one in matches if one]
    return written([list(MOODLE), *lines]), [row.student for row, one in matches if not one]
