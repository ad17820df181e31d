"""Stable Diffusion 1, 2 and XL at reduced width, built by diffusers with random weights: what the parity tests share.

Every structural number (levels, depths, which levels attend, paddings, prediction types, sizes of the text) is
the real one; only the widths are smaller, so that a test takes seconds. (And there are fewer groups of GroupNorm:
with two numbers in a group, all it leaves is which is larger, and twenty steps amplify a rounding error to a
percent.) The configurations are those of the published folders, in diffusers' words, and the weights never come
from this package.
"""

from pathlib import Path

import diffusers
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinyldm.training.tokenizer import END, START, learn_merges, vocabulary

WORDS = ["a", "an", "red", "blue", "astronaut", "riding", "horse", "photo", "of", "blurry", "on", "the", "moon", "!"]

UNET = dict(
    act_fn="silu",
    block_out_channels=(32, 64, 64, 64),
    cross_attention_dim=32,
    attention_head_dim=8,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    in_channels=4,
    out_channels=4,
    layers_per_block=2,
    norm_num_groups=4,
    sample_size=8,
)
UNET_SD2 = {**UNET, "attention_head_dim": (4, 8, 8, 8), "use_linear_projection": True}
UNET_SD21 = {**UNET_SD2, "upcast_attention": True}
UNET_XL = {
    **UNET,
    "block_out_channels": (32, 64, 64),
    "attention_head_dim": (4, 8, 8),
    "cross_attention_dim": 32 + 48,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 24 + 6 * 256,
}

VAE = dict(
    block_out_channels=(32, 32, 64, 64),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=4,
    norm_num_groups=8,
    sample_size=64,
    scaling_factor=0.18215,
    force_upcast=False,
)

# As the folder of Stable Diffusion 1 has them; 2 at 768 pixels differs in `prediction_type` only.
SCHEDULER = dict(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    num_train_timesteps=1000,
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
    timestep_spacing="leading",
    prediction_type="epsilon",
)


def tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's kind of tokenizer with a few words, 77 tokens long; Stable Diffusion 2 pads with "!"."""
    merges = learn_merges(sorted(set(WORDS)))
    special = dict(unk_token=END, bos_token=START, eos_token=END, pad_token=pad)
    return CLIPTokenizer(vocab=vocabulary(merges), merges=merges, model_max_length=77, **special)


def text_config(words: CLIPTokenizer, width: int = 32, act: str = "quick_gelu", projection: int = 24) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=act,
        projection_dim=projection,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


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
        unet=make_unet(unet),
        vae=make_vae(),
        text_encoder=text,
        tokenizer=words,
        scheduler=diffusers.DDIMScheduler(**{**SCHEDULER, **scheduler}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pipeline_xl() -> diffusers.StableDiffusionXLPipeline:
    """Stable Diffusion XL: two text encoders, of which the second one pads with "!" and has a pooled vector."""
    torch.manual_seed(0)
    words, words2 = tokenizer(), tokenizer("!")
    text = shaken(CLIPTextModel(text_config(words)))
    text2 = shaken(CLIPTextModelWithProjection(text_config(words2, width=48, act="gelu")), seed=2)
    pipe = diffusers.StableDiffusionXLPipeline(
        unet=make_unet(UNET_XL),
        vae=make_vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=text,
        text_encoder_2=text2,
        tokenizer=words,
        tokenizer_2=words2,
        scheduler=diffusers.EulerDiscreteScheduler(
            **{key: value for key, value in SCHEDULER.items() if key not in ("clip_sample", "set_alpha_to_one")}
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
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


# ── CompVis single files ─────────────────────────────────────────────────────────────────────────────
# Made from diffusers' names by the rules of diffusers' conversion scripts, not by the tables of this package.


def compvis_unet(state: dict[str, Tensor], config: dict) -> dict[str, Tensor]:
    """The U-Net part of a CompVis file."""
    prefixes = {
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
        "add_embedding.linear_1.": "label_emb.0.0.",
        "add_embedding.linear_2.": "label_emb.0.2.",
        "conv_in.": "input_blocks.0.0.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
        "mid_block.resnets.0.": "middle_block.0.",
        "mid_block.attentions.0.": "middle_block.1.",
        "mid_block.resnets.1.": "middle_block.2.",
    }
    for i in range(len(config["block_out_channels"])):
        attends = "CrossAttn" in config["up_block_types"][i]
        for j in range(2):
            prefixes[f"down_blocks.{i}.resnets.{j}."] = f"input_blocks.{3 * i + j + 1}.0."
            prefixes[f"down_blocks.{i}.attentions.{j}."] = f"input_blocks.{3 * i + j + 1}.1."
        for j in range(3):
            prefixes[f"up_blocks.{i}.resnets.{j}."] = f"output_blocks.{3 * i + j}.0."
            prefixes[f"up_blocks.{i}.attentions.{j}."] = f"output_blocks.{3 * i + j}.1."
        prefixes[f"down_blocks.{i}.downsamplers.0.conv."] = f"input_blocks.{3 * i + 3}.0.op."
        prefixes[f"up_blocks.{i}.upsamplers.0."] = f"output_blocks.{3 * i + 2}.{2 if attends else 1}."
    inner = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }
    converted = {}
    for key, tensor in state.items():
        old = next(prefix for prefix in prefixes if key.startswith(prefix))
        rest = key.removeprefix(old)
        if "resnets" in old:
            name, _, kind = rest.rpartition(".")
            rest = f"{inner[name]}.{kind}"
        converted["model.diffusion_model." + prefixes[old] + rest] = tensor
    return converted


def compvis_vae(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The VAE part of a CompVis file, four levels."""
    renames = [
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
        ("mid_block.attentions.0.", "mid.attn_1."),
        ("mid_block.resnets.0.", "mid.block_1."),
        ("mid_block.resnets.1.", "mid.block_2."),
        ("group_norm.", "norm."),
        ("to_q.", "q."),
        ("to_k.", "k."),
        ("to_v.", "v."),
        ("to_out.0.", "proj_out."),
    ]
    for i in range(4):
        renames += [
            (f"up_blocks.{i}.upsamplers.0.", f"up.{3 - i}.upsample."),
            (f"down_blocks.{i}.downsamplers.0.", f"down.{i}.downsample."),
        ]
        renames += [(f"up_blocks.{i}.resnets.{j}.", f"up.{3 - i}.block.{j}.") for j in range(3)]
        renames += [(f"down_blocks.{i}.resnets.{j}.", f"down.{i}.block.{j}.") for j in range(2)]
    converted = {}
    for key, tensor in state.items():
        is_attention = ".attentions." in key and "norm" not in key and key.endswith("weight")
        for old, new in renames:
            key = key.replace(old, new)
        converted["first_stage_model." + key] = tensor[:, :, None, None] if is_attention else tensor
    return converted


def compvis_clip(clip: nn.Module, prefix: str = "cond_stage_model.transformer.") -> dict[str, Tensor]:
    """A CLIP text transformer as Stable Diffusion 1 and XL store it."""
    converted = {
        prefix + "text_model." + key.removeprefix("text_model."): tensor for key, tensor in clip.state_dict().items()
    }
    return {**converted, prefix + "text_model.embeddings.position_ids": torch.arange(77)[None]}


def compvis_open_clip(clip: nn.Module, prefix: str, projection: Tensor) -> dict[str, Tensor]:
    """The same as OpenCLIP stores it: q, k and v in one matrix, the projection transposed."""
    state = {key.removeprefix("text_model."): tensor for key, tensor in clip.state_dict().items()}
    converted = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": projection.T.contiguous(),
        "logit_scale": torch.tensor(4.6),
    }
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for i in range(clip.config.num_hidden_layers):
        for kind in ("weight", "bias"):
            block, layer = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
            thirds = [state[f"{layer}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            converted[f"{block}attn.in_proj_{kind}"] = torch.cat(thirds)  # (3 D, D)
            for name, other in names.items():
                converted[f"{block}{other}.{kind}"] = state[f"{layer}{name}.{kind}"]
    return {prefix + key: tensor for key, tensor in converted.items()}
