"""The map of the whole model that opens each lesson, with that lesson's parts highlighted."""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from tinyldm_course.lessons import plots

# name -> (left, bottom, width, height), in percent of the map's width
BOXES = {
    "picture": (0, 17, 8, 6),
    "VAE encoder": (11, 17, 11, 6),
    "forward diffusion": (25, 17, 15, 6),
    "ResBlock": (45, 19.3, 17, 4),
    "SpatialTransformer": (45, 14, 17, 4),
    "sampler": (72, 17, 8, 6),
    "VAE decoder": (83, 17, 11, 6),
    "image": (96.5, 17, 7, 6),
    "caption": (0, 4, 8, 6),
    "text encoder": (11, 4, 11, 6),
    "guidance": (63, 4, 9, 6),
}
UNET = (44, 12, 19, 15.2)
ARROWS = (  # from (x, y) to (x, y), and what travels along it, as the code names it
    ((8, 20), (11, 20), ""),
    ((22, 20), (25, 20), "z0"),
    ((40, 20), (44, 20), "z_t, t"),
    ((63, 20), (72, 20), "prediction"),
    ((80, 20), (83, 20), "z0"),
    ((94, 20), (97, 20), ""),
    ((8, 7), (11, 7), ""),
    ((22, 7), (53.5, 7), "context"),
    ((53.5, 7), (53.5, 12), ""),
    ((67.5, 10), (67.5, 19.6), ""),
)


def show_model_map(*parts: str) -> None:
    """Show the path from a picture (or a caption) to an image, with `parts` highlighted: names in BOXES, or "U-Net".

    Raises: ValueError for any other name, or for none.
    """
    unknown = [part for part in parts if part not in BOXES and part != "U-Net"]
    if unknown or not parts:
        raise ValueError(f"{unknown or 'nothing'} cannot be highlighted; expected some of {', '.join(BOXES)}, U-Net")
    plots.show(
        model_map_figure(parts),
        "Map of latent diffusion: a picture goes through the VAE encoder and forward diffusion "
        "into the U-Net, made of ResBlocks and SpatialTransformers, which also reads the context from the text "
        "encoder; the sampler, with guidance, calls the U-Net repeatedly; the VAE decoder produces the image. "
        f"Highlighted as the subject of this lesson: {', '.join(parts)}.",
    )


def model_map_figure(parts: tuple[str, ...]) -> plt.Figure:
    """The map as a figure."""
    fig, ax = plt.subplots(figsize=(9.2, 2.7))
    ax.set(xlim=(-1, 104), ylim=(0, 29))
    plots.hide_axes(ax)
    _add_box(ax, UNET, "U-Net" in parts, "")
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
        _add_box(ax, place, name in parts, name, plain=name in ("picture", "caption", "image"))
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
            (75, 23),
            (57, 27.3),
            arrowstyle="-|>",
            mutation_scale=9,
            color=plots.GREY,
            connectionstyle="arc3,rad=0.35",
            linewidth=1.2,
        )
    )
    ax.text(74, 27, "z_t again, at a smaller t", fontsize=8.5, ha="left")
    return fig


def _add_box(ax: plt.Axes, place: tuple[float, ...], highlighted: bool, name: str, plain: bool = False) -> None:
    left, bottom, width, height = place
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=1",
            facecolor=plots.BLUE if highlighted else "white" if plain else "#EEF2F6",
            edgecolor="none" if plain else "white" if highlighted else plots.GREY,
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
        weight="bold" if highlighted else "normal",
        color="white" if highlighted else plots.BLACK,
    )
