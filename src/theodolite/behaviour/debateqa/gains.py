"""Which perspectives an answer holds: gain over the question alone, against what chance gives.

A perspective counts as covered where the answer makes it cheaper to predict than answers to other
questions do: its gain lies above the threshold tau, the 95th percentile of the gains of such
mismatched answers. Gains, unlike perplexities, do not mix how hard a text is with whether the
answer held it.

Source: ours, section 4 of the card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.behaviour.debateqa.rows import TargetScore
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Measurement, not_measured

Covered = NDArray[np.bool_]
Rows = NDArray[np.int64]
COVERING: Final = ("coverage", "balance", "evenness")
QUANTILE: Final = 0.95
MISMATCHED: Final = "answers to other questions"
QUESTION_ALONE: Final = "the question alone"
NO_PRIOR: Final = "no score with the question alone"
NO_STANCE: Final = "a perspective has no stance"
ONE_STANCE: Final = "all perspectives take one side"
NOTHING_COVERED: Final = "no perspective is covered"
_ROUNDING: Final = 1e-9
_AT_ONCE: Final = 2_000_000  # numbers of one block of resamples: 16 MB


@dataclass(frozen=True, eq=False)
class Gains:
    """The gains of many perspectives, those of a question side by side, those of a side together.

    Args:
        questions: ids, in order of appearance.
        goals: the cluster of each question.
        values: nats per token; axis (target).
        question: of each target; axis (target).
        cells: the first target of each side of each question; axis (cell).
        starts: the first cell of each question; axis (question).
        stances: sides of each question, 0 where a perspective is not labelled; axis (question).
        nulls: gains of mismatched answers, or of the question alone (then all 0); axes
            (replicate, target).
        null_values: gains of mismatched answers from the lowest up; axis (null).
        null_question: the question of each; axis (null).
    """

    questions: tuple[str, ...]
    goals: tuple[str, ...]
    values: Floats
    question: Rows
    cells: Rows
    starts: Rows
    stances: Rows
    nulls: Floats
    null_values: Floats
    null_question: Rows

    @classmethod
    def of(cls, scores: Sequence[TargetScore]) -> Self:
        """Lay out the scores that have a prior; the others have no gain."""
        usable = [row for row in scores if row.scored and row.prior_sum is not None]
        place: dict[str, int] = {}
        for row in usable:
            place.setdefault(row.question, len(place))
        usable.sort(key=lambda row: (place[row.question], row.stance or "", row.index))
        sides = [(place[row.question], row.stance or "") for row in usable]
        sizes = [len(list(group)) for _, group in groupby(sides)]
        owners = [question for (question, _), _ in groupby(sides)]
        question = np.array([side[0] for side in sides], np.int64)
        unknown = {place[row.question] for row in usable if row.stance is None}
        stances = [0 if q in unknown else owners.count(q) for q in place.values()]
        null = [(gain, place[r.question]) for r in usable for gain in r.null_gains]
        null.sort(key=lambda pair: pair[0])
        goals = {row.question: row.goal for row in usable}
        return cls(
            questions=tuple(place),
            goals=tuple(goals[name] for name in place),
            values=np.array([row.gain for row in usable], np.float64),
            question=question,
            cells=np.cumsum([0, *sizes[:-1]]).astype(np.int64)[: len(sizes)],
            starts=np.searchsorted(np.array(owners, np.int64), np.arange(len(place))),
            stances=np.array(stances, np.int64),
            nulls=_replicates(usable),
            null_values=np.array([pair[0] for pair in null], np.float64),
            null_question=np.array([pair[1] for pair in null], np.int64),
        )

    @property
    def floor_name(self) -> str:
        """What the floors are taken from."""
        return MISMATCHED if len(self.null_values) else QUESTION_ALONE

    def tau(self) -> float | None:
        """Return the threshold of chance; None without mismatched answers."""
        if not len(self.null_values):
            return None
        return float(self.taus(np.ones((1, len(self.questions))))[0])

    def taus(self, weights: Floats) -> Floats:
        """Return the threshold under weights of the questions.

        Args:
            weights: axes (resample, question).

        Returns: the least null gain that `QUANTILE` of the null gains do not exceed; axis
            (resample); NaN where no mismatched answer has a weight.
        """
        reached = np.cumsum(weights[:, self.null_question], axis=1)
        total = reached[:, -1]
        place = np.argmax(reached >= QUANTILE * total[:, None] - _ROUNDING, axis=1)
        return np.where(total > 0, self.null_values[place], np.nan)

    def figures(self, covered: Covered) -> dict[str, Floats]:
        """Return all figures of `COVERING`; argument and axes as for `figure`."""
        return {name: self.figure(name, covered) for name in COVERING}

    def figure(self, name: str, covered: Covered) -> Floats:
        """Return what follows from which targets are covered.

        Args:
            name: `coverage`; `balance`, the least coverage of a side; or `evenness`, the entropy of
                the covered counts over the sides by that of equal ones.
            covered: axes (row, target); a row is a resample, or one of several answers.

        Returns: axes (row, question); NaN where the figure is not defined.
        """
        counts = np.add.reduceat(covered, self.cells, axis=1, dtype=np.float64)
        sizes = np.diff([*self.cells, len(self.values)])
        if name == "balance":
            least = np.minimum.reduceat(counts / sizes, self.starts, axis=1)
            return np.where(self.stances >= 2, least, np.nan)
        total = np.add.reduceat(counts, self.starts, axis=1)
        if name == "coverage":
            return np.asarray(total / np.add.reduceat(sizes, self.starts))
        of_cell = np.repeat(np.arange(len(self.starts)), np.diff([*self.starts, len(self.cells)]))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = counts / total[:, of_cell]
            part = np.where(share > 0, -share * np.log(share), share)
            even = np.add.reduceat(part, self.starts, axis=1) / np.log(self.stances)
        return np.where(self.stances >= 2, even.clip(0.0, 1.0), np.nan)

    def means(self, figure: str, weights: Floats) -> Floats:
        """Return a figure's mean under weights, the threshold taken anew in each resample.

        Args:
            figure: `coverage`, `balance` or `evenness`.
            weights: of the questions; axes (resample, question).

        Returns: axis (resample); NaN where the figure has none.
        """
        found = []
        at_once = max(1, _AT_ONCE // max(len(self.null_values), len(self.values), 1))
        for begin in range(0, len(weights), at_once):
            block = weights[begin : begin + at_once]
            taus = self.taus(block)[:, None]
            values = self.figure(figure, self.values > taus)
            known = np.isfinite(values) & np.isfinite(taus)
            with np.errstate(invalid="ignore"):
                top = np.where(known, block * np.where(known, values, 0.0), 0.0).sum(1)
                found.append(top / (block * known).sum(1))
        return np.concatenate(found)


def _replicates(rows: Sequence[TargetScore]) -> Floats:
    """Return the gains behind the floors; axes (replicate, target)."""
    known = [row.null_gains or (0.0,) for row in rows]
    fewest = min((len(gains) for gains in known), default=1)
    return np.array([gains[:fewest] for gains in known], np.float64).reshape(len(rows), fewest).T


def threshold(name: str, gains: Gains, tau: float | None, *, seed: int = 0) -> Measurement:
    """Return the gain above which a perspective counts as covered, in nats per token.

    Args:
        tau: a fixed one, e.g. from the dev split; None takes that of the run.
    """
    reason = "a threshold has no trivial level"
    if tau is not None:
        return Measurement(
            name, tau, "nats", len(gains.values), reason=f"{reason}; fixed beforehand: no interval"
        )
    found = gains.tau()
    if found is None:
        return not_measured(name, "nats", "it needs answers to other questions, or a fixed tau")
    return resampled(
        name,
        found,
        len(gains.questions),
        gains.taus,
        clusters=gains.goals,
        unit="nats",
        seed=seed,
        reason=reason,
    )


def why_not(gains: Gains, place: int) -> str:
    """Return why the question at a place has no balance or evenness."""
    return {0: NO_STANCE, 1: ONE_STANCE}.get(int(gains.stances[place]), NOTHING_COVERED)
