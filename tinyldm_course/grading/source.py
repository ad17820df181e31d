"""Students' code as text: cells without magics, what looks borrowed or unusual, and prints to compare answers by.

    {"cells": ["%time x = 1"], "exercises": ["ddim"]}  ->  {"cells": ["pass"], "borrowed": {"ddim": []}, …}

Python's parser needs memory that grows with the square of some texts (`import a.a.a…`), and more stack than there is
for others. So `main` runs in a confined process of its own; what is written here takes time that grows with the text's
length. Nothing is run: what is found is for a teacher's eyes, and can be led astray.
"""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator

LIBRARIES = ("tinyldm", "tinyldm_course", "diffusers", "transformers")  # they hold the answers to most exercises
TOOLS = frozenset(
    "importlib inspect gc ctypes subprocess socket multiprocessing pickle marshal urllib requests pty os sys signal "
    "builtins linecache threading _thread runpy code codeop pkgutil zipimport types ast dis copyreg dill cloudpickle "
    "joblib traceback faulthandler atexit".split()
)
BUILT_IN = frozenset(
    "__import__ exec eval compile open globals locals vars getattr setattr delattr breakpoint __builtins__ __loader__ "
    "__spec__".split()
)
INNER = frozenset(  # attributes through which everything can be reached
    "f_back f_globals f_locals f_code f_builtins gi_frame gi_code cr_frame cr_code tb_frame co_code co_filename".split()
)
HARMLESS = frozenset(
    "__init__ __name__ __call__ __len__ __getitem__ __doc__ __version__ __post_init__ __repr__".split()
)
SET_UP = frozenset(  # the first cell of each notebook, which installs the package where it is missing
    ("importlib.util.find_spec", "subprocess.run", "sys.executable", "sys.path.insert")
)
MAX_FOUND = 50  # names for each exercise
MAX_PARTS = 20  # of a dotted name
GRAM = 8  # tokens in a row that a print is made of
MAX_PRINTS = 2000  # for each exercise


def main() -> None:
    """Read a question, write the answer."""
    question = json.load(sys.stdin)
    json.dump(read(question["cells"], question["exercises"]), sys.stdout)


def read(cells: list[str], exercises: Iterable[str]) -> dict:
    """All that is to be known about the code of a notebook.

    Returns:
        cells: the same, as plain Python; unread: numbers, from 1, of those that are too large or deep to be parsed;
        borrowed: exercise -> what its answer uses of libraries and tools that deserve a glance;
        unusual: such tools anywhere in the notebook;
        prints: exercise -> numbers that two answers of the same structure share.
    """
    plain = [without_magics(cell) for cell in cells]
    notebook = Notebook(plain)
    names = list(exercises)
    return {
        "cells": plain,
        "unread": notebook.unread,
        "borrowed": {name: notebook.borrowed(name) for name in names},
        "unusual": notebook.unusual(),
        "prints": {name: notebook.prints(name) for name in names},
    }


# ── Cells ────────────────────────────────────────────────────────────────────────────────────────────


def without_magics(cell: str) -> str:
    """A cell as plain Python. Its lines keep their numbers; a cell in another language becomes empty."""
    if not re.search(r"(?m)^\s*[%!?]|\?\s*$|= *[!%]", cell) or parses(cell):
        return cell
    lines = cell.split("\n")
    first = next((index for index, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if lines[first].split()[0] not in ("%%time", "%%timeit", "%%capture", "%%prun"):
            return ""
        lines[first] = ""
    return "\n".join(re.sub(r"^(\s*)(?:[%!?].*|\w[\w.]*\?\??|\w+ *= *[!%].*)$", r"\1pass", line) for line in lines)


def parses(source: str) -> bool:
    """Is it Python?"""
    try:
        return tree_of(source) is not None
    except TooLarge:
        return True  # nobody knows; it stays as it is


class TooLarge(ValueError):
    """A text that the parser has no room for."""


def tree_of(source: str) -> ast.Module | None:
    """The syntax tree; None where it is not Python. Raises TooLarge."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    except (RecursionError, MemoryError):
        raise TooLarge from None


# ── A notebook ───────────────────────────────────────────────────────────────────────────────────────


class Notebook:
    """The syntax trees of a notebook.

    Attributes:
        unread: numbers of cells that are too large or deep to be parsed.
        aliases: local name -> what was imported under it.
        bound: name -> what is bound to it at the top of a cell, or inside its `if`, `for` and `with`.
    """

    def __init__(self, cells: Iterable[str]):
        self.trees: list[ast.Module] = []
        self.unread: list[int] = []
        for number, cell in enumerate(cells, 1):
            try:
                tree = tree_of(cell)
            except TooLarge:
                self.unread.append(number)
            else:
                self.trees += [tree] if tree is not None else []
        self.aliases = {alias: whole for tree in self.trees for alias, whole in imports(tree)}
        self.bound = bindings(self.trees)
        self._checked = checked(self.trees)

    def answer_to(self, exercise: str) -> Iterator[ast.AST]:
        """The parts of the notebook that an exercise's answer is made of, each once.

        The search begins at what was given to `check`, and at what has the exercise's name, and follows the names:
        functions, classes and values that the answer uses, and what they use.
        """
        waiting: list[ast.AST] = [ast.Name(exercise), *self._checked.get(exercise, ())]
        reached: set[str] = set()
        seen: set[int] = set()
        for part in waiting:  # which grows meanwhile
            if id(part) in seen:
                continue
            seen.add(id(part))
            yield part
            for node in ast.walk(part):
                if isinstance(node, ast.Name) and node.id not in reached:
                    reached.add(node.id)
                    waiting += self.bound.get(node.id, [])

    def borrowed(self, exercise: str) -> list[str]:
        """What an exercise's answer uses of libraries that know the answers, and of unusual tools."""
        found = {one for one in self.aliases.values() if one.endswith(".*") and is_borrowed(one)}  # may be any name
        for part in self.answer_to(exercise):
            found |= {path for path in self.paths(part) if is_borrowed(path) or is_tool(path)}
        return a_few(found)

    def unusual(self) -> list[str]:
        """The unusual tools that are used anywhere, whether an answer seems to need them or not."""
        found = {path for tree in self.trees for path in self.paths(tree) if is_tool(path)}
        return a_few(found - SET_UP)

    def paths(self, tree: ast.AST) -> Iterator[str]:
        """The dotted names in a tree that begin with an import or a built-in function, or go through `INNER`."""
        inner: set[int] = set()  # nodes that belong to a longer name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and id(node) not in inner:
                names: list[str] = []
                base: ast.AST = node
                while isinstance(base, ast.Attribute):
                    inner.add(id(base))
                    names.append(base.attr)
                    base = base.value
                inner.add(id(base))
                yield from (f"….{name}" for name in names if is_inner(name))
                if isinstance(base, ast.Name) and (base.id in self.aliases or base.id in BUILT_IN):
                    yield ".".join([self.aliases.get(base.id, base.id), *reversed(names)][:MAX_PARTS])
            elif isinstance(node, ast.Name) and id(node) not in inner:
                if node.id in self.aliases or node.id in BUILT_IN:
                    yield self.aliases.get(node.id, node.id)

    def prints(self, exercise: str) -> list[int]:
        """Numbers for each `GRAM` tokens in a row of an answer's code, whatever its names, comments and texts are."""
        found: set[int] = set()
        for part in self.answer_to(exercise):
            tokens = list(structure(part))
            for start in range(len(tokens) - GRAM + 1):
                text = " ".join(tokens[start : start + GRAM]).encode(errors="replace")
                found.add(int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big"))
                if len(found) >= MAX_PRINTS:
                    return sorted(found)
        return sorted(found)


def a_few(paths: set[str]) -> list[str]:
    """Names in order, none of them long, and not too many."""
    found = sorted(path[:200] for path in paths)
    return found[:MAX_FOUND] + [f"{len(found) - MAX_FOUND:,} more"] * (len(found) > MAX_FOUND)


def is_borrowed(path: str) -> bool:
    """Does a name lead into a library that knows the answers?"""
    if path.startswith(("tinyldm_course.", "tinyldm.course.")):
        return path.startswith(("tinyldm_course.exercises", "tinyldm.course.exercises"))
    return path.split(".")[0] in LIBRARIES


def is_tool(path: str) -> bool:
    """Is it a tool that few exercises need? As `torch.sys.modules` shows, a tool may lie in any module."""
    return path in BUILT_IN or path.startswith("….") or any(part in TOOLS for part in path.split("."))


def is_inner(name: str) -> bool:
    """Is it an attribute through which everything can be reached?"""
    return name in INNER or name.startswith("__") and name.endswith("__") and name not in HARMLESS


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(local name, full name) of all imports, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = ".".join(alias.name.split(".", MAX_PARTS)[:MAX_PARTS])
                yield (alias.asname, name) if alias.asname else (alias.name.split(".", 1)[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            module = ".".join((node.module or "").split(".", MAX_PARTS)[:MAX_PARTS])
            for alias in node.names:
                yield f"{module}.*" if alias.name == "*" else alias.asname or alias.name, f"{module}.{alias.name}"


def bindings(trees: list[ast.Module]) -> dict[str, list[ast.AST]]:
    """Name -> what is bound to it at the top of a cell, or inside its `if`, `for` and `with`; patches count as well."""
    found: dict[str, list[ast.AST]] = {}
    waiting: list[ast.AST] = [node for tree in trees for node in tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            for name in names:
                found.setdefault(name, []).append(node)
        else:
            waiting += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.excepthandler))
            ]
    return found


def checked(trees: list[ast.Module]) -> dict[str, list[ast.AST]]:
    """Exercise -> what was given to `check` for it."""
    found: dict[str, list[ast.AST]] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and ending(node.func) == "check" and len(node.args) == 2:
            if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                found.setdefault(node.args[0].value, []).append(node.args[1])
    return found


def ending(node: ast.AST) -> str:
    """The last name of a path: "check" of `course.check`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def structure(tree: ast.AST) -> Iterator[str]:
    """A tree as a row of words, without what a copyist changes first: names, texts, annotations."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            continue  # a docstring
        if isinstance(node, (ast.expr_context, ast.Load)):
            continue
        if isinstance(node, ast.Attribute):
            yield f".{node.attr}"
        elif isinstance(node, ast.Constant):
            yield "text" if isinstance(node.value, str) else repr(node.value)[:20]
        else:
            yield type(node).__name__
        children = [
            child
            for name, value in ast.iter_fields(node)
            if name
            not in ("annotation", "returns", "type_comment", "keywords" if isinstance(node, ast.ClassDef) else "")
            for child in (value if isinstance(value, list) else [value])
            if isinstance(child, ast.AST)
        ]
        waiting += reversed(children)
