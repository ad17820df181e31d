"""What pytest runs, tried on a small project that has this repository's conftest.py and settings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAST, SLOW, COURSE = "tests/core/test_a.py::test_fast", "tests/core/test_a.py::test_slow", "tests/course/test_b.py"
MODULE = """
import pytest

def test_fast():
    pass

@pytest.mark.slow
def test_slow():
    pass
"""
SKIPS = "import pytest\n\ndef test_skips():\n    pytest.skip('no such machine')\n"
NOTEBOOK = {
    "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": "1"}],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture
def project(tmp_path) -> Path:
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for room in ("core", "course"):
        (tmp_path / "tests" / room).mkdir(parents=True)
    (tmp_path / "tests" / "core" / "test_a.py").write_text(MODULE)
    (tmp_path / "tests" / "course" / "test_b.py").write_text(MODULE)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00.ipynb").write_text(json.dumps(NOTEBOOK))
    return tmp_path


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    clean = {name: value for name, value in clean.items() if not name.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def collected(project: Path, *arguments: str) -> set[str]:
    done = run(project, "--collect-only", "-q", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_bare_pytest_runs_the_core_without_what_is_slow(project):
    assert collected(project) == {FAST}


def test_bare_pytest_shares_the_core_between_two_processes(project):
    assert "2 workers [1 item]" in run(project).stdout
    assert "workers" not in run(project, "-n", "0").stdout and "workers" not in run(project, "-s").stdout
    assert "workers" not in run(project, "tests/core").stdout


def test_what_is_named_runs_whole(project):
    assert collected(project, "tests/core") == {FAST, SLOW}
    assert collected(project, SLOW) == {SLOW}
    assert collected(project, "tests", "-m", "not slow") == {FAST, f"{COURSE}::test_fast"}
    assert collected(project, "-m", "") == {FAST}  # an empty -m cannot be told from none


def test_all_runs_every_test_and_the_notebooks(project):
    names = collected(project, "--all")
    assert {FAST, SLOW, f"{COURSE}::test_fast", f"{COURSE}::test_slow"} < names
    assert [name for name in names if name.startswith("notebooks/00.ipynb")]
    assert collected(project, "--all", "tests/course") == {f"{COURSE}::test_fast", f"{COURSE}::test_slow"}


def test_all_reaches_the_workers_of_xdist(project):
    done = run(project, "--all", "-n", "1", "--dist", "loadfile")
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("parallel", [("-n", "0"), ()], ids=["alone", "xdist"])
def test_a_skip_that_nobody_listed_fails_a_ci_run(project, parallel):
    (project / "tests" / "core" / "test_skips.py").write_text(SKIPS)
    (project / "tests" / "core" / "test_no_module.py").write_text("import pytest\npytest.importorskip('no_module')\n")
    assert run(project, *parallel).returncode == 0
    done = run(project, *parallel, CI="true")
    assert done.returncode == 1 and "tests/core/test_skips.py::test_skips" in done.stdout, done.stdout
    assert "no such machine" in done.stdout and "tests/core/test_no_module.py: " in done.stdout
    (project / "tests" / "skips.toml").write_text('"tests/core/test_skips.py::*" = "x"\n"*test_no_module.py" = "x"\n')
    assert run(project, *parallel, CI="true").returncode == 0


def test_each_listed_skip_has_a_reason():
    import tomllib

    listed = tomllib.loads((ROOT / "tests" / "skips.toml").read_text(encoding="utf-8"))
    for pattern, reason in listed.items():
        file = pattern.partition("::")[0]
        assert (ROOT / file).is_file(), f"{pattern}: there is no {file}"
        assert len(reason.split()) >= 4, f"{pattern}: why?"
