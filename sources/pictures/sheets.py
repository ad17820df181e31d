"""What emoji and portraits have in common: a style and its origin, a sheet of drawings, its checksum, the packages."""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, DRAWN = 64, 60  # pixels of a picture, and of the drawing in its middle
COLUMNS = 36  # of a sheet


@dataclass(frozen=True)
class Style:
    """One hand: the word for it in captions, where its drawings come from, and who is to be credited."""

    word: str
    package: str
    credit: str
    licence: str  # SPDX
    source: str


def fitted(drawing: Image.Image) -> Image.Image:
    """A drawing in the middle of a transparent picture of SIDE × SIDE."""
    page = Image.new("RGBA", (SIDE, SIDE))
    # Colours times opacity while resizing: else the colour of what cannot be seen bleeds into the edges.
    small = drawing.convert("RGBA").convert("RGBa").resize((DRAWN, DRAWN), Image.Resampling.LANCZOS).convert("RGBA")
    page.paste(small, ((SIDE - DRAWN) // 2,) * 2)
    return Image.fromarray(coarse(np.array(page)))


def coarse(pixels: np.ndarray) -> np.ndarray:
    """64 levels of each colour and 16 of opacity, (H, W, 4) uint8: half the bytes, and nobody sees it (47 dB)."""
    levels = np.array([63, 63, 63, 15]) / 255
    pixels = np.round(np.round(pixels * levels) / levels).astype(np.uint8)
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def sheet(pictures: list[Image.Image | None]) -> Image.Image:
    """All pictures of a hand in rows of COLUMNS; an empty place where it has no drawing."""
    page = Image.new("RGBA", (COLUMNS * SIDE, -(-len(pictures) // COLUMNS) * SIDE))
    for number, picture in enumerate(pictures):
        if picture is not None:
            page.paste(picture, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    return page


def checksum(page: Image.Image) -> str:
    """SHA-256 of the pixels that can be seen: it does not depend on the version of the file format."""
    pixels = np.array(page)
    pixels[pixels[..., 3] == 0] = 0
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def fetch(folder: Path, packages: dict[str, str]) -> None:
    """Packages of pinned versions, by npm; their scripts are not run."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": "pictures", "private": True, "dependencies": packages}
    (folder / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
    subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)


def read(file: Path) -> Any:
    """JSON; an absent file is empty."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
