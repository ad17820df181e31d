"""Exercise ema_memory of lesson 10: Predict: how long does an average remember?"""

import torch

from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import no_inputs

### BEGIN SOLUTION
ema_memory = 0.9995**1000
### END SOLUTION


def memory_one_step():
    return 0.9995


def memory_linear():
    return 1 - 1000 * 0.0005


def memory_of_the_new():
    return 1 - 0.9995**1000


def memory_none():
    return 0.0


def memory_of_two_thousand():
    return 0.9995**2000


def memory_in_percent():
    return 100 * 0.9995**1000


def memory_of_a_hundred():
    return 0.9995**100


def memory_of_ten_thousand():
    return 0.9995**10000


def memory_two_digits():
    return 0.61


def memory_by_exponential():
    return torch.tensor(-0.5).exp().item()


EXERCISE = Exercise(
    name="ema_memory",
    title="Predict: how long does an average remember?",
    stars=1,
    minutes=8,
    answer=lambda: ema_memory,
    cases=no_inputs,
    tolerance=0.01,
    hints=(
        "Each step multiplies what is there by 0.9995.",
        "A thousand steps multiply a thousand times.",
        "0.9995 ** 1000, which is nearly e^-0.5.",
    ),
    insight="0.61: after a thousand steps the random start is still more than half of the average; half of it is "
    "gone only after 1386 steps. So it does harm where training is short: what is saved is still mostly noise, "
    "though the trained weights beside it have learnt. In ema_update the decay starts small: (1 + n) / (10 + n) is "
    "0.1 at n = 0, so one step leaves a tenth of the start, and ten steps leave one part in 92,378. Only later "
    "does the average remember for long.",
    wrong=(
        Wrong(
            "percent",
            memory_in_percent,
            "That is in percent; the exercise asks for the share, a number between 0 and 1.",
        ),
        Wrong("one-step", memory_one_step, "That is what is left after one step. Each of the thousand multiplies."),
        Wrong(
            "linear",
            memory_linear,
            "You subtracted 0.0005 a thousand times. Each step takes its share of what is *left*, so it falls ever "
            "more slowly.",
        ),
        Wrong(
            "what-is-new",
            memory_of_the_new,
            "That is the share of what was learnt since. The exercise asks for the rest.",
        ),
        Wrong(
            "forgotten",
            memory_none,
            "An exponential average forgets slowly: its memory is about 1 / (1 - decay) = 2000 steps long.",
        ),
        Wrong(
            "one-memory-later",
            memory_of_two_thousand,
            "1/e is left after 1 / (1 - decay) = 2000 steps; these were a thousand.",
        ),
        Wrong("a-hundred-steps", memory_of_a_hundred, "That is after 100 steps. The question is about 1000."),
        Wrong("ten-thousand-steps", memory_of_ten_thousand, "That is after 10 000 steps. The question is about 1000."),
    ),
    right=(memory_two_digits, memory_by_exponential),
)
