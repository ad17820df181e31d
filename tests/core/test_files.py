"""Files are whole or not there, on a real full disk too."""

import os
import subprocess
import sys

import pytest
import torch

from tinyldm.formats import files

WRITERS = {
    "bytes": lambda file, number: files.write_bytes(file, bytes(range(number))),
    "json": lambda file, number: files.write_json(file, list(range(number))),
    "safetensors": lambda file, number: files.write_safetensors(file, {"a": torch.ones(number)}),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_write_leaves_the_old_file(kind, error, tmp_path, monkeypatch):
    file = tmp_path / "file"
    WRITERS[kind](file, 3)
    old = file.read_bytes()

    def breaks(_):
        raise error

    monkeypatch.setattr(os, "fsync", breaks)
    with pytest.raises(type(error)):
        WRITERS[kind](file, 9)
    assert file.read_bytes() == old and list(tmp_path.iterdir()) == [file]
    monkeypatch.undo()
    WRITERS[kind](file, 9)
    assert file.read_bytes() != old and list(tmp_path.iterdir()) == [file]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from tinyldm.formats import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))   # from here on the disk is full after 4 KB
for write in (lambda file: files.write_bytes(file, bytes(9000)),
              lambda file: files.write_safetensors(file, {"a": torch.ones(9000)})):
    try:
        write(Path(sys.argv[1]))
    except OSError as error:
        print(error.errno, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_an_oserror_with_its_number(tmp_path):
    """safetensors reports it as an error of its own."""
    import errno

    file = tmp_path / "file"
    file.write_bytes(b"old")
    said = subprocess.run([sys.executable, "-c", FULL_DISK, str(file)], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in said.stdout.splitlines()] == [str(errno.EFBIG)] * 2, said.stdout
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
