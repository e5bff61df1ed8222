"""Words over goals: counted as a plain loop counts them, beside what words that are alike have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.mechanism.triggers.made import requests
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.mechanism.triggers.shared_words import (
    SharedWords,
    everyday_words,
    shared_words,
)
from theodolite.mechanism.triggers.words import WordRelevance, word_spans
from theodolite.runs.run import Run

REST = "(words of fewer than 3 goals)"


def carried(prompts: Sequence[Prompt], heavy: str = "grim") -> list[WordRelevance]:
    """Return relevance of which one word holds most, and every other as much as the next."""
    found = []
    for prompt in prompts:
        spans = word_spans(prompt.request)
        words = [prompt.request[a:b] for a, b in spans]
        values = np.array([8.0 if word == heavy else 1.0 for word in words])
        found.append(WordRelevance(prompt.id, spans, values))
    return found


def shared(n: int = 8) -> SharedWords:
    prompts = requests(n)
    return shared_words(prompts, carried(prompts))


def test_every_row_equals_plain_counting() -> None:
    # "How do I bake bread grim number 0?": eight words, of which one has 8 of 15.
    rows = {row["word"]: row for row in shared().frame()}
    assert rows["grim"]["goals"] == rows["grim"]["top_goals"] == rows["grim"]["requests"] == 8
    assert rows["grim"]["share"] == pytest.approx(8 / 15)
    assert rows["grim"]["even"] == pytest.approx(1 / 8)
    assert rows["grim"]["top_by_chance"] == pytest.approx(8 * 1 / 8)  # one word holds half
    assert rows["how"]["share"] == pytest.approx(1 / 15) and rows["how"]["top_goals"] == 0
    assert not rows["how"]["content"] and rows["grim"]["content"]
    assert next(iter(rows)) == "grim" and list(rows)[-1] == REST


def test_words_of_few_goals_are_pooled_and_no_word_is_lost() -> None:
    found = shared()
    rows = {row["word"]: row for row in found.frame()}
    # 8 requests have 5 verbs and 4 things in turn: none stands in three goals.
    assert set(rows) == {"grim", "how", "do", "i", "number", REST}
    assert rows[REST]["share"] == pytest.approx(3 / 15)
    assert rows[REST]["even"] == pytest.approx(3 / 8)
    assert found.shared().value == pytest.approx(1 - 3 / 15)
    assert found.shared().floor is not None and found.shared().floor.value == pytest.approx(5 / 8)


def test_words_of_one_goal_are_not_kept_at_all(tmp_path: Path) -> None:
    found = shared(4)  # every thing and every number stands in one request
    with Run.create("test", out=tmp_path / "run") as run:
        found.save(run)
        kept = {row["word"] for row in run.load_table("triggers_shared_words")}
        again = SharedWords.load(run)
    assert kept == {"", "how", "do", "i", "grim", "number"}
    assert again.frame() == found.frame() and again.carriers() == found.carriers()


def test_words_that_carry_have_content_and_more_than_their_even_share() -> None:
    assert shared().carriers() == ["grim"]
    prompts = requests(8)
    everyday = shared_words(prompts, carried(prompts, "How"))
    assert everyday.carriers() == []
    assert "'how' 53%" in everyday.finding()
    assert "how" in everyday_words() and "steal" not in everyday_words()


def test_words_that_are_alike_are_said_to_be() -> None:
    prompts = requests(8)
    alike = shared_words(prompts, carried(prompts, "no such word"))
    assert alike.finding().startswith("No word stands in 3")
    assert alike.carriers() == []


def test_a_goal_counts_once_and_so_does_its_interval() -> None:
    prompts = [Prompt(f"p{i}", text=f"Grim bread {i}", goal_id=f"g{i // 2}") for i in range(8)]
    row = shared_words(prompts, carried(prompts, "Grim")).frame()[0]
    assert (row["word"], row["requests"], row["goals"], row["top_goals"]) == ("grim", 8, 4, 4)
    assert row["top_by_chance"] == pytest.approx(4 * 1 / 3)
    assert row["low"] is not None and row["low"] < row["share"] < row["high"]


def test_requests_that_nothing_speaks_for_are_left_out() -> None:
    prompts = requests(4)
    own = carried(prompts)
    own[0] = WordRelevance(own[0].prompt_id, own[0].spans, -np.ones(len(own[0])))
    assert shared_words(prompts, own).goals("grim") == 3
    with pytest.raises(DataError, match="not that of these"):
        shared_words(prompts, own[::-1])


def test_hostile_words_are_escaped_and_no_request_is_told() -> None:
    prompts = [Prompt(f"p{i}", text=f"evil\u202eword {i} <b>", goal_id=f"g{i}") for i in range(4)]
    found = shared_words(prompts, carried(prompts, "evil\u202eword"))
    told = json.dumps([found.frame(), found.finding(), found.figure().caption])
    assert "\u202e" not in told and not any(p.request in told for p in prompts)
    assert found.figure().table == "triggers_by_word"
