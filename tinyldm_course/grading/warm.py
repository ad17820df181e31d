"""Processes for student code that need not import PyTorch: a warm process has done so, and forks for each of them.

    grader ──asks──► warm process (forking.py): PyTorch is imported; it never runs a student's code
      │                 └─ fork ─► steps into the namespaces ─ fork ─► confine.py, then child.py
      └─ starts ─► bubblewrap: makes new namespaces with all that is to be seen in them, and waits there

So every process of a student has walls of its own, the same as when bubblewrap starts it, and nothing passes from one
student to the next. What is saved is the import. Linux only; where it does not work, `start` raises OSError, and
`sandbox.py` starts a new Python.
"""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")  # in this order: after "mnt" the others are out of sight
NS_GET_USERNS = 0xB701  # an ioctl: the user namespace that owns another one, `man 2 ioctl_ns`
HOLD = "cat"  # waits in the namespaces for the end of its input, and says that it is there by what it copies


class Warm:
    """The warm process, as a grader sees it."""

    def __init__(self, python: list[str], environment: dict[str, str], preloaded: str):
        """Start it. python: a command that takes the name of a module and its arguments; preloaded: what it imports."""
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*python, "tinyldm_course.grading.forking", str(theirs.fileno()), preloaded],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._lock = threading.Lock()

    def start(self, settings: dict, descriptors: dict[int, int], walls: list[str], seconds: float) -> "Forked":
        """Start a process for student code.

        Args:
            settings: what `forking.run` and `confine.py` need to know.
            descriptors: number there -> number here.
            walls: the command of bubblewrap; empty where the process has to confine itself alone.
            seconds: what it may take.

        Raises: OSError.
        """
        deadline = time.monotonic() + seconds
        holder = Holder(walls, deadline) if walls else None
        try:
            with namespaces(holder.inside if holder else 0) as joined, self._lock:
                request = json.dumps({"settings": settings, "numbers": list(descriptors)}).encode()
                self._connection.settimeout(max(0.1, deadline - time.monotonic()))
                socket.send_fds(self._connection, [request], [*descriptors.values(), *joined])
                said = self._connection.recv(64)
            if not said.isdigit():
                raise OSError("the warm process does not fork")
            return Forked(int(said), holder)
        except BaseException:
            if holder:
                holder.end()
            raise

    def stop(self) -> None:
        """End it."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class Forked:
    """A process that the warm one forked, with what is needed of the methods of `subprocess.Popen`.

    Attributes:
        stdout: its output, set by whoever made a pipe for it.
    """

    stdout: IO[bytes] | None = None

    def __init__(self, pid: int, holder: "Holder | None"):
        self.pid = pid
        self._holder = holder
        self._ended = os.pidfd_open(pid)
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, 128 + the signal where one ended it. Raises subprocess.TimeoutExpired."""
        if self._code is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a student's process", timeout or 0.0)
            os.close(self._ended)
            try:
                self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:  # it was waited for already
                self._code = -signal.SIGKILL
            if self._holder:
                self._holder.end()
        return self._code

    def kill(self) -> None:
        """End it, and with its namespaces all that is in them."""
        if self._holder:
            self._holder.end()
        if self._code is None:
            with suppress(ProcessLookupError):  # it was waited for already
                os.kill(self.pid, signal.SIGKILL)


# ── Namespaces ───────────────────────────────────────────────────────────────────────────────────────


class Holder:
    """Bubblewrap, with something in its namespaces that waits.

    Attributes:
        inside: number of the first process in them, as seen from here.
    """

    def __init__(self, walls: list[str], deadline: float):
        """walls: the command up to the program. Raises OSError where it does not start."""
        told, tells = os.pipe()
        with open(told, encoding="utf-8") as information:
            self._process = subprocess.Popen(
                [walls[0], "--info-fd", str(tells), *walls[1:], HOLD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PATH": os.defpath},
                pass_fds=[tells],
                start_new_session=True,
            )
            os.close(tells)
            assert self._process.stdin is not None and self._process.stdout is not None  # pipes, as asked for
            self._pipes = (self._process.stdin, self._process.stdout)
            with suppress(OSError):  # where it has ended, there is nothing to read either
                os.write(self._process.stdin.fileno(), b".")
            ready = select.select([self._process.stdout], [], [], max(0.1, deadline - time.monotonic()))[0]
            if not ready or self._process.stdout.read(1) != b".":
                self.end()
                raise OSError("bubblewrap does not start")
            self.inside: int = json.load(information)["child-pid"]

    def end(self) -> None:
        """End all that is in the namespaces."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.close()


@contextmanager
def namespaces(process: int) -> Iterator[list[int]]:
    """Descriptors of the namespaces of a process, in the order in which to step into them; none for process 0."""
    found: list[int] = []
    try:
        if process:
            paths = [f"/proc/{process}/ns/{name}" for name in (*NAMESPACES, "user")]
            found += [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
            # Bubblewrap makes a second user namespace in the first, and the first one owns the others.
            found.insert(0, fcntl.ioctl(found[len(NAMESPACES) - 1], NS_GET_USERNS))
        yield to_enter(found)
    finally:
        for descriptor in found:
            os.close(descriptor)


def to_enter(found: list[int]) -> list[int]:
    """Without the first and the last, the user namespaces, where one is there already: the kernel refuses that."""
    if not found:
        return []
    here, owner, inner = (os.stat(place).st_ino for place in ("/proc/self/ns/user", found[0], found[-1]))
    return found[owner == here : len(found) - (inner == owner)]
