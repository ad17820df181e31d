"""Measure a whole model: generate pictures for fresh captions, let the judge read them, and compare.

    tinyldm evaluate --captions 1000 --json evaluation.json --figure evaluation.png

Fresh means: scenes of a world whose seed no training uses. Six questions are asked:

    captions         does the picture show what the caption says? (and with held-out combinations?)
    image context    do background and colours of a picture, given as context, come back?
    reconstruction   what does the VAE lose? No picture of the model can be better than that.
    CLIP             does an image find its caption, and not the caption with an attribute swapped?
    Fréchet          how far are the pictures as a set from real ones, in the judge's features?
    memorisation     are the pictures copies of training images?

The statistics are those of `statistics.py`. Everything follows from the settings: the same seed gives the same
numbers on the same machine, whatever the batch size, as picture k depends on the seed and k only.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tinyldm import machine
from tinyldm.data import scenes
from tinyldm.data.captions import Caption, Wording, random_wording, swapped_captions
from tinyldm.data.pixels import channels_first, to_float, to_signed_float, to_uint8
from tinyldm.data.world import Scene
from tinyldm.evaluation.judge import Judge, Reading, everything, verdict
from tinyldm.evaluation.statistics import Share, copies, frechet_distance, nearest, psnr, share, shares
from tinyldm.formats.files import explained, read_json, require_numbers
from tinyldm.formats.places import model_folder
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.reverse_diffusion import ddim
from tinyldm.training.clip import Clip, pad_tokens, prefers, retrieval
from tinyldm.training.export import PROJECTIONS, clip_of
from tinyldm.training.run import generator_at
from tinyldm.vae import to_unit

GROUP = 128  # retrieval: each image has to find its caption among this many
SHOWN = 16  # pictures of the figure
IMAGE_CONTEXT, CLIP = "image context", "CLIP"  # the two sections of a report that not every model has
# "red circle above blue square": names only what a swap exchanges.
PLAIN = Wording("", "", (False, False), True, "between", "", (0.0,) * 8)


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is measured."""

    captions: int = 1000  # fresh captions; a quarter as many held-out scenes and context images
    seed: int = 0  # of the fresh world and of the noise
    steps: int = 25
    guidance_scale: float = 3.0
    sampler: Callable = ddim
    batch: int = 100  # pictures generated at once
    training_images: int = 30_000  # among which copies are searched for
    progress: bool = True  # show progress bars

    def __post_init__(self):
        if self.captions < 8:
            raise ValueError(f"{self.captions} captions; expected at least 8, and 1,000 for narrow intervals")
        if self.seed < 0:
            raise ValueError(f"the seed is {self.seed}; expected 0 or more")
        if self.training_images < 1 or self.batch < 1:
            raise ValueError(f"{self.training_images} training images in batches of {self.batch}; expected at least 1")


@dataclass(frozen=True)
class World:
    """Fresh scenes: the captions to generate from, and the real images of them."""

    images: Tensor  # (N, 3, 64, 64) uint8
    captions: list[Caption]
    scenes: list[Scene]


@dataclass(frozen=True)
class Gallery:
    """The first pictures of an evaluation, for the figure."""

    images: Tensor  # (K, 3, 64, 64) uint8
    captions: list[str]
    strict: list[bool]  # does the judge find everything right
    nearest: Tensor  # (K, 3, 64, 64) uint8, the nearest training image of each


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────


def evaluate(
    name: str | Path = "tiny", settings: EvaluationSettings = EvaluationSettings(), device: torch.device | str = "cpu"
) -> tuple[dict[str, Any], Gallery]:
    """Measure the model in a folder.

    Args: name: "tiny" or a model folder, as `LatentDiffusion.from_pretrained` takes it.
    Returns: a report that JSON can hold (shares in [0, 1] with 95 % intervals), and pictures for a figure.
        What could not be measured, because the model lacks a part, is named in report["skipped"].
    Raises: ValueError where the model's pictures have a size that the judge cannot read.
    """
    start = time.monotonic()
    folder = model_folder(name)
    model = LatentDiffusion.from_pretrained(name, device=device)
    require_small_world(model, name)
    judge, skipped = Judge.load(), lacking(model, folder)
    world = fresh_world(settings.seed, settings.captions, settings)
    held_out = fresh_world(settings.seed, settings.captions // 4, settings, held_out=True)
    pictures = generate(model, world.captions, settings, "captions")
    composed = generate(model, held_out.captions, settings, "held-out captions")
    verdicts = judged(judge, pictures, world)
    report: dict[str, Any] = {
        "captions": by_count(verdicts, world),
        "held-out captions": by_count(judged(judge, composed, held_out), held_out),
    }
    if IMAGE_CONTEXT not in skipped:
        report[IMAGE_CONTEXT] = image_context(model, judge, world, settings)
    report["reconstruction"] = reconstruction(model, judge, world, settings)
    if CLIP not in skipped:
        report[CLIP] = clip_skill(clip_of(folder), model.text_encoder.tokenizer, world, settings)
    report["frechet"] = frechet(judge, pictures, world, settings)
    report["memorisation"], closest = memorisation(pictures, world, training_seed(folder), settings)
    report |= {"skipped": skipped} | circumstances(name, settings, device)
    report["seconds"] = round(time.monotonic() - start, 1)
    shown = slice(0, SHOWN)
    return report, Gallery(
        pictures[shown],
        [caption.text for caption in world.captions[shown]],
        [verdict["strict"] for verdict in verdicts[shown]],
        closest,
    )


def require_small_world(model: LatentDiffusion, name: str | Path) -> None:
    """Raises ValueError unless the model's pictures have the size that the judge reads."""
    height, width = model.image_size
    if (height, width) != (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE):
        raise ValueError(
            f"the model in {name} makes pictures of {height}×{width} pixels; the judge reads those of the small "
            f"world, {scenes.IMAGE_SIZE}×{scenes.IMAGE_SIZE}"
        )


def lacking(model: LatentDiffusion, folder: Path) -> dict[str, str]:
    """What cannot be measured, and which part of the model it would need."""
    if model.image_encoder is None:
        return {
            IMAGE_CONTEXT: "the model has no image encoder",
            CLIP: "the model has no image tower to compare captions with",
        }
    if not (folder / PROJECTIONS).is_file():
        return {CLIP: f"the folder has no {PROJECTIONS}, which training writes"}
    return {}


def circumstances(name: str | Path, settings: EvaluationSettings, device: torch.device | str) -> dict[str, Any]:
    """What is needed to repeat the measurement."""
    named = asdict(settings) | {"sampler": settings.sampler.__name__}
    return {
        "model": str(name),
        "settings": named,
        "versions": machine.versions(),
        "hardware": machine.hardware(device),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def fresh_world(seed: int, count: int, settings: EvaluationSettings, held_out: bool = False) -> World:
    """`count` scenes that no training uses."""
    parts = [
        scenes.batch(scenes.FRESH + seed, part, held_out) for part in batches(count, 500, "fresh scenes", settings)
    ]
    return World(
        channels_first(np.concatenate([images for images, _, _ in parts])),
        sum((captions for _, captions, _ in parts), []),
        sum((shown for _, _, shown in parts), []),
    )


def batches(count: int, size: int, what: str, settings: EvaluationSettings) -> Iterator[range]:
    """0 … count - 1 in ranges of at most `size`, behind a progress bar."""
    with tqdm(total=count, desc=f"{what:<18}", unit="", disable=not settings.progress, delay=0.5) as bar:
        for first in range(0, count, size):
            part = range(first, min(first + size, count))
            yield part
            bar.update(len(part))


# ── Captions ─────────────────────────────────────────────────────────────────────────────────────────


def generate(
    model: LatentDiffusion,
    captions: list[Caption],
    settings: EvaluationSettings,
    what: str,
    context: Tensor | None = None,
) -> Tensor:
    """A picture for each caption: (N, 3, 64, 64) uint8. With `context`, images (N, 3, 64, 64) uint8 are read too."""
    pictures, generator = [], generator_at(settings.seed, 0)  # it makes one child a picture, in their order
    for part in batches(len(captions), settings.batch, what, settings):
        seen = None if context is None else model.encode_image(to_float(context[part.start : part.stop]))
        images = model.generate(
            [captions[i].text for i in part],
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            sampler=settings.sampler,
            generator=generator,
            image_context=seen,
        )
        pictures.append(to_uint8(images).cpu())  # what is judged is what a file would hold
    return torch.cat(pictures)


def judged(judge: Judge, pictures: Tensor, world: World) -> list[dict[str, bool]]:
    """The judge's verdict on each picture, on what its caption states and nothing else."""
    return [
        verdict(reading, scene, caption.stated)
        for reading, scene, caption in zip(judge.read(to_float(pictures)), world.scenes, world.captions)
    ]


def by_count(verdicts: list[dict[str, bool]], world: World) -> dict[str, dict[str, dict]]:
    """Shares of all captions, of those with one object, and of those with two."""
    counts = [len(scene.things) for scene in world.scenes]
    chosen = {
        "all": verdicts,
        "one object": [v for v, count in zip(verdicts, counts) if count == 1],
        "two objects": [v for v, count in zip(verdicts, counts) if count == 2],
    }
    return {name: {kind: plain(found) for kind, found in shares(some).items()} for name, some in chosen.items() if some}


def plain(found: Share) -> dict[str, float]:
    """A share as JSON can hold it."""
    return {
        "share": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "right": found.right,
        "of": found.of,
    }


# ── Image context ────────────────────────────────────────────────────────────────────────────────────


def image_context(model: LatentDiffusion, judge: Judge, world: World, settings: EvaluationSettings) -> dict:
    """With a picture and no caption as context, do its background and its colours come back?

    "colour" asks whether each colour of the things in the context image is the colour of some thing in the result.
    "… by chance" compares with the context of the next picture instead: the score of a model that ignores it.
    """
    count = max(settings.captions // 4, 2)
    empty = [Caption("", frozenset(), PLAIN)] * count
    readings = judge.read(to_float(generate(model, empty, settings, "image as context", world.images[:count])))
    pairs = {
        "": zip(readings, world.scenes[:count]),
        " by chance": zip(readings, world.scenes[1:count] + world.scenes[:1]),
    }
    result = {}
    for ending, pair in pairs.items():
        found = [reappears(reading, scene) for reading, scene in pair]
        result |= {name + ending: plain(measured) for name, measured in shares(found).items()}
    return result


def reappears(reading: Reading, scene: Scene) -> dict[str, bool]:
    """Does the picture that was read have the background and the colours of `scene`?"""
    seen = {thing["colour"] for thing in reading.things}
    return {
        "background": reading.background == scene.background,
        "colour": all(thing.colour in seen for thing in scene.things),
    }


# ── The VAE and CLIP ─────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def reconstruction(model: LatentDiffusion, judge: Judge, world: World, settings: EvaluationSettings) -> dict[str, Any]:
    """Real pictures through the VAE and back: PSNR, and how much of everything in them the judge still reads."""
    back = []
    for part in batches(len(world.images), settings.batch, "reconstruction", settings):
        images = to_signed_float(world.images[part.start : part.stop]).to(model.device, model.dtype)
        back.append(to_uint8(to_unit(model.vae.decode(model.vae.encode(images)).float())).cpu())
    back = torch.cat(back)
    read = {}
    for name, images in (("reconstructed", back), ("original", world.images)):
        verdicts = [
            verdict(reading, scene, everything(scene))
            for reading, scene in zip(judge.read(to_float(images)), world.scenes)
        ]
        read[name] = {kind: plain(found) for kind, found in shares(verdicts).items()}
    decibels = psnr(to_float(back), to_float(world.images))
    return {"psnr": round(decibels.mean().item(), 2), **read}


def clip_skill(clip: Clip, tokenizer, world: World, settings: EvaluationSettings) -> dict[str, Any]:
    """Retrieval among GROUP captions, and binding: is the right caption preferred to the swapped one?

    Binding is measured twice: in plain words ("red circle above blue square"), and in all wordings that occur.
    """
    length = clip.text.config.max_position_embeddings
    images = to_signed_float(world.images)
    found, of = 0, 0
    for part in batches(len(images), GROUP, "CLIP", settings):
        chosen = slice(part.start, part.stop)
        tokens = pad_tokens(tokenizer, [caption.text for caption in world.captions[chosen]], length)
        found += round(retrieval(clip, images[chosen], tokens) * len(part))
        of += len(part)
    rng = np.random.default_rng(settings.seed)
    wordings = {"plain": lambda: PLAIN, "all wordings": lambda: random_wording(rng)}
    binding = {
        name: _binding(clip, tokenizer, length, images, world.scenes, wording) for name, wording in wordings.items()
    }
    return {f"retrieval among {min(GROUP, of)}": plain(share(found, of)), "binding": binding}


def _binding(
    clip: Clip, tokenizer, length: int, images: Tensor, shown: list[Scene], wording: Callable[[], Wording]
) -> dict[str, dict]:
    asked: dict[str, list[tuple[int, str, str]]] = {}  # kind -> (number of the image, right caption, swapped one)
    for i, scene in enumerate(shown):
        words = wording()
        for kind, swapped in swapped_captions(scene, words).items():
            asked.setdefault(kind, []).append((i, words.say(scene).text, swapped.text))
    result = {}
    for kind, questions in asked.items():
        numbers, *pairs = zip(*questions)
        right = 0
        for part in (slice(first, first + GROUP) for first in range(0, len(questions), GROUP)):
            captions, swapped = (pad_tokens(tokenizer, texts[part], length) for texts in pairs)
            right += int(prefers(clip, images[list(numbers[part])], captions, swapped).sum())
        result[kind] = plain(share(right, len(questions)))
    return result


# ── Sets of pictures ─────────────────────────────────────────────────────────────────────────────────


def frechet(judge: Judge, pictures: Tensor, world: World, settings: EvaluationSettings) -> dict[str, Any]:
    """The Fréchet distance to a set of real pictures; and that between two sets of real pictures, the lower limit.

    Each feature is measured in units of its standard deviation among the real pictures.
    """
    real = judge.features(to_float(fresh_world(settings.seed + scenes.FRESH, len(pictures), settings).images))
    unit = real.std(0)
    distance = {
        name: frechet_distance(judge.features(to_float(images)) / unit, real / unit)
        for name, images in (("generated", pictures), ("real", world.images))
    }
    return {name: round(value, 3) for name, value in distance.items()} | {"pictures": len(pictures)}


def training_seed(folder: Path) -> int:
    """The seed of the world that a model was trained on; 0, the default, if its folder does not say."""
    file = folder / "training.json"
    facts = read_json(file) if file.exists() else {}
    with explained(file):
        seed = facts.get("unet", {}).get("settings", {}).get("seed", 0)
        require_numbers({"seed": seed}, 0, scenes.FRESH - 1, "seed")
        return int(seed)


def memorisation(pictures: Tensor, world: World, seed: int, settings: EvaluationSettings) -> tuple[dict, Tensor]:
    """How many pictures are nearer to a training image than 99 % of fresh real ones are.

    Returns: the report, and the nearest training images of the first SHOWN pictures.
    """
    parts = [
        scenes.render([scenes.scene_at(seed, index) for index in part])
        for part in batches(settings.training_images, 1000, "training images", settings)
    ]
    training = channels_first(np.concatenate(parts))
    distance, index = nearest(pictures, training)
    usual, _ = nearest(world.images, training)
    report = {
        "copies": plain(copies(distance, usual)),
        "median distance": round(distance.median().item() / 255, 4),
        "median distance of fresh real pictures": round(usual.median().item() / 255, 4),
        "training images": len(training),
    }
    return report, training[index[:SHOWN]]
