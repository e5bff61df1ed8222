"""The Measurement: a value that never travels without its floor, its n and its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, Self

from theodolite.errors import DataError
from theodolite.text.display import escape

Status = Literal["measured", "incomplete", "not_measured"]
_STATUSES = ("measured", "incomplete", "not_measured")
_ROUNDING = 1e-9  # what sums of floats may overshoot the range by


class Interval(NamedTuple):
    """A confidence interval and the way it was made."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Floor:
    """What a trivial strategy reaches on the same items."""

    name: str
    value: float


@dataclass(frozen=True)
class Unscored:
    """Items without a verdict, and the bounds the value takes if all went one way or the other.

    Args:
        count: how many items have no verdict.
        reasons: how often each reason occurs; the counts add up to `count`.
        low, high: the value if every unscored item had scored lowest, or highest; None where the
            quantity is unbounded or nothing is unscored.
    """

    count: int
    reasons: Mapping[str, int]
    low: float | None
    high: float | None


@dataclass(frozen=True)
class JudgeQuality:
    """How good the judge is on labelled rows, and the value corrected for its errors.

    Args:
        name: the judge.
        sensitivity: share of the truly positive rows it calls positive.
        specificity: share of the truly negative rows it calls negative.
        corrected: the Rogan-Gladen estimate of the true rate, or None.
    """

    name: str
    sensitivity: float | None
    specificity: float | None
    corrected: float | None


@dataclass(frozen=True)
class Measurement:
    """One figure with everything needed to read it honestly.

    Numbers may be given as numpy scalars; they are stored as plain int and float.

    Args:
        name: what is measured, e.g. `refusal/harmful`; per-domain names use a slash.
        value: the figure, or None where status is `not_measured`.
        unit: `share`, `percent`, `nats`, `seconds`, `accuracy`, ...
        n: items that were scored.
        n_clusters: independent groups behind the n items; None where items are independent.
        low, high: the confidence interval at `level`; None where one cannot be given.
        level: the confidence level of the interval, between 0 and 1.
        method: how the interval was made, e.g. `wilson`, `t over clusters`.
        floor: what a trivial strategy reaches, or None (then `reason` says why).
        range: the bounds of the quantity itself, or None where unbounded.
        unscored: items without verdict, with the bounds they imply.
        judge: the judge's measured quality; None where no judge was used.
        status: `measured`, `incomplete` (e.g. the judge was down) or `not_measured`.
        reason: why anything above is None, or why the status is not `measured`.

    Raises:
        DataError: a number is not finite, low lies above high, the value lies outside the range,
            or the status contradicts the value.
    """

    name: str
    value: float | None
    unit: str
    n: int
    n_clusters: int | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str | None = None
    floor: Floor | None = None
    range: tuple[float, float] | None = None
    unscored: Unscored = field(default_factory=lambda: Unscored(0, {}, None, None))
    judge: JudgeQuality | None = None
    status: Status = "measured"
    reason: str | None = None

    def __post_init__(self) -> None:
        """Store plain numbers and refuse what cannot be a measurement."""
        for key in ("value", "low", "high", "level"):
            object.__setattr__(self, key, _plain(getattr(self, key)))
        for key in ("n", "n_clusters"):
            count = getattr(self, key)
            object.__setattr__(self, key, None if count is None else int(count))
        problem = _contradiction(self)
        if problem is not None:
            raise DataError(
                f"The measurement `{escape(self.name, 80)}` is contradictory: {problem}.",
                fix="Build it with `proportion`, `mean` or `not_measured`.",
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON values, all keys present."""
        row = asdict(self)
        if row["range"] is not None:
            row["range"] = list(row["range"])
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Rebuild a measurement from `as_dict` output.

        Raises:
            DataError: a key is missing or unknown, or the values contradict each other.
        """
        values = dict(row)
        expected = {each.name for each in fields(cls)}
        wrong = sorted(expected.symmetric_difference(values))
        if wrong:
            raise DataError(
                f"A stored measurement has missing or unknown keys: {escape(', '.join(wrong))}.",
                fix="Write it with `Measurement.as_dict` of the same version.",
            )
        for key, kind in (("floor", Floor), ("unscored", Unscored), ("judge", JudgeQuality)):
            if values[key] is not None:
                values[key] = kind(**values[key])
        if values["range"] is not None:
            low, high = values["range"]
            values["range"] = (low, high)
        return cls(**values)


def not_measured(
    name: str, unit: str, reason: str, *, n: int = 0, unscored: Unscored | None = None
) -> Measurement:
    """Return the value that says a figure was not measured, and why.

    Args:
        name, unit: as in `Measurement`.
        reason: why there is no value; one clause.
        n: items that were scored, where some were but too few.
        unscored: the items without a verdict, where that is why.
    """
    return Measurement(
        name=name,
        value=None,
        unit=unit,
        n=n,
        unscored=unscored or Unscored(0, {}, None, None),
        status="not_measured",
        reason=reason,
    )


def told_apart(owned: Iterable[tuple[str, Measurement]]) -> list[Measurement]:
    """Return measurements under names that occur once.

    Args:
        owned: (panel, measurement); the first measurement of a name keeps it, a later one is named
            `<panel>/<name>`.
    """
    seen: set[str] = set()
    named = []
    for panel, measurement in owned:
        if measurement.name in seen:
            measurement = replace(measurement, name=f"{panel}/{measurement.name}")
        seen.add(measurement.name)
        named.append(measurement)
    return named


def _plain(number: float | None) -> float | None:
    return None if number is None else float(number)


def _contradiction(m: Measurement) -> str | None:
    """Return what is wrong with a measurement in one clause, or None."""
    numbers = [m.value, m.low, m.high, m.unscored.low, m.unscored.high, *(m.range or ())]
    numbers += [m.floor.value] if m.floor else []
    numbers += [m.judge.sensitivity, m.judge.specificity, m.judge.corrected] if m.judge else []
    if any(number is not None and not math.isfinite(number) for number in numbers):
        return "a number is not finite"
    if m.status not in _STATUSES:
        return f"the status must be one of {', '.join(_STATUSES)}"
    if (m.value is None) != (m.status == "not_measured") and m.status != "incomplete":
        return f"the status is {m.status} but the value is {m.value}"
    if m.status != "measured" and not m.reason:
        return f"the status is {m.status} and no reason is given"
    if not 0 < m.level < 1:
        return f"the level {m.level} is not between 0 and 1"
    if m.n < 0 or m.unscored.count < 0:
        return "a count is negative"
    if (m.low is None) != (m.high is None):
        return "one end of the interval is missing"
    if m.low is not None and m.high is not None and m.low > m.high:
        return f"the interval runs from {m.low} down to {m.high}"
    if m.range is not None and m.value is not None:
        slack = _ROUNDING * max(1.0, abs(m.range[0]), abs(m.range[1]))
        if not m.range[0] - slack <= m.value <= m.range[1] + slack:
            return f"the value {m.value} lies outside its range"
    return None
