"""One exercise, one file: its right answer stands there and nowhere else, and finding it loads no other."""

import subprocess
import sys

import pytest

from tinyldm_course.exercises import find, lesson, module_of, numbers

NAMES = [name for number in numbers() for name in lesson(number).NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_what_the_notebook_shows(name):
    """The function or value of the exercise's own name, from which the notebooks are built."""
    shown, answer = getattr(module_of(name), name), find(name).answer
    assert find(name).name == name
    assert answer is shown if callable(shown) else answer() == shown


def test_to_find_an_exercise_loads_its_file_alone():
    code = (
        "import sys\nfrom tinyldm_course.exercises import find\nfind('group_norm')\n"
        "print(*sorted(name for name in sys.modules if name.count('.') == 3 and '.exercises.' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tinyldm_course.exercises.lesson_06.group_norm"]


def test_an_unknown_name_is_answered_with_those_like_it():
    with pytest.raises(ValueError, match="no exercise 'qsample'; did you mean one of: q_sample"):
        find("qsample")
