"""The exercises of the course: `lesson_NN.py` holds those of lesson NN, as a title and a tuple."""

import difflib
from functools import cache
from importlib import import_module
from pathlib import Path

from tinyldm.course.exercise import Exercise


@cache
def lessons() -> dict[int, tuple[Exercise, ...]]:
    """Number of the lesson -> its exercises, in the order of the course."""
    return {int(file.stem.removeprefix("lesson_")): module_of(int(file.stem.removeprefix("lesson_"))).EXERCISES
            for file in sorted(Path(__file__).parent.glob("lesson_[0-9][0-9].py"))}


def module_of(lesson: int):
    """The module that holds a lesson's `TITLE` and `EXERCISES`."""
    return import_module(f"tinyldm.course.exercises.lesson_{lesson:02d}")


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError with the names that are most like it."""
    known = {exercise.name: exercise for exercises in lessons().values() for exercise in exercises}
    if name not in known:
        like = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(known)
        raise ValueError(f"there is no exercise {name!r}; did you mean one of: {like}?")
    return known[name]
