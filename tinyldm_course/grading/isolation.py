"""The walls around a student's process: which there are, and what the process sees between them.

    bubblewrap      namespaces of its own (users, processes, network, IPC, host name, files), all rights dropped
    another user    a user id that owns nothing, and Landlock; for root in a container that forbids bubblewrap
    none            limits only, and what else happens to work; nothing is promised (`--trust-students`)

The first two also have a seccomp filter (`seccomp.py`), Landlock where the kernel has it, limits, and a session keyring
of their own. `probes.py` tries each promise before it is made.

What a student's process must not read is not there. Its Python path is built from what it may see, by real names: no
symbolic link leads around.
"""

import base64
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

import tinyldm
import tinyldm_course
from tinyldm_course.grading import kernel

PACKAGES = tuple(Path(os.path.realpath(package.__path__[0])) for package in (tinyldm, tinyldm_course))
ANSWERS = PACKAGES[1] / "exercises"  # which a student's process must not read
CHECKOUT = ("exercises", "sources", "tests", "notebooks", "benchmarks", ".git")  # which also contain them
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/nix/store")
DEVICES = ("/dev/zero", "/dev/random", "/dev/urandom", "/sys/devices/system")
PROC = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys")  # but no other process
PYTHON = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
ANOTHER_USER = 1_000_000  # plus the number of the grader's process: a user id nobody else has
SPACE = 2**26  # bytes, for all files of a student together
MIN_BUBBLEWRAP = (0, 7)  # the first that can limit the size of a tmpfs
MIN_LANDLOCK = 3  # the first that guards truncate(2); Linux 6.2


@dataclass(frozen=True)
class Isolation:
    """How a student's process is kept.

    Attributes:
        bwrap: where bubblewrap is; None where it is not used.
        other_user: does the process take a user id of its own? It can, where the grader is root.
        filter: the seccomp filter, see `seccomp.allow_list`.
        promised: must all walls stand? False with `--trust-students`.
        landlock: must Landlock be among them?
    """

    bwrap: str | None = None
    other_user: bool = False
    filter: bytes = b""
    promised: bool = False
    landlock: bool = False

    def user(self) -> int | None:
        """The user id to take, different for each grader; None to stay the same user."""
        return ANOTHER_USER + os.getpid() if self.other_user else None

    def inside(self, folder: Path) -> Path:
        """Where the process sees its own folder."""
        return Path("/tmp") if self.bwrap else folder

    def walls(self) -> dict:
        """What the process has to do itself, for `confine.py`."""
        return {
            "user": self.user(),
            "promised": self.promised,
            "landlock": self.landlock,
            "filter": base64.b64encode(self.filter).decode(),
            "readable": readable(),
        }

    def command(self) -> list[str]:
        """What to put in front of `python …`."""
        return [] if self.bwrap is None else [self.bwrap, *namespaces(), *file_system()]

    def statements(self) -> list[str]:
        """What is promised, and what is not, for the teacher's report."""
        if not self.promised:
            return [
                "NOT ISOLATED, as --trust-students asked: a submission could read, change and delete what the grader's "
                "user can, end that user's processes and use the network."
            ]
        if self.bwrap is not None:
            return [
                "Isolated by bubblewrap and a seccomp filter: no network, no other processes, a read-only system "
                "without your files, the tests and the right answers."
            ]
        return [
            "Isolated by a user id of its own, Landlock and a seccomp filter: no network, no power over other "
            "processes or files, and no way to read your files, the tests or the right answers."
        ]


def trusting() -> Isolation:
    """No isolation. The limits hold, and what else happens to work is tried, unpromised."""
    return Isolation()


# ── What there could be on this machine ──────────────────────────────────────────────────────────────


def bubblewrap(program: bytes) -> Isolation:
    """Bubblewrap with a seccomp filter. Raises OSError that says what is missing."""
    found = shutil.which("bwrap")
    if found is None:
        raise OSError("bubblewrap is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    if version < MIN_BUBBLEWRAP:
        raise OSError(f"{said.strip() or found} is too old: it cannot limit the size of a folder, as 0.7 can")
    return Isolation(found, os.getuid() == 0, program, True, kernel.landlock_version() > 0)


def another_user(program: bytes) -> Isolation:
    """Another user, Landlock and a seccomp filter. Raises OSError that says what is missing."""
    if os.getuid() != 0:
        raise OSError("only root can give submissions a user id of their own")
    if kernel.landlock_version() < MIN_LANDLOCK:
        raise OSError(f"this kernel has Landlock {kernel.landlock_version()}; expected {MIN_LANDLOCK} or later")
    hidden = [path for path in shown() if not readable_by_all(Path(path))]
    if hidden:
        raise OSError(f"only root can read {hidden[0]}, which Python needs")
    return Isolation(None, True, program, True, True)


def readable_by_all(path: Path) -> bool:
    """May every user go down to this folder or file, and read it?"""
    if not path.exists():
        return True
    way = all(folder.stat().st_mode & 0o001 for folder in path.parents)
    return way and path.stat().st_mode & 0o004 == 0o004


# ── What a process may see ───────────────────────────────────────────────────────────────────────────


@cache
def site_folders() -> tuple[str, ...]:
    """Where this Python's libraries are, by their real names: the path of a student's Python."""
    listed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    found = [os.path.realpath(path) for path in (*listed, str(Path(torch.__file__).parents[1])) if os.path.isdir(path)]
    return tuple(dict.fromkeys(found))


@cache
def shown() -> tuple[str, ...]:
    """All that a student's process may read: the system, Python, its libraries, and this package; real names."""
    base = Path(os.path.realpath(sys.base_prefix))
    python = [PYTHON, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    python += [str(base / name) for name in ("lib", "lib64") if str(base) not in ("/", "/usr")]
    listed = [*python, *site_folders(), *map(str, PACKAGES)]
    return (*SYSTEM, *sorted({os.path.realpath(path) for path in listed if os.path.exists(path)}))


@cache
def hidden() -> tuple[Path, ...]:
    """What must not be seen, wherever it lies: the right answers, and what else of a checkout holds them."""
    root = PACKAGES[1].parent
    beside = [] if str(root) in site_folders() else [root / name for name in CHECKOUT]
    other_copies = [Path(folder, "tinyldm_course", "exercises") for folder in site_folders()]
    return tuple(dict.fromkeys([ANSWERS, *(path for path in (*beside, *other_copies) if path.is_dir())]))


@cache
def readable() -> tuple[str, ...]:
    """`shown`, for Landlock, which can allow folders but no exceptions in them."""
    return (
        *(str(path) for whole in shown() for path in without(hidden(), Path(os.path.realpath(whole)))),
        *DEVICES,
        *PROC,
    )


def without(concealed: tuple[Path, ...], whole: Path) -> list[Path]:
    """The parts of a folder outside the hidden ones."""
    if any(path == whole or path in whole.parents for path in concealed):
        return []
    if not any(whole in path.parents for path in concealed):
        return [whole]
    return [path for part in sorted(whole.iterdir()) if not part.is_symlink() for path in without(concealed, part)]


# ── The arguments of bubblewrap ──────────────────────────────────────────────────────────────────────


def namespaces() -> list[str]:
    """Nothing is shared with the system. Root keeps just enough to become another user, and loses it with that."""
    alone = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    alone += ["--hostname", "student", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.getuid() == 0:
        return [*alone, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*alone, "--unshare-user"]


@cache
def file_system() -> tuple[str, ...]:
    """A system of folders that only shows what may be read; /tmp alone can be written, and holds `SPACE` bytes."""
    # First of all, since Python itself may lie below it.
    arguments = ["--perms", "1777", "--size", str(SPACE), "--tmpfs", "/tmp"]
    # Made first, or bubblewrap makes them for root alone.
    above = sorted(
        {str(folder) for path in shown() for folder in Path(path).parents} - {"/", "/usr", "/lib", "/bin", "/tmp"}
    )
    arguments += [part for path in above for part in ("--dir", path)]
    arguments += [part for path in shown() for part in ("--ro-bind-try", path, path)]
    for path in hidden():
        if any(Path(whole) in path.parents for whole in shown()):
            arguments += ["--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path)]
    return (
        *arguments,
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
    )
