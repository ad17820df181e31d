"""Which words the live page offers for a model: those of its world, which its tokenizer tells."""

import pytest
from small_models import WORDS

from tinyldm.data import captions, drawing_captions, drawings
from tinyldm.data.captions import words_of
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.web import worlds

MADE_FOR = {"scenes": captions.VOCABULARY, "drawings": drawing_captions.vocabulary()}
OFFERED = {"scenes": worlds.of_scenes(), "drawings": worlds.of_drawings()}


@pytest.mark.parametrize("name", MADE_FOR)
def test_a_world_is_told_by_its_tokenizer_and_offers_words_that_are_tokens(name):
    tokenizer = build_tokenizer(list(MADE_FOR[name]), length=32)
    world = worlds.world_of(tokenizer)
    assert world == OFFERED[name]
    phrases = [*world.examples, *world.pair, *world.negative, *world.things]
    phrases += [phrase for group in world.words.values() for phrase in group]
    assert worlds.has_tokens_for(tokenizer, {word for phrase in phrases for word in words_of(phrase)})


@pytest.mark.parametrize("name", OFFERED)
def test_the_pair_differs_in_one_word_and_the_negative_caption_says_more(name):
    one, other = (words_of(caption) for caption in OFFERED[name].pair)
    assert len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1
    caption, away = OFFERED[name].negative
    assert caption != away and set(words_of(caption)) < set(words_of(away))


@pytest.mark.parametrize("names", [drawings.everyday(), ("owl", "red apple"), ("owl", "portrait"), ("portrait",)])
def test_a_model_of_some_drawings_offers_only_these(names):
    tokenizer = build_tokenizer(list(MADE_FOR["drawings"]), length=32)
    world = worlds.world_of(tokenizer, names)
    assert world.words["things"] == [name for name in names if name != "portrait"]
    assert ("pixel style" in world.words["styles"]) == ("portrait" in names)
    phrases = [*world.examples, *world.pair, *world.negative]
    phrases += [phrase for group in world.words.values() for phrase in group]
    assert {word for phrase in phrases for word in words_of(phrase)} <= set(world.known)
    one, other = map(words_of, world.pair)
    assert len(one) == len(other) and sum(a != b for a, b in zip(one, other)) == 1
    assert set(words_of(world.negative[0])) < set(words_of(world.negative[1]))


def test_another_vocabulary_has_no_world():
    assert worlds.world_of(build_tokenizer(WORDS, length=12)) == worlds.World()
