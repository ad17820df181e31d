"""Real pictures that come with the package: 1,100 things drawn by six hands, and portraits in six more styles.

    panda    × noto, blob, twemoji, flat, 3d, streamline            what it shows has a name and keywords
    portrait × adventurer, bigsmile, personas, peeps, pixel, toon   what it shows is a list of attributes

Each style is one sheet of transparent 64×64 drawings, `sheets/STYLE.webp`; `sheets/index.json` says what is where, and
what is held out. `sources/pictures/build.py` made them. `docs/drawings.md` shows them and says who drew them;
`sheets/LICENCES.md` has the terms.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tinyldm.formats.files import read_bytes

SHEETS = Path(__file__).parent / "sheets"
GROUNDS = {  # what a drawing is put on, sRGB; the first is the usual one
    "white": (255, 255, 255),
    "cream": (250, 238, 205),
    "pink": (250, 208, 222),
    "blue": (190, 216, 246),
    "green": (196, 228, 192),
    "gray": (160, 163, 170),
    "black": (34, 36, 44),
}
MAX_LIST = 100_000  # bytes of a list of names
MAX_SHIFT = 3  # pixels: a drawing has a margin of two, and its edges are mostly empty
# Where left and right mean nothing, and nothing is written: only these categories are mirrored, …
MIRRORED = ("animal", "cat-face", "drink", "face", "food", "monkey-face", "plant", "portrait")
# … and of these not what has letters or digits on it all the same.
WITH_LETTERS = ("sleep", "symbols", "canned", "mate", "takeout", "moai", "milk", "bubble")


@dataclass(frozen=True)
class Drawing:
    """One drawing: what it shows, in whose style, and where it is."""

    name: str  # "panda"; of a portrait "portrait"
    style: str  # one of `styles()`
    number: int  # its place on the sheet of its style, row by row
    category: str  # "animal-mammal"; of a portrait "portrait"
    keywords: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)  # of a portrait: "hair" -> "curly", …


# ── What there is ────────────────────────────────────────────────────────────────────────────────────


@cache
def index() -> dict[str, Any]:
    """`sheets/index.json`: the styles with their origin, the names, the portraits, what is held out."""
    return json.loads((SHEETS / "index.json").read_text(encoding="utf-8"))


def styles() -> tuple[str, ...]:
    """The words for the styles: first the six hands that drew named things, then those of the portraits."""
    return tuple(style["word"] for style in index()["styles"])


@cache
def named() -> tuple[Drawing, ...]:
    """Every drawing of a thing that has a name."""
    return tuple(
        Drawing(entry["name"], style, number, entry["category"], tuple(entry["keywords"]))
        for number, entry in enumerate(index()["names"])
        for style in entry["styles"]
    )


@cache
def portraits() -> tuple[Drawing, ...]:
    """Every portrait."""
    return tuple(
        Drawing("portrait", style, number, "portrait", attributes=person)
        for style, people in index()["portraits"].items()
        for number, person in enumerate(people)
    )


def names() -> tuple[str, ...]:
    """The names, in the order of the sheets."""
    return tuple(entry["name"] for entry in index()["names"])


@cache
def everyday() -> tuple[str, ...]:
    """The names of a hundred common things, `sheets/everyday.txt`: what the shipped model of drawings draws."""
    return tuple((SHEETS / "everyday.txt").read_text(encoding="utf-8").splitlines())


def names_in(file: str) -> tuple[str, ...]:
    """The names that a list chooses: `file` is "everyday", or a text file with one name a line ("portrait" is one).

    Raises: ValueError where there is no such file, a line is no name, or all are empty.
    """
    if file == "everyday":
        return everyday()
    lines = (
        line.strip()
        for line in read_bytes(Path(file), MAX_LIST, "a list of names").decode(errors="replace").splitlines()
    )
    chosen = tuple(dict.fromkeys(line for line in lines if line))
    unknown = [name for name in chosen if name not in (*names(), "portrait")]
    if unknown or not chosen:
        what = f"{', '.join(map(repr, unknown[:3]))}, which no drawing has" if unknown else "nothing"
        raise ValueError(
            f'the list of names {file} has {what}; expected one name a line, such as panda, or "portrait"; or give '
            '"everyday". `tinyldm/data/sheets/index.json` has all names'
        )
    return chosen


# ── What is held out ─────────────────────────────────────────────────────────────────────────────────


def is_held_out(drawing: Drawing) -> bool:
    """Is it in no training set, because its name in its style, or its combination of attributes, is held out?"""
    if drawing.attributes:
        return combination(drawing) in _held_out("combinations")
    return (drawing.name, drawing.style) in _held_out("pairs")


def combination(portrait: Drawing) -> tuple[str, str, str]:
    """What is held out of portraits in combination: hair, its colour ("" without hair), glasses."""
    attributes = portrait.attributes
    return attributes["hair"], attributes.get("hair colour", ""), attributes["glasses"]


def for_training(chosen: Collection[str] | None = None) -> tuple[Drawing, ...]:
    """All drawings that a model may be trained on, or those that have one of the chosen names ("portrait" is one)."""
    allowed = tuple(drawing for drawing in (*named(), *portraits()) if not is_held_out(drawing))
    return allowed if chosen is None else tuple(drawing for drawing in allowed if drawing.name in set(chosen))


def for_autoencoder() -> tuple[Drawing, ...]:
    """Those of `for_training` whose names an autoencoder may see; the others measure how well it reconstructs."""
    return tuple(drawing for drawing in for_training() if drawing.name not in _held_out("names"))


def unseen_by_autoencoder() -> tuple[Drawing, ...]:
    """Every drawing of the names that are held out from the training of autoencoders."""
    return tuple(drawing for drawing in named() if drawing.name in _held_out("names"))


@cache
def _held_out(kind: str) -> frozenset:
    return frozenset(tuple(entry) if isinstance(entry, list) else entry for entry in index()["held_out"][kind])


# ── Pixels ───────────────────────────────────────────────────────────────────────────────────────────


@cache
def sheet(style: str) -> np.ndarray:
    """All drawings of a style: (N, S, S, 4) uint8, red, green, blue, opacity; empty where there is none."""
    side, columns = index()["side"], index()["columns"]
    page = np.asarray(Image.open(SHEETS / f"{style}.webp").convert("RGBA"))
    rows = page.reshape(-1, side, columns, side, 4).swapaxes(
        1, 2
    )  # (rows · S, columns · S, 4) -> (rows, columns, S, S, 4)
    return rows.reshape(-1, side, side, 4)


def pixels(drawings: Sequence[Drawing]) -> np.ndarray:
    """Drawings -> (N, S, S, 4) uint8, red, green, blue, opacity."""
    return np.stack([sheet(drawing.style)[drawing.number] for drawing in drawings])


def on_ground(rgba: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Drawings (N, S, S, 4) uint8 on grounds of a colour each, (N, 3) -> (N, S, S, 3) uint8."""
    opacity = rgba[..., 3:].astype(np.float32) / 255
    ground = colour[:, None, None].astype(np.float32)  # (N, 3) -> (N, 1, 1, 3)
    return (rgba[..., :3] * opacity + ground * (1 - opacity)).round().astype(np.uint8)


def may_be_mirrored(drawing: Drawing) -> bool:
    """Does its mirror image show the same thing?"""
    return drawing.category.startswith(MIRRORED) and not any(word in drawing.name for word in WITH_LETTERS)


def moved(rgba: np.ndarray, right: int, down: int) -> np.ndarray:
    """A drawing (S, S, 4) moved by some pixels; what leaves the picture is lost."""
    side = len(rgba)
    padded = np.pad(rgba, ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0)))
    return padded[max(-down, 0) :, max(-right, 0) :][:side, :side]
