"""The parts of grading that need no student's process: files, frames, reports, and what is said about a machine."""

import contextlib
import csv
import io
import json
import math
import random
import re
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm.cli import main as cli
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import Call, Error, Made, Outcome, Seeded, perform
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import lessons
from tinyldm_course.grading import reports, wire
from tinyldm_course.grading.classroom import Terms, seed_of
from tinyldm_course.grading.collecting import read_class
from tinyldm_course.grading.isolation import ANSWERS, Isolation, readable, trusting, without
from tinyldm_course.grading.journal import Journal, key_of
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.marking import Graded, Mark, checks_of, read_hidden, require_sendable
from tinyldm_course.grading.session import validated_outcome
from tinyldm_course.grading.source import Notebook, without_magics
from tinyldm_course.grading.submissions import WHOLE, Submission

ROOT = Path(__file__).parents[2]
README = ROOT / "exercises" / "README.md"
TERMS = Terms(trusting(), Limits(), None, 5)

# ── Submissions ──────────────────────────────────────────────────────────────────────────────────────

BROKEN = {
    "cut": b'{"cells": [{"cell_type": "code", "sou',
    "binary": bytes(range(256)),
    "no_cells": b"{}",
    "a_list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "strange_source": b'{"cells": [{"cell_type": "code", "source": 7}]}',
    "empty": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_corrupt_notebook_is_a_problem_of_its_own(tmp_path, name):
    whole = b'{"cells": [{"cell_type": "code", "source": ["x = 1"]}]}'
    for student, content in (("ada", whole), ("bob", BROKEN[name])):
        (tmp_path / student).mkdir()
        (tmp_path / student / "03_reverse.ipynb").write_bytes(content)
    ada, bob = read_class(tmp_path)
    assert ada.cells == ("x = 1",) and not ada.problem
    assert bob.problem.startswith("03_reverse.ipynb cannot be read") and bob.lesson == 3


def test_files_that_are_none(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "02.py").symlink_to("/etc/passwd")
    (tmp_path / "ada" / "03.py").mkdir()  # a folder, however it is called
    (tmp_path / "ada" / "05.ipynb").write_text("{}")
    (tmp_path / "ada" / "05_again.py").write_text("x = 1")
    (tmp_path / "ada" / "06.py").write_text("x" * (2**20 + 1))
    (tmp_path / "ada" / "notes.py").write_text("ignored")
    problems = {one.lesson: one.problem for one in read_class(tmp_path)}
    assert "02.py is a link" in problems[WHOLE] and "notes.py does not say which lesson" in problems[WHOLE]
    assert "more than one file" in problems[5] and "characters of code" in problems[6] and len(problems) == 3


def test_a_folder_without_submissions_is_a_mistake(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", "nowhere"]) == 2
    assert "is not a folder" in capsys.readouterr().err
    (tmp_path / "class").mkdir()
    assert cli.main(["grade", "class"]) == 2
    error = capsys.readouterr().err
    assert "contains no submissions" in error and "03.ipynb" in error and error.count("\n") == 1
    assert cli.main(["grade", "class", "--out", "grades.xlsx"]) == 2
    assert ".csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "cell, expected",
    [
        ("x = 1", "x = 1"),
        ('text = """\n%d percent\n"""', 'text = """\n%d percent\n"""'),  # it is Python: untouched
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("if True:\n    !ls\nx = 1", "if True:\n    pass\nx = 1"),
        ("files = !ls\ntorch.randn?\nx = 1", "pass\npass\nx = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("%%bash\nrm -rf /", ""),
    ],
)
def test_magics_are_left_out(cell, expected):
    assert without_magics(cell) == expected


@pytest.mark.parametrize(
    "code, expected",
    [
        ("def f(x):\n    return x", []),
        (
            "import torch\nfrom tinyldm_course.checking import check\n"
            "def f(x):\n    return torch.cos(x)\ncheck('f', f)",
            [],
        ),
        ("import tinyldm\ndef f(x):\n    return x", []),  # imported, not used
        ("from tinyldm import ddim\ndef f(x):\n    return ddim(x)", ["tinyldm.ddim"]),
        ("import tinyldm.vae as v\ndef f(x):\n    return v.Encoder(x)", ["tinyldm.vae.Encoder"]),
        ("from tinyldm.unet import *\ndef f(x):\n    return UNet(x)", ["tinyldm.unet.*"]),
        ("def f(x):\n    import diffusers\n    return diffusers.DDIMScheduler()", ["diffusers.DDIMScheduler"]),
        ("from tinyldm import ddim\nhelp_me = ddim\ndef g(x):\n    return help_me(x)\nf = g", ["tinyldm.ddim"]),
        ("import tinyldm\ndef mine(x):\n    return tinyldm.ddim(x)\ndef f(x): ...\ncheck('f', mine)", ["tinyldm.ddim"]),
        ("def f(x):\n    return eval('x + 1')", ["eval"]),
        (
            "import importlib\nf = lambda x: getattr(importlib.import_module('tiny' + 'ldm'), 'ddim')(x)",
            ["getattr", "importlib.import_module"],
        ),
        (
            "from tinyldm_course.exercises.lesson_02.q_sample import q_sample as f",
            ["tinyldm_course.exercises.lesson_02.q_sample.q_sample"],
        ),
        ("signal = 1\ndef f(x):\n    return signal / x", []),
    ],
)
def test_what_looks_borrowed(code, expected):
    assert Notebook(code.split("\n# cell\n")).borrowed("f") == expected


def test_the_seed_is_the_classes_own(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "02.py").write_text("x = 1")
    first = seed_of(read_class(tmp_path))
    assert first == seed_of(read_class(tmp_path)) and 0 <= first < 2**31
    (tmp_path / "ada" / "02.py").write_text("x = 2")
    assert first != seed_of(read_class(tmp_path))


# ── Frames ───────────────────────────────────────────────────────────────────────────────────────────


def passed_on(value, makers_allowed=False):
    """What arrives at the other end."""
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=wire.send, args=(ours, wire.frame(value)))
    sender.start()
    try:
        return wire.receive(theirs, time.monotonic() + 20, makers_allowed)
    finally:
        sender.join()
        ours.close()
        theirs.close()


def test_values_arrive_as_they_were():
    tensors = [
        torch.randn(2, 3, dtype=torch.float64),
        torch.arange(3),
        torch.tensor(True),
        torch.zeros(0, 4),
        torch.randn(4, 6).t()[::2],
        torch.ones(2, dtype=torch.bfloat16),
        torch.randn(3, 3000, 30),
        torch.tensor([1 + 2j, 3 - 1j]).conj(),
        torch.tensor([1 + 2j]).conj().imag,
    ]
    plain = {"a": (1, -2.5, None, "é\n", True), "b": [float("inf"), 2**70, ...], "c": {"d": []}}
    found = passed_on([tensors, plain])
    assert found[1] == plain and isinstance(found[1]["a"], tuple)
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(tensors, found[0]))
    meta = passed_on(torch.empty(3, 5, device="meta"))
    assert meta.device.type == "meta" and meta.shape == (3, 5)


def test_calls_and_outcomes_arrive():
    call = Call((torch.ones(2), Seeded(4), Made(makers.toy_unet)), build=(3,), gradients=True, device="meta", seed=9)
    found = passed_on(call, makers_allowed=True)
    assert found.args[1:] == call.args[1:] and found.build == (3,) and found.gradients and found.seed == 9
    outcome = Outcome((torch.ones(2), 1), (None,), (torch.zeros(1),), {"weight": (2, 3)}, None, 0.5)
    found = passed_on(outcome)
    assert found.parameters == {"weight": (2, 3)} and torch.equal(found.value[0], torch.ones(2))
    assert passed_on(Outcome(error=Error("E", "m", 3, "c"))).error == Error("E", "m", 3, "c")


@pytest.mark.parametrize("value", [object(), {1, 2}, torch.ones(2).to_sparse(), lambda: 0, torch.ones(2**25)[None]])
def test_what_cannot_be_sent_says_so(value):
    with pytest.raises((TypeError, ValueError)):
        wire.frame(value)


def received(data: bytes):
    ours, theirs = socket.socketpair()

    def send():
        with contextlib.suppress(OSError):  # refused before its end
            ours.sendall(data)
        ours.close()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return wire.receive(theirs, time.monotonic() + 60)
    finally:
        theirs.close()
        sender.join()


def framed(tree, tensors=b"") -> bytes:
    text = json.dumps(tree).encode()
    return wire.HEADER.pack(len(text), len(tensors)) + text + tensors


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"passed",
        b"\xff" * 100,
        wire.HEADER.pack(2**31, 0),
        wire.HEADER.pack(5, 0) + b"[[[[[",
        wire.HEADER.pack(60_000, 0) + b"[" * 60_000,
        framed([1]),
        framed({"is": "tensor", "key": "0"}),
        framed({"is": "Made", "maker": "tinyldm.cli.main:main", "args": None}),
        framed({"is": "Popen", "of": None}),
        framed({"is": "meta", "shape": [-1], "dtype": "float32"}),
        framed({"is": "meta", "shape": [2**39] * 9, "dtype": "float32"}),
        framed({"is": "Outcome", "of": {"is": "dict", "of": [["surprise", 1]]}}),
        framed({"is": "dict", "of": [[{"is": "list", "of": []}, 1]]}),
        framed({"is": "tensor", "key": "0"}, b"\x10\0\0\0\0\0\0\0garbage"),
        framed({"is": "list", "of": [{"is": "tensor", "key": "0"}] * 200_000}, save({"0": torch.ones(2)})),
        framed(None, save({str(number): torch.ones(()) for number in range(20_000)})),
    ],
)
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(wire.BadFrame):
        received(data)


def test_damaged_frames_are_refused_or_plain():
    """Fuzzing: whatever bytes change, there is a BadFrame, or a value of plain parts; never another error."""
    whole, rng = (
        wire.frame({"n": 1, "outcome": Outcome((torch.ones(2, 2), "x"), (None,), (torch.ones(1),), {})}),
        random.Random(0),
    )
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(wire.HEADER.size, len(data))] = rng.randrange(256)
        try:
            received(bytes(data))
        except wire.BadFrame:
            refused += 1
    assert 100 < refused < 500


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        "passed",
        {"passed": True},
        Outcome(1, (), ()),
        Outcome(1, (None, None), (1,), {}),
        Outcome(1, ("x",), (1,), {}),
        Outcome(1, (None,), (1,), None),
        Outcome(1, (None,), (1,), {"w": 3}),
        Outcome(error="none"),
        Outcome(error=Error("E", "m", "line 3")),
    ],
)
def test_an_outcome_is_not_taken_for_granted(outcome):
    with pytest.raises(wire.BadFrame):
        validated_outcome(outcome, Call((torch.ones(1),)))


def test_a_sound_outcome_passes_with_what_the_parent_knows():
    call = Call((torch.ones(1), Made(makers.toy_unet)))
    found = validated_outcome(Outcome(torch.ones(1), (None, None), (torch.ones(1), None), {}, seconds=-99.0), call)
    assert found.args_after[1] == call.args[1] and found.seconds == 0


def test_nothing_is_pickled():
    """Neither by the child nor in what the parent reads from it (multiprocessing's own pipes are between graders)."""
    folder = ANSWERS.parent / "grading"
    for name in ("wire", "confine", "child", "sandbox", "session", "attacks"):
        text = (folder / f"{name}.py").read_text()
        assert "import pickle" not in text and "torch.load" not in text and "multiprocessing" not in text


# ── Exercises ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "exercise", [exercise for all_of in lessons().values() for exercise in all_of], ids=lambda exercise: exercise.name
)
def test_all_exercises_can_be_graded(exercise):
    """Their calls go over the wire: plain arguments, and makers that the student's process may see."""
    require_sendable(exercise)


def like(value, forge):
    """A value of the same structure with other numbers in it."""
    if isinstance(value, torch.Tensor):
        return forge(value)
    if isinstance(value, (list, tuple)):
        return type(value)(like(item, forge) for item in value)
    if isinstance(value, dict):
        return {key: like(item, forge) for key, item in value.items()}
    if isinstance(value, (int, float)):
        found = forge(torch.tensor(float(value)))
        return found.item() if found.device.type == "cpu" and found.numel() == 1 else found
    return value if value is None else "forged"


FORGERIES = {
    "nan": lambda tensor: torch.full(tensor.shape, math.nan),
    "nan_of_its_type": lambda tensor: tensor.double().mul(math.nan).to(tensor.dtype),
    "infinity": lambda tensor: torch.full(tensor.shape, math.inf),
    "minus_infinity": lambda tensor: torch.full(tensor.shape, -math.inf),
    "complex": lambda tensor: torch.full(tensor.shape, complex(math.nan, math.nan)),
    "meta": lambda tensor: torch.empty_like(tensor, device="meta"),
    "empty": lambda tensor: torch.zeros(0),
    "no_dimension": lambda tensor: torch.tensor(math.nan),
    "other_numbers": lambda tensor: 1.5 * tensor.double() + 7.7,
    "broadcast": lambda tensor: tensor[None] if tensor.dim() else torch.full((2,), math.nan),
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize(
    "exercise", [exercise for all_of in lessons().values() for exercise in all_of], ids=lambda exercise: exercise.name
)
def test_no_forged_outcome_passes(exercise, forgery):
    """The best of liars: it knows the right structure, has every gradient and unchanged inputs, and no right value."""

    def lie(call: Call) -> Outcome:
        truth = perform(exercise.answer, call)
        value = like(truth.value, FORGERIES[forgery])
        return replace(truth, value=value, error=None)

    try:
        assert not run_check(exercise, lie, 3).passed
    except AssertionError:
        raise
    except Exception as error:  # judging.judged takes that for no pass
        assert forgery not in ("nan", "other_numbers"), error


@pytest.mark.parametrize(
    "exercise", [exercise for all_of in lessons().values() for exercise in all_of], ids=lambda exercise: exercise.name
)
@pytest.mark.parametrize("error", ["ValueError", "RuntimeError", "NotImplementedError", "TimeUp", ""])
def test_no_claimed_error_passes(exercise, error):
    assert not run_check(exercise, lambda call: validated_outcome(Outcome(error=Error(error, "")), call), 3).passed


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("lesson_02.py", "EXERCISES = 3", "does not load"),
        ("lesson_02.py", "def", "SyntaxError"),
        ("helpers.py", "", "lesson_NN.py"),
        (None, "", "contains no lesson_NN.py"),
    ],
)
def test_hidden_checks_that_are_none(tmp_path, name, text, words):
    if name:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        read_hidden(tmp_path)


def test_the_readmes_hidden_check_is_one(tmp_path):
    readme = README.read_text(encoding="utf-8")
    (tmp_path / "lesson_02.py").write_text(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1])
    (exercise,) = read_hidden(tmp_path)[2]
    assert len(checks_of(2, {2: (exercise,)})["q_sample"]) == 2
    assert run_check(exercise, lambda call: perform(exercise.answer, call), 1).passed


def test_the_course_plans_add_up():
    plans = (ROOT / "docs" / "teacher" / "plans.md").read_text(encoding="utf-8")
    tables = re.findall(r"\| week \|.*?\*\*100\*\* \|", plans, re.DOTALL)
    for weeks, table in zip((6, 12), tables, strict=True):
        rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:-1]]
        total = table.splitlines()[-1]
        assert len(rows) == weeks and sum(int(row[3]) for row in rows) == 100
        assert f"**{sum(int(row[2]) for row in rows)}**" in total
        assert re.findall(r"\b(\d\d) ", " ".join(f"{row[1]} " for row in rows)) == [f"{n:02d}" for n in range(17)]
    after = plans.partition("| week | lessons | hours |\n")[2].partition("\n\n")[0]
    known = [file.name[:2] for file in sorted((ROOT / "sources" / "lessons").glob("[0-9][0-9]_*.py"))]
    assert re.findall(r"\b(\d\d) [a-z]", after) == known[17:]


# ── Reports ──────────────────────────────────────────────────────────────────────────────────────────


def test_reports_do_not_run_what_students_write():
    """No markup from a student's name or error gets into a page, and no formula into a spreadsheet."""
    mark = Mark("q_sample", "<b>Title</b>", 0, 20, "crash", "<div>feedback</div>", ("uses <script>",))
    one = Graded("=cmd()|<script>", 2, (mark,), "", ((3, "Error: <script>alert(1)</script> \ud800"),))
    page = reports.page(one.student, [one], [3], 50, TERMS)
    assert "<script>" not in page and "&lt;script&gt;" in page and "0 of 50" in page and "Not handed in" in page
    assert "NOT ISOLATED, as --trust-students asked" in page
    (line,) = csv.DictReader(io.StringIO(reports.table([one], {"q_sample": 20, "other": 10}, {one.student: "cmd"})))
    assert line == {
        "student": "'=cmd()|<script>",
        "points": "0",
        "out of": "30",
        "q_sample": "0",
        "other": "",
        "look at": "q_sample: uses <script>",
        "page": "cmd.html",
    }


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", ";=", ";@", "\t=", "\n=", "\r\n=", '"\n=', '";=', "\x1b[31m=", " ="]
)
def test_no_cell_of_the_table_is_a_formula_whatever_the_separator(start, separator):
    """Spreadsheets of many countries split at ";", where the quotes of a file with "," protect nothing."""
    text = f"{start}cmd|' /C calc'!A0"
    one = Graded(text, 2, (Mark("q_sample", "", 0, 20, "crash", "", (text,)),), text)
    table = reports.table([one], {"q_sample": 20}, {text: text})
    assert all(letter.isprintable() for letter in table.replace("\n", "")) and table.count("\n") == 2
    for cell in (cell for line in csv.reader(io.StringIO(table), delimiter=separator) for cell in line):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell


def test_a_table_stays_readable_however_much_there_is_to_look_at():
    notes = tuple(f"called {number}" + "A" * 300 for number in range(20_000))
    one = Graded("bob", 2, (Mark("q_sample", "", 0, 20, "crash", "page", notes),))
    (line,) = csv.DictReader(io.StringIO(reports.table([one], {"q_sample": 20}, {"bob": "bob"})))
    assert "called 29A" in line["look at"] and "called 30A" not in line["look at"]
    assert "and 19,970 more" in line["look at"] and len(line["look at"]) < 32_767  # what a cell of Excel holds
    assert len(reports.page("bob", [one], [], 20, TERMS)) < 32_767


def test_every_page_has_a_name_that_files_may_have():
    long = "z" * 80 + "~12345678"
    students = [
        "ada",
        "Ada",
        "ADA",
        "李雷",
        "José",
        "..dots",
        "con",
        "a/b",
        "a\\b",
        'x"<y>',
        "x:",
        "é" * 80,
        long,
        "",
        "~",
    ]
    names = reports.page_names(students)
    assert list(names.values()) == list(reports.page_names(reversed(students)).values())
    assert len({name.lower() for name in names.values()}) == len(students)
    assert names["李雷"] == "李雷" and names["José"] == "José" and names[long] == long
    for name in names.values():
        assert len(name.encode()) <= 130 and not set(name) & set('/\\<>:"|?*') and name.lower() != "con"
        assert name == name.strip(" .") and name


def test_what_was_printed_does_not_steer_a_terminal():
    assert reports.plain(b"a\tb\n\x1b[2Jc\r\x07\xff") == "a\tb\n�[2Jc���".encode()


def test_a_page_that_cannot_be_written_costs_no_grade(tmp_path, monkeypatch):
    graded = [Graded(name, 2, (Mark("q_sample", "", 20, 20, "", "page"),)) for name in ("ada", "bob", "cem")]
    (tmp_path / "grades" / "bob.html").mkdir(parents=True)
    with pytest.raises(OSError, match="1 pages are not"):
        reports.write(tmp_path / "grades.csv", graded, TERMS)
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8").count('"20"') >= 3
    assert (tmp_path / "grades" / "ada.html").is_file() and (tmp_path / "grades" / "cem.html").is_file()


# ── Journal ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_journal_gives_back_what_it_was_given(tmp_path):
    journal = Journal(tmp_path / "grades.csv")
    marks = (Mark("q_sample", "<b>", 0, 20, "crash", "<p>\ud800</p>", ("uses exec",)), Mark("b", "", 10, 10, "", ""))
    first = Graded("ada", 2, marks, "", ((3, "E: \ud800"),), bytes(range(256)))
    second = Graded("bob", 3, (), "it is empty")
    journal.append("1", first)
    journal.append("2", second)
    assert journal.read() == {"1": first, "2": second}


def test_a_journal_that_was_cut_short_loses_its_last_line_only(tmp_path):
    journal = Journal(tmp_path / "grades.csv")
    for number in range(3):
        journal.append(str(number), Graded(f"student{number}", 2, ()))
    whole = journal.file.read_bytes()
    for length in range(0, len(whole) - 1, 11):
        journal.file.write_bytes(whole[:length])
        assert len(journal.read()) >= whole[:length].count(b"}}\n")
        journal.append("new", Graded("new", 2, ()))
        assert "new" in journal.read() and set(journal.read()) <= {"0", "1", "2", "new"}


def test_lines_that_are_no_results_are_passed_over(tmp_path):
    journal = Journal(tmp_path / "grades.csv")
    journal.file.write_bytes(b'[]\n3\n{"key": "a"}\n{"key": "b", "graded": {"student": 1}}\n\xff\n"' + b"[" * 99999)
    assert journal.read() == {}


def test_a_journal_on_a_full_disk_stops_nobody():
    journal = Journal(Path("grades.csv"))
    journal.file = Path("/dev/full")
    journal.append("1", Graded("ada", 2, ()))
    assert "cannot be written" in journal.problem


def test_a_result_is_used_again_only_where_all_it_depends_on_is_the_same(tmp_path):
    (tmp_path / "mine").mkdir()
    hidden = tmp_path / "mine" / "lesson_02.py"
    hidden.write_text("x = 1")
    terms = replace(TERMS, hidden=tmp_path / "mine")
    submission = Submission("ada", 2, ("x = 1",))
    keys = {key_of(submission, *terms.facts())}
    assert keys == {key_of(replace(submission), *replace(terms).facts())}
    keys.add(key_of(replace(submission, cells=("x = 2",)), *terms.facts()))
    keys.add(key_of(replace(submission, cells=("x = 1", "")), *terms.facts()))
    keys.add(key_of(submission, *replace(terms, seed=6).facts()))
    keys.add(key_of(submission, *replace(terms, bounds=Limits(seconds=11)).facts()))
    hidden.write_text("x = 2")
    keys.add(key_of(submission, *terms.facts()))
    assert len(keys) == 6


def test_what_is_said_about_the_machine():
    assert "Isolated by bubblewrap" in Isolation("/usr/bin/bwrap", promised=True).statements()[0]
    assert "Isolated by a user id of its own" in Isolation(other_user=True, promised=True).statements()[0]
    assert "NOT ISOLATED" in trusting().statements()[0]


def test_the_right_answers_are_not_among_what_may_be_read():
    shown = readable()
    assert not any(str(ANSWERS).startswith(path.rstrip("/") + "/") or path == str(ANSWERS) for path in shown)
    assert str(ANSWERS.parent / "checks") in shown
    assert without((ANSWERS / "x",), ANSWERS.parent / "grading") == [ANSWERS.parent / "grading"]
