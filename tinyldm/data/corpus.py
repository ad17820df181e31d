"""Images and captions: the data set from which the training loops take their batches.

The images are in memory, 12 KB each at 64×64, or in memory-mapped files where they do not fit (`disk_corpus`). Scenes
are rendered once, by several processes if there are many.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tinyldm import threads
from tinyldm.data import drawings, scenes
from tinyldm.data.captions import VOCABULARY, random_wording, swapped_captions
from tinyldm.data.description import EMPTY, FIELDS, describe, describe_stated
from tinyldm.data.digits import DIGITS, Digits
from tinyldm.data.drawing_captions import caption
from tinyldm.data.folder import Folder
from tinyldm.data.pixels import channels_first, to_uint8
from tinyldm.data.shards import Rows
from tinyldm.vae import to_unit

WORDS = (*VOCABULARY, *DIGITS, "handwritten")  # each of them is one token
SWAPS = ("colour", "shape", "size", "position")  # the kinds of hard negatives


@dataclass(frozen=True)
class Corpus:
    """N images, each with W captions, hard negatives of each caption, and the forms of both."""

    images: Tensor | Rows  # (N, 3, S, S) uint8
    captions: list[list[str]]  # N × W
    negatives: list[list[list[str]]]  # N × W × (0 to 4): the caption with one attribute exchanged between two things
    image_form: Tensor  # (N, F) int8, `describe` of each scene; EMPTY where nothing is known
    caption_form: Tensor  # (N, W, F) int8, `describe_stated` of each caption

    def __len__(self) -> int:
        return len(self.captions)


def scenes_corpus(count: int, seed: int = 0, wordings: int = 2) -> Corpus:
    """`count` scenes of the training split of the world `seed`, each worded `wordings` times."""
    chunks = [(seed, first, min(first + 2000, count), wordings) for first in range(0, count, 2000)]
    workers = min(threads.available(), len(chunks) // 8)
    if workers > 1:
        # "spawn": a fork of a process whose threads are at work can hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_scenes_chunk, chunks))
    else:
        parts = [_scenes_chunk(chunk) for chunk in chunks]
    return _joined(parts)


def _scenes_chunk(chunk: tuple[int, int, int, int]) -> tuple[np.ndarray, list, list, list, list]:
    seed, first, last, wordings = chunk
    shown = [scenes.scene_at(seed, index) for index in range(first, last)]
    captions, negatives, caption_form = [], [], []
    for index, scene in enumerate(shown, start=first):
        rng = np.random.default_rng([seed, index])
        chosen = [random_wording(rng) for _ in range(wordings)]
        worded = [wording.say(scene) for wording in chosen]
        captions.append([caption.text for caption in worded])
        caption_form.append([describe_stated(scene, caption.stated) for caption in worded])
        negatives.append([[other.text for other in swapped_captions(scene, wording).values()] for wording in chosen])
    return scenes.render(shown), captions, negatives, [describe(scene) for scene in shown], caption_form


def _joined(parts: list[tuple[np.ndarray, list, list, list, list]]) -> Corpus:
    images = channels_first(np.concatenate([part[0] for part in parts]))
    captions, negatives, image_form, caption_form = (
        [one for part in parts for one in part[column]] for column in range(1, 5)
    )
    forms = (torch.tensor(form, dtype=torch.int8) for form in (image_form, caption_form))
    return Corpus(images, captions, negatives, *forms)


def digits_corpus(size: int = 64) -> Corpus:
    """The 1,797 handwritten digits of scikit-learn."""
    digits = Digits(size)
    images, captions, _ = zip(*(digits[index] for index in range(len(digits))))
    return captioned_corpus(to_uint8(to_unit(torch.stack(images))), captions)


def folder_corpus(path: str | Path, size: int = 64) -> tuple[Corpus, list[tuple[str, str]]]:
    """The captioned images of a folder, and the list of what was skipped, as (what, why)."""
    folder = Folder(path, size)
    return captioned_corpus(folder.images, folder.captions), folder.skipped


def drawings_corpus(
    shown: Sequence[drawings.Drawing] | None = None, copies: int = 4, seed: int = 0, wordings: int = 3
) -> Corpus:
    """Each drawing `copies` times, worded `wordings` times each: first on white, then on any ground, moved, mirrored.

    Args: shown: which drawings; None: all that a model may be trained on.
    """
    shown = drawings.for_training() if shown is None else shown
    rgba, images, captions = drawings.pixels(shown), [], []
    for copy in range(copies):
        rng = np.random.default_rng([seed, copy])
        if copy:
            placed, grounds = placed_on_grounds(rgba, shown, rng)
        else:
            placed, grounds = drawings.on_ground(rgba, np.full((len(shown), 3), 255)), ["white"] * len(shown)
        images.append(placed)
        captions += [
            [caption(drawing, ground, rng) for _ in range(wordings)] for drawing, ground in zip(shown, grounds)
        ]
    return worded_corpus(channels_first(np.concatenate(images)), captions)


def placed_on_grounds(
    rgba: np.ndarray, shown: Sequence[drawings.Drawing], rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Drawings a little moved, mirrored where that changes nothing that is said of them, on any ground.

    Args: rgba (N, S, S, 4) uint8, the pixels of `shown`. Returns: (N, S, S, 3) uint8; the grounds' names.
    """
    grounds = [str(ground) for ground in rng.choice(list(drawings.GROUNDS), len(shown))]
    shifts = rng.integers(-drawings.MAX_SHIFT, drawings.MAX_SHIFT, (len(shown), 2), endpoint=True)
    mirrored = rng.random(len(shown)) < 0.5
    moved = [
        drawings.moved(one[:, ::-1] if flip and drawings.may_be_mirrored(drawing) else one, int(right), int(down))
        for one, drawing, flip, (right, down) in zip(rgba, shown, mirrored, shifts)
    ]
    return drawings.on_ground(np.stack(moved), np.array([drawings.GROUNDS[ground] for ground in grounds])), grounds


def disk_corpus(files: list[Path]) -> tuple[Corpus, list[tuple[str, str]]]:
    """The captioned images in the shards that `streams.prepare` wrote, and what was skipped, as (what, why)."""
    images = Rows(files, "images")
    captions = [caption for facts in images.facts for caption in facts["captions"]]
    skipped = [(name, why) for facts in images.facts for name, why in facts["skipped"]]
    return captioned_corpus(images, captions), skipped


def captioned_corpus(images: Tensor | Rows, captions: Sequence[str]) -> Corpus:
    """Images (N, 3, S, S) uint8 of which nothing is known but one caption each."""
    return worded_corpus(images, [[caption] for caption in captions])


def worded_corpus(images: Tensor | Rows, captions: list[list[str]]) -> Corpus:
    """Images (N, 3, S, S) uint8 of which nothing is known but their captions, N × W."""
    form = torch.full((len(images), len(FIELDS)), EMPTY, dtype=torch.int8)
    wordings = len(captions[0])
    negatives: list[list[list[str]]] = [[[] for _ in range(wordings)] for _ in captions]
    return Corpus(images, captions, negatives, form, form[:, None].expand(-1, wordings, -1))
