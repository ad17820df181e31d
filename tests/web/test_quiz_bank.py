"""The quiz bank: complete, and well-formed in each format that it is exported to."""

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
    text = quiz.gift(questions)
    entries = re.findall(r"^::(\d\d\.\d+)::(.*?)(?<!\\)\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert [name for name, _, _ in entries] == [question.name for question in questions]
    for question, (_, ask, body) in zip(questions, entries):
        assert re.sub(r"\\(.)", r"\1", ask).strip() == question.ask
        options = re.findall(r"^  ([=~])(.*?)(?<!\\)#(.*)$", body, re.MULTILINE)
        assert [(sign == "=", re.sub(r"\\(.)", r"\1", option)) for sign, option, _ in options] == [
            (option.right, option.text) for option in question.options
        ]


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
