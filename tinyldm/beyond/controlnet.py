"""ControlNet (2023): steer a model with a drawing.

    drawing (B, 3, H, W) ─► convolutions ─► (B, C_0, h, w)
                                              │
    z_t ─► conv_in ──────────────────────────►+─► down ─► middle       a copy of the U-Net's encoder, trained
                                              │     │       │
                                              0     0       0          1×1 convolutions that start at zero
                                              ▼     ▼       ▼
    z_t ─► conv_in ─► down ─► middle ─────────+─────+───────+─► up ─►  the U-Net itself, frozen

The article's model has two ways to be told something: captions through cross-attention, and more channels of z_t
(inpainting). Neither teaches a finished model a new condition without risk to what it knows. Here the finished model
is left alone. A copy of its encoder reads the drawing, and what it finds is added to the skips and to the middle.

The zero convolutions make the first training step start from the model as it is: y = x + 0. Yet they learn: of
y = w·x, the gradient ∂y/∂w = x is not zero where w is. (Where x is zero too, nothing would ever move.) After one step
w ≠ 0, and from then on the gradient reaches the copy behind it.

Other ways: concatenation to z_t; IP-Adapter, whose picture goes through cross-attention beside the caption, like the
article's image context; T2I-Adapter, a small encoder of the drawing alone, which does not read z_t.

Source: Zhang et al. 2023, § 3 and figure 3; diffusers `models/controlnets/controlnet.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET, unet_config_from_diffusers, unet_config_to_diffusers
from tinyldm.formats.files import explained, read_json, refuse_others, require_whole, write_json, write_safetensors
from tinyldm.formats.refusals import what_folder_is
from tinyldm.formats.weights import (
    DIFFUSERS_STEMS,
    Table,
    load_weights,
    read_weights,
    rename,
    rename_all,
    reverse,
    without_memory,
)
from tinyldm.resblock import TimeMLP, timestep_embedding
from tinyldm.unet import DownLevel, MiddleLevel, UNet, UNetConfig


@dataclass(frozen=True)
class ControlNetConfig:
    """The sizes of a ControlNet; the defaults are those of Stable Diffusion 1's."""

    unet: UNetConfig = UNetConfig()  # of the U-Net that it steers
    drawing_channels: int = 3
    drawing_widths: tuple[int, ...] = (16, 32, 96, 256)  # each but the last halves height and width: 8 in all


class DrawingEncoder(nn.Module):
    """A drawing in pixels becomes a feature map of the latent's size: (B, 3, H, W) -> (B, C_0, H/8, W/8)."""

    def __init__(self, config: ControlNetConfig):
        super().__init__()
        widths = config.drawing_widths
        self.conv_in = nn.Conv2d(config.drawing_channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, wider in zip(widths, widths[1:]):
            self.blocks += [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, wider, 3, padding=1, stride=2)]
        self.conv_out = zeroed(nn.Conv2d(widths[-1], config.unet.channels[0], 3, padding=1))

    def forward(self, drawing: Tensor) -> Tensor:
        x = F.silu(self.conv_in(drawing))
        for conv in self.blocks:
            x = F.silu(conv(x))
        return self.conv_out(x)


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution, with weights and bias of zero: it adds nothing, until it is trained."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class ControlNet(nn.Module):
    """The U-Net's encoder once more, with a drawing as a further input and zero convolutions as its outputs."""

    def __init__(self, config: ControlNetConfig):
        super().__init__()
        self.config, unet = config, config.unet
        widths, t_emb_dim = unet.channels, 4 * unet.channels[0]
        self.time_mlp = TimeMLP(widths[0], t_emb_dim)
        self.added_mlp = None if unet.added_dim is None else TimeMLP(unet.added_dim, t_emb_dim)
        self.conv_in = nn.Conv2d(unet.in_channels, widths[0], 3, padding=1)
        self.drawing = DrawingEncoder(config)
        self.down = nn.ModuleList(DownLevel(unet, i, t_emb_dim) for i in range(len(widths)))
        self.middle = MiddleLevel(unet, t_emb_dim)
        # What each level pushes: its blocks, and its downsample, which the last one lacks. conv_in pushes, too.
        pushed = [widths[0], *(w for w in widths for _ in range(unet.blocks_per_level + 1))][:-1]
        self.zero_convs = nn.ModuleList(zeroed(nn.Conv2d(width, width, 1)) for width in pushed)
        self.zero_conv_middle = zeroed(nn.Conv2d(widths[-1], widths[-1], 1))

    @classmethod
    def copy_of(cls, unet: UNet, drawing_widths: tuple[int, ...] = (16, 32, 96, 256)) -> "ControlNet":
        """A ControlNet that starts with a copy of a U-Net's encoder, and changes nothing yet."""
        control = cls(ControlNetConfig(unet.config, drawing_widths=drawing_widths)).to(unet.conv_in.weight)
        shared = {name: w for name, w in unet.state_dict().items() if name in control.state_dict()}
        control.load_state_dict(shared, strict=False)
        return control

    def forward(
        self, z_t: Tensor, t: Tensor, context: Tensor | None, added: Tensor | None, drawing: Tensor
    ) -> list[Tensor]:
        """What to add to the U-Net's skips, in the order they are pushed, and to its middle.

        Args:
            z_t, t, context, added: as the U-Net reads them; t is (B,).
            drawing: (B, 3, H, W) in [0, 1], pixels; or (1, …), one for all.
        """
        t_emb = self.time_mlp(timestep_embedding(t, self.config.unet.channels[0]).to(z_t.dtype))  # (B,) -> (B, D_t)
        if self.added_mlp is not None:
            t_emb = t_emb + self.added_mlp(added)
        x = self.conv_in(z_t) + self.drawing(drawing)  # (B, C_0, h, w)
        skips = [x]
        for level in self.down:
            x, pushed = level(x, t_emb, context)
            skips += pushed
        x = self.middle(x, t_emb, context)
        return [*(conv(skip) for conv, skip in zip(self.zero_convs, skips)), self.zero_conv_middle(x)]


@contextmanager
def steered(unet: UNet, control: ControlNet, drawing: Tensor, scale: float = 1.0) -> Iterator[None]:
    """While the block lasts, each call of the U-Net is steered by a drawing, in sampling as in training.

    Args:
        drawing: (B or 1, 3, H, W) in [0, 1], eight times the latent's height and width. With guidance, z_t is there
            twice, and so is the drawing.
        scale: of what is added; 0 is the U-Net alone.
    Raises: ValueError where the ControlNet is for another U-Net, or the drawing has another size than the picture.
    """
    if control.config.unet.channels != unet.config.channels or control.config.unet.context_dim != (
        unet.config.context_dim
    ):
        raise ValueError(
            f"the ControlNet is for a U-Net of {control.config.unet.channels} channels that reads contexts "
            f"{control.config.unet.context_dim} wide, this one has {unet.config.channels} and reads "
            f"{unet.config.context_dim}: it is for another version"
        )
    residuals: list[Tensor] = []

    def before_unet(_: nn.Module, args: tuple[Any, ...]) -> None:
        z_t, t, context, added = (*args, None, None)[:4]
        shapes.require_feature_map(drawing, "drawing", control.config.drawing_channels, 1, drawing, "ControlNet")
        factor = 2 ** (len(control.config.drawing_widths) - 1)
        if any(a != factor * b for a, b in zip(drawing.shape[2:], z_t.shape[2:])) or len(z_t) % len(drawing):
            raise ValueError(
                f"drawing has shape {tuple(drawing.shape)}; expected one for all of {len(z_t)} pictures, or one each, "
                f"of {factor * z_t.shape[2]}×{factor * z_t.shape[3]} pixels"
            )
        repeated = drawing.to(z_t).repeat(1 if len(drawing) == 1 else len(z_t) // len(drawing), 1, 1, 1)
        residuals[:] = control(z_t, t.expand(len(z_t)), context, added, repeated)

    def before_up(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, skips, *rest = args
        *of_skips, of_middle = residuals
        skips[:] = [skip + scale * more for skip, more in zip(skips, of_skips)]  # the stack that all levels pop from
        return (x + scale * of_middle, skips, *rest)

    handles = [unet.register_forward_pre_hook(before_unet), unet.up[0].register_forward_pre_hook(before_up)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# ── Files: the folder of diffusers' ControlNetModel ──────────────────────────────────────────────────

DIFFUSERS_CONTROLNET: Table = [
    ("controlnet_cond_embedding.", "drawing."),
    ("controlnet_down_blocks.#.", "zero_convs.#."),
    ("controlnet_mid_block.", "zero_conv_middle."),
    *DIFFUSERS_UNET,
]
FIXED_CONTROLNET = {
    "_class_name": "ControlNetModel",
    "controlnet_conditioning_channel_order": "rgb",
    "global_pool_conditions": False,
}
WIDTHS = "conditioning_embedding_out_channels"
NOT_OF_CONTROLNET = ("sample_size", "out_channels", "up_block_types", "dropout")  # what the U-Net's configuration adds


def load_controlnet(folder: str | Path, variant: str | None = None) -> ControlNet:
    """Read a ControlNet from the folder of diffusers' `ControlNetModel`, in the dtype of its file.

    Raises: ValueError where a file is missing or broken, or describes something else.
    """
    folder = Path(folder)
    if (what := what_folder_is(folder)) not in ("", "a ControlNet"):
        raise ValueError(f"{folder} holds {what}; expected the folder of a ControlNet")
    content = read_json(folder / "config.json", "the folder of a ControlNet")
    with explained(folder / "config.json"):
        refuse_others(content, FIXED_CONTROLNET)
        require_whole(content, {"conditioning_channels": 64, WIDTHS: 8192}, (WIDTHS,))
        unet = unet_config_from_diffusers({**content, "out_channels": content["in_channels"]})
        widths = tuple(content.get(WIDTHS, ControlNetConfig.drawing_widths))
        config = ControlNetConfig(unet, content.get("conditioning_channels", 3), widths)
        with without_memory():
            control = ControlNet(config)
    state = read_weights(folder, DIFFUSERS_STEMS, variant)
    state = rename_all(state, lambda key: rename(key, DIFFUSERS_CONTROLNET), str(folder))
    load_weights(control, state, str(folder))
    return control.eval().requires_grad_(False)


def save_controlnet(control: ControlNet, folder: str | Path) -> None:
    """Write a ControlNet to a folder that diffusers' `ControlNetModel.from_pretrained` opens."""
    folder, config = Path(folder), control.config
    folder.mkdir(parents=True, exist_ok=True)
    content = unet_config_to_diffusers(config.unet, 1)
    content = {key: value for key, value in content.items() if key not in NOT_OF_CONTROLNET}
    drawing = {"conditioning_channels": config.drawing_channels, WIDTHS: list(config.drawing_widths)}
    write_json(folder / "config.json", {**content, **FIXED_CONTROLNET, **drawing})
    state = rename_all(control.state_dict(), lambda name: rename(name, reverse(DIFFUSERS_CONTROLNET)))
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", state)
