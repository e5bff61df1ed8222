"""Logistic scores of held-out rows, for every fold and strength of a grid at once.

Choosing a strength takes 25 fits whose weights nobody will see, only the order of their held-out
scores. All of them are one block of columns: in the eigenbasis of the rows' inner products the
curvature of every fit is nearly diagonal, so conjugate gradients with that diagonal arrive in a few
steps, and a step for all columns is two matrix products. In float32, to a few parts in a thousand;
the fit that is kept is made by `logistic.solve`, started from what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.mechanism.probes.logistic import Dual

Single = NDArray[np.float32]
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
_TOLERANCE = 3e-4
_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class Basis:
    """Rows in the eigenbasis of their inner products.

    Args:
        rows: axes (row, component); `rows @ rows.T` are the inner products.
        values: eigenvalues; axis (component).
    """

    rows: Single
    values: Single

    @classmethod
    def of(cls, gram: NDArray[np.float64]) -> Basis:
        """Decompose inner products of rows; axes (row, row)."""
        from scipy.linalg import eigh

        values, vectors = eigh(gram.astype(np.float32), driver="evd", check_finite=False)
        kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-6))[::-1]
        return cls(vectors[:, kept] * np.sqrt(values[kept]), values[kept])


class HeldOut(NamedTuple):
    """What the folds say.

    Args:
        scores: of each row from fits without it; NaN where a row is never held out, or a fit did
            not end; axes (strength, row).
        starts: the folds' mean fit at each strength, where one ended: near that of all rows.
    """

    scores: NDArray[np.float64]
    starts: list[Dual | None]


def held_out(
    basis: Basis, target: NDArray[np.bool_], folds: Folds, strengths: Sequence[float]
) -> HeldOut:
    """Fit every fold at every strength and score the rows it holds out.

    Args:
        basis: the training rows.
        target: whether a row is of the positive class; axis (row).
        folds: (training, held-out) rows; both classes among the former.
        strengths: each C.
    """
    columns = _Columns.start(basis, target, folds, strengths)
    found = np.full((len(strengths) * len(folds), 1 + sum(basis.rows.shape)), np.nan)
    for _ in range(_MOST_STEPS):
        done = columns.step(basis)
        if done.any():
            ended = np.concatenate([columns.bias[None], columns.scores, columns.weights])
            found[columns.index[done]] = ended[:, done].T
            columns = columns.kept(~done)
        if not len(columns.index):
            break
    by_strength = found.reshape(len(folds), len(strengths), -1).swapaxes(0, 1)
    scores = np.full((len(strengths), len(target)), np.nan)
    for fold, (_, val) in enumerate(folds):
        scores[:, val] = by_strength[:, fold, 1 + val]
    return HeldOut(scores, [_mean_fit(basis, fits) for fits in by_strength])


def _mean_fit(basis: Basis, fits: NDArray[np.float64]) -> Dual | None:
    """Return the mean of the folds' fits as a sum of rows, or None where none ended."""
    ended = fits[np.isfinite(fits).all(1)]
    if not len(ended):
        return None
    bias, weights = ended[:, 0].mean(), ended[:, 1 + len(basis.rows) :].mean(0)
    return Dual(np.asarray(basis.rows @ (weights / basis.values), np.float64), float(bias))


@dataclass(frozen=True, eq=False)
class _Columns:
    """Fits under way, one per column, the last axis of every array.

    Args:
        index: the place of the fit, fold by fold and strength by strength within it.
        target: 1 for the positive class; axes (row, column).
        weighted: C for rows to train on, else 0; axes (row, column).
        strength: C.
        weights, bias, scores: of the fit; weights by component, scores by row.
        way, way_bias: the last direction.
        slope, slope_bias: the last gradient.
        fall: how much the objective falls along it, times two.
    """

    index: NDArray[np.int64]
    target: Single
    weighted: Single
    strength: Single
    weights: Single
    bias: Single
    scores: Single
    way: Single
    way_bias: Single
    slope: Single
    slope_bias: Single
    fall: Single

    @classmethod
    def start(
        cls, basis: Basis, target: NDArray[np.bool_], folds: Folds, strengths: Sequence[float]
    ) -> _Columns:
        """Begin every fit at no weights and the intercept of the class shares."""
        rows, width = basis.rows.shape
        of_fold = np.zeros((rows, len(folds)), np.float32)
        for fold, (train, _) in enumerate(folds):
            of_fold[train, fold] = 1
        strength = np.tile(np.array(strengths, np.float32), len(folds))
        weighted = np.repeat(of_fold, len(strengths), axis=1) * strength
        wanted = np.repeat(target[:, None].astype(np.float32), len(strength), axis=1)
        share = (weighted * wanted).sum(0) / weighted.sum(0)
        bias = np.log(share / (1 - share))
        none = np.zeros((width, len(bias)), np.float32)
        zero = np.zeros_like(bias)
        return cls(
            index=np.arange(len(bias)),
            target=wanted,
            weighted=weighted,
            strength=strength,
            weights=none.copy(),
            bias=bias,
            scores=np.repeat(bias[None], rows, axis=0),
            way=none.copy(),
            way_bias=zero.copy(),
            slope=none.copy(),
            slope_bias=zero.copy(),
            fall=np.full_like(bias, np.inf),
        )

    def kept(self, which: NDArray[np.bool_]) -> _Columns:
        """Return some of the columns."""
        return _Columns(**{name: array[..., which] for name, array in vars(self).items()})

    def step(self, basis: Basis) -> NDArray[np.bool_]:
        """Take one step in every column, in place; return which had already arrived."""
        chance = 0.5 * (1 + np.tanh(0.5 * self.scores))
        residual = (self.target - chance) * self.weighted
        curvature = chance * (1 - chance) * self.weighted
        total = curvature.sum(0)
        slope = self.weights - basis.rows.T @ residual
        slope_bias = -residual.sum(0)
        # The mean curvature in place of each row's own: then the eigenbasis is the right one.
        even = total * self.strength / self.weighted.sum(0)
        down = slope / (1 + even * basis.values[:, None])
        down_bias = slope_bias / total
        fall = _dots(slope, down) + slope_bias * down_bias
        size = _dots(self.weights, self.weights) + 1e-4 * self.strength
        done = np.asarray(fall <= _TOLERANCE**2 * size)
        turned = fall - _dots(self.slope, down) - self.slope_bias * down_bias
        again = np.maximum(turned / self.fall, 0)
        self.way[:] = again * self.way - down
        self.way_bias[:] = again * self.way_bias - down_bias
        self.slope[:], self.slope_bias[:], self.fall[:] = slope, slope_bias, fall
        moved = basis.rows @ self.way + self.way_bias
        rise = _dots(self.weights, self.way) - _dots(residual, moved)
        bend = _dots(self.way, self.way) + _dots(curvature * moved, moved)
        part = np.where(done, 0, -rise / np.where(bend > 0, bend, 1))
        self.weights[:] += part * self.way
        self.bias[:] += part * self.way_bias
        self.scores[:] += part * moved
        return done


def _dots(first: Single, second: Single) -> Single:
    """Return the inner product of each pair of columns."""
    return np.asarray(np.einsum("rc,rc->c", first, second))
