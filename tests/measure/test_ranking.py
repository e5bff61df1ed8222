"""Weighted ranking figures equal the plain ones on items repeated as often as they weigh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import calibration as oracle

from theodolite.errors import DataError
from theodolite.measure.ranking import Ranked, auroc, mid_ranks, rank_areas


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(4, 40),
    values=st.sampled_from([2, 6, 1000]),
    fpr=st.sampled_from([0.05, 0.2, 0.5]),
)
def test_a_weight_is_the_item_that_many_times(seed: int, n: int, values: int, fpr: float) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, values, n).astype(float), rng.integers(0, 2, n)
    weights = rng.integers(0, 4, (5, n)).astype(float)
    ranked = Ranked.of(scores, labels)
    areas, rates = ranked.auroc(weights), ranked.tpr(weights, fpr)
    for row, area, rate in zip(weights, areas, rates):
        items = np.repeat(np.arange(n), row.astype(int))
        wanted = oracle.auroc(scores[items].tolist(), labels[items].tolist())
        assert area == pytest.approx(wanted) if wanted is not None else np.isnan(area)
        wanted = oracle.tpr_at_fpr(scores[items].tolist(), labels[items].tolist(), fpr)
        assert rate == pytest.approx(wanted) if wanted is not None else np.isnan(rate)
    assert np.array_equal(areas, ranked.auroc(weights.astype(np.float32)), equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 40))
def test_ranks_and_pairs_give_the_same_bytes(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    table = np.round(rng.standard_normal((n, 3)), 1)
    labellings = np.stack([rng.permutation(np.arange(n) < n // 3) for _ in range(2)])
    labellings[:, 0] |= ~labellings.any(1)
    found = rank_areas(mid_ranks(table), labellings)
    assert found.tolist() == [[auroc(column, row) for column in table.T] for row in labellings]


def test_weights_of_any_size_are_shares_of_pairs() -> None:
    scores, labels, weights = [3.0, 1.0, 2.0, 1.0], [1, 1, 0, 0], np.array([[0.5, 1.5, 0.25, 0.75]])
    won = 0.5 * 1.0 + 1.5 * (0.75 / 2)
    assert Ranked.of(scores, labels).auroc(weights)[0] == pytest.approx(won / (2.0 * 1.0))


def test_few_negative_items_resolve_no_small_rate() -> None:
    scores, labels = np.arange(60.0), np.arange(60) >= 50
    ranked = Ranked.of(scores, labels)
    assert np.isnan(ranked.tpr(np.ones((1, 60)), 0.01)[0])
    assert ranked.tpr(np.ones((1, 60)), 0.02)[0] == 1.0


def test_one_class_has_no_figure() -> None:
    for labels in ([1, 1], [0, 0]):
        ranked = Ranked.of([1.0, 2.0], labels)
        assert np.isnan(auroc([1.0, 2.0], labels))
        assert np.isnan(ranked.tpr(np.ones((1, 2)), 0.5)[0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_score_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="score of item 1 is not finite"):
        Ranked.of([0.0, wrong], [0, 1])
