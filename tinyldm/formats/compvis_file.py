"""The single files of CompVis: one file for the whole of Stable Diffusion, with the names of the original code.

    CompVis    model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_out.0.weight
    here       down.0.transformers.1.blocks.0.cross_attention.to_out.weight

CompVis numbers the blocks of its U-Net in one row, with `conv_in` and the downsamples among them, so here the
tables are made from a configuration; and it counts the decoder's levels from full resolution, which runs last.
A file does not say what it is: its keys tell most of it, and the shapes of all weights must agree.

Source: CompVis `ldm/modules/diffusionmodules/openaimodel.py` and `model.py`; OpenCLIP `transformer.py`;
Stability-AI `sgm/modules/encoders/modules.py` (XL).
"""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tinyldm.clip import TextConfig, TextTransformer
from tinyldm.conditioning import TextEncoder, TextEncoderXL
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE
from tinyldm.formats.files import explained
from tinyldm.formats.folder import Parts
from tinyldm.formats.refusals import EXPECTED, refuse_unet, what_is
from tinyldm.formats.text_encoders import load_clip_weights
from tinyldm.formats.tokenizers import Tokenizer, load_tokenizer, require_words_of
from tinyldm.formats.weights import (
    TRANSFORMER,
    Table,
    load_weights,
    read_safetensors,
    read_torch,
    rename,
    rename_all,
    without_memory,
)
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.versions import SD1, SDXL, Version

Tensors = dict[str, Tensor]


def open_file(file: str | Path, tokenizer: str | Path, version: Version | None = None, *, ema: bool = False) -> Parts:
    """Read the whole of a single file, in the file's dtype.

    Args:
        file: .safetensors or .ckpt.
        tokenizer: a folder with CLIP's tokenizer, which such files lack. One serves all versions.
        version: what the file holds, such as `versions.SD2_V`; the shapes of all weights must agree. None finds out,
            but for Stable Diffusion 2, whose weights do not tell what they predict.
        ema: take the U-Net's moving average (`model_ema.`), where the file has both.
    Raises: ValueError where the file is missing, broken, or holds something else.
    """
    state, source, towers = read_single_file(file), str(file), []
    version = version_of(state, source) if version is None else version
    clips = text_encoders_from(state, version.text, source)
    refuse_unet(version.unet, version.vae.latent_channels, sum(clip.config.hidden_size for clip in clips), source)
    for clip, sizes in zip(clips, version.text):
        words = load_tokenizer(Path(tokenizer))
        pad = words.bpe.id_to_token(sizes.pad_token_id) or ""  # all that differs between versions
        with explained(Path(tokenizer)):
            words = Tokenizer(words.bpe, pad, words.length)
        require_words_of(words, clip, Path(tokenizer))
        towers += [clip, words]
    return Parts(
        unet=unet_from(state, version.unet, source, ema=ema),
        vae=vae_from(state, version.vae, source),
        text_encoder=TextEncoder(*towers) if len(version.text) == 1 else TextEncoderXL(*towers),
        schedule=version.schedule(),
        spacing=version.spacing,
        image_size=(version.image_size, version.image_size),
    )


# ── What a file holds ────────────────────────────────────────────────────────────────────────────────

UNET_PREFIX, EMA_PREFIX, VAE_PREFIX = "model.diffusion_model.", "model_ema.diffusion_model", "first_stage_model."
TEXT = (
    ("cond_stage_model.transformer.",),  # Stable Diffusion 1: CLIP
    ("cond_stage_model.model.",),  # 2: OpenCLIP
    ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
)  # XL: one of each

# What else such files hold and no part of the model needs. A key that is named nowhere here is an error.
EXTRA_GROUPS = (
    "model_ema.",  # a second U-Net, the moving average, where it was not pruned
    "cond_stage_model.model.transformer.resblocks.23.",  # Stable Diffusion 2 reads the layer before this last one
    "loss.",  # of a VAE's training: its judges
)
EXTRAS = {
    "cond_stage_model.model.text_projection",  # nor does it read the pooled vector
    "cond_stage_model.model.logit_scale",  # OpenCLIP's temperature, of its own training
    "conditioner.embedders.1.model.logit_scale",
    # Of XL's first CLIP, which ComfyUI writes and nobody reads.
    "conditioner.embedders.0.logit_scale",
    "conditioner.embedders.0.text_projection",
    "conditioner.embedders.0.transformer.logit_scale",
    "conditioner.embedders.0.transformer.text_projection.weight",
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


def read_single_file(file: str | Path) -> Tensors:
    """All tensors of a .safetensors or .ckpt file.

    Raises: ValueError where the file is missing or broken, or is something else, such as a LoRA, which it then names.
    """
    file = Path(file)
    state = read_safetensors(file) if file.suffix == ".safetensors" else read_torch(file)
    if what := what_is(state):
        raise ValueError(f"{file} holds {what}; {EXPECTED}")
    return state


def version_of(state: Tensors, source: str) -> Version:
    """Which version the tensors of a whole file are: 1 or XL, each for inpainting too.

    Raises: ValueError for Stable Diffusion 2, of which two versions have equal shapes, and for what is none of them.
    """
    conv_in = state.get(UNET_PREFIX + "input_blocks.0.0.weight")
    known = [prefixes for prefixes in TEXT if all(any(key.startswith(prefix) for key in state) for prefix in prefixes)]
    if conv_in is None or not known or not any(key.startswith(VAE_PREFIX) for key in state):
        parts = {"a U-Net": conv_in is not None, "text encoders": bool(known)}
        parts["a VAE"] = any(key.startswith((VAE_PREFIX, *BARE_VAE)) for key in state)
        found = " and ".join(name for name, is_there in parts.items() if is_there) or "nothing known"
        raise ValueError(f"{source} holds {found}; expected a U-Net, a VAE and text encoders in one file")
    if known[0] == TEXT[1]:
        raise ValueError(
            f"{source} is Stable Diffusion 2, whose weights do not tell what they predict. For the 512-pixel models, "
            "which predict the noise, give version=versions.SD2 (on the command line --sd-version 2); for those of "
            "768 pixels, the velocity, version=versions.SD2_V (--sd-version 2-v)"
        )
    version = SD1 if known[0] == TEXT[0] else SDXL
    if conv_in.dim() != 4:
        raise ValueError(f"{source} holds a U-Net whose first layer is {tuple(conv_in.shape)}; expected a convolution")
    return replace(version, unet=replace(version.unet, in_channels=conv_in.shape[1]))


def take(state: Tensors, prefix: str, source: str) -> Tensors:
    """Move the tensors under one prefix out of `state`, which then needs no memory for them; without the prefix.

    Raises: ValueError where a key of the file belongs to no part.
    """
    known = (UNET_PREFIX, VAE_PREFIX, *sum(TEXT, ()), *EXTRA_GROUPS)
    if strange := [key for key in state if key not in EXTRAS and not key.startswith(known)]:
        raise ValueError(
            f"{source} holds {len(strange)} keys that belong to no part of Stable Diffusion, such as "
            f"{', '.join(sorted(strange)[:4])}; expected a CompVis checkpoint of version 1, 2 or XL"
        )
    keys = [key for key in state if key.startswith(prefix) and key not in EXTRAS and not key.startswith(EXTRA_GROUPS)]
    if not keys:
        raise ValueError(f"{source} has no key that starts with {prefix!r}")
    return {key.removeprefix(prefix): state.pop(key) for key in keys}


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


def load_unet(file: str | Path, config: UNetConfig, *, ema: bool = False) -> UNet:
    """Read the U-Net of a single file, such as `load_unet(file, versions.SDXL.unet)`, in the file's dtype."""
    return unet_from(read_single_file(file), config, str(file), ema=ema)


def unet_from(state: Tensors, config: UNetConfig, source: str, *, ema: bool = False) -> UNet:
    """Take the U-Net out of the tensors of a whole file.

    Args: source: the file's name, for messages; ema: take its moving average, whose names have lost their dots.
    """
    with without_memory():
        unet = UNet(config)
    averages = {key: state.pop(key) for key in list(state) if key.startswith(EMA_PREFIX)}
    table, weights = unet_table(config), take(state, UNET_PREFIX, source)
    if ema and not averages:
        raise ValueError(
            f"{source} has no moving average (no key starts with {EMA_PREFIX!r}); open it without ema=True, on the "
            "command line --ema"
        )
    if ema:
        names = {EMA_PREFIX + key.replace(".", ""): key for key in weights}
        weights = {names.get(key, key): tensor for key, tensor in averages.items()}
    load_weights(unet, rename_all(weights, lambda key: rename(key, table), source), source)
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


# How the keys of a file start that holds nothing but a VAE.
BARE_VAE = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


def load_vae(file: str | Path, config: VAEConfig) -> VAE:
    """Read the VAE of a single file, such as `load_vae(file, versions.SD1.vae)`, in the file's dtype.

    The file may also hold nothing but a VAE, under its bare names: those of CompVis or those of diffusers.
    """
    return vae_from(read_single_file(file), config, str(file))


def vae_from(state: Tensors, config: VAEConfig, source: str) -> VAE:
    """Take the VAE out of the tensors of a file; source: its name, for messages."""
    with without_memory():
        vae = VAE(config)
    table = DIFFUSERS_VAE if any(".mid_block." in key for key in state) else vae_table(config)
    if any(key.startswith(BARE_VAE) for key in state):
        for key in [key for key in state if key.startswith(BARE_VAE)]:
            state[VAE_PREFIX + key] = state.pop(key)
    weights = take(state, VAE_PREFIX, source)
    load_weights(vae, rename_all(weights, lambda key: rename(key, table), source), source)
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


def text_encoders_from(state: Tensors, text: tuple[TextConfig, ...], source: str) -> list[TextTransformer]:
    """Take the text transformers out of the tensors of a whole file: one for Stable Diffusion 1 and 2, two for XL.

    Args: text: the sizes of each, such as `versions.SD1.text`.
    """
    prefixes = next((some for some in TEXT if any(key.startswith(some[0]) for key in state)), ())
    if len(prefixes) != len(text):
        raise ValueError(f"{source} holds {len(prefixes)} text encoders; this version has {len(text)}")
    clips = []
    for prefix, projects, sizes in zip(prefixes, (False, True), text):
        with without_memory():
            clip = TextTransformer(sizes, projects)
        weights = take(state, prefix, source)
        with explained(Path(source)):  # whose tensors may have any shape
            weights = from_open_clip(weights) if prefix.endswith(".model.") else weights
        load_clip_weights(clip, weights, source)
        clips.append(clip)
    return clips


def from_open_clip(state: Tensors) -> Tensors:
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
