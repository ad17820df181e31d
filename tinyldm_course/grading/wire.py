"""Calls and Outcomes as bytes. A frame is two lengths, a JSON tree, and its tensors in safetensors' format.

Both ends read with the same care: anything that is not exactly a frame of plain values, within the limits, is a
`BadFrame`.
Nothing is ever unpickled, and no name in a frame is looked up outside of this package.
"""

import importlib
import json
import math
import socket
import struct
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tinyldm_course.checks.calls import Call, Error, Made, Outcome, Seeded

HEADER = struct.Struct("<II")
MAX_HEADER = 2**20  # bytes with which safetensors describes the tensors: about ten thousand of them
MAX_JSON = 2**23  # a whole notebook, at worst six bytes for a character
MAX_TENSORS = 2**26  # 64 MiB: the largest exercise needs less than one
IN_SAFETENSORS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in IN_SAFETENSORS}
CLASSES = {cls.__name__: cls for cls in (Call, Outcome, Error, Seeded)}


class BadFrame(ValueError):
    """The other end sent something that is not a frame."""


class Closed(BadFrame):
    """The other end is gone."""


# ── Values as JSON ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Packer:
    """Turns a value into a JSON tree, and keeps its tensors beside it."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    bytes: int = 0

    def pack(self, value: Any) -> Any:
        """The tree of a value. Raises TypeError for what is not plain, ValueError for what is too large."""
        if value is None or type(value) in (bool, str, float):
            return value
        if type(value) is int:
            return value if abs(value) < 2**63 else {"is": "int", "hex": hex(value)}
        if isinstance(value, Tensor):
            return self._pack_tensor(value)
        if value is ...:
            return {"is": "ellipsis"}
        if isinstance(value, (list, tuple)):
            return {"is": "tuple" if isinstance(value, tuple) else "list", "of": [self.pack(item) for item in value]}
        if isinstance(value, dict):
            return {"is": "dict", "of": [[self.pack(key), self.pack(item)] for key, item in value.items()]}
        if isinstance(value, torch.dtype):
            return {"is": "dtype", "name": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"is": "device", "name": str(value)}
        if isinstance(value, Made):
            return {"is": "Made", "maker": _name_of(value.maker), "args": self.pack(value.args)}
        if type(value).__name__ in CLASSES:
            return {"is": type(value).__name__, "of": self.pack(dict(vars(value)))}
        if isinstance(value, (bool, int, float, str)):  # a subclass, such as numpy's float64 or an IntEnum
            return self.pack(next(base for base in (bool, int, float, str) if isinstance(value, base))(value))
        raise TypeError(
            f"an object of type {type(value).__name__} cannot be sent; expected tensors, numbers and strings"
        )

    def _pack_tensor(self, tensor: Tensor) -> dict:
        name = str(tensor.dtype).removeprefix("torch.")
        if name not in DTYPES or tensor.layout != torch.strided:
            raise TypeError(f"a {tensor.layout} tensor of {tensor.dtype} cannot be sent")
        if tensor.device.type == "meta":
            return {"is": "meta", "shape": list(tensor.shape), "dtype": name}
        self.bytes += tensor.numel() * tensor.element_size()
        if self.bytes > MAX_TENSORS:
            raise ValueError(f"tensors of {self.bytes:,} bytes in all; at most {MAX_TENSORS:,} can be sent")
        key = str(len(self.tensors))
        self.tensors[key] = (
            tensor.detach().cpu().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        )
        return {"is": "tensor", "key": key}


def unpack(tree: Any, tensors: dict[str, Tensor], makers: bool) -> Any:
    """The value of a tree. Raises BadFrame.

    makers: may the tree name functions of this package (`Made`)? True only in the child, which trusts its parent.
    """
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if not isinstance(tree, dict):
        raise BadFrame("a bare list")
    kind = tree.get("is")
    try:
        if kind in ("list", "tuple"):
            items = [unpack(item, tensors, makers) for item in tree["of"]]
            return tuple(items) if kind == "tuple" else items
        if kind == "dict":
            return {unpack(key, tensors, makers): unpack(item, tensors, makers) for key, item in tree["of"]}
        if kind == "tensor":
            return tensors.pop(tree["key"])  # once: a list of a million times the same would cost minutes to compare
        if kind == "meta":
            return _meta(tree["shape"], DTYPES[tree["dtype"]])
        if kind == "int":
            return int(tree["hex"], 16)
        if kind == "ellipsis":
            return ...
        if kind == "dtype":
            return DTYPES[tree["name"]]
        if kind == "device":
            return torch.device(tree["name"])
        if kind == "Made" and makers:
            return Made(_maker(tree["maker"]), unpack(tree["args"], tensors, makers))
        return CLASSES[str(kind)](**unpack(tree["of"], tensors, makers))
    except BadFrame:
        raise
    except Exception as error:  # whatever a forged tree runs into
        raise BadFrame(f"{type(error).__name__}: {error}") from None


def _meta(shape: list, dtype: torch.dtype) -> Tensor:
    if not all(type(side) is int and 0 <= side < 2**40 for side in shape) or math.prod(shape) >= 2**60:
        raise BadFrame(f"{shape} is not a valid shape")
    return torch.empty(shape, dtype=dtype, device="meta")


def _name_of(maker: Any) -> str:
    """module:name, for the child to import; so it must be where the child can see it."""
    module = maker.__module__
    if not module.startswith(("tinyldm.", "tinyldm_course.")) or module.startswith("tinyldm_course.exercises"):
        raise ValueError(
            f"{module}.{maker.__qualname__} cannot be used to build arguments during grading, because the student "
            "process cannot import it; use one of tinyldm_course.checks.makers, or a class of the core"
        )
    return f"{module}:{maker.__qualname__}"


def _maker(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module.startswith(("tinyldm.", "tinyldm_course.")):
        raise BadFrame(f"{name} is not of this package")
    return getattr(importlib.import_module(module), attribute)


# ── Frames ───────────────────────────────────────────────────────────────────────────────────────────


def frame(value: Any) -> bytes:
    """The bytes of one value. Raises TypeError or ValueError for what cannot be sent."""
    packer = Packer()
    tree = json.dumps(packer.pack(value)).encode()
    if len(tree) > MAX_JSON:
        raise ValueError(f"a value of {len(tree):,} bytes; at most {MAX_JSON:,} can be sent")
    tensors = saved(packer.tensors) if packer.tensors else b""
    return HEADER.pack(len(tree), len(tensors)) + tree + tensors


def outcome_frame(outcome: Outcome) -> bytes:
    """The frame of an outcome: the same bytes for equal ones, however long they took.

    The parent knows what it made (`Made`), and resolves no names that a child sends.
    """
    after = tuple(None if isinstance(arg, Made) else arg for arg in outcome.args_after)
    return frame(replace(outcome, args_after=after, seconds=0.0))


def saved(tensors: dict[str, Tensor]) -> bytes:
    """Contiguous tensors in safetensors' format; its own `save` takes ten times as long for small ones."""
    header, parts, place = {}, [], 0
    for key, tensor in tensors.items():
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        offsets, place = [place, place + len(parts[-1])], place + len(parts[-1])
        header[key] = {"dtype": IN_SAFETENSORS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def send(connection: socket.socket, data: bytes, deadline: float | None = None) -> None:
    """Send a frame. Raises TimeoutError if it is not accepted before the deadline (`time.monotonic()`), or Closed."""
    view = memoryview(data)
    while view:
        _wait_until(connection, deadline)
        try:
            view = view[connection.send(view[: 2**16]) :]
        except (BrokenPipeError, ConnectionError):
            raise Closed("the other end is gone") from None


def receive(connection: socket.socket, deadline: float | None = None, makers: bool = False) -> Any:
    """Read one frame. Raises TimeoutError, Closed, or BadFrame."""
    return value_of(receive_frame(connection, deadline), makers)


def receive_frame(connection: socket.socket, deadline: float | None = None) -> bytes:
    """The bytes of one frame, whatever is in them. Raises TimeoutError, Closed, or BadFrame."""
    header = _read(connection, HEADER.size, deadline)
    tree_size, tensors_size = HEADER.unpack(header)
    if tree_size > MAX_JSON or tensors_size > MAX_TENSORS + MAX_JSON:
        raise BadFrame(f"a frame of {tree_size + tensors_size:,} bytes")
    return header + _read(connection, tree_size + tensors_size, deadline)


def value_of(whole: bytes, makers: bool = False) -> Any:
    """What the bytes of a frame stand for. Raises BadFrame."""
    tree_size, _ = HEADER.unpack(whole[: HEADER.size])
    tree, data = whole[HEADER.size : HEADER.size + tree_size], whole[HEADER.size + tree_size :]
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise BadFrame("a frame of too many tensors")
    try:
        return unpack(json.loads(tree), load(data) if data else {}, makers)
    except (ValueError, RecursionError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise BadFrame(f"{type(error).__name__}: {str(error)[:200]}") from None


def _read(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        _wait_until(connection, deadline)
        try:
            piece = connection.recv(min(size - len(data), 2**16))
        except ConnectionError:
            piece = b""
        if not piece:
            raise Closed("the other end is gone")
        data += piece
    return bytes(data)


def _wait_until(connection: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        connection.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)
