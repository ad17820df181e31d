"""Grading a class in which nearly everybody attacks the grader: who is right gets the points, nobody else does.

Each attacker's notebook is right in four exercises of lesson 02 and does something bad in the fifth (`q_sample`), or
beside it. So each test says two things: the bad thing earned nothing, and the other four kept their points.
"""

import csv
import os
import platform
import shutil
import threading
import time
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm.cli import main as cli
from tinyldm_course.grading import classroom, reports, sandbox
from tinyldm_course.grading.collecting import read_class
from tinyldm_course.grading.isolation import Isolation, trusting
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.marking import Graded, Mark, checks_of, grade
from tinyldm_course.grading.probes import best_isolation
from tinyldm_course.grading.processes import alive, children_of
from tinyldm_course.grading.right import RightAnswers
from tinyldm_course.grading.submissions import Submission

BOUNDS = Limits(seconds=4)
OTHERS = """
# %%
import torch
from tinyldm_course.checking import check

def scaled_linear_betas(T, start, end):
    return torch.linspace(start**0.5, end**0.5, T) ** 2

def alpha_bar_from_beta(beta):
    return torch.cumprod(1 - beta, dim=0)

def signal_to_noise(alpha_bar):
    return alpha_bar / (1 - alpha_bar)

def noise_one_step(z, beta, generator):
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return (1 - beta) ** 0.5 * z + beta**0.5 * noise
"""
RIGHT = """
def right(z0, t, eps, alpha_bar):
    share = alpha_bar[t].view(-1, *[1] * (z0.dim() - 1)).to(z0.dtype)
    return share.sqrt() * z0 + (1 - share).sqrt() * eps
"""
Q = "def q_sample(z0, t, eps, alpha_bar):\n    "  # the function's head; the attacks give its body
ORPHAN = (
    "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(987654)'], "
    "start_new_session=True)\n"
)

# name -> (code of the cell for q_sample, diagnosis of q_sample; "" where it is right after all)
ATTACKS = {
    # what should pass
    "honest": (RIGHT + "q_sample = right", ""),
    "checks_another_name": (RIGHT + Q + "raise NotImplementedError\ncheck('q_sample', right)", ""),
    "magics": ("%matplotlib inline\n!rm -rf /\nfiles = !ls\n%timeit 1 + 1\n" + RIGHT + "q_sample = right", ""),
    # ordinary mistakes
    "stub": (Q + "raise NotImplementedError", "not-written"),
    "missing": ("", "missing"),
    "syntax_error": (Q + "return z0 +* eps", "missing"),
    "wrong_signature": ("def q_sample(z0):\n    return z0", "signature"),
    "wrong": (Q + "return z0 + eps", None),
    "returns_nothing": (Q + "pass", "no-return"),
    "raises_strangely": ("class E(Exception):\n    def __str__(self):\n        raise self\n" + Q + "raise E", "crash"),
    "long_error": (Q + "raise ValueError('x' * 10**7)", "crash"),
    # what does not end, or ends too much
    "endless_loop": (Q + "while True:\n        pass", "too-slow"),
    "endless_loop_unbreakable": (
        Q + "while True:\n        try:\n            while True:\n                pass\n"
        "        except BaseException:\n            pass",
        "too-slow",
    ),
    "sleep": ("import time\n" + Q + "time.sleep(10**6)", "too-slow"),
    "stops_itself": ("import os\n" + Q + "os.kill(os.getpid(), 19)", "too-slow"),
    "hides_behind_a_child": (  # CLONE_VFORK: the parent is in state D, and uses no processor time, until the child ends
        "import ctypes, time\n" + Q + "if ctypes.CDLL(None).syscall(56, 0x4000 | 17, 0, 0, 0, 0) == 0:\n"
        "        time.sleep(10**6)",
        "too-slow" if platform.machine() == "x86_64" else None,
    ),
    "sys_exit": ("import sys\n" + Q + "sys.exit(0)", "crash"),
    "keyboard_interrupt": (Q + "raise KeyboardInterrupt", "crash"),
    "os_exit": ("import os\n" + Q + "os._exit(0)", "crash"),
    "segfault": ("import ctypes\n" + Q + "ctypes.string_at(0)", "crash"),
    "kills_itself": ("import os\n" + Q + "os.kill(os.getpid(), 9)", "crash"),
    "kills_its_group": ("import os\n" + Q + "os.killpg(0, 9)", "crash"),
    "closes_everything": ("import os\n" + Q + "os.closerange(0, 256)", "crash"),
    "endless_print": (Q + "while True:\n        print('x' * 1000)", "too-slow"),
    # what takes too much
    "fifty_gigabytes": (Q + "return torch.ones(50 * 2**30 // 4)", "crash"),
    "fifty_gigabytes_python": (Q + "return bytearray(50 * 2**30)", "crash"),
    "huge_answer": (Q + "return torch.ones(2**26)", "crash"),
    "endless_shape": (Q + "return torch.ones(1).expand(2**50)", "crash"),
    "deep_answer": (Q + "value = []\n    for _ in range(10**5):\n        value = [value]\n    return value", "crash"),
    "fork_bomb": (
        "import os\n" + Q + "while True:\n        try:\n            os.fork()\n        except OSError:\n"
        "            pass",
        None,
    ),
    "threads": (
        "import threading, time\n" + Q + "while True:\n        threading.Thread(target=time.sleep, args=(99,)).start()",
        "crash",
    ),
    "fills_the_disk": (Q + "file = open('big', 'wb')\n    while True:\n        file.write(bytes(2**20))", "crash"),
    "fills_the_disk_with_small_files": (
        Q + "for n in range(10**6):\n        open(f'small{n}', 'wb').write(bytes(2**20))",
        "crash",
    ),
    "shares_the_memory_out": (  # 2 GB for each of two processes, of which one may have 3
        "import os, time\n" + Q + "os.fork()\n    x = b'x' * 2**31\n    time.sleep(10**6)",
        "crash",
    ),
    "makes_empty_files": (  # which take no room in a file system of limited size, but a kilobyte of memory each
        Q + "for n in range(10**7):\n        open(f'empty{n}', 'w').close()",
        "crash",
    ),
    "opens_files": (Q + "return [open('/dev/null') for _ in range(10**5)]", "crash"),
    # what is hard to write down
    "half_a_character": (Q + "raise ValueError('\\ud800 \\x1b[31m \\0')", "crash"),
    "error_of_half_a_character": (Q + "raise type('\\ud800<script>', (Exception,), {})('x')", "crash"),
    "many_numbers": (Q + "return [1] * 10**4", None),
    "a_long_text": (Q + "return '<b>\\udfff' * 10**6", None),
    # what cheats
    "patches": (
        "import torch, numpy, builtins\ntorch.equal = torch.allclose = torch.isclose = lambda *a, **k: True\n"
        "torch.testing.assert_close = numpy.testing.assert_allclose = lambda *a, **k: None\n"
        "torch.Tensor.__eq__ = torch.Tensor.__le__ = lambda *a: True\ntorch.Tensor.abs = torch.zeros_like\n"
        "torch.Tensor.__sub__ = lambda a, b: torch.zeros(())\nnumpy.allclose = lambda *a, **k: True\n"
        "try:\n    import pytest\n    pytest.approx = lambda x, **k: x\n    pytest.raises = None\n"
        "except ImportError:\n    pass\n" + Q + "return z0",
        None,
    ),
    "patches_the_grader": (
        "import tinyldm_course.checks.calls as c, tinyldm_course.checks.pipeline as j\n"
        "j.run_check = lambda *a: j.Result(True)\n"
        "c.Outcome.__init__ = lambda self, *a, **k: None\n" + Q + "return z0",
        None,
    ),
    "patches_perform": (
        "import sys\nchild = sys.modules['tinyldm_course.grading.child']\nchild.perform = lambda f, call: "
        "child.Outcome(call.args[0], (None,) * 4, call.args, {})\n" + Q + "return z0",
        None,
    ),
    "pretends_to_be_equal": (
        "class Equal(torch.Tensor):\n    def __torch_function__(*a, **k):\n        return True\n"
        + Q
        + "return torch.zeros(1).as_subclass(Equal)",
        None,
    ),
    "forges_bytes": (
        "import os\n" + Q + "for fd in range(3, 256):\n        try:\n"
        "            os.write(fd, b'passed' * 9)\n        except OSError:\n            pass\n"
        "    return z0",
        "crash",
    ),
    "forges_frames": (
        "import socket, os, stat\nfrom tinyldm_course.grading import wire\n"
        + Q
        + "for fd in range(3, 256):\n        try:\n            if stat.S_ISSOCK(os.fstat(fd).st_mode):\n"
        "                data = wire.frame({'n': 4, 'passed': True, 'points': 99, 'outcome': None})\n"
        "                [os.write(fd, data) for _ in range(99)]\n"
        "        except OSError:\n            pass\n    return z0",
        "crash",
    ),
    "reads_the_answers": (
        "import sys\nfor name in [n for n in sys.modules if 'exercises' in n]:\n"
        "    del sys.modules[name]\nfrom tinyldm_course.exercises.lesson_02.q_sample import *\n"
        "q_sample = EXERCISE.answer",
        "missing",
    ),
    "reads_the_disk": (
        "from pathlib import Path\nimport tinyldm\n"
        + Q
        + "text = (Path(tinyldm.__file__).parent / '../tinyldm_course/exercises/lesson_02/q_sample.py').read_text()\n"
        "    space = {}\n    exec(text, space)\n    return space['q_sample'](z0, t, eps, alpha_bar)",
        "crash",
    ),
    "looks_into_what_it_was_forked_from": (
        "import gc, sys\nfound = [name for name in sys.modules if 'exercises.lesson' in name]\n"
        "found += [one for one in gc.get_objects() if callable(one)"
        " and 'exercises.lesson' in str(getattr(one, '__module__', ''))]\n"
        + RIGHT
        + "q_sample = None if found else right",
        "",
    ),
    "looks_everywhere": (
        "import os, pkgutil, sys, tinyldm_course\nfound = []\n"
        "for place in {*sys.path, '/root', '/home', '/work', os.path.dirname(tinyldm_course.__file__)}:\n"
        "    for where, _, files in os.walk(place):\n"
        "        found += [file for file in files if file.startswith(('q_sample', 'lesson_02', '02_'))]\n"
        "for name in ('lesson_02/q_sample.py', '__init__.py'):\n    try:\n"
        "        found.append(pkgutil.get_data('tinyldm_course', 'exercises/' + name))\n"
        "    except OSError:\n        pass\n" + RIGHT + "q_sample = None if found else right",
        "",
    ),
    "tries_every_socket": (
        "import socket\nfound = []\nfor family in range(50):\n    for kind in (1, 2, 3, 4, 5):\n"
        "        for make in (socket.socket, socket.socketpair):\n            try:\n"
        "                made = make(family, kind)\n"
        "                if (family, kind, make) != (1, 1, socket.socketpair):\n"
        "                    found.append(made)\n"
        "            except OSError:\n                pass\n" + RIGHT + "q_sample = None if found else right",
        "",
    ),
    "calls_the_kernel_of_32_bits": (
        "import ctypes, mmap\n" + Q + "code = mmap.mmap(-1, 4096, prot=7)\n"
        "    code.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')  # getpid by int 0x80\n"
        "    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()\n"
        "    raise OSError('done')",
        "crash",
    ),
    "changes_its_mind": (
        RIGHT + "calls = 0\n" + Q + "global calls\n    calls += 1\n"
        "    return right(z0, t, eps, alpha_bar) if calls < 8 else z0",
        "not-repeatable",
    ),
    "random": (Q + "return torch.rand(z0.shape)", None),
    # what attacks others
    "kills_the_grader": ("import os\n" + Q + "os.kill(os.getppid(), 9)\n    return z0", "crash"),
    "kills_everybody": ("import os\n" + Q + "os.kill(-1, 9)\n    return z0", None),
    "orphan": (ORPHAN + RIGHT + "q_sample = right", ""),
    "cell_that_exits": (RIGHT + "q_sample = right\n# %%\nimport os\nos._exit(0)", ""),
    "cell_that_hangs": (RIGHT + "q_sample = right\n# %%\nwhile True: pass", ""),
    "deletes": (
        "import pathlib, shutil\nfor file in pathlib.Path('CLASS').glob('*/02.py'):\n"
        "    file.write_text('def q_sample(*args): return 0')\n"
        "shutil.rmtree('CLASS', ignore_errors=True)\n" + RIGHT + "q_sample = right",
        "",
    ),
}
SCHEDULE = (
    "def schedule(kind, alpha_bar):\n    s = kind(torch.full((2,), 0.5))\n    s.alpha_bar = alpha_bar\n    return s\n"
)
BORROWERS = {  # all are right and get the points; what counts is that the teacher has something to look at
    "borrows": (
        "from tinyldm import NoiseSchedule\n"
        + SCHEDULE
        + Q
        + "return schedule(NoiseSchedule, alpha_bar).q_sample(z0, t, eps)"
    ),
    "borrows_by_exec": (
        "import inspect, textwrap, tinyldm\nfrom tinyldm import forward_diffusion\nshapes = forward_diffusion.shapes\n"
        "exec(textwrap.dedent(inspect.getsource(tinyldm.NoiseSchedule.q_sample)).replace('q_sample', 'copied', 1)"
        ".replace('Tensor', '\"\"'))\n"
        + SCHEDULE
        + Q
        + "return copied(schedule(tinyldm.NoiseSchedule, alpha_bar), z0, t, eps)"
    ),
    "borrows_by_another_way": (
        "import torch\nmodules = torch.sys.modules\n" + SCHEDULE + Q + "import tinyldm.forward_diffusion\n"
        "    kind = modules['tinyldm.forward_diffusion'].NoiseSchedule\n"
        "    return schedule(kind, alpha_bar).q_sample(z0, t, eps)"
    ),
    "borrows_under_another_name": (
        "import tinyldm\nfrom tinyldm.forward_diffusion import NoiseSchedule as N\n"
        "N.q_sample.__code__ = N.q_sample.__code__.replace(co_filename='<cell 9>', co_name='mine')\n"
        + SCHEDULE
        + Q
        + "return schedule(N, alpha_bar).q_sample(z0, t, eps)"
    ),
    "borrows_later": (
        RIGHT + SCHEDULE + "calls = 0\n" + Q + "global calls\n    calls += 1\n    if calls < 4:\n"
        "        return right(z0, t, eps, alpha_bar)\n    m = __import__('tinyldm.forward_diffusion')\n"
        "    return schedule(m.forward_diffusion.NoiseSchedule, alpha_bar).q_sample(z0, t, eps)"
    ),
    "changes_what_it_says": (  # in its own process; nothing of it may reach a table or a page as more than text
        "import sys\nfrom tinyldm_course.checks.calls import perform\n"
        "sys.modules['tinyldm_course.grading.child'].Student.call = lambda self, name, call: {\n"
        "    'outcome': perform(self.answer_to(name), call),\n"
        "    'used': ['=HYPERLINK(\"http://x\")', '\\x1b[2J', '<script>alert(1)</script>', '\\ud800'] * 9}\n"
        + RIGHT
        + "q_sample = right"
    ),
    "pleads_meta": (
        RIGHT + Q + "if z0.is_meta:\n        raise RuntimeError('cannot do that on meta tensors')\n"
        "    return right(z0, t, eps, alpha_bar)"
    ),
    "hides_behind_a_bomb": (RIGHT + "q_sample = right\n# %%\nx = " + "-" * 100_000 + "1\n"),
}
ATTACKS |= {name: (code, "") for name, code in BORROWERS.items()}
BREAK_THEMSELVES = ("patches", "patches_the_grader", "patches_perform")  # and their own other answers with it


def notebook(code: str) -> str:
    """A script in percent format."""
    return OTHERS + "\n# %%\n" + code + "\n"


def marks_of(graded: list[Graded]) -> dict[str, dict[str, Mark]]:
    return {one.student: {mark.exercise: mark for mark in one.marks} for one in graded}


def graded_class(folder: Path, isolation: Isolation, processes: int = 2) -> list[Graded]:
    submissions = read_class(folder)
    terms = classroom.Terms(isolation, BOUNDS, None, classroom.seed_of(submissions))
    return classroom.grade_class(submissions, terms, processes, lambda: None)


def write_class(folder: Path, names) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "02.py").write_text(notebook(ATTACKS[name][0].replace("CLASS", str(folder))))
    return folder


@pytest.mark.slow
def test_the_courses_own_notebooks_get_all_points_or_none_and_no_flag(tmp_path):
    exercises = Path(__file__).parents[2] / "exercises"
    for student, folder in (("solution", exercises / "solutions"), ("stub", exercises)):
        shutil.copytree(folder, tmp_path / student, ignore=shutil.ignore_patterns("solutions", "*.md", "*.png"))
    graded = graded_class(tmp_path, best_isolation())
    assert len(graded) == 40
    for one in graded:
        for mark in one.marks:
            assert mark.points == (mark.out_of if one.student == "solution" else 0), mark
            assert not mark.look_at, mark.look_at


def processes_with(words: str) -> list[str]:
    """Command lines of running processes that hold some words."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if words in line]


@pytest.fixture(scope="module")
def attackers(tmp_path_factory):
    """What the class of attackers got, and the folder in which it was graded."""
    folder = write_class(tmp_path_factory.mktemp("class"), ATTACKS)
    resource_tracker.ensure_running()  # multiprocessing's own, which stays
    before = children_of(os.getpid())  # warm processes of other tests may be among them
    graded = graded_class(folder, best_isolation())
    left = {number for number in children_of(os.getpid()) - before if alive(number)}
    return marks_of(graded), folder, {one.student: one.look_at for one in graded}, left


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_earns_nothing_and_costs_nothing_else(attackers, name):
    marks, expected = attackers[0][name], ATTACKS[name][1]
    assert (marks["q_sample"].points > 0) == (expected == ""), marks["q_sample"]
    if expected is not None:
        assert marks["q_sample"].diagnosis == expected
    if name not in BREAK_THEMSELVES:
        assert sum(mark.points for mark in marks.values()) - marks["q_sample"].points == 40, marks


@pytest.mark.slow
def test_what_is_borrowed_or_forged_is_for_the_teacher_to_look_at(attackers):
    look_at = {name: " ".join(marks["q_sample"].look_at) for name, marks in attackers[0].items()}
    assert "uses tinyldm.NoiseSchedule" in look_at["borrows"]
    assert "called tinyldm.forward_diffusion.NoiseSchedule.q_sample" in look_at["borrows"]
    assert "tinyldm_course.exercises" in look_at["reads_the_answers"]
    assert "exec" in look_at["reads_the_disk"]
    assert "forged" in look_at["forges_bytes"] and "forged" in look_at["forges_frames"]
    notebooks = attackers[2]
    assert not any(look_at[name] or notebooks[name] for name in ("honest", "wrong", "stub", "magics"))
    assert "uses exec somewhere" in notebooks["borrows_by_exec"]
    assert "called tinyldm.forward_diffusion.NoiseSchedule.q_sample" in look_at["borrows_by_exec"]
    assert "uses torch.sys.modules" in look_at["borrows_by_another_way"]
    assert "….__code__" in look_at["borrows_under_another_name"]
    assert "called tinyldm.forward_diffusion.NoiseSchedule" in look_at["borrows_later"]
    assert "could not be tried on another device" in look_at["pleads_meta"]
    assert any("too large or too deeply nested" in note for note in notebooks["hides_behind_a_bomb"])
    assert all(look_at[name] or notebooks[name] for name in BORROWERS)


@pytest.mark.slow
def test_nothing_of_the_class_survives_or_was_touched(attackers):
    folder, left = attackers[1], attackers[3]
    assert not processes_with("time.sleep(987654)") and not left
    for name, (code, _) in ATTACKS.items():
        assert [file.name for file in (folder / name).iterdir()] == ["02.py"]
        assert (folder / name / "02.py").read_text() == notebook(code.replace("CLASS", str(folder)))


@pytest.mark.slow
def test_a_grader_that_is_late_costs_nobody_points(monkeypatch):
    """On a busy machine it wakes up long after the answer has come. Here, half a second after each of a hundred."""
    real = sandbox.select.select

    def late(*arguments):
        found = real(*arguments)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(sandbox.select, "select", late)
    submission = Submission("ada", 2, (OTHERS, RIGHT + "q_sample = right"))
    graded = grade(submission, checks_of(2, {}), best_isolation(), BOUNDS, 0, RightAnswers())
    assert all(mark.points for mark in graded.marks), [(mark.exercise, mark.diagnosis) for mark in graded.marks]


@pytest.mark.slow
def test_who_is_trusted_is_still_limited(tmp_path):
    """Nothing is promised then; but an endless loop ends, and an honest answer counts."""
    folder = write_class(tmp_path / "class", ("honest", "orphan", "endless_loop"))
    marks = marks_of(graded_class(folder, trusting()))
    assert {name for name in marks if marks[name]["q_sample"].points} == {"honest", "orphan"}
    assert not processes_with("time.sleep(987654)")


@pytest.mark.slow
def test_the_limit_of_a_notebook_holds_between_its_cells(tmp_path):
    """Each cell stays below its own limit; what one of them left behind is ended with the rest."""
    cells = (ORPHAN, *["import time; time.sleep(2.4)"] * 60, OTHERS)
    terms = classroom.Terms(best_isolation(), Limits(seconds=3, submission=40), None, 0)
    start = time.monotonic()
    with classroom.Grader(terms) as grader:
        graded = grader.grade(Submission("ada", 2, cells), checks_of(2, {}))
    assert time.monotonic() - start < 40 + 2 * terms.bounds.start
    assert {mark.diagnosis for mark in graded.marks} == {"too-slow"} and not graded.problem
    assert "whole notebook" in graded.marks[0].page and not processes_with("time.sleep(987654)")


@pytest.mark.slow
def test_the_same_class_gives_the_same_bytes(tmp_path):
    folder = write_class(tmp_path / "class", ("honest", "wrong", "segfault", "random", "changes_its_mind", "borrows"))
    written = []
    for run, processes in ("first", 2), ("second", 1):
        submissions = read_class(folder)
        terms = classroom.Terms(best_isolation(), BOUNDS, None, classroom.seed_of(submissions))
        graded = classroom.grade_class(submissions, terms, processes, lambda: None)
        (tmp_path / run).mkdir()
        pages = reports.write(tmp_path / run / "grades.csv", graded, terms)
        written.append(
            {
                file.relative_to(tmp_path / run): file.read_bytes()
                for file in (tmp_path / run / "grades.csv", *sorted(pages.glob("*.html")))
            }
        )
    assert len(written[0]) == 7 and written[0] == written[1]


@pytest.mark.slow
def test_a_submission_that_ends_its_grader_costs_itself_only(tmp_path):
    submissions = read_class(write_class(tmp_path / "class", ("honest", "sleep")))
    terms = classroom.Terms(best_isolation(), BOUNDS, None, 0)
    with classroom.Grader(terms) as grader:

        def end_it() -> None:
            time.sleep(1)
            grader._process.kill()

        threading.Thread(target=end_it).start()
        lost = grader.grade(submissions[1], checks_of(2, {}))
        assert "manually" in lost.problem and not any(mark.points for mark in lost.marks) and len(lost.marks) == 5
        kept = grader.grade(submissions[0], checks_of(2, {}))
    assert sum(mark.points for mark in kept.marks) == 60


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "from tinyldm.course.checking import check",
        "import tinyldm.course.checking as c; check = c.check",
        "from tinyldm.course import checking; check = checking.check",
    ],
)
def test_a_notebook_from_before_the_course_was_a_package_of_its_own_gets_all_points(tmp_path, line):
    """Its `check` hands the answers over, too: here q_sample has another name in the notebook."""
    (tmp_path / "ada").mkdir()
    code = OTHERS.replace("from tinyldm_course.checking import check", line) + RIGHT + "check('q_sample', right)"
    (tmp_path / "ada" / "02.py").write_text(code)
    (graded,) = graded_class(tmp_path, best_isolation(), 1)
    assert not graded.cell_errors and all(mark.points == mark.out_of for mark in graded.marks), graded
    assert not any(mark.look_at for mark in graded.marks)


HIDDEN = """
from dataclasses import replace
import torch
from tinyldm_course.checks.calls import Call
from tinyldm_course.exercises import find

def one_dimension(generator):
    return [Call((torch.randn(3, generator=generator), torch.tensor([0, 1, 1]), torch.ones(3), torch.tensor([.9, .1])))]

EXERCISES = (replace(find("q_sample"), cases=one_dimension), replace(find("q_sample"), name="their_own", stars=3))
"""


@pytest.mark.slow
def test_hidden_checks_and_the_command(tmp_path, capsys, monkeypatch):
    """`tinyldm grade`: a q_sample that is right for latents only fails the teacher's hidden case."""
    folder = write_class(tmp_path / "class", ("honest",))
    (folder / "=latents").mkdir()
    four = Q + "a = alpha_bar[t].view(-1, *[1] * max(1, z0.dim() - 1))\n    return a.sqrt() * z0 + (1 - a).sqrt() * eps"
    (folder / "=latents" / "02_forward.py").write_text(notebook(four))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lesson_02.py").write_text(HIDDEN)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", "class", "--hidden", "mine", "--seed", "3"]) == 0
    assert "Isolated by" in capsys.readouterr().err
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8") as file:
        latents, honest = csv.DictReader(file)
    assert list(latents)[:4] == ["student", "points", "out of", "scaled_linear_betas"]
    assert (latents["student"], latents["points"], latents["out of"]) == ("'=latents", "40", "90")
    assert (honest["student"], honest["points"], honest["out of"]) == ("honest", "60", "90")
    page = (tmp_path / "grades" / "honest.html").read_text()
    assert "60 of 90 points" in page and "seed 3" in page and "Isolated by" in page
