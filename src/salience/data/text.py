"""Sentences that people rated, and words that other people rated: ground truth for explanations of text."""

import html
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..modality import Tokens
from ..randomness import Streams
from .arguments import require_number, require_whole
from .base import Classification, Data, split_rows, splits
from .encoders import EncoderTokens
from .packaged import DOWNLOADS, Package, unpacked

# The source archive has the sentences; the wheel, fetched faster, has the words.
SOURCE = Package(
    "vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9", source=True
)
WHEEL = Package("vaderSentiment", "3.3.2", "3bf1d243b98b1afad575b9f22bc2cb1e212b94ff89ca74f8a23a588d024ea311")
CORPUS = (
    "additional_resources/hutto_ICWSM_2014.tar.gz",
    "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
)
LEXICON = (
    "vaderSentiment/vader_lexicon.txt",
    "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5",
)
# Emoticons carry ratings, so they stay whole; then words with apostrophes, runs of one mark, single marks.
TOKEN = r"(?u)://|[:;=8]['o^-]?[()\[\]|/\\*]+|[:;=]['o-]?[dp3]\b|<3|\w+(?:['’]\w+)*|\.+|!+|\?+|[^\w\s]"
PADDING, UNKNOWN, START = 0, 1, 2
SPECIAL = ("<padding>", "<unknown>", "<start>")


def tweets(
    seed: int = 0,
    examples: int | None = None,
    length: int = 40,
    vocabulary: int = 4000,
    threshold: float = 0.5,
    encoder: str | None = None,
    downloads: Path | str = DOWNLOADS,
) -> Data:
    """Tweets, negative or positive by the ratings of 20 people, with rated words (3300 sentences)."""
    return _rated(
        "tweets", "Tweets rated by people", seed, examples, length, vocabulary, threshold, encoder, downloads
    )


def film(
    seed: int = 0,
    examples: int | None = None,
    length: int = 48,
    vocabulary: int = 8000,
    threshold: float = 0.5,
    encoder: str | None = None,
    downloads: Path | str = DOWNLOADS,
) -> Data:
    """Film reviews, negative or positive by the ratings of 20 people, with rated words (10000 sentences)."""
    title = "Sentences of film reviews rated by people"
    return _rated(
        "movieReviewSnippets", title, seed, examples, length, vocabulary, threshold, encoder, downloads
    )


def _rated(
    name: str,
    title: str,
    seed: int,
    examples: int | None,
    length: int,
    vocabulary: int,
    threshold: float,
    encoder: str | None,
    downloads: Path | str,
) -> Data:
    """Rated sentences (`examples` of them, drawn; None: all), as our own tokens or as those of an `encoder`."""
    sentences, scores = _sentences(SOURCE.member(*CORPUS, downloads), name, threshold)
    if examples is not None:
        require_whole("examples", examples, 20, len(sentences))
        drawn = torch.randperm(len(sentences), generator=Streams(seed).generator("sentences"))[:examples]
        sentences, scores = [sentences[i] for i in drawn.tolist()], scores[drawn]
    labels = (scores > 0).long()
    task = Classification(("negative", "positive"))
    rows = split_rows(labels, task, seed)
    if encoder is None:
        split_into_words = tokeniser()
        words = [split_into_words(s) for s in sentences]
        modality = tokens([words[i] for i in rows[0].tolist()], length, vocabulary)
        ids, padded = encode(words, modality)
    else:
        pieces = EncoderTokens(encoder, length, downloads)
        modality = pieces.modality()
        words, ids, padded = pieces.encode(sentences)
        words = [whole_words(w)[1:] for w in words]  # without the start token
    ratings = word_ratings(words, ids, _lexicon(WHEEL.member(*LEXICON, downloads)))
    return Data(
        (modality,),
        task,
        **splits(rows, (ids,), labels, ratings=ratings, context=(padded,)),
        title=title,
        source="Hutto and Gilbert (2014), VADER, ICWSM; from the package vaderSentiment, MIT",
    )


def _sentences(archive: bytes, name: str, threshold: float) -> tuple[list[str], Tensor]:
    """Sentences and their mean ratings in [-4, 4]: those further than `threshold` from 0, each once."""
    require_number("threshold", threshold, 0, 2)
    lines = unpacked(archive, f"hutto_ICWSM_2014/{name}_GroundTruth.txt").decode().split("\n")
    found: dict[str, float] = {}
    for _, score, text in (line.split("\t", 2) for line in lines if line):
        # the same sentence in two splits would be a leak
        found.setdefault(" ".join(html.unescape(text).split()), float(score))
    kept = {text: score for text, score in found.items() if abs(score) > threshold}
    return list(kept), torch.tensor(list(kept.values()), dtype=torch.float64)


def _lexicon(content: bytes) -> dict[str, float]:
    """Lower-cased token -> mean of ten people's ratings in [-4, 4]."""
    found: dict[str, float] = {}
    for fields in (line.split("\t") for line in content.decode().split("\n")):
        if len(fields) == 4:
            found.setdefault(fields[0].lower(), float(fields[1]))
    return found


def tokeniser() -> Callable[[str], list[str]]:
    """Text -> lower-cased words, emoticons and punctuation marks, in order."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(token_pattern=TOKEN, lowercase=True).build_analyzer()


def tokens(training: Sequence[Sequence[str]], length: int, vocabulary: int, name: str = "text") -> Tokens:
    """Token ids of at most `length` positions over the `vocabulary` commonest words of the training texts.

    A word must occur twice: one seen once is learnt by heart, and the unknown token would never be trained.
    """
    require_whole("length", length, 2)
    require_whole("vocabulary", vocabulary, 1)
    counts = Counter(word for words in training for word in words)
    ordered = sorted((-count, word) for word, count in counts.items() if count > 1)
    known = tuple(word for _, word in ordered[:vocabulary])
    return Tokens((length,), name, vocabulary=SPECIAL + known, padding_id=PADDING, special_ids=(START,))


def encode(texts: Sequence[Sequence[str]], modality: Tokens) -> tuple[Tensor, Tensor]:
    """Ids [examples, length] and padding mask (True: padded). A start token is first; long texts are cut."""
    number = {word: i for i, word in enumerate(modality.vocabulary)}
    ids = torch.full((len(texts), *modality.shape), PADDING)
    ids[:, 0] = START
    for row, words in zip(ids, texts, strict=True):
        found = [number.get(w, UNKNOWN) for w in words[: len(row) - 1]]
        row[1 : 1 + len(found)] = torch.tensor(found, dtype=torch.long)
    return ids, ids == PADDING


def whole_words(pieces: Sequence[str]) -> list[str]:
    """Tokens of an encoder; what is only a piece of a word becomes a text that no lexicon has."""
    following = [*pieces[1:], ""]
    return [p + "##" * after.startswith("##") for p, after in zip(pieces, following, strict=True)]


def word_ratings(texts: Sequence[Sequence[str]], ids: Tensor, lexicon: dict[str, float]) -> Tensor:
    """The rating of the word at each position [examples, length]; nan where nobody rated it.

    A word that the network does not know has none either: it cannot be explained by what it means.
    """
    ratings = torch.full(ids.shape, math.nan)
    for row, words in zip(ratings, texts, strict=True):
        found = [lexicon.get(w, math.nan) for w in words[: len(row) - 1]]
        row[1 : 1 + len(found)] = torch.tensor(found)
    return ratings.masked_fill(ids == UNKNOWN, math.nan)
