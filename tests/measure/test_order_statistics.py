"""The best of k samples: equal to all subsets, monotone, and never of more than there are."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import order_statistics as oracle

from theodolite.errors import ConfigError, DataError
from theodolite.measure.order_statistics import chance_of_any, expected_maximum

SCORES = [0.1, 0.2, 0.3, 0.4, 0.9]
values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.38), (2, 0.56), (5, 0.9)])
def test_known_values(k: int, expected: float) -> None:
    assert expected_maximum(SCORES, k) == pytest.approx(expected, abs=1e-12)
    assert expected_maximum(SCORES[::-1], k) == pytest.approx(expected, abs=1e-12)


def test_known_chance() -> None:
    assert chance_of_any(5, 1, 2) == pytest.approx(0.4, abs=1e-12)


@given(values)
def test_every_k_is_the_mean_over_all_subsets_and_grows_with_k(scores: list[float]) -> None:
    found = [expected_maximum(scores, k) for k in range(1, len(scores) + 1)]
    brute = [oracle.expected_maximum(scores, k) for k in range(1, len(scores) + 1)]
    assert found == pytest.approx(brute, abs=1e-12)
    assert all(a <= b + 1e-12 for a, b in pairwise(found))
    assert found[0] == pytest.approx(fmean(scores), abs=1e-12)
    assert found[-1] == pytest.approx(max(scores), abs=1e-12)


@given(st.integers(1, 8), st.data())
def test_every_chance_is_the_share_of_subsets(n: int, data: st.DataObject) -> None:
    hits, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert chance_of_any(n, hits, k) == pytest.approx(oracle.chance_of_any(n, hits, k), abs=1e-12)
    assert chance_of_any(n, hits, 1) == pytest.approx(hits / n, abs=1e-12)
    assert chance_of_any(n, hits, n) == float(hits > 0)


@given(values, st.data())
def test_of_zeros_and_ones_both_say_the_same(scores: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(scores)))
    hits = [float(score > 0.5) for score in scores]
    found = chance_of_any(len(hits), int(sum(hits)), k)
    assert expected_maximum(hits, k) == pytest.approx(found, abs=1e-12)


def test_many_samples_neither_overflow_nor_lose_weight() -> None:
    n = 5000
    for k in (1, 2, 1000, 4999, 5000):
        assert expected_maximum([1.0] * n, k) == pytest.approx(1.0, abs=1e-9)
        # The largest of k out of 1..n is k (n + 1) / (k + 1) on average.
        found = expected_maximum(np.arange(1.0, n + 1).tolist(), k)
        assert found == pytest.approx(k * (n + 1) / (k + 1), rel=1e-9)


@pytest.mark.parametrize(("n", "k"), [(3, 4), (3, 0), (3, -1), (0, 1)])
def test_more_than_there_are_is_an_error(n: int, k: int) -> None:
    for call in (lambda: expected_maximum([0.5] * n, k), lambda: chance_of_any(n, 0, k)):
        with pytest.raises(ConfigError, match=f"best of {k} of {n} samples"):
            call()


def test_wrong_values_are_errors() -> None:
    with pytest.raises(DataError, match="not a finite number"):
        expected_maximum([0.1, math.nan], 1)
    with pytest.raises(ConfigError, match="4 of 3 samples cannot be hits"):
        chance_of_any(3, 4, 1)
