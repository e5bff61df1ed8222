"""Spearman's correlation of two scores of the same items, with an interval over clusters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from theodolite.errors import DataError
from theodolite.measure.closed_form import Floats, as_floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured

FEWEST: Final = 4
UNIT: Final = "correlation"
_UNSCORED: Final = "a side is unscored"


def spearman(
    first: Sequence[float | None],
    second: Sequence[float | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    name: str = "spearman",
    seed: int = 0,
    resamples: int = 1000,
    reason: str | None = None,
) -> Measurement:
    """Return the rank correlation of two scores; equal scores share their mean rank.

    Ranks are taken anew in every resample of the clusters.

    Args:
        first, second: axis (item); None where there is no score: the pair is left out and counted.
        clusters: the group of each item; None where items are independent.
        name, seed, resamples, reason: as for `measure.resampled`.

    Returns: `not_measured` for fewer than four pairs, or where one side is all alike.

    Raises: DataError: the sides or clusters differ in length, or a score is not finite.
    """
    lengths = {len(first), len(second), len(first if clusters is None else clusters)}
    if len(lengths) > 1:
        raise DataError(
            f"There are {len(first)} and {len(second)} scores to correlate.",
            fix="Give two scores, and one cluster, of the same items.",
        )
    kept = [i for i, pair in enumerate(zip(first, second)) if None not in pair]
    x, y = (as_floats([side[i] for i in kept]) for side in (first, second))  # type: ignore[misc]
    missing = len(first) - len(kept)
    unscored = Unscored(missing, {_UNSCORED: missing} if missing else {}, None, None)
    if len(kept) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        few = len(kept) < FEWEST
        why = f"it takes {FEWEST} pairs" if few else "all scores of one side are alike"
        return not_measured(name, UNIT, why, n=len(kept), unscored=unscored)

    def correlation(weights: Floats) -> Floats:
        return _correlation(_ranks(x, weights), _ranks(y, weights), weights)

    found = resampled(
        name,
        float(correlation(np.ones((1, len(kept))))[0]),
        len(kept),
        correlation,
        clusters=None if clusters is None else [clusters[i] for i in kept],
        unit=UNIT,
        range=(-1.0, 1.0),
        floor=Floor("unrelated", 0.0),
        seed=seed,
        resamples=resamples,
        reason=reason,
    )
    return replace(found, unscored=unscored)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Return the mid-rank of each item where weight two is the item twice, axes (resample, item).

    All ranks are half a place too low, which no correlation sees.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    reached = np.zeros((len(weights), len(values) + 1))
    np.cumsum(weights[:, order], axis=1, out=reached[:, 1:])
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((reached[:, below] + reached[:, upto]) / 2)


def _correlation(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Return the weighted correlation of rows, axis (resample); NaN where a side is all alike."""
    total = weights.sum(axis=1, keepdims=True)
    sides = [side - (weights * side).sum(axis=1, keepdims=True) / total for side in (first, second)]
    spread = [(weights * side**2).sum(axis=1) for side in sides]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            (weights * sides[0] * sides[1]).sum(axis=1) / np.sqrt(spread[0] * spread[1])
        ).clip(-1.0, 1.0)
