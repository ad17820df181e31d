"""Exercise contexts_for_guidance of lesson 12: Negative captions."""

import torch
from torch import Generator

from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Made
from tinyldm_course.checks.exercise import Exercise, Wrong


def contexts_for_guidance(encode, captions, negative):
    """What guidance walks away from, then what it walks towards: (2B, L, D).

    encode: a list of n strings -> (n, L, D); captions: B strings; negative: B strings, or None.
    Raises ValueError where there are not as many negative captions as captions.
    """
    ### BEGIN SOLUTION
    if negative is None:
        negative = [""] * len(captions)
    if len(negative) != len(captions):
        raise ValueError(f"{len(negative)} negative captions for {len(captions)} captions; expected as many")
    return torch.cat([encode(negative), encode(captions)])
    ### END SOLUTION


def negative_cases(generator: Generator) -> list[Call]:
    """A text encoder, captions, negative captions or None; too few of them, too many, none at all."""
    encode, words = Made(makers.toy_text_encoder), ("circle", "star", "ring", "cross", "square", "moon")
    chosen = [words[i] for i in torch.randperm(6, generator=generator).tolist()]
    return [
        Call((encode, ["a star"], None)),
        Call((encode, ["a star"], ["red"])),
        Call((encode, chosen[:2], None)),
        Call((encode, [f"a {word}" for word in chosen[:3]], chosen[3:])),
        Call((encode, chosen[:2], chosen[2:3])),
        Call((encode, chosen[:2], chosen[2:5])),
        Call((encode, chosen[:2], [])),
        Call((encode, chosen[:2], chosen[2:4])),
    ]


def negative_not_used(encode, captions, negative):
    if negative is not None and len(negative) != len(captions):
        raise ValueError
    return torch.cat([encode([""] * len(captions)), encode(captions)])


def negative_swapped(encode, captions, negative):
    return contexts_for_guidance(encode, captions, negative).roll(len(captions), 0)


def negative_in_words(encode, captions, negative):
    if negative is not None:
        if len(negative) != len(captions):
            raise ValueError
        captions = [f"{caption}, no {word}" for caption, word in zip(captions, negative)]
    return contexts_for_guidance(encode, captions, None)


def negative_subtracted(encode, captions, negative):
    contexts = contexts_for_guidance(encode, captions, negative)
    B, null = len(captions), encode([""] * len(captions))
    return contexts if negative is None else torch.cat([null, contexts[B:] - contexts[:B]])


def negative_joined(encode, captions, negative):
    if negative is None:
        return contexts_for_guidance(encode, captions, None)
    contexts_for_guidance(encode, captions, negative)
    return torch.cat([encode([""] * len(captions)), encode(negative), encode(captions)])


def negative_zeros_for_none(encode, captions, negative):
    contexts = contexts_for_guidance(encode, captions, negative)
    if negative is None:
        contexts[: len(captions)] = 0
    return contexts


def negative_of_any_number(encode, captions, negative):
    return torch.cat([encode([""] * len(captions) if negative is None else negative), encode(captions)])


def negative_too_many_accepted(encode, captions, negative):
    if negative is not None and len(negative) < len(captions):
        raise ValueError
    return negative_of_any_number(encode, captions, negative)


def negative_too_few_accepted(encode, captions, negative):
    if negative is not None and len(negative) > len(captions):
        raise ValueError
    return negative_of_any_number(encode, captions, negative)


def negative_empty_for_none(encode, captions, negative):
    return contexts_for_guidance(encode, captions, negative or None)


def negative_null_once(encode, captions, negative):
    if negative is not None:
        return contexts_for_guidance(encode, captions, negative)
    return torch.cat([encode([""]), encode(captions)])


def negative_none_refused(encode, captions, negative):
    return contexts_for_guidance(encode, captions, [""] if negative is None else negative)


def negative_interleaved(encode, captions, negative):
    return torch.stack(contexts_for_guidance(encode, captions, negative).chunk(2), 1).flatten(0, 1)


def negative_one_for_all(encode, captions, negative):
    if negative is not None and len(negative) == 1:
        negative = negative * len(captions)
    return contexts_for_guidance(encode, captions, negative)


def negative_filled_up(encode, captions, negative):
    given = [] if negative is None else list(negative)
    return contexts_for_guidance(encode, captions, (given + [""] * len(captions))[: len(captions)])


def negative_filled_up_only(encode, captions, negative):
    given = [] if negative is None else list(negative)
    return contexts_for_guidance(encode, captions, given + [""] * (len(captions) - len(given)))


def negative_cut_only(encode, captions, negative):
    return contexts_for_guidance(encode, captions, None if negative is None else negative[: len(captions)])


def negative_paired(encode, captions, negative):
    pairs = list(zip(captions, [""] * len(captions) if negative is None else negative))
    return torch.cat([encode([away for _, away in pairs]), encode([caption for caption, _ in pairs])])


def negative_by_expanding(encode, captions, negative):
    if negative is None:
        return torch.cat([encode([""]).expand(len(captions), -1, -1), encode(captions)])
    if len(negative) != len(captions):
        raise ValueError
    return torch.cat((encode(negative), encode(captions)), 0)


def negative_in_one_call(encode, captions, negative):
    left_out = ["" for _ in captions] if negative is None else list(negative)
    if len(left_out) - len(captions):
        raise ValueError("as many negative captions as captions")
    return encode(left_out + list(captions))


def negative_one_by_one(encode, captions, negative):
    pairs = zip(captions, [""] * len(captions) if negative is None else negative, strict=True)
    contexts = [(encode([away])[0], encode([caption])[0]) for caption, away in pairs]
    return torch.stack([away for away, _ in contexts] + [caption for _, caption in contexts])


EXERCISE = Exercise(
    name="contexts_for_guidance",
    title="Negative captions",
    stars=2,
    minutes=10,
    answer=contexts_for_guidance,
    cases=negative_cases,
    exact_dtype=True,
    hints=(
        'Guidance goes from one prediction towards another, and beyond. What if it starts at "red"?',
        "The negative captions take the place of the empty ones; nothing else changes.",
        'torch.cat([encode(negative), encode(captions)]), with negative = [""] * B where it is None.',
    ),
    insight='There is no negation in it: the text encoder never sees "not". A negative caption is a different '
    "point to extrapolate *from*; at w = 1, where that point cancels, it does nothing at all.",
    wrong=(
        Wrong(
            "negative-not-used",
            negative_not_used,
            "The negative captions are not used: the null half is always the empty caption.",
        ),
        Wrong(
            "halves-swapped",
            negative_swapped,
            "The captions come first here. The null half leads by agreement (diffusers and this package): the code "
            "that splits the batch would guide *towards* the negative caption.",
        ),
        Wrong(
            "written-into-the-caption",
            negative_in_words,
            'You wrote the negation into the caption. CLIP hardly reads "no red" as less red; the word alone makes '
            "it more likely. Guidance away from it needs its own context.",
        ),
        Wrong(
            "contexts-subtracted",
            negative_subtracted,
            "You subtracted contexts. The U-Net was never trained on differences of contexts; guidance subtracts "
            "its predictions.",
        ),
        Wrong(
            "third-part",
            negative_joined,
            "Three predictions would be needed for this. The negative context *replaces* the empty one.",
        ),
        Wrong(
            "zeros-for-none",
            negative_zeros_for_none,
            "Without negative captions the null half is the *encoded* empty caption, not zeros: that is what "
            "training dropped captions to.",
        ),
        Wrong(
            "null-once",
            negative_null_once,
            'Without negative captions you encode "" only once, which makes B + 1 contexts. Each caption needs its '
            'own to walk away from: [""] * B.',
        ),
        Wrong(
            "none-refused",
            negative_none_refused,
            "If `negative` is None, several captions are refused. None is allowed and stands for as many empty "
            'captions as there are captions: [""] * len(captions).',
        ),
        Wrong(
            "interleaved",
            negative_interleaved,
            "You interleaved captions and negative captions. The exercise asks for two halves: first all B to walk "
            "away from, then all B captions.",
        ),
        Wrong(
            "empty-list-for-none",
            negative_empty_for_none,
            "You took [] for None. An empty list has the wrong length and must be refused; ask `negative is None`: "
            "`not negative` is true for both.",
        ),
        Wrong(
            "too-many-accepted",
            negative_too_many_accepted,
            "You refuse too few negative captions, but not too many: then the two halves are not of the same "
            "length. Refuse any other number: !=.",
        ),
        Wrong(
            "too-few-accepted",
            negative_too_few_accepted,
            "You refuse too many negative captions, but not too few: then the two halves are not of the same "
            "length. Refuse any other number: !=.",
        ),
        Wrong("should-refuse", negative_of_any_number),
        Wrong(
            "one-for-all",
            negative_one_for_all,
            "One negative caption for several captions is spread over all of them. Here it is a mistake of the "
            "caller: raise a ValueError.",
        ),
        Wrong(
            "filled-up-or-cut",
            negative_filled_up,
            "You fill negative captions up with empty ones, or cut them off. Another number is a mistake of the "
            "caller: raise a ValueError.",
        ),
        Wrong(
            "filled-up",
            negative_filled_up_only,
            "You fill negative captions up with empty ones. Too few of them is a mistake of the caller: raise a "
            "ValueError.",
        ),
        Wrong(
            "cut",
            negative_cut_only,
            "You cut off the negative captions that are too many. Too many is a mistake of the caller: raise a "
            "ValueError.",
        ),
        Wrong(
            "zipped",
            negative_paired,
            "zip stops at the shorter of the two and silently leaves captions out. Another number of "
            "negative captions is a mistake of the caller: raise a ValueError.",
        ),
    ),
    right=(negative_in_one_call, negative_one_by_one, negative_by_expanding),
)
