"""Exercise caption_accuracy of lesson 15: Caption accuracy."""

import math

import torch
from torch import Generator

from tinyldm.evaluation import statistics as evaluation
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def caption_accuracy(verdicts):
    """The share of pictures that show all of their caption.

    verdicts: a list of dictionaries, attribute -> True or False, one for each picture; some may be empty.  Returns a
    number in [0, 1].
    """
    ### BEGIN SOLUTION
    return sum(all(verdict.values()) for verdict in verdicts) / len(verdicts)
    ### END SOLUTION


def verdict_cases(generator: Generator) -> list[Call]:
    """Verdicts of a judge: attribute -> right or not; not every picture has every attribute, and one has none."""

    def verdict() -> dict[str, bool]:
        chances = torch.rand(6, generator=generator).tolist()
        named = {"shape": chances[0] < 0.7, "colour": chances[1] < 0.7, "relation": chances[2] < 0.6}
        return {name: right for name, right in named.items() if chances.pop() < 0.7}

    calls = [
        Call(
            (
                [
                    {"shape": True, "colour": True},
                    {"shape": True, "colour": False},
                    {"shape": False},
                    {"shape": False, "colour": True},
                ],
            )
        ),
        Call(([{}, {"shape": True, "colour": False}, {"colour": True}],)),
    ]
    for n in (5, 12):
        verdicts = [verdict() for _ in range(n)]
        verdicts[:2] = [{"shape": True, "relation": False}, {"colour": True, "shape": True}]
        verdicts[2] = {"shape": True, "colour": True, "relation": False}  # most of it is right, and that is not all
        calls.append(Call((verdicts,)))
    return calls


def accuracy_of_attributes(verdicts):
    truths = [right for verdict in verdicts for right in verdict.values()]
    return sum(truths) / len(truths)


def accuracy_of_parts(verdicts):
    return sum(sum(verdict.values()) / len(verdict) for verdict in verdicts) / len(verdicts)


def accuracy_of_any(verdicts):
    return sum(any(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_of_product(verdicts):
    shares = evaluation.shares(verdicts)
    return math.prod(share.value for share in shares.values())


def accuracy_of_worst(verdicts):
    return min(share.value for share in evaluation.shares(verdicts).values())


def accuracy_of_names(verdicts):
    return sum(all(verdict) for verdict in verdicts) / len(verdicts)


def accuracy_of_failures(verdicts):
    return sum(not all(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_whole(verdicts):
    return sum(all(verdict.values()) for verdict in verdicts) // len(verdicts)


def accuracy_of_first(verdicts):
    return sum(list(verdict.values())[0] for verdict in verdicts) / len(verdicts)


def accuracy_of_next(verdicts):
    return sum(next(iter(verdict.values())) for verdict in verdicts) / len(verdicts)


def accuracy_of_shape(verdicts):
    return sum(verdict["shape"] for verdict in verdicts) / len(verdicts)


def accuracy_of_shape_and_colour(verdicts):
    return sum(verdict.get("shape", True) and verdict.get("colour", True) for verdict in verdicts) / len(verdicts)


def accuracy_empty_is_wrong(verdicts):
    return sum(bool(verdict) and all(verdict.values()) for verdict in verdicts) / len(verdicts)


def accuracy_empty_left_out(verdicts):
    return caption_accuracy([verdict for verdict in verdicts if verdict])


def accuracy_in_percent(verdicts):
    return 100 * caption_accuracy(verdicts)


def accuracy_count(verdicts):
    return sum(all(verdict.values()) for verdict in verdicts)


def accuracy_absent_is_wrong(verdicts):
    names = {name for verdict in verdicts for name in verdict}
    return sum(all(verdict.get(name, False) for name in names) for verdict in verdicts) / len(verdicts)


def accuracy_of_more_than_half(verdicts):
    return sum(sum(verdict.values()) * 2 > len(verdict) for verdict in verdicts) / len(verdicts)


def accuracy_per_attribute(verdicts):
    return sum(all(verdict.values()) for verdict in verdicts) / max(sum(len(verdict) for verdict in verdicts), 1)


def accuracy_of_first_picture(verdicts):
    return float(all(verdicts[0].values()))


def accuracy_of_last_attribute(verdicts):
    return sum(([True] + list(verdict.values()))[-1] for verdict in verdicts) / len(verdicts)


def accuracy_minus_one(verdicts):
    return sum(all(verdict.values()) for verdict in verdicts) / (len(verdicts) - 1 or 1)


def accuracy_of_parts_or_empty(verdicts):
    return sum(sum(verdict.values()) / len(verdict) if verdict else 1 for verdict in verdicts) / len(verdicts)


def accuracy_of_shape_if_named(verdicts):
    return sum(verdict.get("shape", True) for verdict in verdicts) / len(verdicts)


def accuracy_of_shape_or_wrong(verdicts):
    return sum(verdict.get("shape", False) for verdict in verdicts) / len(verdicts)


def accuracy_of_half(verdicts):
    return sum(sum(verdict.values()) * 2 >= len(verdict) for verdict in verdicts) / len(verdicts)


def accuracy_by_tensor(verdicts):
    return torch.tensor([all(verdict.values()) for verdict in verdicts]).double().mean()


def accuracy_by_failures(verdicts):
    return 1 - len([verdict for verdict in verdicts if False in verdict.values()]) / len(verdicts)


EXERCISE = Exercise(
    name="caption_accuracy",
    title="Caption accuracy",
    stars=1,
    minutes=6,
    answer=caption_accuracy,
    cases=verdict_cases,
    hints=(
        "When does a picture show its caption? When nothing about it is wrong.",
        "all(verdict.values()) is the truth about one picture.",
        "Count those, and divide by the number of pictures.",
    ),
    insight="Whole captions are a harsh measure: if three attributes are each right in 90 % of the pictures, and "
    "mistakes fall independently, only 73 % of the captions come true.",
    wrong=(
        Wrong(
            "attributes-counted",
            accuracy_of_attributes,
            "You counted single attributes. A picture with the right shape in the wrong colour is not half right: "
            "it does not show its caption.",
        ),
        Wrong(
            "parts-averaged",
            accuracy_of_parts,
            "You gave each picture its share of right attributes. A caption is shown or not: one wrong attribute "
            "is enough.",
        ),
        Wrong("any", accuracy_of_any, "One right attribute is enough for you. *All* must be right."),
        Wrong(
            "product",
            accuracy_of_product,
            "You multiplied the shares of the attributes, as if mistakes fell independently. They do not: a bad "
            "picture often fails in several. Look at each picture.",
        ),
        Wrong(
            "worst-attribute",
            accuracy_of_worst,
            "That is the share of the worst attribute: an upper bound, as different pictures fail in different ones.",
        ),
        Wrong("percent", accuracy_in_percent, "That is in percent; the exercise asks for a share between 0 and 1."),
        Wrong("count", accuracy_count, "That is their number. Divide by the number of pictures."),
        Wrong(
            "absent-is-wrong",
            accuracy_absent_is_wrong,
            "You count an attribute that a caption does not name as wrong. A verdict lists what it judges; judge "
            "by that alone.",
        ),
        Wrong(
            "names-for-values",
            accuracy_of_names,
            "all(verdict) looks at the names of the attributes, and a name that is not empty counts as true. Look "
            "at verdict.values().",
        ),
        Wrong(
            "wrong-ones",
            accuracy_of_failures,
            "That is the share of the pictures on which something is wrong. The exercise asks for the others.",
        ),
        Wrong(
            "whole-division",
            accuracy_whole,
            "Your result is 1 where all pictures are right, and else 0. // divides and cuts off, 1 // 4 is 0: a "
            "share needs /. And it is a share of the pictures, not the question whether all of them are right.",
        ),
        Wrong(
            "first-attribute",
            accuracy_of_first,
            "You look at each verdict's first attribute only, and an empty verdict has none. Look at all of them.",
        ),
        Wrong(
            "next-attribute",
            accuracy_of_next,
            "next(iter(…)) gives each verdict's first attribute only, and an empty verdict has none. Look at all "
            "of them.",
        ),
        Wrong(
            "shape-only",
            accuracy_of_shape,
            "You look at the shape only. A caption may also name other attributes, or not name the shape at all.",
        ),
        Wrong(
            "shape-and-colour-only",
            accuracy_of_shape_and_colour,
            "You look at shape and colour only. There may be others, such as a relation: look at all that a "
            "verdict holds.",
        ),
        Wrong(
            "empty-is-wrong",
            accuracy_empty_is_wrong,
            "You count an empty verdict as wrong. Where nothing was judged nothing is wrong: the picture counts as "
            "right.",
        ),
        Wrong(
            "empty-left-out",
            accuracy_empty_left_out,
            "You leave empty verdicts out of the count. Each picture counts: where nothing was judged nothing is "
            "wrong.",
        ),
        Wrong(
            "divided-by-attributes",
            accuracy_per_attribute,
            "You divided by the number of all attributes. Divide by the number of pictures.",
        ),
        Wrong("first-picture-only", accuracy_of_first_picture, "You looked at the first picture only."),
        Wrong(
            "last-attribute",
            accuracy_of_last_attribute,
            "Only the last attribute counts in your result. All of a picture must be right: all(…).",
        ),
        Wrong("one-picture-less", accuracy_minus_one, "You divided by one less than there are pictures."),
        Wrong(
            "more-than-half",
            accuracy_of_more_than_half,
            "You counted pictures with more than half of their attributes right. *All* of them must be.",
        ),
        Wrong(
            "parts-averaged-empty-right",
            accuracy_of_parts_or_empty,
            "You gave each picture its share of right attributes. A caption is shown or not: one wrong attribute "
            "is enough.",
        ),
        Wrong(
            "shape-only-if-named",
            accuracy_of_shape_if_named,
            "You look at the shape only. A caption may name other attributes, too.",
        ),
        Wrong(
            "shape-only-or-wrong",
            accuracy_of_shape_or_wrong,
            "You look at the shape only. A caption may also name other attributes, or not name the shape at all.",
        ),
        Wrong(
            "half-or-more",
            accuracy_of_half,
            "You counted pictures with at least half of their attributes right. *All* of them must be.",
        ),
    ),
    right=(accuracy_by_tensor, accuracy_by_failures),
)
