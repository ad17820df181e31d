"""What this runs on: the device to choose, the versions of the libraries, and the hardware, for reports."""

import platform
from importlib import metadata
from pathlib import Path

import torch

from tinyldm import threads

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "matplotlib", "pillow", "scikit-learn")


def choose_device(name: str | None = None) -> torch.device:
    """The device called `name`; for None the best there is: CUDA, else MPS, else the CPU.

    Raises: ValueError where the device does not exist, and says what this PyTorch can see.
    """
    if name is None:
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"{name!r} is not a device; expected cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"this PyTorch ({torch.__version__}) sees no CUDA GPU; without --device the best there is will be used"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"there is no {name}: this machine has {torch.cuda.device_count()} CUDA GPUs, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("this PyTorch sees no Apple GPU; without --device the best there is will be used")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"{name!r} is not a device that is supported; expected cpu, cuda, cuda:1 or mps")
    return device


def versions() -> dict[str, str]:
    """The versions of Python, this package and the libraries that it stands on."""
    found = {"python": platform.python_version(), "tinyldm": _version("tinyldm")}
    return found | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def hardware(device: torch.device | str) -> dict[str, str | int]:
    """The machine in words: system, processor, cores and threads, and the GPU if `device` is one."""
    device = torch.device(device)
    found: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": threads.available(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    """Linux keeps the processor's name in a file; elsewhere Python knows it, or nobody does."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
