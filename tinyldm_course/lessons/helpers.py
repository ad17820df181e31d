"""What lessons share besides plots: short runs for tests, progress bars, a photograph, comparison with the package."""

import os
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tinyldm import threads
from tinyldm.data.pixels import channels_first, to_float

# Every lesson imports this file. As many threads as this process may use; one, if the processors are busy.
threads.prepare()
threads.fit()

Item = TypeVar("Item")
PHOTOGRAPHS = ("flower", "china")  # scikit-learn's two, which need no download


def full_or_fast(full: int, fast: int) -> int:
    """Return `full`, or `fast` if the environment variable TINYLDM_FAST is 1: a number of steps, or of pictures.

    Continuous integration sets the variable to test that every cell runs. The committed notebooks use the full numbers.
    """
    return fast if os.environ.get("TINYLDM_FAST") == "1" else full


def progress(items: Iterable[Item], what: str = "training") -> Iterable[Item]:
    """Go through `items` with a bar that shows how much time is left, if it takes more than a second.

    The bar goes to stderr, which committed notebooks do not hold, and disappears at the end.

    Args: what: stands before the bar.
    """
    return tqdm(items, desc=what, leave=False, delay=1.0, mininterval=0.5)


def photograph(size: int = 256, name: str = "flower") -> Tensor:
    """Load a real photograph, cropped to its central square: (3, size, size) float32 in [0, 1]. No download.

    Args: size: pixels per side, at most 427, the height of the originals; name: "flower" or "china" (a temple).
    Raises: ValueError for any other name or size.
    """
    from sklearn.datasets import load_sample_image  # imported here because it takes a second

    if name not in PHOTOGRAPHS:
        raise ValueError(f"unknown photograph {name!r}; expected one of {', '.join(PHOTOGRAPHS)}")
    if not 1 <= size <= 427:
        raise ValueError(f"size is {size}; expected 1 … 427, the height of the originals")
    whole = Image.fromarray(load_sample_image(f"{name}.jpg"))
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    square = whole.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return to_float(channels_first(np.array(square)))  # (H, W, 3) -> (3, H, W)


def confirm_equal(
    yours: Tensor, package: Tensor, tolerance: float = 1e-5, claim: str = "Yours equals tinyldm's"
) -> str:
    """Confirm that a lesson's own code computes what the package computes, and return a sentence that says so.

    Args:
        yours, package: the two results.
        tolerance: the largest difference allowed, relative to the largest value.
        claim: how the sentence begins, for comparisons with something other than tinyldm.
    Raises: ValueError if shape or dtype differ, AssertionError if the values differ.
    """
    if yours.shape != package.shape or yours.dtype != package.dtype:
        raise ValueError(
            f"yours is {tuple(yours.shape)} {yours.dtype}, tinyldm's {tuple(package.shape)} "
            f"{package.dtype}; expected equal shapes and dtypes"
        )
    difference = (yours - package).abs().max().item() / max(package.abs().max().item(), 1e-12)
    if not difference <= tolerance:  # written so that NaN fails too
        raise AssertionError(
            f"yours and tinyldm's differ by {difference:.2g} of the largest value; expected at most {tolerance:g}"
        )
    compared = "one number, equal" if package.numel() == 1 else f"{package.numel():,} numbers, all equal"
    return f"{claim}: {compared} to within {tolerance:g}."
