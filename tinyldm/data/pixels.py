"""Pixels as files hold them, whole numbers 0 … 255, and as networks read them, floats in [0, 1] or [-1, 1]."""

import numpy as np
import torch
from torch import Tensor

from tinyldm.vae import to_signed


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]."""
    return pixels.float() / 255


def to_signed_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], as the VAE and CLIP's image tower read images."""
    return to_signed(to_float(pixels))


def to_uint8(image: Tensor) -> Tensor:
    """Floats in [0, 1] -> uint8, rounded, of the same shape and on the same device."""
    return (image * 255).round().to(torch.uint8)


def channels_first(pixels: np.ndarray) -> Tensor:
    """(…, H, W, 3) array, as Pillow and NumPy order it -> (…, 3, H, W) tensor of the same dtype."""
    return torch.from_numpy(pixels).movedim(-1, -3).contiguous()  # (…, H, W, 3) -> (…, 3, H, W)
