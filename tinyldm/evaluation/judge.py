"""The judge: a small network that reads every attribute of a picture, and the verdict on what was asked for.

`train_judge.py` trains it. The judge measures the generator and is never used to train it. Its classes include
"unclear" (and, for the number of things, "other"), so that a blob is not read as the shape it resembles most.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from tinyldm.data.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene

WEIGHTS = Path(__file__).parents[1] / "weights" / "judge"
UNCLEAR = "unclear"
# What is read, and from which names. Things are numbered left to right or, if one is above the other,
# top to bottom.
QUESTIONS = {
    "count": ("1", "2", "other"),
    "relation": ("left of", "above"),
    "background": tuple(BACKGROUNDS),
    "colour 1": (*COLOURS, UNCLEAR),
    "shape 1": (*SHAPES, UNCLEAR),
    "size 1": tuple(SIZES),
    "colour 2": (*COLOURS, UNCLEAR),
    "shape 2": (*SHAPES, UNCLEAR),
    "size 2": tuple(SIZES),
}


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reading:
    """What the judge reads in one image."""

    things: tuple[dict[str, str], ...]  # {"colour", "shape", "size"} each; none if the count is "other"
    relation: str | None  # "left of" or "above"; None unless there are two things
    background: str


class Judge(nn.Module):
    """Five convolutions, one layer of features, one answer to each of QUESTIONS."""

    def __init__(self):
        super().__init__()
        self.look = nn.Sequential(
            _conv(3, 24, stride=2),  # (B, 3, 64, 64) -> (B, 24, 32, 32)
            _conv(24, 48, stride=2),  # -> (B, 48, 16, 16)
            _conv(48, 48, stride=1),
            _conv(48, 80, stride=2),  # -> (B, 80, 8, 8)
            _conv(80, 80, stride=1),
            nn.Conv2d(80, 16, 1),  # few channels, but all places: order and relation need them
            nn.Flatten(),  # -> (B, 1024)
        )
        self.think = nn.Linear(16 * 8 * 8, 128)
        self.answer = nn.Linear(128, sum(len(names) for names in QUESTIONS.values()))

    @classmethod
    def load(cls, folder: str | Path = WEIGHTS) -> "Judge":
        """The trained judge of a folder, by default the shipped one; in evaluation mode, on the CPU."""
        file = Path(folder) / "judge.safetensors"
        if not file.is_file():
            raise ValueError(f"no judge at {file}; train one with: python -m tinyldm.evaluation.train_judge")
        judge = cls()
        judge.load_state_dict(load_file(file))
        return judge.eval().requires_grad_(False)

    def forward(self, image: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """image (B, 3, 64, 64) float in [0, 1] -> ({question: logits (B, names)}, features (B, 128))."""
        if image.ndim != 4 or image.shape[1:] != (3, 64, 64):
            raise ValueError(f"the judge reads images (B, 3, 64, 64), got {tuple(image.shape)}")
        features = self.think(self.look(image * 2 - 1))
        logits = self.answer(F.silu(features))
        parts = logits.split([len(names) for names in QUESTIONS.values()], dim=1)
        return dict(zip(QUESTIONS, parts)), features

    @torch.no_grad()
    def features(self, image: torch.Tensor, batch: int = 256) -> torch.Tensor:
        """Features (B, 128) of images (B, 3, 64, 64) in [0, 1]: the space of the Fréchet distance."""
        return torch.cat([self(part)[1] for part in image.split(batch)])

    @torch.no_grad()
    def read(self, image: torch.Tensor, batch: int = 256) -> list[Reading]:
        """Read images (B, 3, 64, 64) float in [0, 1]."""
        readings = []
        for part in image.split(batch):
            chosen = {question: logits.argmax(1).tolist() for question, logits in self(part)[0].items()}
            for answers in zip(*chosen.values()):
                named = zip(QUESTIONS.items(), answers)
                readings.append(_reading({question: names[answer] for (question, names), answer in named}))
        return readings


def _conv(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1), nn.GroupNorm(8, channels_out), nn.SiLU()
    )


def _reading(named: dict[str, str]) -> Reading:
    count = {"1": 1, "2": 2, "other": 0}[named["count"]]
    things = tuple(
        {kind: named[f"{kind} {place}"] for kind in ("colour", "shape", "size")} for place in range(1, count + 1)
    )
    return Reading(things, named["relation"] if count == 2 else None, named["background"])


# ── Judging ──────────────────────────────────────────────────────────────────────────────────────────


def everything(scene: Scene) -> frozenset[str]:
    """All that a caption can state of the scene, in the terms of `Caption.stated`."""
    places = range(1, len(scene.things) + 1)
    stated = {f"{kind} {place}" for kind in ("colour", "shape", "size") for place in places}
    return frozenset(stated | {"background"} | ({"relation"} if scene.relation else set()))


def verdict(reading: Reading, scene: Scene, stated: frozenset[str]) -> dict[str, bool]:
    """Does the judge read what was stated of the scene?

    Returns {"count", "colour", "shape", "size", "relation", "background", "strict"} -> bool, without what
    was not stated. A kind ("colour") is right if it is right for every thing for which it was stated; with a
    wrong number of things, none is. If the picture fits better with its two things exchanged, they are compared
    exchanged, and the relation is wrong. "strict": everything is right.
    """
    ordered = scene.canonical()
    order = [1, 2] if ordered is scene else [2, 1]  # "colour 1" may be of the lower or right thing
    kinds = ("colour", "shape", "size")
    asked = [  # per thing, in the reading's order
        {kind: getattr(thing, kind) for kind in kinds if f"{kind} {place}" in stated}
        for thing, place in zip(ordered.things, order)
    ]
    result = {"count": len(reading.things) == len(asked)}
    seen, exchanged = _align(reading.things, asked) if result["count"] else ((), False)
    for kind in kinds:
        if any(kind in thing for thing in asked):
            result[kind] = result["count"] and all(
                kind not in want or have[kind] == want[kind] for have, want in zip(seen, asked)
            )
    if "relation" in stated:
        result["relation"] = result["count"] and not exchanged and reading.relation == ordered.relation
    if "background" in stated:
        result["background"] = reading.background == scene.background
    result["strict"] = all(result.values())
    return result


def _align(seen, asked) -> tuple[tuple, bool]:
    """The things seen, exchanged if more of what was asked is right then; and whether they were."""

    def right(things):
        return sum(have[kind] == name for have, want in zip(things, asked) for kind, name in want.items())

    exchanged = right(seen[::-1]) > right(seen)
    return (seen[::-1] if exchanged else seen), exchanged
