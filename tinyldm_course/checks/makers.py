"""Arguments of the exercises' calls: small stand-ins for networks, described by `Made` and made afresh for each call.

This file contains no right answer: when student code is graded, it can read this file, but not the folder
`exercises/`. A stand-in is as strict about devices as a network: it does not move its inputs to another device.
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

# ── Lesson 03: the loss ──────────────────────────────────────────────────────────────────────────────


class ToyModel(nn.Module):
    """(z_t (B, …), t (B,)) -> the shape of z_t: every number of z_t and t matters, and one weight is learnt."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(self.weight * z_t + 0.1 * t.view(-1, *[1] * (z_t.dim() - 1)))


# ── Lessons 12 and 13: sampling ──────────────────────────────────────────────────────────────────────


def toy_unet() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(z_t (B, C, h, w), t (B,), context (B, L, D)) -> (B, C, h, w). All three matter; nothing is learnt."""

    def unet(z_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        weights = torch.arange(1, context[0].numel() + 1).to(context).sin().view(context.shape[1:])
        caption = (context * weights).sum((1, 2)).tanh().view(-1, 1, 1, 1)
        time = (0.1 * t.to(z_t.dtype)).cos().view(-1, 1, 1, 1)
        return torch.tanh(0.7 * z_t + caption * (1 + 0.5 * z_t)) + 0.2 * time

    return unet


def strict_unet() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`toy_unet`, as strict as the package's U-Net: a context and a t for each image, or a scalar t."""
    toy = toy_unet()

    def unet(z_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        if not isinstance(t, Tensor):
            raise TypeError("t is a number; expected a tensor (B,), one timestep for each image of z_t")
        if t.device != z_t.device:
            raise ValueError(f"t is on {t.device}; expected {z_t.device}, as z_t")
        if t.dim() and t.shape != z_t.shape[:1]:
            raise ValueError(f"t has shape {tuple(t.shape)}; expected (B,), one timestep for each image of z_t")
        if context.dim() != 3 or len(context) != len(z_t):
            raise ValueError(f"context has shape {tuple(context.shape)}; expected (B, L, D), one for each image of z_t")
        return toy(z_t, t, context)

    return unet


def z_plus_square_of_context() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(z_t (B, C, h, w), t (B,), context (B, L, D)) -> (B, C, h, w), as the name says: simple enough to check."""

    def unet(z_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return z_t + context.sum((1, 2)).square().view(-1, 1, 1, 1)

    return unet


def toy_text_encoder() -> Callable[[list[str]], Tensor]:
    """Captions (B of them) -> context (B, 3, 4): numbers that depend on each caption alone, including the empty one."""

    def encode(captions: list[str]) -> Tensor:
        if isinstance(captions, str):
            raise TypeError(f"a list of captions is expected, not the caption {captions!r} itself")
        seeds = [zlib.crc32(caption.encode()) for caption in captions]
        contexts = [torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(contexts) if contexts else torch.zeros(0, 3, 4)

    return encode


def toy_decoder(gain: float = 1.3) -> Callable[[Tensor], Tensor]:
    """Latents (B, C, h, w) -> "images" (B, C, 2h, 2w), about [-1, 1] with some overshoot, as a VAE's decoder gives."""

    def decode(z0: Tensor) -> Tensor:
        return gain * z0.repeat_interleave(2, 2).repeat_interleave(2, 3)

    return decode


# ── Lesson 08: the U-Net ─────────────────────────────────────────────────────────────────────────────


class CallersList(list):
    """A list that refuses to be changed, and says why. Its copies, slices and sums are plain lists."""

    def _refuse(self, *args, **kwargs):
        raise TypeError("this list belongs to the caller: copy it before you change it, for example with list(…)")

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __delitem__ = __iadd__ = __imul__ = __setitem__ = _refuse

    def __reduce_ex__(self, protocol: int) -> tuple:
        return list, (list(self),)


def _strict(width_in: int, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function, which raises an error for a tensor that is not (B, width_in, H, W)."""

    def strict(x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != width_in:
            raise ValueError(f"this block reads (B, {width_in}, H, W); it was given {tuple(x.shape)}")
        return function(x)

    return strict


def block(formula: str) -> Callable[[Tensor], Tensor]:
    """A block to compute by hand: "x + 2" (or another number) on one channel, or "10 * x + skip" on two, x and skip."""
    if formula == "10 * x + skip":
        return _strict(2, lambda both: 10 * both[:, :1] + both[:, 1:])
    summand = int(formula.removeprefix("x + "))
    return _strict(1, lambda x: x + summand)


def blocks(*formulas: str) -> list[Callable[[Tensor], Tensor]]:
    """A block for each formula, in a list that nobody may change."""
    return CallersList(map(block, formulas))


def toy_block(seed: int, width_in: int, width_out: int) -> Callable[[Tensor], Tensor]:
    """(B, width_in, H, W) -> (B, width_out, H, W): tanh of fixed sums over the channels."""
    weight = torch.randn(width_out, width_in, generator=torch.Generator().manual_seed(seed))
    return _strict(width_in, lambda x: torch.einsum("oc,bchw->bohw", weight.to(x), x).tanh())


def toy_blocks(seed: int, count: int, width_in: int, width_out: int) -> list[Callable[[Tensor], Tensor]]:
    """`count` different blocks, in a list that nobody may change."""
    return CallersList(toy_block(seed + number, width_in, width_out) for number in range(count))


# ── Lesson 04: three ancestors ───────────────────────────────────────────────────────────────────────


def toy_score() -> Callable[[Tensor], Tensor]:
    """x (B, …) -> the same shape: the gradient of a log-density with several peaks."""

    def score(x: Tensor) -> Tensor:
        return (
            (3 * x).sin() - 0.5 * x + 3
        )  # the mean is not 0, so that a step of the wrong size or sign shows in the mean of x

    return score


class ToyScoreNetwork(nn.Module):
    """(x (B, 2), sigma (B,)) -> (B, 2), with a learnt matrix."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.8, -0.5], [0.3, 0.6]]))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return (x @ self.weight.to(x) + 0.3).sin() / sigma[:, None] - 0.2 * x


# ── Lessons 10 and 11: training ──────────────────────────────────────────────────────────────────────


class ToyDenoiser(nn.Module):
    """(z_t (B, width), t (B,), context (B, L, words)) -> (B, width), with weights that depend on the seed alone."""

    def __init__(self, width: int, words: int, seed: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 6), nn.Linear(6, width)
        self.cross_attention = nn.ModuleDict({"to_k": nn.Linear(words, 6), "to_v": nn.Linear(words, 6)})
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, z_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        k, v = (layer(context) for layer in self.cross_attention.values())  # (B, L, 6)
        x = self.inner(z_t) + (0.1 * t.to(z_t.dtype)).cos()[:, None]  # (B, 6)
        weights = torch.einsum("bd,bld->bl", x, k).softmax(1)
        return self.outer(torch.tanh(x + torch.einsum("bl,bld->bd", weights, v)))


class PartlyFrozen(ToyDenoiser):
    """A ToyDenoiser with some parameters frozen, by name. Its state also records which are frozen."""

    def __init__(self, width: int, words: int, seed: int, frozen: list[str]):
        super().__init__(width, words, seed)
        for name in frozen:
            self.get_parameter(name).requires_grad_(False)

    def get_extra_state(self) -> list[str]:
        return [f"requires_grad of {name}: {parameter.requires_grad}" for name, parameter in self.named_parameters()]

    def set_extra_state(self, state: list[str]) -> None:
        """Loading weights freezes nothing."""


# ── Lesson 16: the clinic ────────────────────────────────────────────────────────────────────────────


def toy_encoder() -> Callable[[Tensor], Tensor]:
    """Images (B, 3, 2h, 2w) in [-1, 1] -> unscaled latents (B, 3, h, w). Not linear, so that the range matters."""

    def encode(image: Tensor) -> Tensor:
        x = torch.nn.functional.avg_pool2d(image, 2)
        return 4 * x + x**2

    return encode
