"""Do the intervals hold the truth as often as they claim? Simulated, with fixed seeds.

The trap: an interval with a fine formula that misses near 0 and 1, or with few clusters. Gates are
99.9 % bands of the simulation around the level; where an interval is known to be careful or, in
extreme settings, short of its level, the gate is one-sided and the floor is written in the table.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from theodolite.measure.agreement import cohen_kappa, kappa_of
from theodolite.measure.bootstrap import cluster_bootstrap
from theodolite.measure.closed_form import (
    Clusters,
    corrected_interval,
    mean_interval,
    paired_proportion_interval,
    proportion_interval,
    wilson,
)

SIMULATIONS = 2500
NOMINAL = 0.95


def band(level: float = NOMINAL, simulations: int = SIMULATIONS) -> float:
    """Return the half width of the 99.9 % band of a simulated coverage."""
    return 3.2905 * math.sqrt(level * (1 - level) / simulations)


def clustered(rng, groups: int, sizes: str) -> Clusters:
    """Draw groups of equal or very unequal size."""
    if sizes == "single":
        return Clusters.of(None, groups)
    drawn = np.full(groups, 6) if sizes == "equal" else rng.geometric(0.15, groups)
    return Clusters.of(np.repeat(np.arange(groups), drawn).tolist(), int(drawn.sum()))


def shares(rng, groups: Clusters, p: float, correlation: float) -> np.ndarray:
    """Draw 0/1 outcomes whose share varies between groups (beta-binomial)."""
    if correlation == 0:
        own = np.full(len(groups), p)
    elif correlation == 1:
        own = (rng.random(len(groups)) < p).astype(float)
    else:
        k = 1 / correlation - 1
        own = rng.beta(p * k, (1 - p) * k, len(groups))
    return (rng.random(len(groups.index)) < own[groups.index]).astype(float)


def coverage(make, truth: float, simulations: int = SIMULATIONS) -> float:
    """Return how often the interval holds the truth; one that cannot be given is a miss."""
    hits = 0
    for seed in range(simulations):
        interval = make(np.random.default_rng(seed))
        hits += interval is not None and interval.low - 1e-12 <= truth <= interval.high + 1e-12
    return hits / simulations


def test_wilson_is_nominal_over_all_shares():
    rng = np.random.default_rng(0)
    for n in (10, 30, 120):
        p = rng.random(20_000)
        seen = rng.binomial(n, p)
        table = [wilson(k, n) for k in range(n + 1)]
        low, high = np.array([(t.low, t.high) for t in table])[seen].T
        assert abs(np.mean((low <= p) & (p <= high)) - NOMINAL) < band(simulations=20_000)


def test_wilson_at_its_worst():
    """Exact coverage at every share: just where one success falls out it is 0.84, never less."""
    for n in (10, 50, 200):
        shares = np.linspace(1e-4, 1 - 1e-4, 2001)
        exact = np.zeros(len(shares))
        for k in range(n + 1):
            low, high, _ = wilson(k, n)
            held = (low <= shares) & (shares <= high)
            exact += held * float(math.comb(n, k)) * shares**k * (1 - shares) ** (n - k)
        assert 0.83 < exact.min() < 0.9
        assert abs(exact.mean() - NOMINAL) < 0.01


# groups, sizes, p, correlation within groups, least coverage
PROPORTIONS = [
    (5, "equal", 0.5, 0.3, 0.95),
    (5, "unequal", 0.5, 0.8, 0.95),
    (5, "unequal", 0.03, 0.3, 0.95),
    (10, "unequal", 0.1, 0.3, 0.95),
    (20, "equal", 0.97, 0.8, 0.95),
    (20, "unequal", 0.1, 0.8, 0.95),
    (20, "unequal", 0.5, 0.0, 0.95),
    (50, "equal", 0.5, 1.0, 0.95),
    (50, "unequal", 0.5, 0.3, 0.94),
    (50, "unequal", 0.97, 0.3, 0.95),
    (50, "unequal", 0.1, 0.8, 0.92),
    (200, "unequal", 0.1, 0.3, 0.94),
]


@pytest.mark.parametrize("groups, sizes, p, correlation, least", PROPORTIONS)
def test_clustered_proportions(groups, sizes, p, correlation, least):
    def make(rng):
        own = clustered(rng, groups, sizes)
        return proportion_interval(shares(rng, own, p, correlation), own, NOMINAL)

    seen = coverage(make, p)
    print(f"proportion {groups} {sizes} p={p} icc={correlation}: {seen:.3f}")
    assert seen > least - band(least)


# values, truth, groups, sizes, least and most coverage
MEANS = [
    ("normal", 0.0, 5, "single", 0.95, 0.95),
    ("normal", 0.0, 50, "single", 0.95, 0.95),
    ("normal", 0.0, 10, "unequal", 0.93, 0.97),
    ("normal", 0.0, 30, "unequal", 0.94, 0.96),
    ("normal", 0.0, 30, "equal", 0.95, 0.95),
    ("exponential", 1.0, 10, "single", 0.89, 0.95),
    ("exponential", 1.0, 100, "single", 0.94, 0.95),
    ("exponential", 1.0, 10, "unequal", 0.91, 0.97),
]


@pytest.mark.parametrize("kind, truth, groups, sizes, least, most", MEANS)
def test_means(kind, truth, groups, sizes, least, most):
    def make(rng):
        own = clustered(rng, groups, sizes)
        draw = rng.standard_normal if kind == "normal" else rng.standard_exponential
        between, within = draw(len(own)), draw(len(own.index))
        values = between[own.index] if sizes == "single" else (between[own.index] + within) / 2
        return mean_interval(values, own, NOMINAL)

    seen = coverage(make, truth)
    print(f"mean {kind} {groups} {sizes}: {seen:.3f}")
    assert least - band(least) < seen < most + band(most)


# first, second, correlation of the outcomes, groups, sizes, correlation within groups
PAIRS = [
    (0.5, 0.5, 0.3, 30, "single", 0.0),
    (0.9, 0.7, 0.3, 100, "single", 0.0),
    (0.03, 0.01, 0.0, 50, "single", 0.0),
    (0.98, 0.98, 0.0, 20, "single", 0.0),
    (0.5, 0.4, 0.3, 10, "unequal", 0.3),
    (0.9, 0.7, 0.3, 50, "equal", 0.8),
]


@pytest.mark.parametrize("first, second, phi, groups, sizes, correlation", PAIRS)
def test_paired_differences(first, second, phi, groups, sizes, correlation):
    both = first * second + phi * math.sqrt(first * (1 - first) * second * (1 - second))
    cells = np.array([first - both, second - both, 1 - first - second + 2 * both])

    def make(rng):
        own = clustered(rng, groups, sizes)
        k = 1e9 if correlation == 0 else 1 / correlation - 1
        chances = rng.dirichlet(np.maximum(cells * k, 1e-6), len(own)).cumsum(1)[own.index]
        u = rng.random(len(own.index))
        d = (u < chances[:, 0]).astype(float) - ((u >= chances[:, 0]) & (u < chances[:, 1]))
        return paired_proportion_interval(d, own, NOMINAL)

    seen = coverage(make, first - second)
    print(f"paired {first} {second} {groups} {sizes}: {seen:.3f}")
    assert seen > 0.95 - band()


BOOTSTRAPS = [
    ("mean", "expanded percentile", 5, 0.91, 0.95),
    ("mean", "expanded percentile", 30, 0.95, 0.96),
    ("median", "expanded percentile", 30, 0.93, 0.97),
    ("mean", "percentile", 5, 0.0, 0.88),
    ("mean", "bca", 5, 0.0, 0.88),
]


@pytest.mark.parametrize("statistic, method, n, least, most", BOOTSTRAPS)
def test_bootstrap(statistic, method, n, least, most):
    """The last two rows show why neither percentile nor BCa is the default."""

    def make(rng):
        values = rng.standard_normal(n)
        return cluster_bootstrap(
            values, None, statistic, seed=int(values[0] * 1e6), resamples=400, method=method
        )

    seen = coverage(make, 0.0, 2000)
    print(f"bootstrap {statistic} {method} {n}: {seen:.3f}")
    wide = band(simulations=2000)
    assert least - wide < seen < most + wide


# shares of the cells of the table of two raters, n, groups (0: independent)
TABLES = [
    ([[0.45, 0.05], [0.05, 0.45]], 20, 0),
    ([[0.9, 0.01], [0.01, 0.08]], 50, 0),
    ([[0.7, 0.02], [0.1, 0.18]], 150, 0),
    ([[0.3, 0.02, 0.03], [0.02, 0.3, 0.01], [0.1, 0.02, 0.2]], 60, 0),
    ([[0.45, 0.05], [0.05, 0.45]], 90, 15),
]


@pytest.mark.parametrize("shares, n, groups", TABLES)
def test_kappa(shares, n, groups):
    cells = np.array(shares)
    size, hits, undefined = len(cells), 0, 0
    rng = np.random.default_rng(0)
    for _ in range(2000):
        own = None if not groups else np.repeat(np.arange(groups), n // groups).tolist()
        # Clustered: every group has a table of its own, so items of a group are alike.
        rows = [cells.ravel()] * n
        if groups:
            rows = rng.dirichlet(cells.ravel() * 4, groups)[own]
        flat = (np.cumsum(rows, 1) < rng.random((n, 1))).sum(1).clip(max=size * size - 1)
        result = cohen_kappa((flat // size).tolist(), (flat % size).tolist(), clusters=own)
        undefined += result.value is None
        hits += result.value is not None and result.low <= kappa_of(cells) <= result.high
    seen = hits / (2000 - undefined)
    print(f"kappa {shares} {n} {groups}: {seen:.3f}")
    assert seen > NOMINAL - band(simulations=2000)


@pytest.mark.parametrize(
    "rate, sensitivity, specificity, n, labelled",
    [(0.5, 0.9, 0.9, 200, 50), (0.02, 0.9, 0.95, 300, 100), (0.8, 0.7, 0.8, 100, 60)],
)
def test_corrected_rates(rate, sensitivity, specificity, n, labelled):
    """The naive interval, which takes the judge's shares as exact, covers 36 to 88 %."""
    seen_rate = rate * sensitivity + (1 - rate) * (1 - specificity)
    hits = naive = 0
    rng = np.random.default_rng(0)
    for _ in range(SIMULATIONS):
        x = rng.binomial(n, seen_rate) / n
        se, sp = (
            rng.binomial(labelled, sensitivity) / labelled,
            rng.binomial(labelled, specificity) / labelled,
        )
        low, high, _ = corrected_interval((x, se, sp), (n, labelled, labelled), NOMINAL)
        hits += low <= rate <= high
        half = 1.96 * math.sqrt(x * (1 - x) / n) / max(se + sp - 1, 1e-9)
        naive += abs((x + sp - 1) / max(se + sp - 1, 1e-9) - rate) <= half
    hits, naive = hits / SIMULATIONS, naive / SIMULATIONS
    print(f"corrected {rate} {sensitivity} {specificity}: {hits:.3f}, naive {naive:.3f}")
    assert hits > 0.95 - band()
    assert naive < 0.9


def test_the_gate_can_fail():
    """A plain percentile interval of rare outcomes in ten groups misses far more than 5 %."""

    def make(rng):
        own = clustered(rng, 10, "unequal")
        outcomes = shares(rng, own, 0.03, 0.8)
        return cluster_bootstrap(
            outcomes, own.index.tolist(), seed=1, resamples=200, method="percentile"
        )

    assert coverage(make, 0.03, 1000) < 0.6
