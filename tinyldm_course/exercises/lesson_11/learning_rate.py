"""Exercise learning_rate of lesson 11: Warm up, cool down."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def learning_rate(step, warmup, total, peak):
    """The rate of a step, counted from 0.  warmup, total: numbers of steps; peak: a number.  Returns a number."""
    ### BEGIN SOLUTION
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / total))
    ### END SOLUTION


def rate_cases(generator: Generator) -> list[Call]:
    """Step, steps of warm-up, steps in all, the peak: early, in the middle, late."""
    calls = [Call((0, 4, 100, 1.0)), Call((3, 4, 100, 1.0))]
    for low, high in ((1, 90), (100, 400), (500, 999)):
        calls.append(Call((integer(low, high, generator), 100, 1000, uniform(1e-4, 1e-2, generator))))
    # Warm-up as long as a good part of all: there the product of the two is less than either.
    calls.append(Call((integer(8, 12, generator), 16, 24, uniform(1e-4, 1e-2, generator))))
    return calls


def cosine(step, total):
    """From 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * step / total))


def rate_from_zero(step, warmup, total, peak):
    return peak * min(1.0, step / warmup) * cosine(step, total)


def rate_without_warmup(step, warmup, total, peak):
    return peak * cosine(step, total)


def rate_without_decay(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup)


def rate_whole_cosine(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * math.cos(math.pi * step / total)


def rate_not_halved(step, warmup, total, peak):
    return 2 * learning_rate(step, warmup, total, peak)


def rate_quarter_wave(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * math.cos(math.pi / 2 * step / total)


def rate_linear(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * (1 - step / total)


def rate_grows_on(step, warmup, total, peak):
    return peak * (step + 1) / warmup * cosine(step, total)


def rate_larger_of_the_two(step, warmup, total, peak):
    return peak * max(1.0, (step + 1) / warmup) * cosine(step, total)


def rate_one_late(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * cosine(step + 1, total)


def rate_of_hugging_face(step, warmup, total, peak):
    return peak * step / warmup if step < warmup else peak * cosine(step - warmup, total - warmup)


def rate_one_or_other(step, warmup, total, peak):
    return peak * (step + 1) / warmup if step < warmup else peak * cosine(step - warmup, total - warmup)


def rate_smaller_of_the_two(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup, cosine(step, total))


def rate_cosine_after_warmup_only(step, warmup, total, peak):
    return peak * (step + 1) / warmup if step < warmup else peak * cosine(step, total)


def rate_without_pi(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(step / total))


def rate_of_two_pi(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(2 * math.pi * step / total))


def rate_in_degrees(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(180 * step / total))


def rate_of_sine(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.sin(math.pi * step / total))


def rate_rising_cosine(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 - math.cos(math.pi * step / total))


def rate_past_warmup_of_all(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * cosine(max(step - warmup, 0), total)


def rate_over_total_minus_one(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * cosine(step, total - 1)


def rate_over_warmup_plus_one(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / (warmup + 1)) * cosine(step, total)


def rate_without_peak(step, warmup, total, peak):
    return min(1.0, (step + 1) / warmup) * cosine(step, total)


def rate_whole_number_division(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) // warmup) * cosine(step, total)


def rate_warmup_squared(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) ** 2 * cosine(step, total)


def rate_inverse_root(step, warmup, total, peak):
    return peak * min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)


def rate_by_square(step, warmup, total, peak):
    share = 1 if step + 1 >= warmup else (step + 1) / warmup
    return share * peak * math.cos(math.pi * step / (2 * total)) ** 2


def rate_by_tensor(step, warmup, total, peak):
    ramp = torch.tensor((step + 1) / warmup, dtype=torch.float64).clamp(max=1)
    return (peak * ramp * (1 + torch.tensor(step / total, dtype=torch.float64).mul(torch.pi).cos()) / 2).item()


EXERCISE = Exercise(
    name="learning_rate",
    title="Warm up, cool down",
    stars=1,
    minutes=8,
    answer=learning_rate,
    cases=rate_cases,
    hints=(
        "Three factors: peak, warm-up, cosine.",
        "Warm-up: min(1, (step + 1) / warmup).",
        "Cosine: 0.5 * (1 + math.cos(math.pi * step / total))",
    ),
    insight="Adam divides by the size of past gradients, and at first there are none: the first steps are the "
    "wildest. Fine tuning starts at good weights, so it has the most to lose from them.",
    wrong=(
        Wrong(
            "from-zero",
            rate_from_zero,
            "Your first step has rate 0: it costs a batch and teaches nothing. Steps count from 0, so the warm-up "
            "takes step + 1.",
        ),
        Wrong("no-warm-up", rate_without_warmup, "The warm-up is missing: the first step uses the full rate."),
        Wrong("no-cooling", rate_without_decay, "The cosine is missing: at the end the rate must come near 0."),
        Wrong(
            "whole-cosine",
            rate_whole_cosine,
            "cos falls from 1 to -1: in the second half your rate is negative, and training goes uphill. Lift and "
            "halve it: 0.5 (1 + cos).",
        ),
        Wrong("not-halved", rate_not_halved, "1 + cos starts at 2: halve it, or the peak is twice what was asked for."),
        Wrong(
            "quarter-wave",
            rate_quarter_wave,
            "You took a quarter of the wave. It arrives at 0 at full slope; half a wave, lifted, arrives gently.",
        ),
        Wrong("linear", rate_linear, "Your rate falls linearly; the exercise asks for half a cosine."),
        Wrong(
            "warm-up-without-end",
            rate_grows_on,
            "Your warm-up never ends: (step + 1) / warmup goes on above 1. Take the smaller of it and 1.",
        ),
        Wrong(
            "one-after-the-other",
            rate_one_or_other,
            "You let the cosine begin after the warm-up. That is used, too; here the two are multiplied from the "
            "start, as in tinyldm's own training.",
        ),
        Wrong(
            "hugging-face",
            rate_of_hugging_face,
            "That is Hugging Face's get_cosine_schedule_with_warmup: it starts at 0, and the cosine begins after "
            "the warm-up. Here the warm-up takes step + 1, and is multiplied by the cosine from the start.",
        ),
        Wrong(
            "larger-of-the-two",
            rate_larger_of_the_two,
            "You took the larger of 1 and (step + 1) / warmup: early steps use the full rate, later ones even "
            "more. Take the smaller: min.",
        ),
        Wrong(
            "cosine-one-late",
            rate_one_late,
            "Your cosine takes step + 1. Only the warm-up does; the cosine takes the step itself, so that it "
            "begins at 1.",
        ),
        Wrong(
            "smaller-of-the-two",
            rate_smaller_of_the_two,
            "You took the smaller of warm-up and cosine. They are multiplied, at every step.",
        ),
        Wrong(
            "no-cosine-in-warm-up",
            rate_cosine_after_warmup_only,
            "During the warm-up your cosine is left out. Both factors count at every step.",
        ),
        Wrong(
            "pi-missing", rate_without_pi, "π is missing in the cosine: at the end its angle must be π, where it is -1."
        ),
        Wrong(
            "whole-turn",
            rate_of_two_pi,
            "Your cosine makes a whole turn: at the end the rate is back at its peak. Half a turn: π · step / total.",
        ),
        Wrong("degrees", rate_in_degrees, "math.cos takes radians: π where you wrote 180."),
        Wrong("sine", rate_of_sine, "You took the sine. The cosine starts at 1 and falls."),
        Wrong("rising", rate_rising_cosine, "Your cosine rises from 0 to 1. It is 1 *plus* the cosine, which falls."),
        Wrong(
            "cosine-after-warm-up-of-all",
            rate_past_warmup_of_all,
            "Your cosine begins when the warm-up ends. Here it begins at step 0: cos(π · step / total).",
        ),
        Wrong("one-step-short", rate_over_total_minus_one, "You divided by total - 1. It is step / total."),
        Wrong("warm-up-one-longer", rate_over_warmup_plus_one, "You divided by warmup + 1. It is (step + 1) / warmup."),
        Wrong("peak-missing", rate_without_peak, "The factor peak is missing."),
        Wrong(
            "whole-division",
            rate_whole_number_division,
            "// cuts the fraction off: during the warm-up your rate is 0. Divide with /.",
        ),
        Wrong("warm-up-squared", rate_warmup_squared, "Your warm-up rises with the square. It rises linearly."),
        Wrong(
            "inverse-root",
            rate_inverse_root,
            "After the warm-up your rate falls with 1/√step, as in the Transformer paper. Here it follows half a "
            "cosine.",
        ),
    ),
    right=(rate_by_square, rate_by_tensor),
)
