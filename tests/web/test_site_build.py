"""The site: it builds without a warning, its links lead somewhere, and no page loads anything from outside."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install -e '.[docs]'")
if not (Path(__file__).parents[2] / "web" / "node_modules" / "mathjax").is_dir():
    pytest.skip("MathJax is not installed: cd web && npm ci --ignore-scripts", allow_module_level=True)

from docs import address, book, build, docstrings, glossary_links, guide, model_map, notebooks  # noqa: E402
from docs.links import PAPERS, ROOT, Book  # noqa: E402

BOOK = Book(
    {"02": "02.ipynb", "03": "03.ipynb"}, {"05": "../exercises/05_x.ipynb"}, {"tinyldm/vae.py": "../api/vae.rst"}
)


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, file: Path):
        super().__init__()
        self.links, self.loaded, self.ids, self.without_alt = [], [], set(), []
        self.text = file.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.ids |= {known.get("id"), known.get("name")}
        if tag == "a" and known.get("href"):
            self.links.append(known["href"])
        if tag in ("script", "img", "iframe", "source", "video") and known.get("src"):
            self.loaded.append(known["src"])
        if tag == "link" and known.get("rel") not in ("canonical", "prev", "next", "index", "search"):
            self.loaded.append(known["href"])
        if tag == "img" and not known.get("alt"):
            self.without_alt.append(known.get("src"))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The site without the live page. Sphinx runs with -W: a warning is an error."""
    folder = tmp_path_factory.mktemp("built") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "docs.build", "--without-live", "--out", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


@pytest.fixture(scope="module")
def pages(built) -> dict[Path, Page]:
    return {file: Page(file) for file in sorted(built.rglob("*.html")) if "_static" not in file.parts}


@pytest.mark.slow
def test_every_lesson_exercise_and_module_has_a_page(built):
    for kind in ("notebooks", "exercises"):
        for file in notebooks.committed(kind):
            assert (built / kind / f"{file.stem}.html").is_file()
            assert (built / "download" / kind / file.name).read_bytes() == file.read_bytes()
    for name in (name for names in docstrings.modules().values() for name in names):
        assert (built / "api" / f"{name}.html").is_file()


@pytest.mark.slow
def test_links_within_the_site_lead_somewhere(built, pages):
    dead = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                dead.append(f"{file.relative_to(built)}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                dead.append(f"{file.relative_to(built)}: {link} (no such place in it)")
    assert dead == []


@pytest.mark.slow
def test_nothing_is_loaded_from_outside(built, pages):
    for file, page in pages.items():
        for source in page.loaded:
            assert not urlsplit(source).netloc, f"{file.relative_to(built)} loads {source}"
            if not source.startswith("data:"):
                assert (file.parent / unquote(urlsplit(source).path)).is_file(), f"{file.relative_to(built)}: {source}"
    for file in built.rglob("*.css"):
        outside = re.findall(r"""(?:@import|url\()\s*['"]?(?:https?:)?//[^'")]+""", file.read_text(encoding="utf-8"))
        assert outside == [], file


@pytest.mark.slow
def test_what_belongs_to_a_notebook_alone_is_hidden(built, pages):
    for file, page in pages.items():
        if file.parent.name == "notebooks":
            assert "NBVAL" not in page.text and "importlib.util" not in page.text and "data:image/png" not in page.text
            assert page.without_alt == [], f"{file.name}: a picture without a description"


@pytest.mark.slow
def test_no_button_needs_an_address_that_is_not_set(pages):
    assert address.configured() is None, "the address is set: this test can go, the next one stays"
    for file, page in pages.items():
        outside = [link for link in page.links if re.search(r"OWNER|colab\.research|mybinder|/blob/", link)]
        assert outside == [], file


@pytest.mark.slow
def test_pages_in_a_browser(built, run_node):
    """On a phone and a desk, light and dark: no error, no request to the outside, no serious finding of axe."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    run_node("docs.test.mjs", built, built)


@pytest.mark.slow
def test_a_book_of_one_lesson_is_printed(built, tmp_path):
    """The whole book takes a minute of a processor."""
    if shutil.which("chromium") is None or shutil.which("node") is None:
        pytest.skip("chromium or node is not installed")
    for name in ("_static", "figures"):
        (tmp_path / name).symlink_to(built / name)
    for name in ("notebooks/05_autoencoder.html", "docs/glossary.html"):
        (tmp_path / name).parent.mkdir()
        shutil.copyfile(built / name, tmp_path / name)
    printed = book.write(tmp_path, "1.0").read_bytes()
    assert printed.startswith(b"%PDF-") and len(re.findall(rb"/Type\s*/Page\b", printed)) > 15


@pytest.mark.slow
def test_files_for_machines(built):
    assert (built / "robots.txt").read_text() == "User-agent: *\nAllow: /\n"
    assert not (built / "sitemap.xml").exists()  # it needs whole addresses
    text = (built / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# tinyldm\n\n> ")
    listed = re.findall(r"\]\(([^)]+)\)", text)
    assert len(listed) > 100 and all((built / page).is_file() for page in listed)


# ── Parts, without a build ───────────────────────────────────────────────────────────────────────────


def test_an_address_makes_every_button():
    known = address.parsed("https://github.com/Ada/ldm-course.git")
    assert known.site == "https://ada.github.io/ldm-course/"
    assert known.colab("notebooks/02.ipynb").endswith("/github/Ada/ldm-course/blob/main/notebooks/02.ipynb")
    assert known.binder("notebooks/02.ipynb").endswith("/gh/Ada/ldm-course/main?labpath=notebooks%2F02.ipynb")
    assert address.parsed("https://github.com/OWNER/tinyldm") is None
    with pytest.raises(ValueError, match="expected https://github.com/OWNER/NAME"):
        address.parsed("https://example.org/tinyldm")
    file = notebooks.committed("notebooks")[2]
    with_address, without = (notebooks.Page(file, "notebooks", BOOK, a, True).bar() for a in (known, None))
    assert "Open in Colab" in with_address and "Open in Binder" in with_address and "Open in" not in without
    assert "Download notebook" in without


def test_with_an_address_there_is_a_sitemap(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "configured", lambda: address.Address("ada", "course"))
    (tmp_path / "index.html").write_text("<title>Start &#8212; tinyldm</title>")
    build.write_for_machines(tmp_path)
    assert "<loc>https://ada.github.io/course/index.html</loc>" in (tmp_path / "sitemap.xml").read_text()
    assert "Sitemap: https://ada.github.io/course/sitemap.xml" in (tmp_path / "robots.txt").read_text()
    assert "[Start](https://ada.github.io/course/index.html)" in (tmp_path / "llms.txt").read_text()


@pytest.mark.parametrize(
    "text, linked",
    [
        ("see lesson 02.", "see [lesson 02](02.ipynb)."),
        ("Lessons 02 and 03, not 04", "Lessons [02](02.ipynb) and [03](03.ipynb), not 04"),
        ("`tinyldm/vae.py` is", "[`tinyldm/vae.py`](../api/vae.rst) is"),
        ("`vae.py` and `none.py`", "[`vae.py`](../api/vae.rst) and `none.py`"),
        ("`../exercises/05_x.ipynb`: write", "[the exercises of this lesson](../exercises/05_x.ipynb): write"),
        ("(Vincent\n2011)", f"([Vincent\n2011]({PAPERS['Vincent 2011'][1]}))"),
        ("```\nlesson 02\n```", "```\nlesson 02\n```"),
        ("[lesson 02](x.md)", "[lesson 02](x.md)"),
        ("$x$ in lesson 02: $y$", "$x$ in [lesson 02](02.ipynb): $y$"),
        ("## Of lesson 02", "## Of lesson 02"),
    ],
)
def test_words_become_links(text, linked):
    assert BOOK.linked(text) == linked


def test_words_of_the_glossary_are_found_as_lessons_write_them():
    text = "Attention: the latents of Stable Diffusion; cross-attention, a CLIP, not clip; contextual; U-Nets"
    found = [
        (word[0], glossary_links.TERM_OF[glossary_links.known(word[1])]) for word in glossary_links.WORDS.finditer(text)
    ]
    assert found == [
        ("Attention", "Attention"), ("latents", "Latent"), ("cross-attention", "Cross-attention"), ("CLIP", "CLIP"),
        ("U-Nets", "U-Net"),
    ]  # fmt: skip
    assert set(glossary_links.SPELLED) <= set(glossary_links.ENTRIES) and len(glossary_links.ENTRIES) > 40


@pytest.mark.slow
def test_each_word_of_the_glossary_is_linked_once(built):
    for file in notebooks.committed("notebooks"):
        text = (built / "notebooks" / f"{file.stem}.html").read_text(encoding="utf-8")
        links = re.findall(r'<a class="reference internal" href="\.\./docs/glossary\.html#([^"]+)" title="[^"]+"', text)
        assert len(links) == len(set(links)) and len(links) >= 3, file.name


def test_both_maps_of_a_lesson_name_every_part():
    parts = model_map.parts_of('x = 1\nshow_model_map("U-Net", "sampler")')
    assert parts == ["U-Net", "sampler"] and model_map.parts_of("show(1)") is None
    for drawn in (model_map.wide(parts, "a map"), model_map.tall(parts, "a map")):
        named = set(re.findall(r"<text[^>]*>([^<]+)</text>", drawn))
        assert set(model_map.BOXES) | {"U-Net", "z0", "context", "z_t again, at a smaller t"} <= named
        assert set(re.findall(r'<text class="here"[^>]*>([^<]+)</text>', drawn)) == set(parts)


def test_a_time_plan_becomes_a_table():
    text = "# Guide\n\n## 03 · Title\n\n- **Plan, 30 min**: 10 this,\n  and that · 20 the rest\n- **Ask**: why?\n"
    page = guide.as_page(text)
    assert "| 03 | Title | 30 |" in page and "  | 10 | this, and that |\n  | 20 | the rest |" in page
    with pytest.raises(ValueError, match="are not 30 minutes"):
        guide.as_page(text.replace("20", "21"))


def test_the_book_has_its_own_anchors_and_no_link_out_of_it(tmp_path):
    (tmp_path / "notebooks").mkdir()
    page = '<article class="bd-article"><h1 id="x">{}<a class="headerlink" href="#x">#</a></h1>{}</article>'
    links = '<a href="01_b.html#x">b</a> <a href="../api/c.html">c</a> <a href="https://a.b/">w</a>'
    links += '<img src="../f.png" loading="lazy">'
    (tmp_path / "notebooks" / "00_a.html").write_text(page.format("A", links), encoding="utf-8")
    (tmp_path / "notebooks" / "01_b.html").write_text(page.format("B", "<details>d</details>"), encoding="utf-8")
    text = book.assemble(tmp_path, "1.0")
    assert 'id="notebooks-00_a--x"' in text and '<a href="#notebooks-01_b--x">b</a>' in text
    assert " c " in text and "api/c" not in text and 'href="https://a.b/"' in text and 'src="f.png"' in text
    assert (
        '<li><a href="#notebooks-01_b">B</a></li>' in text and '<details open="">' in text and "headerlink" not in text
    )


def test_a_prediction_becomes_a_box():
    text = "before\n\n> **Predict.** How\n> much?\n\nafter"
    assert notebooks.predictions(text) == "before\n\n:::{admonition} Predict\n:class: predict\nHow\nmuch?\n:::\n\nafter"


def test_docstrings_are_taken_literally():
    lines = "The *mean* of x_ and **y**: `a_b` * 2 | 3.\n\n    x ─► y\n\nArgs: n: how many.\nReturns: it.".split("\n")
    text = "\n".join(docstrings.converted(lines))
    assert "\\ *mean*\\ " in text and "x\\_" in text and "``a_b``" in text and "\\* 2 \\| 3" in text
    assert "::\n\n   x ─► y" in text and "**Args.** **n**: how many." in text and "**Returns.** it." in text


def test_the_comments_behind_fields_are_shown():
    from tinyldm.vae import VAEConfig

    assert "* **groups**: of GroupNorm; divides every width" in docstrings.fields_of(VAEConfig)
    assert docstrings.fields_of(str) == []


def test_only_lines_on_white_are_inverted():
    from PIL import Image, ImageDraw

    plot = Image.new("RGB", (240, 120), "white")
    ImageDraw.Draw(plot).line([(5, 110), (235, 10)], "blue", 2)
    assert notebooks.is_line_art(plot)
    plot.paste(Image.new("RGB", (40, 40), "red"), (12, 12))
    assert not notebooks.is_line_art(plot)


def test_every_line_of_the_errata_names_a_test_that_exists():
    text = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")
    tests = (ROOT / "tests" / "core" / "test_article.py").read_text(encoding="utf-8")
    named = re.findall(r"`(test_L?\w+)` \|$", text, re.MULTILINE)
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| section |")]
    assert len(named) == len([row for row in rows if not row.startswith("| part |")]) > 25
    assert [name for name in named if f"def {name}(" not in tests] == []
    wrong = set(re.findall(r"def (test_L\d+_wrong_in_the_article_\w+)\(", tests))
    assert {name.split("_wrong_")[0] for name in wrong} <= {name.split("_wrong_")[0] for name in named}


def test_every_public_name_of_the_core_says_what_it_is():
    from interrogate import config, coverage

    import tinyldm

    settings = config.InterrogateConfig(
        ignore_magic=True,
        ignore_private=True,
        ignore_semiprivate=True,
        ignore_nested_functions=True,
        ignore_init_method=True,
    )
    files = [str(ROOT / "tinyldm" / f"{name}.py") for name in (*tinyldm.CORE_FILES, "trace", "machine", "threads")]
    results = coverage.InterrogateCoverage(paths=files, conf=settings).get_coverage()
    assert results.perc_covered == 100
