"""Writing files that are whole or not there: after a crash, a full disk or Ctrl-C, the old file is still intact.

Each is written under a temporary name beside its place, flushed to the disk, and only then renamed.
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
