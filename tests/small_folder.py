"""A model folder like the shipped one, with 64×64 pictures, all its parts, almost no size, and random weights."""

from pathlib import Path

import torch
from small_models import SMALL_UNET, SMALL_VAE

from tinyldm import VAE, ImageEncoder, LatentDiffusion, NoiseSchedule, TextEncoder, UNet
from tinyldm.data.corpus import WORDS
from tinyldm.forward_diffusion import VELOCITY, scaled_linear_betas
from tinyldm.training.clip import new_clip
from tinyldm.training.export import export
from tinyldm.training.tokenizer import build_tokenizer


def save_small_folder(folder: Path) -> Path:
    """Write it to `folder`, as training does in the end."""
    torch.manual_seed(5)
    tokenizer = build_tokenizer(WORDS, 32)
    sizes = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, projection_dim=16)
    clip = new_clip(
        dict(
            vocab_size=len(tokenizer),
            max_position_embeddings=32,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **sizes,
        ),
        dict(image_size=64, patch_size=32, **sizes),
    )
    model = LatentDiffusion(
        UNet(SMALL_UNET),
        VAE(SMALL_VAE),
        TextEncoder(clip.text, tokenizer),
        NoiseSchedule(scaled_linear_betas(), VELOCITY),
        image_encoder=ImageEncoder(clip.vision, SMALL_UNET.context_dim),
    )
    export(model, clip, folder.parent / "no run", folder)
    return folder
