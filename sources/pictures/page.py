"""Make `docs/drawings.md` and its contact sheet from the index of the drawings.

python sources/pictures/page.py
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sheets import SIDE

from tinyldm.data import drawings

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOWN = ("panda", "fox", "penguin", "octopus", "hamburger", "sunflower", "rocket", "crying face", "ghost", "house",
         "guitar", "umbrella")  # fmt: skip
LICENCES = {"Apache-2.0": "Apache 2.0", "CC-BY-4.0": "CC BY 4.0", "CC0-1.0": "CC0 1.0", "MIT": "MIT"}
TEXT = """# The drawings

tinyldm comes with {named:,} drawings of {names:,} things and {portraits:,} portraits, all 64×64 pixels, so that a model
of real pictures can be trained without a download. Their makers gave them away under free licences;
[NOTICE](../NOTICE) has the credits in full, and `tinyldm/data/sheets/licences/` the texts. `tinyldm/data/drawings.py`
reads them, `sources/pictures/build.py` made them from pinned packages.

![Twelve things in six styles, empty where there is no drawing, and twelve portraits in six more styles](drawings.webp)

One row a style, in this order:

| style | drawn by | licence | drawings |
|---|---|---|---|
{rows}

* **Names.** Each thing has a name ("panda"), keywords and a category, from emojibase.
* **Portraits** are composed from attributes: hair, its colour, glasses, beard, mouth, skin, clothes. So their captions
  are exact, and combinations can be held out.
* **Held out from training:** {pairs} pairs of a name and a style (the name stays, in other styles; the styles "flat"
  and "3d" are the same drawings and go together), {combinations} combinations of hair, its colour and glasses, and
  for autoencoders {unseen} names.
* **Captions** word the same drawing in many ways, with and without its style and its ground:
  "a panda", "panda in flat style", "a 3d panda on a blue background", "a sad person with short red hair and glasses".
* **Changed:** the drawings were made smaller, to 64 levels of each colour and 16 of opacity. Nothing else.

## A model of them

The package ships one, which draws a hundred everyday things (`tinyldm info --model pictures` lists them;
[its card](../tinyldm/weights/pictures/README.md) says how well it draws them):

    tinyldm generate "a panda" --model pictures
    tinyldm generate "a panda" --style flat -n 4 --model pictures
    tinyldm evaluate --model pictures
    tinyldm export-web pictures --out site --serve

Your own, of all things and the portraits, or of those in a list of names:

    tinyldm train all --data drawings --names everyday --out runs/pictures   # 8 hours by default (the shipped one: 4)
    tinyldm train all --data drawings --out runs/pictures                    # all 1,165 and portraits: raise --minutes
    python -m tinyldm.evaluation.train_drawing_judge --out runs/judge
    tinyldm evaluate --model runs/pictures/model --judge runs/judge

* `--style` takes one of the words above, or a picture, for a model that was trained with `--style-pictures`.
* `evaluate` puts what the judge reads in drawn pictures beside what it reads in the real drawings, and in what the VAE
  leaves of them: for pairs that were trained, and for the held-out pairs and portraits.
* A word that no caption contains is left out, with a warning that suggests a known word: `'kitten' (did you mean
  'cat face'?)`.
"""


def contact_sheet() -> Image.Image:
    """Twelve drawings of each style, one style a row."""
    rows = []
    for style in drawings.styles():
        of_style = {drawing.name: drawing for drawing in drawings.named() if drawing.style == style}
        people = [drawing for drawing in drawings.portraits() if drawing.style == style][: len(SHOWN)]
        shown: list[drawings.Drawing | None] = [*people] or [of_style.get(name) for name in SHOWN]
        empty = np.full((SIDE, SIDE, 3), 255, np.uint8)
        rows.append(np.concatenate([empty if one is None else on_white(one) for one in shown], axis=1))
    return Image.fromarray(np.concatenate(rows))


def on_white(drawing: drawings.Drawing) -> np.ndarray:
    """A drawing on a white ground, (S, S, 3) uint8."""
    return drawings.on_ground(drawings.pixels([drawing]), np.array([drawings.GROUNDS["white"]]))[0]


def page() -> str:
    """The text of the page."""
    index = drawings.index()
    rows = [
        f"| {style['word']} | [{style['credit']}](https://{style['source']}) | {LICENCES[style['licence']]} "
        f"| {style['count']:,} |"
        for style in index["styles"]
    ]
    held = index["held_out"]
    return TEXT.format(
        named=len(drawings.named()),
        names=len(drawings.names()),
        portraits=len(drawings.portraits()),
        rows="\n".join(rows),
        pairs=len(held["pairs"]),
        combinations=len(held["combinations"]),
        unseen=len(held["names"]),
    )


def main() -> int:
    """Write both."""
    (DOCS / "drawings.md").write_text(page(), encoding="utf-8")
    contact_sheet().save(DOCS / "drawings.webp", lossless=True, method=6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
