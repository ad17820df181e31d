"""Tensors on disk: reading files of weights, renaming their keys, and putting them into a network, strictly.

    diffusers  down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0.weight
    here       down.0.transformers.1.blocks.0.cross_attention.to_out.weight

Strict: every key is used once, every shape is checked, and whatever is left over is named. Cheap: networks are built
without memory (on the meta device), files are memory-mapped, and the tensors that were read become the parameters.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tinyldm.formats.files import explained, read_json

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


def rename_all(state: dict[str, Tensor], new_name: Callable[[str], str]) -> dict[str, Tensor]:
    """The same tensors under other names. Raises ValueError where two of them would get the same one."""
    keys: dict[str, str] = {}
    for key in state:
        if (other := keys.setdefault(new_name(key), key)) != key:
            raise ValueError(f"{other} and {key} are two names of one weight; expected each weight once")
    return {name: state[key] for name, key in keys.items()}


def reverse(table: Table) -> Table:
    """The table that undoes another."""
    return [(new, old) for old, new in reversed(table)]


# ── Into a network ───────────────────────────────────────────────────────────────────────────────────


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
        shown = "\n  ".join(sorted(problems)[:8])
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
        f'{present}. (A name such as {stems[0]}.bf16.safetensors needs variant="bf16")'
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


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file. A missing or broken file is a clear ValueError.

    They are memory-mapped, but for the convolutions: those are copied into the layout that the networks use,
    each from a mapping of its own, so that the file's pages do not stay in memory beside the copy.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    try:
        with safe_open(file, "pt") as mapped:
            state = {key: mapped.get_tensor(key) for key in mapped.keys()}
        for key in [key for key, tensor in state.items() if tensor.dim() == 4 and tensor.shape[3] > 1]:
            with safe_open(file, "pt") as mapped:
                state[key] = mapped.get_tensor(key).to(memory_format=torch.channels_last)
        return state
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is cut off or is not a safetensors file ({error}); fetch it again") from None


# The one class that the .ckpt files of Stable Diffusion name, as the key of a note on the training. This stands
# in for it, so that nothing of Lightning is imported.
_ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})


def read_torch(file: Path) -> dict[str, Tensor]:
    """All tensors of a .bin or .ckpt file: a pickle, which could hold any program, so only tensors are let through.

    Raises: ValueError where the file is missing, cut off, or names anything but tensors and plain containers.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    try:
        with torch.serialization.safe_globals([_ModelCheckpoint]):
            # Not memory-mapped: one mapping serves all tensors, so that none could be let go before the last.
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        _, _, reason = str(error).partition("WeightsUnpickler error:")  # what precedes is advice not to follow
        reason = (reason or str(error)).strip().split("\n")[0].split(". ")[0][:200]
        raise ValueError(f"{file} holds more than weights and is not opened: {reason}") from None
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"{file} is cut off or is not a torch file ({str(error)[:200]}); fetch it again") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(
            f"{file} holds no table of tensors, nor one under 'state_dict'; expected the weights of a model"
        )
    # One after the other into the layout of the networks, so that only one of them is there twice.
    return {
        key: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for key, tensor in ((key, state.pop(key)) for key in list(state))
    }
