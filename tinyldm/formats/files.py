"""Writing files that are whole or not there, and reading configurations that may be broken.

A file is written under a temporary name beside its place, flushed to the disk, and only then renamed: after a crash, a
full disk or Ctrl-C, the old file is still intact.
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


def read_json(file: Path) -> dict:
    """A configuration file; a missing or broken one is a clear ValueError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{file} does not exist; expected a model folder in the diffusers layout") from None
    except (ValueError, RecursionError) as error:  # of which json's and UTF-8's errors are kinds
        raise ValueError(f"{file} is not JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds {content!r:.40}; expected a configuration in braces")
    return content


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """What goes wrong while the content of a configuration file is used names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{file} lacks {error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{file} does not describe a model that this package knows: {error}") from None


def refuse_others(config: dict, fixed: dict) -> None:
    """Raise ValueError where a configuration says something else than `fixed`, in an entry that both have."""
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]!r}; this package knows only {value!r}")
