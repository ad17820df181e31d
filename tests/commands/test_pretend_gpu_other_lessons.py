"""The other half of the lessons on the pretend GPU, in a file of its own: another process can run it meanwhile."""

import pytest
from pretend_runs import LESSONS, NEEDS_IT, run_lesson

pytestmark = NEEDS_IT


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS[1::2], ids=lambda lesson: lesson.stem)
def test_every_other_lesson_runs_there(lesson, tmp_path):
    run_lesson(lesson, tmp_path)
