"""What a confined process tries to do to the machine, one attack after the other. Every one of them must fail.

    {"port": 12345, "file": "/tmp/x/decoy", …}  ->  {"tcp": "PermissionError: …", "chmod": ""}     ("": it was done)

`probes.py` sets the targets up, outside, and looks afterwards whether anything reached them. Only the standard library
is used, and each attack is a few lines of what a student could write into a notebook.
"""

import ctypes
import errno
import json
import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Numbers of system calls: x86_64, then the table that aarch64, riscv64 and all newer processors share.
NUMBERS = {
    "ptrace": (101, 117),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "shmget": (29, 194),
    "add_key": (248, 217),
    "unshare": (272, 97),
    "mount": (165, 40),
    "clock_settime": (227, 112),
    "memfd_create": (319, 279),
    "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434),
}
IPPROTO_MPTCP, MSG_FASTOPEN = 262, 0x20000000
CLONE_NEWUSER, PTRACE_ATTACH, IPC_CREAT, RLIMIT_FSIZE = 0x10000000, 16, 0o1000, 1


def main() -> None:
    """Read the targets, try everything, say what came of it."""
    targets = json.load(sys.stdin)
    json.dump({name: outcome(ATTACKS[name], targets) for name in targets["attacks"]}, sys.stdout)


def outcome(attack: Callable[[dict], None], targets: dict) -> str:
    """What stopped an attack; empty where nothing did."""
    try:
        attack(targets)
    except (OSError, ImportError, MemoryError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def call(name: str, *arguments) -> int:
    """A system call by its name. Raises OSError."""
    number = NUMBERS[name][platform.machine() != "x86_64"]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    found = library.syscall(ctypes.c_long(number), *words)
    if found < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return found


# ── The network ──────────────────────────────────────────────────────────────────────────────────────


def tcp(targets: dict) -> None:
    with socket.create_connection(("127.0.0.1", targets["port"]), timeout=2):
        pass


def mptcp(targets: dict) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as end:
        end.settimeout(2)
        end.connect(("127.0.0.1", targets["port"]))


def tcp_fast_open(targets: dict) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(2)
        end.sendto(b"x", MSG_FASTOPEN, ("127.0.0.1", targets["port"]))


def udp(targets: dict) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", ("127.0.0.1", targets["udp_port"]))


def raw_socket(targets: dict) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def unix_socket(targets: dict) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.connect(targets["unix"])


def abstract_unix_socket(targets: dict) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.connect("\0" + targets["abstract"])


def unix_datagram_of_a_pair(targets: dict) -> None:
    end, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.sendto(b"x", targets["unix_datagram"])


# ── Other processes ──────────────────────────────────────────────────────────────────────────────────


def signal_another(targets: dict) -> None:
    os.kill(targets["process"], 18)  # SIGCONT: harmless, and allowed to whom SIGKILL is allowed


def signal_by_descriptor(targets: dict) -> None:
    os.close(call("pidfd_open", targets["process"], 0))


def limit_another(targets: dict) -> None:
    call("prlimit64", targets["process"], RLIMIT_FSIZE, struct.pack("QQ", 4096, 4096), None)


def debug_another(targets: dict) -> None:
    call("ptrace", PTRACE_ATTACH, targets["process"], 0, 0)


def read_anothers_memory(targets: dict) -> None:
    room = ctypes.create_string_buffer(8)
    ours = struct.pack("QQ", ctypes.addressof(room), 8)
    call("process_vm_readv", targets["process"], ours, 1, struct.pack("QQ", targets["address"], 8), 1, 0)


def see_another(targets: dict) -> None:
    Path(f"/proc/{targets['process']}/cmdline").read_bytes()


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def read_a_file(targets: dict) -> None:
    Path(targets["file"]).read_bytes()


def read_the_answers(targets: dict) -> None:
    """By every name that leads to them."""
    for place in targets["answers"]:
        try:
            found = os.listdir(place)
        except OSError:
            continue
        if any(name.startswith("lesson_") for name in found):
            return
    raise FileNotFoundError(errno.ENOENT, "no name leads to the answers")


def import_the_answers(targets: dict) -> None:
    import tinyldm_course.exercises.lesson_02.q_sample  # noqa: F401


def write_a_file(targets: dict) -> None:
    with open(targets["file"], "ab") as file:
        file.write(b"x")


def make_a_file(targets: dict) -> None:
    """In a folder that everybody may write into, and in those of the system."""
    places = (targets["folder"], "/", "/usr", "/dev/shm", "/var/tmp", str(Path(__file__).parent))
    for place in places:
        try:
            Path(place, f"tinyldm-probe-{os.getpid()}").touch()
        except OSError as error:
            last = error
        else:
            Path(place, f"tinyldm-probe-{os.getpid()}").unlink()
            return
    raise last


def change_mode(targets: dict) -> None:
    os.chmod(targets["file"], 0o666)


def change_owner(targets: dict) -> None:
    os.chown(targets["file"], 12345, 12345)


def change_time(targets: dict) -> None:
    os.utime(targets["file"], (0, 0))


def change_attribute(targets: dict) -> None:
    os.setxattr(targets["file"], "user.tinyldm", b"x")


def fill_the_disk(targets: dict) -> None:
    """More than may be written, in files that are each small enough."""
    piece = bytes(2**22)
    for number in range(targets["space"] // len(piece) + 4):
        Path(f"probe-{number}").write_bytes(piece)
    time.sleep(1)  # where the grader looks after it, that ends the process


# ── The kernel ───────────────────────────────────────────────────────────────────────────────────────


def shared_memory(targets: dict) -> None:
    call("shmget", targets["key"], 4096, IPC_CREAT | 0o666)


def keyring(targets: dict) -> None:
    call("add_key", b"user", b"tinyldm", b"x", 1, -4)  # the user's own keyring, which outlives the process


def new_user_namespace(targets: dict) -> None:
    call("unshare", CLONE_NEWUSER)


def mount(targets: dict) -> None:
    call("mount", b"none", b"/tmp", b"tmpfs", 0, None)


def set_the_clock(targets: dict) -> None:
    call("clock_settime", 0, struct.pack("qq", *divmod(time.time_ns(), 10**9)))


def hidden_memory(targets: dict) -> None:
    os.close(call("memfd_create", b"x", 0))


def io_uring(targets: dict) -> None:
    os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(120)))


def keep_rights(targets: dict) -> None:
    """Is there a capability left?"""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    held = {line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith(("CapPrm", "CapEff"))}
    if not any(held.values()):
        raise PermissionError(errno.EPERM, "no capability is left")


def much_memory(targets: dict) -> None:
    bytearray(targets["memory"] + 2**20)


def many_processes(targets: dict) -> None:
    """Twice as many as are allowed, all of which only wait."""
    children, (reading, writing) = [], os.pipe()
    try:
        for _ in range(2 * targets["processes"]):
            child = os.fork()
            if not child:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            children.append(child)
    finally:
        os.close(writing)
        for child in children:
            os.waitpid(child, 0)


ATTACKS: dict[str, Callable[[dict], None]] = {
    "tcp": tcp,
    "mptcp": mptcp,
    "tcp fast open": tcp_fast_open,
    "udp": udp,
    "raw socket": raw_socket,
    "unix socket": unix_socket,
    "abstract unix socket": abstract_unix_socket,
    "unix datagram": unix_datagram_of_a_pair,
    "signal": signal_another,
    "pidfd": signal_by_descriptor,
    "prlimit": limit_another,
    "ptrace": debug_another,
    "process memory": read_anothers_memory,
    "other processes": see_another,
    "read a file": read_a_file,
    "read the answers": read_the_answers,
    "import the answers": import_the_answers,
    "write a file": write_a_file,
    "make a file": make_a_file,
    "chmod": change_mode,
    "chown": change_owner,
    "utime": change_time,
    "setxattr": change_attribute,
    "fill the disk": fill_the_disk,
    "shared memory": shared_memory,
    "keyring": keyring,
    "user namespace": new_user_namespace,
    "mount": mount,
    "clock": set_the_clock,
    "memfd": hidden_memory,
    "io_uring": io_uring,
    "capabilities": keep_rights,
    "memory": much_memory,
    "processes": many_processes,
}
