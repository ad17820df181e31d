"""Exercise class_context of lesson 09: A label instead of a caption."""

import torch
import torch.nn.functional as F
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def class_context(label, table, drop):
    """Labels as context.

    label: (B,) int64 in 0 … K-1; table: (K + 1, D), the last row for "no label"; drop: (B,) bool.  Returns (B, 1, D).
    """
    ### BEGIN SOLUTION
    row = torch.where(drop, len(table) - 1, label)
    return table[row][:, None]  # (B, D) -> (B, 1, D)
    ### END SOLUTION


def label_cases(generator: Generator) -> list[Call]:
    """Labels (B,), a table (K + 1, D), which to drop (B,)."""
    calls = [Call((torch.tensor([0, 1]), torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([False, True])))]
    for B, K, D in ((3, 4, 5), (6, 3, 4), (5, 7, 8)):
        label = torch.randint(0, K - 1, (B,), generator=generator)  # the largest label is not the last class
        drop = torch.arange(B) % 2 == int(torch.randint(2, (), generator=generator))
        calls.append(Call((label, torch.randn(K + 1, D, generator=generator), drop)))
    return calls


def label_without_sequence(label, table, drop):
    return class_context(label, table, drop)[:, 0]


def label_batch_second(label, table, drop):
    return class_context(label, table, drop).transpose(0, 1)


def label_dropped_to_zero(label, table, drop):
    return table[label][:, None] * (~drop).view(-1, 1, 1)


def label_dropped_to_first(label, table, drop):
    return table[torch.where(drop, 0, label)][:, None]


def label_dropped_to_last_class(label, table, drop):
    return table[torch.where(drop, len(table) - 2, label)][:, None]


def label_never_dropped(label, table, drop):
    return table[label][:, None]


def label_dropped_wrongly(label, table, drop):
    return class_context(label, table, ~drop)


def label_all_dropped(label, table, drop):
    return class_context(label, table, drop.any().expand(drop.shape))


def label_dropped_to_mean(label, table, drop):
    return torch.where(drop.view(-1, 1, 1), table[:-1].mean(0), table[label][:, None])


def label_removed(label, table, drop):
    return table[label[~drop]][:, None]


def label_in_place(label, table, drop):
    label[drop] = len(table) - 1
    return table[label][:, None]


def label_table_cut(label, table, drop):
    return class_context(label, table.detach(), drop)


def label_dropped_behind_the_largest(label, table, drop):
    return table[torch.where(drop, label.max() + 1, label)][:, None]


def label_shifted(label, table, drop):
    return table[torch.where(drop, 0, label + 1)][:, None]


def label_at_random(label, table, drop):
    return table[torch.where(drop, (label + 1) % (len(table) - 1), label)][:, None]


def label_repeated(label, table, drop):
    return class_context(label, table, drop).expand(-1, 2, -1)


def label_by_one_hot(label, table, drop):
    rows = torch.arange(len(table), device=label.device)
    chosen = rows == label.masked_fill(drop, len(table) - 1)[:, None]
    return (chosen.to(table) @ table).unsqueeze(1)


def label_by_choice(label, table, drop):
    null = table[-1:].expand(len(label), -1)
    return torch.where(drop[:, None], null, F.embedding(label, table)).view(len(label), 1, -1)


EXERCISE = Exercise(
    name="class_context",
    title="A label instead of a caption",
    stars=1,
    minutes=8,
    answer=class_context,
    cases=label_cases,
    hints=(
        "table[label] takes one row for each label: (B, D).",
        "Where drop is True take the last row, number len(table) - 1: torch.where(drop, …, label).",
        "The context is a *sequence* of vectors; yours has length 1: [:, None].",
    ),
    shape_hint=3,
    insight="Cross-attention never learns where its vectors come from: 77 words, 65 parts of a picture or one "
    'label, the U-Net stays the same. The last row, for "no label", is trained by dropping some labels; guidance '
    "will later push away from what it gives.",
    wrong=(
        Wrong(
            "no-sequence",
            label_without_sequence,
            "The length is missing: the context is (B, 1, D), a sequence of one vector for each image.",
        ),
        Wrong(
            "batch-second",
            label_batch_second,
            "Your shape is (1, B, D): every image would read all labels of the batch. It is (B, 1, D).",
        ),
        Wrong(
            "zeros-for-none",
            label_dropped_to_zero,
            'You made dropped labels zero. "No label" has a row of its own, the last, which is learned.',
        ),
        Wrong(
            "first-row-for-none",
            label_dropped_to_first,
            'Dropped labels get row 0, which is a class like any other. "No label" is the last row.',
        ),
        Wrong(
            "last-class-for-none",
            label_dropped_to_last_class,
            'Off by one: you took the last *class*. "No label" is the row after it, the last of the table.',
        ),
        Wrong("never-dropped", label_never_dropped, "`drop` is not used: no label is ever dropped."),
        Wrong("drop-turned-round", label_dropped_wrongly, "You dropped those that should stay, and kept the others."),
        Wrong(
            "all-or-nothing",
            label_all_dropped,
            "If one label is dropped you drop all. Each has its own entry in `drop`.",
        ),
        Wrong(
            "mean-for-none",
            label_dropped_to_mean,
            'You took the mean of all classes for "no label". It has a row of its own, the last, which is learned.',
        ),
        Wrong("removed", label_removed, "You removed the dropped ones: the batch must keep its size."),
        Wrong("inputs-changed", label_in_place),
        Wrong("gradient-cut", label_table_cut),
        Wrong(
            "behind-the-largest-label",
            label_dropped_behind_the_largest,
            'You took the row behind the largest label of this batch. "No label" is the last row of the table, '
            "whatever the batch contains: len(table) - 1.",
        ),
        Wrong(
            "rows-shifted",
            label_shifted,
            'You gave "no label" the first row and moved the others down by one. Here it is the last row, and '
            "label k is row k.",
        ),
        Wrong(
            "another-label",
            label_at_random,
            'Where drop is True you took another label. It is the last row, for "no label".',
        ),
        Wrong("repeated", label_repeated, "The sequence is too long: one vector for each image, (B, 1, D)."),
    ),
    right=(label_by_one_hot, label_by_choice),
)
