"""Images and captions, all in memory: what the training loops draw their batches from.

The scenes are rendered once, by several processes if there are many; 12 KB an image.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tinyldm.data import scenes
from tinyldm.data.captions import VOCABULARY, random_wording, swapped_captions
from tinyldm.data.description import FIELDS, UNSAID, describe, describe_stated
from tinyldm.data.digits import DIGITS, Digits
from tinyldm.data.folder import Folder
from tinyldm.data.pixels import channels_first, to_uint8
from tinyldm.vae import to_unit

WORDS = (*VOCABULARY, *DIGITS, "handwritten")  # each of them is one token
SWAPS = ("colour", "shape", "size", "position")  # the kinds of hard negatives


@dataclass(frozen=True)
class Corpus:
    """N images, each with W captions; for each caption what it is not, and for both what is known of them."""

    images: Tensor  # (N, 3, S, S) uint8
    captions: list[list[str]]  # N × W
    negatives: list[list[list[str]]]  # N × W × (0 to 4): the caption with one attribute exchanged between two things
    shown: Tensor  # (N, F) int8, `describe` of each scene; UNSAID where nothing is known
    said: Tensor  # (N, W, F) int8, `describe_stated` of each caption

    def __len__(self) -> int:
        return len(self.captions)


def scenes_corpus(count: int, seed: int = 0, wordings: int = 2) -> Corpus:
    """`count` scenes of the training split of the world `seed`, each worded `wordings` times."""
    chunks = [(seed, first, min(first + 2000, count), wordings) for first in range(0, count, 2000)]
    workers = min(os.cpu_count() or 1, len(chunks) // 8)
    if workers > 1:
        # "spawn": a fork of a process whose threads are at work can hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_scenes_chunk, chunks))
    else:
        parts = [_scenes_chunk(chunk) for chunk in chunks]
    return _joined(parts)


def _scenes_chunk(chunk: tuple[int, int, int, int]) -> tuple[np.ndarray, list, list, list, list]:
    seed, first, last, wordings = chunk
    drawn = [scenes.scene_at(seed, index) for index in range(first, last)]
    captions, negatives, said = [], [], []
    for index, scene in enumerate(drawn, start=first):
        rng = np.random.default_rng([seed, index])
        spoken = [random_wording(rng) for _ in range(wordings)]
        told = [wording.say(scene) for wording in spoken]
        captions.append([caption.text for caption in told])
        said.append([describe_stated(scene, caption.stated) for caption in told])
        negatives.append([[other.text for other in swapped_captions(scene, wording).values()] for wording in spoken])
    return scenes.render(drawn), captions, negatives, [describe(scene) for scene in drawn], said


def _joined(parts: list[tuple[np.ndarray, list, list, list, list]]) -> Corpus:
    images = channels_first(np.concatenate([part[0] for part in parts]))
    captions, negatives, shown, said = (sum((part[column] for part in parts), []) for column in range(1, 5))
    return Corpus(
        images, captions, negatives, torch.tensor(shown, dtype=torch.int8), torch.tensor(said, dtype=torch.int8)
    )


def digits_corpus(size: int = 64) -> Corpus:
    """The 1,797 handwritten digits of scikit-learn."""
    digits = Digits(size)
    images, captions, _ = zip(*(digits[index] for index in range(len(digits))))
    return captioned_corpus(to_uint8(to_unit(torch.stack(images))), captions)


def folder_corpus(path: str | Path, size: int = 64) -> tuple[Corpus, list[tuple[str, str]]]:
    """The captioned images of a folder, and the list of what was skipped, as (what, why)."""
    folder = Folder(path, size)
    return captioned_corpus(folder.images, folder.captions), folder.skipped


def captioned_corpus(images: Tensor, captions: Sequence[str]) -> Corpus:
    """Images (N, 3, S, S) uint8 of which nothing is known but one caption each."""
    unknown = torch.full((len(images), len(FIELDS)), UNSAID, dtype=torch.int8)
    return Corpus(images, [[caption] for caption in captions], [[[]] for _ in captions], unknown, unknown[:, None])
