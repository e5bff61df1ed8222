"""Whether the heads' scores are those of few heads or of many: the long tail."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from theodolite.errors import DataError
from theodolite.measure.closed_form import Clusters
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.heads.stability import (
    FEW_CLUSTERS,
    RESAMPLES,
    Floats,
    ScoreTable,
    weighted_means,
)
from theodolite.text.hashing import item_seed

TAIL_SIZES: Final = (1, 5, 10)
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, eq=False)
class LongTail:
    """Whether the scores are those of few heads or of many.

    Args:
        shares: size -> share of the sum of all scores that the highest heads of that number hold.
        quantiles: share of heads -> the score that so many heads do not exceed.
        gini: 0 where all heads score alike, near 1 where one head has everything.
        effective: how many equal heads would be as uneven: one over the sum of squared shares.
        n_heads, n: heads scored, and prompts.
        measurements: the shares with bootstrap intervals over prompts from 12 clusters on; the
            floor is that of heads that are all alike.
    """

    shares: Mapping[int, float]
    quantiles: Mapping[float, float]
    gini: float
    effective: float
    n_heads: int
    n: int
    measurements: Sequence[Measurement] = field(default=(), repr=False)


def long_tail(
    scores: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    name: str = "heads",
    sizes: Sequence[int] = TAIL_SIZES,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> LongTail:
    """Return how the sum of the mean scores is spread over heads.

    Args:
        scores: 0 or more; axes (prompt, ...). NaN for all prompts is a head that was not scored.
        clusters: the group of each prompt; None where prompts are independent.
        name: before the names of the measurements.
        sizes: numbers of heads; those above the number of heads are left out.
        seed, level, resamples: as for `stability`.

    Returns: NaN for shares, Gini and effective number where all scores are 0.

    Raises:
        DataError: as for `stability`, or a score below 0.

    Note: the heads are chosen by the same prompts, so noise alone makes a tail: with few prompts
        shares are too high, and resamples more so.
    """
    table = ScoreTable.of(scores)
    if table.values.min() < 0:
        raise DataError(
            "A score is below 0, so shares of the sum mean nothing.", fix="Give divergences."
        )
    means = np.sort(table.values.mean(0))[::-1]
    count, total = len(means), float(means.sum())
    sizes = [size for size in sizes if size <= count]
    parts = means / total if total > 0 else np.full(count, math.nan)
    ranks = np.arange(1, count + 1)
    shares = {size: float(parts[:size].sum()) for size in sizes}
    return LongTail(
        shares=shares,
        quantiles={q: float(np.quantile(means, q)) for q in QUANTILES},
        gini=float((count + 1 - 2 * (ranks * parts).sum()) / count),
        effective=float(1 / (parts**2).sum()),
        n_heads=count,
        n=len(table.values),
        measurements=[
            _measured(
                f"{name}/share of the top {size}",
                share,
                table.values,
                size,
                clusters=clusters,
                seed=item_seed(seed, "long tail"),
                level=level,
                resamples=resamples,
            )
            if total > 0
            else not_measured(f"{name}/share of the top {size}", "share", "all scores are 0")
            for size, share in shares.items()
        ],
    )


def _measured(
    name: str,
    share: float,
    values: Floats,
    size: int,
    *,
    clusters: Sequence[Hashable] | None,
    **how: Any,
) -> Measurement:
    """Return the share of the top heads, with an interval where there are clusters enough."""
    facts: dict[str, Any] = {
        "unit": "share",
        "range": (0.0, 1.0),
        "floor": Floor("all heads alike", size / values.shape[1]),
    }
    independent = len(Clusters.of(clusters, len(values)))
    if independent < FEW_CLUSTERS:
        return Measurement(
            name=name,
            value=share,
            n=len(values),
            n_clusters=None if clusters is None else independent,
            reason="too few requests: the bootstrap of a top share is biased",
            **facts,
        )
    statistic = _share_of(values, size)
    return resampled(name, share, len(values), statistic, clusters=clusters, **facts, **how)


def _share_of(values: Floats, size: int) -> Callable[[Floats], Floats]:
    """Return the share of the top heads as a function of item weights; NaN where all are 0."""

    def share(weights: Floats) -> Floats:
        means = weighted_means(values, weights)
        highest = -np.partition(-means, size - 1, axis=1)[:, :size]
        totals = means.sum(1)
        return np.asarray(highest.sum(1) / np.where(totals > 0, totals, math.nan))

    return share
