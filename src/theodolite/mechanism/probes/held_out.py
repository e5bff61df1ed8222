"""Held-out scores of two classes: how they are made, calibrated, and what they say of a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import mean, proportion, resampled
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.ranking import Ranked, auroc
from theodolite.mechanism.probes.calibration import ece, probabilities
from theodolite.mechanism.probes.classifiers import Design, Fit, fit
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Folds = Sequence[tuple[Rows, Rows]]
_RESAMPLES = 1000
_DRAWS = 200
_DECADES = 3
_HALVINGS = 60


def fit_apart(
    probe: str,
    x: Floats,
    labels: Rows,
    groups: Sequence[str],
    tests: Floats,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Fit:
    """Fit a probe; inner folds whose groups do not straddle choose its strength.

    Args:
        x: training states, axes (row, d_model).
        labels, groups: of the training rows.
        tests: states to score, axes (row, d_model).
        folds: inner ones.
    """
    inner = inner_folds(labels, groups, folds=folds, seed=item_seed(seed, "inner"))
    return fit(probe, Design.of(x, tests), labels, inner=inner, seed=seed)


def cross_fitted(
    probe: str,
    x: Floats,
    labels: Rows,
    groups: Sequence[str],
    folds: Folds,
    *,
    inner: int = 5,
    seed: int = 0,
) -> Floats:
    """Return the score of each row from a probe that saw neither it nor its group, axis (row).

    Args:
        x, labels, groups: as for `fit_apart`.
        folds: (training, held-out) rows; each row is held out once.
        inner: folds that choose the strength each time.
    """
    scores = np.full(len(labels), np.nan)
    for train, test in folds:
        own = [groups[i] for i in train]
        fitted = fit_apart(probe, x[train], labels[train], own, x[test], folds=inner, seed=seed)
        scores[test] = fitted.test_scores
    return scores


def spread(fitted: Fit) -> float:
    """Return the standard deviation of a probe's training scores; 1 where they are all equal."""
    return float(fitted.train_scores.std()) or 1.0


def smoothed_temperature(scores: Floats, labels: Rows) -> float:
    """Return the temperature that fits held-out scores, with labels that are never quite sure.

    Source: the targets of Platt 1999: n items of a class count as that class with probability
        (n + 1) / (n + 2). Without them scores that make no mistake would get a temperature of 0,
        and the detector would be certain of everything.

    Returns: between a thousandth and a thousand times the scores' mean size; 1 where all are 0.
    """
    size = float(np.abs(scores).mean())
    if size == 0:
        return 1.0
    doubt = 1 / (np.bincount(labels, minlength=2)[labels] + 2)
    target = np.where(labels == 1, 1 - doubt, doubt)
    low, high = -_DECADES * np.log(10), _DECADES * np.log(10)
    # The slope of the loss along the inverse temperature only rises, so halving finds its zero.
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        chances = probabilities(scores, size * np.exp(-middle))
        if float((chances - target) @ scores) < 0:
            low = middle
        else:
            high = middle
    return float(size * np.exp(-(low + high) / 2))


def figures(
    name: str,
    scores: Floats,
    chances: Floats,
    labels: Rows,
    groups: Sequence[str],
    *,
    seed: int,
) -> dict[str, Measurement]:
    """Return accuracy, AUROC, calibration error and Brier score of held-out scores.

    Args:
        name: what the figures' names begin with.
        scores: above 0 means class 1, axis (row).
        chances: calibrated probabilities of class 1, axis (row).
        labels, groups: of the rows; intervals are clustered by group.
    """
    share = float(labels.mean())
    by_group: dict[str, Any] = {"clusters": list(groups), "seed": seed}
    found = [
        proportion(
            f"{name}/accuracy",
            ((scores > 0) == labels).tolist(),
            unit="accuracy",
            floor=Floor("always one class", max(share, 1 - share)),
            **by_group,
        ),
        area_under_curve(f"{name}/auroc", scores, labels, groups, seed=seed),
        Measurement(
            name=f"{name}/ece",
            value=ece(chances, labels),
            unit="ece",
            n=len(labels),
            n_clusters=len(set(groups)),
            range=(0.0, 1.0),
            floor=Floor("perfectly calibrated, on as many items", _honest_ece(chances, seed)),
            reason="no interval: resampling items makes the error larger than it is",
        ),
        mean(
            f"{name}/brier",
            ((chances - labels) ** 2).tolist(),
            unit="brier",
            range=(0.0, 1.0),
            floor=Floor("always the base rate", share * (1 - share)),
            **by_group,
        ),
    ]
    return {figure.name.removeprefix(f"{name}/"): figure for figure in found}


def area_under_curve(
    name: str, scores: Floats, labels: Rows, groups: Sequence[str], *, seed: int
) -> Measurement:
    """Return the AUROC of scores with an interval clustered by group.

    Args:
        scores: both classes must occur, axis (row).
        labels, groups: of the rows.
    """
    return resampled(
        name,
        auroc(scores, labels),
        len(labels),
        Ranked.of(scores, labels).auroc,
        clusters=list(groups),
        unit="auroc",
        range=(0.0, 1.0),
        floor=Floor("chance", 0.5),
        resamples=_RESAMPLES,
        seed=seed,
    )


def _honest_ece(chances: Floats, seed: int) -> float:
    """Return the mean calibration error if every probability were right: what chance alone adds."""
    rng = np.random.default_rng(item_seed(seed, "calibrated"))
    drawn = rng.random((_DRAWS, len(chances))) < chances
    return float(np.mean([ece(chances, labels) for labels in drawn]))
