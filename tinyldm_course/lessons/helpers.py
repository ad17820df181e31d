"""What every lesson needs beside pictures: how long to train, a photograph, the proof that a piece is right."""

import os

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PHOTOGRAPHS = ("flower", "china")  # scikit-learn's two, which need no download


def budget(full: int, fast: int) -> int:
    """`full`, or `fast` where the environment variable TINYLDM_FAST is 1: for the steps of a training cell.

    Continuous integration sets it, to see that every cell runs. The committed pictures come from the full numbers.
    """
    return fast if os.environ.get("TINYLDM_FAST") == "1" else full


def photograph(size: int = 256, name: str = "flower") -> Tensor:
    """A real photograph, (3, size, size) float32 in [0, 1], cut square from the middle. No download.

    Args: size: pixels a side, at most 427, the height of the originals; name: "flower" or "china" (a temple).
    Raises: ValueError for another name or size.
    """
    from sklearn.datasets import load_sample_image  # here, as it takes a second to import

    if name not in PHOTOGRAPHS:
        raise ValueError(f"there is no photograph {name!r}; expected one of {', '.join(PHOTOGRAPHS)}")
    if not 1 <= size <= 427:
        raise ValueError(f"size is {size}; expected 1 … 427, the height of the originals")
    whole = Image.fromarray(load_sample_image(f"{name}.jpg"))
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    square = whole.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255  # (H, W, 3) -> (3, H, W)


def same(yours: Tensor, package: Tensor, tolerance: float = 1e-5, said: str = "Yours equals tinyldm's") -> str:
    """Check that a lesson's own piece gives what the package's gives; return a sentence that says so.

    tolerance: the largest difference that is allowed, relative to the largest number.
    said: the sentence's first words, where something else than tinyldm's piece is compared with.
    Raises: ValueError for another shape or dtype, AssertionError for other numbers.
    """
    if yours.shape != package.shape or yours.dtype != package.dtype:
        raise ValueError(
            f"yours is {tuple(yours.shape)} {yours.dtype}, tinyldm's {tuple(package.shape)} "
            f"{package.dtype}; expected the same"
        )
    difference = (yours - package).abs().max().item() / max(package.abs().max().item(), 1e-12)
    if not difference <= tolerance:  # written so that NaN fails too
        raise AssertionError(
            f"yours and tinyldm's differ by {difference:.2g} of the largest number; expected at most {tolerance:g}"
        )
    counted = "one number, the same" if package.numel() == 1 else f"{package.numel():,} numbers, all the same"
    return f"{said}: {counted} to within {tolerance:g}."
