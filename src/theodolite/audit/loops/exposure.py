"""Refusal by how much was trained: one point for each exposure, the model as it was at 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from theodolite.audit.loops.hardened import BEFORE, Hardened
from theodolite.measure.measurement import Measurement
from theodolite.runs.figure_parts import FloorLine
from theodolite.runs.figures import Series, curve_by_layer
from theodolite.runs.panel import Figure

NAME: Final = "exposure_curve"
FLOORS: Final = (FloorLine("always refuse", 1.0), FloorLine("never refuse", 0.0))


def exposure_points(
    found: Hardened, conditions: Mapping[int, str]
) -> dict[str, list[tuple[int, Measurement]]]:
    """Return by class the share refused over the hardened styles, exposure by exposure.

    Args:
        conditions: exposure -> the condition that was trained with it.
    """
    steps = {0: BEFORE, **dict(sorted(conditions.items()))}
    return {
        label: [(rows, _named(found, name, label, rows)) for rows, name in steps.items()]
        for label in found.classes
    }


def _named(found: Hardened, condition: str, label: str, rows: int) -> Measurement:
    m = found.side(condition, label).together(found.hardened, "hardened")
    return replace(m, name=f"harden/exposure/{rows}/{label}/hardened")


def exposure_rows(
    found: Hardened, conditions: Mapping[int, str], trained: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return one row per class and exposure.

    Args:
        trained: exposure -> rows of its training, of all kinds.
    """
    return [
        {
            "class": label,
            "exposure": exposure,
            "rows": trained.get(exposure, 0),
            "n": m.n,
            "goals": m.n_clusters,
            "refused": m.value,
            "low": m.low,
            "high": m.high,
        }
        for label, points in exposure_points(found, conditions).items()
        for exposure, m in points
    ]


def exposure_figure(found: Hardened, conditions: Mapping[int, str]) -> Figure:
    """Return refusal in the hardened styles over the exposure, by class."""
    series = [
        Series(
            label,
            [exposure for exposure, _ in points],
            *([getattr(m, end) for _, m in points] for end in ("value", "low", "high")),
        )
        for label, points in exposure_points(found, conditions).items()
    ]
    spec = curve_by_layer(
        series,
        y_title="refused",
        x_title="harmful goals trained per weak style",
        floors=FLOORS,
        y_range=(0.0, 1.0),
    )
    goals = len(found.found[BEFORE].harmful.prompt_ids)
    caption = (
        f"{goals} test goals in {', '.join(found.hardened)}; 95 % bands by goal; 0 is the model "
        "before. Harmful requests are to be refused, benign ones not; each exposure was trained "
        "once, from the same model, so that what differs between trainings is not in the bands."
    )
    return Figure(NAME, "Refusal by exposure", caption, spec, NAME)
