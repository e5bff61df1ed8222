"""The residual space in the terminal: one row per depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

SHOWN: Final = 2  # named directions of a depth; the report has all

Row = Mapping[str, Any]


def by_depth(tables: Mapping[str, Sequence[Row]], start: str = "residual") -> list[dict[str, Any]]:
    """Return rank, the first direction beside its floors, and the named others, for every depth.

    Args:
        tables: of the result.
        start: how the names of its tables begin.
    """
    firsts = {
        row["hidden_index"]: row
        for row in tables.get(f"{start}_probes_harmful", ())
        if row["component"] == 1
    }
    means = {
        row["hidden_index"]: row["auroc"]
        for row in tables.get(f"{start}_baselines_harmful", ())
        if row["baseline"] == "difference in means"
    }
    within = {
        row["hidden_index"]: row
        for row in tables.get(f"{start}_shares", ())
        if row["direction"].endswith("-C1")
    }
    named = tables.get(f"{start}_names", ())
    return [
        {
            "hidden index": h,
            "rank 90/70 %": f"{row['rank_0.9']} / {row['rank_0.7']}",
            "C1 AUROC (random)": _told(firsts.get(h), "auroc", ("low", "high"), "random_high"),
            "within a style": _told(
                within.get(h),
                "harm_auroc",
                ("harm_auroc_low", "harm_auroc_high"),
                "harm_auroc_floor_random",
            ),
            "means": "n/a" if h not in means else _short(means[h]),
            "named": _named(named, h),
        }
        for row in tables[f"{start}_layers"]
        for h in (row["hidden_index"],)
    ]


def _told(row: Row | None, value: str, ends: tuple[str, str], floor: str) -> str:
    if row is None or row[value] is None:
        return "n/a"
    beside = "" if row.get(floor) is None else f" ({_short(row[floor])})"
    return _ends(row[value], row[ends[0]], row[ends[1]]) + beside


def _short(value: float) -> str:
    """Return a share without its leading zero: a table of them has little room."""
    return f"{value:.2f}".removeprefix("0")


def _ends(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return _short(value)
    return f"{_short(value)} [{_short(low)} {_short(high)}]"


def _named(rows: Sequence[Row], hidden_index: int) -> str:
    """Return the directions of a depth that have a theme, and how often the name tells right."""
    found = [
        f"{row['direction'].partition('-')[2]} {row['label']} "
        + _ends(row["accuracy"], row["accuracy_low"], row["accuracy_high"])
        for row in rows
        if row["hidden_index"] == hidden_index and row["accuracy"] is not None
    ]
    more = f"; {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more
