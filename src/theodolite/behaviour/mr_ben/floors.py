"""What answers without any skill reach: a constant step, a random label, a constant verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from theodolite.behaviour.mr_ben.counts import WEIGHTS, figures, matrix
from theodolite.behaviour.mr_ben.rows import Graded, grade
from theodolite.data.step_critique import CritiqueSample, constant_step
from theodolite.measure.measurement import Floor


@dataclass(frozen=True)
class TrivialFloor:
    """What trivial answers reach in one subject.

    Args:
        step: the best constant step; None in code, where only a judge gives credit.
        acc_step: of always answering that step.
        mr_score: of the same, no reason accepted.
        random_label: ACC_step, expected, of a label drawn from those of each solution.
    """

    step: int | None
    acc_step: float
    mr_score: float
    random_label: float


def trivial_floor(rows: Sequence[Graded]) -> TrivialFloor:
    """Return the floors of the rows of one subject; all 0 without incorrect rows."""
    wrong = [row for row in rows if not row.gold_correct]
    best = constant_step([row.gold_step for row in wrong if not row.coding])
    share = best[1] / len(wrong) if best else 0.0
    drawn = [1 / row.labels if row.position is not None else 0.0 for row in wrong]
    return TrivialFloor(
        step=best[0] if best else None,
        acc_step=share,
        mr_score=WEIGHTS[1] * share,
        random_label=sum(drawn) / len(wrong) if wrong else 0.0,
    )


def blank(sample: CritiqueSample) -> Graded:
    """Return the row of a solution that nobody answered, for floors without a model."""
    return grade(sample, None)


def floors_of(rows: Sequence[Graded]) -> dict[str, Floor]:
    """Return the floor of each figure of one subject, by the name of the figure."""
    constant = trivial_floor(rows)
    step = f"always incorrect, step {constant.step}" if constant.step else "always incorrect"
    says_wrong = figures(
        matrix([replace(r, correct=False, step=constant.step, accepted=False) for r in rows]).sum(
            0, keepdims=True
        )
    )
    f1 = float(says_wrong["f1_incorrect"][0])
    return {
        "mr_score": Floor(step, constant.mr_score),
        "acc_step": Floor(step, constant.acc_step),
        "acc_reason": Floor("no reason", 0.0),
        "mcc": Floor("any constant verdict", 0.0),
        "balanced_accuracy": Floor("any constant verdict", 0.5),
        "f1_incorrect": Floor("always incorrect", f1),
        "process_f1": Floor("any constant verdict", 0.0),
        "within_1": Floor(step, float(says_wrong["within_1"][0])),
        "caught": Floor("never incorrect", 0.0),
    }


def mean_floor(floors: Sequence[Floor]) -> Floor:
    """Return the floor of a mean over subjects."""
    return Floor("trivial answer per subject", sum(f.value for f in floors) / len(floors))
