"""Readings of drawings are right where the answer is known, and the right pictures and captions are asked for."""

import pytest
import torch

from tinyldm.data import drawings
from tinyldm.data.captions import words_of
from tinyldm.data.drawing_captions import vocabulary
from tinyldm.data.pixels import to_float
from tinyldm.evaluation import measure_drawings as measure
from tinyldm.evaluation.drawing_judge import DrawingJudge, answers, questions
from tinyldm.evaluation.measure import EvaluationSettings

QUICK = EvaluationSettings(captions=12, progress=False)


@pytest.fixture(scope="module")
def judge() -> DrawingJudge:
    """A judge that looks pictures up: it answers right for every drawing on white, and "0" for all else."""
    shown = [*drawings.named()[::40], *drawings.portraits()[::60]]
    judge = DrawingJudge(questions(shown), widths=(8, 8, 8, 8))
    table = {image.numpy().tobytes(): row for image, row in zip(measure.on_white(shown), answers(shown, judge.asked))}

    def look_up(images):
        rows = [table.get((image * 255).round().byte().numpy().tobytes()) for image in images]
        none = torch.zeros(len(judge.asked), dtype=torch.int64)
        right = torch.stack([none if row is None else row.clamp(min=0) for row in rows])
        return {
            question: torch.nn.functional.one_hot(right[:, column], len(names)).float()
            for column, (question, names) in enumerate(judge.asked.items())
        }

    judge.forward = look_up
    judge.shown = shown
    return judge


def test_captions_have_known_words_and_say_everything():
    known = set(vocabulary())
    captions = [measure.caption_of(one) for one in (*drawings.named()[::9], *drawings.portraits()[::9])]
    assert {word for caption in captions for word in words_of(caption)} <= known
    panda = next(one for one in drawings.named() if one.name == "panda" and one.style == "flat")
    assert measure.caption_of(panda) == "panda, flat style"
    for person in drawings.portraits()[::50]:
        said = measure.caption_of(person)
        assert said.endswith(f"{person.style} style")
        for key in ("hair", "hair colour", "mouth", "skin", "clothes"):
            assert person.attributes.get(key, "") in said


def test_readings_of_known_pictures(judge):
    images = to_float(measure.on_white(judge.shown))
    found = measure.reading(judge, images, judge.shown)
    assert all(answer["share"] == 1 for answer in found.values())
    people = [one for one in judge.shown if one.attributes]
    assert found["hair"]["of"] == len(people) and found["name"]["of"] == len(judge.shown)
    with_clothes = sum("clothes" in one.attributes for one in people)
    assert 0 < found["clothes"]["of"] == with_clothes < len(people)
    half = images.clone()
    half[::2] = 0.5  # pictures that this judge does not know
    found = measure.reading(judge, half, judge.shown)
    assert 0.49 < found["name"]["share"] < 0.52


def test_what_is_asked_keeps_apart_what_is_held_out(judge):
    asked = measure.what_is_asked(DrawingJudge(questions(drawings.named() + drawings.portraits()), (8, 8, 8, 8)))
    assert not any(map(drawings.is_held_out, asked["seen"])) and len(asked["seen"]) > 5000
    assert len(asked["held-out pairs"]) == len(drawings.index()["held_out"]["pairs"])
    assert all(one.attributes and drawings.is_held_out(one) for one in asked["held-out portraits"])
    some = DrawingJudge({"name": ("fox", "panda"), "style": ("flat", "noto")}, (8, 8, 8, 8))
    assert set(measure.what_is_asked(some)) <= {"seen", "held-out pairs"}  # it knows no portraits
    assert {one.name for one in measure.what_is_asked(some)["seen"]} == {"fox", "panda"}


class Draws:
    """In place of a model: draws what it is told to, and keeps what it was asked for."""

    def __init__(self, images):
        self.images, self.captions, self.contexts = images, [], []

    def encode_image(self, images):
        return images

    def generate(self, captions, image_context=None, **_):
        self.captions += captions
        self.contexts.append(image_context)
        return self.images[: len(captions)]


def test_style_by_a_picture_shows_something_else_in_the_wanted_style(judge):
    pairs = [one for one in drawings.named() if drawings.is_held_out(one)][:12]
    model = Draws(torch.full((12, 3, 64, 64), 0.5))
    found = measure.style_by_a_picture(model, judge, pairs, QUICK)
    assert model.captions == [one.name for one in pairs] * 2  # with the picture and without, and no word for the style
    shown, nothing = model.contexts
    assert nothing is None
    for picture, pair in zip(shown, pairs):
        other = measure.another_of(pair)
        assert other.style == pair.style and other.name != pair.name and not drawings.is_held_out(other)
        assert torch.equal(picture, to_float(measure.on_white([other]))[0])
    assert len({measure.another_of(pair).name for pair in pairs}) > 8
    assert found["count"] == 12 and set(found) == {"with the picture", "without", "count"}


def test_copies_are_counted():
    training = [one for one in drawings.named() if not drawings.is_held_out(one)]
    copied = measure.memorisation(to_float(measure.on_white(training[100:110])))
    assert copied["copies"]["share"] == 1 and copied["median distance"] == 0
    noise = measure.memorisation(torch.rand(10, 3, 64, 64))
    assert noise["copies"]["share"] == 0 and noise["training images"] == len(training)


def test_spread():
    assert measure.spread(list(range(10)), 20) == list(range(10))
    assert measure.spread(list(range(100)), 4) == [0, 25, 50, 75]
