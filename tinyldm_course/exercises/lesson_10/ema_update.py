"""Exercise ema_update of lesson 10: The moving average of the weights."""

import copy

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def ema_update(average, weights, decay, step):
    """The moving average after step number `step` (counted from 0).

    average, weights: dictionaries with the same names, name -> tensor; decay: such as 0.999.  Returns a new dictionary.
    """
    ### BEGIN SOLUTION
    d = min(decay, (1 + step) / (10 + step))
    return {name: d * average[name] + (1 - d) * weights[name] for name in average}
    ### END SOLUTION


def average_cases(generator: Generator) -> list[Call]:
    """Average and weights by name, decay, step: the first, an early and a late one; names in another order, too."""
    calls = [
        Call(({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, -2.0])}, decay, step))
        for decay, step in ((0.9, 2), (0.5, 20))
    ]
    calls.append(
        Call(
            (
                {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])},
                {"b": torch.tensor([-2.0]), "a": torch.tensor([3.0])},
                0.9,
                2,
            )
        )
    )
    for decay, step in ((0.99, 0), (0.999, integer(5, 50, generator)), (uniform(0.9, 0.95, generator), 5000)):
        average, weights = (
            {"conv.weight": torch.randn(3, 4, generator=generator), "conv.bias": torch.randn(3, generator=generator)}
            for _ in range(2)
        )
        calls.append(Call((average, weights, decay, step)))
    return calls


def moved(average, weights, decay):
    """decay · average + (1 - decay) · weights, by name."""
    return {name: decay * average[name] + (1 - decay) * weights[name] for name in average}


def warmed(decay, step):
    """The smaller decay of early steps."""
    return min(decay, (1 + step) / (10 + step))


def average_swapped(average, weights, decay, step):
    return moved(weights, average, warmed(decay, step))


def average_without_warmup(average, weights, decay, step):
    return moved(average, weights, decay)


def average_with_half_a_bracket(average, weights, decay, step):
    return moved(average, weights, min(decay, (1 + step) / 10 + step))


def average_without_limit(average, weights, decay, step):
    return moved(average, weights, (1 + step) / (10 + step))


def average_one_early(average, weights, decay, step):
    return moved(average, weights, warmed(decay, step - 1))


def average_weights_in_full(average, weights, decay, step):
    return {name: warmed(decay, step) * average[name] + weights[name] for name in average}


def average_by_position(average, weights, decay, step):
    d = warmed(decay, step)
    return {name: d * old + (1 - d) * new for (name, old), new in zip(average.items(), weights.values())}


def average_larger(average, weights, decay, step):
    return moved(average, weights, max(decay, (1 + step) / (10 + step)))


def average_one_late(average, weights, decay, step):
    return moved(average, weights, warmed(decay, step + 1))


def average_never(average, weights, decay, step):
    return {name: value.clone() for name, value in average.items()}


def average_copied(average, weights, decay, step):
    return {name: value.clone() for name, value in weights.items()}


def average_corrected(average, weights, decay, step):
    return {name: value / (1 - decay ** (step + 1)) for name, value in moved(average, weights, decay).items()}


def average_plain(average, weights, decay, step):
    return moved(average, weights, (1 + step) / (2 + step))


def average_in_place(average, weights, decay, step):
    for name, value in average.items():
        value.mul_(warmed(decay, step)).add_(weights[name], alpha=1 - warmed(decay, step))
    return average


def average_of_one_over_step(average, weights, decay, step):
    return moved(average, weights, min(decay, step / (1 + step)))


def average_of_ramp_times_decay(average, weights, decay, step):
    return moved(average, weights, decay * (1 + step) / (10 + step))


def average_by_difference_with_sign(average, weights, decay, step):
    d = warmed(decay, step)
    return {name: average[name] - (1 - d) * (weights[name] - average[name]) for name in average}


def average_from_nothing(average, weights, decay, step):
    return moved(average, weights, min(decay, step / (10 + step)))


def average_by_lerp(average, weights, decay, step):
    share = max(1 - decay, 9 / (10 + step))
    return {name: torch.lerp(average[name], weights[name], share) for name in weights}


def average_by_difference(average, weights, decay, step):
    d = decay if decay < (step + 1) / (step + 10) else (step + 1) / (step + 10)
    new = copy.deepcopy(average)
    for name in new:
        new[name] = new[name] - (1 - d) * (new[name] - weights[name])
    return new


EXERCISE = Exercise(
    name="ema_update",
    title="The moving average of the weights",
    stars=1,
    minutes=8,
    answer=ema_update,
    cases=average_cases,
    hints=(
        "First the decay of this step: the smaller of the two.",
        "Most of the average stays: it gets the large factor d, the new weights the small one, 1 - d.",
        "{name: d * average[name] + (1 - d) * weights[name] for name in average}",
    ),
    insight="Each step follows one batch, so the weights jitter while the learning rate is large; their average is "
    "calmer. Does it give better pictures? Lesson 15 measured no difference once the learning rate had fallen to "
    "0; before that, this course has not measured it. The average is what is saved, and it is never trained "
    "itself: it gets no gradient.",
    wrong=(
        Wrong(
            "swapped",
            average_swapped,
            'The factors of average and weights are swapped: with d near 1 your "average" is nearly the newest '
            "weights and forgets everything before.",
        ),
        Wrong(
            "no-warm-up",
            average_without_warmup,
            "The decay is the full one from the first step on: the random starting weights stay in the average for "
            "thousands of steps. Take min(decay, (1 + step) / (10 + step)). If you did: are both pairs of brackets "
            "there? Without them the second number is 1 or more, and never the smaller one.",
        ),
        Wrong(
            "bracket-missing",
            average_with_half_a_bracket,
            "You wrote (1 + step) / 10 + step: without a bracket only the 10 divides. It is (1 + step) / (10 + step).",
        ),
        Wrong(
            "no-limit",
            average_without_limit,
            "You took (1 + step) / (10 + step) for all steps. It comes ever nearer to 1, and the average would "
            "forget ever less: take the smaller of it and `decay`.",
        ),
        Wrong(
            "larger-decay",
            average_larger,
            "You took the *larger* of the two decays. Early on it must be the smaller one, to forget the start soon.",
        ),
        Wrong("one-late", average_one_late, "Your steps count from 1; `step` counts from 0 and is used as it is."),
        Wrong(
            "one-early",
            average_one_early,
            "Your second decay is step / (9 + step), that of the step before. `step` counts from 0 and is used as "
            "it is: (1 + step) / (10 + step).",
        ),
        Wrong(
            "weights-in-full",
            average_weights_in_full,
            "The factor 1 - d of the new weights is missing. The two factors must add up to 1, or the average "
            "keeps growing.",
        ),
        Wrong(
            "names-ignored",
            average_by_position,
            "You paired the tensors by their place. The two dictionaries have the same names, but perhaps in "
            "another order: look each one up by its name, weights[name].",
        ),
        Wrong(
            "never-updated",
            average_never,
            "The average does not change: these are still its old weights. The new weights must come in.",
        ),
        Wrong("copied", average_copied, "That is a copy of the newest weights. Most of the old average is to be kept."),
        Wrong(
            "adams-correction",
            average_corrected,
            "You divided by 1 - decay^n, as Adam does. That is for an average that starts at 0; this one starts at "
            "the weights themselves.",
        ),
        Wrong(
            "plain-mean",
            average_plain,
            "That is the plain mean of all weights so far. It never forgets the early, bad ones; the decay is "
            "limited to `decay` so that it does.",
        ),
        Wrong("inputs-changed", average_in_place),
        Wrong("another-ramp", average_of_one_over_step, "Your decay starts at n / (1 + n). It is (1 + n) / (10 + n)."),
        Wrong(
            "ramp-times-decay",
            average_of_ramp_times_decay,
            "You multiplied decay by (1 + n) / (10 + n). The *smaller* of the two is taken: min(…).",
        ),
        Wrong("sign", average_by_difference_with_sign, "The average moves away from the weights: θ̄ + (1-d) (θ - θ̄)."),
        Wrong(
            "one-missing-above",
            average_from_nothing,
            "Your ramp is step / (10 + step). It is (1 + step) / (10 + step): 0.1 at the first step.",
        ),
    ),
    right=(average_by_lerp, average_by_difference),
)
