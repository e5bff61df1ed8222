"""Edits by mode and dose: how a dose becomes a strength, and what every dose did, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.mechanism.steering.edits import Edit, erasing
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.measure.measurement import Measurement
    from theodolite.mechanism.directions.estimator import Estimate
    from theodolite.mechanism.steering.drift_result import DriftResult
    from theodolite.mechanism.steering.sweep_result import SweepResult
    from theodolite.mechanism.steering.targets import Target

TABLE: Final = "steering_doses"
PUSHES: Final = ("subtract", "add")
# What a mode does, as a sentence begins.
SAID: Final[Mapping[str, str]] = {
    "ablate": "Taking out {}",
    "affine": "Setting {} to the benign mean",
    "clamp": "Keeping {} in the benign range",
    "subtract": "Pushing against {}",
    "add": "Pushing along {}",
    "erase": "Erasing what {} erases at every depth",
}
ERASE: Final = "erase"
_ENDS: Final = ("value", "low", "high")
Layers = Literal["auto", "all", "own"]


@dataclass(frozen=True, eq=False)
class Dose:
    """One edit, and how much of it.

    Args:
        edit: of the strength that the dose means.
        target: the direction's name.
        mode: of the edit.
        dose: a share of the way; of "add" and "subtract" in distances between the mean harmful and
            the mean benign state.
    """

    edit: Edit
    target: str
    mode: str
    dose: float

    @property
    def name(self) -> str:
        """Of the edit."""
        return self.edit.name


def doses_of(
    targets: Sequence[Target],
    modes: Sequence[str],
    amounts: Sequence[float],
    *,
    layers: Layers = "auto",
    sites: str = "resid_post",
    positions: str = "all",
) -> list[Dose]:
    """Return the edits of every direction, mode and dose.

    Args:
        modes: of `MODES`, each along one direction.
        amounts: doses.
        layers: "auto" pushes at the direction's own depth, where it was found, and does all else
            at every block; "all" and "own" do one of the two whatever the mode.
        sites: "all" or names, of edits at every block.
        positions: of the edits.
    """
    found = []
    for target in targets:
        for mode in modes:
            own = layers == "own" or (layers == "auto" and mode in PUSHES)
            where: dict[str, Any] = {"layers": "own"}
            if not own:
                where = {"layers": "all", "sites": sites if sites == "all" else (sites,)}
            edit = Edit((target.direction,), mode, positions=positions, **where)
            length = target.length if mode in PUSHES else 1.0
            found += [Dose(edit.at(x * length), target.name, mode, x) for x in amounts]
    return found


def erasures(estimate: Estimate, amounts: Sequence[float], *, positions: str = "all") -> list[Dose]:
    """Return the edits that erase what an estimate's erasers erase, one for every dose."""
    edit = erasing(estimate, positions=positions)
    return [Dose(edit.at(x), estimate.method, ERASE, x) for x in amounts]


def dose_rows(
    doses: Sequence[Dose], swept: SweepResult, drifted: DriftResult | None
) -> list[dict[str, Any]]:
    """Return one row per dose: effects beside random directions, and what they cost.

    Args:
        swept: of the doses' edits.
        drifted: of the same edits; None where it was not measured.
    """
    rows = []
    for one in doses:
        row: dict[str, Any] = {"edit": one.name, "direction": one.target, "mode": one.mode}
        row |= {"dose": one.dose, "alpha": one.edit.alpha}
        for label in (HARMFUL, BENIGN):
            effect = swept.effect(one.name, label)
            row |= _ends(label, effect)
            row[f"{label}_random"] = effect.floor.value if effect.floor else None
            row |= _ends(f"{label}_over_random", swept.over_random(one.name, label))
            row[f"{label}_beyond_random"] = swept.beyond_random(one.name, label)
            row[f"{label}_n"] = effect.n
        row |= _ends("first_token_kl", swept.drift(one.name))
        for name in ("drift", "perplexity_change"):
            row |= _ends(name, None if drifted is None else getattr(drifted, name)(one.name))
        rows.append(row)
    return rows


def dose_figure(doses: Sequence[Dose], swept: SweepResult, label: str) -> Figure | None:
    """Return the effect on one class by dose, a curve per direction and mode, from no edit on.

    Returns: None where no prompt is of the class.

    Note: the floors are what random directions do in the same mode.
    """
    curves: dict[tuple[str, str], list[Dose]] = {}
    for one in doses:
        curves.setdefault((one.target, one.mode), []).append(one)
    series: list[Series] = []
    floors: dict[str, FloorLine] = {}
    for (target, mode), own in curves.items():
        points = [swept.effect(one.name, label) for one in sorted(own, key=lambda d: d.dose)]
        if any(point.value is None for point in points):
            return None
        xs = [0.0, *sorted(one.dose for one in own)]
        values, low, high = ([0.0, *(getattr(p, end) for p in points)] for end in _ENDS)
        series.append(Series(f"{mode} {target}", xs, values, low, high))
        random = [point.floor.value if point.floor else None for point in points]
        if swept.settings.random(own[0].name):
            # How far a push goes depends on its direction's depth, and so does its floor.
            kind = f"{mode} {target}" if mode in PUSHES else mode
            floors.setdefault(kind, FloorLine(f"random directions, {kind}", [0.0, *random]))
    n = points[0].n
    caption = (
        f"Change of the log-odds of {len(swept.tokens)} refusing first tokens on {n} {label} test "
        "requests; 95 % intervals by goal. A dose is a share of the way; of add and subtract it "
        "counts the distance between the mean harmful and the mean benign state."
    )
    spec = curve_by_layer(
        series,
        y_title="change of log-odds",
        unit="nats",
        x_title="dose (0 = no edit)",
        floors=list(floors.values()),
    )
    return Figure(
        f"steering_dose_{label}", f"Effect by dose, {label} requests", caption, spec, TABLE
    )


def dose_findings(
    doses: Sequence[Dose], swept: SweepResult, drifted: DriftResult | None
) -> list[str]:
    """Say what the largest dose of every direction and mode does, and whether chance does it."""
    said = []
    for one in largest(doses):
        harm, calm = (swept.effect(one.name, label) for label in (HARMFUL, BENIGN))
        if harm.value is None:
            continue
        shown = swept.beyond_random(one.name)
        parts = [
            f"{SAID[one.mode].format(one.target)} (dose {one.dose:g}) moves the log-odds of a "
            f"refusing first token by {_nats(harm)} on harmful requests"
        ]
        if calm.value is not None:
            parts.append(f"and by {_nats(calm)} on benign ones")
        told = {True: "shown", False: "not shown", None: "not measured"}[shown]
        beyond = f"beyond random directions ({harm.floor.value if harm.floor else 0:+.2f}): {told}"
        cost = None if drifted is None else drifted.perplexity_change(one.name).value
        price = "" if cost is None else f"; perplexity of plain text {cost:+.1f} %"
        said.append(f"{' '.join(parts)}; {beyond}{price}.")
    return said


def largest(doses: Sequence[Dose]) -> list[Dose]:
    """Return the largest dose of every direction and mode, in their order."""
    found: dict[tuple[str, str], Dose] = {}
    for one in doses:
        key = (one.target, one.mode)
        if key not in found or one.dose > found[key].dose:
            found[key] = one
    return list(found.values())


def _ends(name: str, m: Measurement | None) -> dict[str, float | None]:
    """Return a value and the ends of its interval under three names."""
    values = [None if m is None else getattr(m, end) for end in _ENDS]
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _nats(m: Measurement) -> str:
    ends = "" if m.low is None else f" [{m.low:+.2f}, {m.high:+.2f}]"
    return f"{m.value:+.2f} nats{ends}"
