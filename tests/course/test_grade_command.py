"""`tinyldm grade` as a teacher types it: honest students and killed runs lose nothing, and jobs change nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="grading needs POSIX")

ROOT = Path(__file__).parents[2]
RIGHT = """
import torch

def scaled_linear_betas(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T) ** 2

def alpha_bar_from_beta(beta):
    return torch.cumprod(1 - beta, dim=0)

def signal_to_noise(alpha_bar):
    return alpha_bar / (1 - alpha_bar)

def noise_one_step(z, beta, generator):
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise

def q_sample(z0, t, eps, alpha_bar):
    share = alpha_bar[t].view(-1, *[1] * (z0.dim() - 1)).to(z0.dtype)
    return share.sqrt() * z0 + (1 - share).sqrt() * eps
"""
CHECK = "from tinyldm_course.checking import check\n"


def notebook(*cells):
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})


def start(folder, *arguments):
    """`tinyldm grade class` in a folder."""
    command = [sys.executable, "-m", "tinyldm", "grade", "class", "--seconds", "4", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def grade(folder, *arguments):
    """Run it; the lines of the table, by student."""
    run = start(folder, *arguments)
    _, errors = run.communicate()
    assert run.returncode == 0, errors
    with open(folder / "grades.csv", newline="", encoding="utf-8") as table:
        return {line["student"]: line for line in csv.DictReader(table)}


def written(folder):
    """All that a run wrote."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] != "class"
    }


def put(folder, students):
    for name, content in students.items():
        file = folder / "class" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


@pytest.mark.slow
def test_honest_students_lose_nothing(tmp_path):
    """The handed cases 01, grading/05, 09 and 14: what a notebook does in Jupyter counts here, and prints are kept."""
    put(
        tmp_path,
        {
            "prints/02.py": "print('hello')\n" + RIGHT + "\n# %%\nprint('no newline', end='')\nwhile True: pass\n",
            "display/02.ipynb": notebook("from IPython.display import Image\ndisplay(1)\n" + RIGHT),
            "exported/lesson02.py": "# In[1]:\n\nget_ipython().run_line_magic('matplotlib', 'inline')\n" + RIGHT,
            "await/2.ipynb": notebook("import asyncio\nawait asyncio.sleep(0)\n" + RIGHT),
            "fixed/WMS 02.ipynb": notebook(
                RIGHT + "\ngood = q_sample",
                CHECK + "def q_sample(*a): return a[0]\ncheck('q_sample', q_sample)",
                "q_sample = good",
            ),
            "used up/02.ipynb.json": notebook(RIGHT, CHECK + "check('q_sample', q_sample)\nq_sample = 3"),
            "z" * 242 + "/sub/02.PY": RIGHT,
            "=cmd()|' '!A0/02.py": RIGHT,
        },
    )
    (tmp_path / "class" / "empty").mkdir()
    lines = grade(tmp_path)
    assert len(lines) == 9 and lines["empty"]["look at"] == "nothing was handed in: the folder is empty"
    for student, line in lines.items():
        assert line["points"] == ("0" if student == "empty" else "60"), line
        assert (tmp_path / "grades" / line["page"].removeprefix("'")).is_file()
    assert (tmp_path / "grades" / "printed" / "prints_02.txt").read_text().startswith("hello\nno newline")


@pytest.mark.slow
def test_what_a_cell_does_not_find_is_said_in_words(tmp_path):
    """A file beside the notebook, a package of a web site's own, somebody to answer `input()`; the rest counts."""
    put(
        tmp_path,
        {
            "helper/02.py": RIGHT + "\n# %%\nfrom helper import mine\n",
            "helper/helper.py": "mine = 1\n",
            "dots/02.py": RIGHT + "\n# %%\nfrom .helper import mine\n",
            "colab/02 (1).ipynb": notebook("from google.colab import drive\ndrive.mount('/content')", RIGHT),
            "asks/02.ipynb": notebook("name = input('Who are you? ')", RIGHT),
        },
    )
    lines = grade(tmp_path)
    assert lines["helper"]["look at"].startswith("helper.py does not say which lesson it answers")
    for student, words in {
        "helper": "No module named &#x27;helper&#x27; (only your notebook and the packages of the course are here",
        "dots": "no known parent package (only your notebook and the packages of the course are here",
        "colab": "No module named &#x27;google",
        "asks": "nobody is there to answer input()",
    }.items():
        assert lines[student]["points"] == "60"
        assert words in (tmp_path / "grades" / lines[student]["page"]).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_the_number_of_jobs_changes_no_byte(tmp_path):
    """A kill between any two results: here after the first, and in the middle of a line of the journal."""
    students = {f"s{number}/02.py": f"{RIGHT}\nprint({number})\n" for number in range(3)}
    students |= {"wrong/02.py": "def q_sample(*args):\n    return args[0]\n", "broken/02.ipynb": "{"}
    folders = [put(tmp_path / name, students) for name in ("killed", "whole")]
    grade(folders[1], "--jobs", "3")
    run, journal = start(folders[0], "--jobs", "1"), folders[0] / "grades.journal.jsonl"
    while not (journal.is_file() and journal.read_bytes().endswith(b"}\n")):
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    kept = journal.read_bytes().count(b'"student"')
    assert kept >= 1 and not (folders[0] / "grades.csv").exists()
    with open(journal, "ab") as file:
        file.write(b'\n{"key": "0", "graded": {"stu')
    run = start(folders[0], "--jobs", "1")
    _, errors = run.communicate()
    assert run.returncode == 0 and "results are kept from earlier runs" in errors
    files = [written(folder) for folder in folders]
    assert "grades.csv" in files[0] and "grades/broken.html" in files[0] and not journal.exists()
    assert files[0] == files[1]
