"""The plotting style of the course: colour-blind-safe colours, sizes, alt text, saving, and the usual figures.

    from tinyldm_course.lessons import plots
    plots.use_style()                                   # in a lesson: the style for the whole notebook
    fig, ax = plt.subplots(figsize=plots.WIDE)
    ax.plot(t, alpha_bar, color=plots.BLUE)
    plots.show(fig)                                     # the figure; its alt text stands in the lesson's source

Elsewhere, `with plots.style(): …` and `plots.save(fig, "alpha_bar.png")` change no global state.

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

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import Colormap, LinearSegmentedColormap
from PIL import Image
from torch import Tensor

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, GOLD, BLACK, GREY = "#56B4E9", "#E69F00", "#1A1A1A", "#8A8A8A"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, GOLD, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # never colour alone: pair each colour with a marker
SEQUENCE = "viridis"
DIVERGING = LinearSegmentedColormap.from_list("blue_orange", [BLUE, "#F7F7F7", ORANGE])

NARROW, WIDE, TALL, STRIP = (4.5, 3.4), (8.0, 3.6), (8.0, 7.0), (10.0, 2.3)  # inches, for a notebook's width
DPI = 110  # on the page
SHARPNESS = 2  # pixels of a figure for each pixel of its place on the page, in each direction
STEP = 15  # of 255, between the levels of a channel where a figure shows only lines and letters
OWN_WORDS = "Figure: "  # begins the alt text of a figure that nobody has described yet

RC = {
    "axes.prop_cycle": plt.cycler(color=CYCLE),
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
    """Return a context manager that gives figures the course's style and restores the old one afterwards."""
    return plt.rc_context(RC)


def use_style() -> None:
    """Give all later figures the course's style. For notebooks; a library function uses `style()`."""
    plt.rcParams.update(RC)


# ── Showing, with alt text ───────────────────────────────────────────────────────────────────────────

_figure_numbers = itertools.count(1)


def show(fig: plt.Figure, alt: str = "") -> None:
    """Show a figure with alt text for screen readers, and close it.

    In a lesson the alt text is not in the reader's cell: it follows the cell in the lesson's source, and
    `sources/build_lessons.py` puts it in. Until then, and when a reader runs the cell, it is `own_words`.

    JupyterLab and nbconvert drop the alt text of an ordinary image output, so the figure is shown as an HTML
    `<img alt=…>`, which they and web viewers keep. A plain script prints the alt text instead, and saves the figure in
    the folder that the environment variable TINYLDM_FIGURES names, if it is set.

    Args: alt: one or two sentences that say what the figure contains and what it shows.
    """
    alt = alt.strip() or own_words(fig)
    picture = encoded(fig)
    plt.close(fig)
    if in_notebook():
        from IPython.display import display  # installed only with Jupyter

        display({"text/html": img_tag(picture, alt), "text/plain": alt}, raw=True)
        return
    sys.stdout.write(f"[figure] {alt}\n")
    if folder := os.environ.get("TINYLDM_FIGURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{next(_figure_numbers):02d}.png").write_bytes(picture)


def own_words(fig: plt.Figure) -> str:
    """Describe a figure by the words that stand in it: titles and labels of the axes."""
    said = [fig.get_suptitle()]
    for ax in fig.axes:
        titles = [ax.get_title(loc) for loc in ("left", "center", "right")]
        labels = " and ".join(label for label in (ax.get_xlabel(), ax.get_ylabel()) if label)
        said.append(", ".join(part for part in (*titles, labels) if part))
    return OWN_WORDS + "; ".join(" ".join(part.split()) for part in said if part)


def encoded(fig: plt.Figure, level: int = 9) -> bytes:
    """Encode a figure as a PNG, twice as fine as its place on the page.

    No pixel changes within axes that hold a picture or numbers shown as colours, colour bars included. Elsewhere, where
    there are lines and letters, each channel goes to the nearest multiple of `STEP`: a third of the bytes, and the same
    colour in every figure.

    Args: level: of the compression, 0 … 9; a low one is quick.
    """
    fig.set_dpi(SHARPNESS * DPI)
    fig.canvas.draw()
    exact = np.asarray(fig.canvas.buffer_rgba())[..., :3]  # (H, W, 3) uint8
    pixels = (np.round(exact / STEP) * STEP).astype(np.uint8)
    for ax in (inner for outer in fig.axes for inner in (outer, *outer.child_axes)):
        if shows_colours(ax):
            rows, columns = pixels_of(ax, len(exact))
            pixels[rows, columns] = exact[rows, columns]
    file = io.BytesIO()
    with_palette(pixels).save(file, "PNG", compress_level=level, dpi=(SHARPNESS * DPI, SHARPNESS * DPI))
    return file.getvalue()


def shows_colours(ax: plt.Axes) -> bool:
    """Do the axes hold a picture, or numbers shown as colours: a map, its colour bar, points of many colours?

    Numbers shown as greys do not count: a grey whose channels are rounded is a grey.
    """
    shown = [drawn for drawn in (*ax.images, *ax.collections) if drawn.get_array() is not None]
    return any(np.ndim(drawn.get_array()) == 3 or not is_grey(drawn.get_cmap()) for drawn in shown)


def is_grey(colours: Colormap) -> bool:
    """Are all colours of a colour map greys?"""
    return float(np.ptp(colours(np.linspace(0, 1, 11))[:, :3], axis=1).max()) < 0.01


def pixels_of(ax: plt.Axes, height: int) -> tuple[slice, slice]:
    """Return the rows and columns that the axes take in a drawn figure of `height` pixels, counted from the top."""
    left, bottom, right, top = ax.get_window_extent().extents
    return (
        slice(max(math.floor(height - top), 0), math.ceil(height - bottom)),
        slice(max(math.floor(left), 0), math.ceil(right)),
    )


def with_palette(pixels: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8 -> the same picture, with one byte a pixel if it has at most 256 colours."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    codes, places = np.unique((red << 16) + (green << 8) + blue, return_inverse=True)
    if len(codes) > 256:
        return Image.fromarray(pixels)
    image = Image.fromarray(places.reshape(red.shape).astype(np.uint8))
    image.putpalette(np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8).tobytes())
    return image


def img_tag(picture: bytes, alt: str) -> str:
    """Return the HTML of a PNG from `encoded`, `<img alt=… src="data:…">`: no wider than the page."""
    data, width = base64.b64encode(picture).decode(), int.from_bytes(picture[16:20]) // SHARPNESS
    return f'<img alt="{html.escape(alt)}" width="{width}" style="max-width:100%" src="data:image/png;base64,{data}">'


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show rows of words as a table; where the first cell of a row repeats the one above, it stays empty."""
    above, lines = None, []
    for first, *rest in rows:
        lines.append([first if first != above else "", *rest])
        above = first
    if not in_notebook():
        sys.stdout.write("".join("  ".join(line) + "\n" for line in (header, *lines)))
        return
    from IPython.display import display  # installed only with Jupyter

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f'<{tag} style="text-align:left">{html.escape(c)}</{tag}>' for c in cells) + "</tr>"

    body = "".join(row(line, "td") for line in lines)
    page = f"<table><thead>{row(header, 'th')}</thead><tbody>{body}</tbody></table>"
    display({"text/html": page, "text/plain": "\n".join("  ".join(line) for line in (header, *lines))}, raw=True)


def in_notebook() -> bool:
    """Is this running in a Jupyter kernel? (A plain script or a test is not.)"""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────


def save(fig: plt.Figure, path: str | Path) -> Path:
    """Save a figure (format by suffix: .png for lines, .jpg for photographs and point clouds) and close it."""
    path = Path(path)
    options = {"pil_kwargs": {"quality": 85}} if path.suffix in (".jpg", ".jpeg") else {}
    fig.savefig(path, facecolor="white", **options)
    plt.close(fig)
    return path


def to_image(fig: plt.Figure) -> Image.Image:
    """Render a figure as an RGB picture and close it."""
    fig.canvas.draw()
    pixels = np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()  # (H, W, 3) uint8
    plt.close(fig)
    return Image.fromarray(pixels)


def save_gif(frames: Sequence[Image.Image], path: str | Path, milliseconds: int = 80, hold: int = 12) -> Path:
    """Save frames as a looping GIF of 32 colours; the last frame is shown `hold` times as long as the others.

    Args: frames: at least one RGB picture, all of one size.
    Raises: ValueError if there is no frame.
    """
    if not frames:
        raise ValueError("got no frames; a GIF needs at least one")
    palette = frames[-1].quantize(32)
    small = [frame.quantize(32, palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(small) - 1) + [milliseconds * hold]
    small[0].save(path, save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True)
    return Path(path)


def hide_axes(ax: plt.Axes) -> None:
    """Remove ticks and frame: for axes that show a picture or a point cloud."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


# ── Figures that many lessons show ───────────────────────────────────────────────────────────────────


def pixels(image: Tensor) -> np.ndarray:
    """Convert an image for `ax.imshow`: (3, H, W), (1, H, W) or (H, W) in [0, 1] -> (H, W, 3), clipped.

    Convert latents and images in [-1, 1] to [0, 1] first (`tinyldm.to_unit`): nothing is rescaled here, so two
    pictures in one figure always share one scale.  Raises ValueError for any other shape.
    """
    image = image.detach().float().cpu()
    image = image[None] if image.dim() == 2 else image
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"got an image of shape {tuple(image.shape)}; expected (3, H, W), (1, H, W) or (H, W)")
    return image.clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()


def plot_image(ax: plt.Axes, image: Tensor, title: str = "") -> None:
    """Plot one image, (3, H, W), (1, H, W) or (H, W) in [0, 1], with a title and without ticks."""
    ax.imshow(pixels(image))
    ax.set_title(title, loc="center", fontsize=9)
    hide_axes(ax)


def in_a_row(images: Tensor) -> Tensor:
    """Join images side by side, with a thin white frame around each: (B, C, H, W) -> (C, H + 2, B (W + 2))."""
    framed = torch.nn.functional.pad(images, (1, 1, 1, 1), value=1.0)
    return torch.cat(list(framed), dim=2)


def image_grid(
    images: Sequence[Tensor] | Tensor,
    titles: Sequence[str] = (),
    columns: int = 0,
    rows: Sequence[str] = (),
    size: float = 1.25,
) -> plt.Figure:
    """Plot images in [0, 1] in rows and columns.

    Args:
        images: a list or a batch of (3, H, W) or (1, H, W), row by row.
        titles: one per image, or one per column; columns: 0 puts all in one row; rows: a label for each row.
        size: the side of one image, in inches.
    """
    columns = columns or len(images)
    number = math.ceil(len(images) / columns)
    titled = 0 if not titles else number if len(titles) > columns else 1  # rows that have titles
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    height = (size + 0.04) * number + (0.10 + 0.18 * lines) * titled
    fig, axes = plt.subplots(number, columns, squeeze=False, figsize=(size * columns + bool(rows), height))
    for i, ax in enumerate(axes.flat):
        hide_axes(ax)
        if i < len(images):
            plot_image(ax, images[i], titles[i] if i < len(titles) else "")
    for ax, label in zip(axes[:, 0], rows):
        ax.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    return fig


def film_strip(
    images: Sequence[Tensor] | Tensor, labels: Sequence[str], title: str = "", size: float = 1.25
) -> plt.Figure:
    """Plot images in [0, 1] as a film strip: one row in order of time, with a label under each."""
    fig = image_grid(images, size=size)
    for ax, label in zip(fig.axes, labels):
        ax.set_xlabel(label)
    fig.set_size_inches(size * len(images), size + 0.45 + 0.25 * bool(title))
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return fig


def heat_map(ax: plt.Axes, values: Tensor, x: str, y: str, title: str = "", signed: bool = True, **options) -> None:
    """Plot values (rows, columns) as a heat map with axis labels and a colour bar; `signed` centres the colours on 0.

    `options`, such as extent or vmax, are passed to `ax.imshow`.
    """
    array = values.detach().float().cpu().numpy()
    if signed:
        limit = options.pop("vmax", None) or float(np.abs(array).max()) or 1.0
        options |= {"vmin": -limit, "vmax": limit, "cmap": DIVERGING}
    shown = ax.imshow(array, aspect=options.pop("aspect", "auto"), **options)
    ax.set(xlabel=x, ylabel=y, title=title)
    ax.figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.02)


def latent_maps(z: Tensor, title: str = "", size: float = 1.6, limit: float = 3.0) -> plt.Figure:
    """Plot a latent (4, h, w) as one map per channel, all on the scale ± `limit` (about its standard deviations)."""
    fig, axes = plt.subplots(1, len(z), figsize=(size * len(z) + 0.8, size + 0.5), squeeze=False)
    for i, ax in enumerate(axes[0]):
        shown = ax.imshow(z[i].detach().float().cpu(), cmap=DIVERGING, vmin=-limit, vmax=limit)
        ax.set_title(f"channel {i}", fontsize=9)
        hide_axes(ax)
    fig.colorbar(shown, ax=axes[0].tolist(), fraction=0.02, pad=0.01)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return fig
