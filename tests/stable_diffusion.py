"""Stable Diffusion 1, 2 and XL at reduced width, built by diffusers with random weights: what the parity tests share.

Every structural number (levels, depths, which levels attend, paddings, prediction types, sizes of the text) is
the real one; only the widths are smaller, so that a test takes seconds. (So are the groups of GroupNorm: with two
numbers in a group, all it leaves is which is larger, and twenty steps amplify a rounding error to a percent.) The configurations are those of the
published folders, in diffusers' words, and the weights never come from this package.
"""

from pathlib import Path

import diffusers
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinyldm.workshop.tokenizer import build_tokenizer

WORDS = ["a", "an", "red", "blue", "astronaut", "riding", "horse", "photo", "of", "blurry", "on", "the", "moon", "!"]

UNET = dict(
    act_fn="silu", block_out_channels=(32, 64, 64, 64), cross_attention_dim=32, attention_head_dim=8,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, in_channels=4, out_channels=4, layers_per_block=2,
    norm_num_groups=4, sample_size=8)
UNET_SD2 = {**UNET, "attention_head_dim": (4, 8, 8, 8), "use_linear_projection": True}
UNET_SD21 = {**UNET_SD2, "upcast_attention": True}
UNET_XL = {
    **UNET, "block_out_channels": (32, 64, 64), "attention_head_dim": (4, 8, 8), "cross_attention_dim": 32 + 48,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 24 + 6 * 256}

VAE = dict(
    block_out_channels=(32, 32, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, norm_num_groups=8,
    sample_size=64, scaling_factor=0.18215, force_upcast=False)

# As the folder of Stable Diffusion 1 has them; 2 at 768 pixels differs in `prediction_type` only.
SCHEDULER = dict(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, clip_sample=False,
    set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading", prediction_type="epsilon")


def tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's kind of tokenizer with a few words, 77 tokens long; Stable Diffusion 2 pads with "!"."""
    made = build_tokenizer(WORDS, length=77)
    made.pad_token = pad
    return made


def text_config(words: CLIPTokenizer, width: int = 32, act: str = "quick_gelu", projection: int = 24) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=77, hidden_act=act, projection_dim=projection,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights as if trained: no norm with gains of exactly 1, no bias of exactly 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def make_unet(config: dict = UNET, seed: int = 0) -> diffusers.UNet2DConditionModel:
    torch.manual_seed(seed)
    return shaken(diffusers.UNet2DConditionModel(**config), seed)


def make_vae(seed: int = 0, **changes) -> diffusers.AutoencoderKL:
    torch.manual_seed(seed)
    return shaken(diffusers.AutoencoderKL(**{**VAE, **changes}), seed)


def pipeline(unet: dict = UNET, act: str = "quick_gelu", pad: str = "<|endoftext|>", **scheduler):
    """Stable Diffusion 1; with other arguments, 2. One of diffusers' own pipelines."""
    torch.manual_seed(0)
    words = tokenizer(pad)
    text = shaken(CLIPTextModel(text_config(words, act=act)))
    inpaints = unet["in_channels"] == 9
    pipeline_class = diffusers.StableDiffusionInpaintPipeline if inpaints else diffusers.StableDiffusionPipeline
    pipe = pipeline_class(
        unet=make_unet(unet), vae=make_vae(), text_encoder=text, tokenizer=words,
        scheduler=diffusers.DDIMScheduler(**{**SCHEDULER, **scheduler}), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pipeline_xl() -> diffusers.StableDiffusionXLPipeline:
    """Stable Diffusion XL: two text encoders, of which the second one pads with "!" and has a pooled vector."""
    torch.manual_seed(0)
    words, words2 = tokenizer(), tokenizer("!")
    text = shaken(CLIPTextModel(text_config(words)))
    text2 = shaken(CLIPTextModelWithProjection(text_config(words2, width=48, act="gelu")), seed=2)
    pipe = diffusers.StableDiffusionXLPipeline(
        unet=make_unet(UNET_XL), vae=make_vae(scaling_factor=0.13025, force_upcast=True), text_encoder=text,
        text_encoder_2=text2, tokenizer=words, tokenizer_2=words2,
        scheduler=diffusers.EulerDiscreteScheduler(
            **{key: value for key, value in SCHEDULER.items() if key not in ("clip_sample", "set_alpha_to_one")}),
        force_zeros_for_empty_prompt=True, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def saved(pipe: diffusers.DiffusionPipeline, folder: Path, **options) -> Path:
    """The pipeline, written by diffusers."""
    pipe.save_pretrained(folder, **options)
    return folder


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
