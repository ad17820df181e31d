"""Runs programs and lessons on a pretend GPU, each in a Python of its own: for the tests of pretend_gpu.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

NEEDS_IT = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch lets Python add no devices",
)
HERE = Path(__file__).parent
LONG = ("03", "10", "12", "21")  # one to four minutes each on one core; what they build, the others use, too
LESSONS = [
    lesson
    for lesson in sorted((HERE.parent / "sources" / "lessons").glob("[0-9][0-9]_*.py"))
    if "choose_device" in lesson.read_text(encoding="utf-8") and not lesson.name.startswith(LONG)
]


def run(*arguments, cwd):
    """A Python of its own, because the pretend GPU stays for as long as the process lives."""
    environment = os.environ | {"TINYLDM_FAST": "1", "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run_lesson(lesson, cwd):
    """Run the source of a lesson there; fail unless it says that it did."""
    assert "runs on pretend" in run(HERE / "pretend_gpu.py", lesson, cwd=cwd)
