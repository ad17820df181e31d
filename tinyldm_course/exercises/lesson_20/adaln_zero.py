"""Exercise adaln_zero of lesson 20: Six vectors for one block."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def adaln_zero(x, c, weight, bias):
    """What a DiT block does to x, where attention and MLP are left out: (B, N, D).

    SiLU and a linear layer make six vectors of c, in this order: shift, scale, gate for attention; shift, scale, gate
    for the MLP. Twice: x + gate · (LN(x) · (1 + scale) + shift), LN without weights, eps 1e-6.
    x: (B, N, D); c: (B, D); weight: (6 D, D); bias: (6 D,).
    """
    ### BEGIN SOLUTION
    vectors = F.linear(F.silu(c), weight, bias)[:, None].chunk(6, dim=-1)
    for shift, scale, gate in (vectors[:3], vectors[3:]):
        x = x + gate * (F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)
    return x
    ### END SOLUTION


def adaln_cases(generator: Generator) -> list[Call]:
    """Several sizes; weights of 0, with which training starts; and an x so small that eps counts."""

    def call(B: int, N: int, D: int, size: float = 1.0, x_size: float = 1.0) -> Call:
        shapes = ((B, N, D), (B, D), (6 * D, D), (6 * D,))
        x, c, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
        return Call((x_size * x, c, size * weight / D**0.5, size * bias))

    return [call(1, 1, 2), call(2, 3, 4), call(3, 2, 6), call(2, 2, 4, 0.0), call(2, 2, 8, x_size=1e-3)]


def _block(x, c, weight, bias, order=(0, 1, 2, 3, 4, 5), one=1.0, silu=F.silu, residual=True, eps=1e-6):
    vectors = F.linear(silu(c), weight, bias)[:, None].chunk(6, dim=-1)
    vectors = [vectors[i] for i in order]
    for shift, scale, gate in (vectors[:3], vectors[3:]):
        change = gate * (F.layer_norm(x, x.shape[-1:], eps=eps) * (one + scale) + shift)
        x = x + change if residual else change
    return x


def adaln_scale_first(x, c, weight, bias):
    return _block(x, c, weight, bias, (1, 0, 2, 4, 3, 5))


def adaln_gate_first(x, c, weight, bias):
    return _block(x, c, weight, bias, (1, 2, 0, 4, 5, 3))


def adaln_by_kind(x, c, weight, bias):
    return _block(x, c, weight, bias, (0, 2, 4, 1, 3, 5))


def adaln_halves_swapped(x, c, weight, bias):
    return _block(x, c, weight, bias, (3, 4, 5, 0, 1, 2))


def adaln_without_one(x, c, weight, bias):
    return _block(x, c, weight, bias, one=0.0)


def adaln_without_silu(x, c, weight, bias):
    return _block(x, c, weight, bias, silu=lambda c: c)


def adaln_without_residual(x, c, weight, bias):
    return _block(x, c, weight, bias, residual=False)


def adaln_gate_plus_one(x, c, weight, bias):
    vectors = F.linear(F.silu(c), weight, bias)[:, None].chunk(6, dim=-1)
    for shift, scale, gate in (vectors[:3], vectors[3:]):
        x = x + (1 + gate) * (F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)
    return x


def adaln_norm_over_tokens(x, c, weight, bias):
    vectors = F.linear(F.silu(c), weight, bias)[:, None].chunk(6, dim=-1)
    for shift, scale, gate in (vectors[:3], vectors[3:]):
        x = x + gate * (F.layer_norm(x, x.shape[-2:], eps=1e-6) * (1 + scale) + shift)
    return x


def adaln_norm_once(x, c, weight, bias):
    vectors = F.linear(F.silu(c), weight, bias)[:, None].chunk(6, dim=-1)
    normal = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    for shift, scale, gate in (vectors[:3], vectors[3:]):
        x = x + gate * (normal * (1 + scale) + shift)
    return x


def adaln_first_half(x, c, weight, bias):
    shift, scale, gate = F.linear(F.silu(c), weight, bias)[:, None].chunk(6, dim=-1)[:3]
    return x + gate * (F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)


def adaln_by_hand(x, c, weight, bias):
    made = (F.silu(c) @ weight.T + bias).unflatten(1, (6, -1))
    for k in (0, 3):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        normal = (x - mean) / (variance + 1e-6).sqrt()
        x = x + made[:, None, k + 2] * (normal * (1 + made[:, None, k + 1]) + made[:, None, k])
    return x


def adaln_one_by_one(x, c, weight, bias):
    return torch.cat([_block(one[None], two[None], weight, bias) for one, two in zip(x, c)])


EXERCISE = Exercise(
    name="adaln_zero",
    title="Six vectors for one block",
    stars=2,
    minutes=12,
    answer=adaln_zero,
    cases=adaln_cases,
    tolerance=1e-3,
    hints=(
        "F.linear(F.silu(c), weight, bias) has shape (B, 6 D). It has to broadcast over the N tokens of x.",
        "[:, None] and .chunk(6, dim=-1) make six times (B, 1, D).",
        "The second LayerNorm reads what the first half has made.",
    ),
    shape_hint=1,
    insight="With weight and bias of 0, as at the start of training, all gates are 0 and the block does nothing. "
    'That is the "zero" of adaLN-zero.',
    wrong=(
        Wrong(
            "scale-first",
            adaln_scale_first,
            "You took the scale before the shift. (In two places diffusers' files have it so, see "
            "stable_diffusion_3.py.)",
        ),
        Wrong("gate-first", adaln_gate_first, "You took the gate first. The order is shift, scale, gate."),
        Wrong(
            "by-kind",
            adaln_by_kind,
            "You took both shifts first, then both scales, then both gates. The first three vectors belong to "
            "attention, the last three to the MLP.",
        ),
        Wrong(
            "halves-exchanged", adaln_halves_swapped, "The first three vectors belong to the first half of the block."
        ),
        Wrong(
            "first-half-only",
            adaln_first_half,
            "That is the first half. The second one, of the MLP, does the same with the last three vectors.",
        ),
        Wrong("no-one", adaln_without_one, "The factor is 1 + scale: with scale = 0, LN(x) passes as it is."),
        Wrong("no-silu", adaln_without_silu, "SiLU comes before the linear layer."),
        Wrong(
            "no-residual",
            adaln_without_residual,
            "x itself is missing from the sum: with gates of 0 nothing would be left.",
        ),
        Wrong("gate-plus-one", adaln_gate_plus_one, "You used 1 + gate. Then the block does not start as nothing."),
        Wrong(
            "norm-of-all-tokens",
            adaln_norm_over_tokens,
            "LayerNorm takes mean and variance over the D numbers of *one* token.",
        ),
        Wrong(
            "normalised-once",
            adaln_norm_once,
            "The second half normalises what the first half made, not the block's input.",
        ),
    ),
    right=(adaln_by_hand, adaln_one_by_one),
)
