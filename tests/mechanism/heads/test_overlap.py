"""Agreement of rankings: exact on small cases, at its floor by chance, sound on hostile files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import head_overlap as oracle
from theodolite.errors import DataError
from theodolite.mechanism.heads.overlap import (
    expected_overlap,
    jaccard,
    overlap,
    overlap_p_value,
    rank_biased_overlap,
)
from theodolite.mechanism.heads.ranking import HeadRanking

FEW = settings(max_examples=60, deadline=None)
HEADS = [(layer, head) for layer in range(4) for head in range(5)]
orders = st.permutations(HEADS)
sizes = st.integers(1, 12)


def ranking(name: str, order: list[Any], n_heads: int | None = 20) -> HeadRanking:
    """Return a ranking of these heads, best first."""
    scores = {head: float(len(order) - place) for place, head in enumerate(order)}
    return HeadRanking.of_prompts(name, {"p": scores}, n_heads=n_heads)


@FEW
@given(orders, orders, sizes, sizes, st.floats(0.2, 0.97))
def test_rank_biased_overlap_is_its_infinite_sum(
    first: list[Any], second: list[Any], m: int, n: int, p: float
) -> None:
    a, b = first[:m], second[:n]
    found = rank_biased_overlap(a, b, p)
    assert found == pytest.approx(oracle.rank_biased_overlap(a, b, p), abs=1e-9)
    assert found == rank_biased_overlap(b, a, p)
    assert 0 <= found <= 1 and rank_biased_overlap(a, a, p) == pytest.approx(1.0)


def test_rank_biased_overlap_counts_the_top_most() -> None:
    first = HEADS[:10]
    top_changed, end_changed = [HEADS[11], *first[1:]], [*first[:9], HEADS[11]]
    assert jaccard(first, top_changed) == jaccard(first, end_changed)
    assert rank_biased_overlap(first, top_changed) < rank_biased_overlap(first, end_changed) - 0.1
    assert rank_biased_overlap(first, HEADS[10:]) == 0


@FEW
@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_chances_are_those_of_every_choice(n: int, a: int, b: int) -> None:
    a, b = min(a, n), min(b, n)
    wanted = oracle.shared_by_chance(a, b, n)
    mean = sum(i * chance for i, chance in enumerate(wanted))
    assert expected_overlap(a, b, n) == pytest.approx(float(mean))
    for shared in range(min(a, b) + 1):
        assert overlap_p_value(shared, a, b, n) == pytest.approx(float(sum(wanted[shared:])))


def test_ten_of_1024_twice() -> None:
    assert expected_overlap(10, 10, 1024) == pytest.approx(0.09765625)
    assert overlap_p_value(0, 10, 10, 1024) == pytest.approx(1.0)
    assert overlap_p_value(1, 10, 10, 1024) == pytest.approx(
        1 - math.comb(1014, 10) / math.comb(1024, 10)
    )
    assert overlap_p_value(10, 10, 10, 1024) == pytest.approx(1 / math.comb(1024, 10), rel=1e-12)


@FEW
@given(orders, orders, sizes)
def test_an_overlap_says_what_both_have(first: list[Any], second: list[Any], k: int) -> None:
    found = overlap(ranking("a", first), ranking("b", second), k)
    assert set(found.shared) == set(first[:k]) & set(second[:k])
    assert found.jaccard == jaccard(first[:k], second[:k])
    assert found.expected == pytest.approx(k * k / 20)
    assert found.rho.value == pytest.approx(
        oracle.spearman([-first.index(h) for h in HEADS], [-second.index(h) for h in HEADS])
    )
    row = found.row()
    assert row["shared"] == len(found.shared) and row["n_spearman"] == 20
    same = overlap(ranking("a", first), ranking("b", first), k)
    assert same.jaccard == 1 and same.rbo == pytest.approx(1) and len(same.shared) == k


def test_random_orders_score_their_floors() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(600):
        a, b = ([HEADS[i] for i in rng.permutation(20)] for _ in range(2))
        runs.append(overlap(ranking("a", a), ranking("b", b[:6]), 8).measurements()[:3])
    for figures in zip(*runs):
        assert figures[0].floor is not None
        values = [float(figure.value or 0) for figure in figures]
        assert np.mean(values) == pytest.approx(figures[0].floor.value, abs=0.025)


def test_measurements_carry_chance_and_p_value() -> None:
    found = overlap(ranking("ua", HEADS), ranking("sc", HEADS[::-1]), 4)
    first, *_, rho = found.measurements()
    assert (first.name, first.value, first.n) == ("overlap/ua/sc/top 4 shared", 0.0, 4)
    assert first.floor is not None and first.floor.value == pytest.approx(0.2)
    assert first.reason == "0 shared, 0.8 by chance, p 1"
    assert rho.value == pytest.approx(-1)


def test_chance_is_not_named_where_the_number_of_heads_is_not_known() -> None:
    found = overlap(ranking("a", HEADS[:5], None), ranking("b", HEADS[:5], None), 3)
    assert found.expected is found.p_value is found.n_heads is None
    assert all(m.floor is None for m in found.measurements()[:3])


def test_rankings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="of 20 and of 30 heads"):
        overlap(ranking("a", HEADS), ranking("b", HEADS, 30))
    with pytest.raises(DataError, match="top 0"):
        overlap(ranking("a", HEADS), ranking("b", HEADS), 0)
    with pytest.raises(DataError, match="twice"):
        rank_biased_overlap([(0, 0), (0, 0)], HEADS)
    with pytest.raises(DataError, match="persistence"):
        rank_biased_overlap(HEADS, HEADS, 1.0)
    with pytest.raises(DataError, match="cannot share 3"):
        overlap_p_value(3, 2, 5, 20)
