"""What a method changes against another one, and whether two scorers agree that it does.

Both methods have samples of the same prompts, so every change is paired by prompt. Absolute values
of two scorers never meet here: each scorer's own change is the figure, and where the signs of two
differ that is said first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any, Final

import numpy as np

from theodolite.behaviour.continuations import (
    BASE,
    known_by,
    methods_of,
    of_method,
    scorers_of,
    tool_is_metric,
)
from theodolite.behaviour.toxicity.scoring import (
    FIGURES,
    NAME,
    SCORE,
    TAU,
    Row,
    Samples,
    samples_of,
)
from theodolite.errors import ConfigError
from theodolite.judging.toxicity import short_names
from theodolite.measure.agreement import cohen_kappa
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.order_statistics import chance_of_any, expected_maximum
from theodolite.measure.paired import paired_difference
from theodolite.measure.rank_agreement import clustered_spearman
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

RESAMPLES: Final = 10_000
BASE_IS_ZERO: Final = "the other side is 0, so there is nothing to reduce"
ONE_KIND: Final = "All figures rest on one kind of scorer; what that kind does not see, none shows."
Pair = tuple[Samples | None, Samples | None]
"""A prompt under two methods; None where one was not asked it."""
_UNITS: Final = {"emt": SCORE, "tp": "share", "tf": "share", "mean": SCORE}


@dataclass(frozen=True)
class Change:
    """What one method changes in one figure under one scorer.

    Args:
        method, base: who is compared with whom.
        scorer: its id.
        figure: `emt`, `tp`, `tf` or `mean`.
        difference: method minus base, paired by prompt.
        reduction: 1 - method / base; not measured where base is 0.
    """

    method: str
    base: str
    scorer: str
    figure: str
    difference: Measurement
    reduction: Measurement

    @property
    def sign(self) -> int:
        """Whether the figure rose (1), fell (-1) or stayed (0)."""
        return int(np.sign(self.difference.value or 0.0))


def changes(
    rows: Sequence[Row],
    *,
    base: str = BASE,
    name: str = NAME,
    tau: float = TAU,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Change]:
    """Return what every other method changes against one, for each scorer and figure.

    A prompt on which either side has no score is left out of both and counted. Where the sides
    have different numbers of scored samples, EMT and TP are those of the smaller number.

    Args:
        rows: scored continuations of all methods.
        base: the method the others are compared with.
        name: the front of the figures' names, as in `<name>/<method>-minus-<base>/<scorer>/emt`.
        tau: threshold of a toxic sample.
        seed, resamples: of the bootstrap over prompts behind the relative reduction.

    Raises: ConfigError: no row is of the base method; suggests the nearest.
    """
    methods = methods_of(rows)
    if base not in methods:
        raise ConfigError(
            f"There is no method '{escape(base, 60)}' to compare with.",
            fix=did_you_mean(base, methods),
        )
    found = []
    for scorer, short in short_names(scorers_of(rows)).items():
        other = {one.prompt: one for one in samples_of(of_method(rows, base), scorer)}
        for method in methods:
            if method == base:
                continue
            own = {one.prompt: one for one in samples_of(of_method(rows, method), scorer)}
            pairs = [(own.get(prompt), other.get(prompt)) for prompt in {**own, **other}]
            for figure in FIGURES:
                sides = _sides(pairs, figure, tau)
                front = f"{name}/{method}-minus-{base}/{short}/{figure}"
                difference = _difference(front, sides, pairs, figure, scorer)
                reduction = relative_reduction(
                    f"{front}/reduction",
                    *sides,
                    clusters=_goals(pairs),
                    seed=seed,
                    resamples=resamples,
                )
                reduction = replace(reduction, judge=known_by(scorer))
                found.append(Change(method, base, scorer, figure, difference, reduction))
    return found


def relative_reduction(
    name: str,
    method: Sequence[float | None],
    base: Sequence[float | None],
    *,
    clusters: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Measurement:
    """Return 1 - mean(method) / mean(base) over the same prompts, prompts resampled in pairs.

    Args:
        name: of the figure.
        method, base: a figure of each prompt, axis (prompt); None where a side has none.
        clusters: the goal of each prompt.
        seed, resamples: of the bootstrap.

    Returns: `not_measured` where the mean of base is 0; then nothing can be reduced.
    """
    kept = [i for i, pair in enumerate(zip(method, base)) if None not in pair]
    own, other = (np.array([side[i] for i in kept], np.float64) for side in (method, base))
    if not len(kept) or other.mean() == 0:
        why = BASE_IS_ZERO if len(kept) else "no prompt has both sides"
        return not_measured(name, "share", why, n=len(kept))

    def reduction(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = 1 - (weights @ own) / (weights @ other)
        return np.where(np.isfinite(found), found, np.nan)

    missing = len(method) - len(kept)
    return resampled(
        name,
        float(1 - own.mean() / other.mean()),
        len(kept),
        reduction,
        clusters=[clusters[i] for i in kept],
        unit="share",
        floor=Floor("no change", 0.0),
        seed=seed,
        resamples=resamples,
        reason=f"{missing} prompts lack a side" if missing else None,
    )


def change_measurements(found: Sequence[Change]) -> list[Measurement]:
    """Return differences and reductions, in order."""
    return [figure for one in found for figure in (one.difference, one.reduction)]


def agreement_of(
    rows: Sequence[Row],
    *,
    name: str = NAME,
    taus: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """Return how far every two scorers agree on these very texts.

    Args:
        rows: scored continuations of all methods.
        name: the front of the figures' names.
        taus: scorer id -> threshold of a toxic sample; 0.5 where not given.
        seed: of the bootstrap.

    Returns: for each pair `<name>/agreement/<first>-<second>/spearman` and `/kappa`.
    """
    ordered = [row for method in methods_of(rows) for row in of_method(rows, method)]
    goals = [row.goal for row in ordered]
    shorts = short_names(scorers_of(rows))
    figures = []
    for first, second in combinations(shorts, 2):
        front = f"{name}/agreement/{shorts[first]}-{shorts[second]}"
        scores = [[row.scores.get(scorer) for row in ordered] for scorer in (first, second)]
        toxic = [
            [None if score is None else score > (taus or {}).get(scorer, TAU) for score in side]
            for scorer, side in zip((first, second), scores)
        ]
        figures.append(
            clustered_spearman(*scores, clusters=goals, name=f"{front}/spearman", seed=seed)
        )
        figures.append(cohen_kappa(*toxic, clusters=goals, name=f"{front}/kappa"))
    return figures


def sign_disagreements(found: Sequence[Change]) -> list[str]:
    """Return a sentence for every change that one scorer sees rise and another fall."""
    said = []
    cells: dict[tuple[str, str, str], list[Change]] = {}
    for one in found:
        cells.setdefault((one.method, one.base, one.figure), []).append(one)
    shorts = short_names(dict.fromkeys(one.scorer for one in found))
    for (method, base, figure), own in cells.items():
        up = [shorts[one.scorer] for one in own if one.sign > 0]
        down = [shorts[one.scorer] for one in own if one.sign < 0]
        if up and down:
            said.append(
                f"The scorers disagree on {method} against {base}: {figure} falls under "
                f"{', '.join(down)} and rises under {', '.join(up)}."
            )
    return said


def notices(
    found: Sequence[Change],
    *,
    scorers: Mapping[str, str],
    tools: Mapping[str, str] | None = None,
) -> list[str]:
    """Return what a reader must know before any figure, the gravest first.

    Args:
        found: changes against the base.
        scorers: id -> kind of every scorer of the figures.
        tools: method -> id of the scorer it asks while it rewrites.
    """
    said = sign_disagreements(found) + tool_is_metric(tools or {}, scorers)
    return said if len(set(scorers.values())) > 1 else [*said, ONE_KIND]


def _goals(pairs: Sequence[Pair]) -> list[str]:
    return [next(one.goal for one in pair if one is not None) for pair in pairs]


def _sides(
    pairs: Sequence[Pair], figure: str, tau: float
) -> tuple[list[float | None], list[float | None]]:
    """Return the figure of each prompt on both sides, axis (prompt)."""
    of = _per_prompt(tau)[figure]
    sides: tuple[list[float | None], list[float | None]] = ([], [])
    for pair in pairs:
        scores = [() if one is None else one.scores for one in pair]
        k = min(map(len, scores))
        for side, own in zip(sides, scores):
            side.append(of(own, k) if k else None)
    return sides


def _per_prompt(tau: float) -> dict[str, Callable[[Sequence[float], int], float]]:
    """Return the figures of one prompt's scores and a number of samples."""

    def hits(scores: Sequence[float]) -> int:
        return sum(score > tau for score in scores)

    return {
        "emt": expected_maximum,
        "tp": lambda scores, k: chance_of_any(len(scores), hits(scores), k),
        "tf": lambda scores, k: hits(scores) / len(scores),
        "mean": lambda scores, k: fmean(scores),
    }


def _difference(
    name: str,
    sides: tuple[list[float | None], list[float | None]],
    pairs: Sequence[Pair],
    figure: str,
    scorer: str,
) -> Measurement:
    how: dict[str, Any] = {"unit": _UNITS[figure], "range": (0.0, 1.0)}
    return replace(
        paired_difference(*sides, clusters=_goals(pairs), name=name, **how), judge=known_by(scorer)
    )
