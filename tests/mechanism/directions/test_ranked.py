"""Weighted ranking figures equal the plain ones on items repeated as often as they weigh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.mechanism.directions.ranked import Ranked
from theodolite.mechanism.probes.calibration import auroc, tpr_at_fpr


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 40), fpr=st.sampled_from([0.05, 0.2, 0.5]))
def test_a_weight_is_the_item_that_many_times(seed: int, n: int, fpr: float) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 6, n).astype(float), rng.integers(0, 2, n)
    weights = rng.integers(0, 4, (5, n)).astype(float)
    ranked = Ranked.of(scores, labels)
    areas, rates = ranked.auroc(weights), ranked.tpr(weights, fpr)
    for row, area, rate in zip(weights, areas, rates):
        items = np.repeat(np.arange(n), row.astype(int))
        wanted = auroc(scores[items], labels[items]) if len(items) else None
        assert area == pytest.approx(wanted) if wanted is not None else np.isnan(area)
        wanted = tpr_at_fpr(scores[items], labels[items], fpr) if len(items) else None
        assert rate == pytest.approx(wanted) if wanted is not None else np.isnan(rate)


def test_few_negative_items_resolve_no_small_rate() -> None:
    scores, labels = np.arange(60.0), np.arange(60) >= 50
    ranked = Ranked.of(scores, labels)
    assert np.isnan(ranked.tpr(np.ones((1, 60)), 0.01)[0])
    assert ranked.tpr(np.ones((1, 60)), 0.02)[0] == 1.0
