"""Exercises of lesson 11, make it yours: a new word's row, a step for that row alone, what is frozen, the rate."""

import math

import torch
from torch import Generator, Tensor

from tinyldm.course import makers
from tinyldm.course.calls import Call, Made
from tinyldm.course.exercise import Exercise, Wrong
from tinyldm.course.exercises.inputs import integer, uniform

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


WITH_NEW_WORD = Exercise(
    name="with_new_word", title="A row for a new word", stars=1, minutes=8,
    answer=row_right, cases=row_cases,
    hints=("weight[like] are the rows of these words: (len(like), D). Which row lies in their middle?",
           "The new row goes *below* the others, so that no word gets another number.",
           "torch.cat([weight, weight[like].mean(0, keepdim=True)])"),
    insight="The start matters more than it seems: from the mean of shape words the U-Net already reads \"some "
            "shape\", and training has only to say which. From zeros it must first find out that this is a word at "
            "all.",
    wrong=(
        Wrong("zeros", row_of_zeros,
              "Your new row is 0. No other word looks like that to the network; start at the mean of the given words."),
        Wrong("random", row_random,
              "Your new row is random: some point far from all words. Start at the mean of the given ones."),
        Wrong("mean-of-all", row_mean_of_all,
              "You took the mean of *all* words. The new one is like some of them only: weight[like]."),
        Wrong("in-front", row_in_front,
              "The new row is on top, so every old word has the number of its neighbour now. Put it below."),
        Wrong("before-the-end", row_before_the_end,
              "The new row is before the last one. The last is the end of a text, and the tokenizer still knows it by "
              "its old number: put the new row below all."),
        Wrong("last-replaced", row_replaces_the_last,
              "You overwrote the last row: the end of a text is lost. There is to be one row more."),
        Wrong("summed", row_summed, "You added the rows up. Divide by their number, or the new row is far longer than "
                                    "any word."),
        Wrong("first-only", row_of_the_first,
              "You copied the first of the words only. Then the new word means exactly that one; take the mean of all "
              "that are given."),
        Wrong("old-rows-lost", row_new_table,
              "The old rows are new random numbers: all words are forgotten. A new nn.Embedding must get the old "
              "weights."),
    ),
    right=(row_by_copying, row_by_matrix))


# ── A step for one row ───────────────────────────────────────────────────────────────────────────────

def step_cases(generator: Generator) -> list[Call]:
    """An embedding (V, D), its gradient, the row to train, learning rate, weight decay."""
    calls = [Call((torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[1.0, 1.0], [2.0, -2.0]]), 1, 0.1, 0.5))]
    for V, D in ((5, 3), (12, 8)):
        weight, gradient = (torch.randn(V, D, generator=generator) for _ in range(2))
        calls.append(Call((weight, gradient, integer(1, V - 1, generator), uniform(0.05, 0.2, generator),
                           uniform(0.2, 0.6, generator))))
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
    return torch.cat([weight[:row], new[None], weight[row + 1:]])


STEP_ONE_ROW = Exercise(
    name="step_one_row", title="Train one row, touch no other", stars=2, minutes=12,
    answer=step_right, cases=step_cases,
    hints=("A mask (V, 1), 1 at the row and 0 elsewhere, selects what moves.",
           "What moves is everything: the gradient's part *and* the decay's.",
           "weight - lr * mask * (gradient + weight_decay * weight)"),
    insight="A row whose gradient is 0 still shrinks under AdamW, since decay needs no gradient: a word that was "
            "never in a training caption fades away. Freezing by zeroed gradients alone is not freezing.",
    wrong=(
        Wrong("others-decay", step_decays_all,
              "The other rows shrink: you masked the gradient, but weight decay acts on all. It must be masked, too."),
        Wrong("all-rows", step_of_all,
              "All rows move. The other words are to keep their meaning to the last digit: mask the step."),
        Wrong("the-others", step_of_the_others, "Your mask is the wrong way round: only the new row may move."),
        Wrong("decay-left-out", step_without_decay,
              "Weight decay is missing: the row is also pulled towards 0, by lr · weight_decay of itself."),
        Wrong("uphill", step_uphill, "You go up the gradient; subtract lr · gradient."),
        Wrong("decay-without-lr", step_decay_without_lr,
              "Your decay is not multiplied with lr. In AdamW it is: lr · weight_decay, so that a smaller rate decays "
              "less."),
        Wrong("row-only-returned", step_row_returned, "You return the new row alone; the whole embedding is asked "
                                                      "for."),
        Wrong("column", step_of_a_column,
              "You trained a column: one number of every word. A word is a *row*, (V, 1) selects it."),
        Wrong("inputs-changed", step_in_place),
    ),
    right=(step_by_where, step_by_parts))


# ── Freezing ─────────────────────────────────────────────────────────────────────────────────────────

def freezing_cases(generator: Generator) -> list[Call]:
    """A network, prefixes of names, inputs, the learning rate."""
    calls = []
    for prefixes, width, B in ((["outer"], 1, 1), (["cross_attention"], 3, 2),
                               (["inner", "cross_attention.to_v"], 4, 5), (["to_k", "outer"], 4, 3)):
        model = Made(makers.ToyDenoiser, (width, 4, integer(0, 1000, generator)))
        calls.append(Call((model, prefixes, torch.randn(B, width, generator=generator),
                           torch.randint(1, 20, (B,), generator=generator), torch.randn(B, 2, 4, generator=generator),
                           0.05)))
    return calls


def chosen_step(model, chosen, z_t, t, context, lr):
    """One step of SGD on the mean square of the output, for the chosen names only; which these are."""
    names = sorted(name for name, _ in model.named_parameters() if chosen(name))
    loss = model(z_t, t, context).square().mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    with torch.no_grad():
        for (name, parameter), gradient in zip(model.named_parameters(), gradients):
            if name in names:
                parameter -= lr * gradient
    return names


def starts(name, prefixes):
    """Does a name begin with one of these?"""
    return any(name.startswith(prefix) for prefix in prefixes)


def freeze_right(model, prefixes: list, z_t: Tensor, t: Tensor, context: Tensor, lr: float) -> list:
    """Train only what begins with a prefix; return the names."""
    return chosen_step(model, lambda name: starts(name, prefixes), z_t, t, context, lr)


def freeze_the_chosen(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: not starts(name, prefixes), z_t, t, context, lr)


def freeze_nothing(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: True, z_t, t, context, lr)


def freeze_by_containing(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: any(prefix in name for prefix in prefixes), z_t, t, context, lr)


def freeze_by_first_prefix(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes[:1]), z_t, t, context, lr)


def freeze_biases_too(model, prefixes, z_t, t, context, lr):
    return chosen_step(model, lambda name: starts(name, prefixes) and name.endswith("weight"), z_t, t, context, lr)


def freeze_in_name_only(model, prefixes, z_t, t, context, lr):
    chosen_step(model, lambda name: True, z_t, t, context, lr)
    return sorted(name for name, _ in model.named_parameters() if starts(name, prefixes))


def freeze_everything(model, prefixes, z_t, t, context, lr):
    return sorted(name for name, _ in model.named_parameters() if starts(name, prefixes))


def freeze_by_requires_grad(model, prefixes, z_t, t, context, lr):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(prefixes)))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if trained:
        optimizer = torch.optim.SGD(trained.values(), lr=lr)
        model(z_t, t, context).square().mean().backward()
        optimizer.step()
    return sorted(trained)


def freeze_by_optimizer(model, prefixes, z_t, t, context, lr):
    names = [name for name, _ in model.named_parameters() if any(name[:len(p)] == p for p in prefixes)]
    optimizer = torch.optim.SGD([model.get_parameter(name) for name in names], lr=lr)
    optimizer.zero_grad()
    model(z_t, t, context).square().mean().backward()
    optimizer.step()
    return sorted(names)


TRAIN_ONLY = Exercise(
    name="train_only", title="Freeze all but", stars=2, minutes=12,
    answer=freeze_right, cases=freezing_cases, tolerance=1e-3,
    hints=("for name, parameter in model.named_parameters(): the name tells whether it is trained.",
           "parameter.requires_grad_(name.startswith(tuple(prefixes)))",
           "Give the optimizer only those whose requires_grad is True."),
    insight="To teach a new word, the keys and values of cross-attention are a good choice: only they read the "
            "caption. All that the U-Net knows of shapes, light and edges stays where it is.",
    wrong=(
        Wrong("frozen-in-name-only", freeze_in_name_only,
              "The names are right, but all parameters moved. Set requires_grad to False for the others, or leave "
              "them out of the optimizer."),
        Wrong("nothing-trained", freeze_everything, "The names are right, but nothing moved: one step of SGD is to be "
                                                    "made."),
        Wrong("the-chosen-frozen", freeze_the_chosen,
              "You froze what was to be trained: requires_grad is True for what *learns*."),
        Wrong("nothing-frozen", freeze_nothing, "Nothing is frozen: all parameters are in your list, and all moved."),
        Wrong("anywhere-in-the-name", freeze_by_containing,
              "You looked for the text anywhere in the name. A prefix stands at its *start*: \"to_k\" is not the "
              "start of \"cross_attention.to_k.weight\"."),
        Wrong("first-prefix-only", freeze_by_first_prefix, "You used the first prefix only; any of them is enough."),
        Wrong("biases-frozen", freeze_biases_too, "You trained the weights but not the biases of the chosen layers."),
    ),
    right=(freeze_by_requires_grad, freeze_by_optimizer))


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


def rate_one_or_other(step, warmup, total, peak):
    return peak * (step + 1) / warmup if step < warmup else peak * cosine(step - warmup, total - warmup)


def rate_by_square(step, warmup, total, peak):
    share = 1 if step + 1 >= warmup else (step + 1) / warmup
    return share * peak * math.cos(math.pi * step / (2 * total)) ** 2


def rate_by_tensor(step, warmup, total, peak):
    ramp = torch.tensor((step + 1) / warmup, dtype=torch.float64).clamp(max=1)
    return (peak * ramp * (1 + torch.tensor(step / total, dtype=torch.float64).mul(torch.pi).cos()) / 2).item()


LEARNING_RATE = Exercise(
    name="learning_rate", title="Warm up, cool down", stars=1, minutes=8,
    answer=rate_right, cases=rate_cases,
    hints=("Three factors: peak, warm-up, cosine.", "Warm-up: min(1, (step + 1) / warmup).",
           "Cosine: 0.5 * (1 + math.cos(math.pi * step / total))"),
    insight="Adam divides by the size of past gradients, and at first there are none: the first steps are the "
            "wildest. Fine tuning starts at good weights, so it has the most to lose from them.",
    wrong=(
        Wrong("from-zero", rate_from_zero,
              "Your first step has rate 0: it costs a batch and learns nothing. Steps count from 0, so the warm-up "
              "takes step + 1."),
        Wrong("no-warm-up", rate_without_warmup, "The warm-up is missing: the first step goes with the full rate."),
        Wrong("no-cooling", rate_without_decay, "The cosine is missing: at the end the rate must come near 0."),
        Wrong("whole-cosine", rate_whole_cosine,
              "cos falls from 1 to -1: in the second half your rate is negative, and training goes uphill. Lift and "
              "halve it: 0.5 (1 + cos)."),
        Wrong("not-halved", rate_not_halved, "1 + cos starts at 2: halve it, or the peak is twice what was asked for."),
        Wrong("quarter-wave", rate_quarter_wave,
              "You took a quarter of the wave. It arrives at 0 at full slope; half a wave, lifted, arrives gently."),
        Wrong("linear", rate_linear, "You cool down linearly; half a cosine is asked for."),
        Wrong("warm-up-without-end", rate_grows_on,
              "Your warm-up never ends: (step + 1) / warmup goes on above 1. Take the smaller of it and 1."),
        Wrong("one-after-the-other", rate_one_or_other,
              "You let the cosine begin after the warm-up. That is used, too; here the two are multiplied from the "
              "start, as in workshop/training.py."),
    ),
    right=(rate_by_square, rate_by_tensor))


EXERCISES = (WITH_NEW_WORD, STEP_ONE_ROW, TRAIN_ONLY, LEARNING_RATE)
