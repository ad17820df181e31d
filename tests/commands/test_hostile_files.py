"""Files that are broken, or made to do harm: a ValueError names the file, soon and without much memory.

Most cases were handed over as failing. `tests/fuzzing.py` makes thousands more.
"""

import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from fuzzing import KINDS, Places, fuzz, memory
from PIL import Image
from safetensors.torch import load_file, save_file
from small_folder import save_small_folder

from tinyldm import LatentDiffusion
from tinyldm.cli import main as cli
from tinyldm.cli import pages
from tinyldm.data import pictures
from tinyldm.formats import compvis_file
from tinyldm.formats.files import MAX_JSON, read_json
from tinyldm.formats.weights import read_safetensors, read_torch

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_small_folder(tmp_path_factory.mktemp("hostile") / "model")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy to be spoiled."""
    import shutil

    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(read, name: str, *parts: str) -> str:
    """A ValueError with the file's name and these parts, within seconds and 300 MB."""
    before, start = memory(reset=True), time.process_time()
    with pytest.raises(ValueError) as caught:
        read()
    assert time.process_time() - start < 5 and memory() - before < 300 * 2**20
    assert type(caught.value) is ValueError or type(caught.value).__module__.startswith("tinyldm.")
    for part in (name, *parts):
        assert part in str(caught.value), caught.value
    return str(caught.value)


# ── Configurations ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "file, changes",
    [
        ("text_encoder/config.json", {"num_hidden_layers": None}),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}),
        ("text_encoder/config.json", {"vocab_size": "701"}),
        ("text_encoder/config.json", {"layer_norm_eps": "x"}),
        ("text_encoder/config.json", {"max_position_embeddings": 10**6}),
        ("text_encoder/config.json", {"pad_token_id": -1}),
        ("tinyldm_image_encoder/config.json", {"hidden_act": "nope"}),
        ("tinyldm_image_encoder/config.json", {"num_channels": -1}),
        ("tinyldm_image_encoder/config.json", {"hidden_size": -1}),
        ("tinyldm_image_encoder/config.json", {"hidden_size": 8192, "intermediate_size": 8192}),
        ("tinyldm_image_encoder/config.json", {"image_size": 1024, "patch_size": 1}),
        ("unet/config.json", {"sample_size": "8"}),
        ("unet/config.json", {"sample_size": 1000}),
        ("unet/config.json", {"sample_size": [8]}),
        ("unet/config.json", {"layers_per_block": 10**9}),
        ("unet/config.json", {"transformer_layers_per_block": 10**9}),
        ("unet/config.json", {"block_out_channels": [32] * 10**5}),
        ("unet/config.json", {"block_out_channels": [2**40, 2**40]}),
        ("unet/config.json", {"dropout": "x"}),
        ("vae/config.json", {"layers_per_block": 10**9}),
        ("vae/config.json", {"scaling_factor": "x"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}),
        ("scheduler/scheduler_config.json", {"beta_end": "0.012"}),
        ("scheduler/scheduler_config.json", {"beta_start": float("nan")}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": []}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": "x"}),
        ("tokenizer/tokenizer_config.json", {"pad_token": "<|a new one|>"}),
    ],
    ids=str,
)
def test_odd_configurations(folder, file, changes):
    edit(folder / file, **changes)
    refused(lambda: LatentDiffusion.from_pretrained(folder), str(folder))


def test_what_does_not_make_the_network_is_passed_over(folder):
    edit(folder / "text_encoder/config.json", attn_implementation="flash_attention_2", quantization_config={"a": 1})
    LatentDiffusion.from_pretrained(folder).generate(["a red circle"], steps=1)


def test_the_patterns_of_a_tokenizer_are_not_used(folder):
    """This one takes 2³⁰ steps for thirty letters."""
    file = folder / "tokenizer/tokenizer.json"
    content = json.loads(file.read_text())
    content["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}
    file.write_text(json.dumps(content))
    start = time.process_time()
    with pytest.warns(UserWarning, match="cut off"):
        LatentDiffusion.from_pretrained(folder).encode_text(["a" * 40 + "!"])
    assert time.process_time() - start < 5


def test_configurations_of_any_size_and_depth(tmp_path):
    file = tmp_path / "config.json"
    for content, part in ((b"[" * 10**6, "not JSON"), (b" " * (MAX_JSON + 1), "more than"), (b"9" * 10**5, "not JSON")):
        file.write_bytes(content)
        refused(lambda: read_json(file), "config.json", part)


# ── What is no file ──────────────────────────────────────────────────────────────────────────────────


@needs_pipes
@pytest.mark.parametrize(
    "file",
    [
        *("model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"),
        *("tokenizer/special_tokens_map.json", "text_encoder/model.safetensors", "vae/config.json"),
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero"])
def test_pipes_and_devices_are_not_read(folder, file, kind):
    """A pipe would make us wait for ever; this test would hang then."""
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file) if kind == "pipe" else (folder / file).symlink_to(kind)
    refused(lambda: LatentDiffusion.from_pretrained(folder), str(folder))


@needs_pipes
def test_pipes_as_options(tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for arguments in (
        ["img2img", pipe, "x"],
        ["generate", "x", "--model", pipe],
        ["generate", "x", "--image-context", pipe],
        ["info", "--model", pipe],
        ["train", "clip", "--data", pipe, "--out", tmp_path / "run"],
    ):
        assert cli.main(list(map(str, arguments))) == 2
        assert "pipe" in capsys.readouterr().err


# ── Weights ──────────────────────────────────────────────────────────────────────────────────────────


def saved_as(content, file: Path, **options) -> Path:
    torch.save(content, file, **options)
    return file


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("size", [2**12, 2**30])
def test_tensors_that_repeat_themselves(tmp_path, size, old):
    """Handed over: strides of 0, 1.6 KB that became 4.3 GB."""
    content = {"model.diffusion_model.a": torch.zeros(1).expand(size, 2**13, 4, 4)}
    file = saved_as(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=not old)
    assert file.stat().st_size < 5000
    refused(lambda: compvis_file.read_single_file(file), "x.ckpt", "repeat themselves")


def test_tied_weights_are_no_repetition(tmp_path):
    weight = torch.randn(1000)
    assert len(read_torch(saved_as({"a": weight, "b": weight}, tmp_path / "x.bin"))) == 2


def test_compressed_archives_are_not_unpacked(tmp_path):
    """Handed over: 1 MB that became 1 GB."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2**26)}, buffer)  # 256 MiB of zeros
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    del buffer
    assert (tmp_path / "x.ckpt").stat().st_size < 2**20
    refused(lambda: read_torch(tmp_path / "x.ckpt"), "x.ckpt", "compressed")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02a.",
        b"\x80\x02)R.",
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",  # 2 GB of zeros
        b"\x80\x02ctorch\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R.",
        pickle.dumps({"a": 1}, protocol=4),
        pickle.dumps(bytearray(9)),
        b"",
        b"PK\x03\x04",
    ],
    ids=range(8),
)
def test_pickles_of_no_weights(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    refused(lambda: read_torch(tmp_path / "x.ckpt"), "x.ckpt")


@pytest.mark.parametrize(
    "content",
    [
        {3: torch.ones(1)},
        {"a": torch.ones(2, 2, 2, 2).to_sparse()},
        {"a": torch.ones(2, device="meta")},
        {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        {str(i): torch.ones(1) for i in range(20_001)},
        [torch.ones(1)],
    ],
    ids=["no name", "sparse", "meta", "quantised", "many", "list"],
)
def test_odd_tables_of_tensors(tmp_path, content):
    file = saved_as(content, tmp_path / "x.ckpt")
    refused(lambda: compvis_file.read_single_file(file), "x.ckpt")


def test_safetensors_with_a_header_of_any_size(tmp_path):
    for size in (2**24 + 1, 2**40, 2**64 - 1):
        (tmp_path / "x.safetensors").write_bytes(size.to_bytes(8, "little") + b"{}")
        refused(lambda: read_safetensors(tmp_path / "x.safetensors"), "x.safetensors", "header")
    save_file({str(i): torch.ones(0, 1, 1, 2) for i in range(20_001)}, tmp_path / "x.safetensors")
    refused(lambda: read_safetensors(tmp_path / "x.safetensors"), "x.safetensors", "20,001 tensors")


def test_two_names_of_one_weight(folder):
    file = folder / "text_encoder/model.safetensors"
    state = load_file(file)
    key = next(key for key in state if key.startswith("text_model."))
    save_file({**state, key.removeprefix("text_model."): state[key].clone()}, file, metadata={"format": "pt"})
    refused(lambda: LatentDiffusion.from_pretrained(folder), str(folder), "two names of one weight")


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────


def test_eps_never_reaches_ghostscript(tmp_path, monkeypatch):
    """EPS is a program; Pillow would hand it to Ghostscript."""
    from PIL import EpsImagePlugin

    def ran(*_, **__):
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ran)
    monkeypatch.setattr(subprocess, "check_call", ran)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    with Image.open(tmp_path / "x.eps") as image, pytest.raises(AssertionError, match="Ghostscript"):
        image.load()  # what would happen
    for name in ("x.eps", "x.png"):
        (tmp_path / name).write_bytes((tmp_path / "x.eps").read_bytes())
        refused(lambda name=name: pictures.open_picture(tmp_path / name), name, "PNG, JPEG")


def test_very_large_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 64 * 64)
    for side in (64, 128):
        for ending in ("png", "jpg"):
            Image.new("RGB", (side, side), "red").save(tmp_path / f"{side}.{ending}")
    assert pictures.open_picture(tmp_path / "64.png").size == (64, 64)
    assert pictures.open_picture(tmp_path / "128.jpg").size == (64, 64)  # decoded at half its size
    refused(lambda: pictures.open_picture(tmp_path / "128.png"), "128.png", "too large")


# ── Captions on a page ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["x" * 4000, "x" * 10**6, "猫" * 4000, "word " * 10**5, "W" * 4000 + " i" * 4000])
def test_long_words_are_wrapped_at_once(text):
    """Handed over: a word of 4,000 letters took 226 s."""
    start = time.process_time()
    lines = pages.wrapped(text, pages.font_of_size(16), 400, 6)
    assert time.process_time() - start < 5 and len(lines) <= 6 and lines[-1].endswith("…")


# ── Thousands ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_first_of_ten_thousand(saved, tmp_path):
    """benchmarks/fuzz.py tries them all."""
    counts = dict.fromkeys(KINDS, 100) | {"configurations": 60, "files of a model, damaged": 40, "command lines": 40}
    tallies = fuzz(counts, Places(saved, tmp_path / "room"))
    assert sum(one.inputs for one in tallies.values()) == 640
    for one in tallies.values():
        assert not one.wrong + one.slow + one.large
        assert one.accepted + one.refused == one.inputs


def test_the_fuzzing_would_notice(saved, tmp_path, monkeypatch):
    """Another class, a message without the file's name, time and memory."""
    import fuzzing

    def wrong():
        raise TypeError("x")

    def nameless():
        raise ValueError("x")

    def slow():
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass

    def large():
        torch.ones(2**26)  # 256 MiB

    monkeypatch.setattr(fuzzing, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(fuzzing, "MAX_BYTES", 2**26)
    for read in (wrong, nameless, slow, large):
        monkeypatch.setitem(KINDS, "logs", lambda *_, read=read: (read, tmp_path / "file"))
        (tally,) = fuzz({"logs": 1}, Places(saved, tmp_path)).values()
        found = {wrong: tally.wrong, nameless: tally.wrong, slow: tally.slow, large: tally.large}[read]
        assert len(found) == 1 or (read is large and sys.platform != "linux"), read


def test_a_name_that_is_too_long():
    refused(lambda: LatentDiffusion.from_pretrained("x" * 5000), "xxx", "cannot be opened")
