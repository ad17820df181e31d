"""A VAE's folder in the diffusers layout: config.json and the weights of an `AutoencoderKL`."""

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
    load_weights,
    read_weights,
    rename,
    rename_all,
    reverse,
    without_memory,
)
from tinyldm.vae import VAE, VAEConfig

DIFFUSERS_VAE = [
    ("encoder.down_blocks.#.resnets.#.", "encoder.down.#.resblocks.#."),
    ("encoder.down_blocks.#.downsamplers.0.", "encoder.down.#.resample."),
    ("decoder.up_blocks.#.resnets.#.", "decoder.up.#.resblocks.#."),
    ("decoder.up_blocks.#.upsamplers.0.", "decoder.up.#.resample."),
    (".mid_block.resnets.0.", ".middle.resblock1."),
    (".mid_block.attentions.0.", ".middle.attention."),
    (".mid_block.resnets.1.", ".middle.resblock2."),
    (".conv_norm_out.", ".norm_out."),
    (".conv_shortcut.", ".shortcut."),
    (".attention.group_norm.", ".attention.norm."),
    (".attention.to_out.0.", ".attention.to_out."),
]

# What the VAE's attention was called before diffusers 0.18, and still is in the folders of Stable Diffusion 1.
OLD_VAE_ATTENTION = [
    (".attentions.0.query.", ".attentions.0.to_q."),
    (".attentions.0.key.", ".attentions.0.to_k."),
    (".attentions.0.value.", ".attentions.0.to_v."),
    (".attentions.0.proj_attn.", ".attentions.0.to_out.0."),
]


FIXED_VAE = {
    "act_fn": "silu",
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "latents_mean": None,
    "latents_std": None,
    "shift_factor": None,
}
# The most of each number; Stable Diffusion's have 512 channels.
LARGEST_VAE = {
    "in_channels": 64,
    "latent_channels": 64,
    "block_out_channels": 8192,
    "layers_per_block": 8,
    "norm_num_groups": 1024,
}


def vae_config_from_diffusers(config: dict) -> VAEConfig:
    """vae/config.json -> VAEConfig."""
    require_whole(config, LARGEST_VAE, ("block_out_channels",))
    require_numbers(config, 0, 1e6, "scaling_factor")
    levels = len(config["block_out_channels"])
    refuse_others(
        config,
        {
            **FIXED_VAE,
            "out_channels": config["in_channels"],
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
        },
    )
    return VAEConfig(
        image_channels=config["in_channels"],
        latent_channels=config["latent_channels"],
        channels=tuple(config["block_out_channels"]),
        blocks_per_level=config["layers_per_block"],
        groups=config["norm_num_groups"],
        scale=config.get("scaling_factor", 0.18215),  # the folder of Stable Diffusion 1 is older than this entry
        force_upcast=bool(config.get("force_upcast")),
    )


def vae_config_to_diffusers(config: VAEConfig, image_size: int) -> dict:
    """VAEConfig -> vae/config.json."""
    levels = len(config.channels)
    return {
        "_class_name": "AutoencoderKL",
        **FIXED_VAE,
        "sample_size": image_size,
        "in_channels": config.image_channels,
        "out_channels": config.image_channels,
        "latent_channels": config.latent_channels,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks_per_level,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": config.groups,
        "scaling_factor": config.scale,
        "force_upcast": config.force_upcast,
    }


def read_vae_config(folder: Path) -> VAEConfig:
    """The configuration in a VAE's folder. Raises ValueError for what Stable Diffusion never does."""
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"):
        return vae_config_from_diffusers(content)


def load_vae(folder: Path, variant: str | None = None) -> VAE:
    """Read a VAE from its folder, in the dtype of its file."""
    config = read_vae_config(folder)
    with explained(folder / "config.json"), without_memory():
        vae = VAE(config)
    state = read_weights(folder, DIFFUSERS_STEMS, variant)
    state = rename_all(state, lambda key: rename(key, OLD_VAE_ATTENTION + DIFFUSERS_VAE), str(folder))
    load_weights(vae, state, str(folder))
    return vae


def save_vae(vae: VAE, folder: Path, image_size: int) -> None:
    """Write a VAE into a folder that diffusers' AutoencoderKL opens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", vae_config_to_diffusers(vae.config, image_size))
    state = rename_all(vae.state_dict(), lambda name: rename(name, reverse(DIFFUSERS_VAE)))
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", state)
