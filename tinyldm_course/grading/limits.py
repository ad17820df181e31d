"""What a process takes from itself before it runs a stranger's code. Nothing of it can be taken back.

Memory, processor time, size and number of files, number of processes: POSIX limits. Reading and writing
other files, signals to other processes and TCP: Landlock, which Linux offers to every process since 5.13 (signals since
6.12), without being root and without a program to install. `man 7 landlock` has the numbers below.
"""

import ctypes
import os
import resource
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # of the system calls, on every processor
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SIGKILL = 9
# LANDLOCK_ACCESS_FS_… of ABI 1: EXECUTE (0), READ_FILE (2), READ_DIR (3); WRITE_FILE (1), REMOVE_…, MAKE_… (4 … 12)
READING = 1 << 0 | 1 << 2 | 1 << 3
WRITING = 1 << 1 | sum(1 << bit for bit in range(4, 13))
REFER, TRUNCATE = 1 << 13, 1 << 14  # since ABI 2 and 3
OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | TRUNCATE  # the rights that make sense for what is no folder
TCP = 0b11  # bind and connect, since ABI 4
SCOPED = 0b11  # abstract sockets and signals, since ABI 6


@dataclass(frozen=True)
class Limits:
    """What one student's process may use."""

    memory: int = 3 * 2**30  # bytes of address space; torch alone takes about one GB of it
    file_size: int = 2**24  # bytes of a file
    open_files: int = 256
    processes: int = 32  # beside those that the user has already
    processor: int = 900  # seconds in all: the last resort, where the clock's limits fail
    seconds: float = 10.0  # for a cell, and for all questions about one exercise; see Sandbox.ask
    submission: float = 900.0  # on the clock, for a whole notebook
    start: float = 60.0  # until Python and torch are there


def set_limits(limits: Limits) -> None:
    """Limit the own process and all that it will start."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CPU, limits.processor),
        (resource.RLIMIT_NPROC, threads_of(os.getuid()) + limits.processes),
    ):
        _, ceiling = resource.getrlimit(what)
        most = most if ceiling == resource.RLIM_INFINITY else min(most, ceiling)
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS knows no limit of the address space
            continue
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")  # when memory ends, this process goes first
    except OSError:
        pass


def threads_of(user: int) -> int:
    """How many threads a user has: the number that RLIMIT_NPROC is compared with."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*/task"):
        try:
            if folder.stat().st_uid == user:
                count += len(os.listdir(folder))
        except OSError:  # it ended meanwhile
            continue
    return count


def become(user: int) -> None:
    """Be another user, who owns nothing. Only root can."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


# ── Linux ────────────────────────────────────────────────────────────────────────────────────────────


def system_call(*arguments) -> int:
    """-1 where it fails, and on other systems, where the numbers mean other calls."""
    return ctypes.CDLL(None, use_errno=True).syscall(*arguments) if sys.platform == "linux" else -1


def control(*arguments: int) -> int:
    """`prctl`, where there is one; -1 where it fails."""
    return ctypes.CDLL(None, use_errno=True).prctl(*arguments, 0, 0, 0) if sys.platform == "linux" else -1


def landlock_version() -> int:
    """Of Landlock in this kernel; 0 where there is none."""
    return max(0, system_call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def lock_files(folder: Path, readable: list[str]) -> bool:
    """Let the own process write in one folder (and to /dev/null) and read that and some others. Was that possible?"""
    version = landlock_version()
    if not version:
        return False
    everything = READING | WRITING | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    ruleset = struct.pack("QQQ", everything, TCP if version >= 4 else 0, SCOPED if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    descriptor = system_call(CREATE_RULESET, ruleset, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if descriptor < 0:
        return False
    allowed = [_allow(descriptor, path, everything) for path in (folder, Path(os.devnull))]
    allowed += [_allow(descriptor, Path(path), READING) for path in readable if Path(path).exists()]
    control(PR_SET_NO_NEW_PRIVS, 1)
    locked = all(allowed) and system_call(RESTRICT_SELF, ctypes.c_int(descriptor), ctypes.c_uint32(0)) == 0
    os.close(descriptor)
    return locked


def _allow(ruleset: int, path: Path, rights: int) -> bool:
    place = os.open(path, os.O_PATH)
    rule = struct.pack("=Qi", rights if path.is_dir() else rights & OF_FILES, place)
    done = system_call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0)) == 0
    os.close(place)
    return done
