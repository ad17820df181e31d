"""Measure a model of drawings: the judge of drawings reads what it draws, beside real and reconstructed drawings.

    tinyldm evaluate --model pictures --judge runs/judge

    seen                 names in styles that the model was trained on, the style asked for by its word
    held-out pairs       names in a style in which neither the model nor the judge ever saw them
    held-out portraits   combinations of hair, its colour and glasses that neither has seen: each attribute asked for
    style by a picture   the held-out pairs again: the caption has the name alone, and another drawing shows the style
    memorisation         how many pictures are copies of training drawings

Every share stands beside the same judge's reading of the *real* drawings, and of what the VAE leaves of them: a judge
that cannot read the real ones says nothing about generated ones.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyldm.data import drawings
from tinyldm.data.drawings import Drawing
from tinyldm.data.pixels import channels_first, to_float, to_signed_float, to_uint8
from tinyldm.evaluation.drawing_judge import DrawingJudge
from tinyldm.evaluation.measure import EvaluationSettings, batches, circumstances, plain
from tinyldm.evaluation.statistics import copies, nearest, psnr, share
from tinyldm.formats.places import model_folder, names_of_drawings
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.run import generator_at
from tinyldm.vae import to_unit

SEEN, PAIRS, PORTRAITS = "seen", "held-out pairs", "held-out portraits"
BY_PICTURE = "style by a picture"
FIRST_FIVE = "name, first five"  # the share of right names among the judge's first five


@dataclass(frozen=True)
class DrawingGallery:
    """The first pictures of an evaluation, for a grid."""

    images: Tensor  # (K, 3, 64, 64) in [0, 1]
    captions: list[str]


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────


def evaluate_drawings(
    name: str | Path, judge: DrawingJudge, settings: EvaluationSettings, device: torch.device | str = "cpu"
) -> tuple[dict[str, Any], DrawingGallery]:
    """Measure a model of drawings. The numbers repeat for the same settings on the same machine.

    Args:
        name: "pictures" or a model folder.
        judge: trained without what is held out, on the CPU. What it cannot name is not asked.
        settings: `captions` is how many drawings of each kind are asked for, evenly spread; `training_images`
            counts for nothing here, as all training drawings are searched.
    Returns: a report that JSON can hold (shares in [0, 1] with 95 % intervals), and pictures for a grid.
    Raises: ValueError where there is no such model.
    """
    start = time.monotonic()
    model = LatentDiffusion.from_pretrained(name, device=device)
    names = names_of_drawings(model_folder(name))
    asked = {kind: spread(shown, settings.captions) for kind, shown in what_is_asked(judge, names).items()}
    report: dict[str, Any] = {}
    drawn: dict[str, Tensor] = {}
    for kind, shown in asked.items():
        captions = [caption_of(drawing) for drawing in shown]
        drawn[kind] = draw(model, captions, settings, kind)
        report[kind] = beside_the_real_ones(model, judge, shown, drawn[kind], settings)
    report["skipped"] = {}
    if model.image_encoder is None:
        report["skipped"][BY_PICTURE] = "the model has no image encoder"
    else:
        report[BY_PICTURE] = style_by_a_picture(model, judge, asked[PAIRS], settings)
    report["memorisation"] = memorisation(drawn[SEEN], names)
    report |= circumstances(name, settings, device)
    report["seconds"] = round(time.monotonic() - start, 1)
    return report, DrawingGallery(drawn[SEEN][:32], [caption_of(drawing) for drawing in asked[SEEN][:32]])


def what_is_asked(judge: DrawingJudge, names: Collection[str] | None = None) -> dict[str, list[Drawing]]:
    """The drawings of each kind whose name and style the judge knows. names: that the model knows; None: all."""
    asked = set(judge.asked["name"]) if names is None else set(names).intersection(judge.asked["name"])
    known = [d for d in drawings.named() if d.name in asked and d.style in judge.asked["style"]]
    people = [d for d in drawings.portraits() if d.name in asked and d.style in judge.asked["style"]]
    kinds = {
        SEEN: [drawing for drawing in known if not drawings.is_held_out(drawing)],
        PAIRS: [drawing for drawing in known if drawings.is_held_out(drawing)],
        PORTRAITS: [drawing for drawing in people if drawings.is_held_out(drawing)],
    }
    return {kind: shown for kind, shown in kinds.items() if shown}


def spread(shown: Sequence[Drawing], count: int) -> list[Drawing]:
    """At most `count` of some drawings, evenly spread over their order."""
    if len(shown) <= count:
        return list(shown)
    return [shown[i * len(shown) // count] for i in range(count)]


# ── Asking and drawing ───────────────────────────────────────────────────────────────────────────────


def caption_of(drawing: Drawing) -> str:
    """The caption that asks for a drawing with all that can be asked: its name and style, or all its attributes."""
    has = drawing.attributes
    if not has:
        return f"{drawing.name}, {drawing.style} style"
    hair = [has[key] for key in ("hair", "hair colour") if key in has]
    parts = [" ".join([*hair, "hair"])]
    parts += [has[key] for key in ("glasses", "beard") if key in has and not has[key].startswith("no ")]
    parts += [f"{has['clothes']} clothes"] if "clothes" in has else []
    said = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    who = f"{has['mouth']} person" if "mouth" in has else "person"
    skin = f" with {has['skin']} skin," if "skin" in has else " with"
    return f"a {who}{skin} {said}, {drawing.style} style"


def draw(
    model: LatentDiffusion,
    captions: Sequence[str],
    settings: EvaluationSettings,
    what: str,
    style: Tensor | None = None,
) -> Tensor:
    """One picture for each caption: (N, 3, 64, 64) in [0, 1], on the CPU. style: (N, 3, 64, 64), pictures to read."""
    generator = generator_at(settings.seed, 0)  # it makes one child a picture, in their order
    drawn = []
    for part in batches(len(captions), settings.batch, what, settings):
        images = model.generate(
            [captions[i] for i in part],
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            sampler=settings.sampler,
            generator=generator,
            image_context=None if style is None else model.encode_image(style[part.start : part.stop]),
        )
        drawn.append(to_float(to_uint8(images).cpu()))  # what is judged is what a file would hold
    return torch.cat(drawn)


def on_white(shown: Sequence[Drawing]) -> Tensor:
    """The drawings themselves: (N, 3, 64, 64) uint8."""
    return channels_first(drawings.on_ground(drawings.pixels(shown), np.full((len(shown), 3), 255)))


@torch.no_grad()
def reconstructed(model: LatentDiffusion, images: Tensor, batch: int = 64) -> Tensor:
    """What is left of images (N, 3, 64, 64) in [0, 1] after the VAE."""
    parts = [to_signed_float(to_uint8(part)).to(model.device, model.dtype) for part in images.split(batch)]
    return torch.cat([to_unit(model.vae.decode(model.vae.encode(part)).float()).cpu() for part in parts])


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────


def reading(judge: DrawingJudge, images: Tensor, shown: Sequence[Drawing]) -> dict[str, dict[str, float]]:
    """The share that the judge reads right, for each question that has an answer here."""
    found = {}
    for question in judge.asked:
        rank = judge.rank(images, shown, question)
        rank = rank[rank >= 0]
        if len(rank):
            found[question] = plain(share(int((rank == 0).sum()), len(rank)))
        if len(rank) and question == "name":
            found[FIRST_FIVE] = plain(share(int((rank < 5).sum()), len(rank)))
    return found


def beside_the_real_ones(
    model: LatentDiffusion, judge: DrawingJudge, shown: Sequence[Drawing], drawn: Tensor, settings: EvaluationSettings
) -> dict[str, Any]:
    """The judge's reading of real, reconstructed and drawn pictures of the same drawings, and the VAE's PSNR."""
    originals = to_float(on_white(shown))
    back = reconstructed(model, originals, settings.batch)
    pictures = {"real": originals, "reconstructed": back, "drawn": drawn}
    readings = {name: reading(judge, images, shown) for name, images in pictures.items()}
    return readings | {"psnr": round(psnr(back, originals).mean().item(), 2), "count": len(shown)}


def style_by_a_picture(
    model: LatentDiffusion, judge: DrawingJudge, shown: Sequence[Drawing], settings: EvaluationSettings
) -> dict[str, Any]:
    """Names without a style word: with a picture of another thing in the wanted style, and without any picture."""
    captions = [drawing.name for drawing in shown]
    style = to_float(on_white([another_of(drawing) for drawing in shown]))
    return {
        "with the picture": reading(judge, draw(model, captions, settings, BY_PICTURE, style), shown),
        "without": reading(judge, draw(model, captions, settings, "no style"), shown),
        "count": len(shown),
    }


def another_of(drawing: Drawing) -> Drawing:
    """A drawing of something else in the same style, which training may have seen: always the same one."""
    others = [
        one
        for one in drawings.named()
        if one.style == drawing.style and one.name != drawing.name and not drawings.is_held_out(one)
    ]
    return others[drawing.number * 7919 % len(others)]  # a prime, so that neighbours on the sheet get others


def memorisation(drawn: Tensor, names: Collection[str] | None = None) -> dict[str, Any]:
    """How many pictures are nearer to a training drawing than 99 % of the held-out drawings are.

    names: that the model was trained on; None: all. Held-out drawings are of all names: of a few there are too few.
    """
    held_out = [drawing for drawing in drawings.named() if drawings.is_held_out(drawing)]
    training = on_white([drawing for drawing in drawings.for_training(names) if not drawing.attributes])
    distance, _ = nearest(to_uint8(drawn), training)
    usual, _ = nearest(on_white(held_out), training)
    return {
        "copies": plain(copies(distance, usual)),
        "median distance": round(distance.median().item() / 255, 4),
        "median distance of held-out drawings": round(usual.median().item() / 255, 4),
        "training images": len(training),
    }


# ── In words ─────────────────────────────────────────────────────────────────────────────────────────


def in_words(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    lines = []
    for kind in (kind for kind in (SEEN, PAIRS, PORTRAITS) if kind in report):
        found = report[kind]
        lines += _table(f"{kind} ({found['count']})", found, ("real", "reconstructed", "drawn"))
        lines.append(f"  PSNR of the VAE {found['psnr']:.1f} dB")
    if BY_PICTURE in report:
        found = report[BY_PICTURE]
        lines += _table(f"{BY_PICTURE} ({found['count']})", found, ("without", "with the picture"))
    copied = report["memorisation"]["copies"]
    lines.append(f"copies of training drawings {copied['share']:.1%} (of held-out drawings: 1 %)")
    lines += [f"skipped {name}: {why}" for name, why in report["skipped"].items()]
    lines.append(f"{report['seconds']:.0f} s on {report['hardware'].get('gpu') or report['hardware']['processor']}")
    return lines


def _table(title: str, found: dict[str, Any], columns: tuple[str, ...]) -> list[str]:
    """One line for each question: the share in each column, and the interval of the last one."""
    lines = [f"{title:<34}" + "".join(f"{column:>18}" for column in columns)]
    for question, last in found[columns[-1]].items():
        shares = "".join(f"{found[column][question]['share']:>18.1%}" for column in columns)
        lines.append(f"  {question:<32}{shares}   {last['low']:.1%} to {last['high']:.1%}")
    return lines
