"""A model folder like that of drawings: a VAE of factor 4, a text encoder that knows a few names, random weights."""

from dataclasses import replace
from pathlib import Path

import torch
from small_models import SMALL_UNET, text_config

from tinyldm import VAE, ImageEncoder, LatentDiffusion, TextEncoder, UNet, VAEConfig
from tinyldm.clip import TextTransformer, VisionConfig
from tinyldm.formats.files import write_json
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.training.train_joint import noise_to_the_end

SIZES = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, projection_dim=16)


def small_drawings_model(channels: int = 4, vision: bool = False) -> LatentDiffusion:
    """Pictures of 64×64 pixels, latents (channels, 16, 16)."""
    torch.manual_seed(6)
    tokenizer = build_tokenizer(["a", "panda", "fox", "flat", "noto", "style"], 16)
    tower = VisionTransformer(VisionConfig(image_size=64, patch_size=32, **SIZES)) if vision else None
    return LatentDiffusion(
        UNet(replace(SMALL_UNET, in_channels=channels, out_channels=channels, transformer_depth=(0, 1))),
        VAE(VAEConfig(channels=(8, 8, 16), blocks_per_level=1, groups=4, scale=0.5, latent_channels=channels)),
        TextEncoder(TextTransformer(text_config(tokenizer, 16, **SIZES)), tokenizer),
        noise_to_the_end(),
        image_encoder=ImageEncoder(tower, SMALL_UNET.context_dim) if vision else None,
    )


def save_small_drawings_folder(folder: Path, vision: bool = False) -> Path:
    """Write it to `folder`, with the record that it was trained on drawings."""
    small_drawings_model(vision=vision).save_pretrained(folder)
    write_json(folder / "training.json", {"unet": {"settings": {"data": "drawings"}}})
    return folder
