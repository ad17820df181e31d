"""What `--lora`, `--embedding`, `--controlnet` and `--control` put beside a model."""

import argparse
from contextlib import AbstractContextManager, nullcontext

from tinyldm import LatentDiffusion
from tinyldm.beyond.controlnet import load_controlnet, steered
from tinyldm.beyond.lora import load_lora, merge
from tinyldm.beyond.textual_inversion import load_word
from tinyldm.cli.options import split_weight
from tinyldm.cli.output import to_stderr
from tinyldm.data import pictures


def check_files(options: argparse.Namespace) -> None:
    """Report mistakes that need no model: a picture without a ControlNet, a ControlNet without a picture."""
    if (options.controlnet is None) != (options.control is None):
        raise ValueError("--controlnet and --control go together: a folder, and the picture that it is to follow")
    if options.control is not None:
        pictures.open_picture(options.control)


def put_beside(model: LatentDiffusion, options: argparse.Namespace) -> None:
    """Merge the LoRAs into the model, and teach it the words."""
    for text in options.lora or []:
        file, weight = split_weight(text)
        merge(load_lora(file, model), model, weight)
    said = f"{options.caption} {options.negative or ''}".lower()
    for file in options.embedding or []:
        if (word := load_word(file, model)).lower() not in said:
            to_stderr(f"warning: {file} holds the word {word!r}, which the caption does not have")


def steering(
    model: LatentDiffusion, options: argparse.Namespace, size: tuple[int, int]
) -> AbstractContextManager[None]:
    """A block in which the ControlNet, where there is one, steers the model by its picture."""
    if options.controlnet is None:
        return nullcontext()
    folder, weight = split_weight(options.controlnet)
    control = load_controlnet(folder, options.variant).to(model.device, model.dtype)
    drawing = pictures.fitted(pictures.open_picture(options.control), size).to(model.device)
    return steered(model.unet, control, drawing, weight)
