"""MR-Score and its kin from counts, for one table or for many resampled ones at once.

The positive class is a correct solution. An answer that cannot be read counts as wrong on both
sides. MR-Score = .2 max(0, MCC) + .3 ACC_step + .5 ACC_reason; both shares are of all incorrect
solutions. Source: arXiv:2406.13975 and 2312.17080.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.errors import DataError
from theodolite.measure.closed_form import Floats

WEIGHTS: Final = (0.2, 0.3, 0.5)
COLUMNS: Final = (
    "correct", "incorrect", "tp", "tn", "step", "reason", "waiting", "waiting_code",
    "said_incorrect", "unparsed", "distance", "distances", "within_1",
)  # fmt: skip
_AT: Final = {name: place for place, name in enumerate(COLUMNS)}


class MRScore(NamedTuple):
    """The score and its three parts."""

    mcc: float
    acc_step: float
    acc_reason: float
    mr_score: float


def mr_score(
    tp: float,
    tn: float,
    n_correct: float,
    n_incorrect: float,
    step: float,
    reason: float,
    *,
    weights: Sequence[float] = WEIGHTS,
) -> MRScore:
    """Return the score of one table of counts.

    Args:
        tp: correct solutions called correct.
        tn: incorrect solutions called incorrect.
        n_correct, n_incorrect: solutions of each kind.
        step, reason: incorrect solutions with credit for the step, and for the reason.
        weights: of max(0, MCC), ACC_step and ACC_reason.

    Returns: the shares are NaN where there is no incorrect solution.

    Raises: DataError: the counts contradict each other.
    """
    ordered = 0 <= reason <= step <= tn <= n_incorrect and 0 <= tp <= n_correct
    if not ordered or len(weights) != 3:
        raise DataError(
            "The counts of an MR-Score contradict each other.",
            fix="Give 0 <= reason <= step <= tn <= n_incorrect, 0 <= tp <= n_correct, 3 weights.",
        )
    row = np.zeros(len(COLUMNS))
    given = {"correct": n_correct, "incorrect": n_incorrect, "tp": tp, "tn": tn}
    for name, value in (given | {"step": step, "reason": reason}).items():
        row[_AT[name]] = value
    found = figures(row[None, :], weights)
    return MRScore(*(float(found[name][0]) for name in MRScore._fields))


def matrix(rows: Iterable[Graded]) -> Floats:
    """Return the counts of single rows, axes (row, column), columns as in `COLUMNS`."""
    return np.array([_row(row) for row in rows], float).reshape(-1, len(COLUMNS))


def _row(row: Graded) -> tuple[float, ...]:
    distance = None
    if row.caught and row.step is not None and row.gold_step is not None:
        distance = min(abs(row.step - row.gold_step), 100)
    return (
        row.gold_correct,
        not row.gold_correct,
        row.gold_correct and row.correct is True,
        row.caught,
        row.step_credit,
        row.reason_credit,
        row.waiting,
        row.waiting and row.coding,
        row.correct is False,
        row.correct is None,
        distance or 0,
        distance is not None,
        distance is not None and distance <= 1,
    )


def figures(counts: Floats, weights: Sequence[float] = WEIGHTS) -> dict[str, Floats]:
    """Return every figure of tables of counts.

    Args:
        counts: axes (table, column).

    Returns: name -> axis (table); NaN where a denominator is 0, but for MCC and F1, which are 0.
    """
    of = {name: counts[:, place] for name, place in _AT.items()}
    right, wrong, tp, tn = of["correct"], of["incorrect"], of["tp"], of["tn"]
    n = right + wrong
    mcc = _mcc(tp, tn, wrong - tn, right - tp)
    caught, passed = _share(tn, wrong), _share(tp, right)
    found = {
        "mcc": mcc,
        "acc_step": _share(of["step"], wrong),
        "acc_reason": _share(of["reason"], wrong),
        "caught": caught,
        "passed": passed,
        "balanced_accuracy": (caught + passed) / 2,
        "f1_incorrect": _share(2 * tn, of["said_incorrect"] + wrong, 0.0),
        "said_incorrect": _share(of["said_incorrect"], n),
        "unparsed": _share(of["unparsed"], n),
        "step_distance": _share(of["distance"], of["distances"]),
        "within_1": _share(of["within_1"], wrong),
    }
    located = found["acc_step"]
    found["process_f1"] = _share(2 * passed * located, passed + located, 0.0)
    found["mr_score"] = _weighed(mcc, located, found["acc_reason"], weights)
    return found


def bounds(counts: Floats, weights: Sequence[float] = WEIGHTS) -> Mapping[str, tuple[float, float]]:
    """Return what the figures are if all reasons without verdict were rejected, or accepted.

    Args:
        counts: of one table, axis (column).
    """
    high = counts.copy()
    high[_AT["reason"]] += counts[_AT["waiting"]]
    high[_AT["step"]] += counts[_AT["waiting_code"]]
    both = figures(np.stack([counts, high]), weights)
    return {name: (float(values[0]), float(values[1])) for name, values in both.items()}


def column(counts: Floats, name: str) -> float:
    """Return one count of a table, axis (column)."""
    return float(counts[_AT[name]])


def _mcc(tp: Floats, tn: Floats, fp: Floats, fn: Floats) -> Floats:
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return _share(tp * tn - fp * fn, below, 0.0)


def _share(above: Floats, below: Floats, otherwise: float = math.nan) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below == 0, otherwise, above / below))


def _weighed(mcc: Floats, step: Floats, reason: Floats, weights: Sequence[float]) -> Floats:
    parts = (np.maximum(mcc, 0.0), step, reason)
    return np.asarray(sum(weight * part for weight, part in zip(weights, parts)))
