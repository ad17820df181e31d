"""What one student's process may use: memory, processor time, size and number of files, number of processes."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What one student's process may use."""

    memory: int = 3 * 2**30  # bytes of address space; torch alone takes about one GB of it
    file_size: int = 2**24  # bytes of a file
    open_files: int = 256
    processes: int = 32  # in addition to the user's existing ones
    processor: int = 900  # CPU seconds, for all of a student's processes together, also between questions
    seconds: float = 10.0  # for a cell, and for all questions about one exercise; see Sandbox.ask
    submission: float = 900.0  # on the clock, for a whole notebook
    start: float = 60.0  # to start Python and load torch


def set_limits(limits: Limits) -> list[str]:
    """Limit this process and all that it will start. Returns: what could not be limited."""
    missing = []
    for what, most, words in (
        (resource.RLIMIT_CORE, 0, "core dumps"),
        (resource.RLIMIT_AS, limits.memory, "memory"),
        (resource.RLIMIT_FSIZE, limits.file_size, "the size of files"),
        (resource.RLIMIT_NOFILE, limits.open_files, "open files"),
        (resource.RLIMIT_CPU, limits.processor, "processor time"),
        (resource.RLIMIT_NPROC, threads_of(os.getuid()) + limits.processes, "processes"),
    ):
        _, ceiling = resource.getrlimit(what)
        most = most if ceiling == resource.RLIM_INFINITY else min(most, ceiling)
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS does not support a limit on the address space
            missing.append(words)
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, kill this process first
    except OSError:
        pass
    return missing


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


def switch_user(user: int) -> None:
    """Switch to another user, who owns nothing. Only root can."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
