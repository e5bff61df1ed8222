"""The vectorised bootstrap draws what a loop over resamples draws, only faster."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import measure_intervals as oracle

from theodolite.errors import ConfigError, DataError
from theodolite.measure import bootstrap as module
from theodolite.measure import cluster_bootstrap
from theodolite.measure.bootstrap import resample_weights, weighted_median
from theodolite.measure.closed_form import Clusters

VALUES = [0.3, 2.0, -1.0, 4.5, 0.3, 7.0, 1.5, 2.5, -3.0]
GROUPS = ["a", "a", "b", "c", "c", "c", "d", "e", "e"]


@pytest.mark.parametrize(
    "statistic, loop", [("mean", statistics.fmean), ("median", statistics.median)]
)
def test_against_the_loop(statistic, loop):
    draws = oracle.bootstrap_draws(VALUES, GROUPS, loop, seed=3, resamples=500)
    interval = cluster_bootstrap(
        VALUES, GROUPS, statistic, seed=3, resamples=500, method="percentile", level=0.9
    )
    assert interval[:2] == pytest.approx(np.quantile(draws, [0.05, 0.95]))


def test_a_function_of_weights_is_the_same_mean():
    values = np.array(VALUES)
    own = cluster_bootstrap(VALUES, GROUPS, lambda w: w @ values / w.sum(1), seed=3)
    assert own[:2] == pytest.approx(cluster_bootstrap(VALUES, GROUPS, "mean", seed=3)[:2])


def test_bca_against_scipy():
    """Different random numbers, so equal to the noise of the resamples."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).exponential(size=40)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, rng=1, method="BCa")
    ours = cluster_bootstrap(values, seed=1, resamples=20_000, method="bca")
    assert ours[:2] == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    plain = cluster_bootstrap(values, seed=1, resamples=20_000, method="percentile")
    assert ours.low > plain.low + 0.01


def test_whole_clusters_are_drawn():
    groups = Clusters.of(GROUPS, 9)
    weights = np.concatenate(list(resample_weights(groups, seed=0, resamples=50)))
    assert weights.shape == (50, 9)
    for members in oracle.groups_of(GROUPS):
        assert (weights[:, members] == weights[:, members[:1]]).all()
    firsts = [members[0] for members in oracle.groups_of(GROUPS)]
    assert (weights[:, firsts].sum(1) == 5).all()


def test_chunks_cover_all_resamples(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 30)
    groups = Clusters.of(GROUPS, 9)
    sizes = [len(chunk) for chunk in resample_weights(groups, seed=0, resamples=10)]
    assert sizes == [3, 3, 3, 1]


@given(
    st.lists(st.integers(-5, 5), min_size=2, max_size=20),
    st.sampled_from(["expanded percentile", "percentile", "bca"]),
    st.sampled_from(["mean", "median"]),
)
def test_within_the_values_and_mirrored_with_them(values, method, statistic):
    interval = cluster_bootstrap(values, None, statistic, seed=0, resamples=200, method=method)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    mirror = cluster_bootstrap(
        [-v for v in values], None, statistic, seed=0, resamples=200, method=method
    )
    assert (mirror.low, mirror.high) == pytest.approx((-interval.high, -interval.low), abs=1e-6)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 4)), min_size=1, max_size=12))
def test_weighted_median(pairs):
    values, weights = np.array(pairs, float).T
    if not weights.sum():
        return
    listed = [value for value, weight in pairs for _ in range(weight)]
    assert weighted_median(values, weights[None])[0] == statistics.median(listed)


def test_seeds_and_names():
    one = cluster_bootstrap(VALUES, GROUPS, seed=1)
    assert one == cluster_bootstrap(VALUES, [g * 3 for g in GROUPS], seed=1)
    assert one != cluster_bootstrap(VALUES, GROUPS, seed=2)


def test_no_interval():
    assert cluster_bootstrap([1.0], seed=0) is None
    assert cluster_bootstrap([1.0, 2.0], ["g", "g"], seed=0) is None
    half = cluster_bootstrap(VALUES, seed=0, statistic=lambda w: np.where(w[:, 0] > 0, 1.0, np.nan))
    assert half is None
    same = cluster_bootstrap([0.0, 0.0, 0.0], seed=0)
    assert same[:2] == (0.0, 0.0)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="Did you mean `median`"):
        cluster_bootstrap(VALUES, statistic="medain", seed=0)
    with pytest.raises(ConfigError, match="Did you mean `percentile`"):
        cluster_bootstrap(VALUES, method="percentil", seed=0)
    with pytest.raises(DataError):
        cluster_bootstrap([1.0, float("nan")], seed=0)


def test_at_least_five_times_faster_than_the_loop():
    values = np.random.default_rng(0).random(500).tolist()
    items = list(range(500))
    start = time.perf_counter()
    oracle.bootstrap_draws(values, items, statistics.fmean, seed=0, resamples=100)
    loop = (time.perf_counter() - start) * 20
    fast = []
    for _ in range(3):
        start = time.perf_counter()
        cluster_bootstrap(values, items, seed=0, resamples=2000)
        fast.append(time.perf_counter() - start)
    assert min(fast) < loop / 5
