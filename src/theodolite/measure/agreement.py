"""How far two raters, or a judge and the labels, agree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.measure.closed_form import Clusters, effective_n, normal_quantile, t_quantile
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Interval, Measurement, Unscored, not_measured

_UNRATED = "a rater gave no label"


@dataclass(frozen=True)
class Confusion:
    """How often each pair of labels occurs.

    Args:
        labels: the labels, in the order of both axes.
        counts: axes (label of the first rater or truth, label of the second or judge); int64.
        unrated: items left out because a rater gave no label.
    """

    labels: tuple[Hashable, ...]
    counts: NDArray[np.int64]
    unrated: int

    @property
    def n(self) -> int:
        """Items with both labels."""
        return int(self.counts.sum())

    @property
    def agreement(self) -> float:
        """Share of items with equal labels; NaN without items."""
        return float(np.trace(self.counts) / self.n) if self.n else float("nan")

    @property
    def chance(self) -> float:
        """Share that would be equal if both kept their label frequencies but rated at random."""
        if not self.n:
            return float("nan")
        return float((self.counts.sum(1) / self.n) @ (self.counts.sum(0) / self.n))

    def records(self) -> list[dict[str, Any]]:
        """Return one row per pair of labels: first, second, count."""
        return [
            {"first": str(a), "second": str(b), "count": int(self.counts[i, j])}
            for i, a in enumerate(self.labels)
            for j, b in enumerate(self.labels)
        ]


def confusion(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    labels: Sequence[Hashable] | None = None,
) -> Confusion:
    """Return how often each pair of labels occurs.

    Args:
        first, second: labels of both raters (or truth and judge); axis (item); None: unrated.
        labels: the order of the labels; all that occur, sorted as text, where not given.

    Raises:
        DataError: the raters differ in number of items, or a label is not among `labels`.
    """
    pairs = _rated(first, second)
    found = {label for pair in pairs for label in pair}
    order = tuple(sorted(found, key=str) if labels is None else labels)
    missing = found.difference(order)
    if missing:
        raise DataError(
            f"{len(missing)} labels are not among the {len(order)} expected ones.",
            fix="Map them first, or leave `labels` out.",
        )
    place = {label: i for i, label in enumerate(order)}
    counts = np.zeros((len(order), len(order)), np.int64)
    for a, b in pairs:
        counts[place[a], place[b]] += 1
    return Confusion(order, counts, len(first) - len(pairs))


def agreement(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    name: str = "agreement",
    level: float = 0.95,
) -> Measurement:
    """Return the share of items with equal labels; the floor is agreement by chance.

    Args:
        first, second: labels of both raters; axis (item); None: unrated.
        clusters: the group of each item; None where items are independent.
        name, level: as for `proportion`.

    Raises:
        DataError: the raters or clusters differ in number of items.
    """
    table = confusion(first, second)
    equal = [None if a is None or b is None else a == b for a, b in zip(first, second)]
    return proportion(
        name,
        equal,
        clusters=clusters,
        floor=Floor("chance at the same label frequencies", table.chance) if table.n else None,
        reasons={_UNRATED: table.unrated},
        level=level,
    )


def cohen_kappa(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    name: str = "kappa",
    level: float = 0.95,
) -> Measurement:
    """Return Cohen's kappa: agreement beyond chance, 0 at chance and 1 at perfect agreement.

    Source: Cohen 1960; interval: Fleiss, Cohen and Everitt 1969, computed on the table with two
    more items spread evenly over its cells (ours). So it keeps a width at perfect agreement, and
    covers 93 to 99 % where the bootstrap covers 30 to 90 (rare labels, n below 100).

    Args:
        first, second: labels of both raters; axis (item); None: unrated.
        clusters: the group of each item; None where items are independent.
        name, level: as for `proportion`.

    Returns: kappa; `not_measured` where both raters used one and the same label only.

    Raises:
        DataError: the raters or clusters differ in number of items.
    """
    table = confusion(first, second)
    missing = {_UNRATED: table.unrated} if table.unrated else {}
    unscored = Unscored(table.unrated, missing, None, None)
    if table.n == 0 or table.chance >= 1:
        why = "no item has both labels" if table.n == 0 else "both raters used one label only"
        return not_measured(name, "kappa", why, n=table.n, unscored=unscored)
    kept = _kept(first, second, clusters)
    groups = Clusters.of(None if clusters is None else [clusters[i] for i in kept], len(kept))
    place = {label: i for i, label in enumerate(table.labels)}
    cells = np.array([[place[first[i]], place[second[i]]] for i in kept])
    value = kappa_of(table.counts)
    interval = _kappa_interval(table.counts, cells, groups, value, level)
    single = "observation" if table.n == 1 else "cluster"
    return Measurement(
        name=name,
        value=value,
        unit="kappa",
        n=table.n,
        n_clusters=None if clusters is None else len(groups),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        level=level,
        method=interval.method if interval else None,
        floor=Floor("chance", 0.0),
        range=(-1.0, 1.0),
        unscored=unscored,
        reason=None if interval else f"one {single} gives no interval",
    )


def kappa_of(counts: NDArray[Any]) -> float:
    """Return Cohen's kappa of a square table of counts; NaN where it is not defined."""
    n = counts.sum()
    chance = (counts.sum(1) / n) @ (counts.sum(0) / n)
    return float((np.trace(counts) / n - chance) / (1 - chance)) if chance < 1 else float("nan")


def _kappa_interval(
    counts: NDArray[np.int64],
    cells: NDArray[np.int64],
    groups: Clusters,
    value: float,
    level: float,
) -> Interval | None:
    """Return the interval of kappa; cells holds the row and column of each item."""
    if len(groups) < 2:
        return None
    smooth = counts + 2.0 / counts.size
    n, shares = float(counts.sum()), smooth / smooth.sum()
    rows, columns = shares.sum(1), shares.sum(0)
    chance, equal = float(rows @ columns), np.eye(len(counts))
    centre = kappa_of(smooth)
    # How far one item in each cell moves kappa.
    pull = equal - (1 - centre) * (columns[:, None] + rows[None, :])
    pull = (pull - (shares * pull).sum()) / (1 - chance)
    spread, worth, quantile = float((shares * pull**2).sum()), n, normal_quantile(level)
    if not groups.independent:
        differ = groups.sums((cells[:, 0] != cells[:, 1]).astype(float))
        carriers = int(min((differ > 0).sum(), (differ < groups.sizes).sum()))
        variance = groups.jackknife_variance(pull[cells[:, 0], cells[:, 1]])
        worth = effective_n(variance, spread, carriers, groups)
        quantile = t_quantile(level, len(groups) - 1)
    half = quantile * (spread / worth) ** 0.5
    low, high = max(-1.0, min(value, centre - half)), min(1.0, max(value, centre + half))
    over = "" if groups.independent else ", t over clusters"
    return Interval(low, high, f"delta method on smoothed table{over}")


def _rated(
    first: Sequence[Hashable | None], second: Sequence[Hashable | None]
) -> list[tuple[Hashable, Hashable]]:
    """Return the label pairs of the items that both raters labelled."""
    if len(first) != len(second):
        raise DataError(
            f"The raters have {len(first)} and {len(second)} items.",
            fix="Give both the same items in the same order.",
        )
    return [(a, b) for a, b in zip(first, second) if a is not None and b is not None]


def _kept(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    clusters: Sequence[Hashable] | None,
) -> list[int]:
    """Return the places of the items that both raters labelled."""
    if clusters is not None and len(clusters) != len(first):
        raise DataError(
            f"There are {len(clusters)} clusters for {len(first)} items.",
            fix="Give one cluster per item.",
        )
    return [i for i, (a, b) in enumerate(zip(first, second)) if a is not None and b is not None]
