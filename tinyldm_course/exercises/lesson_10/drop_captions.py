"""Exercise drop_captions of lesson 10: Caption dropout."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def drop_captions(context, null_context, chance, share):
    """The context of the empty caption where a caption is dropped, else the caption's own.

    context: (B, L, D); null_context: (1, L, D); chance: (B,) in [0, 1); share: a number.  Returns (B, L, D).
    """
    ### BEGIN SOLUTION
    return torch.where((chance < share)[:, None, None], null_context, context)
    ### END SOLUTION


def dropout_cases(generator: Generator) -> list[Call]:
    """Contexts, the null context, a uniform number for each caption, the share to drop. Some are dropped, some not.

    B, L and D differ, so that what is broadcast along the wrong one is seen; and a chance that equals the share keeps.
    """
    context, null = torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]), torch.tensor([[[0.5, 0.0, -0.5]]])
    calls = [
        Call((context, null, torch.tensor(chance), share))
        for chance, share in (
            ([0.05, 0.9], 0.1),
            ([0.25, 0.125], 0.25),
            ([0.0, 0.5], 0.0),
            ([0.45, 0.6], 0.2),
            ([0.55, 0.95], 0.7),
        )
    ]
    for B, L, D in ((3, 2, 4), (6, 5, 8)):
        context, null = (torch.randn(n, L, D, generator=generator) for n in (B, 1))
        share = uniform(0.3, 0.5, generator)
        chance = torch.rand(B, generator=generator)
        chance[0], chance[1] = 0.6 + 0.4 * chance[0], 0.3 * chance[1]
        calls.append(Call((context, null, chance, share)))
    return calls


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


def drop_inverted(context, null_context, chance, share):
    return torch.where((chance < share)[:, None, None], context, null_context)


def drop_by_one_minus_share(context, null_context, chance, share):
    return torch.where((chance < 1 - share)[:, None, None], null_context, context)


def drop_by_half(context, null_context, chance, share):
    return torch.where((chance < 0.5)[:, None, None], null_context, context)


def drop_always_a_tenth(context, null_context, chance, share):
    return torch.where((chance < 0.1)[:, None, None], null_context, context)


def drop_added(context, null_context, chance, share):
    return context + (chance < share)[:, None, None] * null_context


def drop_never(context, null_context, chance, share):
    return context + 0 * null_context


def drop_always(context, null_context, chance, share):
    return null_context.expand_as(context) + 0 * context


def drop_above(context, null_context, chance, share):
    return torch.where((chance > 1 - share)[:, None, None], null_context, context)


def drop_from_above(context, null_context, chance, share):
    return torch.where((chance >= 1 - share)[:, None, None], null_context, context)


def drop_as_many_as_expected(context, null_context, chance, share):
    rank = chance.argsort().argsort()
    return torch.where((rank < round(len(chance) * share))[:, None, None], null_context, context)


def drop_first_token(context, null_context, chance, share):
    dropped = drop_captions(context, null_context, chance, share)
    return torch.cat([dropped[:, :1], context[:, 1:]], dim=1)


def drop_by_stack(context, null_context, chance, share):
    return torch.stack([null_context[0] if c < share else one for one, c in zip(context, chance)])


def drop_by_product(context, null_context, chance, share):
    kept = (chance >= share).to(context).view(-1, 1, 1)
    return kept * context + (1 - kept) * null_context


EXERCISE = Exercise(
    name="drop_captions",
    title="Caption dropout",
    stars=1,
    minutes=8,
    answer=drop_captions,
    cases=dropout_cases,
    hints=(
        "Which captions are dropped? chance < share: one truth value for each of the B.",
        "To choose between (B, L, D) tensors it must become (B, 1, 1): [:, None, None].",
        "torch.where(dropped[:, None, None], null_context, context)",
    ),
    shape_hint=2,
    insight="Without it guidance has nothing to start from: the network was never asked what it sees without a "
    "caption. Stable Diffusion 1.3 to 1.5 drop 10 % of the captions; the tiny model drops 1 in 8 in its text "
    "batches.",
    wrong=(
        Wrong(
            "broadcast-along-numbers",
            drop_along_numbers,
            "chance < share is (B,). Against (B, L, D) torch broadcasts it along the *last* dimension, the D "
            "numbers. Each truth value belongs to an image: make it (B, 1, 1) with [:, None, None].",
        ),
        Wrong(
            "broadcast-along-tokens",
            drop_along_tokens,
            "With one [:, None] it is (B, 1). Against (B, L, D) torch broadcasts B along the L tokens, because it "
            "counts dimensions from the end. It takes two new ones: [:, None, None] makes (B, 1, 1).",
        ),
        Wrong(
            "equal-too",
            drop_equal_too,
            "You also drop where chance *equals* share. chance may be 0, so a share of 0 would drop captions: it "
            "is chance < share, strictly.",
        ),
        Wrong(
            "own-chance",
            drop_by_own_chance,
            "You drew numbers of your own. Take the ones in `chance`, so that the caller knows what is dropped.",
        ),
        Wrong(
            "each-number",
            drop_each_number,
            "You drew for every number of the context. That is nn.Dropout: it leaves a damaged caption. A caption "
            "is dropped as a whole, so one chance for each image.",
        ),
        Wrong(
            "each-token",
            drop_each_token,
            "You drew for each token. Then captions lose words, and no caption is ever absent. Drop a caption as a "
            "whole.",
        ),
        Wrong(
            "the-others",
            drop_the_others,
            "You dropped those with chance *above* share: with share 0.1 that is 90 % of the captions.",
        ),
        Wrong(
            "zeros-for-null",
            drop_to_zeros,
            "You put zeros in. Dropped means the *encoded empty caption*: during sampling the network gets that "
            "when there is no caption.",
        ),
        Wrong(
            "whole-batch",
            drop_the_whole_batch,
            "One random number decides for the whole batch. Each caption has its own chance, so that each step "
            "sees both kinds.",
        ),
        Wrong(
            "kept-are-scaled",
            drop_and_scale,
            "You divided what is kept by 1 - share, as nn.Dropout does. Captions need no compensation: leave the "
            "others as they are.",
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
        Wrong(
            "kept-for-dropped",
            drop_inverted,
            "What you drop is kept, and the reverse: torch.where takes its second argument where the condition is "
            "true, and that is where the null context goes.",
        ),
        Wrong(
            "one-minus-share",
            drop_by_one_minus_share,
            "You dropped where chance < 1 - share: that is the share to *keep*.",
        ),
        Wrong(
            "half-for-share",
            drop_by_half,
            "You dropped half of the captions, whatever is asked for. Compare with share.",
        ),
        Wrong(
            "a-tenth",
            drop_always_a_tenth,
            "You dropped with 0.1, the usual share, whatever is asked for. Compare with share.",
        ),
        Wrong(
            "added", drop_added, "You added the null context where a caption is dropped. It takes the caption's place."
        ),
        Wrong(
            "never-dropped",
            drop_never,
            "Nothing is dropped: the null context takes the place of a caption where chance < share.",
        ),
        Wrong("all-dropped", drop_always, "Everything is dropped. A caption whose chance is at least share is kept."),
        Wrong(
            "above-one-minus-share",
            drop_above,
            "You drop where the chance is above 1 - share. That is as often, but here a caption is dropped where "
            "chance < share.",
        ),
        Wrong(
            "from-one-minus-share",
            drop_from_above,
            "You drop from 1 - share upwards. That is as often, but here a caption is dropped where chance < share.",
        ),
        Wrong(
            "fixed-number",
            drop_as_many_as_expected,
            "You always drop the same number of captions, those with the lowest chances. Each caption is dropped "
            "or not by its own chance: chance < share.",
        ),
        Wrong(
            "first-token-only",
            drop_first_token,
            "You replaced the first token's vector only. The whole context of a dropped caption is that of the "
            "empty one.",
        ),
    ),
    right=(drop_by_stack, drop_by_product),
)
