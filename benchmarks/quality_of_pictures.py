"""Measure the shipped model of drawings, and draw the pictures of it that the repository shows.

    python benchmarks/quality_of_pictures.py                  # some ten minutes of two CPU cores
    python benchmarks/quality_of_pictures.py --captions 16    # a quick try; do not commit its numbers

Writes evaluation.json and README.md in tinyldm/weights/pictures/, and docs/pictures.png.
"""

import argparse
import textwrap
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from tinyldm import LatentDiffusion
from tinyldm.data import drawings
from tinyldm.evaluation.drawing_judge import DrawingJudge
from tinyldm.evaluation.measure import EvaluationSettings
from tinyldm.evaluation.measure_drawings import evaluate_drawings, in_words
from tinyldm.formats.files import write_json
from tinyldm.formats.places import SHIPPED
from tinyldm.training.model_card import write_card

ROOT = Path(__file__).parents[1]
EVERY = 10  # of the hundred names, every tenth is shown: none is chosen


def shown() -> tuple[list[str], list[str]]:
    """Names and styles of the figure."""
    return list(drawings.everyday()[::EVERY]), list(drawings.styles()[:6])


def grid(images: Tensor, names: list[str], styles: list[str]) -> Figure:
    """Images (styles × names, 3, H, W) in [0, 1]: one row for each style, one column for each name."""
    figure = Figure(figsize=(1.05 * len(names) + 0.9, 1.05 * len(styles) + 0.5), layout="constrained")
    axes = figure.subplots(len(styles), len(names))
    for place, image in zip(axes.flat, images):
        place.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")  # (3, H, W) -> (H, W, 3)
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    for place, name in zip(axes[0], names):
        place.set_title(textwrap.fill(name, 13), fontsize=9)
    for place, style in zip(axes[:, 0], styles):
        place.set_ylabel(style, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=1000, help="of each kind, at most (default: %(default)s)")
    options = parser.parse_args()
    names, styles = shown()
    captions = [f"{name}, {style} style" for style in styles for name in names]
    model = LatentDiffusion.from_pretrained("pictures")
    generator = torch.Generator().manual_seed(0)
    images = torch.cat([model.generate(captions[i : i + 20], generator=generator) for i in range(0, len(captions), 20)])
    grid(images, names, styles).savefig(ROOT / "docs" / "pictures.png", dpi=120)
    judge = DrawingJudge.load(SHIPPED / "judge")
    report, _ = evaluate_drawings("pictures", judge, EvaluationSettings(captions=options.captions))
    write_json(SHIPPED / "pictures" / "evaluation.json", report)
    write_card(SHIPPED / "pictures")
    print("\n".join(in_words(report)))


if __name__ == "__main__":
    main()
