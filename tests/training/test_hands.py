"""Pictures that show a style: always of something else, always by the same hand, and never with the style's word."""

import pytest
import torch

from tinyldm.data import drawings
from tinyldm.data.captions import words_of
from tinyldm.data.corpus import drawings_corpus
from tinyldm.training.hands import hands_of

NAMES = ("panda", "fox", "flat shoe")


@pytest.fixture(scope="module")
def shown():
    named = [one for one in drawings.named() if one.name in NAMES and one.style in ("noto", "flat")]
    return [*named, *[one for one in drawings.portraits() if one.style == "pixel"][:3]]


def test_others(shown):
    corpus = drawings_corpus(shown, copies=3, wordings=5)
    hands = hands_of(shown, corpus)
    index = torch.arange(len(corpus)).repeat(400)
    others = hands.others(index, torch.Generator().manual_seed(0))
    number = len(shown)
    for one, other in {(int(i) % number, int(o) % number) for i, o in zip(index, others)}:
        assert shown[one].style == shown[other].style and shown[one] != shown[other]
        assert shown[one].name != shown[other].name or shown[one].attributes
    met = {(int(i), int(o)) for i, o in zip(index, others)}
    of_first = {o for i, o in met if i == 0}
    wanted = [i for i in range(len(corpus)) if shown[i % number].style == shown[0].style and i % number != 0]
    assert of_first == {i for i in wanted if shown[i % number].name != shown[0].name}  # all copies of all the others


def test_wordings_do_not_name_the_style(shown):
    corpus = drawings_corpus(shown, copies=3, wordings=5)
    hands = hands_of(shown, corpus)
    index = torch.arange(len(corpus)).repeat(30)
    wording, silent = hands.wordings(index, torch.Generator().manual_seed(0))
    assert silent.float().mean() > 0.5
    for i, chosen, is_silent in zip(index.tolist(), wording.tolist(), silent.tolist()):
        says = [shown[i % len(shown)].style in words_of(caption) for caption in corpus.captions[i]]
        assert is_silent == (not all(says)) and (not is_silent or not says[chosen])
    several = next(i for i in range(len(corpus)) if hands.silent[i].sum() > 1)
    assert len(set(wording[index == several].tolist())) == hands.silent[several].sum()


def test_a_style_with_a_single_drawing_is_refused(shown):
    alone = [*shown, next(one for one in drawings.named() if one.style == "blob")]
    with pytest.raises(ValueError, match="blob"):
        hands_of(alone, drawings_corpus(alone, copies=2, wordings=1))
