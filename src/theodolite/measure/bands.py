"""Intervals over resplits of the same items, and bands over a whole curve.

A curve over layers is read as a whole: where does it leave the floor, where is it highest? Single
intervals, each right 95 times of 100, are wrong somewhere along 30 layers far more often than that.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from theodolite.errors import DataError
from theodolite.measure.closed_form import (
    Clusters,
    Floats,
    as_floats,
    effective_n,
    normal_quantile,
    t_quantile,
)
from theodolite.measure.measurement import Interval
from theodolite.text.hashing import item_seed


def resplit_interval(
    values: Sequence[float],
    test_train_ratio: float,
    level: float = 0.95,
    *,
    range: tuple[float, float] | None = None,
) -> Interval | None:
    """Return the interval of a mean over random resplits of the same items.

    Source: Nadeau and Bengio 2003, the corrected resampled t.

    Args:
        values: one figure per resplit; axis (resplit).
        test_train_ratio: items tested over items trained on, in one resplit.
        level: confidence level.
        range: lowest and highest possible value, to which the interval is cut.

    Returns: the interval, or None for fewer than two resplits or equal values, from which no
        spread can be judged.

    Raises:
        DataError: a value is not finite, or the ratio is not above 0.

    Note: it speaks of fits to other items of the same kind, as many of them: for ten resplits of
        60 to 400 simulated items it held that mean 95 to 97 times of 100. It says nothing about
        items of another kind or source.
    """
    array = as_floats(values)
    if not test_train_ratio > 0:
        raise DataError(
            f"A test to train ratio of {test_train_ratio} is not possible.",
            fix="Give the items tested over the items trained on.",
        )
    n = len(array)
    if n < 2 or np.ptp(array) <= 1e-12 * max(1.0, float(np.abs(array).max())):
        return None
    spread = math.sqrt((1 / n + test_train_ratio) * float(array.var(ddof=1)))
    half = t_quantile(level, n - 1) * spread
    low, high = float(array.mean()) - half, float(array.mean()) + half
    if range is not None:
        low, high = max(low, range[0]), min(high, range[1])
    return Interval(low, high, "corrected resampled t")


def simultaneous_band(
    outcomes: ArrayLike,
    clusters: Sequence[Hashable] | None,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 1000,
) -> tuple[Floats, Floats]:
    """Return a band that holds the whole curve of shares, all layers at once.

    Every layer gets the interval of its share at one common level, the one at which the largest
    error over all layers stays inside (max-T over a cluster bootstrap). Layers that are right
    together cost little, unrelated ones nearly as much as a Bonferroni correction.

    Args:
        outcomes: 0 or 1; axes (layer, item).
        clusters: the group of each item; None where items are independent.
        seed: of the resamples.
        level: the chance that no layer's true share lies outside.
        resamples: number of resamples.

    Returns: low and high ends; axis (layer). They are 0 and 1 for fewer than two clusters.

    Raises:
        DataError: an outcome is neither 0 nor 1, or clusters and items differ in number.

    Note: the ends are beta quantiles half way between Jeffreys and Clopper-Pearson, on the
        effective n where items are clustered, so a layer without an error has a width too. In
        simulations of 31 layers and 30 to 1,000 independent items the whole curve is inside 95 to
        98 times of 100, with few clusters up to 99 times; Wilson ends fall to 82 near 1.
    """
    table = np.asarray(outcomes, np.float64)
    if table.ndim != 2 or not table.size or not np.isin(table, (0.0, 1.0)).all():
        raise DataError(
            "A band needs outcomes of 0 and 1 with axes (layer, item).",
            fix="Give whether each item was right at each layer.",
        )
    groups = Clusters.of(clusters, table.shape[1])
    if len(groups) < 2:
        return np.zeros(len(table)), np.ones(len(table))
    shares = table.mean(1)
    sums = np.stack([groups.sums(row) for row in table])
    critical = simultaneous_critical(
        sums - shares[:, None] * groups.sizes, seed=seed, level=level, resamples=resamples
    )
    tail = NormalDist().cdf(-critical)
    if not groups.independent:
        tail = _t_tail(critical, len(groups) - 1)
    carriers = np.minimum((sums > 0).sum(1), (sums < groups.sizes).sum(1))
    worth = np.array(
        [
            effective_n(groups.jackknife_variance(row), share * (1 - share), int(carrier), groups)
            for row, share, carrier in zip(table, shares, carriers, strict=True)
        ]
    )
    return _beta_ends(shares, worth, tail)


def simultaneous_critical(
    influences: Floats, *, seed: int, level: float = 0.95, resamples: int = 1000
) -> float:
    """Return how many standard errors hold the largest of many related errors.

    Source: the max-T of a cluster bootstrap with normal multipliers.

    Args:
        influences: how much each cluster pulls each estimate away from its value (for a mean: the
            sum over the cluster's items of value minus mean); axes (estimate, cluster).
        seed: of the resamples.
        level: the chance that no estimate is off by more.
        resamples: number of resamples.

    Returns: at least the quantile of one normal error. Estimates that no cluster pulls have no
        known error; all of them count as one, unrelated to the others.
    """
    rng = np.random.default_rng(item_seed(seed, "simultaneous band"))
    spread = np.sqrt((influences**2).sum(1))
    moving = spread > 1e-9 * np.sqrt(influences.shape[1])
    multipliers = rng.normal(size=(resamples, influences.shape[1]))
    errors = np.abs(multipliers @ (influences[moving] / spread[moving, None]).T)
    if not moving.all():
        errors = np.column_stack([errors, np.abs(rng.normal(size=resamples))])
    return max(float(np.quantile(errors.max(1), level)), normal_quantile(level))


def _t_tail(critical: float, degrees: float) -> float:
    """Return the tail of Student's distribution that is used where a normal error has `critical`.

    Few clusters know their own spread badly: the ends are read at the t of the normal's level.
    """
    from scipy.special import stdtrit

    widened = -float(stdtrit(degrees, NormalDist().cdf(-critical)))
    return NormalDist().cdf(-widened)


def _beta_ends(shares: Floats, worth: Floats, tail: float) -> tuple[Floats, Floats]:
    """Return the ends that leave `tail` on either side, for shares of `worth` items."""
    from scipy.special import betaincinv

    found, missed = shares * worth, (1 - shares) * worth
    low = np.where(shares > 0, betaincinv(found + 0.25, missed + 0.75, tail), 0.0)
    high = np.where(shares < 1, betaincinv(found + 0.75, missed + 0.25, 1 - tail), 1.0)
    return np.minimum(low, shares), np.maximum(high, shares)
