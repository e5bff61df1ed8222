"""How far the way of extraction turns a direction: other positions, templates, prompts.

One estimator on the same goals can give directions 70 degrees apart when it reads another token.
Before two directions are called different, the angle must exceed that between two halves of the
goals under one protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.directions.estimator import DirectionEstimator, estimator
from theodolite.mechanism.directions.overlap import angle
from theodolite.runs.figure_parts import number
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
METHOD_VERSION: Final = 1


@dataclass(frozen=True, eq=False)
class ProtocolAngles:
    """Angles between one estimator's directions under several protocols.

    Args:
        estimator: its name.
        protocols: names, in order.
        hidden_indices: depths that all of them share.
        cosines: between leading directions, (hidden_index, protocol, protocol).
        halves: cosine between two halves of the training goals, (hidden_index, protocol); NaN where
            half of them is too few.
        scores: how far the classes lie apart along each, (hidden_index, protocol).
    """

    estimator: str
    protocols: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    cosines: Floats
    halves: Floats
    scores: Floats

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per depth and pair of protocols; `noise` is the wider halves' angle."""
        return [
            {
                "estimator": self.estimator,
                "hidden_index": h,
                "first": self.protocols[i],
                "second": self.protocols[j],
                "degrees": float(angle(self.cosines[place, i, j])),
                "noise": number(angle(self.halves[place, [i, j]]).max()),
                "separation": float(self.scores[place, [i, j]].min()),
            }
            for place, h in enumerate(self.hidden_indices)
            for i in range(len(self.protocols))
            for j in range(i + 1, len(self.protocols))
        ]

    def measurements(self) -> list[Measurement]:
        """Return the angle of each pair at the depth where both part the classes best."""
        rows = self.frame()
        pairs = dict.fromkeys((row["first"], row["second"]) for row in rows)
        found = []
        for first, second in pairs:
            own = [row for row in rows if (row["first"], row["second"]) == (first, second)]
            best = max(own, key=lambda row: row["separation"])
            noise = best["noise"]
            found.append(
                Measurement(
                    name=f"directions/protocol/{first} and {second}",
                    value=best["degrees"],
                    unit="degrees",
                    n=2,
                    range=(0.0, 180.0),
                    floor=None if noise is None else Floor("two halves of the goals", noise),
                    reason=f"{self.estimator} at hidden_index {best['hidden_index']}, where both "
                    "part the classes best; no interval: one pair of directions",
                )
            )
        return found


def protocol_angles(
    contrasts: Mapping[str, Contrast],
    name: str | DirectionEstimator = "difference_in_means",
    *,
    seed: int = 0,
) -> ProtocolAngles:
    """Fit one estimator under several protocols and compare what it finds, depth by depth.

    Source: the question is that of arXiv:2604.18901; halves of the goals as noise are ours.

    Args:
        contrasts: protocol -> contrast of one model, e.g. from `read_contrasts` at several
            positions, or with and without a template.
        name: the estimator.
        seed: of the fits and halves.

    Raises:
        ConfigError: fewer than two protocols, or no depth in common.
        DataError: the estimator cannot be fitted.
    """
    one = estimator(name) if isinstance(name, str) else name
    shared = [set(contrast.hidden_indices) for contrast in contrasts.values()]
    depths = tuple(sorted(set.intersection(*shared))) if len(shared) > 1 else ()
    if not depths:
        raise ConfigError(
            "Angles need two protocols with a depth in common.",
            fix="Read the same layers under each.",
        )
    fitted = [one.fit(contrast, seed=seed) for contrast in contrasts.values()]
    vectors = np.array([[each.leading(h).vector for h in depths] for each in fitted])
    halves = [reliability(one, each, depths, seed=seed) for each in contrasts.values()]
    return ProtocolAngles(
        estimator=one.name,
        protocols=tuple(contrasts),
        hidden_indices=depths,
        cosines=np.einsum("ihd,jhd->hij", vectors, vectors),
        halves=np.array(halves).T,
        scores=np.array([[each.scores[h] for h in depths] for each in fitted]).T,
    )


def reliability(
    one: DirectionEstimator, contrast: Contrast, hidden_indices: Sequence[int], *, seed: int
) -> list[float]:
    """Return the cosine of the directions of two halves of the training goals, by depth.

    Returns: NaN where half the goals are too few to fit it on.
    """
    first, second = contrast.halves(seed=item_seed(seed, "halves"))
    try:
        a, b = one.fit(first, seed=seed), one.fit(second, seed=seed)
    except DataError:
        return [float("nan")] * len(hidden_indices)
    return [float(a.leading(h).vector @ b.leading(h).vector) for h in hidden_indices]
