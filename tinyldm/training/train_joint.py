"""Stage 3 as the 2021 paper had it: the U-Net and the text encoder, trained together from nothing.

    tinyldm train unet --data drawings --minutes 60

Stable Diffusion reads captions with a CLIP that was trained before, and freezes it: `train_unet.py` does so. The paper
from which it grew trained the text transformer τ and the U-Net ε with one loss (Rombach et al. 2022, § 3.3, eq. 3):

    L = E ‖ε - ε_hat(z_t, t, τ(y))‖²     "where both τ and ε_hat are jointly optimized"

That needs no CLIP, and a word comes to mean what helps to denoise. It suits few pictures with many names: from six
drawings of a thing, a CLIP learns little that the U-Net would not find out by itself.

Only the VAE is frozen, so its latents are computed once.

With an image tower, some batches read the style from a picture instead of a word: `hands.py`.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tinyldm.clip import TextConfig, TextTransformer, VisionConfig
from tinyldm.conditioning import ImageEncoder, TextEncoder
from tinyldm.data.corpus import Corpus
from tinyldm.data.pixels import to_signed_float
from tinyldm.data.shards import Rows
from tinyldm.formats.schedulers import zero_terminal_snr
from tinyldm.formats.tokenizers import Tokenizer
from tinyldm.forward_diffusion import VELOCITY, NoiseSchedule, diffusion_loss, scaled_linear_betas
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.clip import new_text_transformer, new_vision_transformer, pad_tokens
from tinyldm.training.hands import Hands
from tinyldm.training.run import MovingAverage, Run, Settings, adamw, batch_at, generator_at, mixed_precision
from tinyldm.training.train_unet import Monitor
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, DiagonalGaussian, VAEConfig
from tinyldm.versions import TINY

# For the drawings of 1,165 things: latents a quarter of the image on each side, a text encoder that knows more words.
# The U-Net attends at 8×8 only, where an attention table is 16 times smaller than at 16×16.
PICTURES = replace(
    TINY,
    unet=replace(TINY.unet, channels=(64, 128), transformer_depth=(0, 1), heads=(4, 4)),
    vae=VAEConfig(channels=(32, 64, 96), blocks_per_level=1, groups=8, scale=1.0),
    text=(replace(TINY.text[0], vocab_size=3561, pad_token_id=3560),),
    vision=None,
)
# The image tower that reads a style, where there is one: few patches, because a style is everywhere in a picture.
STYLE_TOWER = VisionConfig(128, 256, 2, 4, "gelu", 128, image_size=64, patch_size=16)
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

    batch: int = 32
    lr: float = 1e-3
    warmup: int = 200
    drop_caption: float = 0.1  # share of the captions that become "": guidance needs that
    timestep_power: float = 0.6  # t = T · u^power, u uniform in [0, 1): below 1, noisy timesteps come more often
    ema: float = 0.998
    vision: VisionConfig | None = None  # an image tower, trained along, that reads styles from pictures
    picture_batches: float = 0.3  # share of the batches that read the style from a picture, if there is a tower
    names: tuple[str, ...] | None = None  # of the drawings that it is trained on; None: all
    data: str = "drawings"  # what it is trained on: commands and the model card tell models apart by it
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
    style_of: Tensor | None = None  # (B,) int64, images in the style of each, which this batch reads too


def draw_batch(
    cache: Cache, index: Tensor, scale: float, T: int, settings: JointSettings, step: int, hands: Hands | None = None
) -> Batch:
    """Draw latents, timesteps, noise, wordings and drop-outs for the images `index` (B,) of the cache.

    hands: who drew the images, on their device; with it, some batches read the style from other images.
    """
    device, B = index.device, len(index)
    generator = generator_at(settings.seed, step, device)
    posterior = DiagonalGaussian(cache.moments[index].float())
    z0 = scale * posterior.reparameterize(torch.randn(posterior.mean.shape, generator=generator, device=device))
    u = torch.rand(B, generator=generator, device=device)
    t = (T * u**settings.timestep_power).long().clamp(max=T - 1)
    eps = torch.randn(z0.shape, generator=generator, device=device)
    wording = torch.randint(cache.tokens.shape[1], (B,), generator=generator, device=device)
    dropped = torch.rand(B, generator=generator, device=device) < settings.drop_caption
    style_of = None
    # The kind of the batch is drawn on the CPU: reading one number from a GPU would make both wait.
    if hands is not None and torch.rand(1, generator=generator_at(settings.seed, step)) < settings.picture_batches:
        style_of = hands.others(index, generator)
        wording, is_silent = hands.wordings(index, generator)
        dropped = dropped | ~is_silent  # a caption that names the style would make the picture useless
    tokens = torch.where(dropped[:, None], cache.empty, cache.tokens[index, wording])
    return Batch(z0, t, eps, tokens.long(), style_of)


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────


class Trained(nn.Module):
    """What this stage trains: the U-Net, the text transformer, and perhaps an image encoder."""

    def __init__(self, unet: UNet, text: TextTransformer, image_encoder: ImageEncoder | None = None):
        super().__init__()
        self.unet, self.text, self.image_encoder = unet, text, image_encoder

    def context(self, batch: Batch, images: Tensor | Rows) -> Tensor:
        """The context (B, L, D) of captions, or (B, L + N, D) of captions and pictures.

        images: (M, 3, S, S) uint8, all of the corpus.
        """
        text = self.text(batch.tokens).last
        if self.image_encoder is None or batch.style_of is None:
            return text
        pictures = to_signed_float(images[batch.style_of.cpu()]).to(text.device)
        return torch.cat([text, self.image_encoder(pictures)], dim=1)


def noise_to_the_end() -> NoiseSchedule:
    """Stable Diffusion's schedule, but that the last z_t is pure noise.

    Else the colour of the ground is still there: in 16×16 numbers of noise, their mean can be read.
    """
    return NoiseSchedule(zero_terminal_snr(scaled_linear_betas()), VELOCITY)


def new_networks(settings: JointSettings) -> Trained:
    """The networks that this stage trains, with random weights."""
    tower = None if settings.vision is None else new_vision_transformer(settings.vision)
    image_encoder = None if tower is None else ImageEncoder(tower, settings.config.context_dim)
    return Trained(UNet(settings.config), new_text_transformer(settings.text), image_encoder)


def train_joint(
    settings: JointSettings, corpus: Corpus, vae: VAE, tokenizer: Tokenizer, hands: Hands | None = None
) -> LatentDiffusion:
    """Train the U-Net and the text encoder. Returns the whole model, with the moving average of their weights.

    hands: who drew the images, where `settings.vision` says that styles are read from pictures.
    Files in `settings.out`, besides the checkpoint and the log: unet.loss.png; and samples/, with a grid from a fixed
    seed every few minutes.
    Raises: ValueError where there is an image tower and no hands, or the reverse; Stopped after Ctrl-C (saved);
        FloatingPointError when a loss or a weight is no longer finite, and OSError when the disk is full (the last
        checkpoint is intact).
    """
    if (settings.vision is None) != (hands is None):
        raise ValueError("an image tower that reads styles and the hands of the images go together; one is missing")
    device = settings.device
    torch.manual_seed(settings.seed)
    trained = new_networks(settings).to(device)
    average = MovingAverage(trained, settings.ema)
    averaged = average.module
    assert isinstance(averaged, Trained)  # a copy of it
    text_encoder = TextEncoder(averaged.text, tokenizer)
    model = LatentDiffusion(
        averaged.unet, vae, text_encoder, noise_to_the_end(), image_encoder=averaged.image_encoder
    ).to(device)
    cache = build_cache(corpus, vae, tokenizer, text_encoder.length, device, settings.progress)
    optimizer = adamw(trained.parameters(), settings.lr)

    modules = {"trained": trained, "average": average.module}
    with Run("unet", settings, modules, {"optimizer": optimizer}, len(corpus)) as run:
        monitor = Monitor(run, model, settings.sample_captions, settings.sample_seconds)
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus)).to(device)
            batch = draw_batch(cache, index, vae.config.scale, model.schedule.T, settings, step, hands)
            with mixed_precision(device, settings.bf16):
                context = trained.context(batch, corpus.images)
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
