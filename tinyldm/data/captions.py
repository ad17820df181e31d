"""A scene in words: several wordings of each scene, and exactly what each of them states.

A caption is *made from* attributes, so nothing ever has to be parsed. A wording may leave attributes out ("a
red circle" states no size); `Caption.stated` lists what was stated, so that a generated image is judged on
what was asked for and on nothing else.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tinyldm.data.world import Scene, Thing, swapped

# The words for the world's names in captions; the first is the most frequent.
SYNONYMS = {
    "small": ("small", "tiny", "little"),
    "large": ("large", "big"),
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus"),
    "ring": ("ring",),
}
BACKGROUND_SYNONYMS = {
    "white": ("white",),
    "gray": ("gray", "grey"),
    "black": ("black", "dark"),
    "blue": ("blue", "light blue", "pale blue"),
    "green": ("green", "light green", "pale green"),
    "cream": ("cream", "beige"),
}
BETWEEN = {  # "a … b"
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath", "underneath"),
}
AFTER = {  # "b with a …"
    "left of": "to its left",
    "right of": "to its right",
    "above": "above it",
    "below": "below it",
}
OPENINGS = ("", "a picture of ", "an image of ", "a drawing of ")
GROUNDS = ("", " on {a}{ground} background", ", {ground} background", " on {ground}", " against {a}{ground} background")


@dataclass(frozen=True)
class Caption:
    """A caption and what it states.

    `stated` holds some of "colour 1", "shape 1", "size 1", "colour 2", "shape 2", "size 2" (things in the order
    of the scene), "relation", "background". The number of things is always stated.
    """

    text: str
    stated: frozenset[str]
    wording: "Wording"  # says other scenes in the same way, as `swapped_captions` needs


@dataclass(frozen=True)
class Wording:
    """A way of wording, independent of the scene: two scenes in the same wording differ only where the scenes do."""

    opening: str  # one of OPENINGS
    article: str  # "a", "the" or "" ("red circle above blue square")
    says_size: tuple[bool, bool]  # of the first thing, of the second
    says_colour: bool  # a scene of one thing may leave it out ("a star")
    order: str  # "between": a above b; "after": b with a above it; "and": a and b
    ground: str  # one of GROUNDS; "" does not name the background
    synonyms: tuple[float, ...]  # eight random numbers in [0, 1) that choose among synonyms

    def say(self, scene: Scene) -> Caption:
        """Say the scene in this wording."""
        phrases = [self._thing(thing, place, len(scene.things)) for place, thing in enumerate(scene.things)]
        text, stated = phrases[0]
        if len(phrases) == 2 and scene.relation is not None:
            text = self._pair(text, phrases[1][0], scene.relation)
            stated = stated | phrases[1][1] | ({"relation"} if self.order != "and" else set())
        if self.ground:
            name = _choose(BACKGROUND_SYNONYMS[scene.background], self.synonyms[7])
            text += self.ground.format(a="a " if self.article else "", ground=name)
            stated = stated | {"background"}
        return Caption(self.opening + text, frozenset(stated), self)

    def _thing(self, thing: Thing, place: int, count: int) -> tuple[str, set[str]]:
        names = {"shape": thing.shape}
        if self.says_colour or count == 2:
            names = {"colour": thing.colour, **names}
        if self.says_size[place]:
            names = {"size": thing.size, **names}
        chance = dict(zip(("size", "colour", "shape"), self.synonyms[3 * place : 3 * place + 3]))
        words = " ".join(_choose(SYNONYMS[name], chance[kind]) for kind, name in names.items())
        return _with_article(self.article, words), {f"{kind} {place + 1}" for kind in names}

    def _pair(self, a: str, b: str, relation: str) -> str:
        if self.order == "between":
            return f"{a} {_choose(BETWEEN[relation], self.synonyms[6])} {b}"
        if self.order == "after":
            return f"{b} with {a} {AFTER[relation]}"
        return f"{a} and {b}"


def random_wording(rng: np.random.Generator) -> Wording:
    """A random wording; takes exactly fifteen numbers from `rng`."""
    u = rng.random(15)
    return Wording(
        opening=OPENINGS[0] if u[0] < 0.85 else OPENINGS[1 + int((u[0] - 0.85) / 0.15 * 3)],
        article="a" if u[1] < 0.7 else "" if u[1] < 0.95 else "the",
        says_size=(bool(u[2] < 0.65), bool(u[2] < 0.6 or u[3] < 0.1)),  # mostly both or neither
        says_colour=bool(u[4] < 0.95),
        order="between" if u[5] < 0.8 else "after" if u[5] < 0.92 else "and",
        ground="" if u[6] < 0.45 else _choose(GROUNDS[1:], (u[6] - 0.45) / 0.55),
        synonyms=tuple(float(v) for v in u[7:15]),
    )


def meaning(scene: Scene, stated: frozenset[str]) -> tuple:
    """What a caption that states `stated` of the scene asks for: equal for captions that mean the same."""
    things = []
    for place, thing in enumerate(scene.things, start=1):
        kinds = [kind for kind in ("colour", "shape", "size") if f"{kind} {place}" in stated]
        things.append(tuple((kind, getattr(thing, kind)) for kind in kinds))
    relation = scene.relation if "relation" in stated else None
    if relation in ("right of", "below"):
        things, relation = things[::-1], scene.turned().relation
    background = scene.background if "background" in stated else None
    if relation is None:  # "a and b" is "b and a"
        return frozenset(Counter(things).items()), relation, background
    return tuple(things), relation, background


def swapped_captions(scene: Scene, wording: Wording) -> dict[str, Caption]:
    """The captions of `world.swapped(scene)` in the same wording, if they mean something else.

    Returns {"colour" | "shape" | "size" | "position": Caption}: the test of binding, and hard negatives for training.
    """
    caption = wording.say(scene)
    others = {name: (other, wording.say(other)) for name, other in swapped(scene).items()}
    return {
        name: swapped_caption
        for name, (other, swapped_caption) in others.items()
        if meaning(other, swapped_caption.stated) != meaning(scene, caption.stated)
    }


def _choose(options: tuple[str, ...], u: float) -> str:
    """The first option for u < 0.6, else one of the others; u in [0, 1)."""
    if u < 0.6 or len(options) == 1:
        return options[0]
    return options[1 + int((u - 0.6) / 0.4 * (len(options) - 1))]


def _with_article(article: str, words: str) -> str:
    if article == "a" and words[0] in "aeiou":
        return "an " + words
    return f"{article} {words}" if article else words


def words_of(text: str) -> list[str]:
    """The words and numbers of a text in any language, in lower case, without punctuation."""
    text = unicodedata.normalize("NFC", text.lower())
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).split()  # letters, marks, numbers


def _vocabulary() -> tuple[str, ...]:
    phrases = [*OPENINGS, *AFTER.values(), "a an the and with"]
    phrases += [ground.format(a="a ", ground="") for ground in GROUNDS]
    for table in (SYNONYMS, BACKGROUND_SYNONYMS, BETWEEN):
        phrases += [phrase for options in table.values() for phrase in options]
    return tuple(sorted({word for phrase in phrases for word in words_of(phrase)}))


VOCABULARY = _vocabulary()  # every word of the world's captions, sorted


def unknown_words(text: str, known: Collection[str] = VOCABULARY) -> list[str]:
    """The words of `text` that are not among the known ones, by default those of the world; in order, each once."""
    return [word for word in dict.fromkeys(words_of(text)) if word not in known]
