"""Two systems on the same items: the same figures from the slow way, and the edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import measure_intervals as oracle

from theodolite.errors import DataError
from theodolite.measure import mcnemar, paired_difference, paired_test

SIDE = st.sampled_from([True, False, None])
PAIRS = st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=30)


@given(PAIRS)
def test_mcnemar_against_the_oracle(pairs):
    first, second = zip(*pairs)
    up = sum(a is True and b is False for a, b in pairs)
    down = sum(a is False and b is True for a, b in pairs)
    exact, mid = oracle.mcnemar_exact(up, down)
    test = mcnemar(first, second)
    assert test.p_value == pytest.approx(mid)
    assert mcnemar(first, second, method="exact").p_value == pytest.approx(exact)
    assert (test.only_first, test.only_second) == (up, down)
    assert test.n == sum(a is not None and b is not None for a, b in pairs)


def test_mcnemar_against_statsmodels():
    from statsmodels.stats.contingency_tables import mcnemar as theirs

    first, second = [1] * 30 + [0] * 12 + [1] * 40, [0] * 30 + [1] * 12 + [1] * 40
    expected = theirs([[40, 30], [12, 0]], exact=True).pvalue
    assert mcnemar(first, second, method="exact").p_value == pytest.approx(expected)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 5)), min_size=1, max_size=12))
def test_sign_flips_against_the_oracle(rows):
    differences, clusters = zip(*rows)
    test = paired_test([0.5 + d for d in differences], [0.5] * len(rows), clusters)
    assert test.p_value == pytest.approx(oracle.sign_flip_p(differences, clusters))


def test_random_sign_flips_agree_with_all_of_them(monkeypatch):
    values = (np.random.default_rng(0).standard_normal(12) + 0.5).tolist()
    every = paired_test(values, [0.0] * 12)
    assert every.method == "sign flips, all"
    monkeypatch.setattr("theodolite.measure.paired._ENUMERATED", 2)
    drawn = paired_test(values, [0.0] * 12, seed=1)
    assert drawn.p_value == pytest.approx(every.p_value, abs=0.02)
    assert drawn == paired_test(values, [0.0] * 12, seed=1)


def test_yes_no_items_in_clusters_are_flipped_as_clusters():
    first, second = [1] * 12, [0] * 12
    assert paired_test(first, second).method == "mcnemar mid-p"
    clustered = paired_test(first, second, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    assert clustered.p_value == pytest.approx(2 / 2**3)


@given(PAIRS, st.booleans())
def test_difference_properties(pairs, grouped):
    """Contains the value, stays in range, turns round with the sides, never has no width."""
    first, second = zip(*pairs)
    clusters = [i // 2 for i in range(len(pairs))] if grouped else None
    m = paired_difference(first, second, clusters)
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert (m.n, m.unscored.count) == (len(both), len(pairs) - len(both))
    if not both:
        assert m.status == "not_measured"
        return
    assert m.value == pytest.approx(sum(a - b for a, b in both) / len(both))
    if m.low is None:
        return
    assert -1 <= m.low <= m.value <= m.high <= 1 and m.low < m.high
    back = paired_difference(second, first, clusters)
    assert (back.low, back.high) == pytest.approx((-m.high, -m.low), abs=1e-12)


def test_bonett_price_closed_form():
    """b=8, c=2 of n=40: Laplace-adjusted cells 9/42 and 3/42."""
    first = [1] * 8 + [0] * 2 + [1] * 20 + [0] * 10
    second = [0] * 8 + [1] * 2 + [1] * 20 + [0] * 10
    half = 1.959963984540054 * ((12 / 42 - (6 / 42) ** 2) / 42) ** 0.5
    m = paired_difference(first, second)
    assert (m.value, m.method) == (pytest.approx(0.15), "bonett-price")
    assert (m.low, m.high) == pytest.approx((6 / 42 - half, 6 / 42 + half))


def test_a_system_against_itself():
    yes_no = paired_difference([1, 0, 1, 1] * 10, [1, 0, 1, 1] * 10)
    assert yes_no.value == 0 and yes_no.low < 0 < yes_no.high
    assert paired_test([1, 0], [1, 0]).p_value == 1.0
    scores = paired_difference([0.3, 1.7], [0.3, 1.7], unit="nats")
    assert scores.value == 0 and scores.low is None and "equal" in scores.reason
    assert paired_test([0.3, 1.7], [0.3, 1.7]).p_value == 1.0


def test_scores_use_the_t_interval():
    from scipy import stats

    first, second = [1.2, 3.4, 2.2, 5.0], [1.0, 2.0, 2.5, 3.0]
    m = paired_difference(first, second, unit="nats")
    theirs = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (m.low, m.high) == pytest.approx((theirs.low, theirs.high))
    assert m.range is None and m.floor.value == 0


def test_unscored_pairs_give_bounds():
    m = paired_difference([1, 1, None], [0, 1, 1])
    assert m.value == 0.5 and m.unscored.reasons == {"a side is unscored": 1}
    assert (m.unscored.low, m.unscored.high) == (pytest.approx(0.0), pytest.approx(2 / 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_difference([1, 0], [1]),
        lambda: paired_difference([1, 0], [1, 1], [3]),
        lambda: mcnemar([0.5, 1], [0, 0]),
        lambda: paired_test([float("nan"), 1.0], [0.0, 0.5]),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(DataError):
        call()


def test_p_values_are_uniform_without_a_difference():
    """A 99.9 % band for the share of p-values up to .05; mid-p and flips both hold it."""
    rng, rejected = np.random.default_rng(0), np.zeros(2)
    for seed in range(2000):
        a, b = rng.random((2, 60)) < 0.4
        rejected[0] += mcnemar(a.tolist(), b.tolist()).p_value <= 0.05
        effects = np.repeat(rng.standard_normal(12), 3) + rng.standard_normal(36)
        groups = np.repeat(np.arange(12), 3).tolist()
        rejected[1] += paired_test(effects.tolist(), [0.0] * 36, groups, seed=seed).p_value <= 0.05
    assert (rejected / 2000 < 0.05 + 3.2905 * (0.05 * 0.95 / 2000) ** 0.5).all()
    assert (rejected / 2000 > 0.02).all()
