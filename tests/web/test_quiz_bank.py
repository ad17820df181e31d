"""The quiz bank: complete, and well-formed in each format that it is exported to."""

import html
import io
import re
import xml.etree.ElementTree as ET
import zipfile

import pytest

from docs import quiz

IN_QTI = {"q": quiz.QTI}


@pytest.fixture(scope="module")
def questions() -> list[quiz.Question]:
    return quiz.read()


def test_each_lesson_has_five_questions_or_more(questions):
    lessons = [question.lesson for question in questions]
    assert set(lessons) == set(quiz.titles())
    assert {lesson for lesson in lessons if lessons.count(lesson) < 5} == set()


def test_each_question_is_complete(questions):
    for question in questions:
        texts = [option.text for option in question.options]
        assert sum(option.right for option in question.options) == 1 and len(texts) >= 3
        assert len(set(texts)) == len(texts), question.name
        assert all(len(option.why) > 10 for option in question.options), question.name
    assert len({question.ident for question in questions}) == len(questions)


def test_the_right_answer_is_in_every_place(questions):
    """Whoever always marks the first is right by chance only."""
    places = [[option.right for option in question.options].index(True) for question in questions]
    assert all(places.count(place) > len(places) / 8 for place in range(4))


def test_a_question_that_lacks_something_is_refused(tmp_path):
    file = tmp_path / "quiz.yaml"
    file.write_text('"00":\n- ask: "What?"\n  right: "This"\n  wrong: [["That", "No."]]\n')
    with pytest.raises(ValueError, match="00.1 needs ask"):
        quiz.read(file)


def test_moodle_reads_back_every_question(questions):
    root = ET.fromstring(quiz.moodle(questions))
    found = [node for node in root if node.get("type") == "multichoice"]
    assert len(found) == len(questions) and len(root) == len(found) + len({q.lesson for q in questions})
    for question, node in zip(questions, found):
        assert question.ask in unescaped(node.findtext("questiontext/text"))
        answers = [(unescaped(a.findtext("text")), a.get("fraction")) for a in node.findall("answer")]
        assert answers == [(option.text, "100" if option.right else "0") for option in question.options]
        assert all(a.findtext("feedback/text") for a in node.findall("answer"))


def unescaped(text: str) -> str:
    return re.sub(r"</?p>", "", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_gift_reads_back_every_question(questions):
    read = [gift_question(entry) for entry in re.split(r"\n\s*\n", quiz.gift(questions).strip())]
    assert {entry for entry in read if isinstance(entry, str)} == {
        f"tinyldm/{question.lesson}" for question in questions
    }
    found = [entry for entry in read if not isinstance(entry, str)]
    assert found == [
        (question.name, question.ask, [(float(option.right), option.text, option.why) for option in question.options])
        for question in questions
    ]


def gift_question(text: str):
    """An entry as Moodle's importer reads it: a category, or (name, question, [(share of the mark, answer, feedback)]).

    Source: `readquestion` in Moodle's question/format/gift/format.php.
    """
    signs = {f"\\{sign}": f"&&{ord(sign):03d};" for sign in ":#={}~"}
    text = text.replace("\\\\", "&&092;")
    for sign, mark in signs.items():
        text = text.replace(sign, mark)
    text = text.replace("&&092;", "\\").strip()

    def plain(part: str) -> str:
        for sign, mark in signs.items():
            part = part.replace(mark, sign[1])
        return html.unescape(part.strip())  # what a browser makes of it

    if text.startswith("$CATEGORY:"):
        return text.removeprefix("$CATEGORY:").strip()
    assert text.startswith("::") and text.endswith("}") and text.count("{") == text.count("}") == 1
    name, text = text[2:].split("::", 1)
    ask, body = text[:-1].split("{")
    assert not ask.strip().startswith("[") and not body.strip().startswith("#")  # a format; a question for a number
    answers = [part.strip() for part in body.strip().replace("=", "~=").split("~") if part.strip()]
    read = []
    for answer in answers:
        assert not re.match(r"%-?\d", answer)  # a share of the mark
        words, _, feedback = answer.removeprefix("=").partition("#")
        read.append((float(answer.startswith("=")), plain(words), plain(feedback)))
    return plain(name), plain(ask), read


def test_gift_escapes_what_moodle_would_read_as_a_sign():
    text = "a: b = {c} ~ d # e \\ <|end|> & f"
    option = quiz.Option(text, True, text)
    question = quiz.Question("05", 1, text, (option, quiz.Option("no", False, "because")))
    assert gift_question(quiz.gift([question]).split("\n\n")[1]) == (
        "05.1", text, [(1.0, text, text), (0.0, "no", "because")]
    )  # fmt: skip


# What may stand in what, from the definition of QTI 1.2 (ims_qtiasiv1p2), as far as this export uses it.
CONTENT = {
    "questestinterop": "assessment ",
    "assessment": "(qtimetadata )*(section )+",
    "section": "(qtimetadata )*(item )*",
    "item": "(itemmetadata )?(presentation )?(resprocessing )*(itemfeedback )*",
    "itemmetadata": "(qtimetadata )*",
    "qtimetadata": "(qtimetadatafield )+",
    "qtimetadatafield": "fieldlabel fieldentry ",
    "presentation": "(material |response_lid )+",
    "response_lid": "(material )?render_choice (material )?",
    "render_choice": "(material |response_label )*",
    "response_label": "(material |flow_mat )*",
    "material": "(mattext )+",
    "resprocessing": "outcomes (respcondition )+",
    "outcomes": "(decvar )+",
    "respcondition": "conditionvar (setvar )*(displayfeedback )*",
    "conditionvar": "(varequal |other )+",
    "itemfeedback": "(flow_mat |material )+",
    "flow_mat": "(flow_mat |material )+",
}
ATTRIBUTES = {
    "assessment": {"ident", "title"}, "section": {"ident"}, "item": {"ident", "title"}, "response_label": {"ident"},
    "response_lid": {"ident", "rcardinality"}, "itemfeedback": {"ident"}, "varequal": {"respident"},
    "setvar": {"action", "varname"}, "displayfeedback": {"feedbacktype", "linkrefid"}, "respcondition": {"continue"},
    "decvar": {"maxvalue", "minvalue", "varname", "vartype"}, "mattext": {"texttype"},
}  # fmt: skip


def test_each_quiz_for_canvas_follows_the_definition_of_qti(questions):
    with zipfile.ZipFile(io.BytesIO(quiz.canvas(questions))) as archive:
        manifest = ET.fromstring(archive.read("imsmanifest.xml"))
        named = [node.get("href") for node in manifest.iterfind(f".//{{{quiz.CONTENT_PACKAGE}}}file")]
        assert sorted(named + ["imsmanifest.xml"]) == sorted(archive.namelist())
        assert {node.get("type") for node in manifest.iterfind(f".//{{{quiz.CONTENT_PACKAGE}}}resource")} == {
            "imsqti_xmlv1p2"
        }
        idents = []
        for name in named:
            for node in ET.fromstring(archive.read(name)).iter():
                kind = node.tag.removeprefix(f"{{{quiz.QTI}}}")
                inside = "".join(child.tag.removeprefix(f"{{{quiz.QTI}}}") + " " for child in node)
                assert re.fullmatch(CONTENT.get(kind, ""), inside), f"{name}: {inside} in {kind}"
                assert set(node.attrib) == ATTRIBUTES.get(kind, set()), f"{name}: {kind} has {node.attrib}"
                idents += [node.get("ident")] if kind in ("item", "response_label", "assessment") else []
    assert len(idents) == len(set(idents))


def test_canvas_reads_back_every_question(questions):
    archive = zipfile.ZipFile(io.BytesIO(quiz.canvas(questions)))
    assert archive.testzip() is None
    manifest = ET.fromstring(archive.read("imsmanifest.xml"))
    files = [node.get("href") for node in manifest.iter(f"{{{quiz.CONTENT_PACKAGE}}}file")]
    assert sorted([*files, "imsmanifest.xml"]) == sorted(archive.namelist()) and len(files) == len(
        {q.lesson for q in questions}
    )
    items = [item for file in files for item in ET.fromstring(archive.read(file)).iterfind(".//q:item", IN_QTI)]
    assert len(items) == len(questions)
    for question, item in zip(questions, items):
        idents = [label.get("ident") for label in item.iterfind(".//q:response_label", IN_QTI)]
        (scored,) = (
            node for node in item.iterfind(".//q:respcondition", IN_QTI) if node.find("q:setvar", IN_QTI) is not None
        )
        right = scored.findtext(".//q:varequal", None, IN_QTI)
        assert question.options[idents.index(right)].right
        told = {node.get("ident") for node in item.iterfind("q:itemfeedback", IN_QTI)}
        linked = {node.get("linkrefid") for node in item.iterfind(".//q:displayfeedback", IN_QTI)}
        assert told == linked == {f"{ident}_fb" for ident in idents}


def test_the_command_writes_three_files_and_the_same_bytes_each_time(tmp_path, capsys):
    for folder in ("one", "two"):
        assert quiz.main(["--out", str(tmp_path / folder), "--lesson", "02", "03"]) == 0
    assert "10 questions" in capsys.readouterr().out
    for name in ("moodle.xml", "gift.txt", "canvas.zip"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
