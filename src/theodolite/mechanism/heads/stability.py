"""How far a ranking of heads can be trusted: intervals, the odds of a place, and the long tail.

Every number comes from one array of scores with axes (prompt, ...), where the other axes are the
heads, as (head) or (layer, unit). All heads share the same resamples of the prompts, so what is
said of several heads at once holds together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError
from theodolite.measure.bands import simultaneous_critical
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters, t_quantile
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RESAMPLES: Final = 1000
TOP: Final = 10
# So few say too little of how heads vary together: simulated bands failed up to always.
FEW_CLUSTERS: Final = 12
_ROUNDING: Final = 1e-12  # less spread than this, of the values' size, is none


@dataclass(frozen=True, eq=False)
class Stability:
    """Scores of heads over prompts; every array has the axes of the heads.

    Args:
        mean, median: over prompts; NaN where a head was not scored, as in `low` and `high`.
        low, high: interval of the mean, one head at a time: expanded percentile bootstrap, or
            Student's t below 12 clusters; not below 0 where no score is.
        frequency: share of the prompts that have the head among their own top k.
        probability: share of the resamples that have the head among the top k by mean.
        k: heads that count as top; ties go to the earlier head.
        n, n_clusters: prompts, and independent groups of them.
    """

    mean: Floats
    median: Floats
    low: Floats
    high: Floats
    frequency: Floats
    probability: Floats
    k: int
    n: int
    n_clusters: int
    level: float

    @property
    def method(self) -> str:
        """How the intervals were made."""
        return _method(self.n_clusters)

    @property
    def top(self) -> Bools:
        """Whether a head is among the top k by mean; axes of the heads."""
        return np.asarray(_top(self.mean.reshape(1, -1), self.k).reshape(self.mean.shape))

    @property
    def kept(self) -> float:
        """Share of the top k that a resample of the prompts keeps, on average."""
        return float(self.probability[self.top].mean())


def stability(
    scores: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    k: int = TOP,
    seed: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Stability:
    """Return what other prompts of the same kind would make of the heads' scores.

    Args:
        scores: higher is more important; axes (prompt, ...). NaN for all prompts is a head that
            was not scored.
        clusters: the group of each prompt; None where prompts are independent.
        k: how many heads count as top.
        seed: of the resamples.
        level: of the intervals.
        resamples: number of resamples, in which whole clusters are drawn.

    Returns: intervals are NaN for fewer than two clusters, and where all prompts score alike.

    Raises:
        DataError: no scores, a head that was scored for some prompts only, or wrong clusters.

    Note: in simulations the intervals cover 91 to 95 times of 100 from five prompts on, with three
        75 times. `probability` is no test: a head near the cut stays near one half however many
        prompts there are.
    """
    table = ScoreTable.of(scores)
    groups = Clusters.of(clusters, len(table.values))
    weights = resample_weights(groups, seed=item_seed(seed, "heads"), resamples=resamples)
    draws = np.concatenate([weighted_means(table.values, chunk) for chunk in weights])
    low, high = _ends(table.values.mean(0), draws, groups, level)
    if table.values.min() >= 0:
        low = np.maximum(low, 0.0)
    return Stability(
        mean=table.back(table.values.mean(0)),
        median=table.back(np.median(table.values, axis=0)),
        low=table.back(low),
        high=table.back(high),
        frequency=table.back(_top(table.values, k).mean(0), 0.0),
        probability=table.back(_top(draws, k).mean(0), 0.0),
        k=k,
        n=len(table.values),
        n_clusters=len(groups),
        level=level,
    )


@dataclass(frozen=True, eq=False)
class Specificity:
    """How much more a head matters on harmful prompts; every array has the axes of the heads.

    Args:
        mean: mean over harmful less mean over benign prompts; NaN where a head was not scored.
        low, high: as for `Stability`, one head at a time.
        band_low, band_high: interval that holds all heads at once at the level.
        paired: whether each harmful prompt was held against its own benign one.
        n, n_benign: prompts.
        n_clusters: independent groups, of the side that has fewer.
    """

    mean: Floats
    low: Floats
    high: Floats
    band_low: Floats
    band_high: Floats
    paired: bool
    n: int
    n_benign: int
    n_clusters: int
    level: float

    @property
    def method(self) -> str:
        """How the intervals of single heads were made."""
        return _method(self.n_clusters)

    @property
    def shown(self) -> Bools:
        """Whether a head is shown to matter more on harmful prompts, all heads considered."""
        return np.asarray(self.band_low > 0)


def specificity(
    harmful: ArrayLike,
    benign: ArrayLike,
    *,
    paired: bool = False,
    clusters: Sequence[Hashable] | None = None,
    benign_clusters: Sequence[Hashable] | None = None,
    family: int | None = None,
    seed: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Specificity:
    """Return the difference of mean scores on harmful and on benign prompts.

    A divergence has no direction: a head that changes anything scores high. What refusal hangs on
    should score higher where there is something to refuse.

    Args:
        harmful, benign: axes (prompt, ...), the same heads. NaN as for `stability`.
        paired: prompt i of both belong together; they are drawn together.
        clusters, benign_clusters: the group of each prompt; only the first where paired.
        family: heads among which those given were chosen by the same prompts; the band then holds
            for all of them (Bonferroni). None: nothing was chosen.
        seed, level, resamples: as for `stability`. Unpaired sets are drawn independently.

    Returns: the differences, with an interval for each head and a band over all of them (max-T,
        widened to Student's t; Bonferroni below 12 clusters), by which heads are shown. NaN for
        fewer than two clusters a side, and where all prompts score alike, from which no spread
        can be judged.

    Raises:
        DataError: as for `stability`, other heads, or sides that cannot be paired.

    Note: in simulations of 270 heads that do not differ (normal to log-normal scores, pairs of 10
        to 100 prompts) a head is shown in at most 6 of 100 runs. Unpaired, few benign beside many
        harmful prompts with long-tailed scores are the weak side: 11 runs with 30 beside 100, 14
        with 10 beside 100.
    """
    first, second = ScoreTable.of(harmful), ScoreTable.of(benign)
    if first.shape != second.shape or (first.scored != second.scored).any():
        raise DataError(
            "The harmful and the benign scores are of different heads.",
            fix="Score the same heads on both.",
        )
    if paired and len(first.values) != len(second.values):
        raise DataError(
            f"{len(first.values)} harmful and {len(second.values)} benign prompts are no pairs.",
            fix="Give each harmful prompt its benign one, or leave pairing out.",
        )
    sides = [(first.values, Clusters.of(clusters, len(first.values)), 1.0)]
    if paired:
        sides = [(first.values - second.values, sides[0][1], 1.0)]
    else:
        sides.append((second.values, Clusters.of(benign_clusters, len(second.values)), -1.0))
    mean = first.values.mean(0) - second.values.mean(0)
    ends = _difference_ends(sides, seed, level, resamples)
    reach = _simultaneous_reach(sides, family, seed, level, resamples)
    return Specificity(
        mean=first.back(mean),
        low=first.back(ends[0]),
        high=first.back(ends[1]),
        band_low=first.back(mean - reach),
        band_high=first.back(mean + reach),
        paired=paired,
        n=len(first.values),
        n_benign=len(second.values),
        n_clusters=min(len(groups) for _, groups, _ in sides),
        level=level,
    )


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of the heads that were scored, axes (prompt, scored head), and where they belong."""

    values: Floats
    scored: Bools
    shape: tuple[int, ...]

    @classmethod
    def of(cls, scores: ArrayLike) -> ScoreTable:
        array = np.asarray(scores, np.float64)
        if array.ndim < 2 or not array.size:
            raise DataError(
                f"Scores of shape {array.shape} have no prompts and heads.",
                fix="Give axes (prompt, head) or (prompt, layer, unit).",
            )
        flat = array.reshape(len(array), -1)
        scored: Bools = np.asarray(~np.isnan(flat).all(0))
        broken = scored & ~np.isfinite(flat).all(0)
        if broken.any():
            place = np.unravel_index(int(np.flatnonzero(broken)[0]), array.shape[1:])
            raise DataError(
                f"The head {'-'.join(str(int(i)) for i in place)} has no score for some prompts.",
                fix="Score a head on all prompts, or on none.",
            )
        if not scored.any():
            raise DataError("No head was scored.", fix="Score at least one head.")
        return cls(flat[:, scored], scored, array.shape[1:])

    def back(self, values: Floats, missing: float = math.nan) -> Floats:
        """Return values of the scored heads in the axes of all heads."""
        full = np.full(len(self.scored), missing)
        full[self.scored] = values
        return full.reshape(self.shape)


def weighted_means(values: Floats, weights: Floats) -> Floats:
    """Return weighted means; axes (resample, head)."""
    return np.asarray(weights @ values / weights.sum(1, keepdims=True))


def _top(rows: Floats, k: int) -> Bools:
    """Return which heads are the k highest of each row; ties go to the earlier head."""
    found = np.zeros(rows.shape, bool)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :k]  # NaN sorts last
    np.put_along_axis(found, order, True, axis=1)
    return found & ~np.isnan(rows)


_Side = tuple[Floats, Clusters, float]


def _ends(means: Floats, draws: Floats, groups: Clusters, level: float) -> Floats:
    """Return the ends of each head's interval from the resampled means; axes (end, head)."""
    count = len(groups)
    if count < 2:
        return np.full((2, draws.shape[1]), math.nan)
    if count < FEW_CLUSTERS:
        # Few clusters leave too few different resamples: their spread is used, not their ends.
        reach = t_quantile(level, max(groups.effective - 1, 1.0)) * math.sqrt(count / (count - 1))
        ends = means + np.array([[-reach], [reach]]) * draws.std(0)
    else:
        tail = expanded_tail(groups, level)
        ends = np.quantile(draws, (tail, 1 - tail), axis=0)
    flat = ends[1] - ends[0] <= _ROUNDING * np.abs(ends).max(0)
    return np.where(flat, math.nan, ends)


def _method(clusters: int) -> str:
    """Return how an interval over so many clusters was made."""
    return "t over clusters" if clusters < FEW_CLUSTERS else "expanded percentile bootstrap"


def _difference_ends(sides: Sequence[_Side], seed: int, level: float, resamples: int) -> Floats:
    """Return the ends of each head's own interval; axes (end, head)."""
    draws = np.zeros((resamples, sides[0][0].shape[1]))
    for values, groups, sign in sides:
        side_seed = item_seed(seed, "specificity", sign)
        weights = resample_weights(groups, seed=side_seed, resamples=resamples)
        draws += sign * np.concatenate([weighted_means(values, chunk) for chunk in weights])
    # The side with fewer clusters knows its spread less well and widens both.
    means = np.sum([sign * values.mean(0) for values, _, sign in sides], axis=0)
    return _ends(means, draws, min((groups for _, groups, _ in sides), key=len), level)


def _simultaneous_reach(
    sides: Sequence[_Side], family: int | None, seed: int, level: float, resamples: int
) -> Floats:
    """Return how far each head's difference may be off, all heads at once; axis (head)."""
    degrees = min(len(groups) - 1 for _, groups, _ in sides)
    if degrees < 1:
        return np.full(sides[0][0].shape[1], math.nan)
    pulls = []
    for values, groups, _ in sides:
        centred = values - values.mean(0)
        sums = np.stack([groups.sums(column) for column in centred.T])
        pulls.append(sums / len(values) * math.sqrt(len(groups) / (len(groups) - 1)))
    influences = np.concatenate(pulls, axis=1)
    spread = np.sqrt((influences**2).sum(1))
    if family is not None or degrees + 1 < FEW_CLUSTERS:
        critical = t_quantile(1 - (1 - level) / (family or len(spread)), degrees)
    else:
        # Divided by their sizes, so that no head's pull is too small to count as one.
        scaled = influences / np.where(spread > 0, spread, 1.0)[:, None]
        normal = simultaneous_critical(
            scaled * math.sqrt(influences.shape[1]), seed=seed, level=level, resamples=resamples
        )
        critical = t_quantile(2 * NormalDist().cdf(normal) - 1, degrees)
    largest = np.max([np.abs(values).max(0) for values, _, _ in sides], axis=0)
    return np.where(spread > _ROUNDING * largest, critical * spread, math.nan)
