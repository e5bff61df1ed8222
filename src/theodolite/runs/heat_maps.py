"""Heat maps as Plotly specs: plain, around a neutral value, or with colours by powers of ten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.runs.figure_parts import (
    FloorLine,
    base_layout,
    hover_format,
    label_of,
    number,
    plain,
    show_value,
    tick_format,
    with_unit,
)

# Dark blue to yellow by lightness alone, so it reads the same in print and to every eye.
SEQUENTIAL = (
    (0.0, "#12305e"),
    (0.25, "#46507a"),
    (0.5, "#7c7b78"),
    (0.75, "#b8a769"),
    (1.0, "#f5dd4e"),
)
DIVERGING = ((0.0, "#2f6fb0"), (0.5, "#c9c9c4"), (1.0, "#c25a17"))


Cells = Sequence[Sequence[float | None]]


def heatmap(
    z: Cells,
    *,
    x: Sequence[Any],
    y: Sequence[Any],
    x_title: str,
    y_title: str,
    value_title: str,
    unit: str = "share",
    floor: FloorLine | None = None,
    centre: float | None = None,
    decades: int | None = None,
    details: Mapping[str, Sequence[Cells]] | None = None,
) -> dict[str, Any]:
    """Return a heat map; cells that do not exceed the floor are crossed out.

    Around a neutral value the floor is a distance from it, on either side.

    Args:
        z: values, axes (y, x); None is a cell that was not measured (left blank).
        x, y: cell labels; numbers or text.
        value_title: what the colour means; the unit is appended.
        floor: a single trivial value, or one per column; its name stands above the colours.
        centre: the neutral value of a diverging scale; None takes a sequential one.
        decades: colours go by powers of ten, over so many below the largest value; what is smaller
            has the colour of the smallest.
        details: what a cell tells when pointed at, in place of its value: by name a number, or a
            number and the ends of its interval; axes as z, all of one unit.
    """
    cells = [[number(value) for value in row] for row in z]
    columns, lines = [label_of(v) for v in x], [label_of(v) for v in y]
    words = with_unit(value_title, unit)
    traces = [_cells(cells, columns, lines, unit, centre)]
    place = f"{plain(x_title)} %{{x}}<br>{plain(y_title)} %{{y}}"
    if decades is None and not details:
        value = f"{plain(value_title)} %{{z:{hover_format(unit)}}}"
        traces[0]["hovertemplate"] = f"{place}<br>{value}<extra></extra>"
    else:
        traces[0] |= _told(place, details or {value_title: [cells]}, unit)
    if decades is not None:
        traces[0] |= _by_powers_of_ten(cells, decades, traces[0]["colorbar"])
    if floor is not None:
        words += f"<br>× not above the floor: {plain(floor.name)}"
        if isinstance(floor.value, int | float):
            words += f", {show_value(floor.value, unit)}"
            floors: Sequence[float | None] = [float(floor.value)] * len(columns)
        else:
            floors = [number(value) for value in floor.value]
        traces.append(_crosses(cells, columns, lines, floors, centre))
    traces[0]["colorbar"]["title"] = {"text": words, "side": "top"}
    layout = base_layout(height=int(min(720, 150 + 26 * max(len(lines), 3))))
    # The colour bar and the axis title would share a margin that is only found while drawing.
    layout["margin"] |= {"b": 46}
    layout["xaxis"] = _cell_axis(x_title, columns)
    layout["yaxis"] = _cell_axis(y_title, lines)
    if layout["yaxis"].get("type") == "category":
        layout["yaxis"]["autorange"] = "reversed"
    return {"data": traces, "layout": layout}


def _cells(
    cells: Cells,
    columns: Sequence[Any],
    lines: Sequence[Any],
    unit: str,
    centre: float | None,
) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": cells,
        "x": columns,
        "y": lines,
        "colorscale": [list(stop) for stop in (SEQUENTIAL if centre is None else DIVERGING)],
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "thickness": 10,
            "nticks": 6,
            "tickformat": tick_format(unit),
        },
    }
    if centre is not None:
        known = [value for row in cells for value in row if value is not None]
        reach = max((abs(v - centre) for v in known), default=1.0) or 1.0
        trace |= {"zmin": centre - reach, "zmax": centre + reach}
    return trace


def _cell_axis(title: str, labels: Sequence[Any]) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": plain(title)},
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }
    # Left to itself the axis would read the labels "3" and "7" as places on a line.
    return axis | ({"type": "category"} if any(isinstance(v, str) for v in labels) else {})


def _crosses(
    cells: Cells,
    columns: Sequence[Any],
    lines: Sequence[Any],
    floors: Sequence[float | None],
    centre: float | None,
) -> dict[str, Any]:
    below = [
        (columns[j], lines[i])
        for i, row in enumerate(cells)
        for j, (cell, floor) in enumerate(zip(row, floors, strict=True))
        if cell is not None and floor is not None
        if (cell if centre is None else abs(cell - centre)) <= floor
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [x for x, _ in below],
        "y": [y for _, y in below],
        "showlegend": False,
        "marker": {"symbol": "x-thin-open", "size": 6, "color": "#ffffff", "line": {"width": 1.5}},
        "hoverinfo": "skip",
    }


def _told(place: str, details: Mapping[str, Sequence[Cells]], unit: str) -> dict[str, Any]:
    """Return what a cell says when pointed at: where it is, and one line per name."""
    grids: list[Cells] = []
    lines = [place]
    for name, numbers in details.items():
        shown = [f"%{{customdata[{len(grids) + i}]:{_trimmed(unit)}}}" for i in range(len(numbers))]
        ends = f" [{', '.join(shown[1:])}]" if shown[1:] else ""
        lines.append(f"{plain(name)} {shown[0]}{ends}")
        grids += numbers
    return {
        "customdata": [
            [[_short(value) for value in cell] for cell in zip(*row, strict=True)]
            for row in zip(*grids, strict=True)
        ],
        "hovertemplate": "<br>".join(lines) + "<extra></extra>",
    }


def _trimmed(unit: str) -> str:
    """Return the number format of details; they have three digits."""
    return hover_format(unit) if unit == "share" else ".3~g"


def _short(value: float | None) -> float | None:
    """Return a number in three digits: a large map is mostly numbers."""
    known = number(value)
    return None if known is None else float(f"{known:.3g}")


def _by_powers_of_ten(cells: Cells, decades: int, bar: Mapping[str, Any]) -> dict[str, Any]:
    """Return logarithms as the colours, and the powers themselves beside the colour bar."""
    known = [value for row in cells for value in row if value is not None]
    top = math.log10(max(known, default=1.0)) if max(known, default=1.0) > 0 else 0.0
    ends = (top - decades, top)
    ticks = range(math.ceil(ends[0]), math.floor(ends[1]) + 1)
    return {
        "z": [
            [None if v is None else math.log10(v) if v > 0 else ends[0] - 1 for v in row]
            for row in cells
        ],
        "zmin": ends[0],
        "zmax": ends[1],
        "colorbar": {
            **bar,
            "tickmode": "array",
            "tickvals": list(ticks),
            "ticktext": [f"{10.0**power:g}" for power in ticks],
        },
    }
