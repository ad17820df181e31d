"""Real pictures that need no download: the 1,797 handwritten digits of scikit-learn, 8×8 pixels each.

They are a test set of the UCI "Optical Recognition of Handwritten Digits" data (Alpaydin and Kaynak, 1998).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Digit:
    """Everything there is to know about an image of a digit."""

    value: int  # 0 … 9


class Digits:
    """Handwritten digits, white on black, with captions such as "a handwritten seven"."""

    def __init__(self, size: int = 64):
        """`size`: height and width of the images; 8 leaves the pixels as they are, more enlarges smoothly."""
        from sklearn.datasets import load_digits  # here, as it takes a second to import

        if size < 8:
            raise ValueError(f"size is {size}; expected ≥ 8, as the digits have 8×8 pixels and are only enlarged")
        data = load_digits()
        gray = torch.from_numpy((data.images / 8 - 1).astype(np.float32))[:, None]  # 0 … 16 -> [-1, 1]
        self.values = data.target.tolist()
        self.size, self._gray = size, gray  # (1797, 1, 8, 8)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str, Digit]:
        """The image (3, size, size) float32 in [-1, 1], its caption, and its value."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a data set of {len(self)} digits")
        image = self._gray[index : index + 1]
        if self.size > 8:
            image = F.interpolate(image, size=(self.size, self.size), mode="bicubic").clamp(-1, 1)
        value = self.values[index]
        return image[0].repeat(3, 1, 1), f"a handwritten {DIGITS[value]}", Digit(value)
