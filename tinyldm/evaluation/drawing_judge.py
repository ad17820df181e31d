"""The judge of drawings: a small network that reads the name, the style and the attributes of a picture.

`train_drawing_judge.py` trains it on the training drawings only, so it has never seen a held-out pair of name and
style, or a held-out combination of attributes. How well it reads the *real* drawings of these is measured beside how
well it reads generated ones. It is never used to train a generator.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tinyldm.data.drawings import Drawing
from tinyldm.formats.files import explained, read_json, write_json, write_safetensors
from tinyldm.formats.weights import read_safetensors

WEIGHTS = "drawing_judge.safetensors"  # and drawing_judge.json: the questions, and how it was trained
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
        self.asked, self.widths = asked, widths
        layers: list[nn.Module] = []
        for width_in, width in zip((3, *widths), widths):
            layers += [_conv(width_in, width, stride=2), _conv(width, width, stride=1)]  # half the size each
        self.look = nn.Sequential(*layers)
        self.answer = nn.ModuleDict({question: nn.Linear(widths[-1], len(names)) for question, names in asked.items()})
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's types lack this one

    def save(self, folder: Path, facts: dict) -> None:
        """Write the weights, the questions and some facts that JSON can hold."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json((folder / WEIGHTS).with_suffix(".json"), {"asked": self.asked, "widths": self.widths} | facts)
        write_safetensors(folder / WEIGHTS, self.state_dict())

    @classmethod
    def load(cls, folder: Path) -> "DrawingJudge":
        """Open what `save` wrote; in evaluation mode, on the CPU. Raises ValueError where there is none."""
        if not (folder / WEIGHTS).is_file():
            raise ValueError(
                f"no judge of drawings at {folder / WEIGHTS}; train one with: "
                "python -m tinyldm.evaluation.train_drawing_judge --out FOLDER"
            )
        file = (folder / WEIGHTS).with_suffix(".json")
        with explained(file):
            saved = read_json(file)
            asked = {question: tuple(names) for question, names in saved["asked"].items()}
            judge = cls(asked, tuple(saved["widths"]))
        try:
            judge.load_state_dict(read_safetensors(folder / WEIGHTS))
        except RuntimeError as error:
            raise ValueError(f"{folder / WEIGHTS} does not fit {file.name}: {str(error)[:200]}") from None
        return judge.eval().requires_grad_(False)

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
