"""How large the parts of a model are: as built from a configuration, and as found in a folder."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from tinyldm.clip import TextTransformer
from tinyldm.conditioning import ImageEncoder
from tinyldm.formats.folder import IMAGE_ENCODER
from tinyldm.formats.places import model_folder
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.unet import UNet
from tinyldm.vae import VAE
from tinyldm.versions import Version

# The parts of a model and the folders they are saved in.
FOLDERS = {
    "U-Net": "unet",
    "VAE": "vae",
    "text encoder": "text_encoder",
    "text encoder 2": "text_encoder_2",
    "image encoder": IMAGE_ENCODER,
}


@dataclass(frozen=True)
class Size:
    """The size of one part: its number of parameters, and the bytes that they take."""

    parameters: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.parameters:>13,} {self.bytes / 1e6:>8,.1f} MB"


def of_version(version: Version) -> dict[str, Size]:
    """The parts of a version in float32. Nothing is allocated, as they are built on the meta device."""
    with torch.device("meta"):
        parts = {"U-Net": UNet(version.unet), "VAE": VAE(version.vae)}
        for sizes, name in zip(version.text, ("text encoder", "text encoder 2")):
            parts[name] = TextTransformer(sizes)
        if version.vision is not None:
            parts["image encoder"] = ImageEncoder(VisionTransformer(version.vision), version.unet.context_dim)
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
    return {name: Size(count, 4 * count) for name, count in counts.items()}


def of_folder(name: str) -> dict[str, Size]:
    """The parts in a model folder, as they are on disk. Only the headers of the files are read.

    Raises: ValueError where there is no model folder, or a file of it is broken.
    """
    folder = model_folder(name)
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{name!r} is not a model folder: {folder / 'model_index.json'} does not exist")
    found = {}
    for part, place in FOLDERS.items():
        files = sorted((folder / place).glob("*.safetensors"))
        # Where there are several variants, the one without a name ("fp16") counts.
        files = [file for file in files if file.stem.count(".") == 0] or files
        if files:
            sizes = [_of_file(file) for file in files]
            found[part] = Size(sum(size.parameters for size in sizes), sum(size.bytes for size in sizes))
    return found


def _of_file(file: Path) -> Size:
    try:
        with safe_open(file, "pt") as content:
            shapes = [content.get_slice(key).get_shape() for key in content.keys()]
    except SafetensorError as error:
        raise ValueError(f"{file} is cut off or is not a safetensors file ({error}); fetch it again") from None
    return Size(sum(prod(shape) for shape in shapes), file.stat().st_size)
