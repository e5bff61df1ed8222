"""Figures of the modes that write nothing: how well a number tells right solutions from wrong ones.

AUROC needs no threshold. Where one is needed it is either the natural one, or it is fixed on other
questions: questions are dealt into folds, and each fold gets the threshold that does best on the
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.behaviour.mr_ben import scoring
from theodolite.behaviour.mr_ben.answers import Critique
from theodolite.behaviour.mr_ben.counts import WEIGHTS, figures, matrix
from theodolite.behaviour.mr_ben.prefix_cost import Prefilled
from theodolite.behaviour.mr_ben.rows import Graded, grade
from theodolite.behaviour.mr_ben.slots import TOO_LONG
from theodolite.data.step_critique import CritiqueSample
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured
from theodolite.measure.ranking import Ranked, auroc
from theodolite.text.hashing import item_seed

FOLDS: Final = 5
RESAMPLES: Final = 2000
CHANCE: Final = Floor("chance", 0.5)


@dataclass(frozen=True)
class Ranking:
    """Numbers of solutions or steps of one subject, and what they should tell apart.

    Args:
        subject: they belong to.
        scores: None where there is none; axis (item).
        labels: whether an item belongs above the others; axis (item).
        questions: of the items; they are resampled whole.
        plain: what is known of each item without any model, e.g. its length; axis (item). The floor
            is how well it does by itself.
        plain_name: what it is, in words.
    """

    subject: str
    scores: Sequence[float | None]
    labels: Sequence[bool]
    questions: Sequence[str]
    plain: Sequence[float]
    plain_name: str


def said(sample: CritiqueSample, correct: bool | None, step: int | None = None) -> Graded:
    """Return a row from a verdict that was read off probabilities; None where nothing was read."""
    flags = (TOO_LONG,) if correct is None else ()
    return grade(sample, Critique(correct, None if correct is not False else step, flags=flags))


def solutions(samples: Sequence[CritiqueSample], scores: Sequence[float | None]) -> list[Ranking]:
    """Return scores of solutions by subject; right ones should lie above, length is the floor."""
    found: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        found.setdefault(sample.subject, []).append(place)
    return [
        Ranking(
            subject,
            [scores[p] for p in places],
            [samples[p].gold_correct for p in places],
            [f"{subject}/{samples[p].key}" for p in places],
            [sum(map(len, samples[p].lines)) for p in places],
            "the solution's length alone",
        )
        for subject, places in found.items()
    ]


def areas(name: str, figure: str, ranked: Sequence[Ranking], *, seed: int) -> list[Measurement]:
    """Return AUROC as the mean over subjects, then of each subject.

    Args:
        name: the front of the names, e.g. `mr-ben/verdict`.
        figure: their end, e.g. `auroc`.
        ranked: of each subject.
    """
    single = [_area(f"{name}/{one.subject}/{figure}", one, seed) for one in ranked]
    known = [one for one, area in zip(ranked, single) if area.value is not None]
    label = f"{name}/{scoring.MEAN}/{figure}"
    if not known:
        return [not_measured(label, "auroc", "it needs right and wrong solutions"), *single]
    areas_of = [area for area in single if area.value is not None]
    kept = [_scored(one) for one in known]
    edges = np.cumsum([0, *(len(scores) for scores, _, _ in kept)])
    sorted_ = [Ranked.of(scores, labels) for scores, labels, _ in kept]

    def statistic(weights: Floats) -> Floats:
        parts = [
            one.auroc(weights[:, a:b]) for one, a, b in zip(sorted_, edges, edges[1:], strict=False)
        ]
        return np.asarray(np.mean(parts, axis=0))

    floors = [area.floor.value for area in areas_of if area.floor is not None]
    mean = resampled(
        label,
        float(np.mean([area.value for area in areas_of])),
        int(edges[-1]),
        statistic,
        clusters=[q for _, _, questions in kept for q in questions],
        unit="auroc",
        range=(0.0, 1.0),
        floor=Floor("best of chance and " + ranked[0].plain_name, float(np.mean(floors))),
        unscored=_joined(areas_of),
        resamples=RESAMPLES,
        seed=item_seed(seed, label),
        reason=scoring.scope([one.subject for one in known]),
    )
    return [mean, *single]


def _area(name: str, one: Ranking, seed: int) -> Measurement:
    scores, labels, questions = _scored(one)
    missing = len(one.scores) - len(scores)
    if len(set(labels)) < 2:
        why = "it needs both kinds, and all that were read are of one"
        left = Unscored(missing, {TOO_LONG: missing} if missing else {}, None, None)
        return not_measured(name, "auroc", why, n=len(scores), unscored=left)
    plain = auroc(one.plain, one.labels)
    best = max(plain, 1 - plain)
    floor = Floor(one.plain_name, best) if best > 0.5 else CHANCE
    return resampled(
        name,
        auroc(scores, labels),
        len(scores),
        Ranked.of(scores, labels).auroc,
        clusters=questions,
        unit="auroc",
        range=(0.0, 1.0),
        floor=floor,
        unscored=_unscored(one, missing),
        resamples=RESAMPLES,
        seed=item_seed(seed, name),
    )


def _scored(one: Ranking) -> tuple[list[float], list[bool], list[str]]:
    kept = [i for i, score in enumerate(one.scores) if score is not None]
    scores = [score for score in one.scores if score is not None]
    return scores, [one.labels[i] for i in kept], [one.questions[i] for i in kept]


def _unscored(one: Ranking, missing: int) -> Unscored:
    """Return the bounds: what was not read lies as badly, or as well, as it can."""
    if not missing:
        return Unscored(0, {}, None, None)
    known = [score for score in one.scores if score is not None]
    below, above = min(known) - 1.0, max(known) + 1.0
    ends = []
    for good in (False, True):
        filled = [
            score if score is not None else above if bool(label) is good else below
            for score, label in zip(one.scores, one.labels, strict=True)
        ]
        ends.append(auroc(filled, one.labels))
    return Unscored(missing, {TOO_LONG: missing}, ends[0], ends[1])


def _joined(parts: Sequence[Measurement]) -> Unscored:
    count = sum(part.unscored.count for part in parts)
    if not count:
        return Unscored(0, {}, None, None)
    ends = [
        float(
            np.mean([v if (v := getattr(p.unscored, end)) is not None else p.value for p in parts])
        )
        for end in ("low", "high")
    ]
    return Unscored(count, {TOO_LONG: count}, ends[0], ends[1])


def folds_of(questions: Sequence[str], *, seed: int, folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each item; items of one question share it.

    Args:
        questions: of the items.
        seed: of the order in which questions are dealt out.
    """
    order = sorted(set(questions), key=lambda name: (item_seed(seed, "fold", name), name))
    fold = {name: place % folds for place, name in enumerate(order)}
    return np.array([fold[name] for name in questions], np.int64)


def fixed_elsewhere(
    rows_at: Callable[[float], Sequence[Graded]],
    candidates: Sequence[float],
    natural: float,
    *,
    seed: int,
) -> tuple[list[Graded], list[float]]:
    """Return rows judged at a threshold that other questions chose.

    Args:
        rows_at: gives the rows judged at a threshold, always in the same order.
        candidates: thresholds to choose from.
        natural: the one that is taken where others do no better; closer ones come first.
        seed: of the folds.

    Returns: the rows, each at the threshold of its fold; and that of each fold. The best one has
        the highest .2 MCC + .3 ACC_step on all rows of the other folds together: MR-Score without
        reasons, its MCC not cut at 0.
    """
    order = sorted({natural, *candidates}, key=lambda t: (abs(t - natural), t))
    judged = [rows_at(threshold) for threshold in order]
    fold = folds_of([row.question for row in judged[0]], seed=seed)
    counts = [matrix(rows) for rows in judged]
    chosen: list[int] = []
    for held in range(FOLDS):
        others = np.stack([each[fold != held].sum(0) for each in counts])
        found = figures(others)
        worth = WEIGHTS[0] * found["mcc"] + WEIGHTS[1] * np.nan_to_num(found["acc_step"])
        chosen.append(int(np.argmax(worth)))
    rows = [judged[chosen[own]][place] for place, own in enumerate(fold)]
    return rows, [order[pick] for pick in chosen]


def grid(scores: Iterable[float | None], most: int = 60) -> list[float]:
    """Return thresholds between neighbouring scores, at most so many, spread over their ranks."""
    known = np.unique([score for score in scores if score is not None])
    if len(known) < 2:
        return []
    between = (known[1:] + known[:-1]) / 2
    picked = np.linspace(0, len(between) - 1, min(most, len(between))).round().astype(int)
    return [float(between[i]) for i in np.unique(picked)]


def verdict_figures(
    rows: Sequence[Graded], name: str, *, seed: int, only: Sequence[str] | None = None
) -> list[Measurement]:
    """Return the figures of rows whose reasons nobody gave, MR-Score as bounds.

    Args:
        name: the front of their names.
        only: figures to keep; None keeps all.
    """
    found = scoring.measurements(rows, seed=seed, name=name)
    kept = [one for one in found if only is None or one.name.rsplit("/", 1)[-1] in only]
    return [_worded(one) for one in kept]


def _worded(one: Measurement) -> Measurement:
    """Say of what hangs on reasons that there are none, and not that a judge is missing."""
    if one.value is not None or not one.unscored.count:
        return one
    told = "no reason was written; the bounds hold whatever reasons would be worth"
    return replace(one, reason=told)


def cost_row(mode: str, k_shot: int, cost: Prefilled) -> dict[str, Any]:
    """Return the record of what a mode reads."""
    return {"mode": mode, "k_shot": k_shot, **cost.row()}
