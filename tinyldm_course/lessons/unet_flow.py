"""The sizes that flow through a U-Net, and its skips, recorded while it runs and drawn: lesson 08."""

from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Arc
from torch import Tensor, nn

from tinyldm.resblock import Downsample, ResBlock, Upsample, timestep_embedding
from tinyldm.spatial_transformer import SpatialTransformer
from tinyldm_course.lessons import plots

KINDS = {
    ResBlock: ("ResBlock", plots.BLUE),
    SpatialTransformer: ("SpatialTransformer", plots.ORANGE),
    Downsample: ("down", plots.GREEN),
    Upsample: ("up", plots.GOLD),
    nn.Conv2d: ("convolution", plots.GREY),
}
Step = tuple[type, int, int]  # kind, channels, height of one block's output
Pair = tuple[int, int]  # the step whose output was pushed, the step that reads it


class NotedStack(list):
    """A stack of skips that notes which step pushed each map and which step reads it."""

    def __init__(self, steps: list[Step]):
        super().__init__()
        self.steps = steps
        self.pushed: list[int] = []
        self.pairs: list[Pair] = []

    def append(self, skip: Tensor) -> None:
        """Push: the block that has just run made the map."""
        self.pushed.append(len(self.steps) - 1)
        super().append(skip)

    def pop(self) -> Tensor:  # type: ignore[override]
        """Pop: the next block to run reads the map."""
        self.pairs.append((self.pushed.pop(), len(self.steps)))
        return super().pop()


@torch.no_grad()
def flow(unet: Any, z_t: Tensor, t: Tensor, context: Tensor) -> tuple[list[Step], list[Pair]]:
    """Run a lesson's U-Net, whose levels take the skips as their last argument, with a stack that takes notes.

    Args:
        unet: has time_mlp, width, conv_in, down, middle, up and conv_out.
        z_t (B, 4, h, w); t (B,); context (B, L, D), also on the device "meta".
    Returns: every block in the order in which they run, and the skips.
    """
    steps: list[Step] = []
    hooks = [
        module.register_forward_hook(lambda module, _, out: steps.append((type(module), out.shape[1], out.shape[2])))
        for name, module in unet.named_modules()
        if type(module) in KINDS and (type(module) is not nn.Conv2d or name in ("conv_in", "conv_out"))
    ]
    skips = NotedStack(steps)
    try:
        t_emb = unet.time_mlp(timestep_embedding(t, unet.width))
        x = unet.conv_in(z_t)
        skips.append(x)
        for level in unet.down:
            x = level(x, t_emb, context, skips)
        x = unet.middle(x, t_emb, context)
        for level in unet.up:
            x = level(x, t_emb, context, skips)
        unet.conv_out(x)  # without the norm and the SiLU before it, which change no size
    finally:
        for hook in hooks:
            hook.remove()
    return steps, skips.pairs


def plot_flow(steps: list[Step], pairs: list[Pair], title: str) -> plt.Figure:
    """Plot each block as a bar, as high as its map and as wide as its channels, and each skip as an arc."""
    fig, ax = plt.subplots(figsize=(9.4, 3.8))
    max_c, max_h = max(step[1] for step in steps), max(step[2] for step in steps)
    written = None
    for i, (kind, channels, height) in enumerate(steps):
        label, colour = KINDS[kind]
        ax.bar(i, height, 0.25 + 0.6 * channels / max_c, color=colour, label=label)
        if label not in ("down", "up") and written != (channels, height):
            ax.text(i, -0.04 * max_h, f"{channels}\n{height}²", ha="center", va="top", fontsize=8)
            written = channels, height
    for start, end in pairs:
        middle, size = ((start + end) / 2, max_h * 1.05), max_h * 1.1 * (end - start) / len(steps)
        ax.add_patch(Arc(middle, end - start, size, theta1=0, theta2=180, color=plots.SKY, linewidth=1.3))
    ax.set(ylim=(-0.22 * max_h, 1.8 * max_h), ylabel="height of the map", yticks=[0, max_h // 2, max_h], title=title)
    ax.set_xticks([])
    ax.set_xlabel("channels and size, where they change; the U-Net runs from left to right")
    ax.spines["bottom"].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    ax.legend(unique.values(), unique.keys(), ncols=5, loc="upper center", fontsize=8.5)
    return fig
