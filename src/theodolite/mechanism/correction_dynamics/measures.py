"""The figures made of curves along replies: bands of positions, some positions, cuts, differences.

Every figure of harmful rows stands beside the same one of benign rows: words such as "But" and "I"
begin refusals and ordinary sentences alike, and what they weigh along a good reply is the floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.correction_dynamics.kinds import (
    BASE,
    GAP,
    KINDS,
    KL,
    MODEL,
    NAME,
    QUANTITIES,
    Floats,
    Quantity,
    known,
)

if TYPE_CHECKING:
    from theodolite.mechanism.correction_dynamics.result import CorrectionDynamics

# Positions that are reported by themselves, as far as they are followed.
POINTS: Final = (0, 10, 20, 40, 80)
AT_POINTS: Final = ("refusal_mass", KL)
OVER_BASE: Final = ("refusal_mass", GAP)
FIRST: Final = 5
EARLY: Final = "kl_early_share"
ITSELF: Final = Floor("a model against itself", 0.0)
NO_CHANGE: Final = Floor("no change", 0.0)
_CONTROL: Final = "the control that harmful replies are set beside"
_NO_CONTROL: Final = "no benign replies were given as a control"


@dataclass(frozen=True, eq=False)
class Reading:
    """One figure's values.

    Args:
        quantity, place: what was read and where; together they name the figure.
        kind: unit and bounds.
        values: one per row of the class, NaN where there is none, axis (row).
        missing: why a row has none.
        floor: what a trivial strategy reaches; None where that is the benign control.
    """

    quantity: str
    place: str
    kind: Quantity
    values: Floats
    missing: str
    floor: Floor | None = None

    def name(self, label: str) -> str:
        """Return the name of the measurement."""
        place = f"/{self.place}" if self.place else ""
        return f"{NAME}/{label}/{self.quantity}{place}"


def measurements(result: CorrectionDynamics) -> list[Measurement]:
    """Return every figure, harmful rows first, with intervals clustered by goal."""
    benign = list(_measured(result, BENIGN, {})) if BENIGN in result.classes else []
    if HARMFUL not in result.classes:
        return benign
    control = {
        m.name.removeprefix(f"{NAME}/{BENIGN}/"): m.value for m in benign if m.value is not None
    }
    return [*_measured(result, HARMFUL, control), *benign]


def _measured(
    result: CorrectionDynamics, label: str, control: dict[str, float]
) -> Iterator[Measurement]:
    goals = [result.goals[row] for row in result.rows(label)]
    for one in readings(result, label):
        name, floor, reason = one.name(label), one.floor, None
        if floor is None and label == HARMFUL:
            value = control.get(name.removeprefix(f"{NAME}/{label}/"))
            floor = None if value is None else Floor("along benign replies", value)
            reason = _NO_CONTROL if floor is None else None
        elif floor is None:
            reason = _CONTROL
        yield mean(
            name,
            known(one.values),
            clusters=goals,
            unit=one.kind.unit,
            range=one.kind.range,
            floor=floor,
            reasons=[one.missing if np.isnan(value) else None for value in one.values],
            reason=reason,
        )


def readings(result: CorrectionDynamics, label: str) -> list[Reading]:
    """Return the values behind every figure of a class."""
    rows = result.rows(label)
    found: list[Reading] = []
    for quantity in (*QUANTITIES, KL):
        values = result.of(MODEL, quantity)
        if values is not None:
            found += _by_position(result, quantity, KINDS[quantity], values[rows])
    found += _by_cut(result, GAP, KINDS[GAP], result.model.gap[rows])
    for quantity in OVER_BASE:
        own, other = (result.of(who, quantity) for who in (MODEL, BASE))
        if own is None or other is None:
            continue
        make = _by_cut if quantity == GAP else _by_position
        unit, reach = KINDS[quantity].unit, KINDS[quantity].range
        kind = Quantity(unit, None if reach is None else (reach[0] - reach[1], reach[1] - reach[0]))
        name, change = f"{quantity}_over_base", own[rows] - other[rows]
        found += make(result, name, kind, change, NO_CHANGE)
    if result.kl is not None and result.length > FIRST:
        found.append(_early(result, rows))
    return found


def _by_position(
    result: CorrectionDynamics,
    quantity: str,
    kind: Quantity,
    values: Floats,
    floor: Floor | None = None,
) -> Iterator[Reading]:
    """Yield the means of every row over bands and, for some quantities, its values at points."""
    floor = ITSELF if quantity == KL else floor
    for first, stop in result.bands:
        missing = f"the reply ends before token {first}"
        place = f"tokens_{first}_{stop - 1}"
        yield Reading(quantity, place, kind, row_means(values[:, first:stop]), missing, floor)
    for point in POINTS:
        if quantity in AT_POINTS and point < result.length:
            missing = f"the reply ends before token {point}"
            yield Reading(quantity, f"token_{point}", kind, values[:, point], missing, floor)


def _by_cut(
    result: CorrectionDynamics,
    quantity: str,
    kind: Quantity,
    values: Floats,
    floor: Floor | None = None,
) -> Iterator[Reading]:
    for place, cut in enumerate(result.cuts):
        missing = f"fewer than {result.longest} tokens of the reply are left after {cut}"
        yield Reading(quantity, f"after_{cut}", kind, values[:, place], missing, floor)


def _early(result: CorrectionDynamics, rows: list[int]) -> Reading:
    """Return how much of each row's divergence lies in its first tokens."""
    assert result.kl is not None  # noqa: S101 - the caller asks only where there is a base
    kl = result.kl[rows]
    total = np.nansum(kl, axis=1)
    values = np.full(len(rows), np.nan)
    np.divide(np.nansum(kl[:, :FIRST], axis=1), total, out=values, where=total > 0)
    lengths = result.lengths[rows][total > 0]
    even = float((np.minimum(lengths, FIRST) / lengths).mean()) if len(lengths) else 0.0
    missing = "the models do not differ along the reply"
    floor = Floor("spread evenly over the tokens", even)
    # Rounding may leave a sum of parts a hair above the whole.
    return Reading(EARLY, "", Quantity("share", (0.0, 1.0)), values.clip(0, 1), missing, floor)


def row_means(values: Floats) -> Floats:
    """Return the mean of each row over the positions that it reaches, NaN for none; axis (row)."""
    counts = (~np.isnan(values)).sum(1)
    found = np.full(len(values), np.nan)
    np.divide(np.nansum(values, axis=1), counts, out=found, where=counts > 0)
    return found


def outcomes(result: CorrectionDynamics) -> list[dict[str, Any]]:
    """Return `measurement, id, sample, outcome, cluster`, so that two runs can be paired."""
    kept = ("refusal_mass", GAP, KL, EARLY)
    return [
        {
            "measurement": one.name(label),
            "id": result.ids[row],
            "sample": 0,
            "outcome": value,
            "cluster": result.goals[row],
        }
        for label in result.classes
        for one in readings(result, label)
        if one.quantity in kept and not one.place.startswith("token_")
        for row, value in zip(result.rows(label), known(one.values), strict=True)
    ]


def band_frame(result: CorrectionDynamics) -> list[dict[str, Any]]:
    """Return one row per class and band: what the model says there, and the base beside it."""
    by_name = {m.name: m for m in measurements(result)}
    table = []
    for label in result.classes:
        for first, stop in result.bands:
            prefix, place = f"{NAME}/{label}", f"tokens_{first}_{stop - 1}"
            row: dict[str, Any] = {"class": label, "first": first, "last": stop - 1}
            row["n"] = by_name[f"{prefix}/refusal_mass/{place}"].n
            for quantity in ("refusal_mass", "refusal_mass_over_base", KL, *QUANTITIES[1:]):
                found = by_name.get(f"{prefix}/{quantity}/{place}")
                for end, name in (("value", ""), ("low", "_low"), ("high", "_high")):
                    row[f"{quantity}{name}"] = None if found is None else getattr(found, end)
            table.append(row)
    return table
