"""From a finished run to a model folder: weights in half precision, snapshots, projections, a model card."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from tinyldm.formats.files import explained, read_json, write_json, write_safetensors
from tinyldm.formats.weights import read_safetensors
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.checkpoints import not_finite, read_facts
from tinyldm.training.clip import Clip
from tinyldm.training.figures import save_curves
from tinyldm.training.model_card import write_card
from tinyldm.training.run import read_log
from tinyldm.training.train_unet import SNAPSHOTS, snapshot_folder

PROJECTIONS = "tinyldm_clip_projections.safetensors"  # what CLIP needs besides its two towers; diffusers ignores it
STARTED_FROM = "started_from.json"  # in a run's folder: how the model was trained that the run started from
CURVES = {
    "clip": ("contrastive", "binding", "describe_image", "describe_text"),
    "vae": ("l1", "edges", "perceptual"),
    "unet": ("loss",),
}


def export(model: LatentDiffusion, clip: Clip | None, out: Path, folder: Path) -> None:
    """Write a trained model to `folder` in the diffusers layout, float16.

    Args:
        model, clip: what the stages returned (neither is changed). Without a CLIP, no projections are written.
        out: the run's folder, from which logs and snapshots are taken.
        folder: where to write; a model that was there is replaced.
    Raises: FloatingPointError where a weight is too large for float16; nothing is written then.
    """
    half = in_half(model)
    networks = {"unet": half.unet, "vae": half.vae, "text_encoder": half.text_encoder, "image": half.image_encoder}
    for name, network in networks.items():
        if network is not None and not_finite(network.state_dict()):
            raise FloatingPointError(
                f"weights of the {name} do not fit into float16, so no model was written to {folder}"
            )
    half.save_pretrained(folder)
    open_as_float32(folder / "text_encoder" / "config.json")
    if clip is not None:
        write_projections(clip, folder)
    for share in SNAPSHOTS:
        source = snapshot_folder(out, share)
        if source.is_dir():
            shutil.copytree(source, folder / source.relative_to(out), dirs_exist_ok=True)
    facts = {stage: stage_facts(out, stage) for stage in CURVES if (out / f"{stage}.checkpoint.safetensors").exists()}
    if (out / STARTED_FROM).exists():
        earlier = read_json(out / STARTED_FROM)
        facts["unet"]["started_from"] = earlier.get("unet")
        facts = earlier | facts
    write_json(folder / "training.json", facts)
    for stage, names in CURVES.items():
        if (out / f"{stage}.log.jsonl").exists():
            save_curves(read_log(out / f"{stage}.log.jsonl"), names, folder / "curves" / f"{stage}.png")
    write_card(folder)


def write_projections(clip: Clip, folder: Path) -> None:
    """Write what CLIP has besides its two towers."""
    projections = {
        "text_projection.weight": clip.text_projection.weight,
        "log_scale": clip.log_scale,
        "image_projection.weight": clip.image_projection.weight,
    }
    write_safetensors(folder / PROJECTIONS, {name: value.half() for name, value in projections.items()})


def in_half(model: LatentDiffusion) -> LatentDiffusion:
    """A copy of the model on the CPU, its networks in float16."""
    networks = (model.unet, model.vae, model.text_encoder, model.image_encoder)
    parts = [None if part is None else copy.deepcopy(part).cpu() for part in networks]
    return LatentDiffusion(
        *parts[:3],
        copy.deepcopy(model.schedule).cpu(),
        image_encoder=parts[3],
        image_size=model.image_size,
        spacing=model.spacing,
        sampler=model.sampler,
        scales_noise=model.scales_noise,
    ).to("cpu", torch.float16)


def open_as_float32(config: Path) -> None:
    """Let transformers open float16 weights as float32, as diffusers does with the other parts by default."""
    content = json.loads(config.read_text(encoding="utf-8"))
    key = "torch_dtype" if "torch_dtype" in content else "dtype"  # the name changed with transformers 4.56
    write_json(config, content | {key: "float32"})


def stage_facts(out: Path, stage: str) -> dict[str, Any]:
    """How a stage was trained: steps, minutes, images seen, settings, its last logged losses."""
    facts = read_facts(out / f"{stage}.checkpoint.safetensors")
    facts["images_seen"] = facts["step"] * facts["settings"]["batch"]
    facts["minutes"] = round(facts.pop("seconds") / 60, 1)
    log = out / f"{stage}.log.jsonl"
    *_, facts["last_losses"] = [{}, *(read_log(log) if log.exists() else [])]
    return facts


def clip_of(folder: str | Path) -> Clip:
    """The CLIP inside an exported model folder, whole again. Evaluation mode, float32, on the CPU."""
    folder = Path(folder)
    if not (folder / PROJECTIONS).is_file():
        raise ValueError(f"{folder} has no {PROJECTIONS}; only models that were trained here have it")
    model = LatentDiffusion.from_pretrained(folder)
    clip = Clip(model.text_encoder.clip, model.image_encoder.clip)
    expected = {name: tensor for name, tensor in clip.state_dict().items() if not name.startswith(("text.", "vision."))}
    saved = read_safetensors(folder / PROJECTIONS)
    with explained(folder / PROJECTIONS):
        for name, tensor in expected.items():
            if saved[name].shape != tensor.shape:
                raise ValueError(f"{name} is {tuple(saved[name].shape)}; expected {tuple(tensor.shape)}")
            tensor.copy_(saved[name])
    return clip.eval().requires_grad_(False)
