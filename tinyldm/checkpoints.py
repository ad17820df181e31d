"""The names that diffusers and CompVis give to the weights that this package names by their function.

    diffusers  down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0.weight
    CompVis    model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_out.0.weight
    here       down.0.transformers.1.blocks.0.cross_attention.to_out.weight

The package's own format on disk *is* the diffusers folder, so a model trained here opens in diffusers and a
downloaded Stable Diffusion folder opens here. Loading is strict: every key is used once, every shape is
checked, and whatever is left over is named.

Source: diffusers `UNet2DConditionModel`, `AutoencoderKL`; CompVis stable-diffusion.
"""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, cosine_betas, linear_betas, scaled_linear_betas
from tinyldm.reverse_diffusion import leading, linspace, trailing
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig

# ── Names: (diffusers, here), # stands for a number. Read downwards to load, upwards to save. ─────────

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
    (".transformer_blocks.#.", ".blocks.#."),
    (".attn1.", ".self_attention."),
    (".attn2.", ".cross_attention."),
    (".to_out.0.", ".to_out."),
    (".ff.net.0.proj.", ".feed_forward.to_value_and_gate."),
    (".ff.net.2.", ".feed_forward.to_out."),
]

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

def rename(key: str, table: list[tuple[str, str]]) -> str:
    """Replace each left-hand template that occurs in `key` by its right-hand one, in the table's order."""
    for old, new in table:
        pattern = r"(?:(?<=\.)|^)" * (old[0] != ".") + re.escape(old).replace(r"\#", r"(\d+)")
        template = new
        for group in range(1, new.count("#") + 1):
            template = template.replace("#", rf"\g<{group}>", 1)
        key = re.sub(pattern, template, key)
    return key


def reverse(table: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The table that undoes another."""
    return [(new, old) for old, new in reversed(table)]


# ── Weights ──────────────────────────────────────────────────────────────────────────────────────────

def load_weights(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Put `state`, already renamed, into `model`: each key once, each shape checked.

    A 1×1 convolution (C, C, 1, 1) fits a linear layer (C, C): the same numbers, another shape on disk.
    The tensors themselves become the parameters, so a model built on the meta device costs no second copy.
    Raises: ValueError that names what is missing, left over, or of another shape.
    """
    expected = {name: parameter.shape for name, parameter in model.state_dict().items()}
    state = {name: tensor[:, :, 0, 0] if tensor.shape[2:] == (1, 1) and len(expected.get(name, ())) == 2 else tensor
             for name, tensor in state.items()}
    problems = [f"missing {name}" for name in expected.keys() - state.keys()]
    problems += [f"unknown {name}" for name in state.keys() - expected.keys()]
    problems += [f"{name} is {tuple(state[name].shape)}, expected {tuple(shape)}"
                 for name, shape in expected.items() if name in state and state[name].shape != shape]
    if problems:
        shown = "\n  ".join(sorted(problems)[:8])
        raise ValueError(f"{source} does not fit {type(model).__name__}: {len(problems)} problems\n  {shown}")
    model.load_state_dict(state, assign=True)


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, memory-mapped. A missing or broken file is a clear ValueError."""
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is cut off or is not a safetensors file ({error}); fetch it again") from None


def read_json(file: Path) -> dict:
    """A configuration file; a missing or broken one is a clear ValueError."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"{file} does not exist; expected a model folder in the diffusers layout") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON ({error}); fetch it again") from None


def write_json(file: Path, content: dict) -> None:
    """Write through a temporary name, so that an interrupted write leaves no half file."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, file)


def write_safetensors(file: Path, state: dict[str, Tensor]) -> None:
    """Write through a temporary name, so that a full disk or Ctrl-C leaves the old file whole."""
    temporary = file.with_name(file.name + ".tmp")
    try:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary, metadata={"format": "pt"})
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


# ── U-Net ────────────────────────────────────────────────────────────────────────────────────────────

# What diffusers can vary and Stable Diffusion never does. A folder that says otherwise is refused.
FIXED_UNET = {
    "act_fn": "silu", "center_input_sample": False, "class_embed_type": None, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "downsample_padding": 1, "dual_cross_attention": False, "encoder_hid_dim": None,
    "flip_sin_to_cos": True, "freq_shift": 0, "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-05, "only_cross_attention": False, "resnet_time_scale_shift": "default",
    "time_cond_proj_dim": None, "time_embedding_type": "positional",
}
FIXED_VAE = {"act_fn": "silu", "mid_block_add_attention": True, "use_quant_conv": True, "use_post_quant_conv": True,
             "latents_mean": None, "latents_std": None, "shift_factor": None}


def _refuse_others(config: dict, fixed: dict, what: str) -> None:
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise ValueError(f"this {what} has {name} = {config[name]!r}; this package knows only {value!r}")


def unet_config_from_diffusers(config: dict) -> UNetConfig:
    """unet/config.json -> UNetConfig."""
    _refuse_others(config, FIXED_UNET, "U-Net")
    levels = len(config["block_out_channels"])

    def per_level(value) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,) * levels

    depth = per_level(config.get("transformer_layers_per_block", 1))
    attends = ["CrossAttn" in block for block in config["down_block_types"]]
    has_added = config.get("addition_embed_type") == "text_time"
    return UNetConfig(
        in_channels=config["in_channels"], out_channels=config["out_channels"],
        channels=tuple(config["block_out_channels"]), blocks_per_level=config["layers_per_block"],
        transformer_depth=tuple(d if attend else 0 for d, attend in zip(depth, attends)), middle_depth=depth[-1],
        # diffusers' `attention_head_dim` is the number of heads, a name it kept for old files.
        heads=per_level(config.get("num_attention_heads") or config["attention_head_dim"]),
        context_dim=config["cross_attention_dim"], groups=config["norm_num_groups"],
        dropout=config.get("dropout", 0.0),
        added_dim=config["projection_class_embeddings_input_dim"] if has_added else None)


def unet_config_to_diffusers(config: UNetConfig, latent_size: int) -> dict:
    """UNetConfig -> unet/config.json. Raises ValueError for what diffusers cannot express."""
    last = config.transformer_depth[-1]
    if config.middle_depth < 1 or last not in (0, config.middle_depth):
        raise ValueError(f"middle_depth is {config.middle_depth} and the last level's depth {last}; diffusers has one "
                         "number for both, so they must be equal, or the level's 0")
    attends = [depth > 0 for depth in config.transformer_depth]
    depth = [max(depth, 1) for depth in config.transformer_depth[:-1]] + [config.middle_depth]
    added = {} if config.added_dim is None else {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": config.added_dim}
    return {
        "_class_name": "UNet2DConditionModel", **FIXED_UNET, "sample_size": latent_size,
        "in_channels": config.in_channels, "out_channels": config.out_channels,
        "block_out_channels": list(config.channels), "layers_per_block": config.blocks_per_level,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "transformer_layers_per_block": depth, "attention_head_dim": list(config.heads),
        "cross_attention_dim": config.context_dim, "norm_num_groups": config.groups, "dropout": config.dropout,
        "use_linear_projection": True, **added}


def load_unet(folder: Path) -> UNet:
    """Read a U-Net from its folder in the diffusers layout."""
    with torch.device("meta"):
        unet = UNet(unet_config_from_diffusers(read_json(folder / "config.json")))
    file = folder / "diffusion_pytorch_model.safetensors"
    state = read_safetensors(file)
    load_weights(unet, {rename(key, DIFFUSERS_UNET): tensor for key, tensor in state.items()}, str(file))
    return unet


def save_unet(unet: UNet, folder: Path, latent_size: int) -> None:
    """Write a U-Net into a folder that diffusers' UNet2DConditionModel opens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", unet_config_to_diffusers(unet.config, latent_size))
    names = reverse(DIFFUSERS_UNET)
    write_safetensors(folder / "diffusion_pytorch_model.safetensors",
                      {rename(key, names): tensor for key, tensor in unet.state_dict().items()})


# ── VAE ──────────────────────────────────────────────────────────────────────────────────────────────

def vae_config_from_diffusers(config: dict) -> VAEConfig:
    """vae/config.json -> VAEConfig."""
    _refuse_others(config, FIXED_VAE, "VAE")
    return VAEConfig(
        image_channels=config["in_channels"], latent_channels=config["latent_channels"],
        channels=tuple(config["block_out_channels"]), blocks_per_level=config["layers_per_block"],
        groups=config["norm_num_groups"], scale=config.get("scaling_factor", 0.18215))


def vae_config_to_diffusers(config: VAEConfig, image_size: int) -> dict:
    """VAEConfig -> vae/config.json."""
    levels = len(config.channels)
    return {
        "_class_name": "AutoencoderKL", **FIXED_VAE, "sample_size": image_size, "in_channels": config.image_channels,
        "out_channels": config.image_channels, "latent_channels": config.latent_channels,
        "block_out_channels": list(config.channels), "layers_per_block": config.blocks_per_level,
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": config.groups, "scaling_factor": config.scale}


def load_vae(folder: Path) -> VAE:
    """Read a VAE from its folder in the diffusers layout."""
    with torch.device("meta"):
        vae = VAE(vae_config_from_diffusers(read_json(folder / "config.json")))
    file = folder / "diffusion_pytorch_model.safetensors"
    state = read_safetensors(file)
    load_weights(vae, {rename(key, DIFFUSERS_VAE): tensor for key, tensor in state.items()}, str(file))
    return vae


def save_vae(vae: VAE, folder: Path, image_size: int) -> None:
    """Write a VAE into a folder that diffusers' AutoencoderKL opens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", vae_config_to_diffusers(vae.config, image_size))
    names = reverse(DIFFUSERS_VAE)
    write_safetensors(folder / "diffusion_pytorch_model.safetensors",
                      {rename(key, names): tensor for key, tensor in vae.state_dict().items()})


# ── Schedule ─────────────────────────────────────────────────────────────────────────────────────────

def schedule_from_diffusers(config: dict) -> NoiseSchedule:
    """scheduler/scheduler_config.json -> NoiseSchedule, whatever scheduler class the file names."""
    T = config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 0.00085), config.get("beta_end", 0.012)
    betas = {"scaled_linear": lambda: scaled_linear_betas(T, start, end), "linear": lambda: linear_betas(T, start, end),
             "squaredcos_cap_v2": lambda: cosine_betas(T)}
    predictions = {prediction.name: prediction for prediction in (EPS, VELOCITY)}
    for what, given, known in (("beta_schedule", config.get("beta_schedule", "scaled_linear"), betas),
                               ("prediction_type", config.get("prediction_type", "epsilon"), predictions)):
        if given not in known:
            raise ValueError(f"the scheduler's {what} is {given!r}; this package knows {', '.join(known)}")
    beta = betas[config.get("beta_schedule", "scaled_linear")]()
    # diffusers' own default is True, but the samplers that have no such option stop at the clean latent too.
    final = 1.0 if config.get("set_alpha_to_one", True) else 1 - beta[0].item()
    return NoiseSchedule(beta, predictions[config.get("prediction_type", "epsilon")], final)


def schedule_to_diffusers(schedule: NoiseSchedule, spacing_name: str) -> dict:
    """NoiseSchedule -> the scheduler_config.json of a DDIMScheduler.

    A schedule keeps only ᾱ, so the three families of betas are tried in turn.
    """
    alpha_bar = schedule.alpha_bar.double().cpu()
    beta = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    start, end = _tidy(beta[0].item()), _tidy(beta[-1].item())
    families = {"scaled_linear": scaled_linear_betas(schedule.T, start, end),
                "linear": linear_betas(schedule.T, start, end), "squaredcos_cap_v2": cosine_betas(schedule.T)}
    for name, candidate in families.items():
        if torch.allclose(torch.cumprod(1 - candidate, 0), alpha_bar, rtol=1e-4, atol=1e-6):
            return {"_class_name": "DDIMScheduler", "num_train_timesteps": schedule.T, "beta_schedule": name,
                    "beta_start": start, "beta_end": end, "prediction_type": schedule.prediction.name,
                    "clip_sample": False, "set_alpha_to_one": math.isclose(schedule.final_alpha_bar, 1.0),
                    "steps_offset": int(spacing_name == "leading"), "timestep_spacing": spacing_name}
    raise ValueError("this schedule is neither scaled-linear, linear nor cosine; a diffusers folder cannot express it")


def _tidy(beta: float) -> float:
    return float(f"{beta:.4g}")  # ᾱ is stored in float32, so β read back from it has a rounding error


def spacing_from_diffusers(config: dict) -> Callable[[int, int], Tensor]:
    """scheduler_config.json -> `leading`, `trailing` or `linspace`: the timesteps that sampling visits."""
    spacings = {function.__name__: function for function in (leading, trailing, linspace)}
    name = config.get("timestep_spacing", "leading")
    if name not in spacings:
        raise ValueError(f"the scheduler's timestep_spacing is {name!r}; this package knows {', '.join(spacings)}")
    return spacings[name]
