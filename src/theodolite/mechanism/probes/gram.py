"""Ridge classifiers from one eigendecomposition, and the permutation test that this makes cheap.

The inner products of the rows, once decomposed, give the exact leave-one-out score of every row for
every penalty and every labelling by two matrix products: no fit is repeated.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError
from theodolite.measure.closed_form import Clusters
from theodolite.measure.exchange import Exchange
from theodolite.mechanism.probes.classifiers import Design
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

# Of the permutation test, in units of the mean eigenvalue.
PENALTIES = (1e-3, 1e-2, 1e-1, 1e0, 1e1)
_FEWEST_ARRANGEMENTS = 1000.0


@dataclass(frozen=True, eq=False)
class RidgeGram:
    """Rows ready for ridge regression at any penalty and on any labels.

    Args:
        vectors: eigenvectors of the centred rows' inner products; axes (row, component).
        values: their eigenvalues; axis (component).
    """

    vectors: Floats
    values: Floats

    @classmethod
    def of(cls, x: ArrayLike) -> RidgeGram:
        """Centre and decompose rows.

        Args:
            x: states, standardised as the caller wishes; axes (row, coordinate).

        Raises:
            DataError: fewer than two rows, or a value is not finite.
        """
        rows = np.asarray(x, np.float64)
        if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
            raise DataError(
                "Ridge needs at least two rows of finite values, axes (row, coordinate).",
                fix="Leave out rows without states.",
            )
        rows = rows - rows.mean(0)
        if rows.shape[1] < len(rows):
            vectors, lengths, _ = np.linalg.svd(rows, full_matrices=False)
            return cls(vectors, lengths**2)
        values, vectors = np.linalg.eigh(rows @ rows.T)
        return cls(vectors, values.clip(0.0))

    def loo_scores(self, y: ArrayLike, lambdas: Sequence[float]) -> Floats:
        """Return the score of each row from a ridge fit on all the others.

        Args:
            y: -1.0 or 1.0, or any value; axes (labelling, row).
            lambdas: each penalty of `|y - X w - b|^2 + lambda |w|^2`, above 0; the intercept is
                not penalised.

        Returns: exact leave-one-out scores; axes (labelling, lambda, row).

        Raises:
            DataError: labels and rows differ in number, or a penalty is not above 0.
        """
        wanted = np.asarray(y, np.float64)
        if wanted.ndim != 2 or wanted.shape[1] != len(self.vectors):
            raise DataError(
                f"There are labels for {wanted.shape[-1]} rows, but {len(self.vectors)} rows.",
                fix="Give labels with axes (labelling, row).",
            )
        if min(lambdas) <= 0:
            raise DataError("A ridge penalty is not above 0.", fix="Give penalties above 0.")
        projected, means = wanted @ self.vectors, wanted.mean(1, keepdims=True)
        squares = self.vectors**2
        left_out = np.empty((len(wanted), len(lambdas), len(self.vectors)))
        for i, penalty in enumerate(lambdas):
            kept = self.values / (self.values + penalty)
            own = 1 / len(self.vectors) + squares @ kept
            fitted = means + (projected * kept) @ self.vectors.T
            left_out[:, i] = (fitted - own * wanted) / (1 - own)
        return left_out


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Whether states tell the classes apart better than they tell shuffled labels apart.

    Args:
        statistic: share of the labels' variance that leave-one-out ridge scores explain, at the
            best penalty; axis (layer); below 0 where they are worse than the mean.
        p: chance of such a statistic under shuffled labels, layer by layer; axis (layer).
        family_wise: the same for the best of all layers, so that looking at every layer costs
            nothing; axis (layer).
        permutations: how many shuffles.
        scheme: what was shuffled.
    """

    statistic: Floats
    p: Floats
    family_wise: Floats
    permutations: int
    scheme: str


def permutation_test(
    x_by_layer: Sequence[ArrayLike] | NDArray[np.floating],
    labels: ArrayLike,
    groups: Sequence[Hashable] | None,
    *,
    permutations: int = 100,
    seed: int,
) -> PermutationTest:
    """Test every layer against labels that are shuffled as the groups allow.

    Args:
        x_by_layer: states; axes (layer, row, coordinate). Standardised here.
        labels: 0 or 1; axis (row).
        groups: the cluster of each row; None where rows are independent.
        permutations: number of shuffles, the same for all layers.
        seed: of the shuffles.

    Returns: p-values, at best 1 / (permutations + 1).

    Raises:
        DataError: states, labels and groups do not fit, or a class is missing.

    Note: within a group that holds both classes the labels are shuffled inside the group; groups
        of one class exchange labels with others of their size. Where that leaves fewer than a
        thousand arrangements, labels are shuffled over all rows, and `scheme` says so.
    """
    truth = np.asarray(labels).astype(np.int64)
    if truth.ndim != 1 or set(np.unique(truth)) != {0, 1}:
        raise DataError(
            "A permutation test needs labels 0 and 1, both present.", fix="Give two classes."
        )
    shuffled, scheme = _shuffles(truth, Clusters.of(groups, len(truth)), permutations, seed)
    signs = 2.0 * np.concatenate([truth[None], shuffled]) - 1
    statistics = np.stack([_explained(x, signs) for x in x_by_layer])
    # A layer's shuffles set its scale, with the real labels among them, as the test must be
    # blind to which labels are the real ones.
    spread = statistics.std(1, keepdims=True)
    standard = (statistics - statistics.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return PermutationTest(
        statistics[:, 0],
        _share_reached(statistics[:, :1], statistics),
        _share_reached(standard[:, :1], standard.max(0, keepdims=True)),
        permutations,
        scheme,
    )


def _explained(x: ArrayLike, signs: Floats) -> Floats:
    """Return the variance explained left-one-out, at each labelling's best penalty."""
    rows = np.asarray(x)
    if len(rows) != signs.shape[1]:
        raise DataError(
            f"There are states for {len(rows)} rows, but {signs.shape[1]} labels.",
            fix="Give one label per row.",
        )
    ridge = RidgeGram.of(Design.of(rows, rows[:0]).train)
    unit = max(float(ridge.values.sum()) / signs.shape[1], 1.0)
    left_out = ridge.loo_scores(signs, [unit * penalty for penalty in PENALTIES])
    errors = ((left_out - signs[:, None]) ** 2).sum(2)
    around_mean = ((signs - signs.mean(1, keepdims=True)) ** 2).sum(1)
    return np.asarray(1 - errors.min(1) / around_mean)


def _share_reached(observed: Floats, draws: Floats) -> Floats:
    """Return the share of draws (the first is the real one) that reach the observed values."""
    return np.asarray((draws >= observed - 1e-12).mean(1))


def _shuffles(labels: Labels, groups: Clusters, permutations: int, seed: int) -> tuple[Labels, str]:
    """Return shuffled labels, axes (permutation, row), and what was shuffled."""
    rng = np.random.default_rng(item_seed(seed, "permutation test"))
    exchange = Exchange.of(labels, groups, fewest=_FEWEST_ARRANGEMENTS)
    return np.stack([exchange.draw(rng) for _ in range(permutations)]), exchange.scheme
