"""What is on the hub beside Stable Diffusion 1, 2 and XL, by name: refused before any weight is read.

A ValueError about a missing key helps nobody who has opened a LoRA; one that says "this is a LoRA" does.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from tinyldm.formats.files import read_json
from tinyldm.unet import UNetConfig

EXPECTED = "expected a whole text-to-image or inpainting model of Stable Diffusion 1, 2 or XL, or one trained here"

KNOWN_PIPELINES = {
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
}
# What model_index.json's class contains -> what the model is. The first that fits counts.
PIPELINES = {
    "ControlNet": "a pipeline with a ControlNet",
    "Adapter": "a pipeline with an adapter",
    "Depth2Img": "Stable Diffusion 2's depth-to-image model, whose U-Net reads a depth map",
    "Pix2Pix": "InstructPix2Pix, whose U-Net reads a second picture",
    "Upscale": "an upscaler, whose U-Net reads a low-resolution picture",
    "UnCLIP": "unCLIP, whose U-Net reads CLIP's vector of a picture",
    "ImageVariation": "an image-variation model, which reads pictures instead of captions",
    "StableDiffusion3": "Stable Diffusion 3, a transformer, which tinyldm.beyond.stable_diffusion_3 opens",
    "Flux": "FLUX, a transformer trained by flow matching",
    "Kolors": "Kolors, whose captions go through ChatGLM",
    "AltDiffusion": "AltDiffusion, whose captions go through XLM-RoBERTa",
    "LatentConsistency": "a latent consistency model whose U-Net reads the guidance scale",
    "LDM": "a latent diffusion model from before Stable Diffusion",
    "Video": "a video model",
    "AnimateDiff": "a video model",
}
# The class in a folder of one part -> what the part is.
PARTS = {
    "ControlNetModel": "a ControlNet",
    "ControlNetXSAdapter": "a ControlNet-XS",
    "T2IAdapter": "a T2I-Adapter",
    "MotionAdapter": "a motion adapter of AnimateDiff",
    "UNet2DConditionModel": "a U-Net alone",
    "AutoencoderKL": "a VAE alone",
}
COMPONENTS = {
    "unet": {"UNet2DConditionModel"},
    "vae": {"AutoencoderKL"},
    "text_encoder": {"CLIPTextModel"},
    "text_encoder_2": {"CLIPTextModelWithProjection"},
    "tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
    "tokenizer_2": {"CLIPTokenizer", "CLIPTokenizerFast"},
}


def refuse_folder(folder: Path) -> None:
    """Raise ValueError where a folder without model_index.json is something known, such as a LoRA."""
    if what := what_folder_is(folder):
        raise ValueError(f"{folder} holds {what}; {EXPECTED}")


def what_folder_is(folder: Path) -> str:
    """What a folder holds, where it is something known; else an empty string."""
    if (folder / "model_index.json").is_file():
        return "a whole model"
    if any(folder.glob("*lora*.safetensors")) or any(folder.glob("*lora*.bin")):
        return "LoRA weights"
    if (folder / "adapter_config.json").is_file():
        return "LoRA weights, or another adapter of peft's"
    if any(folder.glob("learned_embeds*")):
        return "a textual inversion, one word's embedding"
    if (folder / "config.json").is_file():
        name = read_json(folder / "config.json").get("_class_name")
        return PARTS.get(name, f"a {name} alone") if isinstance(name, str) else ""
    return ""


def refuse_pipeline(index: dict[str, Any], source: str) -> None:
    """Raise ValueError where model_index.json describes a pipeline or a part that this package does not have."""
    name = index.get("_class_name", "StableDiffusionPipeline")
    is_refiner = name.startswith("StableDiffusionXL") and "text_encoder" in index and _is_absent(index, "text_encoder")
    if is_refiner or index.get("requires_aesthetics_score"):
        raise ValueError(f"{source} is Stable Diffusion XL's refiner, which needs an aesthetics score; {EXPECTED}")
    if name not in KNOWN_PIPELINES:
        what = next((what for part, what in PIPELINES.items() if part in name), f"a {name}")
        raise ValueError(f"{source} is {what}; {EXPECTED}")
    for part in ("controlnet", "transformer", "adapter", "prior", "low_res_scheduler", "depth_estimator"):
        if not _is_absent(index, part):
            raise ValueError(f"{source} is a {name} with a {part}, which this package does not have; {EXPECTED}")
    for part, known in COMPONENTS.items():
        if not _is_absent(index, part) and (found := index[part][-1]) not in known:
            what = next((what for key, what in PIPELINES.items() if key.lower() in str(index[part][0]).lower()), name)
            raise ValueError(f"{source} is {what}: its {part} is a {found}, expected a {' or '.join(sorted(known))}")


def _is_absent(index: dict[str, Any], part: str) -> bool:
    entry = index.get(part)
    return not isinstance(entry, list) or not entry or entry[-1] is None


def refuse_unet(config: UNetConfig, latent_channels: int, context_dim: int, source: str) -> None:
    """Raise ValueError where a U-Net reads something else beside z_t, or other captions, than this package has.

    Args: latent_channels: of the VAE; context_dim: widths of the text encoders, added up.
    """
    read_beside = {
        1: "a depth map (Stable Diffusion 2's depth-to-image)",
        3: "a low-resolution picture (an upscaler)",
        latent_channels: "a second picture (InstructPix2Pix)",
    }
    beside = config.in_channels - latent_channels
    if beside not in (0, latent_channels + 1):
        what = read_beside.get(beside, "something that this package does not know")
        raise ValueError(
            f"{source} has a U-Net of {config.in_channels} input channels, beside latents of {latent_channels}: it "
            f"reads {what}; expected {latent_channels}, or {2 * latent_channels + 1} for inpainting"
        )
    if config.context_dim != context_dim:
        raise ValueError(
            f"{source} has a U-Net that reads context of width {config.context_dim}, but its text encoders give "
            f"{context_dim}: they do not belong together"
        )


# ── Single files ─────────────────────────────────────────────────────────────────────────────────────

# A part of a key -> what a file with such keys is. The first that fits counts.
FILES = {
    "control_model.": "a ControlNet",
    "controlnet_cond_embedding.": "a ControlNet",
    "input_hint_block.": "a ControlNet",
    "lora_": "LoRA weights",
    ".lora.": "LoRA weights",
    "hada_w1": "LoRA weights (LoHa)",
    "lokr_w1": "LoRA weights (LoKr)",
    "emb_params": "a textual inversion, one word's embedding",
    "string_to_param": "a textual inversion, one word's embedding",
    "ip_adapter.": "an IP-Adapter",
    "joint_blocks.": "Stable Diffusion 3, a transformer trained by flow matching",
    "double_blocks.": "FLUX, a transformer trained by flow matching",
    "depth_model.": "Stable Diffusion 2's depth-to-image model",
    "noise_augmentor.": "unCLIP, whose U-Net reads CLIP's vector of a picture",
    "low_scale_model.": "an upscaler, whose U-Net reads a low-resolution picture",
    "cond_stage_model.mapper.": "an image-variation model, which reads pictures instead of captions",
    "cond_stage_model.model.visual.": "an image-variation model, which reads pictures instead of captions",
    "cond_stage_model.roberta.": "AltDiffusion, whose captions go through XLM-RoBERTa",
    "conditioner.embedders.0.model.transformer.": "Stable Diffusion XL's refiner",
    "edm_mean": "Playground 2.5, trained with the preconditioning of EDM",
    "v_pred": "a file marked as predicting the velocity, which no version here does at this size",
    "cond_stage_model.clip_": "a file written by ComfyUI, with text encoders under its own names",
}


def what_is(state: dict[str, Tensor]) -> str | None:
    """What a single file holds, where it is something known that is not Stable Diffusion 1, 2 or XL; else None."""
    if set(state) in ({"clip_l", "clip_g"}, {"clip_g", "clip_l"}):
        return "a textual inversion for Stable Diffusion XL"
    return next((what for part, what in FILES.items() if any(part in key for key in state)), None)


def require_file(file: Path, expected: str) -> None:
    """Raise ValueError where a path that should be a file is a folder, and say what is in it."""
    if file.is_dir():
        raise ValueError(f"{file} is a folder with {what_folder_is(file) or 'something else'}; expected {expected}")


def what_file_is(state: dict[str, Tensor]) -> str:
    """What the tensors of a file are, as good as it can be said."""
    whole = any(key.startswith(("model.diffusion_model.", "down_blocks.", "text_model.")) for key in state)
    return what_is(state) or ("a model, or a part of one" if whole else "something else")
