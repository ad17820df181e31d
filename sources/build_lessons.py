"""Make `notebooks/NN_name.ipynb` from `sources/lessons/NN_name.py`.

    python sources/build_lessons.py --execute 02 06     # run these from a fresh kernel, write them with outputs
    python sources/build_lessons.py --execute all
    python sources/build_lessons.py --text 02           # new prose, same code: the outputs of the last run are kept
    python sources/build_lessons.py --check             # are the committed notebooks what the sources generate?

A lesson whose code has changed must be executed again. TINYLDM_FAST=1 shortens the training cells; notebooks made in
this way are for testing, not for committing, and go to the folder that `--out` names.
"""

import argparse
import ast
import os
import sys
import time
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from percent_format import ROOT, SETUP_ID, executed, generated, same_cells, with_setup, write

SOURCES, NOTEBOOKS = ROOT / "sources" / "lessons", ROOT / "notebooks"
MAX_BYTES = 1_000_000


def sources(names: list[str]) -> list[Path]:
    """Return the sources whose names start with one of `names`; all for ["all"]. Raises ValueError if none does."""
    known = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    if names == ["all"]:
        return known
    for name in names:
        if not any(source.stem.startswith(name) for source in known):
            raise ValueError(f"no lesson starts with {name!r}; there are {', '.join(s.stem for s in known)}")
    return [source for source in known if source.stem.startswith(tuple(names))]


def lesson(source: Path) -> NotebookNode:
    """Return the notebook of a lesson, without outputs."""
    return with_setup(generated(source))


def stale() -> list[str]:
    """Return the differences between sources and committed notebooks, in words; an empty list if there are none."""
    problems = []
    for source in sources(["all"]):
        file = NOTEBOOKS / f"{source.stem}.ipynb"
        if not file.is_file():
            problems.append(f"{file.name} is missing")
        elif not same_cells(lesson(source), nbformat.read(file, as_version=4)):
            problems.append(f"{file.name} is not what its source generates")
    known = {source.stem for source in sources(["all"])}
    problems += [f"{file.name} has no source" for file in sorted(NOTEBOOKS.glob("*.ipynb")) if file.stem not in known]
    return problems


def build(source: Path, folder: Path) -> None:
    """Execute one lesson and write it. Raises ValueError if the result is over 1 MB."""
    start = time.perf_counter()
    file = folder / f"{source.stem}.ipynb"
    write(executed(lesson(source), NOTEBOOKS), file)
    size = file.stat().st_size
    print(f"{file.name}: {time.perf_counter() - start:.0f} s, {size / 1e3:.0f} KB", flush=True)
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} has {size:,} bytes; expected at most {MAX_BYTES:,}: fewer or smaller figures")


def tree(cell: NotebookNode) -> str:
    """Return the code of a cell as a string that does not depend on its line breaks and comments."""
    return ast.dump(ast.parse(cell.source))


def update_text(source: Path, folder: Path) -> None:
    """Give a notebook the new text and comments of its source, and keep its outputs.

    Raises ValueError if the notebook has not been executed yet, or if its code has changed.
    """
    file, notebook = folder / f"{source.stem}.ipynb", lesson(source)
    if not file.is_file():
        raise ValueError(f"{file.name} has not been executed yet; run it with --execute {source.stem[:2]}")
    old, new = (
        [cell for cell in cells if cell.cell_type == "code" and cell["id"] != SETUP_ID]
        for cells in (nbformat.read(file, as_version=4).cells, notebook.cells)
    )
    if [tree(cell) for cell in old] != [tree(cell) for cell in new]:
        raise ValueError(
            f"the code of {file.name} has changed, not just its text; run it with --execute {source.stem[:2]}"
        )
    for before, after in zip(old, new):
        after.outputs = before.outputs
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number  # as in a run from top to bottom
    write(notebook, file)


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--execute", nargs="+", metavar="NAME", help='lessons to run, such as 02, or "all"')
    parser.add_argument("--text", nargs="+", metavar="NAME", help="lessons of which only the text is to be updated")
    parser.add_argument("--out", type=Path, default=NOTEBOOKS, help="where to write them (default: notebooks/)")
    parser.add_argument("--check", action="store_true", help="compare the committed notebooks with their sources")
    arguments = parser.parse_args()
    if os.environ.get("TINYLDM_FAST") == "1" and arguments.execute and arguments.out == NOTEBOOKS:
        parser.error("TINYLDM_FAST=1 is for trying: name another folder with --out")
    try:
        for source in sources(arguments.execute or []):
            build(source, arguments.out)
        for source in sources(arguments.text or []):
            update_text(source, arguments.out)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    problems = stale() if arguments.check else []
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
