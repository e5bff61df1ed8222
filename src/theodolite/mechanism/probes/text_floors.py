"""Text floors: what the words of a request give away before any network has read it.

A probe that does no better than these has shown nothing about the network. On the public files of
harmful and ordinary requests they reach 0.97 to 0.98, for the two differ in verbs, in length and in
whether a full stop ends them; the last two floors see such marks and any script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.mechanism.items import Items
from theodolite.mechanism.probes.splits import Split
from theodolite.text.suggest import did_you_mean

Labels = NDArray[np.int64]
TEXT_FLOORS: Final = (
    "length",
    "first_word",
    "last_word",
    "tfidf_svm",
    "ngram_bayes",
    "character_svm",
)
# Scripts written without spaces: each of their signs counts as a word.
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGN}]|[^\W{_SIGN}]{{2,}}")
_CHUNK = re.compile(rf"[{_SIGN}]|[^\s{_SIGN}]+")
_TOKEN = re.compile(rf"[{_SIGN}]|[^\W{_SIGN}]+|[^\w\s]")


def text_floor(
    name: str, train_texts: Sequence[str], train_labels: Labels, test_texts: Sequence[str]
) -> Labels:
    """Return the classes that a floor predicts for test texts.

    Args:
        name: `length` (logistic on the number of words between spaces), `first_word`, `last_word`
            (linear SVM on that word), `tfidf_svm` (TF-IDF of words, linear SVM), `ngram_bayes`
            (naive Bayes on 1 to 3 words and marks in a row) or `character_svm` (TF-IDF of 2 to 4
            characters within words and their marks, linear SVM).
        train_labels: int (train text), of at least two classes.

    Raises: ConfigError: there is no such floor.
    """
    fitted = _fitted(name, train_texts, train_labels)
    return np.asarray(fitted.predict(list(test_texts)), np.int64)


def text_scores(
    name: str, train_texts: Sequence[str], train_labels: Labels, test_texts: Sequence[str]
) -> NDArray[np.float64]:
    """Return how far test texts lie on class 1's side by a floor that draws a line, axis (text).

    Args:
        name: `first_word`, `last_word`, `tfidf_svm` or `character_svm`.
        train_labels: 0 or 1; axis (train text).

    Raises: ConfigError: there is no such floor.
    """
    fitted = _fitted(name, train_texts, train_labels)
    return np.asarray(fitted.decision_function(list(test_texts)), np.float64)


def _fitted(name: str, texts: Sequence[str], labels: Labels) -> Any:
    if name not in TEXT_FLOORS:
        raise ConfigError(
            f"There is no text floor {shown(name)}.", fix=did_you_mean(name, TEXT_FLOORS)
        )
    return _model(name).fit(list(texts), labels)


def text_floors(items: Items, splits: Sequence[Split]) -> Mapping[str, Labels]:
    """Return what every floor predicts on splits.

    Returns: floor -> predicted labels (test item), the splits' test items one after another.
    """
    texts = items.texts
    found: dict[str, Labels] = {}
    for name in TEXT_FLOORS:
        parts = [
            text_floor(
                name,
                [texts[i] for i in split.train],
                items.labels[split.train],
                [texts[i] for i in split.test],
            )
            for split in splits
        ]
        found[name] = np.concatenate(parts)
    return found


def _model(name: str) -> Any:
    """Return an unfitted pipeline from texts to classes."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.svm import LinearSVC

    svm = LinearSVC(random_state=0)
    if name == "length":
        return make_pipeline(FunctionTransformer(_lengths), LogisticRegression())
    if name in ("first_word", "last_word"):
        word = _one_word(0 if name == "first_word" else -1)
        return make_pipeline(CountVectorizer(analyzer=word), svm)
    if name == "tfidf_svm":
        return make_pipeline(TfidfVectorizer(analyzer=words), svm)
    if name == "ngram_bayes":
        return make_pipeline(
            CountVectorizer(tokenizer=tokens, token_pattern=None, ngram_range=(1, 3)),
            MultinomialNB(),
        )
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return make_pipeline(characters, svm)


def words(text: str) -> list[str]:
    """Return the words of two letters or more, and single signs of scripts without spaces."""
    return _WORD.findall(text.lower()) or [text.strip().lower()]


def tokens(text: str) -> list[str]:
    """Return words and marks."""
    return _TOKEN.findall(text.lower()) or [text.strip().lower()]


def _one_word(place: int) -> Callable[[str], list[str]]:
    return lambda text: [words(text)[place]]


def _lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[len(_CHUNK.findall(text))] for text in texts], np.float64)
