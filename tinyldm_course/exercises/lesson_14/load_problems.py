"""Exercise load_problems of lesson 14: A strict load."""

import math

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer


def load_problems(state, wanted):
    """(missing, unknown, misshapen): three sorted lists of names.

    state: name -> tensor; wanted: name -> shape, a tuple.
    """
    ### BEGIN SOLUTION
    misshapen = []
    for name in state.keys() & wanted.keys():
        shape, right = tuple(state[name].shape), tuple(wanted[name])
        if shape != right and not (len(right) == 2 and shape == (*right, 1, 1)):
            misshapen.append(name)
    return sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys()), sorted(misshapen)
    ### END SOLUTION


def load_cases(generator: Generator) -> list[Call]:
    """Tensors by name, and the shapes that the model wants by name. First one question at a time, then all of them.

    No two of the three lists are to be equally long where one could be taken for another.
    """
    C, D = integer(3, 6, generator), integer(7, 10, generator)
    calls = [Call(({"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(4)}, {"a": (2,), "d": (3,)}))]
    for shape, wanted in (
        ((D, C, 1, 1), (D, C)),
        ((D, C, 1, 1), (D, C, 1, 1)),
        ((D, C, 1, 1), (C, C)),
        ((C, C, 3, 3), (C, C)),
        ((C, D), (D, C)),
        ((2, 6), (3, 4)),
        ((D, C), (D, C, 1, 1)),
        ((C, C, 1, 1), (C, C, 3, 3)),
        ((1, C), (1, C)),
        ((1, C), (C,)),
        ((1, C, 1, 1), (1, C)),
        ((C, 1, 1), (C,)),
        ((D, C, 1), (D, C)),
        ((D, C, 1, 1, 1), (D, C)),
        ((1, 1, D, C), (D, C)),
        ((D, C), (D, C, 1)),
    ):
        calls.append(Call(({"a": torch.zeros(shape)}, {"a": wanted})))
    for C in (4, 6):
        C = C + integer(0, 2, generator)
        shapes = {
            "z.weight": (C, C, 1, 1),
            "y.weight": (C, 2, 3, 3),
            "x.weight": (2 * C, C),
            "u.weight": (3 * C, C),
            "v.weight": (C, C, 3, 3),
            "w.bias": (C,),
            "a.bias": (1,),
            "b.bias": (2,),
            "c.bias": (C + 1,),
        }
        wanted = {
            "z.weight": (C, C),
            "y.weight": (C, 2, 3, 3),
            "x.weight": (C, 2 * C),
            "u.weight": (C, 3 * C),
            "v.weight": (C, C),
            "c.bias": (C,),
            "e.bias": (C,),
            "d.bias": (C,),
        }
        calls.append(Call(({name: torch.zeros(shape) for name, shape in shapes.items()}, wanted)))
    return calls


def fits(shape, wanted) -> bool:
    """The same shape, or a 1×1 convolution for a linear layer."""
    return shape == wanted or (len(wanted) == 2 and shape == (*wanted, 1, 1))


def problems(state, wanted, fit=fits):
    """Missing, unknown, misshapen names, each sorted."""
    both = wanted.keys() & state.keys()
    misshapen = [name for name in both if not fit(tuple(state[name].shape), wanted[name])]
    return sorted(wanted.keys() - both), sorted(state.keys() - both), sorted(misshapen)


def load_in_parts(state: dict, wanted: dict) -> tuple:
    """(missing, unknown, misshapen)."""
    return problems(state, wanted)


def load_pairs(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, [(name, tuple(state[name].shape)) for name in misshapen]


def load_swapped(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return unknown, missing, misshapen


def load_exact(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape == wanted)


def load_by_count(state, wanted):
    return problems(state, wanted, lambda shape, wanted: math.prod(shape) == math.prod(wanted))


def load_transposed(state, wanted):
    return problems(state, wanted, lambda shape, wanted: fits(shape, wanted) or shape == wanted[::-1])


def load_first_two(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape[:2] == wanted[:2])


def load_any_convolution(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape == wanted or shape[2:] == (1, 1))


def load_both_ways(state, wanted):
    return problems(state, wanted, lambda shape, wanted: fits(shape, wanted) or fits(wanted, shape))


def load_any_with_ones(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape in (wanted, (*wanted, 1, 1)))


def squeezed(shape):
    """Without its ones."""
    return tuple(size for size in shape if size != 1)


def load_squeezed(state, wanted):
    return problems(state, wanted, lambda shape, wanted: squeezed(shape) == wanted)


def load_squeezed_or_same(state, wanted):
    return problems(state, wanted, lambda shape, wanted: wanted in (shape, squeezed(shape)))


def load_both_squeezed(state, wanted):
    return problems(state, wanted, lambda shape, wanted: squeezed(shape) == squeezed(wanted))


def load_without_shapes(state, wanted):
    return problems(state, wanted, lambda shape, wanted: True)


def load_not_sorted(state, wanted):
    return tuple(
        [name for name in order if name in found]
        for order, found in zip((wanted, state, wanted), problems(state, wanted))
    )


def load_missing_is_misshapen(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, sorted(missing + misshapen)


def load_unknown_is_misshapen(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, sorted(unknown + misshapen)


def load_all_is_misshapen(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return missing, unknown, sorted(missing + unknown + misshapen)


def load_reverse_fit(state, wanted):
    return problems(
        state, wanted, lambda shape, wanted: shape == wanted or (len(shape) == 2 and wanted == (*shape, 1, 1))
    )


def load_same_dimensions(state, wanted):
    return problems(state, wanted, lambda shape, wanted: len(shape) == len(wanted))


def load_good_ones(state, wanted):
    missing, unknown, _ = problems(state, wanted)
    return (
        missing,
        unknown,
        sorted(name for name in wanted.keys() & state.keys() if fits(tuple(state[name].shape), wanted[name])),
    )


def load_sorted_backwards(state, wanted):
    return tuple(names[::-1] for names in problems(state, wanted))


def load_sets(state, wanted):
    return tuple(len(names) for names in problems(state, wanted))


def load_common(state, wanted):
    _, _, misshapen = problems(state, wanted)
    return sorted(wanted.keys() & state.keys()), sorted(wanted.keys() ^ state.keys()), misshapen


def load_rotated(state, wanted):
    missing, unknown, misshapen = problems(state, wanted)
    return misshapen, missing, unknown


def load_three_by_three_too(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape == wanted or (len(wanted) == 2 and shape[:2] == wanted))


def load_one_one_too(state, wanted):
    def fit(shape, wanted):
        return fits(shape, wanted) or (len(wanted) == 2 and shape == (*wanted, 1))

    return problems(state, wanted, fit)


def load_any_ones_at_the_end(state, wanted):
    def fit(shape, wanted):
        return shape == wanted or (len(wanted) == 2 and shape[:2] == wanted and set(shape[2:]) <= {1})

    return problems(state, wanted, fit)


def load_any_kernel_of_an_image(state, wanted):
    def fit(shape, wanted):
        return shape == wanted or (len(wanted) == 2 and len(shape) == 4 and shape[:2] == wanted)

    return problems(state, wanted, fit)


def load_both_ways_behind_any(state, wanted):
    return problems(state, wanted, lambda shape, wanted: shape in (wanted, (*wanted, 1, 1)) or wanted == (*shape, 1, 1))


def load_same_dimensions_or_fitting(state, wanted):
    return problems(state, wanted, lambda shape, wanted: len(shape) == len(wanted) or fits(shape, wanted))


def load_by_loop(state, wanted):
    missing, unknown, misshapen = [], [], []
    for name in sorted({*state, *wanted}):
        if name not in state:
            missing.append(name)
        elif name not in wanted:
            unknown.append(name)
        else:
            shape, right = list(state[name].shape), list(wanted[name])
            if len(right) == 2 and shape[2:] == [1, 1]:
                shape = shape[:2]
            if shape != right:
                misshapen.append(name)
    return missing, unknown, misshapen


def load_by_filter(state, wanted):
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [
        name
        for name, right in wanted.items()
        if name in shapes and shapes[name] not in (right, (*right, *(1, 1) * (len(right) == 2)))
    ]
    return (sorted(set(wanted).difference(state)), sorted(set(state).difference(wanted)), sorted(wrong))


EXERCISE = Exercise(
    name="load_problems",
    title="A strict load",
    stars=2,
    minutes=12,
    answer=load_problems,
    cases=load_cases,
    hints=(
        "Dictionary keys behave like sets: wanted.keys() - state.keys().",
        "Compare shapes only where a name is in both.",
        "A shape fits if it equals the wanted one, or if that has two numbers and the shape is these and (1, 1): "
        "len(w) == 2 and shape == (*w, 1, 1).",
    ),
    insight='Loading "what fits" and ignoring the rest (strict=False) gives a model that runs, generates '
    "something, and is wrong. Stable Diffusion 1 stores linear layers as 1×1 convolutions, 2 does not: same "
    "numbers, different shape.",
    wrong=(
        Wrong(
            "more-than-names",
            load_pairs,
            "Your third list contains more than names, such as pairs of a name and a shape. The exercise asks for "
            "names alone, as strings.",
        ),
        Wrong(
            "missing-and-unknown-swapped",
            load_swapped,
            "Missing and unknown are swapped: missing is what the model wants and the file lacks.",
        ),
        Wrong(
            "one-by-one-refused",
            load_exact,
            "You refuse a 1×1 convolution (C_out, C_in, 1, 1) for a linear layer (C_out, C_in). Both contain the same "
            "numbers; old files have the one, new ones the other.",
        ),
        Wrong(
            "numbers-counted",
            load_by_count,
            "You compared only how many numbers there are. A transposed weight has as many, and would be loaded as "
            "nonsense.",
        ),
        Wrong(
            "transposed-accepted",
            load_transposed,
            "You accept the sizes in a different order. (2, 3) does not fit (3, 2): the numbers would be loaded in "
            "the wrong order, as nonsense.",
        ),
        Wrong(
            "first-two-only",
            load_first_two,
            "You compared the first two sizes only: a 3×3 convolution would pass for a linear layer. Only (1, 1) "
            "may be left out.",
        ),
        Wrong(
            "any-one-by-one",
            load_any_convolution,
            "Every 1×1 convolution fits in your answer, whatever its channels are. It only fits a linear layer of "
            "the same two sizes: (C_out, C_in, 1, 1) for (C_out, C_in).",
        ),
        Wrong(
            "both-directions",
            load_both_ways,
            "You also let a linear layer in the *file* pass where the model wants a 1×1 convolution. Only the "
            "other direction is allowed: a 1×1 convolution in the file, a linear layer in the model.",
        ),
        Wrong(
            "ones-behind-any-shape",
            load_any_with_ones,
            "You let (1, 1) follow any shape. A linear layer has two sizes; (C, 1, 1) does not fit a bias (C,).",
        ),
        Wrong(
            "squeezed",
            load_squeezed,
            "You took *all* ones out of the file's shape. A layer with one output, (1, C), has a 1 that belongs to "
            "it: then it fits (C,), but not (1, C). Only (1, 1) at the end may be left out, behind two sizes.",
        ),
        Wrong(
            "squeezed-or-same",
            load_squeezed_or_same,
            "You took *all* ones out of the file's shape where it does not fit at once. So (1, C) fits (C,), and "
            "(1, C, 1, 1) does not fit (1, C). Only (1, 1) at the end may be left out, behind two sizes.",
        ),
        Wrong(
            "both-squeezed",
            load_both_squeezed,
            "You took *all* ones out of both shapes. So (1, C) fits (C,), and a linear layer a 1×1 convolution. "
            "Only (1, 1) at the end of the file's shape may be left out, where the model wants two sizes.",
        ),
        Wrong("names-only", load_without_shapes, "You compared the names only; the shapes can differ, too."),
        Wrong(
            "not-sorted",
            load_not_sorted,
            "The names are right, but not sorted. Use sorted(…): a report should not depend on the order in a file.",
        ),
        Wrong(
            "missing-twice",
            load_missing_is_misshapen,
            "What is missing appears among the misshapen as well. A shape is only compared where a name is in both.",
        ),
        Wrong(
            "unknown-twice",
            load_unknown_is_misshapen,
            "What is unknown appears among the misshapen as well. A shape is only compared where a name is in both.",
        ),
        Wrong(
            "all-twice",
            load_all_is_misshapen,
            "What is missing or unknown appears among the misshapen as well. A shape is only compared where a name "
            "is in both.",
        ),
        Wrong(
            "fit-reversed",
            load_reverse_fit,
            "Your exception works the wrong way round: you accept a linear layer's weight for a 1 × 1 convolution. "
            "It is a *file's* (C, C', 1, 1) that fits a wanted (C, C').",
        ),
        Wrong(
            "same-number-of-dimensions",
            load_same_dimensions,
            "You compare how many dimensions there are. Compare the sizes themselves.",
        ),
        Wrong(
            "fitting-ones",
            load_good_ones,
            "Your third list contains the names that *fit*. The exercise asks for those that do not.",
        ),
        Wrong("sorted-backwards", load_sorted_backwards, "Your lists are sorted backwards."),
        Wrong(
            "counted",
            load_sets,
            "You return how many there are. The exercise asks for the names, in three sorted lists.",
        ),
        Wrong(
            "common-and-others",
            load_common,
            "Your lists are the common names and those on one side only. The exercise asks for missing (wanted, "
            "not there) and unknown (there, not wanted).",
        ),
        Wrong("another-order", load_rotated, "Your lists come in a different order: (missing, unknown, misshapen)."),
        Wrong(
            "kernels-ignored",
            load_three_by_three_too,
            "You accept any kernel for a linear layer. Only a 1 × 1 convolution is one.",
        ),
        Wrong(
            "one-one-too",
            load_one_one_too,
            "You also accept (C_out, C_in, 1), a convolution along one dimension. Only (1, 1) may be left out: "
            "(C_out, C_in, 1, 1).",
        ),
        Wrong(
            "any-ones-at-the-end",
            load_any_ones_at_the_end,
            "You let any number of ones follow the two sizes. Only (1, 1) may be left out: (C_out, C_in, 1, 1).",
        ),
        Wrong(
            "any-kernel-of-an-image",
            load_any_kernel_of_an_image,
            "You accept any kernel for a linear layer. Only a 1 × 1 convolution is one.",
        ),
        Wrong(
            "both-directions-behind-any-shape",
            load_both_ways_behind_any,
            "Your exception is too wide. It holds in one direction, a 1×1 convolution in the *file* for a linear "
            "layer in the model, and only behind two sizes.",
        ),
        Wrong(
            "same-number-of-dimensions-or-fits",
            load_same_dimensions_or_fitting,
            "You compare how many dimensions there are. Compare the sizes themselves.",
        ),
    ),
    right=(load_in_parts, load_by_loop, load_by_filter),
)
