"""Figures of a training run: a grid of samples with their captions, and curves from a log."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


def save_grid(images: Tensor, captions: Sequence[str], file: Path, columns: int = 4) -> None:
    """Images (B, 3, H, W) in [0, 1] in rows, each under its caption, as a PNG file."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows), layout="constrained")
    for axes, image, caption in zip(figure.subplots(rows, columns, squeeze=False).flat, images, captions):
        axes.imshow(image.permute(1, 2, 0).float().cpu().numpy())  # (3, H, W) -> (H, W, 3)
        axes.set_title(textwrap.fill(caption or "(no caption)", 26), fontsize=6)
    for axes in figure.axes:
        axes.set_axis_off()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def save_curves(log: Sequence[dict[str, float]], names: Sequence[str], file: Path) -> None:
    """Curves of a training log over its steps, with a logarithmic axis, as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for name in names:
        if points := [(line["step"], line[name]) for line in log if name in line]:
            axes.plot(*zip(*points), label=name, linewidth=1)
    axes.set(xlabel="step", yscale="log")
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
