"""§ U-Net: ResBlocks and SpatialTransformers on the way down, in the middle, and on the way up.

    z_t ─conv_in─┬─► level 0 ─► level 1 ─► … ─► middle ─► … ─► level 1 ─► level 0 ─► norm, SiLU, conv_out
                 │      │          │                              ▲          ▲
                 └──────┴──────────┴────────── skips ─────────────┴──────────┘   (last in, first out)

Every feature map made on the way down, the output of `conv_in` and of each downsample included, is pushed
onto a stack; each ResBlock on the way up pops one and reads it together with its own input.

The article says (channel, width, height); tensors here, as in the reference, are (channel, height, width).
It describes the output as "a predicted noise vector": whether this network predicts the noise or the
velocity is a convention between training and sampling (`forward_diffusion.py`), not part of the network.

Source: Ronneberger et al. 2015; Rombach et al. 2022, § 3.2; CompVis
`ldm/modules/diffusionmodules/openaimodel.py`, `UNetModel`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.resblock import Downsample, ResBlock, TimeMLP, Upsample, timestep_embedding
from tinyldm.spatial_transformer import Attention, SpatialTransformer


@dataclass(frozen=True)
class UNetConfig:
    """The sizes of a U-Net. The defaults are Stable Diffusion 1's. A tuple has one entry per level."""

    in_channels: int = 4  # 9 for Stable Diffusion's inpainting model
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)  # feature-map width, full resolution first
    blocks_per_level: int = 2  # ResBlocks per level on the way down; one more on the way up
    transformer_depth: tuple[int, ...] = (1, 1, 1, 0)  # 0: no SpatialTransformer at this level
    middle_depth: int = 1  # transformer depth of the middle
    heads: tuple[int, ...] = (8, 8, 8, 8)  # attention heads; the middle uses the last
    context_dim: int = 768  # width of the context vectors
    groups: int = 32  # of GroupNorm; must divide every width
    dropout: float = 0.0
    added_dim: int | None = None  # XL: width of the extra conditions, before the MLP that adds them to t_emb
    upcast_attention: bool = False  # 2.1 at 768: attention in float32 even when the model runs in float16

    def __post_init__(self) -> None:
        shapes.require_levels(self.channels, self.blocks_per_level, self.groups)
        shapes.require_one_per_level("transformer_depth", self.transformer_depth, self.channels)
        shapes.require_one_per_level("heads", self.heads, self.channels)
        shapes.require_even("channels[0]", self.channels[0], "it is also the number of sinusoids")


class DownLevel(nn.Module):
    """(ResBlock, SpatialTransformer) pairs of one resolution, then a downsample (except at the last level)."""

    def __init__(self, config: UNetConfig, i: int, t_emb_dim: int):
        super().__init__()
        width = config.channels[i]
        widths_in = [config.channels[max(i - 1, 0)]] + [width] * (config.blocks_per_level - 1)
        self.resblocks = nn.ModuleList(
            ResBlock(w, width, t_emb_dim, config.groups, dropout=config.dropout) for w in widths_in
        )
        self.transformers = transformers_of(config, i, len(widths_in))
        self.downsample = None if i == len(config.channels) - 1 else Downsample(width)

    def forward(self, x: Tensor, t_emb: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return the feature map for the next level, and those to be pushed onto the stack of skips."""
        skips = []
        for i, resblock in enumerate(self.resblocks):
            x = resblock(x, t_emb)
            if self.transformers:
                x = self.transformers[i](x, context)
            skips.append(x)
        if self.downsample is not None:
            x = self.downsample(x)  # (B, C, H, W) -> (B, C, H/2, W/2)
            skips.append(x)
        return x, skips


class MiddleLevel(nn.Module):
    """ResBlock, SpatialTransformer, ResBlock at the lowest resolution."""

    def __init__(self, config: UNetConfig, t_emb_dim: int):
        super().__init__()
        width = config.channels[-1]
        self.resblock1 = ResBlock(width, width, t_emb_dim, config.groups, dropout=config.dropout)
        self.transformer = SpatialTransformer(
            width, config.context_dim, config.heads[-1], config.groups, config.middle_depth
        )
        self.resblock2 = ResBlock(width, width, t_emb_dim, config.groups, dropout=config.dropout)

    def forward(self, x: Tensor, t_emb: Tensor, context: Tensor | None) -> Tensor:
        """x (B, C, H, W), t_emb (B, D_t), context (B, L, D) -> (B, C, H, W)."""
        return self.resblock2(self.transformer(self.resblock1(x, t_emb), context), t_emb)


class UpLevel(nn.Module):
    """A (ResBlock, SpatialTransformer) pair for each skip of this resolution, then an upsample.

    It pops what the same level pushed on the way down, and the feature map that had entered that level.
    """

    def __init__(self, config: UNetConfig, i: int, t_emb_dim: int):
        super().__init__()
        width, last = config.channels[i], len(config.channels) - 1
        from_below = config.channels[min(i + 1, last)]
        # In the order they are popped. Stable Diffusion 1, level 1: skips 640, 640, 320; inputs 1280, 640, 640.
        skip_widths = [width] * config.blocks_per_level + [config.channels[max(i - 1, 0)]]
        widths_in = [from_below] + [width] * config.blocks_per_level
        self.resblocks = nn.ModuleList(
            ResBlock(w + skip, width, t_emb_dim, config.groups, dropout=config.dropout)
            for w, skip in zip(widths_in, skip_widths)
        )
        self.transformers = transformers_of(config, i, len(widths_in))
        self.upsample = None if i == 0 else Upsample(width)

    def forward(self, x: Tensor, skips: list[Tensor], t_emb: Tensor, context: Tensor | None) -> Tensor:
        """`skips` is the stack; this level pops what it reads."""
        for i, resblock in enumerate(self.resblocks):
            x = resblock(torch.cat([x, skips.pop()], dim=1), t_emb)  # (B, C + C_skip, H, W) -> (B, C, H, W)
            if self.transformers:
                x = self.transformers[i](x, context)
        if self.upsample is not None:
            x = self.upsample(x, skips[-1].shape[2:])  # to the size of the next skip: (B, C, 2H, 2W), or a pixel less
        return x


def transformers_of(config: UNetConfig, i: int, count: int) -> nn.ModuleList:
    """The SpatialTransformers of level i, one for each of its ResBlocks; none if its depth is 0."""
    depth = config.transformer_depth[i]
    return nn.ModuleList(
        SpatialTransformer(config.channels[i], config.context_dim, config.heads[i], config.groups, depth)
        for _ in range(count if depth else 0)
    )


class UNet(nn.Module):
    """The denoiser: predicts the noise in a latent (or the velocity), given how noisy it is and what it should show."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths, t_emb_dim = config.channels, 4 * config.channels[0]
        self.time_mlp = TimeMLP(widths[0], t_emb_dim)
        self.added_mlp = None if config.added_dim is None else TimeMLP(config.added_dim, t_emb_dim)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(DownLevel(config, i, t_emb_dim) for i in range(len(widths)))
        self.middle = MiddleLevel(config, t_emb_dim)
        self.up = nn.ModuleList(UpLevel(config, i, t_emb_dim) for i in reversed(range(len(widths))))
        self.norm_out = nn.GroupNorm(config.groups, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        # Each pixel's channels are adjacent in memory: the same numbers, faster convolutions, and flattening the
        # pixels for attention needs no copy. Feature maps follow the layout of the weights.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's types lack this one
        for module in self.modules():
            if isinstance(module, Attention):
                module.upcast = config.upcast_attention

    def forward(self, z_t: Tensor, t: Tensor, context: Tensor | None = None, added: Tensor | None = None) -> Tensor:
        """Predict the noise (or the velocity) in a latent.

        Args:
            z_t: (B, in_channels, h, w) noisy latent.
            t: (B,) or a single timestep, int64 or float, 0 … T-1: how noisy z_t is.
            context: (B, L, context_dim), what the picture should show; without it, cross-attention becomes
                self-attention, if the widths match.
            added: (B, added_dim), Stable Diffusion XL's pooled caption and image sizes; else None.
        Returns:
            (B, out_channels, h, w), the prediction.
        Raises:
            ValueError: a shape, dtype or device does not match.
        """
        config, weight = self.config, self.conv_in.weight
        shapes.require_feature_map(z_t, "z_t", config.in_channels, 1, weight, "U-Net")
        shapes.require_tensor(t, "t", "(B,), or a single timestep")
        t = t.expand(len(z_t)) if t.dim() == 0 else t
        shapes.require_conditions(z_t, t, context, added, (config.context_dim, config.added_dim), weight)
        t_emb = self.time_mlp(timestep_embedding(t, config.channels[0]).to(z_t.dtype))  # (B,) -> (B, D_t)
        if self.added_mlp is not None:
            t_emb = t_emb + self.added_mlp(added)
        x = self.conv_in(z_t)  # (B, 4, h, w) -> (B, C_0, h, w)
        skips = [x]
        for level in self.down:
            x, pushed = level(x, t_emb, context)
            skips += pushed
        x = self.middle(x, t_emb, context)
        for level in self.up:
            x = level(x, skips, t_emb, context)
        return self.conv_out(F.silu(self.norm_out(x)))  # (B, C_0, h, w) -> (B, 4, h, w)
