"""`tinyldm train` checks all options before any work: a mistake is one line, and no earlier run is lost."""

import argparse
import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_folder import save_small_folder

from tinyldm.cli import options as parsing
from tinyldm.cli import train as command
from tinyldm.cli.main import main
from tinyldm.data import scenes
from tinyldm.formats.places import SHIPPED
from tinyldm.training.checkpoints import read_facts
from tinyldm.training.resuming import reserved

LONG = "a photograph of my grandmother and my grandfather walking in a park with a "


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of two pictures whose captions differ after the last piece that is read (case 06)."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = []
    for i, animal in enumerate(("dog", "cat")):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": LONG + animal}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def nothing_is_done(monkeypatch):
    """No corpus is made and nothing is trained in a test that has this."""

    def work(*_):
        raise AssertionError("work was begun before all options were checked")

    for name in ("scenes_corpus", "digits_corpus", "folder_corpus", "train_all"):
        monkeypatch.setattr(command, name, work)
    monkeypatch.setattr(command.of_drawings, "train_drawings", work)


def refusal(capsys, *arguments) -> str:
    """The one line that a wrong command prints."""
    try:
        code = main(["train", *map(str, arguments)])
    except SystemExit as exit:  # argparse
        code = exit.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["clip"], "with the U-Net"),
        (["unet", "--start-from", "tiny"], "--start-from"),
        (["unet", "--recompute"], "--recompute"),
        (["vae", "--scenes", "9"], "--scenes"),
        (["vae", "--style-pictures"], "--style-pictures"),
        (["vae", "--names", "everyday"], "--names"),
        (["unet", "--names", "nowhere.txt"], "nowhere.txt does not exist"),
    ],
)
def test_drawings_have_no_clip_to_train_or_to_start_from(capsys, tmp_path, nothing_is_done, arguments, said):
    assert said in refusal(capsys, *arguments, "--data", "drawings", "--out", tmp_path / "run")


def test_styles_from_pictures_are_for_drawings(capsys, tmp_path, nothing_is_done, monkeypatch):
    assert "with --data drawings" in refusal(capsys, "all", "--style-pictures", "--out", tmp_path / "run")
    plans = []
    monkeypatch.setattr(command.of_drawings, "train_drawings", lambda plan, *_: plans.append(plan))
    for extra in ([], ["--style-pictures"]):
        assert main(["train", "all", "--data", "drawings", "--out", str(tmp_path / "run"), *extra]) == 0
    assert plans[0].unet.vision is None and plans[1].unet.vision is not None


def test_names_are_for_drawings_and_reach_the_plan(capsys, tmp_path, nothing_is_done, monkeypatch):
    assert "with --data drawings" in refusal(capsys, "all", "--names", "everyday", "--out", tmp_path / "run")
    plans = []
    monkeypatch.setattr(command.of_drawings, "train_drawings", lambda plan, *_: plans.append(plan))
    (tmp_path / "two.txt").write_text("panda\nfox\n")
    for extra in ([], ["--names", str(tmp_path / "two.txt")]):
        assert main(["train", "all", "--data", "drawings", "--out", str(tmp_path / "run"), *extra]) == 0
    assert plans[0].unet.names is None and plans[1].unet.names == ("panda", "fox")


def test_a_unet_for_drawings_needs_a_vae(capsys, tmp_path):
    assert "tinyldm train vae --data drawings" in refusal(capsys, "unet", "--data", "drawings", "--out", tmp_path)


# ── Every option (case 15) ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "option, values",
    [
        ("--plan", ["tpu"]),
        ("--scenes", ["-5", "0", "many", "1.5", "100000000000"]),
        ("--steps", ["0", "-1", "many", "1e3"]),
        ("--minutes", ["0", "-1", "nan", "inf", "long"]),
        ("--batch", ["0", "-1", "1000000000000"]),
        ("--lr", ["0", "-1", "nan", "inf", "fast"]),
        ("--device", ["gpu", "cuda:99", "xla"]),
        ("--dtype", ["float8"]),
        ("--seed", ["-1", "20250101123", "1000000", "x"]),
        ("--data", ["nowhere"]),
        ("--start-from", ["tiny", "nowhere"]),
        ("--model-size", ["xl"]),
        ("--accumulate", ["0", "x"]),
        ("--gpus", ["0", "8"]),
        ("--gpu-tflops", ["0", "312"]),
        ("--gpu-memory", ["-1", "80"]),
        ("--utilisation", ["1.5", "0.4"]),
        ("--resume", ["--overwrite"]),
    ],
)
def test_a_wrong_value_is_named_before_any_work(capsys, tmp_path, monkeypatch, nothing_is_done, option, values):
    monkeypatch.chdir(tmp_path)
    named = {"--device": "device|CUDA", "--resume": "--overwrite"}.get(option, option)
    for value in values:
        assert re.search(named, refusal(capsys, "clip", "--out", tmp_path / "run", option, value)), value
    assert not (tmp_path / "run").exists()


def test_every_option_is_tried():
    """A new option belongs into the tests of this file."""
    parser = argparse.ArgumentParser()
    parsing.add_train(parser)
    options = {action.option_strings[-1] for action in parser._actions if action.option_strings}
    tried = "plan data scenes out model steps minutes batch lr device dtype seed start-from resume overwrite help "
    tried += (
        "on-disk model-size parts-from accumulate recompute compile ema-on-cpu estimate gpus gpu-tflops gpu-memory "
    )
    tried += "utilisation style-pictures names"
    assert options == {f"--{name}" for name in tried.split()}


def test_options_that_do_not_go_together(capsys, tmp_path, pictures, nothing_is_done):
    out = ("--out", tmp_path / "run")
    assert "--scenes" in refusal(capsys, "clip", *out, "--data", pictures, "--scenes", 5)
    assert "--scenes" in refusal(capsys, "clip", *out, "--data", "digits", "--scenes", 5)
    assert "--model" in refusal(capsys, "clip", *out, "--model", tmp_path / "model")
    assert "--start-from" in refusal(capsys, "all", *out, "--start-from", "tiny")


def test_options_of_large_unets(capsys, tmp_path, pictures, nothing_is_done):
    out = ("--out", tmp_path / "run")
    for option in (("--accumulate", 2), ("--compile",), ("--recompute",), ("--ema-on-cpu",)):
        assert f"{option[0]} is for the U-Net" in refusal(capsys, "vae", *out, *option)
    assert "for the U-Net alone" in refusal(capsys, "all", *out, "--model-size", "sd1")
    assert "--parts-from FOLDER" in refusal(capsys, "unet", *out, "--model-size", "sd1", "--data", pictures)
    parts = ("--parts-from", pictures)
    assert "too small for --model-size sd1" in refusal(capsys, "unet", *out, "--model-size", "sd1", *parts)
    small = save_small_folder(tmp_path / "small")
    assert "vectors of 24 numbers, and the U-Net reads 128" in refusal(
        capsys, "unet", *out, "--parts-from", small, "--data", pictures
    )
    assert "is not a model folder" in refusal(capsys, "unet", *out, *parts, "--data", pictures)
    assert "expected one" in refusal(capsys, "unet", *out, *parts, "--start-from", "tiny")
    assert "--on-disk is for a folder" in refusal(capsys, "unet", *out, "--on-disk", "--start-from", "tiny")
    assert "--estimate is of the U-Net alone" in refusal(capsys, "all", *out, "--estimate")
    assert "evenly among 1 process(es) with 3 piece(s)" in refusal(
        capsys, "unet", *out, "--start-from", "tiny", "--batch", 64, "--accumulate", 3
    )
    for name in ("a.tar", "b.parquet"):
        (tmp_path / name).touch()
    assert ".tar and .parquet" in refusal(capsys, "clip", *out, "--data", tmp_path / "*.*")
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_written_is_told_at_once(capsys, tmp_path, nothing_is_done):
    (tmp_path / "file").touch()
    assert "a part of the path is a file" in refusal(capsys, "clip", "--out", tmp_path / "file" / "run")


def test_stages_that_come_before_are_told_at_once(capsys, tmp_path, nothing_is_done):
    assert "run first: tinyldm train clip" in refusal(capsys, "vae", "--out", tmp_path / "run")
    line = refusal(capsys, "unet", "--out", tmp_path / "run")
    assert "tinyldm train clip, then tinyldm train vae" in line


@pytest.mark.parametrize("place", ["a folder of other things", "a file", "another model"])
def test_a_wrong_place_for_the_model_is_told_at_once(capsys, tmp_path, pictures, nothing_is_done, place):
    model = {"a folder of other things": pictures, "a file": pictures / "0.png", "another model": tmp_path / "sd"}[
        place
    ]
    if place == "another model":
        model.mkdir()
        (model / "model_index.json").write_text("{}")
    arguments = ("unet", "--start-from", "tiny", "--data", pictures, "--out", tmp_path / "run", "--model", model)
    assert str(model) in refusal(capsys, *arguments)
    if place == "another model":  # one that was not trained here is not replaced by a resumed run either
        assert "--overwrite" in refusal(capsys, *arguments, "--resume")


def test_a_model_to_start_from_must_have_been_trained_here(capsys, tmp_path, pictures, nothing_is_done):
    folder = save_small_folder(tmp_path / "small")
    arguments = ("unet", "--data", pictures, "--out", tmp_path / "run", "--start-from", folder)
    assert "has other sizes" in refusal(capsys, *arguments)
    (folder / "tinyldm_clip_projections.safetensors").unlink()
    assert "trained here" in refusal(capsys, *arguments)


@pytest.mark.parametrize("history", ["{", "[]", '{"unet": 3}', '{"unet": {"step": 1}}', '{"nope": {}}'])
def test_a_broken_history_is_told_before_it_is_needed(capsys, tmp_path, pictures, nothing_is_done, history):
    """It becomes part of the new model's card, which is written last."""
    folder = Path(shutil.copytree(SHIPPED / "tiny", tmp_path / "start"))
    (folder / "training.json").write_text(history)
    line = refusal(capsys, "unet", "--data", pictures, "--out", tmp_path / "run", "--start-from", folder)
    assert "training.json" in line


def test_two_trainings_do_not_write_to_one_folder(capsys, tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(command, "train_all", lambda *_: pytest.fail("trained"))
    (tmp_path / "run").mkdir()
    with reserved(tmp_path / "run"):
        line = refusal(capsys, "clip", "--data", pictures, "--out", tmp_path / "run", "--steps", 1)
    assert "another training is writing to" in line


def test_seeds_of_worlds_for_measuring_are_not_trained_on():
    with pytest.raises(ValueError, match="kept for measuring"):
        command.Settings(steps=1, seed=scenes.FRESH)
    assert parsing.MAX_TRAINING_SEED == scenes.FRESH - 1


# ── Runs that are there (case 14), captions that are cut (case 06), NaN (case 05) ────────────────────


def fake_run(out: Path, stage: str) -> Path:
    out.mkdir(exist_ok=True)
    checkpoint = out / f"{stage}.checkpoint.safetensors"
    save_file({"x": torch.zeros(1)}, checkpoint, {"facts": json.dumps({"step": 5})})
    return checkpoint


def test_a_run_is_not_replaced_unless_asked(capsys, tmp_path, nothing_is_done):
    checkpoint = fake_run(tmp_path / "run", "clip")
    content = checkpoint.read_bytes()
    for stage in ("clip", "all"):
        line = refusal(capsys, stage, "--out", tmp_path / "run", "--steps", 1)
        assert "--resume" in line and "--overwrite" in line and "clip.checkpoint" in line
    assert checkpoint.read_bytes() == content
    with pytest.raises(AssertionError, match="work was begun"):
        main(["train", "clip", "--out", str(tmp_path / "run"), "--overwrite"])
    checkpoint.unlink()
    (tmp_path / "run" / "clip").mkdir()
    (tmp_path / "run" / "clip" / "config.json").write_text("{}")  # a result whose checkpoint was deleted
    assert "--overwrite" in refusal(capsys, "clip", "--out", tmp_path / "run")


def test_a_model_to_start_from_does_not_replace_what_was_trained(capsys, tmp_path, pictures, nothing_is_done):
    fake_run(tmp_path / "run", "vae")
    arguments = ("unet", "--start-from", "tiny", "--data", pictures, "--out", tmp_path / "run")
    for more in ((), ("--resume",)):
        assert "has a trained vae" in refusal(capsys, *arguments, *more)


def test_nothing_to_resume_is_said(tmp_path, nothing_is_done):
    with pytest.warns(UserWarning, match="nothing to resume in .*run: starting from the beginning"):
        with pytest.raises(AssertionError, match="work was begun"):
            command.run(_options("clip", "--out", tmp_path / "run", "--resume"))


def _options(*arguments):
    parser = argparse.ArgumentParser()
    parsing.add_train(parser)
    return parser.parse_args(list(map(str, arguments)))


def test_from_the_shipped_weights_to_a_model_of_ones_pictures(capsys, tmp_path, pictures):
    """Captions that are cut are counted and shown; the run is then there; NaN leaves its checkpoint intact."""
    run = tmp_path / "run"
    arguments = ["unet", "--start-from", "tiny", "--data", pictures, "--out", run, "--batch", 2, "--dtype", "float32"]
    assert main(["train", *map(str, arguments), "--steps", "1"]) == 0
    errors = capsys.readouterr().err
    assert "2 of 3 captions are too long" in errors and "cut off" in errors and LONG in errors and "dog" in errors
    assert (run / "model" / "model_index.json").is_file()

    checkpoint = run / "unet.checkpoint.safetensors"
    content = checkpoint.read_bytes()
    assert "--resume" in refusal(capsys, *arguments, "--steps", 1)
    shutil.rmtree(run / "model" / "unet")  # the finished model is replaced as a whole
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["train", *map(str, arguments), "--steps", "25", "--resume", "--lr", "1e12"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(checkpoint) in line and "of step 1:" in line and "lower --lr" in line
    assert checkpoint.read_bytes() == content and read_facts(checkpoint)["step"] == 1
    assert all(value.isfinite().all() for value in load_file(checkpoint).values())
