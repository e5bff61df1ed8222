"""Subspace scores the slow way: 50 digits, one full decomposition per matrix, arc cosines."""

from __future__ import annotations

from typing import Any

import mpmath


def angle_sum(
    base: Any, ablated: Any, rank: int, *, center: bool = False, right: bool = False
) -> float:
    """Return the sum of principal angles between leading singular subspaces, in degrees."""
    with mpmath.workdps(50):
        first, second = (_leading(rows, rank, center, right) for rows in (base, ablated))
        cosines = mpmath.svd_r(first.T * second, compute_uv=False)
        return float(sum(mpmath.degrees(mpmath.acos(min(c, mpmath.mpf(1)))) for c in cosines))


def _leading(rows: Any, rank: int, center: bool, right: bool) -> Any:
    """Return the leading singular vectors as columns."""
    m = mpmath.matrix([[mpmath.mpf(float(value)) for value in row] for row in rows])
    if center:
        for column in range(m.cols):
            mean = mpmath.fsum(m[i, column] for i in range(m.rows)) / m.rows
            for i in range(m.rows):
                m[i, column] -= mean
    left, _, vectors = mpmath.svd_r(m)
    found = vectors.T if right else left
    return found[:, :rank]
