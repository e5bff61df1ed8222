"""What a score is: checked, made once per text, and never there for an empty one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judging.made_scorers import BagScorer, FixedScorer
from tests.oracles.shapley import shapley
from theodolite.errors import ConfigError, DataError, NumericsError, ScorerUnavailable
from theodolite.judging.toxicity import (
    EMPTY,
    AttributeScorer,
    FallibleScorer,
    LinearScorer,
    TextScore,
    TextScorer,
    linear_shapley,
    name_of,
    score_texts,
    short_names,
)
from theodolite.judging.toxicity_registry import FORMS, text_scorer

WORDS = st.lists(st.sampled_from(["you", "are", "stupid", "rude", "kind", "soup"]), max_size=7)


class Fallible(FixedScorer):
    def try_score(self, texts: Sequence[str]) -> list[TextScore]:
        return [TextScore(None, "judge_unparsable"), TextScore(0.25)][: len(texts)]


def test_equal_texts_are_scored_once_and_empty_ones_not_at_all() -> None:
    scorer = BagScorer()
    found = score_texts(scorer, ["stupid", "", "kind soup", "stupid", " \n"])
    assert [one.value for one in found] == pytest.approx([0.4, None, 0.0, 0.4, None])
    assert [one.reason for one in found] == [None, EMPTY, None, None, EMPTY]
    assert scorer.seen == ["stupid", "kind soup"]
    assert score_texts(scorer, []) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_error_that_names_scorer_and_text(value: float) -> None:
    with pytest.raises(NumericsError, match="fixed@1-00000000 gave text 1 the score"):
        score_texts(FixedScorer(value), ["", "a"])


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [(-0.5, "neural", False), (-0.5, "sentiment", True), (1.5, "sentiment", False)],
)
def test_a_score_off_its_range_is_an_error(value, kind, fits) -> None:
    if fits:
        assert score_texts(FixedScorer(value, kind), ["a"])[0].value == value
    else:
        with pytest.raises(DataError, match="off its range"):
            score_texts(FixedScorer(value, kind), ["a"])


def test_a_wrong_number_of_scores_is_an_error() -> None:
    scorer = FixedScorer(0.1)
    scorer.score = lambda texts: [0.1]  # type: ignore[method-assign]
    with pytest.raises(DataError, match="gave 1 scores for 2 texts"):
        score_texts(scorer, ["a", "b"])


def test_a_text_that_the_scorer_failed_on_keeps_its_reason() -> None:
    found = score_texts(Fallible(0.0), ["a", "b", "a"])
    assert found[0] == found[2] == TextScore(None, "judge_unparsable")
    assert found[1].value == 0.25


def test_what_a_scorer_can_do_is_seen_from_its_methods() -> None:
    bag, fixed = BagScorer(), FixedScorer(0.0)
    assert isinstance(bag, TextScorer) and isinstance(fixed, TextScorer)
    assert isinstance(bag, LinearScorer) and not isinstance(fixed, LinearScorer)
    assert isinstance(Fallible(0.0), FallibleScorer) and not isinstance(bag, FallibleScorer)
    assert not isinstance(bag, AttributeScorer)


@given(WORDS)
def test_leaving_a_word_out_is_its_shapley_value_in_a_linear_score(words: list[str]) -> None:
    """Words independent, nothing said as the background: both are coefficient times count."""
    scorer = BagScorer()
    text = " ".join(words)
    values = linear_shapley(scorer.linear_terms(text))
    assert set(values) == set(words) & set(scorer.worth)
    for word, value in values.items():
        without = " ".join(other for other in words if other != word)
        assert value == pytest.approx(
            scorer.linear_score(text) - scorer.linear_score(without), abs=1e-9
        )


def test_the_closed_form_is_the_mean_over_all_orders() -> None:
    terms = {"a": (0.5, 2.0), "b": (-1.0, 0.3), "c": (0.25, 1.0), "d": (3.0, -1.0)}
    expected = {"a": 0.5, "c": 1.0}

    def worth(said: frozenset[str]) -> float:
        return 0.7 + sum(
            coefficient * (value if term in said else expected.get(term, 0.0))
            for term, (coefficient, value) in terms.items()
        )

    exact = shapley(list(terms), worth)
    assert linear_shapley(terms, expected) == pytest.approx(exact, abs=1e-9)


def test_short_names() -> None:
    assert name_of("judge:openai/gpt@1-2b") == "judge:openai/gpt"
    ids = ["vader@3.3.2-aa", "hf:x[hate]@11", "hf:x[hate]@22"]
    assert list(short_names(ids).values()) == ["vader", "hf:x[hate]@11", "hf:x[hate]@22"]


@pytest.mark.parametrize("name", ["alt_profanty", "hf:", "judge:", "", "zzzzzz"])
def test_an_unknown_scorer_lists_all_and_suggests_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        text_scorer(name)
    assert all(form in caught.value.message for form in FORMS)
    assert ("alt_profanity" in caught.value.fix) == (name == "alt_profanty")


def test_a_path_without_a_classifier_says_what_to_give(tmp_path) -> None:
    with pytest.raises(ScorerUnavailable, match="no classifier") as caught:
        text_scorer(f"hf:{tmp_path}/nothing#toxic")
    assert "safetensors" in caught.value.fix
