"""The warm process: it imports what every student's process needs, and forks. See `warm.py`.

It has the grader's rights, so it does as little as it can: it reads requests from the grader alone, and no student's
code ever runs in it, nor does it hold anything of a student that a later one could find. In a fork, the walls are
raised by `confine.py`, as in a process of its own, before the module that runs student code is told to begin.
"""

import ctypes
import gc
import importlib
import json
import os
import socket
import sys
import tempfile
import time
import traceback
from typing import NoReturn

from tinyldm_course.grading import confine, kernel

MAX_REQUEST = 2**20
MAX_DESCRIPTORS = 32
HIGH = 200  # numbers that no descriptor has, neither here nor in the grader's request


def serve(connection: socket.socket, preloaded: str) -> None:
    """Answer each request with the number of the process that was forked for it, until nobody asks any more."""
    with tempfile.TemporaryDirectory(prefix="tinyldm-warm-") as folder:  # for what PyTorch writes at its import
        os.environ.update({name: folder for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")})
        tempfile.tempdir = None
        getattr(importlib.import_module(preloaded), "warm_up", lambda: None)()
    gc.collect()
    gc.freeze()  # or the collector of each fork would write into, and so copy, what they share
    kernel.require_one_thread()  # a fork would leave the others behind, with what they had locked
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST, MAX_DESCRIPTORS)
        if not data:
            return
        connection.send(str(fork_twice(json.loads(data), descriptors)).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def fork_twice(request: dict, descriptors: list[int]) -> int:
    """Fork a process whose parent is gone, so that the grader becomes its parent. Returns its number."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        parent = os.getpid()
        number = os.fork()
        if number == 0:
            run_or_say(request, descriptors, parent)
        os.write(writer, str(number).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(between, 0)
    with open(reader, "rb") as told:
        return int(told.read())


def run_or_say(request: dict, descriptors: list[int], parent: int) -> NoReturn:
    """In the fork: run the module that the settings name. What goes wrong is printed."""
    code = 1
    try:
        settings, numbers = request["settings"], request["numbers"]
        place(dict(zip(numbers, descriptors)), descriptors[len(numbers) :])
        while os.getppid() == parent:  # whose end is not the one that shall end this process
            time.sleep(0.0005)
        os.setsid()
        kernel.control(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        for descriptor in range(HIGH, HIGH + len(descriptors) - len(numbers)):
            step_into(descriptor)
            os.close(descriptor)
        student = os.fork()  # only a child is in the new namespace of processes
        if student == 0:
            os.setsid()
            run(settings)
            code = 0
        else:
            status = os.waitstatus_to_exitcode(os.waitpid(student, 0)[1])
            code = status if status >= 0 else 128 - status
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(settings: dict) -> None:
    """Confine this process, and run the module's `main`, as `confine.main` does in a new Python."""
    os.chdir(settings["folder"])
    os.environ.clear()
    os.environ.update(settings["environment"])
    tempfile.tempdir = None  # the one of this process's own folder, not of the warm process
    confine.run(settings)


def place(wanted: dict[int, int], others: list[int]) -> None:
    """Give the received descriptors the numbers they shall have, the others those from HIGH on; close all else."""
    moved = {number: os.dup2(descriptor, HIGH + MAX_DESCRIPTORS + number) for number, descriptor in wanted.items()}
    for index, descriptor in enumerate(others):
        os.dup2(descriptor, HIGH + index)
    os.closerange(3, HIGH)
    for number, descriptor in moved.items():
        os.dup2(descriptor, number, inheritable=True)
    os.closerange(HIGH + len(others), HIGH + MAX_DESCRIPTORS + max(wanted) + 1)


def step_into(namespace: int) -> None:
    """`man 2 setns`. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot step into a namespace: {os.strerror(number)}")


if __name__ == "__main__":
    kernel.control(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)  # it ends with the grader
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
