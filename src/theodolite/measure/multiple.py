"""Adjusted p-values for many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.measure.closed_form import Floats


def holm(p_values: Sequence[float]) -> Floats:
    """Return p-values adjusted so that the chance of any false finding stays at the level.

    Source: Holm 1979.

    Args:
        p_values: axis (comparison).

    Returns: adjusted p-values in the order given.

    Raises:
        DataError: a p-value does not lie between 0 and 1.
    """
    p, order = _ordered(p_values)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _back(stepped, order)


def benjamini_hochberg(p_values: Sequence[float]) -> Floats:
    """Return p-values adjusted so that the expected share of false findings stays at the level.

    Source: Benjamini and Hochberg 1995; valid for independent or positively dependent tests.

    Args:
        p_values: axis (comparison).

    Returns: adjusted p-values in the order given.

    Raises:
        DataError: a p-value does not lie between 0 and 1.
    """
    p, order = _ordered(p_values)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _back(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _ordered(p_values: Sequence[float]) -> tuple[Floats, NDArray[np.intp]]:
    """Return the p-values and the order that sorts them."""
    p: Floats = np.asarray(p_values, dtype=np.float64).reshape(-1)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("A p-value does not lie between 0 and 1.", fix="Give p-values only.")
    return p, np.argsort(p, kind="stable")


def _back(adjusted: Floats, order: NDArray[np.intp]) -> Floats:
    """Return adjusted p-values, at most 1, in the order they came in."""
    result = np.empty_like(adjusted)
    result[order] = np.minimum(adjusted, 1.0)
    return result
