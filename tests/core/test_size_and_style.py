"""The core stays small, reads in one direction, and keeps the house style. Counted, not promised."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import tinyldm

PACKAGE = Path(tinyldm.__file__).parent
COURSE = PACKAGE.parent / "tinyldm_course"
CORE = sorted(PACKAGE.glob("*.py"))
LIBRARY = sorted(PACKAGE.rglob("*.py"))
BOTH = [*LIBRARY, *sorted(COURSE.rglob("*.py"))]
# Reading order. A file imports only what stands before it, or in its own room.
CORE_ORDER = tinyldm.CORE_FILES
ROOMS = (
    *CORE_ORDER[:-1],
    "formats",
    "latent_diffusion",
    "history",
    "beyond",
    "data",
    "training",
    "evaluation",
    "trace",
    "web",
    "cli",
    "__main__",
)
LEAVES = ("threads", "machine")  # import nothing but each other, in this order; everybody may import them
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def code_lines(file: Path) -> set[int]:
    """The numbers of the lines that hold code.

    Not those that hold only closing brackets and commas, which the formatter sets, and not those that hold only
    comments, docstrings or nothing.
    """
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
        if token.type not in NO_CODE and token.string not in (")", "]", "}", ","):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree_of(file)):  # a string that stands alone is a docstring, after a constant too
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return lines


def lines_of(file: str, *names: str) -> int:
    """Code lines of some top-level classes and functions of a core file."""
    found = {node.name: node for node in tree_of(PACKAGE / file).body if hasattr(node, "name")}
    lines = code_lines(PACKAGE / file)
    return sum(len(lines & set(range(found[name].lineno, found[name].end_lineno + 1))) for name in names)


def test_the_counter_counts(tmp_path):
    file = tmp_path / "example.py"
    file.write_text(
        '"""Doc\nstring."""\n\nx = 1  # code\n# comment\n\n\ndef f():\n    """Doc."""\n    return (1,\n'
        '            2)\n\n\ny = """two\nlines"""\n"""about y"""\nz = g(\n    1,\n),\n'
    )
    assert code_lines(file) == {4, 8, 10, 11, 14, 15, 17, 18}


def test_the_core_is_small_enough_for_an_evening():
    """Without the guards, which say nothing of the method; the samplers of other people's checkpoints apart."""
    counts = {name: len(code_lines(PACKAGE / f"{name}.py")) for name in CORE_ORDER if name != "shapes"}
    assert sum(counts.values()) - counts["more_samplers"] <= 1100, counts
    assert sum(counts.values()) <= 1200, counts


def test_what_came_after_is_short_too():
    counts = {file.name: len(code_lines(file)) for file in sorted((PACKAGE / "beyond").glob("*.py"))}
    assert sum(counts.values()) <= 900, counts


@pytest.mark.parametrize(
    "most, file, names",
    [
        (27, "resblock.py", ["ResBlock"]),
        (85, "spatial_transformer.py", ["Attention", "FeedForward", "TransformerBlock", "SpatialTransformer"]),
        (20, "forward_diffusion.py", ["NoiseSchedule"]),
        (53, "reverse_diffusion.py", ["ddim", "noise_levels", "z0_and_eps", "guided"]),
    ],
)
def test_each_of_the_four_pieces_is_on_one_page(most, file, names):
    assert lines_of(file, *names) <= most, lines_of(file, *names)


def functions(file: Path):
    return [node for node in ast.walk(tree_of(file)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.name)
def test_no_function_of_the_core_is_longer_than_a_screen(file):
    lines = code_lines(file)
    for function in functions(file):
        body = lines & set(range(function.body[0].lineno, function.end_lineno + 1))
        assert len(body) <= 40, f"{function.name} has {len(body)} code lines"


# ── Reading order ────────────────────────────────────────────────────────────────────────────────────


def modules_of(files: list[Path]) -> dict[str, Path]:
    """ "tinyldm.formats.folder" -> its file."""
    return {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


MODULES = modules_of(BOTH)


def imported_modules(file: Path, nodes: list[ast.AST] | None = None) -> set[str]:
    """The modules of both packages that a file imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(file)) if nodes is None else nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports relatively; write the whole name"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("tinyldm", "tinyldm_course")}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def test_the_reading_order_names_every_file_of_the_core():
    """As the package's first page tells it: shapes → seeds → …"""
    _, _, rest = tinyldm.__doc__.partition("import order:")
    assert tuple(name.strip() for name in rest.split(".")[0].split("→")) == CORE_ORDER
    outside = {"__init__", "__main__", "trace", *LEAVES}
    assert sorted(CORE_ORDER) == sorted(file.stem for file in CORE if file.stem not in outside)
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert rooms | {file.stem for file in CORE} == {*ROOMS, *LEAVES, "__init__"}


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.split(".")[0] == "tinyldm" and name != "tinyldm"], ids=str
)
def test_no_import_points_upwards(name):
    """Not even inside a function: what stands earlier is understood without what comes later."""
    own = room_of(name)
    for module in imported_modules(MODULES[name]):
        room = room_of(module)
        assert module.split(".")[0] == "tinyldm", f"{name} imports {module}: the course builds on the package"
        if room in LEAVES and (own not in LEAVES or LEAVES.index(room) < LEAVES.index(own)):
            continue
        if own == room and own not in CORE_ORDER:
            continue
        if module == "tinyldm":  # the first page, which imports the core when asked
            assert own in ("trace", "cli"), f"{name} imports the package's first page; name the file"
            continue
        assert own not in LEAVES, f"{name} imports {module}; expected nothing of the package"
        assert ROOMS.index(room) < ROOMS.index(own), f"{name} imports {module}, which comes later"


def test_no_import_cycles():
    """Of the imports that run when a file is loaded. (A function may import what its caller needs only then.)"""
    reads = {
        name: (imported_modules(file, tree_of(file).body) & MODULES.keys()) - {name} for name, file in MODULES.items()
    }
    while reads:
        free = [name for name, needs in reads.items() if not needs & reads.keys()]
        assert free, f"a cycle among {sorted(reads)}"
        reads = {name: needs for name, needs in reads.items() if name not in free}


# ── An underscore tells the truth ────────────────────────────────────────────────────────────────────

# Underscore names of libraries that have no public way to do the same.
FOREIGN = {"_foreach_lerp_", "_getframe", "_exit", "_repr_html_"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def stored_names(tree: ast.AST) -> set[str]:
    """What a file defines or assigns: functions, classes, variables, attributes, arguments."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            found.add(node.attr)
    return found


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def reached(tree: ast.Module) -> list[str]:
    """The underscore names that a file takes from another one: imported, read, called, or overridden."""
    own = stored_names(tree) | FOREIGN
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            of_super = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            if node.attr not in own or of_super:
                found.append(node.attr)
    return found


@pytest.mark.parametrize(
    "source, expected",
    [
        ("from a import _b", ["_b"]),
        ("import a\na._b()", ["_b"]),
        ("import a\na._b = 1", ["_b"]),
        ("class A(B):\n    def _c(self):\n        return super()._c()", ["_c"]),
        ("class A:\n    def __init__(self):\n        self._b = 1\n\n\nA()._b", []),
        ("def _f(): ...\n\n\n_f()\nprint(A.__name__)", []),
    ],
)
def test_reached_finds_what_is_reached(source, expected):
    assert reached(ast.parse(source)) == expected


@pytest.mark.parametrize("file", BOTH, ids=lambda file: str(file.relative_to(PACKAGE.parent)))
def test_no_file_reaches_for_another_files_underscore_name(file):
    assert not reached(tree_of(file)), "what another file uses is public: give it a name without an underscore"


# ── House style ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_commands_print(file):
    """A command is in `cli/`, a `__main__.py`, or a function `main`. Nothing else writes to the standard output."""
    if file.parent.name == "cli" or file.name == "__main__.py":
        return
    commands = {
        line
        for function in functions(file)
        if function.name == "main"
        for line in range(function.lineno, function.end_lineno + 1)
    }
    prints = [
        node
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "print"
        and node.lineno not in commands
        and not any(keyword.arg == "file" for keyword in node.keywords)
    ]
    assert not [call.lineno for call in prints]


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_default_is_cuda(file):
    for function in functions(file):
        for default in [*function.args.defaults, *function.args.kw_defaults]:
            assert not (isinstance(default, ast.Constant) and "cuda" in str(default.value)), function.name


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.name)
def test_no_swallowed_keywords(file):
    """`**kwargs` hides what a function takes."""
    for function in functions(file):
        assert function.args.kwarg is None, f"{function.name} takes **{function.args.kwarg.arg}"


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.name)
def test_every_class_and_every_public_function_has_a_docstring(file):
    public = [
        node
        for node in tree_of(file).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")
    ]
    assert not [node.name for node in public if ast.get_docstring(node) is None]
    assert ast.get_docstring(tree_of(file))


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.name)
def test_no_todo(file):
    assert not [word for word in ("TODO", "FIXME", "XXX", "HACK") if word in file.read_text(encoding="utf-8")]


def test_what_is_exported_exists():
    assert sorted(tinyldm.__all__, key=str.lower) == sorted(set(tinyldm.__all__), key=str.lower)
    assert all(hasattr(tinyldm, name) for name in tinyldm.__all__)


def test_importing_the_package_imports_neither_transformers_nor_diffusers():
    """They take longer to import than all else together, so they wait until a caption or a folder needs them."""
    slow = ["transformers", "diffusers", "tokenizers", "matplotlib", "sklearn", "torchvision", "huggingface_hub"]
    program = f"import sys, tinyldm; print([name for name in {slow} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert answer.stdout.strip() == "[]"
