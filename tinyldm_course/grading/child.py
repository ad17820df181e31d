"""The process in which one student's code runs. It answers the parent's questions until one side exits.

    {"n": 1, "do": "cell", "number": 3, "source": "…"}      ->  {"n": 1, "error": None or an Error}
    {"n": 2, "do": "find", "name": "ddim_step"}             ->  {"n": 2, "found": True}
    {"n": 3, "do": "call", "name": "ddim_step"}, Call       ->  {"n": 3, "used": [names in the package]}, Outcome

Nothing this process reports is trusted, see the package's docstring. So it need not protect itself from the code it
runs. The rest of the machine must be protected, and `confine.py` did that before.
"""

import ast
import asyncio
import inspect
import linecache
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import torch

import tinyldm
import tinyldm_course
from tinyldm_course.checks.calls import Call, Error, Outcome, describe_error, perform
from tinyldm_course.grading import wire

PACKAGE = str(Path(tinyldm.__file__).parent) + os.sep
COURSE = str(Path(tinyldm_course.__file__).parent) + os.sep
ANSWERS = str(Path(COURSE, "exercises"))
MAX_MESSAGE = 1000
MIN_COPY = 100  # bytes of instructions
MAX_MET = 100_000
MET: dict[int, tuple[types.CodeType, bool, str]] = {}  # what `meet` found, by an id that stays as long as it is kept


def warm_up() -> None:
    """Import what PyTorch imports when it is first needed. For the warm process, which forks afterwards: no threads."""
    torch.set_num_threads(1)
    torch.ones(1, device="meta").cumprod(0)  # a second and a half: the first calculation of shapes imports SymPy
    for file in sorted(Path(PACKAGE).glob("[!_]*.py")):  # the core, which notebooks import
        import_module(f"tinyldm.{file.stem}")


def main(descriptor: int) -> None:
    """Serve. descriptor: of the socket whose other end the parent holds; called by `confine.py`."""
    torch.set_num_threads(1)
    connection = socket.socket(fileno=descriptor)
    wire.send(connection, wire.frame({"n": 0}))
    student = Student()
    while True:
        try:
            question = wire.receive(connection)
            if question["do"] == "call":
                question["call"] = wire.receive(connection, makers=True)
        except wire.Closed:
            return
        wire.send(connection, student.answer(question))


class Student:
    """One student's notebook, as far as it has run.

    Attributes:
        checked: exercise -> what the student gave to `check`, and what the exercise's name meant at that moment.
    """

    def __init__(self):
        self.module = types.ModuleType(
            "submission"
        )  # not "__main__", so that `if __name__ == "__main__"` blocks do not run
        sys.modules["submission"] = self.module
        self.module.__dict__.update(notebook_names())
        self.checked: dict[str, tuple[Any, Any]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        replace_checks(lambda name, answer: self.checked.update({name: (answer, self.named(name))}))
        random.seed(0)
        numpy.random.seed(0)
        torch.default_generator.manual_seed(0)  # as calls.py seeds

    def answer(self, question: dict) -> bytes:
        """What to send back."""
        doing = {"cell": self.run_cell, "find": self.find, "call": self.call}[question.pop("do")]
        number = question.pop("n")
        told = doing(**question)
        outcome = told.pop("outcome", None)
        return wire.frame({"n": number} | told) + (b"" if outcome is None else framed(outcome))

    def run_cell(self, number: int, source: str) -> dict:
        """Run one cell of the notebook."""
        name = f"<cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for error messages
        try:
            code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, self.module.__dict__)
            if code.co_flags & inspect.CO_COROUTINE:
                self.loop = self.loop or asyncio.new_event_loop()
                self.loop.run_until_complete(running)
        except BaseException as error:  # students' code can also raise SystemExit and KeyboardInterrupt
            return {"error": short(in_cell(error, name))}
        return {"error": None}

    def find(self, name: str) -> dict:
        """Is there an answer to this exercise?"""
        return {"found": name in self.checked or hasattr(self.module, name)}

    def named(self, name: str) -> Any:
        """What a name means in the notebook now; None where it means nothing."""
        return getattr(self.module, name, None)

    def answer_to(self, exercise: str) -> Any:
        """What was given to `check`; or what has the exercise's name, where that was mended since the last check."""
        now = self.named(exercise)
        if exercise not in self.checked:
            return now
        answer, then = self.checked[exercise]
        mended = now is not None and now is not then and callable(now) >= callable(answer)
        return now if mended else answer

    def call(self, name: str, call: Call) -> dict:
        """Make one call of an answer, and note which of the package's functions it calls."""
        answer = self.answer_to(name)
        function = answer if callable(answer) else lambda: answer
        used: set[str] = set()
        sys.settrace(watcher(used))
        try:
            outcome = perform(function, call)
        except BaseException as error:
            outcome = Outcome(error=describe_error(error, function))
        finally:
            sys.settrace(None)
        if outcome.error is not None:
            outcome = replace(outcome, error=short(outcome.error))
        return {"outcome": outcome, "used": sorted(used)[:20]}


def framed(outcome: Outcome) -> bytes:
    """The frame of an outcome; of an error, where its value cannot be sent."""
    try:
        return wire.outcome_frame(outcome)
    except (TypeError, ValueError) as error:
        return wire.outcome_frame(Outcome(error=short(Error(type(error).__name__, str(error)))))


def watcher(used: set[str]) -> Callable[..., None]:
    """A trace function that notes which functions of the package the student's own code calls, or is a copy of.

    It returns None, so that Python calls it for each function but not for each line, nor for built-in functions, as a
    profile function would be.
    """

    def watch(frame: types.FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        _, ours, copied = MET.get(id(code)) or meet(code)
        if copied:
            used.add(copied)
        elif ours:
            caller = frame.f_back.f_code.co_filename if frame.f_back else ""
            if caller.startswith(("<cell", COURSE)):
                used.add(f"{frame.f_globals.get('__name__', '')}.{code.co_qualname}")

    return watch


def meet(code: types.CodeType) -> tuple[types.CodeType, bool, str]:
    """What is to be known about the code of a function: itself, is it of the package, and of what is it a copy?"""
    ours = code.co_filename.startswith((PACKAGE, ANSWERS))
    foreign = not ours and not code.co_filename.startswith(COURSE)
    keys = keys_of(code) if foreign and code.co_names in NAMES else ()  # its instructions take time to fetch
    if len(MET) >= MAX_MET:
        MET.clear()
    MET[id(code)] = found = code, ours, next((KNOWN[key] for key in keys if key in KNOWN), "")
    return found


def package_code() -> dict[tuple, str]:
    """What the core's functions compile to -> their names. So a copy is known whatever it is called.

    From the files, since what is imported may have been changed.
    """
    found: dict[tuple, str] = {}
    for file in sorted(Path(PACKAGE).glob("*.py")):
        waiting = [compile(file.read_text(encoding="utf-8"), str(file), "exec")]
        while waiting:
            code = waiting.pop()
            waiting += [part for part in code.co_consts if isinstance(part, types.CodeType)]
            found |= dict.fromkeys(keys_of(code), f"tinyldm.{file.stem}.{code.co_qualname}")
    return found


def keys_of(code: types.CodeType) -> tuple[tuple, ...]:
    """By what a function's code is known: its instructions, which have no names of variables; its names.

    The instructions of a function depend a little on the imports around it. A short function has no keys, as anybody
    may write a line like another.
    """
    if not code.co_flags & inspect.CO_OPTIMIZED or len(code.co_code) < MIN_COPY or len(code.co_names) < 3:
        return ()
    return (code.co_code, code.co_names), (code.co_names, code.co_varnames)


def in_cell(error: BaseException, name: str) -> Error:
    """An error with the line of the cell that raised it."""
    if isinstance(error, SyntaxError):
        return Error(type(error).__name__, str(error.msg), error.lineno or 0, (error.text or "").strip())
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    alone = " (only your notebook and the packages of the course are here when it is graded)"
    words = str(error) + alone * isinstance(error, ImportError)
    return Error(type(error).__name__, words, line, linecache.getline(name, line).strip())


def short(error: Error) -> Error:
    """An error that fits into a report."""
    return replace(error, message=error.message[:MAX_MESSAGE], code=error.code[:MAX_MESSAGE])


class Silent(types.ModuleType):
    """A module in which every name is a function that does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


def notebook_names() -> dict[str, Any]:
    """What every notebook has without an import, `display` and `get_ipython`; and `input`, which nobody answers."""
    if find_spec("IPython") is None:  # a notebook that imports it is no worse for that
        sys.modules["IPython"], sys.modules["IPython.display"] = Silent("IPython"), Silent("IPython.display")
        sys.modules["IPython"].display = sys.modules["IPython.display"]

    def display(*values: Any, **settings: Any) -> None:
        print(*map(repr, values), sep="\n")

    def ask(prompt: str = "") -> str:
        raise EOFError("nobody is there to answer input() while a notebook is graded; write the value into the code")

    return {"display": display, "get_ipython": lambda: Silent("ipython"), "input": ask}


def replace_checks(note: Callable[[str, Any], None]) -> None:
    """In a notebook, `check(name, answer)` tells the learner. Here the answer is only noted: the parent judges."""

    def check(name: str, answer: Any) -> None:
        note(name, answer)

    # Notebooks written before the course was a package of its own import it as "tinyldm.course".
    tinyldm.course = sys.modules["tinyldm.course"] = Silent("tinyldm.course")
    for name, package in (("tinyldm_course", tinyldm_course), ("tinyldm.course", tinyldm.course)):
        package.checking = sys.modules[f"{name}.checking"] = Silent(f"{name}.checking")
        package.exercises = sys.modules[f"{name}.exercises"] = Silent(f"{name}.exercises")
        package.checking.check = check


KNOWN = package_code()  # before a student's code runs
NAMES = {names for first, names in KNOWN if isinstance(first, bytes)}
