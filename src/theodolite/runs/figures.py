"""Builders of Plotly specs (plain JSON dicts): intervals, layer curves, grouped rates, heat maps.

- No plotly import: a spec is data, drawn by the report or by `plotly.io.from_json`.
- Colours are mid-tones that hold on white and on near-black paper; the drawing side sets the theme.
- No series relies on colour alone: each has its own marker and dash.
- Floors are drawn wherever one is given, always in the same grey.
- A missing value is a gap with words, never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theodolite.measure.measurement import Measurement
from theodolite.runs.figure_parts import (
    DASHES,
    FLOOR_COLOUR,
    MARKERS,
    PALETTE,
    FloorLine,
    IntervalRow,
    base_layout,
    bound_traces,
    floor_ticks,
    hover_format,
    interval_trace,
    missing_words,
    number,
    plain,
    row_axis,
    value_axis,
)
from theodolite.runs.heat_maps import heatmap

__all__ = [
    "PALETTE",
    "FloorLine",
    "IntervalRow",
    "Series",
    "curve_by_layer",
    "grouped_rates",
    "heatmap",
    "interval_bars",
    "number",
    "plain",
]


@dataclass(frozen=True)
class Series:
    """One curve: y over x, with an optional band; None is a point that was not measured."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None


def interval_bars(
    rows: Sequence[IntervalRow | Measurement],
    *,
    unit: str = "share",
    axis_title: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return dots with intervals, one row each, with floor ticks and the bounds of unscored items.

    Args:
        rows: rows of one unit, drawn from top to bottom.
        unit: the unit of the value axis; `share` is drawn in percent.
        axis_title: words for the value axis; the unit is appended.
        value_range: the ends of the axis; None picks 0 to 1 for shares, else what the rows span.
    """
    drawn = [row if isinstance(row, IntervalRow) else IntervalRow.of(row) for row in rows]
    where = [float(i) for i in range(len(drawn))]
    dots = interval_trace("value", drawn, where, 0, unit) | {"showlegend": False}
    traces = [*bound_traces(drawn, where), dots, *floor_ticks(drawn, where, unit)]
    layout = base_layout(height=96 + 40 * max(len(drawn), 1))
    layout["xaxis"] = value_axis(unit, axis_title, value_range)
    layout["yaxis"] = row_axis([row.label for row in drawn])
    layout["annotations"] = missing_words(drawn, where)
    return {"data": traces, "layout": layout}


def grouped_rates(
    groups: Sequence[str],
    series: Mapping[str, Sequence[IntervalRow | Measurement | None]],
    *,
    unit: str = "share",
    axis_title: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return several series of rates side by side within groups, as dots with intervals.

    Args:
        groups: the group labels, from top to bottom.
        series: per series name, one row per group; None where nothing was measured.
        unit, axis_title, value_range: as in `interval_bars`.
    """
    count = max(len(series), 1)
    step = 0.62 / count
    traces: list[dict[str, Any]] = []
    every: list[IntervalRow] = []
    spots: list[float] = []
    for index, (name, cells) in enumerate(series.items()):
        rows, where = [], []
        for group, cell in enumerate(cells):
            if cell is None:
                continue
            rows.append(cell if isinstance(cell, IntervalRow) else IntervalRow.of(cell))
            where.append(group + (index - (count - 1) / 2) * step)
        traces.append(interval_trace(name, rows, where, index, unit))
        every += rows
        spots += where
    traces += floor_ticks(every, spots, unit, size=min(22, 9 + 22 // count))
    layout = base_layout(height=108 + len(groups) * (22 + 20 * count))
    layout["xaxis"] = value_axis(unit, axis_title, value_range)
    layout["yaxis"] = row_axis(list(groups))
    layout["annotations"] = missing_words(every, spots)
    return {"data": traces, "layout": layout}


def curve_by_layer(
    series: Sequence[Series],
    *,
    y_title: str,
    unit: str = "share",
    x_title: str = "hidden index (0 = embeddings)",
    floors: Sequence[FloorLine] = (),
    y_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return curves over layers with interval bands, and every floor as a grey line.

    Args:
        series: curves; x is `hidden_index` unless `x_title` says otherwise.
        y_title: what is measured; the unit is appended.
        floors: what trivial strategies reach on the same items.
        y_range: the ends of the y axis; None lets the data decide.
    """
    traces = [band for i, one in enumerate(series) for band in _bands(one, i)]
    traces += [_curve(one, i, unit) for i, one in enumerate(series)]
    if series:
        xs = [number(x) for x in series[0].x]
        traces += [_floor_line(floor, i, xs, unit) for i, floor in enumerate(floors)]
    layout = base_layout(height=360)
    layout["xaxis"] = {"title": {"text": plain(x_title)}, "zeroline": False, "automargin": True}
    layout["yaxis"] = value_axis(unit, y_title, y_range, shares_span=False)
    layout["hovermode"] = "x unified"
    return {"data": traces, "layout": layout}


def _curve(series: Series, index: int, unit: str) -> dict[str, Any]:
    colour = PALETTE[index % len(PALETTE)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plain(series.name),
        "x": [number(x) for x in series.x],
        "y": [number(value) for value in series.y],
        "line": {"color": colour, "width": 2, "dash": DASHES[index % len(DASHES)]},
        "marker": {"color": colour, "size": 6, "symbol": MARKERS[index % len(MARKERS)]},
        "hovertemplate": f"%{{y:{hover_format(unit)}}}",
    }


def _bands(series: Series, index: int) -> list[dict[str, Any]]:
    """Return one closed polygon per unbroken stretch of the interval."""
    if series.low is None or series.high is None:
        return []
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for x, low, high in zip(series.x, series.low, series.high, strict=True):
        low, high = number(low), number(high)
        if low is None or high is None:
            stretches.append([])
        else:
            stretches[-1].append((x, low, high))
    red, green, blue = (int(PALETTE[index % len(PALETTE)][i : i + 2], 16) for i in (1, 3, 5))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for x, _, _ in part] + [x for x, _, _ in reversed(part)],
            "y": [low for _, low, _ in part] + [high for _, _, high in reversed(part)],
            "fill": "toself",
            "fillcolor": f"rgba({red},{green},{blue},0.18)",
            "line": {"width": 0, "color": "rgba(0,0,0,0)"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for part in stretches
        if len(part) > 1
    ]


def _floor_line(floor: FloorLine, index: int, xs: list[float | None], unit: str) -> dict[str, Any]:
    single = isinstance(floor.value, int | float)
    dash = ("dash", "dot", "dashdot")[index % 3]
    values = [floor.value] * len(xs) if single else list(floor.value)  # type: ignore[arg-type]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(f"floor: {floor.name}"),
        "x": xs,
        "y": [number(value) for value in values],
        "line": {"color": FLOOR_COLOUR, "width": 1.8, "dash": dash},
        "hovertemplate": f"%{{y:{hover_format(unit)}}}",
    }
