"""LoRA files: those of diffusers, of peft and of kohya's scripts, which are three ways to name the same two matrices.

    diffusers   unet.down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_q.lora.down.weight
    peft        unet.down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_q.lora_A.weight
    kohya       lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_q.lora_down.weight, and ….alpha
    kohya, XL   lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_q.lora_down.weight
    here        unet.down.0.transformers.1.blocks.0.cross_attention.to_q, A and B

An underscore may stand for a dot or for itself, so names are not taken apart. For each layer of the model all its
names are made, and looked up.

Source: diffusers `loaders/lora_conversion_utils.py`; peft `utils/save_and_load.py`; kohya-ss `networks/lora.py`.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from torch import Tensor

from tinyldm.formats.compvis_file import unet_table
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET
from tinyldm.formats.files import explained, read_json
from tinyldm.formats.refusals import require_file, what_file_is
from tinyldm.formats.weights import read_safetensors, read_torch, rename, reverse
from tinyldm.unet import UNetConfig

# What the two matrices are called, behind the layer's name: A is "down", B is "up".
MATRIX = re.compile(
    r"(?:\.lora|\.lora_linear_layer|_lora)?\.(lora_A|lora_B|lora_down|lora_up|down|up)(\.\w+)?\.weight$"
)
# Other ways to change a layer. A part of a key -> what it is.
OTHERS = {"hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "magnitude": "DoRA", "lora_mid": "Tucker's LoRA"}
FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")  # in a folder: of diffusers, of peft


class Matrices(NamedTuple):
    """What a file holds for one layer."""

    A: Tensor  # (r, in), or (r, in, kernel, kernel)
    B: Tensor  # (out, r), or (out, r, 1, 1)
    alpha: float


def names_of(layers: Iterable[str], unet: UNetConfig) -> dict[str, list[str]]:
    """The names of each layer in files, the one to write first.

    Args: layers: their names here, such as "unet.conv_in" and "text_encoder.clip.encoder.layers.0.mlp.fc1".
    """
    to_diffusers, to_compvis = reverse(DIFFUSERS_UNET), reverse(unet_table(unet))
    names = {}
    for name in layers:
        part, _, rest = name.partition(".")
        if part == "unet":
            theirs, old = (rename(f"{rest}.", table)[:-1] for table in (to_diffusers, to_compvis))
            kohya = [f"lora_unet_{key.replace('.', '_')}" for key in (theirs, old)]
            # peft's own files do not name the part. The first of diffusers wrote to_out_lora, and meant to_out.0.
            names[name] = [f"unet.{theirs}", f"unet.{theirs.removesuffix('.0')}", theirs, *kohya]
            continue
        tower, _, rest = rest.partition(".")
        theirs = rest if rest.startswith("text_projection") else f"text_model.{rest}"
        second = tower == "clip2"
        prefixes = ("text_encoder_2.", "lora_te2_") if second else ("text_encoder.", "lora_te_", "lora_te1_", "")
        names[name] = [p + (theirs.replace(".", "_") if p.endswith("_") else theirs) for p in prefixes]
        names[name] += [f"{prefixes[0]}{rest}"]  # as transformers 5 calls it in memory
    return names


def read_lora(file: Path, here: dict[str, str]) -> dict[str, Matrices]:
    """The matrices in a file, by the names that layers have here.

    Args:
        file: .safetensors or .bin; or a folder of diffusers or peft that has one.
        here: all names in files -> the names here.
    Raises: ValueError where it is missing, broken, something else, or for another model.
    """
    file = next((file / name for name in FILES if (file / name).is_file()), file)
    require_file(file, "LoRA weights")
    state = read_torch(file) if file.suffix in (".bin", ".pt", ".ckpt") else read_safetensors(file)
    matrices, alphas = _sorted(file, state)
    if unknown := sorted(layer for layer in matrices if layer not in here):
        raise ValueError(
            f"{file} is a LoRA for another model: of its {len(matrices)} layers this one lacks {len(unknown)}, such "
            f"as {unknown[0]:.200}"
        )
    if half := next((layer for layer, found in matrices.items() if found.keys() != {"A", "B"}), None):
        raise ValueError(f"{file} has only one of the two matrices of {half:.200}; fetch it again")
    configs, read = _configs(file), {}
    for layer, found in matrices.items():
        rank = len(found["A"])
        with explained(file):
            alpha = alphas[layer] if layer in alphas else _alpha_in(configs, layer, rank)
        if not (rank and math.isfinite(alpha)):
            raise ValueError(f"{file} has rank {rank} and alpha {alpha} for {layer:.200}; fetch it again")
        read[here[layer]] = Matrices(found["A"], found["B"], alpha)
    return read


def _sorted(file: Path, state: dict[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """The matrices of each layer, {layer: {"A": …, "B": …}}, and what alphas the file has, by its own names."""
    matrices: dict[str, dict[str, Tensor]] = {}
    alphas = {}
    for key, tensor in state.items():
        if other := next((what for part, what in OTHERS.items() if part in key), None):
            raise ValueError(f"{file} holds {other}, which changes layers in another way; expected LoRA weights")
        layer = key.removeprefix("base_model.model.").replace(".processor.", ".")
        match = MATRIX.search(layer)
        if key.endswith(".alpha") and tensor.numel() == 1:
            alphas[layer.removesuffix(".alpha")] = float(tensor)
        elif match and tensor.dim() in (2, 4) and tensor.is_floating_point():
            which = "A" if match[1] in ("lora_A", "lora_down", "down") else "B"
            matrices.setdefault(layer[: match.start()], {})[which] = tensor
        else:
            what = what_file_is(state)
            raise ValueError(f"{file} holds {what}, such as {key:.100}; expected LoRA weights and nothing beside them")
    if not matrices:
        raise ValueError(f"{file} holds nothing; expected LoRA weights")
    return matrices, alphas


def _configs(file: Path) -> dict[str, Any]:
    """What diffusers wrote into the file's header, or peft into the file beside it, of α and the like."""
    if (beside := file.with_name("adapter_config.json")).is_file():
        return read_json(beside)
    if file.suffix != ".safetensors":
        return {}
    with explained(file), safe_open(file, "pt") as opened:
        content = json.loads((opened.metadata() or {}).get("lora_adapter_metadata", "{}"))
        return content if isinstance(content, dict) else {}


def _alpha_in(configs: dict[str, Any], layer: str, rank: int) -> float:
    """α of a layer; r, which leaves B A as it is, where nothing is said."""
    part = layer.split(".")[0] + "."
    config = {key.removeprefix(part): value for key, value in configs.items()}
    patterns = config.get("alpha_pattern") or {}
    alpha = next((value for end, value in patterns.items() if layer.endswith(end)), config.get("lora_alpha", rank))
    # Rank-stabilised LoRA (Kalajdzievski 2023) divides by √r instead of r.
    return float(alpha) * (math.sqrt(rank) if config.get("use_rslora") else 1)
