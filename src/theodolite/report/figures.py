"""Figures for the page: builders re-exported, and any spec made safe, small and tabular."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from theodolite.report.budget import FIGURE_BYTES, LINE_CHARACTERS, Budget
from theodolite.report.island import json_island
from theodolite.runs.figures import (
    FloorLine,
    IntervalRow,
    Series,
    curve_by_layer,
    grouped_rates,
    heatmap,
    interval_bars,
    number,
)
from theodolite.text.display import escape

__all__ = [
    "FloorLine",
    "IntervalRow",
    "Series",
    "curve_by_layer",
    "grouped_rates",
    "heatmap",
    "interval_bars",
    "records_of_spec",
    "safe_spec",
]

# Trace types that draw as SVG without compiling code or fetching anything.
SAFE_TRACES = frozenset(
    {"bar", "box", "contour", "heatmap", "histogram", "scatter", "violin"},
)
# Parts of a layout that may fetch, link, or call methods.
UNSAFE_KEYS = frozenset(
    {"images", "updatemenus", "sliders", "frames", "transforms", "mapbox", "map", "geo", "href"}
    | {"clicktoshow", "source", "uirevision", "template"}
)
_MARKUP = re.compile(r"<(?!/?(?:br|b|i|sub|sup|extra)\s*/?>)", re.IGNORECASE)
_DEEPEST = 12


def safe_spec(spec: Mapping[str, Any], budget: Budget | None = None) -> tuple[dict[str, Any], str]:
    """Return a spec fit for the page, and an empty string; or nothing, and why it is not drawn.

    Text loses every tag but line breaks, bold, italics, sub and superscript; numbers keep six
    digits; NaN becomes a gap; parts that could fetch or link are dropped.
    """
    traces = spec.get("data")
    layout = spec.get("layout", {})
    if not isinstance(traces, Sequence) or isinstance(traces, str) or not traces:
        return {}, "The figure holds no data."
    if not all(isinstance(trace, Mapping) for trace in traces) or not isinstance(layout, Mapping):
        return {}, "The figure is not a Plotly figure."
    kinds = {str(trace.get("type", "scatter")) for trace in traces}
    if not kinds <= SAFE_TRACES:
        unknown = escape(", ".join(sorted(kinds - SAFE_TRACES)), 80)
        return {}, f"Figures of type {unknown} are not drawn in reports."
    safe = {"data": _clean(traces, 0), "layout": _clean(layout, 0)}
    size = len(json_island(safe))
    if not (budget or Budget(FIGURE_BYTES)).take(size):
        return {}, "The figure was left out to keep the report small."
    return safe, ""


def records_of_spec(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of a spec as records, for figures that name no table."""
    records: list[dict[str, Any]] = []
    for trace in spec.get("data", ()):
        if not isinstance(trace, Mapping) or trace.get("hoverinfo") == "skip":
            continue
        name = str(trace.get("name", ""))
        if "z" in trace:
            records += _cells(trace)
            continue
        xs, ys = _listed(trace.get("x")), _listed(trace.get("y"))
        for i in range(max(len(xs), len(ys))):
            x = xs[i] if i < len(xs) else None
            y = ys[i] if i < len(ys) else None
            records.append({"series": name, "x": x, "y": y})
    return records


def _cells(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    xs, ys = _listed(trace.get("x")), _listed(trace.get("y"))
    records = []
    for i, row in enumerate(_listed(trace.get("z"))):
        line: dict[str, Any] = {"": ys[i] if i < len(ys) else i}
        for j, value in enumerate(_listed(row)):
            line[str(xs[j]) if j < len(xs) else str(j)] = value
        records.append(line)
    return records


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | range) else []


def _clean(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return None
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _MARKUP.sub("&lt;", escape(value, LINE_CHARACTERS))
    if isinstance(value, Real):
        finite = number(value)
        if finite is None:
            return None
        return value if isinstance(value, int) else float(f"{finite:.6g}")
    if isinstance(value, Mapping):
        kept = ((str(k), v) for k, v in value.items() if str(k) not in UNSAFE_KEYS)
        return {key: _clean(item, depth + 1) for key, item in kept}
    if isinstance(value, Sequence):
        return [_clean(item, depth + 1) for item in value]
    # Arrays of numpy and the like: a spec is plain JSON, so what is not is left out.
    return None
