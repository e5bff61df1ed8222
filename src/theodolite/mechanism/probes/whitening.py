"""Maps of states that know how the states vary: whitening, and erasing a concept from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Whitener:
    """Mean and inverse root of a covariance, kept as what differs from a multiple of one.

    Args:
        centre: axes (d_model).
        basis: orthonormal directions in which the rows vary, axes (component, d_model).
        gain: inverse standard deviation along each of them, less `rest`; axis (component).
        rest: inverse standard deviation along every other direction.
    """

    centre: Floats
    basis: Floats
    gain: Floats
    rest: float

    @classmethod
    def of(cls, x: Floats, *, shrinkage: float | None = None) -> Self:
        """Fit mean and covariance of rows.

        Args:
            x: axes (row, d_model).
            shrinkage: towards a multiple of one, 0 to 1; None is that of Ledoit and Wolf 2004.

        Raises: DataError: the rows do not vary, or vary in too few directions to go unshrunk.
        """
        from sklearn.covariance import ledoit_wolf_shrinkage

        centre = x.mean(0)
        _, sizes, basis = np.linalg.svd(x - centre, full_matrices=False)
        variances = sizes**2 / len(x)
        share = float(ledoit_wolf_shrinkage(x)) if shrinkage is None else shrinkage
        ridge = share * float(variances.sum()) / x.shape[1]
        shrunk = (1 - share) * variances + ridge
        full = len(variances) == x.shape[1]
        if shrunk.min() <= 0 or (ridge <= 0 and not full):
            raise DataError(
                f"{len(x)} states of width {x.shape[1]} do not vary in every direction, so they "
                "cannot be whitened.",
                fix="Give more prompts, or read another place.",
            )
        rest = ridge**-0.5 if ridge > 0 else 0.0
        return cls(centre, basis, shrunk**-0.5 - rest, rest)

    @classmethod
    def none(cls, width: int) -> Self:
        """Return the map that leaves states as they are."""
        return cls(np.zeros(width), np.zeros((0, width)), np.zeros(0), 1.0)

    def apply(self, x: Floats) -> Floats:
        """Return whitened rows, axes (row, d_model)."""
        return self.root(x - self.centre)

    def root(self, x: Floats) -> Floats:
        """Return vectors times the inverse root of the covariance, axes (..., d_model).

        A direction found among whitened states is one among bare states after this.
        """
        return np.asarray(self.rest * x + (x @ self.basis.T * self.gain) @ self.basis)


@dataclass(frozen=True, eq=False)
class Eraser:
    """Removes what a linear probe could read of two classes, changing the states least.

    Source: LEACE, arXiv:2306.03819; for two classes `W+ P W` has rank one: `x - along * (reads @ (x
        - centre))`, with `along` the difference of the class means.
    Args:
        centre: mean of the states, axes (d_model).
        along: the direction that is taken away, axes (d_model).
        reads: what says how much of it, `reads @ along == 1`; axes (d_model).
    """

    centre: Floats
    along: Floats
    reads: Floats

    @classmethod
    def of(cls, x: Floats, labels: NDArray[np.int64], *, shrinkage: float | None = None) -> Self:
        """Fit the eraser on labelled states.

        Args:
            x: axes (row, d_model).
            labels: 0 or 1; axis (row).
            shrinkage: as for `Whitener.of`. It bears on what "least" means; the classes' means are
                equal after erasing, whatever it is.

        Raises: DataError: a class is missing, its means are equal, or the states do not vary.
        """
        if len(set(labels.tolist())) < 2:
            raise DataError("One class is missing.", fix="Give states of both classes.")
        along = x[labels == 1].mean(0) - x[labels == 0].mean(0)
        if not along.any():
            raise DataError(
                "The class means are equal: there is nothing to erase.", fix="Read another place."
            )
        whitener = Whitener.of(x, shrinkage=shrinkage)
        reads = whitener.root(whitener.root(along))
        return cls(whitener.centre, along, reads / (reads @ along))

    def apply(self, x: Floats) -> Floats:
        """Return states without the concept, axes (..., d_model)."""
        return np.asarray(x - ((x - self.centre) @ self.reads)[..., None] * self.along)
