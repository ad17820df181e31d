"""A drawing in words: several wordings of its name, its keywords, its style, its attributes and its ground.

A caption says nothing that is wrong, and not everything: what it leaves out can be anything. The one exception is the
ground, which is white where nothing is said.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache

import numpy as np

from tinyldm.data.captions import words_of
from tinyldm.data.drawings import GROUNDS, Drawing, index, names, portraits, styles

OPENINGS = ("a picture of ", "a drawing of ", "an image of ")
STYLE_AFTER = ("{what}, {style} style", "{what} in {style} style", "{what}, {style}")
GROUND_AFTER = (" on a {ground} background", ", {ground} background", " on {ground}")
NO_ARTICLE = (
    "badminton",
    "bacon",
    "bread",
    "lacrosse",
    "lightning",
    "money",
    "people",
    "rain",
    "rice",
    "sushi",
    "tennis",
    "wood",
)
SPOKEN_AS_VOWEL, SPOKEN_AS_CONSONANT = ("hour", "x-ray"), ("euro", "one-", "unicorn")
PEOPLE = "with and hair clothes skin person"  # words of every portrait
CHANCE_OF_STYLE, CHANCE_OF_KEYWORDS = 0.8, 0.15


def caption(drawing: Drawing, ground: str, rng: np.random.Generator) -> str:
    """One of many wordings of a drawing on a ground. ground: a key of `drawings.GROUNDS`."""
    what = person(drawing, rng) if drawing.attributes else thing(drawing, rng)
    if rng.random() < CHANCE_OF_STYLE:
        what = in_style(what, drawing.style, rng)
    if rng.random() < 0.1:
        what = OPENINGS[rng.integers(len(OPENINGS))] + what
    if ground != "white" or rng.random() < 0.1:
        what += GROUND_AFTER[rng.integers(len(GROUND_AFTER))].format(ground=ground)
    return what


def thing(drawing: Drawing, rng: np.random.Generator) -> str:
    """ "a panda", "panda", or two or three of its keywords: "face, animal"."""
    if len(drawing.keywords) >= 2 and rng.random() < CHANCE_OF_KEYWORDS:
        count = min(len(drawing.keywords), int(rng.integers(2, 4)))
        return ", ".join(rng.choice(drawing.keywords, count, replace=False))
    return with_article(drawing.name) if rng.random() < 0.6 else drawing.name


def in_style(what: str, style: str, rng: np.random.Generator) -> str:
    """Add the style: "a flat panda", "a panda in flat style", …"""
    article, _, rest = what.partition(" ")
    if article in ("a", "an") and rng.random() < 0.5:
        return f"{article_of(style)} {style} {rest}"
    return STYLE_AFTER[rng.integers(len(STYLE_AFTER))].format(what=what, style=style)


def with_article(what: str) -> str:
    """ "a panda", "an owl", "grapes"."""
    last = what.split()[-1]
    if last in NO_ARTICLE or last.endswith("s") and not last.endswith(("ss", "us")):
        return what
    return f"{article_of(what)} {what}"


def article_of(what: str) -> str:
    """ "a" or "an", told from the first letter, but for a few words."""
    vowel = what[0] in "aeiouAEIO" and not what.startswith(SPOKEN_AS_CONSONANT) or what.startswith(SPOKEN_AS_VOWEL)
    return "an" if vowel else "a"


def person(portrait: Drawing, rng: np.random.Generator) -> str:
    """ "a sad person with short red hair, a beard and a blue shirt": most of the attributes, in a fixed order."""
    has = portrait.attributes
    said = [key for key in has if rng.random() < 0.8] or ["hair"]
    who = "person"
    if "skin" in said:
        who = f"person with {has['skin']} skin"
    if "mouth" in said:
        who = f"{has['mouth']} {who}"
    parts = [hair(has, said)] if "hair" in said or "hair colour" in said else []
    parts += [has[key] for key in ("glasses", "beard") if key in said and not has[key].startswith("no ")]
    parts += [
        has[key] for key in ("glasses", "beard") if key in said and has[key].startswith("no ") and rng.random() < 0.3
    ]
    parts += [f"{has['clothes']} clothes"] if "clothes" in said else []
    joined = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
    link = " and " if "skin" in said and len(parts) == 1 else ", " if "skin" in said else " with "
    return with_article(who) + (link + joined if joined else "")


def hair(has: Mapping[str, str], said: Sequence[str]) -> str:
    """ "short red hair", "short hair", "red hair", "no hair"."""
    words = [has[key] for key in ("hair", "hair colour") if key in said and key in has]
    return " ".join([*words, "hair"])


def words_about(chosen: Collection[str]) -> frozenset[str]:
    """The words of `vocabulary` that the captions of some names are made of ("portrait" is one of the names)."""
    patterns = [pattern.format(what="", style="", ground="") for pattern in (*STYLE_AFTER, *GROUND_AFTER)]
    phrases = [*styles(), *OPENINGS, *patterns, *GROUNDS, *chosen]
    for entry in index()["names"]:
        if entry["name"] in chosen:
            phrases += [with_article(entry["name"]), *entry["keywords"]]
    if "portrait" in chosen:
        phrases += [PEOPLE, *(value for portrait in portraits() for value in portrait.attributes.values())]
    return frozenset({word for phrase in phrases for word in words_of(phrase)} & set(vocabulary()))


@cache
def vocabulary() -> tuple[str, ...]:
    """The words of all captions that get a token of their own: those of names, styles, attributes and wordings.

    Of the keywords, those that at least three things have; the others are spelled.
    """
    phrases = [*names(), *styles(), *OPENINGS, *STYLE_AFTER, *GROUND_AFTER, *GROUNDS, PEOPLE]
    phrases += [value for portrait in portraits() for value in portrait.attributes.values()]
    counts: dict[str, int] = {}
    for entry in index()["names"]:
        for word in {word for keyword in entry["keywords"] for word in words_of(keyword)}:
            counts[word] = counts.get(word, 0) + 1
    words = {word for phrase in phrases for word in words_of(phrase.replace("{", "").replace("}", ""))}
    return tuple(sorted(words | {word for word, count in counts.items() if count >= 3}))
