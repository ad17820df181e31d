"""How long `tinyldm generate` takes beside other busy programs: `python benchmarks/crowded.py`.

Starts `--busy` processes that compute without end, and prints a Markdown table. A fair share of the processors is what
a program that computes in one thread gets. How slow that is at the moment is measured, too, by a small one that needs
a known time on an idle processor: so "times the fair share" is the time from the command to the file, divided by the
processor time that one thread needs for it and by that slowdown.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinyldm import threads

# Ends with the process that started it, however that ends.
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
# Runs for a second of processor time, and prints how long that took by the clock.
REFERENCE = "import time; a = time.perf_counter()\nwhile time.process_time() < 1: pass\nprint(time.perf_counter() - a)"
SETTINGS = {
    "as tinyldm chooses": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "PyTorch's default": {"OMP_NUM_THREADS": str(os.cpu_count()), "GOMP_SPINCOUNT": "300000"},  # libgomp's own
}
OURS = (*threads.NUMBER_SETTINGS, *threads.WAIT_SETTINGS)


@contextmanager
def crowd(count: int) -> Iterator[None]:
    """In this block, `count` other processes compute without end."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def slowdown() -> float:
    """How many seconds a second of processor time takes at the moment."""
    said = subprocess.run([sys.executable, "-c", REFERENCE], capture_output=True, text=True, check=True).stdout
    return float(said)


def generate(pictures: int, settings: dict[str, str], limit: float) -> tuple[float, float] | None:
    """(seconds by the clock, seconds of processor time) of a command, or None where it took longer than `limit`."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | settings
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["generate", "a red circle", "-n", str(pictures), "--out", str(Path(folder) / "x.png")]
        before, start = os.times(), time.perf_counter()
        try:
            subprocess.run(
                [sys.executable, "-m", "tinyldm", *arguments],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=limit,
                check=True,
            )
        except subprocess.TimeoutExpired:
            return None
        seconds, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, default=10, help="other processes (default: %(default)s)")
    parser.add_argument("--pictures", type=int, nargs="+", default=[4], help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of all settings, in turn (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=240, help="seconds for a command (default: %(default)s)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="(default: all)")
    arguments = parser.parse_args()
    print(f"{threads.available()} processors, {arguments.busy} busy processes\n")
    print("| pictures | threads | seconds, command to file | slowdown of one thread | times the fair share |")
    print("|---|---|---|---|---|")
    with crowd(arguments.busy):
        for pictures in arguments.pictures:
            for _ in range(arguments.rounds):
                measure_round(pictures, arguments)


def measure_round(pictures: int, arguments: argparse.Namespace) -> None:
    """Measure each setting once, and print a line for each."""
    measured = {}
    for name in dict.fromkeys(["one thread", *arguments.settings]):
        before = slowdown()
        measured[name] = generate(pictures, SETTINGS[name], arguments.limit), (before + slowdown()) / 2
    needed = measured["one thread"][0]
    for name in arguments.settings:
        times, slower = measured[name]
        share = f"{times[0] / (needed[1] * slower):.2f}" if times and needed else ""
        seconds = f"{times[0]:.1f}" if times else f"over {arguments.limit:g}"
        print(f"| {pictures} | {name} | {seconds} | {slower:.1f} | {share} |", flush=True)


if __name__ == "__main__":
    main()
