"""Before a class is graded: does each wall hold? All of `attacks.py` is tried, and must fail, seen from both sides.

best_isolation ──candidates──► a confined process attacks targets of our own ──► nothing done, nothing arrived: taken
"""

import os
import platform
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tinyldm_course.grading import isolation as walls
from tinyldm_course.grading import seccomp
from tinyldm_course.grading.attacks import ATTACKS
from tinyldm_course.grading.isolation import ANSWERS, SPACE, Isolation
from tinyldm_course.grading.limits import Limits
from tinyldm_course.grading.sandbox import WITHOUT_TORCH, Ended, ask_once

BOUNDS = Limits(start=120.0)  # of a machine that is busy
APART = "fill the disk"  # ends the process, where no tmpfs of limited size does it first
DECOY = "import sys; print(flush=True); sys.stdin.read()"


class NotIsolated(OSError):
    """Student code cannot be isolated on this machine. The message says why, and what to install."""


def best_isolation() -> Isolation:
    """The strongest that holds on this machine. Raises NotIsolated."""
    reasons = []
    try:
        program = seccomp.allow_list()
    except OSError as error:
        raise NotIsolated(refusal([f"libseccomp cannot be used ({error})"])) from None
    for build in (walls.bubblewrap, walls.another_user):
        try:
            candidate = build(program)
            found = failures(candidate)
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(str(error))
            continue
        finally:
            WITHOUT_TORCH.close()  # submissions are graded in other processes, which have their own
        if not found:
            return candidate
        reasons.append(f"{build.__name__.replace('_', ' ')}: {'; '.join(found)}")
    raise NotIsolated(refusal(reasons))


def refusal(reasons: list[str]) -> str:
    """Why nothing is graded, and what to do."""
    if platform.system() != "Linux":
        reasons = [f"{platform.system()} offers no such walls; grade in a Linux machine or container, or inside WSL 2"]
    return (
        f"student code cannot be isolated here: {'; '.join(reasons)}. Install bubblewrap 0.7 or later and libseccomp "
        "(apt install bubblewrap libseccomp2, dnf install bubblewrap libseccomp) on a system that lets users make "
        "namespaces, or, if you know who wrote the code, grade it without isolation: --trust-students"
    )


def failures(isolation: Isolation) -> list[str]:
    """What a confined process could do in spite of its walls, in words; empty where they hold.

    Both ways to start one are tried: in a new Python, and by the warm process.
    """
    return [failure for cold in (True, False) for failure in failures_of(isolation, cold)]


def failures_of(isolation: Isolation, cold: bool) -> list[str]:
    """The same, for one of the ways."""
    found = []
    with ExitStack() as stack:
        targets, arrived = stack.enter_context(decoys())
        for names in ([name for name in ATTACKS if name != APART], [APART]):
            try:
                told = ask_once(isolation, BOUNDS, "tinyldm_course.grading.attacks", targets | {"attacks": names}, cold)
            except Ended as error:
                if names == [APART] and "of files" in str(error):
                    continue
                return [f"the process for student code does not start: {error}"]
            found += [
                f"it is possible to {name}" if " " in name else f"{name} works" for name in names if not told.get(name)
            ]
        found += arrived()
    return found


@contextmanager
def decoys() -> Iterator[tuple[dict, Callable[[], list[str]]]]:
    """Targets for the attacks, and a function that says which of them were hit."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinyldm-probe-")))
        folder.chmod(0o777)
        file = folder / "decoy"
        file.write_text("untouched")
        file.chmod(0o644)
        tcp, udp, unix, datagram, abstract = (stack.enter_context(end) for end in listeners(folder))
        process = stack.enter_context(decoy_process())
        before, limits = file.stat(), limits_of(process.pid)
        targets = {
            "port": tcp.getsockname()[1],
            "udp_port": udp.getsockname()[1],
            "unix": str(folder / "stream"),
            "unix_datagram": str(folder / "datagram"),
            "abstract": abstract.getsockname()[1:].decode(),
            "process": process.pid,
            "address": first_address(process.pid),
            "file": str(file),
            "folder": str(folder),
            "answers": [str(ANSWERS), *(os.path.join(place, "tinyldm_course", "exercises") for place in sys.path)],
            "space": SPACE,
            "memory": BOUNDS.memory,
            "processes": BOUNDS.processes,
            "key": 0x7D1D0000 + os.getpid() % 2**16,
        }

        def arrived() -> list[str]:
            found = ["something arrived from the network"] * bool(
                select.select([tcp, udp, unix, datagram, abstract], [], [], 0)[0]
            )
            found += ["another process was ended"] * (process.poll() is not None)
            found += ["another process was limited"] * (limits_of(process.pid) != limits)
            after = file.stat()
            same = (before.st_mode, before.st_uid, before.st_mtime) == (after.st_mode, after.st_uid, after.st_mtime)
            untouched = same and file.read_text() == "untouched" and len(list(folder.iterdir())) == 3
            return found + ["another file was changed"] * (not untouched)

        yield targets, arrived


def listeners(folder: Path) -> list[socket.socket]:
    """Sockets that wait: TCP, UDP, two UNIX sockets with names, and one without a file."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    stream, datagram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end, name in ((stream, "stream"), (datagram, "datagram")):
        end.bind(str(folder / name))
        (folder / name).chmod(0o777)
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0tinyldm-probe-{os.getpid()}")
    stream.listen()
    abstract.listen()
    return [tcp, udp, stream, datagram, abstract]


@contextmanager
def decoy_process() -> Iterator[subprocess.Popen]:
    """A process of the grader's own user that waits."""
    command = [sys.executable, "-S", "-c", DECOY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None  # a pipe, as asked for
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def limits_of(process: int) -> str:
    """All limits of a process, as the kernel prints them."""
    try:
        return Path(f"/proc/{process}/limits").read_text(encoding="utf-8")
    except OSError:
        return ""


def first_address(process: int) -> int:
    """Where the memory of a process begins."""
    return int(Path(f"/proc/{process}/maps").read_text(encoding="utf-8").partition("-")[0], 16)
