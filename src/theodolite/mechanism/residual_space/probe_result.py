"""The table of components as detectors: its figures, each with its floor, and its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured
from theodolite.measure.ranking import Ranked, auroc
from theodolite.mechanism.residual_space.baselines import Baseline, Nulls
from theodolite.text.suggest import did_you_mean

Floats = NDArray[np.float64]
COLUMNS = (
    "hidden_index", "component", "orientation", "threshold", "train_auroc", "auroc", "low", "high",
    "balanced_accuracy", "auprc", "tpr_at_1", "nll", "r", "reference_accuracy", "reference_margin",
    "random_high",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ProbeTable:
    """Every leading component of every depth as a detector; one entry per column.

    Args:
        label: what is told apart, "harmful" or "refused".
        states: whose projections are scored: "aligned", "base", or their "shift".
        names: of the components, like `L14-C6`.
        values: name of a figure -> axis (column). `auroc`, `low`, `high`, `balanced_accuracy`,
            `auprc`, `tpr_at_1` (share of positives at 1 % false ones), `nll` (nats) and `r` are of
            test goals; `train_auroc`, `orientation` and `threshold` of training goals;
            `reference_accuracy` and `reference_margin` are the paper's, on the rows it was fitted
            on; `random_high` is what 95 of 100 random directions stay below.
        baselines: what they stand beside.
        nulls: what chance reaches; None where it was not asked for.
        test_scores: oriented projections of test rows, axes (row, column).
        test_labels, test_goals: of the test rows.
        n_train: training rows.
        unlabelled: rows left out as they have no label.
        resamples, seed: of the intervals.
    """

    label: str
    states: str
    names: tuple[str, ...]
    values: Mapping[str, Floats]
    baselines: tuple[Baseline, ...]
    nulls: Nulls | None
    test_scores: Floats
    test_labels: NDArray[np.bool_]
    test_goals: tuple[str, ...]
    n_train: int
    unlabelled: int
    resamples: int = 1000
    seed: int = 0

    def place(self, name: str) -> int:
        """Return the column of a component.

        Raises: ConfigError: it is not in the table.
        """
        if name not in self.names:
            raise ConfigError(
                f"The table has no component {shown(name)}.", fix=did_you_mean(name, self.names)
            )
        return self.names.index(name)

    @property
    def chosen(self) -> str:
        """The component that training goals choose."""
        strength = np.abs(self.values["train_auroc"] - 0.5)
        return self.names[int(strength.argmax())]

    @property
    def dominant(self) -> str | None:
        """The first component at the depth that training goals choose for first components."""
        first = np.flatnonzero(self.values["component"] == 1)
        if not len(first):
            return None
        strength = np.abs(self.values["train_auroc"][first] - 0.5)
        return self.names[int(first[strength.argmax()])]

    def auroc(self, name: str) -> Measurement:
        """Return a component's AUROC on test goals; the floor is what random directions reach."""
        at = self.place(name)
        floor = Floor("chance", 0.5)
        if self.nulls is not None:
            high = float(self.values["random_high"][at])
            floor = Floor(f"95 of 100 random directions ({len(self.nulls.random)} drawn)", high)
        return self._area(f"{name}/{self.label}_auroc", self.test_scores[:, at], floor)

    def balanced_accuracy(self, name: str) -> Measurement:
        """Return a component's balanced accuracy on test goals, at the training threshold."""
        at = self.place(name)
        above = self.test_scores[:, at] > self.values["threshold"][at]
        truth = self.test_labels

        def statistic(weights: Floats) -> Floats:
            shares = [
                (weights[:, of] @ right[of]) / np.maximum(weights[:, of].sum(1), 1e-300)
                for of, right in ((truth, above), (~truth, ~above))
            ]
            whole = (weights[:, truth].sum(1) > 0) & (weights[:, ~truth].sum(1) > 0)
            return np.where(whole, (shares[0] + shares[1]) / 2, np.nan)

        return resampled(
            f"{name}/{self.label}_balanced_accuracy",
            float(self.values["balanced_accuracy"][at]),
            len(truth),
            statistic,
            unit="accuracy",
            floor=Floor("always one class", 0.5),
            **self._resampling,
        )

    def measurements(self) -> list[Measurement]:
        """Return the figures of the dominant component, the chosen one, and the baselines."""
        if self.dominant is None:
            why = "the space is empty: no component tells anything apart"
            return [not_measured(f"dominant/{self.label}_auroc", "auroc", why)]
        found = [
            replace(figure, name=f"dominant/{figure.name}")
            for figure in (self.auroc(self.dominant), self.balanced_accuracy(self.dominant))
        ]
        best = self.auroc(self.chosen)
        if self.nulls is not None:  # the best of many is beside the best of as many by chance
            floor = Floor("95 of 100 labellings shuffled by goal", self.nulls.shuffled_high)
            best = replace(best, floor=floor)
        found.append(replace(best, name=f"chosen/{best.name}"))
        for baseline in self.baselines:
            scores = baseline.scores[:, baseline.chosen]
            name = f"baseline/{baseline.name}/{self.label}_auroc"
            found.append(self._area(name, scores, Floor("chance", 0.5)))
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return a row per component."""
        rows = []
        for at, name in enumerate(self.names):
            numbers = {key: _plain(key, self.values[key][at]) for key in COLUMNS}
            rows.append({"name": name, "label": self.label, "states": self.states, **numbers})
        return rows

    def baseline_frame(self) -> list[dict[str, Any]]:
        """Return a row per baseline and depth; the last rows are what chance reaches."""
        depths = sorted({int(h) for h in self.values["hidden_index"]})
        rows: list[dict[str, Any]] = [
            {
                "baseline": b.name,
                "hidden_index": depths[h],
                "auroc": float(b.areas[h]),
                "chosen": h == b.chosen,
            }
            for b in self.baselines
            for h in range(len(b.areas))
        ]
        if self.nulls is not None:
            for name, areas in (
                ("random directions, mean", self.nulls.random.mean(0)),
                ("random directions, 95th percentile", self.nulls.random_high),
            ):
                rows += [
                    {
                        "baseline": name,
                        "hidden_index": depths[h],
                        "auroc": float(a),
                        "chosen": False,
                    }
                    for h, a in enumerate(areas)
                ]
        return rows

    def _area(self, name: str, scores: Floats, floor: Floor) -> Measurement:
        """Return the AUROC of scores of the test rows with its interval."""
        return resampled(
            name,
            auroc(scores, self.test_labels),
            len(scores),
            Ranked.of(scores, self.test_labels).auroc,
            unit="auroc",
            floor=floor,
            **self._resampling,
        )

    @property
    def _resampling(self) -> dict[str, Any]:
        """What all intervals of the table share."""
        reasons = {"no label": self.unlabelled} if self.unlabelled else {}
        return {
            "clusters": list(self.test_goals),
            "range": (0.0, 1.0),
            "unscored": Unscored(self.unlabelled, reasons, None, None),
            "resamples": self.resamples,
            "seed": self.seed,
        }


def _plain(key: str, value: float) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if key in ("hidden_index", "component", "orientation") else float(value)
