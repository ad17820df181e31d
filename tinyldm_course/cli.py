"""The course's commands, `progress`, `grade` and `export`: the entry point "tinyldm.commands" brings them."""

import argparse
import os
import re
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

    file = progress.progress_file()
    course = {number: (lesson(number).TITLE, lesson(number).NAMES) for number in numbers()}
    print("\n".join(progress.in_words(progress.read(), course)))
    print(f"saved in {file}")


# ── grade ────────────────────────────────────────────────────────────────────────────────────────────


def add_grade(parser: Parser) -> None:
    """The options of `grade`."""
    parser.add_argument("folder", type=Path, help="contains <student>/NN.ipynb or NN.py; NN is the lesson number")
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
        help="time limit per cell and per exercise, in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1, 256),
        metavar="N",
        help="submissions to grade at the same time (default: one per CPU this program may use)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**31 - 1),
        metavar="N",
        help="seed of the inputs (default: derived from the submissions, so students cannot predict it)",
    )
    parser.add_argument(
        "--lesson",
        type=whole_number(0, 99),
        metavar="NN",
        help="grade this lesson only; a file that names no lesson answers it",
    )
    parser.add_argument(
        "--share",
        type=share,
        metavar="K/N",
        help="grade the Kth of N shares of the students and write no table yet; the same command without it, when all "
        "shares are done, writes the table",
    )
    parser.add_argument(
        "--gradescope", type=Path, metavar="FILE", help="write the results of one student as results.json"
    )
    parser.add_argument(
        "--trust-students",
        action="store_true",
        help="grade without isolation if this machine has none: the code may do all that you may do",
    )


def share(text: str) -> tuple[int, int]:
    """An argparse type: "3/20" is the third of twenty shares."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r:.40} given, expected K/N with K from 1 to N, such as 3/20")
    return int(match[1]), int(match[2])


def run_grade(options: argparse.Namespace) -> None:
    """Grade a class: a table, and a page for each student."""
    if os.name != "posix":
        raise ValueError("student code can be isolated on Linux and macOS only; on Windows, run this inside WSL")
    from tqdm import tqdm

    from tinyldm_course.grading import gradescope, reports, similarity
    from tinyldm_course.grading.classroom import Terms, grade_class, seed_of
    from tinyldm_course.grading.collecting import of_share, read_class
    from tinyldm_course.grading.isolation import trusting
    from tinyldm_course.grading.journal import Journal
    from tinyldm_course.grading.limits import Limits
    from tinyldm_course.grading.probes import best_isolation
    from tinyldm_course.grading.submissions import WHOLE

    require_writable(options.out, (".csv",))
    journal = Journal(options.out, options.share)
    submissions = read_class(
        options.folder, (options.out, options.out.with_suffix(""), *journal.files()), options.lesson
    )
    seed = seed_of(submissions) if options.seed is None else options.seed
    isolation = trusting() if options.trust_students else best_isolation()
    terms = Terms(isolation, Limits(seconds=options.seconds), options.hidden, seed)
    for statement in terms.isolation.statements():
        to_stderr(statement)
    if options.share:
        submissions = of_share(submissions, *options.share)
    if kept := len(journal.read()):
        to_stderr(f"{kept} results are kept from earlier runs, in {', '.join(map(str, journal.files()))}")
    with tqdm(total=len(submissions), desc="grading", unit="file", delay=0.2) as bar:
        graded = grade_class(submissions, terms, options.jobs or threads.available(), bar.update, journal)
    files, students = sum(one.lesson != WHOLE for one in graded), len({one.student for one in graded})
    counted = f"{files} submission{'s' * (files != 1)} from {students} student{'s' * (students != 1)}"
    if options.share is None:
        pages = reports.write(options.out, graded, terms)
        similarity.write(pages / "similar.csv", graded)
        if options.gradescope:
            gradescope.write(options.gradescope, graded)
    if again := [one.problem for one in graded if one.again]:
        raise OSError(f"{len(again)} of {len(graded)} submissions have no grade yet: {again[0]}")
    if options.share:
        print(f"wrote {journal.file}: {counted}, seed {seed}")
        return
    journal.remove()
    print(f"wrote {options.out} and the pages in {options.out.with_suffix('')}: {counted}, seed {seed}")


# ── export ───────────────────────────────────────────────────────────────────────────────────────────

OF_A_LESSON = ("gradescope", "github")
OF_A_TABLE = ("canvas", "moodle")
SYSTEMS = (*OF_A_LESSON, "jupyterhub", "kubernetes", "slurm", *OF_A_TABLE)


def add_export(parser: Parser) -> None:
    """The options of `export`."""
    parser.add_argument("system", choices=SYSTEMS, help="what the files are for")
    parser.add_argument(
        "of",
        nargs="?",
        default="",
        help=f"a lesson's number ({', '.join(OF_A_LESSON)}); a table ({', '.join(OF_A_TABLE)})",
    )
    parser.add_argument(
        "--out", type=Path, metavar="PLACE", help="file or folder to write (default: named after the system)"
    )
    parser.add_argument("--hidden", type=Path, metavar="DIR", help="gradescope: folder with your own checks")
    parser.add_argument(
        "--trust-students", action="store_true", help="let the files grade without isolation if a machine has none"
    )
    parser.add_argument(
        "--shares",
        type=whole_number(1, 10_000),
        default=20,
        metavar="N",
        help="kubernetes, slurm: jobs to divide a class into (default: %(default)s)",
    )
    parser.add_argument(
        "--roster", type=Path, metavar="FILE", help="canvas, moodle: the list of students as they export it"
    )
    parser.add_argument(
        "--title", default="tinyldm", metavar="TEXT", help="canvas: the assignment (default: %(default)s)"
    )


def run_export(options: argparse.Namespace) -> None:
    """Write files for a school's own system."""
    from tinyldm_course.exercises import numbers
    from tinyldm_course.grading import export
    from tinyldm_course.grading.marking import read_hidden

    if options.system in OF_A_TABLE:
        return export_table(options)
    lesson = 0
    if options.system in OF_A_LESSON:
        if not re.fullmatch(r"\d{1,2}", options.of) or int(options.of) not in numbers():
            known = ", ".join(f"{number:02d}" for number in numbers())
            raise ValueError(f"{options.of!r:.40} given, expected the number of a lesson with exercises: {known}")
        lesson = int(options.of)
    elif options.of:
        raise ValueError(f"{options.of!r:.40} given, but {options.system} takes no lesson; it grades whole classes")
    read_hidden(options.hidden)
    choices = export.Choices(lesson, options.hidden, options.shares, options.trust_students)
    if options.system == "gradescope":
        out = options.out or Path(f"gradescope_{lesson:02d}.zip")
        require_writable(out, (".zip",))
        export.write_gradescope(out, choices)
        print(f"wrote {out}; upload it to a programming assignment, under Configure Autograder")
        return
    files = export.write_folder(options.system, options.out or Path(options.system), choices)
    print(f"wrote {', '.join(map(str, files))}")


def export_table(options: argparse.Namespace) -> None:
    """A CSV that a learning platform imports."""
    from tinyldm.formats.files import write_bytes
    from tinyldm_course.grading import gradebooks

    if not options.of:
        raise ValueError(f"expected the table to convert, such as: tinyldm export {options.system} grades.csv")
    out = options.out or Path(options.of).with_suffix(f".{options.system}.csv")
    require_writable(out, (".csv",))
    rows = gradebooks.read_table(Path(options.of))
    roster = gradebooks.read_csv(options.roster) if options.roster else None
    if options.system == "canvas":
        text, left = gradebooks.canvas(rows, roster, options.title)
    else:
        text, left = gradebooks.moodle(rows, roster)
    write_bytes(out, text.encode())
    for student in left:
        to_stderr(f"no line for {student}: not known in {options.roster or 'names of ' + options.system}")
    print(f"wrote {out}: {len(rows) - len(left)} of {len(rows)} students")


COMMANDS = {
    "progress": Command("show which exercises you have solved", ("tinyldm progress",), add_progress, run_progress),
    "grade": Command(
        "grade a folder of submissions",
        ("tinyldm grade class --out grades.csv", "tinyldm grade class --hidden my_checks --jobs 4"),
        add_grade,
        run_grade,
    ),
    "export": Command(
        "files for Gradescope, GitHub, JupyterHub, Kubernetes, SLURM, Canvas, Moodle",
        (
            "tinyldm export gradescope 02 --hidden my_checks",
            "tinyldm export slurm --shares 50",
            "tinyldm export moodle grades.csv --roster worksheet.csv",
        ),
        add_export,
        run_export,
    ),
}
