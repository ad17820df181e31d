"""Train the U-Net without its scale, caption dropout and velocity, measure each, and store the numbers.

    python benchmarks/ablations.py                       # all, on the CPU; stored results are not measured again
    python benchmarks/ablations.py --steps 2000 --device cuda --only "no scale"

Needs the shipped weights (or --model FOLDER). Ctrl-C saves; the same command continues. Four trainings of 500 steps
with 64 pictures each, and five models measured at two guidance scales. Stored in benchmarks/ablations/:
measurements.jsonl, one line per model and guidance scale, and a grid of pictures for each. Lesson 15 shows them.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from tinyldm import LatentDiffusion, machine
from tinyldm.cli import pages
from tinyldm.data.pixels import to_float
from tinyldm.evaluation.judge import Judge
from tinyldm.formats.files import write_bytes
from tinyldm.training.run import Stopped
from tinyldm_course.lessons import ablations
from tinyldm_course.lessons.ablations import ABLATIONS, AS_IT_SHOULD_BE, GUIDANCE, NO_AVERAGE, SETTINGS, STORED

SHOWN = 8


def names_of(ablation: ablations.Ablation) -> dict[str, str]:
    """Return {name: which of a training's two models is measured under it}."""
    names = {ablation.name: "average"}
    return names | {NO_AVERAGE: "last"} if ablation is AS_IT_SHOULD_BE else names


def missing(ablation: ablations.Ablation, stored: list[dict], options: argparse.Namespace) -> list[tuple[str, float]]:
    """Return the names and guidance scales of this training that have not been measured with these settings."""
    done = {
        (row["name"], row["guidance_scale"])
        for row in stored
        if row["steps"] == options.steps and row["seed"] == options.seed and row["captions"] == options.captions
    }
    return [(name, w) for name in names_of(ablation) for w in GUIDANCE if (name, w) not in done]


def store(row: dict, out: Path) -> None:
    """Store a measurement; it replaces an older one of the same name and guidance scale."""
    rows = [
        old
        for old in ablations.read(out)
        if (old["name"], old["guidance_scale"]) != (row["name"], row["guidance_scale"])
    ] + [row]
    write_bytes(out, "".join(json.dumps(some) + "\n" for some in rows).encode())


def run(ablation: ablations.Ablation, options: argparse.Namespace, corpus, base: LatentDiffusion, judge: Judge) -> None:
    """Train one model, unless that is done, and store its measurements."""
    todo = missing(ablation, ablations.read(options.out), options)
    if not todo:
        print(f"{ablation.name}: stored already")
        return
    settings = replace(
        SETTINGS,
        out=options.runs / f"{options.steps}_steps_seed_{options.seed}",
        steps=options.steps,
        seed=options.seed,
        device=str(base.device),
        resume=True,
    )
    start = time.monotonic()
    models = ablations.train(ablation, settings, corpus, base)
    facts = {
        "steps": options.steps,
        "batch": settings.batch,
        "seed": options.seed,
        "scenes": len(corpus),
        "captions": options.captions,
        "seconds": round(time.monotonic() - start, 1),
        "versions": machine.versions(),
        "hardware": machine.hardware(base.device),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    for name, guidance_scale in todo:
        found, images = ablations.measure(
            models[names_of(ablation)[name]], judge, options.captions, guidance_scale, seed=options.seed
        )
        row = {"name": name, "guidance_scale": guidance_scale} | found | facts
        store(row, options.out)
        page = pages.tiles(to_float(images[:SHOWN]), enlarge=False, gap=2)
        slug = name.replace(" ", "_").replace(",", "")
        pages.save(page, options.out.parent / f"{slug}_at_{guidance_scale:g}.png", {"name": name})
        colour, strict = (row["shares"][kind]["share"] for kind in ("colour", "strict"))
        print(
            f"{name}, guidance {guidance_scale:g}: colour {colour:.1%}, strict {strict:.1%}, "
            f"Fréchet {row['frechet']:.2f}",
            flush=True,
        )


def main() -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=SETTINGS.steps, help="of each training (default: %(default)s)")
    parser.add_argument("--captions", type=int, default=300, help="fresh captions to generate (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=2000, help="pictures to train on (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and noise (default: %(default)s)")
    parser.add_argument("--only", choices=[ablation.name for ablation in ABLATIONS], help="just this training")
    parser.add_argument("--model", default="tiny", help="whose VAE and text encoder (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument("--runs", type=Path, default=SETTINGS.out, help="checkpoints (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=STORED, help="the file of measurements")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        base = LatentDiffusion.from_pretrained(options.model, device=machine.choose_device(options.device))
        judge, corpus = Judge.load(), ablations.simple_corpus(options.scenes, options.seed)
        for ablation in ABLATIONS:
            if options.only in (None, ablation.name):
                run(ablation, options, corpus, base, judge)
    except Stopped as stopped:
        print(f"ablations: {stopped}".replace(" with --resume", ""), file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"ablations: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
