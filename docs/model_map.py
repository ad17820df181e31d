"""The map that opens each lesson as drawings of lines (SVG): one for a wide column, one for a phone.

The lessons draw the same map with matplotlib (`tinyldm_course.lessons.model_map`); as a picture its words are too small
on a phone.
"""

import html
import re

from tinyldm_course.lessons.model_map import ARROWS, BOXES, UNET

CALL = re.compile(r"^show_model_map\(([^)]*)\)", re.MULTILINE)
PLAIN = ("picture", "caption", "image")
UNIT, TOP = 8, 29  # pixels a percent of the map's width; the map's height, in the same percent
# The phone's map: name -> (left, top, width, height) in pixels; paths, and what travels along them.
TALL_BOXES = {
    "picture": (20, 0, 160, 26),
    "VAE encoder": (20, 46, 160, 36),
    "forward diffusion": (20, 112, 160, 36),
    "U-Net": (20, 178, 160, 132),
    "ResBlock": (32, 212, 136, 38),
    "SpatialTransformer": (32, 260, 136, 38),
    "sampler": (20, 352, 160, 36),
    "VAE decoder": (20, 418, 160, 36),
    "image": (20, 474, 160, 26),
    "caption": (214, 112, 140, 26),
    "text encoder": (214, 158, 140, 36),
    "guidance": (214, 352, 140, 36),
}
TALL_ARROWS = (
    ("M100 26V46", "", (0, 0)),
    ("M100 82V112", "z0", (108, 97)),
    ("M100 148V178", "z_t, t", (108, 163)),
    ("M60 310V352", "prediction", (66, 331)),
    ("M146 352V310", "z_t again, at a smaller t", (154, 331)),
    ("M100 388V418", "z0", (108, 403)),
    ("M100 454V474", "", (0, 0)),
    ("M284 138V158", "", (0, 0)),
    ("M284 194V244H180", "context", (292, 220)),
    ("M214 370H180", "", (0, 0)),
)


def parts_of(source: str) -> list[str] | None:
    """The parts that a cell of a lesson highlights; None if it shows no map."""
    call = CALL.search(source)
    return re.findall(r'"([^"]+)"', call[1]) if call else None


def drawings(parts: list[str], alt: str) -> str:
    """Both drawings as HTML; the style shows one of them."""
    return f'<div class="model-map">{wide(parts, alt)}{tall(parts, alt)}</div>'


def wide(parts: list[str], alt: str) -> str:
    """The map from left to right, as in the notebook."""
    boxes = {"U-Net": UNET, **BOXES}
    pixels = {name: (UNIT * (x + 1), UNIT * (TOP - y - h), UNIT * w, UNIT * h) for name, (x, y, w, h) in boxes.items()}
    drawn = [box(name, place, name in parts) for name, place in pixels.items()]
    for (x1, y1), (x2, y2), label in ARROWS:
        start, end = (UNIT * (x1 + 1), UNIT * (TOP - y1)), (UNIT * (x2 + 1), UNIT * (TOP - y2))
        drawn.append(arrow(f"M{start[0]} {start[1]}L{end[0]} {end[1]}", head=label != "context"))
        drawn.append(text(label, (start[0] + end[0]) / 2, start[1] - 10))
    drawn += [arrow("M608 48Q570 0 464 13"), text("z_t again, at a smaller t", 600, 18, "start")]
    return svg("wide", (840, UNIT * TOP), drawn, alt)


def tall(parts: list[str], alt: str) -> str:
    """The map from top to bottom: 360 pixels, the width of a phone's column."""
    drawn = [box(name, place, name in parts) for name, place in TALL_BOXES.items()]
    for path, label, (x, y) in TALL_ARROWS:
        drawn += [arrow(path), text(label, x, y, "start")]
    return svg("tall", (360, 502), drawn, alt)


def svg(kind: str, size: tuple[int, int], drawn: list[str], alt: str) -> str:
    """A drawing with what a reader who cannot see it is told."""
    head = (
        f'<defs><marker id="head-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8Z"/></marker></defs>'
    )
    shapes = "".join(drawn).replace("url(#head)", f"url(#head-{kind})")
    size_of_letters = 12 if kind == "wide" else 14
    return (
        f'<svg class="{kind}" viewBox="0 0 {size[0]} {size[1]}" font-size="{size_of_letters}" role="img" '
        f'aria-label="{alt}">{head}{shapes}</svg>'
    )


def box(name: str, place: tuple[float, ...], here: bool) -> str:
    """A box and its name; the U-Net's name stands at its top, because two boxes are in it."""
    x, y, width, height = place
    kind = "here" if here else "plain" if name in PLAIN else ""
    middle = y + 16 if name == "U-Net" else y + height / 2
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>'
        f"{text(name, x + width / 2, middle, kind)}"
    )


def text(words: str, x: float, y: float, kind: str = "") -> str:
    """Words at a place; nothing where there are none."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{html.escape(words)}</text>' if words else ""


def arrow(path: str, head: bool = True) -> str:
    """A line, with a head at its end."""
    return f'<path d="{path}"' + (' marker-end="url(#head)"/>' if head else "/>")
