"""Stability: would other goals have given the same components?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.bootstrap import resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.mechanism.residual_space.spectrum import Spectrum

Floats = NDArray[np.float64]
RESAMPLES = 50
JUDGED = 10  # leading components whose stability is measured
IDENTIFIED = 0.8
NOT_IDENTIFIED = "not individually identified"
_SPAN = 128  # a resample's leading components are sought within so many of all rows' components
_MORE = 5  # components of a resample beyond those judged, which one of them may have become


class Stability(NamedTuple):
    """How much of what leads is found again in resampled goals.

    Args:
        components: mean |cosine| of each leading component with its like, axis (component).
        subspaces: mean squared cosine between the span of the first k components and that of the
            resample, axis (k, from 1); chance gives k / d_model.
    """

    components: Floats
    subspaces: Floats


def stability(
    rows: Floats,
    found: Spectrum,
    goals: Sequence[str],
    *,
    center: bool,
    judged: int = JUDGED,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Stability:
    """Return how much of the leading components is found again in resampled goals.

    Args:
        rows: what was decomposed, axes (row, d_model); not centred.
        found: its spectrum.
        goals: the group of each row; whole groups are drawn.
        center: the mean is taken off each resample.
        judged: how many leading components.
        resamples: number of resamples.
        seed: of the resamples.

    Returns: `judged` of either or fewer; a component below `IDENTIFIED` is not individually
        identified, and the subspace is what can be spoken of. NaN for one goal.

    Note: components are matched one to one so that the sum of |cosines| is largest; directions
        are sought in the span of the first 128 components.
    """
    basis = found.components[:_SPAN]
    judged = min(judged, len(basis))
    groups = Clusters.of(goals, len(rows))
    if len(groups) < 2 or not judged:
        return Stability(np.full(judged, np.nan), np.full(judged, np.nan))
    # In these coordinates the components of all rows are the axes.
    coordinates = rows @ basis.T
    found_again = [
        _leading(coordinates, weights, judged + _MORE, center)[:judged]
        for chunk in resample_weights(groups, seed=seed, resamples=resamples)
        for weights in chunk
    ]
    return Stability(
        np.asarray(np.mean([_matched(cosines) for cosines in found_again], axis=0)),
        np.asarray(np.mean([_shared(cosines[:, :judged]) for cosines in found_again], axis=0)),
    )


def _leading(coordinates: Floats, weights: Floats, count: int, center: bool) -> Floats:
    """Return the leading directions of weighted rows in columns, axes (coordinate, direction)."""
    from scipy.linalg import eigh

    kept = weights > 0
    own, weight = coordinates[kept], weights[kept, None]
    if center:
        own = own - (weight * own).sum(0) / weight.sum()
    side = own.shape[1]
    first = max(side - count, 0)
    _, vectors = eigh((weight * own).T @ own, subset_by_index=(first, side - 1))
    return np.asarray(vectors[:, ::-1])


def _matched(cosines: Floats) -> Floats:
    """Return the |cosine| of each component (row) with the direction (column) it is matched to."""
    from scipy.optimize import linear_sum_assignment

    sizes = np.abs(cosines)
    rows, columns = linear_sum_assignment(sizes, maximize=True)
    return np.asarray(sizes[rows, columns])


def _shared(cosines: Floats) -> Floats:
    """Return the mean squared cosine between spans of the first k rows and columns, axis (k)."""
    squares = np.cumsum(np.cumsum(cosines**2, axis=0), axis=1)
    places = np.arange(len(cosines))
    # A resample of few goals may have fewer directions than are judged.
    return np.asarray(squares[places, np.minimum(places, cosines.shape[1] - 1)] / (places + 1))
