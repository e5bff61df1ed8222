"""Erasers: affine maps that take a few directions out of the stream, kept as low-rank factors.

One form holds them all, `x - along' (reads (x - centre))`: a projection reads what it takes away
(`along == reads`), an affine edit does so around a centre that it leaves alone, and LEACE takes
away along the differences of the class means what the whitened states say of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.mechanism.probes.whitening import Whitener

Floats = NDArray[np.float64]
# Whitened class means this much closer than the farthest pair say nothing beyond rounding.
_SAME = 1e-10


@dataclass(frozen=True, eq=False)
class Eraser:
    """Takes a subspace out of states.

    Args:
        centre: what the map leaves as it is, axes (d_model).
        along: what is taken away, axes (rank, d_model).
        reads: how much of each, `reads @ along.T` is one; axes (rank, d_model).
    """

    centre: Floats
    along: Floats
    reads: Floats

    @classmethod
    def projection(cls, basis: Floats, centre: Floats | None = None) -> Self:
        """Return the orthogonal projection that removes the span of vectors.

        Source: arXiv:2406.11717 without a centre (ablation), arXiv:2411.09003 with the benign mean
            as one (affine editing: the component becomes that of the centre).

        Args:
            basis: axes (rank, d_model); need not be orthonormal.
            centre: axes (d_model); None is the origin.
        """
        rows = orthonormal(basis)
        middle = np.zeros(rows.shape[1]) if centre is None else np.asarray(centre, np.float64)
        return cls(middle, rows, rows)

    @classmethod
    def leace(cls, x: Floats, labels: NDArray[np.int64], *, shrinkage: float | None = None) -> Self:
        """Return the least change after which no linear probe can read the labels.

        Source: LEACE, arXiv:2306.03819, `x - W+ Q W (x - mu)` with W the inverse root of the
            covariance and Q the projector on the whitened class means; as these span what is taken
            away, no inverse of W is needed.

        Args:
            x: axes (row, d_model).
            labels: class of each row, any number of classes; axis (row).
            shrinkage: as for `Whitener.of`. It bears on what "least" means; the classes' means are
                equal after erasing, whatever it is.

        Returns: an eraser of rank at most the number of classes less one.

        Raises: DataError: a class is missing, all means are equal, or the states do not vary.
        """
        names = np.unique(labels)
        if len(names) < 2:
            raise DataError("One class is missing.", fix="Give states of both classes.")
        whitener = Whitener.of(x, shrinkage=shrinkage)
        means = np.stack([x[labels == name].mean(0) for name in names])
        # Differences from one mean span what all means differ by, and for two classes are it.
        apart = means[1:] - means[0]
        if not apart.any():
            raise DataError(
                "The class means are equal: there is nothing to erase.", fix="Read another place."
            )
        left, sizes, right = np.linalg.svd(whitener.root(apart), full_matrices=False)
        kept = sizes > _SAME * sizes[0]
        along = (left[:, kept] / sizes[kept]).T @ apart
        return cls(whitener.centre, along, whitener.root(right[kept]))

    @property
    def rank(self) -> int:
        """How many directions are taken away."""
        return len(self.along)

    def apply(self, x: Floats) -> Floats:
        """Return states without the subspace, axes (..., d_model); also states not fitted on."""
        return np.asarray(x - ((x - self.centre) @ self.reads.T) @ self.along)


def orthonormal(vectors: Floats) -> Floats:
    """Return an orthonormal basis of the span of vectors, in their order.

    Args:
        vectors: axes (vector, d_model).

    Returns: axes (rank, d_model); row k lies in the span of the first vectors that give k + 1
        dimensions, so a leading vector stays first. Vectors within rounding of those before them
        add nothing.

    Raises: DataError: there is no vector with a length.
    """
    rows: list[Floats] = []
    for vector in np.atleast_2d(np.asarray(vectors, np.float64)):
        length = float(np.linalg.norm(vector))
        rest = vector
        for _ in range(2):  # once more, for what rounding leaves behind
            for row in rows:
                rest = rest - (rest @ row) * row
        left = float(np.linalg.norm(rest))
        if length > 0 and left > 1e-9 * length:
            rows.append(rest / left)
    if not rows:
        raise DataError("No vector has a length.", fix="Give a vector that is not zero.")
    return np.stack(rows)
