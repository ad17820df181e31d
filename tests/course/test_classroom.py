"""How a class is worked off, with graders that are played: order, journal, and a machine that fails."""

import threading

import pytest

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm_course.grading import classroom
from tinyldm_course.grading.classroom import MAX_FAILURES, Terms, grade_class
from tinyldm_course.grading.isolation import trusting
from tinyldm_course.grading.journal import Journal
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.marking import Graded
from tinyldm_course.grading.submissions import Submission

TERMS = Terms(trusting(), Limits(), None, 3)
CLASS = [Submission(f"s{number}", 2, (f"x = {number}",)) for number in range(8)]
CLASS.insert(3, Submission("unreadable", 2, problem="02.ipynb cannot be read: it is empty"))


class Played:
    """A grader that answers at once; for the students in `broken`, with an error of the machine."""

    broken: frozenset[str] = frozenset()
    graded: list[str] = []
    lock = threading.Lock()

    def __init__(self, terms):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def grade(self, submission, checks):
        if submission.student in self.broken:
            raise OSError("No space left on device")
        with self.lock:
            self.graded.append(submission.student)
        return Graded(submission.student, submission.lesson, (), log=submission.student.encode())


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setattr(classroom, "Grader", Played)
    monkeypatch.setattr(Played, "graded", [])
    return lambda *students: monkeypatch.setattr(Played, "broken", frozenset(students))


@pytest.mark.parametrize("jobs", [1, 2, 3, 99])
def test_the_results_come_in_the_order_of_the_class(played, jobs):
    done = []
    found = grade_class(CLASS, TERMS, jobs, lambda: done.append(1))
    assert [one.student for one in found] == [one.student for one in CLASS] and len(done) == len(CLASS)
    assert found[3].problem == CLASS[3].problem and "unreadable" not in Played.graded
    assert len(set(Played.graded)) == len(Played.graded) == 8


def test_what_the_machine_failed_at_is_graded_by_the_next_run_and_nothing_else(played, tmp_path):
    journal = Journal(tmp_path / "grades.csv")
    played("s1", "s5")
    found = grade_class(CLASS, TERMS, 1, journal=journal)
    assert [one.student for one in found if one.again] == ["s1", "s5"]
    assert "No space left on device" in found[1].problem and "run the same command again" in found[1].problem
    Played.graded.clear()
    played()
    again = grade_class(CLASS, TERMS, 2, journal=Journal(tmp_path / "grades.csv"))
    assert sorted(Played.graded) == ["s1", "s5"]
    assert again == grade_class(CLASS, TERMS, 1)  # as if nothing had happened


def test_a_run_goes_on_after_any_number_of_results(played, tmp_path):
    whole = grade_class(CLASS, TERMS, 1, journal=Journal(tmp_path / "whole.csv"))
    lines = Journal(tmp_path / "whole.csv").file.read_bytes().splitlines(keepends=True)
    for kept in range(0, len(lines) + 1, 2):
        journal = Journal(tmp_path / f"run{kept}.csv")
        journal.file.write_bytes(b"".join(lines[:kept]) + (lines[kept][:99] if kept < len(lines) else b""))
        Played.graded.clear()
        assert grade_class(CLASS, TERMS, 2, journal=journal) == whole
        assert len(Played.graded) == 8 - kept // 2


def test_a_broken_machine_stops_soon_and_keeps_what_there_is(played):
    played("s2", "s3", "s4", "s5", "s6", "s7")
    found = grade_class(CLASS, TERMS, 1)
    assert sorted(Played.graded) == ["s0", "s1"]
    assert [one.student for one in found if one.again] == ["s2", "s3", "s4", "s5", "s6", "s7"]
    assert sum("could not grade it" in one.problem for one in found) == MAX_FAILURES


def test_a_machine_that_can_grade_nothing_says_so(played):
    played(*(one.student for one in CLASS))
    with pytest.raises(OSError, match="No space left"):
        grade_class(CLASS, TERMS, 2)
