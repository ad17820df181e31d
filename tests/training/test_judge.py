"""The judge reads fresh pictures right, does not read failures as successes, and its verdicts are fair."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyldm.data import scenes, world
from tinyldm.data.pixels import channels_first, to_float
from tinyldm.evaluation import judge as judging
from tinyldm.evaluation import train_judge
from tinyldm.evaluation.judge import Judge, Reading, everything, verdict
from tinyldm.evaluation.near_misses import near_miss, soften, wrong_count


@pytest.fixture(scope="module")
def judge():
    return Judge.load()


def _images(shown):
    return to_float(channels_first(scenes.render(shown)))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(("count", "held_out"), [(1024, False), (256, True)])
def test_reads_fresh_renders(judge, count, held_out):
    measured = train_judge.accuracy(judge, count, seed=987_654, held_out=held_out)
    assert measured["strict"] >= 0.99, measured
    assert set(measured) == {"count", "colour", "shape", "size", "relation", "background", "strict"}


def test_reads_softened_renders(judge):
    """As a decoder would soften them: blur of a pixel at most, a little noise and tint."""
    images, _, shown = scenes.batch(55, range(512))
    soft = soften(scenes.to_tensor(images) / 2 + 0.5, torch.Generator().manual_seed(0))
    verdicts = [verdict(reading, scene, everything(scene)) for reading, scene in zip(judge.read(soft), shown)]
    assert np.mean([verdict["strict"] for verdict in verdicts]) >= 0.97


def test_is_not_lenient(judge):
    """Lumps, blends of two shapes and stars grown to pentagons are not read as the shape that was asked for."""
    rng = np.random.default_rng(5)
    fooled, total = 0, 0
    shown = [scenes.scene_at(66, index).canonical() for index in range(400)]
    made = [near_miss(rng, scene) for scene in shown]
    image = to_float(channels_first(np.stack([image for image, _, _ in made])))
    for reading, scene, (_, _, bad_shapes) in zip(judge.read(image), shown, made):
        if any(bad_shapes):
            total += 1
            fooled += verdict(reading, scene, everything(scene)).get("shape", False)
    assert total > 150 and fooled / total < 0.03


@pytest.mark.parametrize("sides", [5, 6, 8])
def test_polygons_are_not_stars(judge, sides):
    """Regular polygons, of which the hexagon and the octagon were never trained on."""

    def polygon(x, y, r):
        angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides + np.pi / 2
        return np.max([x * np.cos(a) - y * np.sin(a) for a in angles], axis=0) - 0.9 * r

    thing = world.Thing("red", "star", "large", 32.0, 32.0, 15.0)
    scene = world.Scene((thing,), None, "white", (0.3, 0.5))
    image = scenes.rounded(scenes.paint(scenes.ground([scene]), [thing], polygon))
    reading = judge.read(to_float(channels_first(image)))[0]
    assert reading.things[0]["colour"] == "red" and reading.things[0]["shape"] != "star"


def test_empty_and_crowded_pictures_have_another_count(judge):
    rng = np.random.default_rng(1)
    image = np.stack([wrong_count(rng, scenes.scene_at(0, index)) for index in range(100)])
    readings = judge.read(to_float(channels_first(image)))
    assert np.mean([reading.things == () for reading in readings]) >= 0.97


def test_does_not_depend_on_the_batch(judge):
    image = _images([scenes.scene_at(3, index) for index in range(20)])
    assert judge.read(image, batch=7) == judge.read(image)
    assert torch.allclose(judge.features(image, batch=7), judge.features(image), atol=1e-4)
    assert judge.features(image).shape == (20, 128)


def test_refuses_other_sizes(judge):
    with pytest.raises(ValueError, match=r"\(B, 3, 64, 64\)"):
        judge.read(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="no judge"):
        Judge.load("nowhere")


def test_shipped_files():
    assert (judging.WEIGHTS / "judge.safetensors").stat().st_size <= 1.5e6
    config = json.loads((judging.WEIGHTS / "config.json").read_text())
    assert config["questions"] == {question: list(names) for question, names in judging.QUESTIONS.items()}
    assert config["accuracy"]["fresh renders, training split"]["strict"] >= 0.995


# ---------------------------------------------------------------- verdicts, by hand


def _thing(colour, shape, size="small", x=20.0, y=20.0):
    return world.Thing(colour, shape, size, x, y, 10.0)


ONE = world.Scene((_thing("red", "circle"),), None, "white", (0.0, 0.0))
RED, BLUE = _thing("red", "circle"), _thing("blue", "square", "large", y=48.0)
TWO = world.Scene((RED, BLUE), "above", "black", (0.0, 0.0))


def _seen(scene, **changes):
    """The reading of a scene by a perfect judge."""
    scene = scene.canonical()
    things = tuple({kind: getattr(thing, kind) for kind in ("colour", "shape", "size")} for thing in scene.things)
    return replace(Reading(things, scene.relation, scene.background), **changes)


def test_perfect_reading_is_right():
    for index in range(300):
        scene = scenes.scene_at(8, index)
        result = verdict(_seen(scene), scene, everything(scene))
        assert all(result.values()) and ("relation" in result) == (len(scene.things) == 2)
        assert verdict(_seen(scene.turned()), scene, everything(scene)) == result


def test_only_what_was_stated_is_judged():
    reading = _seen(ONE, background="black")
    assert verdict(reading, ONE, frozenset({"shape 1"})) == {"count": True, "shape": True, "strict": True}
    assert not verdict(reading, ONE, frozenset({"shape 1", "background"}))["strict"]
    green = _seen(replace(TWO, things=(TWO.things[0], replace(TWO.things[1], colour="green"))))
    assert verdict(green, TWO, frozenset({"colour 1", "shape 2"}))["strict"]
    assert not verdict(green, TWO, frozenset({"colour 2", "shape 2"}))["colour"]


@pytest.mark.parametrize("told", [TWO, TWO.turned()], ids=["above", "below"])
def test_swapped_colours_are_wrong_colours(told):
    reading = _seen(world.swapped(TWO)["colour"])
    result = verdict(reading, told, everything(told))
    assert {name for name, right in result.items() if not right} == {"colour", "strict"}


@pytest.mark.parametrize("told", [TWO, TWO.turned()], ids=["above", "below"])
def test_swapped_positions_are_a_wrong_relation(told):
    reading = _seen(world.swapped(TWO)["position"])
    result = verdict(reading, told, everything(told))
    assert {name for name, right in result.items() if not right} == {"relation", "strict"}


def test_numbers_of_things_follow_the_caption_not_the_picture():
    """ "colour 1" is the thing named first, also where it is the lower one."""
    told = TWO.turned()  # a blue square below a red circle
    wrong = _seen(replace(TWO, things=(TWO.things[0], replace(TWO.things[1], colour="green"))))
    assert not verdict(wrong, told, frozenset({"colour 1", "relation"}))["strict"]
    assert verdict(wrong, told, frozenset({"colour 2", "relation"}))["strict"]


def test_without_a_stated_relation_the_order_is_free():
    stated = everything(TWO) - {"relation"}
    assert verdict(_seen(world.swapped(TWO)["position"]), TWO, stated)["strict"]
    assert "relation" not in verdict(_seen(TWO), TWO, stated)
    assert not verdict(_seen(world.swapped(TWO)["colour"]), TWO, stated)["strict"]


def test_wrong_axis_is_a_wrong_relation():
    result = verdict(_seen(TWO, relation="left of"), TWO, everything(TWO))
    assert not result["relation"] and result["colour"] and result["shape"] and not result["strict"]


def test_wrong_count_makes_all_about_the_things_wrong():
    for reading, scene in (
        (_seen(ONE, background="black"), TWO),
        (_seen(TWO, background="white"), ONE),
        (Reading((), None, "black"), TWO),
    ):
        result = verdict(reading, scene, everything(scene))
        assert result.pop("background") and not any(result.values())


def test_unclear_is_never_right():
    thing = {"colour": "red", "shape": judging.UNCLEAR, "size": "small"}
    result = verdict(_seen(ONE, things=(thing,)), ONE, everything(ONE))
    assert not result["shape"] and result["colour"] and not result["strict"]


# ---------------------------------------------------------------- training


def test_targets_of_every_scene_are_its_reading():
    names = list(judging.QUESTIONS.items())
    for index in range(100):
        scene = scenes.scene_at(9, index)
        answers = train_judge.targets(scene)
        chosen = {question: options[max(a, 0)] for (question, options), a in zip(names, answers)}
        assert judging._reading(chosen) == _seen(scene)
        assert (answers[1] == train_judge.NOT_ASKED) == (len(scene.things) == 1)


def test_training_is_deterministic_and_learns():
    torch.set_num_threads(1)
    one, two = (train_judge.train(3, seed=1, progress=False).state_dict() for _ in range(2))
    other = train_judge.train(3, seed=2, progress=False).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["think.weight"], other["think.weight"])
    image, answers = train_judge.training_batch(1, 0)
    after = train_judge.loss_of(train_judge.train(25, seed=1, progress=False)(image)[0], answers)
    assert after < train_judge.loss_of(Judge()(image)[0], answers)


def test_command():
    def run(*options):
        return subprocess.run(
            [sys.executable, "-m", "tinyldm.evaluation.train_judge", *options],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert "--steps" in run("--help").stdout
    assert run("--steps", "many").returncode == 2
