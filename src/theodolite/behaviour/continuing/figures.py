"""The picture that both benchmarks share: what a method reaches, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.behaviour.continuing.summary import table_name
from theodolite.runs.figures import Series, curve_by_layer
from theodolite.runs.panel import Figure


def against_tokens(
    rows: Sequence[Mapping[str, Any]], part: str, name: str, scorer: str, table: str, words: str
) -> list[Figure]:
    """Return the score of each method over the tokens it takes; none where these are unknown.

    Args:
        rows: one per method, see `summary.method_rows`.
        part: the scored column.
        name: the front of the figure's name.
        scorer: the short name of the scorer.
        table: where the rows stand.
        words: what the score is.
    """
    known = [row for row in rows if row["tokens"] is not None and row[part] is not None]
    if len(known) < 2:
        return []
    series = [Series(row["method"], [row["tokens"]], [row[part]]) for row in known]
    return [
        Figure(
            name=table_name(f"{name}_cost", scorer),
            title=f"What a method reaches and what it costs, as {scorer} scores it",
            caption="One mark per method, tokens read and written for one continuation. The column "
            "`beaten_by` of the table names methods that are nowhere worse (score, refusals, "
            "perplexity, tokens) and somewhere better.",
            spec=curve_by_layer(series, y_title=words, unit="", x_title="tokens"),
            table=table,
        )
    ]
