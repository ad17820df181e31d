"""§ Version history: Stable Diffusion 1, 2, XL and tiny, as literal numbers for the same classes.

The article says that versions "1.1 to 2.1" are latent diffusion models, and later "1.1 to XL". The second
is right: XL is one too, with a larger U-Net and two text encoders.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from tinyldm.clip import TextConfig, VisionConfig
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, Prediction, scaled_linear_betas
from tinyldm.reverse_diffusion import leading, trailing
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAEConfig


@dataclass(frozen=True)
class Version:
    """One instantiation of the architecture."""

    image_size: int  # pixels a side that it was trained at
    unet: UNetConfig
    vae: VAEConfig
    text: tuple[TextConfig, ...]  # one for each encoder
    prediction: Prediction  # what the U-Net's output means
    spacing: Callable[[int, int], Tensor]  # which timesteps sampling visits
    final_alpha_bar_is_first: bool  # DDIM stops at ᾱ[0] instead of at 1
    vision: VisionConfig | None = None  # for pictures as context

    def schedule(self) -> NoiseSchedule:
        """The noise schedule, the same √β-linear one in all versions."""
        beta = scaled_linear_betas()
        return NoiseSchedule(beta, self.prediction, 1 - beta[0].item() if self.final_alpha_bar_is_first else 1.0)


# Width, width of the MLP, layers, heads, activation, width of the common space.
# OpenAI's CLIP ViT-L/14, of which Stable Diffusion 1 uses the text half: 123,060,480 parameters.
CLIP_L = TextConfig(768, 3072, 12, 12, "quick_gelu", 768, pad_token_id=49407)
# OpenCLIP ViT-H/14 without its last layer, which Stable Diffusion 2 does not read; padded with "!", token 0.
CLIP_H = TextConfig(1024, 4096, 23, 16, "gelu", 1024, pad_token_id=0)
# OpenCLIP ViT-bigG/14, the second of XL's two.
CLIP_BIG_G = TextConfig(1280, 5120, 32, 20, "gelu", 1280, pad_token_id=0)

SD1 = Version(
    image_size=512,
    unet=UNetConfig(),  # the defaults are Stable Diffusion 1's
    vae=VAEConfig(),
    text=(CLIP_L,),
    prediction=EPS,
    spacing=leading,
    final_alpha_bar_is_first=True,
)
"""Stable Diffusion 1.1 to 1.5: one architecture, trained further each time.

Parameters: U-Net 859,520,964, VAE 83,653,863 (the same in all versions but for its scale in XL), text 123,060,480.
1.1: 256² pixels on LAION 2B-en, then 512² on the part of LAION 5B that is large enough.  1.2: on, with images
chosen for looks.  1.3, 1.4, 1.5: from 1.2, with 10 % of the captions dropped, which trains the "no caption" that
guidance subtracts (here: `drop_caption` in `training/train_unet.py`).  There is no version 1.0.
"""

SD2 = replace(SD1, unet=replace(SD1.unet, heads=(5, 10, 20, 20), context_dim=1024), text=(CLIP_H,))
"""Stable Diffusion 2.0-base and 2.1-base: another text encoder, and heads of equal width, 64.

Parameters: U-Net 865,910,724 (the wider context is all the difference), text 340,387,840.
"""

# 2.1 needs attention in float32 where the rest is float16; 2.0 takes no harm.
SD2_V = replace(SD2, image_size=768, unet=replace(SD2.unet, upcast_attention=True), prediction=VELOCITY)
"""Stable Diffusion 2.0 and 2.1 at 768 pixels: the network of SD2, trained on to predict the velocity."""

SDXL = replace(
    SD1,
    image_size=1024,
    unet=UNetConfig(
        channels=(320, 640, 1280),
        transformer_depth=(0, 2, 10),
        middle_depth=10,
        heads=(5, 10, 20),
        context_dim=2048,
        added_dim=2816,
    ),
    vae=replace(SD1.vae, scale=0.13025, force_upcast=True),
    text=(CLIP_L, CLIP_BIG_G),
)
"""Stable Diffusion XL base: three levels, most of the transformers at the lowest, two text encoders.

Parameters: U-Net 2,567,463,684, text 123,060,480 and 694,659,840.
"""

TINY = Version(
    image_size=64,
    unet=UNetConfig(
        channels=(64, 96), blocks_per_level=1, transformer_depth=(1, 1), heads=(4, 6), context_dim=128, groups=16
    ),
    vae=VAEConfig(channels=(16, 32, 64, 96), blocks_per_level=1, groups=4, scale=0.5),
    text=(TextConfig(128, 512, 3, 4, "gelu", 128, vocab_size=701, max_position_embeddings=32, pad_token_id=700),),
    prediction=VELOCITY,
    spacing=trailing,
    final_alpha_bar_is_first=False,
    vision=VisionConfig(128, 512, 4, 4, "gelu", 128, image_size=64, patch_size=8),
)
"""The default: image and latent an eighth of Stable Diffusion's on each side, trained in this repository."""
