"""Weak classifiers of hidden states, all fitted through one Gram matrix per training set.

A `Design` is one training set with its test rows: standardised on the training rows only, with the
inner products of rows worked out once. Five probes, every labelling of the rows (the real one and
its permuted controls), every inner fold and every strength of regularisation share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.probes import discriminants, logistic, multilayer
from theodolite.mechanism.probes.logistic import Dual, Rows
from theodolite.mechanism.probes.logistic_folds import Basis, HeldOut, held_out
from theodolite.text.suggest import did_you_mean

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]

PROBES = ("logistic", "difference_of_means", "lda", "svm", "mlp")
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Below this share of its mean a coordinate's spread is the noise of a float32 forward.
_STILL = 1e-6


@dataclass(frozen=True, eq=False)
class Design:
    """One training set and its test rows, standardised, with their inner products.

    Args:
        train, test: standardised states; axes (row, coordinate). Both are divided by the training
            rows' spread; a coordinate that does not move there is 0 in both.
        gram: inner products of training rows; axes (row, row).
        cross: inner products of test rows with training rows; axes (test row, row).
        centre, scale: of the training rows, in the states' own units; axis (coordinate); the scale
            of a coordinate that does not move is infinite.
    """

    train: Floats
    test: Floats
    gram: Floats
    cross: Floats
    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, x_train: NDArray[np.floating], x_test: NDArray[np.floating]) -> Design:
        """Standardise states on the training rows.

        Args:
            x_train, x_test: states; axes (row, coordinate).

        Raises:
            DataError: a state is not finite, or training and test rows differ in width.
        """
        train, test = _states(x_train, "training"), _states(x_test, "test")
        if len(train) < 2 or train.shape[1] != test.shape[1]:
            raise DataError(
                f"{train.shape[0]} training rows of width {train.shape[1]} do not go with test "
                f"rows of width {test.shape[1]}.",
                fix="Give at least two training rows, and test rows of the same layer and model.",
            )
        centre, spread = train.mean(0), train.std(0)
        scale = np.where(spread > _STILL * np.abs(centre), spread, np.inf)
        train, test = (train - centre) / scale, (test - centre) / scale
        return cls(train, test, train @ train.T, test @ train.T, centre, scale)

    def part(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> Design:
        """Return some training rows as training set, others as test rows, in the same units."""
        gram, cross = self.gram[np.ix_(train, train)], self.gram[np.ix_(test, train)]
        return Design(self.train[train], self.train[test], gram, cross, self.centre, self.scale)

    @cached_property
    def rows(self) -> Rows:
        """The training rows as the solvers take them."""
        return Rows.of(self.train, self.gram)

    @cached_property
    def basis(self) -> Basis:
        """The training rows in the eigenbasis of their inner products."""
        return Basis.of(self.gram)

    @cached_property
    def components(self) -> tuple[multilayer.Single, multilayer.Single]:
        """Leading principal components of training and test rows; axes (row, component)."""
        return multilayer.components(self.basis.rows, self.basis.values, self.cross)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted probe.

    Args:
        probe: its name.
        train_scores, test_scores: above 0 means class 1, axis (row), for two classes; else one
            score per class, axes (row, class), and the largest wins. Scores are like log-odds; only
            calibration makes them so.
        strength: the C that the inner folds chose; None for probes without one.
        linear: weights and intercept in the states' own units; None for the perceptron.
    """

    probe: str
    train_scores: Floats
    test_scores: Floats
    strength: float | None
    linear: tuple[Floats, Floats] | None
    _inner: Callable[[], float]

    def direction(self) -> tuple[Floats, Floats] | None:
        """Return weights and intercept in the states' own units, or None for the perceptron.

        Returns: weights (coordinate) and intercept () for two classes; else (coordinate, class)
            and (class): score = states @ weights + intercept.
        """
        return self.linear

    @property
    def predicted(self) -> Labels:
        """The class of each test row."""
        return _decided(self.test_scores)

    @property
    def train_predicted(self) -> Labels:
        """The class that each training row is given."""
        return _decided(self.train_scores)

    @property
    def score(self) -> Floats:
        """One number per test row: its score, or how far its class leads where there are more."""
        if self.test_scores.ndim == 1:
            return self.test_scores
        second, first = np.sort(self.test_scores, axis=1)[:, -2:].T
        return np.asarray(first - second)

    @cached_property
    def inner_accuracy(self) -> float:
        """Share of the inner folds' held-out rows that are right; NaN without usable folds.

        Worked out when first asked for, as it costs the probes without a strength further fits.
        """
        return self._inner()


def fit(
    name: str, design: Design, labels: Labels, *, inner: Folds, classes: int = 2, seed: int = 0
) -> Fit:
    """Fit one probe; as `fit_many` with one labelling."""
    return fit_many(name, design, np.asarray(labels)[None], inner, classes=classes, seed=seed)[0]


def fit_many(
    name: str,
    design: Design,
    labels_matrix: Labels,
    inner: Folds,
    *,
    classes: int = 2,
    seed: int = 0,
) -> list[Fit]:
    """Fit one probe for several labellings of the same training rows.

    Args:
        name: one of `PROBES`.
        design: the training set.
        labels_matrix: the class of each training row, 0 to `classes - 1`; axes (labelling, row).
        inner: folds (training, held-out) of the training rows. They choose the strength of
            `logistic` and `svm`: the best accuracy, then the least log-loss, then the smaller; a
            fold without training rows of a class is passed over.
        classes: number of classes.
        seed: of the perceptron's starting weights.

    Returns: one fit per labelling.

    Raises:
        ConfigError: there is no such probe.
        DataError: labels and rows differ in number, a label is unknown, or a class is missing.

    Note: the folds' rows are in the units of the whole training set, as if it had been
        standardised before; test rows decide nothing.
    """
    if name not in PROBES:
        raise ConfigError(f"There is no probe `{name}`.", fix=did_you_mean(name, PROBES))
    labellings = _labels(labels_matrix, len(design.train), classes)
    if name in ("logistic", "svm"):
        return [_tuned(name, design, labels, inner, classes=classes) for labels in labellings]
    return [
        _untuned(name, design, labels, inner, classes=classes, seed=seed) for labels in labellings
    ]


def _untuned(
    name: str, design: Design, labels: Labels, inner: Folds, *, classes: int, seed: int
) -> Fit:
    """Fit a probe that has no strength to choose."""

    def accuracy() -> float:
        right = []
        for train, val in inner:
            if len(np.unique(labels[train])) == classes:
                part = design.part(train, val)
                fitted = _untuned(name, part, labels[train], (), classes=classes, seed=seed)
                right.append(fitted.predicted == labels[val])
        return float(np.concatenate(right).mean()) if right else float("nan")

    if name == "mlp":
        scores = multilayer.multilayer(*design.components, labels, classes, seed)
        return Fit(name, *scores, None, None, accuracy)
    if name == "lda":
        rule = discriminants.lda(design.gram, design.train.shape[1], labels, classes)
    else:
        rule = discriminants.difference_of_means(design.gram, labels, classes)
    return _linear(name, design, *rule, None, accuracy)


def _linear(
    name: str,
    design: Design,
    dual: Floats,
    bias: Floats,
    strength: float | None,
    inner: Callable[[], float],
) -> Fit:
    """Return the fit of a rule that is a sum of training rows.

    Args:
        dual: axes (row, class); of two classes the difference counts, and one stands for class 1.
        bias: axis (class).
    """
    if dual.shape[1] == 2:
        dual, bias = dual[:, 1] - dual[:, 0], bias[1] - bias[0]
    elif dual.shape[1] == 1:
        dual, bias = dual[:, 0], bias[0]
    scores = design.gram @ dual + bias, design.cross @ dual + bias
    weights = ((design.train.T @ dual).T / design.scale).T
    return Fit(name, *scores, strength, (weights, bias - design.centre @ weights), inner)


def _tuned(name: str, design: Design, labels: Labels, inner: Folds, *, classes: int) -> Fit:
    """Choose the strength by the inner folds and fit all training rows with it.

    More than two classes are each set against all others, with one strength for all.
    """
    folds = [fold for fold in inner if len(np.unique(labels[fold[0]])) == classes]
    if not folds:
        raise DataError(
            "No inner fold holds every class.", fix="Give more rows per class, or fewer folds."
        )
    targets = labels == np.arange(1 if classes == 2 else 0, classes)[:, None]
    search = _logistic_search if name == "logistic" else _svm_search
    found = [search(design, target, folds) for target in targets]
    best, accuracy = _best(np.stack([scores for scores, _ in found], axis=2), labels)
    strength = STRENGTHS[best]
    if name == "logistic":
        rows = design.rows
        duals = [
            logistic.solve(rows, target.astype(np.float64), strength, starts[best])
            for target, (_, starts) in zip(targets, found, strict=True)
        ]
    else:
        duals = [next(_svm_path(design.gram, target, (strength,))) for target in targets]
    dual = np.stack([one.dual for one in duals], axis=1)
    bias = np.array([one.bias for one in duals])
    return _linear(name, design, dual, bias, strength, lambda: accuracy)


def _logistic_search(design: Design, target: NDArray[np.bool_], folds: Folds) -> HeldOut:
    """Return held-out scores of the logistic classifier at every strength."""
    found = held_out(design.basis, target, folds, STRENGTHS)
    for train, val in folds:
        for s in np.flatnonzero(~np.isfinite(found.scores[:, val]).all(1)):
            # The quick way did not end here; the safe one does.
            part = design.part(train, val)
            exact = logistic.solve(part.rows, target[train].astype(np.float64), STRENGTHS[s])
            found.scores[s, val] = part.cross @ exact.dual + exact.bias
    return found


def _svm_search(design: Design, target: NDArray[np.bool_], folds: Folds) -> HeldOut:
    """Return held-out scores of the support vector machine at every strength."""
    scores = np.full((len(STRENGTHS), len(target)), np.nan)
    for train, val in folds:
        gram, cross = design.gram[np.ix_(train, train)], design.gram[np.ix_(val, train)]
        for s, machine in enumerate(_svm_path(gram, target[train], STRENGTHS)):
            scores[s, val] = cross @ machine.dual + machine.bias
    return HeldOut(scores, [])


def _svm_path(
    gram: Floats, target: NDArray[np.bool_], strengths: Sequence[float]
) -> Iterator[Dual]:
    """Yield the support vector machine at rising strengths."""
    from sklearn.svm import SVC

    last: Dual | None = None
    bounded = True
    for strength in strengths:
        # Where no row is held back by its bound, a weaker penalty gives the same machine.
        if last is None or bounded:
            machine = SVC(kernel="precomputed", C=strength).fit(gram, target)
            dual = np.zeros(len(target))
            dual[machine.support_] = machine.dual_coef_[0]
            last = Dual(dual, float(machine.intercept_[0]))
            bounded = bool(np.abs(dual).max() >= 0.999 * strength)
        yield last


def _best(scores: Floats, labels: Labels) -> tuple[int, float]:
    """Return the strength that classes held-out rows best, and their accuracy there.

    Args:
        scores: of held-out rows, NaN where a row never was; axes (strength, row, class).
    """
    seen = np.isfinite(scores).all((0, 2))
    scores, truth = scores[:, seen], labels[seen]
    if scores.shape[2] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
    right = (scores.argmax(2) == truth).mean(1)
    own = np.take_along_axis(scores, truth[None, :, None], axis=2)[..., 0]
    loss = (np.logaddexp.reduce(scores, axis=2) - own).mean(1)
    best = int(np.lexsort((np.round(loss, 6), -right))[0])
    return best, float(right[best])


def _decided(scores: Floats) -> Labels:
    """Return the classes that scores stand for: axis (row), or axes (row, class)."""
    return np.asarray(scores > 0 if scores.ndim == 1 else scores.argmax(1), np.int64)


def _states(x: NDArray[np.floating], what: str) -> Floats:
    """Return states as float64 with axes (row, coordinate)."""
    states = np.asarray(x, np.float64)
    if states.ndim != 2:
        raise DataError(
            f"The {what} states have {states.ndim} axes, not two.",
            fix="Give one layer and position: axes (row, coordinate).",
        )
    bad = np.flatnonzero(~np.isfinite(states).all(1))
    if len(bad):
        raise DataError(
            f"The {what} states of row {bad[0]} hold NaN or infinity.",
            fix="Read the states again; a model that overflows cannot be probed.",
        )
    return states


def _labels(matrix: Labels, n: int, classes: int) -> Labels:
    """Return the labellings after checking them against the training rows."""
    labels = np.asarray(matrix)
    if labels.ndim != 2 or labels.shape[1] != n:
        raise DataError(
            f"There are labels for {labels.shape[-1]} rows, but {n} training rows.",
            fix="Give one label per training row.",
        )
    labels = labels.astype(np.int64)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"Label {labels.min() if labels.min() < 0 else labels.max()} is not one of "
            f"{classes} classes.",
            fix="Number the classes from 0.",
        )
    for row in labels:
        missing = np.setdiff1d(np.arange(classes), row)
        if len(missing):
            raise DataError(
                f"Class {missing[0]} has no training rows.",
                fix="Give rows of every class, or another split.",
            )
    return labels
