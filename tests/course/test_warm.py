"""Processes that a warm one forks: quick to start, and as much on their own as those of a new Python."""

import os
import signal
import sys
import time

import pytest

pytest.importorskip("resource", reason="grading needs POSIX")
if sys.platform != "linux":
    pytest.skip("only Linux has namespaces", allow_module_level=True)

from tinyldm_course.grading import sandbox
from tinyldm_course.grading.isolation import trusting
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.probes import NotIsolated, best_isolation
from tinyldm_course.grading.sandbox import WITH_TORCH, Sandbox
from tinyldm_course.grading.warm import Forked


@pytest.fixture(scope="module")
def isolation():
    try:
        return best_isolation()
    except NotIsolated as error:
        pytest.skip(str(error))


def told(sandbox: Sandbox, expression: str) -> str:
    """What an expression is worth in there."""
    answer = sandbox.ask({"do": "cell", "number": 1, "source": f"raise ValueError(repr({expression}))"}, 20)
    assert answer["error"].type == "ValueError", answer
    return answer["error"].message


def test_every_process_is_forked_and_has_walls_of_its_own(isolation):
    places = [f"/proc/self/ns/{place}" for place in ("pid", "mnt", "net", "ipc", "uts")] if isolation.bwrap else []
    with Sandbox(isolation, Limits()) as first, Sandbox(isolation, Limits()) as second:
        assert isinstance(first.process, Forked) and isinstance(second.process, Forked)
        for place in places:
            where = f"__import__('os').readlink('{place}')"
            assert len({repr(os.readlink(place)), told(first, where), told(second, where)}) == 3
        assert told(first, "open('left', 'w').close() or __import__('os').listdir('.')") == "['left']"
        told(first, "setattr(__import__('torch'), 'left', 1)")
        assert told(second, "(__import__('os').listdir('.'), hasattr(__import__('torch'), 'left'))") == "([], False)"
        assert told(second, "__import__('os').environ['HOME']") == repr(str(isolation.inside(second._folder)))
        assert told(second, "open('/proc/self/status').read().count('NoNewPrivs:\\t1')") == "1"


def test_the_warm_process_writes_nothing_where_it_was_started(isolation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sandbox, "WITH_TORCH", sandbox.Starter("tinyldm_course.grading.child"))
    with Sandbox(isolation, Limits()) as one:
        assert told(one, "__import__('torch').ones(3, device='meta').cumprod(0).shape[0]") == "3"
    assert not list(tmp_path.iterdir())
    sandbox.WITH_TORCH.close()


def test_it_ends_as_it_ended(isolation):
    for code, words in (("__import__('os')._exit(3)", "exit code 3"), ("__import__('ctypes').string_at(0)", "segment")):
        with Sandbox(isolation, Limits()) as one, pytest.raises(sandbox.Ended, match=words):
            one.ask({"do": "cell", "number": 1, "source": code}, 20)


def test_nothing_is_left_behind(isolation):
    with Sandbox(isolation, Limits()) as one:
        told(one, "__import__('os').fork() and 1")
        family = set(one.family())
        assert len(family) >= 2
    assert not [number for number in family if os.path.exists(f"/proc/{number}/cwd")]


def test_a_warm_process_that_was_ended_is_replaced(isolation):
    with Sandbox(isolation, Limits()) as one:
        pass
    os.kill(WITH_TORCH._warm._process.pid, signal.SIGKILL)
    time.sleep(0.2)
    with Sandbox(isolation, Limits()) as one:  # in a new Python
        assert told(one, "1 + 1") == "2" and not isinstance(one.process, Forked)
    with Sandbox(isolation, Limits()) as one:
        assert told(one, "1 + 1") == "2" and isinstance(one.process, Forked)
    WITH_TORCH._failures = 0


def test_without_walls_it_works_as_well():
    with Sandbox(trusting(), Limits()) as one:
        assert isinstance(one.process, Forked) and told(one, "1 + 1") == "2"


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────

BURN = """
import os, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
"""
CHAIN = """
for _ in range(20):
    child = os.fork()
    if child == 0:
        burn(0.05)
        os._exit(0)
    os.waitpid(child, 0)
"""
ORPHANS = """
reader, writer = os.pipe()
for _ in range(20):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            burn(0.05)
            os.write(writer, b".")
        os._exit(0)
    os.waitpid(child, 0)
    os.read(reader, 1)
"""


def cell(sandbox: Sandbox, source: str, seconds: float = 20.0) -> float:
    """Run a cell; the seconds that it is charged for."""
    before = sandbox.spent
    answer = sandbox.ask({"do": "cell", "number": 1, "source": source}, seconds)
    assert answer["error"] is None, answer
    return sandbox.spent - before


@pytest.mark.parametrize("source", [CHAIN, ORPHANS], ids=["children", "orphans"])
def test_the_time_of_processes_that_ended_between_two_looks_is_counted(isolation, source):
    """Twenty processes that live for less than a look each: one second in all, in clock ticks of 10 ms."""
    with Sandbox(isolation, Limits()) as one:
        cell(one, BURN)
        before = sum(process.seconds for process in one.family().values())
        charged = cell(one, source)
        used = sum(process.seconds for process in one.family().values()) - before
        assert used >= 0.8 and charged >= 0.6, (used, charged)


def test_what_quick_answers_took_is_not_charged_to_the_next_one(isolation):
    """Forty cells that take less than a look, two seconds in all: the cell after them pays for itself only."""
    with Sandbox(isolation, Limits()) as one:
        cell(one, BURN)
        for _ in range(40):
            cell(one, "burn(0.05)")
        assert 0.2 <= cell(one, "burn(0.3)") <= 1


def test_the_processor_time_of_all_processes_together_has_a_limit(isolation):
    """What runs on after its cell, in any number of processes, is counted as well."""
    many = "for _ in range(6):\n    if os.fork() == 0:\n        burn(100)\n        os._exit(0)\n"
    with Sandbox(isolation, Limits(processor=2)) as one, pytest.raises(sandbox.Ended, match="processor time") as ended:
        cell(one, BURN + many)
        cell(one, "time.sleep(300)", 300)
    assert ended.value.late


def test_a_process_cannot_have_the_time_of_its_children_forgotten(isolation):
    """The kernel counts nothing for children whose end is ignored (`man 2 getrusage`)."""
    ways = (
        "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "import ctypes\nif ctypes.CDLL(None).signal(17, ctypes.c_void_p(1)) == -1: raise OSError('refused')",
    )
    with Sandbox(isolation, Limits()) as one:
        for source in ways:
            answer = one.ask({"do": "cell", "number": 1, "source": source}, 20)
            assert answer["error"] is not None and answer["error"].type == "OSError", answer
        assert told(one, "__import__('signal').getsignal(17)") == "<Handlers.SIG_DFL: 0>"
        assert told(
            one, "__import__('subprocess').run('echo a; sleep 0; echo b', shell=True, capture_output=True).stdout"
        ) == repr(b"a\nb\n")
        assert told(one, "__import__('signal').signal(10, lambda *a: None)") == "<Handlers.SIG_DFL: 0>"
