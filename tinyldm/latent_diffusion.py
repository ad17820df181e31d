"""§ Architecture: the whole. Caption → image; image → image; inpainting; interpolation between two pictures.

    captions ─encode_text─► context ──────────────┐
    noise z_T ───────────────────────► sampler( guided(U-Net, context) ) ──► z0 ─VAE.decode─► images in [0, 1]

The article describes text-to-image. There the latent starts as pure noise, and the VAE's encoder is not used;
training, image-to-image and inpainting use it.

Every method here takes and returns images in [0, 1]; inside they are [-1, 1].

Source: Rombach et al. 2022, figure 3; Meng et al. 2022 (SDEdit: image-to-image); CompVis `scripts/txt2img.py`,
`img2img.py`; diffusers' Stable Diffusion pipelines.
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.conditioning import Encoding, ImageEncoder, TextEncoder, TextEncoderXL, size_embedding
from tinyldm.formats.compvis_file import open_file
from tinyldm.formats.folder import Parts, open_folder, save_folder
from tinyldm.formats.places import find_model
from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.reverse_diffusion import Callback, Model, Sampler, Spacing, ddim, finish_step, guided, timesteps, trailing
from tinyldm.seeds import Generators, children, per_picture, randn
from tinyldm.unet import UNet
from tinyldm.vae import VAE, to_signed, to_unit
from tinyldm.versions import Version


class Condition(NamedTuple):
    """What the U-Net reads besides (z_t, t): with the captions, and without them."""

    context: Tensor  # (B, L, D)
    null_context: Tensor  # (B, L', D)
    added: Tensor | None = None  # (B, D_a), Stable Diffusion XL only
    null_added: Tensor | None = None


class LatentDiffusion:
    """A VAE, a U-Net, a text encoder and a noise schedule, working together.

    Args:
        unet, vae, text_encoder, schedule: the parts; each is usable, and replaceable, on its own.
        image_encoder: makes context from pictures, or None.
        image_size: (height, width) of the images to make, pixels.
        spacing: which timesteps sampling visits: `trailing`, `leading` or `linspace`.
        sampler: the one to use where the caller names none; a folder says which.
        scales_noise: start from noise · √(1-ᾱ), as diffusers' Euler does with linspace and trailing spacing.
    """

    def __init__(
        self,
        unet: UNet,
        vae: VAE,
        text_encoder: TextEncoder | TextEncoderXL,
        schedule: NoiseSchedule,
        *,
        image_encoder: ImageEncoder | None = None,
        image_size: tuple[int, int] = (64, 64),
        spacing: Spacing = trailing,
        sampler: Sampler = ddim,
        scales_noise: bool = False,
    ):
        self.unet, self.vae, self.text_encoder, self.schedule = unet, vae, text_encoder, schedule
        self.image_encoder, self.image_size = image_encoder, image_size
        self.spacing, self.sampler, self.scales_noise = spacing, sampler, scales_noise
        for part in self.networks:
            part.eval().requires_grad_(False)

    # ── Files and devices ────────────────────────────────────────────────────────────────────────────

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "tiny",
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        variant: str | None = None,
    ) -> "LatentDiffusion":
        """Open a model in the diffusers layout: Stable Diffusion 1, 2 or XL, or one trained here.

        Args:
            name: "tiny", which the package ships, or "pictures", where it ships that too; a folder; or "owner/name" on
                the Hugging Face hub.
            dtype: of the networks; the samplers work in float32 whatever it is.
            variant: "fp16" reads model.fp16.safetensors and its like instead of model.safetensors.
        Raises: ValueError where a file is missing, broken, or describes another architecture.
        """
        return cls(**vars(open_folder(find_model(name, variant), variant))).to(device, dtype)

    @classmethod
    def from_single_file(
        cls,
        file: str | Path,
        tokenizer: str | Path,
        *,
        version: Version | None = None,
        ema: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "LatentDiffusion":
        """Open a model that is one file, .safetensors or .ckpt, with the names of CompVis.

        Args:
            tokenizer: a folder with CLIP's tokenizer, which such files lack; one serves all versions.
            version: such as `versions.SD2_V`; None finds out, but for Stable Diffusion 2.
            ema: take the U-Net's moving average, where the file has both.
            device, dtype: as `from_pretrained`.
        Raises: ValueError where the file is missing, broken, or holds something else.
        """
        return cls(**vars(open_file(file, tokenizer, version, ema=ema))).to(device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write everything to a folder that `diffusers.StableDiffusionPipeline.from_pretrained` opens.

        It is written under a temporary name and renamed when complete: an interruption leaves the old folder.
        Raises: ValueError, and changes nothing, where the folder holds something other than a model.
        """
        save_folder(Parts(**{name: getattr(self, name) for name in Parts.__dataclass_fields__}), Path(folder))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "LatentDiffusion":
        """Move all parts to a device, and the networks (never the schedule) to a dtype. Returns self.

        A VAE that overflows in float16 (Stable Diffusion XL's; its configuration says so) stays in float32.
        """
        for part in self.networks:
            keep = part is self.vae and dtype == torch.float16 and self.vae.config.force_upcast
            part.to(device, torch.float32 if keep else dtype)
        self.schedule.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks, but perhaps not of the VAE."""
        return self.unet.conv_in.weight.dtype

    @property
    def networks(self) -> list[nn.Module]:
        """U-Net, VAE, text encoder, and the image encoder where there is one."""
        return [part for part in (self.unet, self.vae, self.text_encoder, self.image_encoder) if part is not None]

    @property
    def is_inpainting_model(self) -> bool:
        """Whether the U-Net was trained for inpainting: it reads z_t, the mask and the masked picture's latent."""
        return self.unet.config.in_channels == 2 * self.vae.config.latent_channels + 1

    # ── Conditions ───────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def encode_text(self, captions: list[str]) -> Tensor:
        """Captions -> context (B, L, D)."""
        return self.text_encoder.encode(captions).context

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], of any size -> context (B, N, D), to be given as `image_context`."""
        if self.image_encoder is None:
            raise ValueError("this model has no image encoder; only captions can be its context")
        shapes.require_images(images)
        return self.image_encoder(to_signed(images.to(self.device, torch.float32)).to(self.dtype))

    def condition(
        self,
        captions: list[str],
        negative: list[str] | None = None,
        image_context: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Condition:
        """All that the U-Net is told about the images to make. Arguments as `generate`."""
        shapes.require_captions(captions)
        shapes.require_as_many("negative captions", negative, "captions", captions)
        encoding = self.text_encoder.encode(captions)
        if negative is None and encoding.pooled is not None:
            # XL was trained with zeros for an absent caption; an explicit "" is encoded like any other.
            null = Encoding(torch.zeros_like(encoding.context), torch.zeros_like(encoding.pooled))
        else:
            null = self.text_encoder.encode([""] * len(captions) if negative is None else negative)
        context = encoding.context
        if image_context is not None:
            shapes.require_image_context(image_context, context)
            context = torch.cat([context, image_context.to(context)], dim=1)  # (B, L + N, D)
        if encoding.pooled is None or null.pooled is None:
            return Condition(context, null.context)
        height, width = self.image_size if size is None else size
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=self.device).expand(len(captions), -1)
        added, null_added = (size_embedding(pooled, sizes) for pooled in (encoding.pooled, null.pooled))
        return Condition(context, null.context, added, null_added)

    def denoiser(self, condition: Condition, guidance_scale: float, beside: Tensor | None = None) -> Model:
        """The U-Net under guidance, as a float32 function of (z_t, t).

        beside: (B, C, h, w) that the U-Net reads as further channels of z_t, or None.
        """

        def unet(z_t: Tensor, t: Tensor, context: Tensor, added: Tensor | None = None) -> Tensor:
            if beside is not None:
                z_t = torch.cat([z_t, beside.repeat(len(z_t) // len(beside), 1, 1, 1)], dim=1)
            return self.unet(z_t, t, context, added)

        context, null_context, added, null_added = condition
        model = guided(unet, context, null_context, guidance_scale, added, null_added)
        shapes.warn_of_weak_guidance(guidance_scale)
        # The sampler works in float32 whatever the network's dtype: its small steps would be rounded away.
        return lambda z_t, t: model(z_t.to(self.dtype), t).float()

    # ── Latents ──────────────────────────────────────────────────────────────────────────────────────

    def initial_noise(
        self, count: int, size: tuple[int, int], generator: Generators = None, given: Tensor | None = None
    ) -> Tensor:
        """Noise (count, 4, h, w) for images of this size: the caller's, if it fits, or freshly drawn."""
        factor = self.vae.config.factor
        shapes.require_size(size, factor)
        shape = (count, self.vae.config.latent_channels, size[0] // factor, size[1] // factor)
        if given is None:
            return randn(shape, generator, self.device)
        shapes.require_noise(given, shape)
        return given.to(self.device, torch.float32)

    # The VAE has its own dtype, because XL's stays in float32.
    def encode(self, images: Tensor, generator: Generators = None) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> z0 (B, 4, h, w), float32; the posterior's mean without a generator."""
        return self.vae.encode(to_signed(images).to(self.vae.quant_conv.weight.dtype), generator).float()

    def decode(self, z0: Tensor) -> Tensor:
        """z0 (B, 4, h, w) -> images (B, 3, H, W) in [0, 1], float32."""
        return to_unit(self.vae.decode(z0.to(self.vae.quant_conv.weight.dtype)).float())

    # ── Making images ────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def generate(
        self,
        captions: list[str],
        *,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Sampler | None = None,
        negative: list[str] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        image_context: Tensor | None = None,
        size: tuple[int, int] | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Captions -> images.

        Args:
            captions: B strings; "" leaves the subject open.
            steps: 1 … T model calls; guidance_scale: w, 1 is no guidance.
            sampler: such as `ddim` or `euler`, or any function of their form; None takes the model's own.
            negative: B captions to steer away from, instead of the empty one.
            generator: one, of which each picture gets a child, or a list with one per picture: see `seeds`. A
                picture depends on its generator alone. On the CPU it gives about the same picture on every device.
            noise: (B, 4, h, w) to start from; without it, noise is drawn from the generator.
            image_context: (B, N, D) from `encode_image`, appended to the caption's context.
            size: (height, width) in pixels; by default the noise's, if that is given, else the model's own.
            callback: called after each step with (step, z, ẑ0).
        Returns: (B, 3, H, W) in [0, 1], float32, on the model's device.
        """
        if self.is_inpainting_model:
            raise ValueError("this model was trained for inpainting and needs a picture and a mask; use inpaint")
        size = self._size_of(noise) if size is None else size
        condition = self.condition(captions, negative, image_context, size)
        generators = per_picture(generator, len(captions))
        ts = timesteps(self.schedule, steps, self.spacing)
        z = self._start(self.initial_noise(len(captions), size, generators, noise), ts)
        return self._denoised(z, ts, self.denoiser(condition, guidance_scale), sampler, generators, callback)

    @torch.no_grad()
    def img2img(
        self,
        images: Tensor,
        captions: list[str],
        *,
        strength: float = 0.6,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Sampler | None = None,
        negative: list[str] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        image_context: Tensor | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Noise pictures part of the way and bring them back under a caption.  Meng et al. 2022 (SDEdit).

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W multiples of the VAE's factor, 8.
            strength: share of the `steps` that is run, above 0; 1 keeps almost nothing of the images.
            others: as `generate`.
        """
        shapes.require_share("strength", strength)
        shapes.require_originals(images, captions, self.vae.config.factor)
        images, size = images.to(self.device, torch.float32), (images.shape[2], images.shape[3])
        condition = self.condition(captions, negative, image_context, size)
        generators = per_picture(generator, len(images))
        z0 = self.encode(images, generators)
        eps = self.initial_noise(len(images), size, generators, noise)
        ts = timesteps(self.schedule, steps, self.spacing)
        ts = ts[steps - max(int(steps * strength), 1) :]
        z = self._noised(z0, ts[0], eps)  # at the very step that the walk starts from
        return self._denoised(z, ts, self.denoiser(condition, guidance_scale), sampler, generators, callback)

    @torch.no_grad()
    def inpaint(
        self,
        images: Tensor,
        mask: Tensor,
        captions: list[str],
        *,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Sampler | None = None,
        negative: list[str] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        image_context: Tensor | None = None,
        callback: Callback = None,
        blend: int | None = 4,
    ) -> Tensor:
        """Repaint the part of a picture that a mask marks, and keep the rest, pixel by pixel.

        With an ordinary U-Net, the known part of z_t is put back after every step, noised to that step.
        A U-Net with 9 input channels was trained for this: it reads the mask and the masked picture with z_t.

        Args:
            images: (B, 3, H, W) in [0, 1]; mask: (B or 1, 1, H, W), 1 where to repaint, 0 where to keep. A number
                of the latent is repainted if the top left pixel of its patch is, as in diffusers.
            blend: pixels over which `paste_back` goes from old to new; None returns what the decoder gives.
            others: as `generate`.
        Raises: ValueError where a mask marks nothing. Warns: where it marks everything.
        """
        shapes.require_originals(images, captions, self.vae.config.factor)
        shapes.require_mask(mask, images)
        images, size = images.to(self.device, torch.float32), (images.shape[2], images.shape[3])
        mask = (mask.expand(len(images), -1, -1, -1).to(self.device) >= 0.5).float()
        latent_mask = F.interpolate(mask, scale_factor=1 / self.vae.config.factor)  # (B, 1, H, W) -> (B, 1, h, w)
        shapes.require_marks(latent_mask, self.vae.config.factor)
        condition = self.condition(captions, negative, image_context, size)
        generators = per_picture(generator, len(images))
        ts = timesteps(self.schedule, steps, self.spacing)
        beside = None
        if self.is_inpainting_model:
            eps = self.initial_noise(len(images), size, generators, noise)
            masked = self.encode(images * (1 - mask) + 0.5 * mask, generators)  # grey where to repaint
            beside = torch.cat([latent_mask, masked], dim=1).to(self.dtype)  # (B, 1 + 4, h, w)
        else:
            z0 = self.encode(images, generators)
            eps = self.initial_noise(len(images), size, generators, noise)
            callback = self._keep_known(z0, eps, latent_mask, ts, callback)
        model = self.denoiser(condition, guidance_scale, beside)
        painted = self._denoised(self._start(eps, ts), ts, model, sampler, generators, callback)
        return painted if blend is None else paste_back(painted, images, mask, blend)

    @torch.no_grad()
    def interpolate(
        self,
        captions: tuple[str, str],
        *,
        frames: int = 8,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Sampler | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Go from one picture to another: linearly between the captions, on a sphere between the noises.

        Args:
            captions: two strings, which may be equal.
            noise: (2, 4, h, w), which may be equal; None draws two.
            others: as `generate`.
        Returns: (frames, 3, H, W) in [0, 1].
        """
        shapes.require_two_ends(captions, frames)
        size = self._size_of(noise)
        ends = per_picture(generator, 2)
        noises = self.initial_noise(2, size, ends, noise)
        generators = None if ends is None else children(ends[0], frames)  # of a sampler's fresh noise
        weight = torch.linspace(0, 1, frames, device=self.device)
        pair = self.condition(list(captions), size=size)
        added, null_added = (None if two is None else between(two, weight) for two in (pair.added, pair.null_added))
        condition = Condition(between(pair.context, weight), between(pair.null_context, weight), added, null_added)
        ts = timesteps(self.schedule, steps, self.spacing)
        z = self._start(slerp(noises[:1], noises[1:], weight.view(-1, 1, 1, 1)), ts)
        return self._denoised(z, ts, self.denoiser(condition, guidance_scale), sampler, generators, callback)

    # ── Inside ───────────────────────────────────────────────────────────────────────────────────────

    def _denoised(
        self, z: Tensor, ts: Tensor, model: Model, sampler: Sampler | None, generators: Generators, callback: Callback
    ) -> Tensor:
        """Run the sampler from z, and decode the latent that it ends in."""
        sampler = self.sampler if sampler is None else sampler
        shapes.require_function(sampler, "sampler", "tinyldm.euler")
        return self.decode(sampler(model, z, self.schedule, ts, generator=generators, callback=callback))

    def _size_of(self, noise: Tensor | None) -> tuple[int, int]:
        """(height, width) of the images that come from this noise, or the model's own."""
        if not isinstance(noise, Tensor) or noise.dim() != 4:
            return self.image_size
        return noise.shape[2] * self.vae.config.factor, noise.shape[3] * self.vae.config.factor

    def _start(self, noise: Tensor, ts: Tensor) -> Tensor:
        """z_T made of noise alone, with its share of z_T's variance where the model's scheduler asks for it."""
        return noise * (1 - self.schedule.at(ts[:1].to(self.device))).sqrt() if self.scales_noise else noise

    def _noised(self, z0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return self.schedule.q_sample(z0, t.to(self.device).expand(len(z0)), eps)

    def _keep_known(self, z0: Tensor, eps: Tensor, mask: Tensor, ts: Tensor, callback: Callback) -> Callback:
        """A sampler callback that puts the known latents back where the mask is 0, noised to the level of z."""

        def put_back(i: int, z: Tensor, z0_hat: Tensor) -> Tensor:
            known = z0 if i + 1 == len(ts) else self._noised(z0, ts[i + 1], eps)
            return finish_step(callback, i, mask * z + (1 - mask) * known, z0_hat)

        return put_back


def paste_back(painted: Tensor, original: Tensor, mask: Tensor, blend: int = 4) -> Tensor:
    """Put the original's pixels back where the mask is 0, and blend into the painted ones behind its border.

    Decoding changes every pixel a little, but what a mask protects must not change. So all blending happens where the
    mask is 1: the share of `painted` rises from the border inwards and is 1 from the `blend`-th pixel on (or in the
    middle, where the marked part is too narrow for that).

    Args: painted, original: (B, 3, H, W); mask: (B, 1, H, W) of 0 and 1; blend: pixels, 1 is a hard edge.
    """
    shapes.require_whole("blend", blend, 1)
    kept = 1 - mask
    # The mask, and what is left of it when its border recedes by 1, 2, … pixels: (blend, B, 1, H, W).
    layers = torch.stack([1 - F.max_pool2d(kept, 2 * i + 1, stride=1, padding=i) for i in range(blend)])
    depth = layers.amax((2, 3, 4), keepdim=True).sum(0)  # how many layers mark anything, in each picture
    return torch.lerp(original, painted, layers.sum(0) / depth.clamp(min=1))


def between(ends: Tensor, weight: Tensor) -> Tensor:
    """Interpolate linearly from ends[0] to ends[1]: (2, …), weight (F,) in [0, 1] -> (F, …), in the ends' dtype."""
    weight = weight.view(-1, *(1 for _ in ends.shape[1:]))
    return torch.lerp(ends[:1].float(), ends[1:].float(), weight).to(ends.dtype)


def slerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Interpolate from a to b on a sphere: (1, …), (1, …), weight (F, 1, …) in [0, 1] -> (F, …).  Shoemake 1985.

    Halfway along a straight line between two Gaussian noises the length is only 1/√2 of theirs, which the U-Net
    has never seen; on the sphere the length stays.
    """
    shapes.require_apart(a, b)
    cosine = (a * b).sum() / (a.norm() * b.norm())
    if cosine > 0.9995:  # sin θ ≈ 0, and the straight line is the sphere's too
        return torch.lerp(a, b, weight)
    angle = cosine.arccos()
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()
