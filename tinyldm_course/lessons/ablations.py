"""What is each trick worth? The U-Net is trained again without it, in minutes, on a small world.

    python benchmarks/ablations.py                   # trains and measures what is not stored yet; resumes after Ctrl-C
    ablations.read()                                 # the stored measurements, which lesson 15 shows

Every run has the same VAE and text encoder (the shipped ones), pictures, seed and steps, and differs in one thing.
"No moving average" needs no training of its own: it is the first run, sampled with its last weights.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tinyldm
from tinyldm.data import scenes
from tinyldm.data.captions import random_wording
from tinyldm.data.corpus import Corpus, captioned_corpus
from tinyldm.data.pixels import channels_first, to_float
from tinyldm.data.world import Scene
from tinyldm.evaluation.judge import Judge
from tinyldm.evaluation.measure import EvaluationSettings, World, generate, judged, plain
from tinyldm.evaluation.statistics import frechet_distance, shares
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, Prediction, diffusion_loss, scaled_linear_betas
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.latents import build_cache
from tinyldm.training.run import MovingAverage, Run, adamw, batch_at
from tinyldm.training.train_unet import UnetSettings, context_of, draw_batch
from tinyldm.unet import UNet
from tinyldm_course.lessons.clinic import without_scale

STORED = Path(tinyldm.__file__).parents[1] / "benchmarks" / "ablations" / "measurements.jsonl"
FRESH = 2_000_000  # worlds from this seed on are for evaluating these runs
GUIDANCE = (1.0, 4.0)
COLOURS, SHAPES = ("red", "yellow", "green", "blue"), ("circle", "square", "cross")
SETTINGS = UnetSettings(
    out=Path("runs/ablations"), steps=500, batch=64, lr=1e-3, warmup=100, ema=0.995, image_context=0.0
)


@dataclass(frozen=True)
class Ablation:
    """One training of the U-Net, and what it leaves out."""

    name: str  # also used for its files
    prediction: Prediction = VELOCITY
    scaled: bool = True  # latents of unit variance; otherwise as large as Stable Diffusion's raw ones
    drop_caption: float = 0.125  # share of captions that become "", which guidance needs


AS_IT_SHOULD_BE = Ablation("as it should be")
NO_SCALE = Ablation("no scale", scaled=False)
NO_DROPOUT = Ablation("no caption dropout", drop_caption=0.0)
NOISE = Ablation("noise, not velocity", prediction=EPS)
ABLATIONS = (AS_IT_SHOULD_BE, NO_SCALE, NO_DROPOUT, NOISE)
NO_AVERAGE = "no moving average"  # AS_IT_SHOULD_BE, sampled with the last weights


# ── The world of these runs ──────────────────────────────────────────────────────────────────────────


def is_simple(scene: Scene) -> bool:
    """One large thing in one of four colours and one of three shapes, on any background."""
    thing = scene.things[0]
    return len(scene.things) == 1 and thing.size == "large" and thing.colour in COLOURS and thing.shape in SHAPES


def simple_world(seed: int, count: int) -> World:
    """Return the first `count` simple scenes of a world, each with one caption."""
    found, captions, index = [], [], 0
    while len(found) < count:
        scene = scenes.scene_at(seed, index)
        if is_simple(scene):
            found.append(scene)
            captions.append(random_wording(np.random.default_rng([seed, index])).say(scene))
        index += 1
    return World(channels_first(scenes.render(found)), captions, found)


def simple_corpus(count: int, seed: int = 0) -> Corpus:
    """Return `count` simple scenes to train on."""
    world = simple_world(seed, count)
    return captioned_corpus(world.images, [caption.text for caption in world.captions])


# ── Training ─────────────────────────────────────────────────────────────────────────────────────────


def train(
    ablation: Ablation,
    settings: UnetSettings,
    corpus: Corpus,
    base: LatentDiffusion,
    after_step: Callable[[int], None] = lambda step: None,
) -> dict[str, LatentDiffusion]:
    """Train a U-Net from scratch, with one thing left out, on the latents and contexts of `base`.

    Args: base: the model whose VAE, text encoder and image encoder are used, unchanged.
    Returns: {"average": …, "last": …}: the model with the moving average of the weights, and with the last weights.
    """
    device = torch.device(settings.device)
    settings = replace(settings, drop_caption=ablation.drop_caption)
    torch.manual_seed(settings.seed)
    unet = UNet(settings.config).to(device)
    average, optimizer = MovingAverage(unet, settings.ema), adamw(unet.parameters(), settings.lr)
    schedule = NoiseSchedule(scaled_linear_betas(), ablation.prediction).to(device)
    vae = base.vae if ablation.scaled else without_scale(base.vae)
    cache = build_cache(corpus, vae, base.text_encoder, base.image_encoder, settings.device, progress=settings.progress)
    with Run(
        ablation.name.replace(" ", "_").replace(",", ""),
        settings,
        {"unet": unet, "average": average.module},
        {"optimizer": optimizer},
        len(corpus),
    ) as run:
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus)).to(device)
            batch = draw_batch(cache, index, vae.config.scale, schedule.T, settings, step)
            context = context_of(cache, batch, index, base.image_encoder)
            loss = diffusion_loss(unet, schedule, batch.z0, context, batch.t, batch.eps)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            average.update(unet, step)
            run.log(loss=loss)
            after_step(step)
    return {
        name: LatentDiffusion(copy.deepcopy(some), vae, base.text_encoder, schedule, image_size=base.image_size)
        for name, some in (("average", average.module), ("last", unet))
    }


# ── Measuring ────────────────────────────────────────────────────────────────────────────────────────


def measure(
    model: LatentDiffusion, judge: Judge, captions: int, guidance_scale: float, *, seed: int = 0, steps: int = 25
) -> tuple[dict[str, Any], Tensor]:
    """Generate pictures for fresh simple captions, and let the judge read them.

    Returns: {"shares": {"colour": {"share", "low", "high", …}, …}, "frechet": …}; the pictures (N, 3, 64, 64) uint8.
    """
    world, other = simple_world(FRESH + seed, captions), simple_world(FRESH + seed + 1, captions)
    settings = EvaluationSettings(
        captions=captions, seed=seed, steps=steps, guidance_scale=guidance_scale, progress=False
    )
    pictures = generate(model, world.captions, settings, "ablation")
    found = shares(judged(judge, pictures, world))
    real = judge.features(to_float(other.images))
    unit = real.std(0)
    distance = frechet_distance(judge.features(to_float(pictures)) / unit, real / unit)
    return {"shares": {kind: plain(share) for kind, share in found.items()}, "frechet": round(distance, 2)}, pictures


def read(file: Path = STORED) -> list[dict[str, Any]]:
    """Return the stored measurements, one per name and guidance scale; an empty list if nothing has been stored yet."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def pick(stored: list[dict[str, Any]], name: str, guidance_scale: float) -> dict[str, Any]:
    """Return the measurement of this name and guidance scale. Raises ValueError, listing what is stored, if missing."""
    for row in stored:
        if row["name"] == name and row["guidance_scale"] == guidance_scale:
            return row
    there = sorted({f"{row['name']} at {row['guidance_scale']:g}" for row in stored})
    raise ValueError(
        f"{name!r} at guidance {guidance_scale:g} is not stored; stored: {', '.join(there) or 'nothing'}; "
        "make it with: python benchmarks/ablations.py"
    )
