"""The course's commands, `tinyldm progress` and `tinyldm grade`: the entry point "tinyldm.commands" brings them."""

import argparse
import os
from pathlib import Path

from tinyldm.cli.main import Command, Parser, say, whole_number

# ── progress ─────────────────────────────────────────────────────────────────────────────────────────


def add_progress(parser: Parser) -> None:
    """`progress` has no options."""


def run_progress(options: argparse.Namespace) -> None:
    """How far the learner is with the exercises: a bar for each lesson."""
    from tinyldm_course.checks import progress
    from tinyldm_course.exercises import lesson, numbers

    course = {number: (lesson(number).TITLE, lesson(number).NAMES) for number in numbers()}
    print("\n".join(progress.in_words(progress.read(), course)))
    print(f"kept in {progress.place()}")


# ── grade ────────────────────────────────────────────────────────────────────────────────────────────


def add_grade(parser: Parser) -> None:
    """The options of `grade`."""
    parser.add_argument("folder", type=Path, help="holds <student>/NN.ipynb or NN.py, NN the number of the lesson")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("grades.csv"),
        metavar="FILE",
        help="the table; a folder of its name gets a page for each student (default: %(default)s)",
    )
    parser.add_argument(
        "--hidden", type=Path, metavar="DIR", help="your own checks, lesson_NN.py; exercises/README.md shows one"
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(1, 600),
        default=10,
        metavar="N",
        help="for a cell, and for an exercise (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=whole_number(1, 256),
        metavar="N",
        help="submissions at the same time (default: one for each processor)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**31 - 1),
        metavar="N",
        help="of the inputs (default: drawn from the submissions, so that nobody knew it)",
    )


def run_grade(options: argparse.Namespace) -> None:
    """Grade a class: a table, and a page for each student."""
    if os.name != "posix":
        raise ValueError("student code can be held on Linux and macOS only; on Windows, grade inside WSL")
    from tqdm import tqdm

    from tinyldm.data import pictures
    from tinyldm_course.grading import reports
    from tinyldm_course.grading.classroom import Terms, grade_class, seed_of
    from tinyldm_course.grading.isolation import best_isolation
    from tinyldm_course.grading.limits import Limits
    from tinyldm_course.grading.submissions import read_class

    pictures.require_place(options.out, (".csv",))
    submissions = read_class(options.folder)
    seed = seed_of(submissions) if options.seed is None else options.seed
    terms = Terms(best_isolation(), Limits(seconds=options.seconds), options.hidden, seed)
    for statement in terms.isolation.statements():
        say(statement)
    with tqdm(total=len(submissions), desc="grading", unit="file", delay=0.2) as bar:
        graded = grade_class(submissions, terms, options.processes or os.cpu_count() or 1, bar.update)
    pages = reports.write(options.out, graded, terms)
    print(
        f"wrote {options.out} and the pages in {pages}: {len(submissions)} submissions of "
        f"{len({one.student for one in submissions})} students, seed {seed}"
    )


COMMANDS = {
    "progress": Command("show how far you are with the exercises", ("tinyldm progress",), add_progress, run_progress),
    "grade": Command(
        "grade a folder of submissions to the exercises",
        ("tinyldm grade class --out grades.csv", "tinyldm grade class --hidden my_checks --processes 4"),
        add_grade,
        run_grade,
    ),
}
