"""Captioned pictures from sources of any size: read once, one after the other, into memory-mapped files.

Three kinds of sources, each a stream of samples in a fixed order:

    folder      any kind of picture, and metadata.jsonl beside them (the "image folder" of Hugging Face `datasets`)
    .parquet    Hugging Face `datasets` tables with a column `image`, and the caption in `text`, `caption` or `prompt`
    .tar        WebDataset shards: 0001.jpg and 0001.txt (or 0001.json) one after the other are one sample

`prepare` decodes each picture, crops and resizes it, and writes it to a shard (`shards.py`), 12 KB each at 64×64. From
there a training reads any picture at any time. So its order is a true shuffle of the whole set, the same for every
number of processes; a run resumes in the middle of an epoch with nothing but the number of its step; and each process
reads its own share only. What cannot be used is skipped, counted and named.

A preparation that was killed continues after the last shard that is whole.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tinyldm.data import pictures
from tinyldm.data.metadata import caption_of, captions_of
from tinyldm.data.pixels import channels_first
from tinyldm.data.shards import rows_per_shard, shard_facts, shard_file, shard_files, write_shard

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")  # endings of pictures in a .tar


@dataclass(frozen=True)
class Sample:
    """A picture that is not yet decoded, and its caption; or what is wrong with one of them."""

    name: str  # where it is in the source
    picture: Path | bytes | ValueError
    caption: str | ValueError


# ── The sources ──────────────────────────────────────────────────────────────────────────────────────


def folder_samples(folder: Path) -> Iterator[Sample]:
    """The pictures of a folder, in the order of its metadata. Raises ValueError where there is none."""
    inside = folder.resolve()
    for name, caption in captions_of(folder):
        file = folder / name
        if isinstance(caption, ValueError):
            yield Sample(name, caption, caption)
        elif not file.resolve().is_relative_to(inside):
            yield Sample(name, ValueError("outside of the folder"), caption)
        elif not file.is_file():
            yield Sample(name, ValueError("no such file"), caption)
        else:
            yield Sample(name, file, caption)


def parquet_samples(files: Sequence[Path]) -> Iterator[Sample]:
    """The rows of Parquet files, in order, read by Hugging Face `datasets` a few at a time.

    Raises: ValueError where the library or the column is missing, or a file is broken.
    """
    try:
        from datasets import Image, load_dataset
    except ImportError:
        raise ValueError('reading .parquet files needs Hugging Face datasets: pip install "tinyldm[train]"') from None
    for file in files:
        try:
            rows = load_dataset("parquet", data_files=str(file), split="train", streaming=True)
            columns = list(rows.features or next(iter(rows)))
            stream = iter(rows.cast_column("image", Image(decode=False))) if "image" in columns else None
        except (ValueError, OSError, RuntimeError) as error:  # Arrow's errors are kinds of these
            raise ValueError(f"{file} is not a Parquet file that can be read ({error})") from None
        if stream is None:
            raise ValueError(f"{file} has the columns {', '.join(columns)}; expected image and text")
        for number, row in enumerate(stream, start=1):
            yield Sample(f"{file.name} row {number}", _stored(row["image"]), _caption(row))


def _stored(image: dict[str, Any] | None) -> Path | bytes | ValueError:
    """The picture in a row of `datasets`: its bytes, or the file that it names."""
    if image and image.get("bytes"):
        return image["bytes"]
    return Path(image["path"]) if image and image.get("path") else ValueError("no picture")


def tar_samples(files: Sequence[Path]) -> Iterator[Sample]:
    """The samples of WebDataset shards, in order. A shard that is cut off counts as one broken sample at its end."""
    for file in files:
        key, parts = "", dict[str, bytes]()
        try:
            with tarfile.open(file, "r|*") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    folder, _, base = member.name.rpartition("/")
                    stem, _, ending = base.partition(".")
                    if (new := f"{folder}/{stem}" if folder else stem) != key:
                        yield from _assembled(file, key, parts)
                        key, parts = new, {}
                    content = tar.extractfile(member)
                    parts[ending.lower()] = content.read() if content else b""
            yield from _assembled(file, key, parts)
            require_end(file)
        except (tarfile.TarError, OSError, EOFError) as error:
            yield Sample(file.name, broken := ValueError(f"not a whole .tar file: {error}"), broken)


def require_end(file: Path) -> None:
    """Raises EOFError where an archive does not end with zeros. (A cut between members is an end to `tarfile`.)"""
    with open(file, "rb") as content:
        content.seek(-512, io.SEEK_END)
        if content.read().strip(b"\0"):
            raise EOFError("it is cut off")


def _assembled(file: Path, key: str, parts: dict[str, bytes]) -> Iterator[Sample]:
    """The sample that some members of an archive with one name make up; nothing for other files."""
    if not parts:
        return
    picture = next((parts[ending] for ending in PICTURES if ending in parts), ValueError("no picture"))
    caption: str | ValueError = ValueError("no caption: neither .txt nor .json")
    if "txt" in parts:
        caption = _caption({"text": parts["txt"].decode(errors="replace")})
    elif "json" in parts:
        try:
            caption = _caption(json.loads(parts["json"]))
        except (ValueError, RecursionError):
            caption = ValueError("its .json is not JSON")
    yield Sample(f"{file.name} {key}", picture, caption)


def _caption(row: Any) -> str | ValueError:
    try:
        return caption_of(row if isinstance(row, dict) else {})
    except ValueError as error:
        return error


# ── Reading once ─────────────────────────────────────────────────────────────────────────────────────


def prepare(samples: Iterator[Sample], folder: Path, size: int, source: str, progress: bool = True) -> list[Path]:
    """Write the pictures of a stream to shards in `folder`, unless they are there; return the shards.

    Args:
        size: pictures are cropped to the square in their middle and resized to (size, size).
        source: the name of the source; a folder that was prepared from another one is refused.
    Raises: ValueError where nothing is usable, or the folder holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, origin = shard_files(folder), {"source": source, "size": size}
    facts = [shard_facts(file) for file in files]
    if any({key: one.get(key) for key in origin} != origin for one in facts):
        raise ValueError(f"{folder} holds other pictures than those of {source} at {size}×{size}; delete it first")
    if facts and facts[-1]["last"]:
        return files
    consumed = sum(len(one["captions"]) + len(one["skipped"]) for one in facts)
    shards = _shards(islice(samples, consumed, None), size, rows_per_shard(3 * size * size))
    bar = tqdm(desc="preparing", unit=" pictures", initial=consumed, disable=not progress, mininterval=1.0)
    for number, (images, found) in enumerate(shards, start=len(files)):
        files.append(shard_file(folder, number))
        write_shard(files[-1], {"images": images}, origin | found)
        bar.update(len(found["captions"]) + len(found["skipped"]))
    bar.close()
    return files


def _shards(samples: Iterator[Sample], size: int, rows: int) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """The decoded pictures of a stream, `rows` at a time, with captions and what was skipped among them.

    One picture is read ahead, so that the last shard is known to be the last.
    """
    images: list[Tensor] = []
    captions: list[str] = []
    skipped: list[tuple[str, str]] = []
    for sample in samples:
        try:
            caption, image = _decoded(sample, size)
        except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise nearly anything
            skipped.append((sample.name, pictures.why_unreadable(error)))
            continue
        if len(images) == rows:
            yield torch.stack(images), {"captions": captions, "skipped": skipped, "last": False}
            images, captions, skipped = [], [], []
        images.append(image)
        captions.append(caption)
    if not images:
        named = "; ".join(f"{name} ({why})" for name, why in skipped[:5])
        raise ValueError(f"nothing usable in the source: {named or 'it is empty'}")
    yield torch.stack(images), {"captions": captions, "skipped": skipped, "last": True}


def _decoded(sample: Sample, size: int) -> tuple[str, Tensor]:
    """The caption, and the picture (3, size, size) uint8. Raises whatever is wrong with the sample."""
    if isinstance(sample.caption, ValueError):
        raise sample.caption
    if isinstance(sample.picture, ValueError):
        raise sample.picture
    file: Path | BinaryIO = io.BytesIO(sample.picture) if isinstance(sample.picture, bytes) else sample.picture
    return sample.caption, channels_first(np.array(pictures.middle(pictures.decoded(file, "white"), (size, size))))
