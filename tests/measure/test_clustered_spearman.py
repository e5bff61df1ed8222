"""Spearman over clusters: scipy's value, honest intervals, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from theodolite.errors import DataError
from theodolite.measure.rank_agreement import _correlations, clustered_spearman
from theodolite.measure.ranking import weighted_ranks

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12)


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_the_value_is_scipys_with_ties(found: list[tuple[int, int]]) -> None:
    first, second = ([float(v) for v in side] for side in zip(*found))
    m = clustered_spearman(first, second, resamples=20)
    if min(len(set(first)), len(set(second))) == 1:
        assert m.status == "not_measured" and "alike" in m.reason
        return
    assert m.value == pytest.approx(spearmanr(first, second)[0], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(pairs, st.data())
def test_a_weight_of_two_is_the_item_twice(found, data) -> None:
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    x, y = (np.array(side, float) for side in zip(*found))
    row = np.array([weights], float)
    drawn = [side.repeat(weights) for side in (x, y)]
    if len(drawn[0]) < 2 or min(np.ptp(side) for side in drawn) == 0:
        return
    got = _correlations(weighted_ranks(x, row), weighted_ranks(y, row), row)[0]
    assert got == pytest.approx(spearmanr(*drawn)[0], abs=1e-9)


def test_repeated_items_in_clusters_make_the_interval_no_narrower() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    once = clustered_spearman(x.tolist(), y.tolist())
    thrice = clustered_spearman(
        x.repeat(3).tolist(), y.repeat(3).tolist(), clusters=[i // 3 for i in range(120)]
    )
    assert thrice.value == pytest.approx(once.value, abs=1e-12)
    assert (thrice.n, thrice.n_clusters) == (120, 40)
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.05)
    assert once.low < once.value < once.high and once.floor.value == 0.0


def test_pairs_without_a_score_are_counted() -> None:
    m = clustered_spearman([1.0, 2.0, 3.0, 4.0, None, 6.0], [1.0, 3.0, 2.0, 4.0, 5.0, None])
    assert m.n == 4 and m.unscored.count == 2
    few = clustered_spearman([1.0, None, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert few.status == "not_measured" and few.unscored.count == 1


def test_sides_of_different_length_are_an_error() -> None:
    with pytest.raises(DataError, match="There are 2 and 1 scores"):
        clustered_spearman([1.0, 2.0], [1.0])
    four = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(DataError, match="There are 3 clusters for 4 items"):
        clustered_spearman(four, four, clusters="aab")
