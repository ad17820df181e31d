"""A model folder like the shipped one, with 64×64 pictures, all its parts, almost no size, and random weights."""

from pathlib import Path

import torch
from small_models import SMALL_UNET, SMALL_VAE, text_config

from tinyldm import VAE, ImageEncoder, LatentDiffusion, NoiseSchedule, TextEncoder, UNet, UNetConfig, VAEConfig
from tinyldm.clip import VisionConfig
from tinyldm.data.corpus import WORDS
from tinyldm.forward_diffusion import VELOCITY, scaled_linear_betas
from tinyldm.training.clip import new_clip
from tinyldm.training.export import export
from tinyldm.training.tokenizer import build_tokenizer


def save_small_folder(folder: Path, unet: UNetConfig = SMALL_UNET, vae: VAEConfig = SMALL_VAE) -> Path:
    """Write it to `folder`, as training does in the end."""
    torch.manual_seed(5)
    tokenizer = build_tokenizer(WORDS, 32)
    sizes = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, projection_dim=16)
    clip = new_clip(text_config(tokenizer, 32, **sizes), VisionConfig(image_size=64, patch_size=32, **sizes))
    model = LatentDiffusion(
        UNet(unet),
        VAE(vae),
        TextEncoder(clip.text, tokenizer),
        NoiseSchedule(scaled_linear_betas(), VELOCITY),
        image_encoder=ImageEncoder(clip.vision, unet.context_dim),
    )
    export(model, clip, folder.parent / "no run", folder)
    return folder
