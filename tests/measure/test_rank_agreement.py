"""Rank correlations equal pairs counted one by one, and say when there is nothing to correlate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.oracles import rank_agreement as oracle

from theodolite.errors import DataError
from theodolite.measure.rank_agreement import kendall_tau_b, partial_spearman, spearman

FEW = settings(max_examples=60, deadline=None)
LEVELS = st.integers(0, 6)
PAIRS = st.lists(st.tuples(LEVELS, LEVELS), min_size=5, max_size=30)
TRIPLES = st.lists(st.tuples(LEVELS, LEVELS, LEVELS), min_size=6, max_size=30)


@FEW
@given(PAIRS, st.sampled_from(["spearman", "kendall_tau_b"]))
def test_values_equal_the_count(pairs: list[tuple[int, int]], kind: str) -> None:
    first, second = ([float(value) for value in side] for side in zip(*pairs))
    measure = {"spearman": spearman, "kendall_tau_b": kendall_tau_b}[kind]
    found = measure(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found.status == "not_measured"
        return
    assert found.value == pytest.approx(getattr(oracle, kind)(first, second), abs=1e-9)
    assert found.low is not None and found.high is not None and found.value is not None
    assert -1 <= found.low <= found.value <= found.high <= 1
    flipped = measure(first, [-value for value in second])
    assert flipped.value == pytest.approx(-found.value)


@FEW
@given(TRIPLES)
def test_a_partial_correlation_is_that_of_residuals(rows: list[tuple[int, int, int]]) -> None:
    x, y, z = ([float(value) for value in side] for side in zip(*rows))
    assume(len(set(x)) > 1 and len(set(y)) > 1 and len(set(z)) > 1)
    assume(max(abs(oracle.spearman(x, z)), abs(oracle.spearman(y, z))) < 1 - 1e-9)
    found = partial_spearman(x, y, z)
    assert found.value == pytest.approx(oracle.partial_spearman(x, y, z), abs=1e-6)


def test_what_follows_length_alone_has_no_partial_correlation() -> None:
    rng = np.random.default_rng(0)
    length = rng.normal(size=400)
    first, second = (length + 0.5 * rng.normal(size=400) for _ in range(2))
    raw = spearman(first.tolist(), second.tolist())
    left = partial_spearman(first.tolist(), second.tolist(), length.tolist())
    assert raw.value is not None and raw.value > 0.6
    assert left.low is not None and left.high is not None and left.low < 0 < left.high
    settled = partial_spearman(first.tolist(), length.tolist(), length.tolist())
    assert settled.value is None and "settles" in (settled.reason or "")


def test_what_has_no_score_is_left_out() -> None:
    found = spearman([1, 2, None, 4, 5, 6], [2, 4, 9, float("nan"), 10, 12])
    assert (found.value, found.n) == (pytest.approx(1.0), 4)
    few = spearman([1, 2, None], [1, 2, 3], what="heads")
    assert few.reason == "only 2 heads have both scores"
    assert kendall_tau_b([1, 2, 3, 4], [1, 2, 3, 4]).value is None
    third = partial_spearman(
        [1, 2, 3, 5, 4, None], [2, 1, 3, 4, 5, 6], [2, 2, 1, 7, 3, 9], clusters="aabbcc"
    )
    assert (third.n, third.n_clusters) == (5, 3)
    for measure in (spearman, kendall_tau_b):
        with pytest.raises(DataError, match="3 and 2 scores"):
            measure([1, 2, 3], [1, 2])


@pytest.mark.parametrize(
    ("measure", "true"),
    [(spearman, 0.690), (kendall_tau_b, 0.5)],  # 6/pi asin(rho/2), 2/pi asin(rho): rho = 1/sqrt 2
)
def test_intervals_cover(measure: object, true: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        x = rng.normal(size=40)
        found = measure(x.tolist(), (x + rng.normal(size=40)).tolist())  # type: ignore[operator]
        held += bool(found.low <= true <= found.high)
    assert 0.91 <= held / 300 <= 0.99
