"""The ablations: each run differs from the first in one thing; measurements are stored, found and not made twice."""

import argparse
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_folder import save_small_folder
from small_models import SMALL_UNET

from tinyldm import LatentDiffusion
from tinyldm.evaluation.judge import Judge
from tinyldm.forward_diffusion import EPS, VELOCITY
from tinyldm.versions import SD1
from tinyldm_course.lessons import ablations

ROOT = Path(__file__).parents[2]
original = ablations.draw_batch


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> LatentDiffusion:
    return LatentDiffusion.from_pretrained(save_small_folder(tmp_path_factory.mktemp("ablations") / "model"))


@pytest.fixture(scope="module")
def corpus():
    return ablations.simple_corpus(12)


def settings(folder: Path, **changes):
    return replace(ablations.SETTINGS, out=folder, steps=2, batch=4, config=SMALL_UNET, progress=False, **changes)


def test_the_simple_world():
    world = ablations.simple_world(0, 20)
    assert len(world.images) == len(world.captions) == 20 and all(map(ablations.is_simple, world.scenes))
    assert {scene.things[0].colour for scene in world.scenes} <= set(ablations.COLOURS)
    assert torch.equal(world.images[:5], ablations.simple_world(0, 5).images)
    assert not torch.equal(world.images[:5], ablations.simple_world(ablations.FRESH, 5).images)


def test_each_differs_from_the_first_in_one_thing():
    first, *others = ablations.ABLATIONS
    for other in others:
        assert (
            sum(getattr(other, name) != getattr(first, name) for name in ("prediction", "scaled", "drop_caption")) == 1
        ), other


def test_what_is_trained(base, corpus, tmp_path):
    scale = base.vae.config.scale
    models = {
        ablation.name: ablations.train(ablation, settings(tmp_path / ablation.name), corpus, base)
        for ablation in ablations.ABLATIONS
    }
    assert base.vae.config.scale == scale
    for name, found in models.items():
        average, last = found["average"], found["last"]
        assert average.schedule.prediction is (EPS if name == ablations.NOISE.name else VELOCITY)
        assert average.vae.config.scale == (scale / SD1.vae.scale if name == ablations.NO_SCALE.name else scale)
        assert not torch.equal(average.unet.conv_in.weight, last.unet.conv_in.weight)
        assert average.generate(["a red circle"], steps=1).shape == (1, 3, 64, 64)
    first, *others = [found["last"].unet.conv_in.weight for found in models.values()]
    assert all(not torch.equal(first, other) for other in others)


def test_without_dropout_no_caption_is_empty(base, corpus, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        ablations,
        "draw_batch",
        lambda cache, index, scale, T, settings, step: (
            seen.append(settings.drop_caption),
            original(cache, index, scale, T, settings, step),
        )[1],
    )
    ablations.train(ablations.NO_DROPOUT, settings(tmp_path), corpus, base)
    assert seen == [0.0, 0.0]


def test_it_goes_on_where_it_was(base, corpus, tmp_path):
    """A stop in the second step and a second call give the weights of one call."""

    def stop(step):
        if step == 1:
            raise KeyboardInterrupt

    whole = ablations.train(ablations.NOISE, settings(tmp_path / "whole"), corpus, base)["average"]
    options = settings(tmp_path / "parts", resume=True, save_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        ablations.train(ablations.NOISE, options, corpus, base, stop)
    parts = ablations.train(ablations.NOISE, options, corpus, base)["average"]
    assert all(torch.equal(a, b) for a, b in zip(whole.unet.parameters(), parts.unet.parameters()))


def test_measure(base):
    found, pictures = ablations.measure(base, Judge.load(), 8, 1.0, steps=1)
    assert pictures.shape == (8, 3, 64, 64) and pictures.dtype == torch.uint8
    assert found["frechet"] > 0 and found["shares"]["count"]["of"] == 8
    json.dumps(found)


# ── Stored numbers ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def command():
    spec = importlib.util.spec_from_file_location("ablations_command", ROOT / "benchmarks" / "ablations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_store_read_pick(command, tmp_path):
    file = tmp_path / "measurements.jsonl"
    assert ablations.read(file) == []
    row = {"name": "no scale", "guidance_scale": 1.0, "frechet": 3.0}
    command.store(row, file)
    command.store(row | {"guidance_scale": 4.0}, file)
    command.store(row | {"frechet": 2.0}, file)  # again: in the place of the old one
    assert len(ablations.read(file)) == 2 and ablations.pick(ablations.read(file), "no scale", 1.0)["frechet"] == 2.0
    with pytest.raises(ValueError, match="'flu' at guidance 1 is not stored; stored: no scale at 1, no scale at 4"):
        ablations.pick(ablations.read(file), "flu", 1.0)


def test_what_is_stored_is_not_done_again(command):
    options = argparse.Namespace(steps=1000, seed=0, captions=300)
    facts = {"steps": 1000, "seed": 0, "captions": 300}
    row = {"name": ablations.AS_IT_SHOULD_BE.name, "guidance_scale": 1.0}
    todo = command.missing(ablations.AS_IT_SHOULD_BE, [row | facts], options)
    assert todo == [(ablations.AS_IT_SHOULD_BE.name, 4.0), (ablations.NO_AVERAGE, 1.0), (ablations.NO_AVERAGE, 4.0)]
    assert len(command.missing(ablations.AS_IT_SHOULD_BE, [row | facts | {"steps": 500}], options)) == 4
    assert len(command.missing(ablations.NO_SCALE, [], options)) == 2


def test_the_command_without_weights(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablations.py", "--model", str(tmp_path), "--out", str(tmp_path / "x.jsonl")])
    assert command.main() == 2
    assert "is not a model folder" in capsys.readouterr().err


def test_whatever_is_stored_is_whole():
    """All five models at both guidance scales, made with the same settings: what lesson 15 compares."""
    stored = ablations.read()
    if not stored:
        pytest.skip("nothing is stored in this copy; make it with: python benchmarks/ablations.py")
    names = [*(ablation.name for ablation in ablations.ABLATIONS), ablations.NO_AVERAGE]
    rows = [ablations.pick(stored, name, w) for name in names for w in ablations.GUIDANCE]
    assert len({(row["steps"], row["batch"], row["seed"], row["captions"], row["scenes"]) for row in rows}) == 1


def test_what_lesson_15_says_of_the_stored_ones():
    rows = ablations.read()
    if not rows:
        pytest.skip("nothing is stored")

    def colour(name, guidance_scale):
        return round(100 * ablations.pick(rows, name, guidance_scale)["shares"]["colour"]["share"])

    assert [colour(ablations.AS_IT_SHOULD_BE.name, w) for w in (1.0, 4.0)] == [73, 86]
    assert [colour(ablations.NOISE.name, w) for w in (1.0, 4.0)] == [50, 74]
    assert [colour(ablations.NO_DROPOUT.name, w) for w in (1.0, 4.0)] == [81, 76]
    assert [
        round(ablations.pick(rows, one.name, 4.0)["frechet"]) for one in (ablations.NO_SCALE, ablations.AS_IT_SHOULD_BE)
    ] == [26, 18]
