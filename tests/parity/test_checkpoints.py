"""Files: what diffusers wrote opens here, what is written here opens in diffusers, and what is broken is refused."""

import dataclasses
import json
import logging
import pickle
import random
import shutil
import sys
import types
import warnings
from pathlib import Path

import diffusers
import pytest
import small_pipelines as sd
import torch
from diffusers.loaders import single_file_utils
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import make_model

from tinyldm import LatentDiffusion, UNetConfig, versions
from tinyldm.clip import TextConfig
from tinyldm.formats import compvis_file as compvis
from tinyldm.formats.diffusers_unet import load_unet, trained_size, unet_config_from_diffusers, unet_config_to_diffusers
from tinyldm.formats.diffusers_vae import load_vae, vae_config_from_diffusers
from tinyldm.formats.schedulers import TEXT_TO_IMAGE, load_scheduler
from tinyldm.formats.text_encoders import config_from
from tinyldm.reverse_diffusion import leading


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """The same names and numbers; a 1×1 convolution may have become a linear layer."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(
        torch.equal(a[name].flatten(1 % a[name].dim()), b[name].flatten(1 % b[name].dim())) for name in a
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Stable Diffusion 1 at reduced width, written by diffusers. Not to be changed."""
    return sd.saved(sd.pipeline(), tmp_path_factory.mktemp("sd1"))


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """The same, to be spoiled."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def model(folder) -> LatentDiffusion:
    return LatentDiffusion.from_pretrained(folder)


def same_model(a: LatentDiffusion, b: LatentDiffusion) -> bool:
    return all(same_weights(getattr(a, part), getattr(b, part)) for part in ("unet", "vae", "text_encoder"))


# ── Loading folders ──────────────────────────────────────────────────────────────────────────────────


def test_the_folder_decides(copy):
    config = json.loads((copy / "scheduler/scheduler_config.json").read_text())
    config |= {"prediction_type": "v_prediction", "steps_offset": 0, "beta_end": 0.02, "set_alpha_to_one": True}
    (copy / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    model = LatentDiffusion.from_pretrained(copy)
    assert model.schedule.prediction.name == "v_prediction" and model.spacing is leading
    assert model.schedule.final_alpha_bar == 1 and model.image_size == (64, 64)
    theirs = diffusers.DDIMScheduler.from_pretrained(copy, subfolder="scheduler").alphas_cumprod
    torch.testing.assert_close(model.schedule.alpha_bar, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [{"variant": "fp16"}, {"max_shard_size": "200KB"}, {"max_shard_size": "200KB", "variant": "fp16"}],
    ids=str,
)
def test_variants_and_shards(options, model, tmp_path):
    sd.saved(sd.pipeline(), tmp_path, **options)
    shards = len(list((tmp_path / "unet").glob("*.safetensors")))
    assert (shards > 3) == ("max_shard_size" in options)
    assert same_model(LatentDiffusion.from_pretrained(tmp_path, variant=options.get("variant")), model)


def test_half_precision_files(copy, model):
    for file in copy.glob("*/*.safetensors"):
        save_file({key: tensor.half() for key, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    assert load_unet(copy / "unet").conv_in.weight.dtype == torch.float16
    half = LatentDiffusion.from_pretrained(copy, dtype=torch.float16)
    assert torch.equal(half.unet.conv_in.weight, model.unet.conv_in.weight.half())
    assert LatentDiffusion.from_pretrained(copy).dtype == torch.float32


def test_old_attention_names(copy, model):
    """As in the VAE of Stable Diffusion 1 on the hub, and with 1×1 convolutions."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    file = copy / "vae/diffusion_pytorch_model.safetensors"
    state = {}
    for key, tensor in load_file(file).items():
        for new_name, old_name in old.items():
            key = key.replace(f"attentions.0.{new_name}.", f"attentions.0.{old_name}.")
        state[key] = tensor
    assert sum(".query." in key for key in state) == 4
    save_file(state, file, metadata={"format": "pt"})
    assert same_weights(LatentDiffusion.from_pretrained(copy).vae, model.vae)
    assert diffusers.AutoencoderKL.from_pretrained(copy / "vae")  # diffusers reads it too


def test_text_encoders_of_older_files(copy, model):
    """With the prefix that transformers 5 dropped, and the positions that older ones stored."""
    file = copy / "text_encoder/model.safetensors"
    state = {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in load_file(file).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, file, metadata={"format": "pt"})
    assert same_weights(LatentDiffusion.from_pretrained(copy).text_encoder, model.text_encoder)


def test_weights_are_mapped_and_training_leaves_the_file_alone(copy):
    unet = load_unet(copy / "unet")
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    before = file.read_bytes()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(1)
    assert file.read_bytes() == before
    assert torch.equal(load_unet(copy / "unet").conv_in.bias + 1, unet.conv_in.bias)


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────


def open_in_diffusers(folder: Path, caplog) -> diffusers.DiffusionPipeline:
    """Open a folder with diffusers; any warning of its own or of transformers' is an error."""
    caplog.clear()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # what diffusers calls a deprecation
            pipe = diffusers.DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    finally:
        for name in ("diffusers", "transformers"):
            logging.getLogger(name).removeHandler(caplog.handler)
    # The one about the safety checker is diffusers' reminder of a licence, for models that come without one.
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [message for message in said if "safety checker" not in message], said
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.filterwarnings("ignore:.*steps with")
def test_what_is_trained_here_opens_in_diffusers(tmp_path, caplog):
    ours = make_model()
    ours.save_pretrained(tmp_path)
    pipe = open_in_diffusers(tmp_path, caplog)
    noise = torch.randn(2, 4, 4, 4)
    images = ours.generate(["a red circle", "a star"], steps=20, guidance_scale=4.0, noise=noise)
    theirs = pipe(
        ["a red circle", "a star"],
        num_inference_steps=20,
        guidance_scale=4.0,
        latents=noise,
        height=32,
        width=32,
        output_type="pt",
    ).images
    assert (images - theirs).abs().max() < 1 / 255
    again = LatentDiffusion.from_pretrained(tmp_path)
    assert same_model(again, ours) and same_weights(again.image_encoder, ours.image_encoder)
    assert torch.equal(
        again.generate(["a red circle", "a star"], steps=20, noise=noise),
        ours.generate(["a red circle", "a star"], steps=20, noise=noise),
    )


@pytest.mark.parametrize(
    "make",
    [
        sd.pipeline,
        lambda: sd.pipeline(sd.UNET_SD21, act="gelu", pad="!", prediction_type="v_prediction"),
        lambda: sd.pipeline({**sd.UNET, "in_channels": 9}),
        sd.pipeline_xl,
    ],
    ids=["SD1", "SD2_V", "inpainting", "XL"],
)
def test_there_and_back(make, tmp_path, caplog):
    """diffusers → here → diffusers → here: the same pipeline, the same weights."""
    pipe = make()
    ours = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path / "theirs"))
    ours.save_pretrained(tmp_path / "ours")
    again = open_in_diffusers(tmp_path / "ours", caplog)
    assert type(again) is type(pipe)
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            assert same_weights(part, again.components[name]), name
    assert {**again.unet.config, "sample_size": 0}.items() >= {
        key: value for key, value in sd.UNET.items() if key in ("norm_num_groups", "layers_per_block")
    }.items()
    assert again.unet.config.upcast_attention == bool(pipe.unet.config.upcast_attention)
    assert again.vae.config.force_upcast == pipe.vae.config.force_upcast
    assert again.scheduler.config.prediction_type == pipe.scheduler.config.prediction_type
    assert same_model(LatentDiffusion.from_pretrained(tmp_path / "ours"), ours)


def test_text_encoders_have_the_names_of_the_hub(tmp_path):
    LatentDiffusion.from_pretrained(sd.saved(sd.pipeline_xl(), tmp_path / "a")).save_pretrained(tmp_path / "b")
    for part, others in (("text_encoder", set()), ("text_encoder_2", {"text_projection.weight"})):
        with safe_open(tmp_path / "b" / part / "model.safetensors", "pt") as file:
            assert {key for key in file.keys() if not key.startswith("text_model.")} == others
    assert {path.name for path in (tmp_path / "b/tokenizer").iterdir()} >= {"vocab.json", "merges.txt"}


def test_saving_over_the_folder_it_was_read_from(copy, model):
    opened = LatentDiffusion.from_pretrained(copy)  # mapped from the very files that are replaced
    opened.save_pretrained(copy)
    assert same_model(opened, model) and same_model(LatentDiffusion.from_pretrained(copy), model)


def test_image_sizes_that_are_not_square(model, tmp_path):
    wide = LatentDiffusion(model.unet, model.vae, model.text_encoder, model.schedule, image_size=(64, 128))
    wide.save_pretrained(tmp_path)
    assert LatentDiffusion.from_pretrained(tmp_path).image_size == (64, 128)


def test_what_diffusers_cannot_express_is_refused():
    with pytest.raises(ValueError, match="middle_depth is 2 and the last level's depth 1"):
        unet_config_to_diffusers(UNetConfig(transformer_depth=(1, 1, 1, 1), middle_depth=2), 8)


# ── CompVis single files ─────────────────────────────────────────────────────────────────────────────

SCHEDULE = {"betas": torch.ones(1000), "alphas_cumprod": torch.ones(1000), "posterior_mean_coef2": torch.ones(1000)}


def reduced(version: versions.Version, pipe) -> versions.Version:
    """A version with the widths of a pipeline."""
    clips = [pipe.text_encoder, *([pipe.text_encoder_2] if len(version.text) == 2 else [])]
    return dataclasses.replace(
        version,
        image_size=64,
        unet=unet_config_from_diffusers(json.loads(pipe.unet.to_json_string())),
        vae=vae_config_from_diffusers(json.loads(pipe.vae.to_json_string())),
        text=tuple(config_from(clip.config.to_dict(), TextConfig) for clip in clips),
    )


def sd1_file(pipe) -> dict:
    return {
        **sd.compvis_unet(pipe.unet.state_dict(), pipe.unet.config),
        **sd.compvis_vae(pipe.vae.state_dict()),
        **sd.compvis_clip(pipe.text_encoder),
        **SCHEDULE,
        "model_ema.decay": torch.tensor(0.9999),
    }


def sd2_file(pipe) -> dict:
    clip = sd.compvis_open_clip(pipe.text_encoder, "cond_stage_model.model.", torch.randn(24, 32))
    last = {key.replace("resblocks.0.", "resblocks.23."): w.clone() for key, w in clip.items() if "resblocks.0." in key}
    return {
        **sd.compvis_unet(pipe.unet.state_dict(), pipe.unet.config),
        **sd.compvis_vae(pipe.vae.state_dict()),
        **clip,
        **last,
        **SCHEDULE,
    }


def xl_file(pipe) -> dict:
    projection = pipe.text_encoder_2.text_projection.weight
    return {
        **sd.compvis_unet(pipe.unet.state_dict(), pipe.unet.config),
        **sd.compvis_vae(pipe.vae.state_dict()),
        **sd.compvis_clip(pipe.text_encoder, "conditioner.embedders.0.transformer."),
        **sd.compvis_open_clip(pipe.text_encoder_2, "conditioner.embedders.1.model.", projection),
        "denoiser.sigmas": torch.ones(1000),
    }


FILES = {
    "SD1": (versions.SD1, sd.pipeline, sd1_file),
    "SD2": (versions.SD2, lambda: sd.pipeline(sd.UNET_SD2, act="gelu", pad="!"), sd2_file),
    "SDXL": (versions.SDXL, sd.pipeline_xl, xl_file),
}


@pytest.mark.parametrize("name", FILES)
def test_diffusers_own_conversion_reads_the_same_names(name):
    """The oracle: what diffusers makes of the file that the tests below read is the model it was made from."""
    version, make, content = FILES[name]
    pipe = make()
    state = content(pipe)
    unet = single_file_utils.convert_ldm_unet_checkpoint(dict(state), pipe.unet.config)
    vae = single_file_utils.convert_ldm_vae_checkpoint(dict(state), pipe.vae.config)
    for converted, part in ((unet, pipe.unet), (vae, pipe.vae)):
        original = part.state_dict()
        assert converted.keys() == original.keys()
        assert all(torch.equal(converted[key], original[key]) for key in original)
    if name == "SDXL":
        convert = single_file_utils.convert_open_clip_checkpoint
        text = convert(pipe.text_encoder_2, state, "conditioner.embedders.1.model.")
        original = pipe.text_encoder_2.state_dict()
        assert all(torch.equal(text[key], original[key]) for key in original)


@pytest.mark.parametrize("name", FILES)
def test_single_files(name, tmp_path):
    version, make, content = FILES[name]
    pipe = make()
    save_file({key: tensor.contiguous() for key, tensor in content(pipe).items()}, tmp_path / "one.safetensors")
    expected = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path / "folder"))
    small = reduced(version, pipe)
    ours = LatentDiffusion.from_single_file(tmp_path / "one.safetensors", tmp_path / "folder/tokenizer", version=small)
    assert same_model(ours, expected)
    assert ours.image_size == (64, 64) and ours.spacing is expected.spacing
    assert same_weights(compvis.load_unet(tmp_path / "one.safetensors", small.unet), expected.unet)
    with torch.no_grad():  # the padding of the second tokenizer is that of the version
        a, b = (each.text_encoder.encode(["a red horse"]) for each in (ours, expected))
    assert torch.equal(a.context, b.context)
    if name == "SD1":
        with pytest.raises(ValueError, match="1 text encoders; this version has 2"):
            compvis.text_encoders_from(content(pipe), 2 * small.text, "one.safetensors")
        with pytest.raises(ValueError, match="does not fit UNet"):
            compvis.load_unet(tmp_path / "one.safetensors", versions.SD1.unet)


@pytest.fixture
def lightning(monkeypatch):
    """The class that Stable Diffusion's .ckpt files name, for as long as a test writes one."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    yield module.ModelCheckpoint
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        sys.modules.pop(name, None)


def test_ckpt(tmp_path, lightning, model):
    pipe = sd.pipeline()
    torch.save(
        {
            "epoch": 0,
            "global_step": 470000,
            "pytorch-lightning_version": "1.4.2",
            "state_dict": sd1_file(pipe),
            "callbacks": {lightning: {"monitor": None, "best_model_score": None}},
            "optimizer_states": [],
        },
        tmp_path / "one.ckpt",
    )
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        del sys.modules[name]  # a reader does not have it
    pipe.tokenizer.save_pretrained(tmp_path / "tokenizer")
    ours = LatentDiffusion.from_single_file(
        tmp_path / "one.ckpt", tmp_path / "tokenizer", version=reduced(versions.SD1, pipe)
    )
    assert same_model(ours, model)
    assert not any(name.startswith("pytorch_lightning") for name in sys.modules)


class Bomb:
    """Unpickled, it would create a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize(
    "save",
    [lambda content, file: torch.save(content, file), lambda content, file: file.write_bytes(pickle.dumps(content))],
    ids=["zip", "pickle"],
)
def test_a_ckpt_cannot_run_a_program(save, tmp_path):
    save({"state_dict": {"a": torch.ones(1)}, "callbacks": Bomb(tmp_path / "exploded")}, tmp_path / "one.ckpt")
    with pytest.raises(ValueError, match="one.ckpt"):
        compvis.read_single_file(tmp_path / "one.ckpt")
    assert not (tmp_path / "exploded").exists()


def test_left_over_keys_are_named(tmp_path):
    state = {**sd1_file(sd.pipeline()), "strange_model.0.weight": torch.ones(1)}
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="belong to no part .* such as strange_model.0.weight"):
        compvis.load_vae(tmp_path / "one.safetensors", versions.SD1.vae)
    with pytest.raises(ValueError, match="no table of tensors"):
        torch.save({"state_dict": [1, 2]}, tmp_path / "list.ckpt")
        compvis.read_single_file(tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="does not exist"):
        compvis.read_single_file(tmp_path / "none.ckpt")


# ── The hub ──────────────────────────────────────────────────────────────────────────────────────────

HUB = [  # a part of what a repository of Stable Diffusion holds
    "model_index.json",
    "v1-5-pruned.ckpt",
    "v1-5-pruned.safetensors",
    "unet/config.json",
    "README.md",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "text_encoder/model.fp16.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "safety_checker/model.safetensors",
    "safety_checker/config.json",
]


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_from_the_hub(variant, folder, model, monkeypatch, tmp_path):
    from huggingface_hub.utils import filter_repo_objects

    asked = []

    def snapshot_download(name, allow_patterns, ignore_patterns):
        asked.extend([name, *filter_repo_objects(HUB, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)])
        return str(folder if variant is None else sd.saved(sd.pipeline(), tmp_path, variant=variant))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert same_model(LatentDiffusion.from_pretrained("owner/model-1.5", variant=variant), model)
    always = {
        "owner/model-1.5",
        "model_index.json",
        "unet/config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    }
    assert set(asked) == always | {
        name
        for name in HUB
        if name.endswith(".safetensors")
        and "/" in name
        and ("fp16" in name) == (variant == "fp16")
        and "non_ema" not in name
        and "safety" not in name
    }


def test_offline_says_how_to_get_the_files(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(*args, **kwargs):
        raise LocalEntryNotFoundError("cannot find the appropriate snapshot folder")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ValueError, match="hf download owner/model --local-dir FOLDER") as caught:
        LatentDiffusion.from_pretrained("owner/model")
    assert "\n" not in str(caught.value)


# ── Broken and hostile files ─────────────────────────────────────────────────────────────────────────


def test_missing_files_are_named(copy):
    with pytest.raises(ValueError, match="holds a U-Net alone; expected a whole"):
        LatentDiffusion.from_pretrained(copy / "unet")
    with pytest.raises(ValueError, match="not a model folder.*model_index.json does not exist"):
        LatentDiffusion.from_pretrained(copy / "tokenizer")
    with pytest.raises(ValueError, match='fp16.safetensors does not exist, .*holds config.json, .*variant="bf16"'):
        LatentDiffusion.from_pretrained(copy, variant="fp16")
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(ValueError, match="tokenizer does not exist"):
        LatentDiffusion.from_pretrained(copy)
    shutil.rmtree(copy / "unet")
    with pytest.raises(ValueError, match="config.json does not exist; expected a model folder"):
        LatentDiffusion.from_pretrained(copy)


PARTS = [
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json",
]


@pytest.mark.parametrize("name", PARTS)
def test_files_that_are_cut_off(name, copy):
    whole = (copy / name).read_bytes()
    for share in (0, 0.01, 0.5, 0.99):
        (copy / name).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=name.split("/")[0]):
            LatentDiffusion.from_pretrained(copy)


def test_ckpt_files_that_are_cut_off(tmp_path):
    torch.save({"state_dict": {"betas": torch.randn(5000)}}, tmp_path / "one.ckpt")
    whole = (tmp_path / "one.ckpt").read_bytes()
    for share in (0, 0.01, 0.5, 0.999):
        (tmp_path / "one.ckpt").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="one.ckpt"):
            compvis.read_single_file(tmp_path / "one.ckpt")


def test_every_key_once_every_shape_checked(copy):
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    state = load_file(file)

    def refused(changed: dict, message: str) -> None:
        save_file(changed, copy / "unet/new.safetensors", metadata={"format": "pt"})
        (copy / "unet/new.safetensors").replace(file)
        with pytest.raises(ValueError, match=message):
            LatentDiffusion.from_pretrained(copy)

    refused({key: tensor for key, tensor in state.items() if key != "conv_in.bias"}, "missing conv_in.bias")
    refused({**state, "strange.weight": torch.ones(1)}, "unknown strange.weight")
    refused({**state, "conv_in.bias": torch.ones(7)}, r"conv_in.bias is \(7,\), expected \(32,\)")
    refused({**state, "conv_in.bias": torch.ones(32, dtype=torch.int64)}, "conv_in.bias is torch.int64")
    refused({**state, "down.0.resblocks.0.norm1.bias": torch.ones(32)}, "two names of one weight")


def test_shards_that_lie(tmp_path):
    sd.saved(sd.pipeline(), tmp_path, max_shard_size="200KB")
    index = tmp_path / "unet/diffusion_pytorch_model.safetensors.index.json"
    whole = json.loads(index.read_text())
    first = sorted(set(whole["weight_map"].values()))[0]
    for content, message in (
        ({}, "lacks 'weight_map'"),
        ({"weight_map": 3}, "does not describe"),
        ({"weight_map": {"a": "../../vae/x.safetensors"}}, "outside its folder"),
        ({"weight_map": {"a": "none.safetensors"}}, "none.safetensors does not exist"),
    ):
        index.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            LatentDiffusion.from_pretrained(tmp_path)
    index.write_text(json.dumps({"weight_map": {**whole["weight_map"], "again": "again.safetensors"}}))
    shutil.copy(tmp_path / "unet" / first, tmp_path / "unet/again.safetensors")
    with pytest.raises(ValueError, match="is in two shards"):
        LatentDiffusion.from_pretrained(tmp_path)


LOADERS = {
    "unet": lambda folder: (load_unet(folder), trained_size(folder, 8)),
    "vae": load_vae,
    "scheduler": lambda folder: load_scheduler(folder, TEXT_TO_IMAGE),
}


@pytest.mark.parametrize("part", [pytest.param("unet", marks=pytest.mark.slow), "vae", "scheduler"])
def test_hostile_configurations(part, copy):
    """Any value of any type in any place opens, or is a ValueError that names the file."""
    file = copy / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    whole, draw, refused = json.loads(file.read_text()), random.Random(1), 0

    def opens(content: str) -> bool:
        file.write_text(content, encoding="utf-8", errors="surrogateescape")
        try:
            LOADERS[part](file.parent)
        except ValueError as error:
            assert part in str(error)
            return False
        return True

    values = [None, True, -1, 0, 3, 1e300, "", "x", [], [0], [-3, 2], {}, {"a": 1}, [[1, 2], 3], "nan"]
    for key in [key for key in whole if not key.startswith("_")]:
        opens(json.dumps({other: whole[other] for other in whole if other != key}))
        refused += sum(not opens(json.dumps({**whole, key: value})) for value in draw.sample(values, 3))
    assert refused > 10
    assert not any(opens(content) for content in ("[1, 2]", "3", "{", "[" * 100_000, "\udcff"))
    with pytest.raises(ValueError, match=part):
        LatentDiffusion.from_pretrained(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"act_fn": "relu"},
        {"class_embed_type": "timestep"},
        {"down_block_types": ["DownBlock2D"] * 4},
        {"addition_embed_type": "image"},
        {"only_cross_attention": True},
        {"norm_num_groups": 5},
    ],
)
def test_other_architectures_are_refused(change, copy):
    config = json.loads((copy / "unet/config.json").read_text())
    (copy / "unet/config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match="config.json does not describe"):
        LatentDiffusion.from_pretrained(copy)
