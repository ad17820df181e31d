"""From a source in percent format to a notebook: what lessons and exercises share.

A source is a plain Python script, readable and runnable as such:

    # %% [markdown]
    # Text, with $\\LaTeX$.

    # %%
    print("code")
"""

import tomllib
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SETUP_ID = "setup"
SETUP = """\
# Installs tinyldm where it is missing (on Colab, for example), and lets it choose the number of threads.
import importlib.util, subprocess, sys

if importlib.util.find_spec("tinyldm") is None:
    subprocess.run(["git", "clone", "--depth", "1", "{address}", "tinyldm-course"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", "tinyldm-course"], check=True)
    sys.path.insert(0, "tinyldm-course")

from tinyldm import threads

threads.prepare(threads.available())     # before PyTorch is imported: see tinyldm/threads.py"""
After = Callable[[object, NotebookNode, int], None]
VIEW = "application/vnd.jupyter.widget-view+json"  # a dial without its kernel; the strip stays
STYLE = "<style>.jupyter-widgets"  # the style of that view


def generated(source: Path) -> NotebookNode:
    """Return the notebook of a source, without outputs; the same text gives the same bytes."""
    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem.replace('_', '-')[:48]}-{number:03d}"
    return notebook


def with_setup(notebook: NotebookNode) -> NotebookNode:
    """Add a cell under the title that installs the course where it is missing, as in a hosted notebook.

    The address is the one in pyproject.toml.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cell = new_code_cell(SETUP.format(address=project["urls"]["Repository"]), id=SETUP_ID)
    notebook.cells.insert(1, cell)
    return notebook


def executed(notebook: NotebookNode, folder: Path, timeout: int = 3600, after: After = lambda *_: None) -> NotebookNode:
    """Execute the notebook in a fresh kernel in `folder`, and clean it.

    Args: after: called with the client, a code cell and its index when the cell has been executed.
    Raises: nbclient's CellExecutionError.
    """
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.reset_execution_trackers()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
            if cell.cell_type == "code":
                after(client, cell, index)
    return cleaned(notebook)


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Remove what differs from run to run or needs a kernel: widget state, widget views and their style, timings."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if VIEW not in output.get("data", {})
                and not output.get("data", {}).get("text/html", "").startswith(STYLE)
                and not (output.output_type == "stream" and output.name == "stderr")
            ]
    return notebook


def write(notebook: NotebookNode, file: Path) -> None:
    """Validate a notebook and write it."""
    nbformat.validate(notebook)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def same_cells(one: NotebookNode, other: NotebookNode) -> bool:
    """Do two notebooks have the same cells, whatever their outputs?"""

    def cells(notebook: NotebookNode) -> list[tuple]:
        return [(cell.cell_type, cell["id"], cell.source, cell.metadata) for cell in notebook.cells]

    return cells(one) == cells(other)
