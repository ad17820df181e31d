"""What nbgrader knows a course by stays: names of notebooks, ids of cells, points.

nbgrader itself is not installed for the tests. With nbgrader 0.9.6, `generate_assignment` and `autograde` were run on
all sources by hand; CONTRIBUTING.md says how.
"""

import csv
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "sources"))
import build_exercises  # noqa: E402

POINTS = tomllib.loads((Path(__file__).parent / "points.toml").read_text(encoding="utf-8"))


def graded_cells(notebook) -> dict:
    return {
        cell.metadata["nbgrader"]["grade_id"]: cell.metadata["nbgrader"]
        for cell in notebook.cells
        if "nbgrader" in cell.metadata
    }


def expected_cells(points: dict[str, int]) -> dict:
    """As nbgrader's documentation lays them out: the answer is the student's, its check is locked and gives points."""
    cells = {}
    for name, worth in points.items():
        common = {"schema_version": 3, "task": False}
        cells[name] = common | {"grade_id": name, "grade": False, "solution": True, "locked": False}
        check = f"check_{name}"
        cells[check] = common | {"grade_id": check, "grade": True, "solution": False, "locked": True, "points": worth}
    return cells


def test_the_notebooks_keep_their_names():
    assert [source.stem for source in build_exercises.sources()] == list(POINTS)


@pytest.mark.parametrize("source", build_exercises.sources(), ids=lambda source: source.stem)
def test_grade_ids_and_points_stay(source):
    for file, notebook in build_exercises.notebooks(source).items():
        assert file.name == f"{source.stem}.ipynb"
        found = graded_cells(notebook)
        assert list(found) == list(expected_cells(POINTS[source.stem]))
        assert found == expected_cells(POINTS[source.stem])
        committed = nbformat.read(file, as_version=4)
        assert graded_cells(committed) == found


def test_the_whole_course_is_worth_no_less_than_it_was():
    assert sum(map(len, POINTS.values())) >= 81 and sum(sum(points.values()) for points in POINTS.values()) >= 1350


@pytest.mark.slow
def test_a_submission_made_before_the_course_was_a_package_of_its_own_is_graded(tmp_path, monkeypatch):
    if sys.platform == "win32":
        pytest.skip("grading needs POSIX")
    from tinyldm.cli import main as cli

    solved = (ROOT / "exercises" / "solutions" / "02_forward_diffusion.ipynb").read_text(encoding="utf-8")
    before = solved.replace("from tinyldm_course.checking import check", "from tinyldm.course.checking import check")
    assert before != solved
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "02_forward_diffusion.ipynb").write_text(before, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", "class", "--out", "grades.csv"]) == 0
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8") as file:
        (ada,) = csv.DictReader(file)
    assert (ada["student"], ada["points"], ada["out of"]) == ("ada", "60", "60")
