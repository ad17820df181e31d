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
from tqdm import tqdm

from tinyldm.conditioning import ImageEncoder, TextEncoder
from tinyldm.data.corpus import Corpus
from tinyldm.data.pixels import to_signed_float
from tinyldm.formats.diffusers_unet import save_unet
from tinyldm.formats.weights import without_memory
from tinyldm.forward_diffusion import diffusion_loss
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.clip import Clip, pad_tokens
from tinyldm.training.figures import save_curves, save_grid
from tinyldm.training.run import MovingAverage, Run, Settings, adamw, batch_at, generator_at, mixed_precision, read_log
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
    sample_seconds: float = 300.0  # time between two grids of samples
    start_from: str | None = None  # "tiny" or a model folder: start from its weights instead of random ones
    config: UNetConfig = TINY.unet


# ── What is computed once ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cache:
    """N images as latents, and all their possible contexts; on the training device, in float16 where large."""

    moments: Tensor  # (N, 8, h, w) float16, unscaled: mean ‖ log-variance
    contexts: Tensor  # (U, L, D) float16, of each different caption; number 0 is that of ""
    caption: Tensor  # (N, W) int64, which context belongs to an image in each of its wordings
    patches: Tensor  # (N, 1 + P, D_v) float16, the output of CLIP's image tower


@torch.no_grad()
def build_cache(
    corpus: Corpus,
    vae: VAE,
    text_encoder: TextEncoder,
    image_encoder: ImageEncoder,
    device: str,
    batch: int = 256,
    progress: bool = True,
) -> Cache:
    """Encode every image and every different caption of a corpus once."""
    number = {"": 0}
    for wordings in corpus.captions:
        for caption in wordings:
            number.setdefault(caption, len(number))
    caption = torch.tensor([[number[caption] for caption in wordings] for wordings in corpus.captions])
    tokens = pad_tokens(text_encoder.tokenizer, list(number), text_encoder.length)
    bar = tqdm(total=len(corpus) + len(tokens), desc="encoding once", disable=not progress, mininterval=1.0)
    moments, patches, contexts = [], [], []
    for part in corpus.images.split(batch):
        images = to_signed_float(part.to(device))
        posterior = vae.posterior(images)
        moments.append(torch.cat([posterior.mean, posterior.logvar], dim=1).half())
        patches.append(image_encoder.clip(image_encoder.clip.preprocess(images)).last.half())
        bar.update(len(part))
    for part in tokens.split(4 * batch):
        contexts.append(text_encoder(part.to(device)).half())
        bar.update(len(part))
    bar.close()
    return Cache(torch.cat(moments), torch.cat(contexts), caption.to(device), torch.cat(patches))


# ── A batch ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Batch:
    """B latents, and what is drawn at random for them."""

    z0: Tensor  # (B, 4, h, w) scaled latents, a new sample of each
    t: Tensor  # (B,) int64
    eps: Tensor  # (B, 4, h, w)
    text: Tensor  # (B,) int64, numbers of contexts, 0 where the caption is dropped
    with_image: bool  # whether the images themselves are part of the context


def draw_batch(cache: Cache, index: Tensor, scale: float, T: int, settings: UnetSettings, step: int) -> Batch:
    """Draw latents, timesteps, noise, wordings and drop-outs for the images `index` (B,) of the cache."""
    device, B = index.device, len(index)
    generator = generator_at(settings.seed, step, device)
    # The kind of the batch is drawn on the CPU: reading one number from a GPU would make both wait.
    with_image = torch.rand(1, generator=generator_at(settings.seed, step)).item() < settings.image_context
    posterior = DiagonalGaussian(cache.moments[index].float())
    z0 = scale * posterior.reparameterize(torch.randn(posterior.mean.shape, generator=generator, device=device))
    t = torch.randint(T, (B,), generator=generator, device=device)
    eps = torch.randn(z0.shape, generator=generator, device=device)
    wording = torch.randint(cache.caption.shape[1], (B,), generator=generator, device=device)
    chance = torch.rand(B, generator=generator, device=device)
    dropped = chance < (settings.drop_caption_with_image if with_image else settings.drop_caption)
    return Batch(z0, t, eps, cache.caption[index, wording].masked_fill(dropped, 0), with_image)


def context_of(cache: Cache, batch: Batch, index: Tensor, image_encoder: ImageEncoder) -> Tensor:
    """The context (B, L, D) of captions, or (B, L + 1 + P, D) of captions and images."""
    text = cache.contexts[batch.text].float()
    if not batch.with_image:
        return text
    return torch.cat([text, image_encoder.to_context(cache.patches[index].float())], dim=1)


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────


class Trained(nn.Module):
    """What this stage trains: the U-Net, and the linear layer that turns patch vectors into context."""

    def __init__(self, unet: UNet, image_encoder: ImageEncoder):
        super().__init__()
        self.unet, self.to_context = unet, image_encoder.to_context


def train_unet(
    settings: UnetSettings, corpus: Corpus, vae: VAE, clip: Clip, tokenizer, start: LatentDiffusion | None = None
) -> LatentDiffusion:
    """Train the U-Net. Returns the whole model, with the moving average of the trained weights.

    Args: start: a model of the same sizes, whose U-Net training starts from; None: from random weights.
    Files in `settings.out`, besides the checkpoint and the log: unet.loss.png; samples/, with a grid from a fixed
    seed every few minutes; and snapshots/, the averaged U-Net after 1, 10 and 50 % of the training.
    Raises: Stopped after Ctrl-C (saved); FloatingPointError when a loss or a weight is no longer finite, and OSError
        when the disk is full (the last checkpoint is intact).
    """
    device = settings.device
    torch.manual_seed(settings.seed)
    image_encoder = ImageEncoder(clip.vision, settings.config.context_dim).to(device)
    trained = Trained(UNet(settings.config), image_encoder).to(device)
    if start is not None:
        trained.unet.load_state_dict(start.unet.state_dict())
        trained.to_context.load_state_dict(start.image_encoder.to_context.state_dict())
    average = MovingAverage(trained, settings.ema)
    model = LatentDiffusion(
        average.module.unet,
        vae,
        TextEncoder(clip.text, tokenizer),
        TINY.schedule(),
        image_encoder=with_context(image_encoder, average.module.to_context),
    ).to(device)
    cache = build_cache(corpus, vae, model.text_encoder, image_encoder, device, progress=settings.progress)
    optimizer = adamw(trained.parameters(), settings.lr)

    modules = {"trained": trained, "average": average.module}
    with Run("unet", settings, modules, {"optimizer": optimizer}, len(corpus)) as run:
        monitor = Monitor(run, model, SAMPLE_CAPTIONS, settings.sample_seconds)
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus)).to(device)
            batch = draw_batch(cache, index, vae.config.scale, model.schedule.T, settings, step)
            with mixed_precision(device, settings.bf16):
                context = context_of(cache, batch, index, image_encoder)
                loss = diffusion_loss(trained.unet, model.schedule, batch.z0, context, batch.t, batch.eps)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            average.update(trained, step)
            run.log(loss=loss)
            monitor.after_step()
        monitor.save_samples("final")
    return model


def with_context(image_encoder: ImageEncoder, to_context: nn.Linear) -> ImageEncoder:
    """The same image tower (shared, not copied) followed by another linear layer."""
    with without_memory():  # its own linear layer is replaced at once
        other = ImageEncoder(image_encoder.clip, to_context.out_features)
    other.to_context = to_context
    return other.train(image_encoder.training)


class Monitor:
    """Shows how a model develops while it is trained: sample grids, the loss curve, snapshots."""

    def __init__(self, run: Run, model: LatentDiffusion, captions: Sequence[str], seconds: float):
        self.run, self.model, self.captions, self.seconds = run, model, list(captions), seconds
        self.out = run.settings.out
        self.waiting = [share for share in SNAPSHOTS if share > run.progress()]
        self.last = time.monotonic()

    def after_step(self) -> None:
        """Save what is due."""
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
        """One image for each of the captions from a fixed seed, and the loss so far."""
        images = self.model.generate(self.captions, generator=torch.Generator().manual_seed(0))
        save_grid(images, self.captions, self.out / "samples" / f"{name}.png")
        if self.run.log_file.exists():
            save_curves(read_log(self.run.log_file), ("loss",), self.out / "unet.loss.png")


def snapshot_folder(out: Path, share: float) -> Path:
    """Where the U-Net after this share of the training is: "snapshots/unet_at_10" for 0.1."""
    return out / "snapshots" / f"unet_at_{round(100 * share):02d}"
