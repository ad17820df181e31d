"""`--lora`, `--embedding`, `--controlnet`, `--control`: what files do to pictures, and how wrong ones are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_folder import save_small_folder
from torch import nn

from tinyldm import LatentDiffusion
from tinyldm.beyond.controlnet import ControlNet, save_controlnet, steered
from tinyldm.beyond.lora import merge, new_lora, save_lora
from tinyldm.beyond.textual_inversion import add_word
from tinyldm.cli import main as cli
from tinyldm.cli import options
from tinyldm.data import pictures


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """A model, two LoRAs, a word, a ControlNet and a drawing, all random."""
    room = tmp_path_factory.mktemp("beside")
    model = LatentDiffusion.from_pretrained(save_small_folder(room / "model"))
    torch.manual_seed(3)
    for name in ("one", "two"):
        lora = new_lora(model, parts=("unet", "text_encoder"))
        for change in lora.changes:
            nn.init.normal_(change.B, std=0.3)
        save_lora(lora, model, room / f"{name}.safetensors")
    save_file({"<heart>": torch.randn(2, 24)}, room / "heart.safetensors")
    control = ControlNet.copy_of(model.unet, (8, 8, 16, 16))
    for conv in (*control.zero_convs, control.zero_conv_middle):
        nn.init.normal_(conv.weight, std=0.5)
    save_controlnet(control, room / "control")
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(room / "drawing.png")
    return {file.name: file for file in room.iterdir()}


SETTINGS = ("--seed", "7", "-n", "2", "--steps", "2", "--plain", "--device", "cpu")


def drawn(places, tmp_path, *arguments, caption: str = "a red circle", command: str = "generate") -> np.ndarray:
    """The pixels that the command writes."""
    out = tmp_path / "out.png"
    picture = () if command == "generate" else (places["drawing.png"],)
    given = [command, *picture, caption, *SETTINGS, "--model", places["model"], "--out", out, *arguments]
    assert cli.main(list(map(str, given))) == 0
    return np.asarray(Image.open(out)).astype(int)


def expected(model: LatentDiffusion, caption: str = "a red circle") -> np.ndarray:
    """The pixels that the library makes."""
    images = model.generate([caption] * 2, steps=2, generator=torch.Generator().manual_seed(7))
    return np.concatenate([np.asarray(pictures.to_picture(image)) for image in images], axis=1).astype(int)


def test_loras_are_merged_with_their_weights(places, tmp_path):
    from tinyldm.beyond.lora import load_lora

    model = LatentDiffusion.from_pretrained(places["model"])
    one, two = places["one.safetensors"], places["two.safetensors"]
    plain = expected(model)
    merge(load_lora(one, model), model, 0.5)
    merge(load_lora(two, model), model)
    changed = drawn(places, tmp_path, "--lora", f"{one}:0.5", "--lora", two)
    assert abs(changed - expected(model)).max() <= 1 < abs(changed - plain).max()
    assert abs(drawn(places, tmp_path, "--lora", f"{one}:0") - plain).max() <= 1
    note = json.loads(Image.open(tmp_path / "out.png").text["tinyldm"])
    assert note["lora"] == [f"{one}:0"]


def test_a_word_is_read(places, tmp_path, capsys):
    model = LatentDiffusion.from_pretrained(places["model"])
    word = places["heart.safetensors"]
    add_word(model, "<heart>", load_file(word)["<heart>"])
    caption = "a red <heart>"
    changed = drawn(places, tmp_path, "--embedding", word, caption=caption)
    assert abs(changed - expected(model, caption)).max() <= 1
    assert "warning" not in capsys.readouterr().err
    drawn(places, tmp_path, "--embedding", word)
    assert "holds the word '<heart>', which the caption does not have" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "img2img"])
def test_a_drawing_steers(places, tmp_path, command):
    control = ("--controlnet", places["control"], "--control", places["drawing.png"])
    steered_pixels = drawn(places, tmp_path, *control, command=command)
    plain = drawn(places, tmp_path, command=command)
    half = drawn(places, tmp_path, "--controlnet", f"{places['control']}:0", *control[2:], command=command)
    assert abs(half - plain).max() <= 1 < abs(steered_pixels - plain).max()
    if command == "generate":
        from tinyldm.beyond.controlnet import load_controlnet

        model = LatentDiffusion.from_pretrained(places["model"])
        drawing = pictures.fitted(pictures.open_picture(places["drawing.png"]), (64, 64))
        with steered(model.unet, load_controlnet(places["control"]), drawing):
            assert abs(steered_pixels - expected(model)).max() <= 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--lora", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--lora", "heart.safetensors"], "holds something else, such as <heart>"),
        (["--lora", "control"], "is a folder with a ControlNet; expected LoRA weights"),
        (["--lora", "model"], "is a folder with a whole model; expected LoRA weights"),
        (["--lora", "one.safetensors:1e99"], "expected FILE or FILE:WEIGHT"),
        (["--lora", "one.safetensors:nan"], "expected a finite number"),
        (["--embedding", "one.safetensors"], "holds LoRA weights in .* expected a word's embedding"),
        (["--embedding", "control"], "is a folder with a ControlNet; expected a word's embedding"),
        (["--embedding", "drawing.png"], "drawing.png"),
        (
            ["--controlnet", "model", "--control", "drawing.png"],
            "holds a whole model; expected the folder of a ControlN",
        ),
        (["--controlnet", "one.safetensors", "--control", "drawing.png"], "expected the folder of a ControlNet"),
        (["--controlnet", "control"], "go together"),
        (["--control", "drawing.png"], "go together"),
        (["--controlnet", "control", "--control", "one.safetensors"], "one.safetensors"),
        (["--model", "control"], "holds a ControlNet"),
        (["--model", "one.safetensors", "--tokenizer", "model"], "holds LoRA weights"),
    ],
)
def test_wrong_files_are_refused_in_one_line(places, capsys, monkeypatch, arguments, message):
    import re

    monkeypatch.chdir(places["model"].parent)
    assert cli.main(["generate", "x", *SETTINGS, "--model", "model", *arguments]) == 2
    said = capsys.readouterr()
    (line,) = [line for line in said.err.strip().splitlines() if not line.startswith("warning")]
    assert re.search(message, line), line
    assert not Path("grid.png").exists()


@pytest.mark.parametrize(
    "text, parts",
    [
        ("style.safetensors", ("style.safetensors", 1.0)),
        ("style.safetensors:0.8", ("style.safetensors", 0.8)),
        ("style:-1", ("style", -1.0)),
        ("C:\\styles\\a.safetensors", ("C:\\styles\\a.safetensors", 1.0)),
        ("C:\\styles\\a.safetensors:.5", ("C:\\styles\\a.safetensors", 0.5)),
        ("a:b", ("a:b", 1.0)),
    ],
)
def test_a_file_and_its_weight(text, parts):
    assert options.weighted(text) == text and options.split_weight(text) == parts
