"""Where the words of a lesson lead in its notebook: other lessons, exercises, files, papers, the article, the glossary.

The sources name these in plain text. The site has links of its own, and takes these out first (docs/notebooks.py).
"""

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from percent_format import ROOT

sys.path.append(str(ROOT))  # docs/ is not installed

from docs.links import Book  # noqa: E402

SOURCES = ROOT / "sources" / "lessons"
LINKS_ID = "links"
HEADING = "## What the article says\n"
ARTICLE = (
    "*Article:* [Latent diffusion model](https://en.wikipedia.org/wiki/Latent_diffusion_model), "
    "citing sources up to 7 September 2024; [all corrections](../docs/errata.md)."
)


@dataclass(frozen=True)
class NotebookBook(Book):
    """What a notebook can link to, as seen from notebooks/."""

    def code(self, text: str) -> str:
        """A link around the name of a file, of a folder that ends in a slash, or of an exercise notebook."""
        name = text.strip("`").removeprefix("../")
        number = re.fullmatch(r"exercises/(\d\d)_\w+\.ipynb", name)
        if not re.fullmatch(r"`[^`]+`", text) or not (number or name.endswith("/") or "." in name):
            return text
        page = self.exercises.get(number[1]) if number else self.files.get(name) or self.files.get(f"tinyldm/{name}")
        return f"[{text}]({page})" if page else text


@cache
def book() -> NotebookBook:
    """All lessons, exercises, and files of the repository that a lesson may name."""
    files = [file for room in ("tinyldm", "tinyldm_course", "tests") for file in (ROOT / room).rglob("*.py")]
    files += [file for room in ("benchmarks", "docs") for file in (ROOT / room).rglob("*.md")]
    paths = [file.relative_to(ROOT) for file in files]
    folders = {f"{folder.as_posix()}/" for path in paths for folder in path.parents if folder.name}
    return NotebookBook(
        {source.stem[:2]: f"{source.stem}.ipynb" for source in lessons()},
        {
            file.stem[:2]: f"../exercises/{file.stem}.ipynb"
            for file in (ROOT / "sources" / "exercises").glob("[0-9]*.py")
        },
        {name: f"../{name}" for name in {path.as_posix() for path in paths} | folders},
    )


@cache
def lessons() -> list[Path]:
    """The sources of all lessons, in order."""
    return sorted(SOURCES.glob("[0-9][0-9]_*.py"))


def with_links(notebook: NotebookNode, source: Path) -> NotebookNode:
    """Link the words of a lesson, and add a last cell that leads on."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = book().linked(cell.source).replace(HEADING, f"{HEADING}\n{ARTICLE}\n", 1)
    notebook.cells.append(new_markdown_cell(leads_on(source), id=LINKS_ID))
    return notebook


def leads_on(source: Path) -> str:
    """The row of links at the end: the lesson before, the exercises, the next lesson, the words and symbols."""
    stems = [file.stem for file in lessons()]
    here = stems.index(source.stem) if source in lessons() else len(stems)
    links = []
    if here > 0:
        links.append(f"[← {title(lessons()[here - 1])}]({stems[here - 1]}.ipynb)")
    if exercises := book().exercises.get(source.stem[:2]):
        links.append(f"[Exercises]({exercises})")
    if here + 1 < len(stems):
        links.append(f"[{title(lessons()[here + 1])} →]({stems[here + 1]}.ipynb)")
    return " · ".join([*links, "[Glossary](../docs/glossary.md)", "[Notation](notation.md)"])


def title(source: Path) -> str:
    """Number and title of a lesson, without its subtitle."""
    return source.read_text(encoding="utf-8").splitlines()[1].removeprefix("# # ").partition(":")[0]
