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
        connection.send(fork_twice(json.loads(data), descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


def fork_twice(request: dict, descriptors: list[int]) -> bytes:
    """Fork a process whose parent is gone, so that the grader becomes its parent.

    Returns: its number, in digits; something else where there is none.
    """
    numbers = request["numbers"]
    reader, writer = os.pipe()
    waits, goes = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            for namespace in descriptors[len(numbers) :]:
                step_into(namespace)
            number = os.fork()  # only a child is in the new namespace of processes
            if number == 0:
                os.close(goes)
                os.read(waits, 1)  # for the end of `between`, which is not the one that shall end this process
                run_or_say(request["settings"], dict(zip(numbers, descriptors)))
            os.write(writer, str(number).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(between, 0)
    os.close(goes)
    os.close(waits)
    with open(reader, "rb") as told:
        return told.read() or b"none"


def run_or_say(settings: dict, descriptors: dict[int, int]) -> NoReturn:
    """In the fork: run the module that the settings name. What goes wrong is printed."""
    code = 1
    try:
        os.setsid()
        kernel.control(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        place(descriptors)
        run(settings)
        code = 0
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


def place(wanted: dict[int, int]) -> None:
    """Give the received descriptors the numbers they shall have; close all others."""
    moved = {number: os.dup2(descriptor, HIGH + number) for number, descriptor in wanted.items()}
    os.closerange(3, HIGH)
    for number, descriptor in moved.items():
        os.dup2(descriptor, number, inheritable=True)
    os.closerange(HIGH, HIGH + max(wanted) + 1)


def step_into(namespace: int) -> None:
    """`man 2 setns`. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot step into a namespace: {os.strerror(number)}")


if __name__ == "__main__":
    kernel.control(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)  # it ends with the grader
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
