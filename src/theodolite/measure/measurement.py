"""The Measurement: a value that never travels without its floor, its n and its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Status = Literal["measured", "incomplete", "not_measured"]


@dataclass(frozen=True)
class Floor:
    """What a trivial strategy reaches on the same items."""

    name: str
    value: float


@dataclass(frozen=True)
class Unscored:
    """Items without a verdict, and the bounds the value takes if all went one way or the other."""

    count: int
    reasons: Mapping[str, int]
    low: float | None
    high: float | None


@dataclass(frozen=True)
class JudgeQuality:
    """How good the judge is on labelled rows, and the value corrected for its errors."""

    name: str
    sensitivity: float | None
    specificity: float | None
    corrected: float | None


@dataclass(frozen=True)
class Measurement:
    """One figure with everything needed to read it honestly.

    Args:
        name: what is measured, e.g. `refusal/harmful`; per-domain names use a slash.
        value: the figure, or None where status is `not_measured`.
        unit: `share`, `percent`, `nats`, `seconds`, `accuracy`, ...
        n: items that were scored.
        n_clusters: independent groups behind the n items; None where items are independent.
        low, high: the confidence interval at `level`; None where one cannot be given.
        method: how the interval was made, e.g. `wilson`, `cluster bootstrap (goal)`.
        floor: what a trivial strategy reaches, or None (then `reason` says why).
        range: the bounds of the quantity itself, or None where unbounded.
        unscored: items without verdict, with the bounds they imply.
        judge: the judge's measured quality; None where no judge was used.
        status: `measured`, `incomplete` (e.g. the judge was down) or `not_measured`.
        reason: why anything above is None, or why the status is not `measured`.
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
    unscored: Unscored = Unscored(0, {}, None, None)
    judge: JudgeQuality | None = None
    status: Status = "measured"
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON values, all keys present."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Rebuild a measurement from `as_dict` output."""
        fields = dict(row)
        if fields.get("floor") is not None:
            fields["floor"] = Floor(**fields["floor"])
        if fields.get("range") is not None:
            fields["range"] = tuple(fields["range"])
        if fields.get("unscored") is not None:
            fields["unscored"] = Unscored(**fields["unscored"])
        if fields.get("judge") is not None:
            fields["judge"] = JudgeQuality(**fields["judge"])
        return cls(**fields)


def not_measured(name: str, unit: str, reason: str, *, n: int = 0) -> Measurement:
    """Return the value that says a figure was not measured, and why."""
    return Measurement(name=name, value=None, unit=unit, n=n, status="not_measured", reason=reason)
