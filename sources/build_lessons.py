"""Make `notebooks/NN_name.ipynb` from `sources/lessons/NN_name.py`.

    python sources/build_lessons.py --execute 02 06     # run these from a fresh kernel, write them with outputs
    python sources/build_lessons.py --execute all
    python sources/build_lessons.py --text 02           # new prose, same code: the outputs of the last run are kept
    python sources/build_lessons.py --check             # are the committed notebooks what the sources generate?

A lesson whose code has changed must be executed again. TINYLDM_FAST=1 shortens the training cells; notebooks made in
this way are for testing, not for committing, and go to the folder that `--out` names.

What readers need not see stands in the source, outside of the cell that they read:

    # %% tags=["nbval-check-output"]                     # tags become metadata: pytest compares this cell's output
    fig, ax = plt.subplots()
    ax.plot(alpha_bar)
    plots.show(fig)

    # %% [markdown] alt
    # The alt text of the figure above; {alpha_bar[-1]:.4f} is evaluated when the notebook is executed, in its kernel.
    # {seen_in(images)} says what the judge sees in generated pictures.
    #
    # A paragraph for each figure of the cell, in their order. It says what is to be seen, and answers no "Predict".

Lessons, exercises, files and papers are named in plain text; sources/lesson_links.py links them, in all notebooks. So
when a lesson is added, `--text all` brings the others up to date.

A reader who runs the cell gets a figure that is described by its own titles and labels.
"""

import argparse
import ast
import html
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from lesson_links import with_links
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from percent_format import ROOT, cleaned, executed, generated, same_cells, with_setup, write

SOURCES, NOTEBOOKS = ROOT / "sources" / "lessons", ROOT / "notebooks"
MAX_BYTES = 2_000_000
IMPORTED = "from tinyldm_course.lessons.readings import seen_in"  # what alt texts may use
END = "\x1f"  # of an alt text, between kernel and builder
UNDESCRIBED = re.compile(r'<img alt="Figure: [^"]*"')  # as `plots.own_words` begins


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
    """Return the notebook of a lesson, without outputs: first code cell folded, alt texts as metadata, words linked."""
    return with_links(folded(with_setup(with_alt_texts(generated(source)))), source)


def with_alt_texts(notebook: NotebookNode) -> NotebookNode:
    """Move each cell `# %% [markdown] alt` into the metadata of the code cell before it: a text for each figure."""
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        if cell.metadata.get("title") == "alt":
            cells[-1].metadata["alt"] = [" ".join(text.split()) for text in re.split(r"\n\s*\n", cell.source)]
        else:
            cells.append(cell)
    notebook.cells = cells
    return notebook


def folded(notebook: NotebookNode) -> NotebookNode:
    """Join the cell that installs the course and the imports below it; editors and the site show it folded."""
    setup, imports = notebook.cells[1:3]  # the imports are the first cell of every source
    setup.source += f"\n\n{imports.source}"
    setup.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["hide-input"]}
    del notebook.cells[2]
    return notebook


def described(cell: NotebookNode, texts: list[str]) -> None:
    """Put alt texts into the outputs of a cell. Raises ValueError if there is not one for each figure."""
    waiting = list(texts)
    for output in cell.outputs:
        data = output.get("data", {})
        if UNDESCRIBED.search(data.get("text/html", "")) and waiting:
            text = waiting.pop(0)
            tag = f'<img alt="{html.escape(text)}"'
            data["text/html"] = UNDESCRIBED.sub(lambda _, tag=tag: tag, data["text/html"])
            data["text/plain"] = text
    if waiting or any(UNDESCRIBED.search(output.get("data", {}).get("text/html", "")) for output in cell.outputs):
        raise ValueError(f"{len(texts)} alt texts do not fit the figures of this cell:\n{cell.source}")


def describe_figures(client, cell: NotebookNode, index: int) -> None:
    """After a cell was executed: evaluate the braces of its alt texts in the same kernel, and put them in."""
    if "alt" in cell.metadata:
        texts = "".join(f"{text}{END}" for text in cell.metadata["alt"])
        question = new_code_cell(f"{IMPORTED}\nprint(f'''{texts}''')")
        client.execute_cell(question, index, store_history=False)
        client.nb.cells[index] = cell
        described(cell, question.outputs[0].text.split(END)[:-1])
    else:
        described(cell, [])


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
    """Execute one lesson and write it. Raises ValueError if the result is over MAX_BYTES."""
    start = time.perf_counter()
    file = folder / f"{source.stem}.ipynb"
    write(executed(lesson(source), NOTEBOOKS, after=describe_figures), file)
    size = file.stat().st_size
    print(f"{file.name}: {time.perf_counter() - start:.0f} s, {size / 1e3:.0f} KB", flush=True)
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} has {size:,} bytes; expected at most {MAX_BYTES:,}: fewer or smaller figures")


def tree(cell: NotebookNode) -> str:
    """Return the code of a cell as a string that does not depend on its line breaks and comments."""
    return ast.dump(ast.parse(cell.source))


def replace_alt_texts(before: NotebookNode, after: NotebookNode, what: str) -> None:
    """Put changed alt texts into a cell's outputs. Raises ValueError if a kernel would have to compute one."""
    for old, new in zip(before.metadata.get("alt", []), after.metadata.get("alt", []), strict=True):
        if old != new:
            if "{" in old + new:
                raise ValueError(f"braces need a kernel: {what}")
            for output in after.outputs:
                data = output.get("data", {})
                if data.get("text/plain") == old:
                    data["text/html"] = data["text/html"].replace(html.escape(old), html.escape(new))
                    data["text/plain"] = new


def update_text(source: Path, folder: Path) -> None:
    """Give a notebook the new text, comments and alt texts of its source, and keep its outputs.

    Raises ValueError if the notebook has not been executed yet, or if its code or a computed alt text has changed.
    """
    file, notebook = folder / f"{source.stem}.ipynb", lesson(source)
    if not file.is_file():
        raise ValueError(f"{file.name} has not been executed yet; run it with --execute {source.stem[:2]}")
    old, new = (
        [cell for cell in cells if cell.cell_type == "code"]
        for cells in (nbformat.read(file, as_version=4).cells, notebook.cells)
    )
    if [tree(cell) for cell in old] != [tree(cell) for cell in new]:
        raise ValueError(
            f"the code of {file.name} has changed, not just its text; run it with --execute {source.stem[:2]}"
        )
    for before, after in zip(old, new):
        after.outputs = before.outputs
        replace_alt_texts(before, after, f"an alt text of {file.name}; run it with --execute {source.stem[:2]}")
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number  # as in a run from top to bottom
    write(cleaned(notebook), file)


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
