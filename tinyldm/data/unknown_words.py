"""Words of a caption that a model has never seen, and known words that may be meant instead.

scenes      "a red box"     box      did you mean square?
drawings    "a kitten"      kitten   did you mean cat or cat face?
            "a penguinn"     penguinn  did you mean penguin?
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from tinyldm.data import captions, drawing_captions
from tinyldm.data.drawings import index

MAX_SUGGESTIONS = 2
MAX_SHORT = 3  # letters: every other word has one of these spellings
# What people say -> what the captions of scenes say.
FOR_SCENES = {
    "box": "square",
    "block": "square",
    "rectangle": "square",
    "ball": "circle",
    "dot": "circle",
    "round": "circle",
    "disk": "circle",
    "sphere": "circle",
    "donut": "ring",
    "doughnut": "ring",
    "hoop": "ring",
    "x": "cross",
    "pyramid": "triangle",
    "huge": "large",
    "giant": "large",
    "magenta": "pink",
    "rose": "pink",
    "teal": "cyan",
    "aqua": "cyan",
    "lime": "green",
    "navy": "blue",
    "gold": "yellow",
    "golden": "yellow",
    "crimson": "red",
    "scarlet": "red",
    "brown": "orange",
    "beside": "right of",
    "atop": "above",
}
# The same for drawings, where the keywords of the things do not say it.
FOR_DRAWINGS = {"photo": "picture", "sofa": "couch"}


@dataclass(frozen=True)
class Words:
    """The words of a model's training captions, and others whose meaning is near to one of them."""

    known: frozenset[str]
    near: Mapping[str, tuple[str, ...]]

    def suggestions(self, word: str) -> tuple[str, ...]:
        """Known words that may be meant by an unknown one: first by meaning, then by spelling; perhaps none."""
        if word in self.near:
            return self.near[word][:MAX_SUGGESTIONS]
        if len(word) <= MAX_SHORT:
            return ()
        alike = get_close_matches(word, sorted(self.known | self.near.keys()), n=1, cutoff=0.8)
        return self.near.get(alike[0], (alike[0],))[:MAX_SUGGESTIONS] if alike else ()

    def without_unknown(self, text: str) -> str:
        """A text without its unknown words. What is left keeps its order; a text of known words stays as it is."""
        if self.knows(text):
            return text
        kept = re.sub(r"[^\s,.;:!?]+", lambda part: part[0] if self.knows(part[0]) else "", text)
        return re.sub(r"\s*,[\s,]*", ", ", " ".join(kept.split())).strip(", ")

    def knows(self, text: str) -> bool:
        """Is every word of a text known?"""
        return not captions.unknown_words(text, self.known)

    def in_words(self, text: str) -> str:
        """The unknown words of `text` and their suggestions as one phrase; "" where all words are known."""
        said = []
        for word in captions.unknown_words(text, self.known):
            meant = " or ".join(map(repr, self.suggestions(word)))
            said.append(f"{word!r} (did you mean {meant}?)" if meant else repr(word))
        return ", ".join(said)


@cache
def of_scenes() -> Words:
    """The words of the shapes' captions."""
    return Words(frozenset(captions.VOCABULARY), {word: (meant,) for word, meant in FOR_SCENES.items()})


@cache
def of_drawings(chosen: tuple[str, ...] | None = None) -> Words:
    """The words of the drawings' captions. A keyword that only one or two things have suggests their names.

    chosen: the names on which a model was trained; None: all.
    """
    known = frozenset(drawing_captions.vocabulary()) if chosen is None else drawing_captions.words_about(chosen)
    near: dict[str, list[str]] = {}
    for entry in index()["names"]:
        for keyword in entry["keywords"] if chosen is None or entry["name"] in chosen else ():
            if keyword not in known and " " not in keyword:
                near.setdefault(keyword, []).append(entry["name"])
    shortest_first = {word: tuple(sorted(names, key=lambda name: (len(name), name))) for word, names in near.items()}
    return Words(known, shortest_first | {word: (meant,) for word, meant in FOR_DRAWINGS.items()})
