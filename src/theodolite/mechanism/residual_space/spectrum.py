"""Spectra: the singular values and right singular vectors of many rows, from inner products.

Of n rows with d coordinates only the smaller Gram matrix is ever decomposed, in float64. Its trace
is the total energy, so a share of the energy is exact also where few directions are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
KEPT = 256  # directions kept of a spectrum
TAUS = (0.4, 0.6, 0.7, 0.8, 0.9)
_TOLERANCE = 1e-12
_EXACT = 4096  # above it the largest directions are found by random projection
_FEW = 4  # where only one in so many vectors is kept, the others are not worked out
_OVERSAMPLED, _POWERS = 10, 4


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Rows as orthogonal directions of falling size.

    Args:
        sigma: singular values, largest first; axis (value). All of them, or the largest `KEPT`
            where `complete` is False.
        components: right singular vectors, axes (component, d_model), unit rows; the first of
            them, without those whose singular value is rounding.
        total: sum of all squared singular values.
        n: rows.
        complete: `sigma` holds every singular value.
    """

    sigma: Floats
    components: Floats
    total: float
    n: int
    complete: bool = True

    @property
    def energy(self) -> Floats:
        """Variance along each direction, `sigma^2 / (n - 1)`; axis (value)."""
        return np.asarray(self.sigma**2 / max(self.n - 1, 1))

    @property
    def gaps(self) -> Floats:
        """How far each singular value stands above the next, as a share of it; axis (value)."""
        after = np.append(self.sigma[1:], 0.0)
        return np.asarray((self.sigma - after) / np.where(self.sigma > 0, self.sigma, 1.0))

    def effective_rank(self, tau: float = 0.9) -> int | None:
        """Return how many directions hold a share `tau` of the energy; 0 where there is none.

        Returns: None where more directions are needed than were computed.
        """
        return effective_rank(self.sigma**2, tau, total=self.total)

    @property
    def entropy_rank(self) -> float | None:
        """The exponential of the entropy of the energy shares; 0 where there is no energy.

        None where not every singular value is known.
        """
        return entropy_rank(self.sigma**2) if self.complete else None

    @property
    def participation_ratio(self) -> float | None:
        """`(sum s^2)^2 / sum s^4`; as for `entropy_rank`."""
        return participation_ratio(self.sigma**2) if self.complete else None


def spectrum(rows: ArrayLike, *, kept: int = KEPT, seed: int = 0) -> Spectrum:
    """Decompose rows; nothing is centred here.

    Args:
        rows: axes (row, d_model).
        kept: most directions returned.
        seed: of the random projection that is used where both sides are above 4,096.

    Returns: float64; signs as they come.

    Raises: DataError: there are no rows, or a value is not finite.

    Note: exact to rounding up to a side of 4,096, where singular values below about 1e-7 of the
        largest count as 0. Above, the largest `kept` are found with 10 more vectors and 4 power
        iterations.
    """
    x = np.asarray(rows, np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise DataError(
            "A spectrum needs rows of finite values, axes (row, d_model).",
            fix="Leave out rows without states.",
        )
    total = float(np.einsum("ij,ij->", x, x))
    if min(x.shape) > _EXACT:
        sigma, components = _random_projection(x, kept, seed)
        return Spectrum(sigma, components, total, len(x), complete=False)
    wide = x.shape[0] <= x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    few = len(gram) >= _FEW * kept
    squares, vectors = _leading_of_gram(gram, kept) if few else decompose_gram(gram)
    sigma = np.sqrt(squares)
    found = vectors[:, : np.count_nonzero(sigma[:kept])]
    components = _orthonormal(x.T @ found if wide else found)
    return Spectrum(sigma, components, total, len(x))


def effective_rank(squares: ArrayLike, tau: float, *, total: float | None = None) -> int | None:
    """Return the least number of leading squares that hold a share `tau` of their sum.

    Args:
        squares: squared singular values, largest first; axis (value).
        total: the sum, where not all squares are given.

    Returns: 0 where the sum is 0; None where the given squares do not reach the share.
    """
    values = np.asarray(squares, np.float64)
    whole = float(values.sum()) if total is None else total
    if whole <= 0:
        return 0
    reached = np.cumsum(values) / whole >= tau - _TOLERANCE
    return int(reached.argmax()) + 1 if reached.any() else None


def entropy_rank(squares: ArrayLike) -> float:
    """Return exp of the entropy of squares as shares of their sum; 0 where the sum is 0."""
    values = np.asarray(squares, np.float64)
    if values.sum() <= 0:
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation_ratio(squares: ArrayLike) -> float:
    """Return `(sum s^2)^2 / sum s^4`; 0 where the sum is 0."""
    values = np.asarray(squares, np.float64)
    return float(values.sum() ** 2 / (values**2).sum()) if values.sum() > 0 else 0.0


def decompose_gram(gram: Floats) -> tuple[Floats, Floats]:
    """Return all eigenvalues of a Gram matrix, largest first, and their vectors in columns.

    Eigenvalues that are rounding are 0.
    """
    import torch

    values, vectors = torch.linalg.eigh(torch.from_numpy(gram))
    return _cleaned(values.numpy()[::-1]), vectors.numpy()[:, ::-1]


def _leading_of_gram(gram: Floats, kept: int) -> tuple[Floats, Floats]:
    """Return all eigenvalues of a Gram matrix, largest first, and the vectors of the first `kept`.

    One reduction to a tridiagonal matrix serves both; a full decomposition spends most of its time
    on vectors that nobody reads.
    """
    from scipy.linalg import eigh_tridiagonal, eigvalsh_tridiagonal, lapack

    n = len(gram)
    work = int(lapack.dsytrd_lwork(n, lower=1)[0])
    reduced, diagonal, beside, tau, _ = lapack.dsytrd(
        np.asfortranarray(gram), lower=1, lwork=work, overwrite_a=1
    )
    values = eigvalsh_tridiagonal(diagonal, beside)
    _, vectors = eigh_tridiagonal(
        diagonal, beside, select="i", select_range=(n - kept, n - 1), lapack_driver="stemr"
    )
    # The reflections of the reduction leave the first coordinate alone.
    turned, _, _ = lapack.dormqr("L", "N", reduced[1:, :-1], tau, vectors[1:], lwork=64 * kept)
    return _cleaned(values[::-1]), np.vstack([vectors[:1], turned])[:, ::-1]


def _cleaned(values: Floats) -> Floats:
    """Return eigenvalues, largest first, with those that are rounding set to 0."""
    rounding = len(values) * np.finfo(np.float64).eps * max(float(values[0]), 0.0)
    return np.where(values > rounding, values, 0.0)


def _orthonormal(columns: Floats) -> Floats:
    """Return columns as orthonormal rows, each pointing the way its column did."""
    if not columns.shape[1]:
        return np.zeros((0, len(columns)))
    # Products with the rows lose orthogonality where the singular values are small.
    lengths = np.linalg.norm(columns, axis=0)
    q, r = np.linalg.qr(columns / lengths)
    return np.ascontiguousarray((q * np.sign(np.diag(r))).T)


def _random_projection(x: Floats, kept: int, seed: int) -> tuple[Floats, Floats]:
    """Return the largest singular values and right singular vectors (Halko et al. 2011)."""
    rng = np.random.default_rng(item_seed(seed, "random projection", *x.shape))
    q = rng.standard_normal((x.shape[1], min(kept + _OVERSAMPLED, min(x.shape))))
    for _ in range(_POWERS):
        q, _r = np.linalg.qr(x.T @ (x @ q))
    _, sigma, rows = np.linalg.svd(x @ q, full_matrices=False)
    return sigma[:kept], np.asarray((rows @ q.T)[:kept])
