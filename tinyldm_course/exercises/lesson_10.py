"""Exercises of lesson 10, training: caption dropout, the moving average of the weights, some steps of training."""

import copy

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, no_inputs, uniform

TITLE = "Training"


# ── Caption dropout ──────────────────────────────────────────────────────────────────────────────────


def dropout_cases(generator: Generator) -> list[Call]:
    """Contexts, the null context, a uniform number for each caption, the share to drop. Some are dropped, some not.

    B, L and D differ, so that what is broadcast along the wrong one is seen; and a chance that equals the share keeps.
    """
    context, null = torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]), torch.tensor([[[0.5, 0.0, -0.5]]])
    calls = [
        Call((context, null, torch.tensor(chance), share))
        for chance, share in (([0.05, 0.9], 0.1), ([0.25, 0.125], 0.25), ([0.0, 0.5], 0.0))
    ]
    for B, L, D in ((3, 2, 4), (6, 5, 8)):
        context, null = (torch.randn(n, L, D, generator=generator) for n in (B, 1))
        share = uniform(0.3, 0.5, generator)
        chance = torch.rand(B, generator=generator)
        chance[0], chance[1] = 0.6 + 0.4 * chance[0], 0.3 * chance[1]
        calls.append(Call((context, null, chance, share)))
    return calls


def drop_right(context: Tensor, null_context: Tensor, chance: Tensor, share: float) -> Tensor:
    """The null context where chance < share."""
    return torch.where((chance < share)[:, None, None], null_context, context)


def drop_along_numbers(context, null_context, chance, share):
    return torch.where(chance < share, null_context, context)


def drop_along_tokens(context, null_context, chance, share):
    return torch.where((chance < share)[:, None], null_context, context)


def drop_equal_too(context, null_context, chance, share):
    return torch.where((chance <= share)[:, None, None], null_context, context)


def drop_by_own_chance(context, null_context, chance, share):
    return torch.where((torch.rand(len(context)) < share)[:, None, None], null_context, context)


def drop_each_number(context, null_context, chance, share):
    return torch.where(torch.rand_like(context) < share, null_context, context)


def drop_each_token(context, null_context, chance, share):
    return torch.where(torch.rand(context.shape[:2])[:, :, None] < share, null_context, context)


def drop_the_others(context, null_context, chance, share):
    return torch.where((chance > share)[:, None, None], null_context, context)


def drop_to_zeros(context, null_context, chance, share):
    return context * (chance >= share)[:, None, None]


def drop_the_whole_batch(context, null_context, chance, share):
    return null_context.expand_as(context).clone() if chance[0] < share else context.clone()


def drop_and_scale(context, null_context, chance, share):
    return torch.where((chance < share)[:, None, None], null_context, context / (1 - share))


def drop_mixed(context, null_context, chance, share):
    return share * null_context + (1 - share) * context


def drop_first_ones(context, null_context, chance, share):
    dropped = torch.arange(len(context)) < share * len(context)
    return torch.where(dropped[:, None, None], null_context, context)


def drop_in_place(context, null_context, chance, share):
    context = context.detach()
    context[chance < share] = null_context.detach()
    return context + 0


def drop_by_stack(context, null_context, chance, share):
    return torch.stack([null_context[0] if c < share else one for one, c in zip(context, chance)])


def drop_by_product(context, null_context, chance, share):
    kept = (chance >= share).to(context).view(-1, 1, 1)
    return kept * context + (1 - kept) * null_context


DROP_CAPTIONS = Exercise(
    name="drop_captions",
    title="Caption dropout",
    stars=1,
    minutes=8,
    answer=drop_right,
    cases=dropout_cases,
    hints=(
        "Which captions are dropped? chance < share: one truth for each of the B.",
        "To choose between (B, L, D) tensors it must become (B, 1, 1): [:, None, None].",
        "torch.where(dropped[:, None, None], null_context, context)",
    ),
    insight="Without it guidance has nothing to start from: the network was never asked what it sees without a "
    "caption. Stable Diffusion 1.3 to 1.5 drop 10 % of the captions; the tiny model drops 1 in 8 in its text "
    "batches.",
    wrong=(
        Wrong(
            "broadcast-along-numbers",
            drop_along_numbers,
            "chance < share is (B,). Beside (B, L, D) torch lays it along the *last* dimension, the D numbers. Each "
            "truth belongs to an image: make it (B, 1, 1) with [:, None, None].",
        ),
        Wrong(
            "broadcast-along-tokens",
            drop_along_tokens,
            "With one [:, None] it is (B, 1). Beside (B, L, D) torch lays the B along the L tokens, since it counts "
            "dimensions from the end. It takes two new ones: [:, None, None] makes (B, 1, 1).",
        ),
        Wrong(
            "equal-too",
            drop_equal_too,
            "You also drop where chance *equals* share. chance may be 0, so a share of 0 would drop captions: it is "
            "chance < share, strictly.",
        ),
        Wrong(
            "own-chance",
            drop_by_own_chance,
            "You drew numbers of your own. Take the ones in `chance`, so that the caller knows what is dropped.",
        ),
        Wrong(
            "each-number",
            drop_each_number,
            "You drew for every number of the context. That is nn.Dropout: it leaves a damaged caption. A caption is "
            "dropped as a whole, so one chance for each image.",
        ),
        Wrong(
            "each-token",
            drop_each_token,
            "You drew for each token. Then captions lose words, and none is ever absent. Drop a caption as a whole.",
        ),
        Wrong(
            "the-others",
            drop_the_others,
            "You dropped those with chance *above* share: with share 0.1 that is 90 % of the captions.",
        ),
        Wrong(
            "zeros-for-null",
            drop_to_zeros,
            "You put zeros in. Dropped means the *encoded empty caption*: in sampling that is what the network gets "
            "when there is no caption.",
        ),
        Wrong(
            "whole-batch",
            drop_the_whole_batch,
            "One draw decides for the whole batch. Each caption has its own chance, so that each step sees both kinds.",
        ),
        Wrong(
            "kept-are-scaled",
            drop_and_scale,
            "You divided what is kept by 1 - share, as nn.Dropout does. Captions are not to be compensated: leave "
            "the others as they are.",
        ),
        Wrong(
            "mixed",
            drop_mixed,
            "You mixed every caption with the empty one. No image is without its caption then; and no network will "
            "ever be given such a mixture.",
        ),
        Wrong(
            "first-ones",
            drop_first_ones,
            "You dropped a fixed number from the start of the batch. Let each one's own number in `chance` decide.",
        ),
        Wrong("inputs-changed", drop_in_place),
    ),
    right=(drop_by_stack, drop_by_product),
)


# ── The moving average ───────────────────────────────────────────────────────────────────────────────


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


def average_right(average: dict, weights: dict, decay: float, step: int) -> dict:
    """d θ̄ + (1-d) θ, d = min(decay, (1+n)/(10+n))."""
    return moved(average, weights, warmed(decay, step))


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


def average_by_lerp(average, weights, decay, step):
    share = max(1 - decay, 9 / (10 + step))
    return {name: torch.lerp(average[name], weights[name], share) for name in weights}


def average_by_difference(average, weights, decay, step):
    d = decay if decay < (step + 1) / (step + 10) else (step + 1) / (step + 10)
    new = copy.deepcopy(average)
    for name in new:
        new[name] = new[name] - (1 - d) * (new[name] - weights[name])
    return new


EMA_UPDATE = Exercise(
    name="ema_update",
    title="The moving average of the weights",
    stars=1,
    minutes=8,
    answer=average_right,
    cases=average_cases,
    hints=(
        "First the decay of this step: the smaller of the two.",
        "Most of the average stays: it gets the large factor d, the new weights the small one, 1 - d.",
        "{name: d * average[name] + (1 - d) * weights[name] for name in average}",
    ),
    insight="Each step follows one batch, so the weights jitter while the learning rate is large; their average is "
    "calmer. Does it draw better? Lesson 15 measured no difference once the learning rate had fallen to 0; "
    "before that, this course has not measured it. The average is what is saved, and it is never trained "
    "itself: no gradient comes to it.",
    wrong=(
        Wrong(
            "swapped",
            average_swapped,
            'Average and weights have each other\'s factor: with d near 1 your "average" is nearly the newest '
            "weights and forgets everything before.",
        ),
        Wrong(
            "no-warm-up",
            average_without_warmup,
            "The decay is the full one from the first step on: the random starting weights stay in the average for "
            "thousands of steps. Take min(decay, (1 + step) / (10 + step)). If you did: are both brackets there? "
            "Without them the second number is 1 or more, and never the smaller one.",
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
            "Your second decay is step / (9 + step), that of the step before. `step` counts from 0 and is used as it "
            "is: (1 + step) / (10 + step).",
        ),
        Wrong(
            "weights-in-full",
            average_weights_in_full,
            "The factor 1 - d of the new weights is missing. The two factors must add up to 1, or the average grows "
            "and grows.",
        ),
        Wrong(
            "names-ignored",
            average_by_position,
            "You paired the tensors by their place. The two dictionaries have the same names, but perhaps in another "
            "order: look each one up by its name, weights[name].",
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
    ),
    right=(average_by_lerp, average_by_difference),
)


# ── Some steps of training ───────────────────────────────────────────────────────────────────────────


def training_cases(generator: Generator) -> list[Call]:
    """A network, batches (z0, context, t, ε), ᾱ, the learning rate. The t of a batch differ."""
    calls, alpha_bar = [], forward_diffusion.NoiseSchedule(forward_diffusion.linear_betas(10, 0.05, 0.4)).alpha_bar
    for width, B, steps in ((1, 2, 2), (4, 3, 2), (3, 5, 3)):
        batches = [
            (
                torch.randn(B, width, generator=generator),
                torch.randn(B, 2, 4, generator=generator),
                torch.randperm(9, generator=generator)[:B] + 1,
                torch.randn(B, width, generator=generator),
            )
            for _ in range(steps)
        ]
        model = Made(makers.ToyDenoiser, (width, 4, integer(0, 1000, generator)))
        calls.append(Call((model, batches, alpha_bar, 0.05)))
    return calls


def z_at(z0, t, eps, alpha_bar):
    """Noised to t."""
    a = alpha_bar[t][:, None]
    return a.sqrt() * z0 + (1 - a).sqrt() * eps


def mean_square(error):
    """Of all numbers."""
    return error.square().mean()


def loss_of(model, batch, alpha_bar):
    """The mean squared error of the predicted noise."""
    z0, context, t, eps = batch
    return mean_square(model(z_at(z0, t, eps, alpha_bar), t, context) - eps)


def trained(model, batches, optimizer, loss):
    """The loop; the mutants exchange the loss or the optimizer."""
    losses = []
    for batch in batches:
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def sgd(model, lr):
    """Plain gradient descent."""
    return torch.optim.SGD(model.parameters(), lr=lr)


def train_right(model, batches: list, alpha_bar: Tensor, lr: float) -> list:
    """Noise, predict, compare, gradient, step; the losses."""
    return trained(model, batches, sgd(model, lr), lambda batch: loss_of(model, batch, alpha_bar))


def differing_in(model, batches, alpha_bar, lr, noised=z_at, target=lambda z0, eps, a: eps, error=mean_square):
    """The loop with another way of noising, another target or another error."""

    def loss(batch):
        z0, context, t, eps = batch
        return error(model(noised(z0, t, eps, alpha_bar), t, context) - target(z0, eps, alpha_bar[t][:, None]))

    return trained(model, batches, sgd(model, lr), loss)


def train_gradients_kept(model, batches, alpha_bar, lr):
    optimizer, losses = sgd(model, lr), []
    for batch in batches:
        loss = loss_of(model, batch, alpha_bar)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_gradients_lost(model, batches, alpha_bar, lr):
    optimizer, losses = sgd(model, lr), []
    for batch in batches:
        loss = loss_of(model, batch, alpha_bar)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_step_first(model, batches, alpha_bar, lr):
    optimizer, losses = sgd(model, lr), []
    for batch in batches:
        loss = loss_of(model, batch, alpha_bar)
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
    return losses


def train_uphill(model, batches, alpha_bar, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, maximize=True)
    return trained(model, batches, optimizer, lambda batch: loss_of(model, batch, alpha_bar))


def train_to_z0(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, target=lambda z0, eps, a: z0)


def train_to_velocity(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, target=lambda z0, eps, a: a.sqrt() * eps - (1 - a).sqrt() * z0)


def train_on_clean(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, noised=lambda z0, t, eps, alpha_bar: z0)


def train_without_context(model, batches, alpha_bar, lr):
    blind = [(z0, torch.zeros_like(context), t, eps) for z0, context, t, eps in batches]
    return train_right(model, blind, alpha_bar, lr)


def train_own_noise(model, batches, alpha_bar, lr):
    noisy = [(z0, context, t, torch.randn_like(eps)) for z0, context, t, eps in batches]
    return train_right(model, noisy, alpha_bar, lr)


def train_without_roots(model, batches, alpha_bar, lr):
    def noised(z0, t, eps, alpha_bar):
        a = alpha_bar[t][:, None]
        return a * z0 + (1 - a) * eps

    return differing_in(model, batches, alpha_bar, lr, noised)


def train_second_root_missing(model, batches, alpha_bar, lr):
    def noised(z0, t, eps, alpha_bar):
        a = alpha_bar[t][:, None]
        return a.sqrt() * z0 + (1 - a) * eps

    return differing_in(model, batches, alpha_bar, lr, noised)


def train_roots_swapped(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, lambda z0, t, eps, alpha_bar: z_at(eps, t, z0, alpha_bar))


def train_one_early(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, lambda z0, t, eps, alpha_bar: z_at(z0, t - 1, eps, alpha_bar))


def train_one_time_for_all(model, batches, alpha_bar, lr):
    def noised(z0, t, eps, alpha_bar):
        return z_at(z0, t[0].expand_as(t), eps, alpha_bar)

    return differing_in(model, batches, alpha_bar, lr, noised)


def train_not_broadcast(model, batches, alpha_bar, lr):
    def noised(z0, t, eps, alpha_bar):
        a = alpha_bar[t]
        return a.sqrt() * z0 + (1 - a).sqrt() * eps

    return differing_in(model, batches, alpha_bar, lr, noised)


def train_absolute(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, error=lambda error: error.abs().mean())


def train_rooted(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, error=lambda error: mean_square(error).sqrt())


def train_summed_over_features(model, batches, alpha_bar, lr):
    return differing_in(model, batches, alpha_bar, lr, error=lambda error: error.square().sum(1).mean())


def train_summed(model, batches, alpha_bar, lr):
    return trained(model, batches, sgd(model, lr), lambda batch: batch[0].numel() * loss_of(model, batch, alpha_bar))


def train_adam(model, batches, alpha_bar, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    return trained(model, batches, optimizer, lambda batch: loss_of(model, batch, alpha_bar))


def train_adamw(model, batches, alpha_bar, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    return trained(model, batches, optimizer, lambda batch: loss_of(model, batch, alpha_bar))


def train_with_momentum(model, batches, alpha_bar, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return trained(model, batches, optimizer, lambda batch: loss_of(model, batch, alpha_bar))


def train_a_copy(model, batches, alpha_bar, lr):
    return train_right(copy.deepcopy(model), batches, alpha_bar, lr)


def train_all_but_the_last(model, batches, alpha_bar, lr):
    losses = train_right(model, batches[:-1], alpha_bar, lr)
    return [*losses, loss_of(model, batches[-1], alpha_bar).item()]


def train_returned_too_early(model, batches, alpha_bar, lr):
    return train_right(model, batches[:1], alpha_bar, lr)


def train_first_batch_only(model, batches, alpha_bar, lr):
    return train_right(model, batches[:1] * len(batches), alpha_bar, lr)


def train_by_hand(model, batches, alpha_bar, lr):
    losses = []
    for batch in batches:
        loss = loss_of(model, batch, alpha_bar)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients):
                parameter -= lr * gradient
        losses.append(loss.item())
    return losses


def train_by_the_package(model, batches, alpha_bar, lr):
    schedule = forward_diffusion.NoiseSchedule(forward_diffusion.linear_betas(10, 0.05, 0.4))
    schedule.alpha_bar = alpha_bar
    losses = []
    for z0, context, t, eps in batches:
        loss = forward_diffusion.diffusion_loss(model, schedule, z0, context, t, eps)
        model.zero_grad()
        loss.backward()
        sgd(model, lr).step()
        losses.append(loss.item())
    return losses


TRAIN_STEPS = Exercise(
    name="train_steps",
    title="A training loop",
    stars=2,
    minutes=15,
    answer=train_right,
    cases=training_cases,
    tolerance=1e-3,
    hints=(
        "For each batch: noise z0 to t, ask the model, compare with eps, note the loss, learn from it.",
        "torch.optim.SGD(model.parameters(), lr=lr), made once, before the loop.",
        "zero_grad, backward, step, in this order; losses.append(loss.item()).",
    ),
    insight="That is the whole of training: no chain of noise is walked, a step sees each image at one t. What is "
    "missing to the real loop in workshop/train_unet.py is comfort: AdamW, clipping, a schedule of lr, the "
    "average.",
    wrong=(
        Wrong(
            "gradients-kept",
            train_gradients_kept,
            "zero_grad is missing: PyTorch *adds* each gradient to the one before, so later steps follow old ones "
            "again.",
        ),
        Wrong(
            "gradients-lost",
            train_gradients_lost,
            "The weights never move. Either optimizer.step() is missing, or the gradients are cleared between "
            "backward and step, so that the step has nothing to follow.",
        ),
        Wrong(
            "copy-trained",
            train_a_copy,
            "The losses are right, but the model that you were given is as it was: you trained a copy. Train the "
            "model itself; whoever calls you wants to use it.",
        ),
        Wrong(
            "last-step-missing",
            train_all_but_the_last,
            "The losses are right, but the last batch's step is missing: the model does not learn from it.",
        ),
        Wrong(
            "returned-too-early",
            train_returned_too_early,
            "You return after the first batch. Is the `return` inside of the loop? It belongs behind it.",
        ),
        Wrong(
            "step-before-backward",
            train_step_first,
            "You step before backward: each step follows the gradient of the *last* batch, the first one none.",
        ),
        Wrong("uphill", train_uphill, "You go up the gradient: the loss grows. The step is -lr · gradient."),
        Wrong(
            "target-z0",
            train_to_z0,
            "You compared with the clean latent; this network learns to predict the noise, eps.",
        ),
        Wrong(
            "target-velocity",
            train_to_velocity,
            "You compared with the velocity, √ᾱ ε - √(1-ᾱ) z0. The tiny model of lesson 10 predicts that; the one of "
            "this exercise predicts the noise, eps.",
        ),
        Wrong("clean-input", train_on_clean, "The network sees the clean latent; it must see z_t, noised to t."),
        Wrong(
            "context-not-passed",
            train_without_context,
            "The context does not reach the network (you gave zeros): it will learn pictures, but not captions. The "
            "loss falls all the same, so nobody notices until sampling.",
        ),
        Wrong("own-noise", train_own_noise, "You drew new noise. Use the batch's eps, in z_t and as the target."),
        Wrong(
            "no-roots",
            train_without_roots,
            "You noised with ᾱ and 1-ᾱ. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "second-root-missing",
            train_second_root_missing,
            "The noise is scaled by 1-ᾱ; the root is missing: z_t = √ᾱ z0 + √(1-ᾱ) ε.",
        ),
        Wrong(
            "roots-swapped",
            train_roots_swapped,
            "The two roots are swapped. √ᾱ, which is near 1 while t is small, belongs to z0, and √(1-ᾱ) to ε.",
        ),
        Wrong(
            "one-early",
            train_one_early,
            "You noised with alpha_bar[t - 1]. The table counts from 0 as t does: alpha_bar[t].",
        ),
        Wrong(
            "one-time-for-all",
            train_one_time_for_all,
            "The whole batch is noised with the ᾱ of its first item. Each has its own t: alpha_bar[t][:, None], a "
            "(B, 1).",
        ),
        Wrong(
            "not-broadcast",
            train_not_broadcast,
            "alpha_bar[t] is (B,), and beside (B, D) torch lays it along the D numbers. Make it (B, 1): "
            "alpha_bar[t][:, None].",
        ),
        Wrong(
            "summed",
            train_summed,
            "You summed the squared errors. With the mean, lr means the same for every size of batch.",
        ),
        Wrong(
            "summed-over-features",
            train_summed_over_features,
            "You summed over the D numbers of an item and took the mean over the batch only. Take the mean over all "
            "numbers.",
        ),
        Wrong(
            "absolute", train_absolute, "You took the mean of the absolute differences. The *squares* are asked for."
        ),
        Wrong(
            "rooted",
            train_rooted,
            "You took the root of the mean square. The loss is the mean square itself: the root changes each "
            "gradient's length.",
        ),
        Wrong(
            "momentum",
            train_with_momentum,
            "Your SGD has momentum. Plain gradient descent has none: torch.optim.SGD(model.parameters(), lr=lr).",
        ),
        Wrong(
            "another-optimizer",
            train_adam,
            "That is Adam. Real training uses it, or AdamW; but here SGD is asked for, so that the numbers can be "
            "compared.",
        ),
        Wrong(
            "adamw",
            train_adamw,
            "That is AdamW. It is what real training uses; but here plain SGD is asked for, so that the numbers can "
            "be compared.",
        ),
        Wrong(
            "first-batch-only", train_first_batch_only, "Every step takes the first batch. Take one after the other."
        ),
    ),
    right=(train_by_hand, train_by_the_package),
)


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────


def memory_right():
    return 0.9995**1000


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


def memory_two_digits():
    return 0.61


def memory_by_exponential():
    return torch.tensor(-0.5).exp().item()


EMA_MEMORY = Exercise(
    name="ema_memory",
    title="Predict: how long does an average remember?",
    stars=1,
    minutes=8,
    answer=memory_right,
    cases=no_inputs,
    tolerance=0.01,
    hints=(
        "Each step multiplies what is there with 0.9995.",
        "A thousand steps multiply a thousand times.",
        "0.9995 ** 1000, which is nearly e^-0.5.",
    ),
    insight="0.61: after a thousand steps the random start is still more than half of the average; half of it is gone "
    "after 1386 steps only. So it does harm where training is short: what is saved is still mostly noise, "
    "though the trained weights beside it have learnt. In ema_update the decay starts small: (1 + n) / (10 + "
    "n) is 0.1 at n = 0, so one step leaves a tenth of the start, and ten steps leave one part in 92,378. Only "
    "later does the average remember for long.",
    wrong=(
        Wrong("percent", memory_in_percent, "That is in percent; the share is asked for, a number between 0 and 1."),
        Wrong("one-step", memory_one_step, "That is what is left after one step. Each of the thousand multiplies."),
        Wrong(
            "linear",
            memory_linear,
            "You subtracted 0.0005 a thousand times. Each step takes its share of what is *left*, so it falls ever "
            "more slowly.",
        ),
        Wrong(
            "what-is-new", memory_of_the_new, "That is the share of what was learnt since. The question is the rest."
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
    ),
    right=(memory_two_digits, memory_by_exponential),
)


EXERCISES = (DROP_CAPTIONS, EMA_UPDATE, TRAIN_STEPS, EMA_MEMORY)
