"""A whole model in the diffusers layout: model_index.json and a folder for each part. It is the package's own format.

A model trained here opens in diffusers, and a downloaded folder of Stable Diffusion opens here.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tinyldm.conditioning import ImageEncoder, TextEncoder, TextEncoderXL
from tinyldm.formats import schedulers
from tinyldm.formats.diffusers_unet import load_unet, read_unet_config, save_unet, trained_size
from tinyldm.formats.diffusers_vae import load_vae, read_vae_config, save_vae
from tinyldm.formats.files import explained, read_json, require_whole, write_json
from tinyldm.formats.refusals import EXPECTED, refuse_folder, refuse_pipeline, refuse_unet
from tinyldm.formats.text_encoders import (
    LARGEST_CLIP,
    load_image_encoder,
    load_text_encoder,
    save_image_encoder,
    save_text_encoder,
    transformers_class,
)
from tinyldm.formats.tokenizers import load_tokenizer, require_words_of, save_tokenizer
from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.reverse_diffusion import ddim, leading_from_zero, trailing
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig

IMAGE_ENCODER = "tinyldm_image_encoder"  # a folder that diffusers does not know and ignores


@dataclass(frozen=True)
class Parts:
    """All that a model consists of: what `LatentDiffusion` is made from."""

    unet: UNet
    vae: VAE
    text_encoder: TextEncoder | TextEncoderXL
    schedule: NoiseSchedule
    image_encoder: ImageEncoder | None = None
    image_size: tuple[int, int] = (64, 64)  # (height, width) in pixels
    spacing: Callable[[int, int], Tensor] = trailing
    sampler: Callable[..., Tensor] = ddim
    scales_noise: bool = False  # see `schedulers.Sampling`

    @property
    def is_xl(self) -> bool:
        """Whether it is Stable Diffusion XL."""
        return isinstance(self.text_encoder, TextEncoderXL)

    @property
    def inpaints(self) -> bool:
        """Whether the U-Net was trained for inpainting: it reads z_t, the mask and the masked picture's latent."""
        return self.unet.config.in_channels == 2 * self.vae.config.latent_channels + 1


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────────


def open_folder(folder: Path, variant: str | None = None) -> Parts:
    """Read a model, in the dtype of its files.

    Args: variant: "fp16" reads model.fp16.safetensors and its like instead of model.safetensors.
    Raises: ValueError where a file is missing or broken, or where the folder holds something else, which it names.
    Warns: as `schedulers.load_scheduler`.
    """
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        refuse_folder(folder)
        raise ValueError(f"{str(folder)!r} is not a model folder: {index_file} does not exist; {EXPECTED}")
    index = read_json(index_file)
    entry = index.get("scheduler")  # ["diffusers", its class], which counts more than what the scheduler's file says
    class_name = entry[-1] if isinstance(entry, list) and entry else None
    with explained(index_file):
        refuse_pipeline(index, str(folder))
        if class_name is not None:
            schedulers.family_of(class_name)
    unet_config, vae_config = read_unet_config(folder / "unet"), read_vae_config(folder / "vae")
    refuse_unet(unet_config, vae_config.latent_channels, _context_dim(folder), str(folder))
    sampling = schedulers.load_scheduler(folder / "scheduler", _forced(unet_config, vae_config), class_name)
    unet = load_unet(folder / "unet", variant)
    return Parts(
        unet=unet,
        vae=load_vae(folder / "vae", variant),
        text_encoder=_load_text_encoders(folder, variant),
        schedule=sampling.schedule,
        image_encoder=load_image_encoder(folder / IMAGE_ENCODER, unet.config.context_dim),
        image_size=trained_size(folder / "unet", vae_config.factor),
        spacing=sampling.spacing,
        sampler=sampling.sampler,
        scales_noise=sampling.scales_noise,
    )


def _forced(unet: UNetConfig, vae: VAEConfig) -> dict[str, Any]:
    """What the pipeline of diffusers that is meant for this model changes in its scheduler."""
    if unet.added_dim is not None:
        return schedulers.XL
    inpaints = unet.in_channels == 2 * vae.latent_channels + 1
    return schedulers.INPAINTING if inpaints else schedulers.TEXT_TO_IMAGE


def _context_dim(folder: Path) -> int:
    """The width of the context that the text encoders of a folder will give."""
    files = [folder / part / "config.json" for part in ("text_encoder", "text_encoder_2") if (folder / part).is_dir()]
    if not files:
        raise ValueError(f"{folder / 'text_encoder'} does not exist; {EXPECTED}")
    total = 0
    for file in files:
        with explained(file):
            content = read_json(file)
            require_whole(content, {"hidden_size": LARGEST_CLIP["hidden_size"]})
            total += content["hidden_size"]
    return total


def _load_text_encoders(folder: Path, variant: str | None) -> TextEncoder | TextEncoderXL:
    clip = load_text_encoder(folder / "text_encoder", variant)
    tokenizer = load_tokenizer(folder / "tokenizer")
    require_words_of(tokenizer, clip, folder / "tokenizer")
    if not (folder / "text_encoder_2").is_dir():
        return TextEncoder(clip, tokenizer)
    clip2 = load_text_encoder(folder / "text_encoder_2", variant, projects=True)
    tokenizer2 = load_tokenizer(folder / "tokenizer_2")
    require_words_of(tokenizer2, clip2, folder / "tokenizer_2")
    return TextEncoderXL(clip, tokenizer, clip2, tokenizer2)


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────


def save_folder(parts: Parts, folder: Path) -> None:
    """Write everything to a folder that `diffusers.DiffusionPipeline.from_pretrained` opens.

    It is written beside its place and moved there when whole: an interruption leaves what was there.
    Raises: ValueError, and touches nothing, where the folder holds something else than a model, or where diffusers
        cannot express this one.
    """
    is_model = (folder / "model_index.json").is_file()
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()) and not is_model:
        raise ValueError(f"{folder} exists and is not a model folder; expected a new or an empty one, or a model's")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = aside / "new", aside / "old"
    try:
        _write(parts, new)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)


def _write(parts: Parts, folder: Path) -> None:
    scheduler = _scheduler_config(parts)
    height, width = (side // parts.vae.config.factor for side in parts.image_size)
    save_unet(parts.unet, folder / "unet", height if height == width else [height, width])
    save_vae(parts.vae, folder / "vae", max(parts.image_size))
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = {
        **pipeline_index(parts),
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler["_class_name"]],
    }
    for (clip, tokenizer), ending in zip(parts.text_encoder.towers, ("", "_2")):
        save_text_encoder(clip, folder / f"text_encoder{ending}")
        save_tokenizer(tokenizer, folder / f"tokenizer{ending}")
        index[f"text_encoder{ending}"] = ["transformers", transformers_class(clip)]
        index[f"tokenizer{ending}"] = ["transformers", "CLIPTokenizer"]
    if parts.image_encoder is not None:
        save_image_encoder(parts.image_encoder, folder / IMAGE_ENCODER)
    write_json(folder / "model_index.json", index)


def _scheduler_config(parts: Parts) -> dict[str, Any]:
    if not parts.is_xl and parts.spacing in (leading_from_zero, schedulers.leading_above_zero_from_zero):
        raise ValueError(
            f"spacing {parts.spacing.__name__!r} cannot be saved: diffusers' pipelines for Stable Diffusion 1 and 2 "
            "always add 1 to such timesteps; take `leading`"
        )
    return schedulers.sampling_to_diffusers(
        schedulers.Sampling(parts.schedule, parts.spacing, parts.sampler, parts.scales_noise)
    )


def pipeline_index(parts: Parts) -> dict[str, Any]:
    """Which of diffusers' pipelines opens this model, and what that pipeline has and this package does not."""
    kind = "InpaintPipeline" if parts.inpaints else "Pipeline"
    # The two that are absent are asked for by its inpainting pipeline.
    absent = {"feature_extractor": [None, None], "image_encoder": [None, None], "_diffusers_version": "0.35.0"}
    if parts.is_xl:
        return {"_class_name": f"StableDiffusionXL{kind}", "force_zeros_for_empty_prompt": True, **absent}
    checker = {"safety_checker": [None, None], "requires_safety_checker": False}
    return {"_class_name": f"StableDiffusion{kind}", **checker, **absent}
