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
LOCK_TIMEOUT = 1.0  # seconds to wait while another notebook writes


class NoHome(OSError):
    """No home folder, e.g. for a container user without a passwd entry."""


@dataclass(frozen=True)
class Record:
    """One exercise's history.

    Attributes:
        attempts: how often it was checked until it passed.
        passed: when that was (ISO 8601, UTC), or "".
        hints: how many of its hints were shown.
    """

    attempts: int = 0
    passed: str = ""
    hints: int = 0


def progress_file() -> Path:
    """The file: TINYLDM_PROGRESS, else ~/.tinyldm/progress.json. Raises NoHome if there is neither."""
    named = os.environ.get("TINYLDM_PROGRESS")
    if named:
        return Path(named)
    try:
        return Path.home() / ".tinyldm" / "progress.json"
    except RuntimeError:
        raise NoHome("there is no home folder; set TINYLDM_PROGRESS to a file that may be written") from None


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """While locked, no other notebook changes the file, so what was read is still current when it is written.

    Raises: OSError if no file can be made there, or if another notebook holds the lock for too long.
    """
    from filelock import FileLock

    file = progress_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(file.name + ".lock"), timeout=LOCK_TIMEOUT):
        yield


def read() -> dict[str, Record]:
    """Name of the exercise -> its record. Empty if there is no file yet, or if it cannot be read."""
    try:
        return _parsed(progress_file().read_bytes())
    except (OSError, ValueError):
        return {}


def _parsed(content: bytes) -> dict[str, Record]:
    """The records in a progress file. Raises ValueError if it is not one."""
    try:
        found = {name: Record(**record) for name, record in json.loads(content)["exercises"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a progress file: {error}") from error
    counts = [count for record in found.values() for count in (record.attempts, record.hints)]
    if not all(isinstance(count, int) for count in counts) or not all(
        isinstance(r.passed, str) for r in found.values()
    ):
        raise ValueError("not a progress file: attempts and hints are integers, passed is a date")
    return found


def write(records: dict[str, Record]) -> None:
    """Replace the file atomically; a damaged file is kept beside it, with the suffix .damaged.

    Raises: OSError if nothing can be written there.
    """
    from tinyldm.formats.files import write_json

    file = progress_file()
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
    """The record after one more check, with a hint or without; once passed, a record no longer changes."""
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
