"""Ranks of several models, their agreement, and paired differences."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.behaviour.debateqa.made import drawn
from tests.oracles import debateqa as oracle
from theodolite.behaviour.debateqa import scoring
from theodolite.behaviour.debateqa.questions import QuestionScore, question_scores
from theodolite.behaviour.debateqa.ranks import (
    MIXES,
    combined_ranks,
    paired,
    paired_interval,
    rank_table,
    ranking_agreement,
)
from theodolite.errors import ConfigError, DataError

MODELS = "abcdef"
LEVELS = st.lists(st.integers(0, 4), min_size=2, max_size=6)


def published() -> list[dict[str, Any]]:
    path = Path(scoring.__file__).with_name("published.yaml")
    figures: list[dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))["figures"]
    return figures


@settings(max_examples=60, deadline=None)
@given(LEVELS, st.randoms())
def test_ranks_equal_the_count_at_every_mix(levels: list[int], dice: random.Random) -> None:
    pd = {m: float(level) for m, level in zip(MODELS, levels)}
    da = {m: dice.randrange(4) / 4 for m in pd}
    found = combined_ranks(pd, da)
    for k in MIXES:
        rows = [row for row in found if row.k == k]
        assert {row.model: row.rank for row in rows} == oracle.combined_ranks(pd, da, k)
        assert [row.rank for row in rows] == sorted(row.rank for row in rows)
        assert sum(row.rank for row in rows) == pytest.approx(len(pd) * (len(pd) + 1) / 2)
        assert all(0.0 <= row.score <= 1.0 for row in rows)


def test_low_perplexity_and_high_awareness_are_good_and_ties_share_their_rank() -> None:
    pd, da = {"a": 2.0, "b": 3.0, "c": 4.0, "d": 3.0}, {"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.5}
    ranks = {(r.model, r.k): r.rank for r in combined_ranks(pd, da)}
    assert [ranks[m, 1.0] for m in "abcd"] == [1.0, 2.5, 4.0, 2.5]
    assert [ranks[m, 0.0] for m in "abcd"] == [4.0, 2.5, 1.0, 2.5]
    assert [ranks[m, 0.5] for m in "abcd"] == [2.5, 2.5, 2.5, 2.5]
    table = rank_table(combined_ranks(pd, da))
    assert table[0].keys() == {"model"} | {f"{w}_k{k:g}" for w in ("rank", "score") for k in MIXES}


def test_a_metric_in_which_all_are_alike_does_not_order_them() -> None:
    ranks = combined_ranks({"a": 3.0, "b": 3.0}, {"a": 0.2, "b": 0.6}, mixes=(0.5, 1.0))
    assert [(r.model, r.rank) for r in ranks] == [("b", 1.0), ("a", 2.0), ("a", 1.5), ("b", 1.5)]


@pytest.mark.parametrize(
    ("pd", "da", "error", "words"),
    [
        ({"a": 1.0}, {"b": 1.0}, DataError, "'a' has P.D. or D.A. alone"),
        ({}, {}, DataError, "no model"),
        ({"a": float("nan")}, {"a": 1.0}, DataError, "not finite"),
    ],
)
def test_bad_tables_are_refused(pd: Any, da: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        combined_ranks(pd, da)


def test_a_share_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ConfigError, match="outside 0 to 1"):
        combined_ranks({"a": 1.0}, {"a": 1.0}, mixes=(1.5,))


def test_the_published_orders_hold_the_same_twelve_models() -> None:
    orders = {f["k"]: f["order"] for f in published() if "order" in f}
    assert orders.keys() == {0.0, 0.5, 1.0}
    assert len({frozenset(order) for order in orders.values()}) == 1
    assert all(len(order) == len(set(order)) == 12 for order in orders.values())
    # A mean of ranks does not give the published mix: what is mixed are scores.
    place = {k: {m: i for i, m in enumerate(order)} for k, order in orders.items()}
    means = {m: place[0.0][m] + place[1.0][m] for m in orders[0.5]}
    assert sorted(means, key=lambda m: (means[m], place[0.5][m])) != orders[0.5]


def test_the_published_figures_are_those_that_could_be_confirmed() -> None:
    figures = published()
    sizes = figures[0]
    assert sizes["test"] + sizes["dev"] == sizes["total"] == 2941 and sizes["models"] == 12
    assert [f["pd"] for f in figures if "pd" in f] == [3.9867007732391357]
    assert {f["confidence"] for f in figures} == {"published file", "figure", "reported"}


def test_agreement_of_rankings_is_tau_b_of_the_models_both_have() -> None:
    first = {m: float(i) for i, m in enumerate("abcdefg")}
    swapped = first | {"a": 1.0, "b": 0.0}
    found = ranking_agreement(first, swapped | {"z": 3.0})
    assert found.value == pytest.approx((21 - 2) / 21) and found.n == 7
    assert "1 models" in (found.reason or "")
    assert ranking_agreement(first, {"a": 1.0}).reason == "only 1 models have both scores"


def scored(seed: int, **how: Any) -> list[QuestionScore]:
    return question_scores(drawn(seed, 12, 3, **how))


def test_a_model_does_not_differ_from_itself() -> None:
    rows = scored(0)
    own = paired(rows, rows, "pd")
    assert (own.difference.value, own.difference.n) == (0.0, 12)
    assert own.difference.low is None  # no interval of no width: other questions might differ
    values = {row.question: row.values["pd"] or 0.0 for row in rows}
    interval = paired_interval(values, values)
    assert interval is not None and (interval.low, interval.high) == (0.0, 0.0)


def test_differences_are_paired_and_strangers_are_listed() -> None:
    first, second = scored(1), scored(1)
    raised = [
        replace(row, values=dict(row.values) | {"gain": (row.values["gain"] or 0.0) + 0.1})
        for row in second
    ]
    raised[3] = replace(raised[3], values=dict(raised[3].values) | {"gain": None})
    found = paired(first[1:], raised[:-2], "gain")
    assert found.difference.value == pytest.approx(-0.1)
    assert (found.difference.n, found.difference.unscored.count) == (8, 1)
    assert (found.only_first, found.only_second) == (("q10", "q11"), ("q0",))
    assert found.difference.floor is not None and found.difference.floor.name == "no change"
    noisy = paired(scored(1), scored(2), "gain").difference
    apart = paired(scored(1), scored(3, gain=1.0), "gain").difference
    assert noisy.low is not None and noisy.high is not None and noisy.low < 0 < noisy.high
    assert apart.high is not None and apart.high < -0.5
    with pytest.raises(ConfigError, match="no figure 'gains'"):
        paired(first, second, "gains")
