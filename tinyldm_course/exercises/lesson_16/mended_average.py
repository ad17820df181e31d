"""Exercise mended_average of lesson 16: Patient 4: an average that averages nothing."""

import torch
from torch import Generator, Tensor

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def mended_average(weights, gradients, lr, decay):
    """Gradient descent beside a moving average that starts at the weights and takes each step's new weights in.

    weights: (D,); gradients: (steps, D); lr, decay: numbers.  Returns (weights, average) after the last step.
    """
    ### BEGIN SOLUTION
    average = weights
    for gradient in gradients:
        weights = weights - lr * gradient
        average = decay * average + (1 - decay) * weights
    return weights, average
    ### END SOLUTION


def descent_cases(generator: Generator) -> list[Call]:
    """Weights, a gradient for each step, learning rate, decay."""
    calls = [Call((torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 1.0], [0.5, -1.0]]), 0.1, 0.9))]
    for D, steps in ((3, 4), (8, 6)):
        weights, gradients = torch.randn(D, generator=generator), torch.randn(steps, D, generator=generator)
        calls.append(Call((weights, gradients, uniform(0.05, 0.2, generator), uniform(0.7, 0.95, generator))))
    return calls


def descended(weights, gradients, lr, decay, update):
    """SGD with an average; update: (average, weights before the step, weights after it) -> average."""
    average = weights
    for gradient in gradients:
        before, weights = weights, weights - lr * gradient
        average = update(average, before, weights)
    return weights, average


def descent_in_parts(weights: Tensor, gradients: Tensor, lr: float, decay: float) -> tuple[Tensor, Tensor]:
    """Each step: w ← w - lr g, then average ← d average + (1-d) w."""
    return descended(weights, gradients, lr, decay, lambda average, _, w: decay * average + (1 - decay) * w)


def descent_broken(weights, gradients, lr, decay):
    last, average = descended(weights, gradients, lr, decay, lambda average, *_: average)
    return last, decay * last + (1 - decay) * average


def descent_once(weights, gradients, lr, decay):
    last, average = descended(weights, gradients, lr, decay, lambda average, *_: average)
    return last, decay * average + (1 - decay) * last


def descent_never(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, *_: average)


def descent_alias(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, _, w: w)


def descent_before_the_step(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, before, _: decay * average + (1 - decay) * before)


def descent_swapped(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, _, w: (1 - decay) * average + decay * w)


def descent_swapped_before_the_step(weights, gradients, lr, decay):
    return descended(weights, gradients, lr, decay, lambda average, before, _: (1 - decay) * average + decay * before)


def descent_returned_swapped(weights, gradients, lr, decay):
    return mended_average(weights, gradients, lr, decay)[::-1]


def descent_average_alone(weights, gradients, lr, decay):
    return mended_average(weights, gradients, lr, decay)[1]


def descent_from_zero(weights, gradients, lr, decay):
    last, average = mended_average(weights, gradients, lr, decay)
    return last, average - decay ** len(gradients) * weights


def descent_trains_the_average(weights, gradients, lr, decay):
    average = weights
    for gradient in gradients:
        weights = average - lr * gradient
        average = decay * average + (1 - decay) * weights
    return weights, average


def descent_uphill(weights, gradients, lr, decay):
    return mended_average(weights, -gradients, lr, decay)


def descent_in_place(weights, gradients, lr, decay):
    _, average = mended_average(weights.detach().clone(), gradients, lr, decay)
    with torch.no_grad():
        for gradient in gradients:
            weights -= lr * gradient
    return weights, average


def descent_of_one_tensor(weights, gradients, lr, decay):
    average = weights
    with torch.no_grad():
        for gradient in gradients:
            weights -= lr * gradient
            average = decay * average + (1 - decay) * weights
    return weights, average


def descent_average_of_all(weights, gradients, lr, decay):
    found = [weights]
    for gradient in gradients:
        found.append(found[-1] - lr * gradient)
    return found[-1], torch.stack(found).mean(0)


def descent_first_step_only(weights, gradients, lr, decay):
    last, average = weights, weights
    for i, gradient in enumerate(gradients):
        last = last - lr * gradient
        average = decay * average + (1 - decay) * last if i == 0 else average
    return last, average


def descent_of_gradients(weights, gradients, lr, decay):
    last, average = weights, weights
    for gradient in gradients:
        last = last - lr * gradient
        average = decay * average + (1 - decay) * gradient
    return last, average


def descent_average_without_rest(weights, gradients, lr, decay):
    last, average = weights, weights
    for gradient in gradients:
        last = last - lr * gradient
        average = decay * average + last
    return last, average


def descent_one_step_less(weights, gradients, lr, decay):
    return mended_average(weights, gradients[:-1], lr, decay)


def descent_from_zero_corrected(weights, gradients, lr, decay):
    last, average = descent_from_zero(weights, gradients, lr, decay)
    return last, average / (1 - decay ** len(gradients))


def descent_with_growing_decay(weights, gradients, lr, decay):
    average = weights
    for step, gradient in enumerate(gradients):
        weights = weights - lr * gradient
        d = min(decay, (1 + step) / (10 + step))
        average = d * average + (1 - d) * weights
    return weights, average


def descent_by_lerp(weights, gradients, lr, decay):
    w, average = weights.clone(), weights.clone()
    for gradient in gradients.unbind():
        w = torch.add(w, gradient, alpha=-lr)
        average = torch.lerp(average, w, 1 - decay)
    return w, average


@torch.no_grad()
def descent_without_gradients(weights, gradients, lr, decay):
    w, average = weights.clone(), weights.detach().clone()
    for gradient in gradients:
        w -= lr * gradient
        average.mul_(decay).add_(w, alpha=1 - decay)
    return w, average


def descent_by_sums(weights, gradients, lr, decay):
    path = weights - lr * gradients.cumsum(0)
    steps = len(gradients)
    factors = (1 - decay) * decay ** torch.arange(steps - 1, -1, -1, device=weights.device, dtype=weights.dtype)
    return path[-1], decay**steps * weights + factors @ path


EXERCISE = Exercise(
    name="mended_average",
    title="Patient 4: an average that averages nothing",
    stars=2,
    minutes=10,
    answer=mended_average,
    cases=descent_cases,
    constants=("weights", "gradients"),
    hints=(
        "Which line runs once, that should run in every step?",
        "And read the line itself: which of the two gets the large factor?",
        "In the loop, after the step: average = decay * average + (1 - decay) * weights.",
    ),
    insight="The two mistakes nearly cancelled. With the factors alone mended, an average that is updated once "
    "stays where it began: at decay 0.999 it is 99.9 % day one, and so are its pictures, while the loss falls. So "
    "look at pictures from both, the weights and their average.",
    wrong=(
        Wrong("still-broken", descent_broken, "That is the patient as he came in: both mistakes are still there."),
        Wrong(
            "still-outside",
            descent_once,
            "The factors are mended. One more: the average is still updated only once, after the loop. It stays "
            "nearly where it began.",
        ),
        Wrong("never", descent_never, "The average never moves: it is still the starting weights."),
        Wrong("copy", descent_alias, "Your average is the newest weights themselves: nothing is averaged."),
        Wrong(
            "before-the-step",
            descent_before_the_step,
            "You average *before* the step: the average is one step late, and the last step is lost to it.",
        ),
        Wrong(
            "factors-swapped",
            descent_swapped,
            "The average is updated in each step now. One more: the factors are still swapped, so that it takes in "
            "most of the newest weights at once. decay belongs to the average.",
        ),
        Wrong(
            "swapped-before-the-step",
            descent_swapped_before_the_step,
            "The average is updated in each step now. Two more: the factors are still swapped, and it takes in the "
            "weights as they were *before* the step.",
        ),
        Wrong(
            "returned-swapped",
            descent_returned_swapped,
            "Both are right, but returned in the other order: (weights, average) is asked for.",
        ),
        Wrong("average-alone", descent_average_alone, "The average is right. Return both: weights, average."),
        Wrong("from-zero", descent_from_zero, "Your average starts at 0. It starts at the weights."),
        Wrong(
            "average-is-trained",
            descent_trains_the_average,
            "You step from the average. Training goes on from the weights; the average only follows.",
        ),
        Wrong("uphill", descent_uphill, "The sign of the step is wrong: w - lr · gradient goes down."),
        Wrong(
            "one-tensor",
            descent_of_one_tensor,
            "weights -= … changes the very tensor that `average` still names in the first step, and the caller's "
            "as well. weights = weights - … makes a new one.",
        ),
        Wrong("inputs-changed", descent_in_place),
        Wrong(
            "plain-mean",
            descent_average_of_all,
            "You took the plain mean of all weights. The average moves: decay · average + (1 - decay) · weights, "
            "at each step.",
        ),
        Wrong("first-step-only", descent_first_step_only, "Your average moves in the first step only."),
        Wrong(
            "gradients-averaged", descent_of_gradients, "You average the gradients. It is the weights after each step."
        ),
        Wrong(
            "not-weighted", descent_average_without_rest, "The new weights enter in full. They enter with 1 - decay."
        ),
        Wrong("one-step-too-few", descent_one_step_less, "The last gradient is left out."),
        Wrong(
            "from-zero-corrected",
            descent_from_zero_corrected,
            "Your average starts at 0 and is corrected at the end, as in Adam. Here it starts at the weights.",
        ),
        Wrong(
            "decay-grows",
            descent_with_growing_decay,
            "Your decay grows from step to step, as in lesson 10. The patient's is the same in every step: decay.",
        ),
    ),
    right=(descent_in_parts, descent_by_lerp, descent_by_sums, descent_without_gradients),
)
