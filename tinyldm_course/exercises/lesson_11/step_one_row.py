"""Exercise step_one_row of lesson 11: Train one row, touch no other."""

import torch
from torch import Generator, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def step_one_row(weight, gradient, row, lr, weight_decay):
    """A new embedding, in which one row has taken a step.

    weight, gradient: (V, D); row: its number; lr, weight_decay: numbers.  Returns (V, D), on weight's device.
    """
    ### BEGIN SOLUTION
    mask = (torch.arange(len(weight), device=weight.device) == row)[:, None].to(weight)  # (V, 1)
    return weight - lr * mask * (gradient + weight_decay * weight)
    ### END SOLUTION


def step_cases(generator: Generator) -> list[Call]:
    """An embedding (V, D), its gradient, the row to train, learning rate, weight decay.

    In the second call the other rows have gradients so large that a step which is taken and given back leaves a trace.
    """
    calls = [Call((torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[1.0, 1.0], [2.0, -2.0]]), 1, 0.1, 0.5))]
    for V, D, row, largest in ((3, 2, 1, 3e7), (4, 3, 0, 1.0), (5, 3, 4, 1.0), (12, 8, integer(1, 11, generator), 1.0)):
        weight, gradient = (torch.randn(V, D, generator=generator) for _ in range(2))
        gradient[torch.arange(V) != row] *= largest
        calls.append(Call((weight, gradient, row, uniform(0.05, 0.2, generator), uniform(0.2, 0.6, generator))))
    return calls


def only(row, weight):
    """(V, 1): 1 at the row, 0 elsewhere."""
    return (torch.arange(len(weight), device=weight.device) == row)[:, None].to(weight)


def step_decays_all(weight, gradient, row, lr, weight_decay):
    return weight - lr * (only(row, weight) * gradient + weight_decay * weight)


def step_of_all(weight, gradient, row, lr, weight_decay):
    return weight - lr * (gradient + weight_decay * weight)


def step_of_the_others(weight, gradient, row, lr, weight_decay):
    return weight - lr * (1 - only(row, weight)) * (gradient + weight_decay * weight)


def step_without_decay(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * gradient


def step_uphill(weight, gradient, row, lr, weight_decay):
    return weight + lr * only(row, weight) * (gradient - weight_decay * weight)


def step_added(weight, gradient, row, lr, weight_decay):
    return weight + lr * only(row, weight) * (gradient + weight_decay * weight)


def step_without_lr(weight, gradient, row, lr, weight_decay):
    return weight - only(row, weight) * (gradient + weight_decay * weight)


def step_others_zeroed(weight, gradient, row, lr, weight_decay):
    return only(row, weight) * (weight - lr * (gradient + weight_decay * weight))


def step_given_back(weight, gradient, row, lr, weight_decay):
    step = lr * (gradient + weight_decay * weight)
    return (weight - step) + (1 - only(row, weight)) * step


def step_by_adamw(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * (gradient.sign() + weight_decay * weight)


def step_by_adamw_decays_all(weight, gradient, row, lr, weight_decay):
    return weight - lr * (only(row, weight) * gradient.sign() + weight_decay * weight)


def step_by_adamw_of_all(weight, gradient, row, lr, weight_decay):
    return weight - lr * (gradient.sign() + weight_decay * weight)


def step_decay_without_lr(weight, gradient, row, lr, weight_decay):
    return weight - only(row, weight) * (lr * gradient + weight_decay * weight)


def step_row_returned(weight, gradient, row, lr, weight_decay):
    return weight[row] - lr * (gradient[row] + weight_decay * weight[row])


def step_of_a_column(weight, gradient, row, lr, weight_decay):
    column = (torch.arange(weight.shape[1], device=weight.device) == min(row, weight.shape[1] - 1)).to(weight)
    return weight - lr * column * (gradient + weight_decay * weight)


def step_in_place(weight, gradient, row, lr, weight_decay):
    with torch.no_grad():
        weight[row] -= lr * (gradient[row] + weight_decay * weight[row])
    return weight + 0


def step_decay_added(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * (gradient - weight_decay * weight)


def step_next_row(weight, gradient, row, lr, weight_decay):
    return step_one_row(weight, gradient, (row + 1) % len(weight), lr, weight_decay)


def step_before_row(weight, gradient, row, lr, weight_decay):
    return step_one_row(weight, gradient, row - 1 if row else len(weight) - 1, lr, weight_decay)


def step_last_row(weight, gradient, row, lr, weight_decay):
    return step_one_row(weight, gradient, len(weight) - 1, lr, weight_decay)


def step_from_row_on(weight, gradient, row, lr, weight_decay):
    mask = (torch.arange(len(weight), device=weight.device) >= row)[:, None].to(weight)
    return weight - lr * mask * (gradient + weight_decay * weight)


def step_decay_only(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * weight_decay * weight + 0 * gradient


def step_change_only(weight, gradient, row, lr, weight_decay):
    return -lr * only(row, weight) * (gradient + weight_decay * weight)


def step_decay_multiplied(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * (gradient * weight_decay * weight)


def step_decay_of_constant(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * (gradient + weight_decay)


def step_decay_squared(weight, gradient, row, lr, weight_decay):
    return weight - lr * only(row, weight) * (gradient + weight_decay * weight**2)


def step_decayed_first(weight, gradient, row, lr, weight_decay):
    decayed = weight * (1 - lr * weight_decay * only(row, weight))
    return decayed - lr * only(row, weight) * (gradient + weight_decay * decayed)


def step_decayed_after(weight, gradient, row, lr, weight_decay):
    mask = only(row, weight)
    return (weight - lr * mask * gradient) * (1 - lr * weight_decay * mask)


def step_row_returned_as_a_table(weight, gradient, row, lr, weight_decay):
    return step_one_row(weight, gradient, row, lr, weight_decay)[row : row + 1]


def step_by_where(weight, gradient, row, lr, weight_decay):
    stepped = (1 - lr * weight_decay) * weight - lr * gradient
    return torch.where(only(row, weight).bool(), stepped, weight)


def step_by_parts(weight, gradient, row, lr, weight_decay):
    new = weight[row] * (1 - lr * weight_decay) - gradient[row] * lr
    return torch.cat([weight[:row], new[None], weight[row + 1 :]])


def step_by_sgd(weight, gradient, row, lr, weight_decay):
    new = weight.detach().clone()
    one = nn.Parameter(new[row].clone())
    one.grad = gradient[row].detach()
    torch.optim.SGD([one], lr=lr, weight_decay=weight_decay).step()
    new[row] = one.detach()
    return new


@torch.no_grad()
def step_of_a_copy(weight, gradient, row, lr, weight_decay):
    new = weight.clone()
    new[row] -= lr * (gradient[row] + weight_decay * new[row])
    return new


EXERCISE = Exercise(
    name="step_one_row",
    title="Train one row, touch no other",
    stars=2,
    minutes=12,
    answer=step_one_row,
    cases=step_cases,
    constants=("weight", "gradient"),
    hints=(
        "A mask (V, 1), 1 at the row and 0 elsewhere, selects what moves. It is a new tensor: make it on the "
        "weight's device (device=weight.device), or with torch.zeros_like(weight[:, :1]).",
        "What moves is everything: the gradient's part *and* the decay's.",
        "weight - lr * mask * (gradient + weight_decay * weight)",
    ),
    shape_hint=1,
    insight="A row whose gradient is 0 still shrinks under AdamW, since decay needs no gradient: a word that was "
    "never in a training caption fades away. Freezing by zeroed gradients alone is not freezing.",
    wrong=(
        Wrong(
            "others-decay",
            step_decays_all,
            "The other rows shrink: you masked the gradient, but weight decay acts on all. It must be masked, too.",
        ),
        Wrong(
            "all-rows",
            step_of_all,
            "All rows move. The other words must keep their meaning to the last digit: mask the step.",
        ),
        Wrong("the-others", step_of_the_others, "Your mask is the wrong way round: only the new row may move."),
        Wrong(
            "decay-left-out",
            step_without_decay,
            "Weight decay is missing: the row is also pulled towards 0, by lr · weight_decay of itself.",
        ),
        Wrong("uphill", step_uphill, "You go up the gradient; subtract lr · gradient."),
        Wrong(
            "added",
            step_added,
            "You added the step: the row goes up the gradient, and decay makes it grow. Subtract the step.",
        ),
        Wrong(
            "rate-left-out",
            step_without_lr,
            "The learning rate is missing: multiply the whole step by lr, the gradient's part and the decay's.",
        ),
        Wrong(
            "others-zeroed",
            step_others_zeroed,
            "The other rows are 0: all other words are forgotten. Your mask acts on the weights; only the *step* "
            "is to be masked.",
        ),
        Wrong(
            "given-back",
            step_given_back,
            "You moved all rows and gave the others their step back. Floats are rounded in between, so the others "
            "end slightly off, and far off where the step is large. Mask the step itself.",
        ),
        Wrong(
            "adamw",
            step_by_adamw,
            "You made a step of Adam's kind: the gradient is divided by its own size, and in the first step only "
            "its sign is left. The exercise asks for plain descent; of AdamW it takes the decay only.",
        ),
        Wrong(
            "adamw-decays-all",
            step_by_adamw_decays_all,
            "That is a step of AdamW whose gradient is 0 in the other rows: they shrink all the same, by decay. "
            "And the exercise asks for plain descent: the gradient itself, not its sign.",
        ),
        Wrong(
            "adamw-of-all",
            step_by_adamw_of_all,
            "That is a step of AdamW for the whole embedding: all rows move. And the exercise asks for plain "
            "descent: the gradient itself, not its sign.",
        ),
        Wrong(
            "decay-without-lr",
            step_decay_without_lr,
            "Your decay is not multiplied by lr. In AdamW it is: lr · weight_decay, so that a smaller rate decays "
            "less.",
        ),
        Wrong(
            "row-only-returned",
            step_row_returned,
            "You return the new row alone; the exercise asks for the whole embedding.",
        ),
        Wrong(
            "column",
            step_of_a_column,
            "You trained a column: one number of every word. A word is a *row*, (V, 1) selects it.",
        ),
        Wrong("inputs-changed", step_in_place),
        Wrong(
            "decay-added",
            step_decay_added,
            "Your weight decay makes the row *longer*: it pulls towards 0, so λ w is added to the gradient.",
        ),
        Wrong("row-after", step_next_row, "You moved the next row. Rows are counted from 0."),
        Wrong("row-before", step_before_row, "You moved the row before. Rows are counted from 0."),
        Wrong(
            "last-row",
            step_last_row,
            "You moved the last row, where a new word usually is. Take the one that is asked for.",
        ),
        Wrong("from-row-on", step_from_row_on, "You moved all rows from this one on. Only this one takes a step."),
        Wrong("change-only", step_change_only, "That is the change alone. Add it to the weights."),
        Wrong("decay-only", step_decay_only, "The gradient is missing: g + λ w."),
        Wrong("decay-multiplied", step_decay_multiplied, "You multiplied gradient and decay. They are added: g + λ w."),
        Wrong(
            "decay-without-weight",
            step_decay_of_constant,
            "Your decay is λ alone. It pulls in proportion to the weight: λ w.",
        ),
        Wrong("decay-of-squares", step_decay_squared, "Your decay is λ w². It is λ w, the derivative of ½ λ w²."),
        Wrong("decayed-twice", step_decayed_first, "The weight decay is applied twice."),
        Wrong(
            "decayed-after-the-step",
            step_decayed_after,
            "The decay acts on the row after its step. It acts on the row as it was: the step is lr · (g + λ w), "
            "with the old w in both parts.",
        ),
        Wrong(
            "row-only-as-a-table",
            step_row_returned_as_a_table,
            "You return the new row alone, as (1, D); the exercise asks for the whole embedding, (V, D).",
        ),
    ),
    right=(step_by_where, step_by_parts, step_by_sgd, step_of_a_copy),
)
