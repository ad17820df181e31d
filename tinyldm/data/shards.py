"""Tensors that do not fit into memory: their rows lie in files, memory-mapped, each file with its checksum.

    data-00000.safetensors   rows 0 … R-1       data-00001.safetensors   rows R … 2R-1       …

Every file but the last holds the same number of rows, so that the place of a row follows from its number. A `Rows` is
read like a tensor, `rows[index]`, from files of any total size: the operating system keeps in memory what is in
demand, and drops it when memory is short.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tinyldm.formats.files import write_safetensors

SHARD_BYTES = 64 * 2**20  # of a file, about


def shard_file(folder: Path, number: int) -> Path:
    """The file of shard `number`."""
    return folder / f"data-{number:05d}.safetensors"


def shard_files(folder: Path) -> list[Path]:
    """All shards of a folder, in order."""
    return sorted(folder.glob("data-*.safetensors"))


def rows_per_shard(row_bytes: int) -> int:
    """How many rows of this size make a file of about SHARD_BYTES."""
    return max(1, SHARD_BYTES // row_bytes)


def write_shard(file: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write one shard, all of it or nothing, with facts about it and the SHA-256 of its tensors.

    Args:
        tensors: name -> (R, …), the same R rows of each; of a dtype that NumPy has.
        facts: whatever JSON can hold.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    checksum = _sha256({name: tensor.numpy() for name, tensor in tensors.items()})
    write_safetensors(file, tensors, {"facts": json.dumps(facts | {"sha256": checksum})})


def shard_facts(file: Path) -> dict[str, Any]:
    """What `write_shard` noted, with "sha256". Raises ValueError where the file is no shard."""
    try:
        with safe_open(file, "np") as content:
            return json.loads(content.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{file} is damaged, or not a file that this program wrote") from None


def verify(file: Path) -> dict[str, Any]:
    """Compare a shard with its checksum; return its facts. Raises ValueError where it has changed."""
    facts = shard_facts(file)
    with safe_open(file, "np") as content:
        found = _sha256({name: content.get_tensor(name) for name in content.keys()})
    if found != facts["sha256"]:
        raise ValueError(f"{file} is damaged: its SHA-256 is {found:.12}…, expected {facts['sha256']:.12}…")
    return facts


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


class Rows:
    """One tensor (N, …) in shards, read like a tensor in memory: `rows[index]`, `rows[:10]`, `rows.split(256)`."""

    def __init__(self, files: list[Path], name: str, device: str | torch.device = "cpu"):
        """Open the tensor `name` of some shards, all of them of one length but the last.

        device: where the rows that are read are put.
        Raises: ValueError where a file is no shard.
        """
        self.files, self.name, self.device = files, name, torch.device(device)
        self._open: dict[int, Any] = {}
        self.facts = [shard_facts(file) for file in files]
        lengths = [self._slice(number).get_shape()[0] for number in range(len(files))]
        self.per_shard = lengths[0]
        if any(length != self.per_shard for length in lengths[:-1]) or lengths[-1] > self.per_shard:
            raise ValueError(f"the shards in {files[0].parent} have {lengths} rows; expected one length, the last less")
        self.shape = torch.Size([sum(lengths), *self._slice(0).get_shape()[1:]])
        self._dtype = self._slice(0)[:0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The rows `index` (B,) int64, or a slice of them, as a tensor (B, …) on the device."""
        numbers = list(range(len(self))[index]) if isinstance(index, slice) else index.tolist()
        found = np.empty((len(numbers), *self.shape[1:]), self._dtype)
        for place, number in enumerate(numbers):
            shard, row = divmod(number, self.per_shard)
            found[place] = self._slice(shard)[row : row + 1][0]
        return torch.from_numpy(found).to(self.device)

    def to(self, device: str | torch.device) -> "Rows":
        """The same rows, put on another device when they are read."""
        return Rows(self.files, self.name, device)

    def split(self, length: int) -> Iterator[Tensor]:
        """All rows in order, `length` at a time."""
        for first in range(0, len(self), length):
            yield self[first : first + length]

    @property
    def digest(self) -> str:
        """A checksum of everything, from those of the files."""
        return hashlib.sha256("".join(facts["sha256"] for facts in self.facts).encode()).hexdigest()

    def _slice(self, shard: int) -> Any:
        """The tensor in one file, of which nothing is read before it is indexed."""
        if shard not in self._open:
            self._open[shard] = safe_open(self.files[shard], "np").__enter__()
        return self._open[shard].get_slice(self.name)
