"""Where the words of a caption are read while the tiny model makes a picture: lesson 07's recorder of attention."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinyldm import LatentDiffusion, capture_attention
from tinyldm.conditioning import TextEncoder

SIDE = 8  # positions of the largest maps, in each direction; the other layers work on 4 × 4


@dataclass(frozen=True)
class WordMaps:
    """A picture, and how much each position of the latent listened to each token while it was made."""

    image: Tensor  # (3, H, W) in [0, 1]
    words: list[str]  # word i is token 1 + i: a start mark comes first, end mark and padding last
    by_step: Tensor  # (steps, 64, 32 tokens), means over the heads and the layers of 8 × 8 positions
    by_head: Tensor  # (heads, 64, 32 tokens), of the last of these layers, means over the steps


@torch.no_grad()
def word_maps(model: LatentDiffusion, caption: str, seed: int = 3, steps: int = 20) -> WordMaps:
    """Make a picture under guidance 4; return where its tokens were read by the cross-attentions at 8 × 8."""
    with capture_attention(model.unet) as recorded:
        generator = torch.Generator().manual_seed(seed)
        image = model.generate([caption], steps=steps, guidance_scale=4.0, generator=generator)[0]
    layers = []  # each (steps, heads, 64, 32)
    for name, each_step in recorded.items():
        if "cross_attention" in name and each_step[0].shape[2] == SIDE**2:
            # Of the batch, the last is the caption's half; the first belongs to guidance's empty caption.
            layers.append(torch.stack([weights[-1] for weights in each_step]))
    assert isinstance(model.text_encoder, TextEncoder)  # Stable Diffusion XL has two
    pieces = model.text_encoder.tokenizer.pieces(caption)
    return WordMaps(
        image=image.cpu(),
        words=[piece.replace("</w>", "") for piece in pieces],
        by_step=torch.stack([layer.mean(1) for layer in layers]).mean(0).cpu(),
        by_head=layers[-1].mean(0).cpu(),
    )
