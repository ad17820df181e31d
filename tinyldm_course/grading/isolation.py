"""What this machine offers to keep a student's process in, tried out and said plainly.

With bubblewrap (`bwrap`) the process sees a system of its own: no network, no other processes, no home directory, no
tests, no right answers; Python and the system's libraries are there, read-only. Without it, the limits and Landlock
(`limits.py`) remain: then the process can still *read* what the user can read.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

import tinyldm
import tinyldm_course
from tinyldm_course.grading import limits

PACKAGES = (Path(tinyldm.__file__).parent, Path(tinyldm_course.__file__).parent)
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/nix/store")
KERNEL = ("/proc", "/sys/devices/system", "/dev/zero", "/dev/random", "/dev/urandom")
ANSWERS = PACKAGES[1] / "exercises"  # which a student's process has no business to read
ANOTHER_USER = 1_000_000  # plus the number of the grader's process: a user that nobody else is


@dataclass(frozen=True)
class Isolation:
    """How a student's process is started.

    Attributes:
        bwrap: where bubblewrap is; None where it is not installed or does not work.
        why_not: what stands in its way, in words; empty where nothing does.
        other_user: does the process take a user id of its own? It can, where the grader is root.
        landlock: the version of Landlock in this kernel; 0 where there is none.
    """

    bwrap: str | None
    why_not: str = ""
    other_user: bool = False
    landlock: int = 0

    def user(self) -> int | None:
        """The user id to take, another one for each grader; None to stay the same user."""
        return ANOTHER_USER + os.getpid() if self.other_user else None

    def command(self, folder: Path) -> list[str]:
        """What to put in front of `python …`. folder: where the process may write (inside bubblewrap: /tmp)."""
        if self.bwrap is None:
            return []
        return [
            self.bwrap,
            *namespaces(),
            *read_only(),
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--remount-ro",
            "/dev",
            *small_tmpfs(self.bwrap),
            "--chdir",
            "/tmp",
        ]

    def statements(self) -> list[str]:
        """What is promised, and what is not, for the teacher's report."""
        if self.bwrap is not None:
            return [
                "Isolated by bubblewrap: no network, no other processes, a read-only system without your files, "
                "the tests and the right answers."
            ]
        found = [f"NOT isolated by bubblewrap: {self.why_not}."]
        if self.landlock:
            kept = ["reads Python's and the system's folders only", "writes into its own empty folder only"]
            kept += ["opens no TCP connection"] * (self.landlock >= 4)
            kept += ["cannot signal other processes"] * (self.landlock >= 6)
            return [
                *found,
                f"Landlock {self.landlock} holds each submission instead: it {', '.join(kept)}. It still "
                "sees which processes run, and other kinds of network are open to it.",
            ]
        return [
            *found,
            "This system has no Landlock either. A submission can read, change and delete what you can, "
            "end your processes and use the network. Grade strangers' code here only inside a virtual "
            "machine or a container that holds nothing else.",
        ]


def best_isolation() -> Isolation:
    """The strongest that works on this machine."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return without_bubblewrap("it is not installed")
    candidate = Isolation(bwrap, "", os.getuid() == 0, limits.landlock_version())
    why_not = failure_of(candidate)
    return without_bubblewrap(why_not) if why_not else candidate


def without_bubblewrap(why_not: str) -> Isolation:
    """The limits and Landlock alone; and another user, where the grader is root and Python is everyone's to read."""
    other = os.getuid() == 0 and all(readable_by_all(Path(path)) for path in python_folders() | set(map(str, PACKAGES)))
    return Isolation(None, why_not, other, limits.landlock_version())


def failure_of(isolation: Isolation) -> str:
    """Why Python does not start in it; empty where it does. (Containers often forbid what bubblewrap needs.)"""
    try:
        done = subprocess.run(
            [*isolation.command(Path("/tmp")), sys.executable, "-c", "print('works')"],
            capture_output=True,
            text=True,
            timeout=60,
            env={},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it does not start: {error}"
    if done.stdout.strip() == "works":
        return ""
    return f"it does not work here: {(done.stderr.strip().splitlines() or ['no message'])[-1][:200]}"


# ── The arguments of bubblewrap ──────────────────────────────────────────────────────────────────────


def namespaces() -> list[str]:
    """Nothing is shared with the system. Root keeps just enough to become another user."""
    alone = [
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
    ]
    if os.getuid() == 0:
        return [*alone, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*alone, "--unshare-user"]


def read_only() -> list[str]:
    """The system, Python and this package, without the right answers."""
    shown = [*SYSTEM, *sorted(python_folders()), *map(str, PACKAGES)]
    # Made first, or bubblewrap makes them for root alone.
    above = sorted({str(folder) for path in shown for folder in Path(path).parents} - {"/", "/usr", "/lib", "/bin"})
    return (
        [part for path in above for part in ("--dir", path)]
        + [part for path in shown for part in ("--ro-bind-try", path, path)]
        + ["--tmpfs", str(ANSWERS)]
    )


def python_folders() -> set[str]:
    """Where this Python and its libraries are; a virtual environment has two such places, or more."""
    folders = {
        sys.prefix,
        sys.base_prefix,
        str(Path(os.path.realpath(sys.executable)).parents[1]),
        str(Path(torch.__file__).parents[1]),
    }
    return {path for path in folders if path not in ("/", "/usr")}


def readable() -> list[str]:
    """All that a student's process may read, for Landlock, which can allow folders but no exceptions in them."""
    shown = [Path(path) for path in (*SYSTEM, *KERNEL, *sorted(python_folders()))] + [*PACKAGES]
    return [str(path) for whole in shown for path in without(ANSWERS, whole)]


def without(hidden: Path, whole: Path) -> list[Path]:
    """A folder, as the parts of it that do not hold a hidden one."""
    if whole == hidden:
        return []
    if whole not in hidden.parents:
        return [whole]
    return [path for part in sorted(whole.iterdir()) for path in without(hidden, part)]


def small_tmpfs(bwrap: str) -> list[str]:
    """A folder in memory, of at most 64 MiB where this bubblewrap can say so (since 0.7)."""
    manual = subprocess.run([bwrap, "--help"], capture_output=True, text=True).stdout
    return [
        *(["--size", str(2**26)] if "--size" in manual else []),
        *(["--perms", "1777"] if "--perms" in manual else []),
        "--tmpfs",
        "/tmp",
    ]


def readable_by_all(path: Path) -> bool:
    """May every user go down to this folder?"""
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents) if folder.exists())
