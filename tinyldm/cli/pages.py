"""Pages of pictures: generated images in rows, with their caption, and with the settings embedded in the file.

Only Pillow is needed, which is imported in a tenth of the time that matplotlib takes.
"""

import io
import json
import math
import warnings
from bisect import bisect_right
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from tinyldm.data.pictures import to_picture
from tinyldm.formats.files import write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg")
MARGIN, GAP = 12, 8  # pixels around the page and between its pictures
BACKGROUND, INK, FAINT = "white", (32, 32, 36), (120, 120, 128)
LARGE_ENOUGH = 192  # pixels; smaller pictures are enlarged by a whole number
MAX_JPEG_COMMENT = 65_533  # bytes; a segment of a JPEG is at most 65,535 long, two of which are its length
MAX_CAPTION = 5000  # characters that are laid out on a page, of which a few hundred fit

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def save(page: Image.Image, file: Path, metadata: dict[str, Any]) -> None:
    """Write a page atomically, with `metadata` in it: as JSON in the text entry "tinyldm" or the comment."""
    buffer = io.BytesIO()
    if file.suffix.lower() == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("tinyldm", json.dumps(metadata, ensure_ascii=False))
        info.add_itxt("Description", str(metadata.get("caption", "")))  # the key that picture viewers show
        page.save(buffer, "PNG", pnginfo=info, optimize=True)
    else:
        page.save(buffer, "JPEG", quality=95, comment=jpeg_comment(metadata))
    write_bytes(file, buffer.getvalue())


def jpeg_comment(metadata: dict[str, Any]) -> bytes:
    """The metadata as JSON that fits into a JPEG; its longest texts are cut, with a warning, where they do not."""
    comment = json.dumps(metadata, ensure_ascii=False).encode()
    if len(comment) <= MAX_JPEG_COMMENT:
        return comment
    warnings.warn(
        f"a JPEG comment is limited to {MAX_JPEG_COMMENT:,} bytes, but the settings take {len(comment):,}: the longest "
        "texts are cut; a .png keeps all of it",
        stacklevel=2,
    )
    short = dict(metadata)
    while len(comment) > MAX_JPEG_COMMENT:
        longest = max((name for name in short if isinstance(short[name], str)), key=lambda name: len(short[name]))
        short[longest] = short[longest][: len(short[longest]) // 2] + "…"
        comment = json.dumps(short, ensure_ascii=False).encode()
    return comment


# ── Pictures in rows ─────────────────────────────────────────────────────────────────────────────────


def tiles(images: Tensor, *, enlarge: bool = True, gap: int = GAP) -> Image.Image:
    """Images (B, 3, H, W) in [0, 1] in rows, `gap` pixels apart; small ones are enlarged without smoothing."""
    count, _, height, width = images.shape
    columns = count if count <= 4 else max(4, math.ceil(math.sqrt(count)))
    scale = max(1, round(LARGE_ENOUGH / min(height, width))) if enlarge else 1
    row_height, column_width, rows = height * scale + gap, width * scale + gap, -(-count // columns)
    page = Image.new("RGB", (columns * column_width - gap, rows * row_height - gap), BACKGROUND)
    for i, image in enumerate(images):
        tile = to_picture(image).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        page.paste(tile, (i % columns * column_width, i // columns * row_height))
    return page


# ── The caption ──────────────────────────────────────────────────────────────────────────────────────


def captioned(picture: Image.Image, caption: str, note: str) -> Image.Image:
    """A picture on a white page, with a caption below it and a fainter note below that."""
    texts = (
        (caption.strip() or "(no caption)", 16, INK, 6),
        (note, 11, FAINT, 4),
    )  # size, colour, at most this many lines
    lines = []
    for text, size, colour, max_lines in texts:
        font = font_of_size(size)
        lines += [(line, font, colour, round(1.45 * size)) for line in wrapped(text, font, picture.width, max_lines)]
    width = picture.width + 2 * MARGIN
    page = Image.new(
        "RGB", (width, picture.height + 2 * MARGIN + GAP + sum(height for *_, height in lines)), BACKGROUND
    )
    page.paste(picture, (MARGIN, MARGIN))
    pen, y = ImageDraw.Draw(page), picture.height + MARGIN + GAP
    for line, font, colour, height in lines:
        pen.text((width / 2, y), line, fill=colour, font=font, anchor="ma")
        y += height
    return page


def font_of_size(size: int) -> Font:
    """A font that covers most scripts: the one in matplotlib, found without importing matplotlib."""
    package = find_spec("matplotlib")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(file, size)
    return ImageFont.load_default(size)


def wrapped(text: str, font: Font, width: int, max_lines: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; what does not fit into `max_lines` of them ends in "…"."""
    lines = [""]
    for word in text[:MAX_CAPTION].split():
        while font.getlength(word) > width:  # a word longer than a line is broken
            end = fitting(word, font, width)
            lines.append(word[:end])
            word = word[end:]
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line]
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    return [*lines[: max_lines - 1], last[: fitting(last, font, width - font.getlength("…"))] + "…"]


def fitting(text: str, font: Font, width: float) -> int:
    """How many of the first characters of a text fit into `width` pixels; at least 1."""
    return max(1, bisect_right(range(1, len(text) + 1), width, key=lambda end: font.getlength(text[:end])))
