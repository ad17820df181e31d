"""What Linux lets a process give up, for itself and all that it will start. Nothing of it can be taken back.

    lock_files      Landlock (`man 7 landlock`): reading and writing outside of given folders, TCP, signals
    filter_calls    seccomp (`man 2 seccomp`): the system calls that `seccomp.py` does not list
    drop_rights     all capabilities
    leave_keyring   a session keyring of its own, `man 7 keyrings`

Each raises OSError where it cannot do what it says. Landlock and seccomp bind the thread that asks for them, and what
that thread starts; so `require_one_thread` comes first.
"""

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # of the system calls, on every processor
KEYCTL = {"x86_64": 250, "aarch64": 219}  # the number of this one differs
KEYCTL_JOIN_SESSION_KEYRING = 1
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
SECCOMP_MODE_FILTER = 2
SIGKILL = 9
# LANDLOCK_ACCESS_FS_… of ABI 1: EXECUTE (0), READ_FILE (2), READ_DIR (3); WRITE_FILE (1), REMOVE_…, MAKE_… (4 … 12)
READING = 1 << 0 | 1 << 2 | 1 << 3
WRITING = 1 << 1 | sum(1 << bit for bit in range(4, 13))
REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15  # since ABI 2, 3 and 5
OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | TRUNCATE | IOCTL  # the rights that apply to files
TCP = 0b11  # bind and connect, since ABI 4
SCOPED = 0b11  # abstract sockets and signals, since ABI 6


def system_call(*arguments) -> int:
    """-1 where it fails, and on other systems, where the numbers mean other calls."""
    return ctypes.CDLL(None, use_errno=True).syscall(*arguments) if sys.platform == "linux" else -1


def control(*arguments) -> int:
    """`prctl`, where there is one; -1 where it fails."""
    return ctypes.CDLL(None, use_errno=True).prctl(*arguments, 0, 0, 0) if sys.platform == "linux" else -1


def _failed(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def require_one_thread() -> None:
    """Raise OSError where this process has other threads, which the walls below would not hold."""
    count = len(os.listdir("/proc/self/task"))
    if count != 1:
        raise OSError(f"the process has {count} threads before it is confined; expected 1")


# ── Landlock ─────────────────────────────────────────────────────────────────────────────────────────


def landlock_version() -> int:
    """Of Landlock in this kernel; 0 where there is none."""
    return max(0, system_call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def lock_files(folder: Path, readable: list[str]) -> None:
    """Let this process write in one folder (and to /dev/null) and read that and some others."""
    version = landlock_version()
    if not version:
        raise OSError("this kernel has no Landlock")
    everything = (
        READING | WRITING | sum(bit for bit, since in ((REFER, 2), (TRUNCATE, 3), (IOCTL, 5)) if version >= since)
    )
    ruleset = struct.pack("QQQ", everything, TCP if version >= 4 else 0, SCOPED if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    descriptor = system_call(CREATE_RULESET, ruleset, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if descriptor < 0:
        raise _failed("landlock_create_ruleset")
    try:
        for path in (folder, Path(os.devnull)):
            _allow(descriptor, path, everything)
        for path in map(Path, readable):
            if path.exists():
                _allow(descriptor, path, READING)
        forbid_new_privileges()
        if system_call(RESTRICT_SELF, ctypes.c_int(descriptor), ctypes.c_uint32(0)) != 0:
            raise _failed("landlock_restrict_self")
    finally:
        os.close(descriptor)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    place = os.open(path, os.O_PATH)
    rule = struct.pack("=Qi", rights if path.is_dir() else rights & OF_FILES, place)
    done = system_call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    os.close(place)
    if done != 0:
        raise _failed(f"landlock_add_rule for {path}")


# ── The rest ─────────────────────────────────────────────────────────────────────────────────────────


def forbid_new_privileges() -> None:
    """No program that this process starts gains rights by its set-user-id bit or its capabilities."""
    if control(PR_SET_NO_NEW_PRIVS, 1) != 0:
        raise _failed("PR_SET_NO_NEW_PRIVS")


def drop_rights() -> None:
    """Give up every capability; a change of the user id leaves those that programs would inherit."""
    version, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)  # _LINUX_CAPABILITY_VERSION_3, this thread; no sets
    if ctypes.CDLL(None, use_errno=True).capset(version, nothing) != 0:
        raise _failed("capset")


def filter_calls(program: bytes) -> None:
    """Load a seccomp filter. program: what `seccomp.allow_list` made."""

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    forbid_new_privileges()
    whole = Program(len(program) // 8, program)
    if control(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(whole)) != 0:
        raise _failed("PR_SET_SECCOMP")


def leave_keyring() -> None:
    """Take a new, empty session keyring instead of the one that the grader's own session has."""
    number = KEYCTL.get(platform.machine())
    if number is None:
        raise OSError(f"the number of keyctl(2) on {platform.machine()} is not known")
    system_call(number, KEYCTL_JOIN_SESSION_KEYRING, None)  # a container may forbid it: then there is none to leave


def require_no_rights() -> None:
    """Raise OSError if this process holds a capability, could gain one, or has no seccomp filter."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    status = {parts[0].rstrip(":"): parts[1] for parts in lines if len(parts) == 2}
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(status[name], 16)]
    if held or status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        told = {name: status[name] for name in (*held, "NoNewPrivs", "Seccomp")}
        raise OSError(f"the process keeps rights: {told}")
