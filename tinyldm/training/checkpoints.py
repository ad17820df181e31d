"""Checkpoints of a training run: one safetensors file that is either whole or not there, and holds finite numbers only.

No pickle: the file holds named tensors and one JSON text, so opening a stranger's checkpoint cannot run code.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tinyldm.formats.files import write_safetensors


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer], facts: dict[str, Any]
) -> None:
    """Write everything that a run needs to continue.

    Args:
        modules: name -> weights and buffers to keep (the model, its moving average, …).
        optimizers: name -> optimizer, whose moments are kept; learning rates are not, as they follow from the step.
        facts: whatever JSON can hold: the step, the seconds, the settings.
    Raises: FloatingPointError where a tensor is not finite; OSError where the disk is full. The message says what to
        do; the previous checkpoint is intact in both cases.
    """
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": value for key, value in state.items()}
    tensors = {key: value.detach().cpu() for key, value in tensors.items()}
    broken = not_finite(tensors)
    if broken:
        raise FloatingPointError(
            f"{len(broken)} of {len(tensors)} tensors hold NaN or infinity, such as {broken[0]}, so nothing "
            f"was saved; {where_to_resume(path)}"
        )
    try:
        write_safetensors(path, tensors, {"facts": json.dumps(facts)})
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror}); the previous checkpoint is intact: free some space and "
            "continue with --resume",
        ) from error


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """The names of the tensors that hold NaN or infinity."""
    return [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]


def where_to_resume(path: Path) -> str:
    """What to do after the numbers of a run blew up: resume from the last checkpoint, if there is one."""
    if not path.exists():
        return "there is no earlier checkpoint: start again with a lower --lr"
    return f"the last good checkpoint is {path}, of step {read_facts(path)['step']}: --resume with a lower --lr"


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint, without reading its tensors. Raises ValueError if it is none."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["facts"])
    except FileNotFoundError:
        raise ValueError(f"no checkpoint at {path}; start without --resume") from None
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{path} is damaged or no checkpoint of this program; start again with --overwrite") from None


def load_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Put a checkpoint's tensors into modules and optimizers of the same shapes; return its facts.

    Raises: ValueError if the file is no checkpoint, has other shapes, or holds numbers that are not finite.
    """
    facts = read_facts(path)
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if not_finite(tensors):
        raise ValueError(f"{path} holds NaN or infinity: nothing can be resumed; start again with --overwrite")
    for name, module in modules.items():
        try:
            module.load_state_dict(_part(tensors, name))
        except RuntimeError as error:
            raise ValueError(
                f"{path} does not fit: {str(error).splitlines()[-1].strip()}; the model's configuration "
                "has changed since: start again with --overwrite"
            ) from None
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, name).items():
            index, field = key.split("/")
            state.setdefault(int(index), {})[field] = _in_memory_order_of(parameters[int(index)], value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


def _in_memory_order_of(parameter: Tensor, value: Tensor) -> Tensor:
    """The moments of a weight in the memory order of that weight, such as channels-last, which files do not keep.

    The fused AdamW walks through weight and moments in memory order and ignores their strides.
    """
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + "/")}
