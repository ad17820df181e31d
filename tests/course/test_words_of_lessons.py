"""No lesson uses a word of the glossary before the course has said what it means."""

import re
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install -e '.[docs]'")
from docs.glossary_links import ENTRIES, pattern, words_of  # noqa: E402

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "sources" / "lessons").glob("[0-9][0-9]_*.py"))
OVERVIEWS = ("00", "01")  # show everything before it is built, and name the lesson
BUILT_IN = {term: re.search(r"\(lessons? (\d\d)", meaning) for term, meaning in ENTRIES.items()}
TERMS = [term for term, lesson in BUILT_IN.items() if lesson and words_of(term)]


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a lesson's source, without alt texts and without the first cell, which says where it leads."""
    found = []
    for cell in re.split(r"^(?=# %%)", text, flags=re.MULTILINE)[2:]:
        head, _, body = cell.partition("\n")
        if head.startswith("# %% [markdown]") and not head.endswith(" alt"):
            found += re.split(r"\n\s*\n", re.sub(r"^# ?", "", body, flags=re.MULTILINE))
    return found


def is_introduced(term: str, paragraph: str) -> bool:
    """Is the word a heading, emphasised, in quotes, or followed by the lesson that explains it?"""
    word = pattern(words_of(term)).pattern
    marked = rf"^#.*{word}|\*[^*]*{word}[^*]*\*|[\"“][^\"”]*{word}[^\"”]*[\"”]|[Ll]essons?\s+\d\d"
    return bool(re.search(marked, paragraph, re.MULTILINE | re.DOTALL))


def uses_before_definition(lessons: dict[str, str], term: str, built_in: str) -> list[str]:
    """The first paragraph of the course that uses the term, if neither it nor an overview introduces it."""
    word = pattern(words_of(term))
    for number, text in lessons.items():
        used = [paragraph for paragraph in paragraphs(text) if word.search(paragraph)]
        if number in OVERVIEWS and number < built_in:
            if any(is_introduced(term, paragraph) for paragraph in used):
                return []
        elif used:
            return [] if number > built_in or is_introduced(term, used[0]) else [f"{number}: {used[0]}"]
    return []


@pytest.mark.parametrize("term", TERMS)
def test_a_word_is_explained_before_it_is_used(term):
    lessons = {file.stem[:2]: file.read_text(encoding="utf-8") for file in LESSONS}
    assert uses_before_definition(lessons, term, BUILT_IN[term][1]) == []


def test_the_test_sees_a_word_that_comes_too_early():
    cells = "# %% [markdown]\n# # 05\n\n# %%\nimport x\n\n# %% [markdown]\n# {}\n"
    early, there = cells.format("Then the inpainting begins."), cells.format("This is *inpainting*.")
    assert uses_before_definition({"05": early, "13": there}, "Inpainting", "13") == [
        "05: Then the inpainting begins.\n"
    ]
    assert (
        uses_before_definition({"05": early.replace("begins", "of lesson 13"), "13": there}, "Inpainting", "13") == []
    )
    assert uses_before_definition({"13": early}, "Inpainting", "13") != []
    assert uses_before_definition({"13": there}, "Inpainting", "13") == []
