"""What probes found: predictions at every place, and accuracy by place beside its floors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.bands import resplit_interval, simultaneous_band
from theodolite.measure.measurement import Floor, Interval

# Kinds whose splits test overlapping items anew; the others test every item about once.
RESPLIT: Final = ("random", "group")


@dataclass(frozen=True)
class Place:
    """One place of one network: variant 0 is the model, the others are untrained."""

    variant: int
    position: str
    hidden_index: int


@dataclass(frozen=True)
class SplitFacts:
    """What a table says of one split."""

    kind: str
    repeat: int
    held_out: str | None
    n_train: int
    n_test: int


@dataclass(frozen=True, eq=False)
class Rows:
    """The test items of all splits, one after the other.

    Args:
        item, split, truth: axis (row); truth is the class.
        ids, groups: of the items; axis (item).
    """

    item: NDArray[np.int64]
    split: NDArray[np.int64]
    truth: NDArray[np.int64]
    ids: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """Accuracy by hidden index with its interval and the way that was made."""

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    method: str


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """Predictions of every probe at every place for every test item.

    Args:
        predicted: class, axes (variant, position, hidden_index, probe, row).
        scores: of the model's own probes (binary: > 0 is class 1); (position, hidden_index, probe,
            row).
        control: share of permuted labellings that are told right after fitting them; axes as
            `scores`.
        inner: the first probe's accuracy on inner folds, NaN for the others; axes (variant,
            position, hidden_index, probe, split).
        control_train: training accuracy on permuted labels; axes (position, hidden_index, probe,
            split).
        floors: class predicted from the words alone, by text floor; axis (row).
        significance: family-wise permutation p by position; axis (hidden_index).
        headline, why: the kind of split the headline stands on, and why.
    """

    task: str
    classes: tuple[str, ...]
    positions: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    probes: tuple[str, ...]
    rows: Rows
    splits: tuple[SplitFacts, ...]
    headline: str
    why: str
    predicted: NDArray[np.int8]
    scores: NDArray[np.float32]
    control: NDArray[np.float32]
    inner: NDArray[np.float64]
    control_train: NDArray[np.float64]
    floors: Mapping[str, NDArray[np.int64]]
    significance: Mapping[str, NDArray[np.float64]]
    warnings: tuple[str, ...]
    seed: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of split, in order."""
        return tuple(dict.fromkeys(split.kind for split in self.splits))

    @property
    def untrained(self) -> int:
        """How many untrained networks stand beside the model."""
        return len(self.predicted) - 1

    @property
    def middle(self) -> int:
        """The hidden index half way up."""
        return self.hidden_indices[len(self.hidden_indices) // 2]

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is right; axes as `predicted`."""
        return np.asarray(self.predicted == self.rows.truth)

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """Return which rows belong to a kind of split."""
        kinds = np.array([split.kind for split in self.splits])
        return np.asarray((kinds == kind)[self.rows.split])

    def n_items(self, kind: str) -> int:
        """Return how many items a kind tests; some of them in several splits."""
        return len(np.unique(self.rows.item[self.of_kind(kind)]))

    def splits_of(self, kind: str) -> list[int]:
        """Return the numbers of a kind's splits."""
        return [i for i, split in enumerate(self.splits) if split.kind == kind]

    def groups_of(self, rows: NDArray[np.bool_]) -> list[str]:
        """Return the cluster of each of these rows."""
        return [self.rows.groups[i] for i in self.rows.item[rows]]

    def curve(self, kind: str, position: str, probe: str, *, variant: int = 0) -> Curve:
        """Return accuracy by hidden index.

        Returns: for resplits their mean with the corrected resampled interval, layer by layer;
            else the share of right answers with a band that holds for all layers at once.
        """
        at = (variant, self.positions.index(position), slice(None), self.probes.index(probe))
        rows = self.of_kind(kind)
        outcomes = self.correct[at][:, rows].astype(np.float64)
        if kind in RESPLIT:
            return self._resplit_curve(kind, outcomes)
        low, high = simultaneous_band(outcomes, self.groups_of(rows), seed=self.seed)
        return Curve(outcomes.mean(1), low, high, "simultaneous over layers")

    def _resplit_curve(self, kind: str, outcomes: NDArray[np.float64]) -> Curve:
        ends = [self.resplit_ends(kind, row) for row in outcomes]
        low = np.array([np.nan if end is None else end.low for end in ends])
        high = np.array([np.nan if end is None else end.high for end in ends])
        numbers, split = self.splits_of(kind), self.rows.split[self.of_kind(kind)]
        by_split = np.stack([outcomes[:, split == s].mean(1) for s in numbers], axis=1)
        return Curve(by_split.mean(1), low, high, "corrected resampled t, one layer at a time")

    def untrained_curve(self, kind: str, position: str, probe: str) -> NDArray[np.float64] | None:
        """Return the mean accuracy of the untrained networks by hidden index; None without any."""
        if not self.untrained:
            return None
        at = (slice(1, None), self.positions.index(position), slice(None), self.probes.index(probe))
        return np.asarray(self.correct[at][..., self.of_kind(kind)].mean((0, 2)))

    def control_curve(self, kind: str, position: str, probe: str) -> NDArray[np.float64]:
        """Return accuracy on permuted labels, after fitting them, by hidden index."""
        at = (self.positions.index(position), slice(None), self.probes.index(probe))
        return np.asarray(self.control[at][:, self.of_kind(kind)].mean(1, dtype=np.float64))

    def text_floors(self, kind: str) -> dict[str, float]:
        """Return the accuracy of every text floor on the rows of a kind, the best first."""
        rows = self.of_kind(kind)
        found = {
            name: float((guess == self.rows.truth)[rows].mean())
            for name, guess in self.floors.items()
        }
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def text_floor(self, kind: str) -> Floor:
        """Return the best text floor of a kind; picking the best speaks against the probe."""
        name, value = next(iter(self.text_floors(kind).items()))
        return Floor(f"words alone ({name.replace('_', ' ')})", value)

    def text_outcomes(self, kind: str) -> NDArray[np.bool_]:
        """Return whether the best text floor of a kind is right, by row of the kind."""
        best = next(iter(self.text_floors(kind)))
        return np.asarray(self.floors[best] == self.rows.truth)[self.of_kind(kind)]

    def majority(self, kind: str) -> float:
        """Return the share of the largest class among the rows of a kind."""
        truth = self.rows.truth[self.of_kind(kind)]
        return float(np.bincount(truth).max() / len(truth))

    def chosen(self, kind: str, *, variant: int = 0) -> list[tuple[str, int]]:
        """Return the (position, hidden_index) of each split, best on the inner folds of training.

        The first probe decides; among equals the earliest layer, then the first position. Where
        nothing was fitted on inner folds, the middle of the network, fixed beforehand.
        """
        inner = self.inner[variant, :, :, 0]
        if not np.isfinite(inner).all():
            return [(self.positions[0], self.middle)] * len(self.splits_of(kind))
        places = []
        for split in self.splits_of(kind):
            flat = int(inner[:, :, split].T.argmax())
            index, position = divmod(flat, len(self.positions))
            places.append((self.positions[position], self.hidden_indices[index]))
        return places

    def chosen_rows(self, kind: str, *, variant: int = 0) -> NDArray[np.bool_]:
        """Return whether each row of a kind is right at its split's chosen place."""
        chosen = self.chosen(kind, variant=variant)
        return self._at_chosen(kind, self.correct[variant], chosen).astype(bool)

    def chosen_control(self, kind: str) -> NDArray[np.float64]:
        """Return how far permuted labels are told right, by row, at the model's chosen places."""
        return self._at_chosen(kind, self.control, self.chosen(kind))

    def _at_chosen(
        self, kind: str, values: NDArray[Any], places: list[tuple[str, int]]
    ) -> NDArray[np.float64]:
        """Return the first probe's values, by row of a kind, each at its split's place.

        Args:
            values: axes (position, hidden_index, probe, row).
        """
        found = np.zeros(len(self.rows.item))
        for split, (position, index) in zip(self.splits_of(kind), places, strict=True):
            rows = self.rows.split == split
            where = (self.positions.index(position), self.hidden_indices.index(index), 0)
            found[rows] = values[where][rows]
        return found[self.of_kind(kind)]

    def untrained_rows(self, kind: str) -> NDArray[np.float64]:
        """Return the share of untrained networks that are right, each at its own chosen places."""
        variants = range(1, self.untrained + 1)
        return np.asarray(np.mean([self.chosen_rows(kind, variant=v) for v in variants], axis=0))

    def control_capacity(self, kind: str) -> float:
        """Return training accuracy on permuted labels at the chosen places."""
        found = [
            self.control_train[
                self.positions.index(position), self.hidden_indices.index(index), 0, split
            ]
            for split, (position, index) in zip(
                self.splits_of(kind), self.chosen(kind), strict=True
            )
        ]
        return float(np.mean(found))

    def resplit_ends(self, kind: str, own: NDArray[np.float64]) -> Interval | None:
        """Return the corrected resampled interval of the mean over a kind's resplits.

        Args:
            own: outcome of each row of the kind.
        """
        split, numbers = self.rows.split[self.of_kind(kind)], self.splits_of(kind)
        first = self.splits[numbers[0]]
        values = [float(own[split == s].mean()) for s in numbers]
        return resplit_interval(values, first.n_test / first.n_train, range=(0.0, 1.0))

    def place_words(self, kind: str) -> str:
        """Say where the chosen places lie."""
        places = self.chosen(kind)
        indices = [index for _, index in places]
        low, high = min(indices), max(indices)
        at = f"hidden_index {low}" if low == high else f"hidden_index {low} to {high}"
        positions = ", ".join(dict.fromkeys(position for position, _ in places))
        how = "chosen on inner folds of the training items"
        if not np.isfinite(self.inner[0, :, :, 0]).all():
            how = "the middle of the network, fixed beforehand"
        return f"{at} at {positions}, {how}"
