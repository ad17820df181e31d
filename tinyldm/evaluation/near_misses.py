"""Images that nearly show a scene, and soft or noisy versions of real ones: training data that makes the judge strict.

A generated image may show a blob instead of a star, or an object of two colours. A judge trained on perfect scenes
alone would still give each of them some name; so it also sees such near misses, labelled "unclear". And it sees
blurred and noisy scenes, so that the softness of a decoder does not count as a failure.
"""

import numpy as np
import torch
from torch.nn import functional as F

from tinyldm.data import scenes
from tinyldm.data.world import COLOURS, SHAPES, Scene, Thing


def near_miss(rng: np.random.Generator, scene: Scene) -> tuple[np.ndarray, list[bool], list[bool]]:
    """Render the scene with some of its things made unclear.

    Returns the image (64, 64, 3) uint8 and, per thing, whether its colour and whether its shape is unclear.
    """
    image = scenes.ground([scene])
    bad_colours, bad_shapes = [], []
    for thing in scene.things:
        bad_colour, bad_shape = bool(rng.random() < 0.35), bool(rng.random() < 0.6)
        distance = _odd_shape(rng) if bad_shape else scenes.DISTANCE[thing.shape]
        colour = _two_colours(rng, thing) if bad_colour else None
        image = scenes.paint(image, [thing], distance, colour)
        bad_colours.append(bad_colour)
        bad_shapes.append(bad_shape)
    return scenes.rounded(image)[0], bad_colours, bad_shapes


def wrong_count(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """The background of the scene with nothing on it, or with three things: image (64, 64, 3) uint8."""
    image = scenes.ground([scene])
    if rng.random() < 0.5:
        return scenes.rounded(image)[0]
    corners = rng.permutation([(17, 17), (47, 17), (17, 47), (47, 47)])[:3]
    for x, y in corners + rng.uniform(-3, 3, (3, 2)):
        colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
        thing = Thing(colour, shape, "small", x, y, rng.uniform(9.5, 11))
        image = scenes.paint(image, [thing], scenes.DISTANCE[thing.shape])
    return scenes.rounded(image)[0]


def _odd_shape(rng: np.random.Generator):
    """The signed distance of something between two shapes, of a star grown to a pentagon, or of a lump."""
    kind = rng.integers(3)
    if kind == 0:
        return _blend(rng)
    if kind == 1:
        waist = rng.uniform(0.7, 0.86)  # 0.86 is a regular pentagon
        return lambda x, y, r: scenes.star_distance(x, y, r, waist)
    base = scenes.circle_distance if rng.random() < 0.5 else scenes.square_distance
    (a, b), (c, d) = rng.uniform(2.5, 4.5, 2), rng.uniform(0, 2 * np.pi, 2)
    height = rng.uniform(0.2, 0.3)
    return lambda x, y, r: base(x, y, 0.9 * r) + height * r * np.sin(a * x / r + c) * np.sin(b * y / r + d)


def _blend(rng: np.random.Generator):
    while True:
        one, other = rng.permutation(SHAPES)[:2]
        if {one, other} != {"circle", "ring"}:  # halfway between these is a circle
            break
    w = rng.uniform(0.4, 0.6)
    return lambda x, y, r: (1 - w) * scenes.DISTANCE[one](x, y, r) + w * scenes.DISTANCE[other](x, y, r)


def _two_colours(rng: np.random.Generator, thing: Thing) -> np.ndarray:
    """The thing's colour and another, side by side: (1, 64, 64, 3) float32."""
    other = str(rng.choice([name for name in COLOURS if name != thing.colour]))
    angle = rng.uniform(0, 2 * np.pi)
    pixel = np.arange(scenes.IMAGE_SIZE) + 0.5
    side = (pixel[None, :] - thing.x) * np.cos(angle) + (pixel[:, None] - thing.y) * np.sin(angle)
    share = np.clip(side / rng.uniform(1, 6) + 0.5, 0, 1)[..., None]
    mixed = np.array(COLOURS[thing.colour]) * (1 - share) + np.array(COLOURS[other]) * share
    return mixed[None].astype(np.float32)


def soften(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, tint and add noise to images (B, 3, H, W) in [0, 1], each differently, as a decoder may."""
    batch = image.shape[0]

    def uniform(*shape):
        return torch.rand(shape, generator=generator)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    sigma = 1.1 * uniform(batch, 1)  # pixels
    taps = torch.exp(-0.5 * (torch.arange(-2, 3) / sigma.clamp(min=0.05)) ** 2)
    taps = taps / taps.sum(1, keepdim=True)  # (B, 5)
    image = _filter(_filter(image, taps[:, None, None, :]), taps[:, None, :, None])
    tint = 1 + 0.025 * normal(batch, 3, 1, 1)
    waves = F.interpolate(normal(batch, 3, 16, 16), size=image.shape[-2:], mode="bilinear")
    grain = normal(*image.shape)
    strength = uniform(3, batch, 1, 1, 1)
    image = image * tint + 0.02 * normal(batch, 1, 1, 1)
    return (image + 0.04 * strength[0] * waves + 0.03 * strength[1] * grain).clamp(0, 1)


def _filter(image: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Convolve each image (B, 3, H, W) with one kernel of (B, 1, h, w)."""
    batch, channels, height, width = image.shape
    pad = (kernels.shape[-1] // 2,) * 2 + (kernels.shape[-2] // 2,) * 2
    padded = F.pad(image, pad, mode="replicate")
    one = padded.reshape(1, batch * channels, height + 2 * pad[2], width + 2 * pad[0])
    weight = kernels.repeat_interleave(channels, dim=0)
    return F.conv2d(one, weight, groups=batch * channels).reshape(image.shape)
