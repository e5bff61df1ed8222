"""What a rewriting leaves, read from its record: by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.correction.perspective_taking.made import Tool
from theodolite.correction.perspective_taking.pairs import NO_BETTER
from theodolite.correction.rewritten import (
    NOT_STATED,
    final_of,
    mean_cost,
    preference_pairs,
    spent,
)
from theodolite.measure.measurement import Floor


def record(id: str, original: str, revised: str | None) -> dict[str, Any]:
    read = {"ok": True}
    return {
        "id": id,
        "method": "pet_io",
        "sample": 0,
        "form": "chat",
        "original": original,
        "revised": revised,
        "parse_original": read,
        "parse": read,
    }


def test_the_rewritten_text_counts_where_there_is_one() -> None:
    assert final_of(record("a", "first", "second")) == "second"
    assert final_of(record("a", "first", "")) == ""
    assert final_of(record("a", "first", None)) == "first"


def test_a_cost_is_known_where_all_its_stages_state_it() -> None:
    stages = [{"calls": 1, "n_in": 10}, {"calls": 2, "n_in": None}]
    assert (spent(stages, "calls"), spent(stages, "n_in"), spent([], "n_in")) == (3, None, 0)
    floor = Floor("no tokens", 0.0)
    m = mean_cost("bench/pet_io/tokens_in", [10, None, 20], ["a", "b", "c"], floor)
    assert (m.value, m.unit, m.n, m.floor) == (pytest.approx(15.0), "tokens", 2, floor)
    assert m.unscored.reasons == {NOT_STATED: 1}
    assert mean_cost("respond/calls", [1, 3], ["a", "b"], None).unit == "calls"


def test_pairs_hold_what_the_scorer_finds_better() -> None:
    scorer = Tool(lambda text: 0.9 if "fool" in text else 0.1)
    asked = [
        (record("a", "You fool.", "You friend."), "Say something."),
        (record("b", "You friend.", "You fool."), "Say more."),
    ]
    found = preference_pairs(asked, scorer, split="train")
    (row,) = found.rows
    assert (row["prompt"], row["chosen"], row["rejected"]) == (
        "Say something.",
        "You friend.",
        "You fool.",
    )
    assert row["margin"] == pytest.approx(0.8) and row["split"] == "train"
    assert found.dropped == {NO_BETTER: 1}
