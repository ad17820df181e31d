"""Every exercise is tried as learners do: right, in another style, not at all, and wrong in every way that it names."""

import inspect

import pytest

from tinyldm_course.checks.calls import perform
from tinyldm_course.checks.diagnoses import ABOUT_FORMULA, ABOUT_SHAPE, GENERAL
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import lessons

SEEDS = (0, 1, 2)
LESSON = {exercise.name: lesson for lesson, exercises in lessons().items() for exercise in exercises}
EXERCISES = [exercise for exercises in lessons().values() for exercise in exercises]


def case(exercise, *rest):
    """A parameter whose name starts with the lesson's, so that `-k lesson_03` picks a lesson."""
    name = "-".join([f"lesson_{LESSON[exercise.name]:02d}", exercise.name, *map(str, rest[1:])])
    return pytest.param(exercise, *rest[:1], id=name)


WRONG = [case(exercise, wrong, wrong.diagnosis) for exercise in EXERCISES for wrong in exercise.wrong]
RIGHT = [
    case(exercise, right, number)
    for exercise in EXERCISES
    for number, right in enumerate((exercise.answer, *exercise.right))
]


def checked(exercise, answer, seed):
    return run_check(exercise, lambda call: perform(answer, call), seed)


@pytest.mark.parametrize("exercise, answer", RIGHT)
@pytest.mark.parametrize("seed", SEEDS)
def test_right_answers_of_any_style_pass(exercise, answer, seed):
    result = checked(exercise, answer, seed)
    assert result.passed, result
    assert result.verified


@pytest.mark.parametrize("exercise, wrong", WRONG)
@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_answers_get_their_own_diagnosis(exercise, wrong, seed):
    result = checked(exercise, wrong.answer, seed)
    assert not result.passed
    assert result.diagnosis == wrong.diagnosis, result
    assert result.message == (wrong.message or GENERAL[wrong.diagnosis])


@pytest.mark.parametrize("exercise", [case(exercise) for exercise in EXERCISES])
def test_each_exercise_is_whole(exercise):
    assert exercise.stars in (1, 2, 3) and exercise.minutes > 0
    assert exercise.hints and exercise.insight and exercise.title
    assert 0 <= exercise.shape_hint <= len(exercise.hints)
    assert len(exercise.wrong) >= 4 and len(exercise.right) >= 2
    diagnoses = [wrong.diagnosis for wrong in exercise.wrong]
    assert len(set(diagnoses)) == len(diagnoses), "each wrong answer has its own diagnosis"
    for wrong in exercise.wrong:
        assert (wrong.message is None) == (wrong.diagnosis in GENERAL), wrong.diagnosis
        assert wrong.diagnosis not in ABOUT_FORMULA + ABOUT_SHAPE, "a known mistake gets no hint about something else"
    arguments = list(inspect.signature(exercise.answer).parameters)
    for answer in (*exercise.right, *(wrong.answer for wrong in exercise.wrong)):
        assert len(inspect.signature(answer).parameters) == len(arguments), answer.__name__


def test_names_are_unique():
    names = [exercise.name for exercise in EXERCISES]
    assert len(set(names)) == len(names)
