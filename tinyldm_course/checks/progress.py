"""What the learner has solved so far: one small JSON file in the home folder, or at the path in TINYLDM_PROGRESS."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FULL, EMPTY = "#", "."  # plain: not every terminal knows the block characters
WIDTH = 20  # of a bar
SECONDS = 1.0  # that a notebook waits while another one writes


class NoHome(OSError):
    """There is no home folder to keep the file in, as for a user of a container who has no entry of their own."""


@dataclass(frozen=True)
class Record:
    """One exercise's history.

    Attributes:
        attempts: how often it was checked until it passed; passed: when that was (ISO 8601, UTC), or "".
        hints: how many of its hints were shown.
    """

    attempts: int = 0
    passed: str = ""
    hints: int = 0


def place() -> Path:
    """The file: TINYLDM_PROGRESS, else ~/.tinyldm/progress.json. Raises NoHome where there is neither."""
    named = os.environ.get("TINYLDM_PROGRESS")
    if named:
        return Path(named)
    try:
        return Path.home() / ".tinyldm" / "progress.json"
    except RuntimeError:
        raise NoHome("there is no home folder; set TINYLDM_PROGRESS to a file that may be written") from None


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """In the block no other notebook changes the file, so that what was read is still true when it is written.

    Raises: OSError where no file can be made there, or where another notebook holds the lock for too long.
    """
    from filelock import FileLock

    file = place()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(file.name + ".lock"), timeout=SECONDS):
        yield


def read() -> dict[str, Record]:
    """Name of the exercise -> its record. Empty where there is no file yet, or none that can be read."""
    try:
        return _parsed(place().read_bytes())
    except (OSError, ValueError):
        return {}


def _parsed(content: bytes) -> dict[str, Record]:
    """The records in a progress file. Raises ValueError if it is none."""
    try:
        found = {name: Record(**record) for name, record in json.loads(content)["exercises"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a progress file: {error}") from error
    counts = [count for record in found.values() for count in (record.attempts, record.hints)]
    if not all(isinstance(count, int) for count in counts) or not all(
        isinstance(r.passed, str) for r in found.values()
    ):
        raise ValueError("not a progress file: attempts and hints are whole numbers, passed is a date")
    return found


def write(records: dict[str, Record]) -> None:
    """Replace the file, whole or not at all; a damaged file is kept beside it, with the ending .damaged.

    Raises: OSError where nothing can be written there.
    """
    from tinyldm.formats.files import write_json

    file = place()
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        _parsed(file.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError:
        os.replace(file, file.with_name(file.name + ".damaged"))
    facts = {name: asdict(record) for name, record in sorted(records.items())}
    write_json(file, {"version": 1, "exercises": facts})


def after_check(record: Record, passed: bool, hinted: bool = False) -> Record:
    """The record after one more check, with a hint or without; once passed, an exercise stays as it is."""
    if record.passed:
        return record
    date = datetime.now(UTC).isoformat(timespec="seconds") if passed else ""
    return Record(record.attempts + 1, date, record.hints + hinted)


def in_words(records: dict[str, Record], lessons: dict[int, tuple[str, tuple[str, ...]]]) -> list[str]:
    """A bar for each lesson, and the total.  lessons: number -> (title, names of its exercises)."""
    lines, done, total = [], 0, 0
    longest = max((len(title) for title, _ in lessons.values()), default=0)
    for number, (title, names) in sorted(lessons.items()):
        solved = sum(bool(records.get(name, Record()).passed) for name in names)
        left = [name for name in names if not records.get(name, Record()).passed]
        bar = (FULL * round(WIDTH * solved / len(names))).ljust(WIDTH, EMPTY)
        lines.append(
            f"{number:02d}  {title:<{longest}}  [{bar}]  {solved} of {len(names)}"
            + (f"   next: {left[0]}" if left and solved else "")
        )
        done, total = done + solved, total + len(names)
    return [*lines, f"{done} of {total} exercises solved"]
