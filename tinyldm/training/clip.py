"""CLIP: a text tower and an image tower that give a caption and its picture nearly the same vector.

The U-Net reads the token vectors of the two towers (`tinyldm/clip.py`); the two projections, and this file, are needed
for training and for measuring only.

Source: Radford et al. 2021, figure 3.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.clip import TextConfig, TextTransformer, VisionConfig
from tinyldm.formats.files import explained, read_json, write_json, write_safetensors
from tinyldm.formats.text_encoders import config_from
from tinyldm.formats.tokenizers import Tokenizer
from tinyldm.formats.vision_transformer import VisionTransformer, normalize_for_clip
from tinyldm.formats.weights import load_weights, read_safetensors, without_memory
from tinyldm.resblock import timestep_embedding


class Clip(nn.Module):
    """Two towers, two projections into a common space, and the sharpness of the comparison there.

    Args: text, vision: the towers, whose configurations name one `projection_dim`.
    """

    def __init__(self, text: TextTransformer, vision: VisionTransformer):
        super().__init__()
        self.text, self.vision = text, vision
        dim = text.config.projection_dim
        self.text_projection = nn.Linear(text.config.hidden_size, dim, bias=False)
        self.image_projection = nn.Linear(vision.config.hidden_size, dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.0))  # similarities are multiplied by its exponential

    def embed_text(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, L) int64 -> unit vectors (B, P), and the token vectors (B, L, D) they come from.

        The vector of the caption is read at its end token, the first one that attends to every word.
        """
        out = self.text(tokens)
        return F.normalize(self.text_projection(out.pooled).float(), dim=-1), out.last

    def embed_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image (B, 3, S, S) in [-1, 1] -> unit vectors (B, P), and the patch vectors (B, 1 + N, D)."""
        out = self.vision(normalize_for_clip(image))
        return F.normalize(self.image_projection(out.pooled).float(), dim=-1), out.last

    @property
    def scale(self) -> Tensor:
        """At most 100, as in the paper: beyond that, training becomes unstable."""
        return self.log_scale.exp().clamp(max=100.0)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors (in the dtype of the weights)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"text": asdict(self.text.config), "vision": asdict(self.vision.config)}
        write_json(folder / "config.json", config)
        write_safetensors(folder / "model.safetensors", self.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> "Clip":
        """Open what `save` wrote; in evaluation mode, float32, on the CPU. Raises ValueError where there is none."""
        folder = Path(folder)
        if not (folder / "model.safetensors").is_file():
            raise ValueError(f"no CLIP at {folder}; train one first: tinyldm train clip")
        config = read_json(folder / "config.json", "the folder of a CLIP that was trained here")
        with explained(folder / "config.json"), without_memory():
            text, vision = config_from(config["text"], TextConfig), config_from(config["vision"], VisionConfig)
            clip = cls(TextTransformer(text), VisionTransformer(vision))
        load_weights(clip, read_safetensors(folder / "model.safetensors"), str(folder / "model.safetensors"))
        return clip.eval().requires_grad_(False)


def new_clip(text: TextConfig, vision: VisionConfig) -> Clip:
    """An untrained CLIP."""
    clip = Clip(new_text_transformer(text), VisionTransformer(vision))
    initialize_vision(clip.vision)  # last, so that a seed gives the weights that it always gave
    return clip


def new_text_transformer(config: TextConfig) -> TextTransformer:
    """An untrained text transformer, with the random weights that transformers starts one with."""
    from transformers import CLIPTextConfig, CLIPTextModel  # takes 5 s

    start, end = config.vocab_size - 2, config.vocab_size - 1  # named, as transformers warns of its own defaults
    theirs = CLIPTextModel(CLIPTextConfig(**asdict(config), bos_token_id=start, eos_token_id=end))
    text = TextTransformer(config)
    text.load_state_dict(_without_prefix(theirs.state_dict()))
    return text


def new_vision_transformer(config: VisionConfig) -> VisionTransformer:
    """An untrained image tower."""
    vision = VisionTransformer(config)
    initialize_vision(vision)
    return vision


def initialize_vision(vision: VisionTransformer) -> None:
    """Give an image tower the random weights that transformers starts one with, and waves for its places."""
    from transformers import CLIPVisionConfig, CLIPVisionModel  # takes 5 s

    config = vision.config
    vision.load_state_dict(_without_prefix(CLIPVisionModel(CLIPVisionConfig(**asdict(config))).state_dict()))
    positions = position_embeddings(vision)
    positions.data[1:] = place_waves(config.image_size // config.patch_size, positions.shape[1])


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers 5; those of transformers 4 have a prefix."""
    return {re.sub("^(text|vision)_model.", "", key): weight for key, weight in weights.items()}


def position_embeddings(vision: VisionTransformer) -> nn.Parameter:
    """The table that tells an image tower where each patch is: (1 + N, D); the first row belongs to the whole image."""
    return next(value for name, value in vision.named_parameters() if name.endswith("position_embedding.weight"))


def place_waves(side: int, dim: int, strength: float = 0.3) -> Tensor:
    """A start for the position embeddings: (side², dim), sines and cosines of each patch's row and column.

    transformers starts them as noise, a fifteenth of the size of the patch vectors, so for a long time nothing tells
    above from below. (They are trained like any other weight. MAE, He et al. 2022, uses the same waves.)
    """
    place = torch.arange(side)
    wave = timestep_embedding(place, dim // 2, max_period=4 * side)
    row, column = wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)
    return strength * torch.cat([row, column], dim=2).flatten(0, 1)  # (side, side, dim) -> (side², dim)


@torch.no_grad()
def retrieval(clip: Clip, images: Tensor, tokens: Tensor) -> float:
    """The share of B images whose caption is the most similar of all B captions.

    Args: images (B, 3, S, S) in [-1, 1]; tokens (B, L) int64.
    """
    similarity = clip.embed_image(images)[0] @ clip.embed_text(tokens)[0].T
    return (similarity.argmax(1) == torch.arange(len(images), device=images.device)).float().mean().item()


@torch.no_grad()
def prefers(clip: Clip, images: Tensor, captions: Tensor, swapped: Tensor) -> Tensor:
    """Is each image more similar to its caption than to a wrong one?  (B,) bool.

    Args: images (B, 3, S, S) in [-1, 1]; captions, swapped (B, L) int64 tokens: the right ones, the wrong ones.
    """
    image = clip.embed_image(images)[0]
    return ((clip.embed_text(captions)[0] - clip.embed_text(swapped)[0]) * image).sum(1) > 0


def pad_tokens(tokenizer: Tokenizer, captions: Sequence[str], length: int) -> Tensor:
    """Many captions -> tokens (B, length) int64, as `conditioning.tokenize` makes them of a few.

    Warns: once, with how many captions were longer than `length` - 2 pieces, and what was cut off one of them.
    """
    tokens = torch.full((len(captions), length), tokenizer.pad)
    too_long: list[int] = []
    for first in range(0, len(captions), 10_000):  # a tokenizer's answer takes a hundred times a tensor's memory
        part = list(captions[first : first + 10_000])
        for row, pieces in enumerate(tokenizer.numbers(part), start=first):
            if len(pieces) > length - 2:
                too_long.append(row)
            whole = [tokenizer.start, *pieces[: length - 2], tokenizer.end]
            tokens[row, : len(whole)] = torch.tensor(whole)
    if too_long:
        _warn_of_cut_captions(tokenizer, captions, too_long, length)
    return tokens


def _warn_of_cut_captions(tokenizer: Tokenizer, captions: Sequence[str], too_long: list[int], length: int) -> None:
    caption = captions[too_long[0]]
    (pieces,) = tokenizer.numbers([caption])
    warnings.warn(
        f"{len(too_long):,} of {len(captions):,} captions are too long, and only their first {length - 2} pieces are "
        f"read; of {caption!r:.200} this is cut off: {tokenizer.text(pieces[length - 2 :])!r:.200}",
        stacklevel=3,
    )
