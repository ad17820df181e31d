"""Make `tinyldm/data/sheets/`: the drawings that come with the package, one lossless sheet a style, and their index.

    python sources/pictures/build.py                  # fetch the pinned packages with npm, render, write
    python sources/pictures/build.py --folder FOLDER  # keep the packages in FOLDER, and use them the next time
    python sources/pictures/build.py --check          # render, and compare with the checksums in the index

Needs npm and node, and `pip install resvg-py==0.5.0`; takes eight minutes. The same packages give the same pixels.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import emoji
import portraits
from sheets import COLUMNS, SIDE, checksum, fetch, sheet
from tqdm import tqdm

OUT = Path(__file__).resolve().parents[2] / "tinyldm" / "data" / "sheets"
PACKAGES = emoji.PACKAGES | {"@dicebear/core": portraits.VERSION} | {
    style.package: portraits.VERSION for style in portraits.STYLES
}  # fmt: skip
HELD_OUT_NAMES = 120  # in one style each: more than 100 pairs of name and style
UNSEEN_BY_AUTOENCODER = 60  # names
ONE_HAND = ("flat", "3d")  # the same drawings, flat and shaded: held out together


def held_out_pairs(names: list[dict[str, Any]]) -> list[list[str]]:
    """(name, style) that no model is trained on. Every name stays, in at least three other styles."""
    chance = random.Random("pairs")
    able = [entry for entry in names if len(entry["styles"]) >= 5]
    pairs = []
    for entry in sorted(chance.sample(able, HELD_OUT_NAMES), key=lambda entry: entry["name"]):
        style = chance.choice([style for style in entry["styles"] if style != "3d"])
        group = ONE_HAND if style in ONE_HAND else (style,)
        pairs += [[entry["name"], style] for style in group if style in entry["styles"]]
    return pairs


def unseen_by_autoencoder(names: list[dict[str, Any]], pairs: list[list[str]]) -> list[str]:
    """Names of which an autoencoder sees no drawing; none of them is in a held-out pair."""
    able = {entry["name"] for entry in names} - {name for name, _ in pairs}
    # By their sums: a name that is added or changed later leaves the others where they are.
    chosen = sorted(able, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:UNSEEN_BY_AUTOENCODER]
    return sorted(chosen)


def describe(style: Any, pictures: list, page: Any) -> dict[str, Any]:
    """A style as the index holds it."""
    version = PACKAGES[style.package]
    return asdict(style) | {
        "version": version,
        "count": sum(p is not None for p in pictures),
        "checksum": checksum(page),
    }


def show(items: Iterable, what: str) -> Iterable:
    """A progress bar."""
    return tqdm(items, desc=what)


def build(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Render everything. Returns: the index; style -> its sheet."""
    names, drawn = emoji.six_hands(folder / "node_modules", show)
    people, painted = portraits.six_styles(folder, show)
    pictures = drawn | painted
    pages = {word: sheet(row) for word, row in pictures.items()}
    pairs = held_out_pairs(names)
    index = {
        "side": SIDE,
        "columns": COLUMNS,
        "styles": [
            describe(style, pictures[style.word], pages[style.word]) for style in (*emoji.STYLES, *portraits.STYLES)
        ],
        "held_out": {
            "pairs": pairs,
            "combinations": sorted(map(list, portraits.held_out())),
            "names": unseen_by_autoencoder(names, pairs),
        },
        "names": names,
        "portraits": people,
    }
    return index, pages


def text_of(index: dict[str, Any]) -> str:
    """The index as JSON, one entry a line."""
    parts = []
    for key, value in index.items():
        rows = value.items() if isinstance(value, dict) else None
        if rows is not None:
            lines = [f"{json.dumps(k)}: [\n" + ",\n".join("   " + line(v) for v in vs) + "\n  ]" for k, vs in rows]
            parts.append(f"{json.dumps(key)}: {{\n  " + ",\n  ".join(lines) + "\n }")
        elif isinstance(value, list):
            parts.append(f"{json.dumps(key)}: [\n" + ",\n".join("  " + line(entry) for entry in value) + "\n ]")
        else:
            parts.append(f"{json.dumps(key)}: {value}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def line(entry: Any) -> str:
    """One entry."""
    return json.dumps(entry, ensure_ascii=False)


def differences(index: dict[str, Any], shipped: dict[str, Any]) -> list[str]:
    """Where what was rendered is not what is shipped."""
    checks = {style["word"]: (style["count"], style["checksum"]) for style in shipped["styles"]}
    wrong = [
        style["word"] for style in index["styles"] if checks.get(style["word"]) != (style["count"], style["checksum"])
    ]
    return wrong + [key for key in ("held_out", "names", "portraits") if index[key] != shipped[key]]


def main() -> int:
    """Fetch and build."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the packages are kept (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=OUT, help="where the sheets go (default: the package)")
    parser.add_argument("--check", action="store_true", help="write nothing: compare with what is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        if not (folder / "node_modules").is_dir():
            fetch(folder, PACKAGES)
        index, pages = build(folder)
    if arguments.check:
        wrong = differences(index, json.loads((arguments.out / "index.json").read_text(encoding="utf-8")))
        print(f"differs: {', '.join(wrong)}" if wrong else "the same")
        return bool(wrong)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for word, page in pages.items():
        page.save(arguments.out / f"{word}.webp", lossless=True, quality=100, method=4)
    (arguments.out / "index.json").write_text(text_of(index), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
