"""Who handed in what: honest students put files anywhere and name them anyhow, and each of them has a line."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm_course.exercises import lesson, numbers
from tinyldm_course.grading.collecting import MAX_DEPTH, lesson_of, owner, read_class, shown
from tinyldm_course.grading.submissions import WHOLE, script_cells

NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": "x = 1"}]})


def put(folder, name, content=NOTEBOOK):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content) if isinstance(content, bytes) else file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "name, number",
    [
        ("02.ipynb", 2),
        ("02_forward_diffusion.ipynb", 2),
        ("lesson02.py", 2),
        ("Lesson 2.py", 2),
        ("02.PY", 2),
        ("02.IPYNB", 2),
        ("2.ipynb", 2),
        ("WMS 02.ipynb", 2),
        ("02.ipynb.json", 2),
        ("02.ipynb.txt", 2),
        ("02.json", 2),
        ("02 (1).ipynb", 2),
        ("02_forward_diffusion-1.ipynb", 2),
        ("02-Copy1.ipynb", 2),
        ("03 - Copy (2).ipynb", 3),
        ("lesson-2.py", 2),
        ("ada_1815_12_10_lesson_9.ipynb", None),  # 12, 10 or 9?
        ("ada_1815_03.ipynb", 3),
        ("20260512_lesson03.ipynb", 3),
        ("python3_02.py", 2),
        ("03_v2.py", 3),
        ("exercise_3_final2.ipynb", None),
        ("hw1.ipynb", None),  # lesson 01 has no exercises
        ("forward_diffusion.ipynb", 2),
        ("Forward Diffusion (2) final.ipynb", 2),
        ("99.py", 99),  # as it says
        ("notes.py", None),
    ],
)
def test_a_name_tells_its_lesson(name, number):
    assert lesson_of(name) == number


@pytest.mark.parametrize("number", numbers())
def test_each_title_tells_its_lesson(number):
    assert lesson_of(lesson(number).TITLE + ".ipynb") == number
    assert lesson_of(lesson(number).TITLE.lower().replace(" ", "_") + "_ada.ipynb") == number


@pytest.mark.parametrize(
    "name, student, file",
    [
        ("02_flat_doe.ipynb", "flat_doe", "02_flat_doe.ipynb"),
        ("doe_03.py", "doe", "doe_03.py"),
        ("doe-02_forward_diffusion.ipynb", "doe", "doe-02_forward_diffusion.ipynb"),
        ("02.ipynb", "02", "02.ipynb"),
        ("doejane_1234_567890_02_forward_diffusion-1.ipynb", "doejane_1234", "02_forward_diffusion-1.ipynb"),
        ("doejane_LATE_1234_567890_03.ipynb", "doejane_1234", "03.ipynb"),
    ],
)
def test_a_file_without_a_folder_has_an_owner(name, student, file):
    assert owner(name) == (student, file)


def test_every_student_has_a_line(tmp_path):
    """The handed cases 01 and grading/14, and their siblings."""
    good = ["good/02.ipynb", "prefix/WMS 02.ipynb", "upper/02.IPYNB", "chrome/02.ipynb.json", "one_digit/2.ipynb"]
    good += ["nested/sub/02.ipynb", "02_flat_doe.ipynb", "word/lesson02.py", "..dots/02.py", ".hidden/02.ipynb"]
    good += ["git/.git/x/05.ipynb", "git/exercises/02.ipynb", "Jane Doe_123_assignsubmission_file_/02.ipynb"]
    for name in good:
        put(tmp_path, name)
    (tmp_path / "empty").mkdir()
    put(tmp_path, "zipped/homework.zip")
    put(tmp_path, "words/notes.txt")
    put(tmp_path, "unnamed/solution.ipynb")
    put(tmp_path, ".git/config")
    put(tmp_path, "__MACOSX/ada/._02.ipynb")
    put(tmp_path, "grades.csv")
    (tmp_path / "link").symlink_to("/etc")
    found = read_class(tmp_path)
    read = {one.student for one in found if one.lesson == 2 and one.cells}
    expected = {name.split("/")[0] for name in good} - {"02_flat_doe.ipynb"} | {"flat_doe"}
    expected = {name.removesuffix("_assignsubmission_file_") for name in expected}
    assert read == expected
    said = {one.student: one.problem for one in found if one.lesson == WHOLE}
    assert said == {
        "empty": "nothing was handed in: the folder is empty",
        "zipped": "nothing to grade, homework.zip is an archive; unpack it",
        "words": "nothing to grade, notes.txt is neither a notebook (.ipynb) nor a script (.py)",
        "unnamed": "nothing to grade, solution.ipynb does not say which lesson it answers; "
        "name it after the lesson: 03.ipynb",
        "link": "nothing to grade, link is a link; hand in the file itself",
    }


def test_what_lies_beside_a_submission_is_told_where_it_may_be_one(tmp_path):
    for name in ("ada/02.ipynb", "ada/README.md", "ada/picture.png", "ada/.DS_Store", "bob/02.ipynb"):
        put(tmp_path, name)
    assert {one.lesson for one in read_class(tmp_path)} == {2}
    for letter in "abcdefghi":
        put(tmp_path, f"bob/try_{letter}.ipynb")
    (said,) = [one.problem for one in read_class(tmp_path) if one.lesson == WHOLE]
    assert said.startswith("try_a.ipynb does not say which lesson") and said.endswith("and 6 more")


def test_of_two_files_the_one_that_is_meant_is_graded(tmp_path):
    put(tmp_path, "ada/02.ipynb")
    put(tmp_path, "ada/old/02.py", "x = 2")
    put(tmp_path, "bob/02.ipynb")
    put(tmp_path, "bob/02 (1).ipynb")  # the same file, saved twice
    put(tmp_path, "cem/02.ipynb")
    put(tmp_path, "cem/02 (1).ipynb", NOTEBOOK.replace("x", "y"))
    found = {(one.student, one.lesson): one for one in read_class(tmp_path)}
    assert found["ada", 2].cells == found["bob", 2].cells == ("x = 1",)
    assert found["ada", WHOLE].problem == "old/02.py was not used, but 02.ipynb"
    assert found["cem", 2].problem.startswith(
        "more than one file was handed in for this lesson: 02 (1).ipynb, 02.ipynb"
    )


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\x89PNG\0\0", "not a text file"),
        (b'{"cells": [{"cell', "it is damaged, or not a notebook"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "damaged, or not a notebook (a part without 'cells')"),
        (b'{"cells": [{"source": "x = 1"}]}', "a part without 'cell_type'); open it in Jupyter"),
        (b'{"cells": []}', "it contains no code"),
        (b'{"cells": [{"cell_type": "code", "source": " "}]}', "it contains no code"),
        (b'{"worksheets": [], "nbformat": 3}', "save it again"),
        (b" " * (2**23 + 1), "clear the outputs"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, content, words):
    put(tmp_path, "ada/02.ipynb", content)
    put(tmp_path, "bob/02.ipynb")
    ada, bob = read_class(tmp_path)
    assert words in ada.problem and ada.problem.startswith("02.ipynb cannot be read: ") and bob.cells


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_scripts_in_the_encodings_of_editors(tmp_path, encoding):
    put(tmp_path, "ada/02.py", "x = 'é'".encode(encoding))
    assert read_class(tmp_path)[0].cells == ("x = 'é'",)


def test_an_exported_script_keeps_its_cells():
    exported = "#!/usr/bin/env python\n\n# In[1]:\n\nx = 1\n\n# In[ ]:\n\nget_ipython().system('ls')\n"
    assert [cell.strip().splitlines()[-1] for cell in script_cells(exported)][-2:] == [
        "x = 1",
        "get_ipython().system('ls')",
    ]


def test_odd_folders_are_read_in_bounded_time(tmp_path):
    """Folders nested beyond the longest path, thousands of files, a loop of links, a pipe: everybody else is graded."""
    put(tmp_path, "ada/02.ipynb")
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(deep)
        for _ in range(1200):
            os.mkdir("deep")
            os.chdir("deep")
    finally:
        os.fchdir(here)
        os.close(here)
    for number in range(2100):
        put(tmp_path, f"many/{number:04d}x.txt", "")
    put(tmp_path, "many/zz/02.ipynb")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "again").symlink_to(tmp_path / "loop")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "02.ipynb")
    try:
        found = {(one.student, one.lesson): one.problem for one in read_class(tmp_path)}
    finally:
        subprocess.run(["rm", "-rf", str(deep)], check=True)  # pytest's own cleaning is recursive
    assert found["ada", 2] == ""
    assert f"folders more than {MAX_DEPTH} deep" in found["deep", WHOLE]
    assert "only the first 2,000 files" in found["many", WHOLE]
    assert "again is a link" in found["loop", WHOLE]
    assert found["pipe", 2] == "02.ipynb cannot be read: it is not a regular file"


NAMES = [
    "z" * 245,
    "ünï" * 40,
    "=cmd()|' '!A0",
    "a;=b",
    "a\nb",
    "a\x1b[31mb",
    "a\u202eb",
    "-rf",
    "con",
    " x ",
    "~",
    "'",
]


def test_every_name_a_folder_can_have_is_shown_safely(tmp_path):
    for name in NAMES:
        put(tmp_path, f"{name}/02.ipynb")
    if sys.platform == "linux":
        os.makedirs(os.fsencode(tmp_path) + b"/\xff\xfe")
        os.makedirs(os.fsencode(tmp_path) + b"/\xff\xfd")
        NAMES_THERE = [*NAMES, "\udcff\udcfe", "\udcff\udcfd"]
    else:
        NAMES_THERE = NAMES
    students = {one.student for one in read_class(tmp_path)}
    assert len(students) == len(NAMES_THERE)
    for student in students:
        assert student.isprintable() and len(student) <= 89
        student.encode()


def test_two_names_that_look_alike_stay_two():
    assert shown("a\x1b") != shown("a\x07") and shown("ada") == "ada"
    assert shown("x" * 200 + "1") != shown("x" * 200 + "2")
