"""The evaluation gives the right numbers where they are known, and says what it could not measure."""

import importlib.util
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_folder import save_small_folder

from tinyldm import LatentDiffusion
from tinyldm.conditioning import tokenize
from tinyldm.data import scenes
from tinyldm.data.corpus import WORDS
from tinyldm.data.pixels import to_float, to_signed_float
from tinyldm.data.world import Scene, Thing
from tinyldm.evaluation import measure, report
from tinyldm.evaluation.judge import Judge, Reading, verdict
from tinyldm.evaluation.measure import (
    PLAIN,
    EvaluationSettings,
    World,
    by_count,
    clip_skill,
    evaluate,
    frechet,
    fresh_world,
    image_context,
    judged,
    memorisation,
    reconstruction,
)
from tinyldm.formats.places import SHIPPED
from tinyldm.reverse_diffusion import ddpm
from tinyldm.training.tokenizer import build_tokenizer

QUICK = EvaluationSettings(captions=160, training_images=300, progress=False)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


@pytest.fixture(scope="module")
def world() -> World:
    return fresh_world(0, 160, QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_small_folder(tmp_path_factory.mktemp("evaluate") / "model")


class Oracle:
    """A model that draws the scenes of a world, and gives back the picture that it gets as context."""

    def __init__(self, world: World):
        self.pictures = {caption.text: image for caption, image in zip(world.captions, world.images)}
        self.device, self.dtype, self.vae = torch.device("cpu"), torch.float32, self

    def encode_image(self, images):
        return images

    def generate(self, captions, *, image_context=None, **_):
        if image_context is not None:
            return image_context
        return torch.stack([to_float(self.pictures[caption]) for caption in captions])

    def encode(self, images):
        return images

    def decode(self, z0):
        return (z0 + 0.02).clamp(-1, 1)  # a hundredth of the range too bright, where there is room


# ── Known answers ────────────────────────────────────────────────────────────────────────────────────


def test_fresh_worlds_are_fresh_and_repeatable(world):
    again = fresh_world(0, 160, QUICK)
    assert torch.equal(world.images, again.images) and world.captions == again.captions
    trained = {scenes.scene_at(0, index) for index in range(160)}
    assert not trained & set(world.scenes) and not set(fresh_world(1, 160, QUICK).scenes) & set(world.scenes)
    assert all(scenes.is_held_out(scene) for scene in fresh_world(0, 20, QUICK, held_out=True).scenes)


def test_right_pictures_are_all_right(judge, world):
    pictures = measure.generate(Oracle(world), world.captions, QUICK, "captions")
    assert (pictures == world.images).flatten(1).all(1).sum() > 150  # a few captions occur twice
    groups = by_count(judged(judge, pictures, world), world)
    assert groups["all"]["strict"]["share"] >= 0.98 and groups["all"]["strict"]["of"] == 160
    assert groups["one object"]["strict"]["of"] + groups["two objects"]["strict"]["of"] == 160
    assert "relation" not in groups["one object"] and groups["two objects"]["relation"]["share"] >= 0.98
    low, high = (groups["all"]["background"][end] for end in ("low", "high"))
    assert 0 < low < groups["all"]["background"]["share"] <= high <= 1


def test_a_picture_depends_on_the_seed_and_its_number_only(folder, world):
    """Whatever the batches: in fives, the pictures are those of one batch of 12. (A pixel may round differently.)"""
    model = LatentDiffusion.from_pretrained(folder)
    some = {
        batch: measure.generate(
            model, world.captions[:count], replace(QUICK, steps=3, batch=batch, sampler=ddpm), "captions"
        ).int()
        for batch, count in ((5, 12), (12, 12), (100, 7))
    }
    assert (some[5] - some[12]).abs().max() <= 1 >= (some[100] - some[12][:7]).abs().max()
    assert (some[12][0] - some[12][1]).abs().max() > 8
    other = measure.generate(model, world.captions[:2], replace(QUICK, steps=3, seed=1, sampler=ddpm), "captions").int()
    assert (other[0] - some[12][0]).abs().max() > 8


def test_pictures_of_other_captions_are_wrong(judge, world):
    groups = by_count(judged(judge, world.images.roll(1, 0), world), world)
    assert groups["all"]["strict"]["share"] < 0.1 and groups["all"]["background"]["share"] < 0.4


def test_image_context(judge, world):
    measured = image_context(Oracle(world), judge, world, QUICK)
    assert measured["background"]["share"] >= 0.95 and measured["colour"]["share"] >= 0.95
    assert measured["background by chance"]["share"] < 0.4 and measured["colour by chance"]["share"] < 0.4
    assert measured["colour"]["of"] == 40


def test_a_colour_reappears_if_any_thing_has_it():
    scene = Scene(
        (Thing("red", "ring", "small", 0, 0, 9), Thing("blue", "star", "small", 0, 0, 9)), "above", "white", (0, 0)
    )
    thing = {"shape": "cross", "size": "large"}
    both = Reading(({**thing, "colour": "blue"}, {**thing, "colour": "red"}), "above", "white")
    one = Reading(({**thing, "colour": "blue"},), None, "black")
    assert measure.reappears(both, scene) == {"background": True, "colour": True}
    assert measure.reappears(one, scene) == {"background": False, "colour": False}


def test_reconstruction(judge, world):
    measured = reconstruction(Oracle(world), judge, world, QUICK)
    assert 38 < measured["psnr"] < 50  # 0.01 is 40 dB; white cannot get brighter
    assert measured["reconstructed"]["strict"]["share"] >= 0.98 <= measured["original"]["strict"]["share"]


def test_frechet_distance_has_a_floor(judge, world):
    same = frechet(judge, world.images, world, QUICK)
    assert same["generated"] == same["real"] > 0
    noise = torch.randint(0, 256, world.images.shape, dtype=torch.uint8)
    assert frechet(judge, noise, world, QUICK)["generated"] > 5 * same["real"]


def test_memorisation_finds_copies(world):
    training = torch.from_numpy(scenes.render([scenes.scene_at(0, index) for index in range(300)])).permute(0, 3, 1, 2)
    copied, closest = memorisation(training[:160], world, 0, QUICK)
    assert copied["copies"]["share"] == 1 and copied["median distance"] == 0
    assert torch.equal(closest, training[:16])
    honest, _ = memorisation(fresh_world(7, 160, QUICK).images, world, 0, QUICK)
    assert honest["copies"]["share"] < 0.06 and honest["training images"] == 300


class KnowingClip(torch.nn.Module):
    """Knows of each picture its own captions: similarity 1 with them, 0 with all others."""

    def __init__(self, world, tokenizer, sign=1.0):
        super().__init__()
        self.place = {image.numpy().tobytes(): i for i, image in enumerate(to_signed_float(world.images))}
        self.sign, self.size, self.own = sign, len(self.place), {}
        self.text = type("Text", (), {"config": type("Config", (), {"max_position_embeddings": 32})})
        for i, (scene, caption) in enumerate(zip(world.scenes, world.captions)):
            for text in (caption.text, PLAIN.say(scene).text):
                tokens = tuple(tokenize(tokenizer, [text], 32)[0].tolist())
                self.own.setdefault(tokens, set()).add(i)

    def embed_image(self, images):
        return torch.stack([torch.eye(self.size)[self.place[image.numpy().tobytes()]] for image in images]), None

    def embed_text(self, tokens):
        rows = torch.zeros(len(tokens), self.size)
        for row, caption in zip(rows, tokens.tolist()):
            row[list(self.own.get(tuple(caption), ()))] = self.sign
        return rows, None


def test_binding_and_retrieval_of_a_clip_that_knows(world):
    tokenizer = build_tokenizer(WORDS, 32)
    right = clip_skill(KnowingClip(world, tokenizer), tokenizer, world, QUICK)
    assert right["retrieval among 128"]["share"] > 0.9 and right["retrieval among 128"]["of"] == 160
    assert {kind: measured["share"] for kind, measured in right["binding"]["plain"].items()} == {
        "position": 1,
        "colour": 1,
        "shape": 1,
    }
    wrong = clip_skill(KnowingClip(world, tokenizer, sign=-1.0), tokenizer, world, QUICK)
    assert all(measured["share"] == 0 for measured in wrong["binding"]["plain"].values())
    assert set(right["binding"]["all wordings"]) == {"position", "colour", "shape", "size"}


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────

SMALL = EvaluationSettings(captions=16, steps=1, training_images=50, progress=False)
SECTIONS = {"captions", "held-out captions", "image context", "reconstruction", "CLIP", "frechet", "memorisation"}


def test_everything_is_measured_and_repeatable(folder, tmp_path):
    found, gallery = evaluate(folder, SMALL)
    again, _ = evaluate(folder, SMALL)
    assert SECTIONS | {"settings", "versions", "hardware", "date", "seconds", "model", "skipped"} == set(found)
    assert again | {name: found[name] for name in ("date", "seconds")} == found
    assert json.loads(json.dumps(found, allow_nan=False))["settings"]["sampler"] == "ddim" and not found["skipped"]
    assert gallery.images.shape == gallery.nearest.shape == (16, 3, 64, 64) and len(gallery.strict) == 16
    other, _ = evaluate(folder, EvaluationSettings(captions=16, steps=1, training_images=50, progress=False, seed=1))
    assert other["frechet"] != found["frechet"]

    lines = "\n".join(report.in_words(found))
    assert all(section in lines for section in ("captions", "image context", "CLIP")) and "of 16" in lines
    report.save_figure(found, gallery, tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").width > 1000


def test_parts_that_a_model_lacks_are_named(folder, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    (other / "tinyldm_clip_projections.safetensors").unlink()
    found, _ = evaluate(other, SMALL)
    assert set(found["skipped"]) == {"CLIP"} and "image context" in found and "CLIP" not in found
    shutil.rmtree(other / "tinyldm_image_encoder")
    found, gallery = evaluate(other, SMALL)
    assert set(found["skipped"]) == {"CLIP", "image context"} and "image context" not in found
    assert "skipped image context: the model has no image encoder" in report.in_words(found)
    report.save_figure(found, gallery, tmp_path / "figure.svg")


def test_pictures_of_another_size_are_refused(small_model, tmp_path):
    small_model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="32×32 pixels; the judge reads .* 64×64"):
        evaluate(tmp_path / "model", SMALL)


@pytest.mark.parametrize("wrong", [{"captions": 3}, {"seed": -1}, {"training_images": 0}, {"batch": 0}])
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValueError, match="expected"):
        EvaluationSettings(**wrong)


def test_the_numbers_of_the_readme_are_written_by_their_script():
    """With the stored report it changes nothing; with another one, all the numbers."""
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("quality", root / "benchmarks" / "quality.py")
    quality = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quality)
    readme = (root / "README.md").read_text(encoding="utf-8")
    stored = (SHIPPED / "tiny" / "evaluation.json").read_text(encoding="utf-8")
    assert quality.with_numbers(readme, json.loads(stored)).split() == readme.split()
    other = quality.with_numbers(readme, json.loads(re.sub(r'"(share|psnr)": [\d.]+', r'"\1": 0.1234', stored)))
    assert " ".join(other.split()).count("12.3 %") == 13 and "at 0.1 dB" in other
    assert quality.with_numbers(other, json.loads(stored)).split() == readme.split()
    with pytest.raises(ValueError, match="expected a README"):
        quality.with_numbers("# Another", json.loads(stored))


# ── The shipped weights ──────────────────────────────────────────────────────────────────────────────


def thing(text: str) -> Thing:
    size, colour, shape = text.split()
    return Thing(colour, shape, size, 0, 0, 0)


# Caption, and what has to be seen: things in the order of the caption, relation, background.
GOLDEN = {
    "a large red circle": (["large red circle"], None, None),
    "a large blue square on a white background": (["large blue square"], None, "white"),
    "a small green ring, black background": (["small green ring"], None, "black"),
    "a large yellow star on a gray background": (["large yellow star"], None, "gray"),
    "a small purple cross on a cream background": (["small purple cross"], None, "cream"),
    "a large orange triangle": (["large orange triangle"], None, None),
    "a small red circle above a large blue square": (["small red circle", "large blue square"], "above", None),
    "a large blue square above a small red circle": (["large blue square", "small red circle"], "above", None),
    "a large green star to the left of a small pink circle on a white background": (
        ["large green star", "small pink circle"],
        "left of",
        "white",
    ),
    "a small yellow ring below a large cyan square": (["small yellow ring", "large cyan square"], "below", None),
}


def test_golden_captions(judge):
    """Four pictures of each; the judge agrees with most of them, and about relation and background with nearly all."""
    model = LatentDiffusion.from_pretrained("tiny")
    verdicts = {1: [], 2: []}
    for caption, (things, relation, background) in GOLDEN.items():
        scene = Scene(tuple(map(thing, things)), relation, background or "white", (0, 0))
        stated = {f"{kind} {place + 1}" for place in range(len(things)) for kind in ("colour", "shape", "size")}
        stated |= ({"relation"} if relation else set()) | ({"background"} if background else set())
        pictures = model.generate([caption] * 4, generator=torch.Generator().manual_seed(0))
        verdicts[len(things)] += [verdict(reading, scene, frozenset(stated)) for reading in judge.read(pictures)]
    right = {count: sum(found["strict"] for found in some) / len(some) for count, some in verdicts.items()}
    everything = verdicts[1] + verdicts[2]
    for kind in ("relation", "background"):
        seen = [found[kind] for found in everything if kind in found]
        assert sum(seen) / len(seen) >= 0.9, (kind, verdicts)
    assert right[1] >= 0.8 and right[2] >= 0.6, (right, verdicts)
