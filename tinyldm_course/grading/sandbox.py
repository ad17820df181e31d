"""A student's process from outside: start it, ask it, wait so long and no longer, and leave nothing of it behind."""

import json
import math
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tinyldm_course.grading import kernel, wire
from tinyldm_course.grading.isolation import PACKAGES, PYTHON, SPACE, Isolation, site_folders
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.processes import (
    Process,
    children_of,
    end_all,
    listed_children,
    process_of,
    processes,
    processes_of,
    proportional_memory,
)
from tinyldm_course.grading.warm import Forked, Warm

MAX_LOG = 2**16
TICK = 0.1  # seconds between two looks at a process that has not answered yet
MAX_PATIENCE = 60  # times as long as it may take, on the clock, where the machine is busy with other things
SLOW_PIPE = 10  # times as long, to send an answer that has begun
START = (
    "import json, runpy, sys; sys.path += json.loads(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__')"
)
MAX_FILES = SPACE // 4096  # of a student together, folders and links among them
MAX_COLD = 3  # failures of the warm process, after which it is not asked any more


class Ended(Exception):
    """The process is gone, or had to be ended. The message says why, in words for the student.

    Attributes:
        late: was it for the time it took?
        forged: did it send what it was not asked for?
    """

    def __init__(self, message: str, late: bool = False, forged: bool = False):
        super().__init__(message)
        self.late, self.forged = late, forged


class Confined:
    """One confined process, and all that comes from it. Use it in a `with` statement, or `close` it.

    It runs `main(*arguments)` of a module, see `confine.py`; forked by a warm process where there is one (`warm.py`),
    in a new Python otherwise.
    """

    def __init__(
        self,
        isolation: Isolation,
        bounds: Limits,
        module: str,
        arguments: tuple,
        starter: "Starter | None",
        **streams: Any,
    ):
        self.isolation, self.bounds = isolation, bounds
        # Orphans of the process become children of this one, which can then find and end them.
        kernel.control(kernel.PR_SET_CHILD_SUBREAPER, 1)
        self._starter = starter
        warm = starter.warm() if starter else None
        self._others = listed_children(os.getpid())  # no code of a student runs yet, so none of them ends meanwhile
        self._folder = Path(tempfile.mkdtemp(prefix="tinyldm-grading-"))
        try:
            self.process = self._start(module, arguments, warm, {"stdin": subprocess.DEVNULL} | streams)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _start(self, module: str, arguments: tuple, warm: Warm | None, streams: dict) -> subprocess.Popen | Forked:
        inside, user = self.isolation.inside(self._folder), self.isolation.user()
        if user is not None:
            os.chown(self._folder, user, user)
        settings = self.isolation.walls() | {
            "module": module,
            "arguments": arguments,
            "folder": str(inside),
            "limits": vars(self.bounds),
            "environment": environment(str(inside)),
        }
        walls = self.isolation.command()
        if warm is not None:
            try:
                return forked(warm, settings, walls, streams, SLOW_PIPE * self.bounds.start)
            except OSError:
                self._starter.give_up()
        return subprocess.Popen(
            [*walls, *python(), "tinyldm_course.grading.confine", json.dumps(settings)],
            cwd=self._folder,
            env=settings["environment"],
            start_new_session=True,
            **streams,
        )

    def family(self) -> dict[int, Process]:
        """The process and all that descend from it, by their numbers."""
        everything = processes()
        return {number: everything[number] for number in children_of(os.getpid(), everything) - self._others}

    def require_modest(self, family: dict[int, Process]) -> None:
        """Raise Ended where they are too many, or took too much time, memory or space for files together."""
        if len(family) > self.bounds.processes + 6:  # bubblewrap's own, and the warm process's
            raise Ended("it started too many processes")
        if sum(process.seconds for process in family.values()) > self.bounds.processor:
            raise Ended(f"its processes used more than {self.bounds.processor} seconds of processor time", late=True)
        if sum(process.memory for process in family.values()) > self.bounds.memory:
            if sum(map(proportional_memory, family)) > self.bounds.memory:
                raise Ended("its processes used too much memory")
        if self.isolation.bwrap is None and not fits(self._folder, SPACE):
            raise Ended(f"it wrote more than {SPACE:,} bytes of files")
        # The kernel bounds the bytes of files in bubblewrap's /tmp, but an empty file costs memory too.
        if self.isolation.bwrap is not None and max(map(files_of, family), default=0) > MAX_FILES:
            raise Ended(f"it made more than {MAX_FILES:,} files")

    def close(self) -> None:
        """End the process and all that came from it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # in one go, so that no fork slips through
        except (ProcessLookupError, PermissionError):
            pass
        self.process.kill()
        self.process.wait()
        end_all(lambda: listed_children(os.getpid()) - self._others)  # most of them soon, then really all
        end_all(lambda: children_of(os.getpid()) - self._others)
        user = self.isolation.user()
        if user is not None:
            end_all(lambda: processes_of(user))
        shutil.rmtree(self._folder, ignore_errors=True)


def python() -> list[str]:
    """A command that takes a module's name and its arguments, and knows no path but those that a student may see."""
    path = [*site_folders(), str(PACKAGES[0].parent)]
    # -S: no file in site-packages says what else is on the path; -P: neither does the current folder.
    return [PYTHON, "-S", "-s", "-P", "-c", START, json.dumps(path)]


class Starter:
    """A warm process of this one. It is started when it is first needed, and again when it has ended."""

    def __init__(self, preloaded: str) -> None:
        self._preloaded = preloaded
        self._warm: Warm | None = None
        self._owner = 0
        self._failures = 0

    def warm(self) -> Warm | None:
        """The warm process; None where there can be none."""
        if sys.platform != "linux" or self._failures >= MAX_COLD:
            return None
        if self._warm is None or self._owner != os.getpid():
            self._warm, self._owner = Warm(python(), environment(tempfile.gettempdir()), self._preloaded), os.getpid()
        return self._warm

    def give_up(self) -> None:
        """It did not start a process: begin with a new one the next time, a few times."""
        self._failures += 1
        self.close()

    def close(self) -> None:
        """End the warm process, if there is one. The next call of `warm` starts another."""
        if self._warm is not None and self._owner == os.getpid():
            self._warm.stop()
        self._warm = None


WITH_TORCH = Starter("tinyldm_course.grading.child")
WITHOUT_TORCH = Starter("tinyldm_course.grading.source")


def forked(warm: Warm, settings: dict, walls: list[str], streams: dict, seconds: float) -> Forked:
    """A process that the warm one forks, with streams as `subprocess.Popen` takes them. Raises OSError."""
    with ExitStack() as ours:

        def number(stream: Any) -> int:
            if stream == subprocess.DEVNULL:
                stream = ours.enter_context(open(os.devnull, "rb+", buffering=0))
            return stream if isinstance(stream, int) else stream.fileno()

        output = None
        if streams["stdout"] == subprocess.PIPE:
            reader, writer = os.pipe()
            output = open(reader, "rb")
            streams = streams | {"stdout": ours.enter_context(open(writer, "wb", buffering=0))}
        if streams["stderr"] == subprocess.STDOUT:
            streams = streams | {"stderr": streams["stdout"]}
        wanted = {index: number(streams[name]) for index, name in enumerate(("stdin", "stdout", "stderr"))}
        wanted |= {descriptor: descriptor for descriptor in streams.get("pass_fds", ())}
        try:
            process = warm.start(settings, wanted, walls, seconds)
        except OSError:
            if output:
                output.close()
            raise
        process.stdout = output
        return process


def environment(folder: str) -> dict[str, str]:
    """All that a confined process finds in its environment: nothing of the grader's own."""
    return {
        "PATH": os.defpath,
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        "USER": "student",
        "LOGNAME": "student",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": folder,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # should a student ask for more threads
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",  # what was printed is kept when the process is killed
        "HF_HUB_OFFLINE": "1",
    }


def ask_once(isolation: Isolation, bounds: Limits, module: str, question: Any, cold: bool = False) -> Any:
    """What `main` of a module prints, as JSON, when it reads a question, as JSON. It ends after `bounds.start` seconds.

    cold: in a new Python?

    Raises: Ended where there is no answer.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        given.write(json.dumps(question).encode())
        given.seek(0)
        with Confined(
            isolation, bounds, module, (), None if cold else WITHOUT_TORCH, stdin=given, stdout=said, stderr=errors
        ) as confined:
            end = time.monotonic() + bounds.start
            while (code := ended_within(confined.process, TICK)) is None:
                if time.monotonic() > end:
                    raise Ended(f"it took longer than {bounds.start:g} seconds", late=True)
                confined.require_modest(confined.family())
        said.seek(0)
        try:
            return json.loads(said.read(2**24))
        except ValueError:
            errors.seek(0)
            last = errors.read(2**16).decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise Ended(f"it ended with exit code {code}: {last[-1][:300]}") from None


def ended_within(process: subprocess.Popen | Forked, seconds: float) -> int | None:
    """The exit code of a process; None where it runs on."""
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


class Sandbox(Confined):
    """One process with one student's code in it, see `child.py`.

    Attributes:
        log: what the process printed, cut after MAX_LOG bytes.
        spent: seconds that its answers took, see `ask`.
    """

    def __init__(self, isolation: Isolation, bounds: Limits):
        self.log = bytearray()
        self.spent = 0.0
        self._known: dict[int, Process] = {}  # its processes, when they were last looked at
        self._idle: set[int] = set()  # those of them that only wait for others
        self._number = 0
        self._ended: Ended | None = None
        self._connection, theirs = socket.socketpair()
        try:
            super().__init__(
                isolation,
                bounds,
                "tinyldm_course.grading.child",
                (theirs.fileno(),),
                WITH_TORCH,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        self._reader = threading.Thread(target=self._keep_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Sandbox":
        try:
            self._exchange(b"", self.bounds.start)
            new = listed_children(os.getpid()) - self._others
            self._known = {number: found for number in new if (found := process_of(number)) is not None}
            self._idle = {process.parent for process in self._known.values()}
        except Ended as error:  # no code of a student has run yet
            last = (self.log.decode(errors="replace").split("\n")[-2:] or ["it said nothing"])[0]
            raise OSError(f"the process for student code does not start on this machine: {error}: {last}") from None
        return self

    # ── Asking ───────────────────────────────────────────────────────────────────────────────────────

    def ask(
        self, question: dict[str, Any], seconds: float, until: float = math.inf, call: bytes | None = None
    ) -> dict[str, Any]:
        """The answer to a question (see child.py).

        call: the frame of the Call that belongs to the question; "outcome" in the answer is the frame that came back.
        seconds: what it may take: processor time while it computes, the clock's while it waits. So a busy machine
            costs nobody their points.
        until: when it must be there in any case, as `time.monotonic()` counts.
        Raises:
            Ended: there is no answer and will be none; the process has been killed.
        """
        if self._ended is not None:
            raise self._ended
        self._number += 1
        data = wire.frame(question | {"n": self._number}) + (call or b"")
        return self._exchange(data, seconds, until, call is not None)

    def _exchange(
        self, data: bytes, seconds: float, until: float = math.inf, with_outcome: bool = False
    ) -> dict[str, Any]:
        try:
            wire.send(self._connection, data, min(until, time.monotonic() + SLOW_PIPE * seconds))
            self._wait(seconds, until)
            deadline = min(until, time.monotonic() + SLOW_PIPE * seconds)
            answer = wire.receive(self._connection, deadline)
            if not isinstance(answer, dict) or answer.get("n") != self._number:
                raise wire.BadFrame("an answer to no question")
            return answer | ({"outcome": wire.receive_frame(self._connection, deadline)} if with_outcome else {})
        except TimeoutError:
            ended = Ended(f"it took longer than {self.bounds.seconds:g} seconds", late=True)
        except wire.Closed:
            ended = Ended(self._how_it_ended())
        except wire.BadFrame:
            ended = Ended("it sent an invalid reply", forged=True)
        except Ended as error:
            ended = error
        self._ended = ended
        self.close()
        raise ended

    def _wait(self, seconds: float, until: float) -> None:
        """Wait for the answer's first byte; monitor time, memory and number of processes meanwhile."""
        start, spent = time.monotonic(), self.spent
        # What was used since the last look belongs to quick answers, not to this one.
        self._known = {
            number: found
            for number, before in self._known.items()
            if (found := before if number in self._idle else process_of(number)) is not None
        }
        while not select.select([self._connection], [], [], TICK)[0]:
            self._note_time(TICK)
            if self.spent - spent > seconds or time.monotonic() > min(until, start + MAX_PATIENCE * seconds):
                raise TimeoutError
        if time.monotonic() - start > TICK:
            self._note_time(0.0)

    def _note_time(self, waited: float) -> None:
        """Add what was spent since the last call: processor time; where nothing computes, the time that was waited.

        waited: as long as this process meant to, however late it woke up on a busy machine.
        """
        family = self.family()
        self.require_modest(family)
        used, before = (sum(process.seconds for process in each.values()) for each in (family, self._known))
        # Not "D": a process that waits for a child of vfork is in that state, as long as it likes.
        computes = any(process.state == "R" for process in family.values())
        self.spent += max(used - before, 0.0 if computes else waited)
        self._known = family

    def _how_it_ended(self) -> str:
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "it closed the connection to the grader"
        number = -code if code < 0 else code - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            return f"it exited with exit code {code}"
        what = {
            "SIGSEGV": "a segmentation fault",
            "SIGKILL": "killed, often for using too much memory",
            "SIGXCPU": "too much processor time",
        }.get(name, name)
        return f"its process crashed ({what})"

    def _keep_log(self) -> None:
        """Read what is printed, so that nobody waits for it; keep its beginning only."""
        while piece := self.process.stdout.read1(2**16):
            self.log += piece[: max(0, MAX_LOG - len(self.log))]

    def close(self) -> None:
        """End the process and all that came from it."""
        self._ended = self._ended or Ended("it was ended")
        self._connection.close()
        super().close()
        self._reader.join(timeout=5)


def files_of(number: int) -> int:
    """How many files there are in the /tmp that a process sees; 0 where it is that of this process, or gone."""
    try:
        seen = os.statvfs(f"/proc/{number}/root/tmp")
        return 0 if seen.f_fsid == os.statvfs("/tmp").f_fsid else seen.f_files - seen.f_ffree
    except OSError:
        return 0


def fits(folder: Path, size: int) -> bool:
    """Do the files below a folder take at most so much? A file counts for 4 KiB at least."""
    waiting = [str(folder)]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    size -= max(4096, entry.stat(follow_symlinks=False).st_size)
                    if size < 0:
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    except OSError:  # it is being changed, or was made unreadable for the grader: root is not, and promises more
        return True
    return True
