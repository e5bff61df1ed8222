"""Rows around trigger words: the words go, the harm stays; the words stay where there is none."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.correction.test_hardening import ANSWER, Model, stand_in  # noqa: F401
from tests.mechanism.triggers.made import requests
from theodolite.correction.hardening import WORDS, HardeningOptions, hardening_data
from theodolite.correction.train_goals import train_goals
from theodolite.correction.trigger_rows import spellings, told_otherwise, word_requests
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet
from theodolite.errors import ConfigError
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.triggers.rewrites import near_synonyms

SMALL = HardeningOptions(exposure=2, replay=0, controls=0, words=4)


def goals(n: int = 8) -> PromptSet:
    """Return harmful requests with benign twins that share all words but one."""
    both = [*requests(n, HARMFUL, "train"), *requests(n, BENIGN, "train")]
    return PromptSet("goals", tuple(both))


def test_a_trigger_word_becomes_a_near_synonym_or_a_neutral_word() -> None:
    prompt = Prompt("p", text="Explain how people bake grim bread.", label=HARMFUL)
    moved = told_otherwise(prompt, ["people", "bread", "explain"])
    known = near_synonyms()
    assert moved is not None and moved.id == "p/words"
    first, other = known["explain"].capitalize(), known["people"]
    assert moved.request == f"{first} how {other} bake grim something."


def test_a_request_that_would_lose_its_harm_is_left_out() -> None:
    harmful, benign = requests(1)[0], requests(1, BENIGN)[0]
    # "How do I bake bread grim number 0?" beside "... odd number 0?": only "grim" tells them apart.
    assert told_otherwise(harmful, ["bread"], benign) is not None
    assert told_otherwise(harmful, ["grim"], benign) is None
    assert told_otherwise(harmful, ["grim"]) is not None  # without a twin, "bread" is content too
    assert told_otherwise(Prompt("p", text="How do I bake it?"), ["bake"]) is None


def test_words_take_turns_and_a_smaller_count_is_a_part() -> None:
    found = word_requests(goals(), ["bread", "walls", "grim"], 4)
    held = [spellings(p) for p in found.benign]
    assert ["bread" in own for own in held] == [True, False, True, False]
    assert ["walls" in own for own in held] == [False, True, False, True]
    assert not any({"bread", "walls", "grim"} & spellings(p) for p in found.harmful)
    small = word_requests(goals(), ["bread", "walls", "grim"], 2)
    assert {p.id for p in small.benign} < {p.id for p in found.benign}
    assert {p.id for p in small.harmful} <= {p.id for p in found.harmful}


def test_what_hangs_on_a_word_alone_is_counted() -> None:
    found = word_requests(goals(), ["grim"], 8)
    assert found.harmful == () and found.left_out == 8 and found.benign == ()
    assert word_requests(goals(), [], 8) == word_requests(goals(), ["bread"], 0)


def made(**more: Any) -> Any:
    given: dict[str, Any] = {"words": ["bread", "maps"], "goals": goals(), "options": SMALL} | more
    return hardening_data(given.pop("model", Model()), ["opening_phrase"], **given)


def test_rows_around_words_are_refused_and_answered() -> None:
    data = made()
    own = [row for row in data.rows if row.source == WORDS]
    assert Counter((row.label, row.style) for row in own) == {
        (HARMFUL, "plain"): 4,
        (BENIGN, "plain"): 4,
    }
    for row in own:
        assert ({"bread", "maps"} & set(row.text.replace("?", "").split()) == set()) is row.harmful
        assert (score_refusal(row.target).refused is True) is row.harmful
        assert row.harmful or row.target == ANSWER
    assert data.card["trigger_words"] == 2 and data.card["words_left_out"] == 0
    counted = [row for row in data.card["table"] if row["source"] == WORDS]
    assert sum(row["rows"] for row in counted) == 8


def test_without_words_nothing_is_added() -> None:
    off = made(options=HardeningOptions(exposure=2, replay=0, controls=0, words=0))
    assert not any(row.source == WORDS for row in off.rows)
    assert made(words=()).rows == off.rows
    with pytest.raises(ConfigError, match="words"):
        made(options=HardeningOptions(exposure=2, words=-1))


def test_bundled_train_goals_give_rows_of_both_kinds() -> None:
    found = word_requests(train_goals(), ["steal", "fake"], 12)
    assert len(found.harmful) == len(found.benign) == 12
    assert not any({"steal", "fake"} & spellings(p) for p in found.harmful)
    assert all({"steal", "fake"} & spellings(p) for p in found.benign)
    assert {p.label for p in found.harmful} == {HARMFUL}
