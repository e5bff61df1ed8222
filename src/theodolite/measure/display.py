"""One wording of a measurement for terminal and report: `63 % [55, 71] (floor 0 %, n=120)`."""

from __future__ import annotations

import math

from theodolite.measure.measurement import Measurement
from theodolite.text.display import escape

_WHOLE = frozenset({"hidden_index"})  # places, which have no decimals
POINTS = "points"  # what a difference of two shares is printed in; it is stored as a share
_SHARES = frozenset({"share", "accuracy"})
_UNITLESS = frozenset({"kappa", "alpha", "auroc", "ratio", ""})
_NAME, _REASON = 120, 300


def format_value(m: Measurement) -> str:
    """Return value, interval, floor and n of a measurement, without its name.

    Shares are shown in percent and their differences in points, with as many decimals as the
    interval allows; a figure without an interval says so.
    """
    if m.value is None:
        return f"{m.status.replace('_', ' ')}{_n(m, ' (', ')')}"
    scale, unit = _unit(m)
    digits = _digits(m, scale)
    value = _number(m.value * scale, digits)
    if m.low is None or m.high is None:
        interval = "[no interval]"
    else:
        interval = f"[{_number(m.low * scale, digits)}, {_number(m.high * scale, digits)}]"
    details = [_n(m)]
    if m.floor is not None:
        details.insert(0, f"floor {_number(m.floor.value * scale, digits)}{unit}")
    if m.level != 0.95:
        details.append(f"{_number(m.level * 100, 1 if m.level * 100 % 1 else 0)} % level")
    if m.unscored.count:
        details.append(_unscored(m, scale, digits, unit))
    if m.judge is not None and m.judge.corrected is not None:
        details.append(
            f"corrected for the judge {_number(m.judge.corrected * scale, digits)}{unit}"
        )
    if m.status == "incomplete":
        details.append("incomplete")
    return f"{value}{unit} {interval} ({', '.join(details)})"


def format_line(m: Measurement) -> str:
    """Return a measurement as one line: name, figure, and the reason where something is missing."""
    return f"{escape(m.name, _NAME)}  {format_reasoned(m)}"


def format_reasoned(m: Measurement) -> str:
    """Return the figure as `format_value` does, with the reason where something is missing."""
    told = m.reason and (m.status != "measured" or m.low is None)
    return f"{format_value(m)}: {escape(m.reason or '', _REASON)}" if told else format_value(m)


def shown_unit(m: Measurement) -> str:
    """Return `share` for every kind of share, `points` for their differences, else the unit."""
    if m.unit not in _SHARES:
        return m.unit
    return POINTS if m.range is not None and m.range[0] < 0 else "share"


def _unit(m: Measurement) -> tuple[float, str]:
    """Return what the stored numbers are multiplied by, and the unit to print after them."""
    if m.unit in _SHARES:
        return 100.0, f" {POINTS}" if shown_unit(m) == POINTS else " %"
    if m.unit == "percent":
        return 1.0, " %"
    return 1.0, "" if m.unit in _UNITLESS else f" {escape(m.unit, 40)}"


def _digits(m: Measurement, scale: float) -> int:
    """Return the decimals that the interval, or else the value, supports."""
    if m.unit in _WHOLE:
        return 0
    if m.low is not None and m.high is not None and m.high > m.low:
        width = max((m.high - m.low) * scale, 1e-300)  # a quarter of it must not become zero
        # Two significant digits of the half width, none for percentages wider than 4 points.
        enough = 1 if scale == 100 else 2
        return min(max(enough - 1 - math.floor(math.log10(width / 4)), 0), 12)
    if scale == 100 or m.unit == "percent":
        return 0
    size = abs((m.value or 0.0) * scale)
    return min(max(3 - math.floor(math.log10(size)), 0), 12) if size > 0 else 0


def _number(value: float, digits: int) -> str:
    """Return a number with fixed decimals; zero never carries a minus sign."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _n(m: Measurement, before: str = "", after: str = "") -> str:
    """Return the number of items, and of clusters where there are fewer."""
    groups = ""
    if m.n_clusters is not None and m.n_clusters != m.n:
        groups = f" in {m.n_clusters} cluster{'' if m.n_clusters == 1 else 's'}"
    return f"{before}n={m.n}{groups}{after}"


def _unscored(m: Measurement, scale: float, digits: int, unit: str) -> str:
    """Return how many items are unscored, and between which values that leaves the figure."""
    text = f"{m.unscored.count} unscored"
    if m.unscored.low is None or m.unscored.high is None:
        return text
    low, high = (_number(end * scale, digits) for end in (m.unscored.low, m.unscored.high))
    return f"{text}: {low} to {high}{unit}"


def ends(name: str, measurement: Measurement) -> dict[str, float | None]:
    """Return a value and its interval as cells of a table: name, name_low, name_high."""
    found = measurement
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
