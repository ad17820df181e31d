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

import warnings
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.clip import TextTransformer, VisionTransformer
from tinyldm.resblock import timestep_embedding

if TYPE_CHECKING:
    import tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"

# What every CLIP image tower subtracts and divides by: red, green, blue of an image in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Encoding(NamedTuple):
    """What a text encoder makes of captions."""

    context: Tensor  # (B, L, D) one vector per token
    pooled: Tensor | None  # (B, D_pooled) one vector per caption; Stable Diffusion XL only


class Tokenizer:
    """Cuts captions into word pieces, and numbers them.

    Args: bpe: the byte-pair encoding; pad: the piece that fills up short captions; length: L, if all had one length.
    """

    def __init__(self, bpe: "tokenizers.Tokenizer", pad: str = END, length: int = 77):
        self.bpe, self.length = bpe, length
        self.start, self.end, self.pad = (shapes.require_piece(bpe, piece) for piece in (START, END, pad))
        bpe.add_special_tokens([pad])  # in a caption it stays whole, too: so Stable Diffusion 2 reads each "!"

    def pieces(self, caption: str) -> list[str]:
        """The word pieces of a caption, without start and end. One that ends a word ends in "</w>"."""
        return self.bpe.encode(caption, add_special_tokens=False).tokens

    def numbers(self, captions: list[str]) -> list[list[int]]:
        """The numbers of the pieces of each caption."""
        return [encoding.ids for encoding in self.bpe.encode_batch(captions, add_special_tokens=False)]

    def text(self, numbers: list[int]) -> str:
        """What pieces say, put together again."""
        return self.bpe.decode(numbers, skip_special_tokens=False).replace("</w>", " ").strip()


def tokenize(tokenizer: Tokenizer, captions: list[str], length: int) -> Tensor:
    """Captions -> tokens (B, length) int64: start token, word pieces, end token, padding.

    There is no padding mask: Stable Diffusion was trained to attend to the padding's vectors, too.
    Warns: a caption has more than `length` - 2 pieces; names the words that were cut off.
    """
    shapes.require_captions(captions)
    tokens = torch.full((len(captions), length), tokenizer.pad)
    for row, pieces in zip(tokens, tokenizer.numbers(captions)):
        kept, cut = pieces[: length - 2], pieces[length - 2 :]
        if cut:
            warnings.warn(
                f"only the first {length - 2} pieces of a caption are read; cut off: {tokenizer.text(cut)!r}",
                stacklevel=2,
            )
        row[: len(kept) + 2] = torch.tensor([tokenizer.start, *kept, tokenizer.end])
    return tokens


class TextEncoder(nn.Module):
    """A CLIP text transformer and its tokenizer: captions -> context. Stable Diffusion 1, 2 and tiny.

    The context is the last layer's output after the final LayerNorm. (Stable Diffusion 2 reads the layer
    before the last; its folder leaves the last one out, so here too that is simply the output.)
    """

    def __init__(self, clip: TextTransformer, tokenizer: Tokenizer):
        super().__init__()
        self.clip, self.tokenizer = clip, tokenizer

    @property
    def towers(self) -> list[tuple[TextTransformer, Tokenizer]]:
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

    def __init__(self, clip1: TextTransformer, tokenizer1: Tokenizer, clip2: TextTransformer, tokenizer2: Tokenizer):
        super().__init__()
        self.clip1, self.tokenizer1, self.clip2, self.tokenizer2 = clip1, tokenizer1, clip2, tokenizer2

    @property
    def towers(self) -> list[tuple[TextTransformer, Tokenizer]]:
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


def normalize_for_clip(image: Tensor) -> Tensor:
    """image (B, 3, H, W) in [-1, 1] -> (x - mean) / std of each colour, as every CLIP image tower reads it."""
    mean, std = (image.new_tensor(colour).view(3, 1, 1) for colour in (CLIP_MEAN, CLIP_STD))
    return ((image + 1) / 2 - mean) / std


class ImageEncoder(nn.Module):
    """A CLIP vision transformer and one linear layer: a picture -> context, "in the same style".

    Args:
        clip: the vision transformer.
        context_dim: D, the context width of the U-Net that will read it.
    """

    def __init__(self, clip: VisionTransformer, context_dim: int):
        super().__init__()
        self.clip = clip
        self.to_context = nn.Linear(clip.config.hidden_size, context_dim)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1], any size -> context (B, N, D): one vector for the whole, one per patch."""
        return self.to_context(self.clip(self.preprocess(image)).last)

    def preprocess(self, image: Tensor) -> Tensor:
        """Resize to the square that CLIP was trained at, and normalise the colours as CLIP expects."""
        side = self.clip.config.image_size
        if image.shape[-2:] != (side, side):
            image = F.interpolate(image, (side, side), mode="bicubic", antialias=True, align_corners=False)
        return normalize_for_clip(image)


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
