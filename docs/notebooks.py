"""The notebooks as pages: what belongs to a notebook alone goes, what belongs to a site comes.

The committed notebooks are read and never changed.
"""

import base64
import html
import io
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from PIL import Image

from docs import model_map
from docs.address import Address
from docs.links import ROOT, Book

PICTURE = re.compile(r'<img alt="([^"]*)" width="(\d+)" style="[^"]*" src="data:image/png;base64,([^"]*)">')
INSTALLS = re.compile(r"\A.*?^threads\.prepare\([^\n]*\n+", re.DOTALL | re.MULTILINE)  # begins the folded cell
PREDICT = re.compile(r"^> \*\*Predict\.\*\* ?(.*(?:\n>.*)*)", re.MULTILINE)
NOTEBOOK_LINK = re.compile(r"\[([^\[\]]*)\]\((?:\.\./(?!docs/)|\d\d_)[^)]*\)")
WHITE, TILE = 235, 24  # as bright as this is background; pixels of a side of a tile
# Number of a lesson -> the heading after which an experiment of the live page belongs, its address, what to do there.
LIVE = {
    "00": ("Your sentence", "draw", "draw your own sentence"),
    "02": ("Turn the dial", "inside", "scrub through the steps of a drawing"),
    "03": ("The walk", "draw", "watch each step of a walk from noise"),
    "05": ("Latents as pictures", "experiments?img2img", "draw with the mouse, and let the model change your picture"),
    "07": ("Where was each word read", "inside", "which pixels read which word"),
    "08": ("Look inside the trained one", "inside", "open the U-Net into its blocks"),
    "09": ("A bag of words", "experiments?captions", "the same noise under two captions"),
    "10": ("Look", "experiments?training", "the same picture at four moments of a training"),
    "11": ("Where we are", "draw", "what the shipped model knows, before you teach it more"),
    "12": ("Turn up the guidance", "experiments?guidance", "guidance from 0 to 15, side by side"),
    "13": ("Inpainting", "experiments?inpaint", "inpaint with a brush"),
    "16": ("The ward", "experiments?clinic", "three of the patients"),
    "21": ("Judge", "draw", "draw with the network of four steps, and with its teacher"),
}


@dataclass(frozen=True)
class Page:
    """A notebook that becomes a page.

    Args:
        file: the committed notebook.
        kind: "notebooks" for a lesson, "exercises" for its exercises: the folder, here and in the site.
        book: where its words lead, seen from that folder.
        address: of the repository; None while it is not set.
        live: is the live page a part of the site?
    """

    file: Path
    kind: str
    book: Book
    address: Address | None
    live: bool

    @property
    def number(self) -> str:
        """Of the lesson: "05"."""
        return self.file.name[:2]

    def write(self, folder: Path) -> None:
        """Write the notebook as the site shows it, and its figures, to the folder of the site's sources."""
        notebook = nbformat.read(self.file, as_version=4)
        left_out = "setup" if self.kind == "exercises" else "links"
        notebook.cells = [cell for cell in notebook.cells if cell["id"] != left_out]
        pictures = Pictures(folder / "figures", self.file.stem)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.book.linked(predictions(unlinked(cell.source)))
            else:
                cell.source = INSTALLS.sub("", cell.source) if cell["id"] == "setup" else cell.source
                pictures.take_out_of(cell)
                draw_map(cell)
        title, _, rest = notebook.cells[0].source.partition("\n")  # a notebook begins with its title
        notebook.cells[0].source = f"{title}\n\n{self.bar()}\n\n{rest}"
        if self.kind == "notebooks" and self.live and self.number in LIVE:
            notebook.cells.insert(place(notebook, LIVE[self.number][0]), new_markdown_cell(self.embedded(), id="live"))
        (folder / self.kind).mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / self.kind / self.file.name)

    def bar(self) -> str:
        """The row of links under the title."""
        path, links = f"{self.kind}/{self.file.name}", []
        if self.kind == "notebooks":
            if self.number in self.book.exercises:
                links.append(("Exercises", f"../exercises/{html_name(self.book.exercises[self.number])}"))
            links.append(("Slides", f"../slides/{self.number}.html"))
        else:
            links.append(("Lesson", f"../notebooks/{html_name(self.book.lessons[self.number])}"))
        links.append(("Download notebook", f"../download/{path}"))
        if self.address:
            links += [("Open in Colab", self.address.colab(path)), ("Open in Binder", self.address.binder(path))]
        items = "".join(f'<a href="{html.escape(target)}">{text}</a>' for text, target in links)
        return f'<nav class="page-bar" aria-label="This notebook">{items}</nav>'

    def embedded(self) -> str:
        """The live page, closed until a reader opens it: only then is it loaded."""
        _, place, title = LIVE[self.number]
        address = f"../live/index.html#{place}"
        return (
            f'<details class="live"><summary>Live: {title}</summary>\n'
            f'<iframe loading="lazy" title="{title}" src="{address}"></iframe>\n'
            f'<p><a href="{address}">Open it in a page of its own</a>. '
            "The first visit downloads about 12 MB.</p></details>"
        )


def first_text(file: Path) -> str:
    """The Markdown of a notebook's first cell."""
    return nbformat.read(file, as_version=4).cells[0].source


def html_name(source: str) -> str:
    """The name of the page that a notebook becomes."""
    return re.sub(r"\.ipynb$", ".html", source.rpartition("/")[2])


def predictions(text: str) -> str:
    """Quotes that begin with "Predict." become boxes."""

    def box(found: re.Match) -> str:
        inside = "\n".join(line.removeprefix(">").strip() for line in found[1].split("\n"))
        return f":::{{admonition}} Predict\n:class: predict\n{inside}\n:::"

    return PREDICT.sub(box, text)


def unlinked(text: str) -> str:
    """A lesson's text without the links of the notebook: the site's are others."""
    return NOTEBOOK_LINK.sub(r"\1", text)


def place(notebook: NotebookNode, heading: str) -> int:
    """Where to insert a cell: behind the one that holds a heading, else behind the first cells."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and re.search(rf"^## {re.escape(heading)}", cell.source, re.MULTILINE):
            return index + 1
    raise ValueError(f"no heading of the lesson starts with {heading!r}; mend LIVE in docs/notebooks.py")


def draw_map(cell: NotebookNode) -> None:
    """Where a cell shows the map of the model, show it as drawings of lines."""
    parts = model_map.parts_of(cell.source)
    if parts is None:
        return
    for output in cell.outputs:
        shown = output.get("data", {}).get("text/html", "")
        alt = re.search(r'<img class="figure[^>]*alt="([^"]*)"', shown)
        if alt:
            output["data"]["text/html"] = model_map.drawings(parts, alt[1])


# ── Figures ──────────────────────────────────────────────────────────────────────────────────────────


class Pictures:
    """Takes the figures out of the outputs of a notebook, into files: a page is light, and loads them as it is read."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name, self.count = folder, name, 0
        folder.mkdir(parents=True, exist_ok=True)

    def take_out_of(self, cell: NotebookNode) -> None:
        """Replace each figure of a code cell by one that names a file."""
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = PICTURE.sub(self.as_file, data["text/html"])

    def as_file(self, found: re.Match) -> str:
        """Write one figure; return its HTML."""
        alt, width, data = found[1], int(found[2]), found[3]
        content = base64.b64decode(data)
        file = self.folder / f"{self.name}-{self.count:02d}.png"
        self.count += 1
        file.write_bytes(content)
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        look = "line-art" if is_line_art(picture) else "photo"
        height = round(picture.height * width / picture.width)  # the file is finer than its place on the page
        return (
            f'<img class="figure {look}" alt="{alt}" width="{width}" height="{height}" '
            f'loading="lazy" src="../figures/{file.name}">'
        )


def is_line_art(picture: Image.Image) -> bool:
    """Only lines and letters on white? Then a dark page may show it with light and dark exchanged.

    A figure with a picture in it has tiles without any white, and stays as it is: inverted, it would show something
    else.
    """
    bright = np.asarray(picture.convert("L")) > WHITE
    height, width = (size - size % TILE for size in bright.shape)
    tiles = bright[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE)
    return bool(bright.mean() > 0.7 and (~tiles.any(axis=(1, 3))).mean() < 0.001)


def committed(kind: str) -> list[Path]:
    """The committed notebooks of a folder, in order."""
    return sorted((ROOT / kind).glob("[0-9][0-9]_*.ipynb"))
