"""Stage 3 of training: the U-Net, on the latents of the images and the contexts of their captions.

    tinyldm train unet --minutes 60

The VAE and the text encoder are frozen, as in the article. So their output for the training data is computed once
and kept: the *moments* of each latent (each use draws a new sample from them) and the context of each different
caption. What remains is the article's loop, `diffusion_loss` at random timesteps.

The context of each batch is of one of two kinds, at random (they differ in length):

    80 % of the batches   captions; one in eight is replaced by "", so that 10 % of all images have no condition:
                          guidance needs that
    20 % of the batches   a caption or, half of the time, "", followed by the patch vectors of the image itself
                          from CLIP's image tower
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tinyldm.conditioning import ImageEncoder, TextEncoder
from tinyldm.data.corpus import Corpus
from tinyldm.formats.diffusers_unet import save_unet
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.formats.weights import without_memory
from tinyldm.forward_diffusion import NoiseSchedule, diffusion_loss
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.resblock import ResBlock
from tinyldm.spatial_transformer import SpatialTransformer
from tinyldm.training.figures import save_curves, save_grid
from tinyldm.training.latents import Cache, build_cache, cache_on_disk
from tinyldm.training.processes import ALONE, Processes
from tinyldm.training.run import (
    MovingAverage,
    Run,
    Settings,
    adamw,
    batch_at,
    generator_at,
    mixed_precision,
    read_log,
    recompute_activations,
)
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, DiagonalGaussian
from tinyldm.versions import TINY

SNAPSHOTS = (0.01, 0.1, 0.5)  # of training: the U-Nets that are kept, to show how captions are learnt
SAMPLE_CAPTIONS = (
    "a small red circle above a large blue square",
    "a large blue square above a small red circle",
    "a red circle to the left of a green triangle",
    "a red triangle to the left of a green circle",
    "a large yellow star on a black background",
    "a large purple ring on a white background",
    "a small green cross on a cream background",
    "a large orange square on a gray background",
    "a small pink star below a large cyan circle",
    "a large blue cross to the right of a small yellow ring",
    "a purple star above a purple circle",
    "a small yellow triangle on a blue background",
    "a large cyan cross",
    "a large purple triangle",  # two held-out combinations
    "a red circle",
    "",
)


@dataclass(frozen=True)
class UnetSettings(Settings):
    """How the U-Net is trained."""

    batch: int = 64
    lr: float = 1e-3
    warmup: int = 200
    drop_caption: float = 0.125  # share of the captions of a text batch that become ""
    image_context: float = 0.2  # share of the batches that also read an image
    drop_caption_with_image: float = 0.5  # share of the captions in batches with images that become ""
    ema: float = 0.9995
    ema_on_cpu: bool = False  # keep the moving average in the CPU's memory, where a GPU's is short
    accumulate: int = 1  # pieces in which each process computes its share of a batch, where memory is short
    recompute: bool = False  # activations of each block in the backward pass, instead of keeping them
    compile: bool = False  # the U-Net, with torch.compile
    sample_seconds: float = 300.0  # time between two grids of samples
    cache: Path | None = None  # folder in which to keep latents and contexts; None: memory
    start_from: str | None = None  # "tiny" or a model folder: start from its weights instead of random ones
    parts_from: str | None = None  # a model folder: train from nothing, with its VAE and text encoder
    config: UNetConfig = TINY.unet


# ── A batch ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Batch:
    """B latents, and what is drawn at random for them."""

    z0: Tensor  # (B, 4, h, w) scaled latents, a new sample of each
    t: Tensor  # (B,) int64
    eps: Tensor  # (B, 4, h, w)
    text: Tensor  # (B,) int64, numbers of contexts, 0 where the caption is dropped
    with_image: bool  # whether the images themselves are part of the context


def draw_batch(
    cache: Cache, index: Tensor, scale: float, T: int, settings: UnetSettings, step: int, share: slice = slice(None)
) -> Batch:
    """Draw latents, timesteps, noise, wordings and drop-outs for the images `index` (B,) of the cache.

    share: the part of the batch to return. Whatever it is, the random numbers are drawn for the whole batch, so that
        the parts together are the whole.
    """
    device, B = index.device, len(index)
    generator = generator_at(settings.seed, step, device)
    # The kind of the batch is drawn on the CPU: reading one number from a GPU would make both wait.
    with_image = torch.rand(1, generator=generator_at(settings.seed, step)).item() < settings.image_context
    latents = (B, cache.moments.shape[1] // 2, *cache.moments.shape[2:])
    of_posterior = torch.randn(latents, generator=generator, device=device)[share]
    t = torch.randint(T, (B,), generator=generator, device=device)[share]
    eps = torch.randn(latents, generator=generator, device=device)[share]
    wording = torch.randint(cache.caption.shape[1], (B,), generator=generator, device=device)[share]
    chance = torch.rand(B, generator=generator, device=device)[share]
    dropped = chance < (settings.drop_caption_with_image if with_image else settings.drop_caption)
    index = index[share]
    z0 = scale * DiagonalGaussian(cache.moments[index].float()).reparameterize(of_posterior)
    return Batch(z0, t, eps, cache.caption[index, wording].masked_fill(dropped, 0), with_image)


def context_of(cache: Cache, batch: Batch, index: Tensor, image_encoder: ImageEncoder | None) -> Tensor:
    """The context (B, L, D) of captions, or (B, L + 1 + P, D) of captions and images."""
    text = cache.contexts[batch.text].float()
    if not batch.with_image:
        return text
    return torch.cat([text, image_encoder.to_context(cache.patches[index].float())], dim=1)


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────


class Trained(nn.Module):
    """What this stage trains: the U-Net, and the linear layer that turns patch vectors into context."""

    def __init__(self, unet: UNet, image_encoder: ImageEncoder | None):
        super().__init__()
        self.unet = unet
        self.to_context = None if image_encoder is None else image_encoder.to_context

    def begin_from(self, model: LatentDiffusion) -> None:
        """Take over the weights of a model of the same sizes."""
        self.unet.load_state_dict(model.unet.state_dict())
        if self.to_context is not None and model.image_encoder is not None:
            self.to_context.load_state_dict(model.image_encoder.to_context.state_dict())


@dataclass(frozen=True)
class Frozen:
    """The parts that this stage does not train, and what they are for."""

    vae: VAE
    text_encoder: TextEncoder
    schedule: NoiseSchedule
    image_tower: VisionTransformer | None  # read through a linear layer that is trained; None: captions are all context
    image_size: int  # pixels


def train_unet(
    settings: UnetSettings,
    corpus: Corpus,
    frozen: Frozen,
    start: LatentDiffusion | None = None,
    processes: Processes = ALONE,
) -> LatentDiffusion:
    """Train the U-Net. Returns the whole model, with the moving average of the trained weights.

    Args:
        start: a model of the same sizes, whose U-Net training starts from; None: from random weights.
        processes: those that share the work.
    Files in `settings.out`, besides the checkpoint and the log: unet.loss.png; samples/, with a grid from a fixed
    seed every few minutes; and snapshots/, the averaged U-Net after 1, 10 and 50 % of the training.
    Raises: Stopped after Ctrl-C (saved); FloatingPointError when a loss or a weight is no longer finite, and OSError
        when the disk is full (the last checkpoint is intact).
    """
    device = settings.device
    torch.manual_seed(settings.seed)
    tower, width = frozen.image_tower, settings.config.context_dim
    image_encoder = None if tower is None else ImageEncoder(tower, width).to(device)
    trained = Trained(UNet(settings.config), image_encoder).to(device)
    if start is not None:
        trained.begin_from(start)
    cache = cache_of(corpus, frozen, image_encoder, settings, processes)
    average_on = "cpu" if settings.ema_on_cpu else device
    average = MovingAverage(trained, settings.ema, average_on)
    model = model_around(average.module, frozen, image_encoder).to(average_on)
    schedule = copy.deepcopy(frozen.schedule).to(device)
    optimizer = adamw(trained.parameters(), settings.lr)
    if settings.recompute:
        recompute_activations(trained.unet, (ResBlock, SpatialTransformer))
    if settings.compile:
        trained.unet.compile()

    modules = {"trained": trained, "average": average.module}
    shares = processes.shares(settings.batch, settings.accumulate)
    with Run("unet", settings, modules, {"optimizer": optimizer}, len(corpus), processes) as run:
        monitor = Monitor(run, model, SAMPLE_CAPTIONS, settings.sample_seconds, SNAPSHOTS)
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus)).to(device)
            optimizer.zero_grad()
            losses = []
            for share in shares:
                batch = draw_batch(cache, index, frozen.vae.config.scale, schedule.T, settings, step, share)
                with mixed_precision(device, settings.bf16):
                    context = context_of(cache, batch, index[share], image_encoder)
                    loss = diffusion_loss(trained.unet, schedule, batch.z0, context, batch.t, batch.eps)
                (loss / len(shares)).backward()
                losses.append(loss.detach())
            processes.average_gradients(trained.parameters())
            nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            average.update(trained, step)
            run.log(loss=torch.stack(losses).mean())
            monitor.after_step()
        monitor.save_samples("final")
    return model


def cache_of(
    corpus: Corpus, frozen: Frozen, image_encoder: ImageEncoder | None, settings: UnetSettings, processes: Processes
) -> Cache:
    """The corpus, encoded by the frozen parts: in memory, or in the files of `settings.cache`."""
    for part in (frozen.vae, frozen.text_encoder, frozen.image_tower):
        if part is not None:
            part.to(settings.device).eval().requires_grad_(False)
    encoders, progress = (frozen.vae, frozen.text_encoder, image_encoder), settings.progress and processes.is_first
    if settings.cache is None:
        return build_cache(corpus, *encoders, settings.device, progress=progress)
    return cache_on_disk(settings.cache, corpus, *encoders, settings.device, processes, progress=progress)


def model_around(trained: Trained, frozen: Frozen, image_encoder: ImageEncoder | None) -> LatentDiffusion:
    """The whole model: trained weights and frozen parts."""
    return LatentDiffusion(
        trained.unet,
        frozen.vae,
        frozen.text_encoder,
        copy.deepcopy(frozen.schedule),
        image_encoder=None if image_encoder is None else with_context(image_encoder, trained.to_context),
        image_size=(frozen.image_size, frozen.image_size),
    )


def with_context(image_encoder: ImageEncoder, to_context: nn.Linear) -> ImageEncoder:
    """The same image tower (shared, not copied) followed by another linear layer."""
    with without_memory():  # its own linear layer is replaced at once
        other = ImageEncoder(image_encoder.clip, to_context.out_features)
    other.to_context = to_context
    return other.train(image_encoder.training)


class Monitor:
    """Shows how a model develops while it is trained: sample grids, the loss curve, snapshots."""

    def __init__(
        self, run: Run, model: LatentDiffusion, captions: Sequence[str], seconds: float, snapshots: Sequence[float] = ()
    ):
        self.run, self.model, self.captions, self.seconds = run, model, list(captions), seconds
        self.out = run.settings.out
        self.waiting = [share for share in snapshots if share > run.progress()]
        self.last = time.monotonic()

    def after_step(self) -> None:
        """Save what is due, in the first process."""
        if not self.run.processes.is_first:
            return
        if self.waiting and self.run.progress() >= self.waiting[0]:
            self.save_snapshot(self.waiting.pop(0))
        if time.monotonic() - self.last > self.seconds:
            self.save_samples(f"{self.run.step:06d}")
            self.last = time.monotonic()

    def save_snapshot(self, share: float) -> None:
        """The averaged U-Net as it is now, in half precision."""
        folder = snapshot_folder(self.out, share)
        folder.mkdir(parents=True, exist_ok=True)
        latent_size = self.model.image_size[0] // self.model.vae.config.factor
        save_unet(copy.deepcopy(self.model.unet).half(), folder, latent_size)

    def save_samples(self, name: str) -> None:
        """One image for each of the captions from a fixed seed, and the loss so far; in the first process."""
        if not self.run.processes.is_first:
            return
        model, device = self.model, self.run.settings.device
        if model.device.type != torch.device(device).type:  # the moving average is on the CPU, which is slow
            model = copy.deepcopy(model).to(device)
        images = model.generate(self.captions, generator=torch.Generator().manual_seed(0))
        save_grid(images, self.captions, self.out / "samples" / f"{name}.png")
        if self.run.log_file.exists():
            save_curves(read_log(self.run.log_file), ("loss",), self.out / "unet.loss.png")


def snapshot_folder(out: Path, share: float) -> Path:
    """Where the U-Net after this share of the training is: "snapshots/unet_at_10" for 0.1."""
    return out / "snapshots" / f"unet_at_{round(100 * share):02d}"
