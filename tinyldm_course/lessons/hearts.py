"""The heart that lesson 11 builds, for the lessons after it: a thing that the small world does not have.

The functions are those of that lesson; a test compares them.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm import to_unit
from tinyldm.data import scenes
from tinyldm.data.captions import SYNONYMS, random_wording
from tinyldm.data.world import Scene


def heart_distance(x: np.ndarray, y: np.ndarray, r: np.ndarray | float) -> np.ndarray:
    """The signed distance, in pixels, to the edge of a heart that fills the box from -r to r; y points down."""
    a = r / (1 + 0.5**0.5)  # the radius of the two discs; half a side of the square between them
    x, y = np.abs(x), y - 0.15 * a  # mirror symmetry
    square = (x + np.abs(y)) * 0.5**0.5 - a
    disc = np.sqrt((x - a * 0.5**0.5) ** 2 + (y + a * 0.5**0.5) ** 2) - a
    return np.minimum(square, disc)


def hearts(seed: int, count: int) -> tuple[Tensor, list[str], list[Scene]]:
    """`count` scenes with one large heart each: images (B, 3, 64, 64) in [0, 1], captions, scenes."""
    chosen: list[Scene] = []
    index = 0
    while len(chosen) < count:
        scene, index = scenes.scene_at(seed, index), index + 1
        if len(scene.things) == 1 and scene.things[0].size == "large":
            chosen.append(scene)
    captions = []
    for i, scene in enumerate(chosen):  # worded with the old shape, which is then replaced
        text = random_wording(np.random.default_rng([seed, i])).say(scene).text
        for name in SYNONYMS[scene.things[0].shape]:
            text = text.replace(name, "heart")
        captions.append(text)
    things = [scene.things[0] for scene in chosen]
    pixels = scenes.rounded(scenes.paint(scenes.ground(chosen), things, heart_distance))
    return to_unit(scenes.to_tensor(pixels)), captions, chosen


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────


def silhouette(image: Tensor) -> Tensor | None:
    """What is not background in a picture (3, 64, 64), cropped and scaled: (24, 24) in [0, 1]; None if nearly empty."""
    border = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], dim=1)
    mask = (image - border.median(1).values[:, None, None]).abs().amax(0) > 0.2
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if len(rows) < 8 or len(columns) < 8:
        return None
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float()
    return F.interpolate(cut[None, None], (24, 24), mode="area")[0, 0]


@functools.cache
def templates() -> dict[str, Tensor]:
    """The silhouette of each of the seven shapes."""
    x, y = np.meshgrid(np.arange(64) - 31.5, np.arange(64) - 31.5)
    found = {}
    for name, distance in {**scenes.DISTANCE, "heart": heart_distance}.items():
        seen = silhouette(torch.from_numpy(distance(x, y, 17.0) < 0).float().expand(3, -1, -1))
        assert seen is not None
        found[name] = seen
    return found


def shape_of(image: Tensor) -> str:
    """The shape whose silhouette fits a picture (3, 64, 64) in [0, 1] best, or "nothing"."""
    seen = silhouette(image.cpu())
    if seen is None:
        return "nothing"
    return min(templates(), key=lambda name: (templates()[name] - seen).abs().mean().item())
