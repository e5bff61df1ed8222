"""Weights of words: leaving one out, the closed form, and every order of words agree."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.correction.perspective_taking.made import Tool
from tests.oracles.shapley import shapley
from theodolite.correction.perspective_taking.attribution import (
    WordWeight,
    by_words,
    leave_one_out,
    top_words,
    word_weights,
)
from theodolite.correction.perspective_taking.severity import severities, worst_attribute
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.judging.toxicity import TextScore
from theodolite.mechanism.triggers.words import word_spans

WORDS = ("lamp", "river", "green", "stone", "quiet", "door")


@dataclass
class Linear:
    """A scorer that is a sum over words, with an expected value for some."""

    coefficients: Mapping[str, float]
    id: str = "linear@1"
    kind: str = "lexical"
    blind_spots: str = ""

    def score(self, texts: Sequence[str]) -> list[float]:
        return [
            sum(self.coefficients.get(word, 0.0) for word in self._words(text)) for text in texts
        ]

    def linear_terms(self, text: str) -> dict[str, tuple[float, float]]:
        words = self._words(text)
        return {word: (c, float(words.count(word))) for word, c in self.coefficients.items()}

    @staticmethod
    def _words(text: str) -> list[str]:
        return [text[a:b].lower() for a, b in word_spans(text)]


COEFFICIENTS = st.fixed_dictionaries({word: st.floats(0, 0.1) for word in WORDS})
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7)


@given(COEFFICIENTS, TEXTS)
def test_leaving_one_out_is_shapley_where_the_scorer_is_a_sum(
    coefficients: dict[str, float], words: list[str]
) -> None:
    scorer, text = Linear(coefficients), " ".join(words)
    left_out = [own.weight for own in word_weights(text, scorer, "leave_one_out")]
    exact = [own.weight for own in word_weights(text, scorer, "linear")]
    assert left_out == pytest.approx(exact, abs=1e-9)
    assert sum(exact) == pytest.approx(scorer.score([text])[0], abs=1e-9)
    assert word_weights(text, scorer) == word_weights(text, scorer, "linear")


def test_both_equal_the_mean_over_every_order_of_words() -> None:
    words = ["lamp", "river", "lamp", "stone"]
    scorer = Linear({"lamp": 0.2, "river": 0.05, "door": 0.3})

    def worth(kept: frozenset[str]) -> float:
        return scorer.score([" ".join(words[int(place)] for place in sorted(kept))])[0]

    slow = list(shapley([str(place) for place in range(len(words))], worth).values())
    for attribution in ("linear", "leave_one_out"):
        found = word_weights(" ".join(words), scorer, attribution)
        assert [own.weight for own in found] == pytest.approx(slow, abs=1e-9)


def test_terms_of_several_words_are_shared_and_absent_ones_left_out() -> None:
    text = "Green river, green door: don't"
    found = by_words(text, {"green": 1.0, "river green": 0.6, "don": 0.2, "lamp": 9.0})
    assert [own.word for own in found] == ["Green", "river", "green", "door", "don't"]
    assert [own.weight for own in found] == pytest.approx([0.65, 0.3, 0.65, 0.0, 0.2])


def test_one_call_with_a_text_for_each_word() -> None:
    tool = Tool(lambda text: 0.1 * len(text.split()))
    found = leave_one_out("a quiet green stone", tool)
    assert tool.asked == [
        [
            "a quiet green stone",
            "quiet green stone",
            "a green stone",
            "a quiet stone",
            "a quiet green ",
        ]
    ]
    assert [own.weight for own in found] == pytest.approx([0.1] * 4)


def test_a_single_word_carries_all_and_a_blank_text_nothing() -> None:
    tool = Tool(lambda text: 0.7)
    assert leave_one_out("stone!", tool)[0].weight == 0.0  # "!" scores as much
    assert leave_one_out("stone", tool) == [WordWeight("stone", (0, 5), 0.7)]
    assert leave_one_out("", tool) == leave_one_out(" \n", tool) == []


@dataclass
class Failing(Tool):
    """A tool that has nothing to say of some texts."""

    def try_score(self, texts: Sequence[str]) -> list[TextScore]:
        return [TextScore(None, "no") if "stone" not in text else TextScore(0.5) for text in texts]


def test_what_cannot_be_scored_has_no_weight() -> None:
    tool = Failing(lambda text: 0.5)
    assert [own.word for own in leave_one_out("green stone", tool)] == ["green"]
    assert leave_one_out("green door", tool) == []


def test_the_strongest_words_once_each_without_empty_ones() -> None:
    words = [("the", 9.0), ("Door", 0.2), ("stone", 0.3), ("door", 0.2), ("lamp", -1.0)]
    weights = [WordWeight(word, (i, i + 1), weight) for i, (word, weight) in enumerate(words)]
    assert top_words(weights, 2) == [("Door", 0.4), ("stone", 0.3)]
    assert [word for word, _ in top_words(weights, 9)] == ["Door", "stone", "lamp"]
    assert top_words([], 2) == []


def test_order_of_ties_is_that_of_the_text() -> None:
    text = " ".join(random.Random(0).sample(WORDS, len(WORDS)))
    found = top_words(leave_one_out(text, Tool(lambda _: 0.5)), 3)
    assert [word for word, _ in found] == text.split()[:3]


def test_options_and_bad_scores() -> None:
    tool = Tool(lambda text: float("inf"))
    with pytest.raises(ConfigError, match="linear"):
        word_weights("stone", tool, "linear")
    with pytest.raises(ConfigError, match="auto, leave_one_out"):
        word_weights("stone", tool, "shap")
    with pytest.raises(NumericsError, match=r"stub@1"):
        leave_one_out("stone", tool)
    with pytest.raises(DataError, match="range"):
        severities(Tool(lambda text: 3.0), ["stone"])


def test_severity_points_one_way() -> None:
    rates = {"kind": 0.8, "bad": -0.6, "so-so": 0.0}
    texts = [*rates, ""]
    assert severities(Tool(rates.__getitem__, kind="sentiment"), texts) == [0.0, 0.6, 0.0, None]
    assert worst_attribute(Tool(lambda text: 0.3), "stone", "toxicity") == ("toxicity", 0.3)
    assert worst_attribute(Tool(lambda text: 0.3), " ", "toxicity") is None
    long = Tool(lambda text: len(text) / 40_000)
    assert severities(long, ["x" * 30_000]) == [0.5]
