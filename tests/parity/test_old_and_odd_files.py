"""Folders and files as they lie on the hub: .bin only, fp16 only, early conversions, bare VAEs, one file for all."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import small_pipelines as sd
import torch
from safetensors.torch import load_file, save_file

from tinyldm import LatentDiffusion, versions
from tinyldm.conditioning import tokenize
from tinyldm.formats import compvis_file, hub
from tinyldm.formats.diffusers_unet import trained_size
from tinyldm.formats.tokenizers import load_tokenizer
from tinyldm.formats.weights import read_torch


@pytest.fixture(scope="module")
def pipe():
    return sd.pipeline()


@pytest.fixture(scope="module")
def folder(pipe, tmp_path_factory) -> Path:
    """Stable Diffusion 1 at reduced width, written by diffusers. Not to be changed."""
    return sd.saved(pipe, tmp_path_factory.mktemp("sd1"))


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """The same, to be spoiled."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def same_weights(a: LatentDiffusion, b: LatentDiffusion) -> bool:
    pairs = [(getattr(a, part).state_dict(), getattr(b, part).state_dict()) for part in ("unet", "vae", "text_encoder")]
    return all(x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x) for x, y in pairs)


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def as_bin(folder: Path) -> None:
    for file in folder.glob("*/*.safetensors"):
        stem = {"model": "pytorch_model"}.get(file.stem, file.stem)
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()


# ── .bin ─────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_with_nothing_but_bin(copy, folder):
    as_bin(copy)
    assert len(list(copy.glob("*/*.bin"))) == 3
    assert same_weights(LatentDiffusion.from_pretrained(copy), LatentDiffusion.from_pretrained(folder))
    diffusers.StableDiffusionPipeline.from_pretrained(copy, safety_checker=None)  # a folder that diffusers reads, too


def test_bin_in_shards_and_variants(pipe, folder, tmp_path):
    pipe.save_pretrained(tmp_path, safe_serialization=False, max_shard_size="200KB", variant="fp16")
    text = tmp_path / "text_encoder/model.fp16.safetensors"  # which transformers 5 cannot write as .bin
    torch.save(load_file(text), text.with_name("pytorch_model.fp16.bin"))
    text.unlink()
    assert not list(tmp_path.glob("*/*.safetensors")) and len(list((tmp_path / "unet").glob("*.bin"))) > 3
    expected = LatentDiffusion.from_pretrained(folder)
    assert same_weights(LatentDiffusion.from_pretrained(tmp_path, variant="fp16"), expected)
    assert same_weights(LatentDiffusion.from_pretrained(tmp_path), expected)  # the only variant that is there


class Bomb:
    """Unpickled, it would create a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_a_hostile_bin_is_not_run_and_its_error_names_the_reason_first(copy, tmp_path):
    as_bin(copy)
    file = copy / "unet/diffusion_pytorch_model.bin"
    for save in (torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))):
        save({"conv_in.weight": Bomb(tmp_path / "exploded")}, file)
        with pytest.raises(ValueError, match="diffusion_pytorch_model.bin holds more than weights") as caught:
            LatentDiffusion.from_pretrained(copy)
        assert not (tmp_path / "exploded").exists() and "open" in str(caught.value)
        assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    whole = file.read_bytes()
    for share in (0, 0.5, 0.99):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="diffusion_pytorch_model.bin"):
            LatentDiffusion.from_pretrained(copy)
    with pytest.raises(ValueError, match="none.bin does not exist"):
        read_torch(copy / "none.bin")


# ── fp16 only ────────────────────────────────────────────────────────────────────────────────────────


def renamed(folder: Path, variant: str) -> None:
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_suffix(f".{variant}.safetensors"))


def test_a_folder_with_nothing_but_fp16_opens(copy, folder):
    renamed(copy, "fp16")
    assert same_weights(LatentDiffusion.from_pretrained(copy), LatentDiffusion.from_pretrained(folder))


def test_of_other_variants_the_name_is_told(copy):
    renamed(copy, "non_ema")
    with pytest.raises(ValueError, match=r"holds .*model.non_ema.safetensors.*variant=\"bf16\""):
        LatentDiffusion.from_pretrained(copy)
    assert LatentDiffusion.from_pretrained(copy, variant="non_ema")


def test_what_is_asked_of_the_hub_where_there_are_no_safetensors(copy, monkeypatch):
    as_bin(copy)
    asked = []

    def snapshot_download(name, allow_patterns, ignore_patterns):
        asked.append(allow_patterns)
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert hub.download("owner/model", None) == copy
    assert [any("*/pytorch_model.bin" == one for one in some) for some in asked] == [False, False, True]
    assert all("*.json" in some for some in asked)


# ── Early conversions, and what their folders lack ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    "version, size, expected",
    [("0.6.0", 32, 64), ("0.8.1", 32, 64), ("0.9.0", 32, 32), ("0.2.2", 96, 96), ("1.0.0", 32, 32), (None, 32, 32)],
)
def test_sample_size_of_early_conversions(version, size, expected, copy):
    """As diffusers' own pipeline takes it."""
    edit(copy / "unet/config.json", sample_size=size, _diffusers_version=version or "")
    if version is not None:
        unet = diffusers.UNet2DConditionModel.from_pretrained(copy / "unet", low_cpu_mem_usage=False)
        pipe = diffusers.StableDiffusionPipeline(
            None, None, None, unet, sd.pipeline().scheduler, None, None, None, False
        )
        assert pipe.unet.config.sample_size == expected
    assert trained_size(copy / "unet", 8) == (8 * expected, 8 * expected)


def test_an_early_conversion_is_saved_with_its_true_size(copy, tmp_path):
    edit(copy / "unet/config.json", sample_size=32, _diffusers_version="0.6.0")
    model = LatentDiffusion.from_pretrained(copy)
    model.save_pretrained(tmp_path / "again")
    assert model.image_size == (512, 512)
    assert json.loads((tmp_path / "again/unet/config.json").read_text())["sample_size"] == 64


@pytest.mark.parametrize("left", [[], ["vocab.json"], ["merges.txt"]], ids=str)
def test_a_tokenizer_without_words_is_refused(left, copy):
    """transformers would make one that reads all captions as the same."""
    for file in (copy / "tokenizer").iterdir():
        if file.name not in ("tokenizer_config.json", *left):
            file.unlink()
    (copy / "tokenizer/vocab.json").write_text("{}") if "vocab.json" in left else None
    (copy / "tokenizer/merges.txt").write_text("#version: 0.2") if "merges.txt" in left else None
    missing = "merges.txt" if left == ["vocab.json"] else "vocab.json"
    with pytest.raises(ValueError, match=f"{missing} does not exist, nor does tokenizer.json"):
        LatentDiffusion.from_pretrained(copy)


@pytest.mark.parametrize("old", [False, True], ids=["tokenizer.json", "vocab.json and added_tokens.json"])
def test_a_word_that_was_taught_later(old, tmp_path):
    """As textual inversion does it: a new token, and a larger table."""
    pipe = sd.pipeline()
    assert pipe.tokenizer.add_tokens(["<mine>"]) == 1
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    folder = sd.saved(pipe, tmp_path / "x")
    number = pipe.tokenizer.convert_tokens_to_ids("<mine>")
    if old:
        content = json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]
        (folder / "tokenizer/tokenizer.json").unlink()
        (folder / "tokenizer/vocab.json").write_text(json.dumps(content["vocab"]))
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
        (folder / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
        (folder / "tokenizer/added_tokens.json").write_text(json.dumps({"<mine>": number}))
    words = LatentDiffusion.from_pretrained(folder).text_encoder.tokenizer
    for caption in ("a <mine> horse", "a<mine>", "<MINE> # mine", "a red horse"):
        theirs = pipe.tokenizer(caption, add_special_tokens=False)["input_ids"]
        assert words.numbers([caption]) == [theirs], caption
    assert number in words.numbers(["a <mine> horse"])[0]


def test_an_older_tokenizer_has_two_files(pipe, tmp_path):
    LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path / "a")).save_pretrained(tmp_path / "b")
    (tmp_path / "b/tokenizer/tokenizer.json").unlink()
    words = load_tokenizer(tmp_path / "b/tokenizer")
    assert tokenize(words, ["a red horse"], 5).tolist() == pipe.tokenizer(["a red horse"])["input_ids"]


def test_the_rest_of_clip_in_a_text_encoder_is_left_aside(copy, folder):
    file = copy / "text_encoder/model.safetensors"
    rest = {"logit_scale": torch.ones(()), "text_projection.weight": torch.ones(24, 32)}
    rest |= {"vision_model.embeddings.class_embedding": torch.ones(8), "visual_projection.weight": torch.ones(8, 8)}
    save_file({**load_file(file), **rest}, file, metadata={"format": "pt"})
    assert same_weights(LatentDiffusion.from_pretrained(copy), LatentDiffusion.from_pretrained(folder))


def test_another_kind_of_text_encoder_is_named(copy):
    edit(copy / "text_encoder/config.json", model_type="xlm-roberta")
    with pytest.raises(ValueError, match="a text encoder of type 'xlm-roberta'; expected CLIP's"):
        LatentDiffusion.from_pretrained(copy)


# ── Inpainting ───────────────────────────────────────────────────────────────────────────────────────


def test_xl_inpainting_is_saved_as_what_it_is(tmp_path):
    pipe = sd.pipeline_xl()
    pipe.register_modules(unet=sd.make_unet({**sd.UNET_XL, "in_channels": 9}))
    sd.saved(pipe, tmp_path / "theirs")
    edit(tmp_path / "theirs/model_index.json", _class_name="StableDiffusionXLInpaintPipeline")
    LatentDiffusion.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    again = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "ours", low_cpu_mem_usage=False)
    assert type(again) is diffusers.StableDiffusionXLInpaintPipeline
    assert again.unet.config.in_channels == 9


def test_generate_with_an_inpainting_model_says_what_to_use(tmp_path):
    model = LatentDiffusion.from_pretrained(sd.saved(sd.pipeline({**sd.UNET, "in_channels": 9}), tmp_path))
    with pytest.raises(ValueError, match="trained for inpainting .* use inpaint"):
        model.generate(["a red horse"], steps=1)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_little_guidance_is_told(folder, scale):
    """diffusers takes all up to 1 as none, so the cards of Turbo models say 0."""
    model = LatentDiffusion.from_pretrained(folder)
    with pytest.warns(UserWarning, match="no guidance, as Turbo models want it, is 1 here"):
        model.generate(["a red horse"], steps=1, guidance_scale=scale)


# ── Single files ─────────────────────────────────────────────────────────────────────────────────────


def whole_file(pipe) -> dict:
    return {
        **sd.compvis_unet(pipe.unet.state_dict(), pipe.unet.config),
        **sd.compvis_vae(pipe.vae.state_dict()),
        **sd.compvis_clip(pipe.text_encoder),
    }


def reduced(pipe) -> versions.Version:
    from test_checkpoints import reduced as of_a_version

    return of_a_version(versions.SD1, pipe)


def write(state: dict, file: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
    return file


def test_the_moving_average_is_chosen_by_a_flag(pipe, folder, tmp_path):
    state = whole_file(pipe)
    prefix = compvis_file.UNET_PREFIX
    averages = {
        "model_ema.diffusion_model" + key.removeprefix(prefix).replace(".", ""): tensor + 1
        for key, tensor in state.items()
        if key.startswith(prefix)
    }
    file = write({**state, **averages, "model_ema.decay": torch.ones(())}, tmp_path / "one.safetensors")
    plain, averaged = (
        LatentDiffusion.from_single_file(file, folder / "tokenizer", version=reduced(pipe), ema=ema)
        for ema in (False, True)
    )
    assert same_weights(plain, LatentDiffusion.from_pretrained(folder))
    for a, b in zip(plain.unet.parameters(), averaged.unet.parameters()):
        assert torch.equal(a + 1, b)
    file = write(state, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="has no moving average .* without ema=True, on the command line --ema"):
        LatentDiffusion.from_single_file(file, folder / "tokenizer", version=reduced(pipe), ema=True)


@pytest.mark.parametrize("names", ["compvis", "diffusers"])
def test_vae_files_with_bare_names(names, pipe, folder, tmp_path):
    state = pipe.vae.state_dict()
    if names == "compvis":
        state = {key.removeprefix("first_stage_model."): tensor for key, tensor in sd.compvis_vae(state).items()}
        state["loss.logvar"] = torch.zeros(())  # of its training
    file = write(state, tmp_path / "vae.safetensors")
    vae = compvis_file.load_vae(file, reduced(pipe).vae)
    expected = LatentDiffusion.from_pretrained(folder).vae.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in vae.state_dict().items())
    with pytest.raises(ValueError, match="holds a VAE; expected a U-Net, a VAE and text encoders"):
        LatentDiffusion.from_single_file(file, folder / "tokenizer")


def test_the_version_is_read_from_the_keys():
    conv_in, vae = "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.quant_conv.weight"
    sd1 = {conv_in: torch.ones(320, 4, 3, 3), vae: torch.ones(1), "cond_stage_model.transformer.x": torch.ones(1)}
    assert compvis_file.version_of(sd1, "a file") == versions.SD1
    assert compvis_file.version_of({**sd1, conv_in: torch.ones(320, 9, 3, 3)}, "a file").unet.in_channels == 9
    xl = {key: sd1[key] for key in (conv_in, vae)}
    xl |= {"conditioner.embedders.0.transformer.x": torch.ones(1), "conditioner.embedders.1.model.x": torch.ones(1)}
    assert compvis_file.version_of(xl, "a file") == versions.SDXL
    sd2 = {**{key: sd1[key] for key in (conv_in, vae)}, "cond_stage_model.model.x": torch.ones(1)}
    with pytest.raises(
        ValueError, match=r"version=versions.SD2 .*--sd-version 2\).*versions.SD2_V .*--sd-version 2-v\)"
    ):
        compvis_file.version_of(sd2, "a file")
    with pytest.raises(ValueError, match="holds a U-Net; expected"):
        compvis_file.version_of({conv_in: sd1[conv_in]}, "a file")
    with pytest.raises(ValueError, match="holds nothing known; expected"):
        compvis_file.version_of({"a": torch.ones(1)}, "a file")


OTHERS = {
    "lora_unet_down_blocks_0.lora_down.weight": "LoRA weights",
    "unet.down_blocks.0.attentions.0.lora.up.weight": "LoRA weights",
    "emb_params": "a textual inversion",
    "control_model.input_hint_block.0.weight": "a ControlNet",
    "controlnet_cond_embedding.conv_in.weight": "a ControlNet",
    "model.diffusion_model.joint_blocks.0.x": "Stable Diffusion 3",
    "double_blocks.0.img_attn.qkv.weight": "FLUX",
    "depth_model.model.x": "depth-to-image",
    "low_scale_model.betas": "an upscaler",
    "noise_augmentor.betas": "unCLIP",
    "conditioner.embedders.0.model.transformer.resblocks.0.attn.in_proj_weight": "XL's refiner",
    "cond_stage_model.roberta.embeddings.x": "AltDiffusion",
    "cond_stage_model.clip_l.transformer.text_model.x": "ComfyUI",
    "edm_mean": "Playground 2.5",
}


@pytest.mark.parametrize("key", OTHERS)
def test_other_single_files_are_named(key, tmp_path):
    file = write({key: torch.ones(2, 2)}, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match=OTHERS[key]):
        LatentDiffusion.from_single_file(file, tmp_path)


def test_other_extras_of_comfyui_are_left_aside():
    state = {"conditioner.embedders.0.logit_scale": torch.ones(()), "model.diffusion_model.x": torch.ones(1)}
    assert list(compvis_file.take(state, "model.diffusion_model.", "a file")) == ["x"]
    assert list(state) == ["conditioner.embedders.0.logit_scale"]  # what was taken needs no memory there


MEASURE = """
import resource, sys, torch, transformers
from transformers import CLIPTextModel
from tinyldm.formats import compvis_file
from tinyldm import UNet, UNetConfig
from tinyldm.formats.compvis_file import read_single_file, unet_from
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
config = UNetConfig(channels=(320, 640), transformer_depth=(1, 1), middle_depth=1, heads=(8, 8))
before = peak()
state = read_single_file(sys.argv[1])
unet = unet_from(state, config, "file")
unet.float()
print(peak() - before, sum(p.numel() * 4 for p in unet.parameters()) / 2**20, len(state))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_half_precision_files_need_little_more_than_the_model(ending, tmp_path):
    """Opened as float32, a file in float16 must not stay in memory beside the model that came from it."""
    config = dict(
        sd.UNET,
        block_out_channels=(320, 640),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=768,
        norm_num_groups=32,
    )
    theirs = diffusers.UNet2DConditionModel(**config).half()
    state = {key: tensor.contiguous() for key, tensor in sd.compvis_unet(theirs.state_dict(), theirs.config).items()}
    file = tmp_path / f"one.{ending}"
    save_file(state, file) if ending == "safetensors" else torch.save({"state_dict": state}, file)
    out = subprocess.run([sys.executable, "-c", MEASURE, str(file)], capture_output=True, text=True, check=True)
    peak, size, left = (float(number) for number in out.stdout.split())
    assert left == 0 and size > 200
    assert peak < 1.3 * size, f"{peak:.0f} MiB for a model of {size:.0f} MiB"
