"""Rated sentences: words, ids, padding and ratings agree."""

import math

import pytest
import torch

from salience.data.text import (
    CORPUS,
    LEXICON,
    SOURCE,
    WHEEL,
    _lexicon,
    _sentences,
    encode,
    tokeniser,
    tokens,
    tweets,
    word_ratings,
)
from salience.errors import WrongInput


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GREAT, really!!", ["it's", "great", ",", "really", "!!"]),
        ("so happy :) or :-( or :D <3", ["so", "happy", ":)", "or", ":-(", "or", ":d", "<3"]),
        ("http://example.org", ["http", "://", "example", ".", "org"]),
        ("wait... what?!", ["wait", "...", "what", "?", "!"]),
        ("a I 5", ["a", "i", "5"]),
        ("café", ["café"]),
        ("", []),
    ],
)
def test_words_emoticons_and_marks(text, words):
    assert tokeniser()(text) == words


def test_ids_come_from_the_training_texts_alone():
    modality = tokens([["a", "b", "a"], ["b", "a", "c"]], length=6, vocabulary=10)
    assert modality.vocabulary == ("<padding>", "<unknown>", "<start>", "a", "b")  # c is seen once
    ids, padded = encode([["b", "z", "c", "a"], [], ["a"] * 9], modality)
    assert ids.tolist() == [[2, 4, 1, 1, 3, 0], [2, 0, 0, 0, 0, 0], [2, 3, 3, 3, 3, 3]]
    assert padded.tolist() == [[False] * 5 + [True], [False] + [True] * 5, [False] * 6]
    assert modality.present(ids).tolist() == [
        [False] + [True] * 4 + [False],
        [False] * 6,
        [False] + [True] * 5,
    ]


def test_the_vocabulary_is_the_commonest_words_and_ties_are_settled_by_the_alphabet():
    texts = [["d", "c", "b", "a"]] * 2 + [["b"]]
    assert tokens(texts, 5, 3).vocabulary[3:] == ("b", "a", "c")


def test_ratings_lie_on_their_words():
    modality = tokens([["good", "bad", "so"]] * 2, length=4, vocabulary=9)
    texts = [["so", "good"], ["bad", "awful", "so", "good"]]
    ids, _ = encode(texts, modality)
    ratings = word_ratings(texts, ids, {"good": 1.9, "bad": -2.5, "awful": -2.0})
    expected = torch.tensor([[math.nan, math.nan, 1.9, math.nan], [math.nan, -2.5, math.nan, math.nan]])
    torch.testing.assert_close(ratings, expected, equal_nan=True)  # awful is unknown to the network


@pytest.fixture(scope="module")
def data(downloads):
    return tweets(seed=0, downloads=downloads)


@pytest.mark.network
def test_padding_start_and_present_agree(data):
    modality = data.modalities[0]
    for split in ("train", "validation", "test"):
        examples = data.split(split)
        ids, padded = examples.inputs[0], examples.context[0]
        assert padded.dtype == torch.bool and not padded[:, 0].any()
        assert modality.words(ids[:, 0].tolist()) == ["<start>"] * len(ids)
        assert torch.equal(modality.present(ids)[:, 1:], ~padded[:, 1:])
        assert (padded[:, 1:] >= padded[:, :-1]).all()  # once padded, padded to the end
        assert modality.present(ids).any(1).all()  # no sentence is empty
        assert torch.equal(modality.blank(ids) == modality.padding_id, padded | modality.present(ids))


@pytest.mark.network
def test_every_rating_is_that_of_the_word_in_the_lexicon(data, downloads):
    lexicon = _lexicon(WHEEL.member(*LEXICON, downloads))
    examples, modality = data.test, data.modalities[0]
    assert examples.ratings.shape == examples.inputs[0].shape
    rated = ~examples.ratings.isnan()
    assert not (rated & ~modality.present(examples.inputs[0])).any()
    words = modality.words(examples.inputs[0][rated].tolist())
    assert len(words) > len(examples)  # more than one a sentence
    assert examples.ratings[rated].tolist() == pytest.approx([lexicon[w] for w in words])
    others = modality.words(examples.inputs[0][~rated].tolist())
    assert not set(others) & set(lexicon)
    assert {":)", "<3", "love"} <= set(words)


@pytest.mark.network
def test_rated_words_tell_the_class(data):
    scores = data.test.ratings.nan_to_num(0).sum(1)
    right = (scores > 0) == (data.test.labels == 1)
    assert right[scores != 0].float().mean() > 0.85


@pytest.mark.network
def test_no_sentence_is_there_twice(downloads):
    sentences, scores = _sentences(SOURCE.member(*CORPUS, downloads), "tweets", threshold=0.5)
    assert len(sentences) == len(set(sentences)) == len(scores) > 3000
    assert scores.abs().min() > 0.5
    assert not any("&amp;" in s or "\t" in s for s in sentences)


@pytest.mark.network
@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"length": 1}, "data.length=1: a whole number of 2 or more"),
        ({"vocabulary": 0}, "data.vocabulary=0: a whole number of 1 or more"),
        ({"threshold": -1}, "data.threshold=-1: a number from 0 to 2"),
    ],
)
def test_arguments_out_of_range_are_one_line(downloads, own, line):
    with pytest.raises(WrongInput, match=line):
        tweets(downloads=downloads, **own)
