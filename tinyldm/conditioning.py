"""§ Architecture: captions, pictures and class labels become a sequence of vectors, the context.

    "a red circle" ─tokenizer─► tokens (B, L) ─CLIP text transformer──────────► context (B, L, D)
    picture (B, 3, H, W) ─CLIP vision transformer─► patches ─linear───────────► context (B, N, D)
    label (B,) ─table───────────────────────────────────────────────────────► context (B, 1, D)

Cross-attention reads all three in the same way: it does not know where the vectors came from.

The article conditions through cross-attention only. Two other ways exist and are both supported by the
U-Net: concatenation to z_t (Stable Diffusion's inpainting model, 9 input channels), and a vector added to
the time embedding (Stable Diffusion XL, `size_embedding` below).

Source: Radford et al. 2021 (CLIP); Dosovitskiy et al. 2021 (ViT); CompVis `ldm/modules/encoders/modules.py`;
Podell et al. 2023, § 2.2 (XL).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.clip import TextTransformer
from tinyldm.resblock import timestep_embedding


class Encoding(NamedTuple):
    """What a text encoder makes of captions."""

    context: Tensor  # (B, L, D) one vector per token
    pooled: Tensor | None  # (B, D_pooled) one vector per caption; Stable Diffusion XL only


def tokenize(tokenizer: Any, captions: list[str], length: int) -> Tensor:
    """Captions -> tokens (B, length) int64: start token, word pieces, end token, padding.

    tokenizer: CLIP's, `formats/tokenizers.py`, which knows the number of each word piece.
    There is no padding mask: Stable Diffusion was trained to attend to the padding's vectors, too.
    Warns: a caption has more than `length` - 2 pieces; names the words that were cut off.
    """
    shapes.require_captions(captions)
    tokens = torch.full((len(captions), length), tokenizer.pad)
    for row, pieces in zip(tokens, tokenizer.numbers(captions)):
        kept, cut = pieces[: length - 2], pieces[length - 2 :]
        shapes.warn_of_cut(length - 2, tokenizer.text(cut))
        row[: len(kept) + 2] = torch.tensor([tokenizer.start, *kept, tokenizer.end])
    return tokens


class TextEncoder(nn.Module):
    """A CLIP text transformer and its tokenizer: captions -> context. Stable Diffusion 1, 2 and tiny.

    The context is the last layer's output after the final LayerNorm. (Stable Diffusion 2 reads the layer
    before the last; its folder leaves the last one out, so here too that is simply the output.)
    """

    def __init__(self, clip: TextTransformer, tokenizer: Any):
        super().__init__()
        self.clip, self.tokenizer = clip, tokenizer

    @property
    def towers(self) -> list[tuple[TextTransformer, Any]]:
        """The transformer with its tokenizer, in a list, because Stable Diffusion XL has two."""
        return [(self.clip, self.tokenizer)]

    @property
    def length(self) -> int:
        """L, the number of tokens every caption is padded to or cut at: 77 in Stable Diffusion."""
        return self.clip.config.max_position_embeddings

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, L) int64 -> context (B, L, D). Causal: a vector knows the words up to its own."""
        return self.clip(tokens).last

    def encode(self, captions: list[str]) -> Encoding:
        """Captions -> their context (B, L, D)."""
        return Encoding(self(tokenize(self.tokenizer, captions, self.length).to(self.clip.device)), None)


class TextEncoderXL(nn.Module):
    """Stable Diffusion XL's two text transformers side by side: captions -> context and pooled vector.

    Of both, the layer before the last, *without* the final LayerNorm: 768 ‖ 1280 numbers per token. The
    pooled vector is the second one's end token after its last layer and LayerNorm, projected.
    """

    def __init__(self, clip1: TextTransformer, tokenizer1: Any, clip2: TextTransformer, tokenizer2: Any):
        super().__init__()
        self.clip1, self.tokenizer1, self.clip2, self.tokenizer2 = clip1, tokenizer1, clip2, tokenizer2

    @property
    def towers(self) -> list[tuple[TextTransformer, Any]]:
        """Both transformers, each with its tokenizer."""
        return [(self.clip1, self.tokenizer1), (self.clip2, self.tokenizer2)]

    @property
    def length(self) -> int:
        """L, the number of tokens every caption is padded to or cut at: 77."""
        return self.clip1.config.max_position_embeddings

    def encode(self, captions: list[str]) -> Encoding:
        """Captions -> context (B, L, D_1 + D_2) and pooled (B, D_pooled)."""
        # Each has its own tokenizer: the first pads with the end token, the second with "!".
        out1, out2 = (
            clip(tokenize(tokenizer, captions, self.length).to(clip.device)) for clip, tokenizer in self.towers
        )
        return Encoding(torch.cat([out1.layers[-2], out2.layers[-2]], dim=-1), out2.pooled)


def size_embedding(pooled: Tensor, sizes: Tensor) -> Tensor:
    """Stable Diffusion XL's `added` vector: the pooled caption ‖ 256 sinusoids for each of six numbers.

    Args:
        pooled: (B, D_pooled).
        sizes: (B, 6) original height and width, top and left of the crop, target height and width, pixels.
    Returns: (B, D_pooled + 1536).  Podell et al. 2023, § 2.2.
    """
    sinusoids = timestep_embedding(sizes.flatten(), 256).view(len(sizes), -1)  # (6B, 256) -> (B, 1536)
    return torch.cat([pooled, sinusoids.to(pooled.dtype)], dim=1)


class ImageEncoder(nn.Module):
    """A CLIP vision transformer and one linear layer: a picture -> context, "in the same style".

    Args:
        clip: the vision transformer, `formats/vision_transformer.py`.
        context_dim: D, the context width of the U-Net that will read it.
    """

    def __init__(self, clip: Any, context_dim: int):
        super().__init__()
        self.clip = clip
        self.to_context = nn.Linear(clip.config.hidden_size, context_dim)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1], any size -> context (B, N, D): one vector for the whole, one per patch."""
        return self.to_context(self.clip(self.clip.preprocess(image)).last)


class ClassEncoder(nn.Module):
    """The simplest condition: a table with one vector for each class, and one for "no class".

    Args: classes: number of classes; context_dim: D.
    """

    def __init__(self, classes: int, context_dim: int):
        super().__init__()
        self.table = nn.Embedding(classes + 1, context_dim)

    def forward(self, label: Tensor) -> Tensor:
        """label (B,) int64 in 0 … classes - 1 -> context (B, 1, D)."""
        shapes.require_labels(label, classes=self.table.num_embeddings - 1)
        return self.table(label)[:, None]  # (B, D) -> (B, 1, D)

    def null(self) -> Tensor:
        """The context of "no class": (1, 1, D)."""
        return self.table.weight[-1].view(1, 1, -1)
