"""The report of an evaluation, as lines of text and as a figure of bars and pictures."""

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyldm.formats.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

    from tinyldm.evaluation.measure import Gallery

ATTRIBUTES = ("background", "relation", "colour", "shape", "size")
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "captions": "#0072B2",
    "held-out captions": "#E69F00",
    "image context": "#009E73",
    "reconstruction": "#CC79A7",
    "CLIP": "#666666",
}


def rows(report: dict[str, Any]) -> list[tuple[str, str, dict]]:
    """The shares of a report as (section, name, share), in reading order, without what was skipped."""
    found = []
    for section in ("captions", "held-out captions"):
        groups = report[section]
        found += [
            (section, "all right" if name == "all" else f"all right, {name}", groups[name]["strict"]) for name in groups
        ]
        if section == "captions":
            found += [(section, name, groups["all"][name]) for name in ATTRIBUTES if name in groups["all"]]
    found += [("image context", name, measured) for name, measured in report.get("image context", {}).items()]
    found.append(("reconstruction", "all right", report["reconstruction"]["reconstructed"]["strict"]))
    for name, measured in report.get("CLIP", {}).items():
        if name == "binding":
            found += [
                ("CLIP", f"{kind} not swapped, {wording}", answer)
                for wording, kinds in measured.items()
                for kind, answer in kinds.items()
            ]
        else:
            found.append(("CLIP", name, measured))
    return found


def in_words(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    lines, section = [], None
    for name, kind, measured in rows(report):
        if name != section:
            lines += [name]
            section = name
        lines.append(
            f"  {kind:<34} {measured['share']:6.1%}   {measured['low']:6.1%} to {measured['high']:6.1%}"
            f"   of {measured['of']}"
        )
    distance, copies = report["frechet"], report["memorisation"]
    lines += [
        "also measured",
        f"  PSNR of the VAE                    {report['reconstruction']['psnr']:6.1f} dB",
        f"  Fréchet distance to real pictures  {distance['generated']:6.2f}    (real to real: {distance['real']:.2f}, "
        f"{distance['pictures']} pictures)",
        f"  copies of training images          {copies['copies']['share']:6.1%}   (fresh real pictures: 1 %)",
    ]
    lines += [f"skipped {name}: {why}" for name, why in report["skipped"].items()]
    lines.append(f"{report['seconds']:.0f} s on {report['hardware'].get('gpu') or report['hardware']['processor']}")
    return lines


def save_figure(report: dict[str, Any], gallery: "Gallery", file: Path) -> None:
    """Bars with their 95 % intervals, the first pictures, and the training image nearest to each."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    figure = Figure(figsize=(13, 8.5), layout="constrained", dpi=110)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
    _bars(left, report)
    pictures, neighbours = right.subfigures(2, 1, height_ratios=(2.6, 1))
    _pictures(pictures, gallery)
    _neighbours(neighbours, gallery)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file.suffix.lstrip(".").lower())
    write_bytes(file, buffer.getvalue())


def _bars(figure: "SubFigure", report: dict[str, Any]) -> None:
    axes = figure.subplots()
    found = rows(report)[::-1]  # bars are stacked from the bottom
    places = range(len(found))
    values = [100 * measured["share"] for _, _, measured in found]
    errors = [
        [value - 100 * measured["low"] for value, (_, _, measured) in zip(values, found)],
        [100 * measured["high"] - value for value, (_, _, measured) in zip(values, found)],
    ]
    axes.barh(places, values, color=[COLOURS[section] for section, _, _ in found], alpha=0.85)
    axes.errorbar(values, places, xerr=errors, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    for place, value in zip(places, values):
        axes.text(101, place, f"{value:.1f}", va="center", fontsize=8)
    axes.set_yticks(places, [f"{section}: {name}" for section, name, _ in found], fontsize=8)
    axes.set(xlim=(0, 100), xlabel="% right, with 95 % intervals")
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    settings = report["settings"]
    figure.suptitle(
        f"{report['model']}: {settings['captions']} fresh captions, {settings['steps']} steps of "
        f"{settings['sampler']}, guidance {settings['guidance_scale']:g}",
        fontsize=10,
    )


def _pictures(figure: "SubFigure", gallery: "Gallery") -> None:
    figure.suptitle("the first pictures; ✗: the judge finds something wrong", fontsize=9)
    grid = figure.subplots(4, 4, squeeze=False).flat
    for axes, image, caption, strict in zip(grid, gallery.images, gallery.captions, gallery.strict):
        axes.imshow(image.permute(1, 2, 0).numpy())  # (3, H, W) -> (H, W, 3)
        axes.set_title(("✓ " if strict else "✗ ") + textwrap.fill(caption, 30), fontsize=6)
    for axes in figure.axes:
        axes.set_axis_off()


def _neighbours(figure: "SubFigure", gallery: "Gallery") -> None:
    figure.suptitle("above: the same pictures; below: the training image nearest to each", fontsize=9)
    grid = figure.subplots(2, 8, squeeze=False)
    for row, images in zip(grid, (gallery.images, gallery.nearest)):
        for axes, image in zip(row, images):
            axes.imshow(image.permute(1, 2, 0).numpy())
    for axes in figure.axes:
        axes.set_axis_off()
