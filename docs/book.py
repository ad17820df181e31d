"""The whole book as a PDF: the pages of the built site, one after another on a single page, printed by Chromium.

build/site/book.html    lessons, exercises, notation, glossary, errata, papers
build/site/tinyldm.pdf  what Chromium prints of it, with bookmarks
"""

import html
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag

from docs.links import ROOT

PARTS = {
    "Lessons": "notebooks/[0-9]*.html",
    "Exercises": "exercises/[0-9]*.html",
    "Look up": "notebooks/notation.html docs/glossary.html docs/errata.html docs/papers.html",
}
LEFT_OUT = ".headerlink, .page-bar, details.live, script, .copybtn, svg.tall"


def pages(site: Path) -> dict[str, list[str]]:
    """Title of a part -> its pages, in order."""
    return {
        title: [
            file.relative_to(site).as_posix() for pattern in patterns.split() for file in sorted(site.glob(pattern))
        ]
        for title, patterns in PARTS.items()
    }


def anchor(page: str, place: str = "") -> str:
    """The id in the book of a page, or of a place on it."""
    return re.sub(r"\W", "-", page.removesuffix(".html")) + (f"--{place}" if place else "")


def chapter(site: Path, page: str, inside: set[str]) -> Tag:
    """The article of a page, with ids and links that are right in the book."""
    article = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser").select_one("article.bd-article")
    if article is None:
        raise ValueError(f"{page} holds no article; expected a page that Sphinx wrote")
    for part in article.select(LEFT_OUT):
        part.decompose()
    for part in article.select("[id]"):
        part["id"] = anchor(page, str(part["id"]))
    for details in article.select("details"):
        details["open"] = ""
    for image in article.select("img"):
        image["src"] = resolved(page, str(image["src"]))
        del image["loading"]
    for link in article.select("a[href]"):
        lead(link, page, inside)
    article["id"] = anchor(page)
    return article


def lead(link: Tag, page: str, inside: set[str]) -> None:
    """Let a link lead to its place in the book or to the web; without a place in the book it is text."""
    parts = urlsplit(str(link["href"]))
    if parts.scheme:
        return
    target = resolved(page, parts.path) if parts.path else page
    if target in inside:
        link["href"] = "#" + anchor(target, parts.fragment)
    else:
        link.unwrap()


def resolved(page: str, path: str) -> str:
    """A path on a page, seen from the root of the site."""
    return os.path.normpath(Path(page).parent / path)


def assemble(site: Path, version: str) -> str:
    """The book as one HTML page."""
    parts = pages(site)
    inside = {page for names in parts.values() for page in names}
    body, contents = [], []
    for title, names in parts.items():
        chapters = [chapter(site, page, inside) for page in names]
        heads = [(anchor(page), words(article)) for page, article in zip(names, chapters, strict=True)]
        lines = "".join(f'<li><a href="#{place}">{html.escape(head)}</a></li>' for place, head in heads)
        contents.append(f"<h2>{title}</h2><ul>{lines}</ul>")
        body += [str(article) for article in chapters]
    return BOOK.format(version=version, contents="\n".join(contents), body="\n".join(body))


def words(article: Tag) -> str:
    """The title of a chapter."""
    heading = article.select_one("h1")
    return " ".join(heading.get_text().split()) if heading else ""


def write(site: Path, version: str) -> Path:
    """Write the book to the folder of a built site; return the PDF.

    Raises: CalledProcessError if Node or Chromium cannot print it.
    """
    book, pdf = site / "book.html", site / "tinyldm.pdf"
    book.write_text(assemble(site, version), encoding="utf-8")
    subprocess.run(["node", "print.mjs", str(book), str(pdf)], check=True, cwd=ROOT / "web")
    return pdf


BOOK = """<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<title>tinyldm: latent diffusion, built by you</title>
<link rel="stylesheet" href="_static/pygments.css">
<link rel="stylesheet" href="_static/basic.css">
<link rel="stylesheet" href="_static/site.css">
<link rel="stylesheet" href="_static/book.css">
<script>
window.MathJax = {{ options: {{
  enableMenu: false, enableAssistiveMml: false,
  ignoreHtmlClass: "tex2jax_ignore|mathjax_ignore",
  processHtmlClass: "tex2jax_process|mathjax_process|math|output_area",
}} }};
</script>
<script src="_static/mathjax/tex-svg.js" defer></script>
<script src="_static/site.js" defer></script>
</head>
<body class="bd-content book">
<header><h1>Latent diffusion, built by you</h1>
<p>tinyldm {version}. Lessons, exercises, and what to look up.</p>
<p>The tinyldm authors. MIT licence.</p></header>
<nav><h1>Contents</h1>
{contents}</nav>
{body}
</body>
</html>
"""
