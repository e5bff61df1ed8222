"""Parts of the figure builders: safe text, axes, interval traces, floor ticks, missing values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from textwrap import wrap
from typing import Any, Self

from theodolite.measure.measurement import Measurement
from theodolite.text.display import escape

PALETTE = ("#4593c6", "#c97a4a", "#2a7564", "#a33bbf", "#e05f91", "#a58928")
FLOOR_COLOUR = "#7d8791"
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_LABEL_WIDTH = 20
_TEXT_CHARACTERS = 200


@dataclass(frozen=True)
class IntervalRow:
    """One row of an interval figure: a value, its interval, its floor and its bounds."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    floor_name: str = "floor"
    n: int | None = None
    bounds: tuple[float, float] | None = None
    reason: str = ""

    @classmethod
    def of(cls, measurement: Measurement, label: str | None = None) -> Self:
        """Return the row of a measurement; `bounds` are those its unscored items imply."""
        floor, unscored = measurement.floor, measurement.unscored
        bounds = None
        if unscored.count and unscored.low is not None and unscored.high is not None:
            bounds = (unscored.low, unscored.high)
        return cls(
            label=label or measurement.name,
            value=measurement.value,
            low=measurement.low,
            high=measurement.high,
            floor=None if floor is None else floor.value,
            floor_name="floor" if floor is None else floor.name,
            n=measurement.n,
            bounds=bounds,
            reason=measurement.reason or "",
        )


@dataclass(frozen=True)
class FloorLine:
    """What a trivial strategy reaches: one value everywhere, or one per x of the first series."""

    name: str
    value: float | Sequence[float | None]


def plain(text: str) -> str:
    """Return text that Plotly draws letter by letter: no markup, no control characters."""
    return (
        escape(str(text), _TEXT_CHARACTERS)
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )


def number(value: Any) -> float | None:
    """Return a finite float, or None for everything JSON and a reader cannot use."""
    if value is None or isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        finite = float(value)
    except OverflowError:
        return None
    return finite if math.isfinite(finite) else None


def label_of(value: Any) -> Any:
    """Return a cell label: a number as it is, anything else as safe text."""
    return number(value) if isinstance(value, Real) else plain(value)


def base_layout(*, height: int) -> dict[str, Any]:
    """Return the layout all figures share; colours and fonts are the drawing side's."""
    return {
        "autosize": True,
        "height": height,
        "margin": {"l": 8, "r": 14, "t": 12, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
        "hovermode": "closest",
    }


def tick_format(unit: str) -> str:
    """Return the number format of axis ticks."""
    return ".0%" if unit == "share" else ""


def hover_format(unit: str) -> str:
    """Return the number format of hover texts."""
    return ".1%" if unit == "share" else ".4g"


def with_unit(title: str | None, unit: str) -> str:
    """Return an axis title with its unit; the ticks of shares carry the percent sign themselves."""
    if unit == "share":
        return plain(title or "share of items")
    shown = "%" if unit == "percent" else plain(unit)
    return f"{plain(title)} ({shown})" if title and shown else plain(title or "") or shown


def value_axis(
    unit: str,
    title: str | None,
    ends: tuple[float, float] | None,
    *,
    shares_span: bool = True,
) -> dict[str, Any]:
    """Return the axis of the values; shares span 0 to 1 unless `shares_span` is off."""
    axis: dict[str, Any] = {
        "title": {"text": with_unit(title, unit), "standoff": 6},
        "tickformat": tick_format(unit),
        "zeroline": False,
        "automargin": True,
        "nticks": 6,
    }
    if ends is None and shares_span and unit in ("share", "percent"):
        ends = (0.0, 1.0 if unit == "share" else 100.0)
    if ends is not None:
        # Room for the marker at either end, so that a dot at 0 or 1 is whole.
        room = (ends[1] - ends[0]) * 0.02
        axis["range"] = [ends[0] - room, ends[1] + room]
    return axis


def row_axis(labels: Sequence[str]) -> dict[str, Any]:
    """Return the axis of the rows, the first on top, long labels broken into lines."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": ["<br>".join(map(plain, _lines(label))) for label in labels],
        "range": [len(labels) - 0.5, -0.5],
        "zeroline": False,
        "showgrid": False,
        "automargin": True,
        "ticks": "",
    }


def _lines(label: str) -> list[str]:
    """Return a label in at most three lines that fit beside the plot of a phone."""
    parts = wrap(escape(label, 80).replace("/", "/ "), _LABEL_WIDTH, break_long_words=True) or [""]
    parts = [part.replace("/ ", "/") for part in parts]
    return [*parts[:2], parts[2] + "…"] if len(parts) > 3 else parts


def show_value(value: float | None, unit: str) -> str:
    """Return a value in words, for hover texts and legends."""
    if value is None:
        return "not measured"
    return f"{value:.1%}" if unit == "share" else f"{value:.4g} {plain(unit)}"


def _describe(row: IntervalRow, unit: str) -> str:
    parts = [f"<b>{plain(row.label)}</b>", show_value(row.value, unit)]
    if row.low is not None and row.high is not None:
        parts.append(f"interval {show_value(row.low, unit)} to {show_value(row.high, unit)}")
    if row.floor is not None:
        parts.append(f"{plain(row.floor_name)}: {show_value(row.floor, unit)}")
    if row.n is not None:
        parts.append(f"n = {row.n}")
    return "<br>".join(parts)


def interval_trace(
    name: str, rows: Sequence[IntervalRow], where: Sequence[float], index: int, unit: str
) -> dict[str, Any]:
    """Return dots with their intervals, one per row, at the heights `where`."""
    ups, downs = [], []
    for row in rows:
        value, low, high = number(row.value), number(row.low), number(row.high)
        known = value is not None and low is not None and high is not None
        ups.append(max(high - value, 0.0) if known else 0.0)  # type: ignore[operator]
        downs.append(max(value - low, 0.0) if known else 0.0)  # type: ignore[operator]
    colour = PALETTE[index % len(PALETTE)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(name),
        "x": [number(row.value) for row in rows],
        "y": list(where),
        "marker": {"color": colour, "size": 9, "symbol": MARKERS[index % len(MARKERS)]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": ups,
            "arrayminus": downs,
            "color": colour,
            "thickness": 2.5,
            "width": 0,
        },
        "customdata": [_describe(row, unit) for row in rows],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def floor_ticks(
    rows: Sequence[IntervalRow], where: Sequence[float], unit: str, size: int = 20
) -> list[dict[str, Any]]:
    """Return one trace of floor ticks, or none where no row has a floor."""
    known = [
        (row, at) for row, at in zip(rows, where, strict=True) if number(row.floor) is not None
    ]
    if not known:
        return []
    tick = {
        "type": "scatter",
        "mode": "markers",
        "name": "floor",
        "x": [row.floor for row, _ in known],
        "y": [at for _, at in known],
        "marker": {
            "symbol": "line-ns-open",
            "size": size,
            "color": FLOOR_COLOUR,
            "line": {"width": 2.5, "color": FLOOR_COLOUR},
        },
        "customdata": [f"{plain(r.floor_name)}: {show_value(r.floor, unit)}" for r, _ in known],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    return [tick]


def bound_traces(rows: Sequence[IntervalRow], where: Sequence[float]) -> list[dict[str, Any]]:
    """Return the wide grey bars of the bounds that unscored items imply, or none."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for row, at in zip(rows, where, strict=True):
        if row.bounds is not None:
            xs += [row.bounds[0], row.bounds[1], None]
            ys += [at, at, None]
    if not xs:
        return []
    line = {"color": "rgba(125,135,145,0.35)", "width": 9}
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "bounds by unscored items",
            "x": xs,
            "y": ys,
            "line": line,
            "hoverinfo": "skip",
        }
    ]


def missing_words(rows: Sequence[IntervalRow], where: Sequence[float]) -> list[dict[str, Any]]:
    """Return the words that stand where a row has no value."""
    return [
        {
            "text": "not measured",
            "xref": "paper",
            "x": 0.5,
            "y": at,
            "showarrow": False,
            "font": {"size": 12, "color": FLOOR_COLOUR},
        }
        for row, at in zip(rows, where, strict=True)
        if number(row.value) is None
    ]
