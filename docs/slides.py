"""Slides for each lesson, from the lesson's notebook: `slides/05.html`, shown by reveal.js.

A section of a lesson becomes a few slides: its first sentences, its first formula, its figures. Each "Predict" is a
slide of its own; on the next one is the figure, and the answer, which comes at a key press. All that is left out is in
the speaker's notes (key S). Nothing is loaded from outside.
"""

import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from docs import notebooks
from docs.links import ROOT

REVEAL = ROOT / "web" / "node_modules" / "reveal.js"
FILES = {"dist/reveal.js": "reveal.js", "dist/reveal.css": "reveal.css", "plugin/notes/notes.js": "notes.js",
         "LICENSE": "LICENSE"}  # fmt: skip
MAX_WORDS = 55  # on a slide
LEFT_OUT = ("Three quick questions", "Exercises", "What next")
ANSWER = re.compile(r"<details>\s*<summary>(?:<b>)?(.*?)(?:</b>)?</summary>(.*?)</details>", re.DOTALL)


@dataclass
class Section:
    """A section of a lesson.

    Args:
        heading: its heading, in Markdown.
        parts: in order: ("text", Markdown), ("predict", Markdown), ("answer", Markdown), ("figure", HTML).
    """

    heading: str
    parts: list[tuple[str, str]] = field(default_factory=list)

    def of(self, kind: str) -> list[str]:
        """The parts of one kind."""
        return [content for name, content in self.parts if name == kind]


# ── Reading a lesson ─────────────────────────────────────────────────────────────────────────────────


def sections(file: Path, figures: Path) -> list[Section]:
    """The sections of a lesson; the first is what stands under its title. Writes its figures to a folder."""
    pictures = notebooks.Pictures(figures, file.stem)
    found = [Section("")]
    for cell in nbformat.read(file, as_version=4).cells:
        if cell["id"] == "links":
            continue
        if cell.cell_type == "markdown":
            for piece in re.split(r"^(?=##? )", without_links(cell.source), flags=re.MULTILINE):
                heading = re.match(r"##? (.*)\n?", piece)
                if heading and (piece.startswith("## ") or not found[0].heading):
                    if piece.startswith("# "):
                        found[0].heading = heading[1]
                    else:
                        found.append(Section(heading[1]))
                    piece = piece[heading.end() :]
                found[-1].parts += parts_of(piece)
        else:
            pictures.take_out_of(cell)
            shown = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
            found[-1].parts += [("figure", tag) for tag in re.findall(r'<img class="figure[^>]*>', shown)]
    return found


def without_links(text: str) -> str:
    """A lesson's text as it is spoken: no links, and no note on the article's revision."""
    text = re.sub(r"^\*Article:\*.*\n+", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<!!)\[([^\[\]]*)\]\([^)\s]+\)", r"\1", text)


def parts_of(text: str) -> Iterator[tuple[str, str]]:
    """Text, predictions and answers of a piece of Markdown, in order."""
    last = 0
    marks = sorted([*ANSWER.finditer(text), *notebooks.PREDICT.finditer(text)], key=lambda mark: mark.start())
    for mark in marks:
        if mark.start() < last:  # an answer that stands in the box of its prediction
            continue
        if text[last : mark.start()].strip():
            yield "text", text[last : mark.start()].strip()
        last = mark.end()
        if mark.re is ANSWER:
            yield "answer", mark[2].strip()
        else:
            asked = re.sub(r"^> ?", "", mark[1], flags=re.MULTILINE)
            yield "predict", ANSWER.sub("", asked).strip()
            yield from (("answer", answer[2].strip()) for answer in ANSWER.finditer(asked))
    if text[last:].strip():
        yield "text", text[last:].strip()


# ── Writing slides ───────────────────────────────────────────────────────────────────────────────────


def as_html(text: str) -> str:
    """Markdown as HTML, with formulas as MathJax reads them."""
    return MARKDOWN.render(text)


def in_line(text: str) -> str:
    """Markdown of a heading as HTML."""
    return MARKDOWN.renderInline(text)


def formula(content: str, options: dict) -> str:
    r"""\(…\) or \[…\]."""
    left, right = (r"\[", r"\]") if options.get("display_mode") else (r"\(", r"\)")
    return html.escape(f"{left}{content.strip()}{right}")


MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=formula, double_inline=True)


def shortened(text: str, words: int = MAX_WORDS) -> str:
    """The first paragraphs and sentences, as many as fit on a slide; formulas stay whole."""
    kept: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.lstrip().startswith(("```", "~~~", "    ", "$$")):
            break
        left = words - sum(len(part.split()) for part in kept)
        if len(paragraph.split()) <= left:
            kept.append(paragraph)
            continue
        if paragraph.lstrip().startswith(("|", "- ", "* ", "1.")):
            if not kept:
                kept.append("\n".join(paragraph.splitlines()[:8]))
            break
        sentences = re.split(r"(?<=[.?!:])\s+(?=[A-Z*`$“\"(])", paragraph)
        while sentences and len(" ".join(sentences).split()) > left:
            sentences.pop()
        if sentences or not kept:
            kept.append(" ".join(sentences) or paragraph)
        break
    return "\n\n".join(kept)


def slide(body: str, notes: str = "", kind: str = "") -> str:
    """One slide, with what only the speaker sees."""
    aside = f'<aside class="notes">{as_html(notes)}</aside>' if notes else ""
    return f'<section class="{kind}">{body}{aside}</section>'


def slides_of(section: Section) -> Iterator[str]:
    """The slides of a section."""
    heading = f"<h2>{in_line(section.heading)}</h2>"
    texts, figures = section.of("text"), section.of("figure")
    notes = "\n\n".join(texts)
    kept = shortened(texts[0]) if texts else ""
    shown = re.search(r"^\$\$.*?\$\$", notes, re.DOTALL | re.MULTILINE)
    lead = as_html(f"{kept}\n\n{shown[0]}" if shown and shown[0] not in kept else kept)
    first = section.parts[0][0] if section.parts else ""
    alone = bool(figures) and not section.of("predict") and len(lead) < 900
    if lead or first != "predict":
        yield slide(heading + lead + (figures[0] if alone else ""), notes, "with-figure" if alone else "")
    yield from later_slides(section, heading, skip=1 if alone else 0)


def later_slides(section: Section, heading: str, skip: int) -> Iterator[str]:
    """A slide for each prediction, and one for each figure, with the answer that follows it."""
    figures_seen, waiting = 0, False
    for index, (kind, content) in enumerate(section.parts):
        if kind == "predict":
            yield slide(f'<p class="sign">Predict</p>{as_html(content)}', answer_after(section, index), "predict")
            waiting = True
        elif kind == "figure":
            figures_seen += 1
            if figures_seen > skip:
                answer = answer_after(section, index) if waiting else ""
                body = heading + content + fragment(answer)
                alt = re.search(r'alt="([^"]*)"', content)
                yield slide(body, html.unescape(alt[1]) if alt else "", "with-figure")
                waiting = waiting and not answer
        elif waiting and (kind == "answer" or kind == "text" and not later(section, index)):  # no figure in between
            yield slide(heading + fragment(content), content)
            waiting = False


def until_next(section: Section, index: int) -> list[tuple[str, str]]:
    """The parts after one of them, up to the next prediction."""
    rest = section.parts[index + 1 :]
    kinds = [kind for kind, _ in rest]
    return rest[: kinds.index("predict")] if "predict" in kinds else rest


def answer_after(section: Section, index: int) -> str:
    """The answer that follows; where none is folded, the next text says it."""
    found = until_next(section, index)
    return next((content for name in ("answer", "text") for kind, content in found if kind == name), "")


def later(section: Section, index: int) -> bool:
    """Does a figure or a folded answer follow, before the next prediction?"""
    return any(kind in ("figure", "answer") for kind, _ in until_next(section, index))


def fragment(answer: str) -> str:
    """An answer that comes at a key press."""
    return f'<div class="fragment answer">{as_html(shortened(answer, 40))}</div>' if answer else ""


def deck(file: Path, figures: Path) -> str:
    """All slides of a lesson as an HTML page."""
    first, *rest = sections(file, figures)
    intro = "\n\n".join(first.of("text"))
    goal = re.search(r"\*\*Goal\.\*\*(.*?)(?=\n\s*\n)", intro, re.DOTALL)
    able = re.search(r"\*\*You will be able to\*\*\s*\n(.*)", intro, re.DOTALL)
    slides = [slide(f"<h1>{in_line(first.heading)}</h1>{as_html(goal[1].strip() if goal else '')}", intro, "title")]
    if able:
        slides.append(slide(f"<h2>You will be able to</h2>{as_html(able[1])}"))
    for section in rest:
        if section.heading not in LEFT_OUT:
            slides += slides_of(section)
    slides.append(slide(f"<h2>Three quick questions</h2>{quick_questions(rest)}"))
    return PAGE.format(title=html.escape(first.heading), slides="\n".join(slides), number=file.name[:2], stem=file.stem)


def quick_questions(found: list[Section]) -> str:
    """The questions at the end of a lesson, without their answers."""
    texts = [text for section in found if section.heading == "Three quick questions" for text in section.of("text")]
    asked = re.findall(r"\*\*\d\.\*\*\s*(.*?)(?=\n\s*\n|\Z)", "\n\n".join(texts), re.DOTALL)
    return "<ol>" + "".join(f"<li>{in_line(' '.join(text.split()))}</li>" for text in asked) + "</ol>"


def write(folder: Path, files: list[Path] | None = None) -> None:
    """Write the slides of all lessons, and reveal.js, to `slides/` in the folder of a site.

    Raises: FileNotFoundError if reveal.js is not installed.
    """
    if not REVEAL.is_dir():
        raise FileNotFoundError("reveal.js is not installed: cd web && npm ci --ignore-scripts")
    target = folder / "slides"
    (target / "reveal").mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(REVEAL / source, target / "reveal" / name)
    shutil.copyfile(ROOT / "docs" / "_static" / "slides.css", target / "slides.css")
    for file in files or notebooks.committed("notebooks"):
        (target / f"{file.name[:2]}.html").write_text(deck(file, folder / "figures"), encoding="utf-8")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – slides</title>
<link rel="stylesheet" href="reveal/reveal.css">
<link rel="stylesheet" href="slides.css">
</head>
<body>
<div class="reveal"><div class="slides">
{slides}
</div></div>
<a class="back" href="../notebooks/{stem}.html">Lesson {number}</a>
<script>
window.MathJax = {{ options: {{ enableMenu: false }} }};
</script>
<script src="../_static/mathjax/tex-svg.js" defer></script>
<script src="reveal/notes.js"></script>
<script src="reveal/reveal.js"></script>
<script>
Reveal.initialize({{ width: 1280, height: 720, margin: 0.03, hash: true, slideNumber: "c/t", center: false,
  transition: "none", pdfSeparateFragments: false, plugins: [RevealNotes] }});
</script>
</body>
</html>
"""
