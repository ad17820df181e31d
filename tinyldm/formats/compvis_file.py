"""The single files of CompVis: one file for the whole of Stable Diffusion, with the names of the original code.

    CompVis    model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_out.0.weight
    here       down.0.transformers.1.blocks.0.cross_attention.to_out.weight

CompVis numbers the blocks of its U-Net in one row, with `conv_in` and the downsamples among them, so here the
tables are made from a configuration; and it counts the decoder's levels from full resolution, which runs last.
A file does not say what it is: the caller names the version, and the shapes of all weights must agree.

Source: CompVis `ldm/modules/diffusionmodules/openaimodel.py` and `model.py`; OpenCLIP `transformer.py`;
Stability-AI `sgm/modules/encoders/modules.py` (XL).
"""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from tinyldm.conditioning import TextEncoder, TextEncoderXL
from tinyldm.formats import diffusers_folder as checkpoints
from tinyldm.formats.diffusers_folder import TRANSFORMER, Table, rename
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.versions import Version


def load(
    file: str | Path,
    version: Version,
    tokenizer: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LatentDiffusion:
    """Open the whole of a single file.

    Args:
        file: .safetensors or .ckpt.
        version: what the file holds, such as `versions.SD1`; the shapes of all weights must agree.
        tokenizer: a folder with CLIP's tokenizer, which such files lack. One serves all versions.
        device, dtype: as `LatentDiffusion.from_pretrained`.
    Raises: ValueError where the file is missing, broken, or holds something else.
    """
    state, source, towers = read_single_file(file), str(file), []
    for clip, sizes in zip(text_encoders_from(state, version.text, source), version.text):
        words = checkpoints.load_tokenizer(Path(tokenizer))
        words.pad_token = words.convert_ids_to_tokens(sizes["pad_token_id"])  # all that differs between versions
        towers += [clip, words]
    text_encoder = TextEncoder(*towers) if len(version.text) == 1 else TextEncoderXL(*towers)
    model = LatentDiffusion(
        unet_from(state, version.unet, source),
        vae_from(state, version.vae, source),
        text_encoder,
        version.schedule(),
        image_size=(version.image_size, version.image_size),
        spacing=version.spacing,
    )
    return model.to(device, dtype)


# ── What a file holds ────────────────────────────────────────────────────────────────────────────────

UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
TEXT = (
    ("cond_stage_model.transformer.",),  # Stable Diffusion 1: CLIP
    ("cond_stage_model.model.",),  # 2: OpenCLIP
    ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
)  # XL: one of each

# What else such files hold and no part of the model needs. A key that is named nowhere here is an error.
EXTRA_GROUPS = (
    "model_ema.",  # a second U-Net, the moving average, where it was not pruned
    "cond_stage_model.model.transformer.resblocks.23.",  # Stable Diffusion 2 reads the layer before this last one
)
EXTRAS = {
    "cond_stage_model.model.text_projection",  # nor does it read the pooled vector
    "cond_stage_model.model.logit_scale",  # OpenCLIP's temperature, of its own training
    "conditioner.embedders.1.model.logit_scale",
    "logvar",
    "scale_factor",  # of the training loss; of the latent: `VAEConfig.scale`
    # The noise schedule, which follows from its betas; the last one is XL's.
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "denoiser.sigmas",
}


def read_single_file(file: str | Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors or .ckpt file. A missing or broken file is a ValueError."""
    file = Path(file)
    return checkpoints.read_safetensors(file) if file.suffix == ".safetensors" else read_ckpt(file)


# The one class that the .ckpt files of Stable Diffusion name, as the key of a note on the training. This stands
# in for it, so that nothing of Lightning is imported.
_ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})


def read_ckpt(file: Path) -> dict[str, Tensor]:
    """All tensors of a .ckpt file: a pickle, which could hold any program, so only tensors are let through.

    Raises: ValueError where the file is missing, cut off, or names anything but tensors and plain containers.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    try:
        with torch.serialization.safe_globals([_ModelCheckpoint]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{file} holds more than weights and is not opened: {str(error)[-200:]}") from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{file} is cut off or is not a torch file ({str(error)[:200]}); fetch it again") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{file} holds no table of tensors under 'state_dict'; expected a CompVis checkpoint")
    # One after the other into the layout of the networks, so that only one of them is there twice.
    return {
        key: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for key, tensor in ((key, state.pop(key)) for key in list(state))
    }


def part(state: dict[str, Tensor], prefix: str, source: str) -> dict[str, Tensor]:
    """The tensors under one prefix, without it. Raises ValueError where a key of the file belongs to no part."""
    known = (UNET_PREFIX, VAE_PREFIX, *sum(TEXT, ()), *EXTRA_GROUPS)
    if strange := [key for key in state if key not in EXTRAS and not key.startswith(known)]:
        raise ValueError(
            f"{source} holds {len(strange)} keys that belong to no part of Stable Diffusion, such as "
            f"{', '.join(sorted(strange)[:4])}; expected a CompVis checkpoint of version 1, 2 or XL"
        )
    found = {
        key.removeprefix(prefix): tensor
        for key, tensor in state.items()
        if key.startswith(prefix) and key not in EXTRAS and not key.startswith(EXTRA_GROUPS)
    }
    if not found:
        raise ValueError(f"{source} has no key that starts with {prefix!r}")
    return found


# ── U-Net ────────────────────────────────────────────────────────────────────────────────────────────


def unet_table(config: UNetConfig) -> Table:
    """(CompVis, here) for the U-Net of this configuration."""
    per_level, table = config.blocks_per_level + 1, []
    for i in range(len(config.channels)):
        for j in range(config.blocks_per_level):
            number = 1 + i * per_level + j  # number 0 is conv_in
            table += [
                (f"input_blocks.{number}.0.", f"down.{i}.resblocks.{j}."),
                (f"input_blocks.{number}.1.", f"down.{i}.transformers.{j}."),
            ]
        table.insert(0, (f"input_blocks.{(i + 1) * per_level}.0.op.", f"down.{i}.downsample.conv."))
    for i, depth in enumerate(reversed(config.transformer_depth)):
        for j in range(per_level):
            number = i * per_level + j
            table += [
                (f"output_blocks.{number}.0.", f"up.{i}.resblocks.{j}."),
                (f"output_blocks.{number}.1.", f"up.{i}.transformers.{j}."),
            ]
        # The upsample stands behind the SpatialTransformer, or in its place.
        table.insert(0, (f"output_blocks.{number}.{2 if depth else 1}.conv.", f"up.{i}.upsample.conv."))
    return table + [
        ("time_embed.0.", "time_mlp.linear1."),
        ("time_embed.2.", "time_mlp.linear2."),
        ("label_emb.0.0.", "added_mlp.linear1."),
        ("label_emb.0.2.", "added_mlp.linear2."),
        ("input_blocks.0.0.", "conv_in."),
        ("out.0.", "norm_out."),
        ("out.2.", "conv_out."),
        ("middle_block.0.", "middle.resblock1."),
        ("middle_block.1.", "middle.transformer."),
        ("middle_block.2.", "middle.resblock2."),
        (".in_layers.0.", ".norm1."),
        (".in_layers.2.", ".conv1."),
        (".emb_layers.1.", ".time_proj."),
        (".out_layers.0.", ".norm2."),
        (".out_layers.3.", ".conv2."),
        (".skip_connection.", ".shortcut."),
        *TRANSFORMER,
    ]


def load_unet(file: str | Path, config: UNetConfig) -> UNet:
    """Read the U-Net of a single file, such as `load_unet(file, versions.SDXL.unet)`, in the file's dtype."""
    return unet_from(read_single_file(file), config, str(file))


def unet_from(state: dict[str, Tensor], config: UNetConfig, source: str) -> UNet:
    """The U-Net in the tensors of a whole file; source: its name, for messages."""
    with torch.device("meta"):
        unet = UNet(config)
    table, weights = unet_table(config), part(state, UNET_PREFIX, source)
    checkpoints.load_weights(unet, checkpoints.rename_all(weights, lambda key: rename(key, table)), source)
    return unet


# ── VAE ──────────────────────────────────────────────────────────────────────────────────────────────


def vae_table(config: VAEConfig) -> Table:
    """(CompVis, here) for the VAE of this configuration."""
    last = len(config.channels) - 1
    table = [
        ("encoder.down.#.block.#.", "encoder.down.#.resblocks.#."),
        ("encoder.down.#.downsample.", "encoder.down.#.resample."),
    ]
    for i in range(last + 1):  # up.0 is full resolution there, the lowest here
        table += [
            (f"decoder.up.{last - i}.block.#.", f"decoder.up.{i}.resblocks.#."),
            (f"decoder.up.{last - i}.upsample.", f"decoder.up.{i}.resample."),
        ]
    return table + [
        (".mid.block_#.", ".middle.resblock#."),
        (".mid.attn_1.", ".middle.attention."),
        (".attention.q.", ".attention.to_q."),
        (".attention.k.", ".attention.to_k."),
        (".attention.v.", ".attention.to_v."),
        (".attention.proj_out.", ".attention.to_out."),
        (".nin_shortcut.", ".shortcut."),
    ]


def load_vae(file: str | Path, config: VAEConfig) -> VAE:
    """Read the VAE of a single file, such as `load_vae(file, versions.SD1.vae)`, in the file's dtype."""
    return vae_from(read_single_file(file), config, str(file))


def vae_from(state: dict[str, Tensor], config: VAEConfig, source: str) -> VAE:
    """The VAE in the tensors of a whole file; source: its name, for messages."""
    with torch.device("meta"):
        vae = VAE(config)
    table, weights = vae_table(config), part(state, VAE_PREFIX, source)
    checkpoints.load_weights(vae, checkpoints.rename_all(weights, lambda key: rename(key, table)), source)
    return vae


# ── Text encoders ────────────────────────────────────────────────────────────────────────────────────

OPEN_CLIP = [
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("token_embedding.", "embeddings.token_embedding."),
    ("ln_final.", "final_layer_norm."),
    ("text_projection", "text_projection.weight"),
    ("transformer.resblocks.#.", "encoder.layers.#."),
    (".attn.", ".self_attn."),
    (".ln_#.", ".layer_norm#."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
]


def text_encoders_from(state: dict[str, Tensor], text: tuple[dict, ...], source: str) -> list[nn.Module]:
    """The text transformers in the tensors of a whole file: one for Stable Diffusion 1 and 2, two for XL.

    Args: text: arguments of CLIPTextConfig, one dict for each, such as `versions.SD1.text`.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    prefixes = next((some for some in TEXT if any(key.startswith(some[0]) for key in state)), ())
    if len(prefixes) != len(text):
        raise ValueError(f"{source} holds {len(prefixes)} text encoders; this version has {len(text)}")
    clips = []
    for prefix, clip_class, sizes in zip(prefixes, (CLIPTextModel, CLIPTextModelWithProjection), text):
        with torch.device("meta"):
            clip = clip_class(CLIPTextConfig(**sizes))
        weights = part(state, prefix, source)
        weights = from_open_clip(weights) if prefix.endswith(".model.") else weights
        checkpoints.load_clip_weights(clip, weights, source)
        clips.append(clip)
    return clips


def from_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's weights as transformers' CLIPTextModel has them.

    OpenCLIP keeps query, key and value projection in one matrix (3 D, D), and multiplies the pooled vector by
    its text projection from the right, where a linear layer stores the transpose.
    """
    renamed = {}
    for key, tensor in state.items():
        name = rename(key, OPEN_CLIP)
        if "in_proj_" in name:
            for letter, third in zip("qkv", tensor.chunk(3)):
                renamed[name.replace("in_proj_", f"{letter}_proj.")] = third
        else:
            renamed[name] = tensor.T.contiguous() if name == "text_projection.weight" else tensor
    return renamed
