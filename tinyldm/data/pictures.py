"""Picture files in and out: a photograph becomes a tensor, generated images become a page with a caption.

Only Pillow is needed, which is there in a tenth of the time that matplotlib takes.
"""

import io
import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin
from torch import Tensor

from tinyldm.data.folder import _to_rgb
from tinyldm.formats.files import write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg")
MARGIN, GAP = 12, 8  # pixels around and between the pictures of a page
PAGE, INK, FAINT = "white", (32, 32, 36), (120, 120, 128)
FINE_ENOUGH = 192  # pictures smaller than this are enlarged by a whole number


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────


def open_picture(file: str | Path) -> Image.Image:
    """Any picture file, upright, in RGB; transparent parts on white.

    Raises: ValueError where it does not exist or cannot be read.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"{file} does not exist or is not a file; expected a picture")
    try:
        with Image.open(file) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise nearly anything
        if isinstance(error, MemoryError):
            raise
        reason = "unknown format" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise ValueError(f"{file} is not a picture that can be read ({reason})") from None


def fitted(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Cut the middle out of a picture and resize it: (1, 3, H, W) float32 in [0, 1], for size (H, W)."""
    fit = ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fit)).permute(2, 0, 1)[None].float() / 255  # (H, W, 3) -> (1, 3, H, W)


def mask_from_box(box: tuple[int, int, int, int], image: Image.Image) -> Image.Image:
    """A mask that marks (left, top, right, bottom), in pixels of the picture. Raises ValueError outside of it."""
    left, top, right, bottom = box
    width, height = image.size
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"the box {left},{top},{right},{bottom} is not inside the picture; expected left < right in "
            f"0 … {width} and top < bottom in 0 … {height}"
        )
    mask = Image.new("RGB", image.size, "black")
    mask.paste("white", box)
    return mask


def fitted_mask(mask: Image.Image, image: Image.Image, size: tuple[int, int]) -> Tensor:
    """A mask for a picture, cut and resized with it: (1, 1, H, W) of 0 and 1; the bright part is 1.

    Raises: ValueError where it is of another size than the picture, or marks nothing.
    """
    if mask.size != image.size:
        raise ValueError(
            f"the mask has {mask.width}×{mask.height} pixels and the picture "
            f"{image.width}×{image.height}; expected the same"
        )
    marked = (fitted(mask, size).mean(1, keepdim=True) >= 0.5).float()
    if not marked.any():
        raise ValueError(
            "the mask marks nothing in the part of the picture that is used; expected white where to paint"
        )
    return marked


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────


def require_place(file: Path, suffixes: tuple[str, ...]) -> None:
    """Make the folder of a file to be written, before the long work starts.

    Raises: ValueError for a suffix that is none of `suffixes`, or a place where no file can be written.
    """
    if file.is_dir():
        raise ValueError(f"{file} is a folder; expected the name of a file")
    if file.suffix.lower() not in suffixes:
        raise ValueError(f"{str(file)!r} cannot be written; expected a name that ends in {' or '.join(suffixes)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        probe = file.with_name(file.name + ".partial")
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write {file}: there is a file in place of one of its folders") from None
    except OSError as error:
        raise ValueError(f"cannot write {file}: {error.strerror}") from None


def save_picture(image: Image.Image, file: Path, facts: dict[str, Any]) -> None:
    """Write a picture, through a temporary name, with `facts` in it: as JSON in the text entry "tinyldm"."""
    buffer, text = io.BytesIO(), json.dumps(facts, ensure_ascii=False)
    if file.suffix.lower() == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("tinyldm", text)
        info.add_itxt("Description", str(facts.get("caption", "")))  # the key that picture viewers show
        image.save(buffer, "PNG", pnginfo=info, optimize=True)
    else:
        image.save(buffer, "JPEG", quality=95, comment=text.encode())
    write_bytes(file, buffer.getvalue())


def to_picture(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] -> a Pillow image."""
    return Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def tiles(images: Tensor, *, enlarge: bool = True, gap: int = GAP) -> Image.Image:
    """Images (B, 3, H, W) in [0, 1] in rows, `gap` pixels apart; small ones are enlarged without smoothing."""
    count, _, height, width = images.shape
    columns = _columns(count)
    scale = max(1, round(FINE_ENOUGH / min(height, width))) if enlarge else 1
    high, wide, rows = height * scale + gap, width * scale + gap, -(-count // columns)
    page = Image.new("RGB", (columns * wide - gap, rows * high - gap), PAGE)
    for i, image in enumerate(images):
        tile = to_picture(image).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        page.paste(tile, (i % columns * wide, i // columns * high))
    return page


def _columns(count: int) -> int:
    return count if count <= 4 else max(4, math.ceil(math.sqrt(count)))


def captioned(picture: Image.Image, caption: str, note: str) -> Image.Image:
    """A picture on a white page, a caption below it, and a fainter note below that."""
    large, small = font_of(16), font_of(11)
    width = picture.width + 2 * MARGIN
    lines = [(line, large, INK) for line in wrapped(caption or "(no caption)", large, picture.width, most=6)]
    lines += [(line, small, FAINT) for line in wrapped(note, small, picture.width, most=3)]
    heights = [round(1.45 * font.size) for _, font, _ in lines]
    page = Image.new("RGB", (width, picture.height + 2 * MARGIN + GAP + sum(heights)), PAGE)
    page.paste(picture, (MARGIN, MARGIN))
    pen, y = ImageDraw.Draw(page), picture.height + MARGIN + GAP
    for (line, font, colour), height in zip(lines, heights):
        pen.text((width / 2, y), line, fill=colour, font=font, anchor="ma")
        y += height
    return page


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """A font that knows most alphabets: the one that matplotlib brings, found without importing matplotlib."""
    package = find_spec("matplotlib")
    file = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" if package else None
    return ImageFont.truetype(file, size) if file and file.is_file() else ImageFont.load_default(size)


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; what does not fit into `most` lines ends in "…"."""
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:  # a word longer than a line is cut
            fits = max(1, sum(font.getlength(word[:end]) <= width for end in range(1, len(word))))
            lines.append(word[:fits])
            word = word[fits:]
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line]
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][:-1] + "…"]
