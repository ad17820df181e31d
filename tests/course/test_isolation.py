"""The walls around a student's process: each attack succeeds without them, and fails behind them, whoever grades.

The attacks are those that `tinyldm grade` itself tries before it grades a class (`attacks.py`).
"""

import ctypes
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="grading needs POSIX")

from tinyldm.cli import main as cli
from tinyldm_course.grading import isolation, kernel, probes, seccomp
from tinyldm_course.grading.attacks import ATTACKS
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.sandbox import Ended, Sandbox, ask_once

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SUCCEED = (  # where nothing stops them, on every machine
    "tcp",
    "udp",
    "unix socket",
    "abstract unix socket",
    "unix datagram",
    "signal",
    "pidfd",
    "prlimit",
    "other processes",
    "read a file",
    "read the answers",
    "import the answers",
    "write a file",
    "make a file",
    "chmod",
    "utime",
    "setxattr",
    "fill the disk",
    "shared memory",
    "memfd",
    "memory",
    "processes",
)
HARMFUL = ("clock", "mount", "keyring")  # not tried without walls: they would change this machine
ALLOW_EVERYTHING = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)

TRY_ALL = """
import json, sys
from tinyldm_course.grading import isolation, probes, seccomp
candidate = getattr(isolation, sys.argv[1])(seccomp.allow_list())
with probes.decoys() as (targets, arrived):
    told = {}
    for names in ([name for name in probes.ATTACKS if name != probes.APART], [probes.APART]):
        try:
            question = targets | {"attacks": names}
            told |= probes.ask_once(candidate, probes.BOUNDS, "tinyldm_course.grading.attacks", question)
        except probes.Ended as error:
            told |= {name: str(error) for name in names}
    print(json.dumps([told, arrived()]))
"""


def where_everybody_may_read() -> list[str]:
    """What to put in front of a command, so that other users may read this Python: it often lies in root's home."""
    needed = {sys.prefix, os.path.realpath(sys.base_prefix), str(ROOT), *isolation.shown()}
    closed = {
        str(folder)
        for path in needed
        for folder in Path(path).parents
        if folder.exists() and not folder.stat().st_mode & 1
    }
    outermost = [folder for folder in closed if not any(other in map(str, Path(folder).parents) for other in closed)]
    command = ["bwrap", "--dev-bind", "/", "/"]
    for folder in outermost:
        inside = sorted(path for path in needed if path.startswith(f"{folder}/"))
        above = sorted({str(one) for path in inside for one in Path(path).parents if Path(folder) in one.parents})
        command += ["--tmpfs", folder, *(part for path in above for part in ("--dir", path))]
        command += [part for path in inside for part in ("--ro-bind", path, path)]
    return command if outermost else []


def as_nobody() -> list[str]:
    """What to put in front of a command, so that an ordinary user runs it."""
    if os.getuid() != 0:
        return []
    return [*where_everybody_may_read(), "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def run_python(prefix: list[str], arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = dict(
        os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(folder), HOME=str(folder), PYTHONDONTWRITEBYTECODE="1"
    )
    command = [*prefix, sys.executable, "-P", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, cwd=folder)


def open_folder(tmp_path_factory, name: str) -> Path:
    """A folder that every user may write into, and reach."""
    folder = tmp_path_factory.mktemp(name)
    folder.chmod(0o777)
    for above in (folder.parent, folder.parent.parent):
        above.chmod(above.stat().st_mode | 0o011)
    return folder


@pytest.fixture(scope="module")
def behind_walls(tmp_path_factory):
    """Who grades, and in what -> what stopped each attack, and what arrived at the targets. Each is tried once."""
    known: dict = {}

    def result(mode: str):
        if mode not in known:
            if mode != "another user" and shutil.which("bwrap") is None:
                pytest.skip("bubblewrap is not installed")
            prefix = {"ordinary user": as_nobody, "another user": where_everybody_may_read}.get(mode, list)()
            kind = "another_user" if mode == "another user" else "bubblewrap"
            done = run_python(prefix, ["-c", TRY_ALL, kind], open_folder(tmp_path_factory, "walls"))
            assert done.returncode == 0, done.stderr[-2000:]
            known[mode] = json.loads(done.stdout)
        return known[mode]

    return result


@pytest.fixture(scope="module")
def without_walls(tmp_path_factory):
    """What stopped each attack where nothing should; the targets are the same."""
    with probes.decoys() as (targets, _):
        names = [name for name in ATTACKS if name not in HARMFUL]
        done = subprocess.run(
            [sys.executable, "-c", "from tinyldm_course.grading import attacks; attacks.main()"],
            input=json.dumps(targets | {"attacks": names}),
            env=dict(os.environ, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=400,
            cwd=tmp_path_factory.mktemp("open"),
        )
        library = ctypes.CDLL(None)
        library.shmctl(library.shmget(targets["key"], 0, 0), 0, None)  # IPC_RMID
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("attack", SUCCEED)
def test_an_attack_succeeds_without_walls(without_walls, attack):
    """So the tests below can fail."""
    assert without_walls[attack] == ""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["this user", "ordinary user"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_bubblewrap_stops_an_attack(behind_walls, mode, attack):
    assert behind_walls(mode)[0][attack]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_another_user_stops_an_attack(behind_walls, attack):
    if os.getuid() != 0:
        pytest.skip("only root can take another user id")
    assert behind_walls("another user")[0][attack]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["this user", "ordinary user", "another user"])
def test_nothing_arrives_outside(behind_walls, mode):
    if mode == "another user" and os.getuid() != 0:
        pytest.skip("only root can take another user id")
    assert behind_walls(mode)[1] == []


# ── A wall that does not stand ───────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_filter_that_lets_everything_through_is_noticed():
    """The probes find it, and nothing is graded."""
    found = probes.failures(replace(probes.best_isolation(), filter=ALLOW_EVERYTHING))
    assert any("memfd" in one for one in found) and any("shared memory" in one for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("program", [b"", b"\0" * 8, b"no instructions!"])
def test_a_filter_that_the_kernel_refuses_ends_the_process(program):
    with pytest.raises(Ended, match="PR_SET_SECCOMP"):
        ask_once(replace(probes.best_isolation(), filter=program), Limits(), "tinyldm_course.grading.attacks", {})
    with pytest.raises(OSError, match="does not start"):
        Sandbox(replace(probes.best_isolation(), filter=program), Limits()).__enter__()


@pytest.mark.slow
def test_rights_that_are_kept_end_the_process(tmp_path):
    """As root without another user and without bubblewrap's --cap-drop, only `drop_rights` stands in between."""
    program = f"""
from tinyldm_course.grading import confine, kernel, isolation, seccomp
kernel.drop_rights = lambda: None
walls = isolation.Isolation(None, False, seccomp.allow_list(), True, False).walls()
confine.confine(walls | {{"limits": {{}}, "folder": {str(tmp_path)!r}, "readable": list(isolation.PROC)}})
"""
    done = run_python([], ["-c", program], tmp_path)
    assert (done.returncode != 0 and "keeps rights" in done.stderr) == (os.getuid() == 0), done.stderr


def test_landlock_does_not_fail_open(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, "landlock_version", lambda: 0)
    with pytest.raises(OSError, match="no Landlock"):
        kernel.lock_files(tmp_path, [])
    monkeypatch.setattr(kernel, "landlock_version", lambda: 7)
    monkeypatch.setattr(kernel, "system_call", lambda *arguments: -1)
    with pytest.raises(OSError, match="landlock_create_ruleset"):
        kernel.lock_files(tmp_path, [])


def test_other_threads_are_noticed_before_the_walls():
    import threading

    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(OSError, match="threads before it is confined"):
            kernel.require_one_thread()
    finally:
        done.set()
        thread.join()


def test_without_isolation_nothing_is_graded(tmp_path, monkeypatch, capsys):
    """And it is said what to install."""
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "02.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(isolation.shutil, "which", lambda name: None)
    monkeypatch.setattr(isolation.kernel, "landlock_version", lambda: 0)
    assert cli.main(["grade", "class"]) == 2
    error = capsys.readouterr().err
    assert "bubblewrap is not installed" in error and "apt install bubblewrap" in error and "--trust-students" in error
    assert not (tmp_path / "grades.csv").exists()


def test_without_libseccomp_nothing_is_graded(monkeypatch):
    monkeypatch.setattr(seccomp, "LIBRARY", "libnothing.so.7")
    with pytest.raises(probes.NotIsolated, match="libseccomp cannot be used"):
        probes.best_isolation()


@pytest.mark.parametrize(
    "said, words", [("bubblewrap 0.6.1", "too old"), ("bubblewrap 0.7.0", ""), ("bubblewrap 1.0", "")]
)
def test_a_bubblewrap_without_size_limits_is_too_old(monkeypatch, said, words):
    monkeypatch.setattr(isolation.shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(isolation.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, said + "\n", ""))
    if words:
        with pytest.raises(OSError, match=words):
            isolation.bubblewrap(b"")
    else:
        assert isolation.bubblewrap(b"").bwrap == "/usr/bin/bwrap"


# ── What is shown ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_prefix_behind_a_symbolic_link_shows_no_answers(tmp_path):
    """As where homes are links: Python lies in link/venv, which is real/venv, and the package is installed in it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", tmp_path / "real/venv"], check=True)
    (site,) = (tmp_path / "real/venv/lib").glob("python3*/site-packages")
    (site / "more.pth").write_text("\n".join(isolation.site_folders()))
    for package in ("tinyldm", "tinyldm_course"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    done = subprocess.run(
        [tmp_path / "link/venv/bin/python", "-P", "-c", TRY_ALL, "bubblewrap"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told, arrived = json.loads(done.stdout)
    assert not arrived and all(told.values()), told
    assert "no name leads" in told["read the answers"]


def test_hidden_folders_are_left_out_by_their_real_names(tmp_path):
    (tmp_path / "real" / "course" / "exercises").mkdir(parents=True)
    (tmp_path / "real" / "course" / "checks").mkdir()
    (tmp_path / "real" / "course" / "around").symlink_to("exercises")
    left = isolation.without((tmp_path / "real" / "course" / "exercises",), tmp_path / "real")
    assert left == [tmp_path / "real" / "course" / "checks"]


@pytest.mark.parametrize("kind", ["checkout", "installed"])
def test_another_copy_of_the_package_is_hidden_too(tmp_path, monkeypatch, kind):
    """As where a checkout is run by a Python in which the package is installed as well."""
    (tmp_path / "tinyldm_course" / "exercises").mkdir(parents=True)
    monkeypatch.setattr(isolation, "site_folders", lambda: (str(tmp_path),))
    if kind == "installed":
        monkeypatch.setattr(isolation, "ANSWERS", tmp_path / "tinyldm_course" / "exercises")
    found = isolation.hidden.__wrapped__()
    assert found.count(tmp_path / "tinyldm_course" / "exercises") == 1 and isolation.ANSWERS in found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_python_may_lie_below_tmp(tmp_path, monkeypatch):
    """Bubblewrap's own /tmp does not hide it, and is no larger for that."""
    walls = probes.best_isolation()
    arguments = walls.command()
    assert arguments.index("--tmpfs") < arguments.index("--ro-bind-try")
    (tmp_path / "seen").write_text("x")
    monkeypatch.setattr(isolation, "file_system", isolation.file_system.__wrapped__)
    monkeypatch.setattr(isolation, "shown", lambda: (*isolation.SYSTEM, str(tmp_path / "seen")))
    done = subprocess.run(
        [*walls.command(), "/usr/bin/env", "cat", str(tmp_path / "seen")], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "x", done.stderr


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────


def test_each_promise_of_the_threat_model_names_tests_that_exist():
    page = (ROOT / "docs" / "threat_model.md").read_text(encoding="utf-8")
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "course").glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 20 and not {name for name in named if f"def {name}(" not in tests}
    (promises,) = re.findall(r"\| promise \| mode \| test \|\n(.*?)\n\n", page, re.DOTALL)
    assert all("test_" in row or "the same" in row for row in promises.splitlines()[1:])
