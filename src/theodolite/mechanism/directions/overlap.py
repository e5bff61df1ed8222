"""How subspaces lie to each other: angles between directions, overlap of what several span."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.mechanism.residual_space.spectrum import spectrum

Floats = NDArray[np.float64]


def overlap(first: Floats, second: Floats) -> float:
    """Return the mean squared cosine of the principal angles between two subspaces.

    Source: arXiv:2606.14388, where side effects of an intervention grow with it. A smaller space
        inside a larger one overlaps fully.

    Args:
        first, second: orthonormal rows, axes (rank, d_model).

    Returns: 0 (orthogonal) to 1 (the smaller lies in the larger).
    """
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"Directions of width {first.shape[1]} and {second.shape[1]} do not share a space.",
            fix="Compare directions of one model at one depth.",
        )
    squares = float(((first @ second.T) ** 2).sum())
    return squares / min(len(first), len(second))


def chance_overlap(first_rank: int, second_rank: int, width: int) -> float:
    """Return the overlap that subspaces of these ranks in random position have on average."""
    return max(first_rank, second_rank) / width


def chance_cosine(width: int) -> float:
    """Return the absolute cosine that 19 of 20 pairs of random directions stay below."""
    from scipy.special import betaincinv

    return float(np.sqrt(betaincinv(0.5, (width - 1) / 2, 0.95)))


def angle(cosine: Floats | float) -> Floats:
    """Return angles between directions in degrees, 0 to 180."""
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def leading_components(x: Floats, count: int, *, centred: bool = True) -> Floats:
    """Return the directions in which rows vary most, orthonormal, axes (component, d_model).

    Args:
        x: axes (row, d_model).
        count: at most so many; fewer where the rows vary in fewer.
        centred: about their mean; else about the origin.
    """
    return spectrum(x - x.mean(0) if centred else x, kept=count).components[:count]
