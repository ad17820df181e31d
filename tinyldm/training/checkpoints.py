"""Checkpoints of a training run: one safetensors file that is either whole or not there, and holds finite numbers only.

No pickle: the file holds named tensors and one JSON text, so opening a stranger's checkpoint cannot run code.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tinyldm.formats.files import require_numbers, write_safetensors
from tinyldm.formats.weights import require_safetensors

MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # what AdamW keeps of each parameter
MAX_FACT = 1e15  # steps, seconds or images; more come from a broken file


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


class Facts(dict[str, Any]):
    """What a checkpoint says about its run. To ask for something that it does not say is a ValueError."""

    def __init__(self, path: Path, content: dict[str, Any]):
        super().__init__(content)
        self.path = path

    def __missing__(self, name: str) -> NoReturn:
        raise ValueError(f"{self.path} does not say {name!r}: it is damaged; start again with --overwrite")


def read_facts(path: Path) -> Facts:
    """The facts of a checkpoint, without reading its tensors. Raises ValueError if it is none."""
    if not path.exists():
        raise ValueError(f"no checkpoint at {path}; start without --resume")
    try:
        require_safetensors(path)
        with safe_open(path, "pt") as file:
            content = json.loads(file.metadata()["facts"])
        require_numbers(content, 0, MAX_FACT, *(name for name in ("step", "seconds", "images") if name in content))
        if not all(isinstance(content.get(name, 0), int) for name in ("step", "images")):
            raise TypeError("a number of steps that is not whole")
        if not isinstance(content.get("settings", {}), dict):
            raise TypeError("settings that are none")
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, OSError, RecursionError):
        raise ValueError(f"{path} is damaged or no checkpoint of this program; start again with --overwrite") from None
    return Facts(path, content)


def load_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Put a checkpoint's tensors into modules and optimizers of the same shapes; return its facts.

    Raises: ValueError if the file is no checkpoint, has other shapes, or holds numbers that are not finite.
    """
    facts = read_facts(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({str(error)[:200]}); start again with --overwrite") from None
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
        try:
            state = _moments(_part(tensors, name), parameters)
        except ValueError as error:
            raise ValueError(f"{path} does not fit: {name}/{error}; start again with --overwrite") from None
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


def _moments(tensors: dict[str, Tensor], parameters: list[Tensor]) -> dict[int, dict[str, Tensor]]:
    """ "3/exp_avg" -> AdamW's state of parameter 3. Raises ValueError for other keys and shapes, and missing ones."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, field = key.partition("/")
        if not index.isdecimal() or int(index[:9]) >= len(parameters) or field not in MOMENTS:
            raise ValueError(f"{key:.60} is no moment of a parameter")
        parameter = parameters[int(index[:9])]
        if value.shape != (torch.Size() if field == "step" else parameter.shape) or not value.is_floating_point():
            raise ValueError(f"{key:.60} is {value.dtype} of shape {tuple(value.shape)}")
        state.setdefault(int(index), {})[field] = _in_memory_order_of(parameter, value)
    if lacking := [index for index, one in state.items() if one.keys() != MOMENTS]:
        raise ValueError(f"{lacking[0]} lacks {' and '.join(sorted(MOMENTS - state[lacking[0]].keys()))}")
    return state


def _in_memory_order_of(parameter: Tensor, value: Tensor) -> Tensor:
    """The moments of a weight in the memory order of that weight, such as channels-last, which files do not keep.

    The fused AdamW walks through weight and moments in memory order and ignores their strides.
    """
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + "/")}
