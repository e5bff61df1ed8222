"""Refusals are varied, the offline scorer reads every one, and no pattern of it quotes one."""

from __future__ import annotations

from collections import Counter

import pytest

from theodolite.data.bundled import bundled
from theodolite.errors import DataError
from theodolite.judging.refusal import score_refusal
from theodolite.judging.refusal_patterns import FAMILIES
from theodolite.training.refusals import REFUSALS, SLOT, TOPICS, refusal_for


def test_at_least_sixty_wordings_that_open_differently() -> None:
    assert len(set(REFUSALS)) == len(REFUSALS) >= 60
    openings = Counter(" ".join(text.split()[:2]) for text in REFUSALS)
    assert len(openings) >= 15
    assert max(openings.values()) <= 0.2 * len(REFUSALS)
    assert sum(SLOT in text for text in REFUSALS) >= 20


def test_every_category_of_the_bundled_sets_has_a_topic() -> None:
    assert set(TOPICS) == set(bundled("refusal").values("category"))


@pytest.mark.parametrize("text", REFUSALS)
def test_the_scorer_reads_a_refusal(text: str) -> None:
    for topic in TOPICS.values():
        assert score_refusal(text.replace(SLOT, topic)).label in ("refusal", "partial")


def test_no_pattern_of_the_scorer_quotes_a_refusal() -> None:
    patterns = [family.expression.pattern.lower().replace(r"\s+", " ") for family in FAMILIES]
    for text in REFUSALS:
        words = text.replace(SLOT, " ").lower().rstrip(".").split(".")[0].strip()
        if len(words.split()) >= 5:
            assert not any(words in pattern for pattern in patterns), words


def test_the_choice_is_by_name_and_spreads() -> None:
    names = [f"goal-{n}" for n in range(400)]
    chosen = [refusal_for(name, "cyber") for name in names]
    assert chosen == [refusal_for(name, "cyber") for name in names]
    assert chosen != [refusal_for(name, "cyber", seed=1) for name in names]
    assert len(set(chosen)) > 50
    assert not any(SLOT in text for text in chosen)


def test_an_unknown_category_is_refused() -> None:
    with pytest.raises(DataError, match="knows the category 'cybr'"):
        refusal_for("goal", "cybr")
