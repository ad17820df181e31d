"""The model that `--model` names: shipped, a folder, the hub, or one file with the names of the original code."""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from tinyldm import LatentDiffusion, machine, versions
from tinyldm.cli.options import SAMPLERS, SD_VERSIONS, SINGLE_FILES
from tinyldm.formats.places import NAMED, find_model
from tinyldm.formats.schedulers import VARIANTS


def is_single_file(model: str) -> bool:
    """Is a model one file, with the names of the original code, rather than a folder?"""
    return Path(model).suffix in SINGLE_FILES and not Path(model).is_dir()


def check_model(options: argparse.Namespace) -> None:
    """Raise ValueError where the device or the weights do not exist, or an option does not go with the model."""
    machine.choose_device(options.device)
    if options.model in NAMED:
        find_model(options.model)
    if is_single_file(options.model):
        if options.tokenizer is None:
            raise ValueError(
                f"{options.model} has no tokenizer; give --tokenizer with a folder that has CLIP's vocab.json and "
                "merges.txt, such as the tokenizer/ of any Stable Diffusion folder"
            )
        if getattr(options, "variant", None) is not None:
            raise ValueError("--variant is for a folder; a single file has no variants")
        return
    for name in ("tokenizer", "ema", "sd_version"):
        if getattr(options, name):
            raise ValueError(
                f"--{name.replace('_', '-')} is for a model that is one file, {' or '.join(SINGLE_FILES)}; "
                f"--model is {options.model!r}"
            )


def load(options: argparse.Namespace, dtype: torch.dtype = torch.float32) -> LatentDiffusion:
    """Load the model that the options name."""
    device = machine.choose_device(options.device)
    if not is_single_file(options.model):
        variant = getattr(options, "variant", None)
        return LatentDiffusion.from_pretrained(options.model, device=device, dtype=dtype, variant=variant)
    version = None if options.sd_version is None else getattr(versions, SD_VERSIONS[options.sd_version])
    return LatentDiffusion.from_single_file(
        options.model, options.tokenizer, version=version, ema=options.ema, device=device, dtype=dtype
    )


def name_of_sampler(sampler: Callable) -> str:
    """What `--sampler` calls it."""
    function = VARIANTS.get(sampler, sampler).__name__
    return next((name for name, other in SAMPLERS.items() if other == function), function)
