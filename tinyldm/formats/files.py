"""Writing files that are whole or not there, and reading files that may be broken, or made to do harm.

A file is written under a temporary name beside its place, flushed to the disk, and only then renamed: after a crash, a
full disk or Ctrl-C, the old file is still intact.

What is read comes from strangers. So only regular files are opened (a pipe never ends, nor does /dev/zero), sizes have
limits that no real model comes near, and whatever is wrong is a ValueError that names the file.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

MAX_JSON = 16 * 2**20  # bytes of a configuration; CLIP's tokenizer.json has 4 MB
MAX_SHOWN = 300  # characters of somebody else's error message that are worth showing
MAX_LEVELS = 8  # of a network, where a configuration has one number per level


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary path to write to; when the block ends without an error, it takes the place of `file`.

    Raises: OSError where the disk is full or the folder cannot be written; nothing is left behind then.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        yield partial
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())  # on the disk before the name points to it
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Write `content` to `file`, all of it or nothing."""
    with replacing(file) as partial:
        partial.write_bytes(content)


def write_json(file: Path, content: Any) -> None:
    """Write `content` to `file` as indented JSON, all of it or nothing."""
    write_bytes(file, (json.dumps(content, indent=2) + "\n").encode())


def write_safetensors(file: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors to a .safetensors file, all of it or nothing.

    Args:
        state: names and tensors; copied to the CPU and made contiguous where they are not.
        metadata: strings to keep in the file's header; by default what transformers asks for.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(file) as partial:
        try:
            save_file(state, partial, metadata={"format": "pt"} if metadata is None else metadata)
        except SafetensorError as error:  # a full disk too is one of these
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            code = int(number[1]) if os.name == "posix" else errno.EIO
            raise OSError(code, os.strerror(code), str(file)) from None


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────


def require_regular(file: Path, expected: str = "a file") -> None:
    """Raise ValueError unless `file` is a regular file: a pipe would make us wait, and a device has no end."""
    try:
        if file.is_file():
            return
        there = file.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise ValueError(f"{str(file)[:MAX_SHOWN]} cannot be read ({error.strerror}); expected {expected}") from None
    what = "is not a regular file" if there else "does not exist"
    raise ValueError(f"{file} {what}; expected {expected}")


def read_bytes(file: Path, limit: int, expected: str = "a file") -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises ValueError where it is none, or larger."""
    require_regular(file, expected)
    try:
        with open(file, "rb") as opened:
            content = opened.read(limit + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror})") from None
    if len(content) > limit:
        raise ValueError(f"{file} has more than {limit:,} bytes; expected {expected} of a usual size")
    return content


def read_json(file: Path, expected: str = "a model folder in the diffusers layout") -> dict:
    """A configuration file; a missing, broken or enormous one is a ValueError that names it."""
    content = read_bytes(file, MAX_JSON, expected)
    try:
        content = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # of which json's and UTF-8's errors are kinds
        raise ValueError(f"{file} is not JSON ({str(error)[:MAX_SHOWN]}); fetch it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds {content!r:.40}; expected a configuration in braces")
    return content


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Whatever goes wrong while the content of a configuration is used becomes a ValueError that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except KeyError as error:
        raise ValueError(f"{file} lacks {str(error)[:MAX_SHOWN]}") from None
    except Exception as error:  # noqa: BLE001  the libraries behind it raise nearly anything
        if type(error) is ValueError and str(error).startswith(str(file)):
            raise  # it says all already
        reason = str(error)[:MAX_SHOWN] or type(error).__name__
        raise ValueError(f"{file} does not describe a model that this package knows: {reason}") from None


def refuse_others(config: dict, fixed: dict) -> None:
    """Raise ValueError where a configuration says something else than `fixed`, in an entry that both have."""
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]!r:.200}; this package knows only {value!r}")


def require_whole(config: dict, most: dict[str, int], per_level: tuple[str, ...] = ()) -> None:
    """Raise ValueError unless the named entries that a configuration has are whole numbers from 1 to `most`.

    Without limits, 100 bytes of configuration could ask for a network that takes hours to build.

    Args: per_level: the entries that may also be lists of such numbers.
    """
    for name in most.keys() & config.keys():
        value = config[name]
        values = value if isinstance(value, list) and name in per_level else [value]
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in values)
        if not whole or not 1 <= len(values) <= MAX_LEVELS or not all(1 <= one <= most[name] for one in values):
            raise ValueError(f"{name} is {value!r:.60}; expected a whole number from 1 to {most[name]:,}")


def require_numbers(config: dict, low: float, high: float, *names: str) -> None:
    """Raise ValueError unless the named entries that a configuration has are numbers from `low` to `high`."""
    for name in names:
        value = config.get(name, low)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r:.60}; expected a number from {low:g} to {high:g}")
