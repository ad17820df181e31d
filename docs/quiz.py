"""The quiz bank for Moodle and Canvas: `python -m docs.quiz --out quiz`.

    quiz/moodle.xml      Moodle: Question bank, Import, "Moodle XML format"; a category per lesson
    quiz/gift.txt        the same as GIFT, which other systems read, too
    quiz/canvas.zip      Canvas: Settings, Import Course Content, "QTI .zip file"; a quiz per lesson

The source is docs/teacher/quiz.yaml. The same source gives the same bytes.
"""

import argparse
import hashlib
import html
import io
import random
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import yaml

from docs.links import ROOT

SOURCE = ROOT / "docs" / "teacher" / "quiz.yaml"
CONTENT_PACKAGE = "http://www.imsglobal.org/xsd/imsccv1p1/imscp_v1p1"
QTI = "http://www.imsglobal.org/xsd/ims_qtiasiv1p2"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Option:
    """An answer to choose: its text, whether it is right, and what a student who chose it is told."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A question with one right answer.

    Args:
        lesson: "05"; number: its place in the lesson, from 1.
        ask: the question.
        options: in an order that is the same each time, and is not always the right one first.
    """

    lesson: str
    number: int
    ask: str
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        """What a teacher sees in a list: "05.2"."""
        return f"{self.lesson}.{self.number}"

    @property
    def ident(self) -> str:
        """An id that changes only with the question's text."""
        return "q" + hashlib.sha256(f"{self.lesson} {self.ask}".encode()).hexdigest()[:16]


def read(source: Path = SOURCE) -> list[Question]:
    """All questions, in the order of the lessons. Raises ValueError where one is not complete."""
    questions = []
    for lesson, entries in yaml.safe_load(source.read_text(encoding="utf-8")).items():
        for number, entry in enumerate(entries, 1):
            if set(entry) != {"ask", "right", "because", "wrong"} or len(entry["wrong"]) < 2:
                raise ValueError(f"question {lesson}.{number} needs ask, right, because and at least two wrong answers")
            options = [Option(entry["right"], True, entry["because"])]
            options += [Option(text, False, why) for text, why in entry["wrong"]]
            random.Random(entry["ask"]).shuffle(options)
            questions.append(Question(lesson, number, entry["ask"], tuple(options)))
    return questions


def titles() -> dict[str, str]:
    """Number of a lesson -> its title, from its source."""
    known = {}
    for file in sorted((ROOT / "sources" / "lessons").glob("[0-9][0-9]_*.py")):
        found = re.search(r"^# # (\d\d) · (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, f"{file.name} has no title"
        known[found[1]] = found[2]
    return known


# ── Moodle ───────────────────────────────────────────────────────────────────────────────────────────


def moodle(questions: list[Question]) -> str:
    """Moodle XML."""
    out, last = [HEAD + "<quiz>"], ""
    for question in questions:
        if question.lesson != last:
            last = question.lesson
            category = escape(f"$course$/top/tinyldm/{last} {titles()[last]}".replace(": ", ", "))
            out.append(f'<question type="category"><category><text>{category}</text></category></question>')
        out += [
            '<question type="multichoice">',
            f"<name><text>{question.name} {escape(question.ask[:60])}</text></name>",
            f'<questiontext format="html"><text>{in_html(question.ask)}</text></questiontext>',
            "<defaultgrade>1</defaultgrade><penalty>0.3333333</penalty><hidden>0</hidden>",
            "<single>true</single><shuffleanswers>true</shuffleanswers><answernumbering>abc</answernumbering>",
            *(
                f'<answer fraction="{100 if option.right else 0}" format="html"><text>{in_html(option.text)}</text>'
                f'<feedback format="html"><text>{in_html(option.why)}</text></feedback></answer>'
                for option in question.options
            ),
            "</question>",
        ]
    return "\n".join([*out, "</quiz>", ""])


def in_html(text: str) -> str:
    """Plain text as HTML within XML."""
    return escape(f"<p>{html.escape(text, quote=False)}</p>")


def gift(questions: list[Question]) -> str:
    """GIFT: ::name:: question { =right ~wrong }, each with its feedback behind a #."""
    out, last = [], ""
    for question in questions:
        if question.lesson != last:
            last = question.lesson
            out.append(f"$CATEGORY: tinyldm/{last}\n")
        options = "\n".join(
            f"  {'=' if option.right else '~'}{in_gift(option.text)}#{in_gift(option.why)}"
            for option in question.options
        )
        out.append(f"::{question.name}::{in_gift(question.ask)} {{\n{options}\n}}\n")
    return "\n".join(out)


def in_gift(text: str) -> str:
    """Text in which nothing is a sign of GIFT, nor of HTML, which Moodle reads in it."""
    return re.sub(r"([\\~=#{}:])", r"\\\1", html.escape(text, quote=False))


# ── Canvas ───────────────────────────────────────────────────────────────────────────────────────────


def canvas(questions: list[Question]) -> bytes:
    """A zip of QTI 1.2: one quiz a lesson, and the manifest that lists them."""
    lessons = sorted({question.lesson for question in questions})
    files = {
        f"lesson_{lesson}/lesson_{lesson}.xml": assessment(lesson, [q for q in questions if q.lesson == lesson])
        for lesson in lessons
    }
    resources = "\n".join(
        f'<resource identifier="lesson_{lesson}" type="imsqti_xmlv1p2">'
        f'<file href="lesson_{lesson}/lesson_{lesson}.xml"/></resource>'
        for lesson in lessons
    )
    manifest = (
        f'{HEAD}<manifest identifier="tinyldm" xmlns="{CONTENT_PACKAGE}">\n'
        "<metadata><schema>IMS Content</schema><schemaversion>1.1.3</schemaversion></metadata>\n"
        f"<organizations/>\n<resources>\n{resources}\n</resources>\n</manifest>\n"
    )
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"imsmanifest.xml": manifest, **files}.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return memory.getvalue()


def assessment(lesson: str, questions: list[Question]) -> str:
    """One quiz as QTI 1.2."""
    title = escape(f"{lesson} · {titles()[lesson]}")
    items = "\n".join(item(question) for question in questions)
    return (
        f'{HEAD}<questestinterop xmlns="{QTI}">\n<assessment ident="tinyldm_{lesson}" title="{title}">\n'
        f'<section ident="root_section">\n{items}\n</section>\n</assessment>\n</questestinterop>\n'
    )


def item(question: Question) -> str:
    """One question as QTI 1.2, with feedback for each option."""
    fields = {"question_type": "multiple_choice_question", "points_possible": "1"}
    metadata = "".join(
        f"<qtimetadatafield><fieldlabel>{name}</fieldlabel><fieldentry>{value}</fieldentry></qtimetadatafield>"
        for name, value in fields.items()
    )
    idents = [f"{question.ident}_{index}" for index in range(len(question.options))]
    pairs = list(zip(idents, question.options, strict=True))
    right = next(ident for ident, option in pairs if option.right)
    labels = "\n".join(
        f'<response_label ident="{ident}"><material>{text_of(option.text)}</material></response_label>'
        for ident, option in pairs
    )
    shown = "\n".join(
        f'<respcondition continue="Yes"><conditionvar><varequal respident="response1">{ident}</varequal></conditionvar>'
        f'<displayfeedback feedbacktype="Response" linkrefid="{ident}_fb"/></respcondition>'
        for ident in idents
    )
    feedback = "\n".join(
        f'<itemfeedback ident="{ident}_fb"><flow_mat><material>{text_of(option.why)}</material></flow_mat>'
        "</itemfeedback>"
        for ident, option in pairs
    )
    return f"""\
<item ident="{question.ident}" title="{question.name}">
<itemmetadata><qtimetadata>{metadata}</qtimetadata></itemmetadata>
<presentation><material>{text_of(question.ask)}</material>
<response_lid ident="response1" rcardinality="Single"><render_choice>
{labels}
</render_choice></response_lid></presentation>
<resprocessing>
<outcomes><decvar maxvalue="100" minvalue="0" varname="SCORE" vartype="Decimal"/></outcomes>
{shown}
<respcondition continue="No"><conditionvar><varequal respident="response1">{right}</varequal></conditionvar>\
<setvar action="Set" varname="SCORE">100</setvar></respcondition>
</resprocessing>
{feedback}
</item>"""


def text_of(text: str) -> str:
    """Text as QTI's material."""
    return f'<mattext texttype="text/html">{in_html(text)}</mattext>'


def write(folder: Path, questions: list[Question]) -> list[Path]:
    """Write all formats to a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "moodle.xml": moodle(questions).encode(),
        "gift.txt": gift(questions).encode(),
        "canvas.zip": canvas(questions),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.quiz", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("quiz"), help="where to write the files (default: quiz)")
    parser.add_argument("--lesson", nargs="+", metavar="NN", help="only these lessons, such as 02 05")
    options = parser.parse_args(arguments)
    questions = [q for q in read() if not options.lesson or q.lesson in options.lesson]
    if not questions:
        parser.error(f"no questions for lesson {' '.join(options.lesson)}; there are 00 to {max(titles())}")
    for file in write(options.out, questions):
        print(f"{file}: {len(questions)} questions, {file.stat().st_size / 1e3:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
