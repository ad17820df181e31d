"""Train the judge of drawings: all names, styles and attributes, without the held-out pairs and combinations.

    python -m tinyldm.evaluation.train_drawing_judge --steps 6000 --out runs/judge

Drawings on all grounds, moved, mirrored, and softened as a decoder softens them. The judge is saved with its readings
of real drawings, those of training and those held out, which it has never seen.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from tinyldm.data import drawings
from tinyldm.data.corpus import placed_on_grounds
from tinyldm.data.drawings import Drawing
from tinyldm.data.pixels import to_float
from tinyldm.evaluation.drawing_judge import NOT_ASKED, DrawingJudge, answers, questions
from tinyldm.evaluation.measure_drawings import on_white, reading, spread, what_is_asked
from tinyldm.training.checkpoints import not_finite


@dataclass(frozen=True)
class JudgeSettings:
    """How the judge is trained."""

    steps: int = 6000
    batch: int = 64
    lr: float = 2e-3
    seed: int = 30_000
    bf16: bool = False


def train_drawing_judge(shown: Sequence[Drawing], settings: JudgeSettings, progress: bool = True) -> DrawingJudge:
    """Train a judge on drawings on all grounds, moved, mirrored, and softened as a decoder softens them."""
    torch.manual_seed(settings.seed)
    judge = DrawingJudge(questions(shown)).train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=settings.lr, weight_decay=0.05)
    rgba, right = drawings.pixels(shown), answers(shown, judge.asked)
    for step in (bar := tqdm(range(settings.steps), desc="judge", disable=not progress)):
        for group in optimizer.param_groups:  # a short warm-up, then half a cosine
            warm = min(1, (step + 1) / 200)
            group["lr"] = settings.lr * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        rng = np.random.default_rng([settings.seed, step])
        index = rng.integers(len(shown), size=settings.batch)
        image, _ = placed_on_grounds(rgba[index], [shown[i] for i in index], rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            logits = judge(_softened(to_float(torch.from_numpy(image).permute(0, 3, 1, 2)), rng))
        losses = [
            F.cross_entropy(
                logits[question].float(), right[index, column], ignore_index=NOT_ASKED, label_smoothing=0.05
            )
            for column, question in enumerate(judge.asked)
        ]
        loss = torch.stack([loss for loss in losses if loss.isfinite()]).sum()  # NaN: asked of no picture in this batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    if not_finite(judge.state_dict()):
        raise FloatingPointError("the weights of the judge are not finite; nothing is written")
    return judge.eval().requires_grad_(False)


def _softened(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (B, 3, S, S) as sharp as they are, blurred a little, or with some noise: a third of the batches each."""
    kind = rng.integers(3)
    if kind == 1:
        small = F.interpolate(image, scale_factor=float(rng.uniform(0.4, 0.8)), mode="bilinear", antialias=True)
        return F.interpolate(small, size=image.shape[-2:], mode="bilinear")
    if kind == 2:
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        return (image + float(rng.uniform(0.01, 0.08)) * noise).clamp(0, 1)
    return image


def readings_of_real_drawings(judge: DrawingJudge, count: int = 1000) -> dict[str, Any]:
    """How well a judge reads real drawings: at most `count` of each kind of `measure_drawings`."""
    asked = {kind: spread(shown, count) for kind, shown in what_is_asked(judge).items()}
    return {kind: reading(judge, to_float(on_white(shown)), shown) for kind, shown in asked.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tinyldm.evaluation.train_drawing_judge",
        description="Train the network that reads drawings: all names, or those that are given.",
    )
    parser.add_argument("--steps", type=int, default=6000, help="steps of 64 drawings (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=30_000, help="seed (default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument(
        "--names", metavar="FILE", help='only the names in this file, one a line; "everyday": a list of 100'
    )
    parser.add_argument("--out", type=Path, default=Path("runs/judge"), help="folder to write (default: %(default)s)")
    options = parser.parse_args()
    try:
        shown = drawings.for_training(None if options.names is None else drawings.names_in(options.names))
    except ValueError as error:
        raise SystemExit(str(error)) from None
    settings = JudgeSettings(options.steps, seed=options.seed, bf16=options.bf16)
    judge = train_drawing_judge(shown, settings)
    measured = readings_of_real_drawings(judge)
    judge.save(options.out, {"settings": asdict(settings), "real drawings": measured})
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
