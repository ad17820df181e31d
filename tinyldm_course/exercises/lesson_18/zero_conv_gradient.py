"""Exercise zero_conv_gradient of lesson 18: Zeros that learn."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def zero_conv_gradient(x, gradient):
    """The gradient of the loss with respect to the weight of a 1×1 convolution y = w x.

    x: (B, in, H, W), what it reads.  gradient: (B, out, H, W), ∂loss/∂y.  Returns ∂loss/∂w, (out, in).
    """
    ### BEGIN SOLUTION
    return torch.einsum("bohw,bihw->oi", gradient, x)
    ### END SOLUTION


def gradient_cases(generator: Generator) -> list[Call]:
    """Feature maps of several sizes, never square in channels."""
    return [
        Call((torch.randn(B, inputs, H, W, generator=generator), torch.randn(B, out, H, W, generator=generator)))
        for B, inputs, out, H, W in ((1, 2, 3, 1, 1), (2, 3, 2, 2, 2), (3, 4, 5, 3, 2))
    ]


def gradient_of_zero(x, gradient):
    return 0 * torch.einsum("bohw,bihw->oi", gradient, x)


def gradient_transposed(x, gradient):
    return torch.einsum("bohw,bihw->io", gradient, x)


def gradient_mean_of_batch(x, gradient):
    return torch.einsum("bohw,bihw->oi", gradient, x) / len(x)


def gradient_mean_of_all(x, gradient):
    return torch.einsum("bohw,bihw->oi", gradient, x) / (len(x) * x.shape[2] * x.shape[3])


def gradient_mean_of_pixels(x, gradient):
    return torch.einsum("bohw,bihw->oi", gradient, x) / (x.shape[2] * x.shape[3])


def gradient_of_sums(x, gradient):
    return torch.outer(gradient.sum((0, 2, 3)), x.sum((0, 2, 3)))


def gradient_per_picture(x, gradient):
    return torch.einsum("bohw,bihw->boi", gradient, x)


def gradient_minus(x, gradient):
    return -torch.einsum("bohw,bihw->oi", gradient, x)


def gradient_as_kernel(x, gradient):
    return torch.einsum("bohw,bihw->oi", gradient, x)[:, :, None, None]


def gradient_by_matrices(x, gradient):
    rows = x.transpose(0, 1).flatten(1)  # (in, B·H·W)
    return gradient.transpose(0, 1).flatten(1) @ rows.T


def gradient_by_pictures(x, gradient):
    total = torch.zeros(gradient.shape[1], x.shape[1], dtype=x.dtype, device=x.device)
    for one, upstream in zip(x.flatten(2), gradient.flatten(2)):
        total = total + F.linear(upstream, one)
    return total


EXERCISE = Exercise(
    name="zero_conv_gradient",
    title="Zeros that learn",
    stars=2,
    minutes=12,
    answer=zero_conv_gradient,
    cases=gradient_cases,
    hints=(
        "For one pixel of one picture: y_o = Σ_i w_oi x_i. What is ∂y_o/∂w_oi?",
        "It is x_i; times ∂loss/∂y_o. The same w is used at every pixel of every picture.",
        'So add up over pictures and pixels: torch.einsum("bohw,bihw->oi", gradient, x).',
    ),
    insight="w does not appear: that it is zero does not matter. What matters is that x is not. A zero convolution "
    "behind another one does wait, since its x is zero until the first has moved.",
    wrong=(
        Wrong(
            "nothing-moves",
            gradient_of_zero,
            "You returned zeros. It is ∂y/∂x = w that is zero; ∂y/∂w = x is not, and does not depend on w.",
        ),
        Wrong("transposed", gradient_transposed, "You returned (in, out). A weight has its outputs first: (out, in)."),
        Wrong(
            "mean-over-pictures",
            gradient_mean_of_batch,
            "You took the mean over the batch. The loss's own mean, if it has one, is in `gradient` already: sum.",
        ),
        Wrong(
            "mean-over-all",
            gradient_mean_of_all,
            "You took a mean over pictures and pixels. Each of them adds to the gradient: sum.",
        ),
        Wrong("mean-over-pixels", gradient_mean_of_pixels, "You took a mean over pixels. Each adds to it: sum."),
        Wrong(
            "sums-first",
            gradient_of_sums,
            "You added up x and the gradient first, and multiplied then. Multiply at each pixel, then add up.",
        ),
        Wrong("batch-kept", gradient_per_picture, "You kept the batch. One w serves all pictures: sum over them too."),
        Wrong("minus", gradient_minus, "Your sign is that of a step of descent. The gradient itself has no minus."),
        Wrong(
            "kernel-shape", gradient_as_kernel, "You returned (out, in, 1, 1), as PyTorch stores it. Asked: (out, in)."
        ),
    ),
    right=(gradient_by_matrices, gradient_by_pictures),
    shape_hint=2,
)
