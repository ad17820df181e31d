"""Exercise geglu of lesson 07: A gate: GEGLU."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def geglu(x, weight, bias):
    """value · GELU(gate), both from one linear layer.  x: (B, N, C); weight: (2h, C); bias: (2h,) -> (B, N, h)."""
    ### BEGIN SOLUTION
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate)
    ### END SOLUTION


def geglu_cases(generator: Generator) -> list[Call]:
    """x (B, N, C), weight (2 h, C), bias (2 h,)."""
    calls = [Call((torch.tensor([[[1.0], [-2.0]]]), torch.tensor([[1.0], [0.5]]), torch.tensor([0.5, 1.0])))]
    for B, N, C, h in ((2, 4, 3, 5), (1, 7, 6, 24), (3, 4, 8, 32)):
        shapes = ((B, N, C), (2 * h, C), (2 * h,))
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for shape in shapes)))
    return calls


def geglu_swapped(x, weight, bias):
    gate, value = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate)


def geglu_with_tanh(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate, approximate="tanh")


def geglu_with_sigmoid(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate.sigmoid()


def geglu_with_silu(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.silu(gate)


def geglu_not_activated(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate


def geglu_both_activated(x, weight, bias):
    value, gate = F.gelu(F.linear(x, weight, bias)).chunk(2, dim=-1)
    return value * gate


def geglu_without_gate(x, weight, bias):
    return F.gelu(F.linear(x, weight, bias))


def geglu_interleaved(x, weight, bias):
    both = F.linear(x, weight, bias)
    return both[..., ::2] * F.gelu(both[..., 1::2])


def geglu_without_bias(x, weight, bias):
    value, gate = F.linear(x, weight).chunk(2, dim=-1)
    return value * F.gelu(gate)


def geglu_of_positions(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=1)
    return value * F.gelu(gate)


def geglu_with_relu(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.relu(gate)


def geglu_without_factor(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * (1 + torch.erf(gate / 2**0.5)) / 2


def geglu_of_the_product(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return F.gelu(value * gate)


def geglu_in_place(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    value *= F.gelu(gate)
    return value


def geglu_exp_gate(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate.exp()


def geglu_tanh_gate(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate.tanh()


def geglu_added(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value + F.gelu(gate)


def geglu_gate_only(x, weight, bias):
    return F.gelu(F.linear(x, weight, bias).chunk(2, dim=-1)[1])


def geglu_value_only(x, weight, bias):
    return F.linear(x, weight, bias).chunk(2, dim=-1)[0]


def geglu_bias_outside(x, weight, bias):
    value, gate = F.linear(x, weight).chunk(2, dim=-1)
    return value * F.gelu(gate) + bias.chunk(2)[0]


def geglu_softmax_gate(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate.softmax(-1)


def geglu_plus_one(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * (1 + F.gelu(gate))


def geglu_by_sigmoid_approximation(x, weight, bias):
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * gate * torch.sigmoid(1.702 * gate)


def geglu_by_halves(x, weight, bias):
    h = len(bias) // 2
    value = x @ weight[:h].T + bias[:h]
    gate = x @ weight[h:].T + bias[h:]
    return torch.nn.GELU()(gate) * value


def geglu_by_erf(x, weight, bias):
    both = torch.einsum("bnc,hc->bnh", x, weight) + bias
    value, gate = both[..., : both.shape[-1] // 2], both[..., both.shape[-1] // 2 :]
    return value * gate * (1 + torch.erf(gate / 2**0.5)) / 2


EXERCISE = Exercise(
    name="geglu",
    title="A gate: GEGLU",
    stars=1,
    minutes=6,
    answer=geglu,
    cases=geglu_cases,
    tolerance=1e-5,
    hints=(
        "One linear layer makes twice as many numbers as needed: F.linear(x, weight, bias).",
        "Cut the last dimension into two halves: .chunk(2, dim=-1). Value first, gate second.",
        "value * F.gelu(gate)",
    ),
    shape_hint=2,
    insight="Where the gate is far below 0, the value is blocked; where it is large, the value passes, multiplied: "
    "so this layer can *multiply* two features, which a linear layer with an activation can only imitate. The "
    "order, value first, is an accident that every checkpoint now depends on.",
    wrong=(
        Wrong(
            "halves-swapped",
            geglu_swapped,
            "Value and gate are swapped: the *second* half is the gate. Both orders would train; the checkpoints "
            "have the value first.",
        ),
        Wrong(
            "tanh-approximation",
            geglu_with_tanh,
            "You took GELU's tanh approximation, as GPT-2 does. Stable Diffusion uses the exact one, with erf: "
            "F.gelu's default.",
        ),
        Wrong("sigmoid-gate", geglu_with_sigmoid, "You gated with a sigmoid: that is GLU. GEGLU gates with GELU."),
        Wrong(
            "silu-gate",
            geglu_with_silu,
            "You gated with SiLU: that is SwiGLU, of the later language models. GEGLU gates with GELU.",
        ),
        Wrong("relu-gate", geglu_with_relu, "You gated with ReLU: that is ReGLU. GEGLU gates with GELU."),
        Wrong(
            "gate-factor-missing",
            geglu_without_factor,
            "You multiplied by Φ(gate), a share between 0 and 1. GELU is gate · Φ(gate): the factor gate is missing.",
        ),
        Wrong(
            "product-activated",
            geglu_of_the_product,
            "You took GELU of the product. Only the gate goes through GELU; then the value is multiplied.",
        ),
        Wrong(
            "changed-in-place",
            geglu_in_place,
            "The values are right, but one half was changed in place (*=, mul_). Both halves are views of one "
            "tensor, and autograd does not allow that: value * F.gelu(gate) makes a new one.",
        ),
        Wrong("gate-not-activated", geglu_not_activated, "The gate is not activated: it never closes."),
        Wrong(
            "both-activated",
            geglu_both_activated,
            "You activated both halves. The value passes as it is; only the gate goes through GELU.",
        ),
        Wrong("no-gate", geglu_without_gate, "That is GELU of all numbers; one half must gate the other."),
        Wrong(
            "interleaved",
            geglu_interleaved,
            "You took every second number as the gate. The halves come one after the other.",
        ),
        Wrong("no-bias", geglu_without_bias, "The bias is missing."),
        Wrong(
            "positions-halved",
            geglu_of_positions,
            "You cut dimension 1, the positions, in half. Cut the last one, the numbers of each position.",
        ),
        Wrong("exponential-gate", geglu_exp_gate, "You took exp for the activation. It is GELU."),
        Wrong("tanh-gate", geglu_tanh_gate, "You took tanh for the activation. It is GELU."),
        Wrong("added", geglu_added, "You added value and gate. They are multiplied."),
        Wrong(
            "gate-alone", geglu_gate_only, "That is the activated gate alone. Multiply it by the value, the first half."
        ),
        Wrong(
            "value-alone",
            geglu_value_only,
            "That is the value alone. Multiply it by GELU of the gate, the second half.",
        ),
        Wrong(
            "bias-outside",
            geglu_bias_outside,
            "You added the bias after the product. It belongs to the linear layer, before the two halves.",
        ),
        Wrong("softmax-gate", geglu_softmax_gate, "You took softmax of the gate. Each number has its own gate: GELU."),
        Wrong("one-plus-gate", geglu_plus_one, "You multiplied by 1 + GELU(gate). It is GELU(gate) itself."),
        Wrong(
            "sigmoid-approximation",
            geglu_by_sigmoid_approximation,
            "You used the approximation x · σ(1.702 x), OpenAI's QuickGELU. Here it is GELU itself: F.gelu(gate).",
        ),
    ),
    right=(geglu_by_halves, geglu_by_erf),
)
