"""People in six styles, composed from attributes that are known exactly.

The attributes exist in several styles: hair and its colour, skin, glasses, beard, mouth, clothes. So a model can learn
what they are apart from the style, and put them together in ways that it has never seen: HELD_OUT of the combinations
(hair, its colour, glasses) are in the test pictures only.
"""

import io
import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image
from sheets import SIDE, Style, fitted

VERSION = "9.4.3"
TRAINING, TEST = 480, 60  # pictures a style
HELD_OUT = 60  # combinations of hair, its colour and glasses

STYLES = (
    Style("adventurer", "@dicebear/adventurer", "Adventurer by Lisa Wischofsky, remixed by DiceBear", "CC-BY-4.0",
          "figma.com/community/file/1184595184137881796"),
    Style("bigsmile", "@dicebear/big-smile", "Custom Avatar by Ashley Seo, remixed by DiceBear", "CC-BY-4.0",
          "figma.com/community/file/881358461963645496"),
    Style("personas", "@dicebear/personas", "Personas by Draftbit, remixed by DiceBear", "CC-BY-4.0",
          "personas.draftbit.com"),
    Style("peeps", "@dicebear/open-peeps", "Open Peeps by Pablo Stanley, remixed by DiceBear", "CC0-1.0",
          "openpeeps.com"),
    Style("pixel", "@dicebear/pixel-art", "Pixel Art by DiceBear", "CC0-1.0",
          "figma.com/community/file/1198754108850888330"),
    Style("toon", "@dicebear/toon-head", "ToonHead by Johan Melin, remixed by DiceBear", "CC-BY-4.0",
          "figma.com/community/file/1589627891082866389"),
)  # fmt: skip

# Attribute -> its values, as captions call them.
HAIR_COLOURS = {"black": "1c1a1a", "brown": "6b4226", "blond": "ecc45c", "red": "c8421c", "grey": "b4b4b8",
                "blue": "2f6fe0", "green": "3aa655", "pink": "f06fae"}  # fmt: skip
SKINS = {"light": "f6d7bd", "tan": "d39b6a", "dark": "7d4a2c"}
CLOTHES_COLOURS = {"red": "d62828", "blue": "2f5fd0", "green": "2f9e44", "yellow": "f4c430", "purple": "7b3fb8",
                   "black": "2a2a2e", "white": "f4f4f2"}  # fmt: skip

# Attribute's value -> the options of each style that draw it; a style without an entry cannot.
HAIR = {
    "short": {
        "adventurer": {"hair": ["short01", "short04", "short07", "short11", "short16"]},
        "bigsmile": {"hair": ["shortHair"]},
        "personas": {"hair": ["shortCombover", "fade", "buzzcut"]},
        "peeps": {"head": ["short1", "short2", "short3", "short4", "short5"]},
        "pixel": {"hair": ["short01", "short03", "short05", "short08", "short12"]},
        "toon": {"hair": ["sideComed", "undercut"], "rearHairProbability": [0]},
    },
    "long": {
        "adventurer": {"hair": ["long01", "long07", "long16", "long19", "long24"]},
        "bigsmile": {"hair": ["straightHair"]},
        "personas": {"hair": ["long", "extraLong"]},
        "peeps": {"head": ["long", "longBangs", "mediumStraight"]},
        "pixel": {"hair": ["long01", "long04", "long08", "long12"]},
        "toon": {"hair": ["sideComed"], "rearHair": ["longStraight", "longWavy"], "rearHairProbability": [100]},
    },
    "curly": {
        "bigsmile": {"hair": ["curlyShortHair", "curlyBob"]},
        "personas": {"hair": ["curly", "curlyHighTop"]},
        "peeps": {"head": ["afro", "longCurly", "longAfro"]},
    },
    "bun": {
        "bigsmile": {"hair": ["bunHair"]},
        "personas": {"hair": ["straightBun", "bunUndercut"]},
        "peeps": {"head": ["bun", "bun2"]},
        "toon": {"hair": ["bun"], "rearHairProbability": [0]},
    },
    "spiky": {
        "bigsmile": {"hair": ["mohawk"]},
        "personas": {"hair": ["mohawk"]},
        "peeps": {"head": ["mohawk", "mohawk2"]},
        "toon": {"hair": ["spiky"], "rearHairProbability": [0]},
    },
    "no": {
        "adventurer": {"hairProbability": [0]},
        "personas": {"hair": ["bald"]},
        "peeps": {"head": ["noHair1", "noHair2"]},
        "pixel": {"hairProbability": [0]},
        "toon": {"hairProbability": [0], "rearHairProbability": [0]},
    },
}
GLASSES = {
    "no glasses": {
        "adventurer": {"glassesProbability": [0]},
        "bigsmile": {"accessoriesProbability": [0]},
        "personas": {"eyes": ["open", "happy"]},
        "peeps": {"accessoriesProbability": [0]},
        "pixel": {"glassesProbability": [0]},
        "toon": {},
    },
    "glasses": {
        "adventurer": {"glassesProbability": [100]},
        "bigsmile": {"accessories": ["glasses"], "accessoriesProbability": [100]},
        "personas": {"eyes": ["glasses"]},
        "peeps": {"accessories": ["glasses", "glasses2", "glasses3"], "accessoriesProbability": [100]},
        "pixel": {"glasses": ["light01", "light03", "light05"], "glassesProbability": [100]},
    },
    "sunglasses": {
        "bigsmile": {"accessories": ["sunglasses"], "accessoriesProbability": [100]},
        "personas": {"eyes": ["sunglasses"]},
        "peeps": {"accessories": ["sunglasses", "sunglasses2"], "accessoriesProbability": [100]},
        "pixel": {"glasses": ["dark01", "dark03", "dark05"], "glassesProbability": [100]},
    },
}
BEARD = {
    "no beard": {
        "adventurer": {"featuresProbability": [0]},
        "bigsmile": {},
        "personas": {"facialHairProbability": [0]},
        "peeps": {"facialHairProbability": [0]},
        "pixel": {"beardProbability": [0]},
        "toon": {"beardProbability": [0]},
    },
    "a beard": {
        "personas": {"facialHair": ["beardMustache", "pyramid"], "facialHairProbability": [100]},
        "peeps": {"facialHair": ["full", "full2", "full3"], "facialHairProbability": [100]},
        "pixel": {"beardProbability": [100]},
        "toon": {"beard": ["fullBeard", "longBeard"], "beardProbability": [100]},
    },
    "a moustache": {
        "adventurer": {"features": ["mustache"], "featuresProbability": [100]},
        "personas": {"facialHair": ["walrus"], "facialHairProbability": [100]},
        "peeps": {"facialHair": ["moustache1", "moustache4", "moustache7"], "facialHairProbability": [100]},
        "toon": {"beard": ["moustacheTwirl"], "beardProbability": [100]},
    },
}
MOUTH = {
    "smiling": {
        "adventurer": {"mouth": ["variant22", "variant23", "variant26", "variant27"]},
        "bigsmile": {"mouth": ["teethSmile", "gapSmile"], "eyes": ["cheery", "normal"]},
        "personas": {"mouth": ["smile", "bigSmile"]},
        "peeps": {"face": ["smile", "smileBig", "cute"]},
        "pixel": {"mouth": ["happy01", "happy03", "happy07", "happy09"]},
        "toon": {"mouth": ["smile", "laugh"], "eyebrows": ["happy", "neutral"], "eyes": ["happy", "wide"]},
    },
    "sad": {
        "adventurer": {"mouth": ["variant03", "variant14"]},
        "bigsmile": {"mouth": ["openSad"], "eyes": ["sad"]},
        "personas": {"mouth": ["frown"]},
        "peeps": {"face": ["concerned", "solemn"]},
        "pixel": {"mouth": ["sad01", "sad03", "sad05", "sad09"]},
        "toon": {"mouth": ["sad"], "eyebrows": ["sad"], "eyes": ["humble"]},
    },
}
# The heads of "peeps" on which the colour of the hair shows; on all others it is black.
COLOURED_HEADS = ("short4", "mohawk", "mohawk2")
CLOTHES_OPTION = {"personas": "clothingColor", "peeps": "clothingColor", "pixel": "clothingColor",
                  "toon": "clothesColor"}  # fmt: skip
FIXED = {
    "adventurer": {"earringsProbability": 0},
    "peeps": {"maskProbability": 0},
    "pixel": {"accessoriesProbability": 0, "hatProbability": 0},
    "personas": {"body": ["rounded", "squared", "small"]},
    "toon": {"clothes": ["turtleNeck", "shirt", "tShirt"]},
}


# ── Attributes ───────────────────────────────────────────────────────────────────────────────────────


def held_out() -> set[tuple[str, str, str]]:
    """Combinations of hair, its colour and glasses that no training picture has."""
    every = [(hair, colour, eyes) for hair in HAIR if hair != "no" for colour in HAIR_COLOURS for eyes in GLASSES]
    return set(random.Random("held out").sample(every, HELD_OUT))


def people(style: str, count: int, kept_out: bool, chance: random.Random) -> Iterator[dict[str, str]]:
    """Attributes of portraits that a style can draw: of held-out combinations only, or of the others."""
    outside, found = held_out(), 0
    while found < count:
        person = {"hair": pick(HAIR, style, chance), "glasses": pick(GLASSES, style, chance),
                  "beard": pick(BEARD, style, chance), "mouth": pick(MOUTH, style, chance),
                  "skin": chance.choice(list(SKINS))}  # fmt: skip
        if person["hair"] != "no":
            person["hair colour"] = chance.choice(hair_colours(style, person["hair"]))
        if style in CLOTHES_OPTION:
            person["clothes"] = chance.choice(list(CLOTHES_COLOURS))
        combination = (person["hair"], person.get("hair colour", ""), person["glasses"])
        if (combination in outside) == kept_out:
            found += 1
            yield person


def pick(values: dict[str, dict[str, Any]], style: str, chance: random.Random) -> str:
    """One of the values that a style can draw; the first one, the usual one, as often as all others together."""
    able = [value for value, styles in values.items() if style in styles]
    return able[0] if chance.random() < 0.4 else chance.choice(able)


def hair_colours(style: str, hair: str) -> list[str]:
    """The colours in which a style can draw hair of a kind."""
    if style == "peeps" and not any(head in COLOURED_HEADS for head in HAIR[hair][style]["head"]):
        return ["black"]
    return list(HAIR_COLOURS)


def options(style: str, person: dict[str, str], chance: random.Random) -> dict[str, Any]:
    """The attributes of a person as DiceBear's options."""
    found: dict[str, Any] = {"seed": str(chance.random()), **FIXED.get(style, {})}
    for name, values in (("hair", HAIR), ("glasses", GLASSES), ("beard", BEARD), ("mouth", MOUTH)):
        for option, choices in values[person[name]][style].items():
            if option == "head" and person.get("hair colour", "black") != "black":
                choices = [head for head in choices if head in COLOURED_HEADS]
            found[option] = choices[0] if option.endswith("Probability") else [chance.choice(choices)]
    found["skinColor"] = [SKINS[person["skin"]]]
    if "hair colour" in person:
        found["headContrastColor" if style == "peeps" else "hairColor"] = [HAIR_COLOURS[person["hair colour"]]]
    if style in CLOTHES_OPTION:
        found[CLOTHES_OPTION[style]] = [CLOTHES_COLOURS[person["clothes"]]]
    return found


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────


def svgs(folder: Path, jobs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """The portraits of (package's short name, options), in their order."""
    lines = "\n".join(json.dumps({"style": style, "options": options}) for style, options in jobs)
    script = folder / "draw.mjs"  # beside node_modules, where node looks for the packages
    script.write_bytes((Path(__file__).parent / "draw.mjs").read_bytes())
    done = subprocess.run(["node", str(script)], input=lines, cwd=folder, check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(jobs)
    return found


def drawn(svg: str) -> Image.Image:
    """An SVG as a picture: rendered at four times the size, then made smaller."""
    large = svg.replace("<svg ", f'<svg width="{4 * SIDE}" height="{4 * SIDE}" ', 1)
    return fitted(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=large)))))


def six_styles(
    folder: Path, progress: Callable
) -> tuple[dict[str, list[dict[str, str]]], dict[str, list[Image.Image]]]:
    """Render everybody. Returns: style -> the attributes of each portrait; style -> the portraits."""
    people_of, pictures = {}, {}
    for style in STYLES:
        chance = random.Random(style.word)
        people_of[style.word] = [*people(style.word, TRAINING, False, chance), *people(style.word, TEST, True, chance)]
        package = style.package.removeprefix("@dicebear/")
        jobs = [(package, options(style.word, person, chance)) for person in people_of[style.word]]
        pictures[style.word] = [drawn(svg) for svg in progress(svgs(folder, jobs), style.word)]
    return people_of, pictures
