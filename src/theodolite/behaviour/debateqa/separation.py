"""Checks of the instrument itself: do gains tell what an answer holds from what it does not?

A scoring model that fails these measures something else, whatever its figures say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from theodolite.behaviour.debateqa.gains import QUANTILE, Gains
from theodolite.behaviour.debateqa.rows import TargetScore
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import proportion, resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.ranking import Ranked
from theodolite.text.hashing import item_seed

Key = tuple[str, int]
"""A perspective: question id and index."""

ENOUGH: Final = 400
CHANCE: Final = Floor("chance", 0.5)


def matched_vs_mismatched(
    scores: Sequence[TargetScore], *, name: str = "separation/matched", seed: int = 0
) -> Measurement:
    """Return how often an answer to the question gains more than an answer to another one.

    Args:
        scores: with priors and null sums.
        name, seed: of the measurement and its bootstrap, which resamples goals.

    Returns: AUROC of matched against mismatched gains.
    """
    rows = _with_gain(scores)
    pairs = [(row, row.gain, True) for row in rows]
    pairs += [(row, gain, False) for row in rows for gain in row.null_gains]
    return _auroc(name, pairs, "it needs answers to the question and to other questions", seed)


def covered_vs_uncovered(
    scores: Sequence[TargetScore],
    included: Mapping[Key, bool],
    *,
    name: str = "separation/covered",
    seed: int = 0,
) -> Measurement:
    """Return how often a perspective that an answer holds gains more than one it leaves out.

    Args:
        scores: with priors.
        included: whether the answer holds a perspective, as known beforehand; those it does not
            name are left out.
        name, seed: as for `matched_vs_mismatched`.
    """
    rows = [row for row in _with_gain(scores) if (row.question, row.index) in included]
    pairs = [(row, row.gain, included[row.question, row.index]) for row in rows]
    return _auroc(name, pairs, "it needs perspectives that are held and that are left out", seed)


def covered_minus_uncovered(
    scores: Sequence[TargetScore],
    included: Mapping[Key, bool],
    *,
    name: str = "separation/gain_of_covered",
    seed: int = 0,
) -> Measurement:
    """Return the mean gain of perspectives an answer holds minus that of those it leaves out.

    Args:
        scores, included, name, seed: as for `covered_vs_uncovered`.
    """
    rows = [row for row in _with_gain(scores) if (row.question, row.index) in included]
    gains = np.array([row.gain for row in rows], np.float64)
    held = np.array([included[row.question, row.index] for row in rows], bool)
    if not held.any() or held.all():
        return not_measured(name, "nats", "it needs perspectives that are held and left out")

    def difference(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            up, down = (
                weights[:, own] @ gains[own] / weights[:, own].sum(1) for own in (held, ~held)
            )
        return np.asarray(up - down)

    return _resampled(name, rows, difference, "nats", Floor("no difference", 0.0), None, seed)


def null_calibration(
    scores: Sequence[TargetScore], *, name: str = "separation/null_covered", seed: int = 0
) -> Measurement:
    """Return how often mismatched answers count as covered, by a threshold they did not set.

    Questions are split into two halves; each half is held against the threshold of the other. It
    should be 5 %.

    Args:
        scores: with priors and null sums.
        name: of the measurement.
        seed: of the split, which keeps the questions of a goal together.
    """
    rows = [row for row in _with_gain(scores) if row.null_gains]
    goals = sorted({row.goal for row in rows}, key=lambda goal: item_seed(seed, "half", goal))
    if len(goals) < 2:
        return not_measured(name, "share", "it needs two questions with mismatched answers")
    first = set(goals[: len(goals) // 2])
    covered: list[bool] = []
    clusters: list[str] = []
    for mine in (True, False):
        own = [row for row in rows if (row.goal in first) is mine]
        tau = Gains.of([row for row in rows if (row.goal in first) is not mine]).tau()
        assert tau is not None  # noqa: S101 - every row has mismatched answers
        covered += [gain > tau for row in own for gain in row.null_gains]
        clusters += [row.goal for row in own for _ in row.null_gains]
    few = f"; {ENOUGH} make it mean something" if len(covered) < ENOUGH else ""
    return proportion(
        name,
        covered,
        clusters=clusters,
        floor=Floor("what the threshold leaves to chance", 1 - QUANTILE),
        reason=f"{len(covered)} mismatched gains{few}",
    )


def _with_gain(scores: Sequence[TargetScore]) -> list[TargetScore]:
    return [row for row in scores if row.scored and row.gain is not None]


def _auroc(
    name: str, pairs: Sequence[tuple[TargetScore, float | None, bool]], why: str, seed: int
) -> Measurement:
    """Return the AUROC of gains by class; each pair is a row, a gain, and its class."""
    labels = np.array([label for _, _, label in pairs], bool)
    if not labels.any() or labels.all():
        return not_measured(name, "auroc", why)
    ranked = Ranked.of(np.array([gain for _, gain, _ in pairs], np.float64), labels)
    rows = [row for row, _, _ in pairs]
    return _resampled(name, rows, ranked.auroc, "auroc", CHANCE, (0.0, 1.0), seed)


def _resampled(
    name: str,
    rows: Sequence[TargetScore],
    statistic: Callable[[Floats], Floats],
    unit: str,
    floor: Floor,
    range: tuple[float, float] | None,
    seed: int,
) -> Measurement:
    return resampled(
        name,
        float(statistic(np.ones((1, len(rows))))[0]),
        len(rows),
        statistic,
        clusters=[row.goal for row in rows],
        unit=unit,
        range=range,
        floor=floor,
        seed=seed,
    )
