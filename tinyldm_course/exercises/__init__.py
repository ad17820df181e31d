"""The exercises of the course: `lesson_NN.py` holds those of lesson NN, as a title and a tuple."""

import difflib
from importlib import import_module
from pathlib import Path

from tinyldm_course.checks.exercise import Exercise


def numbers() -> list[int]:
    """The lessons that have exercises."""
    return sorted(int(file.stem.removeprefix("lesson_")) for file in Path(__file__).parent.glob("lesson_[0-9][0-9].py"))


def module_of(lesson: int):
    """The module that holds a lesson's `TITLE` and `EXERCISES`."""
    return import_module(f"tinyldm_course.exercises.lesson_{lesson:02d}")


def lessons() -> dict[int, tuple[Exercise, ...]]:
    """Number of the lesson -> its exercises, in the order of the course."""
    return {number: module_of(number).EXERCISES for number in numbers()}


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError with the names that are most like it."""
    known = []
    for number in numbers():  # one lesson after the other: most checks need none of the later ones
        for exercise in module_of(number).EXERCISES:
            if exercise.name == name:
                return exercise
            known.append(exercise.name)
    like = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(known)
    raise ValueError(f"there is no exercise {name!r}; did you mean one of: {like}?")
