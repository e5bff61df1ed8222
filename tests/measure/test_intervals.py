"""The builders: every edge case says what it is, and no interval has the width zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import measure_intervals as oracle

from theodolite.errors import DataError
from theodolite.measure import Floor, JudgeQuality, mean, proportion, resampled, wilson
from theodolite.measure.closed_form import (
    Clusters,
    effective_n,
    mean_interval,
    normal_quantile,
    proportion_interval,
    rogan_gladen,
    t_quantile,
)

OUTCOMES = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=40)
LABELS = st.lists(st.integers(0, 6), min_size=40, max_size=40)
Z = normal_quantile(0.95)


def test_quantiles():
    assert pytest.approx(1.959963984540054, abs=1e-12) == Z
    assert t_quantile(0.95, 4) == pytest.approx(2.7764451051977987)
    assert t_quantile(0.95, 1e7) == pytest.approx(Z, abs=1e-5)


@pytest.mark.parametrize("successes, n", [(0, 2), (1, 2), (3, 17), (60, 120), (999, 1000), (7, 7)])
def test_wilson_against_the_oracle(successes, n):
    interval = wilson(successes, n)
    assert interval[:2] == pytest.approx(oracle.wilson_by_bisection(successes, n, Z), abs=1e-9)


def test_wilson_closed_forms():
    assert wilson(0, 10).low == 0 and wilson(10, 10).high == 1
    assert wilson(0, 10).high == pytest.approx(Z**2 / (10 + Z**2))
    assert wilson(0, 0) is None and wilson(1, 1) is None
    with pytest.raises(DataError):
        wilson(3, 2)


@given(OUTCOMES, LABELS, st.booleans(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_proportion_properties(outcomes, labels, grouped, level):
    """Contains the share, stays in range, mirrors with the outcomes, ignores group names."""
    clusters = labels[: len(outcomes)] if grouped else None
    m = proportion("a", outcomes, clusters=clusters, level=level)
    scored = [x for x in outcomes if x is not None]
    assert m.n == len(scored) and m.n + m.unscored.count == len(outcomes)
    if not scored:
        assert (m.status, m.value, m.low) == ("not_measured", None, None)
        return
    assert m.value == pytest.approx(sum(scored) / len(scored))
    own = {c for c, x in zip(clusters, outcomes) if x is not None} if grouped else scored
    assert (m.low is None) == (len(own) < 2)
    if m.low is None:
        assert "one observation" in m.reason or "one cluster" in m.reason
        return
    assert 0 <= m.low <= m.value <= m.high <= 1 and m.low < m.high
    flipped = [None if x is None else not x for x in outcomes]
    mirror = proportion("a", flipped, clusters=clusters, level=level)
    assert (mirror.low, mirror.high) == pytest.approx((1 - m.high, 1 - m.low), abs=1e-9)
    if grouped:
        renamed = proportion(
            "a", outcomes, clusters=[f"g{c * 7 % 11}" for c in clusters], level=level
        )
        assert (renamed.low, renamed.high) == (m.low, m.high)


@given(st.integers(0, 20), st.integers(2, 20), st.integers(2, 5), st.booleans())
def test_more_items_of_the_same_kind_narrow_the_interval(successes, n, times, grouped):
    successes = min(successes, n)
    outcomes = [True] * successes + [False] * (n - successes)
    widths = []
    for repeat in (1, times):
        clusters = [f"{r}/{i // 2}" for r in range(repeat) for i in range(n)] if grouped else None
        m = proportion("a", outcomes * repeat, clusters=clusters)
        widths.append(m.high - m.low if m.low is not None else 1.0)
    assert widths[1] < widths[0]


def test_equal_outcomes_in_clusters_count_as_one_item_per_cluster():
    m = proportion("a", [True] * 30, clusters=[i // 3 for i in range(30)])
    wide = wilson(10, 10, critical=t_quantile(0.95, 9))
    assert (m.low, m.high) == pytest.approx(wide[:2])
    assert m.low < proportion("a", [True] * 30).low


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=30), LABELS)
def test_jackknife_against_the_oracle(values, labels):
    labels = [0, 1, *labels[2 : len(values)]]
    groups = Clusters.of(labels, len(values))
    assert groups.jackknife_variance(np.array(values)) == pytest.approx(
        oracle.jackknife_variance(values, labels), abs=1e-12, rel=1e-9
    )


def test_effective_n_stays_between_groups_and_items():
    groups = Clusters.of([0, 0, 0, 1, 1, 2, 2, 2], 8)
    assert groups.effective == pytest.approx(64 / 22)
    assert effective_n(1e-9, 0.25, 3, groups) <= 8
    assert effective_n(0.25 / 2, 0.25, 10**9, groups) == pytest.approx(2)
    assert effective_n(0.0, 0.0, 0, groups) == groups.effective
    assert effective_n(9.9, 0.25, 1, Clusters.of(None, 8)) == 8


def test_singleton_clusters_change_nothing():
    outcomes = [True, False, True, True]
    alone, plain = proportion("a", outcomes, clusters="wxyz"), proportion("a", outcomes)
    assert (alone.n_clusters, plain.n_clusters) == (4, None)
    assert (alone.low, alone.high, alone.method) == (plain.low, plain.high, plain.method)


@pytest.mark.parametrize(
    "outcomes, status, reason",
    [
        ([], "not_measured", "there are no items"),
        ([None, None], "not_measured", "none of the items could be scored"),
        ([True], "measured", "one observation gives no interval"),
        ([True, None], "measured", "one observation gives no interval"),
    ],
)
def test_too_few_outcomes(outcomes, status, reason):
    m = proportion("a", outcomes)
    assert (m.status, m.low, m.high, m.method) == (status, None, None, None)
    assert reason in m.reason
    assert mean("a", outcomes, unit="nats").status == status


def test_one_cluster_gives_no_interval():
    assert "one cluster" in proportion("a", [True, False, True], clusters=[0, 0, 0]).reason
    m = mean("a", [1.0, 2.0], clusters=["g", "g"], unit="nats")
    assert (m.value, m.low, m.n_clusters) == (1.5, None, 1)


def test_unscored_items_give_bounds():
    m = proportion("a", [True, True, False, None], reasons=[None, None, None, "judge refused"])
    assert (m.value, m.n) == (pytest.approx(2 / 3), 3)
    assert m.unscored.reasons == {"judge refused": 1}
    assert (m.unscored.low, m.unscored.high) == (0.5, 0.75)
    nothing = proportion("a", [None, None])
    assert (nothing.unscored.low, nothing.unscored.high, nothing.unscored.count) == (0.0, 1.0, 2)
    scores = mean("a", [1.0, 3.0, None], unit="points", range=(1.0, 5.0))
    assert (scores.unscored.low, scores.unscored.high) == (pytest.approx(5 / 3), pytest.approx(3.0))
    unbounded = mean("a", [1.0, 3.0, None], unit="nats")
    assert (unbounded.unscored.count, unbounded.unscored.low) == (1, None)


@given(OUTCOMES)
def test_bounds_hold_whatever_the_unscored_items_are(outcomes):
    m = proportion("a", outcomes)
    for guess in (True, False):
        filled = [guess if x is None else x for x in outcomes]
        share = sum(filled) / len(filled)
        if m.unscored.count:
            assert m.unscored.low - 1e-12 <= share <= m.unscored.high + 1e-12


@pytest.mark.parametrize("reasons", [{"x": 2}, ["x"], {"x": 1, "y": 1}])
def test_reasons_must_fit(reasons):
    with pytest.raises(DataError):
        proportion("a", [True, None], reasons=reasons)


def test_reasons_as_counts():
    m = proportion("a", [True, False, None], reasons={"timeout": 1, "other": 0})
    assert m.unscored.reasons == {"timeout": 1}
    assert proportion("a", [True, None]).unscored.reasons == {"no reason recorded": 1}


def test_a_missing_floor_says_so():
    assert "no floor" in proportion("a", [True, False]).reason
    assert proportion("a", [True, False], floor=Floor("x", 0.5)).reason is None
    assert (
        proportion("a", [True, False], reason="no trivial strategy").reason == "no trivial strategy"
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: proportion("a", [True, 2]),
        lambda: proportion("a", [0.5]),
        lambda: proportion("a", [math.nan, 1]),
        lambda: proportion("a", [True], unit="percent"),
        lambda: proportion("a", [True, False], clusters=[1]),
        lambda: mean("a", [1.0, math.inf], unit="nats"),
        lambda: mean("a", [1.0, 7.0], unit="points", range=(0.0, 5.0)),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(DataError):
        call()


def test_judge_correction():
    m = proportion("a", [True] * 3 + [False] * 7, judge=JudgeQuality("j", 0.9, 0.8, None))
    assert m.judge.corrected == pytest.approx(0.1 / 0.7)
    coin = proportion("a", [True, False], judge=JudgeQuality("j", 0.5, 0.5, None))
    assert coin.judge.corrected is None and "coin" in coin.reason
    unknown = proportion("a", [True, False], judge=JudgeQuality("j", None, None, None))
    assert unknown.judge.corrected is None


def test_rogan_gladen():
    assert rogan_gladen(0.9 * 0.3 + 0.2 * 0.7, 0.9, 0.8) == pytest.approx(0.3)
    assert rogan_gladen(0.05, 0.9, 0.8) == 0.0 and rogan_gladen(0.99, 0.9, 0.8) == 1.0
    assert rogan_gladen(0.3, 1.0, 1.0) == pytest.approx(0.3)
    assert rogan_gladen(0.5, 0.3, 0.6) is None


def test_mean_is_students_t_where_items_are_independent():
    from scipy import stats

    values = [1.0, 2.5, 0.3, 4.4, 2.2]
    m = mean("a", values, unit="nats")
    theirs = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (m.low, m.high) == pytest.approx(theirs)
    assert m.range is None and m.method == "t"


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), LABELS)
def test_mean_properties(values, labels):
    clusters = [0, 1, *labels[2 : len(values)]]
    m = mean("a", values, clusters=clusters, unit="score", range=(0.0, 1.0))
    assert 0 <= m.low <= m.value + 1e-12 and m.value - 1e-12 <= m.high <= 1
    if max(values) - min(values) > 1e-6:
        far = mean(
            "a", [10 * v + 3 for v in values], clusters=clusters, unit="x", range=(3.0, 13.0)
        )
        assert far.low == pytest.approx(10 * m.low + 3, abs=1e-6)
        assert far.high == pytest.approx(10 * m.high + 3, abs=1e-6)


def test_equal_values():
    m = mean("a", [2.0, 2.0, 2.0], unit="nats")
    assert m.low is None and "all 3 values are equal" in m.reason
    bounded = mean("a", [0.0] * 10, unit="score", range=(0.0, 1.0))
    assert (bounded.low, bounded.high) == wilson(0, 10)[:2]


def test_clusters_widen_the_interval_of_alike_items():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.standard_normal(20), 5)
    groups = Clusters.of(np.repeat(np.arange(20), 5).tolist(), 100)
    clustered = mean_interval(values, groups, 0.95)
    plain = mean_interval(values, Clusters.of(None, 100), 0.95)
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)


def test_resampled():
    values = [1.0, 5.0, 2.0, 8.0, 3.0, 9.0, 4.0]
    m = resampled("median", 4.0, 7, "median", values=values, unit="s", range=(0.0, 8.5))
    assert m.low <= 4.0 <= m.high <= 8.5 and "bootstrap" in m.method
    same = resampled("median", 1.0, 3, "median", values=[1.0] * 3, unit="s")
    assert same.low is None and "do not vary" in same.reason
    undefined = resampled("x", 1.0, 5, lambda w: np.full(len(w), np.nan), unit="s")
    assert undefined.low is None
    assert "one observation" in resampled("x", 1.0, 1, "median", values=[1.0], unit="s").reason


def test_no_interval_without_groups():
    assert proportion_interval(np.array([1.0]), Clusters.of(None, 1), 0.95) is None
