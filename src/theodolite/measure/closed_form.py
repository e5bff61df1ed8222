"""Intervals in closed form, and what clustered items are worth.

Which interval for what was chosen by simulated coverage (`tests/measure/test_coverage.py`):

- Wilson for proportions. Clustered: Wilson on the effective n. Percentile, BCa and plain t
  intervals over few clusters, or near 0 and 1, cover 20 to 90 % where they claim 95.
- t over clusters for means, with the delete-one-cluster jackknife variance and the degrees of
  freedom of the effective number of clusters; percentile and BCa cover 3 to 15 points less
  below about 30 clusters. For skewed values all of them cover less than they claim.
- Bonett-Price for the difference of paired proportions; it has a width also when no pair differs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.measure.measurement import Interval

Floats = NDArray[np.float64]
_TINY = 1e-12


def normal_quantile(level: float) -> float:
    """Return the z that holds `level` of the standard normal distribution between -z and z."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def t_quantile(level: float, degrees: float) -> float:
    """Return the t that holds `level` of Student's distribution between -t and t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))


@dataclass(frozen=True)
class Clusters:
    """Which of the independent groups each item belongs to.

    Args:
        index: the group of each item, numbered in order of appearance; int64, axis (item).
        sizes: items per group; float64, axis (cluster).
    """

    index: NDArray[np.int64]
    sizes: Floats

    @classmethod
    def of(cls, clusters: Iterable[Hashable] | None, n: int) -> Clusters:
        """Number the groups of n items; None makes every item its own group.

        Raises:
            DataError: there is not one cluster per item.
        """
        if clusters is None:
            return cls(np.arange(n), np.ones(n))
        seen: dict[Hashable, int] = {}
        index = np.array([seen.setdefault(cluster, len(seen)) for cluster in clusters], np.int64)
        if len(index) != n:
            raise DataError(
                f"There are {len(index)} clusters for {n} items.", fix="Give one cluster per item."
            )
        return cls(index, np.bincount(index, minlength=len(seen)).astype(float))

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.sizes)

    @property
    def independent(self) -> bool:
        """Whether every item is its own group."""
        return len(self.sizes) == len(self.index)

    @property
    def effective(self) -> float:
        """The number of equal groups that would weigh like these (Kish)."""
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())

    def sums(self, values: Floats) -> Floats:
        """Return the sum of the items' values per group; axis (cluster)."""
        sums = np.bincount(self.index, weights=values, minlength=len(self.sizes))
        return np.asarray(sums, np.float64)

    def jackknife_variance(self, values: Floats) -> float:
        """Return the variance of the mean of all items, leaving out one group at a time."""
        sums, total, n = self.sums(values), values.sum(), self.sizes.sum()
        groups = len(self.sizes)
        left_out = (total - sums) / (n - self.sizes)
        return float((groups - 1) / groups * ((left_out - total / n) ** 2).sum())


def wilson(
    successes: float, n: float, level: float = 0.95, *, critical: float | None = None
) -> Interval | None:
    """Return the Wilson score interval of a proportion.

    Source: Wilson 1927, without continuity correction.

    Args:
        successes: number of positive outcomes, 0 to n.
        n: number of outcomes; may be an effective, fractional one.
        level: confidence level.
        critical: the quantile to use in place of the normal one.

    Returns: the interval, or None for fewer than two outcomes.

    Raises:
        DataError: successes do not lie between 0 and n.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} outcomes are not possible.")
    return _wilson(successes / n, n, critical or normal_quantile(level)) if n >= 2 else None


def _wilson(share: float, n: float, critical: float) -> Interval:
    """Return the Wilson interval of a share of n outcomes; n > 0 may be below two."""
    square = critical * critical
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = critical * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    # At the ends the exact bound is the share itself; rounding must not push it inside.
    return Interval(
        max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), "wilson"
    )


def effective_n(variance: float, unit_variance: float, carriers: int, clusters: Clusters) -> float:
    """Return how many independent items the clustered ones are worth for a proportion.

    The estimate from the jackknife is mixed with one cluster's weight of the most careful answer
    (items of a cluster all say the same): with few clusters that carry the rarer outcome the
    jackknife knows too little and is far too sure. With none, the careful answer is all there is.
    Source: ours.

    Args:
        variance: jackknife variance of the estimate.
        unit_variance: variance of one independent item, e.g. p (1 - p).
        carriers: clusters in which the rarer outcome was seen.
        clusters: the groups.

    Returns: a number between 1 and n; n itself where items are independent.
    """
    n = float(clusters.sizes.sum())
    if clusters.independent:
        return n
    careful = 1 / clusters.effective
    if unit_variance <= _TINY or carriers == 0:
        return clusters.effective
    estimated = max(variance / unit_variance, 1 / n)
    return (carriers + 1) / (carriers * estimated + careful)


def proportion_interval(outcomes: Floats, clusters: Clusters, level: float) -> Interval | None:
    """Return the Wilson interval of 0/1 outcomes, on the effective n where they are clustered.

    Args:
        outcomes: 0.0 or 1.0; axis (item).
        clusters: the groups of the items.
        level: confidence level.

    Returns: the interval, or None for fewer than two clusters.
    """
    if len(clusters) < 2:
        return None
    share = float(outcomes.mean())
    if clusters.independent:
        return _wilson(share, len(outcomes), normal_quantile(level))
    positive = clusters.sums(outcomes)
    carriers = int(min((positive > 0).sum(), (positive < clusters.sizes).sum()))
    variance = clusters.jackknife_variance(outcomes)
    worth = effective_n(variance, share * (1 - share), carriers, clusters)
    low, high, _ = _wilson(share, worth, t_quantile(level, len(clusters) - 1))
    return Interval(low, high, "wilson on effective n, t over clusters")


def mean_interval(
    values: Floats, clusters: Clusters, level: float, range: tuple[float, float] | None = None
) -> Interval | None:
    """Return the t interval of a mean over independent groups.

    Args:
        values: axis (item).
        clusters: the groups of the items.
        level: confidence level.
        range: the bounds of one value; the interval is cut to them, and where all values are
            equal the Wilson interval of the rescaled mean takes over (no bounded quantity of
            the same mean varies more than a 0/1 one).

    Returns: the interval, or None for fewer than two clusters, or equal values without a range.
    """
    if len(clusters) < 2:
        return None
    centre = float(values.mean())
    if np.ptp(values) <= _TINY * max(1.0, abs(centre)):
        if range is None or range[0] == range[1]:
            return None
        span = range[1] - range[0]
        share = min(max((centre - range[0]) / span, 0.0), 1.0)
        low, high, _ = _wilson(share, clusters.effective, normal_quantile(level))
        return Interval(range[0] + span * low, range[0] + span * high, "wilson, all values equal")
    degrees = max(clusters.effective - 1, 1.0)
    half = t_quantile(level, degrees) * math.sqrt(clusters.jackknife_variance(values))
    low, high = centre - half, centre + half
    if range is not None:
        low, high = max(low, range[0]), min(high, range[1])
    method = "t" if clusters.independent else "t over clusters"
    return Interval(low, high, method)


def paired_proportion_interval(
    differences: Floats, clusters: Clusters, level: float
) -> Interval | None:
    """Return the Bonett-Price interval of a difference of paired proportions.

    Source: Bonett and Price 2012; on the effective n (as for `proportion_interval`) where pairs
    are clustered, which is ours.

    Args:
        differences: -1.0, 0.0 or 1.0 per pair; axis (item).
        clusters: the groups of the pairs.
        level: confidence level.

    Returns: the interval, or None for fewer than two clusters.
    """
    if len(clusters) < 2:
        return None
    up, down = float((differences > 0).mean()), float((differences < 0).mean())
    centre = up - down
    carriers = int((clusters.sums(np.abs(differences)) > 0).sum())
    variance = clusters.jackknife_variance(differences)
    n = effective_n(variance, up + down - centre**2, carriers, clusters)
    quantile = normal_quantile(level)
    if not clusters.independent:
        quantile = t_quantile(level, len(clusters) - 1)
    up, down = (n * up + 1) / (n + 2), (n * down + 1) / (n + 2)
    half = quantile * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, min(centre, up - down - half)), min(1.0, max(centre, up - down + half))
    method = "bonett-price" if clusters.independent else "bonett-price on effective n"
    return Interval(low, high, method)


def rogan_gladen(rate: float, sensitivity: float, specificity: float) -> float | None:
    """Return the true rate behind a rate seen by an imperfect judge, cut to 0..1.

    Source: Rogan and Gladen 1978.

    Args:
        rate: share of items the judge calls positive.
        sensitivity, specificity: the judge's, on labelled rows.

    Returns: the corrected rate, or None for a judge no better than a coin (sensitivity plus
        specificity at most 1), from which nothing can be learnt.
    """
    informedness = sensitivity + specificity - 1
    if informedness <= _TINY:
        return None
    return min(max((rate + specificity - 1) / informedness, 0.0), 1.0)


def corrected_interval(
    shares: tuple[float, float, float], counts: Sequence[float], level: float
) -> Interval:
    """Return the interval of a true rate seen by a judge whose quality is itself estimated.

    Source: Lang and Reiczigel 2014.

    Args:
        shares: the rate the judge gave, its sensitivity, its specificity.
        counts: the items behind each share.
        level: confidence level.

    Returns: the interval; 0 to 1 where the judge may be no better than a coin.
    """
    z = normal_quantile(level)
    n, n_se, n_sp = counts[0] + z * z, counts[1] + 2, counts[2] + 2
    p = (counts[0] * shares[0] + z * z / 2) / n
    se = (counts[1] * shares[1] + 1) / n_se
    sp = (counts[2] * shares[2] + 1) / n_sp
    informedness = se + sp - 1
    if informedness <= 0:
        return Interval(0.0, 1.0, "lang-reiczigel")
    true = min(max((p + sp - 1) / informedness, 0.0), 1.0)
    from_se, from_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    shift = 2 * z * z * (true * from_se - (1 - true) * from_sp)
    spread = p * (1 - p) / n + true**2 * from_se + (1 - true) ** 2 * from_sp
    half = z * math.sqrt(spread) / informedness
    low, high = max(0.0, true + shift - half), min(1.0, true + shift + half)
    return Interval(low, high, "lang-reiczigel")


def as_floats(values: Sequence[float]) -> Floats:
    """Return values as a float64 array of one axis (item).

    Raises:
        DataError: a value is not a finite number; the message gives its position.
    """
    array = np.asarray(values, dtype=float).reshape(-1)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataError(
            f"Value {bad[0]} is {array[bad[0]]}, not a finite number.",
            fix="Give None for an item without a score.",
        )
    return array
