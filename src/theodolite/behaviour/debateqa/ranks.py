"""Several models beside each other: combined ranks, agreement of rankings, paired differences.

The published figure mixes P.D. and D.A. into one rank. A mean of the two *ranks* does not give its
orders, so what is mixed here are scores, brought to 0 to 1 over the models compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from theodolite.behaviour.debateqa.questions import NAMES, QuestionScore
from theodolite.behaviour.debateqa.scoring import UNITS
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.measure.bootstrap import cluster_bootstrap
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import mean, resampled
from theodolite.measure.measurement import Floor, Interval, Measurement
from theodolite.measure.rank_agreement import kendall_tau_b
from theodolite.measure.ranking import mid_ranks
from theodolite.text.suggest import did_you_mean

MIXES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
NO_CHANGE: Final = Floor("no change", 0.0)


@dataclass(frozen=True)
class Rank:
    """One model under one mix.

    Args:
        model: its name.
        k: share of P.D. in the mix; the rest is D.A.
        score: 0 to 1, higher is better.
        rank: from 1, the best; models of equal score share their mean rank.
    """

    model: str
    k: float
    score: float
    rank: float


def combined_ranks(
    pd: Mapping[str, float], da: Mapping[str, float], *, mixes: Sequence[float] = MIXES
) -> list[Rank]:
    """Return the rank of every model under every mix k P.D. + (1 - k) D.A.

    Source: arXiv:2408.01419, the rank figure; normalising scores from the least to the greatest
    of the models compared is ours.

    Args:
        pd: P.D. of each model; lower is better.
        da: D.A. of each model; higher is better.
        mixes: the shares k.

    Returns: mix by mix, best model first. A metric in which all models are alike does not order
        them.

    Raises:
        DataError: there are no models, a value is not finite, or a model has one of the two only.
        ConfigError: a share lies outside 0 to 1.
    """
    alone = sorted(pd.keys() ^ da.keys())
    if alone or not pd:
        raise DataError(
            f"{shown(alone[0])} has P.D. or D.A. alone." if alone else "There is no model.",
            fix="Give both figures of every model.",
        )
    if not all(0.0 <= k <= 1.0 for k in mixes):
        raise ConfigError("A share of P.D. lies outside 0 to 1.", fix="Give shares like 0.25.")
    models = list(pd)
    best, said = (np.array([side[model] for model in models], np.float64) for side in (pd, da))
    if not np.isfinite([best, said]).all():
        raise DataError("P.D. or D.A. of a model is not finite.", fix="Leave that model out.")
    holds, says = _normalised(-best), _normalised(said)
    found = []
    for k in mixes:
        score = k * holds + (1 - k) * says
        # Sums of floats that are equal on paper must tie.
        ranks = mid_ranks(-score.round(12))
        rows = [Rank(m, float(k), float(s), float(r)) for m, s, r in zip(models, score, ranks)]
        found += sorted(rows, key=lambda row: row.rank)
    return found


def rank_table(ranks: Sequence[Rank]) -> list[dict[str, Any]]:
    """Return one row per model: its rank under each mix, best in P.D. and D.A. alike first."""
    rows: dict[str, dict[str, Any]] = {}
    for rank in ranks:
        row = rows.setdefault(rank.model, {"model": rank.model})
        row[f"rank_k{rank.k:g}"] = rank.rank
        row[f"score_k{rank.k:g}"] = rank.score
    middle = min({rank.k for rank in ranks}, key=lambda k: abs(k - 0.5), default=0.5)
    return sorted(rows.values(), key=lambda row: float(row[f"rank_k{middle:g}"]))


def ranking_agreement(
    first: Mapping[str, float], second: Mapping[str, float], *, name: str = "ranks/kendall"
) -> Measurement:
    """Return Kendall's tau-b of the orders that two scorers (or metrics) give the same models.

    Args:
        first, second: the figure of each model under either scorer; models of one side only are
            left out and counted.
        name: of the measurement.
    """
    common = [model for model in first if model in second]
    missing = len(first) + len(second) - 2 * len(common)
    return kendall_tau_b(
        [first[model] for model in common],
        [second[model] for model in common],
        name=name,
        what="models",
        reason=f"{missing} models have a figure on one side only" if missing else None,
    )


@dataclass(frozen=True)
class Paired:
    """Two models on the questions that both answered.

    Args:
        difference: first minus second.
        only_first, only_second: questions that one side has alone; they are in no figure.
    """

    difference: Measurement
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def paired(
    first: Sequence[QuestionScore],
    second: Sequence[QuestionScore],
    figure: str,
    *,
    name: str | None = None,
    seed: int = 0,
) -> Paired:
    """Return the difference of two models in one figure, by a paired bootstrap over goals.

    Args:
        first, second: question scores; coverage needs one threshold for both.
        figure: one of `questions.NAMES`.
        name: of the measurement.
        seed: of the bootstrap.

    Returns: the mean difference over shared questions; a question that either side has no value
        of is unscored and counted. Equal models differ by 0 and have no interval of no width.

    Raises:
        ConfigError: there is no such figure.
    """
    if figure not in NAMES:
        raise ConfigError(f"There is no figure {shown(figure)}.", fix=did_you_mean(figure, NAMES))
    own, other = ({row.question: row for row in side} for side in (first, second))
    shared = [question for question in own if question in other]
    alone = tuple(tuple(q for q in a if q not in b) for a, b in ((own, other), (other, own)))
    title = name or f"difference/{figure}"
    sides = [(own[q].values[figure], other[q].values[figure]) for q in shared]
    values = [None if a is None or b is None else a - b for a, b in sides]
    goals = [own[question].goal for question in shared]
    result = mean(
        title,
        values,
        clusters=goals,
        unit=UNITS[figure],
        floor=NO_CHANGE,
        reasons=["a side is unscored" if value is None else None for value in values],
    )
    if result.value is not None:
        known = [(value, goal) for value, goal in zip(values, goals) if value is not None]
        result = resampled(
            title,
            result.value,
            len(known),
            "mean",
            values=[value for value, _ in known],
            clusters=[goal for _, goal in known],
            unit=UNITS[figure],
            floor=NO_CHANGE,
            unscored=result.unscored,
            seed=seed,
        )
    return Paired(result, *alone)


def paired_interval(
    first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0
) -> Interval | None:
    """Return the bootstrap interval of the mean difference over shared ids, as the resamples say.

    Where no id differs it is [0, 0]: true of these ids, and no statement on others, which is why
    `paired` gives none then.

    Args:
        first, second: value by question id.
        seed: of the bootstrap.
    """
    shared = [first[key] - second[key] for key in first if key in second]
    return cluster_bootstrap(shared, seed=seed)


def _normalised(values: Floats) -> Floats:
    low, span = values.min(), np.ptp(values)
    return (values - low) / span if span > 0 else np.zeros_like(values)
