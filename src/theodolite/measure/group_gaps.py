"""How far groups lie apart, and how far they would by chance.

A gap between groups is never negative, so it is above zero even where the groups are alike, the
more so the smaller they are. Its interval cannot tell that either. So every gap has a floor: what
it reaches when the labels of whole clusters are shuffled among the groups.

A statistic takes how often each item counts in each group, weights with axes (resample, group,
item), and returns the gap, axis (resample): the same function serves the items as they are, a
bootstrap within groups, and shuffled labels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters, Floats, as_floats
from theodolite.measure.measurement import Floor, Interval, Measurement, not_measured
from theodolite.text.display import escape
from theodolite.text.hashing import item_seed

Gap: TypeAlias = Callable[[Floats], Floats]
SHUFFLES = 1000
RESAMPLES = 2000
ALIKE = "not distinguishable from 0"
_LEVEL = 0.95
_DEFINED = 0.9  # share of resamples that must have a value
_CHUNK = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True)
class Groups:
    """Which group each item belongs to; the items of a cluster share one.

    Args:
        names: of the groups, sorted.
        clusters: the clusters of the items.
        group: of each cluster, as a place in `names`; int64, axis (cluster).
    """

    names: tuple[str, ...]
    clusters: Clusters
    group: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[str], clusters: Sequence[Hashable] | None = None) -> Groups:
        """Number the groups of items.

        Args:
            groups: of each item; axis (item).
            clusters: what stands or falls together, e.g. the prompt of each item.

        Raises: DataError: a cluster has items in two groups.
        """
        own = Clusters.of(clusters, len(groups))
        names = tuple(sorted(set(groups)))
        places = np.array([names.index(group) for group in groups], np.int64)
        group = np.zeros(len(own), np.int64)
        group[own.index] = places
        split = np.flatnonzero(group[own.index] != places)
        if len(split):
            raise DataError(
                f"The items of one cluster stand in two groups, {escape(groups[split[0]], 60)} "
                "among them.",
                fix="Give each group clusters of its own.",
            )
        return cls(names, own, group)

    def weights(self, counts: Floats, group: NDArray[np.int64] | None = None) -> Floats:
        """Return the weights of a statistic, axes (resample, group, item).

        Args:
            counts: how often each cluster counts; axes (resample, cluster).
            group: of each cluster in each resample, where not their own; the same axes.
        """
        of = self.group[None] if group is None else group
        member = of[:, None, :] == np.arange(len(self.names))[None, :, None]
        return np.asarray((member * counts[:, None, :])[:, :, self.clusters.index])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Clusters of each group, axis (group)."""
        return np.bincount(self.group, minlength=len(self.names))


def group_gap(
    name: str,
    groups: Groups,
    gap: Gap,
    *,
    unit: str,
    range: tuple[float, float] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    shuffles: int = SHUFFLES,
    reason: str | None = None,
) -> Measurement:
    """Return a gap between groups with an interval and the floor of shuffled labels.

    Args:
        name, unit, range, reason: as for `measure.mean`.
        groups: of the items that the statistic knows.
        gap: the statistic.
        seed: of resamples and shuffles.
        resamples: of clusters, within each group.
        shuffles: of the labels of whole clusters.

    Returns: the gap; its `reason` gives the p-value of the shuffles and says where the gap is not
        distinguishable from 0. `not_measured` for fewer than two groups.
    """
    if len(groups.names) < 2:
        return not_measured(name, unit, "a gap takes two groups", n=len(groups.clusters.index))
    value = float(gap(groups.weights(np.ones((1, len(groups.group)))))[0])
    shuffled = shuffled_gaps(groups, gap, seed=seed, shuffles=shuffles)
    reach = float(np.quantile(shuffled, _LEVEL))
    p_value = (1 + int((shuffled >= value * (1 - 1e-12)).sum())) / (1 + shuffles)
    interval = gap_interval(groups, gap, seed=seed, resamples=resamples, range=range)
    if interval and value <= reach:
        interval = interval._replace(low=0.0)
    alike = f"{ALIKE}, " if value <= reach else ""
    why = None if interval else "a group has one cluster, or the resamples do not vary"
    parts = [reason, f"{alike}p {p_value:.3g} by {shuffles} shuffles of the labels", why]
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        n=len(groups.clusters.index),
        n_clusters=len(groups.clusters),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        method=interval.method if interval else None,
        floor=Floor(f"95 % of {shuffles} label shuffles", reach),
        range=range,
        reason="; ".join(part for part in parts if part),
    )


def shuffled_gaps(groups: Groups, gap: Gap, *, seed: int, shuffles: int = SHUFFLES) -> Floats:
    """Return the gap under shuffled labels, axis (shuffle); groups keep their cluster counts."""
    rng = np.random.default_rng(item_seed(seed, "label shuffles"))
    found = []
    for rows in _chunks(shuffles, groups):
        labels = rng.permuted(np.tile(groups.group, (rows, 1)), axis=1)
        found.append(gap(groups.weights(np.ones(labels.shape), labels)))
    return np.concatenate(found)


def gap_interval(
    groups: Groups,
    gap: Gap,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    range: tuple[float, float] | None = None,
    level: float = _LEVEL,
) -> Interval | None:
    """Return the bootstrap interval of a statistic of groups, clusters drawn within each group.

    The hull of the resamples moved so that their mean is the value, and of those mirrored at the
    value; tails as expanded for the smallest group, the most careful choice. Source: ours.

    Returns: None where a group has one cluster, or the resamples do not vary.
    """
    if groups.sizes.min() < 2:
        return None
    value = float(gap(groups.weights(np.ones((1, len(groups.group)))))[0])
    draws = resampled_gaps(groups, gap, seed=seed, resamples=resamples)
    draws = draws[np.isfinite(draws)]
    if len(draws) < _DEFINED * resamples or np.ptp(draws) == 0:
        return None
    tail = expanded_tail(Clusters.of(None, int(groups.sizes.min())), level)
    ends = np.quantile(draws, (tail, 1 - tail))
    moved, mirrored = ends - (draws.mean() - value), 2 * value - ends[::-1]
    low, high = float(min(moved[0], mirrored[0])), float(max(moved[1], mirrored[1]))
    if range is not None:
        low, high = max(low, range[0]), min(high, range[1])
    return Interval(low, high, "centred bootstrap in groups")


def resampled_gaps(groups: Groups, gap: Gap, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return the statistic of each resample of clusters within groups, axis (resample)."""
    counts = _within_groups(groups, seed, resamples)
    found, start = [], 0
    for rows in _chunks(resamples, groups):
        found.append(gap(groups.weights(counts[start : start + rows])))
        start += rows
    return np.concatenate(found)


def spread_of_means(values: Sequence[float]) -> Gap:
    """Return the statistic: standard deviation of the group means, ddof 0.

    Args:
        values: axis (item).
    """
    array = as_floats(values)
    return lambda weights: np.asarray(_means(weights, array).std(axis=1))


def range_of_means(values: Sequence[float]) -> Gap:
    """Return the statistic: highest group mean minus the lowest; `values` as above."""
    array = as_floats(values)
    return lambda weights: np.asarray(np.ptp(_means(weights, array), axis=1))


def mean_wasserstein(values: Sequence[float]) -> Gap:
    """Return the statistic: mean over groups of the distance from the group to all items pooled.

    Args:
        values: axis (item).
    """
    array = as_floats(values)

    def gap(weights: Floats) -> Floats:
        pooled = weights.sum(axis=1, keepdims=True)
        return np.asarray(_distances(array, weights, pooled).mean(axis=1))

    return gap


def mean_pairwise(vectors: ArrayLike, order: int = 2) -> Gap:
    """Return the statistic: mean distance of the mean vectors over all pairs of groups.

    Args:
        vectors: e.g. class probabilities; axes (item, entry).
        order: of the norm: 2 or 1.
    """
    table = np.asarray(vectors, np.float64)

    def gap(weights: Floats) -> Floats:
        means = (weights @ table) / weights.sum(axis=2, keepdims=True)
        pairs = combinations(range(means.shape[1]), 2)
        apart = [np.linalg.norm(means[:, a] - means[:, b], ord=order, axis=1) for a, b in pairs]
        return np.asarray(np.mean(apart, axis=0))

    return gap


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the 1-Wasserstein distance of two samples of numbers.

    It is the area between their distribution functions.

    Raises: DataError: a sample is empty or holds what is no finite number.
    """
    sides = as_floats(first), as_floats(second)
    if not all(map(len, sides)):
        raise DataError("The distance to an empty sample is not defined.", fix="Give both values.")
    member = np.repeat(np.eye(2), [len(side) for side in sides], axis=1)
    return float(_distances(np.concatenate(sides), member[None, :1], member[None, 1:])[0, 0])


def _distances(values: Floats, first: Floats, second: Floats) -> Floats:
    """Return the Wasserstein distances of weighted samples; weights (resample, group, item)."""
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order])
    below = [np.cumsum(side[..., order], axis=-1) for side in (first, second)]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [side[..., :-1] / side[..., -1:] for side in below]
    return np.asarray(np.abs(shares[0] - shares[1]) @ steps)


def _means(weights: Floats, values: Floats) -> Floats:
    """Return the mean of each group, axes (resample, group)."""
    return np.asarray(weights @ values / weights.sum(axis=2))


def _within_groups(groups: Groups, seed: int, resamples: int) -> Floats:
    """Return how often each cluster is drawn, axes (resample, cluster)."""
    counts = np.zeros((resamples, len(groups.group)))
    for place, name in enumerate(groups.names):
        members = np.flatnonzero(groups.group == place)
        drawn = resample_weights(
            Clusters.of(None, len(members)), seed=item_seed(seed, name), resamples=resamples
        )
        counts[:, members] = np.concatenate(list(drawn))
    return counts


def _chunks(total: int, groups: Groups) -> Iterator[int]:
    """Yield how many resamples are held at once."""
    at_once = max(1, _CHUNK // (len(groups.names) * len(groups.clusters.index)))
    for start in range(0, total, at_once):
        yield min(at_once, total - start)
