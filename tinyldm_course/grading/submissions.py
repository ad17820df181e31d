"""A class's files, read before any of them runs, and what in them looks borrowed.

FOLDER/<student>/NN.ipynb or NN.py (what follows the two digits is free: 05_unet.ipynb)
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 2**20 * 8  # of a notebook, with its pictures
MOST_CODE = 2**20  # of its code
NAME = re.compile(r"(\d\d)\D.*")
LIBRARIES = ("tinyldm", "tinyldm_course", "diffusers", "transformers")  # they hold the answers to most exercises
TOOLS = (
    "importlib",
    "inspect",
    "gc",
    "ctypes",
    "subprocess",
    "socket",
    "multiprocessing",
    "pickle",
    "marshal",
    "urllib",
    "requests",
    "pty",
    "os",
    "sys",
    "signal",
    "builtins",
    "linecache",
    "threading",
    "_thread",
)
BUILT_IN = ("__import__", "exec", "eval", "compile", "open", "globals", "vars", "__builtins__")


@dataclass(frozen=True)
class Submission:
    """One file of one student.

    Attributes:
        cells: its code, a string for each cell, without magics.
        problem: why it cannot be graded; empty where it can.
    """

    student: str
    lesson: int
    cells: tuple[str, ...] = ()
    problem: str = ""


def read_class(folder: Path) -> list[Submission]:
    """All submissions, by student and lesson. Raises ValueError where there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; expected FOLDER/<student>/NN.ipynb or NN.py")
    found = []
    for student in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files: dict[int, list[Path]] = {}
        for file in sorted(student.iterdir()):
            if NAME.fullmatch(file.name) and file.suffix in (".ipynb", ".py"):
                files.setdefault(int(file.name[:2]), []).append(file)
        found += [read_submission(student.name, lesson, each) for lesson, each in sorted(files.items())]
    if not found:
        raise ValueError(
            f"{folder} holds no submission; expected FOLDER/<student>/NN.ipynb or NN.py, such as {folder}/ada/03.ipynb"
        )
    return found


def read_submission(student: str, lesson: int, files: list[Path]) -> Submission:
    """What a student handed in for a lesson; a problem with it becomes a part of it."""
    if len(files) > 1:
        return Submission(
            student,
            lesson,
            problem="more than one file was handed in for this lesson: " + ", ".join(file.name for file in files),
        )
    try:
        cells = cells_of(files[0])
    except (ValueError, OSError, RecursionError) as error:
        return Submission(student, lesson, problem=f"{files[0].name} cannot be read: {str(error)[:200]}")
    return Submission(student, lesson, tuple(cells))


def cells_of(file: Path) -> list[str]:
    """The code cells of a notebook or a percent-format script. Raises ValueError that says what is wrong with it."""
    if file.is_symlink() or not file.is_file():
        raise ValueError("it is no ordinary file")
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file.stat().st_size:,} bytes; at most {MOST_BYTES:,} are taken")
    text = file.read_text(encoding="utf-8-sig")
    cells = notebook_cells(text) if file.suffix == ".ipynb" else script_cells(text)
    if sum(map(len, cells)) > MOST_CODE:
        raise ValueError(f"more than {MOST_CODE:,} characters of code")
    return [without_magics(cell) for cell in cells]


def notebook_cells(text: str) -> list[str]:
    """The code cells of a notebook's JSON. Neither its outputs nor its metadata are looked at."""
    try:
        cells = json.loads(text)["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return ["".join(source) for source in code]
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no notebook of format 4 ({type(error).__name__}: {error})") from None


def script_cells(text: str) -> list[str]:
    """The code cells of a script, which `# %%` divides; `# %% [markdown]` begins none."""
    parts = re.split(r"(?m)^# ?%%(.*)$", text)
    cells = [parts[0]] + [code for heading, code in zip(parts[1::2], parts[2::2]) if "[markdown]" not in heading]
    return [cell for cell in cells if cell.strip()]


def without_magics(cell: str) -> str:
    """A cell as plain Python. Its lines keep their numbers; a cell in another language becomes empty."""
    if parses(cell):
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
    return tree_of(source) is not None


def tree_of(source: str) -> ast.Module | None:
    """The syntax tree, or None."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


# ── What is in a submission ──────────────────────────────────────────────────────────────────────────


def answer_to(trees: list[ast.Module], exercise: str) -> list[ast.AST]:
    """Where the search for an exercise's answer begins: what was given to `check`, and what has the exercise's name."""
    found: list[ast.AST] = [ast.Name(exercise)]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and ending(node.func) == "check" and len(node.args) == 2:
            if isinstance(node.args[0], ast.Constant) and node.args[0].value == exercise:
                found.append(node.args[1])
    return found


def suspicions(cells: tuple[str, ...], exercise: str) -> list[str]:
    """What the teacher should look at in the code that an answer reaches: other people's answers, unusual tools.

    A name is followed through the notebook: functions, classes and values that the answer uses, and what they use.
    This reads the code and runs nothing, so it can be led astray; that is why all unusual tools are named, too.
    """
    trees = [tree for tree in map(tree_of, cells) if tree is not None]
    aliases = {alias: whole for tree in trees for alias, whole in imports(tree)}
    bound = bindings(trees)
    found = {one for one in aliases.values() if one.endswith(".*") and borrowed(one)}  # these may be any name
    waiting, reached = answer_to(trees, exercise), set()
    while waiting:
        for part in ast.walk(waiting.pop()):
            found |= borrowed(dotted(part, aliases))
            if isinstance(part, ast.Name) and part.id not in reached:
                reached.add(part.id)
                waiting += bound.get(part.id, [])
    return sorted(one for one in found if not any(other.startswith(one + ".") for other in found))


def borrowed(path: str) -> set[str]:
    """The path itself, if it leads into a library that knows the answers or is an unusual tool for an exercise."""
    root, course = path.split(".")[0], path.startswith(("tinyldm_course.", "tinyldm.course."))
    known = root in LIBRARIES and (
        not course or path.startswith(("tinyldm_course.exercises", "tinyldm.course.exercises"))
    )
    return {path} if known or root in TOOLS or path in BUILT_IN else set()


def imports(tree: ast.Module) -> list[tuple[str, str]]:
    """(local name, full name) of all imports, wherever they stand."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [
                (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2 for alias in node.names
            ]
        elif isinstance(node, ast.ImportFrom):
            found += [
                (f"{node.module}.*" if alias.name == "*" else alias.asname or alias.name, f"{node.module}.{alias.name}")
                for alias in node.names
            ]
    return found


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
            for part in (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)):
                found.setdefault(part.id, []).append(node)
        else:
            waiting += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.excepthandler))
            ]
    return found


def dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """ "tinyldm.vae.Encoder" for `t.vae.Encoder` after `import tinyldm as t`; "" for what begins with no import."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in aliases and node.id not in BUILT_IN:
        return ""
    return ".".join([aliases.get(node.id, node.id), *reversed(names)])


def ending(node: ast.AST) -> str:
    """The last name of a path: "check" of `course.check`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
