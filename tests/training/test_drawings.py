"""The drawings that come with the package: whole, credited, held out where said, and captioned with nothing wrong."""

import hashlib
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tinyldm.data import drawing_captions, drawings
from tinyldm.data.captions import words_of
from tinyldm.data.corpus import drawings_corpus, placed_on_grounds

ROOT = Path(__file__).parents[2]
FLUENT = {"flat", "3d"}  # the same drawings twice


def seen_pixels(rgba: np.ndarray) -> np.ndarray:
    """With the colour of what is transparent set to 0, as the builder's checksum has it."""
    return np.where(rgba[..., 3:] == 0, 0, rgba)


# ---------------------------------------------------------------- the sheets


@pytest.mark.parametrize("style", drawings.index()["styles"], ids=lambda style: style["word"])
def test_a_sheet_is_what_was_built(style):
    page = drawings.Image.open(drawings.SHEETS / f"{style['word']}.webp").convert("RGBA")
    assert hashlib.sha256(seen_pixels(np.asarray(page)).tobytes()).hexdigest() == style["checksum"]
    cells = drawings.sheet(style["word"])
    assert cells.shape[1:] == (64, 64, 4)
    assert (cells[..., 3] > 0).any((1, 2)).sum() == style["count"]


def test_every_drawing_of_the_index_is_there():
    everything = (*drawings.named(), *drawings.portraits())
    opaque = (drawings.pixels(everything)[..., 3] > 128).mean((1, 2))
    faint = [drawing for drawing, share in zip(everything, opaque) if share < 0.02]
    assert not faint
    counts = Counter(drawing.style for drawing in everything)
    assert counts == {style["word"]: style["count"] for style in drawings.index()["styles"]}


def test_enough_of_them():
    assert len(drawings.names()) == len(set(drawings.names())) >= 1100
    assert len(drawings.styles()) == 12
    assert len(drawings.named()) > 5000
    assert len(drawings.portraits()) == 6 * 540
    assert sum(file.stat().st_size for file in drawings.SHEETS.rglob("*")) < 20e6


def test_names_can_be_chosen(tmp_path):
    everyday = drawings.names_in("everyday")
    assert len(everyday) == len(set(everyday)) == 100 and set(everyday) <= set(drawings.names())
    (tmp_path / "names.txt").write_text("panda\n\n fox \npanda\n")
    assert drawings.names_in(str(tmp_path / "names.txt")) == ("panda", "fox")
    chosen = drawings.for_training(("panda", "fox"))
    assert {drawing.name for drawing in chosen} == {"panda", "fox"}
    assert chosen == tuple(drawing for drawing in drawings.for_training() if drawing.name in ("panda", "fox"))
    (tmp_path / "odd.txt").write_text("panda\nzqxj\n")
    (tmp_path / "empty.txt").write_text("\n")
    for file, said in (("odd.txt", "'zqxj'"), ("empty.txt", "nothing"), ("none.txt", "does not exist")):
        with pytest.raises(ValueError, match=said):
            drawings.names_in(str(tmp_path / file))


def test_no_portrait_is_drawn_twice():
    """Else a picture of the test set could be one of the training set's."""
    for style in drawings.styles()[6:]:
        shown = [drawing for drawing in drawings.portraits() if drawing.style == style]
        held = {drawings.pixels([one]).tobytes() for one in shown if drawings.is_held_out(one)}
        trained = {drawings.pixels([one]).tobytes() for one in shown if not drawings.is_held_out(one)}
        assert len(held) > 40 and not held & trained


@pytest.mark.parametrize("style", drawings.styles()[6:])
def test_the_colour_of_the_hair_can_be_seen(style):
    """What a caption says of a portrait is in its pixels: those that have blue hair are bluer, …"""
    shown = [drawing for drawing in drawings.portraits() if drawing.style == style]
    rgb = drawings.on_ground(drawings.pixels(shown), np.full((len(shown), 3), 255))[:, :36].astype(
        int
    )  # above the clothes
    channel = {"blue": (2, 0), "green": (1, 0)}  # not red: skin is reddish
    for colour, (much, little) in channel.items():
        strong = ((rgb[..., much] - rgb[..., little]) > 70).mean((1, 2))
        has = np.array([drawing.attributes.get("hair colour") == colour for drawing in shown])
        others = np.array([drawing.attributes.get("hair colour") in ("black", "grey") for drawing in shown])
        assert np.median(strong[has]) > 3 * np.quantile(strong[others], 0.75) + 0.01, (style, colour)


# ---------------------------------------------------------------- held out


def test_held_out_pairs():
    held = [drawing for drawing in drawings.named() if drawings.is_held_out(drawing)]
    listed = {tuple(pair) for pair in drawings.index()["held_out"]["pairs"]}
    assert {(drawing.name, drawing.style) for drawing in held} == listed  # each of them exists
    assert len(held) >= 100
    assert {drawing.style for drawing in held} == set(drawings.styles()[:6])
    for name in {name for name, style in listed if style in FLUENT}:
        assert {style for other, style in listed if other == name} == FLUENT  # never one without the other
    left = Counter(drawing.name for drawing in drawings.for_training())
    assert min(left[name] for name, _ in listed) >= 3  # the name itself can be learnt


def test_held_out_combinations():
    combinations = drawings.index()["held_out"]["combinations"]
    assert len({tuple(one) for one in combinations}) >= 50
    trained = [drawing for drawing in drawings.for_training() if drawing.attributes]
    assert not {drawings.combination(drawing) for drawing in trained} & {tuple(one) for one in combinations}
    for attribute in ("hair", "hair colour", "glasses", "beard", "mouth", "skin", "clothes"):  # each value is learnt
        values = {drawing.attributes.get(attribute) for drawing in drawings.portraits()}
        assert {drawing.attributes.get(attribute) for drawing in trained} == values


def test_names_that_an_autoencoder_does_not_see():
    unseen = {drawing.name for drawing in drawings.unseen_by_autoencoder()}
    assert len(unseen) >= 50 and unseen == set(drawings.index()["held_out"]["names"])
    assert not unseen & {drawing.name for drawing in drawings.for_autoencoder()}
    assert not unseen & {name for name, _ in drawings.index()["held_out"]["pairs"]}
    assert unseen <= {drawing.name for drawing in drawings.for_training()}  # a U-Net is trained on them
    assert set(drawings.for_autoencoder()) < set(drawings.for_training())


# ---------------------------------------------------------------- captions


@pytest.fixture(scope="module")
def said():
    """(drawing, ground, caption), many of them."""
    rng = np.random.default_rng(0)
    everything = drawings.for_training()
    grounds = list(drawings.GROUNDS)
    chosen = [(everything[i], grounds[rng.integers(len(grounds))]) for i in rng.integers(len(everything), size=6000)]
    return [(drawing, ground, drawing_captions.caption(drawing, ground, rng)) for drawing, ground in chosen]


def test_captions_say_nothing_wrong(said):
    styles, grounds = set(drawings.styles()), set(drawings.GROUNDS)
    for drawing, ground, caption in said:
        own = set(words_of(" ".join([drawing.name, *drawing.keywords, *drawing.attributes.values()])))
        words = set(words_of(caption)) - own
        assert words & styles <= {drawing.style}, caption
        assert words & grounds <= {ground}, caption
        assert ground == "white" or ground in words_of(caption), caption  # what is not white is said


def test_captions_of_portraits_say_only_their_attributes(said):
    every = {value for drawing in drawings.portraits() for value in drawing.attributes.values()}
    known = set(words_of(" ".join(every))) - {"a", "no"}
    for drawing, ground, caption in said:
        if drawing.attributes:
            own = set(words_of(" ".join(drawing.attributes.values()))) | {ground, "glasses", "beard"}
            assert set(words_of(caption)) & known <= own, caption
            for what in ("glasses", "beard"):  # not to be denied where it is there
                assert f"no {what}" not in caption or drawing.attributes[what] == f"no {what}", caption


def test_captions_vary(said):
    assert sum(caption.startswith(("a ", "an ")) for _, _, caption in said) > 1000
    share = np.mean([drawing.style in words_of(caption) for drawing, _, caption in said])
    assert 0.7 < share < 0.95
    assert len({caption for _, _, caption in said}) > 4500
    exact = [caption for drawing, _, caption in said if drawing_captions.with_article(drawing.name) == caption]
    assert len(exact) > 50  # what people type most: "a panda"


@pytest.mark.parametrize(
    "name", ["panda", "four leaf clover", "cactus", "bus", "school bus", "unicorn", "one-piece swimsuit"]
)
def test_article_a(name):
    assert drawing_captions.with_article(name) == f"a {name}"


@pytest.mark.parametrize("name", ["owl", "OK hand", "octopus", "hourglass", "x-ray", "ear of corn", "umbrella"])
def test_article_an(name):
    assert drawing_captions.with_article(name) == f"an {name}"


@pytest.mark.parametrize("name", ["grapes", "french fries", "glasses", "bread", "tennis", "musical notes"])
def test_no_article(name):
    assert drawing_captions.with_article(name) == name


def test_the_vocabulary_holds_what_can_be_asked():
    known = set(drawing_captions.vocabulary())
    asked = [*drawings.names(), *drawings.styles(), *drawings.GROUNDS, "a smiling person with long blond hair"]
    assert {word for phrase in asked for word in words_of(phrase)} <= known
    assert "cute" in known or "happy" in known  # keywords that many things share


# ---------------------------------------------------------------- pixels


def test_on_ground():
    rgba = np.zeros((3, 2, 2, 4), np.uint8)
    rgba[1] = (200, 100, 0, 255)
    rgba[2] = (200, 100, 0, 51)  # a fifth
    found = drawings.on_ground(rgba, np.array([[10, 20, 30]] * 3))
    assert (found[0] == (10, 20, 30)).all() and (found[1] == (200, 100, 0)).all() and (found[2] == (48, 36, 24)).all()


@pytest.mark.parametrize("right, down", [(0, 0), (3, 0), (-3, 0), (0, 3), (0, -3), (2, -1), (-2, 3)])
def test_moved(right, down):
    rgba = np.arange(8 * 8 * 4, dtype=np.uint8).reshape(8, 8, 4)
    expected = np.zeros_like(rgba)
    for row in range(8):
        for column in range(8):
            if 0 <= row - down < 8 and 0 <= column - right < 8:
                expected[row, column] = rgba[row - down, column - right]
    assert np.array_equal(drawings.moved(rgba, right, down), expected)


def test_what_is_mirrored():
    mirrored = {drawing.name for drawing in drawings.named() if drawings.may_be_mirrored(drawing)}
    assert {"panda", "sunflower", "hamburger", "grinning face"} <= mirrored
    written_or_turned = {"ZZZ", "hundred points", "sleeping face", "left-facing fist", "backhand index pointing left",
                         "calendar", "watch", "stop sign", "face with symbols on mouth", "1st place medal", "newspaper",
                         "waxing crescent moon", "police car", "rightwards hand", "musical note"}  # fmt: skip
    assert written_or_turned <= set(drawings.names()) and not mirrored & written_or_turned


def test_augmentation_keeps_the_drawing():
    shown = drawings.for_training()[:200]
    rgba = drawings.pixels(shown)
    images, grounds = placed_on_grounds(rgba, shown, np.random.default_rng(0))
    assert images.shape == (200, 64, 64, 3) and set(grounds) == set(drawings.GROUNDS)
    corners = images[:, 0, 0]
    agree = [tuple(corner) == drawings.GROUNDS[ground] for corner, ground in zip(corners, grounds)]
    assert np.mean(agree) > 0.95  # the ground that is said is the one that is there
    own = np.mean(rgba[..., 3] > 128)
    different = (images.astype(int) - corners[:, None, None].astype(int)).__abs__().max(-1) > 8
    assert abs(different.mean() - own) < 0.15


def test_corpus_is_the_same_each_time():
    shown = drawings.for_training()[:50]
    one, two = (drawings_corpus(shown, copies=2, wordings=2) for _ in range(2))
    assert one.captions == two.captions and one.images.equal(two.images)
    other = drawings_corpus(shown, copies=2, wordings=2, seed=1)
    assert one.captions != other.captions
    assert len(one) == 100 and len(one.captions[0]) == 2 and one.image_form.shape[0] == 100
    assert (one.images[:50, :, 0, 0] == 255).float().mean() > 0.95  # the first copy is on white


# ---------------------------------------------------------------- credits


def test_everybody_is_credited():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for style in drawings.index()["styles"]:
        lines = notice[notice.index(f"\n  {style['word']} ") :].split("\n")[1:3]
        licence = {"CC-BY-4.0": "CC BY 4.0", "CC0-1.0": "CC0 1.0"}.get(style["licence"], style["licence"])
        assert lines[0].endswith(licence), lines
        assert style["source"].removeprefix("www.") in lines[1], lines
        assert style["package"].startswith("@dicebear") or f"{style['package']} {style['version']}" in lines[1], lines
    assert "emojibase-data 17.0.0" in notice


def test_the_page_is_up_to_date():
    """`python sources/pictures/page.py` writes it."""
    page = (ROOT / "docs" / "drawings.md").read_text(encoding="utf-8")
    for style in drawings.index()["styles"]:
        row = next(line for line in page.splitlines() if line.startswith(f"| {style['word']} |"))
        assert style["credit"] in row and style["source"] in row and f"{style['count']:,}" in row
    assert f"{len(drawings.named()):,} drawings of {len(drawings.names()):,} things" in page
    assert f"{len(drawings.index()['held_out']['pairs'])} pairs" in page
    assert (ROOT / "docs" / "drawings.webp").is_file() and "(drawings.webp)" in page


def test_licences_are_shipped():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {style["licence"] for style in drawings.index()["styles"]} | {"MIT"}
    assert set(project["license"].split(" AND ")) == needed
    texts = {file.stem: file.read_text(encoding="utf-8") for file in (drawings.SHEETS / "licences").glob("*.txt")}
    assert set(texts) == needed
    openings = {"MIT": "MIT License", "Apache-2.0": "Apache License", "CC0-1.0": "CC0 1.0 Universal",
                "CC-BY-4.0": "Attribution 4.0 International"}  # fmt: skip
    for name, opening in openings.items():
        assert opening in texts[name][:200]
    assert "Microsoft" in texts["MIT"]
    assert {"NOTICE", "tinyldm/data/sheets/licences/*.txt"} < set(project["license-files"])
