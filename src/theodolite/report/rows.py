"""Measurements as rows of words and bars: what the summary and the panel tables print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from theodolite.measure.display import shown_unit
from theodolite.measure.measurement import Measurement
from theodolite.report.budget import NAME_CHARACTERS
from theodolite.report.numbers import format_interval, format_number, format_plain, format_value
from theodolite.text.display import escape

_REASON_CHARACTERS = 400
STATUS_WORDS = {
    "measured": "measured",
    "incomplete": "incomplete",
    "not_measured": "not measured",
}
NEAR_FLOOR = "within the interval"
ABOVE_FLOOR = "interval above it"
BELOW_FLOOR = "interval below it"


@dataclass(frozen=True)
class Bar:
    """A row's drawing, in percent of the width of its axis; None is not drawn.

    Args:
        dot: the value.
        low, high: the ends of the interval.
        floor: the floor tick.
        bound_low, bound_high: the value if all unscored items went one way or the other.
        start, end: what the ends of the axis mean, in words.
        words: the same drawing as a sentence, for readers who do not see it.
    """

    dot: float | None
    low: float | None
    high: float | None
    floor: float | None
    bound_low: float | None
    bound_high: float | None
    start: str
    end: str
    words: str


@dataclass(frozen=True)
class MeasurementRow:
    """One measurement in words, cell by cell; `label` is its plain name, or empty."""

    name: str
    label: str
    value: str
    interval: str
    interval_how: str
    bar: Bar | None
    n: str
    items: str
    floor: str
    floor_name: str
    verdict: str
    near_floor: bool
    judge: str
    unscored: str
    status: str
    status_words: str
    reason: str


def measurement_row(measurement: Measurement, label: str = "") -> MeasurementRow:
    """Return the words and the bar of one measurement, with its plain name where it has one."""
    m = measurement
    verdict = floor_verdict(m)
    return MeasurementRow(
        name=escape(m.name, NAME_CHARACTERS),
        label=escape(label, NAME_CHARACTERS),
        value="not measured" if m.value is None else format_value(m.value, shown_unit(m), m.n),
        interval=format_interval(m.low, m.high, shown_unit(m), m.n),
        interval_how=_interval_how(m),
        bar=interval_bar(m),
        n=format_plain(m.n),
        items=_items_words(m),
        floor="" if m.floor is None else format_value(m.floor.value, shown_unit(m), m.n),
        floor_name="" if m.floor is None else escape(m.floor.name, NAME_CHARACTERS),
        verdict=verdict,
        near_floor=verdict == NEAR_FLOOR,
        judge=_judge_words(m),
        unscored=_unscored_words(m),
        status=m.status,
        status_words=STATUS_WORDS[m.status],
        reason=escape(m.reason or "", _REASON_CHARACTERS),
    )


def measurement_rows(
    measurements: Iterable[Measurement], labels: Mapping[str, str] | None = None
) -> list[MeasurementRow]:
    """Return the rows of several measurements, in order; `labels` are plain names by name."""
    return [measurement_row(m, (labels or {}).get(m.name, "")) for m in measurements]


def floor_verdict(m: Measurement) -> str:
    """Say whether the interval leaves the floor out; an empty string where it cannot be said."""
    if m.floor is None or m.value is None or m.low is None or m.high is None:
        return ""
    if m.low <= m.floor.value <= m.high:
        return NEAR_FLOOR
    return ABOVE_FLOOR if m.low > m.floor.value else BELOW_FLOOR


def interval_bar(m: Measurement) -> Bar | None:
    """Return the drawing of a measurement on its own range, or None where there is no value."""
    if m.value is None:
        return None
    ends = _axis(m)
    if ends is None:
        return None
    start, end = ends

    def place(value: float | None) -> float | None:
        if value is None:
            return None
        return round(100 * min(max((value - start) / (end - start), 0.0), 1.0), 2)

    return Bar(
        dot=place(m.value),
        low=place(m.low),
        high=place(m.high),
        floor=place(None if m.floor is None else m.floor.value),
        bound_low=place(m.unscored.low if m.unscored.count else None),
        bound_high=place(m.unscored.high if m.unscored.count else None),
        start=format_number(start, shown_unit(m), 0),
        end=format_number(end, shown_unit(m), 0),
        words=_bar_words(m),
    )


def _axis(m: Measurement) -> tuple[float, float] | None:
    """Return the ends of the axis: the quantity's own range, else what the row spans with air."""
    if m.range is not None and m.range[1] > m.range[0]:
        return m.range
    if m.range is None and shown_unit(m) in ("share", "percent"):
        seen = [v for v in (m.value, m.low, m.high) if v is not None]
        top = 100.0 if m.unit == "percent" else 1.0
        if min(seen) >= 0 and max(seen) <= top:
            return 0.0, top
    marks = (m.value, m.low, m.high, None if m.floor is None else m.floor.value)
    seen = [v for v in (*marks, m.unscored.low, m.unscored.high) if v is not None]
    low, high = min(seen), max(seen)
    if low == high:
        return None
    # Round ends, so that they can be read at a glance; air beyond the marks, but not below zero.
    air = (high - low) * 0.1
    step = 10.0 ** math.floor(math.log10((high - low) * 0.6))
    start = math.floor((low - air) / step) * step
    return (0.0 if low >= 0 > start else start), math.ceil((high + air) / step) * step


def _bar_words(m: Measurement) -> str:
    parts = [format_value(m.value, shown_unit(m), m.n)]
    interval = format_interval(m.low, m.high, shown_unit(m), m.n)
    if interval:
        parts.append(f"interval {interval}")
    if m.floor is not None:
        parts.append(f"floor {format_value(m.floor.value, shown_unit(m), m.n)}")
    return ", ".join(parts)


def _interval_how(m: Measurement) -> str:
    if m.low is None or m.high is None:
        return "" if m.value is None else "no interval"
    level = f"{m.level * 100:g} %"
    return f"{level}, {escape(m.method, NAME_CHARACTERS)}" if m.method else level


def _items_words(m: Measurement) -> str:
    items = "1 item" if m.n == 1 else f"{format_plain(m.n)} items"
    return items if m.n_clusters is None else f"{items} in {m.n_clusters} clusters"


def _judge_words(m: Measurement) -> str:
    if m.judge is None:
        return ""
    pairs = (("sensitivity", m.judge.sensitivity), ("specificity", m.judge.specificity))
    known = [f"{label} {value:.2f}" for label, value in pairs if value is not None]
    words = (
        f"{escape(m.judge.name, NAME_CHARACTERS)} ({', '.join(known) or 'quality not measured'})"
    )
    if m.judge.corrected is not None:
        words += f", corrected {format_value(m.judge.corrected, shown_unit(m), m.n)}"
    return words


def _unscored_words(m: Measurement) -> str:
    if not m.unscored.count:
        return ""
    reasons = m.unscored.reasons.items()
    # A single reason repeats the count, so only its words are given.
    why = ", ".join(why if len(reasons) == 1 else f"{count} {why}" for why, count in reasons)
    words = f"{m.unscored.count} unscored" + (
        f" ({escape(why, _REASON_CHARACTERS)})" if why else ""
    )
    bounds = format_interval(m.unscored.low, m.unscored.high, shown_unit(m), m.n)
    return f"{words}: bounds {bounds}" if bounds else words
