"""Is lesson 10's small world learnt on every seed? Runs the cells of the lesson, and stores what the judge reads.

    python benchmarks/lesson10.py                  # seeds 0, 1, 2: about 20 minutes of two CPU cores
    python benchmarks/lesson10.py --seeds 0

The cells are executed up to the one that trains and measures; nothing is copied, so the numbers belong to the lesson as
it is. A fingerprint of its code is stored with them: a test compares it, and asks for a new run after a change.
Stored in benchmarks/lesson10.json, which the lesson shows.
"""

import argparse
import ast
import hashlib
import json
from pathlib import Path

import matplotlib

from tinyldm import machine

ROOT = Path(__file__).parents[1]
LESSON, STORED = ROOT / "sources" / "lessons" / "10_training.py", ROOT / "benchmarks" / "lesson10.json"
EACH = 20  # pictures of each of the 12 kinds of things


def cells() -> list[str]:
    """The lesson's code cells up to the one that sets MARKS."""
    chosen = []
    for cell in LESSON.read_text(encoding="utf-8").split("# %%")[1:]:
        if not cell.startswith(" [markdown]"):
            chosen.append(cell)
            if "\nMARKS = " in cell:
                return chosen
    raise ValueError(f"no cell of {LESSON.name} sets MARKS")


class Anonymous(ast.NodeTransformer):
    """Replaces names by numbers, in the order in which they appear, and drops docstrings: what is left is the program.

    Imports and progress bars go, too: they do not change what is measured.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}

    def rename(self, name: str) -> str:
        """A name as its number."""
        return self.numbers.setdefault(name, f"n{len(self.numbers)}")

    def visit(self, node: ast.AST) -> ast.AST | None:
        """Rename whatever has a name."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return None
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "progress":
            return self.visit(node.args[0])  # progress(items, "what"): the items
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        for field in ("id", "attr", "arg", "name"):
            if isinstance(getattr(node, field, None), str):
                setattr(node, field, self.rename(getattr(node, field)))
        return self.generic_visit(node)


def plots_on_axes(statement: ast.stmt) -> bool:
    """Is this a function that plots, on the axes that it is given?"""
    return isinstance(statement, ast.FunctionDef) and [one.arg for one in statement.args.args][:1] == ["ax"]


def fingerprint() -> str:
    """Hash the code that is measured. Comments, docstrings, names, figures and what is printed may change."""
    showing = ("plots.", "widgets.", "fig, ", "fig = ", "ax.", "print(", "show_model_map(")
    statements = [statement for cell in cells() for statement in ast.parse(cell).body]
    computing = [one for one in statements if not ast.unparse(one).startswith(showing) and not plots_on_axes(one)]
    program = Anonymous().visit(ast.Module(computing, []))
    return hashlib.sha256(ast.unparse(program).encode()).hexdigest()[:16]


def measure(seed: int) -> dict:
    """Train with this seed as the lesson does, and let the judge read many pictures of the result."""
    namespace: dict = {"__name__": "lesson10"}
    for cell in cells():
        exec(compile(cell.replace("\nSEED = 0 ", f"\nSEED = {seed} "), LESSON.name, "exec"), namespace)
    seen = namespace["marks"](namespace["kept"][namespace["STEPS"]], each=EACH)
    return {
        "seed": namespace["SEED"],
        "steps": namespace["STEPS"],
        "pictures": seen["colour"].of,
        "colour": seen["colour"].value,
        "shape": seen["shape"].value,
        "minutes": round(namespace["train_seconds"] / 60, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=STORED, help="(default: benchmarks/lesson10.json)")
    options = parser.parse_args()
    matplotlib.use("agg")
    stored = {"code": fingerprint(), "hardware": machine.hardware(machine.choose_device()), "runs": []}
    for seed in options.seeds:
        stored["runs"].append(measure(seed))
        options.out.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
