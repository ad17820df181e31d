"""Exercise timestep_embedding of lesson 06: Writing a timestep as waves."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def timestep_embedding(t, dim, base):
    """dim // 2 cosines, then as many sines, of frequencies that fall from 1 towards 1 / base; a 0 if dim is odd.

    t: (B,) int64 or float; dim: even or odd; base: the fall of the frequencies.  Returns (B, dim) float, in [-1, 1].
    """
    ### BEGIN SOLUTION
    half = dim // 2
    frequency = torch.exp(-math.log(base) * torch.arange(half, device=t.device) / half)
    angle = t[:, None] * frequency  # (B,) -> (B, half)
    waves = torch.cat([angle.cos(), angle.sin()], dim=1)
    return F.pad(waves, (0, dim % 2))  # one 0 at the end, or none
    ### END SOLUTION


def embedding_cases(generator: Generator) -> list[Call]:
    """t (B,) of whole numbers and of fractions, dim, base."""

    def steps(B: int) -> Tensor:
        return torch.randint(1, 1000, (B,), generator=generator)

    return [
        Call((torch.tensor([3]), 4, 10_000)),
        Call((steps(3), 8, 100)),
        Call((steps(2) + 0.25 + 0.5 * torch.rand(2, generator=generator), 7, 10_000)),
        Call((steps(5), 320, 10_000)),
        Call((steps(4), 33, 2_000)),
    ]


def padded(waves: Tensor, dim: int) -> Tensor:
    """(B, dim or dim - 1) -> (B, dim), with a 0 at the end if one is missing."""
    return F.pad(waves, (0, dim - waves.shape[1]))


def angles(t: Tensor, count: int, whole: float, base: float) -> Tensor:
    """t · base^(-i / whole) for i < count: (B,) -> (B, count)."""
    exponent = torch.arange(count, dtype=torch.float32, device=t.device) / whole
    return t[:, None] * torch.exp(-math.log(base) * exponent)


def embedding_sines_first(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return padded(torch.cat([angle.sin(), angle.cos()], dim=1), dim)


def embedding_interleaved(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return padded(torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1), dim)


def embedding_interleaved_cosine_first(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return padded(torch.stack([angle.cos(), angle.sin()], dim=2).flatten(1), dim)


def embedding_of_ddpm(t, dim, base):
    angle = angles(t, dim // 2, dim // 2 - 1, base)
    return padded(torch.cat([angle.cos(), angle.sin()], dim=1), dim)


def embedding_by_dim(t, dim, base):
    angle = angles(t, dim // 2, dim, base)
    return padded(torch.cat([angle.cos(), angle.sin()], dim=1), dim)


def embedding_of(t, dim, frequency):
    angle = t[:, None] * frequency
    return padded(torch.cat([angle.cos(), angle.sin()], dim=1), dim)


# Three ways to write rising frequencies: where t·f is in the millions, each rounds to another wave.
def embedding_rising(t, dim, base):
    return embedding_of(t, dim, torch.exp(math.log(base) * (torch.arange(dim // 2) / (dim // 2))))


def embedding_rising_too(t, dim, base):
    return embedding_of(t, dim, torch.exp(math.log(base) * torch.arange(dim // 2) / (dim // 2)))


def embedding_rising_by_powers(t, dim, base):
    return embedding_of(t, dim, base ** (torch.arange(dim // 2) / (dim // 2)))


def embedding_from_one(t, dim, base):
    return embedding_of(t, dim, torch.exp(-math.log(base) * torch.arange(1, dim // 2 + 1) / (dim // 2)))


def embedding_of_other_logarithm(t, dim, base):
    return embedding_of(t, dim, torch.exp(-math.log10(base) * torch.arange(dim // 2) / (dim // 2)))


def embedding_by_math(t, dim, base):
    return embedding_of(t, dim, math.exp(-math.log(base) * torch.arange(dim // 2) / (dim // 2)))


def embedding_of_whole_numbers(t, dim, base):
    return timestep_embedding(t.long(), dim, base)


def embedding_of_shares(t, dim, base):
    return timestep_embedding(t / 1000, dim, base)


def embedding_on_cpu(t, dim, base):
    return embedding_of(t, dim, torch.exp(-math.log(base) * torch.arange(dim // 2) / (dim // 2)))


def embedding_of_sines_only(t, dim, base):
    angle = angles(t, dim // 2 * 2, dim // 2 * 2, base)
    return padded(angle.sin(), dim)


def embedding_in_periods(t, dim, base):
    angle = 2 * math.pi * angles(t, dim // 2, dim // 2, base)
    return padded(torch.cat([angle.cos(), angle.sin()], dim=1), dim)


def embedding_of_the_lesson(t, dim, base):
    return timestep_embedding(t, dim, 10_000)


def embedding_linear_frequencies(t, dim, base):
    return embedding_of(t, dim, 1 - torch.arange(dim // 2) / (dim // 2))


def embedding_along_batch(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return torch.cat([angle.cos(), angle.sin()], dim=0)


def embedding_cosines_twice(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return padded(torch.cat([angle.cos(), angle.cos()], dim=1), dim)


def embedding_falling_index(t, dim, base):
    return embedding_of(t, dim, torch.exp(-math.log(base) * torch.arange(dim // 2).flip(0) / (dim // 2)))


def embedding_of_ddpm_sines_first(t, dim, base):
    angle = angles(t, dim // 2, dim // 2 - 1, base)
    return padded(torch.cat([angle.sin(), angle.cos()], dim=1), dim)


def embedding_without_the_zero(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def embedding_zero_first(t, dim, base):
    return F.pad(embedding_without_the_zero(t, dim, base), (dim % 2, 0))


def embedding_zero_between(t, dim, base):
    angle = angles(t, dim // 2, dim // 2, base)
    return torch.cat([F.pad(angle.cos(), (0, dim % 2)), angle.sin()], dim=1)


def embedding_by_power(t, dim, base):
    frequency = base ** (-torch.arange(dim // 2, device=t.device) / (dim // 2))
    angle = torch.einsum("b,f->bf", t.float(), frequency)
    return padded(torch.hstack([torch.cos(angle), torch.sin(angle)]), dim)


def embedding_in_float64(t, dim, base):
    exponent = torch.linspace(0, 1, dim // 2 + 1, dtype=torch.float64, device=t.device)[:-1]
    angle = t.double().view(-1, 1) / torch.tensor(float(base)).double().to(t.device) ** exponent
    return padded(torch.cat([angle.cos(), angle.sin()], dim=-1).float(), dim)


def embedding_by_loop(t, dim, base):
    columns = [wave(t * base ** (-i / (dim // 2))) for wave in (torch.cos, torch.sin) for i in range(dim // 2)]
    return padded(torch.stack(columns, dim=1), dim)


RISING = (
    "Your frequencies rise from 1 towards base: the minus in the exponent is missing. Waves that turn many times "
    "from one t to the next are as good as noise."
)


EXERCISE = Exercise(
    name="timestep_embedding",
    title="Writing a timestep as waves",
    stars=2,
    minutes=10,
    answer=timestep_embedding,
    cases=embedding_cases,
    tolerance=1e-2,
    hints=(
        "Make the frequencies first: dim // 2 numbers that fall from 1 towards 1 / base.",
        "f_i = exp(-ln(base) · i / (dim//2)); every t times every f_i is a table (B, dim//2): t[:, None] * f. An odd "
        "dim leaves one column: it is 0 and stands at the end.",
        "torch.cat([angle.cos(), angle.sin()], dim=1), and torch.arange(…, device=t.device); then "
        "F.pad(waves, (0, dim % 2)).",
    ),
    shape_hint=2,
    insight="The fast waves tell 500 from 501, the slow ones tell early from late: with base 10000 and dim = 320 the "
    "slowest turns by only 0.1 radians in 1000 steps. Cosines come first because every Stable Diffusion checkpoint was "
    "trained that way; with sines first it would read a different t, without any error.",
    wrong=(
        Wrong(
            "sines-first",
            embedding_sines_first,
            "Your sines come first. Papers differ here; the Stable Diffusion checkpoints have all cosines, then "
            "all sines.",
        ),
        Wrong(
            "interleaved",
            embedding_interleaved,
            "You alternate sine and cosine, as the Transformer paper does. Here the two halves come one after the "
            "other: all cosines, then all sines.",
        ),
        Wrong(
            "interleaved-cosine-first",
            embedding_interleaved_cosine_first,
            "You alternate cosine and sine (stack). They come one after the other here: torch.cat, not stack.",
        ),
        Wrong(
            "half-minus-one",
            embedding_of_ddpm,
            "You divided i by dim//2 - 1, as DDPM's own code does: your slowest frequency is exactly 1 / base. "
            "Stable Diffusion divides by dim//2 and stops one step short of it.",
        ),
        Wrong(
            "divided-by-dim",
            embedding_by_dim,
            "You divided i by dim. There are only dim//2 frequencies, so yours fall only to about 1 / √base: divide by "
            "dim//2.",
        ),
        Wrong("frequencies-rise", embedding_rising, RISING),
        Wrong("frequencies-rise-too", embedding_rising_too, RISING),
        Wrong("frequencies-rise-by-powers", embedding_rising_by_powers, RISING),
        Wrong(
            "counted-from-one",
            embedding_from_one,
            "Your i counts from 1, so the fastest wave, f = 1, is missing. It runs from 0 to dim//2 - 1.",
        ),
        Wrong(
            "other-logarithm",
            embedding_of_other_logarithm,
            "Your frequencies do not fall far enough: exp needs the natural logarithm, math.log, not log10.",
        ),
        Wrong(
            "one-number-only",
            embedding_by_math,
            "A function of Python's math, float(…) and the like take a single number, and got a tensor of several. "
            "torch's own take them all: torch.exp, torch.cos, torch.sin.",
        ),
        Wrong(
            "fractions-cut",
            embedding_of_whole_numbers,
            "You rounded t down to an integer. Samplers also ask for t = 10.5.",
        ),
        Wrong(
            "t-as-a-share",
            embedding_of_shares,
            "You divided t by 1000. These waves are made for whole steps: use t as it is.",
        ),
        Wrong("wrong-device", embedding_on_cpu),
        Wrong(
            "sines-only",
            embedding_of_sines_only,
            "These are sines only. Half of the numbers are cosines, half sines, of the same dim//2 angles.",
        ),
        Wrong("full-turns", embedding_in_periods, "You multiplied by 2π. The angle is t · f itself, in radians."),
        Wrong(
            "base-not-used",
            embedding_of_the_lesson,
            "Your frequencies always fall towards 1/10000, as in the lesson. Here the base is an argument.",
        ),
        Wrong(
            "odd-column-missing",
            embedding_without_the_zero,
            "With an odd dim your result is one column too narrow: a 0 belongs at its end. F.pad(waves, (0, dim % 2)).",
        ),
        Wrong(
            "zero-first",
            embedding_zero_first,
            "With an odd dim your 0 comes first. It stands at the end, so that the waves stay where they are.",
        ),
        Wrong(
            "zero-between",
            embedding_zero_between,
            "With an odd dim your 0 stands between cosines and sines. It stands at the end.",
        ),
        Wrong(
            "linear-frequencies",
            embedding_linear_frequencies,
            "Your frequencies fall in equal steps. They fall by a constant *ratio*: base^(-i/n).",
        ),
        Wrong(
            "along-the-batch",
            embedding_along_batch,
            "You put cosines and sines one below the other: (2B, dim//2). They belong side by side: dim=1.",
        ),
        Wrong("cosines-twice", embedding_cosines_twice, "The second half are cosines again. They are sines."),
        Wrong(
            "frequencies-reversed",
            embedding_falling_index,
            "Your frequencies come in the opposite order: the fastest wave, f = 1, comes first.",
        ),
        Wrong(
            "half-minus-one-sines-first",
            embedding_of_ddpm_sines_first,
            "That is DDPM's own code: sines first, and i divided by dim//2 - 1. Stable Diffusion has the cosines "
            "first and divides by dim//2.",
        ),
    ),
    right=(embedding_by_power, embedding_in_float64, embedding_by_loop),
)
