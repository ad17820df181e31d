"""Twelve models of the hub by their configurations: what is Stable Diffusion 1, 2 or XL opens, all else is named.

zoo.json holds the configurations as the hub has them; there are no weights, so opening ends at the first that is asked
for, after everything else has been accepted. Structures are compared with diffusers' on the meta device.
"""

import json
from pathlib import Path

import diffusers
import pytest
import torch

from tinyldm import VAE, LatentDiffusion, UNet
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET, read_unet_config, trained_size
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE, read_vae_config
from tinyldm.formats.weights import rename, reverse

ZOO = json.loads((Path(__file__).parent / "zoo.json").read_text(encoding="utf-8"))
REFUSED = {
    "Kwai-Kolors/Kolors": "is Kolors",
    "lllyasviel/control_v11p_sd15_canny": "holds a ControlNet",
    "playgroundai/playground-v2.5-1024px-aesthetic": "EDMDPMSolverMultistepScheduler: trained with the",
    "stabilityai/stable-diffusion-3-medium-diffusers": "is Stable Diffusion 3",
    "stabilityai/stable-diffusion-x4-upscaler": "is an upscaler",
    "stabilityai/stable-diffusion-xl-refiner-1.0": "is Stable Diffusion XL's refiner",
}
OPENED = [name for name in ZOO if name not in REFUSED]


def written(name: str, folder: Path) -> Path:
    for file, content in ZOO[name].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ZOO)
def test_each_is_accepted_or_named(name, tmp_path):
    with pytest.raises(
        ValueError, match=REFUSED.get(name, "diffusion_pytorch_model.safetensors does not exist")
    ) as caught:
        LatentDiffusion.from_pretrained(written(name, tmp_path))
    first_line = str(caught.value).splitlines()[0]
    assert REFUSED.get(name, "does not exist") in first_line


@pytest.mark.parametrize("name", OPENED)
def test_the_structure_is_that_of_diffusers(name, tmp_path):
    folder = written(name, tmp_path)
    with torch.device("meta"):
        pairs = [
            (UNet(read_unet_config(folder / "unet")), diffusers.UNet2DConditionModel, "unet", DIFFUSERS_UNET),
            (VAE(read_vae_config(folder / "vae")), diffusers.AutoencoderKL, "vae", DIFFUSERS_VAE),
        ]
        for ours, theirs_class, part, table in pairs:
            theirs = theirs_class.from_config(ZOO[name][f"{part}/config.json"])
            shapes = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
            found = {rename(key, reverse(table)): tuple(tensor.shape) for key, tensor in ours.state_dict().items()}
            assert found.keys() == shapes.keys()
            # A 1×1 convolution and a linear layer hold the same numbers.
            assert all(found[key] == shape or (*found[key], 1, 1) == shape for key, shape in shapes.items())


def test_the_sizes_that_they_were_trained_at(tmp_path):
    found = {name: trained_size(written(name, tmp_path / str(i)) / "unet", 8)[0] for i, name in enumerate(OPENED)}
    assert found == {
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": 1024,
        "runwayml/stable-diffusion-inpainting": 512,
        "runwayml/stable-diffusion-v1-5": 512,
        "stabilityai/stable-diffusion-2-1": 768,
        "stabilityai/stable-diffusion-2-inpainting": 512,
        "stabilityai/stable-diffusion-xl-base-1.0": 1024,
    }


OTHERS = {
    "StableDiffusionDepth2ImgPipeline": "depth-to-image",
    "StableDiffusionInstructPix2PixPipeline": "InstructPix2Pix",
    "StableDiffusionXLInstructPix2PixPipeline": "InstructPix2Pix",
    "StableDiffusionLatentUpscalePipeline": "an upscaler",
    "StableUnCLIPImg2ImgPipeline": "unCLIP",
    "StableDiffusionImageVariationPipeline": "an image-variation model",
    "StableDiffusionControlNetPipeline": "a pipeline with a ControlNet",
    "StableDiffusionXLAdapterPipeline": "a pipeline with an adapter",
    "FluxPipeline": "FLUX",
    "AltDiffusionPipeline": "AltDiffusion",
    "LatentConsistencyModelPipeline": "a latent consistency model",
    "TextToVideoSDPipeline": "a video model",
    "PixArtSigmaPipeline": "a PixArtSigmaPipeline",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_pipelines_are_named(name, tmp_path):
    folder = written("runwayml/stable-diffusion-v1-5", tmp_path)
    index = ZOO["runwayml/stable-diffusion-v1-5"]["model_index.json"]
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
    with pytest.raises(ValueError, match=OTHERS[name]):
        LatentDiffusion.from_pretrained(folder)


CHANGES = {
    "model_index.json": [
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "with a controlnet"),
        ({"text_encoder": ["transformers", "RobertaSeriesModelWithTransformation"]}, "its text_encoder is a Roberta"),
        ({"vae": ["diffusers", "AutoencoderTiny"]}, "its vae is a AutoencoderTiny"),
        ({"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "flow-matching"),
        ({"_class_name": 3}, "model_index.json does not describe"),
    ],
    "unet/config.json": [
        ({"in_channels": 5}, "depth map"),
        ({"in_channels": 7}, "low-resolution picture"),
        ({"in_channels": 8}, "InstructPix2Pix"),
        ({"cross_attention_dim": 1024}, "do not belong together"),
        ({"time_cond_proj_dim": 256}, "time_cond_proj_dim is 256"),
    ],
}


@pytest.mark.parametrize("file, change, message", [(file, *one) for file, some in CHANGES.items() for one in some])
def test_parts_that_do_not_belong_are_named(file, change, message, tmp_path):
    folder = written("runwayml/stable-diffusion-v1-5", tmp_path)
    (folder / file).write_text(json.dumps({**ZOO["runwayml/stable-diffusion-v1-5"][file], **change}))
    with pytest.raises(ValueError, match=message):
        LatentDiffusion.from_pretrained(folder)


@pytest.mark.parametrize(
    "file, message",
    [
        ("pytorch_lora_weights.safetensors", "holds LoRA weights"),
        ("adapter_config.json", "peft"),
        ("learned_embeds.bin", "textual inversion"),
    ],
)
def test_folders_that_hold_no_model_are_named(file, message, tmp_path):
    (tmp_path / file).write_text("{}")
    with pytest.raises(ValueError, match=message):
        LatentDiffusion.from_pretrained(tmp_path)


# ── Every key of a network's configuration ───────────────────────────────────────────────────────────

WITHOUT_EFFECT = {  # on a network of Stable Diffusion, whatever their value
    "sample_size",
    "use_linear_projection",  # 1×1 convolutions or linear layers: the same numbers
    "addition_embed_type_num_heads",  # of addition_embed_type "text", which is refused
    "num_attention_heads",  # read, as another name of attention_head_dim
    "projection_class_embeddings_input_dim",  # read for XL
    "latents_mean",
}


@pytest.mark.parametrize(
    "theirs, read", [(diffusers.UNet2DConditionModel, "diffusers_unet"), (diffusers.AutoencoderKL, "diffusers_vae")]
)
def test_every_key_of_a_network_is_read_or_fixed(theirs, read):
    """A key that diffusers adds one day fails here."""
    import importlib
    import inspect

    source = inspect.getsource(importlib.import_module(f"tinyldm.formats.{read}"))
    keys = set(inspect.signature(theirs.__init__).parameters) - {"self"}
    assert not [key for key in keys - WITHOUT_EFFECT if f'"{key}"' not in source]
