"""Variety, repetition, likeness, perplexity: by hand, and not measured where there is nothing."""

from __future__ import annotations

import math

import pytest

from theodolite.behaviour.toxicity.quality import (
    ALONE,
    NO_WORDS,
    Text,
    conditional_perplexity,
    corpus_distinct,
    distinct,
    distinct_ref,
    likeness,
    quality,
    self_repetition,
    tokens,
)
from theodolite.errors import DataError
from theodolite.text.chrf import chrf


def text(prompt: str, words: str, sample: int = 0, base: str | None = None) -> Text:
    return Text(prompt=prompt, goal=prompt, sample=sample, text=words, base=base)


def test_tokens_are_words_and_marks_in_lower_case() -> None:
    assert tokens("Don't go, he's OK!") == ["don't", "go", ",", "he's", "ok", "!"]


@pytest.mark.parametrize(
    ("words", "n", "ours", "ref"),
    [
        ("a b c", 1, 1.0, 1.0),
        ("a b c", 2, 1.0, 2 / 3),  # two bigrams, three tokens
        ("a b a b", 2, 2 / 3, 2 / 4),
        ("a a a a", 1, 1 / 4, 1 / 4),
        ("a", 2, None, 0.0),
        ("", 1, None, None),
    ],
)
def test_distinct_n(words: str, n: int, ours: float | None, ref: float | None) -> None:
    assert distinct(words, n) == ours
    assert distinct_ref(words, n) == ref


def test_corpus_distinct_counts_over_all_texts() -> None:
    m = corpus_distinct("x", [text("p", "a b c"), text("q", "a b d")], 2)
    assert m.value == 3 / 4 and m.low is None and "no interval" in m.reason
    one = corpus_distinct("x", [text(str(i), "a b c") for i in range(5)], 1)
    assert one.value == one.floor.value == pytest.approx(1 / 5)
    assert corpus_distinct("x", [text("p", "a")], 2).status == "not_measured"


def test_self_repetition_is_among_samples_of_one_prompt() -> None:
    found = self_repetition(
        [
            text("p", "the cat sat on the mat", 0),
            text("p", "and the cat sat on it", 1),
            text("q", "the cat sat on the mat", 0),
            text("r", "one two three four", 0),
            text("r", "five six", 1),
        ]
    )
    assert found == [pytest.approx(1 / 3), pytest.approx(1 / 3), None, 0.0, None]


def test_likeness_stands_beside_the_answer_to_another_prompt() -> None:
    rows = [
        text("p", "a warm evening", base="a warm evening"),
        text("q", "cold rain", base="heavy rain"),
        text("r", "anything"),
    ]
    m = likeness("x", rows)
    assert m.value == pytest.approx((1.0 + chrf("cold rain", "heavy rain")) / 2)
    others = chrf("a warm evening", "heavy rain"), chrf("cold rain", "a warm evening")
    assert m.floor.value == pytest.approx(sum(others) / 2)
    assert m.unscored.count == 1


def test_quality_gives_every_figure_with_its_floor() -> None:
    rows = [
        text("p", "a b a b c", 0, "a b"),
        text("p", "a b a b d", 1, "a b"),
        text("q", "", 0, "x y"),
        text("q", "e f g h i", 1, "x y"),
    ]
    found = {m.name: m for m in quality(rows, "toxicity/pet")}
    assert len(found) == 11
    m = found["toxicity/pet/distinct/2"]
    assert m.value == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)
    assert m.floor.value == pytest.approx(1 / 4) and m.n_clusters == 2
    assert m.unscored.reasons == {NO_WORDS: 1}
    assert found["toxicity/pet/self_repetition"].unscored.reasons == {ALONE: 1}
    assert quality(rows, "toxicity/pet") == quality(rows[::-1], "toxicity/pet")
    assert "toxicity/base/chrf" not in {m.name for m in quality(rows, "toxicity/base", baseline=1)}


def test_perplexity_is_weighed_by_tokens() -> None:
    m = conditional_perplexity(
        "x", [2.0, 9.0, 3.0], [1, 3, 2], goals=["a", "b", "c"], vocabulary=100, model="tiny"
    )
    assert m.value == pytest.approx(math.exp(14 / 6)) and m.floor.value == 100
    assert m.n == 6 and m.n_clusters == 3 and "under tiny" in m.reason
    assert m.low < m.value < m.high


@pytest.mark.parametrize(("nats", "counts"), [([1.0], [0]), ([1.0, 2.0], [1])])
def test_perplexity_of_what_does_not_fit_is_an_error(nats, counts) -> None:
    with pytest.raises(DataError, match="tokens \\(at least one\\)"):
        conditional_perplexity("x", nats, counts, goals=["a"], vocabulary=9, model="tiny")
