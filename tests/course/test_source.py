"""Students' code as text: bombs for the parser, tools that hide, and answers that are built alike."""

import inspect
import json
import re
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest
import torch

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm_course.exercises import lessons
from tinyldm_course.grading import marking, similarity, source
from tinyldm_course.grading.marking import Graded, is_reading, read_source
from tinyldm_course.grading.probes import best_isolation
from tinyldm_course.grading.sandbox import Ended
from tinyldm_course.grading.source import Notebook, read

# ── Bombs ────────────────────────────────────────────────────────────────────────────────────────────

BOMBS = {
    "a long import": "import " + ".".join("a" * 70_000),
    "a longer import": "import " + ".".join("a" * 500_000),
    "a chain of assignments": "f=" + "=".join(f"a{number}" for number in range(120_000)) + "=1",
    "long names": ("x=a" + ".a" * 2_500 + "\n") * 180,
    "brackets": "f=" + "(" * 100_000,
    "signs": "f=" + "-" * 100_000 + "1",
    "lambdas": "f=" + "lambda:" * 20_000 + "1",
    "functions that call each other": "\n".join(f"def f{n}(): return f{n + 1}" for n in range(30_000)) + "\nf = f0",
    "many names": "import os\n" + "\n".join(f"os.x{number}" for number in range(80_000)),
    "one long line": "f=1;" * 200_000,
    "many checks": "check('f', f)\n" * 60_000 + "f = 1",
    "no Python": "%time\n" + "a" * 900_000,
}


@pytest.fixture(scope="module")
def isolation():
    return best_isolation()


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_text_is_read_in_bounded_time_and_memory_or_given_up(isolation, name):
    """Within the 20 seconds of processor time and the 1 GB of `marking.READING`; the grader itself parses nothing."""
    try:
        text = read_source((BOMBS[name], "x = 1"), ["f"], isolation)
    except Ended as error:
        pytest.fail(f"{name}: {error}")
    assert len(text["cells"]) == 2 and len(json.dumps(text)) < 2**21
    assert text["unread"] == ([1] if name in ("a long import", "a longer import", "signs", "lambdas") else [])


def test_reading_takes_time_that_grows_with_the_text():
    """Four times the text takes about four times as long: far from the sixteen of a square."""

    def seconds(size: int) -> float:
        cells = ["=".join(f"a{number}" for number in range(size)) + "=1", "f = a0", "x = a1" + ".b" * (size // 4)]
        start = time.process_time()
        read(cells, ["f"])
        return time.process_time() - start

    seconds(100)
    assert min(seconds(4_000) for _ in range(3)) < 9 * min(seconds(1_000) for _ in range(3))


@pytest.mark.slow
def test_a_reader_that_dies_costs_its_own_submission_only(isolation, monkeypatch):
    monkeypatch.setattr(marking, "READING", marking.Limits(memory=2**30, processes=4, processor=1, start=60))
    cells = tuple(BOMBS["many names"] for _ in range(8))
    with pytest.raises(Ended):
        read_source(cells, ["f"], isolation)
    assert read_source(("x = 1",), ["f"], isolation)["cells"] == ["x = 1"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        [],
        {},
        {"cells": [], "unread": [], "borrowed": {}, "unusual": [], "prints": {}},
        {"cells": ["x"], "unread": ["1"], "borrowed": {"f": []}, "unusual": [], "prints": {"f": []}},
        {"cells": ["x"], "unread": [], "borrowed": {"g": []}, "unusual": [], "prints": {"f": []}},
        {"cells": ["x"], "unread": [], "borrowed": {"f": [1]}, "unusual": [], "prints": {"f": []}},
        {"cells": ["x"], "unread": [], "borrowed": {"f": []}, "unusual": "os", "prints": {"f": []}},
        {"cells": ["x"], "unread": [], "borrowed": {"f": []}, "unusual": [], "prints": {"f": ["1"]}},
    ],
)
def test_what_a_reader_says_is_not_taken_for_granted(text):
    assert not is_reading(text, ("x",), ["f"])
    assert is_reading(read(["x"], ["f"]), ("x",), ["f"])


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import inspect, tinyldm\nexec(inspect.getsource(tinyldm.ddim))", ["exec", "inspect.getsource"]),
        ("import torch\nx = torch.sys.modules", ["torch.sys.modules"]),
        ("import torch as t\ns = t.sys", ["torch.sys"]),
        ("def g():\n    import os\n    os.system('x')", ["os.system"]),
        ("x = (lambda: 0).__globals__['a']", ["….__globals__"]),
        ("f.__code__ = g.__code__.replace(co_name='f')", ["….__code__"]),
        ("x = ().__class__.__base__.__subclasses__()", ["….__base__", "….__class__", "….__subclasses__"]),
        ("def g(frame):\n    return frame.f_back.f_globals", ["….f_back", "….f_globals"]),
        ("g = getattr", ["getattr"]),
        ("from importlib import import_module as i\ni('x')", ["importlib.import_module"]),
        ("import torch\nclass A(torch.nn.Module):\n    def __init__(self):\n        super().__init__()", []),
        ("import importlib.util, subprocess, sys\nimportlib.util.find_spec('a')\nsubprocess.run([sys.executable])", []),
        ("import importlib.util, subprocess, sys\nm = sys", ["sys"]),
        ("import torch\ntorch.compile(f)", []),
        ("os = 1\nos + 1", []),
    ],
)
def test_unusual_tools_are_named_wherever_they_are(code, expected):
    assert Notebook([code]).unusual() == expected


def test_a_cell_that_cannot_be_parsed_is_told_of():
    assert read(["f = 1", "f=" + "-" * 100_000 + "1"], ["f"])["unread"] == [2]


@pytest.mark.parametrize("how", ["renamed", "from its source", "as it is"])
def test_a_copy_of_the_packages_code_is_recognised_when_it_is_called(how):
    """Whatever file and name its code says it has."""
    from tinyldm.forward_diffusion import NoiseSchedule
    from tinyldm_course.grading import child

    function = NoiseSchedule.q_sample
    if how == "renamed":
        code = function.__code__.replace(co_filename="<cell 9>", co_name="mine", co_qualname="mine")
        function = types.FunctionType(code, function.__globals__)
    elif how == "from its source":
        space = dict(function.__globals__)
        exec(textwrap.dedent(inspect.getsource(function)), space)
        function = space["q_sample"]
    cell = types.FunctionType(compile("lambda f, *args: f(*args)", "<cell 1>", "eval").co_consts[0], {})
    used: set[str] = set()
    sys.settrace(child.watcher(used))
    try:
        cell(function, NoiseSchedule(torch.full((5,), 0.1)), torch.ones(2, 3), torch.tensor([0, 4]), torch.zeros(2, 3))
    finally:
        sys.settrace(None)
    assert "tinyldm.forward_diffusion.NoiseSchedule.q_sample" in used


# ── Likeness ─────────────────────────────────────────────────────────────────────────────────────────

ATTENTION = '''
def attention(q, k, v, heads):
    """Attention."""
    b, n, d = q.shape
    out = []
    for head in range(heads):
        part = slice(head * d // heads, (head + 1) * d // heads)
        scores = q[..., part] @ k[..., part].transpose(-1, -2)
        scores = scores - scores.amax(-1, keepdim=True)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out.append(weights @ v[..., part])
    return torch.cat(out, dim=-1).reshape(b, n, d)
'''
RENAMED = re.sub(r"\b(scores|weights|head|part|out)\b", lambda match: match[0][::-1], ATTENTION).replace(
    '"""Attention."""', '"""All my own work."""  # really'
)
OTHER = """
def attention(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).movedim(-2, 1) for x in (q, k, v))
    w = torch.softmax(torch.einsum("bhic,bhjc->bhij", q, k) * q.shape[-1] ** -0.5, dim=-1)
    return torch.einsum("bhij,bhjc->bhic", w, v).movedim(1, -2).flatten(-2)
"""


def graded(student: str, code: str, exercise: str = "multi_head_attention") -> Graded:
    return Graded(
        student, 7, (), prints={exercise: read([code + f"\n{exercise} = attention"], [exercise])["prints"][exercise]}
    )


def test_a_renamed_copy_is_listed_and_another_answer_is_not(tmp_path):
    found = similarity.pairs([graded("ada", ATTENTION), graded("bob", RENAMED), graded("cem", OTHER)])
    assert [(pair.one, pair.other) for pair in found] == [("ada", "bob")] and found[0].share > 0.8
    similarity.write(tmp_path / "similar.csv", [graded("=ada", ATTENTION), graded("bob", RENAMED)])
    line = (tmp_path / "similar.csv").read_text(encoding="utf-8").splitlines()[1]
    assert line.startswith('"multi_head_attention","\'=ada","bob","') and line.endswith(' %"')


def test_short_answers_and_what_everybody_writes_are_not_listed():
    short = "def attention(q, k, v, heads):\n    return q + k"
    assert not similarity.pairs([graded(f"student{number}", short) for number in range(4)])
    assert not similarity.pairs([graded(f"student{number}", ATTENTION) for number in range(9)])


def test_the_courses_own_answers_are_like_themselves():
    """So a copy of one is listed, where it is long enough to tell."""
    names = {exercise.name for each in lessons().values() for exercise in each}
    long_ones = {name for name, rows in similarity.prints_of_the_course().items() if len(rows) >= similarity.MIN_ROWS}
    assert len(long_ones) > len(names) / 2
    copies = [
        Graded("ada", 1, (), prints={name: sorted(similarity.prints_of_the_course()[name])}) for name in long_ones
    ]
    found = similarity.pairs(copies)
    assert {pair.exercise for pair in found} == long_ones and {pair.other for pair in found} == {similarity.COURSE}
    assert all(pair.share == 1 for pair in found)


def test_a_solution_notebook_uses_nothing_unusual():
    """Or an honest class would be flagged, each of it."""
    for file in sorted((Path(__file__).parents[2] / "exercises" / "solutions").glob("*.ipynb")):
        cells = [
            "".join(cell["source"]) for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"
        ]
        assert not Notebook([source.without_magics(cell) for cell in cells]).unusual(), file.name
