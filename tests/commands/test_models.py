"""`--model` is one file, and inpainting that keeps what it must keep, from the command line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_folder import save_small_folder

import tinyldm
from tinyldm import LatentDiffusion
from tinyldm.cli import main as cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(save_small_folder(tmp_path_factory.mktemp("models") / "model"))


def pixels(file) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


def run(*arguments) -> int:
    return cli.main([*map(str, arguments), "--device", "cpu"])


def error_of(capsys, *arguments) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# ── Inpainting ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["box", "mask"])
def test_inpaint_keeps_what_is_not_marked(folder, tmp_path, where):
    """Handed over as failing: the rows to keep moved by up to 35 levels."""
    original = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(original).save(tmp_path / "photo.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[32:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    marked = ["--box", "0,32,64,64"] if where == "box" else ["--mask", tmp_path / "mask.png"]
    common = ["inpaint", tmp_path / "photo.png", "a star", *marked, "-n", 2, "--steps", 3, "--model", folder, "--plain"]
    assert run(*common, "--out", tmp_path / "kept.png") == 0
    assert run(*common, "--raw", "--out", tmp_path / "raw.png") == 0
    kept, raw = pixels(tmp_path / "kept.png"), pixels(tmp_path / "raw.png")
    for picture in range(2):
        at = slice(64 * picture, 64 * picture + 64)
        assert np.array_equal(kept[:24, at], original[:24])  # 8 rows nearer, old and new may blend
        assert abs(raw[:24, at] - original[:24].astype(int)).mean() > 5  # an untrained VAE keeps nothing
        assert abs(kept[40:, at] - raw[40:, at]).max() <= 1


# ── Single files ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--model", "sd.safetensors"], "has no tokenizer; give --tokenizer"),
        (["--model", "sd.ckpt"], "has no tokenizer; give --tokenizer"),
        (["--model", "sd.ckpt", "--tokenizer", "x", "--variant", "fp16"], "--variant is for a folder"),
        (["--model", "sd.safetensors", "--tokenizer", "x"], "sd.safetensors"),
        (["--tokenizer", "x"], "--tokenizer is for a model that is one file"),
        (["--ema"], "--ema is for a model that is one file"),
        (["--sd-version", "2-v"], "--sd-version is for a model that is one file"),
        (["--sd-version", "3"], "choose from"),
    ],
)
def test_mistakes_with_single_files(capsys, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in error_of(capsys, "generate", "x", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_single_file_is_opened_as_the_options_say(folder, tmp_path, monkeypatch):
    """What the file holds, and which weights are taken, is tested in tests/parity."""
    given = {}

    def from_single_file(file, tokenizer, **keywords):
        given.update(keywords, file=str(file), tokenizer=str(tokenizer))
        return LatentDiffusion.from_pretrained(folder)

    monkeypatch.setattr(LatentDiffusion, "from_single_file", from_single_file)
    common = ["generate", "a star", "-n", 1, "--steps", 1, "--out", tmp_path / "x.png", "--model", "sd.safetensors"]
    assert run(*common, "--tokenizer", "words") == 0
    assert (given["file"], given["tokenizer"]) == ("sd.safetensors", "words")
    assert given["version"] is None and given["ema"] is False
    assert run(*common, "--tokenizer", "words", "--ema", "--sd-version", "2-v", "--dtype", "bfloat16") == 0
    assert (
        given["version"] is tinyldm.versions.SD2_V and given["ema"] is True and str(given["dtype"]) == "torch.bfloat16"
    )


def single_file(tmp_path, **more) -> str:
    """Keys as Stable Diffusion 1's file has them."""
    keys = ("model.diffusion_model.a", "model.diffusion_model.b", "first_stage_model.a", "model_ema.decay")
    state = {key: torch.ones(100, dtype=torch.float16) for key in (*keys, "cond_stage_model.transformer.a")}
    save_file(state | more, tmp_path / "sd.safetensors")
    return str(tmp_path / "sd.safetensors")


def test_info_of_a_single_file(tmp_path, capsys):
    file = single_file(tmp_path)
    assert run("info", "--model", file) == 0
    last = [line.split() for line in capsys.readouterr().out.splitlines()[-6:]]
    assert last[0] == [file, "on", "disk"] and [line[-3] for line in last[1:]] == ["200", "100", "100", "100", "500"]
    assert [line[0] for line in last[1:]] == ["U-Net", "VAE", "text", "other", "all"]
    torch.save({"state_dict": {"first_stage_model.a": torch.ones(7)}}, tmp_path / "vae.ckpt")
    assert run("info", "--model", tmp_path / "vae.ckpt") == 0
    assert "7" in capsys.readouterr().out.splitlines()[-1]
    assert "holds LoRA weights" in error_of(capsys, "info", "--model", single_file(tmp_path, lora_x=torch.ones(1)))
    assert "nowhere.ckpt does not exist" in error_of(capsys, "info", "--model", tmp_path / "nowhere.ckpt")


def test_trace_of_a_single_file(folder, tmp_path, monkeypatch, capsys):
    given = {}

    def from_single_file(file, tokenizer, **keywords):
        given.update(keywords, file=str(file), tokenizer=str(tokenizer))
        return LatentDiffusion.from_pretrained(folder)

    monkeypatch.setattr(LatentDiffusion, "from_single_file", from_single_file)
    arguments = ["trace", "a star", "--steps", 1, "--model", "sd.ckpt"]
    assert "give --tokenizer" in error_of(capsys, *arguments)
    assert run(*arguments, "--tokenizer", "words", "--sd-version", "2", "--ema") == 0
    assert (given["file"], given["version"], given["ema"]) == ("sd.ckpt", tinyldm.versions.SD2, True)
    assert "--ema is for a model that is one file" in error_of(capsys, "trace", "x", "--ema")


def test_evaluate_refuses_a_single_file_by_name(tmp_path, capsys):
    assert "evaluate measures models of the small world" in error_of(capsys, "evaluate", "--model", "sd.safetensors")


# ── The model's own sampler ──────────────────────────────────────────────────────────────────────────


def test_without_sampler_the_models_own_is_used_and_named(folder, tmp_path):
    for options, expected in (([], "ddim"), (["--sampler", "euler-a"], "euler-a")):
        out = tmp_path / "x.png"
        assert run("generate", "a star", "-n", 1, "--steps", 2, "--model", folder, "--out", out, *options) == 0
        assert json.loads(Image.open(out).text["tinyldm"])["sampler"] == expected


@pytest.mark.parametrize("options, expected", [([], ("dpm", 10)), (["--steps", 3], ("ddim", 3))])
def test_generate_takes_the_cheapest_good_setting_of_the_shipped_model(options, expected, tmp_path):
    out = tmp_path / "x.png"
    assert run("generate", "a star", "-n", 1, "--out", out, *options) == 0
    said = json.loads(Image.open(out).text["tinyldm"])
    assert (said["sampler"], said["steps"]) == expected


def test_naming_the_models_own_sampler_changes_nothing(folder, tmp_path):
    """The walk of its folder is that of diffusers, where the steps do not divide 1000 too."""
    for out, options in (("a.png", []), ("b.png", ["--sampler", "ddim"])):
        common = ["generate", "a star", "-n", 1, "--steps", 7, "--model", folder, "--plain"]
        assert run(*common, "--out", tmp_path / out, *options) == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


@pytest.mark.parametrize("sampler", cli.add.SAMPLERS)
def test_every_sampler_makes_a_picture(folder, tmp_path, sampler):
    out = tmp_path / "x.png"
    assert run("generate", "a star", "-n", 1, "--steps", 4, "--model", folder, "--out", out, "--sampler", sampler) == 0
    assert out.is_file()
