"""Exercises of lesson 11, make it yours: a new word's row, a step for that row alone, what is frozen, the rate."""

import copy
import math

import torch
from torch import Generator, Tensor, nn

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform

TITLE = "Make it yours"


# ── A row for a new word ─────────────────────────────────────────────────────────────────────────────


def row_cases(generator: Generator) -> list[Call]:
    """An embedding (V, D), the numbers of words that the new one is like."""
    calls = [Call((torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]]), [0, 1]))]
    for V, D, count in ((5, 3, 1), (20, 8, 3)):
        like = torch.randperm(V - 1, generator=generator)[:count].tolist()
        calls.append(Call((torch.randn(V, D, generator=generator), like)))
    return calls


def row_right(weight: Tensor, like: list) -> Tensor:
    """The rows as they are, and the mean of some below them."""
    return torch.cat([weight, weight[like].mean(0, keepdim=True)])


def row_of_zeros(weight, like):
    return torch.cat([weight, torch.zeros_like(weight[:1])])


def row_random(weight, like):
    return torch.cat([weight, torch.randn_like(weight[:1])])


def row_mean_of_all(weight, like):
    return torch.cat([weight, weight.mean(0, keepdim=True)])


def row_in_front(weight, like):
    return torch.cat([weight[like].mean(0, keepdim=True), weight])


def row_before_the_end(weight, like):
    return torch.cat([weight[:-1], weight[like].mean(0, keepdim=True), weight[-1:]])


def row_replaces_the_last(weight, like):
    return torch.cat([weight[:-1], weight[like].mean(0, keepdim=True)])


def row_summed(weight, like):
    return torch.cat([weight, weight[like].sum(0, keepdim=True)])


def row_of_the_first(weight, like):
    return torch.cat([weight, weight[like[:1]]])


def row_new_table(weight, like):
    table = torch.randn(len(weight) + 1, weight.shape[1], dtype=weight.dtype)
    return torch.cat([table[:-1], weight[like].mean(0, keepdim=True)])


def row_by_copying(weight, like):
    new = weight.new_empty(len(weight) + 1, weight.shape[1])
    new[:-1] = weight
    new[-1] = sum(weight[i] for i in like) / len(like)
    return new


def row_by_matrix(weight, like):
    shares = torch.zeros(1, len(weight)).to(weight)
    shares[0, like] = 1 / len(like)
    return torch.vstack([weight, shares @ weight])


def row_in_an_embedding(weight, like):
    with torch.no_grad():
        embedding = nn.Embedding(len(weight) + 1, weight.shape[1]).to(weight)
        embedding.weight[:-1] = weight
        embedding.weight[-1] = weight[like].mean(0)
    return embedding.weight


def row_of_a_parameter(weight, like):
    return nn.Parameter(torch.cat([weight.detach(), weight.detach()[like].mean(0)[None]]))


WITH_NEW_WORD = Exercise(
    name="with_new_word",
    title="A row for a new word",
    stars=1,
    minutes=8,
    answer=row_right,
    cases=row_cases,
    constants=("weight",),
    hints=(
        "weight[like] are the rows of these words: (len(like), D). Which row lies in their middle?",
        "The new row goes *below* the others, so that no word gets another number.",
        "torch.cat([weight, weight[like].mean(0, keepdim=True)])",
    ),
    insight='The start matters more than it seems: from the mean of shape words the U-Net already reads "some '
    'shape", and training has only to say which. From zeros it must first find out that this is a word at '
    "all.",
    wrong=(
        Wrong(
            "zeros",
            row_of_zeros,
            "Your new row is 0. No other word looks like that to the network; start at the mean of the given words.",
        ),
        Wrong(
            "random",
            row_random,
            "Your new row is random: some point far from all words. Start at the mean of the given ones.",
        ),
        Wrong(
            "mean-of-all",
            row_mean_of_all,
            "You took the mean of *all* words. The new one is like some of them only: weight[like].",
        ),
        Wrong(
            "in-front",
            row_in_front,
            "The new row is on top, so every old word has the number of its neighbour now. Put it below.",
        ),
        Wrong(
            "before-the-end",
            row_before_the_end,
            "The new row is before the last one. The last is the end of a text, and the tokenizer still knows it by "
            "its old number: put the new row below all.",
        ),
        Wrong(
            "last-replaced",
            row_replaces_the_last,
            "You overwrote the last row: the end of a text is lost. There is to be one row more.",
        ),
        Wrong(
            "summed",
            row_summed,
            "You added the rows up. Divide by their number, or the new row is far longer than any word.",
        ),
        Wrong(
            "first-only",
            row_of_the_first,
            "You copied the first of the words only. Then the new word means exactly that one; take the mean of all "
            "that are given.",
        ),
        Wrong(
            "old-rows-lost",
            row_new_table,
            "The old rows are new random numbers: all words are forgotten. A new nn.Embedding must get the old "
            "weights.",
        ),
    ),
    right=(row_by_copying, row_by_matrix, row_in_an_embedding, row_of_a_parameter),
)


# ── A step for one row ───────────────────────────────────────────────────────────────────────────────


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


def step_right(weight: Tensor, gradient: Tensor, row: int, lr: float, weight_decay: float) -> Tensor:
    """w - lr (g + λ w) in one row, w in the others."""
    return weight - lr * only(row, weight) * (gradient + weight_decay * weight)


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


STEP_ONE_ROW = Exercise(
    name="step_one_row",
    title="Train one row, touch no other",
    stars=2,
    minutes=12,
    answer=step_right,
    cases=step_cases,
    constants=("weight", "gradient"),
    hints=(
        "A mask (V, 1), 1 at the row and 0 elsewhere, selects what moves. It is a new tensor: make it on the "
        "weight's device (device=weight.device), or with torch.zeros_like(weight[:, :1]).",
        "What moves is everything: the gradient's part *and* the decay's.",
        "weight - lr * mask * (gradient + weight_decay * weight)",
    ),
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
            "All rows move. The other words are to keep their meaning to the last digit: mask the step.",
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
            "The learning rate is missing: multiply the whole step with lr, the gradient's part and the decay's.",
        ),
        Wrong(
            "others-zeroed",
            step_others_zeroed,
            "The other rows are 0: all other words are forgotten. Your mask acts on the weights; only the *step* is "
            "to be masked.",
        ),
        Wrong(
            "given-back",
            step_given_back,
            "You moved all rows and gave the others their step back. Floats are rounded in between, so the others "
            "end a little beside where they were; far beside, where the step is large. Mask the step itself.",
        ),
        Wrong(
            "adamw",
            step_by_adamw,
            "You made a step of Adam's kind: the gradient is divided by its own size, and in the first step only its "
            "sign is left. Plain descent is asked for; of AdamW it takes the decay only.",
        ),
        Wrong(
            "adamw-decays-all",
            step_by_adamw_decays_all,
            "That is a step of AdamW whose gradient is 0 in the other rows: they shrink all the same, by decay. And "
            "plain descent is asked for: the gradient itself, not its sign.",
        ),
        Wrong(
            "adamw-of-all",
            step_by_adamw_of_all,
            "That is a step of AdamW for the whole embedding: all rows move. And plain descent is asked for: the "
            "gradient itself, not its sign.",
        ),
        Wrong(
            "decay-without-lr",
            step_decay_without_lr,
            "Your decay is not multiplied with lr. In AdamW it is: lr · weight_decay, so that a smaller rate decays "
            "less.",
        ),
        Wrong(
            "row-only-returned", step_row_returned, "You return the new row alone; the whole embedding is asked for."
        ),
        Wrong(
            "column",
            step_of_a_column,
            "You trained a column: one number of every word. A word is a *row*, (V, 1) selects it.",
        ),
        Wrong("inputs-changed", step_in_place),
    ),
    right=(step_by_where, step_by_parts, step_by_sgd, step_of_a_copy),
)


# ── Freezing ─────────────────────────────────────────────────────────────────────────────────────────


def freezing_cases(generator: Generator) -> list[Call]:
    """A network of which a part may be frozen, prefixes of names, inputs, the learning rate.

    "to_k" is only *in* some names; "in" and "to_" end within a word. Mistakes choose other counts of names.
    """
    calls = []
    for prefixes, width, B, frozen in (
        (["outer"], 1, 2, []),
        (["cross_attention"], 3, 2, ["cross_attention.to_v.bias", "inner.weight"]),
        (["inner", "cross_attention.to_"], 4, 5, ["inner.bias", "outer.weight", "cross_attention.to_k.bias"]),
        (["outer.bias", "to_k", "inner"], 4, 3, []),
        (["in", "cross_attention.to_k", "outer"], 2, 3, ["cross_attention.to_k.weight"]),
    ):
        model = Made(makers.PartlyFrozen, (width, 4, integer(0, 1000, generator), frozen))
        calls.append(
            Call(
                (
                    model,
                    prefixes,
                    torch.randn(B, width, generator=generator),
                    torch.randint(1, 20, (B,), generator=generator),
                    torch.randn(B, 2, 4, generator=generator),
                    uniform(0.2, 0.5, generator),
                )
            )
        )
    return calls


def starts(name, prefixes):
    """Does a name begin with one of these?"""
    return name.startswith(tuple(prefixes))


def names_of(model, prefixes):
    """The names that begin with one of these, sorted."""
    return sorted(name for name, _ in model.named_parameters() if starts(name, prefixes))


def freeze(model, chosen):
    """requires_grad for the chosen names, and for no others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chosen(name))


def mean_square(output):
    """The loss."""
    return output.square().mean()


def one_step(model, inputs, lr, names=None, loss=mean_square, optimizer=torch.optim.SGD, **settings):
    """One step for all parameters, or for those of some names; what is frozen does not move."""
    trained = [parameter for name, parameter in model.named_parameters() if names is None or name in names]
    loss(model(*inputs)).backward()
    optimizer(trained, lr=lr, **settings).step()


def chosen_step(model, chosen, inputs, lr, **settings):
    """Freeze all but the chosen names, take one step; these names."""
    freeze(model, chosen)
    one_step(model, inputs, lr, **settings)
    return sorted(name for name, _ in model.named_parameters() if chosen(name))


def freeze_right(model, prefixes: list, z_t: Tensor, t: Tensor, context: Tensor, lr: float) -> list:
    """Train only what begins with a prefix; return the names."""
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr)


def freeze_parameters_returned(model, prefixes, z_t, t, context, lr):
    return [model.get_parameter(name) for name in freeze_right(model, prefixes, z_t, t, context, lr)]


def freeze_pairs_returned(model, prefixes, z_t, t, context, lr):
    return [(name, model.get_parameter(name)) for name in freeze_right(model, prefixes, z_t, t, context, lr)]


def freeze_the_chosen(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: not starts(name, prefixes), (z_t, t, context), lr)


def freeze_nothing(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: True, (z_t, t, context), lr)


def freeze_nothing_anew(model, prefixes, z_t, t, context, lr):
    one_step(model, (z_t, t, context), lr)
    return sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def freeze_by_containing(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: any(prefix in name for prefix in prefixes), (z_t, t, context), lr)


def freeze_by_first_prefix(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes[:1]), (z_t, t, context), lr)


def freeze_by_last_prefix(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes[-1:]), (z_t, t, context), lr)


def freeze_by_whole_words(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, [prefix + "." for prefix in prefixes]), (z_t, t, context), lr)


def freeze_by_first_word(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: name.split(".")[0] in prefixes, (z_t, t, context), lr)


def freeze_biases_too(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes) and name.endswith("weight"), (z_t, t, context), lr)


def freeze_unsorted(model, prefixes, z_t, t, context, lr):
    names = freeze_right(model, prefixes, z_t, t, context, lr)
    return [name for name, _ in model.named_parameters() if name in names]


def freeze_never_thawed(model, prefixes, z_t, t, context, lr):
    names = freeze_never_thawed_but_listed(model, prefixes, z_t, t, context, lr)
    return [name for name in names if model.get_parameter(name).requires_grad]


def freeze_never_thawed_but_listed(model, prefixes, z_t, t, context, lr):
    names = names_of(model, prefixes)
    for name, parameter in model.named_parameters():
        if name not in names:
            parameter.requires_grad_(False)
    one_step(model, (z_t, t, context), lr)
    return names


def freeze_in_name_only(model, prefixes, z_t, t, context, lr):
    one_step(model, (z_t, t, context), lr)
    return names_of(model, prefixes)


def freeze_too_late(model, prefixes, z_t, t, context, lr):
    one_step(model, (z_t, t, context), lr)
    freeze(model, lambda name: starts(name, prefixes))
    return names_of(model, prefixes)


def freeze_the_chosen_in_secret(model, prefixes, z_t, t, context, lr):
    freeze_the_chosen(model, prefixes, z_t, t, context, lr)
    return names_of(model, prefixes)


def freeze_in_the_optimizer_only(model, prefixes, z_t, t, context, lr):
    one_step(model, (z_t, t, context), lr, names_of(model, prefixes))
    return names_of(model, prefixes)


def freeze_and_thaw(model, prefixes, z_t, t, context, lr):
    names = freeze_right(model, prefixes, z_t, t, context, lr)
    model.requires_grad_(True)
    return names


def freeze_all_at_the_end(model, prefixes, z_t, t, context, lr):
    names = freeze_right(model, prefixes, z_t, t, context, lr)
    model.requires_grad_(False)
    return names


def freeze_without_training(model, prefixes, z_t, t, context, lr):
    freeze(model, lambda name: starts(name, prefixes))
    return names_of(model, prefixes)


def freeze_a_copy(model, prefixes, z_t, t, context, lr):
    return freeze_right(copy.deepcopy(model), prefixes, z_t, t, context, lr)


def freeze_with_adam(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr, optimizer=torch.optim.Adam)


def freeze_with_adamw(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr, optimizer=torch.optim.AdamW)


def freeze_with_decay(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr, weight_decay=0.01)


def freeze_summed(model, prefixes, z_t, t, context, lr):
    return chosen_step(
        model, lambda name: starts(name, prefixes), (z_t, t, context), lr, loss=lambda output: output.square().sum()
    )


def freeze_uphill(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr, maximize=True)


def freeze_by_requires_grad(model, prefixes, z_t, t, context, lr):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name[: len(prefix)] == prefix for prefix in prefixes)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=lr)
    optimizer.zero_grad()
    model(z_t, t, context).square().mean().backward()
    optimizer.step()
    return sorted(trained)


def freeze_all_then_thaw(model, prefixes, z_t, t, context, lr):
    model.requires_grad_(False)
    names = {name for prefix in prefixes for name, _ in model.named_parameters() if name.startswith(prefix)}
    parameters = [model.get_parameter(name).requires_grad_() for name in names]
    loss = (model(z_t, t, context) ** 2).mean()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter -= lr * gradient
    return tuple(sorted(names))


TRAIN_ONLY = Exercise(
    name="train_only",
    title="Freeze all but",
    stars=2,
    minutes=12,
    answer=freeze_right,
    cases=freezing_cases,
    hints=(
        "for name, parameter in model.named_parameters(): the name tells whether it is trained.",
        "parameter.requires_grad_(name.startswith(tuple(prefixes))): True for some, False for all others.",
        "Give the optimizer only those whose requires_grad is True. Then loss.backward() and optimizer.step().",
    ),
    insight="To teach a new word, the keys and values of cross-attention are a good choice: only they read the "
    "caption. All that the U-Net knows of shapes, light and edges stays where it is. There is one pair in each "
    "transformer (down.0.transformers.0.blocks.0.cross_attention.to_k.weight), so no prefix picks them all: "
    'ask for ".cross_attention.to_k." and ".cross_attention.to_v." *in* the name.',
    wrong=(
        Wrong(
            "parameters-returned",
            freeze_parameters_returned,
            "Your list holds the parameters themselves. Their *names* are asked for, as strings: "
            "model.named_parameters() gives both.",
        ),
        Wrong(
            "pairs-returned",
            freeze_pairs_returned,
            "Your list holds pairs of a name and a parameter. The *names* alone are asked for, as strings.",
        ),
        Wrong("not-sorted", freeze_unsorted, "The names are right, but not sorted: return sorted(…)."),
        Wrong(
            "all-listed",
            freeze_nothing,
            "Your list holds all names. Those that begin with a prefix are to be trained, and they alone are to be "
            "returned.",
        ),
        Wrong(
            "listed-as-given",
            freeze_nothing_anew,
            "You return the names of what required a gradient already when you got the model. The prefixes say what "
            "is trained and what is frozen, whatever it was before.",
        ),
        Wrong(
            "the-others-listed",
            freeze_the_chosen,
            "Your list holds exactly the names that do *not* begin with a prefix. Those that do are trained and "
            "returned; the others are frozen.",
        ),
        Wrong(
            "anywhere-in-the-name",
            freeze_by_containing,
            'You looked for the text anywhere in the name. A prefix stands at its *start*: "to_k" is not the '
            'start of "cross_attention.to_k.weight".',
        ),
        Wrong("first-prefix-only", freeze_by_first_prefix, "You used the first prefix only; any of them is enough."),
        Wrong(
            "last-prefix-only",
            freeze_by_last_prefix,
            "Only the last prefix counts. In a loop over prefixes each one freezes again what the one before chose: "
            "ask for all of them at once, name.startswith(tuple(prefixes)).",
        ),
        Wrong(
            "whole-words-only",
            freeze_by_whole_words,
            'You expect a dot behind the prefix. It may end within a word: "inner.weight" begins with "in", too.',
        ),
        Wrong(
            "first-word-only",
            freeze_by_first_word,
            "You compared the first word of the name, up to its dot. A prefix may be longer, as "
            '"cross_attention.to_v", or end within a word.',
        ),
        Wrong(
            "biases-left-out",
            freeze_biases_too,
            'You chose the weights but not the biases: "outer.bias" begins with "outer", too.',
        ),
        Wrong(
            "never-thawed",
            freeze_never_thawed,
            "Your list lacks what was frozen when you got the model: you set requires_grad to False only. It must be "
            "set to True, too, for what is to learn; the shipped model comes frozen as a whole.",
        ),
        Wrong(
            "listed-but-frozen",
            freeze_never_thawed_but_listed,
            "The names are right, but some of these parameters were frozen when you got the model, and still are: "
            "they did not learn. Set requires_grad to True for what is to learn, not only to False for the rest.",
        ),
        Wrong(
            "frozen-in-name-only",
            freeze_in_name_only,
            "The names are right, but others moved, too: nothing was frozen. Set requires_grad, True for these names "
            "and False for all others, before the loss is computed.",
        ),
        Wrong(
            "frozen-too-late",
            freeze_too_late,
            "The names are right, and requires_grad is at the end; but others moved as well, since they still "
            "required a gradient when the step was made. Freeze first.",
        ),
        Wrong(
            "the-others-trained",
            freeze_the_chosen_in_secret,
            "The names are right, but the *others* were trained, and these are frozen: requires_grad is True for "
            "what learns.",
        ),
        Wrong(
            "optimizer-only",
            freeze_in_the_optimizer_only,
            "Only the right parameters are in the optimizer, but requires_grad is as it was. So what is not trained "
            "still gets gradients, which cost memory and time, and what was frozen learns nothing: set it, for all "
            "parameters.",
        ),
        Wrong(
            "thawed-again",
            freeze_and_thaw,
            "The step is right, but at the end all parameters require a gradient. Leave the others frozen: training "
            "goes on after this step.",
        ),
        Wrong(
            "frozen-at-the-end",
            freeze_all_at_the_end,
            "The step is right, but at the end everything is frozen. Leave requires_grad True for what learns: "
            "training goes on after this step.",
        ),
        Wrong(
            "nothing-trained",
            freeze_without_training,
            "The names are right and the others are frozen, but no parameter moved. One step of SGD is to be made: "
            "loss.backward() gives the gradients (an optimizer passes over a parameter without one), "
            "optimizer.step() takes the step.",
        ),
        Wrong(
            "model-untouched",
            freeze_a_copy,
            "The names are right, but the model is as it was: nothing is frozen, and nothing moved. Change the model "
            "that you were given, not a copy of it.",
        ),
        Wrong(
            "adam",
            freeze_with_adam,
            "That is Adam: in its first step each number moves by lr, whatever its gradient. Here plain SGD is asked "
            "for.",
        ),
        Wrong(
            "adamw",
            freeze_with_adamw,
            "That is AdamW: each number moves by lr, whatever its gradient, and shrinks. Here plain SGD is asked for.",
        ),
        Wrong(
            "weight-decay",
            freeze_with_decay,
            "Your SGD has weight decay, 0.01. Plain SGD has none: torch.optim.SGD(…, lr=lr).",
        ),
        Wrong("summed", freeze_summed, "You summed the squares; the loss is their mean."),
        Wrong("uphill", freeze_uphill, "You go up the gradient: the loss grows. The step is -lr · gradient."),
    ),
    right=(freeze_by_requires_grad, freeze_all_then_thaw),
)


# ── The learning rate ────────────────────────────────────────────────────────────────────────────────


def rate_cases(generator: Generator) -> list[Call]:
    """Step, steps of warm-up, steps in all, the peak: early, in the middle, late."""
    calls = [Call((0, 4, 100, 1.0)), Call((3, 4, 100, 1.0))]
    for low, high in ((1, 90), (100, 400), (500, 999)):
        calls.append(Call((integer(low, high, generator), 100, 1000, uniform(1e-4, 1e-2, generator))))
    return calls


def cosine(step, total):
    """From 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * step / total))


def rate_right(step: int, warmup: int, total: int, peak: float) -> float:
    """peak · min(1, (n+1)/warm-up) · half a cosine."""
    return peak * min(1.0, (step + 1) / warmup) * cosine(step, total)


def rate_from_zero(step, warmup, total, peak):
    return peak * min(1.0, step / warmup) * cosine(step, total)


def rate_without_warmup(step, warmup, total, peak):
    return peak * cosine(step, total)


def rate_without_decay(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup)


def rate_whole_cosine(step, warmup, total, peak):
    return peak * min(1.0, (step + 1) / warmup) * math.cos(math.pi * step / total)


def rate_not_halved(step, warmup, total, peak):
    return 2 * rate_right(step, warmup, total, peak)


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


def rate_by_square(step, warmup, total, peak):
    share = 1 if step + 1 >= warmup else (step + 1) / warmup
    return share * peak * math.cos(math.pi * step / (2 * total)) ** 2


def rate_by_tensor(step, warmup, total, peak):
    ramp = torch.tensor((step + 1) / warmup, dtype=torch.float64).clamp(max=1)
    return (peak * ramp * (1 + torch.tensor(step / total, dtype=torch.float64).mul(torch.pi).cos()) / 2).item()


LEARNING_RATE = Exercise(
    name="learning_rate",
    title="Warm up, cool down",
    stars=1,
    minutes=8,
    answer=rate_right,
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
            "Your first step has rate 0: it costs a batch and learns nothing. Steps count from 0, so the warm-up "
            "takes step + 1.",
        ),
        Wrong("no-warm-up", rate_without_warmup, "The warm-up is missing: the first step goes with the full rate."),
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
        Wrong("linear", rate_linear, "You cool down linearly; half a cosine is asked for."),
        Wrong(
            "warm-up-without-end",
            rate_grows_on,
            "Your warm-up never ends: (step + 1) / warmup goes on above 1. Take the smaller of it and 1.",
        ),
        Wrong(
            "one-after-the-other",
            rate_one_or_other,
            "You let the cosine begin after the warm-up. That is used, too; here the two are multiplied from the "
            "start, as in workshop/training.py.",
        ),
        Wrong(
            "hugging-face",
            rate_of_hugging_face,
            "That is Hugging Face's get_cosine_schedule_with_warmup: it starts at 0, and the cosine begins after the "
            "warm-up. Here the warm-up takes step + 1, and is multiplied with the cosine from the start.",
        ),
        Wrong(
            "larger-of-the-two",
            rate_larger_of_the_two,
            "You took the larger of 1 and (step + 1) / warmup: early steps go with the full rate, later ones with "
            "ever more. Take the smaller: min.",
        ),
        Wrong(
            "cosine-one-late",
            rate_one_late,
            "Your cosine takes step + 1. Only the warm-up does; the cosine takes the step itself, so that it begins "
            "at 1.",
        ),
    ),
    right=(rate_by_square, rate_by_tensor),
)


EXERCISES = (WITH_NEW_WORD, STEP_ONE_ROW, TRAIN_ONLY, LEARNING_RATE)
