"""The exercises of the course: `lesson_06/group_norm.py` defines the exercise `group_norm`.

A lesson's `__init__.py` holds its `TITLE` and the `NAMES` of its exercises in their order. An exercise's file begins
with the right answer as the notebook shows it, then come the inputs to try, wrong answers and `EXERCISE`. Its
text is in `sources/exercises/`.
"""

import difflib
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tinyldm_course.checks.exercise import Exercise


def numbers() -> list[int]:
    """The lessons that have exercises."""
    return sorted(
        int(folder.name.removeprefix("lesson_")) for folder in Path(__file__).parent.glob("lesson_[0-9][0-9]")
    )


def lesson(number: int) -> ModuleType:
    """The module that contains a lesson's `TITLE` and `NAMES`. It imports no exercise."""
    return import_module(f"tinyldm_course.exercises.lesson_{number:02d}")


def module_of(name: str) -> ModuleType:
    """The module of one exercise, without those of the others. Raises ValueError that lists the closest names."""
    known = {name: number for number in numbers() for name in lesson(number).NAMES}
    if name not in known:
        like = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(known)
        raise ValueError(f"there is no exercise {name!r}; did you mean one of: {like}?")
    file = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()  # ResBlock -> res_block
    return import_module(f"{lesson(known[name]).__name__}.{file}")


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError that lists the closest names."""
    return module_of(name).EXERCISE


def of_lesson(number: int) -> tuple[Exercise, ...]:
    """A lesson's exercises, in their order."""
    return tuple(find(name) for name in lesson(number).NAMES)


def lessons() -> dict[int, tuple[Exercise, ...]]:
    """Number of the lesson -> its exercises, in the order of the course."""
    return {number: of_lesson(number) for number in numbers()}
