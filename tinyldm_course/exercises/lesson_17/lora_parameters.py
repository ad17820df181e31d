"""Exercise lora_parameters of lesson 17: A LoRA's parameters."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def lora_parameters(widths, rank):
    """The number of parameters of a LoRA of this rank.

    widths: list of (in, out), one for each linear layer.  Returns an int.
    """
    ### BEGIN SOLUTION
    return sum(rank * (inputs + out) for inputs, out in widths)
    ### END SOLUTION


def parameter_cases(generator: Generator) -> list[Call]:
    """One layer, several layers, wide and narrow."""
    calls = [Call(([(3, 5)], 2)), Call(([(64, 64), (128, 64)], 4))]
    for count, rank in ((3, 1), (5, 8), (2, 3)):
        pairs = torch.randint(2, 900, (count, 2), generator=generator).tolist()
        calls.append(Call(([tuple(pair) for pair in pairs], rank)))
    return calls


def parameters_of_weight(widths, rank):
    return sum(inputs * out for inputs, out in widths)


def parameters_times_rank(widths, rank):
    return sum(rank * inputs * out for inputs, out in widths)


def parameters_of_a(widths, rank):
    return sum(rank * inputs for inputs, _ in widths)


def parameters_of_b(widths, rank):
    return sum(rank * out for _, out in widths)


def parameters_of_one_layer(widths, rank):
    return rank * (widths[0][0] + widths[0][1])


def parameters_without_rank(widths, rank):
    return sum(inputs + out for inputs, out in widths)


def parameters_with_square(widths, rank):
    return sum(rank * (inputs + out) + rank * rank for inputs, out in widths)


def parameters_with_biases(widths, rank):
    return sum(rank * (inputs + out) + rank + out for inputs, out in widths)


def parameters_by_building(widths, rank):
    pairs = [(torch.empty(rank, inputs), torch.empty(out, rank)) for inputs, out in widths]
    return sum(A.numel() + B.numel() for A, B in pairs)


def parameters_by_sums(widths, rank):
    total = 0
    for pair in widths:
        total += sum(pair)
    return total * rank


EXERCISE = Exercise(
    name="lora_parameters",
    title="A LoRA's parameters",
    stars=1,
    minutes=5,
    answer=lora_parameters,
    cases=parameter_cases,
    hints=(
        "ΔW = B A. What shapes do A and B have?",
        "A is (rank, in), B is (out, rank). Neither has a bias.",
        "rank · in + out · rank for each layer, added up.",
    ),
    insight="A sum in place of a product: at rank 4, Stable Diffusion 1's attention needs 797,184 numbers; its U-Net "
    "has 859,520,964. The wider the layers, the smaller the share.",
    wrong=(
        Wrong("weights", parameters_of_weight, "That counts W itself, which stays as it is. Count A and B."),
        Wrong(
            "product", parameters_times_rank, "rank · in · out is more than W has. A is (rank, in), B is (out, rank)."
        ),
        Wrong("only-a", parameters_of_a, "That is A alone. B, (out, rank), is trained too."),
        Wrong("only-b", parameters_of_b, "That is B alone. A, (rank, in), is trained too."),
        Wrong("one-layer", parameters_of_one_layer, "You counted the first layer only. Add up all of them."),
        Wrong("rank-one", parameters_without_rank, "Right for rank 1. Each rank adds a row to A and a column to B."),
        Wrong(
            "square-between",
            parameters_with_square,
            "You added a matrix of rank × rank. There is nothing between A and B.",
        ),
        Wrong("biases", parameters_with_biases, "You counted biases. Neither A nor B has one."),
    ),
    right=(parameters_by_building, parameters_by_sums),
)
