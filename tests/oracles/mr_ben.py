"""The slow, obvious way to MR-Score, its intervals' draws, and the released scorer's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.behaviour.mr_ben.rows import Graded


def mcc(tp: int, tn: int, fp: int, fn: int) -> float:
    """Return Matthews' correlation; 0 where it has no value."""
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / below if below else 0.0


def scores(rows: Sequence[Graded]) -> dict[str, float]:
    """Return the figures of rows of one subject, one row at a time."""
    tp = tn = fp = fn = step = reason = called = 0
    for row in rows:
        if row.gold_correct:
            if row.correct is True:
                tp += 1
            else:
                fn += 1
            called += row.correct is False
            continue
        if row.correct is not False:
            fp += 1
            continue
        tn += 1
        called += 1
        if row.coding:
            step += row.accepted is True
            reason += row.accepted is True
        elif row.step is not None and row.step == row.gold_step:
            step += 1
            reason += row.accepted is True
    wrong, right = tn + fp, tp + fn
    found = {"mcc": mcc(tp, tn, fp, fn), "acc_step": step / wrong, "acc_reason": reason / wrong}
    found["mr_score"] = (
        0.2 * max(0.0, found["mcc"]) + 0.3 * found["acc_step"] + 0.5 * found["acc_reason"]
    )
    passed, located = tp / right, step / wrong
    found["balanced_accuracy"] = (passed + tn / wrong) / 2
    precision, recall = (tn / called if called else 0.0), tn / wrong
    both = precision + recall
    found["f1_incorrect"] = 2 * precision * recall / both if both else 0.0
    both = passed + located
    found["process_f1"] = 2 * passed * located / both if both else 0.0
    return found


def official_score(rows: Sequence[Mapping[str, Any]], coding: bool) -> float:
    """Return MR-Score of a subject's submitted rows by the rules of the released scorer."""
    steps = {f"step {i}": str(i) for i in range(30)}
    tp = tn = right = wrong = step = reason = 0
    for row in rows:
        gold = row["Model_Solution_Correctness"]
        right += gold == "correct"
        wrong += gold != "correct"
        said = row["Evaluation_Result"]["solution_correctness"].strip().lower()
        if said != gold:
            continue
        if gold == "correct":
            tp += 1
            continue
        tn += 1
        decided = row.get("Error_Reason_Correctness_Analysis", {}).get(
            "error_reason_correctness", ""
        )
        accepted = "correct" in decided.lower()
        if coding and accepted:
            step, reason = step + 1, reason + 1
            continue
        text = row["Evaluation_Result"]["first_error_step"]
        named = text if text.strip().isdigit() else steps.get(text.strip().lower(), "")
        if named == row["Model_Solution_First_Error_Step"]:
            step += 1
            reason += accepted
    return (
        0.2 * max(0.0, mcc(tp, tn, wrong - tn, right - tp))
        + 0.3 * step / wrong
        + 0.5 * reason / wrong
    )
