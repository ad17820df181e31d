"""What the U-Net's stage computes once: each image as a latent, each caption as a context.

The VAE and the text encoder are frozen, so their output for the training data never changes. `build_cache` keeps it in
memory; `cache_on_disk` in shards (`data/shards.py`), which each process writes its share of, which later runs find
again, and which are compared with their checksums before they are used.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tinyldm.conditioning import ImageEncoder, TextEncoder
from tinyldm.data.corpus import Corpus
from tinyldm.data.pixels import to_signed_float
from tinyldm.data.shards import Rows, rows_per_shard, shard_facts, shard_file, verify, write_shard
from tinyldm.training.clip import pad_tokens
from tinyldm.training.processes import ALONE, Processes
from tinyldm.vae import VAE


@dataclass(frozen=True)
class Cache:
    """N images as latents, and all their possible contexts; on the training device, in float16 where large."""

    moments: Tensor | Rows  # (N, 8, h, w) float16, unscaled: mean ‖ log-variance
    contexts: Tensor | Rows  # (U, L, D) float16, of each different caption; number 0 is that of ""
    caption: Tensor  # (N, W) int64, which context belongs to an image in each of its wordings
    patches: Tensor | Rows | None  # (N, 1 + P, D_v) float16, the output of CLIP's image tower, if there is one


@torch.no_grad()
def build_cache(
    corpus: Corpus,
    vae: VAE,
    text_encoder: TextEncoder,
    image_encoder: ImageEncoder | None,
    device: str,
    batch: int = 256,
    progress: bool = True,
) -> Cache:
    """Encode every image and every different caption of a corpus once, and keep all in memory."""
    texts, caption = numbered_captions(corpus)
    tokens = pad_tokens(text_encoder.tokenizer, texts, text_encoder.length)
    bar = tqdm(total=len(corpus) + len(tokens), desc="encoding once", disable=not progress, mininterval=1.0)
    images, contexts = [], []
    for part in corpus.images.split(batch):
        images.append(encode_images(part.to(device), vae, image_encoder))
        bar.update(len(part))
    for part in tokens.split(4 * batch):
        contexts.append(text_encoder(part.to(device)).half())
        bar.update(len(part))
    bar.close()
    patches = None if image_encoder is None else torch.cat([one["patches"] for one in images])
    return Cache(torch.cat([one["moments"] for one in images]), torch.cat(contexts), caption.to(device), patches)


def numbered_captions(corpus: Corpus) -> tuple[list[str], Tensor]:
    """The different captions, "" first, and the number of each image's caption in each of its wordings: (N, W)."""
    number = {"": 0}
    for wordings in corpus.captions:
        for caption in wordings:
            number.setdefault(caption, len(number))
    return list(number), torch.tensor([[number[caption] for caption in wordings] for wordings in corpus.captions])


def encode_images(pixels: Tensor, vae: VAE, image_encoder: ImageEncoder | None) -> dict[str, Tensor]:
    """uint8 (B, 3, S, S) -> the moments of their latents, and the patch vectors if there is an image encoder."""
    images = to_signed_float(pixels)
    posterior = vae.posterior(images)
    encoded = {"moments": torch.cat([posterior.mean, posterior.logvar], dim=1).half()}
    if image_encoder is not None:
        encoded["patches"] = image_encoder.clip(image_encoder.clip.preprocess(images)).last.half()
    return encoded


# ── On the disk ──────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def cache_on_disk(
    folder: Path,
    corpus: Corpus,
    vae: VAE,
    text_encoder: TextEncoder,
    image_encoder: ImageEncoder | None,
    device: str,
    processes: Processes = ALONE,
    batch: int = 64,
    progress: bool = True,
) -> Cache:
    """As `build_cache`, in files of `folder`: what is there already, and whole, is not computed again.

    Warns: where a file is damaged, or belongs to other weights or other data; it is then written again.
    """
    texts, caption = numbered_captions(corpus)
    tokens = pad_tokens(text_encoder.tokenizer, texts, text_encoder.length)
    networks = [vae, *([] if image_encoder is None else [image_encoder.clip])]
    images = written(
        folder / "images",
        fingerprint([_digest(corpus.images)], networks),
        corpus.images,
        lambda part: encode_images(part.to(device), vae, image_encoder),
        processes,
        batch,
        progress,
    )
    contexts = written(
        folder / "contexts",
        fingerprint([_digest(tokens)], [text_encoder.clip]),
        tokens,
        lambda part: {"contexts": text_encoder(part.to(device)).half()},
        processes,
        4 * batch,
        progress,
    )
    patches = None if image_encoder is None else Rows(images, "patches", device)
    return Cache(Rows(images, "moments", device), Rows(contexts, "contexts", device), caption.to(device), patches)


def written(
    folder: Path,
    made_from: str,
    rows: Tensor | Rows,
    encode: Callable[[Tensor], dict[str, Tensor]],
    processes: Processes,
    batch: int,
    progress: bool,
) -> list[Path]:
    """The shards of what `encode` makes of all rows, those that are missing written first.

    Args:
        made_from: the fingerprint of the rows and of the networks in `encode`.
        encode: some rows (B, …) -> name -> (B, …).
        batch: how many rows to encode at a time.
    """
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
    processes.wait()
    length = rows_per_shard(sum(tensor.nbytes for tensor in encode(rows[:1]).values()))
    files = [shard_file(folder, number) for number in range(-(-len(rows) // length))]
    mine = range(processes.number, len(files), processes.count)
    for number in tqdm(mine, desc=f"encoding once: {folder.name}", disable=not (progress and processes.is_first)):
        if not _is_whole(files[number], made_from):
            part = rows[number * length : (number + 1) * length]
            encoded = [encode(some) for some in part.split(batch)]
            tensors = {name: torch.cat([one[name] for one in encoded]) for name in encoded[0]}
            write_shard(files[number], tensors, {"made_from": made_from})
    processes.wait()
    return files


def _is_whole(file: Path, made_from: str) -> bool:
    """Can a shard be used?  Warns where it is there and cannot."""
    if not file.is_file():
        return False
    try:
        verify(file)
        if shard_facts(file).get("made_from") == made_from:
            return True
        reason = f"{file} belongs to other data or other weights"
    except ValueError as error:
        reason = str(error)
    warnings.warn(f"{reason}; it is written again", stacklevel=3)
    return False


def fingerprint(data: Iterable[str], networks: Iterable[nn.Module]) -> str:
    """One checksum of some data, given by their own, and of all weights of some networks."""
    weights = [_digest(value) for network in networks for _, value in sorted(network.state_dict().items())]
    return hashlib.sha256(json.dumps([*data, *weights]).encode()).hexdigest()


def _digest(tensor: Tensor | Rows) -> str:
    if isinstance(tensor, Rows):
        return tensor.digest
    content = tensor.detach().cpu().contiguous()
    return hashlib.sha256(f"{content.dtype} {tuple(content.shape)}".encode() + content.numpy().tobytes()).hexdigest()
