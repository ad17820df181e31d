"""Ten thousand files and command lines that nobody should send, and what comes of them.

    python benchmarks/fuzz.py --out benchmarks/fuzz.md

Each input must be accepted, or end in a ValueError that names the file, within ten seconds of processor time and one
gigabyte of memory. The inputs are those of `tests/fuzzing.py`, where each is made from its kind and a number; the test
`tests/commands/test_hostile_files.py` tries the first of them. Exits with 1 where one does not end so.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzing import KINDS, Places, Tally, fuzz  # noqa: E402
from small_folder import save_small_folder  # noqa: E402

from tinyldm import machine  # noqa: E402

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


def report(tallies: dict[str, Tally], seconds: float) -> str:
    """The tables of fuzz.md."""
    lines = [
        "# Files and command lines that nobody should send",
        "",
        f"Written by `python benchmarks/fuzz.py`. {sum(one.inputs for one in tallies.values()):,} inputs in "
        f"{seconds / 60:.1f} minutes of processor time; torch {torch.__version__}, "
        f"{machine.hardware('cpu')['processor']}.",
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
    found = [line for one in tallies.values() for line in (*one.wrong, *one.slow, *one.large)]
    return "\n".join([*lines, "", *(f"- {line}" for line in found), *([""] if found else [])])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # transformers tells about odd tokenizers
    start = time.process_time()
    with tempfile.TemporaryDirectory() as room:
        places = Places(save_small_folder(Path(room) / "model"), Path(room) / "room")
        counts = {kind: options.inputs * SHARES[kind] // 100 for kind in options.kinds}
        tallies = fuzz(counts, places)
    text = report(tallies, time.process_time() - start)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return int(any(one.wrong or one.slow or one.large for one in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
