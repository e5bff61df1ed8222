"""Whether two scores put things into the same order; ties share their mean rank.

A pair with a missing score is left out. The intervals of `spearman` and `kendall_tau_b` are in
closed form and take pairs as independent: the things may be as few as models or heads are, where
resampling them says nothing. Many items in clusters: `clustered_spearman`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from theodolite.errors import DataError
from theodolite.measure.closed_form import Floats, normal_quantile
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured
from theodolite.measure.ranking import mid_ranks, weighted_ranks

Scores = Sequence[float | None]
UNIT: Final = "correlation"
UNRELATED: Final = Floor("unrelated", 0.0)
ALIKE: Final = "all scores of one side are alike"
_FEWEST_SPEARMAN: Final = 4
_FEWEST_KENDALL: Final = 5
_UNSCORED: Final = "a side is unscored"
_TINY: Final = 1e-12


def spearman(
    first: Scores,
    second: Scores,
    *,
    name: str = "spearman",
    what: str = "items",
    level: float = 0.95,
    reason: str | None = None,
) -> Measurement:
    """Return Spearman's rank correlation of two scores of the same things.

    Source: interval by Bonett and Wright 2000.

    Args:
        first, second: axis (item); None or NaN where there is no score: the pair is left out.
        what: what is scored, for messages.
        name, level, reason: as for `measure.proportion`.

    Returns: not measured for fewer than four pairs, or where one side is all alike.

    Raises:
        DataError: the sides differ in length.
    """
    table = _paired(first, second, what=what)
    n, why = table.shape[1], _undefined(table, _FEWEST_SPEARMAN, what)
    if why is not None:
        return not_measured(name, UNIT, why, n=n)
    x, y = mid_ranks(table.T).T
    rho = float(np.corrcoef(x, y)[0, 1].clip(-1.0, 1.0))
    return _with_interval(name, rho, n, math.sqrt((1 + rho**2 / 2) / (n - 3)), level, reason)


def clustered_spearman(
    first: Scores,
    second: Scores,
    *,
    clusters: Sequence[Hashable] | None = None,
    name: str = "spearman",
    what: str = "items",
    seed: int = 0,
    resamples: int = 1000,
    reason: str | None = None,
) -> Measurement:
    """Return Spearman's rank correlation of many items, with an interval over their clusters.

    Ranks are taken anew in every resample of the clusters.

    Args:
        first, second, name, what, reason: as for `spearman`; pairs left out are counted.
        clusters: the group of each item; None where items are independent.
        seed, resamples: of the bootstrap.

    Returns: not measured for fewer than four pairs, or where one side is all alike.

    Raises:
        DataError: the sides or clusters differ in length.
    """
    table = _paired(first, second, what=what)
    kept = _scored(clusters, first, second)
    n, missing = len(kept), len(first) - len(kept)
    unscored = Unscored(missing, {_UNSCORED: missing} if missing else {}, None, None)
    why = _undefined(table, _FEWEST_SPEARMAN, what)
    if why is not None:
        return not_measured(name, UNIT, why, n=n, unscored=unscored)

    def correlation(weights: Floats) -> Floats:
        x, y = (weighted_ranks(side, weights) for side in table)
        return _correlations(x, y, weights)

    found = resampled(
        name,
        float(correlation(np.ones((1, n)))[0]),
        n,
        correlation,
        clusters=None if clusters is None else [clusters[i] for i in kept],
        unit=UNIT,
        range=(-1.0, 1.0),
        floor=UNRELATED,
        seed=seed,
        resamples=resamples,
        reason=reason,
    )
    return replace(found, unscored=unscored)


def kendall_tau_b(
    first: Scores,
    second: Scores,
    *,
    name: str = "kendall",
    what: str = "items",
    level: float = 0.95,
    reason: str | None = None,
) -> Measurement:
    """Return Kendall's tau-b of two scores: concordant less discordant pairs, ties allowed for.

    Source: interval by Bonett and Wright 2000, after Fieller, Hartley and Pearson 1957.

    Args:
        first, second, what, name, level, reason: as for `spearman`.

    Returns: not measured for fewer than five pairs, or where one side is all alike.

    Raises:
        DataError: the sides differ in length.
    """
    table = _paired(first, second, what=what)
    n, why = table.shape[1], _undefined(table, _FEWEST_KENDALL, what)
    if why is not None:
        return not_measured(name, UNIT, why, n=n)
    from scipy.stats import kendalltau

    tau = float(np.clip(kendalltau(*table, variant="b").statistic, -1.0, 1.0))
    return _with_interval(name, tau, n, math.sqrt(0.437 / (n - 4)), level, reason)


def partial_spearman(
    first: Scores,
    second: Scores,
    given: Scores,
    *,
    clusters: Sequence[Hashable] | None = None,
    name: str = "partial spearman",
    what: str = "items",
    seed: int = 0,
    reason: str | None = None,
) -> Measurement:
    """Return the rank correlation of two scores at equal values of a third one.

    Args:
        first, second: the scores; axis (item); None or NaN where there is none.
        given: what both may follow, e.g. length; axis (item).
        clusters: the group of each item; None where items are independent.
        name, what, reason: as for `spearman`.
        seed: of the bootstrap, which keeps the ranks that items have among all of them.

    Returns: not measured for fewer than five items, or where a side is all alike or is settled by
        the third one.

    Raises:
        DataError: the sides differ in length.
    """
    table = _paired(first, second, given, what=what)
    n = table.shape[1]
    why = _undefined(table, _FEWEST_KENDALL, what)
    if why is not None:
        return not_measured(name, UNIT, why, n=n)
    ranks = mid_ranks(table.T).T

    def partial(weights: Floats) -> Floats:
        xy, xz, yz = (
            _correlations(ranks[i], ranks[j], weights) for i, j in ((0, 1), (0, 2), (1, 2))
        )
        left = (1 - xz**2) * (1 - yz**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(left > _TINY, (xy - xz * yz) / np.sqrt(left), np.nan).clip(-1.0, 1.0)

    value = float(partial(np.ones((1, n)))[0])
    if math.isnan(value):
        return not_measured(name, UNIT, "the third score settles one of the two", n=n)
    kept = _scored(clusters, first, second, given)
    return resampled(
        name,
        value,
        n,
        partial,
        clusters=None if clusters is None else [clusters[i] for i in kept],
        unit=UNIT,
        range=(-1.0, 1.0),
        floor=UNRELATED,
        seed=seed,
        reason=reason,
    )


def _paired(*sides: Scores, what: str) -> Floats:
    """Return the scores of what has all of them; axes (side, item)."""
    lengths = [len(side) for side in sides]
    if len(set(lengths)) > 1:
        listed = ", ".join(map(str, lengths[:-1]))
        raise DataError(
            f"There are {listed} and {lengths[-1]} scores to correlate.",
            fix=f"Give scores of the same {what}.",
        )
    table = np.array(sides, np.float64)
    return np.asarray(table[:, np.isfinite(table).all(0)])


def _scored(clusters: Sequence[Hashable] | None, *sides: Scores) -> list[int]:
    """Return the places of what has all scores; each must have a cluster where there are any."""
    if clusters is not None and len(clusters) != len(sides[0]):
        raise DataError(
            f"There are {len(clusters)} clusters for {len(sides[0])} items.",
            fix="Give one cluster per item.",
        )
    return [i for i, item in enumerate(zip(*sides)) if all(map(_known, item))]


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _undefined(table: Floats, fewest: int, what: str) -> str | None:
    """Return why the sides have no correlation, or None."""
    sides = "both scores" if len(table) == 2 else "all scores"
    if table.shape[1] < fewest:
        return f"only {table.shape[1]} {what} have {sides}"
    return ALIKE if (np.ptp(table, axis=1) == 0).any() else None


def _with_interval(
    name: str, value: float, n: int, spread: float, level: float, reason: str | None
) -> Measurement:
    """Return a correlation with its interval on Fisher's scale."""
    half = normal_quantile(level) * spread
    centre = math.atanh(min(max(value, _TINY - 1), 1 - _TINY))
    return Measurement(
        name=name,
        value=value,
        unit=UNIT,
        n=n,
        low=min(value, math.tanh(centre - half)),
        high=max(value, math.tanh(centre + half)),
        level=level,
        method="bonett-wright",
        floor=UNRELATED,
        range=(-1.0, 1.0),
        reason=reason,
    )


def _correlations(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Return Pearson's correlation under weights; axis (resample), NaN where one side is alike.

    Args:
        first, second: axis (item), or (resample, item).
        weights: axes (resample, item).
    """
    total = weights.sum(axis=1, keepdims=True)
    x, y = (side - (weights * side).sum(axis=1, keepdims=True) / total for side in (first, second))
    spread = (weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights * x * y).sum(axis=1) / np.sqrt(spread)).clip(-1.0, 1.0)
