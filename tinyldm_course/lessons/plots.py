"""The one plotting style of the course: colours that colour-blind readers can tell apart, sizes, saving, alt text.

    from tinyldm_course.lessons import plots
    plots.use()                                         # in a lesson: the style for the whole notebook
    fig, ax = plt.subplots(figsize=plots.WIDE)
    ax.plot(t, alpha_bar, color=plots.BLUE)
    plots.show(fig, "ᾱ falls from 1 to almost 0 …")     # the figure, with its description for who cannot see it

Outside of lessons `with plots.style(): …` and `plots.save(fig, "alpha_bar.png")` leave nothing changed.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color); `SEQUENCE` is viridis and `DIVERGING` is a
blue-to-orange map, both safe for the common kinds of colour blindness and in grey.
"""

import base64
import html
import io
import itertools
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image
from torch import Tensor

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, GOLD, BLACK, GREY = "#56B4E9", "#E69F00", "#1A1A1A", "#8A8A8A"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, GOLD, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # never colour alone: pair each colour with a marker
SEQUENCE = "viridis"
DIVERGING = LinearSegmentedColormap.from_list("blue_orange", [BLUE, "#F7F7F7", ORANGE])

NARROW, WIDE, TALL, STRIP = (4.5, 3.4), (8.0, 3.6), (8.0, 7.0), (10.0, 2.3)  # inches, for a notebook's width
DPI = 110
FEW, QUALITY = 6000, 72  # colours up to which a figure is lines, not a photograph; quality of a JPEG (noise is dear)

RC = {
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
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


def use() -> None:
    """Give all figures from here on the course's look. For notebooks; a library function uses `style()`."""
    plt.rcParams.update(RC)


# ── Showing, with alt text ───────────────────────────────────────────────────────────────────────────

_scripts_figure = itertools.count(1)


def show(fig: plt.Figure, alt: str) -> None:
    """Show a figure under which screen readers find `alt`, and close it.

    Notebooks drop the alt text of an ordinary image output (JupyterLab and nbconvert do), so this one is an HTML
    `<img alt=…>`, which they and the web's viewers keep. It is small: see `encoded`.
    In a plain script the alt text is written out, and the figure goes to the folder that the environment variable
    TINYLDM_FIGURES names, if it names one.

    alt: one or two sentences that say what is to be seen and what it shows.  Raises ValueError without it.
    """
    if not alt.strip():
        raise ValueError("a figure was shown without alt text; say in a sentence what is to be seen")
    picture, kind = encoded(fig)
    plt.close(fig)
    if in_notebook():
        from IPython.display import display  # only there where Jupyter is

        display({"text/html": img_tag(picture, kind, alt), "text/plain": alt}, raw=True)
        return
    sys.stdout.write(f"[figure] {alt}\n")
    if folder := os.environ.get("TINYLDM_FIGURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{next(_scripts_figure):02d}.{kind}").write_bytes(picture)


def encoded(fig: plt.Figure) -> tuple[bytes, str]:
    """A figure's bytes and their kind: "png" with few colours, so that lines stay sharp; "jpeg" for photographs."""
    fig.canvas.draw()
    image, file = Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()), io.BytesIO()
    if image.getcolors(FEW) is not None:
        image.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return file.getvalue(), "png"
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue(), "jpeg"


def img_tag(picture: bytes, kind: str, alt: str) -> str:
    """The HTML of a picture: `<img alt=… src="data:…">`, as wide as it is, but no wider than the page."""
    data = base64.b64encode(picture).decode()
    return f'<img alt="{html.escape(alt)}" style="max-width:100%" src="data:image/{kind};base64,{data}">'


def in_notebook() -> bool:
    """Is there a Jupyter kernel to show things in? (A plain script, or a test, has none.)"""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────


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
    pixels = np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()  # (H, W, 3) uint8
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


# ── What lessons draw again and again ────────────────────────────────────────────────────────────────


def pixels(image: Tensor) -> np.ndarray:
    """(3, H, W), (1, H, W) or (H, W) in [0, 1], on any device -> (H, W, 3), clipped, for `ax.imshow`.

    Raises ValueError for another shape. Latents and images in [-1, 1] are to be brought to [0, 1] first
    (`tinyldm.to_unit`), so that two pictures in one figure are never stretched differently.
    """
    image = image.detach().float().cpu()
    image = image[None] if image.dim() == 2 else image
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"got an image of shape {tuple(image.shape)}; expected (3, H, W), (1, H, W) or (H, W)")
    return image.clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()


def picture(ax: plt.Axes, image: Tensor, title: str = "") -> None:
    """Draw one image, (3, H, W), (1, H, W) or (H, W) in [0, 1], with a title and without ticks."""
    ax.imshow(pixels(image))
    ax.set_title(title, loc="center", fontsize=9)
    bare(ax)


def grid(
    images: Sequence[Tensor] | Tensor,
    titles: Sequence[str] = (),
    columns: int = 0,
    rows: Sequence[str] = (),
    size: float = 1.25,
) -> plt.Figure:
    """Images [0, 1] in rows and columns.

    Args:
        images: a list or a batch of (3, H, W) or (1, H, W), row by row.
        titles: one an image, or one a column; columns: 0 puts all in one row; rows: a label for each row.
        size: inches a side of one image.
    """
    columns = columns or len(images)
    number = math.ceil(len(images) / columns)
    titled = 0 if not titles else number if len(titles) > columns else 1  # rows that have titles
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    height = (size + 0.04) * number + (0.10 + 0.18 * lines) * titled
    fig, axes = plt.subplots(number, columns, squeeze=False, figsize=(size * columns + bool(rows), height))
    for i, ax in enumerate(axes.flat):
        bare(ax)
        if i < len(images):
            picture(ax, images[i], titles[i] if i < len(titles) else "")
    for ax, label in zip(axes[:, 0], rows):
        ax.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    return fig


def film(images: Sequence[Tensor] | Tensor, labels: Sequence[str], title: str = "", size: float = 1.25) -> plt.Figure:
    """A film strip: images [0, 1] in one row, in the order of time, a label under each, an arrow below them."""
    fig = grid(images, size=size)
    for ax, label in zip(fig.axes, labels):
        ax.set_xlabel(label)
    fig.set_size_inches(size * len(images), size + 0.45 + 0.25 * bool(title))
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return fig


def heat(ax: plt.Axes, values: Tensor, x: str, y: str, title: str = "", signed: bool = True, **options) -> None:
    """A heat map (rows, columns) with labelled axes and a colour bar; `signed` centres the colours on 0.

    `options` go to `ax.imshow`, such as extent or vmax.
    """
    values = values.detach().float().cpu().numpy()
    if signed:
        most = options.pop("vmax", None) or float(np.abs(values).max()) or 1.0
        options |= {"vmin": -most, "vmax": most, "cmap": DIVERGING}
    shown = ax.imshow(values, aspect=options.pop("aspect", "auto"), **options)
    ax.set(xlabel=x, ylabel=y, title=title)
    ax.figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.02)


def latent(z: Tensor, title: str = "", size: float = 1.6, most: float = 3.0) -> plt.Figure:
    """A latent (4, h, w) as one map a channel, all on one scale of ± `most` (its standard deviations, about)."""
    fig, axes = plt.subplots(1, len(z), figsize=(size * len(z) + 0.8, size + 0.5), squeeze=False)
    for i, ax in enumerate(axes[0]):
        shown = ax.imshow(z[i].detach().float().cpu(), cmap=DIVERGING, vmin=-most, vmax=most)
        ax.set_title(f"channel {i}", fontsize=9)
        bare(ax)
    fig.colorbar(shown, ax=axes[0].tolist(), fraction=0.02, pad=0.01)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return fig
