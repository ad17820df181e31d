"""The results so far: one line for each graded submission, on the disk before the next one is graded.

    grades.journal.jsonl    {"key": "9f86d0…", "graded": {"student": "ada", "lesson": 2, "marks": […], …}}

A grader that is killed goes on where it was: the same command reads the lines that are there and grades the rest. The
key of a line holds all that its result depends on, so a line is only used for what would be graded in the same way.

The jobs that share a class (`--share 3/20`) write a file each, `grades.journal.3-of-20.jsonl`. Whoever grades the whole
class reads them all; so their tables need no merging.
"""

import base64
import glob
import hashlib
import json
import os
import threading
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import tinyldm
import tinyldm_course
from tinyldm_course.grading.marking import Graded, Mark
from tinyldm_course.grading.submissions import Submission


class Journal:
    """A file of results, which any number of threads append to.

    Attributes:
        file: where this run writes.
        problem: why it could not be written, "" where it could. Then a killed grader begins again; no grade is lost.
    """

    def __init__(self, table: Path, share: tuple[int, int] | None = None):
        """table: which is to be written in the end; share: which one of how many."""
        self._table = table
        self.file = table.with_suffix(f".journal.{share[0]}-of-{share[1]}.jsonl" if share else ".journal.jsonl")
        self.problem = ""
        self._lock = threading.Lock()

    def read(self) -> dict[str, Graded]:
        """Key -> result, of all jobs. A line that was cut short, or that another version wrote, is left out."""
        found = {}
        for line in (line for file in self.files() for line in file.read_bytes().split(b"\n")):
            try:
                record = json.loads(line)
                found[record["key"]] = from_json(record["graded"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return found

    def files(self) -> list[Path]:
        """Those of all jobs."""
        return sorted(self._table.parent.glob(glob.escape(self._table.stem) + ".journal*.jsonl"))

    def append(self, key: str, graded: Graded) -> None:
        """Write a result to the disk."""
        line = json.dumps({"key": key, "graded": as_json(graded)}).encode()
        try:
            with self._lock:
                descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                try:
                    data = b"\n" + line + b"\n"  # a line that was cut short before it stays one of its own
                    while data:
                        data = data[os.write(descriptor, data) :]
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as error:
            self.problem = f"the journal {self.file} cannot be written: {error.strerror}"

    def remove(self) -> None:
        """All is written elsewhere: remove the files of all jobs."""
        for file in self.files():
            file.unlink()


def key_of(submission: Submission, *terms: Any) -> str:
    """A digest of all that a result depends on. terms: what `json` can write."""
    whole = [course_digest(), *terms, asdict(submission)]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


@cache
def course_digest() -> str:
    """Of this package and its version: a check that was changed grades anew."""
    whole = hashlib.sha256(tinyldm.__version__.encode())
    for file in sorted(Path(tinyldm_course.__file__).parent.rglob("*.py")):
        whole.update(file.read_bytes())
    return whole.hexdigest()


def as_json(graded: Graded) -> dict[str, Any]:
    """A result as `json` can write it."""
    return asdict(graded) | {"log": base64.b64encode(graded.log).decode()}


def from_json(record: dict[str, Any]) -> Graded:
    """The result again."""
    return Graded(
        **record
        | {
            "marks": tuple(Mark(**mark | {"look_at": tuple(mark["look_at"])}) for mark in record["marks"]),
            "cell_errors": tuple((number, error) for number, error in record["cell_errors"]),
            "look_at": tuple(record["look_at"]),
            "log": base64.b64decode(record["log"]),
        }
    )
