"""Adjusted p-values equal those of statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from theodolite.errors import DataError
from theodolite.measure import benjamini_hochberg, holm

ADJUST = {"holm": holm, "fdr_bh": benjamini_hochberg}


@pytest.mark.parametrize("method", ADJUST)
def test_against_statsmodels(method):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # Few cases, for multipletests collects garbage on every call; rounded, so that equal
        # p-values occur, and squared, so that small ones do.
        p_values = np.round(rng.random(rng.integers(1, 25)) ** 2, 2)
        theirs = multipletests(p_values, method=method)[1]
        assert ADJUST[method](p_values) == pytest.approx(theirs)


@given(st.lists(st.floats(0, 1), max_size=20), st.randoms(use_true_random=False))
def test_never_smaller_never_above_one_and_in_the_order_given(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    for adjust in ADJUST.values():
        adjusted = adjust(p_values)
        assert (adjusted >= np.array(p_values) - 1e-15).all() and (adjusted <= 1).all()
        assert adjust([p_values[i] for i in order]) == pytest.approx(adjusted[order])


def test_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert len(holm([])) == len(benjamini_hochberg([])) == 0


@pytest.mark.parametrize("p_values", [[1.2], [-0.1], [float("nan")]])
def test_what_is_no_p_value_is_refused(p_values):
    with pytest.raises(DataError):
        holm(p_values)
