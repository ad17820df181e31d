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
CORE = sorted(PACKAGE.glob("*.py"))
LIBRARY = sorted(PACKAGE.rglob("*.py"))
SKIPPED = {
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
    """The numbers of the lines that hold code: not those with only comments, docstrings or nothing."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
        if token.type not in SKIPPED:
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
        '            2)\n\n\ny = """two\nlines"""\n"""about y"""\n'
    )
    assert code_lines(file) == {4, 8, 10, 11, 14, 15}


def test_the_core_is_at_most_1500_code_lines():
    counts = {file.name: len(code_lines(file)) for file in CORE}
    assert sum(counts.values()) <= 1500, counts


@pytest.mark.parametrize(
    "most, file, names",
    [
        (24, "resblock.py", ["ResBlock"]),
        (85, "spatial_transformer.py", ["Attention", "FeedForward", "TransformerBlock", "SpatialTransformer"]),
        (20, "forward_diffusion.py", ["NoiseSchedule"]),
        (30, "reverse_diffusion.py", ["ddim", "_steps", "_z0_and_eps", "guided"]),
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


def reading_order() -> list[str]:
    """As the package's first page tells it: resblock → vae → …"""
    _, _, rest = tinyldm.__doc__.partition("import order:")
    return [name.strip() for name in rest.split(".")[0].split("→")]


def imported_modules(file: Path, where: list[ast.AST] | None = None) -> set[str]:
    """Names of the package's modules that a file imports, at its top or anywhere in it."""
    found = set()
    for node in where if where is not None else ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyldm"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | ({node.module} - {"tinyldm"})
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("tinyldm")}
    return found


def test_the_reading_order_names_every_file_of_the_core():
    assert sorted(reading_order()) == sorted(file.stem for file in CORE if file.stem not in ("__init__", "__main__"))


@pytest.mark.parametrize(
    "file", [file for file in CORE if file.stem not in ("__init__", "__main__")], ids=lambda file: file.name
)
def test_imports_only_point_backwards(file):
    order = reading_order()
    for module in imported_modules(file):
        part = module.split(".")[1] if "." in module else "__init__"
        if part == "weights":
            continue
        assert part in order, f"{file.name} imports {module}, which is outside the core"
        assert order.index(part) < order.index(file.stem), f"{file.name} reads {part}, which comes later"


def test_no_import_cycles_in_the_whole_package():
    """Of the imports that run when a file is loaded. (A function may import what its caller needs only then.)"""
    names = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
        for file in LIBRARY
    }
    reads = {name: (imported_modules(file, tree_of(file).body) & names.keys()) - {name} for name, file in names.items()}
    for name in reads:  # `from tinyldm.a import b` names the folder too; a folder's __init__ is no dependency then
        reads[name] = {
            module for module in reads[name] if not any(other.startswith(module + ".") for other in reads[name])
        }
    while reads:
        free = [name for name, needs in reads.items() if not needs & reads.keys()]
        assert free, f"a cycle among {sorted(reads)}"
        reads = {name: needs for name, needs in reads.items() if name not in free}


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
