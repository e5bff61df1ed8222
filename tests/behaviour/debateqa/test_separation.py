"""The checks of the instrument can pass, and can fail."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.behaviour.debateqa.made import drawn, target
from tests.oracles import debateqa as oracle
from theodolite.behaviour.debateqa.separation import (
    covered_minus_uncovered,
    covered_vs_uncovered,
    matched_vs_mismatched,
    null_calibration,
)
from theodolite.text.hashing import item_seed


def test_matched_gains_rank_above_mismatched_ones() -> None:
    rows = drawn(0, 10, 4, gain=0.1)
    found = matched_vs_mismatched(rows)
    up = [row.gain or 0.0 for row in rows]
    down = [gain for row in rows for gain in row.null_gains]
    assert found.value == pytest.approx(oracle.auroc(up, down))
    assert (found.n, found.n_clusters) == (120, 10)
    assert found.floor is not None and found.floor.value == 0.5
    assert (matched_vs_mismatched(drawn(0, gain=5.0)).value or 0.0) == 1.0
    blind = matched_vs_mismatched(drawn(1, 40, 5, gain=0.0))
    assert blind.low is not None and blind.high is not None and blind.low < 0.5 < blind.high
    assert matched_vs_mismatched(drawn(0, nulls=0)).value is None


def test_held_perspectives_gain_more_than_those_left_out() -> None:
    dice = random.Random(0)
    held = {(f"q{q}", i): i < 2 for q in range(15) for i in range(4)}
    rows = [target(q, i, gain=dice.gauss(0.3 if h else 0.0, 0.1)) for (q, i), h in held.items()]
    rows.append(target("unknown", 0, gain=9.0))
    up, down = (
        [r.gain or 0.0 for r in rows if held.get((r.question, r.index)) is h] for h in (True, False)
    )
    ranked = covered_vs_uncovered(rows, held)
    assert ranked.value == pytest.approx(oracle.auroc(up, down)) and ranked.n == 60
    apart = covered_minus_uncovered(rows, held)
    assert apart.value == pytest.approx(sum(up) / 30 - sum(down) / 30)
    assert apart.low is not None and apart.low > 0
    everything = dict.fromkeys(held, True)
    assert covered_vs_uncovered(rows, everything).status == "not_measured"
    assert covered_minus_uncovered(rows, everything).status == "not_measured"


def test_one_mismatched_answer_in_twenty_counts_as_covered() -> None:
    """The threshold comes from the other half; 99.9 % band over 40 sets of 1,000 null gains."""
    rates = []
    for seed in range(40):
        found = null_calibration(drawn(seed, 100, 5))
        assert found.value is not None and found.n == 1000
        assert abs(found.value - 0.05) <= 0.03
        rates.append(found.value)
    assert sum(rates) / 40 == pytest.approx(0.05, abs=0.005)


def test_a_half_that_differs_is_found_out() -> None:
    """The questions of one half gain far more from any text: the other half's threshold is low."""
    rows = drawn(0, 100, 5)
    goals = sorted({row.goal for row in rows}, key=lambda goal: item_seed(0, "half", goal))
    half = set(goals[:50])
    moved = [
        replace(row, prior_sum=(row.prior_sum or 0.0) + (5.0 if row.goal in half else 0.0))
        for row in rows
    ]
    found = null_calibration(moved)
    assert found.value is not None and found.value > 0.3


def test_few_gains_say_so_and_one_question_gives_nothing() -> None:
    found = null_calibration(drawn(0, 10, 3))
    assert found.n == 60 and "400" in (found.reason or "")
    assert null_calibration(drawn(0, 1, 5)).status == "not_measured"
    assert null_calibration(drawn(0, 20, 5, goals=1)).status == "not_measured"
