"""Train the judge: scenes, near misses, and softened versions of both, with the right answer to each question.

python -m tinyldm.evaluation.train_judge --steps 5000
"""

import argparse
import functools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from tinyldm.data import scenes
from tinyldm.data.pixels import channels_first, to_float
from tinyldm.data.world import COLOURS, SHAPES, Scene
from tinyldm.evaluation.judge import QUESTIONS, WEIGHTS, Judge, everything, verdict
from tinyldm.evaluation.near_misses import near_miss, soften, wrong_count
from tinyldm.formats.files import write_json, write_safetensors
from tinyldm.training.checkpoints import not_finite

NOT_ASKED = -100  # the target of a question without an answer, e.g. the relation of one thing


def targets(scene: Scene) -> list[int]:
    """The right answer to each of QUESTIONS; NOT_ASKED where there is none."""
    scene = scene.canonical()
    named = {"count": str(len(scene.things)), "relation": scene.relation, "background": scene.background}
    for place, thing in enumerate(scene.things, start=1):
        named |= {f"{kind} {place}": getattr(thing, kind) for kind in ("colour", "shape", "size")}
    return [
        names.index(named[question]) if named.get(question) is not None else NOT_ASKED
        for question, names in QUESTIONS.items()
    ]


def _near_miss_example(rng: np.random.Generator, scene: Scene) -> tuple[np.ndarray, list[int]]:
    answers = dict(zip(QUESTIONS, targets(scene)))
    if rng.random() < 0.2:
        answers = {question: NOT_ASKED for question in QUESTIONS} | {"background": answers["background"]}
        return wrong_count(rng, scene), list((answers | {"count": 2}).values())
    image, bad_colours, bad_shapes = near_miss(rng, scene.canonical())
    for place, (bad_colour, bad_shape) in enumerate(zip(bad_colours, bad_shapes), start=1):
        if bad_colour:
            answers[f"colour {place}"] = len(COLOURS)
        if bad_shape:
            answers[f"shape {place}"] = len(SHAPES)
    return image, list(answers.values())


def training_batch(seed: int, step: int, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (size, 3, 64, 64) in [0, 1], softened, and answers (size, 9): a quarter of them near misses.

    Both splits are seen: the judge must read the held-out combinations too.
    """
    rng = np.random.default_rng([seed, step])
    ids = range(step * size, (step + 1) * size)
    chosen = [scenes.scene_at(seed, index, held_out=index % 4 == 0) for index in ids]
    clean = 3 * size // 4
    extra = [_near_miss_example(rng, scene) for scene in chosen[clean:]]
    pixels = np.concatenate([scenes.render(chosen[:clean]), np.stack([image for image, _ in extra])])
    image = to_float(channels_first(pixels))  # (B, H, W, 3) -> (B, 3, H, W)
    answers = torch.tensor([targets(scene) for scene in chosen[:clean]] + [answer for _, answer in extra])
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    soft = soften(image, generator)
    keep = torch.rand((size, 1, 1, 1), generator=generator) < 0.25
    return torch.where(keep, image, soft), answers


def loss_of(logits: dict[str, torch.Tensor], answers: torch.Tensor) -> torch.Tensor:
    """The sum of the cross-entropies of all questions; answers (B, 9) int64."""
    losses = (
        F.cross_entropy(logits[question], answers[:, column], ignore_index=NOT_ASKED)
        for column, question in enumerate(QUESTIONS)
    )
    return functools.reduce(torch.add, losses)


def train(steps: int, seed: int, minutes: float = math.inf, progress: bool = True) -> Judge:
    """Train a judge; without a limit of `minutes`, the same steps and seed give the same weights.

    Raises: ValueError for no steps or no time; FloatingPointError where the weights do not stay finite.
    """
    if steps < 1 or not minutes > 0:
        raise ValueError(f"{steps} steps in {minutes:g} minutes; expected at least 1 step, and more than 0 minutes")
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
    if not_finite(judge.state_dict()):
        raise FloatingPointError("the weights of the judge are not finite; nothing is written")
    return judge.eval().requires_grad_(False)


def accuracy(judge: Judge, count: int, seed: int, held_out: bool = False) -> dict[str, float]:
    """The share of fresh renders whose attributes the judge reads right, each alone and all together ("strict")."""
    results: dict[str, list[bool]] = {}
    for first in range(0, count, 256):
        images, _, shown = scenes.batch(seed, range(first, min(first + 256, count)), held_out)
        for reading, scene in zip(judge.read(to_float(channels_first(images))), shown):
            for name, right in verdict(reading, scene, everything(scene)).items():
                results.setdefault(name, []).append(right)
    return {name: sum(rights) / len(rights) for name, rights in results.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tinyldm.evaluation.train_judge",
        description="Train the network that reads pictures of the small world.",
    )
    parser.add_argument("--steps", type=int, default=5000, help="steps of 64 images (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--seed", type=int, default=20_000, help="seed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write to (default: that of the package)")
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
