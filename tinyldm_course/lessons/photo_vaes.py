"""Four small VAEs for photographs, which shrink each side 2, 4, 8 and 16 times: lesson 05 compares what they keep.

    python -m tinyldm_course.lessons.photo_vaes    # trains the missing ones; resumes after Ctrl-C
    photo_vaes.load()                              # the shipped VAEs, as {2: vae, 4: vae, 8: vae, 16: vae}

All have four latent channels, the same kind of layers, loss, pictures, steps and seed, and differ only in the
number of levels. They learn from crops of scikit-learn's two photographs; a square of each is held out.
"""

import argparse
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import tinyldm_course
from tinyldm.data.corpus import Corpus, captioned_corpus
from tinyldm.data.pixels import channels_first, to_float
from tinyldm.formats.diffusers_vae import load_vae, save_vae
from tinyldm.training.run import Stopped
from tinyldm.training.train_vae import VaeSettings, train_vae
from tinyldm.vae import VAE, VAEConfig
from tinyldm_course.lessons.helpers import PHOTOGRAPHS

FACTORS = (2, 4, 8, 16)
WIDTHS = (16, 24, 32, 40, 40)  # of the feature maps, full resolution first
SHIPPED = Path(tinyldm_course.__file__).parent / "weights" / "photo_vaes"
HELD_OUT, CROP = 128, 64  # pixels per side
CORNERS = {"flower": (149, 150), "china": (149, 256)}  # top and left of the square that is held out, in pixels
COMMAND = "python -m tinyldm_course.lessons.photo_vaes"
SETTINGS = VaeSettings(
    out=Path("runs/photo_vaes"),
    steps=2400,
    batch=8,
    lr=2e-3,
    kl_weight=3e-7,
    perceptual_weight=0.0,
    adversarial_weight=0.0,
    ema=0.995,
)


def config_of(factor: int) -> VAEConfig:
    """Return the sizes of the VAE that shrinks each side `factor` times. Raises ValueError for any other factor."""
    if factor not in FACTORS:
        raise ValueError(f"factor is {factor}; expected one of {', '.join(map(str, FACTORS))}")
    return VAEConfig(channels=WIDTHS[: factor.bit_length()], blocks_per_level=1, groups=4)


def load(folder: Path = SHIPPED) -> dict[int, VAE]:
    """Load the VAEs: {factor: VAE in float32, ready to use}.

    Raises: ValueError, with the command that trains them, if one is missing.
    """
    missing = [factor for factor in FACTORS if not is_trained(folder, factor)]
    if missing:
        raise ValueError(f"{folder} lacks the VAEs with f = {', '.join(map(str, missing))}; train them with: {COMMAND}")
    return {factor: load_vae(folder / f"f{factor}").float().eval() for factor in FACTORS}


def is_trained(folder: Path, factor: int) -> bool:
    """Is the folder of this VAE complete? Its weights are written last."""
    return (folder / f"f{factor}" / "diffusion_pytorch_model.safetensors").is_file()


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────


def whole(name: str) -> Tensor:
    """Load a whole photograph, (3, 427, 640) uint8."""
    from sklearn.datasets import load_sample_image  # imported here because it takes a second

    return channels_first(np.array(load_sample_image(f"{name}.jpg")))


def held_out(name: str) -> Tensor:
    """Return the square that no VAE has seen, (3, 128, 128) float32 in [0, 1]. name: "flower" or "china"."""
    top, left = CORNERS[name]
    return to_float(whole(name)[:, top : top + HELD_OUT, left : left + HELD_OUT])


def crops(photograph: Tensor, corner: tuple[int, int], count: int, seed: int) -> Tensor:
    """(3, H, W) -> (count, 3, 64, 64): random squares that do not touch the held-out one, half of them mirrored.

    corner: (top, left) of the held-out square.
    """
    generator = torch.Generator().manual_seed(seed)
    top, left = corner
    found = []
    while len(found) < count:
        y, x = (int(torch.randint(side - CROP + 1, (), generator=generator)) for side in photograph.shape[1:])
        mirrored = bool(torch.randint(2, (), generator=generator))
        outside = y + CROP <= top or y >= top + HELD_OUT or x + CROP <= left or x >= left + HELD_OUT
        if outside:
            crop = photograph[:, y : y + CROP, x : x + CROP]
            found.append(crop.flip(2) if mirrored else crop)
    return torch.stack(found)


def photo_corpus(count: int = 8000, seed: int = 0) -> Corpus:
    """Return `count` crops, equally many from each photograph, in the form that VAE training takes."""
    share = count // len(PHOTOGRAPHS)
    images = torch.cat([crops(whole(name), CORNERS[name], share, seed + i) for i, name in enumerate(PHOTOGRAPHS)])
    return captioned_corpus(images, ["a photograph"] * len(images))


def best_linear(name: str, factor: int, channels: int, crops_each: int = 300) -> Tensor:
    """Return the held-out square from the best linear code: `channels` numbers for each tile of factor × factor pixels.

    The code is the principal components of the tiles of the training crops.

    Args: name: "flower" or "china"; channels: 1 … 3 factor².
    Returns: (3, 128, 128), about in [0, 1].
    """
    mean, axes = principal_axes(factor, crops_each)
    own, kept = tiles_of(held_out(name)[None], factor), axes[:, -channels:]
    decoded = (own - mean) @ kept @ kept.T + mean
    return torch.nn.functional.fold(decoded.T[None], (HELD_OUT, HELD_OUT), factor, stride=factor)[0]


@cache
def principal_axes(factor: int, crops_each: int) -> tuple[Tensor, Tensor]:
    """Mean (3 factor²,) and principal axes (3 factor², 3 factor²) of the tiles, in order of rising variance."""
    seen = torch.cat([crops(whole(n), CORNERS[n], crops_each, seed) for seed, n in enumerate(PHOTOGRAPHS)])
    tiles = tiles_of(to_float(seen), factor)
    return tiles.mean(0), torch.linalg.eigh(torch.cov(tiles.T))[1]


def tiles_of(images: Tensor, factor: int) -> Tensor:
    """(B, 3, H, W) -> (tiles, 3 factor²)."""
    return torch.nn.functional.unfold(images, factor, stride=factor).transpose(1, 2).flatten(0, 1)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────────


def train(factor: int, settings: VaeSettings, corpus: Corpus, folder: Path) -> VAE:
    """Train one VAE and save it in `folder` as float16. Resumes from its checkpoint in `settings.out` if there is one.

    Raises: Stopped after Ctrl-C (saved).
    """
    settings = replace(settings, out=settings.out / f"f{factor}", config=config_of(factor), resume=True)
    vae = train_vae(settings, corpus, clip=None).half()
    save_vae(vae, folder / f"f{factor}", CROP)
    return vae


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--factors",
        type=int,
        nargs="+",
        choices=FACTORS,
        default=FACTORS,
        metavar="F",
        help="which of 2, 4, 8 and 16 (default: all)",
    )
    parser.add_argument("--steps", type=int, default=SETTINGS.steps, help="for each VAE (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="mixed precision: faster where the processor has it")
    parser.add_argument("--work", type=Path, default=SETTINGS.out, help="for checkpoints (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="for the results (default: the package)")
    given = parser.parse_args()
    settings = replace(SETTINGS, steps=given.steps, device=given.device, bf16=given.bf16, out=given.work)
    corpus = photo_corpus(seed=settings.seed)
    try:
        for factor in given.factors:
            if not is_trained(given.out, factor):
                vae = train(factor, settings, corpus, given.out)
                print(f"f = {factor}: scale {vae.config.scale:.3f}, in {given.out / f'f{factor}'}", flush=True)
    except Stopped as stopped:
        sys.exit(f"{stopped} (no --resume is needed here: it always resumes)")


if __name__ == "__main__":
    main()
