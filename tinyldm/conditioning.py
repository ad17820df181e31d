"""§ Architecture: captions, pictures and class labels become a sequence of vectors, the context.

    "a red circle" ─tokenizer─► tokens (B, L) ─CLIP text transformer──────────► context (B, L, D)
    picture (B, 3, H, W) ─CLIP vision transformer─► patches ─linear───────────► context (B, N, D)
    label (B,) ─table───────────────────────────────────────────────────────► context (B, 1, D)

Cross-attention reads all three in the same way: it does not know where the vectors came from.

The article conditions through cross-attention only. Two other ways exist and are both supported by the
U-Net: concatenation to z_t (Stable Diffusion's inpainting model, 9 input channels), and a vector added to
the time embedding (Stable Diffusion XL, `size_embedding` below).

CLIP itself is not this project's subject, so it is the one of the `transformers` library. It is imported
where it is used, because importing it takes longer than importing everything else together.

Source: Radford et al. 2021 (CLIP); Dosovitskiy et al. 2021 (ViT); CompVis `ldm/modules/encoders/modules.py`;
Podell et al. 2023, § 2.2 (XL).
"""

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.resblock import timestep_embedding

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModel

# What every CLIP image tower subtracts and divides by: red, green, blue of an image in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Encoding(NamedTuple):
    """What a text encoder makes of captions."""

    context: Tensor  # (B, L, D) one vector per token
    pooled: Tensor | None  # (B, D_pooled) one vector per caption; Stable Diffusion XL only


def tokenize(tokenizer: "CLIPTokenizer", captions: list[str], length: int) -> Tensor:
    """Captions -> tokens (B, length) int64: start token, word pieces, end token, padding.

    There is no padding mask: Stable Diffusion was trained to attend to the padding's vectors, too.
    Warns: a caption has more than `length` - 2 pieces; names the words that were cut off.
    """
    shapes.require_captions(captions)
    for caption in captions:
        pieces = tokenizer(caption, add_special_tokens=False, verbose=False)["input_ids"]
        if len(pieces) > length - 2:
            warnings.warn(
                f"only the first {length - 2} pieces of a caption are read; "
                f"cut off: {tokenizer.decode(pieces[length - 2 :])!r}",
                stacklevel=2,
            )
    padded = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return padded["input_ids"]


class TextEncoder(nn.Module):
    """A CLIP text transformer and its tokenizer: captions -> context. Stable Diffusion 1, 2 and tiny.

    The context is the last layer's output after the final LayerNorm. (Stable Diffusion 2 reads the layer
    before the last; its folder leaves the last one out, so here too that is simply the output.)
    """

    def __init__(self, clip: "CLIPTextModel", tokenizer: "CLIPTokenizer"):
        super().__init__()
        self.clip, self.tokenizer = clip, tokenizer

    @property
    def towers(self) -> "list[tuple[CLIPTextModel | CLIPTextModelWithProjection, CLIPTokenizer]]":
        """The transformer with its tokenizer, in a list, because Stable Diffusion XL has two."""
        return [(self.clip, self.tokenizer)]

    @property
    def length(self) -> int:
        """L, the number of tokens every caption is padded to or cut at: 77 in Stable Diffusion."""
        return self.clip.config.max_position_embeddings

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, L) int64 -> context (B, L, D). Causal: a vector knows the words up to its own."""
        return self.clip(input_ids=tokens).last_hidden_state

    def encode(self, captions: list[str]) -> Encoding:
        """Captions -> their context (B, L, D)."""
        return Encoding(self(tokenize(self.tokenizer, captions, self.length).to(self.clip.device)), None)


class TextEncoderXL(nn.Module):
    """Stable Diffusion XL's two text transformers side by side: captions -> context and pooled vector.

    Of both, the layer before the last, *without* the final LayerNorm: 768 ‖ 1280 numbers per token. The
    pooled vector is the second one's end token after its last layer and LayerNorm, projected.
    """

    def __init__(
        self,
        clip1: "CLIPTextModel",
        tokenizer1: "CLIPTokenizer",
        clip2: "CLIPTextModelWithProjection",
        tokenizer2: "CLIPTokenizer",
    ):
        super().__init__()
        self.clip1, self.tokenizer1, self.clip2, self.tokenizer2 = clip1, tokenizer1, clip2, tokenizer2

    @property
    def towers(self) -> "list[tuple[CLIPTextModel | CLIPTextModelWithProjection, CLIPTokenizer]]":
        """Both transformers, each with its tokenizer."""
        return [(self.clip1, self.tokenizer1), (self.clip2, self.tokenizer2)]

    @property
    def length(self) -> int:
        """L, the number of tokens every caption is padded to or cut at: 77."""
        return self.clip1.config.max_position_embeddings

    def encode(self, captions: list[str]) -> Encoding:
        """Captions -> context (B, L, D_1 + D_2) and pooled (B, D_pooled)."""
        # Each has its own tokenizer: the first pads with the end token, the second with "!".
        tokens1 = tokenize(self.tokenizer1, captions, self.length).to(self.clip1.device)
        tokens2 = tokenize(self.tokenizer2, captions, self.length).to(self.clip2.device)
        out1 = self.clip1(input_ids=tokens1, output_hidden_states=True)
        out2 = self.clip2(input_ids=tokens2, output_hidden_states=True)
        context = torch.cat([out1.hidden_states[-2], out2.hidden_states[-2]], dim=-1)
        return Encoding(context, out2.text_embeds)


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
        clip: transformers' CLIPVisionModel.
        context_dim: D, the context width of the U-Net that will read it.
    """

    def __init__(self, clip: "CLIPVisionModel", context_dim: int):
        super().__init__()
        self.clip = clip
        self.to_context = nn.Linear(clip.config.hidden_size, context_dim)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1], any size -> context (B, N, D): one vector for the whole, one per patch."""
        return self.to_context(self.clip(pixel_values=self.preprocess(image)).last_hidden_state)

    def preprocess(self, image: Tensor) -> Tensor:
        """Resize to the square that CLIP was trained at, and normalise the colours as CLIP expects."""
        side: Any = self.clip.config.image_size  # an int; transformers' types allow more
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
