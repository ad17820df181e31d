"""The guards of the core: what was given, what was expected, what to do. Skip this file on a first reading.

Every function either returns without a word or raises. TypeError: another kind of object was given, such as a NumPy
array or a Pillow image; ValueError: the kind is right, the shape, dtype, device or range is not.
"""

import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    import tokenizers

# ── Kinds ────────────────────────────────────────────────────────────────────────────────────────────


def require_tensor(x: object, name: str, shape: str) -> None:
    """Raise TypeError, with the way to convert a NumPy array or a Pillow image, unless `x` is a tensor."""
    if isinstance(x, Tensor):
        return
    kind, hint = type(x), ""
    if isinstance(x, list) or kind.__module__.startswith(("numpy", "PIL")):
        hint = "; 8-bit pixels become one by torch.from_numpy(numpy.array(x)).permute(2, 0, 1)[None].float() / 255"
    found = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    raise TypeError(f"{name} is a {found}; expected a torch tensor {shape}{hint}")


def require_generators(generator: object, count: int) -> None:
    """Raise unless `generator` is a sequence of `count` generators."""
    if not isinstance(generator, Sequence) or not all(isinstance(one, Generator) for one in generator):
        raise TypeError(
            f"generator is {generator!r:.60}; expected a torch.Generator, such as torch.Generator().manual_seed(7), "
            "or a list with one for each picture"
        )
    if len(generator) != count:
        raise ValueError(f"{len(generator)} generators for {count} pictures; expected one each, or one for all")


def require_function(function: object, name: str, example: str) -> None:
    """Raise TypeError unless `function` can be called."""
    if not callable(function):
        raise TypeError(f"{name} is {function!r:.60}; expected a function, such as {example}")


def require_piece(bpe: "tokenizers.Tokenizer", piece: str) -> int:
    """The number of a word piece."""
    number = bpe.token_to_id(piece)
    if number is None:
        raise ValueError(f"{piece!r} is not one of the tokenizer's pieces; expected CLIP's tokenizer")
    return number


def require_captions(captions: object) -> None:
    """Raise ValueError unless these are strings in a list, at least one."""
    if not isinstance(captions, (list, tuple)) or not captions or not all(isinstance(c, str) for c in captions):
        raise ValueError(f"captions is {captions!r:.80}; expected a list of strings, at least one")


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────────


def require_number(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a number."""
    if not isinstance(value, (Real, Tensor)):
        raise TypeError(f"{name} is {value!r:.60}; expected a number")


def require_between(name: str, value: float, least: float = -math.inf, most: float = math.inf) -> None:
    """Raise unless `value` is a finite number in [least, most]."""
    require_number(name, value)
    if not (math.isfinite(value) and least <= value <= most):
        wanted = "a finite number" if most == math.inf else f"{least:g} … {most:g}"
        raise ValueError(f"{name} is {value}; expected {wanted}")


def require_positive(name: str, value: float) -> None:
    """Raise ValueError unless 0 < value < ∞."""
    if not 0 < value < math.inf:  # written so that NaN fails too, here and below
        raise ValueError(f"{name} is {value}; expected a number above 0")


def require_share(name: str, value: float) -> None:
    """Raise unless 0 < value <= 1."""
    require_number(name, value)
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}; expected above 0 and at most 1")


def require_whole(name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} is {value}; expected a whole number of at least {least}")


def require_steps(steps: object, T: int) -> None:
    """Raise ValueError unless `steps` is a whole number in 1 … T."""
    if not isinstance(steps, Integral) or not 1 <= int(steps) <= T:
        raise ValueError(f"{steps} steps; expected 1 … {T}")


def warn_of_signal(alpha_bar: float, ts: Tensor, spacing: object) -> None:
    """Warn where the first timestep, whose ᾱ is given, is so early that starting from noise contradicts training."""
    if alpha_bar > 0.05:
        name = getattr(spacing, "__name__", type(spacing).__name__)
        warnings.warn(
            f"{len(ts)} steps with '{name}' spacing start at t = {ts[0].item():g}, where √ᾱ = "
            f"{math.sqrt(alpha_bar):.2f} of the signal remains, although sampling starts from pure noise. Use more "
            "steps, or 'trailing' spacing",
            stacklevel=3,
        )


# ── Configurations ───────────────────────────────────────────────────────────────────────────────────


def require_groups(channels: int, groups: int) -> None:
    """Raise ValueError unless GroupNorm can split `channels` into `groups` equal parts."""
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{channels} channels do not divide into {groups} GroupNorm groups; "
            f"choose channels that are a multiple of {groups}, or fewer groups"
        )


def require_levels(channels: tuple[int, ...], blocks_per_level: int, groups: int) -> None:
    """Raise ValueError unless a network has levels, blocks in them, and widths that GroupNorm can split."""
    if not channels or blocks_per_level < 1:
        raise ValueError(
            f"channels is {channels}, blocks_per_level {blocks_per_level}; expected at least 1 level and 1 block"
        )
    for width in channels:
        require_groups(width, groups)


def require_one_per_level(name: str, entries: tuple[int, ...], channels: tuple[int, ...]) -> None:
    """Raise ValueError unless `entries` are as many as `channels`."""
    if len(entries) != len(channels):
        raise ValueError(f"{name} has {len(entries)} entries, channels has {len(channels)}; expected one per level")


def require_even(name: str, value: int, why: str) -> None:
    """Raise ValueError unless `value` is even."""
    if value % 2:
        raise ValueError(f"{name} is {value}; {why}: make it even")


def require_heads(width: int, heads: int) -> None:
    """Raise ValueError unless `width` divides into `heads` equal parts."""
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} does not divide into {heads} heads")


# ── What networks read ───────────────────────────────────────────────────────────────────────────────


def require_embeddable(t: Tensor, dim: int) -> None:
    """Raise ValueError unless t is (B,) and dim even: what a timestep embedding takes."""
    if t.dim() != 1:
        raise ValueError(f"t has shape {tuple(t.shape)}; expected (B,), one timestep per image")
    if dim % 2:
        raise ValueError(f"dim is {dim}; expected an even number: half cosines, half sines")


def require_t_emb(t_emb: Tensor | None, t_emb_dim: int | None) -> None:
    """Raise ValueError unless a ResBlock gets the time embedding that it was built for, or none where it has none."""
    width = None if t_emb is None else t_emb.shape[-1]
    if width != t_emb_dim:
        raise ValueError(f"t_emb has width {width}; this block was built for t_emb_dim = {t_emb_dim}")


def require_match(x: Tensor, name: str, weight: Tensor, network: str) -> None:
    """Raise ValueError unless `x` has the device and the dtype of a network's weights."""
    kind = weight.device.type
    # Under autocast dtypes may differ. (The meta device, of shapes without numbers, has no autocast.)
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if x.device != weight.device or not (autocast or x.dtype == weight.dtype):
        raise ValueError(
            f"{name} is {x.dtype} on {x.device}, the {network} is {weight.dtype} on {weight.device}; "
            "convert one with .to()"
        )


def require_multiples(size: Sequence[int], factor: int, what: str) -> None:
    """Raise ValueError, with the nearest size, unless height and width are positive multiples of `factor`."""
    if any(side % factor or side < factor for side in size):
        nearest = "×".join(str(max(round(side / factor), 1) * factor) for side in size)
        raise ValueError(
            f"{what} is {size[0]}×{size[1]}; height and width must be multiples of {factor}, such as {nearest}"
        )


def require_feature_map(x: Tensor, name: str, channels: int, factor: int, weight: Tensor, network: str) -> None:
    """Raise unless `x` is (B, channels, H, W), H and W multiples of `factor`, with the weights' dtype and device."""
    require_tensor(x, name, f"(B, {channels}, height, width)")
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected (B, {channels}, height, width)")
    require_multiples(x.shape[2:], factor, name)
    require_match(x, name, weight, network)


def require_context_width(context: Tensor, context_dim: int) -> None:
    """Raise ValueError unless an attention layer reads vectors of the width that it was built for."""
    if context.shape[-1] != context_dim:
        raise ValueError(
            f"the context is {context.shape[-1]} wide, this attention reads {context_dim}; "
            "without a context the pixels themselves are read, which needs equal widths "
            "(Stable Diffusion's 'no text' is the encoding of the empty caption)"
        )


def require_conditions(
    z_t: Tensor, t: Tensor, context: Tensor | None, added: Tensor | None, widths: tuple[int, int | None], weight: Tensor
) -> None:
    """Raise ValueError unless a U-Net can read all this beside z_t. widths: of the context, and of `added` or None."""
    context_dim, added_dim = widths
    if t.shape != z_t.shape[:1] or t.device != weight.device:
        raise ValueError(
            f"t has shape {tuple(t.shape)} on {t.device}; expected ({len(z_t)},) on {weight.device}, "
            "one timestep per image of z_t"
        )
    if context is not None and (context.dim() != 3 or context.shape[2] != context_dim):
        raise ValueError(f"context has shape {tuple(context.shape)}; expected (B, L, {context_dim})")
    if (added_dim is None) != (added is None):
        raise ValueError(
            f"added is {'missing' if added is None else 'given'}, but this U-Net's added_dim is {added_dim}: "
            "give `added` exactly where the configuration names its width"
        )
    if added is not None and added.shape != (len(z_t), added_dim):
        raise ValueError(f"added has shape {tuple(added.shape)}; expected ({len(z_t)}, {added_dim})")
    for name, given in (("context", context), ("added", added)):
        if given is None:
            continue
        if len(given) != len(z_t):
            raise ValueError(f"{name} has a batch of {len(given)}, z_t one of {len(z_t)}")
        require_match(given, name, weight, "U-Net")


def require_labels(label: Tensor, classes: int) -> None:
    """Raise ValueError unless `label` is (B,) whole numbers in 0 … classes - 1."""
    if label.dim() != 1 or label.is_floating_point() or ((label < 0) | (label >= classes)).any():
        raise ValueError(f"labels {label.tolist()!r:.60}; expected shape (B,), whole numbers 0 … {classes - 1}")


# ── Diffusion ────────────────────────────────────────────────────────────────────────────────────────


def require_betas(beta: Tensor) -> None:
    """Raise ValueError unless `beta` is (T,) numbers between 0 and 1; the last one may be 1."""
    if beta.dim() != 1 or not len(beta):
        raise ValueError(f"beta has shape {tuple(beta.shape)}; expected (T,), at least one step")
    if not (beta.min() > 0 and beta.max() <= 1 and (beta[:-1] < 1).all()):
        raise ValueError(f"beta runs from {beta.min():.3g} to {beta.max():.3g}; expected numbers between 0 and 1")


def require_timesteps(t: Tensor, alpha_bar: Tensor) -> None:
    """Raise unless every timestep is inside the schedule's table, and on its device."""
    require_tensor(t, "t", "of timesteps")
    if t.device != alpha_bar.device:
        raise ValueError(f"t is on {t.device}, the schedule on {alpha_bar.device}; move one with .to()")
    # On a GPU even this look would make each training step wait for the one before.
    if t.device.type == "cpu" and t.numel() and not (t.min() >= 0 and t.max() <= len(alpha_bar) - 1):
        raise ValueError(f"t runs from {t.min().item()} to {t.max().item()}; expected 0 … {len(alpha_bar) - 1}")


def require_alike(z0: Tensor, t: Tensor, eps: Tensor) -> None:
    """Raise unless z0 and eps agree in shape, dtype and device, and t has one timestep per image."""
    for name, x, shape in (("z0", z0, "(B, …)"), ("t", t, "(B,)"), ("eps", eps, "(B, …)")):
        require_tensor(x, name, shape)
    if z0.shape != eps.shape or t.shape != z0.shape[:1]:
        raise ValueError(
            f"z0 is {tuple(z0.shape)}, eps {tuple(eps.shape)}, t {tuple(t.shape)}; expected "
            "z0 and eps of one shape (B, …) and t of shape (B,)"
        )
    if not z0.is_floating_point() or z0.dtype != eps.dtype or not z0.device == eps.device == t.device:
        raise ValueError(
            f"z0 is {z0.dtype} on {z0.device}, eps {eps.dtype} on {eps.device}, t on {t.device}; expected "
            "z0 and eps of one float dtype, all on one device"
        )


def require_walk(timesteps: Tensor) -> None:
    """Raise unless `timesteps` is (S,), at least 1."""
    require_tensor(timesteps, "timesteps", "(S,), such as tinyldm.timesteps gives")
    if timesteps.dim() != 1 or not len(timesteps):
        raise ValueError(
            f"timesteps has shape {tuple(timesteps.shape)}, {timesteps.numel()} timesteps; expected (S,), at least 1"
        )


def require_falling_noise(alpha_bars: list[float]) -> None:
    """Raise ValueError unless each noise level, the final one included, has less noise than the one before it."""
    *visited, final = alpha_bars
    if any(a >= b for a, b in zip(visited, visited[1:])) or not visited[-1] <= final <= 1:
        raise ValueError(
            "each step must land on less noise than it leaves; expected strictly falling timesteps, and "
            f"final_alpha_bar ({final:g}) between ᾱ at the last ({visited[-1]:g}) and 1"
        )


def warn_of_cut(length: int, cut: str) -> None:
    """Warn where a caption was too long, and say what was cut off."""
    if cut:
        warnings.warn(f"only the first {length} pieces of a caption are read; cut off: {cut!r}", stacklevel=3)


def warn_of_weak_guidance(guidance_scale: float) -> None:
    """Warn below 1, which diffusers takes for no guidance."""
    if 0 <= guidance_scale < 1:
        warnings.warn(
            f"guidance_scale {guidance_scale:g} weakens the caption, and 0 ignores it; no guidance, as Turbo "
            "models want it, is 1 here (in diffusers it is everything up to 1)",
            stacklevel=4,
        )


def require_guidance(
    context: Tensor, null_context: Tensor, guidance_scale: float, added: Tensor | None, null_added: Tensor | None
) -> None:
    """Raise ValueError unless the captions' context and the null context can stand in one batch."""
    require_between("guidance_scale", guidance_scale)
    B, D = len(context), context.shape[-1]
    if context.dim() != 3 or null_context.dim() != 3 or len(null_context) not in (1, B) or null_context.shape[2] != D:
        raise ValueError(
            f"null_context has shape {tuple(null_context.shape)}, context {tuple(context.shape)}; "
            f"expected (1 or {B}, L, {D}) and (B, L, D)"
        )
    shapes = [None if given is None else tuple(given.shape) for given in (added, null_added)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"added has shape {shapes[0]}, null_added {shapes[1]}; expected both of one shape, or neither")


# ── What the whole model is given ────────────────────────────────────────────────────────────────────


def require_images(images: Tensor) -> None:
    """Raise unless `images` is (B, 3, H, W), at least one, floating point in [0, 1]."""
    require_tensor(images, "images", "(B, 3, H, W) of floats in 0 … 1")
    if images.dim() != 4 or images.shape[1] != 3 or not images.numel() or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; expected floats of shape (B, 3, H, W)"
        )
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"images run from {images.min():.3g} to {images.max():.3g}; expected 0 … 1")


def require_as_many(name: str, given: Sequence[Any] | Tensor | None, of: str, expected: Sequence[Any] | Tensor) -> None:
    """Raise ValueError unless `given` is None or has as many entries as `expected`."""
    if given is not None and len(given) != len(expected):
        raise ValueError(f"{len(given)} {name} for {len(expected)} {of}; expected as many")


def require_size(size: tuple[int, int], factor: int) -> None:
    """Raise unless `size` is (height, width) of an image whose latent has whole numbers of rows and columns."""
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise TypeError(f"size is {size!r:.60}; expected (height, width) in pixels")
    require_multiples(size, factor, "the image's size")


def require_originals(images: Tensor, captions: list[str], factor: int) -> None:
    """Raise unless these images can become latents, and each has its caption."""
    require_images(images)
    require_captions(captions)
    require_as_many("captions", captions, "images", images)
    require_multiples(images.shape[2:], factor, "the images' size")


def require_two_ends(captions: Sequence[str], frames: int) -> None:
    """Raise ValueError unless there are two captions to walk between, and at least two frames."""
    if isinstance(captions, str) or len(captions) != 2 or frames < 2:
        raise ValueError(
            f"{len(captions)} captions, {captions!r:.60}, {frames} frames; expected two captions and at least 2 frames"
        )


def require_mask(mask: Tensor, images: Tensor) -> None:
    """Raise unless `mask` is (B or 1, 1, H, W) for images (B, 3, H, W), in 0 … 1."""
    B, _, H, W = images.shape
    require_tensor(mask, "mask", f"({B}, 1, {H}, {W}) of numbers in 0 … 1, 1 where to repaint")
    if mask.dim() != 4 or mask.shape[1:] != (1, H, W) or len(mask) not in (1, B):
        raise ValueError(f"mask has shape {tuple(mask.shape)}; expected ({B}, 1, {H}, {W})")
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(f"mask runs from {mask.min().item():.3g} to {mask.max().item():.3g}; expected 0 … 1")


def require_marks(latent_mask: Tensor, factor: int) -> None:
    """Raise ValueError unless each picture's mask (B, 1, h, w) marks something. Warn where it marks everything."""
    share = latent_mask.flatten(1).mean(1)
    if (share == 0).any():
        raise ValueError(
            f"the mask marks nothing at the size of the latent: a number there is repainted if the top left pixel of "
            f"its patch of {factor}×{factor} is marked; mark a larger area"
        )
    if (share == 1).any():
        warnings.warn("the mask marks everything, so nothing of the picture guides the repainting", stacklevel=4)


def require_noise(noise: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless `noise` has this shape and is finite."""
    require_tensor(noise, "noise", str(shape))
    if noise.shape != shape or not noise.isfinite().all():
        raise ValueError(f"noise has shape {tuple(noise.shape)}; expected {shape}, all numbers finite")


def require_image_context(image_context: Tensor, context: Tensor) -> None:
    """Raise unless `image_context` is (B, N, D) for a context (B, L, D)."""
    wanted = f"({len(context)}, N, {context.shape[2]}), from encode_image"
    require_tensor(image_context, "image_context", wanted)
    if image_context.dim() != 3 or image_context[:, :1].shape != context[:, :1].shape:  # N is free
        raise ValueError(f"image_context has shape {tuple(image_context.shape)}; expected {wanted}")


def require_apart(a: Tensor, b: Tensor) -> None:
    """Raise ValueError unless there is one shortest way from a to b on a sphere."""
    lengths = a.norm() * b.norm()
    cosine = (a * b).sum() / lengths
    if not (lengths > 0 and cosine > -0.9995):
        raise ValueError(
            "the two noises are opposite to each other, or one is zero: there is no one shortest way "
            f"between them on a sphere (lengths {a.norm():.3g} and {b.norm():.3g}, cosine {cosine:.3g})"
        )
