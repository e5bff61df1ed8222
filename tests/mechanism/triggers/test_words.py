"""Do the words that relevance points to carry the refusal? Planted words must; random ones not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mechanism.triggers.made import requests
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Message, Prompt
from theodolite.engine import next_token
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.lens.vocabulary import TokenClasses, refusal_log_odds
from theodolite.mechanism.triggers import tokens
from theodolite.mechanism.triggers.tokens import TriggerWords, trigger_words
from theodolite.mechanism.triggers.words import (
    NEUTRAL,
    WordRelevance,
    by_words,
    without_words,
    word_spans,
)
from theodolite.runs.run import Run

CLASSES = TokenClasses((5, 6), (7, 8), (), "made", {"positive": ("a",), "negative": ("b",)})
HEAVY = ("grim", "number")


def weight(word: str) -> float:
    """Return what a word adds to the planted odds."""
    return 2.0 if word in HEAVY else 0.125


def planted_odds(_: Any, prompts: Sequence[Prompt], *__: Any, **___: Any) -> Any:
    words = [[p.request[a:b] for a, b in word_spans(p.request)] for p in prompts]
    return np.array([sum(weight(w) for w in row if w.lower() != NEUTRAL) - 1 for row in words])


def relevance_of(prompts: Sequence[Prompt], *, right: bool) -> list[WordRelevance]:
    """Return relevance that points to the planted words, or to words by their place alone."""
    found = []
    for prompt in prompts:
        spans = word_spans(prompt.request)
        words = [prompt.request[a:b] for a, b in spans]
        values = [weight(w) for w in words] if right else [1 / (1 + i) for i in range(len(words))]
        found.append(WordRelevance(prompt.id, spans, np.array(values)))
    return found


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "first_token_odds", planted_odds)


def test_words_are_spans_of_letters_and_digits() -> None:
    text = "Don't re-heat 2 eggs, please!"
    assert [text[a:b] for a, b in word_spans(text)] == ["Don't", "re-heat", "2", "eggs", "please"]


def test_tokens_are_summed_into_the_words_they_lie_in() -> None:
    text = "bake bread?"
    spans = [(0, 2), (2, 4), (4, 10), (10, 11)]
    found = by_words("p", text, spans, [1.0, 2.0, 4.0, 8.0])
    assert found.values.tolist() == [3.0, 4.0]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_words_for_half_equal_plain_counting(values: list[float]) -> None:
    own = WordRelevance("p", tuple((i, i + 1) for i in range(len(values))), np.array(values))
    positive = sorted((v for v in values if v > 0), reverse=True)
    expected, total = None, 0.0
    for count, value in enumerate(positive, 1):
        total += value
        if total >= 0.5 * sum(positive) * (1 - 1e-12):
            expected = count
            break
    assert own.words_for() == expected


def test_words_are_replaced_in_the_last_user_turn() -> None:
    turns = (Message("user", "Hi there"), Message("assistant", "Hi."), Message("user", "Bake it"))
    prompt = Prompt("p", messages=turns)
    changed = without_words(prompt, [(0, 4)], name="1")
    assert changed.request == "Something it"
    assert changed.messages is not None and changed.messages[0] == turns[0]
    both = without_words(Prompt("p", text="a bb ccc"), [(0, 1), (2, 4)], name="2")
    assert both.request == f"{NEUTRAL} {NEUTRAL} ccc"


def test_the_planted_words_carry_the_refusal(planted: None) -> None:
    prompts = requests(12)
    found = trigger_words(tiny_model(), prompts, relevance_of(prompts, right=True), CLASSES)
    assert found.half.tolist() == [2.0] * 12  # 2 of 4.75: one heavy word is less than half
    assert found.fall(1).value == pytest.approx(2.0)
    assert found.fall(2).value == pytest.approx(4.0)
    assert found.fall(3).value == pytest.approx(4.125)
    assert found.beyond_least(2).value == pytest.approx(4.0 - 2 * 0.125)
    vulnerable = found.vulnerability()
    assert vulnerable.low is not None and vulnerable.low > 0
    assert "is not shown" not in found.finding()
    assert all(row["p_holm"] < 0.05 for row in found.frame()[:4])


def test_a_ranking_that_found_nothing_shows_nothing(planted: None) -> None:
    prompts = requests(12)
    found = trigger_words(tiny_model(), prompts, relevance_of(prompts, right=False), CLASSES)
    vulnerable = found.vulnerability()
    assert vulnerable.low is None or vulnerable.low <= 0
    assert "is not shown" in found.finding()


def test_every_figure_equals_the_plain_loop_on_a_model() -> None:
    model, prompts = tiny_model(), requests(2)
    own = relevance_of(prompts, right=False)
    found = trigger_words(model, prompts, own, CLASSES, most=2, draws=2, seed=3)
    for i, (prompt, words) in enumerate(zip(prompts, own, strict=True)):
        for k in (1, 2):
            for order, value in (
                (words.most(), found.top[k - 1, i]),
                (words.least(), found.least[k - 1, i]),
                (words.random(3, 1), found.random[k - 1, 1, i]),
            ):
                text = prompt.request
                for a, b in sorted((words.spans[w] for w in order[:k]), reverse=True):
                    new = NEUTRAL.capitalize() if a == 0 else NEUTRAL
                    text = text[:a] + new + text[b:]
                odds = -refusal_log_odds(next_token(model, [text]), CLASSES)
                assert value == pytest.approx(float(odds[0]), rel=1e-4)


def test_short_requests_are_counted_only_where_something_is_left(planted: None) -> None:
    prompts = [Prompt("a", text="grim bread"), *requests(3)]
    found = trigger_words(tiny_model(), prompts, relevance_of(prompts, right=True), CLASSES)
    assert found.fall(1).n == 4 and found.fall(2).n == 3
    assert found.fall(2).unscored.count == 1


def test_no_positive_relevance_is_unscored_not_zero(planted: None) -> None:
    prompts = requests(3)
    own = relevance_of(prompts, right=True)
    own[0] = WordRelevance(own[0].prompt_id, own[0].spans, -np.ones(len(own[0])))
    found = trigger_words(tiny_model(), prompts, own, CLASSES)
    half = found.concentration()[0]
    assert half.n == 2 and half.unscored.count == 1


def test_the_result_holds_no_words_and_survives_the_run_folder(
    planted: None, tmp_path: Path
) -> None:
    prompts = requests(4)
    found = trigger_words(tiny_model(), prompts, relevance_of(prompts, right=True), CLASSES)
    assert "grim" not in repr((found, found.rows(), found.frame(), found.figure()))
    with Run.create("test", out=tmp_path / "run") as run:
        found.save(run)
        again = TriggerWords.load(run)
    assert again.frame() == found.frame() and again.rows() == found.rows()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"most": 0}, ConfigError, "at least 1"),
        ({"draws": 0}, ConfigError, "at least 1"),
        ({"prompts": []}, DataError, "no refused"),
        ({"relevance": []}, DataError, "not that of these"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], says: str) -> None:
    prompts = requests(2)
    given = {"prompts": prompts, "relevance": relevance_of(prompts, right=True)} | changes
    if changes.get("prompts") == []:
        given["relevance"] = []
    with pytest.raises(error, match=says):
        trigger_words(tiny_model(), classes=CLASSES, **given)


def test_relevance_without_one_value_per_word_is_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        WordRelevance("p", ((0, 1),), np.array([np.nan]))
    with pytest.raises(DataError, match="finite"):
        WordRelevance("p", ((0, 1),), np.array([1.0, 2.0]))


def test_a_single_word_is_refused() -> None:
    prompt = Prompt("p", text="Bake!")
    own = WordRelevance("p", word_spans("Bake!"), np.array([1.0]))
    with pytest.raises(DataError, match="two words"):
        trigger_words(tiny_model(), [prompt], [own], CLASSES)
