"""The heart that lesson 11 builds, for the lessons after it: a thing that the small world does not have."""

import numpy as np
from torch import Tensor

from tinyldm import to_unit
from tinyldm.data import scenes
from tinyldm.data.captions import SYNONYMS, random_wording
from tinyldm.data.world import Scene


def heart_distance(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
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
