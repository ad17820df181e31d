"""What a model's captions can be about: the words that the live page offers, and its first captions.

A tokenizer that was made for one of the package's worlds has a token for each word of it. By that a world is
recognised, also of a model that a reader trained; a model that reads anything, such as Stable Diffusion, has none.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from tinyldm.data import captions, drawing_captions, drawings
from tinyldm.data.captions import BACKGROUND_SYNONYMS, BETWEEN, SYNONYMS, words_of
from tinyldm.data.world import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES
from tinyldm.formats.tokenizers import Tokenizer

MAX_TOKENS = 10_000  # a larger vocabulary was not made for one of these worlds


@dataclass(frozen=True)
class World:
    """For the page to offer. Captions and words are as a reader types them."""

    told: str = ""  # what the model was trained on
    words: dict[str, list[str]] | None = None  # kind of words -> words and phrases to insert into a caption
    known: list[str] | None = None  # every word that was seen in training; None: not known
    things: list[str] = field(default_factory=list)  # words of things, whose place in the picture can be asked for
    examples: tuple[str, ...] = ("",)  # captions; the first is drawn at first
    pair: tuple[str, str] = ("", "")  # two captions that differ in one word
    negative: tuple[str, str] = ("", "")  # a caption, and one to steer away from


def world_of(tokenizer: Tokenizer, names: tuple[str, ...] | None = None) -> World:
    """The world whose words all have a token; a bare one where there is none.

    names: of the drawings on which the model was trained, where they were not all.
    """
    if tokenizer.bpe.get_vocab_size() < MAX_TOKENS:
        if has_tokens_for(tokenizer, drawing_captions.vocabulary()):
            return of_drawings() if names is None else of_some_drawings(names)
        if has_tokens_for(tokenizer, captions.VOCABULARY):
            return of_scenes()
    return World()


def has_tokens_for(tokenizer: Tokenizer, words: Collection[str]) -> bool:
    """Is each of these words one token? CLIP's tokenizers cut at every digit, so that "3d" never is."""
    plain = [word for word in words if word.isascii() and word.isalpha()]
    return all(len(pieces) == 1 for pieces in tokenizer.numbers(plain))


def of_scenes() -> World:
    """The coloured shapes; of synonyms the usual word."""
    return World(
        told="It was trained on scenes with one or two things, in these words and a few synonyms, and knows nothing "
        "else.",
        words={
            "sizes": [SYNONYMS[name][0] for name in SIZES],
            "colours": [SYNONYMS[name][0] for name in COLOURS],
            "shapes": [SYNONYMS[name][0] for name in SHAPES],
            "places": [BETWEEN[name][0] for name in RELATIONS],
            "backgrounds": [f"on a {BACKGROUND_SYNONYMS[name][0]} background" for name in BACKGROUNDS],
        },
        known=list(captions.VOCABULARY),
        things=[word for name in SHAPES for word in SYNONYMS[name]],
        examples=(
            "a small red circle above a large blue square",
            "a large yellow star on a black background",
            "a green ring to the left of a purple cross",
            "a large pink triangle on a cream background",
        ),
        pair=("a small red circle above a large blue square", "a small green circle above a large blue square"),
        negative=("a green ring", "a green ring on a white background"),
    )


def of_drawings() -> World:
    """The drawings of named things, and the portraits."""
    names = drawings.names()
    return World(
        told="It was trained on drawings of these things, each in up to six styles, on plain backgrounds, and on "
        "portraits. It knows what they are called, and was never told where in a picture something is.",
        words={
            "things": list(names),
            "styles": [f"{style} style" for style in drawings.styles()],
            "backgrounds": [f"on a {ground} background" for ground in drawings.GROUNDS],
        },
        things=sorted({word for name in names for word in words_of(name)[-1:] if len(word) > 2}),
        examples=(
            "a panda",
            "a sunflower",
            "a flat rocket",
            "an octopus on a blue background",
            "a smiling person with short red hair and glasses, toon style",
        ),
        pair=("a red apple", "a green apple"),
        negative=("an owl", "an owl, pixel style"),
    )


def of_some_drawings(names: tuple[str, ...]) -> World:
    """The drawings of the chosen things, and the styles that these have."""
    things = [name for name in names if name != "portrait"]
    shown = drawings.for_training(names)
    styles = [style for style in drawings.styles() if any(drawing.style == style for drawing in shown)]
    kinds = (
        f"drawings of these {len(things)} things, each in up to six styles" if things else "",
        "portraits" if "portrait" in names else "",
    )
    first = drawing_captions.with_article((things or ["person with short hair"])[0])
    return replace(
        of_drawings(),
        told=f"It was trained on {' and '.join(filter(None, kinds))}, on plain backgrounds. It knows what "
        "they are called, and was never told where in a picture something is.",
        words={
            "things": things,
            "styles": [f"{style} style" for style in styles],
            "backgrounds": [f"on a {ground} background" for ground in drawings.GROUNDS],
        },
        known=sorted(drawing_captions.words_about(names)),
        things=sorted({word for name in things for word in words_of(name)[-1:] if len(word) > 2}),
        examples=(
            first,
            *(drawing_captions.with_article(name) for name in things[1:4]),
            f"{first} on a blue background",
        ),
        pair=(f"{first}, {styles[0]} style", f"{first}, {styles[-1]} style"),
        negative=(first, f"{first}, {styles[0]} style"),
    )
