"""Emoji by six hands: which things, what they are called, and their drawings."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image
from sheets import DRAWN, Style, fitted, read

GROUPS = ("smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places", "activities", "objects")
PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/streamline-emojis": "1.2.4",
    "@lobehub/fluent-emoji-3d": "1.1.0",
    "emojibase-data": "17.0.0",
}


STYLES = (
    Style("noto", "@iconify-json/noto", "Noto Emoji, Google", "Apache-2.0", "github.com/googlefonts/noto-emoji"),
    Style("blob", "@iconify-json/noto-v1", "Noto Emoji (blobs), Google", "Apache-2.0",
          "github.com/googlefonts/noto-emoji"),
    Style("twemoji", "@iconify-json/twemoji", "Twemoji, Twitter and the jdecked fork", "CC-BY-4.0",
          "github.com/jdecked/twemoji"),
    Style("flat", "@iconify-json/fluent-emoji-flat", "Fluent Emoji (flat), Microsoft", "MIT",
          "github.com/microsoft/fluentui-emoji"),
    Style("3d", "@lobehub/fluent-emoji-3d", "Fluent Emoji (3D), Microsoft", "MIT",
          "github.com/microsoft/fluentui-emoji"),
    Style("streamline", "@iconify-json/streamline-emojis", "Streamline Emojis, Streamline", "CC-BY-4.0",
          "github.com/webalys-hq/streamline-vectors"),
)  # fmt: skip


# ── Which things, and what they are called ───────────────────────────────────────────────────────────


def things(emojibase: Path) -> list[dict[str, Any]]:
    """Name, code, keywords and category of everything that is drawn: no symbols, flags, clocks, doubles."""
    entries = read(emojibase / "en" / "data.json")
    meta = read(emojibase / "meta" / "groups.json")
    labels = {entry["label"] for entry in entries}
    found = []
    for entry in entries:
        group = meta["groups"].get(str(entry.get("group")))
        if group in GROUPS and not is_double(entry, labels):
            found.append({"name": plain(entry["label"]), "code": entry["hexcode"],
                          "keywords": [plain(tag) for tag in entry.get("tags", ())],
                          "category": meta["subgroups"][str(entry["subgroup"])]})  # fmt: skip
    return found


def is_double(entry: dict[str, Any], labels: set[str]) -> bool:
    """Is the same thing drawn under another label, or is it one of many clocks and families?"""
    label = entry["label"]
    role = re.sub(r"^(man|woman|men|women) ", "", label)
    person = re.sub(r"^(man|woman)\b", "person", label)
    return (
        "gender" in entry
        or label != role and role in labels
        or label != person and person in labels
        or re.search(r"o’clock|-thirty|facing right", label) is not None
        or re.match(r"(family|kiss|couple with heart|people holding):", label) is not None
        or label in ("bust in silhouette", "busts in silhouette", "speaking head")
    )  # fmt: skip


def plain(label: str) -> str:
    """A label as people type it: "person: beard" is "person with beard", "piñata" stays."""
    label = (
        label.replace("person: bald", "bald person")
        .replace("’", "'")
        .replace("“", "")
        .replace("”", "")
        .replace("!", "")
    )
    return re.sub(r"^(person|man|woman): ", r"\1 with ", label).strip()


# ── Drawings ─────────────────────────────────────────────────────────────────────────────────────────


def drawings(package: Path, slugs: dict[str, str]) -> Callable[[dict[str, Any]], Image.Image | None]:
    """thing -> its drawing in one hand, or None. slugs: code -> the name that icon sets give to it."""
    if (package / "assets").is_dir():
        files = {simple(file.stem): file for file in (package / "assets").glob("*.webp")}
        return lambda thing: from_file(files[simple(thing["code"])]) if simple(thing["code"]) in files else None
    icons = read(package / "icons.json")
    own = {simple(code): slug for code, slug in read(package / "chars.json").items()}

    def draw(thing: dict[str, Any]) -> Image.Image | None:
        slug = own.get(simple(thing["code"])) or slugs.get(simple(thing["code"]), "")
        slug = icons.get("aliases", {}).get(slug, {}).get("parent", slug)
        return from_svg(icons, slug) if slug in icons["icons"] else None

    return draw


def simple(code: str) -> str:
    """A code point sequence in one spelling: lower case, without the variation selector."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def from_svg(icons: dict[str, Any], slug: str) -> Image.Image:
    """An icon of an Iconify set, rendered."""
    icon = icons["icons"][slug]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{4 * DRAWN}" '
           f'height="{4 * DRAWN}" viewBox="0 0 {width} {height}">{icon["body"]}</svg>')  # fmt: skip
    return fitted(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))))


def from_file(file: Path) -> Image.Image:
    """A raster drawing."""
    return fitted(Image.open(file))


def six_hands(modules: Path, progress: Callable) -> tuple[list[dict[str, Any]], dict[str, list[Image.Image | None]]]:
    """Render everything that at least four hands have drawn.

    Returns: the things, each with the styles that have it; style -> a drawing of each thing, or None.
    """
    found = things(modules / "emojibase-data")
    slugs = {simple(code): slug for code, slug in read(modules / "@iconify-json" / "noto" / "chars.json").items()}
    hands = {style.word: drawings(modules / style.package, slugs) for style in STYLES}
    rows = {word: [draw(thing) for thing in progress(found, word)] for word, draw in hands.items()}
    kept = [number for number in range(len(found)) if sum(row[number] is not None for row in rows.values()) >= 4]
    names = [{key: found[number][key] for key in ("name", "category", "keywords")}
             | {"styles": [word for word, row in rows.items() if row[number] is not None]}
             for number in kept]  # fmt: skip
    return names, {word: [row[number] for number in kept] for word, row in rows.items()}
