"""The model card of a trained model: README.md in its folder, made from what training and evaluation measured.

    python -m tinyldm.training.model_card tinyldm/weights/tiny

No number in it is typed by hand: `training.json` is written by `export`, `evaluation.json` by `tinyldm evaluate
--json`. Where nothing was measured, the card says so.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyldm.formats.files import read_json, write_bytes
from tinyldm.formats.places import draws_drawings, names_of_drawings

WHAT = {"clip": "text and image encoder (CLIP)", "vae": "VAE", "unet": "U-Net"}
# Settings that a reader of the card would ask for; all of them are in training.json.
SHOWN = ("batch", "lr", "warmup", "ema", "bf16", "seed")


SHAPES = (
    "Captions to pictures of 64×64 pixels: one or two coloured shapes on a plain ground. Trained by this",
    "repository (`tinyldm train all`) on its procedural scenes, which contain no photographs and no people;",
    "it is meant for learning and can draw nothing else. MIT licence, like the code.",
)
ALL_DRAWINGS = (
    "Captions to pictures of 64×64 pixels: a thing that has a name, or a portrait, in one of twelve styles. Trained by",
    "this repository (`tinyldm train all --data drawings`) on a few drawings of each thing and on composed portraits.",
    'It saw so few of each that it redraws more than it invents; "memorisation" below says how close it comes.',
)
SOME_DRAWINGS = (
    "Captions to pictures of 64×64 pixels: one of {count} things, in one of six styles. Trained by this repository",
    "(`tinyldm train all --data drawings --names FILE`) on a few drawings of each thing. It saw so few that it redraws",
    'more than it invents; "memorisation" below says how close it comes. The judge was trained on the same drawings.',
    "",
    "It knows: {names}.",
)
CREDITS = (
    "",
    "The drawings were made by others: NOTICE names them and their licences (Apache-2.0, CC BY 4.0, MIT, CC0). Whether",
    "weights and generated pictures are derived from them is not settled. Credit their makers when you pass either on.",
)


def card(folder: Path) -> str:
    """The text of the card of a model folder. Raises ValueError where its training is not recorded."""
    if not (folder / "training.json").is_file():
        raise ValueError(f"{folder} has no training.json; only models that were exported by training have a card")
    training = read_json(folder / "training.json")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    return "\n".join(
        [
            "# A tiny latent diffusion model",
            "",
            *what_it_draws(folder),
            "",
            *layout(folder, size),
            "",
            "## Training",
            "",
            *training_table(training),
            "",
            "## Measured",
            "",
            *measured(folder),
            "",
            *four_steps(folder / "unet_4_steps"),
        ]
    )


def what_it_draws(folder: Path) -> Iterator[str]:
    """What a model was trained to draw, and what is owed to whom."""
    if not draws_drawings(folder):
        yield from SHAPES
        return
    names = names_of_drawings(folder)
    if names is None:
        yield from ALL_DRAWINGS
    else:
        yield from "\n".join(SOME_DRAWINGS).format(count=len(names), names=", ".join(names)).splitlines()
    yield from CREDITS


def layout(folder: Path, size: float) -> Iterator[str]:
    """What is in the folder. size: of all its files, MB."""
    begin = f"{size:.1f} MB, float16, in the diffusers folder layout. "
    if (folder / "snapshots").is_dir():
        yield begin + "`snapshots/` holds the U-Net after 1, 10 and 50 %"
        yield "of its training, `curves/` the losses."
    else:
        yield begin + "`curves/` holds the losses."


def training_table(training: dict[str, Any]) -> Iterator[str]:
    """One line for each stage, and their settings below."""
    yield "| stage | steps | images seen | size of the data set | minutes | on |"
    yield "|---|---|---|---|---|---|"
    for stage, facts in training.items():
        machine = facts["hardware"]
        where = machine.get("gpu", f"{machine['threads']} thread(s) of {machine['processor']}")
        yield (
            f"| {WHAT[stage]} | {facts['step']:,} | {facts['images_seen']:,} | {facts['images']:,} "
            f"| {facts['minutes']:g} | {where} |"
        )
    for stage, facts in training.items():
        if facts["progress"] < 1:
            yield f"\n**{WHAT[stage]}: stopped after {facts['progress']:.0%} of the training that was planned.**"
        settings = ", ".join(f"{name} {facts['settings'][name]}" for name in SHOWN if name in facts["settings"])
        yield f"\n{WHAT[stage]}: {settings}."
        before = facts.get("started_from")
        while before:
            yield (
                f"It started from weights that had seen {before['images_seen']:,} images in "
                f"{before['minutes']:g} minutes."
            )
            before = before.get("started_from")


def measured(folder: Path) -> Iterator[str]:
    """Every number of the evaluation: tables of shares, then the rest; or the sentence that there is none."""
    file = folder / "evaluation.json"
    if not file.is_file():
        yield "Not yet evaluated with `tinyldm evaluate`."
        return
    report = read_json(file)
    if found := list(tables(report)):
        yield "Shares of what is right, with their 95 % intervals; n is how many were read."
    for title, columns in found:
        yield from table(title, columns)
    yield ""
    yield "| what | value |"
    yield "|---|---|"
    for name, value in flat(report):
        yield f"| {name} | {value} |"


def four_steps(folder: Path) -> Iterator[str]:
    """The card of the distilled U-Net, where a model has one."""
    if not folder.is_dir():
        return
    yield "## In four steps"
    yield ""
    yield "`unet_4_steps/` holds a second U-Net, to be used in place of the first with 4 steps and without guidance,"
    yield "which is built in (w = 3). It is a student of the first: 16 guided steps were distilled to 8 (260 updates of"
    yield "64 latents), then to 4 (340 updates), in ten minutes of one thread (`tinyldm/beyond/distillation.py`)."
    yield "It knows no other guidance scale and no negative captions."
    yield ""
    yield from measured(folder)
    yield ""


def is_share(report: Any) -> bool:
    """Is it a share with its interval, as `evaluation.statistics.share` makes them?"""
    return isinstance(report, dict) and {"share", "low", "high", "of"} <= report.keys()


def is_column(report: Any) -> bool:
    """Does it hold shares and nothing else?"""
    return isinstance(report, dict) and bool(report) and all(is_share(value) for value in report.values())


def tables(report: dict[str, Any], title: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The shares in nested dictionaries, as (title, {column: {row: share}}): what stands side by side is one table."""
    columns = {key: value for key, value in report.items() if is_column(value)}
    if alone := {key: value for key, value in report.items() if is_share(value)}:
        columns["share"] = alone
    if columns:
        yield title, columns
    for key, value in report.items():
        if isinstance(value, dict) and not is_column(value) and not is_share(value):
            yield from tables(value, f"{title}: {key}" if title else key)


def table(title: str, columns: dict[str, Any]) -> Iterator[str]:
    """A table of shares, a row for each thing that was read."""
    yield ""
    yield f"| {title} | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for row in dict.fromkeys(row for column in columns.values() for row in column):
        cells = (in_words(column[row]) if row in column else "" for column in columns.values())
        yield f"| {row} | {' | '.join(cells)} |"


def in_words(found: dict[str, float]) -> str:
    """A share with its interval and its count, such as "92.7 % (90.9 … 94.2), n = 1,000"."""
    low, high = 100 * found["low"], 100 * found["high"]
    return f"{100 * found['share']:.1f} % ({low:.1f} … {high:.1f}), n = {found['of']:,}"


def flat(report: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested dictionaries as ("a: b", "0.93") pairs, without their shares; lists of numbers on one line."""
    if isinstance(report, dict):
        for key, value in report.items():
            if not is_share(value):
                yield from flat(value, f"{name}: {key}" if name else key)
    elif isinstance(report, list):
        yield name, ", ".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in report)
    else:
        yield name, f"{report:.4g}" if isinstance(report, float) else str(report)


def write_card(folder: Path) -> None:
    """Write README.md of a model folder."""
    write_bytes(folder / "README.md", card(folder).encode())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tinyldm.training.model_card", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a model folder that training wrote")
    write_card(parser.parse_args().folder)


if __name__ == "__main__":
    main()
