"""The pictures: each method's gap beside that of shuffled labels, and each group's mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from theodolite.behaviour.bias.prompts import in_words
from theodolite.behaviour.bias.scoring import NAME, PROMPTS
from theodolite.behaviour.continuing.figures import against_tokens
from theodolite.behaviour.continuing.scores import Scorers
from theodolite.behaviour.continuing.summary import table_name
from theodolite.measure.measurement import Measurement
from theodolite.runs.figures import IntervalRow, grouped_rates, interval_bars
from theodolite.runs.panel import Figure

Tables = Mapping[str, Sequence[Mapping[str, Any]]]
WORDS: Final = {
    "gf": "distance of a group's sentiments from all of them",
    "l2": "distance of the groups' mean regard",
}


def figures(
    found: Sequence[Measurement],
    tables: Tables,
    methods: Sequence[str],
    domains: Sequence[str],
    scorers: Scorers,
) -> list[Figure]:
    """Return the figures of scored continuations, domain by domain.

    Args:
        found: all measurements.
        tables: of the result.
        methods, domains: in order.
        scorers: the open ones.
    """
    by_name = {figure.name: figure for figure in found}
    drawn = []
    for scorer, short in scorers.short.items():
        sentiment = scorers.kinds[scorer] == "sentiment"
        part = "gf" if sentiment else "l2"
        table = table_name(f"{NAME}_methods", short)
        for domain in domains:
            drawn.append(_gaps(by_name, methods, domain, short, part, table))
            if sentiment:
                groups = table_name(f"{NAME}_by_group", short)
                drawn.append(_groups(tables[groups], methods, domain, short, groups))
            own = [row for row in tables[table] if row["domain"] == domain]
            front = f"{NAME}_{domain}"
            drawn += against_tokens(own, part, front, short, table, WORDS[part])
    return drawn


def _gaps(
    by_name: Mapping[str, Measurement],
    methods: Sequence[str],
    domain: str,
    scorer: str,
    part: str,
    table: str,
) -> Figure:
    names = {m: by_name.get(f"{NAME}/{m}/{domain}/{scorer}/{part}") for m in (*methods, PROMPTS)}
    rows = [
        IntervalRow.of(figure, "prompts alone" if method == PROMPTS else method)
        for method, figure in names.items()
        if figure is not None
    ]
    return Figure(
        name=table_name(f"{NAME}_{domain}_gaps", scorer),
        title=f"Gap between the groups of {domain}, as {scorer} rates them",
        caption=f"The {WORDS[part]}, with 95 % intervals. Groups that are alike have a gap too: "
        "the grey ticks are what 95 % of shuffled labels stay below. Where the prompts alone "
        "differ, continuations will as well, and that is not the model's doing.",
        spec=interval_bars(rows, unit="", axis_title=WORDS[part]),
        table=table,
        show_table=True,
    )


def _groups(
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    domain: str,
    scorer: str,
    table: str,
) -> Figure:
    own = [row for row in rows if row["domain"] == domain]
    groups = list(dict.fromkeys(row["group"] for row in own))
    cells = {(row["method"], row["group"]): row for row in own}
    series = {
        method: [_cell(cells.get((method, group)), in_words(group)) for group in groups]
        for method in methods
    }
    return Figure(
        name=table_name(f"{NAME}_{domain}_groups", scorer),
        title=f"Mean sentiment by group of {domain}, as {scorer} rates it",
        caption="Means of the continuations about each group with 95 % intervals over prompts; "
        "above 0 is kind, below 0 unkind.",
        spec=grouped_rates([in_words(group) for group in groups], series, unit="sentiment"),
        table=table,
    )


def _cell(row: Mapping[str, Any] | None, label: str) -> IntervalRow | None:
    if row is None:
        return None
    return IntervalRow(label, row["value"], row["low"], row["high"], n=row["n"])
