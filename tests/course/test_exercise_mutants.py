"""Solutions with one change (an operator, a constant, an axis, a dropped term) must not pass for right."""

import ast
import sys
from pathlib import Path

import pytest

from tinyldm_course.exercises import find, numbers

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import exercises  # noqa: E402

CELL = """def scaled(x, w):
    y = x
    ### BEGIN SOLUTION
    if w > 1:
        y = (x + 2).sqrt()
    return y.sum(dim=0)
    ### END SOLUTION
"""


def test_what_is_changed():
    changes = [mutant.change for mutant in exercises.mutants("scaled", CELL)]
    for expected in (
        "if w >= 1:",
        "if w > 2:",
        "if w > 0:",
        "y = (x - 2).sqrt()",
        "y = x.sqrt()",
        "y = (x + 2).square()",
        "y = x + 2",
        "return y.sum(dim=1)",
        "return y.mean(dim=0)",
        "return y",
    ):
        assert expected in changes
    assert len(changes) == len(set(changes))
    assert not [change for change in changes if change.startswith("y = x.") and "sqrt" not in change]


def test_what_is_no_change_is_no_mutant_and_of_two_comparisons_each_is_changed():
    source = CELL.replace("w > 1", "0 <= w < torch.ones(w, w)")
    changes = [mutant.change for mutant in exercises.mutants("scaled", source)]
    assert "if 0 < w < torch.ones(w, w):" in changes and "if 0 <= w <= torch.ones(w, w):" in changes
    assert "if 0 <= w < torch.ones(w, w):" not in changes


def test_each_mutant_is_another_program_and_the_solution_stays():
    before = ast.unparse(ast.parse(CELL))
    programs = [ast.unparse(mutant.tree) for mutant in exercises.mutants("scaled", CELL)]
    assert len(set(programs)) == len(programs) and before not in programs


def test_equivalents_are_mutants_of_solutions_that_exist_and_pass():
    """So that a changed solution cannot leave an excuse behind."""
    made = {
        (exercise.name, mutant.change): (exercise, mutant, namespace)
        for exercise, mutant, namespace in exercises.all_mutants(numbers())
    }
    for key in exercises.EQUIVALENT:
        assert key in made
        assert exercises.survives(*made[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("lesson", numbers())
def test_mutants_are_rejected(lesson):
    tried, passed = exercises.survivors([lesson])
    assert tried > 0
    assert len(passed) <= 0.02 * tried, [(mutant.exercise, mutant.change) for mutant in passed]


def test_a_survivor_would_be_noticed():
    """A check that looks at too little lets mutants through."""
    exercise = find("posterior_mean")
    lax = type(exercise)(**vars(exercise) | {"tolerance": 1e9})
    some = [(mutant, names) for found, mutant, names in exercises.all_mutants([3]) if found.name == exercise.name]
    assert any(exercises.survives(lax, mutant, names) for mutant, names in some)


def test_a_wrong_factor_is_seen_through_the_noise():
    """0.5 for √α moves the mean by less than forty draws can tell."""
    change = "mean = (next_alpha_bar ** 0.5 * (1 - alpha) * z0_hat + 0.5 * (1 - next_alpha_bar) * z) / (1 - alpha_bar)"
    made = [
        (exercise, mutant, names)
        for exercise, mutant, names in exercises.all_mutants([12])
        if exercise.name == "ddpm_step" and mutant.change == change
    ]
    assert len(made) == 1
    assert not any(exercises.survives(*made[0], seed) for seed in range(20))
