"""The folders of CLIP's two transformers: the text transformers, and the vision transformer of pictures as context."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from tinyldm.clip import ACTIVATIONS, ClipConfig, TextConfig, TextTransformer, VisionConfig
from tinyldm.conditioning import ImageEncoder
from tinyldm.formats.files import (
    explained,
    read_json,
    refuse_others,
    require_numbers,
    require_whole,
    write_json,
    write_safetensors,
)
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.formats.weights import (
    TRANSFORMERS_STEMS,
    load_weights,
    read_safetensors,
    read_weights,
    rename_all,
    without_memory,
)

Config = TypeVar("Config", bound=ClipConfig)

# What some folders hold of the rest of CLIP, and no text-to-image model reads.
NOT_READ = ("vision_model.", "visual_projection.", "logit_scale", "text_model.logit_scale")

# The most of each number; the largest CLIP, in Stable Diffusion XL, has 32 layers of 1280, and 77 positions.
LARGEST_CLIP = {
    "vocab_size": 2**20,
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "projection_dim": 16_384,
    "num_hidden_layers": 128,
    "num_attention_heads": 256,
    "max_position_embeddings": 1024,
    "image_size": 1024,
    "patch_size": 1024,
}
MAX_PATCHES = 4096  # of a picture, each of which attends to all


def config_from(content: dict[str, Any], config_class: type[Config]) -> Config:
    """The sizes that a configuration of transformers tells; what it leaves out has transformers' default.

    Raises: ValueError for a value that no CLIP has.
    """
    refuse_others(content, {"num_channels": 3})
    require_whole(content, LARGEST_CLIP)
    require_numbers(content, 0, 1, "layer_norm_eps")
    require_numbers(content, 0, content.get("vocab_size", 2**20) - 1, "pad_token_id")
    if (activation := content.get("hidden_act", "gelu")) not in ACTIVATIONS:
        raise ValueError(f"hidden_act is {activation!r:.60}; expected {' or '.join(ACTIVATIONS)}")
    if "patch_size" in content and (content.get("image_size", 224) // content["patch_size"]) ** 2 > MAX_PATCHES:
        raise ValueError(
            f"patches of {content['patch_size']} are too small: expected {MAX_PATCHES:,} in a picture at most"
        )
    return config_class(**{field.name: content[field.name] for field in fields(config_class) if field.name in content})


def load_text_encoder(folder: Path, variant: str | None = None, *, projects: bool = False) -> TextTransformer:
    """Read a CLIP text transformer from its folder, in the dtype of its file.

    Args: projects: it has a text projection, as Stable Diffusion XL's second one.
    """
    content = read_json(folder / "config.json")
    if (kind := content.get("model_type", "clip_text_model")) != "clip_text_model":
        raise ValueError(f"{folder / 'config.json'} describes a text encoder of type {kind!r}; expected CLIP's")
    with explained(folder / "config.json"), without_memory():
        clip = TextTransformer(config_from(content, TextConfig), projects)
    load_clip_weights(clip, read_weights(folder, TRANSFORMERS_STEMS, variant), str(folder))
    return clip


def load_clip_weights(clip: TextTransformer, state: dict[str, Tensor], source: str) -> None:
    """`load_weights` for a text transformer: under the names of the hub, or those of transformers 5 in memory."""
    kept = {
        key: tensor
        for key, tensor in state.items()
        if not key.startswith(NOT_READ)
        and not key.endswith("embeddings.position_ids")  # the numbers 0 … 76
        and not (key == "text_projection.weight" and not clip.projects)
    }
    load_weights(clip, rename_all(kept, lambda key: key.removeprefix("text_model."), source), source)


def transformers_class(clip: TextTransformer) -> str:
    """The class of transformers that opens the folder of a text transformer."""
    return "CLIPTextModelWithProjection" if clip.projects else "CLIPTextModel"


def save_text_encoder(clip: TextTransformer, folder: Path) -> None:
    """Write a text transformer under the names that the hub uses, which every version of transformers reads."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = {"model_type": "clip_text_model", "architectures": [transformers_class(clip)]}
    # As in the published folders: for the number 2, transformers pools at the largest token, as `TextTransformer` does.
    # The number of the end token itself would be another one as soon as a word is added to the vocabulary.
    start_and_end = {"bos_token_id": 0, "eos_token_id": 2}
    dtype = {"dtype": str(clip.final_layer_norm.weight.dtype).removeprefix("torch.")}
    write_json(folder / "config.json", {**asdict(clip.config), **start_and_end, **kind, **dtype})
    state = {name if name.startswith("text_pro") else f"text_model.{name}": w for name, w in clip.state_dict().items()}
    write_safetensors(folder / "model.safetensors", state)


def load_image_encoder(folder: Path, context_dim: int) -> ImageEncoder | None:
    """Read an image encoder of this package, which diffusers does not have; None where there is no such folder.

    Args: context_dim: width of the context that the U-Net reads.
    """
    if not folder.is_dir():
        return None
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"), without_memory():
        encoder = ImageEncoder(VisionTransformer(config_from(content, VisionConfig)), context_dim)
    file = folder / "model.safetensors"
    load_weights(encoder, read_safetensors(file), str(file))
    return encoder


def save_image_encoder(encoder: ImageEncoder, folder: Path) -> None:
    """Write an image encoder into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {**asdict(encoder.clip.config), "model_type": "clip_vision_model"})
    write_safetensors(folder / "model.safetensors", encoder.state_dict())
