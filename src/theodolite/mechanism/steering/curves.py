"""Effect against drift as a curve: edits are compared at equal cost, never at one strength each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured

Floats = NDArray[np.float64]
# Places at which two curves are compared.
_PLACES: Final = 33


@dataclass(frozen=True, eq=False)
class Curve:
    """What one edit does at several strengths.

    Args:
        name: of the edit.
        alphas: its strengths, ascending.
        effects: what is wanted, per strength and prompt, axes (strength, prompt).
        drifts: what it costs, axes (strength, prompt).
        benign: which prompts drift is read on; effects are read on the others.
        clusters: what makes prompts dependent.
        seed: of the resamples.
    """

    name: str
    alphas: tuple[float, ...]
    effects: Floats
    drifts: Floats
    benign: NDArray[np.bool_]
    clusters: tuple[str, ...]
    seed: int = 0

    def points(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """Return drift and effect of every strength, with no edit at (0, 0), by rising drift.

        Args:
            weights: how often each prompt counts, axes (prompt).
        """
        own = np.ones(len(self.benign)) if weights is None else weights
        harm, calm = own * ~self.benign, own * self.benign
        with np.errstate(invalid="ignore", divide="ignore"):
            effects = self.effects @ harm / harm.sum()
            drifts = self.drifts @ calm / calm.sum()
        order = np.argsort(drifts, kind="stable")
        return np.append(0.0, drifts[order]), np.append(0.0, effects[order])


def curve_gap(first: Curve, second: Curve) -> Measurement:
    """Return by how much one curve lies above another, at equal drift, mean over the shared range.

    Source: ours, after arXiv:2602.02132: directions that differ can have equal curves.

    Args:
        first, second: of the same prompts.

    Returns: first minus second, nats of effect; the interval is over clusters of prompts. Between
        strengths the curves are straight.
    """
    name = f"steering/{first.name} over {second.name}/effect at equal drift"
    reach = min(first.points()[0][-1], second.points()[0][-1])
    if not reach > 0:
        return not_measured(name, "nats", "an edit does not drift, or no prompt is benign")

    def gap(weights: Floats) -> Floats:
        return np.array([_gap(first, second, row) for row in weights])

    return resampled(
        name,
        float(gap(np.ones((1, len(first.benign))))[0]),
        len(first.benign),
        gap,
        clusters=first.clusters,
        unit="nats",
        floor=Floor("equal curves", 0.0),
        seed=first.seed,
        reason=f"compared up to a drift of {reach:.2g} nats",
    )


def _gap(first: Curve, second: Curve, weights: Floats) -> float:
    one, other = first.points(weights), second.points(weights)
    reach = min(one[0][-1], other[0][-1])
    if not np.isfinite(reach) or reach <= 0:
        return float("nan")
    places = np.linspace(0, reach, _PLACES)
    return float((np.interp(places, *one) - np.interp(places, *other)).mean())
