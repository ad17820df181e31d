"""How long does a reader wait after turning a dial? Every dial of every lesson, at random settings.

    TINYLDM_FAST=1 python benchmarks/dials.py             # minutes: training is shortened, since no dial repeats it
    TINYLDM_FAST=1 python benchmarks/dials.py --lessons 07 12 --settings 50

Each lesson's source runs as a plain script in its own process. Where it shows a dial, the work of one change (plot,
encode, write the HTML) is timed. The limit for lessons is half a second on a CPU. Prints the Markdown table that is
in README.md.
"""

import argparse
import multiprocessing
import random
import runpy
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import matplotlib

LESSONS = Path(__file__).parents[1] / "sources" / "lessons"


def values_of(values: Iterable | type[str]) -> list:
    """Return what a control can take, in order; for a text box, two sentences."""
    return ["a small red circle", "a blue star above a green ring"] if values is str else list(values)


def settings_of(dials: dict, count: int) -> list[dict]:
    """Return `count` random settings, and the two with every dial at its first or last value."""
    choose = random.Random(0)
    ends = [{name: values_of(values)[end] for name, values in dials.items()} for end in (0, -1)]
    return ends + [{name: choose.choice(values_of(values)) for name, values in dials.items()} for _ in range(count)]


def timed(lesson: Path, count: int) -> list[tuple[str, str, float, float]]:
    """Return (lesson, dials, median, longest) in seconds for each dial of a lesson."""
    from tinyldm_course.lessons import widgets

    found = []

    def dial(plot, dials, *, strip, size=(2.2, 2.4), columns=0) -> None:
        seconds = []
        for setting in settings_of(dials, count):
            start = time.perf_counter()
            widgets.dial_html(plot, setting, size)
            seconds.append(time.perf_counter() - start)
        found.append((lesson.stem[:2], ", ".join(dials), statistics.median(seconds), max(seconds)))

    widgets.dial = dial
    matplotlib.use("agg")
    runpy.run_path(str(lesson), run_name="lesson")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lessons", nargs="+", default=[""], help="numbers such as 07 (default: all)")
    parser.add_argument("--settings", type=int, default=20, help="random settings per dial (default: %(default)s)")
    options = parser.parse_args()
    rows = []
    for lesson in sorted(LESSONS.glob("[0-9][0-9]_*.py")):
        if lesson.stem.startswith(tuple(options.lessons)) and "widgets.dial(" in lesson.read_text(encoding="utf-8"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows += pool.apply(timed, (lesson, options.settings))
    print("\n| lesson | dials | median | longest |\n|---|---|---|---|")
    for lesson, dials, median, longest in rows:
        print(f"| {lesson} | {dials} | {median:.2f} s | {longest:.2f} s |")


if __name__ == "__main__":
    main()
