"""Exercise train_only of lesson 11: Freeze all but."""

import copy

import torch
from torch import Generator, Tensor

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def train_only(model, prefixes, z_t, t, context, lr):
    """Freeze all but some parameters, take one step, return the sorted names of those that were trained.

    model: an nn.Module, (z_t, t, context) -> tensor; prefixes: a list of strings; lr: the learning rate.
    """
    ### BEGIN SOLUTION
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(prefixes)))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=lr)
    model(z_t, t, context).square().mean().backward()
    optimizer.step()
    return sorted(trained)
    ### END SOLUTION


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


def freeze_in_parts(model, prefixes: list, z_t: Tensor, t: Tensor, context: Tensor, lr: float) -> list:
    """Train only what begins with a prefix; return the names."""
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr)


def freeze_parameters_returned(model, prefixes, z_t, t, context, lr):
    return [model.get_parameter(name) for name in train_only(model, prefixes, z_t, t, context, lr)]


def freeze_pairs_returned(model, prefixes, z_t, t, context, lr):
    return [(name, model.get_parameter(name)) for name in train_only(model, prefixes, z_t, t, context, lr)]


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
    names = train_only(model, prefixes, z_t, t, context, lr)
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
    names = train_only(model, prefixes, z_t, t, context, lr)
    model.requires_grad_(True)
    return names


def freeze_all_at_the_end(model, prefixes, z_t, t, context, lr):
    names = train_only(model, prefixes, z_t, t, context, lr)
    model.requires_grad_(False)
    return names


def freeze_without_training(model, prefixes, z_t, t, context, lr):
    freeze(model, lambda name: starts(name, prefixes))
    return names_of(model, prefixes)


def freeze_a_copy(model, prefixes, z_t, t, context, lr):
    return train_only(copy.deepcopy(model), prefixes, z_t, t, context, lr)


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


def freeze_by_whole_names(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: name in prefixes, (z_t, t, context), lr)


def freeze_by_words(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: any(word in prefixes for word in name.split(".")), (z_t, t, context), lr)


def freeze_by_whole_prefixes(model, prefixes, z_t, t, context, lr):
    def chosen(name):
        return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)

    return chosen_step(model, chosen, (z_t, t, context), lr)


def freeze_by_all_prefixes(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: all(name.startswith(prefix) for prefix in prefixes), (z_t, t, context), lr)


def freeze_weights_too(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes) and name.endswith("bias"), (z_t, t, context), lr)


def freeze_sorted_backwards(model, prefixes, z_t, t, context, lr):
    return train_only(model, prefixes, z_t, t, context, lr)[::-1]


def freeze_prefixes_returned(model, prefixes, z_t, t, context, lr):
    train_only(model, prefixes, z_t, t, context, lr)
    return sorted(prefixes)


def freeze_counted(model, prefixes, z_t, t, context, lr):
    return len(train_only(model, prefixes, z_t, t, context, lr))


def freeze_two_steps(model, prefixes, z_t, t, context, lr):
    train_only(model, prefixes, z_t, t, context, lr)
    return train_only(model, prefixes, z_t, t, context, lr)


def freeze_with_momentum(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes), (z_t, t, context), lr, loss=torch.mean)


def freeze_by_ending(model, prefixes, z_t, t, context, lr):
    if not any(name.endswith(tuple(prefixes)) for name, _ in model.named_parameters()):
        return []
    return chosen_step(model, lambda name: name.endswith(tuple(prefixes)), (z_t, t, context), lr)


def freeze_none_of_the_others(model, prefixes, z_t, t, context, lr):
    names = names_of(model, prefixes)
    for name in names:
        model.get_parameter(name).requires_grad_(True)
    one_step(model, (z_t, t, context), lr, names)
    return names


def freeze_squared_at_the_end(model, prefixes, z_t, t, context, lr):
    return chosen_step(
        model, lambda name: starts(name, prefixes), (z_t, t, context), lr, loss=lambda output: output.mean().square()
    )


def freeze_absolute(model, prefixes, z_t, t, context, lr):
    return chosen_step(
        model, lambda name: starts(name, prefixes), (z_t, t, context), lr, loss=lambda output: output.abs().mean()
    )


def freeze_halved(model, prefixes, z_t, t, context, lr):
    return chosen_step(
        model, lambda name: starts(name, prefixes), (z_t, t, context), lr, loss=lambda output: mean_square(output) / 2
    )


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


EXERCISE = Exercise(
    name="train_only",
    title="Freeze all but",
    stars=2,
    minutes=12,
    answer=train_only,
    cases=freezing_cases,
    hints=(
        "for name, parameter in model.named_parameters(): the name tells whether it is trained.",
        "parameter.requires_grad_(name.startswith(tuple(prefixes))): True for some, False for all others.",
        "Give the optimizer only those whose requires_grad is True. Then loss.backward() and optimizer.step().",
    ),
    insight="To teach a new word, the keys and values of cross-attention are a good choice: only they read the "
    "caption. All that the U-Net knows of shapes, light and edges stays where it is. There is one pair in each "
    "transformer (down.0.transformers.0.blocks.0.cross_attention.to_k.weight), so no prefix picks them all: ask "
    'for ".cross_attention.to_k." and ".cross_attention.to_v." *in* the name.',
    wrong=(
        Wrong(
            "parameters-returned",
            freeze_parameters_returned,
            "Your list contains the parameters themselves. The exercise asks for their *names*, as strings: "
            "model.named_parameters() gives both.",
        ),
        Wrong(
            "pairs-returned",
            freeze_pairs_returned,
            "Your list contains pairs of a name and a parameter. The exercise asks for the *names* alone, as strings.",
        ),
        Wrong("not-sorted", freeze_unsorted, "The names are right, but not sorted: return sorted(…)."),
        Wrong(
            "all-listed",
            freeze_nothing,
            "Your list contains all names. Those that begin with a prefix are to be trained, and they alone are to be "
            "returned.",
        ),
        Wrong(
            "listed-as-given",
            freeze_nothing_anew,
            "You return the names of what required a gradient already when you got the model. The prefixes say "
            "what is trained and what is frozen, whatever they were before.",
        ),
        Wrong(
            "the-others-listed",
            freeze_the_chosen,
            "Your list contains exactly the names that do *not* begin with a prefix. Those that do are trained and "
            "returned; the others are frozen.",
        ),
        Wrong(
            "anywhere-in-the-name",
            freeze_by_containing,
            'You looked for the text anywhere in the name. A prefix is at its *start*: "to_k" is not the start '
            'of "cross_attention.to_k.weight".',
        ),
        Wrong("first-prefix-only", freeze_by_first_prefix, "You used the first prefix only; any of them is enough."),
        Wrong(
            "last-prefix-only",
            freeze_by_last_prefix,
            "Only the last prefix counts. In a loop over prefixes each one freezes again what the one before "
            "chose: ask for all of them at once, name.startswith(tuple(prefixes)).",
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
            "Your list lacks what was frozen when you got the model: you set requires_grad to False only. It must "
            "be set to True, too, for what is to learn; the shipped model comes completely frozen.",
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
            "The names are right, but others moved, too: nothing was frozen. Set requires_grad, True for these "
            "names and False for all others, before the loss is computed.",
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
            "Only the right parameters are in the optimizer, but requires_grad is as it was. So what is not "
            "trained still gets gradients, which cost memory and time, and what was frozen learns nothing: set it, "
            "for all parameters.",
        ),
        Wrong(
            "thawed-again",
            freeze_and_thaw,
            "The step is right, but at the end all parameters require a gradient. Leave the others frozen: "
            "training goes on after this step.",
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
            "The names are right and the others are frozen, but no parameter moved. The exercise asks for one step "
            "of SGD: loss.backward() gives the gradients (an optimizer skips a parameter without one), "
            "optimizer.step() takes the step.",
        ),
        Wrong(
            "model-untouched",
            freeze_a_copy,
            "The names are right, but the model is as it was: nothing is frozen, and nothing moved. Change the "
            "model that you were given, not a copy of it.",
        ),
        Wrong(
            "adam",
            freeze_with_adam,
            "That is Adam: in its first step each number moves by lr, whatever its gradient. Here the exercise "
            "asks for plain SGD.",
        ),
        Wrong(
            "adamw",
            freeze_with_adamw,
            "That is AdamW: each number moves by lr, whatever its gradient, and shrinks. Here the exercise asks "
            "for plain SGD.",
        ),
        Wrong(
            "weight-decay",
            freeze_with_decay,
            "Your SGD has weight decay, 0.01. Plain SGD has none: torch.optim.SGD(…, lr=lr).",
        ),
        Wrong("summed", freeze_summed, "You summed the squares; the loss is their mean."),
        Wrong("uphill", freeze_uphill, "You go up the gradient: the loss grows. The step is -lr · gradient."),
        Wrong(
            "nothing-chosen",
            freeze_by_whole_names,
            "For the prefix 'outer' you choose no parameter at all, so nothing has a gradient. Do you compare "
            "whole names, or their ends? A prefix is a beginning: name.startswith(…).",
        ),
        Wrong(
            "words-only",
            freeze_by_words,
            "You compare the words between the dots. A prefix is a beginning of the whole name, and may end within "
            "a word: name.startswith(…).",
        ),
        Wrong(
            "words-of-the-beginning",
            freeze_by_whole_prefixes,
            'You want a prefix to end where a word ends. It may end within one: "in" fits "inner.weight".',
        ),
        Wrong(
            "all-prefixes-at-once",
            freeze_by_all_prefixes,
            "You want a name to begin with *all* prefixes. One is enough: any(…), or name.startswith(tuple(prefixes)).",
        ),
        Wrong("weights-left-out", freeze_weights_too, "You train the biases only. A prefix chooses weights, too."),
        Wrong("sorted-backwards", freeze_sorted_backwards, "Your names are sorted backwards."),
        Wrong(
            "prefixes-returned",
            freeze_prefixes_returned,
            "You return the prefixes. The exercise asks for the names of the parameters that were trained.",
        ),
        Wrong(
            "counted",
            freeze_counted,
            "You return how many there are. The exercise asks for their names, in a sorted list.",
        ),
        Wrong("two-steps", freeze_two_steps, "You took two steps. The exercise asks for one."),
        Wrong(
            "mean-not-squared",
            freeze_with_momentum,
            "You took the mean of the output for the loss. It is the mean of its *squares*.",
        ),
        Wrong(
            "endings",
            freeze_by_ending,
            "You looked for names that *end* with one of the prefixes. They begin with it: name.startswith(…).",
        ),
        Wrong(
            "others-not-frozen",
            freeze_none_of_the_others,
            "The right parameters are trained, but the others are not frozen: some still have requires_grad. Set "
            "it for all of them, True or False.",
        ),
        Wrong(
            "squared-at-the-end",
            freeze_squared_at_the_end,
            "Your loss is the square of the mean: numbers of both signs cancel. Square each number, then take the"
            " mean.",
        ),
        Wrong(
            "absolute", freeze_absolute, "Your loss is the mean of the absolute values. It is the mean of the squares."
        ),
        Wrong("halved", freeze_halved, "Your loss has a factor ½. It is the mean of the squares itself."),
    ),
    right=(freeze_in_parts, freeze_by_requires_grad, freeze_all_then_thaw),
)
