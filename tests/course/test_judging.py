"""The check of one exercise of a submission, made twice; right answers that are computed once for a class."""

import itertools
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("resource", reason="grading needs POSIX")
if sys.platform == "win32":
    pytest.skip("grading needs POSIX", allow_module_level=True)

from tinyldm_course.checks.calls import Call, Error, Outcome, perform
from tinyldm_course.checks.feedback import Feedback
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import find
from tinyldm_course.grading import judging, right, wire
from tinyldm_course.grading.judging import judged, same, without_run_noise
from tinyldm_course.grading.right import RightAnswers


class Student:
    """A session of one function, in this process."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def runner(self, name, right=None):
        def run(call):
            self.calls.append(call)
            return perform(self.function, call)

        return run


@pytest.mark.parametrize("name", ["alpha_bar_from_beta", "noise_one_step"])
def test_results_are_those_of_a_check_without_memory(name):
    """For a right answer, and for wrong ones."""
    exercise, answers = find(name), RightAnswers()
    for function in (exercise.answer, exercise.answer, *(wrong.answer for wrong in exercise.wrong[:3])):
        expected = without_run_noise(run_check(exercise, lambda call, f=function: perform(f, call), 5))
        student = Student(function)
        found, strange = judged(exercise, student, 5, answers)
        assert found == expected and not strange
        assert len(student.calls) % 2 == 0  # everything was asked twice


def test_a_right_answer_is_computed_once(monkeypatch):
    exercise, answers, made, counts = find("q_sample"), RightAnswers(), [], []

    def noted(function, call):
        made.append(function)
        return perform(function, call)

    monkeypatch.setattr(right, "perform", noted)
    for _ in range(3):
        assert judged(exercise, Student(exercise.right[0]), 5, answers)[0].passed
        counts.append(len(made))
    assert counts[0] > 0 and counts == counts[:1] * 3


@pytest.mark.parametrize("from_call", [1, 2, 5, 10**6])
def test_an_answer_that_changes_fails_wherever_it_changes(from_call):
    """It is right at first, and wrong from some call of the second round on."""
    exercise = find("q_sample")
    whole = Student(exercise.answer)
    assert judged(exercise, whole, 5, RightAnswers())[0].passed
    change, count = len(whole.calls) // 2 + from_call, itertools.count(1)

    def changing(*args):
        value = exercise.answer(*args)
        return value + 1 if next(count) >= change else value

    result, _ = judged(exercise, Student(changing), 5, RightAnswers())
    assert result.diagnosis == ("not-repeatable" if from_call < 100 else "")


def test_a_right_outcome_is_known_by_its_bytes_and_no_other_is():
    answer = RightAnswers().to(find("q_sample"))
    call, other = answer.exercise.cases(torch.Generator().manual_seed(1))[:2]
    again = answer.exercise.cases(torch.Generator().manual_seed(1))
    assert again[0] is call and answer.exercise.cases(torch.Generator().manual_seed(2))[0] is not call
    want = answer(call)
    frame = wire.outcome_frame(replace(want, seconds=3.0))
    assert answer.recognised(call, frame) is want and answer.recognised(other, frame) is None
    changed = (
        replace(want, value=want.value + 1e-6),
        replace(want, value=want.value.double()),
        Outcome(),
        Outcome(error=Error("E", "")),
    )
    for outcome in changed:
        assert answer.recognised(call, wire.outcome_frame(outcome)) is None


def test_large_outcomes_are_not_kept(monkeypatch):
    monkeypatch.setattr(judging, "MAX_NOTED", 8)
    exercise = find("q_sample")
    result, noted = judging.check_and_note(
        exercise, Student(exercise.answer).runner(""), 5, Student(exercise.answer).runner("")
    )
    assert result.passed and not noted
    assert judged(exercise, Student(exercise.answer), 5, RightAnswers())[0].passed


@pytest.mark.parametrize("value", ["<b>" * 10**5, [1] * 10**4, {"x" * 10**5: 1}])
def test_a_long_value_makes_no_long_page(value):
    exercise = find("q_sample")
    result, _ = judged(exercise, Student(lambda *_: value), 5, RightAnswers())
    assert not result.passed and len(Feedback(exercise, result)._repr_html_()) < 30_000


def test_same_is_strict():
    ones = torch.ones(2)
    assert same(Outcome(ones, (None,), (ones,)), Outcome(ones.clone(), (None,), (ones,)))
    for other in (ones.double(), torch.ones(1, 2), torch.ones(2, device="meta"), ones + 1, [1.0, 1.0], None):
        assert not same(Outcome(ones), Outcome(other))
    assert not same(1, True) and not same({"a": 1, "b": 2}, {"b": 2, "a": 1}) and not same([1], [1, 1])
    assert not same(torch.tensor(float("nan")), torch.tensor(float("nan")))
    assert same(Error("A", "x"), Error("A", "x")) and not same(Error("A", "x"), Error("A", "y"))


def test_answers_to_different_calls_are_not_confused():
    run = RightAnswers().to(find("q_sample"))
    calls = find("q_sample").cases(torch.Generator().manual_seed(1))
    for call in (*calls, *calls, Call(calls[0].args, device="meta")):
        assert same(run(call).value, perform(find("q_sample").answer, call).value)
