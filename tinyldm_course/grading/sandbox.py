"""A student's process from outside: start it, ask it, wait so long and no longer, and leave nothing of it behind."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinyldm
from tinyldm_course.grading import limits, wire
from tinyldm_course.grading.isolation import Isolation, readable
from tinyldm_course.grading.limits import Limits

MOST_LOG = 2**16
TICK = 0.1  # seconds between two looks at a process that has not answered yet
MOST_PATIENCE = 60  # times as long as it may take, on the clock, where the machine is busy with other things
SLOW_PIPE = 10  # times as long, to send an answer that has begun
CLOCK = os.sysconf("SC_CLK_TCK")
START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('tinyldm_course.grading.child', "
    "run_name='__main__')"
)


class Ended(Exception):
    """The process is gone, or had to be ended. The message says why, in words for the student.

    Attributes:
        late: was it for the time it took?
        forged: did it send what it was not asked for?
    """

    def __init__(self, message: str, late: bool = False, forged: bool = False):
        super().__init__(message)
        self.late, self.forged = late, forged


class Sandbox:
    """One process with one student's code in it. Use it in a `with` statement.

    Attributes:
        log: what the process printed, cut after MOST_LOG bytes.
        locked: does Landlock hold it?
        spent: seconds that its answers took, see `ask`.
    """

    def __init__(self, isolation: Isolation, bounds: Limits):
        self.isolation, self.bounds = isolation, bounds
        self.log = bytearray()
        self.spent = 0.0
        self._number = 0
        self._ended: Ended | None = None
        # Orphans of the process become children of this one, which can then find and end them.
        limits.control(limits.PR_SET_CHILD_SUBREAPER, 1)
        self._others = children_of(os.getpid())
        self._folder = Path(tempfile.mkdtemp(prefix="tinyldm-grading-"))
        self._connection, theirs = socket.socketpair()
        try:
            self._process = self._start(theirs)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
        self._reader = threading.Thread(target=self._keep_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Sandbox":
        try:
            self.locked = bool(self._exchange(b"", self.bounds.start).get("locked"))
        except Ended as error:  # no code of a student has run yet
            last = (self.log.decode(errors="replace").split("\n")[-2:] or ["it said nothing"])[0]
            raise OSError(f"the process for student code does not start on this machine: {error}: {last}") from None
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _start(self, connection: socket.socket) -> subprocess.Popen:
        inside = Path("/tmp") if self.isolation.bwrap else self._folder
        user = self.isolation.user()
        if user is not None:
            os.chown(self._folder, user, user)
        settings = {
            "connection": connection.fileno(),
            "user": user,
            "folder": str(inside),
            "readable": readable(),
            "limits": vars(self.bounds),
        }
        environment = {
            "PATH": os.defpath,
            "HOME": str(inside),
            "TMPDIR": str(inside),
            "LANG": "C.UTF-8",
            "USER": "student",
            "LOGNAME": "student",
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": str(inside),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",  # should a student ask for more threads
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",  # what was printed is kept when the process is killed
            "PYTHONNOUSERSITE": "1",
            "HF_HUB_OFFLINE": "1",
        }
        return subprocess.Popen(
            [
                *self.isolation.command(self._folder),
                sys.executable,
                "-c",
                START,
                str(Path(tinyldm.__file__).parents[1]),
                json.dumps(settings),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env=environment,
            pass_fds=[connection.fileno()],
            start_new_session=True,
        )

    # ── Asking ───────────────────────────────────────────────────────────────────────────────────────

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a question (see child.py).

        seconds: what it may take: processor time while it computes, the clock's while it waits. So a busy machine
            costs nobody their points.
        Raises:
            Ended: there is no answer and will be none; the process has been killed.
        """
        if self._ended is not None:
            raise self._ended
        self._number += 1
        return self._exchange(wire.frame(question | {"n": self._number}), seconds)

    def _exchange(self, data: bytes, seconds: float) -> dict[str, Any]:
        try:
            wire.send(self._connection, data, time.monotonic() + SLOW_PIPE * seconds)
            self._wait(seconds)
            answer = wire.receive(self._connection, time.monotonic() + SLOW_PIPE * seconds)
            if not isinstance(answer, dict) or answer.get("n") != self._number:
                raise wire.BadFrame("an answer to no question")
            return answer
        except TimeoutError:
            ended = Ended(f"it took longer than {self.bounds.seconds:g} seconds", late=True)
        except wire.Closed:
            ended = Ended(self._how_it_ended())
        except wire.BadFrame:
            ended = Ended("it sent something that is no answer", forged=True)
        except Ended as error:
            ended = error
        self._ended = ended
        self.close()
        raise ended

    def _wait(self, seconds: float) -> None:
        """Wait for the answer's first byte; look after time and number of processes meanwhile."""
        start = before = time.monotonic()
        spent, known = self.spent, None
        while not select.select([self._connection], [], [], TICK)[0]:
            now = time.monotonic()
            everything = processes()
            family = [everything[number] for number in children_of(os.getpid(), everything) - self._others]
            if len(family) > self.bounds.processes + 4:
                raise Ended("it started too many processes")
            used = sum(process.seconds for process in family)
            computes = known is not None and any(process.state in "RD" for process in family)
            self.spent += max(used - known, 0) if computes else now - before
            before, known = now, used
            if self.spent - spent > seconds or now - start > MOST_PATIENCE * seconds:
                raise TimeoutError
        self.spent += time.monotonic() - before

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "it closed the connection to the grader"
        number = -code if code < 0 else code - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            return f"it ended its own process with exit code {code}"
        what = {
            "SIGSEGV": "a segmentation fault",
            "SIGKILL": "killed; often for too much memory",
            "SIGXCPU": "too much processor time",
        }.get(name, name)
        return f"its process crashed ({what})"

    def _keep_log(self) -> None:
        """Read what is printed, so that nobody waits for it; keep its beginning only."""
        while piece := self._process.stdout.read1(2**16):
            self.log += piece[: max(0, MOST_LOG - len(self.log))]

    # ── Ending ───────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """End the process and all that came from it."""
        self._ended = self._ended or Ended("it was ended")
        self._connection.close()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # in one go, so that no fork slips through
        except (ProcessLookupError, PermissionError):
            pass
        self._process.kill()
        self._process.wait()
        end_all(lambda: children_of(os.getpid()) - self._others)
        self._reader.join(timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)


def end_all(find) -> None:
    """Kill processes until none is found. Stopped first, so that they cannot start new ones meanwhile."""
    for _ in range(1000):
        found = find()
        if not found:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in found:
                try:
                    os.kill(process, number)
                except (ProcessLookupError, PermissionError):
                    continue
        for process in found:
            try:
                os.waitpid(process, os.WNOHANG)
            except ChildProcessError:
                continue
        time.sleep(0.002)


@dataclass(frozen=True)
class Process:
    """A process as /proc tells of it. seconds: of processor time; state: "R" runs or would like to, "S" waits, …"""

    parent: int
    state: str
    seconds: float


def processes() -> dict[int, Process]:
    """All processes, by their numbers, where there is /proc (Linux)."""
    found = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()  # after the name, which may hold anything
        except OSError:  # no process, or ended meanwhile
            continue
        if entry.isdigit():
            found[int(entry)] = Process(int(fields[1]), fields[0], (int(fields[11]) + int(fields[12])) / CLOCK)
    return found


def children_of(parent: int, known: dict[int, Process] | None = None) -> set[int]:
    """The processes that descend from one."""
    found, edge = set(), {parent}
    known = processes() if known is None else known
    while edge:
        edge = {number for number, process in known.items() if process.parent in edge} - found
        found |= edge
    return found
