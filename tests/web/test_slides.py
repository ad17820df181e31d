"""The slides of a lesson: figures, at least two moments to predict, the answers behind a key, nothing from outside."""

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("mdit_py_plugins", reason="the site's tools are not installed: pip install -e '.[docs]'")

from docs import notebooks, slides  # noqa: E402

LESSONS = notebooks.committed("notebooks")


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> dict[str, tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("slides")
    return {file.name[:2]: (slides.deck(file, folder / "figures"), folder) for file in LESSONS}


@pytest.mark.parametrize("number", [file.name[:2] for file in LESSONS])
def test_a_deck_has_figures_and_two_moments_to_predict(decks, number):
    text, folder = decks[number]
    assert text.count("<section") == text.count("</section>") > 15
    assert text.count('<section class="predict"') >= 2
    figures = re.findall(r'<img class="figure[^>]*src="\.\./figures/([^"]+)"', text)
    assert len(figures) >= 5 and all((folder / "figures" / name).is_file() for name in figures)
    assert text.count('<img class="figure') == len(re.findall(r'<img class="figure[^>]*alt="[^"]+"', text))
    assert "fragment answer" in text and 'class="notes"' in text
    assert "Three quick questions" in text and text.count("<li>") >= 5
    assert not re.search(r'(?:src|href)="(?:https?:)?//', re.sub(r"<aside.*?</aside>", "", text, flags=re.DOTALL))
    assert "NBVAL" not in text and "<details" not in text


def test_reveal_comes_with_the_slides(tmp_path):
    if not slides.REVEAL.is_dir():
        pytest.skip("reveal.js is not installed: cd web && npm ci --ignore-scripts")
    slides.write(tmp_path, LESSONS[5:6])
    text = (tmp_path / "slides" / "05.html").read_text(encoding="utf-8")
    for name in re.findall(r'(?:src|href)="(reveal/[^"]+|slides\.css)"', text):
        assert (tmp_path / "slides" / name).is_file()
    for name in ("reveal/reveal.css", "slides.css"):
        assert not re.search(r"@import|url\(\s*['\"]?https?:", (tmp_path / "slides" / name).read_text(encoding="utf-8"))


def test_a_prediction_is_followed_by_its_figure_and_its_answer():
    parts = [
        ("text", "Some words."),
        ("predict", "How many?"),
        ("figure", '<img class="figure" alt="x">'),
        ("answer", "Two."),
    ]
    lead, predict, shown = slides.slides_of(slides.Section("A heading", parts))
    assert "Some words." in lead and "<img" not in lead
    assert 'class="predict"' in predict and "How many?" in predict
    assert "<img" in shown and '<div class="fragment answer"><p>Two.</p>' in shown
    assert "Two." in predict.partition('class="notes"')[2]  # the speaker knows it


def test_long_text_is_cut_between_sentences_and_formulas_stay_whole():
    long = "One sentence of five words. " * 20
    assert slides.shortened(long, 12) == "One sentence of five words. One sentence of five words."
    assert slides.shortened("A short one.\n\nAnother.", 12) == "A short one.\n\nAnother."
    assert slides.as_html("$a_b$ and\n\n$$c*d*e$$").count("\\") == 4


@pytest.mark.slow
def test_every_slide_of_every_deck_holds_what_is_on_it(tmp_path, run_node):
    """In Chromium, at 1280 × 720: nothing sticks out or is cut, and no figure is squeezed."""
    mathjax = slides.ROOT / "web" / "node_modules" / "mathjax" / "es5" / "tex-svg.js"
    if not slides.REVEAL.is_dir() or not mathjax.is_file() or shutil.which("chromium") is None:
        pytest.skip("reveal.js, MathJax or chromium is not installed: cd web && npm ci --ignore-scripts")
    slides.write(tmp_path)
    (tmp_path / "_static" / "mathjax").mkdir(parents=True)
    shutil.copyfile(mathjax, tmp_path / "_static" / "mathjax" / mathjax.name)
    run_node("slides.test.mjs", tmp_path, tmp_path)


def test_a_formula_follows_the_sentence_that_ends_in_a_colon():
    text = "The state is a bell. With this share:\n\n$$a = b$$\n\nMore words follow here."
    (shown,) = slides.slides_of(slides.Section("A heading", [("text", text)]))
    assert shown.partition('<aside class="notes">')[0].endswith("With this share:</p>\n" + slides.as_html("$$a = b$$"))
