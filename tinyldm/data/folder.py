"""A folder of pictures with captions: any kind of picture, any size; the captions are in a file beside them.

`metadata.py` says how the captions are written down, `pictures.py` how a picture is read. Pictures are cropped to the
square in their middle and resized. What cannot be used is skipped and named in `skipped`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tinyldm.data import pictures
from tinyldm.data.metadata import captions_of
from tinyldm.data.pixels import channels_first, to_signed_float


class Folder:
    """The captioned pictures of a folder, read once and kept as uint8 (12 KB each at 64×64)."""

    def __init__(self, path: str | Path, size: int = 64):
        """Read all the pictures of the folder `path`, cropped and resized to size × size.

        Sets: images (N, 3, size, size) uint8; captions; `skipped`, a list of (what, why) of all that was not usable.
        Raises: ValueError if there is no folder, no metadata.jsonl (or .csv, .parquet), or nothing usable in it.
        """
        path = Path(path)
        self.captions: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        images: list[Tensor] = []
        for name, caption in captions_of(path):
            try:
                if isinstance(caption, ValueError):
                    raise caption
                images.append(_read(path, name, size))
                self.captions.append(caption)
            except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise nearly anything
                self.skipped.append((name, pictures.why_unreadable(error)))
        if not images:
            raise ValueError(
                f"nothing usable in {path}: {summary(self.skipped) or 'the list of captions in it is empty'}"
            )
        self.images = torch.stack(images)

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> tuple[Tensor, str, None]:
        """The image (3, size, size) float32 in [-1, 1] and its caption; attributes are not known."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a folder of {len(self)} images")
        return to_signed_float(self.images[index]), self.captions[index], None


def summary(skipped: list[tuple[str, str]], limit: int = 5) -> str:
    """One line that counts what was skipped and names the first few; empty if nothing was."""
    if not skipped:
        return ""
    named = "; ".join(f"{what} ({why})" for what, why in skipped[:limit])
    return f"skipped {len(skipped)}: {named}" + ("; …" if len(skipped) > limit else "")


def _read(folder: Path, name: str, size: int) -> Tensor:
    """One picture: (3, size, size) uint8, sRGB."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("outside of the folder")
    if not path.is_file():
        raise ValueError("no such file")
    return channels_first(np.array(pictures.middle(pictures.decoded(path, "white"), (size, size))))
