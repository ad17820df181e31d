"""The course's commands, `tinyldm progress` and `tinyldm grade`: the entry point "tinyldm.commands" brings them."""

import argparse
import os
from pathlib import Path

from tinyldm import threads
from tinyldm.cli.command import Command, Parser
from tinyldm.cli.options import whole_number
from tinyldm.cli.output import require_writable, to_stderr

# ── progress ─────────────────────────────────────────────────────────────────────────────────────────


def add_progress(parser: Parser) -> None:
    """`progress` has no options."""


def run_progress(options: argparse.Namespace) -> None:
    """Show how many exercises are solved: a bar for each lesson."""
    from tinyldm_course.checks import progress
    from tinyldm_course.exercises import lesson, numbers

    file = progress.place()
    course = {number: (lesson(number).TITLE, lesson(number).NAMES) for number in numbers()}
    print("\n".join(progress.in_words(progress.read(), course)))
    print(f"kept in {file}")


# ── grade ────────────────────────────────────────────────────────────────────────────────────────────


def add_grade(parser: Parser) -> None:
    """The options of `grade`."""
    parser.add_argument("folder", type=Path, help="contains <student>/NN.ipynb or NN.py; NN is the lesson")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("grades.csv"),
        metavar="FILE",
        help="table to write; each student's page goes into a folder of the same name (default: %(default)s)",
    )
    parser.add_argument(
        "--hidden", type=Path, metavar="DIR", help="folder with your own checks, lesson_NN.py; see exercises/README.md"
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(1, 600),
        default=10,
        metavar="N",
        help="time limit for a cell, and for an exercise (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1, 256),
        metavar="N",
        help="submissions to grade at the same time (default: one for each processor this program may use)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**31 - 1),
        metavar="N",
        help="seed of the inputs (default: derived from the submissions, so that no student could know it)",
    )


def run_grade(options: argparse.Namespace) -> None:
    """Grade a class: a table, and a page for each student."""
    if os.name != "posix":
        raise ValueError("student code can be isolated on Linux and macOS only; on Windows, run this inside WSL")
    from tqdm import tqdm

    from tinyldm_course.grading import reports
    from tinyldm_course.grading.classroom import Terms, grade_class, seed_of
    from tinyldm_course.grading.collecting import read_class
    from tinyldm_course.grading.isolation import best_isolation
    from tinyldm_course.grading.journal import Journal
    from tinyldm_course.grading.limits import Limits
    from tinyldm_course.grading.submissions import WHOLE

    require_writable(options.out, (".csv",))
    pages, journal = options.out.with_suffix(""), Journal(options.out.with_suffix(".journal.jsonl"))
    submissions = read_class(options.folder, ignored=(options.out, pages, journal.file))
    seed = seed_of(submissions) if options.seed is None else options.seed
    terms = Terms(best_isolation(), Limits(seconds=options.seconds), options.hidden, seed)
    for statement in terms.isolation.statements():
        to_stderr(statement)
    if kept := len(journal.read()):
        to_stderr(f"going on with a run that was interrupted: {journal.file} holds {kept} results")
    with tqdm(total=len(submissions), desc="grading", unit="file", delay=0.2) as bar:
        graded = grade_class(submissions, terms, options.jobs or threads.available(), bar.update, journal)
    reports.write(options.out, graded, terms)
    again = [one.problem for one in graded if one.again]
    if again:
        raise OSError(f"{len(again)} of {len(graded)} submissions are without a grade in {options.out}: {again[0]}")
    journal.remove()
    print(
        f"wrote {options.out} and the pages in {pages}: {sum(one.lesson != WHOLE for one in graded)} submissions of "
        f"{len({one.student for one in graded})} students, seed {seed}"
    )


COMMANDS = {
    "progress": Command("show which exercises you have solved", ("tinyldm progress",), add_progress, run_progress),
    "grade": Command(
        "grade a folder of submissions",
        ("tinyldm grade class --out grades.csv", "tinyldm grade class --hidden my_checks --jobs 4"),
        add_grade,
        run_grade,
    ),
}
