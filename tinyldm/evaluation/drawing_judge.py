"""The judge of drawings: a small network that reads the name, the style and the attributes of a picture.

It is trained on the training drawings only, so it has never seen a held-out pair of name and style, or a held-out
combination of attributes; how well it reads the *real* drawings of these is measured beside how well it reads
generated ones. It is never used to train a generator.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tinyldm.data import drawings
from tinyldm.data.corpus import placed_on_grounds
from tinyldm.data.drawings import Drawing
from tinyldm.data.pixels import to_float

NOT_ASKED = -100  # the answer to a question that a drawing leaves open; `F.cross_entropy` ignores it


def questions(shown: Sequence[Drawing]) -> dict[str, tuple[str, ...]]:
    """What can be asked of some drawings: "name", "style", "hair", … -> the possible answers."""
    found: dict[str, set[str]] = {"name": set(), "style": set()}
    for drawing in shown:
        for question, answer in facts(drawing).items():
            found.setdefault(question, set()).add(answer)
    return {question: tuple(sorted(answers)) for question, answers in found.items()}


def facts(drawing: Drawing) -> dict[str, str]:
    """The right answers for a drawing."""
    return {"name": drawing.name, "style": drawing.style, **drawing.attributes}


class DrawingJudge(nn.Module):
    """Convolutions, a mean over all places, and one linear layer for each question.

    Args: asked: question -> its possible answers.
    """

    def __init__(self, asked: dict[str, tuple[str, ...]], widths: tuple[int, ...] = (24, 48, 96, 160)):
        super().__init__()
        self.asked = asked
        layers: list[nn.Module] = []
        for width_in, width in zip((3, *widths), widths):
            layers += [_conv(width_in, width, stride=2), _conv(width, width, stride=1)]  # half the size each
        self.look = nn.Sequential(*layers)
        self.answer = nn.ModuleDict({question: nn.Linear(widths[-1], len(names)) for question, names in asked.items()})
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's types lack this one

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, 64, 64) in [0, 1] -> question -> logits (B, answers)."""
        x = self.look(2 * image - 1).mean(dim=(2, 3))
        return {question: layer(x) for question, layer in self.answer.items()}

    @torch.no_grad()
    def rank(self, images: Tensor, shown: Sequence[Drawing], question: str) -> Tensor:
        """At which place the judge puts the right answer: (B,) int64, 0 is first; -1 where it is not asked.

        Args: images (B, 3, 64, 64) in [0, 1]; shown: what each of them should show.
        """
        logits = torch.cat([self(part)[question] for part in images.split(256)])
        right = answers(shown, {question: self.asked[question]})[:, 0]
        of_right = logits.gather(1, right.clamp(min=0)[:, None])
        return torch.where(right == NOT_ASKED, -1, (logits > of_right).sum(1))


def _conv(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def answers(shown: Sequence[Drawing], asked: dict[str, tuple[str, ...]]) -> Tensor:
    """The right answers as numbers: (B, questions) int64, NOT_ASKED where there is none."""
    tables = {question: {name: number for number, name in enumerate(names)} for question, names in asked.items()}
    return torch.tensor(
        [
            [table.get(facts(drawing).get(question, ""), NOT_ASKED) for question, table in tables.items()]
            for drawing in shown
        ]
    )


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
