"""The lessons: committed notebooks are what their sources generate, and keep the form that every lesson has.

Nothing is trained here. That every cell of every notebook runs is for `pytest --nbval-lax notebooks` to see.
"""

import base64
import html
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm_course.lessons import helpers, model_map, plots, widgets

nbformat = pytest.importorskip("nbformat", reason="lessons need: pip install -e .[notebooks]")
pytest.importorskip("jupytext", reason="lessons need: pip install -e .[notebooks]")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOURCES = sorted((ROOT / "sources" / "lessons").glob("[0-9][0-9]_*.py"))
NAME = {"ids": lambda file: file.stem}
ALWAYS_CPU = ("04", "19")  # their networks are too small for a GPU, and they say so
NOT_BUILT = ("00", "01")  # these two show and tell; nothing is built or broken in them


def load(name: str):
    """A module of sources/, which is no package."""
    sys.path.insert(0, str(ROOT / "sources"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "sources" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ROOT / "sources"))


def cells(file: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == kind]


def text(file: Path) -> str:
    return "\n\n".join(cell.source for cell in cells(file, "markdown"))


def html_outputs(file: Path) -> str:
    return "\n".join(
        "".join(output.get("data", {}).get("text/html", "")) for cell in cells(file, "code") for output in cell.outputs
    )


def words(markdown: str) -> int:
    """How many words a reader reads: without tags, fenced code, tables' rules and displayed formulas."""
    markdown = re.sub(r"```.*?```|\$\$.*?\$\$|<[^>]+>", " ", markdown, flags=re.DOTALL)
    return len([word for word in markdown.split() if re.search(r"\w", word)])


# ── What is committed ────────────────────────────────────────────────────────────────────────────────


def test_there_are_lessons():
    assert NOTEBOOKS


def test_committed_notebooks_are_what_the_sources_generate():
    assert load("build_lessons").stale() == []


def test_the_check_sees_a_changed_cell_and_a_missing_notebook(tmp_path, monkeypatch):
    builder = load("build_lessons")
    monkeypatch.setattr(builder, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(builder, "NOTEBOOKS", tmp_path)
    source = tmp_path / "sources" / "02_trial.py"
    source.parent.mkdir()
    source.write_text("# %% [markdown]\n# # 02 · Trial\n\n# %%\nprint(1)\n")
    assert builder.stale() == ["02_trial.ipynb is missing"]
    builder.write(builder.lesson(source), tmp_path / "02_trial.ipynb")
    assert builder.stale() == []
    source.write_text(source.read_text().replace("print(1)", "print(2)"))
    assert builder.stale() == ["02_trial.ipynb is not what its source generates"]


def test_new_text_keeps_the_outputs_and_new_code_does_not_pass(tmp_path):
    builder = load("build_lessons")
    source = tmp_path / "02_trial.py"
    source.write_text("# %% [markdown]\n# # 02 · Trial\n\n# %%\nimport math\n\n# %%\nprint(1)\n")
    with pytest.raises(ValueError, match="has not been executed yet"):
        builder.update_text(source, tmp_path)
    notebook = builder.lesson(source)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    builder.write(notebook, tmp_path / "02_trial.ipynb")
    source.write_text(
        source.read_text()
        .replace("import math", "import math\n\n# %% [markdown]\n# And more.")
        .replace("print(1)", "print(\n    1)  # one")
    )
    builder.update_text(source, tmp_path)
    told = nbformat.read(tmp_path / "02_trial.ipynb", as_version=4)
    assert builder.same_cells(told, builder.lesson(source))
    assert told.cells[-2].outputs[0].text == "1\n" and told.cells[-2].execution_count == 2
    source.write_text(source.read_text().replace("    1)", "    2)"))
    with pytest.raises(ValueError, match="code of 02_trial.ipynb has changed.*--execute 02"):
        builder.update_text(source, tmp_path)


def test_the_first_cell_gets_the_course_only_where_it_is_missing(tmp_path, monkeypatch):
    cell = (
        load("percent_format")
        .with_setup(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")]))
        .cells[1]
    )
    called = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: called.append(command))
    exec(cell.source, {})
    assert called == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(cell.source, {})
    (_, verb, *_, address, folder), install = called
    assert verb == "clone" and address.startswith("https://") and install[-1] == folder == sys.path[0]


@pytest.mark.parametrize("file", NOTEBOOKS, **NAME)
def test_a_notebook_was_run_in_order_and_without_errors(file):
    code = cells(file, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


@pytest.mark.parametrize("file", NOTEBOOKS, **NAME)
def test_a_notebook_is_small_and_holds_no_widgets(file):
    assert file.stat().st_size <= load("build_lessons").MAX_BYTES
    raw = file.read_text(encoding="utf-8")
    assert "widgets" not in json.loads(raw)["metadata"]
    assert "application/vnd.jupyter.widget" not in raw


@pytest.mark.parametrize("file", NOTEBOOKS, **NAME)
def test_a_notebook_names_no_path_of_the_machine_that_ran_it(file):
    outputs = [json.dumps(output) for cell in cells(file, "code") for output in cell.outputs]
    # "/tmp/" may occur in the base64 of a picture
    without_pictures = [re.sub(r"[A-Za-z0-9+/=]{200,}", "", output) for output in outputs]
    assert not [output[:200] for output in without_pictures if re.search(r"/(root|tmp|home|work|Users)/", output)]


# ── The form of a lesson ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", NOTEBOOKS, **NAME)
def test_cells_are_short(file):
    code = [cell for cell in cells(file, "code") if cell["id"] != "setup"]  # that one is folded
    assert not [cell.source[:60] for cell in code if len(cell.source.splitlines()) > 40]
    assert not [(words(cell.source), cell.source[:60]) for cell in cells(file, "markdown") if words(cell.source) > 120]


@pytest.mark.parametrize("file", SOURCES, **NAME)
def test_code_is_narrow_and_holds_nothing_for_machines(file):
    """Nothing is clipped in a browser, and what only a tool reads is in tags, not in the reader's cell."""
    code = [cell.source for cell in load("build_lessons").lesson(file).cells if cell.cell_type == "code"][1:]
    assert not [line for source in code for line in source.splitlines() if len(line) > 88]
    assert not re.findall(r"NBVAL|# noqa|# type:|\balt=", "\n".join(code))


@pytest.mark.parametrize("file", SOURCES, **NAME)
def test_links_lead_to_what_is_there(file):
    """The links that the notebook gets, whether it is committed yet or not."""
    shown = "\n\n".join(
        cell.source for cell in load("build_lessons").lesson(file).cells if cell.cell_type == "markdown"
    )
    targets = re.findall(
        r"\]\((?!https?://|#)([^)#]+)", re.sub(r"```.*?```|`[^`\n]*`|\$[^$]*\$", "", shown, flags=re.DOTALL)
    )
    known = {f"{source.stem}.ipynb" for source in SOURCES}
    assert not [to for to in targets if to not in known and not (ROOT / "notebooks" / to).exists()]
    assert "../docs/glossary.md" in targets and "../docs/errata.md" in targets
    if file.stem[:2] not in NOT_BUILT:
        assert f"../exercises/{file.stem}.ipynb" in targets


@pytest.mark.parametrize("file", NOTEBOOKS, **NAME)
def test_every_picture_has_alt_text(file):
    for tag in re.findall(r"<img[^>]{0,3000}", html_outputs(file) + text(file)):
        alt = re.search(r'alt="([^"]+)"', tag)
        assert alt and len(alt[1]) >= 20, tag[:200]
    assert not re.findall(r"!\[\s*\]\(", text(file))
    bare = [
        kind
        for cell in cells(file, "code")
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    assert not bare, "show figures with plots.show(fig, alt): an ordinary output loses its alt text"
    assert "<img" in html_outputs(file)


@pytest.mark.parametrize("file", NOTEBOOKS, **NAME)
def test_a_lesson_has_its_parts(file):
    all_text = text(file)
    number = file.stem[:2]
    needed = [
        rf"^# {number} · ",
        r"^\*\*Goal\.\*\*",
        r"^\*\*Time\.\*\*.*minutes",
        r"^\*\*Before this\.\*\*",
        r"^\*\*You will be able to\*\*",
        r"^## Where we are",
        r"^## What the article says",
        r"^## Three quick questions",
        r"^## What next",
    ]
    if number not in NOT_BUILT:
        needed += [r"^## Break it on purpose", r"^## Exercises"]
    assert not [part for part in needed if not re.search(part, all_text, flags=re.MULTILINE | re.DOTALL)]
    assert all_text.startswith(f"# {number} · ")
    assert all_text.count("**Predict.**") >= 2
    questions = all_text.partition("## Three quick questions")[2].split("\n## ")[0]
    assert questions.count("<details>") == questions.count("</details>") == 3
    assert all_text.count("<details>") == all_text.count("</details>")
    assert not re.findall(r"</summary>\n(?!> \n|>\n|\n)", all_text), "a blank line is missing after </summary>"


@pytest.mark.parametrize("file", [file for file in NOTEBOOKS if file.stem[:2] not in NOT_BUILT], **NAME)
def test_a_lesson_chooses_its_device_in_one_visible_line(file):
    code = "\n".join(cell.source for cell in cells(file, "code"))
    if file.stem[:2] in ALWAYS_CPU:
        assert "runs on cpu, whatever you have" in code
    else:
        assert code.count("DEVICE = choose_device()") == 1


# ── The helpers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_figure_in_a_script_is_written_where_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINYLDM_FIGURES", str(tmp_path))
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    plots.show(fig, "A line that rises.")
    assert capsys.readouterr().out == "[figure] A line that rises.\n"
    assert [file.suffix for file in tmp_path.iterdir()] == [".png"]
    assert not plt.get_fignums(), "the figure is still open"


def test_a_figure_that_nobody_described_is_described_by_its_own_words(capsys):
    fig, (left, right) = plt.subplots(1, 2)
    left.set(title="Share of the signal", xlabel="timestep t", ylabel="ᾱ")
    plots.plot_image(right, torch.zeros(3, 4, 4), "a flower")
    plots.show(fig)
    assert capsys.readouterr().out == "[figure] Figure: Share of the signal, timestep t and ᾱ; a flower\n"


def test_a_table_names_a_section_once_and_is_escaped(monkeypatch, capsys):
    table = ("section", "tensor"), [("U-Net", "z_t"), ("U-Net", "t < T"), ("VAE", "image")]
    plots.show_table(*table)
    assert capsys.readouterr().out == "section  tensor\nU-Net  z_t\n  t < T\nVAE  image\n"
    shown = []
    monkeypatch.setattr(plots, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data["text/html"]))
    plots.show_table(*table)
    assert shown[0].count("U-Net") == 1 and ">t &lt; T</td>" in shown[0] and shown[0].count("<tr>") == 4


def test_alt_text_is_escaped_and_reaches_the_page():
    fig = plt.figure(figsize=(2, 1))
    tag = plots.img_tag(plots.encoded(fig), 'a "quoted" <word>')
    plt.close(fig)
    assert 'alt="a &quot;quoted&quot; &lt;word&gt;"' in tag and 'src="data:image/png;base64,' in tag
    assert f'width="{2 * plots.DPI}"' in tag, "as wide on the page as in a figure of the usual sharpness"


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 32, 32), (1, 8, 8)], ids=str)
def test_the_pixels_of_an_embedded_picture_are_those_of_the_tensor(shape):
    """In a course about colour words, the blue of one figure must be the blue of the next."""
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    with plots.style():
        fig = plots.image_grid(images, ["one", "two", "three"], size=1.25)
        data = re.search(r'base64,([^"]+)"', plots.img_tag(plots.encoded(fig), "three pictures"))[1]
    page = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    for ax, image in zip(fig.axes, images):
        rows, columns = torch.meshgrid(torch.arange(shape[1]), torch.arange(shape[2]), indexing="ij")
        centres = ax.transData.transform(torch.stack([columns.flatten(), rows.flatten()], dim=1).numpy())
        seen = page[page.shape[0] - 1 - centres[:, 1].astype(int), centres[:, 0].astype(int)]
        drawn = (image.expand(3, -1, -1) * 255).permute(1, 2, 0).reshape(-1, 3).numpy()
        assert np.abs(seen - drawn).max() <= 1  # matplotlib's rounding
    plt.close(fig)


def test_a_colour_is_the_same_in_all_figures_and_near_the_true_one():
    seen = []
    for others in ([], [plots.ORANGE, plots.GREEN, plots.PINK, plots.GOLD]):
        with plots.style():
            fig, ax = plt.subplots(figsize=(2, 1))
            for height, colour in enumerate([plots.BLUE, *others]):
                ax.axhspan(height, height + 1, color=colour)
        page = np.asarray(Image.open(io.BytesIO(plots.encoded(fig))).convert("RGB")).reshape(-1, 3)
        nearest = np.abs(page.astype(int) - (0x00, 0x72, 0xB2)).sum(1).argmin()
        seen.append(page[nearest].tolist())
        assert np.abs(page[nearest].astype(int) - (0x00, 0x72, 0xB2)).max() <= plots.STEP / 2
    assert seen[0] == seen[1]


@pytest.mark.parametrize("colours", [plots.DIVERGING, plots.SEQUENCE, "Greys"], ids=["blue_orange", "viridis", "greys"])
def test_a_heat_map_and_its_colour_bar_show_no_hue_that_the_colour_map_has_not(colours):
    """Near white, rounding each channel would make cream, pink and lilac of blue and orange."""
    values = torch.linspace(-1, 1, 400).reshape(20, 20)
    with plots.style():
        fig, (left, right) = plt.subplots(1, 2, figsize=(5, 2))
        plots.heat_map(left, values, "x", "y", "title", signed=False, cmap=colours)
        right.plot([0, 1], color=plots.BLUE)
        page = np.asarray(Image.open(io.BytesIO(plots.encoded(fig))).convert("RGB")).astype(int)
    legal = (plt.get_cmap(colours)(np.arange(256))[:, :3] * 255).round().astype(int)
    allowed = plots.STEP / 2 if colours == "Greys" else 1  # of a grey all channels are rounded alike
    for ax in (left, fig.axes[-1]):
        x, y = np.meshgrid(np.linspace(0.3, 0.7, 30), np.linspace(0.05, 0.95, 90))  # within the frame
        centres = ax.transAxes.transform(np.stack([x.ravel(), y.ravel()], axis=1)).astype(int)
        seen = np.unique(page[page.shape[0] - 1 - centres[:, 1], centres[:, 0]], axis=0)
        assert len(seen) > 10
        assert np.abs(seen[:, None] - legal).max(-1).min(1).max() <= allowed
        assert colours != "Greys" or np.ptp(seen, axis=1).max() == 0
    rows, columns = plots.pixels_of(right, len(page))
    assert not (page[rows, columns] % plots.STEP).any(), "lines take a third of the bytes"
    plt.close(fig)


def test_a_palette_changes_no_pixel():
    few = np.random.default_rng(0).integers(0, 6, (20, 30, 3)).astype(np.uint8) * 51
    many = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert plots.with_palette(few).mode == "P" and plots.with_palette(many).mode == "RGB"
    for pixels in (few, many):
        assert np.array_equal(np.asarray(plots.with_palette(pixels).convert("RGB")), pixels)


# ── Alt texts ────────────────────────────────────────────────────────────────────────────────────────

TWO_FIGURES = """\
# %% [markdown]
# # 02 · Trial

# %%
from tinyldm_course.lessons import plots
import matplotlib.pyplot as plt

# %%
number = 3
for _ in range(2):
    plots.show(plt.figure(figsize=(1, 1)))

# %% [markdown] alt
# A "square"
# that is white.
#
# The number {number}: {', '.join(str(n) for n in range(number))}'
"""


@pytest.fixture
def trial(tmp_path):
    source = tmp_path / "02_trial.py"
    source.write_text(TWO_FIGURES)
    return source


def alts(file: Path) -> list[str]:
    return [html.unescape(alt) for alt in re.findall(r'<img alt="([^"]*)"', html_outputs(file))]


def test_alt_texts_come_from_the_source_and_not_from_the_cell(trial, tmp_path):
    builder = load("build_lessons")
    builder.build(trial, tmp_path)
    file = tmp_path / "02_trial.ipynb"
    assert alts(file) == ['A "square" that is white.', "The number 3: 0, 1, 2'"]
    assert "white" not in "".join(cell.source for cell in cells(file, "code")) + text(file)
    trial.write_text(TWO_FIGURES.replace("white", "black"))
    builder.update_text(trial, tmp_path)
    assert alts(file) == ['A "square" that is black.', "The number 3: 0, 1, 2'"]
    trial.write_text(TWO_FIGURES.replace("The number", "A number"))
    with pytest.raises(ValueError, match="--execute 02"):
        builder.update_text(trial, tmp_path)


@pytest.mark.parametrize("texts", [["one"], ["one", "two", "three"]], ids=len)
def test_a_figure_without_alt_text_is_refused_and_so_is_a_text_without_figure(texts):
    picture = {"text/html": '<img alt="Figure: x" src="data:image/png;base64,">', "text/plain": "Figure: x"}
    outputs = [nbformat.v4.new_output("display_data", dict(picture)) for _ in range(2)]
    with pytest.raises(ValueError, match="do not fit"):
        load("build_lessons").described(nbformat.v4.new_code_cell("show()", outputs=outputs), texts)


def test_a_grid_holds_each_picture_and_refuses_what_is_none():
    fig = plots.image_grid(torch.rand(5, 3, 8, 8), ["a", "b", "c"], columns=3, rows=["x", "y"])
    assert len(fig.axes) == 6 and fig.axes[1].get_title() == "b" and fig.axes[3].get_ylabel() == "y"
    with pytest.raises(ValueError, match=r"\(4, 8, 8\)"):
        plots.image_grid(torch.rand(1, 4, 8, 8))
    plt.close("all")


def test_the_photograph_is_real_and_square():
    image = helpers.photograph(64)
    assert image.shape == (3, 64, 64) and image.dtype == torch.float32
    assert 0 <= image.min() < 0.1 and 0.9 < image.max() <= 1 and image.std() > 0.15
    with pytest.raises(ValueError, match="flower"):
        helpers.photograph(64, "cat")
    with pytest.raises(ValueError, match="427"):
        helpers.photograph(512)


def test_confirm_equal_says_so_and_refuses_what_differs():
    x = torch.rand(3, 4)
    assert helpers.confirm_equal(x, x + 1e-7).startswith("Yours equals tinyldm's: 12 numbers, all equal")
    assert "one number, equal" in helpers.confirm_equal(x[0, 0], x[0, 0])
    assert helpers.confirm_equal(x, x, claim="This equals that").startswith("This equals that: 12")
    with pytest.raises(AssertionError, match="differ by"):
        helpers.confirm_equal(x, x + 1e-3)
    with pytest.raises(AssertionError):
        helpers.confirm_equal(x, x * float("nan"))
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        helpers.confirm_equal(x, x.T)


def test_the_fast_numbers_are_used_only_on_request(monkeypatch):
    monkeypatch.delenv("TINYLDM_FAST", raising=False)
    assert helpers.full_or_fast(600, 20) == 600
    monkeypatch.setenv("TINYLDM_FAST", "1")
    assert helpers.full_or_fast(600, 20) == 20


@pytest.mark.parametrize("part", [*model_map.BOXES, "U-Net"])
def test_the_map_highlights_each_part(part):
    fig = model_map.model_map_figure((part,))
    bold = [label.get_text() for label in fig.axes[0].texts if label.get_weight() == "bold" and label.get_text()]
    assert bold == [part]
    plt.close(fig)


def test_the_map_refuses_an_unknown_part():
    with pytest.raises(ValueError, match="unet"):
        model_map.show_model_map("unet")


def plot_t(ax, t):
    plots.plot_image(ax, torch.full((3, 4, 4), t / 10), f"t = {t}")


def test_a_dial_without_a_kernel_is_its_strip(capsys):
    widgets.dial(plot_t, {"t": range(10)}, strip=[{"t": 1}, {"t": 9}])
    assert capsys.readouterr().out == "[figure] Figure: t = 1; t = 9\n"


def test_a_dial_shows_what_its_strip_shows():
    fig = widgets.strip_figure(plot_t, [{"t": 3}, {"t": 7}], (2, 2))
    assert [ax.get_title() for ax in fig.axes] == ["t = 3", "t = 7"]
    assert 'alt="t = 7"' in widgets.dial_html(plot_t, {"t": 7}, (2, 2))
    plt.close("all")


def test_the_picture_follows_a_dial(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets", reason="lessons need: pip install -e .[notebooks]")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    widgets._show_dials(plot_t, {"t": range(10)}, {"t": 3}, (2, 2))
    slider, picture = shown[-1].children
    assert isinstance(slider, ipywidgets.SelectionSlider) and slider.continuous_update
    assert 'alt="t = 3"' in picture.value
    slider.value = 7
    assert 'alt="t = 7"' in picture.value


def test_words_get_a_menu_and_any_words_a_text_box():
    ipywidgets = pytest.importorskip("ipywidgets", reason="lessons need: pip install -e .[notebooks]")
    menu = widgets.control("word", ["red", "blue"], "blue")
    assert isinstance(menu, ipywidgets.Dropdown) and menu.value == "blue"
    box = widgets.control("sentence", str, "a red circle")
    assert isinstance(box, ipywidgets.Text) and not box.continuous_update
    assert widgets.is_on(str, "any words") and not widgets.is_on(["red"], "any words")


def test_a_long_strip_has_rows():
    strip = [{"t": t} for t in range(5)]
    fig = widgets.strip_figure(plot_t, strip, (2, 1), columns=3)
    assert [ax.get_title() for ax in fig.axes] == [f"t = {t}" for t in range(5)]
    assert tuple(fig.get_size_inches()) == (6, 2)
    plt.close(fig)


def test_long_cells_show_how_much_time_is_left(capsys):
    assert list(helpers.progress(range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", ""), "a loop of less than a second has no bar"


def test_pictures_in_a_row_have_a_white_frame():
    row = plots.in_a_row(torch.zeros(3, 1, 4, 4))
    assert row.shape == (1, 6, 18) and row[0, 0].min() == 1 and row[0, 1, 1] == 0


@pytest.mark.parametrize("strip, message", [([], "empty"), ([{"s": 1}], "expected"), ([{"t": 10}], "not on the dial")])
def test_a_dial_refuses_a_strip_that_does_not_fit(strip, message):
    with pytest.raises(ValueError, match=message):
        widgets.dial(plot_t, {"t": range(10)}, strip=strip)


@pytest.mark.slow
def test_a_source_runs_as_a_plain_script(tmp_path):
    """The cheapest lesson that trains nothing and needs no weights stands for all; nbval runs the rest."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "sources" / "lessons" / "06_resblock.py")],
        cwd=tmp_path,
        env=os.environ | {"TINYLDM_FAST": "1", "TINYLDM_FIGURES": str(tmp_path), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.glob("*.png"))) >= 3
