"""Whitening: a map of states that knows how the states vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.mechanism.probes.discriminants import ledoit_wolf

Floats = NDArray[np.float64]
_NOTHING = 1e-12  # of the largest variance


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
        centre = x.mean(0)
        rows = x - centre
        sizes, basis = _components(rows)
        variances = sizes**2 / len(x)
        share = ledoit_wolf(rows @ rows.T, x.shape[1])[0] if shrinkage is None else shrinkage
        ridge = share * float(variances.sum()) / x.shape[1]
        shrunk = (1 - share) * variances + ridge
        full = len(variances) == x.shape[1]
        if shrunk.min(initial=np.inf) <= 0 or (ridge <= 0 and not full):
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


def _components(rows: Floats) -> tuple[Floats, Floats]:
    """Return singular values and right singular vectors of centred rows.

    Note: of few wide rows by their inner products, ten times as fast; components these cannot tell
        from 0 are left out, as only shrinkage makes such rows usable, and that covers them.
    """
    if len(rows) >= rows.shape[1]:
        _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
        return sizes, basis
    values, left = np.linalg.eigh(rows @ rows.T)
    kept = values > _NOTHING * max(float(values[-1]), 0.0)
    sizes = np.sqrt(values[kept])
    return sizes, (left[:, kept] / sizes).T @ rows
