"""The names that diffusers gives to the weights that this package names by their function; files and folders.

    diffusers  down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0.weight
    here       down.0.transformers.1.blocks.0.cross_attention.to_out.weight

The package's own format on disk *is* the diffusers folder, so a model trained here opens in diffusers and a
downloaded Stable Diffusion folder opens here. Loading is strict: every key is used once, every shape is
checked, and whatever is left over is named. It is also cheap: networks are built without memory (on the
meta device), files are memory-mapped, and the tensors that were read themselves become the parameters.

The single files of CompVis are read by `workshop/compvis.py`.

Source: diffusers `UNet2DConditionModel`, `AutoencoderKL`, `DDIMScheduler`; transformers `CLIPTextModel`.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tinyldm.formats.files import write_json, write_safetensors
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, cosine_betas, linear_betas, scaled_linear_betas
from tinyldm.reverse_diffusion import leading, leading_from_zero, linspace, trailing
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

Table = list[tuple[str, str]]

# ── Names: (diffusers, here), # stands for a number. Read downwards to load, upwards to save. ─────────

# Inside a SpatialTransformer; CompVis uses these names too.
TRANSFORMER = [
    (".transformer_blocks.#.", ".blocks.#."),
    (".attn1.", ".self_attention."),
    (".attn2.", ".cross_attention."),
    (".to_out.0.", ".to_out."),
    (".ff.net.0.proj.", ".feed_forward.to_value_and_gate."),
    (".ff.net.2.", ".feed_forward.to_out."),
]

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


def rename(key: str, table: Table) -> str:
    """Replace each left-hand template that occurs in `key` by its right-hand one, in the table's order.

    rename("down_blocks.0.resnets.1.conv1.bias", DIFFUSERS_UNET) is "down.0.resblocks.1.conv1.bias".
    """
    for old, new in table:
        start = "" if old.startswith(".") else r"(?:(?<=\.)|^)"  # at the start of a part of the name
        pattern = start + re.escape(old).replace(r"\#", r"(\d+)")
        template = new
        for group in range(1, new.count("#") + 1):
            template = template.replace("#", rf"\g<{group}>", 1)
        key = re.sub(pattern, template, key)
    return key


def rename_all(state: dict[str, Tensor], new_name: Callable[[str], str]) -> dict[str, Tensor]:
    """The same tensors under other names. Raises ValueError where two of them would get the same one."""
    keys: dict[str, str] = {}
    for key in state:
        if (other := keys.setdefault(new_name(key), key)) != key:
            raise ValueError(f"{other} and {key} are two names of one weight; expected each weight once")
    return {name: state[key] for name, key in keys.items()}


def reverse(table: Table) -> Table:
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
    state = {name: _without_1x1(tensor, expected.get(name)) for name, tensor in state.items()}
    problems = [f"missing {name}" for name in expected.keys() - state.keys()]
    problems += [f"unknown {name}" for name in state.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    problems += [
        f"{name} is {tensor.dtype}, expected floating point"
        for name, tensor in state.items()
        if not tensor.is_floating_point()
    ]
    if problems:
        shown = "\n  ".join(sorted(problems)[:8])
        raise ValueError(f"{source} does not fit {type(model).__name__}: {len(problems)} problems\n  {shown}")
    for name, parameter in model.state_dict().items():  # in the model's layout, channels last or first
        if parameter.dim() == 4:
            last = parameter.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            state[name] = state[name].to(memory_format=layout)
    model.load_state_dict(state, assign=True)


def _without_1x1(tensor: Tensor, expected: torch.Size | None) -> Tensor:
    is_linear_stored_as_conv = tensor.shape[2:] == (1, 1) and expected is not None and len(expected) == 2
    return tensor[:, :, 0, 0] if is_linear_stored_as_conv else tensor


def read_weights(folder: Path, stem: str, variant: str | None) -> dict[str, Tensor]:
    """All tensors of one part of a model, from its file or from the shards that its index lists.

    Args: stem: "diffusion_pytorch_model" or "model"; variant: such as "fp16", part of the file's name, or None.
    """
    suffix = "" if variant is None else f".{variant}"
    file, index = folder / f"{stem}{suffix}.safetensors", folder / f"{stem}.safetensors.index{suffix}.json"
    if file.is_file() or not index.is_file():
        return read_safetensors(file)
    with explained(index):
        shards = sorted(set(read_json(index)["weight_map"].values()))
        if any(Path(shard).name != shard for shard in shards):
            raise ValueError(f"{index} names a file outside its folder; fetch it again")
    state: dict[str, Tensor] = {}
    for shard in shards:
        part = read_safetensors(folder / shard)
        if twice := part.keys() & state.keys():
            raise ValueError(f"{min(twice)} is in two shards of {index}")
        state |= part
    return state


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file. A missing or broken file is a clear ValueError.

    They are memory-mapped, but for the convolutions: those are copied into the layout that the networks use,
    each from a mapping of its own, so that the file's pages do not stay in memory beside the copy.
    """
    if not file.is_file():
        present = ", ".join(sorted(path.name for path in file.parent.glob("*"))) or "nothing"
        raise ValueError(
            f"{file} does not exist; its folder holds {present}. (A name such as "
            'model.fp16.safetensors needs variant="fp16"; .bin files are not read)'
        )
    try:
        with safe_open(file, "pt") as mapped:
            state = {key: mapped.get_tensor(key) for key in mapped.keys()}
        for key in [key for key, tensor in state.items() if tensor.dim() == 4 and tensor.shape[3] > 1]:
            with safe_open(file, "pt") as mapped:
                state[key] = mapped.get_tensor(key).to(memory_format=torch.channels_last)
        return state
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is cut off or is not a safetensors file ({error}); fetch it again") from None


def read_json(file: Path) -> dict:
    """A configuration file; a missing or broken one is a clear ValueError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{file} does not exist; expected a model folder in the diffusers layout") from None
    except (ValueError, RecursionError) as error:  # of which json's and UTF-8's errors are kinds
        raise ValueError(f"{file} is not JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds {content!r:.40}; expected a configuration in braces")
    return content


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """What goes wrong while the content of a configuration file is used names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{file} lacks {error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{file} does not describe a model that this package knows: {error}") from None


def download(name: str, variant: str | None) -> Path:
    """Fetch what this package reads of a model on the Hugging Face hub, or find it in the local cache.

    Args: name: "owner/name"; variant: such as "fp16", or None.  Returns: its folder.
    Raises: ValueError, with the way to get the files, where the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download

    suffix = "" if variant is None else f".{variant}"
    shard = "-?????-of-?????"
    weights = [
        f"*/{stem}{end}.safetensors"
        for stem in ("diffusion_pytorch_model", "model")
        for end in {suffix, shard + suffix, suffix + shard}
    ]  # both orders are on the hub
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=["*.json", "*/merges.txt", *weights], ignore_patterns=["safety_checker/*"]
            )
        )
    except (OSError, ValueError) as error:  # all of the hub's errors are kinds of these
        raise ValueError(
            f"{name!r} is no folder here, and the hub did not give it ({type(error).__name__}). Where "
            f"there is a connection, run: hf download {name} --local-dir FOLDER; then give FOLDER"
        ) from None


# ── U-Net ────────────────────────────────────────────────────────────────────────────────────────────

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
FIXED_VAE = {
    "act_fn": "silu",
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "latents_mean": None,
    "latents_std": None,
    "shift_factor": None,
}
ADDED_TIME = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}  # Stable Diffusion XL only


def _refuse_others(config: dict, fixed: dict) -> None:
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]!r}; this package knows only {value!r}")


def unet_config_from_diffusers(config: dict) -> UNetConfig:
    """unet/config.json -> UNetConfig. Raises ValueError for what Stable Diffusion never does."""
    _refuse_others(config, FIXED_UNET)
    levels = len(config["block_out_channels"])

    def per_level(value) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,) * levels

    attends = [block == "CrossAttnDownBlock2D" for block in config["down_block_types"]]
    _refuse_others(config, _block_types(attends))
    depth = per_level(config.get("transformer_layers_per_block", 1))
    has_added = config.get("addition_embed_type") is not None
    if has_added:
        _refuse_others(config, ADDED_TIME)
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


def load_unet(folder: Path, variant: str | None = None) -> UNet:
    """Read a U-Net from its folder in the diffusers layout, in the dtype of its file."""
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"), torch.device("meta"):
        unet = UNet(unet_config_from_diffusers(content))
    state = read_weights(folder, "diffusion_pytorch_model", variant)
    load_weights(unet, rename_all(state, lambda key: rename(key, DIFFUSERS_UNET)), str(folder))
    return unet


def image_size(folder: Path, factor: int) -> tuple[int, int]:
    """(height, width) in pixels that the U-Net in `folder` was trained at; factor: of its VAE."""
    with explained(folder / "config.json"):
        size = read_json(folder / "config.json").get("sample_size", 64)  # the default of diffusers' pipelines
        height, width = size if isinstance(size, list) else (size, size)
        return height * factor, width * factor


def save_unet(unet: UNet, folder: Path, latent_size: int | list[int]) -> None:
    """Write a U-Net into a folder that diffusers' UNet2DConditionModel opens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", unet_config_to_diffusers(unet.config, latent_size))
    state = rename_all(unet.state_dict(), lambda name: rename(name, reverse(DIFFUSERS_UNET)))
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", state)


# ── VAE ──────────────────────────────────────────────────────────────────────────────────────────────


def vae_config_from_diffusers(config: dict) -> VAEConfig:
    """vae/config.json -> VAEConfig."""
    levels = len(config["block_out_channels"])
    _refuse_others(
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


def load_vae(folder: Path, variant: str | None = None) -> VAE:
    """Read a VAE from its folder in the diffusers layout, in the dtype of its file."""
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"), torch.device("meta"):
        vae = VAE(vae_config_from_diffusers(content))
    state = read_weights(folder, "diffusion_pytorch_model", variant)
    load_weights(vae, rename_all(state, lambda key: rename(key, OLD_VAE_ATTENTION + DIFFUSERS_VAE)), str(folder))
    return vae


def save_vae(vae: VAE, folder: Path, image_size: int) -> None:
    """Write a VAE into a folder that diffusers' AutoencoderKL opens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", vae_config_to_diffusers(vae.config, image_size))
    state = rename_all(vae.state_dict(), lambda name: rename(name, reverse(DIFFUSERS_VAE)))
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", state)


# ── Text encoder ─────────────────────────────────────────────────────────────────────────────────────


def load_text_encoder(folder: Path, clip_class: type, variant: str | None = None) -> nn.Module:
    """Read a CLIP text transformer from its folder, in the dtype of its file.

    Args: clip_class: transformers' CLIPTextModel, or CLIPTextModelWithProjection for XL's second one.
    """
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"), torch.device("meta"):
        clip = clip_class(clip_class.config_class.from_dict(content))
    load_clip_weights(clip, read_weights(folder, "model", variant), str(folder))
    return clip


def load_clip_weights(
    clip: "CLIPTextModel | CLIPTextModelWithProjection", state: dict[str, Tensor], source: str
) -> None:
    """`load_weights` for a text transformer: under the names of the hub or of the installed transformers."""
    in_memory = {_hub_name(name): name for name in clip.state_dict()}
    # Older transformers stored the numbers 0 … 76 as a weight.
    state = {key: tensor for key, tensor in state.items() if not key.endswith("embeddings.position_ids")}
    load_weights(clip, rename_all(state, lambda key: in_memory.get(_hub_name(key), key)), source)
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


def load_tokenizer(folder: Path) -> "CLIPTokenizer":
    """Read CLIP's tokenizer from its folder."""
    from transformers import CLIPTokenizer

    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist; expected a folder with CLIP's tokenizer")
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library behind it raises nothing narrower
        raise ValueError(f"the tokenizer in {folder} cannot be read ({error}); fetch it again") from None


def save_tokenizer(tokenizer: "CLIPTokenizer", folder: Path) -> None:
    """Write a tokenizer for transformers 5 (tokenizer.json) and for older ones (vocab.json and merges.txt)."""
    tokenizer.save_pretrained(folder)
    if (folder / "tokenizer.json").is_file():
        model = read_json(folder / "tokenizer.json")["model"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        write_json(folder / "vocab.json", tokenizer.get_vocab())
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def _hub_name(name: str) -> str:
    # transformers 5 dropped `text_model.` in memory, of one of the two classes; the files on the hub have it.
    return name if name.startswith(("text_model.", "text_projection.")) else "text_model." + name


# ── Schedule ─────────────────────────────────────────────────────────────────────────────────────────

FIXED_SCHEDULE = {"clip_sample": False, "thresholding": False, "rescale_betas_zero_snr": False, "trained_betas": None}

# (timestep_spacing, steps_offset) -> which timesteps sampling visits. The offset has a meaning for "leading" only;
# for the others it is written as 1, because diffusers warns of everything else.
SPACINGS = {
    ("leading", 1): leading,
    ("leading", 0): leading_from_zero,
    ("trailing", 1): trailing,
    ("linspace", 1): linspace,
}


def load_schedule(folder: Path) -> tuple[NoiseSchedule, Callable[[int, int], Tensor]]:
    """Read the noise schedule, and which timesteps sampling visits, from a scheduler's folder."""
    config = read_json(folder / "scheduler_config.json")
    with explained(folder / "scheduler_config.json"):
        return schedule_from_diffusers(config), spacing_from_diffusers(config)


def schedule_from_diffusers(config: dict) -> NoiseSchedule:
    """scheduler/scheduler_config.json -> NoiseSchedule, whatever scheduler class the file names.

    What the file does not say has the default of diffusers' DDIMScheduler.
    """
    # A missing `clip_sample` is not asked about: the file then comes from a scheduler that cannot clip.
    _refuse_others(config, FIXED_SCHEDULE)
    T = config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    betas = {
        "scaled_linear": lambda: scaled_linear_betas(T, start, end),
        "linear": lambda: linear_betas(T, start, end),
        "squaredcos_cap_v2": lambda: cosine_betas(T),
    }
    predictions = {prediction.name: prediction for prediction in (EPS, VELOCITY)}
    beta_schedule, prediction = config.get("beta_schedule", "linear"), config.get("prediction_type", "epsilon")
    for what, given, known in (("beta_schedule", beta_schedule, betas), ("prediction_type", prediction, predictions)):
        if given not in known:
            raise ValueError(f"the scheduler's {what} is {given!r}; this package knows {', '.join(known)}")
    beta = betas[beta_schedule]()
    final = 1.0 if config.get("set_alpha_to_one", True) else 1 - beta[0].item()
    return NoiseSchedule(beta, predictions[prediction], final)


def spacing_from_diffusers(config: dict) -> Callable[[int, int], Tensor]:
    """scheduler_config.json -> which timesteps sampling visits, such as `leading`."""
    name = config.get("timestep_spacing", "leading")
    offset = config.get("steps_offset", 0) if name == "leading" else 1
    if (name, offset) not in SPACINGS:
        raise ValueError(
            f"the scheduler's timestep_spacing is {name!r} with steps_offset {offset!r}; this package "
            f"knows {', '.join(f'{name} with {offset}' for name, offset in SPACINGS)}"
        )
    return SPACINGS[name, offset]


def schedule_to_diffusers(schedule: NoiseSchedule, spacing: Callable[[int, int], Tensor]) -> dict:
    """NoiseSchedule and spacing -> the scheduler_config.json of a DDIMScheduler.

    A schedule keeps only ᾱ, so the three families of betas are tried in turn.
    """
    names = {function: name for name, function in SPACINGS.items()}
    if spacing not in names:
        raise ValueError(
            f"{spacing!r} is a spacing that diffusers does not have; it has "
            f"{', '.join(function.__name__ for function in names)}"
        )
    alpha_bar = schedule.alpha_bar.double().cpu()
    beta = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    start, end = _tidy(beta[0].item()), _tidy(beta[-1].item())
    families = {
        "scaled_linear": scaled_linear_betas(schedule.T, start, end),
        "linear": linear_betas(schedule.T, start, end),
        "squaredcos_cap_v2": cosine_betas(schedule.T),
    }
    for name, candidate in families.items():
        if torch.allclose(torch.cumprod(1 - candidate, 0), alpha_bar, rtol=1e-4, atol=1e-6):
            return {
                "_class_name": "DDIMScheduler",
                **FIXED_SCHEDULE,
                "num_train_timesteps": schedule.T,
                "beta_schedule": name,
                "beta_start": start,
                "beta_end": end,
                "prediction_type": schedule.prediction.name,
                "set_alpha_to_one": math.isclose(schedule.final_alpha_bar, 1.0),
                "timestep_spacing": names[spacing][0],
                "steps_offset": names[spacing][1],
            }
    raise ValueError("this schedule is neither scaled-linear, linear nor cosine; a diffusers folder cannot express it")


def _tidy(beta: float) -> float:
    return float(f"{beta:.4g}")  # ᾱ is stored in float32, so β read back from it has a rounding error
