"""Your own pictures: a folder with a `metadata.jsonl`, the convention of Hugging Face's image folders.

Each line of that file is {"file_name": "cat.jpg", "text": "a cat on a chair"}. Images may be of any size
and mode: they are turned upright (EXIF), put on white where they are transparent, cropped to the square in
their middle and resized. A line or an image that cannot be used is skipped and named in `skipped`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps


class Folder:
    """The captioned images of a folder, read once and kept as uint8 (12 KB each at 64×64)."""

    def __init__(self, path: str | Path, size: int = 64):
        """Read all the images of the folder `path`, cropped and resized to size × size.

        Sets `skipped`: list of (what, why) of all that could not be used.
        Raises ValueError if there is no folder, no metadata.jsonl, or nothing usable in it.
        """
        path = Path(path)
        metadata = path / "metadata.jsonl"
        if not metadata.is_file():
            raise ValueError(
                f"{path} has no metadata.jsonl; expected a folder with one line "
                '{"file_name": "cat.jpg", "text": "a cat"} in that file for each image'
            )
        self.captions: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        images = []
        lines = metadata.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name = f"line {number}"
            try:
                name, caption = _entry(line)
                images.append(_load(path, name, size))
                self.captions.append(caption)
            except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise nearly anything
                self.skipped.append((name, _reason(error)))
        if not images:
            raise ValueError(f"nothing usable in {metadata}: {summary(self.skipped) or 'it is empty'}")
        self.images = np.stack(images)  # (N, size, size, 3) uint8

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str, None]:
        """The image (3, size, size) float32 in [-1, 1] and its caption; attributes are not known."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a folder of {len(self)} images")
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
        return image.float() / 127.5 - 1, self.captions[index], None


def summary(skipped: list[tuple[str, str]], most: int = 5) -> str:
    """One line that counts what was skipped and names the first few; empty if nothing was."""
    if not skipped:
        return ""
    named = "; ".join(f"{what} ({why})" for what, why in skipped[:most])
    return f"skipped {len(skipped)}: {named}" + ("; …" if len(skipped) > most else "")


def _entry(line: str) -> tuple[str, str]:
    """File name and caption of one line of metadata.jsonl."""
    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    entry = entry if isinstance(entry, dict) else {}
    for key in ("file_name", "text"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise ValueError(f'"{key}" is missing, empty or not text')
    return entry["file_name"], entry["text"].strip()


def _load(folder: Path, name: str, size: int) -> np.ndarray:
    """One image: (size, size, 3) uint8, sRGB."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("outside of the folder")
    if not path.is_file():
        raise ValueError("no such file")
    with Image.open(path) as image:
        image = _to_rgb(ImageOps.exif_transpose(image))
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS), dtype=np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit and float gray scaled to 8 bits, transparency laid on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64)
        # 16-bit files keep their scale; float ones are in [0, 1] or already in [0, 255].
        top = 65535 if image.mode.startswith("I") else 1 if values.max() <= 1 else 255
        image = Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow can read"
    return str(error) or type(error).__name__
