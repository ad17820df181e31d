"""How long it takes to grade a class: 100 students, two notebooks with 11 exercises each, on 2 processes.

    python benchmarks/grading.py --students 100

The class is made from the course's own notebooks: seven in ten students hand in right answers, two the untouched
notebook, and one in ten has an endless loop among right answers. Beside the time on the clock, which other programs on
the machine stretch, stands the processor time, which they hardly do.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from common import hardware
from tqdm import tqdm

from tinyldm_course.grading.classroom import Terms, grade_class, seed_of
from tinyldm_course.grading.collecting import read_class
from tinyldm_course.grading.kernel import PR_SET_CHILD_SUBREAPER, control
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.probes import best_isolation

EXERCISES = Path(__file__).parents[1] / "exercises"
LESSONS = ("02_forward_diffusion", "07_spatial_transformer")
LOOP = "def q_sample(*args):\n    while True:\n        pass\n\ncheck('q_sample', q_sample)"


def hand_in(folder: Path, students: int) -> None:
    """Write the class."""
    for number in range(students):
        place = folder / f"student{number:03d}"
        place.mkdir()
        source = EXERCISES if number % 10 in (3, 7) else EXERCISES / "solutions"
        for lesson in LESSONS:
            notebook = json.loads((source / f"{lesson}.ipynb").read_text(encoding="utf-8"))
            if number % 10 == 9 and lesson == LESSONS[0]:
                notebook["cells"].append({"cell_type": "code", "source": LOOP})
            (place / f"{lesson}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def processor_seconds() -> float:
    """Of this process and of all that came from it and has ended, orphans too."""
    control(PR_SET_CHILD_SUBREAPER, 1)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hand_in(Path(folder), options.students)
        start, used = time.perf_counter(), processor_seconds()
        submissions = read_class(Path(folder))
        isolation = best_isolation()
        terms = Terms(isolation, Limits(), None, seed_of(submissions))
        with tqdm(total=len(submissions), desc="grading") as bar:
            graded = grade_class(submissions, terms, options.jobs, bar.update)
        seconds, processor = time.perf_counter() - start, processor_seconds() - used
    marks = [mark for one in graded for mark in one.marks]
    print(f"{hardware()}; load {os.getloadavg()[0]:.1f}; {isolation.statements()[0]}")
    print(
        f"{options.students} students, {len(submissions)} notebooks, {len(marks)} exercises, "
        f"{sum(mark.points > 0 for mark in marks)} right, on {options.jobs} processes: "
        f"{seconds / 60:.1f} minutes on the clock, {processor / 60:.1f} of processor time; a hundred students: "
        f"{seconds / 60 * 100 / options.students:.1f} and {processor / 60 * 100 / options.students:.1f}; "
        f"{processor / len(submissions):.2f} seconds of processor time for a notebook"
    )


if __name__ == "__main__":
    main()
