"""Krippendorff's alpha: agreement of any number of raters, with missing ratings."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np

from theodolite.errors import DataError
from theodolite.measure.closed_form import Floats, as_floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured

Metric = Literal["nominal", "ordinal", "interval", "ratio"]
_MOST_VALUES = 50  # tables of value pairs are held per item


def krippendorff_alpha(
    ratings: Sequence[Sequence[Any]],
    metric: Metric = "nominal",
    *,
    clusters: Sequence[Hashable] | None = None,
    name: str = "alpha",
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
) -> Measurement:
    """Return Krippendorff's alpha with a bootstrap interval over items.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".

    Args:
        ratings: axes (rater, item); None where a rater gave none. Items with fewer than two
            ratings count as unscored.
        metric: how far two values are apart: `nominal` (any values), `ordinal`, `interval` or
            `ratio` (numbers).
        clusters: the group of each item; None where items are independent.
        name, seed, level, resamples: as for `resampled`.

    Returns: alpha, 1 for perfect agreement and 0 for chance; `not_measured` where all ratings
        are one and the same value.

    Raises:
        DataError: raters differ in number of items, there are more than 50 different values, a
            number was expected, or clusters do not fit.
    """
    items = _columns(ratings)
    if clusters is not None and len(clusters) != len(items):
        raise DataError(f"There are {len(clusters)} clusters for {len(items)} items.")
    kept = [i for i, column in enumerate(items) if len(column) > 1]
    short = len(items) - len(kept)
    unscored = Unscored(short, {"fewer than two ratings": short} if short else {}, None, None)
    values = _values([items[i] for i in kept], metric)
    if len(values) < 2:
        why = "all ratings are the same" if values else "no item has two ratings"
        return not_measured(name, "alpha", why, n=len(kept), unscored=unscored)
    pairs = _coincidences([items[i] for i in kept], values)
    scale = np.zeros(0) if metric == "nominal" else as_floats(values)
    return resampled(
        name,
        float(_alphas(pairs.sum(0, keepdims=True), metric, scale)[0]),
        len(kept),
        lambda weights: _alphas(np.tensordot(weights, pairs, 1), metric, scale),
        clusters=None if clusters is None else [clusters[i] for i in kept],
        unit="alpha",
        floor=Floor("chance", 0.0),
        unscored=unscored,
        seed=seed,
        level=level,
        resamples=resamples,
    )


def _columns(ratings: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return the ratings given to each item."""
    lengths = {len(row) for row in ratings}
    if len(lengths) > 1:
        raise DataError(
            f"The raters have between {min(lengths)} and {max(lengths)} items.",
            fix="Give every rater one entry per item, None where there is no rating.",
        )
    return [[value for value in column if value is not None] for column in zip(*ratings)]


def _values(items: Sequence[Sequence[Any]], metric: Metric) -> list[Any]:
    """Return the different values in order: by size, or as text where nominal."""
    found = {value for column in items for value in column}
    if len(found) > _MOST_VALUES:
        raise DataError(
            f"There are {len(found)} different ratings, more than {_MOST_VALUES}.",
            fix="Round them to fewer steps.",
        )
    if metric == "nominal":
        return sorted(found, key=str)
    if not all(isinstance(value, int | float) for value in found):
        raise DataError(f"A {metric} scale needs numbers.", fix='Use metric="nominal" for labels.')
    return sorted(found)


def _coincidences(items: Sequence[Sequence[Any]], values: Sequence[Any]) -> Floats:
    """Return how often two values meet within an item; axes (item, value, value)."""
    place = {value: i for i, value in enumerate(values)}
    counts = np.zeros((len(items), len(values)))
    for row, column in enumerate(items):
        for value in column:
            counts[row, place[value]] += 1
    meet = counts[:, :, None] * counts[:, None, :]
    meet[:, np.arange(len(values)), np.arange(len(values))] -= counts
    return np.asarray(meet / (counts.sum(1) - 1)[:, None, None])


def _alphas(pairs: Floats, metric: Metric, scale: Floats) -> Floats:
    """Return alpha of each coincidence table; axes (table, value, value) to (table)."""
    totals = pairs.sum(2)
    apart = _distances(totals, metric, scale)
    n = totals.sum(1)
    observed = (pairs * apart).sum((1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * apart).sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - (n - 1) * observed / expected)


def _distances(totals: Floats, metric: Metric, scale: Floats) -> Floats:
    """Return the squared distance of two values; axes (table, value, value)."""
    size = totals.shape[1]
    if metric == "nominal":
        return np.asarray(1 - np.eye(size)[None])
    if metric == "ordinal":
        middle = np.cumsum(totals, 1) - totals / 2
        return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2)
    gap, total = scale[:, None] - scale[None, :], scale[:, None] + scale[None, :]
    if metric == "interval":
        return np.asarray(gap[None] ** 2)
    return np.asarray((np.divide(gap, total, out=np.zeros_like(gap), where=total != 0))[None] ** 2)
