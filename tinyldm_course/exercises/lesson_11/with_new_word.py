"""Exercise with_new_word of lesson 11: A row for a new word."""

import torch
from torch import Generator, nn

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong


def with_new_word(weight, like):
    """The embedding with one row more.  weight: (V, D); like: numbers of words, a list.  Returns (V + 1, D)."""
    ### BEGIN SOLUTION
    return torch.cat([weight, weight[like].mean(0, keepdim=True)])
    ### END SOLUTION


def row_cases(generator: Generator) -> list[Call]:
    """An embedding (V, D), the numbers of words that the new one is like."""
    calls = [Call((torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]]), [0, 1]))]
    for V, D, count in ((5, 3, 1), (20, 8, 3)):
        like = (2 * torch.randperm(V // 2, generator=generator)[:count]).tolist()  # never neighbours
        calls.append(Call((torch.randn(V, D, generator=generator), like)))
    return calls


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


def row_normalised(weight, like):
    mean = weight[like].mean(0, keepdim=True)
    return torch.cat([weight, mean / mean.norm()])


def row_of_the_last(weight, like):
    return torch.cat([weight, weight[like[-1:]]])


def row_as_column(weight, like):
    return torch.cat([weight, weight.mean(1, keepdim=True)], dim=1)


def row_alone(weight, like):
    return weight[like].mean(0, keepdim=True)


def row_shifted(weight, like):
    return torch.cat([weight, weight[[i - 1 for i in like]].mean(0, keepdim=True)])


def row_divided_by_all(weight, like):
    return torch.cat([weight, weight[like].sum(0, keepdim=True) / len(weight)])


def row_of_ones(weight, like):
    return torch.cat([weight, torch.ones_like(weight[:1])])


def row_of_largest(weight, like):
    return torch.cat([weight, weight[like].amax(0, keepdim=True)])


def row_mean_of_numbers(weight, like):
    return torch.cat([weight, weight[like].mean().expand(1, weight.shape[1])])


def row_median(weight, like):
    return torch.cat([weight, weight[like].median(0, keepdim=True).values])


def row_as_long_as_the_others(weight, like):
    mean = weight[like].mean(0, keepdim=True)
    return torch.cat([weight, mean / mean.norm() * weight[like].norm(dim=1).mean()])


def row_of_a_range(weight, like):
    return torch.cat([weight, weight[min(like) : max(like) + 1].mean(0, keepdim=True)])


def row_minimum(weight, like):
    return torch.cat([weight, weight[like].amin(0, keepdim=True)])


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


EXERCISE = Exercise(
    name="with_new_word",
    title="A row for a new word",
    stars=1,
    minutes=8,
    answer=with_new_word,
    cases=row_cases,
    constants=("weight",),
    hints=(
        "weight[like] are the rows of these words: (len(like), D). Which row lies in the middle of them?",
        "The new row goes *below* the others, so that no word gets another number.",
        "torch.cat([weight, weight[like].mean(0, keepdim=True)])",
    ),
    shape_hint=1,
    insight='The start matters more than it seems: from the mean of shape words the U-Net already reads "some '
    'shape", and training has only to say which. From zeros it must first find out that this is a word at all.',
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
            "The new row is before the last one. The last is the end of a text, and the tokenizer still knows it "
            "by its old number: put the new row below all others.",
        ),
        Wrong(
            "last-replaced",
            row_replaces_the_last,
            "You overwrote the last row: the end of a text is lost. There must be one more row.",
        ),
        Wrong(
            "summed",
            row_summed,
            "You added the rows up. Divide by their number, or the new row is far longer than any word.",
        ),
        Wrong(
            "first-only",
            row_of_the_first,
            "You copied the first of the words only. Then the new word means exactly that one; take the mean of "
            "all that are given.",
        ),
        Wrong(
            "old-rows-lost",
            row_new_table,
            "The old rows are new random numbers: all words are forgotten. A new nn.Embedding must get the old "
            "weights.",
        ),
        Wrong("normalised", row_normalised, "You scaled the new row to length 1. It is the plain mean."),
        Wrong("last-only", row_of_the_last, "You copied the last of the words. Take the mean of all of them."),
        Wrong("as-a-column", row_as_column, "You added a column. A word is a *row*: dim=0."),
        Wrong("row-alone", row_alone, "That is the new row alone. Put it under the old ones."),
        Wrong("words-shifted", row_shifted, "You took the words one number before. Rows are counted from 0."),
        Wrong(
            "divided-by-all",
            row_divided_by_all,
            "You divided by the number of all words. Divide by the number of those in `like`.",
        ),
        Wrong(
            "ones",
            row_of_ones,
            "You filled the new row with ones. It starts as the mean of the words that are like it.",
        ),
        Wrong(
            "mean-of-numbers",
            row_mean_of_numbers,
            "You averaged all numbers of the words to one. Average number by number: .mean(0).",
        ),
        Wrong("maximum", row_of_largest, "You took the largest numbers. Take their mean."),
        Wrong("median", row_median, "You took the median of each column. The new row is the mean."),
        Wrong(
            "rescaled",
            row_as_long_as_the_others,
            "You made the mean as long as the rows it is made of. A mean is shorter, and stays so here: the plain"
            " mean.",
        ),
        Wrong(
            "range-averaged",
            row_of_a_range,
            "You averaged all rows from the smallest number in `like` to the largest. Only the rows in `like` "
            "count: weight[like].",
        ),
        Wrong("minimum", row_minimum, "You took the smallest number of each column. The new row is the mean."),
    ),
    right=(row_by_copying, row_by_matrix, row_in_an_embedding, row_of_a_parameter),
)
