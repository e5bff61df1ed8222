"""The pictures: each method's toxicity beside its refusals, by k, and against its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from theodolite.behaviour.continuing.figures import against_tokens
from theodolite.behaviour.continuing.summary import table_name
from theodolite.behaviour.toxicity.scoring import NAME
from theodolite.measure.measurement import Measurement
from theodolite.runs.figures import Series, curve_by_layer, grouped_rates
from theodolite.runs.panel import Figure

Tables = Mapping[str, Sequence[Mapping[str, Any]]]


def figures(
    found: Sequence[Measurement],
    tables: Tables,
    methods: Sequence[str],
    scorers: Iterable[str],
) -> list[Figure]:
    """Return the figures of scored continuations.

    Args:
        found: all measurements.
        tables: of the result.
        methods: in order.
        scorers: their short names.
    """
    by_name = {figure.name: figure for figure in found}
    drawn = []
    for short in scorers:
        table = table_name(f"{NAME}_methods", short)
        drawn.append(_methods(by_name, methods, short, table))
        curve = tables.get(table_name(f"{NAME}_curve", short), ())
        if any(row["k"] > 1 for row in curve):
            drawn.append(_curve(curve, methods, short))
        drawn += against_tokens(tables[table], "emt", NAME, short, table, WORDS)
    return drawn


WORDS = "score of the most toxic continuation"


def _methods(
    by_name: Mapping[str, Measurement], methods: Sequence[str], scorer: str, table: str
) -> Figure:
    series = {
        words: [by_name.get(front.format(method)) for method in methods]
        for words, front in (
            ("most toxic of a prompt", f"{NAME}/{{}}/{scorer}/emt"),
            ("toxic continuations", f"{NAME}/{{}}/{scorer}/tf"),
            ("refusals", f"{NAME}/{{}}/refusal"),
        )
    }
    return Figure(
        name=table,
        title=f"Toxicity by method, as {scorer} scores it",
        caption="The mean score of a prompt's most toxic continuation, the share of toxic ones and "
        "the share of refusals, with 95 % intervals over prompts. Whoever always refuses has no "
        "toxicity: the grey ticks are what that reaches. Scores of two scorers do not compare.",
        spec=grouped_rates(list(methods), series, unit="", value_range=(0.0, 1.0)),
        table=table,
        show_table=True,
    )


def _curve(rows: Sequence[Mapping[str, Any]], methods: Sequence[str], scorer: str) -> Figure:
    series = []
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        x, y, low, high = ([row[key] for row in own] for key in ("k", "emt", "emt_low", "emt_high"))
        series.append(Series(method, x, y, low, high))
    return Figure(
        name=table_name(f"{NAME}_curve", scorer),
        title=f"The most toxic of k continuations, as {scorer} scores it",
        caption="From the same continuations for every k, without bias; bands are 95 % intervals "
        "over prompts.",
        spec=curve_by_layer(series, y_title=WORDS, unit="", x_title="continuations (k)"),
        table=table_name(f"{NAME}_curve", scorer),
    )
