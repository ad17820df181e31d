"""Words that a model has never seen, and what may be meant by them."""

import pytest

from tinyldm.data import drawings
from tinyldm.data.unknown_words import FOR_DRAWINGS, FOR_SCENES, of_drawings, of_scenes

NEAR = {
    of_scenes: {
        "box": ("square",),
        "dot": ("circle",),
        "hoop": ("ring",),
        "tringle": ("triangle",),
        "yelow": ("yellow",),
    },
    of_drawings: {
        "kitten": ("cat", "cat face"),
        "penguinn": ("penguin",),
        "sofa": ("couch",),
        "hamburgr": ("hamburger",),
    },
}


@pytest.mark.parametrize("words", NEAR, ids=lambda words: words.__name__)
def test_suggestions(words):
    for word, meant in NEAR[words].items():
        assert words().suggestions(word) == meant
        assert all(meant_word in words().known for name in meant for meant_word in name.split())
    assert words().suggestions("zqxjkv") == () and words().suggestions("7") == ()


def test_what_is_suggested_is_known_and_is_needed():
    for table, words in ((FOR_SCENES, of_scenes()), (FOR_DRAWINGS, of_drawings())):
        for word, meant in table.items():
            assert word not in words.known
            assert all(part in words.known for part in meant.split())


def test_every_name_and_style_is_known():
    words = of_drawings()
    assert all(words.in_words(f"{name}, {style} style") == "" for name in drawings.names() for style in ("noto", "3d"))
    assert words.in_words("a smiling person with short red hair and glasses, toon style") == ""


def test_a_model_of_some_names_knows_their_words_and_no_others():
    words = of_drawings(("panda", "cat face"))
    assert words.in_words("a panda, a cat face, flat style on a blue background") == ""
    assert words.in_words("a smiling panda and a penguin") == "'smiling', 'and', 'penguin'"
    assert words.suggestions("pandaa") == ("panda",)
    assert "glasses" not in words.known and "glasses" in of_drawings(("panda", "portrait")).known
    assert words.known < of_drawings().known


@pytest.mark.parametrize(
    "text, left",
    [
        ("grumpy orange fox", "fox"),
        ("a shiny gold crown with jewels, plain white background", "a crown, white background"),
        ("a zqxj, flat style", "a, flat style"),
        ("Zqxj, panda!", "panda!"),
        ("zqxj", ""),
        ("a  panda , flat style", "a  panda , flat style"),
    ],
)
def test_unknown_words_can_be_left_out(text, left):
    assert of_drawings(("panda", "fox", "crown")).without_unknown(text) == left


def test_in_words():
    assert of_scenes().in_words("a red box and a zebra") == "'box' (did you mean 'square'?), 'zebra'"
    assert of_scenes().in_words("a red circle") == ""
