"""Tensors on disk: reading files of weights, renaming their keys, and putting them into a network, strictly.

    diffusers  down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0.weight
    here       down.0.transformers.1.blocks.0.cross_attention.to_out.weight

Strict: every key is used once, every shape is checked, and whatever is left over is named. Cheap: networks are built
without memory (on the meta device), files are memory-mapped, and the tensors that were read become the parameters.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tinyldm.formats.files import MAX_SHOWN, explained, read_json, require_regular

# ── Names: (theirs, here), # stands for a number. Read downwards to load, upwards to save. ────────────

Table = list[tuple[str, str]]

# Inside a SpatialTransformer; diffusers and CompVis agree on these names.
TRANSFORMER = [
    (".transformer_blocks.#.", ".blocks.#."),
    (".attn1.", ".self_attention."),
    (".attn2.", ".cross_attention."),
    (".to_out.0.", ".to_out."),
    (".ff.net.0.proj.", ".feed_forward.to_value_and_gate."),
    (".ff.net.2.", ".feed_forward.to_out."),
]


def rename(key: str, table: Table) -> str:
    """Replace each left-hand template that occurs in `key` by its right-hand one, in the table's order.

    rename("down_blocks.0.resnets.1.conv1.bias", DIFFUSERS_UNET) is "down.0.resblocks.1.conv1.bias".
    """
    for old, new in table:
        start = "" if old.startswith(".") else r"(?:(?<=\.)|^)"  # at the start of a part of the name
        pattern = start + re.escape(old).replace(r"\#", r"(\d+)")
        template = new
        for group in range(1, new.count("#") + 1):
            template = template.replace("#", rf"\g<{group}>", 1)
        key = re.sub(pattern, template, key)
    return key


def rename_all(state: dict[str, Tensor], new_name: Callable[[str], str], source: str = "a model") -> dict[str, Tensor]:
    """The same tensors under other names. Raises ValueError where two of them would get the same one."""
    keys: dict[str, str] = {}
    for key in state:
        if (other := keys.setdefault(new_name(key), key)) != key:
            raise ValueError(f"{source}: {other:.200} and {key:.200} are two names of one weight; expected it once")
    return {name: state[key] for name, key in keys.items()}


def reverse(table: Table) -> Table:
    """The table that undoes another."""
    return [(new, old) for old, new in reversed(table)]


# ── Into a network ───────────────────────────────────────────────────────────────────────────────────


class _NoNormalNumbers(TorchFunctionMode):
    """Leaves tensors as they are where they would be filled with normal numbers."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        return kwargs["tensor"] if function is nn.init.normal_ else function(*args, **kwargs)


@contextmanager
def without_memory() -> Iterator[None]:
    """Networks that are built in here have shapes and no numbers: PyTorch's meta device.

    Normal numbers, with which an `nn.Embedding` starts, are not drawn at all: there, PyTorch would import its compiler
    for them, which takes a second.
    """
    with torch.device("meta"), _NoNormalNumbers():
        yield


def load_weights(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Put `state`, already renamed, into `model`: each key once, each shape checked.

    A 1×1 convolution (C, C, 1, 1) fits a linear layer (C, C): the same numbers, another shape on disk.
    The tensors themselves become the parameters, so a model built on the meta device costs no second copy.
    Raises: ValueError that names what is missing, left over, or of another shape.
    """
    expected = {name: parameter.shape for name, parameter in model.state_dict().items()}
    state = {name: _without_1x1(tensor, expected.get(name)) for name, tensor in state.items()}
    problems = [f"missing {name}" for name in expected.keys() - state.keys()]
    problems += [f"unknown {name}" for name in state.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    problems += [
        f"{name} is {tensor.dtype}, expected floating point"
        for name, tensor in state.items()
        if not tensor.is_floating_point()
    ]
    if problems:
        shown = "\n  ".join(problem[:200] for problem in sorted(problems)[:8])
        raise ValueError(f"{source} does not fit {type(model).__name__}: {len(problems)} problems\n  {shown}")
    for name, parameter in model.state_dict().items():  # in the model's layout, channels last or first
        if parameter.dim() == 4:
            last = parameter.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            state[name] = state[name].to(memory_format=layout)
    model.load_state_dict(state, assign=True)


def _without_1x1(tensor: Tensor, expected: torch.Size | None) -> Tensor:
    is_linear_stored_as_conv = tensor.shape[2:] == (1, 1) and expected is not None and len(expected) == 2
    return tensor[:, :, 0, 0] if is_linear_stored_as_conv else tensor


# ── Out of files ─────────────────────────────────────────────────────────────────────────────────────

MAX_HEADER = 16 * 2**20  # bytes of the list of tensors in a .safetensors file; Stable Diffusion XL's has 0.4 MB
MAX_PICKLE = 64 * 2**20  # bytes of the same list in a .ckpt file
MAX_TENSORS = 20_000
OWN_MAPPING = 2**20  # bytes from which on a tensor is worth a mapping of its own

# How diffusers and transformers name the files of a part: of safetensors, and of the older .bin.
DIFFUSERS_STEMS = ("diffusion_pytorch_model", "diffusion_pytorch_model")
TRANSFORMERS_STEMS = ("model", "pytorch_model")


def read_weights(folder: Path, stems: tuple[str, str], variant: str | None) -> dict[str, Tensor]:
    """All tensors of one part of a model, from its file or from the shards that its index lists.

    A .safetensors file is preferred to a .bin. Where there is neither, and the only other variant is "fp16", that.

    Args:
        stems: DIFFUSERS_STEMS or TRANSFORMERS_STEMS.
        variant: such as "fp16", a part of the files' names, or None.
    Raises: ValueError where nothing fits, with what is there instead; or where a file is broken.
    """
    for some in (variant,) if variant else (None, "fp16"):
        suffix = "" if some is None else f".{some}"
        for stem, ending, read in ((stems[0], "safetensors", read_safetensors), (stems[1], "bin", read_torch)):
            if (file := folder / f"{stem}{suffix}.{ending}").is_file():
                return read(file)
            if (index := folder / f"{stem}.{ending}.index{suffix}.json").is_file():
                return _read_shards(index, read)
    present = ", ".join(sorted(path.name for path in folder.glob("*"))) or "nothing"
    suffix = "" if variant is None else f".{variant}"
    raise ValueError(
        f"{folder / stems[0]}{suffix}.safetensors does not exist, nor does {stems[1]}{suffix}.bin; the folder holds "
        f'{present}. (A name such as {stems[0]}.bf16.safetensors needs variant="bf16", on the command line --variant '
        "bf16)"
    )


def _read_shards(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    with explained(index):
        shards = sorted(set(read_json(index)["weight_map"].values()))
        if any(Path(shard).name != shard for shard in shards):
            raise ValueError(f"{index} names a file outside its folder; fetch it again")
    state: dict[str, Tensor] = {}
    for shard in shards:
        part = read(index.parent / shard)
        if twice := part.keys() & state.keys():
            raise ValueError(f"{min(twice)} is in two shards of {index}")
        state |= part
    return state


def require_safetensors(file: Path) -> None:
    """Raise ValueError unless `file` is a regular file that begins as a .safetensors file does, with a short header."""
    require_regular(file, "weights")
    start = read_bytes_at_start(file, 8)
    size = int.from_bytes(start, "little")
    if len(start) < 8 or size > MAX_HEADER:
        raise ValueError(f"{file} is cut off or is not a safetensors file (a header of {size:,} bytes); fetch it again")


def read_bytes_at_start(file: Path, count: int) -> bytes:
    """The first bytes of a regular file, or all where it is shorter. Raises ValueError where it cannot be read."""
    try:
        with open(file, "rb") as opened:
            return opened.read(count)
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror})") from None


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file. A missing or broken file is a clear ValueError.

    They are memory-mapped, but for the convolutions: those are copied into the layout that the networks use, the large
    ones each from a mapping of its own, so that the file's pages do not stay in memory beside the copy.
    """
    require_safetensors(file)
    try:
        with safe_open(file, "pt") as mapped:
            require_few(file, len(mapped.keys()))
            state = {key: mapped.get_tensor(key) for key in mapped.keys()}
        for key in [key for key, tensor in state.items() if tensor.dim() == 4 and tensor.shape[3] > 1]:
            if state[key].nbytes < OWN_MAPPING:
                state[key] = state[key].to(memory_format=torch.channels_last)
                continue
            with safe_open(file, "pt") as mapped:
                state[key] = mapped.get_tensor(key).to(memory_format=torch.channels_last)
        return state
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(
            f"{file} is cut off or is not a safetensors file ({str(error)[:MAX_SHOWN]}); fetch it again"
        ) from None


def require_few(file: Path, count: int) -> None:
    """Raise ValueError where a file has more tensors than any model. (Stable Diffusion XL has 2,515.)"""
    if count > MAX_TENSORS:
        raise ValueError(f"{file} holds {count:,} tensors; expected the weights of a model, {MAX_TENSORS:,} at most")


# ── Pickles ──────────────────────────────────────────────────────────────────────────────────────────

# The one class that the .ckpt files of Stable Diffusion name, as the key of a note on the training. This stands
# in for it, so that nothing of Lightning is imported.
_ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})


# All that weights need. PyTorch's restricted unpickler lets more through, such as `bytearray`, which makes gigabytes
# of zeros from ten bytes, and tensors that are sparse, quantised or without memory.
SAFE_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
    *(f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char")),
    *(f"torch {kind}Storage" for kind in ("Byte", "Bool")),
}
ZIP = b"PK\x03\x04"  # how the files of `torch.save` begin, since PyTorch 1.6


def read_torch(file: Path) -> dict[str, Tensor]:
    """All tensors of a .bin or .ckpt file: a pickle, which could hold any program, so only tensors are let through.

    Raises: ValueError where the file is missing, cut off, names anything but tensors and plain containers, or would
        take much more memory than its size.
    """
    require_regular(file, "weights")
    try:
        for content in pickles_of(file):
            refuse_programs(file, content)
        with torch.serialization.safe_globals([_ModelCheckpoint]):
            # Not memory-mapped: one mapping serves all tensors, so that none could be let go before the last.
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (MemoryError, _Refused):
        raise
    except pickle.UnpicklingError as error:
        _, _, reason = str(error).partition("WeightsUnpickler error:")  # what precedes is advice not to follow
        reason = (reason or str(error)).strip().split("\n")[0].split(". ")[0][:200]
        raise ValueError(f"{file} holds more than weights and is not opened: {reason}") from None
    except Exception as error:  # noqa: BLE001  a broken pickle makes the unpickler raise nearly anything
        reason = str(error)[:200] or type(error).__name__
        raise ValueError(f"{file} is cut off or is not a torch file ({reason}); fetch it again") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(
            f"{file} holds no table of tensors, nor one under 'state_dict'; expected the weights of a model"
        )
    require_honest(file, state)
    # One after the other into the layout of the networks, so that only one of them is there twice.
    return {
        key: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for key, tensor in ((key, state.pop(key)) for key in list(state))
    }


class _Refused(ValueError):
    """A file that is whole, and is not opened."""


def pickles_of(file: Path) -> Iterator[BinaryIO]:
    """The pickles in a file of `torch.save`, before anything is unpickled: one, or the five of PyTorch before 1.6.

    Raises: ValueError where the file is an archive that unpacks to more than its own size.
    """
    with open(file, "rb") as opened:
        if not opened.read(4).startswith(ZIP):
            opened.seek(0)
            for _ in range(5):
                yield opened
            return
    with zipfile.ZipFile(file) as archive:
        parts = archive.filelist
        if any(one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size for one in parts):
            raise _Refused(f"{file} is a compressed archive, which torch.save never writes; it is not unpacked")
        if sum(one.file_size for one in parts) > file.stat().st_size:
            raise _Refused(f"{file} is an archive whose parts overlap; it is not unpacked")
        for one in parts:
            if one.filename.endswith(".pkl"):
                if one.file_size > MAX_PICKLE:
                    raise _Refused(f"{file} has a table of contents of {one.file_size:,} bytes; it is not unpickled")
                yield io.BytesIO(archive.read(one))


def refuse_programs(file: Path, content: BinaryIO) -> None:
    """Raise ValueError where a pickle names a function or a class that weights do not need."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL" and argument not in SAFE_GLOBALS:
            raise _Refused(f"{file} holds more than weights and is not opened: {argument.replace(' ', '.'):.200}")
        if operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise _Refused(f"{file} holds more than weights and is not opened: {operation.name}")


def require_honest(file: Path, state: dict[str, Tensor]) -> None:
    """Raise ValueError where tensors have no names, or show more numbers than the file holds.

    A tensor whose stride is 0 shows one number a billion times, and becomes a billion numbers when it is copied.
    """
    require_few(file, len(state))
    if nameless := [key for key in state if not isinstance(key, str)]:
        raise ValueError(f"{file} holds a tensor called {nameless[0]!r:.60}; expected a name for each")
    if odd := [key for key, tensor in state.items() if tensor.layout != torch.strided or tensor.is_meta]:
        raise ValueError(f"{file}: {odd[0]:.200} is not an ordinary tensor; expected weights")
    shown, size = sum(tensor.nbytes for tensor in state.values()), file.stat().st_size
    if shown > 2 * size:  # tied weights are shown twice
        raise ValueError(
            f"{file} has {size:,} bytes, and its tensors {shown:,}: they repeat themselves; expected weights"
        )
