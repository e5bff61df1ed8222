"""e_l by class: from which layer on does the network turn recognised harm into refusing words?

The gap is the mean e_l of benign requests minus that of harmful ones. Its band holds for all layers
at once (max-T over bootstrapped clusters), so the conversion layer, from which the band stays above
0 up to the last layer, is not the luckiest of many looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.errors import DataError
from theodolite.measure.bootstrap import resample_weights
from theodolite.measure.closed_form import Clusters, mean_interval
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.items import Items
    from theodolite.mechanism.lens.logit_lens import LensResult

Array = NDArray[np.float64]
_BAND = "max-T over bootstrapped clusters, all layers at once"
# Below this share of the values' size a spread is rounding, not variation between prompts.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class EmotionCurve:
    """e_l by class and layer, in nats.

    Args:
        classes: names; index of `labels`.
        hidden_indices: the layer axis.
        values: float64 (item, hidden_index), e_l.
        labels: int64 (item).
        groups: cluster of each item.
        means: float64 (class, hidden_index).
        low, high: float64 (class, hidden_index), intervals over groups of one layer at a time; NaN
            where a class has one group or does not vary.
        sides: the two classes of the gap, minuend first; None where there is no such pair.
        gap: float64 (hidden_index), or None.
        gap_low, gap_high: float64 (hidden_index), the simultaneous band; NaN where nothing varies.
        conversion_index: first hidden_index from which the band stays above 0 to the last one.
        reason: why there is no conversion_index.
        n_layers: blocks of the model.
        even: e_l if every token of the vocabulary were equally likely; it depends on the lists.
    """

    classes: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    values: Array
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    means: Array
    low: Array
    high: Array
    sides: tuple[str, str] | None
    gap: Array | None
    gap_low: Array | None
    gap_high: Array | None
    conversion_index: int | None
    reason: str | None
    n_layers: int
    even: float
    level: float

    @property
    def read_index(self) -> int:
        """Where figures are read: the conversion layer, or the last one where there is none."""
        return self.hidden_indices[-1] if self.conversion_index is None else self.conversion_index

    def measurements(self) -> list[Measurement]:
        """Return the conversion layer, and the gap and each class's e_l there."""
        at = self.hidden_indices.index(self.read_index)
        place = f"at hidden_index {self.read_index}, "
        place += "the last" if self.conversion_index is None else "the conversion layer"
        rows = [self._conversion(), self._gap(at, place)]
        for number, name in enumerate(self.classes):
            mine = self.labels == number
            rows.append(
                mean(
                    f"lens/emotion/{name}",
                    self.values[mine, at].tolist(),
                    clusters=[g for g, here in zip(self.groups, mine) if here],
                    unit="nats",
                    floor=Floor("every token alike", self.even),
                    level=self.level,
                    reason=place,
                )
            )
        return rows

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per class and hidden_index, and one of the gap."""
        curves = [
            (name, self.means[c], self.low[c], self.high[c]) for c, name in enumerate(self.classes)
        ]
        if self.gap is not None and self.gap_low is not None and self.gap_high is not None:
            curves.append(("gap", self.gap, self.gap_low, self.gap_high))
        return [
            {
                "class": name,
                "hidden_index": index,
                "layer": max(index - 1, 0),
                "emotion": float(middle[h]),
                "low": _known(low[h]),
                "high": _known(high[h]),
                "n": self._count(name),
            }
            for name, middle, low, high in curves
            for h, index in enumerate(self.hidden_indices)
        ]

    def _count(self, name: str) -> int:
        if name in self.classes:
            return int((self.labels == self.classes.index(name)).sum())
        return sum(self._count(side) for side in self.sides or ())

    def _conversion(self) -> Measurement:
        name, unit = "lens/conversion", "hidden_index"
        if self.conversion_index is None:
            n = self._count("gap")
            return not_measured(name, unit, self.reason or "", n=n)
        return Measurement(
            name=name,
            value=self.conversion_index,
            unit=unit,
            n=self._count("gap"),
            n_clusters=len(set(self.groups)),
            level=self.level,
            floor=Floor("the embeddings", 0.0),
            range=(0.0, float(self.n_layers)),
            reason=f"first layer from which the band of the gap ({_BAND}) stays above 0",
        )

    def _gap(self, at: int, place: str) -> Measurement:
        if self.gap is None or self.gap_low is None or self.gap_high is None:
            return not_measured("lens/gap", "nats", self.reason or "")
        low, high = _known(self.gap_low[at]), _known(self.gap_high[at])
        missing = "" if low is not None else "; no interval: e does not vary, or too few groups"
        return Measurement(
            name="lens/gap",
            value=float(self.gap[at]),
            unit="nats",
            n=self._count("gap"),
            n_clusters=len(set(self.groups)),
            low=low,
            high=high,
            level=self.level,
            method=None if low is None else _BAND,
            floor=Floor("no difference between the classes", 0.0),
            reason=f"{' minus '.join(self.sides or ())} {place}{missing}",
        )


def emotion_curve(
    lens: LensResult,
    items: Items,
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
) -> EmotionCurve:
    """Return e_l by class with intervals, the gap with its band, and the conversion layer.

    Source: the word-class reading of arXiv:2406.05644; e_l over the whole vocabulary, the band and
    the conversion layer are ours.

    Args:
        lens: on at least the prompts of `items`.
        items: classes and groups; with classes benign and harmful the gap is between these, else
            between two classes if there are just two.
        seed, resamples: of the bootstrap.
        level: of the intervals, and of the band as a whole.

    Raises:
        DataError: the lens was not put on one of the items, or a class has no items.
    """
    values = lens.rows(items.ids).emotion
    means, low, high = _class_means(values, items, level)
    sides = _sides(items.classes)
    gap = gap_low = gap_high = index = None
    reason: str | None = "a gap needs two classes, or classes named benign and harmful"
    if sides is not None:
        first, second = (items.labels == items.classes.index(side) for side in sides)
        both = np.flatnonzero(first | second)
        clusters = Clusters.of([items.groups[i] for i in both], len(both))
        gap = values[first].mean(0) - values[second].mean(0)
        gap_low, gap_high = gap_band(
            values[both], first[both], clusters, seed=seed, level=level, resamples=resamples
        )
        index, reason = conversion_index(lens.hidden_indices, gap_low, gap_high)
    return EmotionCurve(
        classes=items.classes,
        hidden_indices=lens.hidden_indices,
        values=values,
        labels=items.labels,
        groups=items.groups,
        means=means,
        low=low,
        high=high,
        sides=sides,
        gap=gap,
        gap_low=gap_low,
        gap_high=gap_high,
        conversion_index=index,
        reason=reason,
        n_layers=lens.n_layers,
        even=math.log(len(lens.classes.positive) / len(lens.classes.negative)),
        level=level,
    )


def _class_means(values: Array, items: Items, level: float) -> tuple[Array, Array, Array]:
    """Return means and the ends of their intervals, axes (class, hidden_index)."""
    shape = (len(items.classes), values.shape[1])
    means, low, high = np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan)
    for number, name in enumerate(items.classes):
        mine = np.flatnonzero(items.labels == number)
        if not len(mine):
            raise DataError(f"The class '{escape(name, 80)}' has no items.", fix="Leave it out.")
        clusters = Clusters.of([items.groups[i] for i in mine], len(mine))
        for h in range(shape[1]):
            means[number, h] = values[mine, h].mean()
            interval = mean_interval(values[mine, h], clusters, level)
            if interval is not None:
                low[number, h], high[number, h] = interval.low, interval.high
    return means, low, high


def _sides(classes: tuple[str, ...]) -> tuple[str, str] | None:
    if {BENIGN, HARMFUL} <= set(classes):
        return BENIGN, HARMFUL
    return (classes[0], classes[1]) if len(classes) == 2 else None


def conversion_index(
    hidden_indices: tuple[int, ...], low: Array, high: Array
) -> tuple[int | None, str | None]:
    """Return the first hidden_index from which a band stays above 0 to the end, or why none.

    Args:
        low, high: the band, axis (hidden_index); NaN does not count as above 0.
    """
    above = low > 0
    if not above[-1]:
        reversed_ = " (there it lies below 0)" if high[-1] < 0 else ""
        return None, f"the band of the gap is not above 0 at the last layer{reversed_}"
    below = np.flatnonzero(~above)
    return hidden_indices[below[-1] + 1 if len(below) else 0], None


def gap_band(
    values: Array,
    first: NDArray[np.bool_],
    clusters: Clusters,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[Array, Array]:
    """Return a band of the difference of two class means that holds for all layers at once.

    Source: max-T with a studentised cluster bootstrap; the standard error of each resample is that
    of the linearised difference over clusters. Clusters may hold items of both classes (twins).

    Args:
        values: axes (item, hidden_index).
        first: bool (item), the class whose mean comes first; the others are subtracted.
        clusters: groups of the items.
        seed, resamples: of the bootstrap.
        level: of the whole band.

    Returns: low and high, axis (hidden_index); NaN where values do not vary within classes, and
        everywhere if a class has fewer than two clusters.
    """
    nothing = np.full(values.shape[1], np.nan)
    present = [len(set(clusters.index[side].tolist())) for side in (first, ~first)]
    if min(present) < 2:
        return nothing, nothing.copy()
    sums = [_sums(values * side[:, None], clusters) for side in (first, ~first)]
    counts = [clusters.sums(side.astype(float)) for side in (first, ~first)]
    centre, spread = (
        column[0] for column in _differences(sums, counts, np.ones((1, len(clusters))))
    )
    size = np.abs(values).max(0)
    varies = spread > _ROUNDING * np.maximum(size, 1e-30)
    _, where = np.unique(clusters.index, return_index=True)
    largest = []
    for weights in resample_weights(clusters, seed=seed, resamples=resamples):
        gap, error = _differences(sums, counts, weights[:, where])
        ratio = (np.abs(gap - centre)[:, varies], error[:, varies])
        # A resample that lacks a class, or holds one value of each, has no standard error.
        usable = (ratio[1] > _ROUNDING * spread[varies]).all(1)
        largest.append(ratio[0][usable] / ratio[1][usable])
    draws = np.concatenate(largest)
    if not varies.any() or not len(draws):
        return nothing, nothing.copy()
    reach = np.where(varies, np.quantile(draws.max(1), level) * spread, np.nan)
    return centre - reach, centre + reach


def _sums(values: Array, clusters: Clusters) -> Array:
    """Return sums per cluster, axes (cluster, hidden_index)."""
    return np.stack([clusters.sums(column) for column in values.T], axis=1)


def _differences(sums: list[Array], counts: list[Array], weights: Array) -> tuple[Array, Array]:
    """Return the difference of class means and its standard error per resample.

    Args:
        sums: per class, axes (cluster, hidden_index).
        counts: per class, axis (cluster).
        weights: how often each cluster was drawn, axes (resample, cluster).

    Returns: both with axes (resample, hidden_index); NaN where a class was not drawn.
    """
    groups = weights.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        totals = [weights @ count for count in counts]
        means = [weights @ s / n[:, None] for s, n in zip(sums, totals)]
        error = np.empty_like(means[0])
        for h in range(error.shape[1]):
            pulls = [
                (s[:, h] - count * m[:, h, None]) / n[:, None]
                for s, count, m, n in zip(sums, counts, means, totals)
            ]
            error[:, h] = (weights * (pulls[0] - pulls[1]) ** 2).sum(1)
    return means[0] - means[1], np.sqrt(error * groups / (groups - 1))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
