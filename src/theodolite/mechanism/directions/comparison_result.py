"""What a comparison of estimators found: figures by depth, angles between them, floors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.ranking import Ranked
from theodolite.mechanism.directions.estimator import Estimate
from theodolite.mechanism.directions.overlap import angle, chance_cosine
from theodolite.runs.figure_parts import number
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
RESAMPLES: Final = 1000
RANDOM: Final = "95th percentile of random directions"
HIGH: Final = 95.0


@dataclass(frozen=True, eq=False)
class EstimatorComparison:
    """Estimators on the same contrast, scored on its test prompts.

    Args:
        names: of the estimators.
        hidden_indices: the depths.
        position: where the states were read.
        classes: the negative and the positive class.
        estimates: by name.
        scores: test prompts along the leading directions, (estimator, hidden_index, prompt).
        cosines: between leading directions, (hidden_index, estimator, estimator).
        overlaps: mean squared cosine of principal angles between whole subspaces, same axes.
        overlap_floors: what subspaces of these ranks in random position reach, same axes.
        benign_overlap: with what negative training prompts vary by most, and its floor;
            (estimator, hidden_index, 2).
        reliability: cosine of the directions from two halves of the training goals,
            (estimator, hidden_index); NaN where a half gives none, or nothing is fitted.
        random: AUROC of random directions, (hidden_index, draw).
        shuffled: AUROC after fits on shuffled labels, (estimator, hidden_index, shuffle); NaN for
            given directions, which no label made.
        labels, goals: of the test prompts.
        d_model: width of the states.
        fpr: share of negative prompts above the threshold of the TPR.
        seed: of the resamples.
    """

    names: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    position: str
    classes: tuple[str, str]
    estimates: Mapping[str, Estimate]
    scores: Floats
    cosines: Floats
    overlaps: Floats
    overlap_floors: Floats
    benign_overlap: Floats
    reliability: Floats
    random: Floats
    shuffled: Floats
    labels: NDArray[np.int64]
    goals: tuple[str, ...]
    d_model: int
    fpr: float
    seed: int

    def chosen(self, name: str) -> int:
        """Return the depth an estimator does best at on the prompts to choose by."""
        return self.estimates[name].best

    @cached_property
    def random_floor(self) -> Floats:
        """AUROC that 19 of 20 random directions stay below, axis (hidden_index)."""
        return np.asarray(np.percentile(self.random, HIGH, axis=1))

    def auroc(self, name: str, hidden_index: int) -> Measurement:
        """Return the held-out AUROC of a leading direction, with an interval over goals."""
        ranked = self._ranked(name, hidden_index)
        floor = Floor(RANDOM, float(self.random_floor[self._depth(hidden_index)]))
        return self._resampled(
            f"directions/{name}/auroc", "auroc", ranked.auroc, floor, hidden_index
        )

    def tpr(self, name: str, hidden_index: int) -> Measurement:
        """Return the share of positive prompts above a threshold that few negative ones reach."""
        label = f"directions/{name}/tpr_at_{self.fpr:g}_fpr"
        negative = int((self.labels == 0).sum())
        if negative * self.fpr < 1 - 1e-9:
            return not_measured(
                label,
                "share",
                f"{negative} {self.classes[0]} prompts do not resolve a false positive rate of "
                f"{self.fpr:g}: it takes {int(np.ceil(1 / self.fpr))}",
                n=len(self.labels),
            )
        ranked = self._ranked(name, hidden_index)
        floor = Floor("scores that say nothing", self.fpr)
        return self._resampled(
            label, "share", lambda weights: ranked.tpr(weights, self.fpr), floor, hidden_index
        )

    def measurements(self) -> list[Measurement]:
        """Return AUROC and TPR of each estimator at its own depth, and how well it is known."""
        found = []
        for name in self.names:
            h = self.chosen(name)
            found += [self.auroc(name, h), self.tpr(name, h), self._known(name, h)]
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per estimator and depth; what is empty says why."""
        return [
            self._row(e, name, h) for e, name in enumerate(self.names) for h in self.hidden_indices
        ]

    def pairs(self) -> list[dict[str, Any]]:
        """Return one row per depth and pair: angle, overlap, and what chance gives."""
        low = chance_cosine(self.d_model)
        return [
            {
                "hidden_index": h,
                "first": a,
                "second": b,
                "cosine": float(self.cosines[place, i, j]),
                "degrees": float(angle(self.cosines[place, i, j])),
                "cosine_floor": low,
                "overlap": float(self.overlaps[place, i, j]),
                "overlap_floor": float(self.overlap_floors[place, i, j]),
            }
            for place, h in enumerate(self.hidden_indices)
            for i, a in enumerate(self.names)
            for j, b in enumerate(self.names)
            if i < j
        ]

    def save(self, run: Run, name: str = "estimators") -> None:
        """Write the tables of figures and of pairs."""
        run.save_table(name, self.frame())
        run.save_table(f"{name}_pairs", self.pairs())

    def _row(self, e: int, name: str, hidden_index: int) -> dict[str, Any]:
        place = self._depth(hidden_index)
        area, rate = self.auroc(name, hidden_index), self.tpr(name, hidden_index)
        one = self.estimates[name]
        shuffled = self.shuffled[e, place]
        return {
            "estimator": name,
            "hidden_index": hidden_index,
            "position": self.position,
            "chosen": hidden_index == self.chosen(name),
            "rank": len(one.basis(hidden_index)),
            "auroc": area.value,
            "auroc_low": area.low,
            "auroc_high": area.high,
            "random_floor": float(self.random_floor[place]),
            "shuffled": number(shuffled.mean()) if len(shuffled) else None,
            "shuffled_high": number(np.percentile(shuffled, HIGH)) if len(shuffled) else None,
            "tpr": rate.value,
            "tpr_low": rate.low,
            "tpr_high": rate.high,
            "fpr": self.fpr,
            "reliability": number(self.reliability[e, place]),
            "gap": one.gaps[hidden_index],
            "benign_overlap": float(self.benign_overlap[e, place, 0]),
            "benign_overlap_floor": float(self.benign_overlap[e, place, 1]),
            "n": area.n,
            "n_clusters": area.n_clusters,
            "reason": rate.reason,
        }

    def _known(self, name: str, hidden_index: int) -> Measurement:
        """Return the cosine of the directions of two halves of the training goals."""
        value = self.reliability[self.names.index(name), self._depth(hidden_index)]
        label = f"directions/{name}/reliability"
        if not np.isfinite(value):
            return not_measured(label, "cosine", "it was not fitted on two halves of the goals")
        return Measurement(
            name=label,
            value=float(value),
            unit="cosine",
            n=2,
            range=(-1.0, 1.0),
            floor=Floor("19 of 20 random pairs of directions", chance_cosine(self.d_model)),
            reason=f"hidden_index {hidden_index}; no interval: one pair of halves",
        )

    def _resampled(
        self, name: str, unit: str, statistic: Any, floor: Floor, hidden_index: int
    ) -> Measurement:
        n = len(self.labels)
        found = resampled(
            name,
            float(statistic(np.ones((1, n)))[0]),
            n,
            statistic,
            clusters=self.goals,
            unit=unit,
            range=(0.0, 1.0),
            floor=floor,
            seed=item_seed(self.seed, "estimators", hidden_index),
            resamples=RESAMPLES,
        )
        where = f"hidden_index {hidden_index} at {self.position}"
        return replace(found, reason=f"{where}; {found.reason}" if found.reason else where)

    def _ranked(self, name: str, hidden_index: int) -> Ranked:
        row = self.scores[self.names.index(name), self._depth(hidden_index)]
        return Ranked.of(row, self.labels)

    def _depth(self, hidden_index: int) -> int:
        return self.hidden_indices.index(hidden_index)
