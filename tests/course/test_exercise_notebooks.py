"""The exercise notebooks are what their sources generate; solutions pass, stubs say that they are not written yet."""

import sys
from pathlib import Path

import nbformat
import pytest

from tinyldm_course.checks.calls import perform
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import find, lessons

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "sources"))
import build_exercises  # noqa: E402

SOURCES = build_exercises.sources()


def answers(notebook) -> dict:
    """Name of the exercise -> what the notebook's code defines under it."""
    namespace, names = {}, []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if cell.metadata.get("nbgrader", {}).get("grade"):
            names.append(cell.metadata["nbgrader"]["grade_id"].removeprefix("check_"))
        else:
            exec(compile(cell.source, cell["id"], "exec"), namespace)
    return {name: namespace[name] for name in names}


def diagnosed(name, answer, seed=0):
    function = answer if callable(answer) else lambda: answer
    return run_check(find(name), lambda call: perform(function, call), seed)


def test_committed_notebooks_are_what_the_sources_generate():
    assert build_exercises.stale() == [], "run: python sources/build_exercises.py"


def test_each_lesson_with_exercises_has_a_source():
    assert [int(source.stem[:2]) for source in SOURCES] == sorted(lessons())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
@pytest.mark.parametrize("seed", (0, 1, 2))
def test_solutions_pass(source, seed):
    for name, answer in answers(build_exercises.with_solutions(source)).items():
        result = diagnosed(name, answer, seed)
        assert result.passed, (name, result)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_stubs_are_not_written_yet(source):
    solved = build_exercises.with_solutions(source)
    for name, answer in answers(build_exercises.for_students(solved)).items():
        assert diagnosed(name, answer).diagnosis == "not-written", name


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_students_see_no_solution_and_lose_nothing_else(source):
    solved = build_exercises.with_solutions(source)
    student = build_exercises.for_students(solved)
    assert [cell["id"] for cell in student.cells] == [cell["id"] for cell in solved.cells]
    assert "SOLUTION" not in nbformat.writes(student)
    for cell in solved.cells:
        if cell.cell_type == "markdown":
            assert len(cell.source.split()) <= 120, cell.source
    grades = [cell.metadata["nbgrader"] for cell in student.cells if "nbgrader" in cell.metadata]
    ids = [grade["grade_id"] for grade in grades]
    assert len(set(ids)) == len(ids)
    assert all(grade["points"] > 0 and grade["locked"] for grade in grades if grade["grade"])


def test_a_source_must_hold_the_exercises_of_its_lesson(tmp_path):
    source = tmp_path / "02_other.py"
    source.write_text('# %%\nimport torch\n\n# %% solution="q_sample"\ndef q_sample():\n    pass\n')
    with pytest.raises(ValueError, match="lesson 02 has the exercises"):
        build_exercises.with_solutions(source)


def test_stubs():
    inside = "def f(x):\n    y = 1\n    ### BEGIN SOLUTION\n    return x + y\n    ### END SOLUTION"
    assert build_exercises.SOLUTION.sub(build_exercises.stub, inside) == (
        "def f(x):\n    y = 1\n    # Your code here, in the place of the next line.\n    raise NotImplementedError"
    )
    plain = "### BEGIN SOLUTION\nguess = 0.3\n### END SOLUTION"
    assert build_exercises.SOLUTION.sub(build_exercises.stub, plain).startswith("guess = ...")


def test_staleness_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(build_exercises, "ROOT", tmp_path)
    monkeypatch.setattr(build_exercises, "NOTEBOOKS", tmp_path / "exercises")
    first, *_ = files = build_exercises.notebooks(SOURCES[0])
    for file, notebook in build_exercises.notebooks(SOURCES[0]).items():
        build_exercises.write(notebook, file)
    monkeypatch.setattr(build_exercises, "sources", lambda: SOURCES[:1])
    assert build_exercises.stale() == []
    first.write_text(first.read_text(encoding="utf-8").replace("import torch", "import torch, os"), encoding="utf-8")
    (tmp_path / "exercises" / "99_old.ipynb").write_text("{}")
    problems = build_exercises.stale()
    assert len(files) == 2 and len(problems) == 2
    assert "not what its source generates" in problems[0] and "has no source" in problems[1]


@pytest.mark.slow
def test_a_student_notebook_runs_in_jupyter_and_shows_its_feedback(tmp_path, monkeypatch):
    from percent_format import executed

    monkeypatch.setenv("TINYLDM_PROGRESS", str(tmp_path / "progress.json"))
    notebook = build_exercises.with_solutions(SOURCES[0])
    student = build_exercises.for_students(notebook)
    first = next(cell for cell in notebook.cells if cell["id"].startswith("solve-"))
    for cell in student.cells:  # the first exercise solved, the others not
        if cell["id"] == first["id"]:
            cell.source = first.source
    pages = [
        output["data"]["text/html"]
        for cell in executed(student, tmp_path).cells
        if cell["id"].startswith("check-")
        for output in cell.outputs
    ]
    assert len(pages) == len(lessons()[int(SOURCES[0].stem[:2])])
    assert "✔" in pages[0] and all("not written yet" in page for page in pages[1:])
