"""Exercise mended_embedding of lesson 16: Patient 2: good weights, bad pictures."""

import math

import torch
from torch import Generator, Tensor

from tinyldm import resblock
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def mended_embedding(t, dim):
    """Sinusoids of each timestep.  t: (B,) int64; dim: even.  Returns (B, dim) float32."""
    ### BEGIN SOLUTION
    half = dim // 2
    f = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angle = t.float()[:, None] * f
    return torch.cat([angle.cos(), angle.sin()], dim=1)
    ### END SOLUTION


def embedding_cases(generator: Generator) -> list[Call]:
    """Timesteps, even widths."""
    return [
        Call((torch.tensor([1, 500]), 4)),
        *(Call((torch.randint(1, 1000, (B,), generator=generator), dim)) for B, dim in ((1, 6), (5, 16), (3, 32))),
    ]


def sinusoids(t, dim, divisor, halves):
    """Frequencies 10000^(-i / divisor); halves: (cos, sin) -> the two in their order."""
    i = torch.arange(dim // 2, device=t.device)
    angle = t.float()[:, None] * torch.exp(-math.log(10000) * i / divisor)
    return torch.cat(halves(angle.cos(), angle.sin()), dim=1)


def embedding_by_the_package(t: Tensor, dim: int) -> Tensor:
    """cos ‖ sin, frequencies 10000^(-i / (dim/2))."""
    return resblock.timestep_embedding(t, dim)


def embedding_broken(t, dim):
    return sinusoids(t, dim, dim // 2 - 1, lambda cos, sin: (sin, cos))


def embedding_order_only(t, dim):
    return sinusoids(t, dim, dim // 2 - 1, lambda cos, sin: (cos, sin))


def embedding_divisor_only(t, dim):
    return sinusoids(t, dim, dim // 2, lambda cos, sin: (sin, cos))


def embedding_interleaved(t, dim):
    cos, sin = mended_embedding(t, dim).chunk(2, dim=1)
    return torch.stack([cos, sin], dim=2).flatten(1)


def embedding_whole_dim(t, dim):
    return sinusoids(t, dim, dim, lambda cos, sin: (cos, sin))


def embedding_t_scaled(t, dim):
    return sinusoids(t / 1000, dim, dim // 2, lambda cos, sin: (cos, sin))


def embedding_whole_turns(t, dim):
    return sinusoids(2 * math.pi * t, dim, dim // 2, lambda cos, sin: (cos, sin))


def embedding_cosines_only(t, dim):
    return sinusoids(t, dim, dim // 2, lambda cos, sin: (cos, cos))


def embedding_doubled_sines(t, dim):
    return sinusoids(t, dim, dim // 2, lambda cos, sin: (sin, sin))


def embedding_along_rows(t, dim):
    cos, sin = mended_embedding(t, dim).chunk(2, dim=1)
    return torch.cat([cos, sin], dim=0)


def embedding_plus_one(t, dim):
    return sinusoids(t, dim, dim // 2 + 1, lambda cos, sin: (cos, sin))


def embedding_from_one(t, dim):
    i = torch.arange(1, dim // 2 + 1, device=t.device)
    angle = t.float()[:, None] * torch.exp(-math.log(10000) * i / (dim // 2))
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def embedding_rising(t, dim):
    cos, sin = mended_embedding(t, dim).chunk(2, dim=1)
    return torch.cat([cos.flip(1), sin.flip(1)], dim=1)


def embedding_rising_and_sines_first(t, dim):
    cos, sin = mended_embedding(t, dim).chunk(2, dim=1)
    return torch.cat([sin.flip(1), cos.flip(1)], dim=1)


def embedding_by_powers(t, dim):
    angle = t[:, None] / 10000 ** (torch.arange(0, dim, 2, device=t.device) / dim)
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


def embedding_by_phase(t, dim):
    angle = t.double()[:, None] * torch.logspace(0, -1, dim // 2 + 1, 10000, dtype=torch.float64)[:-1].to(t.device)
    return torch.cat([torch.sin(angle + math.pi / 2), torch.sin(angle)], dim=1).float()


EXERCISE = Exercise(
    name="mended_embedding",
    title="Patient 2: good weights, bad pictures",
    stars=2,
    minutes=10,
    answer=mended_embedding,
    cases=embedding_cases,
    tolerance=1e-3,
    exact_dtype=True,
    hints=(
        "There are two mistakes. The first: which half comes first in Stable Diffusion?",
        "The second: the highest frequency is 1; is the lowest one 1/10000, or is it left out?",
        "cos first, then sin; the exponent is -i / (dim / 2).",
    ),
    insight="Both versions are good embeddings, and a network trained with either works. But weights trained with "
    "one misread the other: a convention is part of the weights, and no file states it.",
    wrong=(
        Wrong("still-broken", embedding_broken, "That is the patient as he came in: both mistakes are still there."),
        Wrong(
            "frequencies-still-wrong",
            embedding_order_only,
            "The order is mended. But your frequencies end at exactly 1/10000: dim/2 - 1 divides, as in the DDPM "
            "code. In Stable Diffusion dim/2 does.",
        ),
        Wrong(
            "order-still-wrong",
            embedding_divisor_only,
            "The frequencies are mended. But sin still comes first; Stable Diffusion has cos first.",
        ),
        Wrong(
            "interleaved",
            embedding_interleaved,
            'You interleave cos and sin, as "Attention is all you need" writes it. Here they are two halves.',
        ),
        Wrong(
            "whole-dim",
            embedding_whole_dim,
            "You divide i by dim. There are dim/2 frequencies, and i counts those: divide by dim/2.",
        ),
        Wrong(
            "t-scaled", embedding_t_scaled, "You scaled t to [0, 1]. The sinusoids expect the timestep itself, 0 … 999."
        ),
        Wrong("full-turns", embedding_whole_turns, "You multiplied by 2π. The angle is t · f itself, in radians."),
        Wrong("cosines-twice", embedding_cosines_only, "The second half are cosines again. They are sines."),
        Wrong("sines-twice", embedding_doubled_sines, "The first half are sines, too. They are cosines."),
        Wrong("half-plus-one", embedding_plus_one, "You divided by dim/2 + 1. It is dim/2."),
        Wrong("counted-from-one", embedding_from_one, "Your i counts from 1: the fastest wave, f = 1, is missing."),
        Wrong(
            "along-the-batch",
            embedding_along_rows,
            "You put cosines and sines one below the other. They belong side by side: dim=1.",
        ),
        Wrong(
            "frequencies-rising",
            embedding_rising,
            "Your frequencies rise. They fall, from 1 downwards, as the patient had them.",
        ),
        Wrong(
            "frequencies-rising-sines-first",
            embedding_rising_and_sines_first,
            "Two things: your frequencies rise, and the sines come first. They fall from 1 downwards, and the "
            "cosines come first.",
        ),
    ),
    right=(embedding_by_the_package, embedding_by_powers, embedding_by_phase),
)
