"""The folder that Sphinx reads: copies of what the repository holds, at the same places, with links that work.

notebooks/ exercises/ benchmarks/ docs/ …   texts at their own paths, so that links between them stay right
index.md                                    docs/index.md
api/                                        one page per module
figures/                                    the figures of the notebooks
_static/ _templates/ extra/                 what Sphinx copies as it is
"""

import re
import shutil
import textwrap
from pathlib import Path

import matplotlib
import yaml
from PIL import Image, ImageDraw, ImageFont

from docs import docstrings, drawn, guide, notebooks
from docs.address import Address, configured
from docs.links import PAPERS, ROOT, Book

MODULES = ROOT / "web" / "node_modules"
TEXTS = (
    "notebooks/notation.md",
    "exercises/README.md",
    "benchmarks/README.md",
    "benchmarks/exercises.md",
    "benchmarks/fuzz.md",
    "benchmarks/history/README.md",
    "tinyldm/training/README.md",
    "tinyldm/weights/tiny/README.md",
    "tinyldm/weights/pictures/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def stage(folder: Path, live: bool) -> None:
    """Write all sources of the site to an empty folder.

    Raises: FileNotFoundError if MathJax is not installed.
    """
    address, groups = configured(), docstrings.modules()
    pages = docstrings.files_with_pages(groups)
    texts = [*TEXTS, *(file.relative_to(ROOT).as_posix() for file in own_texts())]
    staged = {"docs/papers.md", *texts} | {path.relative_to(ROOT).as_posix() for kind in ("notebooks", "exercises")
                           for path in notebooks.committed(kind)}  # fmt: skip
    for text in texts:
        write_text(folder, text, staged, pages, address)
    landing = (folder / "docs" / "index.md").read_text(encoding="utf-8")
    landing = landing.replace("{{pictures}}", drawn.figure(live))
    if not live:  # no door to what is not there
        landing = re.sub(r'<a class="live-button".*?</a>\n?', "", landing)
        landing = re.sub(r'<a href="live(?:-pictures)?/[^>]*>(.*?)</a>', r"\1", landing)
    (folder / "index.md").write_text(landing, encoding="utf-8")
    (folder / "docs" / "index.md").unlink()
    for kind in ("notebooks", "exercises"):
        for file in notebooks.committed(kind):
            notebooks.Page(file, kind, book_for(kind, pages), address, live).write(folder)
            copy(file, folder / "extra" / "download" / kind / file.name)
    (folder / "api").mkdir()
    (folder / "api" / "index.rst").write_text(docstrings.index(groups), encoding="utf-8")
    for name in (name for names in groups.values() for name in names):
        (folder / "api" / f"{name}.rst").write_text(docstrings.page(name), encoding="utf-8")
    (folder / "docs" / "papers.md").write_text(papers_page(), encoding="utf-8")
    drawn.draw(folder / "figures")
    stage_static(folder)


def own_texts() -> list[Path]:
    """The texts of docs/ and of the folders in it."""
    return sorted((ROOT / "docs").rglob("*.md"))


def book_for(kind: str, pages: dict[str, str]) -> Book:
    """Where words lead, seen from notebooks/ or exercises/."""
    lessons = {file.name[:2]: f"../notebooks/{file.name}" for file in notebooks.committed("notebooks")}
    exercises = {file.name[:2]: f"../exercises/{file.name}" for file in notebooks.committed("exercises")}
    files = {path: f"../{page}" for path, page in pages.items()}
    return Book(lessons, exercises, files | {"benchmarks/history": "../benchmarks/history/README.md"})


def write_text(folder: Path, path: str, staged: set[str], pages: dict[str, str], address: Address | None) -> None:
    """Copy one text with its pictures; links that lead out of the site lead to the repository, or go."""
    file, target = ROOT / path, folder / path
    here = Path() if path == "docs/index.md" else Path(path).parent  # the landing page moves to the root

    def link(found: re.Match) -> str:
        is_picture, words, to = found.groups()
        goal, _, anchor = to.partition("#")
        if re.match(r"[a-z]+:", to) or not goal:
            return found[0]
        source = (file.parent / goal).resolve()
        inside = source.relative_to(ROOT).as_posix() if source.is_relative_to(ROOT) else ""
        if is_picture:
            copy(source, folder / here / goal)
            return found[0]
        if inside in staged and here == Path(path).parent:
            return found[0]
        if inside in staged:
            return f"[{words}]({inside}{'#' * bool(anchor)}{anchor})"
        if f"{inside}/README.md" in staged:
            return f"[{words}]({up(here)}{inside}/README.md)"
        if inside == "notebooks":
            return f"[{words}]({up(here)}notebooks/{notebooks.committed('notebooks')[0].name})"
        if inside in pages:
            return f"[{words}]({up(here)}{pages[inside]})"
        if goal.startswith(("api/", "live/", "slides/", "download/", "teacher/")) or "/live/" in goal:
            return found[0]
        return f"[{words}]({address.file(inside)})" if address else words

    text = filled(file.read_text(encoding="utf-8"))
    text = LINK.sub(link, guide.as_page(text) if path == "docs/teacher/guide.md" else text)
    if path.startswith("docs/") and path not in ("docs/index.md", "docs/teacher/slides.md"):
        text = lessons_seen_from(here).linked(text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def lessons_seen_from(here: Path) -> Book:
    """Where the names of lessons lead, in a text in some folder."""
    return Book({f.name[:2]: f"{up(here)}notebooks/{f.name}" for f in notebooks.committed("notebooks")}, {}, {})


def up(here: Path) -> str:
    """The way from a folder of the site to its root: "../../"."""
    return "../" * len(here.parts)


def copy(source: Path, target: Path) -> None:
    """Copy a file, and make the folder it goes to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def filled(text: str) -> str:
    """Put in what is known elsewhere: the citation, the lessons' slides, and pages of docs/ that no list names."""
    parts = {"{{citation}}": bibtex, "{{slides}}": list_of_slides, "{{others}}": lambda: others(text)}
    for name, made in parts.items():
        text = text.replace(name, made()) if name in text else text
    return text


def list_of_slides() -> str:
    """A line per lesson, with its deck."""
    rows = [(f.name[:2], re.search(r"^# (.*)$", notebooks.first_text(f), re.MULTILINE)) for f in
            notebooks.committed("notebooks")]  # fmt: skip
    return "\n".join(f'- <a href="../../slides/{number}.html">{found[1]}</a>' for number, found in rows if found)


def others(index: str) -> str:
    """The texts of docs/ that the landing page's lists do not name: no page is left out."""
    names = [file.relative_to(ROOT).with_suffix("").as_posix() for file in own_texts()]
    return "\n".join(name for name in names if name != "docs/index" and f"\n{name}\n" not in index)


def bibtex() -> str:
    """CITATION.cff as an entry for BibTeX."""
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    address = configured()
    lines = [
        f"author  = {{{{{known['authors'][0]['name']}}}}}",
        f"title   = {{{{{known['title']}}}}}",
        f"year    = {{{str(known['date-released'])[:4]}}}",
        f"version = {{{known['version']}}}",
    ]
    if address:
        lines.append(f"url     = {{https://github.com/{address.owner}/{address.name}}}")
    return "@software{tinyldm,\n  " + ",\n  ".join(lines) + "\n}"


def papers_page() -> str:
    """All papers that lessons and docstrings name."""
    rows = [f"| {name} | [{title}]({url}) |" for name, (title, url) in PAPERS.items() if "app." not in name]
    return (
        "# Papers\n\nWhat the lessons and the docstrings cite, by year. Links lead to arXiv or to the publisher.\n\n"
        "| cited as | title |\n|---|---|\n"
        + "\n".join(sorted(rows, key=lambda row: row[:60].split("|")[1][-5:]))
        + "\n"
    )


def stage_static(folder: Path) -> None:
    """The settings, the style, the templates, MathJax and the figures."""
    copy(ROOT / "docs" / "conf.py", folder / "conf.py")
    mathjax = MODULES / "mathjax" / "es5" / "tex-svg.js"
    if not mathjax.is_file():
        raise FileNotFoundError("MathJax is not installed: cd web && npm ci --ignore-scripts")
    shutil.copytree(ROOT / "docs" / "_static", folder / "_static", dirs_exist_ok=True)
    shutil.copytree(ROOT / "docs" / "_templates", folder / "_templates")
    copy(mathjax, folder / "_static" / "mathjax" / mathjax.name)
    copy(MODULES / "mathjax" / "LICENSE", folder / "_static" / "mathjax" / "LICENSE")
    shutil.copytree(folder / "figures", folder / "extra" / "figures")
    make_card(folder / "extra" / "card.png", folder / "figures")


def make_card(file: Path, pictures: Path) -> None:
    """What other sites show with a link to this one: 1200 × 630 pixels, with four drawings and their captions."""
    card = Image.new("RGB", (1200, 630), "#0b5d8f")
    draw, fonts = ImageDraw.Draw(card), Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for top, size, words in (
        (150, 74, "tinyldm"),
        (270, 34, "Latent diffusion,\nbuilt by you,\npiece by piece."),
        (450, 26, "It draws in your browser."),
    ):
        font = ImageFont.truetype(fonts / ("DejaVuSans-Bold.ttf" if size > 40 else "DejaVuSans.ttf"), size)
        draw.multiline_text((60, top), words, "white", font, spacing=10)
    font = ImageFont.truetype(fonts / "DejaVuSans.ttf", 17)
    for index, caption in enumerate(drawn.CAPTIONS[:4]):
        left, top = 640 + 280 * (index % 2), 24 + 300 * (index // 2)
        picture = Image.open(pictures / f"drawn-{index}.png").resize((230, 230), Image.Resampling.NEAREST)
        card.paste(picture, (left, top))
        draw.multiline_text((left, top + 236), textwrap.fill(caption, 26), "white", font, spacing=4)
    card.save(file, optimize=True)
