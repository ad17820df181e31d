"""Results as Gradescope shows them: `results.json`, by its autograder specifications."""

import json
from pathlib import Path
from typing import Any

from tinyldm.formats.files import write_bytes
from tinyldm_course.grading.marking import Graded
from tinyldm_course.grading.reports import few, notes_on
from tinyldm_course.grading.submissions import WHOLE


def write(file: Path, graded: list[Graded]) -> None:
    """Write what one student got. Raises ValueError where there are several, OSError."""
    students = sorted({one.student for one in graded})
    if len(students) != 1:
        raise ValueError(f"{file} is for one student; the folder contains {len(students)}: {', '.join(students[:5])}")
    write_bytes(file, (json.dumps(results(graded), indent=1) + "\n").encode())


def results(graded: list[Graded]) -> dict[str, Any]:
    """A test for each exercise, which the student sees; and one that only the teacher sees, where there is a reason."""
    tests = [
        {
            "name": f"{mark.title} ({mark.exercise})",
            "score": mark.points,
            "max_score": mark.out_of,
            "status": "passed" if mark.points else "failed",
            "output": mark.page,
            "output_format": "html",
            "visibility": "visible",
        }
        for one in graded
        for mark in one.marks
    ]
    look_at = [note for note in notes_on(graded) if note not in problems(graded)]
    if look_at:
        text = "\n".join(few(look_at))
        tests.append({"name": "For the teacher to review", "output": text, "visibility": "hidden"})
    return {
        "score": sum(mark.points for one in graded for mark in one.marks),
        "output": "\n".join(problems(graded) + cell_errors(graded)),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def problems(graded: list[Graded]) -> list[str]:
    """What could not be graded, and why."""
    return [one.problem if one.lesson == WHOLE else f"{one.lesson:02d}: {one.problem}" for one in graded if one.problem]


def cell_errors(graded: list[Graded]) -> list[str]:
    """Which cells did not run."""
    return [f"Cell {number} did not run: {error}" for one in graded for number, error in one.cell_errors]
