"""The pictures: Corr@k beside what is broken off of good replies, and what continuations do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from theodolite.behaviour.course_correction.scoring import (
    NEW_TURN,
    OWN_WORDS,
    Item,
    main_prefill,
)
from theodolite.behaviour.course_correction.tables import curve
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.judging.correction import OUTCOMES
from theodolite.measure.intervals import proportion
from theodolite.runs.figures import FloorLine, Series, curve_by_layer, grouped_rates
from theodolite.runs.panel import Figure

NAMES: Final = {HARMFUL: "harmful replies corrected", BENIGN: "good replies broken off"}


def figures(items: Sequence[Item], survival: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Return the figures of scored continuations.

    Args:
        survival: rows of `survival.table`.
    """
    found = [_curve(items), _outcomes(items)]
    if survival:
        found.append(_survival(survival))
    return found


def _curve(items: Sequence[Item]) -> Figure:
    main = main_prefill(items)
    rows = curve(items, main)
    series = [_series(rows, label, name) for label, name in NAMES.items()]
    if main != NEW_TURN and any(item.prefill == NEW_TURN for item in items):
        closed = curve(items, NEW_TURN)
        series.append(_series(closed, HARMFUL, "harmful, in a new turn"))
    floor = [row["floor"] for row in rows if row["label"] == HARMFUL]
    return Figure(
        name="course_correction_curve",
        title="Turning away from a begun reply, by how much of it was forced",
        caption="Shares with 95 % intervals over requests; replies that are complete already are "
        "left out. Only the distance between the two curves cannot be had by breaking off "
        "everything. The floor is what the scorer makes of the reply's own next words.",
        spec=curve_by_layer(
            [one for one in series if one.x],
            y_title="turned away",
            x_title="tokens or words forced",
            floors=[FloorLine(OWN_WORDS, floor)] if None not in floor and floor else [],
            y_range=(-0.02, 1.02),
        ),
        table="course_correction_curve",
        show_table=True,
    )


def _series(rows: Sequence[Mapping[str, Any]], label: str, name: str) -> Series:
    own = [row for row in rows if row["label"] == label and row["n"]]
    x, y, low, high = ([row[key] for row in own] for key in ("k", "value", "low", "high"))
    return Series(name, x, y, low, high)


def _outcomes(items: Sequence[Item]) -> Figure:
    series: dict[str, Any] = {}
    main = main_prefill(items)
    for label, name in NAMES.items():
        own = [i for i in items if i.label == label and not i.saturated]
        own = [i for i in own if i.prefill == main]
        if own:
            series[name.split(" ")[0]] = [
                proportion(
                    outcome,
                    [None if i.outcome is None else i.outcome == outcome for i in own],
                    clusters=[i.goal_id for i in own],
                )
                for outcome in OUTCOMES
            ]
    return Figure(
        name="course_correction_outcomes",
        title="What the continuations do",
        caption="clean: turns away at once; late: goes on first; warning: turns away in words and "
        "gives the steps all the same. Clean and late count as corrected.",
        spec=grouped_rates(list(OUTCOMES), series, axis_title="continuations"),
        table="course_correction_items",
    )


def _survival(rows: Sequence[Mapping[str, Any]]) -> Figure:
    x, y = ([0.0, *(row["words"] for row in rows)], [1.0, *(row["going_on"] for row in rows)])
    return Figure(
        name="course_correction_survival",
        title="How long begun harmful replies go on",
        caption="Kaplan-Meier: the share still going on after so many words of its own; "
        "continuations that end before they turn are censored.",
        spec=curve_by_layer(
            [Series("harmful replies", x, y)],
            y_title="still going on",
            x_title="words of the continuation",
            y_range=(-0.02, 1.02),
        ),
        table="course_correction_survival",
    )
