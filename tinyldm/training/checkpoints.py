"""Checkpoints of a training run: one safetensors file that is either whole or not there.

No pickle: the file holds named tensors and one JSON text, so that opening a stranger's checkpoint cannot run code.
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
    """Write everything that a run needs to go on.

    Args:
        modules: name -> weights and buffers to keep (the model, its moving average, …).
        optimizers: name -> optimizer, whose moments are kept; learning rates are not, they follow from the step.
        facts: whatever JSON can hold: the step, the seconds, the settings.
    Raises: OSError with a line that says what to do; the checkpoint before is still whole then.
    """
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": value for key, value in state.items()}
    try:
        write_safetensors(path, tensors, {"facts": json.dumps(facts)})
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror}); the checkpoint before it is whole: "
            "free some space and go on with --resume",
        ) from error


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint, without reading its tensors. Raises ValueError if it is none."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["facts"])
    except FileNotFoundError:
        raise ValueError(f"no checkpoint at {path}; start without --resume") from None
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{path} is not a checkpoint of this program, or is damaged; start without --resume") from None


def load_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Put a checkpoint's tensors into modules and optimizers of the same shapes; return its facts.

    Raises: ValueError if the file is no checkpoint, or one of a model of another shape.
    """
    facts = read_facts(path)
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    for name, module in modules.items():
        try:
            module.load_state_dict(_part(tensors, name))
        except RuntimeError as error:
            raise ValueError(
                f"{path} does not fit: {str(error).splitlines()[-1].strip()}; the model's configuration "
                "has changed since: start without --resume"
            ) from None
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, name).items():
            index, field = key.split("/")
            state.setdefault(int(index), {})[field] = _laid_out_like(parameters[int(index)], value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """The moments of a weight in the weight's own memory order, such as channels-last, which files do not keep.

    The fused AdamW walks through weight and moments side by side in memory, without a look at their strides.
    """
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + "/")}
