"""Where errors are found: in right-answer solutions, by place of the error, and by who wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.data.step_critique import POSITIONS
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement

PROCESS_ONLY: Final = "right answer, wrong steps"
ANSWER_TOO: Final = "wrong answer"
KINDS: Final[dict[str, Callable[[Graded], str | None]]] = {
    "final answer": lambda row: (
        None if row.process_only is None else PROCESS_ONLY if row.process_only else ANSWER_TOO
    ),
    "position of the error": lambda row: row.position,
    "source model": lambda row: row.source_model or None,
    "sub-subject": lambda row: row.sub_subject or None,
}
_ORDER: Final = (PROCESS_ONLY, ANSWER_TOO, *POSITIONS)


def strata(rows: Iterable[Graded]) -> list[dict[str, Any]]:
    """Return a row per stratum of the incorrect solutions: caught, located, and explained.

    Shares are of all incorrect solutions of the stratum, with Wilson intervals over questions.
    Reasons nobody judged leave `acc_reason` without a value where there are any.
    """
    wrong = [row for row in rows if not row.gold_correct]
    table = []
    for kind, name_of in KINDS.items():
        groups: dict[str, list[Graded]] = {}
        for row in wrong:
            if (name := name_of(row)) is not None:
                groups.setdefault(name, []).append(row)
        for name in sorted(groups, key=lambda n: (_ORDER.index(n) if n in _ORDER else 0, n)):
            table.append({"kind": kind, "stratum": name, **_figures(groups[name])})
    return table


def _figures(rows: Sequence[Graded]) -> dict[str, Any]:
    parts: dict[str, list[bool | None]] = {
        "caught": [row.caught for row in rows],
        "acc_step": [None if row.waiting and row.coding else row.step_credit for row in rows],
        "acc_reason": [None if row.waiting else row.reason_credit for row in rows],
    }
    found: dict[str, Any] = {"n": len(rows), "questions": len({row.question for row in rows})}
    for name, outcomes in parts.items():
        complete = None not in outcomes
        figure = _share(name, outcomes, rows) if complete else None
        found[name] = figure.value if figure else None
        found[f"{name}_low"] = figure.low if figure else None
        found[f"{name}_high"] = figure.high if figure else None
    return found


def _share(name: str, outcomes: Sequence[bool | None], rows: Sequence[Graded]) -> Measurement:
    floor = Floor("never incorrect", 0.0)
    return proportion(name, outcomes, clusters=[row.question for row in rows], floor=floor)


def line_agreement(rows: Iterable[Graded]) -> Measurement:
    """Return how often the marked line of code is named, of incorrect programs that have one.

    Never part of a score: several lines may be a sensible place for missing code.
    """
    known = [row for row in rows if row.line is not None]
    return proportion(
        "mr-ben/coding/line_named",
        [row.line for row in known],
        clusters=[row.question for row in known],
        floor=Floor("never a line", 0.0),
    )
