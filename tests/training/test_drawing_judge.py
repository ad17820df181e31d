"""The judge of drawings: what it is asked, how its answers are ranked, and that it learns to read."""

import shutil

import numpy as np
import pytest
import torch

from tinyldm.data import drawings
from tinyldm.data.corpus import drawings_corpus
from tinyldm.data.pixels import to_float
from tinyldm.evaluation.drawing_judge import NOT_ASKED, DrawingJudge, answers, questions
from tinyldm.evaluation.train_drawing_judge import JudgeSettings, train_drawing_judge


def some(*names: str) -> list[drawings.Drawing]:
    return [one for one in drawings.named() if one.name in names and one.style in ("noto", "twemoji", "flat")]


def test_what_is_asked():
    adventurer = next(one for one in drawings.portraits() if one.style == "adventurer")
    toon = next(one for one in drawings.portraits() if one.style == "toon" and "hair colour" in one.attributes)
    shown = [*some("panda"), adventurer, toon]
    asked = questions(shown)
    assert asked["name"] == ("panda", "portrait") and asked["style"] == (
        "adventurer",
        "flat",
        "noto",
        "toon",
        "twemoji",
    )
    assert asked["clothes"] == (toon.attributes["clothes"],)  # adventurers are heads only
    found = dict(zip(asked, answers(shown, asked).T.tolist()))
    assert found["name"] == [0, 0, 0, 1, 1]
    assert found["clothes"] == [NOT_ASKED] * 4 + [0]
    assert answers(some("fox"), asked)[:, 0].eq(NOT_ASKED).all()  # a name that this judge does not know


def test_rank():
    judge = DrawingJudge({"name": ("fox", "panda", "tiger face"), "style": ("flat", "noto", "twemoji")})
    shown = [some("panda")[0], some("panda")[0], some("fox")[0], some("house")[0]]
    logits = torch.tensor([[0.0, 9, 1], [5.0, 1, 3], [0.0, 9, 1], [1.0, 2, 3]])
    judge.forward = lambda image: {"name": logits, "style": logits}
    assert judge.rank(torch.zeros(4, 3, 64, 64), shown, "name").tolist() == [0, 2, 2, -1]


def test_it_can_be_written_and_opened(tmp_path):
    judge = DrawingJudge(questions(some("panda", "fox"))).train()
    judge(torch.rand(8, 3, 64, 64))  # the running means change
    judge.save(tmp_path / "judge", {"steps": 1})
    again, image = DrawingJudge.load(tmp_path / "judge"), torch.rand(2, 3, 64, 64)
    assert again.asked == judge.asked and not again.training
    assert torch.equal(again(image)["name"], judge.eval()(image)["name"])
    with pytest.raises(ValueError, match="train_drawing_judge --out"):
        DrawingJudge.load(tmp_path)
    DrawingJudge(judge.asked, widths=(8, 8, 8, 8)).save(tmp_path / "other", {})
    shutil.copy(tmp_path / "other" / "drawing_judge.json", tmp_path / "judge")
    with pytest.raises(ValueError, match="does not fit"):
        DrawingJudge.load(tmp_path / "judge")


@pytest.mark.slow
def test_it_learns_to_read_names_and_styles():
    shown = some("panda", "fox", "hamburger", "house")
    judge = train_drawing_judge(shown, JudgeSettings(steps=120, batch=32), progress=False)
    images = to_float(drawings_corpus(shown, copies=1, wordings=1).images)
    assert (judge.rank(images, shown, "name") == 0).float().mean() > 0.9
    assert (judge.rank(images, shown, "style") == 0).float().mean() > 0.8
    noise = torch.from_numpy(np.random.default_rng(0).random((64, 3, 64, 64), dtype=np.float32))
    assert (judge.rank(noise, (shown * 6)[:64], "name") == 0).float().mean() < 0.6  # no reading without a picture
