"""The one plotting style of the course: colours that colour-blind readers can tell apart, sizes, saving.

    from tinyldm.course import plots
    with plots.style():
        fig, ax = plt.subplots(figsize=plots.WIDE)
        ax.plot(t, alpha_bar, color=plots.BLUE)
        plots.save(fig, "alpha_bar.png")

The colours are Okabe and Ito's (jfly.uni-koeln.de/color); `SEQUENCE` is viridis and `DIVERGING` is a
blue-to-orange map, both safe for the common kinds of colour blindness and in grey.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, GOLD, BLACK, GREY = "#56B4E9", "#E69F00", "#1A1A1A", "#8A8A8A"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, GOLD, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")     # never colour alone: pair each colour with a marker
SEQUENCE = "viridis"
DIVERGING = LinearSegmentedColormap.from_list("blue_orange", [BLUE, "#F7F7F7", ORANGE])

NARROW, WIDE, TALL, STRIP = (4.5, 3.4), (8.0, 3.6), (8.0, 7.0), (10.0, 2.3)     # inches, for a notebook's width
DPI = 110

RC = {
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "font.family": "DejaVu Sans",      # comes with matplotlib: the same picture on every machine
    "font.size": 10,
    "legend.frameon": False,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.constrained_layout.use": True,
    "image.cmap": SEQUENCE,
    "image.interpolation": "nearest",
}


def style():
    """A context manager under which figures have the course's look; nothing global is changed after it."""
    return plt.rc_context(RC)


def save(fig: plt.Figure, path: str | Path) -> Path:
    """Write a figure (format by suffix: .png for lines, .jpg for photographs and clouds), close it, return the path."""
    path = Path(path)
    options = {"pil_kwargs": {"quality": 85}} if path.suffix in (".jpg", ".jpeg") else {}
    fig.savefig(path, facecolor="white", **options)
    plt.close(fig)
    return path


def to_image(fig: plt.Figure) -> Image.Image:
    """A figure as an RGB picture; the figure is closed."""
    fig.canvas.draw()
    pixels = np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()     # (H, W, 3) uint8
    plt.close(fig)
    return Image.fromarray(pixels)


def save_gif(frames: Sequence[Image.Image], path: str | Path, milliseconds: int = 80, hold: int = 12) -> Path:
    """Write frames as an endless GIF of 32 colours; the last frame stays `hold` times as long.

    frames (>= 1 RGB pictures of one size).  Raises ValueError where there is none.
    """
    if not frames:
        raise ValueError("got no frames; a GIF needs at least one")
    palette = frames[-1].quantize(32)
    small = [frame.quantize(32, palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(small) - 1) + [milliseconds * hold]
    small[0].save(path, save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True)
    return Path(path)


def bare(ax: plt.Axes) -> None:
    """Take the ticks and the frame from an axis that shows a picture or a cloud of points."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
