"""How far an ablation turns the leading directions of a set of prompts (generalised Ships).

The last states of N prompts are the rows of a matrix. Its leading left singular vectors say how the
prompts load on the strongest directions, and live in the space of prompts; so scaling the states,
or rotating all of them together, changes nothing. The score is the sum of the angles between these
subspaces before and after.

Small angles are the rule and the arc cosine cannot see them, so they are read from the sine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError, NumericsError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]

RANKS: Final = (1, 2, 4, 8)
# Inner products square the singular values: their vectors are off by some 1e-16 of the largest
# square by the gap below the last one wanted. Where that is more than 1e-10 degrees, QR takes over.
_WIDEST_RATIO: Final = 1e4
_EPSILON: Final = float(np.finfo(np.float64).eps)
_VALUES_AT_ONCE: Final = 32_000_000  # 256 MB of float64


def score_names(prompts: int) -> tuple[str, ...]:
    """Return which scores `subspace_scores` gives for so many prompts."""
    ranks = [f"angle_r{rank}" for rank in RANKS if rank <= prompts // 2]
    centred = ["angle_r1_centered"] if prompts >= 3 else []
    return (*ranks, *centred, "angle_r1_right") if ranks else ()


def subspace_scores(base: torch.Tensor, ablated: torch.Tensor) -> dict[str, Floats]:
    """Return how far each ablation turns the leading subspaces of the prompts' states, in degrees.

    Source: arXiv:2410.13708, section 4.1. Its code fixes rank 1; the other ranks, the centred and
    the right-hand angle are ours, to be read beside it: rows of near-equal length share a large
    mean, and then rank 1 says mostly how evenly prompts load on that mean.

    Args:
        base: last states of the intact model, any float dtype and device; axes (prompt, d_model).
        ablated: the same after each ablation; axes (head, prompt, d_model).

    Returns: degrees; axis (head), under these names:
        `angle_r1`, `angle_r2`, `angle_r4`, `angle_r8`: sum of that many principal angles between
        the leading left singular subspaces, 0 to 90 times the rank; ranks above half the number of
        prompts are left out, as there the subspaces must meet. `angle_r1_centered`: rank 1 after
        the mean state is taken out; from three prompts on. `angle_r1_right`: the angle between the
        leading right singular vectors, a turn in the model's own space, which the others do not
        see.
        NaN where the subspace is not determined, in the intact matrix (then for all heads) or in
        the ablated one: singular values that are tied or 0 at the rank's edge, as of repeated
        prompts, leave a choice that no angle should hang on.

    Raises:
        DataError: fewer than two prompts, or shapes that do not fit.
        NumericsError: a state is not finite; it names the row of `ablated`.

    Note: float64 throughout, and 1e-5 degrees and less are resolved. The states of a float32
        forward are themselves off by more: the score of the intact model's states from a second,
        differently batched pass is the noise to hold against.
    """
    _check(base, ablated)
    prompts = len(base)
    ranks = [rank for rank in RANKS if rank <= prompts // 2]
    intact, centred = Leading.of(base[None], max(ranks)), Leading.of(_centred(base[None]), 1)
    parts: dict[str, list[Floats]] = {}
    heads_at_once = max(1, _VALUES_AT_ONCE // max(base.numel(), 1))
    for start in range(0, max(len(ablated), 1), heads_at_once):
        states = _exact(ablated[start : start + heads_at_once])
        turned = Leading.of(states, max(ranks))
        found = {f"angle_r{rank}": turned.angle(intact, rank) for rank in ranks}
        if prompts >= 3:
            found["angle_r1_centered"] = Leading.of(_centred(states), 1).angle(centred, 1)
        found["angle_r1_right"] = turned.right_angle(intact)
        for name, angles in found.items():
            parts.setdefault(name, []).append(angles)
    return {name: np.concatenate(found) for name, found in parts.items()}


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading singular vectors of a batch of matrices.

    Args:
        left: orthonormal left vectors, the largest singular value first; axes (matrix, row, rank).
        right: the first right vector; axes (matrix, column).
        determined: whether the first 1, 2, ... left vectors span a subspace that rounding cannot
            exchange for another; axes (matrix, rank).
    """

    left: Floats
    right: Floats
    determined: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: torch.Tensor, rank: int) -> Leading:
        """Decompose matrices.

        Args:
            rows: finite; axes (matrix, row, column).
            rank: how many left vectors are kept, at most the number of rows.
        """
        rows = _exact(rows)
        left, lengths = _by_inner_products(rows)
        unsafe = ~_safe(lengths, rank)
        if unsafe.any():
            left[unsafe], lengths[unsafe] = _by_qr(rows[_index(unsafe)])
        first = left[:, :, 0]
        right = _to_numpy((rows.mT @ _like(first, rows)[..., None])[..., 0])
        norms = np.linalg.norm(right, axis=1, keepdims=True)
        gaps = lengths[:, :rank] - lengths[:, 1 : rank + 1]
        rounding = max(rows.shape[1:]) * _EPSILON * lengths[:, :1]
        return cls(left[:, :, :rank], right / np.where(norms > 0, norms, 1.0), gaps > rounding)

    def angle(self, other: Leading, rank: int) -> Floats:
        """Return the sum of principal angles to a single other matrix, in degrees; axis (matrix).

        NaN where either subspace is not determined.
        """
        angles = principal_angles(other.left[..., :rank], self.left[..., :rank]).sum(-1)
        known = self.determined[:, rank - 1] & other.determined[:, rank - 1]
        return np.where(known, angles, np.nan)

    def right_angle(self, other: Leading) -> Floats:
        """Return the angle between the first right vectors, in degrees; axis (matrix)."""
        angles = principal_angles(other.right[..., None], self.right[..., None])[:, 0]
        return np.where(self.determined[:, 0] & other.determined[:, 0], angles, np.nan)


def principal_angles(first: Floats, second: Floats) -> Floats:
    """Return the principal angles between subspaces, in degrees, the smallest first.

    Source: Bjoerck and Golub 1973; angles below 45 degrees are read from the sine, the others
    from the cosine, so that neither loses digits.

    Args:
        first, second: orthonormal columns; axes (..., row, rank); leading axes broadcast.

    Returns: axes (..., rank); each 0 to 90.
    """
    cosines_matrix = np.swapaxes(first, -1, -2) @ second
    outside = second - first @ cosines_matrix
    cosines = np.linalg.svd(cosines_matrix, compute_uv=False)
    sines = np.linalg.svd(outside, compute_uv=False)[..., ::-1]
    by_sine = np.arcsin(sines.clip(0.0, 1.0))
    by_cosine = np.arccos(cosines.clip(0.0, 1.0))
    return np.asarray(np.degrees(np.where(cosines**2 > 0.5, by_sine, by_cosine)))


def _by_inner_products(rows: torch.Tensor) -> tuple[Floats, Floats]:
    """Return all left vectors and singular values, the largest first, from the rows' products.

    The products are made where the states lie; the small matrices are decomposed on the CPU, which
    is faster at it.
    """
    import torch

    values, vectors = torch.linalg.eigh((rows @ rows.mT).cpu())
    lengths = values.clamp(min=0.0).sqrt().flip(-1)
    return _to_numpy(vectors.flip(-1)), np.column_stack([_to_numpy(lengths), np.zeros(len(rows))])


def _by_qr(rows: torch.Tensor) -> tuple[Floats, Floats]:
    """Return the same as `_by_inner_products`, without squaring the singular values."""
    import torch

    triangle = torch.linalg.qr(rows.mT, mode="r").R
    left, lengths, _ = torch.linalg.svd(triangle.mT.cpu(), full_matrices=True)
    ends = np.zeros((len(rows), rows.shape[1] + 1))
    ends[:, : lengths.shape[1]] = _to_numpy(lengths)
    return _to_numpy(left), ends


def _safe(lengths: Floats, rank: int) -> NDArray[np.bool_]:
    """Return whether inner products give the leading vectors well at every rank; axis (matrix)."""
    squares = lengths**2
    gaps = (squares[:, :rank] - squares[:, 1 : rank + 1]).min(1)
    return np.asarray(squares[:, 0] < _WIDEST_RATIO * gaps)


def _check(base: torch.Tensor, ablated: torch.Tensor) -> None:
    """Refuse states that have no subspace score."""
    if base.ndim != 2 or ablated.ndim != 3 or ablated.shape[1:] != base.shape:
        raise DataError(
            f"States of shapes {tuple(base.shape)} and {tuple(ablated.shape)} do not fit.",
            fix="Give (prompt, d_model) and (head, prompt, d_model).",
        )
    if len(base) < 2:
        raise DataError(
            f"A subspace score needs at least two prompts, not {len(base)}.",
            fix="Give more prompts, or use the divergence of the single prompt.",
        )
    if not bool(base.isfinite().all()):
        raise NumericsError("A state of the intact model is not finite.", fix="Use float32.")
    finite = ablated.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise NumericsError(
            f"A state after ablation {int((~finite).nonzero()[0, 0])} is not finite.",
            fix="Use float32.",
        )


def _exact(rows: torch.Tensor) -> torch.Tensor:
    """Return the values in float64, where the device has it."""
    import torch

    where = rows.device if rows.device.type in ("cpu", "cuda") else torch.device("cpu")
    return rows.detach().to(where).to(torch.float64)


def _centred(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows of each matrix less their mean, in float64."""
    exact = _exact(rows)
    return exact - exact.mean(-2, keepdim=True)


def _to_numpy(values: torch.Tensor) -> Floats:
    return np.array(values.cpu().numpy(), np.float64)


def _like(values: Floats, example: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(example.device)


def _index(mask: NDArray[np.bool_]) -> list[int]:
    return [int(place) for place in np.flatnonzero(mask)]
