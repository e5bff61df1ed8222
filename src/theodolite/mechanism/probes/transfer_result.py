"""What transfer found: probes of every set on the held-out items of every set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from theodolite.data.prompts import shown
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.probes.calibration import auroc
from theodolite.mechanism.probes.held_out import Floats, Rows
from theodolite.runs.figures import FloorLine, heatmap, number
from theodolite.runs.panel import Figure

Cell = tuple[str, str]


@dataclass(frozen=True, eq=False)
class TransferResult:
    """Held-out scores of every set's items by probes of every set.

    Args:
        names: of the sets, in the order given.
        hidden_indices: the places they have in common.
        scores: (train, test) -> above 0 means the second class, axes (hidden_index, test item).
        cosines: (train, test) -> between the directions of probes fitted on all items, in raw
            coordinates, axis (hidden_index).
        labels, groups: by set, of its items.
        reasons: (train, test) -> why a cell is empty.
    """

    names: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    position: str
    probe: str
    whiten: bool
    scores: Mapping[Cell, Floats]
    cosines: Mapping[Cell, Floats]
    labels: Mapping[str, Rows]
    groups: Mapping[str, tuple[str, ...]]
    reasons: Mapping[Cell, str]

    def accuracy(self, train: str, test: str, hidden_index: int) -> Measurement:
        """Return the accuracy of one cell, clustered by group; not measured where it is empty."""
        name = f"transfer/{train}/{test}/{hidden_index}"
        if (train, test) in self.reasons:
            return not_measured(name, "accuracy", self.reasons[train, test])
        right = (self._at(train, test, hidden_index) > 0) == self.labels[test]
        return proportion(
            name,
            right.tolist(),
            clusters=self.groups[test],
            floor=Floor("always one class", self._majority(test)),
            unit="accuracy",
        )

    def auroc(self, train: str, test: str, hidden_index: int) -> float | None:
        """Return the area under the ROC curve of one cell; None where it is empty."""
        if (train, test) in self.reasons:
            return None
        return auroc(self._at(train, test, hidden_index), self.labels[test])

    def chosen(self, train: str) -> int:
        """Return the hidden index that classes a set's own held-out items best (ties: the first).

        The other sets play no part in the choice; on the diagonal it is the best of many.
        """
        own = [self.accuracy(train, train, h).value or 0.0 for h in self.hidden_indices]
        return self.hidden_indices[int(np.argmax(own))]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per cell and hidden index; what is empty says why."""
        return [
            self._row(train, test, h)
            for train in self.names
            for test in self.names
            for h in self.hidden_indices
        ]

    def measurements(self) -> list[Measurement]:
        """Return the accuracy of each cell at the layer its training set chooses."""
        found = []
        for train in self.names:
            h = self.chosen(train)
            for test in self.names:
                note = f"hidden_index {h}, the best of {shown(train)} on its own held-out items"
                cell = self.accuracy(train, test, h)
                reason = note if cell.value is not None else cell.reason
                found.append(replace(cell, name=f"transfer/{train}/{test}", reason=reason))
        return found

    def figure(self) -> Figure:
        """Return accuracy by training and test set, each row at the layer its set chooses."""
        cells = [
            [self.accuracy(train, test, self.chosen(train)).value for test in self.names]
            for train in self.names
        ]
        spec = heatmap(
            cells,
            x=self.names,
            y=self.names,
            x_title="tested on",
            y_title="trained on",
            value_title="accuracy",
            floor=FloorLine("always one class", max(map(self._majority, self.names))),
        )
        caption = (
            f"Accuracy of {self.probe} probes at {self.position} on requests whose goals they had "
            f"not seen in any set. Each row is read at the layer that suits its own set best: "
            f"{', '.join(f'{name} {self.chosen(name)}' for name in self.names)}."
        )
        return Figure("transfer", "What a probe is worth elsewhere", caption, spec, "transfer")

    def _row(self, train: str, test: str, hidden_index: int) -> dict[str, Any]:
        cell = self.accuracy(train, test, hidden_index)
        cosines = self.cosines.get((train, test))
        place = self.hidden_indices.index(hidden_index)
        return {
            "train": train,
            "test": test,
            "position": self.position,
            "probe": self.probe,
            "hidden_index": hidden_index,
            "layer": max(hidden_index - 1, 0),
            "accuracy": cell.value,
            "low": cell.low,
            "high": cell.high,
            "n": cell.n,
            "n_clusters": cell.n_clusters,
            "floor": self._majority(test),
            "auroc": self.auroc(train, test, hidden_index),
            "cosine": None if cosines is None else number(cosines[place]),
            "reason": self.reasons.get((train, test)),
        }

    def _at(self, train: str, test: str, hidden_index: int) -> Floats:
        found: Floats = self.scores[train, test][self.hidden_indices.index(hidden_index)]
        return found

    def _majority(self, test: str) -> float:
        share = float(self.labels[test].mean())
        return max(share, 1 - share)
