"""Stage 3 as the 2021 paper had it: the U-Net and the text encoder, trained together from nothing.

    tinyldm train unet --data drawings --minutes 60

Stable Diffusion reads captions with a CLIP that was trained before, and freezes it: `train_unet.py` does so. The paper
from which it grew trained the text transformer τ and the U-Net ε with one loss (Rombach et al. 2022, § 3.3, eq. 3):

    L = E ‖ε - ε_hat(z_t, t, τ(y))‖²     "where both τ and ε_hat are jointly optimized"

That needs no CLIP, and a word comes to mean what helps to denoise. It suits few pictures with many names: from six
drawings of a thing, a CLIP learns little that the U-Net would not find out by itself.

Only the VAE is frozen, so its latents are computed once.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tinyldm.clip import TextConfig, TextTransformer
from tinyldm.conditioning import TextEncoder
from tinyldm.data.corpus import Corpus
from tinyldm.data.pixels import to_signed_float
from tinyldm.formats.schedulers import zero_terminal_snr
from tinyldm.formats.tokenizers import Tokenizer
from tinyldm.forward_diffusion import VELOCITY, NoiseSchedule, diffusion_loss, scaled_linear_betas
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.clip import new_text_transformer, pad_tokens
from tinyldm.training.run import MovingAverage, Run, Settings, adamw, batch_at, generator_at, mixed_precision
from tinyldm.training.train_unet import Monitor
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, DiagonalGaussian, VAEConfig
from tinyldm.versions import TINY

# For the drawings of 1,165 things: latents a quarter of the image on each side, a text encoder that knows more words.
PICTURES = replace(
    TINY,
    unet=replace(TINY.unet, channels=(64, 128, 160), transformer_depth=(0, 1, 1), heads=(4, 4, 5)),
    vae=VAEConfig(channels=(32, 64, 96), blocks_per_level=1, groups=8, scale=1.0),
    text=(replace(TINY.text[0], vocab_size=3561, pad_token_id=3560),),
    vision=None,
)
SAMPLE_CAPTIONS = (
    "a panda",
    "a penguin",
    "a sunflower",
    "a fox",
    "a hamburger",
    "a pizza",
    "a smiling cat",
    "a red apple",
    "a 3d rocket",
    "a flat rocket",
    "a noto owl",
    "a twemoji owl",
    "a blob crying face",
    "an octopus on a blue background",
    "a smiling person with short red hair and glasses, toon style",
    "a sad person with long blond hair, pixel style",
)


@dataclass(frozen=True)
class JointSettings(Settings):
    """How the U-Net and the text encoder are trained together."""

    batch: int = 64
    lr: float = 1e-3
    warmup: int = 500
    drop_caption: float = 0.1  # share of the captions that become "": guidance needs that
    timestep_power: float = 0.6  # t = T · u^power, u uniform in [0, 1): below 1, noisy timesteps come more often
    ema: float = 0.9995
    sample_seconds: float = 600.0  # time between two grids of samples
    sample_captions: tuple[str, ...] = SAMPLE_CAPTIONS
    config: UNetConfig = PICTURES.unet
    text: TextConfig = PICTURES.text[0]


# ── What is computed once ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cache:
    """N images as latents, and their captions as tokens; on the training device."""

    moments: Tensor  # (N, 2 C, h, w) float16, unscaled: mean ‖ log-variance
    tokens: Tensor  # (N, W, L) int16, of each image in each of its wordings
    empty: Tensor  # (L,) int16, the tokens of ""


@torch.no_grad()
def build_cache(
    corpus: Corpus, vae: VAE, tokenizer: Tokenizer, length: int, device: str, progress: bool = True
) -> Cache:
    """Encode every image, and tokenize every caption, of a corpus once."""
    flat = [caption for wordings in corpus.captions for caption in wordings]
    tokens = pad_tokens(tokenizer, [*flat, ""], length).to(torch.int16).to(device)
    moments = []
    for part in tqdm(corpus.images.split(256), desc="encoding once", disable=not progress, mininterval=1.0):
        posterior = vae.posterior(to_signed_float(part.to(device)))
        moments.append(torch.cat([posterior.mean, posterior.logvar], dim=1).half())
    return Cache(torch.cat(moments), tokens[:-1].unflatten(0, (len(corpus), -1)), tokens[-1])


# ── A batch ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Batch:
    """B latents, and what is drawn at random for them."""

    z0: Tensor  # (B, C, h, w) scaled latents, a new sample of each
    t: Tensor  # (B,) int64
    eps: Tensor  # (B, C, h, w)
    tokens: Tensor  # (B, L) int64, of one wording of each; of "" where the caption is dropped


def draw_batch(cache: Cache, index: Tensor, scale: float, T: int, settings: JointSettings, step: int) -> Batch:
    """Draw latents, timesteps, noise, wordings and drop-outs for the images `index` (B,) of the cache."""
    device, B = index.device, len(index)
    generator = generator_at(settings.seed, step, device)
    posterior = DiagonalGaussian(cache.moments[index].float())
    z0 = scale * posterior.reparameterize(torch.randn(posterior.mean.shape, generator=generator, device=device))
    u = torch.rand(B, generator=generator, device=device)
    t = (T * u**settings.timestep_power).long().clamp(max=T - 1)
    eps = torch.randn(z0.shape, generator=generator, device=device)
    wording = torch.randint(cache.tokens.shape[1], (B,), generator=generator, device=device)
    dropped = torch.rand(B, generator=generator, device=device) < settings.drop_caption
    tokens = torch.where(dropped[:, None], cache.empty, cache.tokens[index, wording])
    return Batch(z0, t, eps, tokens.long())


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────


class Trained(nn.Module):
    """What this stage trains: the U-Net, and the text transformer."""

    def __init__(self, unet: UNet, text: TextTransformer):
        super().__init__()
        self.unet, self.text = unet, text


def noise_to_the_end() -> NoiseSchedule:
    """Stable Diffusion's schedule, but that the last z_t is pure noise.

    Else the colour of the ground is still there: in 16×16 numbers of noise, their mean can be read.
    """
    return NoiseSchedule(zero_terminal_snr(scaled_linear_betas()), VELOCITY)


def train_joint(settings: JointSettings, corpus: Corpus, vae: VAE, tokenizer: Tokenizer) -> LatentDiffusion:
    """Train the U-Net and the text encoder. Returns the whole model, with the moving average of their weights.

    Files in `settings.out`, besides the checkpoint and the log: unet.loss.png; and samples/, with a grid from a fixed
    seed every few minutes.
    Raises: Stopped after Ctrl-C (saved); FloatingPointError when a loss or a weight is no longer finite, and OSError
        when the disk is full (the last checkpoint is intact).
    """
    device = settings.device
    torch.manual_seed(settings.seed)
    trained = Trained(UNet(settings.config), new_text_transformer(settings.text)).to(device)
    average = MovingAverage(trained, settings.ema)
    averaged = average.module
    assert isinstance(averaged, Trained)  # a copy of it
    text_encoder = TextEncoder(averaged.text, tokenizer)
    model = LatentDiffusion(averaged.unet, vae, text_encoder, noise_to_the_end()).to(device)
    cache = build_cache(corpus, vae, tokenizer, text_encoder.length, device, settings.progress)
    optimizer = adamw(trained.parameters(), settings.lr)

    modules = {"trained": trained, "average": average.module}
    with Run("unet", settings, modules, {"optimizer": optimizer}, len(corpus)) as run:
        monitor = Monitor(run, model, settings.sample_captions, settings.sample_seconds)
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus)).to(device)
            batch = draw_batch(cache, index, vae.config.scale, model.schedule.T, settings, step)
            with mixed_precision(device, settings.bf16):
                context = trained.text(batch.tokens).last
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
