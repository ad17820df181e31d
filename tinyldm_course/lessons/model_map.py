"""The map of the whole model that opens each lesson, with the parts of that lesson marked."""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from tinyldm_course.lessons import plots

# name -> (left, bottom, width, height), in percent of the map's width
BOXES = {
    "picture": (0, 17, 8, 6),
    "VAE encoder": (11, 17, 11, 6),
    "forward diffusion": (26, 17, 15, 6),
    "ResBlock": (47, 19.3, 16, 4),
    "SpatialTransformer": (47, 14, 16, 4),
    "sampler": (70, 17, 9, 6),
    "VAE decoder": (82, 17, 11, 6),
    "image": (96, 17, 7, 6),
    "caption": (0, 4, 8, 6),
    "text encoder": (11, 4, 11, 6),
    "guidance": (70, 4, 9, 6),
}
UNET = (45, 12, 20, 15.2)
ARROWS = (  # from (x, y) to (x, y), and what travels along it, as the code names it
    ((8, 20), (11, 20), ""),
    ((22, 20), (26, 20), "z0"),
    ((41, 20), (45, 20), "z_t, t"),
    ((65, 20), (70, 20), "ε̂"),
    ((79, 20), (82, 20), "z0"),
    ((93, 20), (96, 20), ""),
    ((8, 7), (11, 7), ""),
    ((22, 7), (55, 7), "context"),
    ((55, 7), (55, 12), ""),
    ((74.5, 10), (74.5, 17), ""),
)


def where_we_are(*parts: str) -> None:
    """Show the way from a picture (or a caption) to an image, with `parts` marked: names in BOXES, or "U-Net".

    Raises: ValueError for another name.
    """
    unknown = [part for part in parts if part not in BOXES and part != "U-Net"]
    if unknown or not parts:
        raise ValueError(f"{unknown or 'nothing'} cannot be marked; expected some of {', '.join(BOXES)}, U-Net")
    plots.show(
        drawn(parts),
        "Map of latent diffusion: a picture goes through the VAE encoder and forward diffusion "
        "into the U-Net, made of ResBlocks and SpatialTransformers, which also reads the context from the text "
        "encoder; the sampler, with guidance, calls the U-Net again and again; the VAE decoder makes the image. "
        f"Marked as this lesson's subject: {', '.join(parts)}.",
    )


def drawn(parts: tuple[str, ...]) -> plt.Figure:
    """The map as a figure."""
    fig, ax = plt.subplots(figsize=(9.2, 2.7))
    ax.set(xlim=(-1, 104), ylim=(0, 29))
    plots.bare(ax)
    _box(ax, UNET, "U-Net" in parts, "")
    ax.text(
        UNET[0] + UNET[2] / 2,
        25,
        "U-Net",
        ha="center",
        va="center",
        fontsize=9.5,
        weight="bold" if "U-Net" in parts else "normal",
        color="white" if "U-Net" in parts else plots.BLACK,
    )
    for name, place in BOXES.items():
        _box(ax, place, name in parts, name, plain=name in ("picture", "caption", "image"))
    for start, end, label in ARROWS:
        ax.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>" if label != "context" else "-",
                mutation_scale=9,
                color=plots.GREY,
                shrinkA=0,
                shrinkB=0,
                linewidth=1.2,
            )
        )
        ax.text((start[0] + end[0]) / 2, start[1] + 1, label, ha="center", va="bottom", fontsize=8.5)
    ax.add_patch(
        FancyArrowPatch(
            (72, 23),
            (58, 27.3),
            arrowstyle="-|>",
            mutation_scale=9,
            color=plots.GREY,
            connectionstyle="arc3,rad=0.35",
            linewidth=1.2,
        )
    )
    ax.text(70, 27, "z_t again, with smaller t", fontsize=8.5, ha="left")
    return fig


def _box(ax: plt.Axes, place: tuple[float, ...], marked: bool, name: str, plain: bool = False) -> None:
    left, bottom, width, height = place
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=1",
            facecolor=plots.BLUE if marked else "white" if plain else "#EEF2F6",
            edgecolor="none" if plain else plots.BLUE if marked else plots.GREY,
            linewidth=1,
        )
    )
    ax.text(
        left + width / 2,
        bottom + height / 2,
        name,
        ha="center",
        va="center",
        fontsize=9,
        weight="bold" if marked else "normal",
        color="white" if marked else plots.BLACK,
    )
