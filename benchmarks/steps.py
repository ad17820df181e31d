"""How many steps, of which sampler? Processor time from caption to picture, with the judge's accuracy beside it.

    python benchmarks/steps.py                  # 300 captions at each setting: about five minutes of one CPU core
    python benchmarks/steps.py --captions 24    # a quick try; writes nothing

Every setting gets the same captions and the same noise, so that two settings differ by less than two independent
samples would. The time is the processor's (one thread, pictures in batches), so other work on the machine does not
count. Stored in benchmarks/steps.json after each setting (Ctrl-C, and the same command goes on), and drawn in
benchmarks/steps.png.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from common import hardware
from torch import Tensor

from tinyldm import LatentDiffusion, ddim, dpm_solver_pp
from tinyldm.evaluation.judge import Judge
from tinyldm.evaluation.measure import EvaluationSettings, fresh_world, generate, judged
from tinyldm.evaluation.statistics import share
from tinyldm.formats.files import write_json
from tinyldm.latent_diffusion import Condition
from tinyldm.reverse_diffusion import Model, Sampler

STORED = Path(__file__).with_name("steps.json")
CAPTIONS, BATCH = 300, 50
SAMPLERS: dict[str, Sampler] = {"ddim": ddim, "dpm_solver_pp": dpm_solver_pp}
ALWAYS = (0, 1000)
# (sampler, steps, guidance from t = … up to t = …), the cheap ones first. Outside, the caption is followed unguided.
SETTINGS = [
    *((name, steps, ALWAYS) for steps in (4, 6, 8, 10, 15, 25) for name in SAMPLERS),
    *(("ddim", steps, part) for steps in (10, 25) for part in ((0, 500), (500, 1000), (250, 750))),
]


class PartlyGuided(LatentDiffusion):
    """Guidance where low ≤ t < high only (Kynkäänniemi et al. 2024); elsewhere the U-Net runs on half the batch."""

    low, high = ALWAYS

    def denoiser(self, condition: Condition, guidance_scale: float, beside: Tensor | None = None) -> Model:
        with_guidance = super().denoiser(condition, guidance_scale, beside)
        without = super().denoiser(condition, 1.0, beside)
        return lambda z_t, t: (with_guidance if self.low <= t[0].item() < self.high else without)(z_t, t)


def measure(model: PartlyGuided, judge: Judge, world, name: str, steps: int, part: tuple[int, int]) -> dict:
    """Generate a picture of each caption, and let the judge read it."""
    settings = EvaluationSettings(len(world.captions), steps=steps, sampler=SAMPLERS[name], batch=BATCH, progress=False)
    model.low, model.high = part
    start = time.process_time()
    pictures = generate(model, world.captions, settings, name)
    seconds = time.process_time() - start
    right = [verdict["strict"] for verdict in judged(judge, pictures, world)]
    found = share(sum(right), len(right))
    return {
        "sampler": name,
        "steps": steps,
        "guided": list(part),
        "milliseconds": round(1000 * seconds / len(world.captions), 1),
        "strict": {"share": found.value, "low": found.low, "high": found.high},
    }


def label(row: dict) -> str:
    """What a setting is called."""
    part = "" if tuple(row["guided"]) == ALWAYS else f", guided at t = {row['guided'][0]} … {row['guided'][1] - 1}"
    return f"{row['steps']} steps of {row['sampler']}{part}"


def cheapest(rows: list[dict]) -> dict:
    """The cheapest setting within one point of the best."""
    best = max(row["strict"]["share"] for row in rows)
    return min((row for row in rows if row["strict"]["share"] >= best - 0.01), key=lambda row: row["milliseconds"])


def draw(rows: list[dict], file: Path) -> None:
    """Accuracy against time, one line per sampler."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for row in rows:
        row["place"] = (row["milliseconds"], 100 * row["strict"]["share"])
    for name, marker, above in (("ddim", "o", -13), ("dpm_solver_pp", "s", 7)):
        line = [row for row in rows if row["sampler"] == name and tuple(row["guided"]) == ALWAYS]
        ax.plot(*zip(*(row["place"] for row in line)), marker=marker, label=f"{name}, guided at all t")
        for row in line:
            ax.annotate(row["steps"], row["place"], (0, above), textcoords="offset points", ha="center")
    for part, marker in (((0, 500), "v"), ((250, 750), "d"), ((500, 1000), "^")):
        some = [row for row in rows if tuple(row["guided"]) == part]
        ax.plot(
            *zip(*(row["place"] for row in some)), "k" + marker, label=f"ddim, guided at t = {part[0]} … {part[1] - 1}"
        )
        for row in some:
            ax.annotate(row["steps"], row["place"], (0, -14), textcoords="offset points", ha="center", fontsize=8)
    ax.set(xlabel="processor time from caption to picture, ms", ylabel="everything right, % of captions")
    ax.set_title("What a step is worth (numbers: steps)")
    ax.legend(loc="lower right")
    fig.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=CAPTIONS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, judge = PartlyGuided.from_pretrained("tiny"), Judge.load()
    world = fresh_world(0, options.captions, EvaluationSettings(options.captions, progress=False))
    whole = options.captions == CAPTIONS
    rows = json.loads(STORED.read_text(encoding="utf-8"))["settings"] if whole and STORED.is_file() else []
    known = {(row["sampler"], row["steps"], tuple(row["guided"])) for row in rows}
    for setting in (setting for setting in SETTINGS if setting not in known):
        rows.append(measure(model, judge, world, *setting))
        print(label(rows[-1]), rows[-1]["milliseconds"], rows[-1]["strict"], flush=True)
        if whole:
            write_json(STORED, {"captions": CAPTIONS, "machine": hardware(), "settings": rows})
    rows.sort(key=lambda row: row["milliseconds"])
    print("| | processor time | everything right (95 %) |\n|---|---|---|")
    for row in rows:
        interval = f"{100 * row['strict']['low']:.1f} … {100 * row['strict']['high']:.1f}"
        print(
            f"| {label(row)} | {row['milliseconds']:.0f} ms | **{100 * row['strict']['share']:.1f} %** ({interval}) |"
        )
    print(f"\nThe cheapest within one point of the best: {label(cheapest(rows))}.")
    if whole:
        draw(rows, STORED.with_suffix(".png"))


if __name__ == "__main__":
    main()
