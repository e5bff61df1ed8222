"""Each floor reads what it names and nothing else."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite.data import official, read_prompts
from theodolite.data.bundled import bundled
from theodolite.errors import ConfigError
from theodolite.mechanism.items import make_items
from theodolite.mechanism.probes.splits import inner_folds, make_splits
from theodolite.mechanism.probes.text_floors import (
    TEXT_FLOORS,
    text_floor,
    text_floors,
    tokens,
    words,
)

FILLER = ("bread", "boats", "lakes", "seeds", "trees", "roads", "songs", "clouds")


def said(first: str, last: str, length: int, seed: int) -> str:
    inner = random.Random(seed).choices(FILLER, k=length - 2)
    return " ".join([first, *inner, last])


def told(name: str, cases: list[tuple[str, int]]) -> float:
    """Return accuracy on the second half of cases that a floor learns from the first half."""
    half = len(cases) // 2
    train, test = cases[:half], cases[half:]
    labels = np.array([label for _, label in train])
    found = text_floor(name, [t for t, _ in train], labels, [t for t, _ in test])
    assert found.dtype == np.int64
    return float((found == [label for _, label in test]).mean())


CASES = {
    "length": [(said("Ask", "now", 6 + 8 * (i % 2), i), i % 2) for i in range(80)],
    "first_word": [(said(("Ask", "Tell")[i % 2], "now", 8, i), i % 2) for i in range(80)],
    "last_word": [(said("Ask", ("now.", "today?")[i % 2], 8, i), i % 2) for i in range(80)],
}


@pytest.mark.parametrize("shortcut", CASES)
@pytest.mark.parametrize("name", ["length", "first_word", "last_word"])
def test_simple_floors_read_one_thing(name: str, shortcut: str) -> None:
    accuracy = told(name, CASES[shortcut])
    assert accuracy == 1.0 if name == shortcut else accuracy < 0.75


@pytest.mark.parametrize("name", ["tfidf_svm", "ngram_bayes", "character_svm"])
def test_bags_read_words_wherever_they_stand(name: str) -> None:
    draw = random.Random(0)
    cases = []
    for i in range(80):
        spoken = [*draw.choices(FILLER, k=5), ("knife", "spoon")[i % 2]]
        draw.shuffle(spoken)
        cases.append((" ".join(spoken), i % 2))
    assert told(name, cases) > 0.9


def test_marks_are_read_by_the_floors_that_say_so() -> None:
    """Classes of the same words: one ends in a full stop, the other in another mark or bare."""
    asked, bare = (
        [(said("Ask", "now" + (".", other)[i % 2], 8, i), i % 2) for i in range(80)]
        for other in ("?", "")
    )
    assert told("ngram_bayes", asked) > 0.9
    assert told("character_svm", asked) == told("character_svm", bare) == 1.0
    assert max(told("tfidf_svm", asked), told("tfidf_svm", bare)) < 0.75


def test_scripts_without_spaces_are_read_sign_by_sign() -> None:
    assert words("How 做面包 x?") == ["how", "做", "面", "包"]
    assert tokens("做 a?") == ["做", "a", "?"]
    assert words("?!") == ["?!"]
    signs = random.Random(1)
    cases = [
        ("".join(signs.choices("做面包船湖树", k=7)) + "刀匙"[i % 2], i % 2) for i in range(60)
    ]
    for name in ("last_word", "tfidf_svm", "ngram_bayes", "character_svm"):
        assert told(name, cases) > 0.9
    longer = [("面" * (4 + 6 * (i % 2)), i % 2) for i in range(20)]
    assert told("length", longer) == 1.0


def test_three_classes_and_words_never_seen() -> None:
    train = ["red apple pie"] * 5 + ["blue boat trip here"] * 5 + ["green tree"] * 5
    labels = np.repeat([0, 1, 2], 5)
    for name in TEXT_FLOORS:
        found = text_floor(name, train, labels, ["red apple pie", "🙂", "green tree"])
        assert found.shape == (3,)
        assert set(found) <= {0, 1, 2}
        if name not in ("length",):
            assert (found[0], found[2]) == (0, 2)


def test_floors_on_splits_are_fitted_on_train_alone_and_stand_in_order() -> None:
    rows = list(bundled("refusal"))
    items = make_items(
        {name: [p for p in rows if p.label == name] for name in ("harmful", "benign")}
    )
    splits = make_splits(items, "source")
    found = text_floors(items, splits)
    assert tuple(found) == TEXT_FLOORS
    second = splits[1]
    texts = items.texts
    for name, predicted in found.items():
        assert predicted.shape == (240,)
        alone = text_floor(
            name,
            [texts[i] for i in second.train],
            items.labels[second.train],
            [texts[i] for i in second.test],
        )
        assert (predicted[len(splits[0].test) :] == alone).all()


def test_unknown_floor_is_named() -> None:
    with pytest.raises(ConfigError, match="no text floor 'tfidf'"):
        text_floor("tfidf", ["a", "b"], np.array([0, 1]), ["a"])


def five_fold(name: str, texts: list[str], labels: NDArray[np.int64]) -> float:
    right = 0
    for train, test in inner_folds(labels, [str(i) for i in range(len(texts))], seed=0):
        found = text_floor(name, [texts[i] for i in train], labels[train], [texts[i] for i in test])
        right += int((found == labels[test]).sum())
    return right / len(texts)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="THEODOLITE_DATA is not set")
def test_delivered_files_give_the_published_floors() -> None:
    """All 493 distinct ordinary prompts against a seeded sample of as many harmful ones.

    The first 493 harmful ones would not do: all are of one source, and the floor is 0.987.
    """
    harmful, benign = (
        [p.request for p in read_prompts(official(f"hidden-state-probes/{name}_prompt")).distinct()]
        for name in ("malicious", "normal")
    )
    assert (len(harmful), len(benign)) == (915, 493)
    labels = np.repeat([1, 0], 493)
    mixed = random.Random(0).sample(harmful, 493) + benign
    assert five_fold("tfidf_svm", mixed, labels) == pytest.approx(0.970, abs=0.01)
    assert five_fold("first_word", mixed, labels) == pytest.approx(0.763, abs=0.03)
    assert five_fold("last_word", mixed, labels) == pytest.approx(0.721, abs=0.03)
    assert five_fold("length", mixed, labels) == pytest.approx(0.716, abs=0.03)
    assert five_fold("character_svm", mixed, labels) > five_fold("tfidf_svm", mixed, labels)
    assert five_fold("tfidf_svm", harmful[:493] + benign, labels) > 0.98
