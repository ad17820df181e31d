"""What is in a student's file: its code cells, read before any of them runs, and what in them looks borrowed."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 2**20 * 8  # of a notebook, with its pictures
MAX_CODE = 2**20  # of its code
WHOLE = -1  # the "lesson" of what is said about all that a student handed in
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
        lesson: its number; WHOLE for what is said about everything together.
        cells: its code, a string for each cell, without magics.
        problem: why it cannot be graded; empty where it can.
    """

    student: str
    lesson: int
    cells: tuple[str, ...] = ()
    problem: str = ""


def read_submission(student: str, lesson: int, files: list[Path], names: list[str]) -> Submission:
    """What a student handed in for a lesson; a problem with it becomes a part of it. names: what to call the files."""
    if len(files) > 1:
        problem = f"more than one file was handed in for this lesson: {', '.join(names)[:200]}; keep one"
        return Submission(student, lesson, problem=problem)
    try:
        cells = cells_of(files[0])
    except (ValueError, OSError, RecursionError) as error:
        return Submission(student, lesson, problem=f"{names[0]} cannot be read: {in_words(error)}")
    return Submission(student, lesson, tuple(cells))


def in_words(error: Exception) -> str:
    """What is wrong with a file, in words for somebody who has never heard of JSON."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply to be a notebook"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)[:200]


def is_notebook(name: str) -> bool:
    """Does a file's name promise a notebook? Some browsers and mail programs put another ending behind .ipynb."""
    return not re.search(r"\.py(\.txt)?$", name, re.IGNORECASE)


def cells_of(file: Path) -> list[str]:
    """The code cells of a notebook or a percent-format script. Raises ValueError that says what is wrong with it."""
    if file.is_symlink():
        raise ValueError("it is a link to another file")
    if not file.is_file():
        raise ValueError("it is not an ordinary file")
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has {file.stat().st_size:,} bytes; at most {MAX_BYTES:,} are taken: clear the outputs")
    text = as_text(file.read_bytes())
    if not text.strip():
        raise ValueError("it is empty")
    cells = notebook_cells(text) if is_notebook(file.name) else script_cells(text)
    if sum(map(len, cells)) > MAX_CODE:
        raise ValueError(f"it has more than {MAX_CODE:,} characters of code")
    return [without_magics(cell) for cell in cells]


def as_text(data: bytes) -> str:
    """Text as editors save it: UTF-8, UTF-16 with its mark, or the old encoding of Windows. Raises ValueError."""
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is not a text file")
    for encoding in ("utf-16",) if b"\0" in data else ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError("it is in an unknown encoding; save it as UTF-8")


def notebook_cells(text: str) -> list[str]:
    """The code cells of a notebook's JSON. Neither its outputs nor its metadata are looked at."""
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is damaged, or no notebook ({error})") from None
    try:
        code = [cell["source"] for cell in whole["cells"] if cell["cell_type"] == "code"]
        return ["".join(source) for source in code]
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not a notebook of format 4 ({type(error).__name__}: {error})") from None


def script_cells(text: str) -> list[str]:
    """The code cells of a script, which `# %%` or nbconvert's `# In[3]:` divide; `# %% [markdown]` begins none."""
    parts = re.split(r"(?m)^# ?(?:%%|In ?\[)(.*)$", text)
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
