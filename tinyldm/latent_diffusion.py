"""§ Architecture: the whole. Caption → image; image → image; inpainting; the way between two pictures.

    captions ─encode_text─► context ──────────────┐
    noise z_T ───────────────────────► sampler( guided(U-Net, context) ) ──► z0 ─VAE.decode─► images in [0, 1]

The article describes text-to-image. There the latent starts as pure noise and the VAE's encoder is not used
at all; it is in training, in image-to-image and in inpainting.

Every method here takes and returns images in [0, 1]; inside they are [-1, 1].

Source: Rombach et al. 2022, figure 3; Meng et al. 2022 (SDEdit: image-to-image); CompVis `scripts/txt2img.py`,
`img2img.py`; diffusers' Stable Diffusion pipelines.
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm.conditioning import Encoding, ImageEncoder, TextEncoder, TextEncoderXL, size_embedding
from tinyldm.formats.compvis_file import open_file
from tinyldm.formats.folder import Parts, open_folder, save_folder
from tinyldm.formats.hub import download
from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.reverse_diffusion import Callback, Model, ddim, guided, timesteps, trailing
from tinyldm.seeds import Generators, children, per_picture, randn
from tinyldm.shapes import require_multiples
from tinyldm.unet import UNet
from tinyldm.vae import VAE, to_signed, to_unit
from tinyldm.versions import Version

WEIGHTS = Path(__file__).parent / "weights"  # what the package ships


def model_folder(name: str | Path) -> Path:
    """Where a model is: "tiny" is the one that the package ships, all else is a folder."""
    return WEIGHTS / name if str(name) == "tiny" else Path(name)


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
        spacing: Callable[[int, int], Tensor] = trailing,
        sampler: Callable[..., Tensor] = ddim,
        scales_noise: bool = False,
    ):
        self.unet, self.vae, self.text_encoder, self.schedule = unet, vae, text_encoder, schedule
        self.image_encoder, self.image_size = image_encoder, image_size
        self.spacing, self.sampler, self.scales_noise = spacing, sampler, scales_noise
        for part in self._networks():
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
            name: "tiny", the model that the package ships; a folder; or "owner/name" on the Hugging Face hub.
            dtype: of the networks; the samplers work in float32 whatever it is.
            variant: "fp16" reads model.fp16.safetensors and its like instead of model.safetensors.
        Raises: ValueError where a file is missing, broken, or describes another architecture.
        """
        folder = model_folder(name)
        if not folder.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
            folder = download(str(name), variant)
        if str(name) == "tiny" and not folder.is_dir():
            raise ValueError(
                "no trained weights came with this copy of tinyldm; make your own with: tinyldm train all "
                "(then name the folder that it wrote)"
            )
        if folder.is_file():
            raise ValueError(f"{folder} is a file; a model that is one file is opened by from_single_file")
        return cls(**vars(open_folder(folder, variant))).to(device, dtype)

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

        It is written beside its place and moved there when whole: an interruption leaves what was there.
        Raises: ValueError, and touches nothing, where the folder holds something else than a model.
        """
        save_folder(Parts(**{name: getattr(self, name) for name in Parts.__dataclass_fields__}), Path(folder))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "LatentDiffusion":
        """Move all parts to a device, and the networks (never the schedule) to a dtype. Returns self.

        A VAE that overflows in float16 (Stable Diffusion XL's; its configuration says so) stays in float32.
        """
        for part in self._networks():
            keep = part is self.vae and dtype == torch.float16 and part.config.force_upcast
            part.to(device, torch.float32 if keep else dtype)
        self.schedule.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.conv_in.weight.dtype

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
        return self.image_encoder(to_signed(self._checked(images)).to(self.dtype))

    # ── Making images ────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def generate(
        self,
        captions: list[str],
        *,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Callable[..., Tensor] | None = None,
        negative: list[str] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        image_context: Tensor | None = None,
        size: tuple[int, int] | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Captions -> images.

        Args:
            captions: B strings; "" asks for anything.
            steps: 1 … T model calls; guidance_scale: w, 1 is no guidance.
            sampler: such as `ddim` or `euler`, or any function of their form; None takes the model's own.
            negative: B captions to steer away from, instead of the empty one.
            generator: one, of which each picture gets a child, or a list with one per picture: see `seeds`. A
                picture depends on its generator alone. On the CPU it gives about the same picture on every device.
            noise: (B, 4, h, w) to start from instead of drawn noise.
            image_context: (B, N, D) from `encode_image`, read after the caption's own vectors.
            size: (height, width) in pixels; by default the noise's, if that is given, else the model's own.
            callback: called after each step with (step, z, ẑ0).
        Returns: (B, 3, H, W) in [0, 1], float32, on the model's device.
        """
        if self._is_inpainting_unet():
            raise ValueError("this model was trained for inpainting and needs a picture and a mask; use inpaint")
        size = self._size_of(noise) if size is None else size
        condition = self._condition(captions, negative, image_context, size)
        generators = per_picture(generator, len(captions))
        ts = timesteps(self.schedule, steps, self.spacing)
        z = self._start(self._noise(len(captions), size, generators, noise), ts)
        model = self._guided(condition, guidance_scale)
        sampler = sampler or self.sampler
        return self._decode(sampler(model, z, self.schedule, ts, generator=generators, callback=callback))

    @torch.no_grad()
    def img2img(
        self,
        images: Tensor,
        captions: list[str],
        *,
        strength: float = 0.6,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Callable[..., Tensor] | None = None,
        negative: list[str] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        image_context: Tensor | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Noise pictures part of the way and bring them back under a caption.  Meng et al. 2022 (SDEdit).

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W multiples of the VAE's factor, 8.
            strength: share of the `steps` that is walked back, above 0; 1 keeps almost nothing of the images.
            others: as `generate`.
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength is {strength}; expected above 0 and at most 1")
        images = self._checked(images, captions)
        condition = self._condition(captions, negative, image_context, images.shape[-2:])
        generators = per_picture(generator, len(images))
        z0 = self._encode(to_signed(images), generators)
        eps = self._noise(len(images), images.shape[-2:], generators, noise)
        ts = timesteps(self.schedule, steps, self.spacing)
        ts = ts[steps - max(int(steps * strength), 1) :]
        # Start at the very step that the image was noised to.
        z = self._noised(z0, ts[0], eps)
        model = self._guided(condition, guidance_scale)
        sampler = sampler or self.sampler
        return self._decode(sampler(model, z, self.schedule, ts, generator=generators, callback=callback))

    @torch.no_grad()
    def inpaint(
        self,
        images: Tensor,
        mask: Tensor,
        captions: list[str],
        *,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Callable[..., Tensor] | None = None,
        negative: list[str] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        image_context: Tensor | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Repaint the part of a picture that a mask marks.

        With an ordinary U-Net, the known part of z_t is put back after every step, noised to that step.
        A U-Net with 9 input channels was trained for this and reads mask and masked picture beside z_t.

        Args:
            images: (B, 3, H, W) in [0, 1]; mask: (B or 1, 1, H, W), 1 where to repaint, 0 where to keep. A number
                of the latent is repainted if the top left pixel of its patch is, as in diffusers.
            others: as `generate`.
        """
        images = self._checked(images, captions)
        if mask.dim() != 4 or mask.shape[1:] != (1, *images.shape[2:]) or mask.shape[0] not in (1, len(images)):
            raise ValueError(
                f"mask has shape {tuple(mask.shape)}; expected ({len(images)}, 1, {images.shape[2]}, {images.shape[3]})"
            )
        if not (mask.min() >= 0 and mask.max() <= 1):
            raise ValueError(f"mask runs from {mask.min().item():.3g} to {mask.max().item():.3g}; expected 0 … 1")
        condition = self._condition(captions, negative, image_context, images.shape[-2:])
        mask = (mask.expand(len(images), -1, -1, -1).to(self.device) >= 0.5).float()
        latent_mask = F.interpolate(mask, scale_factor=1 / self.vae.config.factor)  # (B, 1, H, W) -> (B, 1, h, w)
        # What a network trained for this reads is the picture with grey (0 in [-1, 1]) for what it shall not see.
        seen = to_signed(images) * (1 - mask) if self._is_inpainting_unet() else to_signed(images)
        generators = per_picture(generator, len(images))
        z0 = self._encode(seen, generators)
        eps = self._noise(len(images), images.shape[-2:], generators, noise)
        ts = timesteps(self.schedule, steps, self.spacing)
        beside = None
        if self._is_inpainting_unet():
            beside = torch.cat([latent_mask, z0], dim=1).to(self.dtype)  # (B, 1 + 4, h, w)
        else:
            callback = self._keep_known(z0, eps, latent_mask, ts, callback)
        model = self._guided(condition, guidance_scale, beside)
        z, sampler = self._start(eps, ts), sampler or self.sampler
        return self._decode(sampler(model, z, self.schedule, ts, generator=generators, callback=callback))

    @torch.no_grad()
    def interpolate(
        self,
        captions: tuple[str, str],
        *,
        frames: int = 8,
        steps: int = 25,
        guidance_scale: float = 3.0,
        sampler: Callable[..., Tensor] | None = None,
        generator: Generators = None,
        noise: Tensor | None = None,
        callback: Callback = None,
    ) -> Tensor:
        """Walk from one picture to another: straight between the captions, spherically between the noises.

        Args:
            captions: two strings, which may be equal.
            noise: (2, 4, h, w), which may be equal; None draws two.
            others: as `generate`.
        Returns: (frames, 3, H, W) in [0, 1].
        """
        if isinstance(captions, str) or len(captions) != 2 or frames < 2:
            raise ValueError(
                f"{len(captions)} captions, {captions!r:.60}, {frames} frames; expected two captions and "
                "at least 2 frames"
            )
        size = self._size_of(noise)
        ends = per_picture(generator, 2)
        start, end = self._noise(2, size, ends, noise).split(1)
        generators = None if ends is None else children(ends[0], frames)  # of a sampler's fresh noise
        weight = torch.linspace(0, 1, frames, device=self.device)
        mixed = tuple(
            None if pair is None else between(pair, weight)
            for pair in self._condition(list(captions), None, None, size)
        )
        ts = timesteps(self.schedule, steps, self.spacing)
        z = self._start(slerp(start, end, weight.view(-1, 1, 1, 1)), ts)
        model = self._guided(mixed, guidance_scale)
        sampler = sampler or self.sampler
        return self._decode(sampler(model, z, self.schedule, ts, generator=generators, callback=callback))

    # ── Inside ───────────────────────────────────────────────────────────────────────────────────────

    def _networks(self):
        return [part for part in (self.unet, self.vae, self.text_encoder, self.image_encoder) if part is not None]

    def _condition(
        self, captions: list[str], negative: list[str] | None, image_context: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """-> context (B, L, D), null context (B, L', D), and XL's two added vectors (B, D_a) or None."""
        encoding = self.text_encoder.encode(captions)
        if negative is not None and len(negative) != len(captions):
            raise ValueError(f"{len(negative)} negative captions for {len(captions)} captions; expected as many")
        if negative is None and isinstance(self.text_encoder, TextEncoderXL):
            # XL was trained with zeros for an absent caption; an explicit "" is encoded like any other.
            null = Encoding(torch.zeros_like(encoding.context), torch.zeros_like(encoding.pooled))
        else:
            null = self.text_encoder.encode([""] * len(captions) if negative is None else negative)
        context = encoding.context
        if image_context is not None:
            if image_context.dim() != 3 or image_context[:, :1].shape != context[:, :1].shape:  # N is free
                raise ValueError(
                    f"image_context has shape {tuple(image_context.shape)}; expected "
                    f"({len(context)}, N, {context.shape[2]})"
                )
            context = torch.cat([context, image_context.to(context)], dim=1)  # (B, L + N, D)
        if encoding.pooled is None:
            return context, null.context, None, None
        sizes = torch.tensor([[*size, 0, 0, *size]], device=self.device).expand(len(captions), -1)
        return context, null.context, size_embedding(encoding.pooled, sizes), size_embedding(null.pooled, sizes)

    def _guided(self, condition: tuple, guidance_scale: float, beside: Tensor | None = None) -> Model:
        """The U-Net under guidance, as a float32 function of (z_t, t); `beside` is concatenated to z_t."""
        if 0 <= guidance_scale < 1:
            warnings.warn(
                f"guidance_scale {guidance_scale:g} weakens the caption, and 0 ignores it; no guidance, as Turbo "
                "models want it, is 1 here (in diffusers it is everything up to 1)",
                stacklevel=3,
            )
        context, null_context, added, null_added = condition

        def unet(z_t: Tensor, t: Tensor, context: Tensor, added: Tensor | None = None) -> Tensor:
            if beside is not None:
                z_t = torch.cat([z_t, beside.repeat(len(z_t) // len(beside), 1, 1, 1)], dim=1)
            return self.unet(z_t, t, context, added)

        model = guided(unet, context, null_context, guidance_scale, added, null_added)
        # The sampler works in float32 whatever the network's dtype: its small steps would be rounded away.
        return lambda z_t, t: model(z_t.to(self.dtype), t).float()

    def _size_of(self, noise: Tensor | None) -> tuple[int, int]:
        """(height, width) of the images that come from this noise, or the model's own."""
        if noise is None or noise.dim() != 4:
            return self.image_size
        return noise.shape[2] * self.vae.config.factor, noise.shape[3] * self.vae.config.factor

    def _noise(self, batch: int, size: tuple[int, int], generator: Generators, given: Tensor | None) -> Tensor:
        """Noise (B, 4, h, w) for images of this size: the caller's, if it fits, or freshly drawn."""
        factor = self.vae.config.factor
        require_multiples(size, factor, "the image's size")
        shape = (batch, self.vae.config.latent_channels, size[0] // factor, size[1] // factor)
        if given is None:
            return randn(shape, generator, self.device)
        if given.shape != shape or not given.isfinite().all():
            raise ValueError(f"noise has shape {tuple(given.shape)}; expected {shape}, all numbers finite")
        return given.to(self.device, torch.float32)

    def _start(self, noise: Tensor, ts: Tensor) -> Tensor:
        """z_T made of noise alone, with its share of z_T's variance where the model's scheduler asks for it."""
        return noise * (1 - self.schedule.at(ts[:1].to(self.device))).sqrt() if self.scales_noise else noise

    def _noised(self, z0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return self.schedule.q_sample(z0, t.to(self.device).expand(len(z0)), eps)

    def _keep_known(self, z0: Tensor, eps: Tensor, mask: Tensor, ts: Tensor, callback: Callback) -> Callback:
        """A sampler callback that puts the known latents back where the mask is 0, as noisy as z is by then."""

        def put_back(i: int, z: Tensor, z0_hat: Tensor) -> Tensor:
            known = z0 if i + 1 == len(ts) else self._noised(z0, ts[i + 1], eps)
            z = mask * z + (1 - mask) * known
            replacement = None if callback is None else callback(i, z, z0_hat)
            return z if replacement is None else replacement

        return put_back

    def _is_inpainting_unet(self) -> bool:
        """Whether the U-Net was trained for inpainting: it reads z_t, the mask and the masked picture's latent."""
        return self.unet.config.in_channels == 2 * self.vae.config.latent_channels + 1

    # The VAE has a dtype of its own, because XL's stays in float32.
    def _encode(self, image: Tensor, generator: Generators) -> Tensor:
        return self.vae.encode(image.to(self.vae.quant_conv.weight.dtype), generator).float()

    def _decode(self, z0: Tensor) -> Tensor:
        return to_unit(self.vae.decode(z0.to(self.vae.quant_conv.weight.dtype)).float())

    def _checked(self, images: Tensor, captions: list[str] | None = None) -> Tensor:
        """Images as the networks need them, or a ValueError that says what is wrong with them.

        Those that shall become latents come with their captions, as many, and in a size that the U-Net can halve.
        """
        factor = 1 if captions is None else self.vae.config.factor
        if images.dim() != 4 or images.shape[1] != 3 or not images.numel() or not images.is_floating_point():
            raise ValueError(
                f"images are {images.dtype} of shape {tuple(images.shape)}; expected floats of shape (B, 3, H, W)"
            )
        if captions is not None and not isinstance(captions, str) and len(captions) != len(images):
            raise ValueError(f"{len(images)} images, {len(captions)} captions; expected as many")
        require_multiples(images.shape[2:], factor, "the images' size")
        if not (images.min() >= 0 and images.max() <= 1):  # written so that NaN fails too
            raise ValueError(f"images run from {images.min():.3g} to {images.max():.3g}; expected 0 … 1")
        return images.to(self.device, torch.float32)


def between(ends: Tensor, weight: Tensor) -> Tensor:
    """The straight way from ends[0] to ends[1]: (2, …), weight (F,) in [0, 1] -> (F, …), in the dtype of the ends."""
    weight = weight.view(-1, *(1 for _ in ends.shape[1:]))
    return torch.lerp(ends[:1].float(), ends[1:].float(), weight).to(ends.dtype)


def slerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Walk from a to b on a sphere: (1, …), (1, …), weight (F, 1, …) in [0, 1] -> (F, …).  Shoemake 1985.

    Halfway along a straight line two Gaussian noises would have only 1/√2 of their length, which the
    U-Net has never seen; on the sphere the length stays.
    """
    lengths = a.norm() * b.norm()
    cosine = (a * b).sum() / lengths
    if not (lengths > 0 and cosine > -0.9995):
        raise ValueError(
            "the two noises are opposite to each other, or one is zero: there is no one shortest way "
            f"between them on a sphere (lengths {a.norm():.3g} and {b.norm():.3g}, cosine {cosine:.3g})"
        )
    if cosine > 0.9995:  # sin θ ≈ 0, and the straight line is the sphere's too
        return torch.lerp(a, b, weight)
    angle = cosine.arccos()
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()
