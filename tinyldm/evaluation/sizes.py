"""How large the parts of a model are: as built from a configuration, and as found in a folder."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tinyldm.clip import TextTransformer
from tinyldm.conditioning import ImageEncoder
from tinyldm.formats.compvis_file import TEXT, UNET_PREFIX, VAE_PREFIX, read_single_file
from tinyldm.formats.folder import IMAGE_ENCODER
from tinyldm.formats.places import model_folder
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.formats.weights import require_safetensors, without_memory
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
    with without_memory():
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


def of_file(name: str) -> dict[str, Size]:
    """The parts in a model that is one file, with the names of the original code; what is none of them is "other".

    Raises: ValueError where the file is missing or broken, or holds something else than Stable Diffusion.
    """
    prefixes = {"U-Net": (UNET_PREFIX,), "VAE": (VAE_PREFIX,), "text encoder": sum((some[:1] for some in TEXT), ())}
    prefixes["text encoder 2"] = TEXT[2][1:]
    parts: dict[str, list[Tensor]] = {name: [] for name in (*prefixes, "other")}
    for key, tensor in read_single_file(name).items():
        part = next((part for part, starts in prefixes.items() if key.startswith(starts)), "other")
        parts[part].append(tensor)
    return {
        part: Size(sum(tensor.numel() for tensor in tensors), sum(tensor.nbytes for tensor in tensors))
        for part, tensors in parts.items()
        if tensors
    }


def _of_file(file: Path) -> Size:
    require_safetensors(file)
    try:
        with safe_open(file, "pt") as content:
            shapes = [content.get_slice(key).get_shape() for key in content.keys()]
    except SafetensorError as error:
        raise ValueError(f"{file} is cut off or is not a safetensors file ({error}); fetch it again") from None
    return Size(sum(prod(shape) for shape in shapes), file.stat().st_size)
