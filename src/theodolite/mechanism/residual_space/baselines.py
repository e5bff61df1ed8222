"""What a component must be set beside: probes that know the labels, and chance.

Everything is fitted and chosen on training goals, and measured on others. The layer of a probe that
is fitted to the labels is chosen by inner folds of training goals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.exchange import Exchange
from theodolite.measure.ranking import mid_ranks, rank_areas
from theodolite.mechanism.probes.classifiers import Design, fit
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.mechanism.residual_space.scores import areas, best_thresholds
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]
DRAWS = 200
# Probes, not the estimators of `mechanism.directions`, which keep the unit vector of the same fits:
# a table of detectors needs the intercept too, and the inner accuracy that chooses the depth; its
# difference in means is the rule of the nearest class mean, on standardised states.
PROBES: Final = {
    "difference in means": "difference_of_means",
    "logistic probe": "logistic",
    "shrinkage LDA": "lda",
}


@dataclass(frozen=True, eq=False)
class Baseline:
    """One way to tell the classes apart at every depth.

    Args:
        name: of the way.
        chosen: the place, on the hidden_index axis, that training goals choose.
        scores: of test rows, axes (row, hidden_index).
        thresholds: axis (hidden_index).
        areas: AUROC on test goals, axis (hidden_index).
    """

    name: str
    chosen: int
    scores: Floats
    thresholds: Floats
    areas: Floats


@dataclass(frozen=True, eq=False)
class Nulls:
    """What chance reaches.

    Args:
        random: AUROC on test goals of random unit vectors, oriented on training goals; axes (draw,
            hidden_index).
        shuffled: AUROC on test goals of the component that is best on training goals, with the
            labels of whole goals shuffled in both; axis (draw).
    """

    random: Floats
    shuffled: Floats

    @property
    def random_high(self) -> Floats:
        """The 95th percentile of the random vectors at each depth; axis (hidden_index)."""
        return np.asarray(np.quantile(self.random, 0.95, axis=0))

    @property
    def shuffled_high(self) -> float:
        """The 95th percentile of the shuffled labels."""
        return float(np.quantile(self.shuffled, 0.95))


def fitted_baselines(
    train: Floats,
    labels: Truth,
    groups: Sequence[str],
    test: Floats,
    test_labels: Truth,
    *,
    seed: int,
) -> list[Baseline]:
    """Return the probes that are fitted to the labels, at every depth.

    Args:
        train, test: states, axes (row, hidden_index, d_model).
        labels, groups, test_labels: of the rows.
        seed: of the inner folds.
    """
    inner = inner_folds(labels.astype(np.int64), groups, seed=item_seed(seed, "baselines"))
    designs = [Design.of(train[:, h], test[:, h]) for h in range(train.shape[1])]
    found = []
    for name, probe in PROBES.items():
        fits = [fit(probe, d, labels.astype(np.int64), inner=inner, seed=seed) for d in designs]
        scores = np.stack([one.test_scores for one in fits], axis=1)
        chosen = int(np.argmax([one.inner_accuracy for one in fits]))
        zeros = np.zeros(len(fits))
        found.append(Baseline(name, chosen, scores, zeros, areas(scores, test_labels)))
    return found


def best_of(
    train_scores: Floats,
    labels: Truth,
    test_scores: Floats,
    test_labels: Truth,
    depths: int,
    *,
    what: str = "components",
) -> Baseline:
    """Return the direction that is best on training goals at each depth, oriented there.

    Args:
        train_scores, test_scores: projections, axes (row, hidden_index * component).
        labels, test_labels: of the rows.
        depths: how many hidden indices the columns belong to, equally many each.
        what: the directions are.
    """
    found = areas(train_scores, labels)
    strength = np.abs(found - 0.5).reshape(depths, -1)
    best = strength.argmax(1) + np.arange(depths) * strength.shape[1]
    signs = np.where(found[best] < 0.5, -1.0, 1.0)
    scores = test_scores[:, best] * signs
    return Baseline(
        name=f"best of {strength.shape[1]} {what}",
        chosen=int(strength.max(1).argmax()),
        scores=scores,
        thresholds=best_thresholds(train_scores[:, best] * signs, labels),
        areas=areas(scores, test_labels),
    )


def random_areas(
    train: Floats, labels: Truth, test: Floats, test_labels: Truth, *, draws: int, seed: int
) -> Floats:
    """Return the AUROC on test goals of random unit vectors oriented on training goals.

    Args:
        train, test: states, axes (row, hidden_index, d_model).
        draws: number of vectors, the same at every depth.

    Returns: axes (draw, hidden_index).
    """
    rng = np.random.default_rng(item_seed(seed, "random directions", train.shape[2]))
    vectors = rng.standard_normal((train.shape[2], draws))
    vectors /= np.linalg.norm(vectors, axis=0)
    found = []
    for h in range(train.shape[1]):
        up = areas(train[:, h] @ vectors, labels) >= 0.5
        area = areas(test[:, h] @ vectors, test_labels)
        found.append(np.where(up, area, 1 - area))
    return np.stack(found, axis=1)


def shuffled_areas(
    train_scores: Floats,
    train: Exchange,
    test_scores: Floats,
    test: Exchange,
    *,
    draws: int,
    seed: int,
) -> Floats:
    """Return the AUROC on test goals of the column that is best on training goals, by chance.

    Labels of whole goals are shuffled in either part, so all that is left is the choice, and forms
    of one goal stay as alike as they are.

    Args:
        train_scores, test_scores: axes (row, column).
        train, test: the labels of the rows, and whose may be exchanged.

    Returns: axis (draw).
    """
    rng = np.random.default_rng(item_seed(seed, "shuffled labels"))
    first = np.stack([train.draw(rng) for _ in range(draws)])
    second = np.stack([test.draw(rng) for _ in range(draws)])
    trained = rank_areas(mid_ranks(train_scores), first)
    tested = rank_areas(mid_ranks(test_scores), second)
    best = np.abs(trained - 0.5).argmax(1)[:, None]
    up = np.take_along_axis(trained, best, 1)[:, 0] >= 0.5
    area = np.take_along_axis(tested, best, 1)[:, 0]
    return np.where(up, area, 1 - area)
