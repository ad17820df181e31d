"""A model of drawings in every command and method: its factor is 4, its styles have words, its words are others."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_drawings_folder import save_small_drawings_folder, small_drawings_model
from small_folder import save_small_folder

from tinyldm import trace
from tinyldm.cli import main as cli
from tinyldm.data import drawings
from tinyldm.evaluation.drawing_judge import DrawingJudge, questions
from tinyldm.formats.files import write_json
from tinyldm.formats.places import draws_drawings, names_of_drawings


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(save_small_drawings_folder(tmp_path_factory.mktemp("drawings") / "model"))


@pytest.fixture(scope="module")
def with_eyes(tmp_path_factory) -> str:
    """The same with an image encoder."""
    return str(save_small_drawings_folder(tmp_path_factory.mktemp("eyes") / "model", vision=True))


def run(*arguments) -> int:
    return cli.main(list(map(str, arguments)))


def said(out: Path) -> dict:
    """What is written into a picture."""
    return json.loads(Image.open(out).text["tinyldm"])


# ── Any factor, any number of channels ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("channels", [4, 16])
def test_every_method_takes_it(channels):
    model = small_drawings_model(channels)
    images = torch.rand(2, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:44, 20:44] = 1
    captions = ["a panda", "a fox"]
    assert model.encode(images).shape == (2, channels, 16, 16)
    made = {
        "generate": model.generate(captions, steps=2),
        "of another size": model.generate(captions, steps=1, size=(32, 64)),
        "img2img": model.img2img(images, captions, steps=2, strength=0.5),
        "inpaint": model.inpaint(images, mask, captions, steps=2),
        "interpolate": model.interpolate(("a panda", "a fox"), frames=3, steps=2),
    }
    for name, result in made.items():
        assert result.shape[1] == 3 and result.isfinite().all(), name
        assert result.shape[-2:] == ((32, 64) if name == "of another size" else (64, 64)), name
    kept = mask.expand(2, 3, -1, -1) == 0
    assert torch.equal(made["inpaint"][kept], images[kept])
    pairs, traced = trace.compare_with_stable_diffusion(model, "a panda", steps=1)
    assert traced.shape == (1, 3, 64, 64) and f"{channels}, 16, 16)" in trace.table(pairs)


def test_every_command_takes_it(folder, tmp_path, capsys):
    out, common = tmp_path / "x.png", ("--steps", 1, "--model", folder, "-n", 1, "--plain", "--out", tmp_path / "x.png")
    assert run("generate", "a panda", *common) == 0 and Image.open(out).size == (64, 64)
    Image.open(out).save(tmp_path / "panda.png")
    assert run("img2img", tmp_path / "panda.png", "a fox", *common) == 0
    assert run("inpaint", tmp_path / "panda.png", "a fox", "--box", "10,10,40,40", *common) == 0
    assert run("info", "--model", folder) == 0
    assert "U-Net" in capsys.readouterr().out


# ── Styles ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_style_in_a_word(folder, tmp_path, capsys):
    common = ("--steps", 1, "--model", folder, "-n", 1, "--plain", "--out")
    assert run("generate", "a panda", "--style", "flat", *common, tmp_path / "x.png") == 0
    assert said(tmp_path / "x.png")["caption"] == "a panda, flat style" and "style" not in said(tmp_path / "x.png")
    assert run("generate", "a panda, flat style", *common, tmp_path / "y.png") == 0
    assert Image.open(tmp_path / "x.png").tobytes() == Image.open(tmp_path / "y.png").tobytes()
    assert run("generate", "", "--style", "noto", *common, tmp_path / "x.png") == 0
    assert said(tmp_path / "x.png")["caption"] == "noto style"
    assert run("generate", "a panda", "--style", "flatt", *common, tmp_path / "x.png") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "'flatt'" in line and all(style in line for style in drawings.styles())


def test_a_style_in_a_picture(folder, with_eyes, tmp_path, capsys):
    style = tmp_path / "flat.png"
    Image.fromarray(drawings.pixels(drawings.named()[:1])[0]).save(style)
    common = ("--steps", 2, "-n", 1, "--plain", "--out")
    shown = ("--style", style, "--model", with_eyes)
    assert run("generate", "a panda", *shown, *common, tmp_path / "x.png") == 0
    assert said(tmp_path / "x.png")["image_context"] == str(style) and said(tmp_path / "x.png")["caption"] == "a panda"
    assert run("generate", "a panda", "--model", with_eyes, *common, tmp_path / "y.png") == 0
    assert Image.open(tmp_path / "x.png").tobytes() != Image.open(tmp_path / "y.png").tobytes()
    assert run("generate", "a panda", *shown, "--image-context", style, *common, tmp_path / "x.png") == 2
    assert "one of them" in capsys.readouterr().err
    assert run("generate", "a panda", "--style", style, "--model", folder, *common, tmp_path / "x.png") == 2
    assert "no image encoder" in capsys.readouterr().err


def test_shapes_have_no_style_words(tmp_path, capsys):
    shapes = save_small_folder(tmp_path / "model")
    assert run("generate", "a ring", "--style", "flat", "--model", shapes, "--out", tmp_path / "x.png") == 2
    assert "--model pictures" in capsys.readouterr().err


# ── Names and words ──────────────────────────────────────────────────────────────────────────────────


def test_pictures_without_its_weights_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinyldm.formats.places.SHIPPED", tmp_path)
    for command in (("generate", "a panda"), ("trace", "a panda"), ("evaluate",)):
        assert run(*command, "--model", "pictures") == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "tinyldm train all --data drawings" in line and "runs/pictures/model" in line
    assert run("info", "--model", "pictures") == 0
    assert "tinyldm train all --data drawings" in capsys.readouterr().out


def test_pictures_is_the_shipped_model_where_it_is_there(tmp_path, monkeypatch):
    save_small_drawings_folder(tmp_path / "pictures")
    monkeypatch.setattr("tinyldm.formats.places.SHIPPED", tmp_path)
    out = tmp_path / "x.png"
    assert run("generate", "a panda", "--style", "noto", "--model", "pictures", "--steps", 1, "--out", out) == 0
    assert said(out)["model"] == "pictures"


def test_unknown_words_and_what_may_be_meant(folder, tmp_path, capsys):
    common = ("--steps", 1, "-n", 1, "--model", folder, "--out", tmp_path / "x.png")
    assert run("generate", "a kitten and a penguinn in a zqxjk", *common) == 0
    warned = capsys.readouterr().err
    assert "'kitten' (did you mean 'cat' or 'cat face'?)" in warned
    assert "'penguinn' (did you mean 'penguin'?)" in warned and "'zqxjk'; left out" in warned
    assert said(tmp_path / "x.png")["caption"] == "a and a in a"
    assert run("generate", "a panda and a penguin on a blue background", *common) == 0
    assert "never seen" not in capsys.readouterr().err


@pytest.mark.parametrize("settings", [None, [], {"data": "drawings", "names": 3}, {"data": "drawings", "names": "abc"}])
def test_settings_that_training_never_wrote_are_refused(settings, tmp_path):
    write_json(tmp_path / "training.json", {"unet": {"settings": settings}})
    for question in (draws_drawings, names_of_drawings):
        with pytest.raises(ValueError, match="training.json"):
            question(tmp_path)


# ── Evaluation ───────────────────────────────────────────────────────────────────────────────────────


def test_evaluate(with_eyes, tmp_path, monkeypatch, capsys):
    options = ("--model", with_eyes, "--captions", 8, "--steps", 1, "--json", tmp_path / "x.json")
    monkeypatch.setattr("tinyldm.cli.evaluate.SHIPPED", tmp_path)  # a copy of the package without its judge
    assert run("evaluate", *options) == 2
    assert "train_drawing_judge" in capsys.readouterr().err
    judge = DrawingJudge(questions(drawings.named() + drawings.portraits()), widths=(8, 8, 8, 8))
    judge.save(tmp_path / "judge", {})
    assert run("evaluate", *options, "--judge", tmp_path / "judge", "--figure", tmp_path / "x.png") == 0
    shown = capsys.readouterr().out
    report = json.loads((tmp_path / "x.json").read_text())
    for kind in ("seen", "held-out pairs", "held-out portraits", "style by a picture"):
        assert report[kind]["count"] == 8 and f"{kind} (8)" in shown
    assert report["seen"]["real"]["style"]["of"] == 8 and "clothes" not in report["seen"]["real"]
    assert report["held-out portraits"]["drawn"]["hair"]["of"] == 8
    assert Image.open(tmp_path / "x.png").size[0] > 64
