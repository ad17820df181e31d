"""Docstrings of the package as reStructuredText, and the pages of the API reference.

The docstrings are plain text with Unicode formulas, `code` in single backticks, sections such as "Args:", and indented
diagrams. What reStructuredText would read as markup is escaped.
"""

import dataclasses
import inspect
import re
from pathlib import Path

from docs.links import ROOT

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Warns|Source|Note):\s*(.*)")
ARGUMENT = re.compile(r"((?:\*{0,2}\w+)(?:, \*{0,2}\w+)*):\s+(.*)")
MARKED = re.compile(r"(`[^`]+`|\*\*(?=\S)[^*]+(?<=\S)\*\*|(?<![\w*])\*(?=[^\s*])[^*\n]+(?<=\S)\*(?![\w*]))")
ROOMS = {
    "The core, in reading order": None,
    "Files and formats": "formats",
    "History": "history",
    "What came after": "beyond",
    "Data": "data",
    "Training": "training",
    "Evaluation": "evaluation",
    "The live page": "web",
}
OTHERS = ("tinyldm.trace", "tinyldm.machine", "tinyldm.threads")
COURSE = (
    "tinyldm_course.checking",
    "tinyldm_course.checks.exercise",
    "tinyldm_course.exercises",
    "tinyldm_course.lessons.plots",
    "tinyldm_course.lessons.widgets",
    "tinyldm_course.lessons.helpers",
    "tinyldm_course.lessons.model_map",
    "tinyldm_course.lessons.clinic",
)


def escaped(text: str) -> str:
    """A line of prose, with its `code`, **bold** and *emphasis* kept and all else taken literally."""
    return "".join(mark(part) if MARKED.fullmatch(part) else literal(part) for part in MARKED.split(text))


def mark(part: str) -> str:
    """`code` becomes ``code``; emphasis must not touch a letter, which "\\ " takes care of."""
    if part.startswith("`"):
        return f"\\ ``{part[1:-1]}``\\ "
    stars = "**" if part.startswith("**") else "*"
    return f"\\ {stars}{literal(part.strip('*'))}{stars}\\ "


def literal(text: str) -> str:
    """Text in which no character is markup."""
    return re.sub(r"([\\*|`_<>])", r"\\\1", text)


def converted(lines: list[str]) -> list[str]:
    """A docstring's lines, dedented, as reStructuredText."""
    out: list[str] = []
    section = False
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        heading = SECTION.fullmatch(text) if indent == 0 else None
        if not text:
            out.append("")
        elif heading:
            section = True
            out += ["", f"**{heading[1]}.** {described(heading[2])}".rstrip()]
        elif section and indent == 4:
            argument = ARGUMENT.fullmatch(text)
            out += ["", f"* {described(text)}"] if argument or not continues(out) else [f"  {escaped(text)}"]
        elif section and indent > 4:
            out.append(f"  {escaped(text)}")
        elif indent >= 4:  # a diagram, an equation or an example
            if not (out and out[-1].startswith("   ")) and not (len(out) > 1 and out[-2].startswith("   ")):
                out += ["", "::", ""]
            out.append("   " + line[4:] if line.startswith("    ") else "   " + line)
        else:
            if out and (out[-1].startswith("   ") or section and continues(out) and not text.startswith("* ")):
                out.append("")
            out.append(bullet(out, line, text))
    return [*out, ""]


def continues(out: list[str]) -> bool:
    """Does the next line of a section belong to the item above it?"""
    return bool(out) and out[-1].startswith(("* ", "  "))


def bullet(out: list[str], line: str, text: str) -> str:
    """A line of prose or of a list of one level."""
    if text.startswith("* "):
        if out and out[-1] and not out[-1].startswith(("* ", "  ")):
            out.append("")
        return "* " + escaped(text[2:])
    return line[: len(line) - len(line.lstrip())] + escaped(text)


def described(text: str) -> str:
    """The start of a section's item: the arguments' names in bold, then what they are."""
    argument = ARGUMENT.fullmatch(text)
    return f"**{literal(argument[1])}**: {escaped(argument[2])}" if argument else escaped(text)


def process(app, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Sphinx's event `autodoc-process-docstring`: change the lines in place."""
    lines[:] = converted(lines) + (fields_of(thing) if what == "class" else [])


def fields_of(known: object) -> list[str]:
    """The fields of a dataclass that have a comment behind them, which says what they are."""
    if not dataclasses.is_dataclass(known):
        return []
    found = re.findall(r"^    (\w+): [^#\n]*  # (.*)$", inspect.getsource(known), re.MULTILINE)
    names = {field.name for field in dataclasses.fields(known)}
    rows = [f"* **{literal(name)}**: {escaped(comment)}" for name, comment in found if name in names]
    return ["**Fields.**", "", *rows, ""] if rows else []


# ── The pages ────────────────────────────────────────────────────────────────────────────────────────


def modules() -> dict[str, list[str]]:
    """Title of a group -> names of its modules, in reading order."""
    import tinyldm

    groups = {}
    for title, room in ROOMS.items():
        if room is None:
            groups[title] = [f"tinyldm.{name}" for name in tinyldm.CORE_FILES]
        else:
            files = sorted((ROOT / "tinyldm" / room).glob("*.py"))
            groups[title] = [module_name(file) for file in files]
    return groups | {"Looking inside, and the machine": list(OTHERS), "The course": list(COURSE)}


def module_name(file: Path) -> str:
    """tinyldm/vae.py -> tinyldm.vae; a package's __init__.py -> the package."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def page(module: str) -> str:
    """The page of one module."""
    title = f"``{module}``"
    return f"{title}\n{'=' * len(title)}\n\n.. automodule:: {module}\n   :members:\n   :undoc-members:\n"


def index(groups: dict[str, list[str]]) -> str:
    """The page that lists all modules."""
    title = "API reference"
    text = [title, "=" * len(title), "", INTRODUCTION, ""]
    for group, names in groups.items():
        text += [group, "-" * len(group), "", ".. toctree::", "   :maxdepth: 1", "", *(f"   {n}" for n in names), ""]
    return "\n".join(text)


INTRODUCTION = """\
Every public name, from the docstrings. Shapes are in brackets: ``(B, C, H, W)`` is a batch of feature maps; the letters
are on the page of :doc:`notation <../notebooks/notation>`. **[source]** beside a name opens its lines. What you need
most is in ``tinyldm`` itself: ``from tinyldm import LatentDiffusion``."""


def files_with_pages(groups: dict[str, list[str]]) -> dict[str, str]:
    """Path of a file of the repository -> the source of its page, seen from the site's root."""
    pages = {}
    for name in (name for names in groups.values() for name in names):
        path = ROOT / Path(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        pages[file.relative_to(ROOT).as_posix()] = f"api/{name}.rst"
        if path.is_dir():
            pages[path.relative_to(ROOT).as_posix()] = f"api/{name}.rst"
    return pages
