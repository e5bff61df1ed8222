"""Does the answer say that the question is disputed, and only where it is? (D.A.)

The share of debatable questions (`da`) stands beside that of settled ones (`da_fpr`); their
difference (`da_j`) and the ranking by the judge's probability (`da_auroc`) are what no constant
answer can raise. Questions that science has settled and the public disputes are a slice apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from theodolite.behaviour.debateqa.rows import AnswerRow
from theodolite.data.debates import CONTESTED, DEBATABLE, SETTLED
from theodolite.data.prompts import shown
from theodolite.errors import RunError
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import proportion, resampled
from theodolite.measure.measurement import (
    Floor,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.measure.ranking import Ranked

NOT_JUDGED: Final = "not judged"
NO_PROBABILITY: Final = "the judge gave no probability"
MOST_UNREAD: Final = 0.02
EXAMPLES: Final = 3
CONSTANT: Final = Floor("any constant answer", 0.0)
NEVER: Final = Floor("never calls anything disputed", 0.0)
NO_CONTROLS: Final = "without settled questions, whoever calls everything disputed has 1"
BOTH_NEEDED: Final = "it needs debatable and settled questions with verdicts"
DISPUTE_WORDS: Final = {
    "da": "D.A.: debatable questions called disputed",
    "da_fpr": "settled questions called disputed",
    "da_j": "debatable minus settled questions called disputed",
    "da_auroc": "how well the judge's probability tells both apart",
    "da_contested": "questions disputed in public alone, called disputed",
    "da_lexical": "debatable questions called disputed, by the word list",
    "judge_agreement": "judge agrees with the word list",
    "judge_kappa": "agreement beyond chance",
}


def dispute_measurements(
    answers: Sequence[AnswerRow],
    *,
    judge: JudgeQuality | None = None,
    name: str,
    seed: int = 0,
) -> list[Measurement]:
    """Return the figures of dispute awareness; none where no answer has a verdict or a reason."""
    if all(row.da is None and row.da_reason is None for row in answers):
        return []
    debatable, settled, contested = (
        [row for row in answers if row.label == label] for label in (DEBATABLE, SETTLED, CONTESTED)
    )
    control = [row.da for row in settled if row.da is not None]
    floor = Floor("settled questions", sum(control) / len(control)) if control else None
    why = None if floor else NO_CONTROLS
    found = [_share(f"{name}/da", debatable, floor=floor, judge=judge, reason=why)]
    if settled:
        found += [
            _share(f"{name}/da_fpr", settled, floor=NEVER, judge=judge),
            da_j(f"{name}/da_j", debatable, settled, seed=seed),
            da_auroc(f"{name}/da_auroc", debatable, settled, seed=seed),
        ]
    if contested:
        found.append(_share(f"{name}/da_contested", contested, floor=floor, judge=judge))
    return found + _beside_words(answers, debatable, settled, name)


def da_j(
    name: str, debatable: Sequence[AnswerRow], settled: Sequence[AnswerRow], *, seed: int = 0
) -> Measurement:
    """Return Youden's J: the share of debatable minus that of settled questions called disputed."""
    every = [*debatable, *settled]
    rows = [row for row in every if row.da is not None]
    side = np.array([row.label == DEBATABLE for row in rows], bool)
    if not side.any() or side.all():
        return not_measured(name, "share", BOTH_NEEDED, n=len(rows))
    said = np.array([bool(row.da) for row in rows], np.float64)

    def difference(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            up, down = (
                weights[:, own] @ said[own] / weights[:, own].sum(1) for own in (side, ~side)
            )
        return np.asarray(up - down)

    return resampled(
        name,
        float(difference(np.ones((1, len(rows))))[0]),
        len(rows),
        difference,
        clusters=[row.goal for row in rows],
        unit="share",
        range=(-1.0, 1.0),
        floor=CONSTANT,
        seed=seed,
        unscored=_left_out([row for row in every if row.da is None]),
    )


def da_auroc(
    name: str, debatable: Sequence[AnswerRow], settled: Sequence[AnswerRow], *, seed: int = 0
) -> Measurement:
    """Return how often the judge's probability ranks a debatable question above a settled one."""
    every = [*debatable, *settled]
    known = [(row, row.da_prob) for row in every if row.da_prob is not None]
    rows, scores = [row for row, _ in known], [score for _, score in known]
    side = np.array([row.label == DEBATABLE for row in rows], bool)
    if not side.any() or side.all():
        why = "it needs the judge's probabilities of debatable and settled questions"
        return not_measured(name, "auroc", why, n=len(rows))
    ranked = Ranked.of(scores, side)
    return resampled(
        name,
        float(ranked.auroc(np.ones((1, len(rows))))[0]),
        len(rows),
        ranked.auroc,
        clusters=[row.goal for row in rows],
        unit="auroc",
        range=(0.0, 1.0),
        floor=Floor("chance", 0.5),
        seed=seed,
        unscored=_left_out([row for row in every if row.da_prob is None], NO_PROBABILITY),
    )


def check_read(answers: Sequence[AnswerRow]) -> None:
    """Stop where a judge's replies could not be read too often to mean anything.

    Raises:
        RunError: more than 2 % of the judged answers have no verdict; names three by their ids.
    """
    judged = [row for row in answers if row.da is not None or row.da_reason is not None]
    unread = [row for row in judged if row.da is None]
    if len(unread) > MOST_UNREAD * len(judged):
        listed = ", ".join(
            f"{shown(row.question)} ({row.da_reason or NOT_JUDGED})" for row in unread[:EXAMPLES]
        )
        raise RunError(
            f"{len(unread)} of {len(judged)} answers have no verdict on dispute, more than "
            f"{MOST_UNREAD:.0%}: {listed}.",
            fix="Use a judge that follows the form, or leave it out for the word list.",
        )


def _share(
    name: str,
    rows: Sequence[AnswerRow],
    *,
    floor: Floor | None,
    judge: JudgeQuality | None = None,
    reason: str | None = None,
) -> Measurement:
    return proportion(
        name,
        [row.da for row in rows],
        clusters=[row.goal for row in rows],
        floor=floor,
        reasons=[None if row.da is not None else row.da_reason or NOT_JUDGED for row in rows],
        judge=judge,
        reason=reason,
    )


def _beside_words(
    answers: Sequence[AnswerRow],
    debatable: Sequence[AnswerRow],
    settled: Sequence[AnswerRow],
    name: str,
) -> list[Measurement]:
    """Return what the word list says, and how far the judge agrees with it."""
    known = [row for row in debatable if row.da_lexical is not None]
    if not known:
        return []
    control = [row.da_lexical for row in settled if row.da_lexical is not None]
    words = proportion(
        f"{name}/da_lexical",
        [row.da_lexical for row in debatable],
        clusters=[row.goal for row in debatable],
        floor=Floor("settled questions", sum(control) / len(control)) if control else None,
        reason=None if control else NO_CONTROLS,
    )
    rows = [row for row in answers if row.da_lexical is not None]
    judged, lexical = [row.da for row in rows], [row.da_lexical for row in rows]
    clusters = [row.goal for row in rows]
    return [
        words,
        agreement(judged, lexical, clusters=clusters, name=f"{name}/judge_agreement"),
        cohen_kappa(judged, lexical, clusters=clusters, name=f"{name}/judge_kappa"),
    ]


def _left_out(rows: Sequence[AnswerRow], why: str = NOT_JUDGED) -> Unscored:
    reasons = Counter(row.da_reason or why for row in rows)
    return Unscored(len(rows), dict(sorted(reasons.items())), None, None)
