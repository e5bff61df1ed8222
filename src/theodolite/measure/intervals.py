"""The builders of measurements: from outcomes or values to a figure with all that belongs to it.

None stands for an item that could not be scored. It never shrinks a denominator in silence: the
count, the reasons and the bounds it implies stand in the measurement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from theodolite.errors import DataError
from theodolite.measure.bootstrap import Statistic, cluster_bootstrap
from theodolite.measure.closed_form import (
    Clusters,
    Floats,
    as_floats,
    mean_interval,
    proportion_interval,
    rogan_gladen,
    wilson,
)
from theodolite.measure.measurement import (
    Floor,
    Interval,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.text.display import escape

__all__ = ["Interval", "cluster_bootstrap", "mean", "proportion", "resampled", "wilson"]

Reasons = Mapping[str, int] | Sequence[str | None] | None
_NO_REASON = "no reason recorded"


def proportion(
    name: str,
    outcomes: Sequence[bool | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    floor: Floor | None = None,
    reasons: Reasons = None,
    judge: JudgeQuality | None = None,
    unit: str = "share",
    seed: int = 0,
    level: float = 0.95,
    reason: str | None = None,
) -> Measurement:
    """Return the share of positive outcomes, never with an interval of no width.

    Args:
        name: what is measured.
        outcomes: True, False (or 1, 0) per item; None where it was not scored.
        clusters: the group of each item (a goal, a question); None where items are independent.
        floor: what a trivial strategy reaches on the same items.
        reasons: why items are unscored: counts by reason, or one entry per item.
        judge: the judge's quality on labelled rows; its `corrected` is filled in here.
        unit: a name for a number between 0 and 1: `share`, `accuracy`, ...
        seed: all builders take one; this interval is a closed form and needs no chance.
        level: confidence level.
        reason: what else the reader must know, e.g. why there is no floor.

    Returns: the share with a Wilson interval, on the effective n where items are clustered; the
        status is `not_measured` where nothing was scored.

    Raises:
        DataError: an outcome is not 0, 1 or None, or reasons or clusters do not fit the items.
    """
    if unit == "percent":
        raise DataError(
            f"The proportion `{escape(name, 80)}` is a share, not a percentage.",
            fix="Leave the unit out: shares are displayed in percent.",
        )
    items = _Items.of(outcomes, clusters, reasons)
    if not np.isin(items.values, (0.0, 1.0)).all():
        raise DataError(
            f"An outcome of `{escape(name, 80)}` is neither 0 nor 1.", fix="Use `mean` for scores."
        )
    result = _describe(name, items, unit, (0.0, 1.0), floor, level, reason)
    if result.value is None:
        return result
    result = _corrected(result, result.value, judge)
    return _with_interval(result, items, proportion_interval(items.values, items.groups, level))


def mean(
    name: str,
    values: Sequence[float | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    unit: str,
    range: tuple[float, float] | None = None,
    floor: Floor | None = None,
    reasons: Reasons = None,
    judge: JudgeQuality | None = None,
    seed: int = 0,
    level: float = 0.95,
    reason: str | None = None,
) -> Measurement:
    """Return the mean of one score per item; all items weigh the same.

    Args:
        name, clusters, floor, reasons, seed, level, reason: as for `proportion`.
        values: a score per item; None where it was not scored.
        unit: of the values, e.g. `nats`.
        range: lowest and highest possible score; None where unbounded, which leaves the
            unscored items without bounds.
        judge: the judge's quality; a mean is never corrected for it.

    Returns: the mean with a t interval over items or clusters, cut to the range. Equal values
        have an interval only where the range is known.

    Raises:
        DataError: a value is not finite or outside the range, or reasons or clusters do not fit.
    """
    items = _Items.of(values, clusters, reasons)
    if range is not None and not ((range[0] <= items.values) & (items.values <= range[1])).all():
        raise DataError(
            f"A value of `{escape(name, 80)}` lies outside its range {range[0]} to {range[1]}.",
            fix="Give None for an item without a score, or correct the range.",
        )
    result = _describe(name, items, unit, range, floor, level, reason)
    if result.value is None:
        return result
    result = replace(result, judge=judge)
    return _with_interval(result, items, mean_interval(items.values, items.groups, level, range))


def resampled(
    name: str,
    value: float,
    n: int,
    statistic: Statistic,
    *,
    clusters: Sequence[Hashable] | None = None,
    values: Sequence[float] | None = None,
    unit: str,
    range: tuple[float, float] | None = None,
    floor: Floor | None = None,
    unscored: Unscored | None = None,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
    reason: str | None = None,
) -> Measurement:
    """Return a statistic of the whole item set (a median, an AUROC, a ratio) with an interval.

    Args:
        name, clusters, unit, range, floor, level, reason: as for `mean`.
        value: the statistic of the items as they are.
        n: number of items.
        statistic: `median`, or a function of item weights (resample, item), as for
            `cluster_bootstrap`.
        values: one number per item, where the statistic is given by name.
        unscored: the items left out, described by the caller.
        seed, resamples: of the bootstrap.

    Returns: the value with an expanded percentile bootstrap interval over clusters.
    """
    scored = values if values is not None else np.zeros(n).tolist()
    items = _Items.of(scored, clusters, None)
    interval = cluster_bootstrap(
        scored, clusters, statistic, seed=seed, level=level, resamples=resamples
    )
    if interval is not None and range is not None:
        low, high = max(interval.low, range[0]), min(interval.high, range[1])
        interval = Interval(low, high, interval.method)
    if interval is not None and interval.low == interval.high:
        interval = None
    result = Measurement(
        name=name,
        value=value,
        unit=unit,
        n=n,
        n_clusters=items.n_clusters,
        level=level,
        floor=floor,
        range=range,
        unscored=unscored or Unscored(0, {}, None, None),
        reason=_joined(reason, None if floor else "no floor was given"),
    )
    return _with_interval(result, items, interval, "the resamples do not vary or have no value")


@dataclass(frozen=True)
class _Items:
    """The scored values, their groups, and the reasons of those without a score."""

    values: Floats
    groups: Clusters
    n_clusters: int | None
    unscored: Mapping[str, int]

    @classmethod
    def of(
        cls, values: Sequence[Any], clusters: Sequence[Hashable] | None, reasons: Reasons
    ) -> _Items:
        """Split the scored items from the others."""
        if clusters is not None and len(clusters) != len(values):
            raise DataError(
                f"There are {len(clusters)} clusters for {len(values)} items.",
                fix="Give one cluster per item.",
            )
        kept = [i for i, value in enumerate(values) if value is not None]
        scored = as_floats([values[i] for i in kept])
        own = None if clusters is None else [clusters[i] for i in kept]
        groups = Clusters.of(own, len(kept))
        return cls(
            values=scored,
            groups=groups,
            n_clusters=None if clusters is None else len(groups),
            unscored=_counted(values, reasons),
        )


def _counted(values: Sequence[Any], reasons: Reasons) -> dict[str, int]:
    """Return how often each reason left an item unscored."""
    missing = [i for i, value in enumerate(values) if value is None]
    if reasons is None:
        return {_NO_REASON: len(missing)} if missing else {}
    if isinstance(reasons, Mapping):
        counts = {str(reason): int(count) for reason, count in reasons.items() if count}
        if sum(counts.values()) != len(missing):
            raise DataError(
                f"The reasons explain {sum(counts.values())} unscored items, "
                f"but {len(missing)} are unscored.",
                fix="Give one reason per unscored item.",
            )
        return counts
    if len(reasons) != len(values):
        raise DataError(
            f"There are {len(reasons)} reasons for {len(values)} items.",
            fix="Give one entry per item (None where it was scored), or counts by reason.",
        )
    return dict(sorted(Counter(str(reasons[i] or _NO_REASON) for i in missing).items()))


def _describe(
    name: str,
    items: _Items,
    unit: str,
    range: tuple[float, float] | None,
    floor: Floor | None,
    level: float,
    reason: str | None,
) -> Measurement:
    """Return the measurement of the mean without its interval."""
    n, missing = len(items.values), sum(items.unscored.values())
    total, low, high = float(items.values.sum()), None, None
    if range is not None and missing:
        low = (total + missing * range[0]) / (n + missing)
        high = (total + missing * range[1]) / (n + missing)
    unscored = Unscored(missing, items.unscored, low, high)
    if n == 0:
        why = "none of the items could be scored" if missing else "there are no items"
        return not_measured(name, unit, _joined(why, reason) or why, unscored=unscored)
    return Measurement(
        name=name,
        value=float(items.values.mean()),
        unit=unit,
        n=n,
        n_clusters=items.n_clusters,
        level=level,
        floor=floor,
        range=range,
        unscored=unscored,
        reason=_joined(reason, None if floor or reason else "no floor was given"),
    )


def _with_interval(
    result: Measurement, items: _Items, interval: Interval | None, why: str | None = None
) -> Measurement:
    """Return the measurement with its interval, or with the reason why it has none."""
    if interval is not None:
        return replace(result, low=interval.low, high=interval.high, method=interval.method)
    if len(items.values) == 1:
        why = "one observation gives no interval"
    elif len(items.groups) == 1:
        why = "one cluster gives no interval"
    why = why or f"all {len(items.values)} values are equal, so their spread cannot be judged"
    return replace(result, reason=_joined(result.reason, why))


def _corrected(result: Measurement, rate: float, judge: JudgeQuality | None) -> Measurement:
    """Return a rate with its judge, and the rate corrected for the judge's errors."""
    if judge is None or judge.sensitivity is None or judge.specificity is None:
        return replace(result, judge=judge)
    corrected = rogan_gladen(rate, judge.sensitivity, judge.specificity)
    useless = "the judge is no better than a coin, so no correction is possible"
    why = useless if corrected is None else None
    return replace(
        result, judge=replace(judge, corrected=corrected), reason=_joined(result.reason, why)
    )


def _joined(*reasons: str | None) -> str | None:
    """Return the reasons that are there as one string."""
    return "; ".join(reason for reason in reasons if reason) or None
