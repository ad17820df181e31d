"""Exercise train_steps of lesson 10: A training loop."""

import copy

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def train_steps(model, batches, alpha_bar, lr):
    """Train the model itself on each batch once, with SGD; return the losses, one number for each batch.

    model: an nn.Module, (z_t (B, D), t (B,), context (B, L, D_c)) -> predicted noise (B, D); batches: a list of tuples
    (z0 (B, D), context (B, L, D_c), t (B,) int64, eps (B, D)); alpha_bar: (T,); lr: the learning rate.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for z0, context, t, eps in batches:
        a = alpha_bar[t][:, None]  # (B, 1)
        z_t = a.sqrt() * z0 + (1 - a).sqrt() * eps
        loss = (model(z_t, t, context) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION


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


def train_in_parts(model, batches: list, alpha_bar: Tensor, lr: float) -> list:
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
    return train_steps(model, blind, alpha_bar, lr)


def train_own_noise(model, batches, alpha_bar, lr):
    noisy = [(z0, context, t, torch.randn_like(eps)) for z0, context, t, eps in batches]
    return train_steps(model, noisy, alpha_bar, lr)


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
    return train_steps(copy.deepcopy(model), batches, alpha_bar, lr)


def train_all_but_the_last(model, batches, alpha_bar, lr):
    losses = train_steps(model, batches[:-1], alpha_bar, lr)
    return [*losses, loss_of(model, batches[-1], alpha_bar).item()]


def train_returned_too_early(model, batches, alpha_bar, lr):
    return train_steps(model, batches[:1], alpha_bar, lr)


def train_first_batch_only(model, batches, alpha_bar, lr):
    return train_steps(model, batches[:1] * len(batches), alpha_bar, lr)


def train_one_step_on_the_sum(model, batches, alpha_bar, lr):
    optimizer = sgd(model, lr)
    losses = [loss_of(model, batch, alpha_bar) for batch in batches]
    optimizer.zero_grad()
    sum(losses).backward()
    optimizer.step()
    return [loss.item() for loss in losses]


def train_one_step_on_the_mean(model, batches, alpha_bar, lr):
    optimizer = sgd(model, lr)
    losses = [loss_of(model, batch, alpha_bar) for batch in batches]
    (sum(losses) / len(losses)).backward()
    optimizer.step()
    return [loss.item() for loss in losses]


def train_new_loss_returned(model, batches, alpha_bar, lr):
    optimizer, losses = sgd(model, lr), []
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch, alpha_bar).backward()
        optimizer.step()
        losses.append(loss_of(model, batch, alpha_bar).item())
    return losses


def train_in_the_opposite_order(model, batches, alpha_bar, lr):
    return train_steps(model, batches[::-1], alpha_bar, lr)[::-1]


def train_twice(model, batches, alpha_bar, lr):
    losses = train_steps(model, batches, alpha_bar, lr)
    train_steps(model, batches, alpha_bar, lr)
    return losses


def train_mean_returned(model, batches, alpha_bar, lr):
    losses = train_steps(model, batches, alpha_bar, lr)
    return sum(losses) / len(losses)


def train_last_returned(model, batches, alpha_bar, lr):
    return train_steps(model, batches, alpha_bar, lr)[-1]


def train_loss_summed_up(model, batches, alpha_bar, lr):
    losses, total = train_steps(model, batches, alpha_bar, lr), 0.0
    return [total := total + loss for loss in losses]


def train_with_decay(model, batches, alpha_bar, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=0.01)
    return trained(model, batches, optimizer, lambda batch: loss_of(model, batch, alpha_bar))


def train_gradients_normed(model, batches, alpha_bar, lr):
    optimizer, losses = sgd(model, lr), []
    for batch in batches:
        loss = loss_of(model, batch, alpha_bar)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_halved(model, batches, alpha_bar, lr):
    return trained(model, batches, sgd(model, lr), lambda batch: loss_of(model, batch, alpha_bar) / 2)


def train_backwards(model, batches, alpha_bar, lr):
    return train_steps(model, batches[::-1], alpha_bar, lr)


def train_mean_for_each(model, batches, alpha_bar, lr):
    losses = train_steps(model, batches, alpha_bar, lr)
    return [sum(losses) / len(losses)] * len(losses)


def train_running_mean(model, batches, alpha_bar, lr):
    losses = train_steps(model, batches, alpha_bar, lr)
    return [sum(losses[: i + 1]) / (i + 1) for i in range(len(losses))]


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


EXERCISE = Exercise(
    name="train_steps",
    title="A training loop",
    stars=2,
    minutes=15,
    answer=train_steps,
    cases=training_cases,
    tolerance=1e-3,
    hints=(
        "For each batch: noise z0 to t, call the model, compare with eps, record the loss, take a step.",
        "torch.optim.SGD(model.parameters(), lr=lr), made once, before the loop.",
        "zero_grad, backward, step, in this order; losses.append(loss.item()).",
    ),
    insight="That is the whole of training: no chain of noise is walked, a step sees each image at one t. What the "
    "real loop has in addition, in tinyldm/training/train_unet.py is for comfort: AdamW, clipping, a schedule of "
    "lr, the average.",
    wrong=(
        Wrong(
            "gradients-kept",
            train_gradients_kept,
            "zero_grad is missing: PyTorch *adds* each gradient to the one before, so later steps follow old "
            "gradients again.",
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
            "You return after the first batch. Is the `return` inside the loop? It belongs after it.",
        ),
        Wrong(
            "step-before-backward",
            train_step_first,
            "You step before backward: each step follows the gradient of the *last* batch, the first one follows none.",
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
            "You compared with the velocity, √ᾱ ε - √(1-ᾱ) z0. The tiny model of lesson 10 predicts that; the one "
            "of this exercise predicts the noise, eps.",
        ),
        Wrong("clean-input", train_on_clean, "The network sees the clean latent; it must see z_t, noised to t."),
        Wrong(
            "context-not-passed",
            train_without_context,
            "The context does not reach the network (you gave zeros): it will learn pictures, but not captions. "
            "The loss still falls, so nobody notices until sampling.",
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
            "alpha_bar[t] is (B,), and against (B, D) torch broadcasts it along the D numbers. Make it (B, 1): "
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
            "You summed over the D numbers of an item and took the mean over the batch only. Take the mean over "
            "all numbers.",
        ),
        Wrong(
            "absolute",
            train_absolute,
            "You took the mean of the absolute differences. The exercise asks for the *squares*.",
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
            "That is Adam. Real training uses it, or AdamW; but here the exercise asks for SGD, so that the "
            "numbers can be compared.",
        ),
        Wrong(
            "adamw",
            train_adamw,
            "That is AdamW. It is what real training uses; but here the exercise asks for plain SGD, so that the "
            "numbers can be compared.",
        ),
        Wrong(
            "first-batch-only", train_first_batch_only, "Every step takes the first batch. Take one after the other."
        ),
        Wrong(
            "one-step-on-the-sum",
            train_one_step_on_the_sum,
            "You added up the losses of all batches and took a single step. Each batch has its own step: "
            "backward() and step() inside the loop.",
        ),
        Wrong(
            "one-step-on-the-mean",
            train_one_step_on_the_mean,
            "You averaged the losses of all batches and took a single step. Each batch has its own step: "
            "backward() and step() inside the loop.",
        ),
        Wrong(
            "loss-after-the-step",
            train_new_loss_returned,
            "You return the losses *after* each step. Those before it, which gave the gradients, are asked for.",
        ),
        Wrong(
            "opposite-order", train_in_the_opposite_order, "You went through the batches from the last to the first."
        ),
        Wrong("twice", train_twice, "Each batch is trained on twice. Train on it once."),
        Wrong(
            "mean-returned",
            train_mean_returned,
            "You return one number. The exercise asks for one loss for each batch, in a list.",
        ),
        Wrong(
            "last-returned",
            train_last_returned,
            "You return the last loss only. The exercise asks for one for each batch, in a list.",
        ),
        Wrong(
            "summed-up",
            train_loss_summed_up,
            "You return running sums of the losses. The exercise asks for one loss for each batch.",
        ),
        Wrong(
            "weight-decay", train_with_decay, "Your optimizer decays the weights, too. The exercise asks for plain SGD."
        ),
        Wrong(
            "gradients-clipped", train_gradients_normed, "You clipped the gradients. The exercise asks for plain SGD."
        ),
        Wrong("halved", train_halved, "You halved the loss. It is the mean squared error, without ½."),
        Wrong(
            "batches-reversed",
            train_backwards,
            "You went through the batches from the last to the first. They come in the order in which they are given.",
        ),
        Wrong(
            "mean-for-each",
            train_mean_for_each,
            "You return the mean of the losses for each batch. Each batch has its own loss.",
        ),
        Wrong(
            "running-mean", train_running_mean, "You return the mean of the losses so far. Each batch has its own loss."
        ),
    ),
    right=(train_in_parts, train_by_hand, train_by_the_package),
)
