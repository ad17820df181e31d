"""CLIP's vision transformer, as transformers' CLIPVisionModel saves it: for pictures as context, and to train CLIP.

    picture (B, 3, S, S) ─► patches ─► embeddings ─► layer × N ─► patch vectors (B, 1 + N, D)

`pre_layrnorm` is the library's spelling. Source: Dosovitskiy et al. 2021 (ViT); Radford et al. 2021; OpenAI
`clip/model.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.clip import ClipEncoder, ClipOutput, VisionConfig

# What every CLIP image tower subtracts and divides by: red, green, blue of an image in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def normalize_for_clip(image: Tensor) -> Tensor:
    """image (B, 3, H, W) in [-1, 1] -> (x - mean) / std of each colour, as every CLIP image tower reads it."""
    mean, std = (image.new_tensor(colour).view(3, 1, 1) for colour in (CLIP_MEAN, CLIP_STD))
    return ((image + 1) / 2 - mean) / std


class VisionEmbeddings(nn.Module):
    """A vector for each patch, row by row, after a learnt one for the whole: (B, 3, S, S) -> (B, 1 + N, D)."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width, patch, side = config.hidden_size, config.patch_size, config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(1 + side**2, width)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch_embedding(image).flatten(2).transpose(1, 2)  # (B, D, s, s) -> (B, N, D)
        whole = self.class_embedding.expand(len(image), 1, -1)
        return torch.cat([whole, patches], dim=1) + self.position_embedding.weight


class VisionTransformer(nn.Module):
    """Pictures -> one vector for the whole, and one per patch."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.encoder = ClipEncoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def preprocess(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1] -> (B, 3, S, S), the square that CLIP was trained at, normalised."""
        side = self.config.image_size
        if image.shape[-2:] != (side, side):
            image = F.interpolate(image, (side, side), mode="bicubic", antialias=True, align_corners=False)
        return normalize_for_clip(image)

    def forward(self, image: Tensor) -> ClipOutput:
        """image (B, 3, S, S), normalised as CLIP expects. Only `pooled` is after the last LayerNorm."""
        layers = self.encoder(self.pre_layrnorm(self.embeddings(image)))
        return ClipOutput(layers[-1], self.post_layernorm(layers[-1][:, 0]), layers)
