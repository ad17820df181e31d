"""The folders of transformers' CLIP: the text transformers, and the vision transformer of pictures as context."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tinyldm.conditioning import ImageEncoder
from tinyldm.formats.files import explained, read_json, write_json, write_safetensors
from tinyldm.formats.weights import TRANSFORMERS_STEMS, load_weights, read_safetensors, read_weights, rename_all

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

# What some folders hold of the rest of CLIP, and no text-to-image model reads.
NOT_READ = ("vision_model.", "visual_projection.", "logit_scale", "text_model.logit_scale")


def load_text_encoder(folder: Path, clip_class: type, variant: str | None = None) -> nn.Module:
    """Read a CLIP text transformer from its folder, in the dtype of its file.

    Args: clip_class: transformers' CLIPTextModel, or CLIPTextModelWithProjection for XL's second one.
    """
    content = read_json(folder / "config.json")
    if (kind := content.get("model_type", "clip_text_model")) != "clip_text_model":
        raise ValueError(f"{folder / 'config.json'} describes a text encoder of type {kind!r}; expected CLIP's")
    with explained(folder / "config.json"), torch.device("meta"):
        clip = clip_class(clip_class.config_class.from_dict(content))
    load_clip_weights(clip, read_weights(folder, TRANSFORMERS_STEMS, variant), str(folder))
    return clip


def load_clip_weights(
    clip: "CLIPTextModel | CLIPTextModelWithProjection", state: dict[str, Tensor], source: str
) -> None:
    """`load_weights` for a text transformer: under the names of the hub or of the installed transformers."""
    in_memory = {_hub_name(name): name for name in clip.state_dict()}
    kept = {
        key: tensor
        for key, tensor in state.items()
        if not key.startswith(NOT_READ)
        and not key.endswith("embeddings.position_ids")  # the numbers 0 … 76
        and not (key == "text_projection.weight" and key not in in_memory)
    }
    load_weights(clip, rename_all(kept, lambda key: in_memory.get(_hub_name(key), key)), source)
    for module in clip.modules():
        if hasattr(module, "position_ids"):  # not a weight, so it is still on the meta device
            module.position_ids = torch.arange(clip.config.max_position_embeddings)[None]


def save_text_encoder(clip: "CLIPTextModel | CLIPTextModelWithProjection", folder: Path) -> None:
    """Write a text transformer under the names that the hub uses, which every version of transformers reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "config.json", {**json.loads(clip.config.to_json_string()), "architectures": [type(clip).__name__]}
    )
    write_safetensors(folder / "model.safetensors", {_hub_name(name): w for name, w in clip.state_dict().items()})


def load_image_encoder(folder: Path, context_dim: int) -> ImageEncoder | None:
    """Read an image encoder of this package, which diffusers does not have; None where there is no such folder.

    Args: context_dim: width of the context that the U-Net reads.
    """
    if not folder.is_dir():
        return None
    from transformers import CLIPVisionConfig, CLIPVisionModel

    content = read_json(folder / "config.json")
    with explained(folder / "config.json"):
        encoder = ImageEncoder(CLIPVisionModel(CLIPVisionConfig(**content)), context_dim)
    file = folder / "model.safetensors"
    load_weights(encoder, read_safetensors(file), str(file))
    return encoder


def save_image_encoder(encoder: ImageEncoder, folder: Path) -> None:
    """Write an image encoder into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", encoder.clip.config.to_diff_dict())
    write_safetensors(folder / "model.safetensors", encoder.state_dict())


def _hub_name(name: str) -> str:
    # transformers 5 dropped `text_model.` in memory, of one of the two classes; the files on the hub have it.
    return name if name.startswith(("text_model.", "text_projection.")) else "text_model." + name
