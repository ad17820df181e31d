"""What can exist in the small world: its attributes, and which of their combinations are held out.

The course needs images whose contents are known exactly. So a `Scene` is written down first, as plain
attributes; `scenes.py` renders it and `captions.py` says it in words. Nothing here is random.
"""

from dataclasses import dataclass, replace

COLOURS = {  # the colour of an object, sRGB: saturated, so that it stands out
    "red": (222, 40, 48),
    "orange": (250, 132, 26),
    "yellow": (252, 212, 36),
    "green": (34, 148, 70),
    "cyan": (24, 190, 206),
    "blue": (38, 84, 220),
    "purple": (126, 50, 176),
    "pink": (246, 112, 182),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES = {"small": (9.5, 10.5), "large": (14.0, 17.0)}  # the range of the radius, pixels
LARGEST_IN_PAIR = 14.6  # two large objects of this radius just fit side by side in 64 pixels
BACKGROUNDS = {  # the two ends of a gradient, sRGB: pale or dark, so that objects stand out
    "white": ((255, 255, 255), (232, 234, 240)),
    "gray": ((172, 174, 180), (136, 138, 146)),
    "black": ((52, 55, 68), (18, 19, 27)),
    "blue": ((204, 226, 250), (160, 196, 236)),
    "green": ((208, 236, 206), (166, 208, 168)),
    "cream": ((255, 242, 208), (242, 216, 166)),
}
CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATIONS = tuple(CONVERSE)

# Never in a training scene, so that a model's pictures of them show whether it composes or only remembers.
# None of them is among the first things that a newcomer would ask for.
HELD_OUT_PAIRS = frozenset({("cyan", "cross"), ("purple", "triangle"), ("orange", "ring"), ("pink", "square")})
HELD_OUT_RELATION = ("ring", "above", "triangle")  # and so no triangle below a ring either


@dataclass(frozen=True)
class Thing:
    """One object: what it is, and exactly where (its bounding square is centre ± radius)."""

    colour: str  # a key of COLOURS
    shape: str  # one of SHAPES
    size: str  # a key of SIZES
    x: float  # centre, pixels from the left edge
    y: float  # centre, pixels from the top edge
    radius: float  # half the width of the bounding square, pixels


@dataclass(frozen=True)
class Scene:
    """Everything there is to know about one image."""

    things: tuple[Thing, ...]  # one, or two: (subject, object) as in "subject above object"
    relation: str | None  # one of RELATIONS; None with one thing
    background: str  # a key of BACKGROUNDS
    tilt: tuple[float, float]  # the direction in which the background gets darker, each in [-1, 1]

    def turned(self) -> "Scene":
        """The same picture described the other way round: "a above b" is "b below a"."""
        if self.relation is None:
            return self
        return replace(self, things=self.things[::-1], relation=CONVERSE[self.relation])

    def canonical(self) -> "Scene":
        """The same picture described from left to right or from top to bottom: the relation is "left of" or "above"."""
        return self.turned() if self.relation in ("right of", "below") else self


def is_held_out(scene: Scene) -> bool:
    """Does the scene contain a held-out (colour, shape) pair or the held-out relation combination?"""
    if any((thing.colour, thing.shape) in HELD_OUT_PAIRS for thing in scene.things):
        return True
    scene = scene.canonical()
    return (scene.things[0].shape, scene.relation, scene.things[-1].shape) == HELD_OUT_RELATION


def swapped(scene: Scene) -> dict[str, Scene]:
    """Scenes of two things with one attribute exchanged between them: what a bag of words cannot tell apart.

    Returns {"colour" | "shape" | "size" | "position": scene}. An attribute that both things share is left out, as
    exchanging it changes nothing; a scene of one thing gives an empty result. "position" exchanges the things in the
    relation, but not their centres: use the result for captions and for judging, not for rendering.
    """
    if scene.relation is None:
        return {}
    a, b = scene.things
    result = {"position": replace(scene, things=(b, a))}
    for name in ("colour", "shape", "size"):
        of_a, of_b = getattr(a, name), getattr(b, name)
        if of_a != of_b:
            result[name] = replace(scene, things=(replace(a, **{name: of_b}), replace(b, **{name: of_a})))
    return result
