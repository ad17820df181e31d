"""The judge: a small network that reads every attribute of a picture, and the verdict on what was asked for.

Train it anew:  python -m tinyldm.evaluation.judge --steps 5000

The judge measures the generator and is never used to train it. Its classes contain "unclear" (and, for
the number of things, "other"), so that a blob is not read as whichever shape it resembles most.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from tinyldm.data import scenes
from tinyldm.data.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene
from tinyldm.evaluation import near_misses as spoiled
from tinyldm.formats.files import write_json, write_safetensors

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
NOT_ASKED = -100  # the target of a question without an answer, e.g. the relation of one thing


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Reading:
    """What the judge sees in one image."""

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
            raise ValueError(f"no judge at {file}; train one with: python -m tinyldm.evaluation.judge")
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


# ---------------------------------------------------------------- judging


def everything(scene: Scene) -> frozenset[str]:
    """All that a caption can state of the scene, in the terms of `Caption.stated`."""
    places = range(1, len(scene.things) + 1)
    stated = {f"{kind} {place}" for kind in ("colour", "shape", "size") for place in places}
    return frozenset(stated | {"background"} | ({"relation"} if scene.relation else set()))


def verdict(reading: Reading, scene: Scene, stated: frozenset[str]) -> dict[str, bool]:
    """Is what was stated of the scene what the judge reads?

    Returns {"count", "colour", "shape", "size", "relation", "background", "strict"} -> bool, without what
    was not stated. A kind ("colour") is right if it is right for every thing for which it was stated; with a
    wrong number of things, nothing said about them is. If the picture fits better with its two things
    exchanged, they are compared exchanged, and it is the relation that is wrong. "strict": all is right.
    """
    scene_told = scene.canonical()
    order = [1, 2] if scene_told is scene else [2, 1]  # "colour 1" may be of the lower or right thing
    kinds = ("colour", "shape", "size")
    asked = [  # per thing, in the reading's order
        {kind: getattr(thing, kind) for kind in kinds if f"{kind} {place}" in stated}
        for thing, place in zip(scene_told.things, order)
    ]
    result = {"count": len(reading.things) == len(asked)}
    seen, exchanged = _align(reading.things, asked) if result["count"] else ((), False)
    for kind in kinds:
        if any(kind in thing for thing in asked):
            result[kind] = result["count"] and all(
                kind not in want or have[kind] == want[kind] for have, want in zip(seen, asked)
            )
    if "relation" in stated:
        result["relation"] = result["count"] and not exchanged and reading.relation == scene_told.relation
    if "background" in stated:
        result["background"] = reading.background == scene.background
    result["strict"] = all(result.values())
    return result


def _align(seen, asked) -> tuple[tuple, bool]:
    """The things seen, exchanged if that makes more of what was asked right; and whether they were."""

    def right(things):
        return sum(have[kind] == name for have, want in zip(things, asked) for kind, name in want.items())

    exchanged = right(seen[::-1]) > right(seen)
    return (seen[::-1] if exchanged else seen), exchanged


# ---------------------------------------------------------------- training


def targets(scene: Scene) -> list[int]:
    """The right answer to each of QUESTIONS, NOT_ASKED where there is none."""
    told = scene.canonical()
    named = {"count": str(len(told.things)), "relation": told.relation, "background": told.background}
    for place, thing in enumerate(told.things, start=1):
        named |= {f"{kind} {place}": getattr(thing, kind) for kind in ("colour", "shape", "size")}
    return [
        names.index(named[question]) if named.get(question) is not None else NOT_ASKED
        for question, names in QUESTIONS.items()
    ]


def _spoiled_example(rng: np.random.Generator, scene: Scene) -> tuple[np.ndarray, list[int]]:
    answers = dict(zip(QUESTIONS, targets(scene)))
    if rng.random() < 0.2:
        answers = {question: NOT_ASKED for question in QUESTIONS} | {"background": answers["background"]}
        return spoiled.miscount(rng, scene), list((answers | {"count": 2}).values())
    image, bad_colours, bad_shapes = spoiled.spoil(rng, scene.canonical())
    for place, (bad_colour, bad_shape) in enumerate(zip(bad_colours, bad_shapes), start=1):
        if bad_colour:
            answers[f"colour {place}"] = len(COLOURS)
        if bad_shape:
            answers[f"shape {place}"] = len(SHAPES)
    return image, list(answers.values())


def training_batch(seed: int, step: int, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (size, 3, 64, 64) in [0, 1], softened, and answers (size, 9): a quarter of them spoiled scenes.

    Both splits are seen: the judge must read the held-out combinations too.
    """
    rng = np.random.default_rng([seed, step])
    ids = range(step * size, (step + 1) * size)
    drawn = [scenes.draw(seed, index, held_out=index % 4 == 0) for index in ids]
    clean = 3 * size // 4
    extra = [_spoiled_example(rng, scene) for scene in drawn[clean:]]
    pixels = np.concatenate([scenes.render(drawn[:clean]), np.stack([image for image, _ in extra])])
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255  # (B, H, W, 3) -> (B, 3, H, W)
    answers = torch.tensor([targets(scene) for scene in drawn[:clean]] + [answer for _, answer in extra])
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    soft = spoiled.soften(image, generator)
    keep = torch.rand((size, 1, 1, 1), generator=generator) < 0.25
    return torch.where(keep, image, soft), answers


def loss_of(logits: dict[str, torch.Tensor], answers: torch.Tensor) -> torch.Tensor:
    """The sum of the cross-entropies of all questions; answers (B, 9) int64."""
    return sum(
        F.cross_entropy(logits[question], answers[:, column], ignore_index=NOT_ASKED)
        for column, question in enumerate(QUESTIONS)
    )


def train(steps: int, seed: int, minutes: float = math.inf, progress: bool = True) -> Judge:
    """Train a judge; without a limit of `minutes`, the same steps and seed give the same weights."""
    torch.manual_seed(seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=1e-3, weight_decay=1e-2)
    start = time.monotonic()
    for step in (bar := tqdm(range(steps), desc="judge", disable=not progress)):
        done = max(step / steps, (time.monotonic() - start) / 60 / minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:  # a short warm-up, then half a cosine
            group["lr"] = 1e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        image, answers = training_batch(seed, step)
        loss = loss_of(judge(image)[0], answers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return judge.eval().requires_grad_(False)


def accuracy(judge: Judge, count: int, seed: int, held_out: bool = False) -> dict[str, float]:
    """The share of fresh renders of which the judge reads each attribute, and all ("strict"), right."""
    results: dict[str, list[bool]] = {}
    for first in range(0, count, 256):
        images, _, drawn = scenes.batch(seed, range(first, min(first + 256, count)), held_out)
        for reading, scene in zip(judge.read((scenes.to_tensor(images) + 1) / 2), drawn):
            for name, right in verdict(reading, scene, everything(scene)).items():
                results.setdefault(name, []).append(right)
    return {name: sum(rights) / len(rights) for name, rights in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tinyldm.evaluation.judge",
        description="Train the network that reads pictures of the small world.",
    )
    parser.add_argument("--steps", type=int, default=5000, help="steps of 64 images (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--seed", type=int, default=20_000, help="seed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder (default: the package's own)")
    options = parser.parse_args()
    judge = train(options.steps, options.seed, options.minutes)
    measured = {
        "fresh renders, training split": accuracy(judge, 8192, options.seed + 1),
        "fresh renders, held-out split": accuracy(judge, 4096, options.seed + 1, held_out=True),
    }
    config = {"steps": options.steps, "seed": options.seed, "questions": QUESTIONS, "accuracy": measured}
    options.out.mkdir(parents=True, exist_ok=True)
    write_safetensors(options.out / "judge.safetensors", judge.state_dict())
    write_json(options.out / "config.json", config)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
