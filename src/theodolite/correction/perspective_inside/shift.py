"""How far the stream moves along the direction of toxic text, against what chance moves it.

Units are class gaps: 1 is the way from the mean of the harmless texts to that of the toxic ones at
the same depth, so depths compare although the stream grows.

Traps this file exists for:
  - a direction that does not tell held-out texts apart means nothing, however much moves along it;
  - any longer chat moves the stream: the placebo has as many turns, and its shift is taken off;
  - a random direction crosses a stream of few strong axes at right angles and is easily beaten, so
    directions of shuffled labels, which lie within the texts' own spread, stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from theodolite.measure.closed_form import Clusters, Floats
from theodolite.measure.exchange import Exchange
from theodolite.measure.intervals import mean, resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.ranking import Ranked, mid_ranks, rank_areas
from theodolite.mechanism.directions.contrast import TEST, Contrast, Labels
from theodolite.mechanism.directions.estimator import Estimate
from theodolite.mechanism.directions.means import DifferenceInMeans
from theodolite.mechanism.random_vectors import random_vector
from theodolite.text.hashing import item_seed

NAME: Final = "perspective_taking"
DRAWS: Final = 200
LEVEL: Final = 0.95
_LABELLINGS: Final = 999
OVER: Final = "over_placebo"
UNIT: Final = "class gaps"


@dataclass(frozen=True, eq=False)
class InnerShift:
    """Shifts along the direction, and what chance directions give.

    Args:
        ids, goals: of the prompts; intervals are clustered by goal.
        method, placebo: names of the two arms.
        hidden_indices: of the layer axes.
        shifts: quantity -> class gaps, axes (prompt, layer); quantities are both arms, and their
            difference `over_placebo`.
        random, shuffled: quantity -> what 95 % of such directions stay below, axis (layer).
        auroc: of the direction on held-out texts, one per layer.
        best: the layer's place with the best separation on the texts to choose by.
        texts: counts of toxic and other texts, by split.
    """

    ids: tuple[str, ...]
    goals: tuple[str, ...]
    method: str
    placebo: str
    hidden_indices: tuple[int, ...]
    shifts: Mapping[str, Floats]
    random: Mapping[str, Floats]
    shuffled: Mapping[str, Floats]
    auroc: tuple[Measurement, ...]
    best: int
    texts: Mapping[str, tuple[int, int]]

    @property
    def quantities(self) -> tuple[str, ...]:
        """Both arms, and their difference."""
        return tuple(self.shifts)

    @property
    def readable(self) -> bool:
        """Whether it tells held-out texts apart better than shuffled labels let it, at 95 %."""
        worth = self.auroc[self.best]
        return (
            worth.value is not None and worth.floor is not None and worth.value > worth.floor.value
        )

    @property
    def visible(self) -> bool:
        """Whether the method moves the stream more than its placebo, and than chance directions."""
        one = self.measured(OVER, self.best)
        if not self.readable or one.value is None or one.low is None or one.high is None:
            return False
        band = max(float(kind[OVER][self.best]) for kind in (self.random, self.shuffled))
        return one.low * one.high > 0 and abs(one.value) > band

    def measured(self, quantity: str, place: int, *, headline: bool = True) -> Measurement:
        """Return the mean shift at a layer, its floor the random directions on its side.

        Args:
            quantity: of `quantities`.
            place: on the layer axis.
            headline: name it without its depth.
        """
        values = self.shifts[quantity][:, place]
        side = -1.0 if values.mean() < 0 else 1.0
        named = quantity if quantity == OVER else f"{quantity}/shift"
        at = "" if headline else f"/L{self.hidden_indices[place]}"
        return mean(
            f"{NAME}/{named}{at}",
            values.tolist(),
            clusters=self.goals,
            unit=UNIT,
            floor=Floor("95 % of random directions", side * float(self.random[quantity][place])),
        )

    def measurements(self) -> list[Measurement]:
        """Return the figures at the chosen depth: the direction's worth, then the shifts."""
        return [self.auroc[self.best], *(self.measured(q, self.best) for q in self.quantities)]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per depth: how good the direction is, and every shift with its bands."""
        return [self._row(place) for place in range(len(self.hidden_indices))]

    def _row(self, place: int) -> dict[str, Any]:
        worth = self.auroc[place]
        row: dict[str, Any] = {
            "hidden_index": self.hidden_indices[place],
            "chosen": place == self.best,
            "auroc": worth.value,
            "auroc_low": worth.low,
            "auroc_high": worth.high,
            "auroc_by_chance": None if worth.floor is None else worth.floor.value,
        }
        for quantity in self.quantities:
            one = self.measured(quantity, place, headline=False)
            row |= {quantity: one.value, f"{quantity}_low": one.low, f"{quantity}_high": one.high}
            row[f"{quantity}_random"] = float(self.random[quantity][place])
            row[f"{quantity}_shuffled"] = float(self.shuffled[quantity][place])
        return row

    def outcomes(self) -> list[dict[str, Any]]:
        """Return what each prompt adds to each headline figure, for comparing two runs."""
        return [
            {
                "measurement": self.measured(quantity, self.best).name,
                "id": self.ids[row],
                "sample": 0,
                "outcome": float(self.shifts[quantity][row, self.best]),
                "cluster": self.goals[row],
            }
            for quantity in self.quantities
            for row in range(len(self.ids))
        ]


def inner_shift(
    contrast: Contrast,
    before: Floats,
    after: Mapping[str, Floats],
    *,
    ids: tuple[str, ...],
    goals: tuple[str, ...],
    draws: int = DRAWS,
    seed: int = 0,
) -> InnerShift:
    """Return the shifts of two arms along the direction of a contrast.

    Args:
        contrast: states of toxic (positive) and other texts at the depths that were read.
        before: the stream where the original completion begins, axes (prompt, layer, d_model).
        after: method and placebo, in this order -> the same where the rewritten one begins.
        ids, goals: of the prompts.
        draws: chance directions of each kind.
        seed: of what is drawn.
    """
    estimate = DifferenceInMeans().fit(contrast, seed=seed)
    method, placebo = after
    moved = {arm: states - before for arm, states in after.items()}
    moved[OVER] = after[method] - after[placebo]
    layers = range(len(contrast.hidden_indices))
    shifts = {
        quantity: np.stack([_along(contrast, estimate, delta, place) for place in layers], axis=1)
        for quantity, delta in moved.items()
    }
    centres = {quantity: delta.mean(0) for quantity, delta in moved.items()}
    bands = [
        _bands(contrast, estimate, centres, chance)
        for chance in (_random(contrast, draws, seed), _shuffled(contrast, draws, seed))
    ]
    scores = [estimate.scores[h] for h in contrast.hidden_indices]
    return InnerShift(
        ids=ids,
        goals=goals,
        method=method,
        placebo=placebo,
        hidden_indices=contrast.hidden_indices,
        shifts=shifts,
        random=bands[0],
        shuffled=bands[1],
        auroc=tuple(_auroc(contrast, estimate, h, seed) for h in contrast.hidden_indices),
        best=int(np.argmax(scores)),
        texts=_counts(contrast),
    )


def _along(contrast: Contrast, estimate: Estimate, delta: Floats, place: int) -> Floats:
    """Return how far each prompt moves along the direction at a layer, in class gaps."""
    hidden_index = contrast.hidden_indices[place]
    along = estimate.leading(hidden_index).projections(delta[:, place])
    return np.asarray(along / estimate.gaps[hidden_index])


def _bands(
    contrast: Contrast, estimate: Estimate, centres: Mapping[str, Floats], chance: Floats
) -> dict[str, Floats]:
    """Return what most chance directions stay below in size, in class gaps, by quantity.

    Args:
        centres: mean shifts, axes (layer, d_model).
        chance: unit vectors, axes (layer, draw, d_model).
    """
    gaps = np.array([estimate.gaps[h] for h in contrast.hidden_indices])
    return {
        quantity: np.quantile(np.abs(np.einsum("ld,lrd->lr", centre, chance)), LEVEL, axis=1) / gaps
        for quantity, centre in centres.items()
    }


def _random(contrast: Contrast, draws: int, seed: int) -> Floats:
    return np.stack(
        [
            np.stack(
                [
                    random_vector(contrast.d_model, 1.0, item_seed(seed, "random", h, draw))
                    for draw in range(draws)
                ]
            )
            for h in contrast.hidden_indices
        ]
    )


def _shuffled(contrast: Contrast, draws: int, seed: int) -> Floats:
    """Return directions between the means of classes that were dealt out anew."""
    rows = contrast.fitting
    positive = contrast.positive[rows]
    dice = np.random.default_rng(item_seed(seed, "shuffled labels"))
    dealt = np.stack([dice.permutation(positive) for _ in range(draws)])
    weights = np.where(dealt, 1 / positive.sum(), -1 / (~positive).sum())
    found = np.stack([weights @ contrast.at(h)[rows] for h in contrast.hidden_indices])
    lengths = np.linalg.norm(found, axis=2, keepdims=True)
    return np.asarray(np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0))


def _auroc(contrast: Contrast, estimate: Estimate, hidden_index: int, seed: int) -> Measurement:
    name = f"{NAME}/direction/auroc"
    if not contrast.has(TEST):
        return not_measured(name, "auroc", "the held-out texts are not of both kinds")
    rows = contrast.rows_of(TEST)
    along = estimate.leading(hidden_index).projections(contrast.at(hidden_index)[rows])
    labels = contrast.labels[rows]
    goals = [goal for goal, held in zip(contrast.goals, rows, strict=True) if held]
    ranked = Ranked.of(along, labels)
    return resampled(
        name,
        float(ranked.auroc(np.ones((1, len(along))))[0]),
        len(along),
        ranked.auroc,
        clusters=goals,
        unit="auroc",
        range=(0.0, 1.0),
        floor=Floor("95 % of shuffled labels", _by_chance(along, labels, goals, seed)),
        seed=seed,
    )


def _by_chance(along: Floats, labels: Labels, goals: Sequence[str], seed: int) -> float:
    """Return the AUROC that 95 % of labels reach which were exchanged as goals allow.

    Note: a test that holds where both kinds are parted without error, and no interval is.
    """
    exchange = Exchange.of(labels, Clusters.of(goals, len(labels)))
    dice = np.random.default_rng(item_seed(seed, "held-out labels"))
    dealt = np.stack([exchange.draw(dice) for _ in range(_LABELLINGS)]) == 1
    return float(np.quantile(rank_areas(mid_ranks(along[:, None]), dealt), LEVEL))


def _counts(contrast: Contrast) -> dict[str, tuple[int, int]]:
    """Return split -> toxic and other texts."""
    splits = np.array(contrast.splits)
    return {
        split: (
            int((contrast.positive & (splits == split)).sum()),
            int((~contrast.positive & (splits == split)).sum()),
        )
        for split in dict.fromkeys(contrast.splits)
    }
