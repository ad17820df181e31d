"""Ten thousand files and command lines that nobody should send, and what comes of them.

    python benchmarks/fuzz.py --out benchmarks/fuzz.md

Each input must be accepted, or end in a ValueError that names the file, within ten seconds of processor time and one
gigabyte of memory. The inputs are those of `tests/fuzzing.py`, where each is made from its kind and a number; the test
`tests/commands/test_hostile_files.py` tries the first of them. Exits with 1 where one does not end so.

The inputs are read in a process of their own, which is replaced when an input ends it or makes it hang. What came of
each is written to `--results` at once: the same command goes on where another one was stopped.
"""

import argparse
import json
import logging
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzing import KINDS, MAX_SECONDS, UNET, VAE, Places, Tally, tried  # noqa: E402
from small_folder import save_small_folder  # noqa: E402

from tinyldm import machine  # noqa: E402
from tinyldm_course.grading.kernel import PR_SET_PDEATHSIG, SIGKILL, control  # noqa: E402
from tinyldm_course.grading.processes import process_of  # noqa: E402

SHARES = {  # of all inputs, in percent; opening a whole model takes longest
    "configurations": 20,
    "files of a model, damaged": 10,
    ".ckpt": 20,
    "checkpoints of training": 15,
    "logs": 5,
    "lists of captions": 10,
    "pictures": 10,
    "command lines": 10,
}
MAX_WAIT = 300.0  # seconds on the clock for an input that computes nothing: it waits for something
EVERY = 100  # inputs, after which the report is written again


# ── Trying ───────────────────────────────────────────────────────────────────────────────────────────


class Reader:
    """A process that reads one input after the other."""

    def __init__(self, places: Places):
        self._places = places
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")  # imports of PyTorch and transformers are paid once
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(self._connection, theirs, self._places), daemon=True)
        self._process.start()
        theirs.close()

    def read(self, kind: str, number: int) -> tuple[Tally, float]:
        """What came of one input, and how much processor time it took to make and read it."""
        start, before = time.monotonic(), self._seconds()
        self._connection.send((kind, number))
        while not self._connection.poll(1):
            spent = self._seconds() - before
            if spent > 3 * MAX_SECONDS or time.monotonic() - start > MAX_WAIT:
                self.stop()
                self._start()
                return Tally(1, seconds=spent, slow=[f"{kind} {number}: does not end"]), spent
        try:
            return self._connection.recv()
        except EOFError:
            self.stop()
            code = self._process.exitcode
            self._start()
            return Tally(1, wrong=[f"{kind} {number}: ended the process, exit code {code}"]), 0.0

    def _seconds(self) -> float:
        found = process_of(self._process.pid)
        return found.seconds if found else 0.0

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def serve(parents: Connection, connection: Connection, places: Places) -> None:
    """The process: read what is asked for, until nobody asks any more. parents: the other end, which a fork has too."""
    parents.close()  # or this process would itself keep open what it waits for the end of
    control(PR_SET_PDEATHSIG, SIGKILL)  # it may be busy with an input when its parent is killed
    while True:
        try:
            kind, number = connection.recv()
        except EOFError:
            return
        tally, start = Tally(), time.process_time()
        tried(kind, number, places, tally)
        connection.send((tally, time.process_time() - start))


def order(counts: dict[str, int]) -> list[tuple[str, int]]:
    """All inputs, the kinds mixed, so that the time left can be estimated from those that were read."""
    inputs = [((number + 0.5) / count, kind, number) for kind, count in counts.items() for number in range(count)]
    return [(kind, number) for _, kind, number in sorted(inputs)]


def read_results(file: Path) -> dict[tuple[str, int], tuple[Tally, float]]:
    """What came of the inputs that were read before. A line that was not written to its end does not count."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        found[one["kind"], one["number"]] = (Tally(**one["tally"]), one["seconds"])
    return found


# ── The report ───────────────────────────────────────────────────────────────────────────────────────


def report(results: dict[tuple[str, int], tuple[Tally, float]], counts: dict[str, int]) -> str:
    """The tables of fuzz.md."""
    tallies = {kind: Tally() for kind in counts}
    for (kind, number), (tally, _) in results.items():
        if number < counts.get(kind, 0):
            tallies[kind].add(tally)
    done, wanted = sum(one.inputs for one in tallies.values()), sum(counts.values())
    minutes = sum(seconds for _, seconds in results.values()) / 60
    lines = [
        "# Files and command lines that nobody should send",
        "",
        f"Written by `python benchmarks/fuzz.py`. {done:,} inputs{f' of {wanted:,}' * (done < wanted)} in "
        f"{minutes:.1f} minutes of processor time; torch {torch.__version__}, {machine.hardware('cpu')['processor']}.",
        "",
        "An input is accepted, or refused by a ValueError that names the file. Anything else is wrong.",
        "",
        "| kind | inputs | accepted | refused | wrong | over 10 s | over 1 GB | longest, s | most memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, one in tallies.items():
        lines.append(
            f"| {kind} | {one.inputs:,} | {one.accepted:,} | {one.refused:,} | {len(one.wrong)} | {len(one.slow)} | "
            f"{len(one.large)} | {one.seconds:.1f} | {one.bytes / 2**20:,.0f} |"
        )
    found = [line for one in tallies.values() for line in one.found()]
    return "\n".join([*lines, "", *(f"- {line}" for line in found), *([""] if found else [])])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--out", type=Path, help="the report; written again every hundred inputs")
    parser.add_argument("--results", type=Path, help="a line for each input; goes on where it ends")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # transformers tells about odd tokenizers
    torch.set_num_threads(1)
    counts = {kind: options.inputs * SHARES[kind] // 100 for kind in options.kinds}
    results = read_results(options.results) if options.results else {}
    waiting = [one for one in order(counts) if one not in results]
    with tempfile.TemporaryDirectory() as room:
        reader = Reader(Places(save_small_folder(Path(room) / "model", UNET, VAE), Path(room) / "room"))
        for index, (kind, number) in enumerate(tqdm(waiting, desc="reading", unit=" inputs")):
            results[kind, number] = tally, seconds = reader.read(kind, number)
            for line in tally.found():
                tqdm.write(line)
            if options.results:
                one = {"kind": kind, "number": number, "tally": vars(tally), "seconds": round(seconds, 4)}
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(one) + "\n")
            if options.out and index % EVERY == 0:
                options.out.write_text(report(results, counts), encoding="utf-8")
        reader.stop()
    text = report(results, counts)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return int(any(tally.found() for tally, _ in results.values()))


if __name__ == "__main__":
    sys.exit(main())
