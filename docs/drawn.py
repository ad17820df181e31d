"""The pictures of the landing page, drawn by the shipped model while the site is built.

Each is what the live page draws for the same caption with its own settings; a click on it opens that drawing there.
"""

import html
from pathlib import Path
from urllib.parse import urlencode

import torch
from PIL import Image
from torch import Tensor

from tinyldm import LatentDiffusion
from tinyldm.training.train_unet import SAMPLE_CAPTIONS

CAPTIONS = SAMPLE_CAPTIONS[:8]
SEED = 0
MOMENTS = {"noise": 0, "guess": 1, "repeat": 8}  # a picture of the way -> after how many steps


def draw(folder: Path) -> None:
    """Write drawn-0.png … and the pictures of the first one's way, way-noise.png …, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = LatentDiffusion.from_pretrained()
    steps: list[Tensor] = []  # the first drawing's latents: after each step, what the model then guesses of the end
    for index, caption in enumerate(CAPTIONS):
        watch = (lambda step, z, z0_hat: steps.append(z0_hat)) if index == 0 else None
        image = model.generate([caption], generator=torch.Generator().manual_seed(SEED), callback=watch)
        save(image, folder / f"drawn-{index}.png")
    noise = model.initial_noise(1, model.image_size, torch.Generator().manual_seed(SEED))
    save((noise[:, :3] / 4 + 0.5).clamp(0, 1), folder / "way-noise.png")
    for name, after in MOMENTS.items():
        if after:
            save(model.decode(steps[after - 1]), folder / f"way-{name}.png")


def save(image: Tensor, file: Path) -> None:
    """Write the first of (B, 3, H, W) in [0, 1], each pixel as one."""
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    Image.fromarray(pixels).save(file, optimize=True)


def figure(live: bool) -> str:
    """The figure as HTML: a picture and its caption, and another, …"""
    rows = []
    for index, caption in enumerate(CAPTIONS):
        picture = (
            f'<img src="figures/drawn-{index}.png" width="64" height="64" alt="What the model drew for this caption">'
        )
        if live:
            address = html.escape("live/index.html#draw?" + urlencode({"caption": caption, "seed": SEED}))
            picture = f'<a href="{address}" title="Draw it in your browser">{picture}</a>'
        rows.append(f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return '<figure class="drawn"><div>\n' + "\n".join(rows) + "\n</div>"
