"""The procedural data set: a random scene for each (seed, index), rendered and captioned.

Any index is made without making the ones before it: the random numbers come from a counter-based generator
(Philox) whose key is (seed, index). Shapes are rendered from signed distances: a pixel whose centre is
d pixels outside an edge is covered by clip(1/2 - d, 0, 1), which is the anti-aliasing. Only + - × ÷ √
are used, so that every machine renders the same bytes.
"""

import math

import numpy as np
import torch

from tinyldm.data.captions import Caption, random_wording
from tinyldm.data.pixels import channels_first, to_signed_float
from tinyldm.data.world import (
    BACKGROUNDS,
    COLOURS,
    LARGEST_IN_PAIR,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    is_held_out,
)

FRESH = 1_000_000  # worlds with this seed and above are for measuring only; training uses smaller seeds
IMAGE_SIZE = 64
MARGIN = 1.5  # pixels between an object and the edge of the image
GAP = 2.5  # pixels between two objects, at least


# ---------------------------------------------------------------- attributes


def scene_at(seed: int, index: int, held_out: bool = False) -> Scene:
    """The scene number `index` of the world `seed`; of the training split, or of the held-out split."""
    return _random_scene(_generator(seed, index), held_out)


def _generator(seed: int, index: int) -> np.random.Generator:
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative, got seed {seed} and index {index}")
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


def _random_scene(rng: np.random.Generator, held_out: bool) -> Scene:
    """Random scenes until one is of the wanted split."""
    while True:
        u = rng.random(20)
        scene = _one_thing(u) if u[0] < 0.5 else _two_things(u)
        if is_held_out(scene) == held_out:
            return scene


def _pick(options, u: float):
    return options[int(u * len(options))]


def _between(low: float, high: float, u: float) -> float:
    return float(low + (high - low) * u)


def _one_thing(u: np.ndarray) -> Scene:
    size = _pick(tuple(SIZES), u[3])
    radius = _between(*SIZES[size], u[4])
    low, high = MARGIN + radius, IMAGE_SIZE - MARGIN - radius
    thing = Thing(
        _pick(tuple(COLOURS), u[1]),
        _pick(SHAPES, u[2]),
        size,
        _between(low, high, u[5]),
        _between(low, high, u[6]),
        radius,
    )
    return Scene((thing,), None, _pick(tuple(BACKGROUNDS), u[17]), _tilt(u))


def _two_things(u: np.ndarray) -> Scene:
    """Two things of different colours, side by side or one above the other, apart and inside the image."""
    first, second = _pick(tuple(COLOURS), u[1]), _pick(tuple(COLOURS), u[7])
    if first == second:  # a uniform choice among the seven others
        others = [name for name in COLOURS if name != first]
        second = _pick(others, u[7] * len(COLOURS) % 1)
    sizes = [_pick(tuple(SIZES), u[3]), _pick(tuple(SIZES), u[9])]
    radii = [min(_between(*SIZES[size], v), LARGEST_IN_PAIR) for size, v in zip(sizes, (u[4], u[10]))]
    relation = _pick(RELATIONS, u[11])
    reverse = relation in ("right of", "below")
    along, across = _place(radii[::-1] if reverse else radii, u[12:16])
    if reverse:
        along, across = along[::-1], across[::-1]
    xs, ys = (along, across) if relation in ("left of", "right of") else (across, along)
    shapes = _pick(SHAPES, u[2]), _pick(SHAPES, u[8])
    things = tuple(map(Thing, (first, second), shapes, sizes, xs, ys, radii))
    return Scene(things, relation, _pick(tuple(BACKGROUNDS), u[17]), _tilt(u))


def _place(radii: list[float], u: np.ndarray) -> tuple[list[float], list[float]]:
    """Centres of two things, the first one nearer to 0: (along the axis of the relation, across it)."""
    slack = IMAGE_SIZE - 2 * MARGIN - GAP - 2 * sum(radii)
    before, after = sorted(float(v) * slack for v in u[:2])
    along = [MARGIN + radii[0] + before, MARGIN + 2 * radii[0] + GAP + radii[1] + after]
    bounds = [(MARGIN + r, IMAGE_SIZE - MARGIN - r) for r in radii]
    start = _between(*bounds[0], u[2])
    offset = 0.6 * (float(u[3]) - 0.5) * (along[1] - along[0])  # mostly along the axis: no diagonals
    return along, [start, min(max(start + offset, bounds[1][0]), bounds[1][1])]


def _tilt(u: np.ndarray) -> tuple[float, float]:
    return _between(-1, 1, u[18]), _between(-1, 1, u[19])


# ---------------------------------------------------------------- pixels


def circle_distance(x, y, r):
    """x² + y² = r²."""
    return np.sqrt(x * x + y * y) - r


def square_distance(x, y, r):
    """Half a side is 0.88 r."""
    return np.maximum(np.abs(x), np.abs(y)) - 0.88 * r


def triangle_distance(x, y, r):
    """Pointing up: half the base r, half the height 0.9 r; the largest of three half-planes."""
    length = math.sqrt(1.8**2 + 1)
    side = (1.8 * np.abs(x) - (y + 0.9 * r)) / length
    return np.maximum(side, y - 0.9 * r)


def star_distance(x, y, r, waist=0.45):
    """Mirrors fold the five arms onto half of the upper one; its edge is then one half-plane."""
    outer, inner = 1.05 * r, waist * r
    cos, sin = 0.8090169943749475, 0.5877852522924731  # of 36°
    x, y = np.abs(x), 0.095 * outer - y  # y up; the star's box is centred, not its middle
    for normal_x in (cos, -cos):
        over = 2 * np.maximum(normal_x * x - sin * y, 0)
        x, y = x - over * normal_x, y + over * sin
    edge_x, edge_y = outer - inner * cos, inner * sin  # the normal of the edge from the tip inwards
    length = np.sqrt(edge_x**2 + edge_y**2)
    return (np.abs(x) * edge_x + (y - outer) * edge_y) / length


def cross_distance(x, y, r):
    """Two bars of half width 0.34 r."""
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - r, np.minimum(x, y) - 0.34 * r)


def ring_distance(x, y, r):
    """From 0.52 r to r."""
    return np.abs(np.sqrt(x * x + y * y) - 0.76 * r) - 0.24 * r


# Signed distances from the edge, pixels, negative inside; all fill the box from -r to r.
DISTANCE = dict(
    zip(SHAPES, (circle_distance, square_distance, triangle_distance, star_distance, cross_distance, ring_distance))
)
# Pixel centres: column (1, 1, 64) and row (1, 64, 1).
_X = (np.arange(IMAGE_SIZE, dtype=np.float32) + np.float32(0.5))[None, None, :]
_Y = _X.transpose(0, 2, 1)


def render(scenes: list[Scene]) -> np.ndarray:
    """Render scenes: images (B, 64, 64, 3) uint8, sRGB."""
    image = ground(scenes)  # (B, 64, 64, 3) float32
    for place in (0, 1):
        for shape, distance in DISTANCE.items():
            which = [
                i for i, scene in enumerate(scenes) if place < len(scene.things) and scene.things[place].shape == shape
            ]
            if which:
                image[which] = paint(image[which], [scenes[i].things[place] for i in which], distance)
    return rounded(image)


def _column(values) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None, None]  # (B,) -> (B, 1, 1)


def ground(scenes: list[Scene]) -> np.ndarray:
    """A straight gradient between the two colours of the background, in the direction of the tilt."""
    ends = np.array([BACKGROUNDS[scene.background] for scene in scenes], dtype=np.float32)  # (B, 2, 3)
    tilt_x, tilt_y = (_column([scene.tilt[axis] for scene in scenes]) for axis in (0, 1))
    centre = np.float32(IMAGE_SIZE / 2)
    shade = 0.5 + (tilt_x * (_X - centre) + tilt_y * (_Y - centre)) / np.float32(2 * IMAGE_SIZE)
    light, dark = ends[:, 0, None, None, :], ends[:, 1, None, None, :]
    return light + (dark - light) * shade[..., None]


def paint(image: np.ndarray, things: list[Thing], distance, colour: np.ndarray | None = None) -> np.ndarray:
    """Lay one thing of this shape over each image (B, 64, 64, 3), a little lighter towards its top.

    `colour` (B, 1 or 64, 1 or 64, 3) replaces the colours of the things.
    """
    x, y = (_X - _column([thing.x for thing in things])), (_Y - _column([thing.y for thing in things]))
    radius = _column([thing.radius for thing in things])
    cover = np.clip(0.5 - distance(x, y, radius), 0, 1)[..., None]  # (B, 64, 64, 1)
    if colour is None:
        colour = np.array([COLOURS[thing.colour] for thing in things], dtype=np.float32)[:, None, None, :]
    light = (np.clip(-y / radius, -1, 1) * np.float32(0.1))[..., None]  # (B, 64, 1, 1)
    goal = np.where(light > 0, np.float32(255), np.float32(0))
    shaded = colour + (goal - colour) * np.abs(light)
    return image + (shaded - image) * cover


def rounded(image: np.ndarray) -> np.ndarray:
    """An image in [0, 255] with whole numbers: uint8."""
    return (image + np.float32(0.5)).astype(np.uint8)


# ---------------------------------------------------------------- batches


def batch(seed: int, indices, held_out: bool = False) -> tuple[np.ndarray, list[Caption], list[Scene]]:
    """The images (B, 64, 64, 3) uint8, captions and scenes of these indices.

    The caption's random numbers follow the scene's in the same stream, so the image and caption of an index
    never depend on which other indices are asked for.
    """
    scenes, captions = [], []
    for index in indices:
        rng = _generator(seed, int(index))
        scenes.append(_random_scene(rng, held_out))
        captions.append(random_wording(rng).say(scenes[-1]))
    return render(scenes), captions, scenes


class Scenes:
    """`length` scenes of the world `seed` as a data set."""

    def __init__(self, length: int, seed: int = 0, held_out: bool = False):
        self.length, self.seed, self.held_out = length, seed, held_out

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str, Scene]:
        """The image (3, 64, 64) float32 in [-1, 1], its caption, and its scene."""
        if not 0 <= index < self.length:
            raise IndexError(f"index {index} of a data set of {self.length} scenes")
        images, captions, scenes = batch(self.seed, [index], self.held_out)
        return to_tensor(images)[0], captions[0].text, scenes[0]


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Images (B, H, W, 3) uint8 as training sees them: (B, 3, H, W) float32 in [-1, 1]."""
    return to_signed_float(channels_first(images))
