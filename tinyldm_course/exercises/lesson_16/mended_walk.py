"""Exercise mended_walk of lesson 16: Patient 5: good with all steps only."""

import math

import torch
from torch import Generator, Tensor

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer, uniform


def mended_walk(model, z, context, ts, alpha_bar):
    """DDIM from z, which has the noise of ts[0], to the clean latent.

    model: (z, t (B,), context) -> predicted noise; z: (B, C, h, w); context: (B, L, D); ts: falling timesteps, a list;
    alpha_bar: T numbers, a list.
    """
    ### BEGIN SOLUTION
    levels = [alpha_bar[t] for t in ts] + [1.0]  # after the last timestep: the clean latent
    for t, now, after in zip(ts, levels, levels[1:]):
        eps = model(z, torch.full((len(z),), t, device=z.device), context)
        z0_hat = (z - (1 - now) ** 0.5 * eps) / now**0.5
        z = after**0.5 * z0_hat + (1 - after) ** 0.5 * eps
    return z
    ### END SOLUTION


def walk_cases(generator: Generator) -> list[Call]:
    """A model that predicts the noise, z, context, falling timesteps, ᾱ as a list. One walk ends at t = 0."""

    def levels(T: int) -> list[float]:
        kept, found = 1.0, []
        for _ in range(T):
            kept *= 1 - uniform(0.05, 0.25, generator)
            found.append(kept)
        return found

    calls = [
        Call(
            (
                Made(makers.strict_unet),
                torch.tensor([[[[1.0, -0.5]]]]),
                torch.tensor([[[0.5, 1.0]]]),
                [3, 1],
                [0.9, 0.6, 0.3, 0.1],
            )
        )
    ]
    for shape, ts in (
        ((2, 3, 2, 2), [8, 5, 2]),
        ((3, 2, 4, 4), [9, 7, 4, integer(1, 3, generator)]),
        ((2, 4, 4, 4), [9, 6, 0]),
    ):
        z, context = torch.randn(shape, generator=generator), torch.randn(shape[0], 5, 6, generator=generator)
        calls.append(Call((Made(makers.strict_unet), z, context, ts, levels(10))))
    return calls


def walk(model, z, context, told, levels):
    """DDIM; told: what the model is told; levels: ᾱ in each step as (now, after)."""
    for t, (now, after) in zip(told, levels):
        eps = model(z, torch.full((len(z),), t, device=z.device), context)
        z0_hat = (z - (1 - now) ** 0.5 * eps) / now**0.5
        z = after**0.5 * z0_hat + (1 - after) ** 0.5 * eps
    return z


def pairs(ts, alpha_bar, last=1.0):
    """(ᾱ now, ᾱ after) of each step."""
    levels = [*(alpha_bar[t] for t in ts), last]
    return list(zip(levels, levels[1:]))


def pairs_one_below(ts, alpha_bar, last=None):
    """The same, with ᾱ at t - 1 after each step; last: after the last one, if not that, too."""
    after = [alpha_bar[t - 1] for t in ts]
    return [(alpha_bar[t], level) for t, level in zip(ts, after if last is None else [*after[:-1], last])]


def one_below(ts):
    """t - 1 for each t."""
    return [t - 1 for t in ts]


def walk_in_parts(model, z: Tensor, context: Tensor, ts: list, alpha_bar: list) -> Tensor:
    """DDIM from ts[0] to the clean latent."""
    return walk(model, z, context, ts, pairs(ts, alpha_bar))


def walk_broken(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs_one_below(ts, alpha_bar))


def walk_t_only(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs_one_below(ts, alpha_bar))


def walk_next_only(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar, alpha_bar[ts[-1] - 1]))


def walk_last_only(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs_one_below(ts, alpha_bar, 1.0))


def walk_t_still_wrong(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar))


def walk_next_still_wrong(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs_one_below(ts, alpha_bar, 1.0))


def walk_last_still_wrong(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar, alpha_bar[ts[-1] - 1]))


def walk_ends_early(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar)[:-1])


def walk_ends_early_off_by_one(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar)[:-1])


def walk_to_the_first_level(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar, alpha_bar[0]))


def walk_to_the_first_level_off_by_one(model, z, context, ts, alpha_bar):
    return walk(model, z, context, one_below(ts), pairs(ts, alpha_bar, alpha_bar[0]))


def walk_beyond_the_end(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, [(alpha_bar[t], alpha_bar[ts[i + 1]]) for i, t in enumerate(ts)])


def walk_zero_for_none(model, z, context, ts, alpha_bar):
    following = [*ts[1:], None]
    return walk(
        model, z, context, ts, [(alpha_bar[t], alpha_bar[after] if after else 1.0) for t, after in zip(ts, following)]
    )


def walk_told_the_next(model, z, context, ts, alpha_bar):
    return walk(model, z, context, [*ts[1:], 0], pairs(ts, alpha_bar))


def walk_told_one_number(model, z, context, ts, alpha_bar):
    def one_for_all(z, t, context):
        return model(z, t[:1], context)

    return mended_walk(one_for_all, z, context, ts, alpha_bar)


def walk_told_no_tensor(model, z, context, ts, alpha_bar):
    return mended_walk(lambda z, t, context: model(z, ts[0], context), z, context, ts, alpha_bar)


def walk_rising(model, z, context, ts, alpha_bar):
    return mended_walk(model, z, context, ts[::-1], alpha_bar)


def walk_noise_subtracted(model, z, context, ts, alpha_bar):
    for t, (now, after) in zip(ts, pairs(ts, alpha_bar)):
        eps = model(z, torch.full((len(z),), t, device=z.device), context)
        z = after**0.5 * (z - (1 - now) ** 0.5 * eps) / now**0.5 - (1 - after) ** 0.5 * eps
    return z


def walk_not_divided(model, z, context, ts, alpha_bar):
    for t, (now, after) in zip(ts, pairs(ts, alpha_bar)):
        eps = model(z, torch.full((len(z),), t, device=z.device), context)
        z = after**0.5 * (z - (1 - now) ** 0.5 * eps) + (1 - after) ** 0.5 * eps
    return z


def walk_at_the_same_level(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, [(now, now) for now, _ in pairs(ts, alpha_bar)])


def walk_straight_to_clean(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, [(now, 1.0) for now, _ in pairs(ts, alpha_bar)])


def walk_without_roots(model, z, context, ts, alpha_bar):
    for t, (now, after) in zip(ts, pairs(ts, alpha_bar)):
        eps = model(z, torch.full((len(z),), t, device=z.device), context)
        z = after * (z - (1 - now) * eps) / now + (1 - after) * eps
    return z


def walk_told_below_but_not_negative(model, z, context, ts, alpha_bar):
    return walk(model, z, context, [max(t - 1, 0) for t in ts], pairs(ts, alpha_bar))


def walk_last_below_but_not_negative(model, z, context, ts, alpha_bar):
    return walk(model, z, context, ts, pairs(ts, alpha_bar, alpha_bar[max(ts[-1] - 1, 0)]))


def walk_by_one_context(model, z, context, ts, alpha_bar):
    return mended_walk(model, z, context[:1].expand_as(context), ts, alpha_bar)


def walk_clipped(limit):
    """A wrong answer that keeps ẑ0 within limits."""

    def answer(model, z, context, ts, alpha_bar):
        for t, (now, after) in zip(ts, pairs(ts, alpha_bar)):
            eps = model(z, torch.full((len(z),), t, device=z.device), context)
            z0_hat = ((z - (1 - now) ** 0.5 * eps) / now**0.5).clamp(-limit, limit)
            z = after**0.5 * z0_hat + (1 - after) ** 0.5 * eps
        return z

    return answer


def walk_by_factors(model, z, context, ts, alpha_bar):
    for i, t in enumerate(ts):
        now, after = alpha_bar[t], alpha_bar[ts[i + 1]] if t != ts[-1] else 1
        ratio = math.sqrt(after / now)
        eps = model(z, torch.tensor([t] * len(z), device=z.device), context)
        z = ratio * z + (math.sqrt(1 - after) - ratio * math.sqrt(1 - now)) * eps
    return z


@torch.no_grad()
def walk_in_sigma(model, z, context, ts, alpha_bar):
    sigmas = [math.sqrt((1 - alpha_bar[t]) / alpha_bar[t]) for t in ts] + [0.0]
    x = z * math.sqrt(1 + sigmas[0] ** 2)
    for t, sigma, after in zip(ts, sigmas, sigmas[1:]):
        eps = model(x / math.sqrt(1 + sigma**2), torch.full(z.shape[:1], t, device=z.device), context)
        x = x + (after - sigma) * eps
    return x


EXERCISE = Exercise(
    name="mended_walk",
    title="Patient 5: good with all steps only",
    stars=3,
    minutes=15,
    answer=mended_walk,
    cases=walk_cases,
    constants=("z", "context"),
    hints=(
        "There are three mistakes. First: which t belongs to a z with the noise of alpha_bar[t]?",
        "Second: the next question is asked at the next *visited* timestep. To which ᾱ should this step lead?",
        "Third: after the last timestep comes the clean latent, ᾱ = 1.",
    ),
    insight="With all steps the second mistake does nothing, as the next timestep *is* t - 1. Code that was tested "
    "with all steps only breaks when someone takes fifty.",
    wrong=(
        Wrong("still-broken", walk_broken, "That is the patient as he came in: all three mistakes are still there."),
        Wrong(
            "only-t-mended",
            walk_t_only,
            "The model is told the right t. Two more: each step still leads to ᾱ at t - 1, but the next question "
            "is asked many timesteps further down; and the last step must land on the clean latent.",
        ),
        Wrong(
            "only-next-mended",
            walk_next_only,
            "Each step leads to the next visited timestep now. Two more: what the model is told, and where the "
            "last step lands.",
        ),
        Wrong(
            "only-last-mended",
            walk_last_only,
            "The last step lands on the clean latent now. Two more: what the model is told, and where the steps "
            "before it lead.",
        ),
        Wrong(
            "t-still-off-by-one",
            walk_t_still_wrong,
            "The levels are mended. One more: the model is still told t - 1, while z has the noise of t.",
        ),
        Wrong(
            "next-still-t-minus-one",
            walk_next_still_wrong,
            "The model is told the right t, and the last step is mended. One more: the others still lead to ᾱ at t "
            "- 1; the next question is asked many timesteps further down, so z has too much noise for it.",
        ),
        Wrong(
            "last-still-t-minus-one",
            walk_last_still_wrong,
            "The model is told the right t, and each step leads to the next one. One more: the last step still "
            "leads to ᾱ at t - 1, where noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "one-step-missing",
            walk_ends_early,
            "You stop at the last timestep: its own step, onto the clean latent, is missing.",
        ),
        Wrong(
            "step-missing-and-t",
            walk_ends_early_off_by_one,
            "Each step leads to the next visited timestep now. Two more: the model is still told t - 1, and the "
            "last timestep's own step, onto the clean latent, is missing.",
        ),
        Wrong(
            "not-quite-clean",
            walk_to_the_first_level,
            "The last step leads to ᾱ[0], where a little noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "not-quite-clean-and-t",
            walk_to_the_first_level_off_by_one,
            "Each step leads to the next visited timestep now. Two more: the model is still told t - 1, and the "
            "last step leads to ᾱ[0], where a little noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "beyond-the-end",
            walk_beyond_the_end,
            "In the last step there is no next timestep: ts[i + 1] is past the end of the list. After the last "
            "comes the clean latent, ᾱ = 1.",
        ),
        Wrong(
            "zero-for-none",
            walk_zero_for_none,
            'Timestep 0 is taken for "no next timestep": in Python 0 counts as false, too. Ask whether it is the '
            "last step instead.",
        ),
        Wrong(
            "told-the-next",
            walk_told_the_next,
            "The model is told the timestep *after* the step. It must be told the one whose noise z has now.",
        ),
        Wrong(
            "one-t-for-all",
            walk_told_one_number,
            "t has one entry, whatever the batch. The U-Net wants one timestep for each latent, (B,), as the "
            "patient made it: torch.full((len(z),), t, …).",
        ),
        Wrong(
            "t-is-a-number",
            walk_told_no_tensor,
            "The U-Net wants t as a tensor, one timestep for each latent, (B,), as the patient made it: "
            "torch.full((len(z),), t, …).",
        ),
        Wrong(
            "rising",
            walk_rising,
            "You walk upwards, from little noise to much. The timesteps are given in falling order.",
        ),
        Wrong("noise-subtracted", walk_noise_subtracted, "You subtracted the noise of the new level. It is added."),
        Wrong("not-divided", walk_not_divided, "The division by √ᾱ is missing in ẑ0."),
        Wrong(
            "same-level",
            walk_at_the_same_level,
            "You mixed at the level that z has already, so it never gets cleaner. Mix at the *next* timestep's ᾱ.",
        ),
        Wrong(
            "straight-to-clean",
            walk_straight_to_clean,
            "Each of your steps goes all the way to ᾱ = 1. Only the last one does; the others end at the next "
            "timestep's ᾱ.",
        ),
        Wrong("no-roots", walk_without_roots, "ᾱ and 1-ᾱ are variances: the factors are their roots."),
        Wrong(
            "t-still-one-below",
            walk_told_below_but_not_negative,
            "The levels are mended. One more: the model is still told t - 1 (0 at the lowest), while z has the "
            "noise of t.",
        ),
        Wrong(
            "last-still-one-below",
            walk_last_below_but_not_negative,
            "The model is told the right t, and each step leads to the next one. One more: the last step still "
            "leads to ᾱ at t - 1 (0 at the lowest), where noise is left. The clean latent is ᾱ = 1.",
        ),
        Wrong(
            "one-context-for-all",
            walk_by_one_context,
            "Every latent is asked with the first one's context. Each has its own: context is (B, L, D).",
        ),
        Wrong(
            "z0-clipped",
            walk_clipped(1),
            "You clipped ẑ0 to [-1, 1]. That holds for pixels; latents have no such limit.",
        ),
        Wrong("z0-clipped-to-three", walk_clipped(3), "You clipped ẑ0 to [-3, 3]. Latents have no such limit."),
    ),
    right=(walk_in_parts, walk_by_factors, walk_in_sigma),
)
