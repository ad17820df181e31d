"""Files for other systems: what they hold, by the systems' own documentation; and what of it can be run here is run."""

import csv
import io
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm.cli import main as cli
from tinyldm_course.grading import export, gradebooks, gradescope
from tinyldm_course.grading.marking import Graded, Mark
from tinyldm_course.grading.submissions import WHOLE

ROOT = Path(__file__).parents[2]
SOLUTION = ROOT / "exercises" / "solutions" / "02_forward_diffusion.ipynb"
TABLE = (
    '"student","points","out of","q_sample","look at","page"\n'
    '"doejane_1234","40","60","20","","doejane_1234.html"\n'
    '"Roe, Rick","0","60","","02: 02.ipynb cannot be read: it is empty","Roe, Rick.html"\n'
)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "grades.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path / "grades.csv"


def lines_of(text):
    return list(csv.reader(io.StringIO(text)))


# ── The command ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line, words",
    [
        (["gradescope"], "expected the number of a lesson"),
        (["gradescope", "99"], "02, 03"),
        (["github", "x"], "expected the number of a lesson"),
        (["slurm", "02"], "takes no lesson"),
        (["canvas"], "expected the table"),
        (["moodle", "nowhere.csv"], "cannot be read"),
        (["gradescope", "02", "--hidden", "nowhere"], "is not a folder"),
        (["gradescope", "02", "--out", "x.tar"], ".zip"),
        (["other"], "invalid choice"),
        (["kubernetes", "--shares", "0"], "given, expected 1"),
    ],
)
def test_a_wrong_command_line_says_what_is_right(tmp_path, monkeypatch, capsys, line, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *line]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("system", ["github", "jupyterhub", "kubernetes", "slurm"])
def test_files_are_written_once_and_hold_no_open_places(tmp_path, monkeypatch, capsys, system):
    monkeypatch.chdir(tmp_path)
    line = ["export", system, *(["3"] if system == "github" else []), "--out", "files"]
    assert cli.main(line) == 0
    files = [path for path in Path("files").rglob("*") if path.is_file()]
    assert files and not any(re.search(r"@[A-Z]+@", file.read_text(encoding="utf-8")) for file in files)
    assert cli.main(line) == 2 and "exist already" in capsys.readouterr().err


@pytest.mark.parametrize("template", sorted(export.TEMPLATES.rglob("*.*")), ids=lambda path: path.name)
def test_what_a_machine_reads_can_be_read(tmp_path, template):
    text = export.Choices(2).filled(template.read_text(encoding="utf-8"))
    if template.suffix in (".yml", ".yaml"):
        assert all(yaml.safe_load_all(text))
    elif template.suffix == ".py":
        (tmp_path / "config.py").write_text(text)
        py_compile.compile(str(tmp_path / "config.py"), doraise=True)
    elif template.suffix in (".sh", ".sbatch"):
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


# ── Gradescope ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The zip for lesson 02 with a hidden check, unpacked as Gradescope does."""
    folder = tmp_path_factory.mktemp("autograder")
    (folder / "mine").mkdir()
    (folder / "mine" / "lesson_02.py").write_text("EXERCISES = ()\n")
    export.write_gradescope(folder / "bundle.zip", export.Choices(2, folder / "mine"))
    with zipfile.ZipFile(folder / "bundle.zip") as whole:
        for entry in whole.infolist():
            whole.extract(entry, folder / "source")
            (folder / "source" / entry.filename).chmod(entry.external_attr >> 16)
    return folder


def test_the_bundle_holds_what_gradescope_asks_for(bundle):
    """Both scripts in the root of the archive, executable: gradescope-autograders.readthedocs.io, "specs"."""
    for name in ("setup.sh", "run_autograder"):
        assert os.access(bundle / "source" / name, os.X_OK)
        assert (bundle / "source" / name).read_text().startswith("#!/usr/bin/env bash\n")
        assert subprocess.run(["bash", "-n", str(bundle / "source" / name)]).returncode == 0
    assert (bundle / "bundle.zip").stat().st_size < 2**21
    assert (bundle / "source" / "hidden" / "lesson_02.py").is_file()
    pins = (bundle / "source" / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins) and "torch" not in "".join(pins)
    assert re.search(r'"torch==[\d.]+"', (bundle / "source" / "setup.sh").read_text())


def autograded(bundle, files):
    """results.json for a submission, by the bundle's own script and its own copy of the package."""
    shutil.rmtree(bundle / "submission", ignore_errors=True)
    (bundle / "submission").mkdir()
    for name, content in files.items():
        (bundle / "submission" / name).write_text(content, encoding="utf-8")
    run = subprocess.run(
        [str(bundle / "source" / "run_autograder")],
        env=os.environ | {"AUTOGRADER": str(bundle), "PYTHON": sys.executable, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        cwd=bundle,
    )
    assert run.returncode == 0, run.stderr
    return json.loads((bundle / "results" / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_run_autograder_on_a_good_submission(bundle):
    """Whatever the student calls the file: the assignment says which lesson it is."""
    found = autograded(bundle, {"my homework.ipynb": SOLUTION.read_text(encoding="utf-8"), "README.md": "hello"})
    assert found["score"] == 60 and found["output"] == ""
    assert [test["score"] for test in found["tests"]] == [test["max_score"] for test in found["tests"]]
    assert {test["status"] for test in found["tests"]} == {"passed"} and len(found["tests"]) == 5


@pytest.mark.slow
def test_run_autograder_on_a_bad_submission(bundle):
    found = autograded(
        bundle, {"02.py": "from tinyldm import NoiseSchedule\ndef q_sample(*args):\n    return 0\n# %%\n1 / 0\n"}
    )
    assert found["score"] == 0 and "ZeroDivisionError" in found["output"]
    assert {test["status"] for test in found["tests"]} == {"failed"}


@pytest.mark.slow
def test_run_autograder_on_no_submission_tells_the_student_why(bundle):
    found = autograded(bundle, {"02.zip": "PK"})
    assert found["score"] == 0 and "02.zip is an archive; unpack it" in found["output"]


def test_results_keep_to_the_specification():
    """Names, types and words of "Output format" in Gradescope's autograder specifications."""
    marks = (Mark("a", "A", 20, 20, "", "<p>right</p>"), Mark("b", "B", 0, 10, "crash", "<p>no</p>", ("uses exec",)))
    graded = [Graded("ada", 2, marks, "", ((3, "line 1: E"),)), Graded("ada", WHOLE, (), "x.zip is an archive")]
    found = json.loads(json.dumps(gradescope.results(graded)))
    assert found["score"] == 20 and found["visibility"] == "visible" and found["stdout_visibility"] == "hidden"
    assert found["output"].splitlines() == ["x.zip is an archive", "Cell 3 did not run: line 1: E"]
    keys = {"score", "max_score", "status", "name", "name_format", "number", "output", "output_format", "tags"}
    for test in found["tests"]:
        assert set(test) <= keys | {"visibility", "extra_data"}
        assert test.get("output_format", "text") in ("text", "html", "simple_format", "md", "ansi")
        assert test["visibility"] in ("hidden", "after_due_date", "after_published", "visible")
        assert test.get("status", "passed") in ("passed", "failed")
    (hidden,) = [test for test in found["tests"] if test["visibility"] == "hidden"]
    assert hidden["output"] == "b: uses exec" and "score" not in hidden


def test_results_are_for_one_student(tmp_path):
    with pytest.raises(ValueError, match="for one student"):
        gradescope.write(tmp_path / "results.json", [Graded("ada", 2, ()), Graded("bob", 2, ())])


# ── Canvas ───────────────────────────────────────────────────────────────────────────────────────────


def canvas_takes(text: str) -> dict[str, str]:
    """User id or name -> grade, by the rules of canvas-lms, lib/gradebook_importer.rb."""
    header, *rows = lines_of(text)
    assert "Student" in header[0] and "ID" in header[1]
    columns = 3
    if header[2] == "SIS User ID" and header[3] == "SIS Login ID":
        columns += 2
    assert "Section" in header[columns - 1] and len(header) == columns + 1
    assert "Points Possible" in rows[0][0] and rows[0][columns]
    assert len({len(line) for line in (header, *rows)}) == 1  # or it would guess another separator
    return {row[1] or row[0]: row[columns] for row in rows[1:]}


def test_canvas_without_a_roster(table):
    text, left = gradebooks.canvas(gradebooks.read_table(table), None, "Lesson 02")
    assert canvas_takes(text) == {"1234": "40"} and left == ["Roe, Rick"]
    assert lines_of(text)[0][-1] == "Lesson 02"


def test_canvas_with_its_own_export_as_roster(table, tmp_path, capsys):
    (tmp_path / "roster.csv").write_text(
        "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Lesson 02 (4711)\n"
        "    Points Possible,,,,,60\n"
        '"Doe, Jane",1234,j1,jane@school.example,A,\n'
        '"Roe, Rick",77,r1,rick@school.example,A,\n'
        '"Moe, Max",88,m1,max@school.example,B,\n',
        encoding="utf-8",
    )
    line = ["export", "canvas", str(table), "--roster", str(tmp_path / "roster.csv"), "--title", "Lesson 02 (4711)"]
    assert cli.main(line) == 0 and "2 of 2 students" in capsys.readouterr().out
    assert canvas_takes((tmp_path / "grades.canvas.csv").read_text(encoding="utf-8")) == {"1234": "40", "77": "0"}


# ── Moodle ───────────────────────────────────────────────────────────────────────────────────────────


def moodle_takes(text: str) -> dict[str, tuple[str, str]]:
    """Participant -> (grade, feedback), by the rules of moodle, mod/assign/feedback/offline/importgradeslib.php."""
    header, *rows = lines_of(text)
    needed = [header.index(name) for name in ("Identifier", "Grade", "Last modified (grade)")]
    feedback = header.index("Feedback comments")
    return {row[needed[0]][len("Participant ") :]: (row[needed[1]], row[feedback]) for row in rows}


def test_moodle_without_a_roster(tmp_path):
    (tmp_path / "grades.csv").write_text(TABLE.replace("doejane_1234", "Jane Doe_4321"), encoding="utf-8")
    text, left = gradebooks.moodle(gradebooks.read_table(tmp_path / "grades.csv"), None)
    assert moodle_takes(text) == {"4321": ("40", "")} and left == ["Roe, Rick"]


def test_moodle_with_its_own_worksheet_as_roster(table, tmp_path, capsys):
    (tmp_path / "sheet.csv").write_text(
        "Identifier,Full name,Email address,Status,Grade,Maximum grade,Grade can be changed,"
        "Last modified (submission),Last modified (grade),Feedback comments\n"
        "Participant 1234,Jane Doe,jane@school.example,Submitted for grading,,60.00,Yes,x,-,\n"
        "Participant 5,Rick Roe,rick@school.example,Submitted for grading,,60.00,Yes,x,-,\n",
        encoding="utf-8",
    )
    assert cli.main(["export", "moodle", str(table), "--roster", str(tmp_path / "sheet.csv")]) == 0
    text = (tmp_path / "grades.moodle.csv").read_text(encoding="utf-8")
    assert moodle_takes(text) == {"1234": ("40", ""), "5": ("0", "02: 02.ipynb cannot be read: it is empty")}
    assert lines_of(text)[1][5] == "60.00"  # Moodle's own columns stay


def test_a_name_that_two_students_have_is_given_to_neither(table, tmp_path):
    roster = [{"Full name": "Rick Roe", "Identifier": f"Participant {number}"} for number in (5, 6)]
    _, left = gradebooks.moodle(gradebooks.read_table(table), roster)
    assert "Roe, Rick" in left


# ── Job arrays ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_shares_of_a_class_make_the_table_of_the_whole(tmp_path, monkeypatch):
    """The SLURM scripts themselves, with the variables that SLURM sets; pods get the same command."""
    for number, code in enumerate(("def q_sample(*args): return 0", "x = 1", "1 / 0", "while True: pass", "import os")):
        (tmp_path / "class" / f"s{number}").mkdir(parents=True)
        (tmp_path / "class" / f"s{number}" / "02.py").write_text(code)
    (tmp_path / "class" / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", "class", "--out", "whole.csv"]) == 0
    export.write_folder("slurm", Path("jobs"), export.Choices(shares=3))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "tinyldm"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tinyldm "$@"\n')
    command.chmod(0o755)
    env = os.environ | {"CLASS": "class", "RESULTS": str(tmp_path), "SLURM_CPUS_PER_TASK": "1"}
    env |= {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for task in (3, 1):  # one is lost
        subprocess.run(["bash", "jobs/grading.sbatch"], env=env | {"SLURM_ARRAY_TASK_ID": str(task)}, check=True)
    assert sorted(path.name for path in tmp_path.glob("grades.journal*")) == [
        "grades.journal.1-of-3.jsonl",
        "grades.journal.3-of-3.jsonl",
    ]
    merged = subprocess.run(["bash", "jobs/merge.sbatch"], env=env, check=True, capture_output=True, text=True)
    assert "results are kept from earlier runs" in merged.stderr
    assert (tmp_path / "grades.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    for page in (tmp_path / "whole").glob("*.html"):
        assert page.read_bytes() == (tmp_path / "grades" / page.name).read_bytes()
    assert not list(tmp_path.glob("grades.journal*"))
