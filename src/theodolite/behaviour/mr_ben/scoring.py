"""From graded answers to figures: per subject, and the plain mean over the subjects there are.

Intervals resample questions, since a question has up to three solutions. The mean over subjects
resamples within each of them. A mean over fewer than the seven subjects says so, for it must not be
compared with a mean over all.

Without a judge nobody knows which reasons are right: MR-Score and ACC_reason are then not measured,
and the bounds say what they could be. Where a judge failed on some, those count as not accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from theodolite.behaviour.mr_ben.counts import bounds, column, figures, matrix
from theodolite.behaviour.mr_ben.floors import floors_of, mean_floor
from theodolite.behaviour.mr_ben.rows import Graded, by_subject
from theodolite.data.mr_ben import SUBJECTS
from theodolite.errors import DataError
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters, Floats
from theodolite.measure.intervals import proportion
from theodolite.measure.judge_quality import JudgeCalibration, corrected_rate
from theodolite.measure.measurement import (
    Floor,
    Interval,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.text.hashing import item_seed

METHOD_VERSION: Final = 1
NAME: Final = "mr-ben"
MEAN: Final = "mean"
RESAMPLES: Final = 10_000
SHOWN: Final = (
    "mr_score", "mcc", "acc_step", "acc_reason", "balanced_accuracy", "f1_incorrect", "process_f1",
    "caught", "within_1", "step_distance", "said_incorrect", "unparsed",
)  # fmt: skip
HANGING: Final = frozenset({"mr_score", "acc_reason"})
_UNITS: Final = {"mcc": "mcc", "step_distance": "steps"}
_NO_FLOOR: Final = {
    "step_distance": "no floor: only answers that name a step have a distance",
    "said_incorrect": "no floor: it shows a bias and no skill",
    "unparsed": "no floor: answers that cannot be read count as wrong",
}


@dataclass(frozen=True)
class SubjectCounts:
    """The counts of one subject and their resamples.

    Args:
        total: axis (column), columns as in `counts.COLUMNS`.
        draws: figure -> axis (resample).
        questions: of the rows.
    """

    rows: Sequence[Graded]
    total: Floats
    draws: dict[str, Floats]
    questions: Clusters

    @classmethod
    def of(cls, rows: Sequence[Graded], *, seed: int, resamples: int) -> SubjectCounts:
        """Count and resample the rows of one subject."""
        single = matrix(rows)
        questions = Clusters.of([row.question for row in rows], len(rows))
        sums = np.stack([questions.sums(each) for each in single.T], axis=1)
        draws: list[Floats] = []
        if len(questions) > 1:
            own = item_seed(seed, NAME, rows[0].subject)
            weights = resample_weights(Clusters.of(None, len(sums)), seed=own, resamples=resamples)
            draws = [chunk @ sums for chunk in weights]
        empty = np.zeros((0, single.shape[1]))
        found = figures(np.concatenate(draws) if draws else empty)
        return cls(rows, single.sum(0), found, questions)


def measurements(
    rows: Sequence[Graded],
    *,
    judge: JudgeCalibration | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    name: str = NAME,
) -> list[Measurement]:
    """Return every figure: the mean over subjects, then each subject.

    Args:
        rows: graded answers of any subjects.
        judge: how good the judge of reasons is on labelled rows; gives a corrected ACC_reason.
        seed, resamples: of the bootstrap over questions.
        name: the front of every figure's name.

    Raises: DataError: there are no rows, or a solution is graded twice.
    """
    if not rows:
        raise DataError("There is no answer to score.", fix="Grade at least one solution.")
    subjects = {
        subject: SubjectCounts.of(own, seed=seed, resamples=resamples)
        for subject, own in by_subject(rows).items()
    }
    quality = None if judge is None else judge.quality
    found: list[Measurement] = []
    for subject, counts in subjects.items():
        found += _subject(f"{name}/{subject}", counts, quality)
        if judge is not None:
            found.append(corrected_reason(f"{name}/{subject}", counts.rows, judge))
    return _mean(f"{name}/{MEAN}", subjects, found, name, quality) + found


def labels(name: str = NAME) -> dict[str, str]:
    """Return the headline figures in plain words, by name."""
    words = {
        "mr_score": "MR-Score, mean over subjects",
        "mcc": "verdict right or wrong (MCC)",
        "acc_step": "first wrong step found",
        "acc_reason": "and its reason right",
    }
    return {f"{name}/{MEAN}/{part}": text for part, text in words.items()}


def scope(subjects: Sequence[str]) -> str:
    """Return how many of the seven subjects a mean is over, in words."""
    known = [subject for subject in SUBJECTS if subject in subjects]
    if len(known) != len(subjects):
        return f"mean over {len(subjects)} sets"
    missing = [subject for subject in SUBJECTS if subject not in subjects]
    if not missing:
        return "mean over all 7 subjects"
    left_out = f"without {', '.join(missing)}"
    return f"mean over {len(known)} of 7 subjects ({left_out}): compare with no mean over 7"


def corrected_reason(name: str, rows: Sequence[Graded], judge: JudgeCalibration) -> Measurement:
    """Return ACC_reason with the judge's errors taken out, by the Rogan-Gladen estimate.

    Only reviewed answers meet the judge: their rate of acceptance is corrected, then scaled by the
    share of incorrect solutions that were reviewed, which is taken as known.
    """
    wrong = [row for row in rows if not row.gold_correct]
    asked = [row for row in wrong if row.reviewed]
    label = f"{name}/acc_reason/corrected"
    if not asked:
        return not_measured(label, "share", "no reason was reviewed")
    rate = proportion(
        label.removesuffix("/corrected"),
        [row.accepted for row in asked],
        clusters=[row.question for row in asked],
        reasons=[row.unjudged if row.accepted is None else None for row in asked],
    )
    found = corrected_rate(rate, judge)
    if found.value is None:
        return found
    share = len(asked) / len(wrong)
    value, low, high = (
        None if end is None else end * share for end in (found.value, found.low, found.high)
    )
    why = f"{len(asked)} of {len(wrong)} incorrect solutions were reviewed, taken as known"
    quality = found.judge
    if quality is not None and quality.corrected is not None:
        quality = replace(quality, corrected=value)
    reason = "; ".join(part for part in (found.reason, why) if part)
    unscored = replace(found.unscored, low=None, high=None)
    return replace(
        found,
        value=value,
        low=low,
        high=high,
        judge=quality,
        reason=reason,
        unscored=unscored,
    )


def _subject(name: str, counts: SubjectCounts, judge: JudgeQuality | None) -> list[Measurement]:
    values = {k: float(v[0]) for k, v in figures(counts.total[None, :]).items()}
    floors = floors_of(counts.rows)
    spread = bounds(counts.total)
    waiting = Counter(row.unjudged for row in counts.rows if row.waiting)
    found = []
    for figure in SHOWN:
        how: dict[str, Any] = {
            "unscored": _unscored(waiting, *spread[figure]),
            "judged": any(row.accepted is not None for row in counts.rows if row.reviewed),
            "judge": judge if figure in HANGING else None,
            "floor": floors.get(figure),
            "why": _NO_FLOOR.get(figure),
        }
        interval = _interval(counts.draws[figure], counts.questions)
        n, clusters = len(counts.rows), len(counts.questions)
        found.append(_figure(f"{name}/{figure}", values[figure], interval, n, clusters, **how))
    return found


def _unscored(waiting: Counter[str], low: float, high: float) -> Unscored:
    """Return what hangs on reasons without a verdict; nothing where the figure does not."""
    if not waiting or not low < high:
        return Unscored(0, {}, None, None)
    return Unscored(waiting.total(), dict(waiting), low, high)


def _figure(
    name: str,
    value: float,
    interval: Interval | None,
    n: int,
    clusters: int,
    *,
    unscored: Unscored,
    judged: bool,
    judge: JudgeQuality | None,
    floor: Floor | None,
    why: str | None,
) -> Measurement:
    figure = name.rsplit("/", 1)[-1]
    unit = _UNITS.get(figure, "share")
    if not np.isfinite(value):
        return not_measured(name, unit, "no solution here lets it be computed", n=n)
    if unscored.count and not judged:
        told = "reasons were not judged; the bounds hold whatever a judge would say"
        # The floor stays: bounds are read beside it.
        return replace(not_measured(name, unit, told, n=n, unscored=unscored), floor=floor)
    reasons = [why, None if interval else "the resamples do not vary or there is one question"]
    if unscored.count:
        reasons.append(f"{unscored.count} reasons without a verdict count as not accepted")
    limits = {"mcc": (-1.0, 1.0), "step_distance": None}.get(figure, (0.0, 1.0))
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        n=n,
        n_clusters=clusters,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        method=interval.method if interval else None,
        floor=floor,
        range=limits,
        unscored=unscored,
        judge=judge,
        reason="; ".join(part for part in reasons if part) or None,
    )


def _interval(draws: Floats, questions: Clusters, level: float = 0.95) -> Interval | None:
    known = draws[np.isfinite(draws)]
    if len(questions) < 2 or not len(known) or len(known) < 0.9 * len(draws):
        return None
    tail = expanded_tail(questions, level)
    low, high = np.quantile(known, [tail, 1 - tail])
    return (
        Interval(float(low), float(high), "expanded percentile bootstrap") if low < high else None
    )


def _mean(
    name: str,
    subjects: dict[str, SubjectCounts],
    found: Sequence[Measurement],
    front: str,
    judge: JudgeQuality | None,
) -> list[Measurement]:
    """Return the plain means over subjects of every figure that each of them has."""
    of = {each.name: each for each in found}
    rows = [row for counts in subjects.values() for row in counts.rows]
    questions = Clusters.of([row.question for row in rows], len(rows))
    spread = {subject: bounds(counts.total) for subject, counts in subjects.items()}
    waiting = Counter(row.unjudged for row in rows if row.waiting)
    words = scope(list(subjects))
    means = []
    for figure in SHOWN:
        parts = [of[f"{front}/{subject}/{figure}"] for subject in subjects]
        floors = [part.floor for part in parts if part.floor is not None]
        low, high = (
            float(np.mean([spread[subject][figure][end] for subject in subjects])) for end in (0, 1)
        )
        whole = len(floors) == len(parts)
        drawn = [counts.draws[figure] for counts in subjects.values()]
        whole_draws = all(len(each) for each in drawn)
        means.append(
            _figure(
                f"{name}/{figure}",
                low,
                _interval(np.mean(drawn, axis=0), questions) if whole_draws else None,
                len(rows),
                len(questions),
                unscored=_unscored(waiting, low, high),
                judged=any(r.accepted is not None for r in rows if r.reviewed),
                judge=judge if figure in HANGING else None,
                floor=mean_floor(floors) if whole else None,
                why="; ".join(part for part in (words, _NO_FLOOR.get(figure)) if part),
            )
        )
    return means


def waiting_rows(rows: Sequence[Graded]) -> int:
    """Return how many rows hang on a judge."""
    return int(column(matrix(rows).sum(0), "waiting"))
