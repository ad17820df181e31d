"""A model of the real shape and of almost no size, with random weights."""

import torch

from tinyldm import VAE, ImageEncoder, LatentDiffusion, NoiseSchedule, TextEncoder, UNet, UNetConfig, VAEConfig
from tinyldm.clip import TextConfig, TextTransformer, VisionConfig
from tinyldm.formats.tokenizers import Tokenizer
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.forward_diffusion import VELOCITY, scaled_linear_betas

WORDS = ["a", "red", "blue", "green", "circle", "square", "star", "above", "below", "on", "grey"]

SMALL_UNET = UNetConfig(
    channels=(16, 32), blocks_per_level=1, transformer_depth=(1, 1), heads=(2, 4), context_dim=24, groups=8
)
SMALL_VAE = VAEConfig(channels=(8, 16, 16, 16), blocks_per_level=1, groups=4, scale=0.5)


def text_config(tokenizer: Tokenizer, length: int, **sizes) -> TextConfig:
    """The configuration of a text transformer that reads what this tokenizer writes."""
    return TextConfig(
        vocab_size=tokenizer.bpe.get_vocab_size(), max_position_embeddings=length, pad_token_id=tokenizer.pad, **sizes
    )


def make_model(unet: UNetConfig = SMALL_UNET, vision: bool = True, **options) -> LatentDiffusion:
    """A LatentDiffusion with random weights: images 32×32, latents (4, 4, 4), context (B, 12, 24)."""
    from tinyldm.training.tokenizer import build_tokenizer

    torch.manual_seed(1)
    tokenizer = build_tokenizer(WORDS, length=12)
    sizes = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, projection_dim=24)
    text = TextTransformer(text_config(tokenizer, 12, **sizes))
    tower = VisionTransformer(VisionConfig(image_size=32, patch_size=16, **sizes)) if vision else None
    return LatentDiffusion(
        UNet(unet),
        VAE(SMALL_VAE),
        TextEncoder(text, tokenizer),
        NoiseSchedule(scaled_linear_betas(), VELOCITY),
        image_encoder=ImageEncoder(tower, unet.context_dim) if vision else None,
        image_size=(32, 32),
        **options,
    )
