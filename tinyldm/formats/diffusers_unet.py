"""A U-Net's folder in the diffusers layout: config.json and the weights of a `UNet2DConditionModel`."""

import re
from pathlib import Path

from tinyldm.formats.files import (
    explained,
    read_json,
    refuse_others,
    require_numbers,
    require_whole,
    write_json,
    write_safetensors,
)
from tinyldm.formats.weights import (
    DIFFUSERS_STEMS,
    TRANSFORMER,
    load_weights,
    read_weights,
    rename,
    rename_all,
    reverse,
    without_memory,
)
from tinyldm.unet import UNet, UNetConfig

MAX_LATENT_SIZE = 256  # twice the side of Stable Diffusion XL's latents; a picture of 8000 pixels takes gigabytes
DIFFUSERS_UNET = [
    ("time_embedding.linear_#.", "time_mlp.linear#."),
    ("add_embedding.linear_#.", "added_mlp.linear#."),
    ("down_blocks.#.resnets.#.", "down.#.resblocks.#."),
    ("down_blocks.#.attentions.#.", "down.#.transformers.#."),
    ("down_blocks.#.downsamplers.0.", "down.#.downsample."),
    ("mid_block.resnets.0.", "middle.resblock1."),
    ("mid_block.attentions.0.", "middle.transformer."),
    ("mid_block.resnets.1.", "middle.resblock2."),
    ("up_blocks.#.resnets.#.", "up.#.resblocks.#."),
    ("up_blocks.#.attentions.#.", "up.#.transformers.#."),
    ("up_blocks.#.upsamplers.0.", "up.#.upsample."),
    ("conv_norm_out.", "norm_out."),
    (".time_emb_proj.", ".time_proj."),
    (".conv_shortcut.", ".shortcut."),
    *TRANSFORMER,
]

# What diffusers can vary and Stable Diffusion never does. A folder that says otherwise is refused.
FIXED_UNET = {
    "act_fn": "silu",
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_only_cross_attention": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-05,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}
# The most of each number; Stable Diffusion XL has the largest: 1280 channels, 10 transformers one after the other.
LARGEST_UNET = {
    "in_channels": 64,
    "out_channels": 64,
    "block_out_channels": 8192,
    "layers_per_block": 8,
    "transformer_layers_per_block": 24,
    "attention_head_dim": 1024,
    "cross_attention_dim": 16_384,
    "norm_num_groups": 1024,
}
PER_LEVEL = ("block_out_channels", "transformer_layers_per_block", "attention_head_dim", "num_attention_heads")
ADDED_TIME = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}  # Stable Diffusion XL only


def unet_config_from_diffusers(config: dict) -> UNetConfig:
    """unet/config.json -> UNetConfig. Raises ValueError for what Stable Diffusion never does."""
    refuse_others(config, FIXED_UNET)
    require_whole(config, LARGEST_UNET, PER_LEVEL)
    require_numbers(config, 0, 1, "dropout")
    if config.get("num_attention_heads") is not None:
        require_whole(config, {"num_attention_heads": 1024}, PER_LEVEL)
    levels = len(config["block_out_channels"])

    def per_level(value) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,) * levels

    attends = [block == "CrossAttnDownBlock2D" for block in config["down_block_types"]]
    refuse_others(config, _block_types(attends))
    depth = per_level(config.get("transformer_layers_per_block", 1))
    has_added = config.get("addition_embed_type") is not None
    if has_added:
        refuse_others(config, ADDED_TIME)
        require_whole(config, {"projection_class_embeddings_input_dim": 65_536})
    return UNetConfig(
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        channels=tuple(config["block_out_channels"]),
        blocks_per_level=config["layers_per_block"],
        transformer_depth=tuple(d if attend else 0 for d, attend in zip(depth, attends)),
        middle_depth=depth[-1],
        # diffusers' `attention_head_dim` is the number of heads, a name it kept for old files.
        heads=per_level(config.get("num_attention_heads") or config["attention_head_dim"]),
        context_dim=config["cross_attention_dim"],
        groups=config["norm_num_groups"],
        dropout=config.get("dropout", 0.0),
        upcast_attention=bool(config.get("upcast_attention")),
        added_dim=config["projection_class_embeddings_input_dim"] if has_added else None,
    )


def _block_types(attends: list[bool]) -> dict:
    return {
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
    }


def unet_config_to_diffusers(config: UNetConfig, latent_size: int | list[int]) -> dict:
    """UNetConfig -> unet/config.json. Raises ValueError for what diffusers cannot express."""
    last = config.transformer_depth[-1]
    if config.middle_depth < 1 or last not in (0, config.middle_depth):
        raise ValueError(
            f"middle_depth is {config.middle_depth} and the last level's depth {last}; diffusers has one "
            "number for both, so they must be equal, or the level's 0"
        )
    attends = [depth > 0 for depth in config.transformer_depth]
    depth = [max(depth, 1) for depth in config.transformer_depth[:-1]] + [config.middle_depth]
    added = (
        {} if config.added_dim is None else {**ADDED_TIME, "projection_class_embeddings_input_dim": config.added_dim}
    )
    return {
        "_class_name": "UNet2DConditionModel",
        **FIXED_UNET,
        "sample_size": latent_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks_per_level,
        **_block_types(attends),
        "transformer_layers_per_block": depth,
        "attention_head_dim": list(config.heads),
        "cross_attention_dim": config.context_dim,
        "norm_num_groups": config.groups,
        "dropout": config.dropout,
        "upcast_attention": config.upcast_attention,
        "use_linear_projection": True,
        **added,
    }


def read_unet_config(folder: Path) -> UNetConfig:
    """The configuration in a U-Net's folder. Raises ValueError for what Stable Diffusion never does."""
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"):
        return unet_config_from_diffusers(content)


def load_unet(folder: Path, variant: str | None = None) -> UNet:
    """Read a U-Net from its folder, in the dtype of its file."""
    config = read_unet_config(folder)
    with explained(folder / "config.json"), without_memory():
        unet = UNet(config)
    state = read_weights(folder, DIFFUSERS_STEMS, variant)
    state = rename_all(state, lambda key: rename(key, DIFFUSERS_UNET), str(folder))
    load_weights(unet, state, str(folder))
    return unet


def trained_size(folder: Path, factor: int) -> tuple[int, int]:
    """(height, width) in pixels that the U-Net in `folder` was trained at; factor: of its VAE."""
    config = read_json(folder / "config.json")
    with explained(folder / "config.json"):
        size = config.get("sample_size") or (64 if config.get("addition_embed_type") is None else 128)
        version = re.match(r"0\.(\d+)\.", config.get("_diffusers_version", ""))
        # Before 0.9, conversions wrote 32 for models of 512 pixels, which diffusers' pipelines put right, as here.
        if isinstance(size, int) and size < 64 and version and int(version[1]) < 9:
            size = 64
        require_whole({"sample_size": size}, {"sample_size": MAX_LATENT_SIZE}, ("sample_size",))
        height, width = size if isinstance(size, list) else (size, size)
        return height * factor, width * factor


def save_unet(unet: UNet, folder: Path, latent_size: int | list[int]) -> None:
    """Write a U-Net into a folder that diffusers' UNet2DConditionModel opens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", unet_config_to_diffusers(unet.config, latent_size))
    state = rename_all(unet.state_dict(), lambda name: rename(name, reverse(DIFFUSERS_UNET)))
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", state)
