"""The linear map of the shift: how much of what training changed follows from where a state was.

Source: the paper fits `aligned = base W + b` and decomposes W - I; its code has no intercept, and
with fewer prompts than coordinates it interpolates. Ours regresses the shift itself with a ridge
penalty, so that the map is drawn towards "no change", and never forms a d x d matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.residual_space.goals import goal_folds
from theodolite.mechanism.residual_space.spectrum import decompose_gram, spectrum
from theodolite.text.suggest import did_you_mean

Floats = NDArray[np.float64]
Side = Literal["auto", "rows", "coordinates"]
Ridge = str | float
RIDGES = ("cv", "gcv", "min_norm")
# Of the ridge penalty, in units of the mean squared length of a centred state.
GRID = tuple(10.0**power for power in range(-4, 3))
FOLDS = 5


@dataclass(frozen=True, eq=False)
class ShiftMap:
    """A linear map from base states to the shift: `mean_shift + (x - mean_state) inner outer`.

    Args:
        inner: orthonormal columns, axes (d_model, rank).
        outer: axes (rank, d_model).
        mean_state, mean_shift: axis (d_model); zeros for a map without intercept.
        penalty: the ridge penalty; 0 for the minimum-norm fit.
    """

    inner: Floats
    outer: Floats
    mean_state: Floats
    mean_shift: Floats
    penalty: float

    def predict(self, states: ArrayLike) -> Floats:
        """Return the shift of base states, axes (row, d_model)."""
        centred = np.asarray(states, np.float64) - self.mean_state
        return np.asarray(self.mean_shift + (centred @ self.inner) @ self.outer)

    def reads(self, components: ArrayLike) -> Floats:
        """Return what the map reads to write components: unit rows, axes (component, d_model).

        The row of a component that the map does not write is 0.
        """
        pulled = (self.outer @ np.asarray(components, np.float64).T).T @ self.inner.T
        lengths = np.linalg.norm(pulled, axis=1, keepdims=True)
        return np.asarray(pulled / np.where(lengths > 0, lengths, 1.0))

    def singular(self, kept: int) -> tuple[Floats, Floats, Floats]:
        """Return read directions, singular values and write directions of the map.

        Returns: (component, d_model), (component), (component, d_model); largest first.
        """
        if not self.outer.size:  # the states do not vary
            nothing = np.zeros((0, len(self.mean_state)))
            return nothing, np.zeros(0), nothing
        found = spectrum(self.outer, kept=kept)
        write = found.components
        sigma = found.sigma[: len(write)]
        read = ((self.outer @ write.T) / sigma).T @ self.inner.T if len(write) else write
        return read, sigma, write


@dataclass(frozen=True, eq=False)
class MapQuality:
    """How well the shift of held-out goals is predicted; axis (row).

    Args:
        error: squared error of the map, fitted without the row's goal.
        constant: squared error of the mean shift of the other goals.
        spread: squared distance of the shift from the mean shift of all rows.
        size: squared length of the shift.
        goals: the group of each row.
        width: d_model.
    """

    error: Floats
    constant: Floats
    spread: Floats
    size: Floats
    goals: tuple[str, ...]
    width: int

    @property
    def r2(self) -> float | None:
        """Share of the shift's variance that the map predicts; None where it does not vary."""
        return self._explained(self.error)

    @property
    def constant_r2(self) -> float | None:
        """The same for the constant shift, a little below 0."""
        return self._explained(self.constant)

    @property
    def unexplained(self) -> float | None:
        """Squared error over squared length of the shift, mean shift included."""
        whole = float(self.size.sum())
        return float(self.error.sum()) / whole if whole > 0 else None

    @property
    def paper_ratio(self) -> float | None:
        """The paper's figure: mean error of one coordinate over the mean squared length."""
        return None if self.unexplained is None else self.unexplained / self.width

    def measurement(self, name: str, *, seed: int = 0) -> Measurement:
        """Return the share of variance predicted, with an interval clustered by goal."""
        if self.r2 is None:
            return not_measured(name, "share of variance", "the shift does not vary")

        def statistic(weights: Floats) -> Floats:
            whole = weights @ self.spread
            ratio = np.divide(
                weights @ self.error, whole, out=np.full_like(whole, np.nan), where=whole > 0
            )
            return np.asarray(1 - ratio)

        return resampled(
            name,
            self.r2,
            len(self.error),
            statistic,
            clusters=list(self.goals),
            unit="share of variance",
            floor=Floor("the mean shift of other goals", float(self.constant_r2 or 0.0)),
            seed=seed,
            resamples=1000,
        )

    def _explained(self, error: Floats) -> float | None:
        whole = float(self.spread.sum())
        return 1 - float(error.sum()) / whole if whole > 0 else None


def fit_shift_map(
    states: ArrayLike,
    shift: ArrayLike,
    *,
    ridge: Ridge = "cv",
    center: bool = True,
    goals: Sequence[str] | None = None,
    side: Side = "auto",
    seed: int = 0,
) -> ShiftMap:
    """Fit the map from base states to the shift.

    Args:
        states, shift: axes (row, d_model).
        ridge: "cv" (5 folds of whole goals choose), "gcv" (generalised cross-validation), a
            penalty, or "min_norm" (the least map that fits best: interpolates where it can).
        center: with an intercept, which is not penalised.
        goals: the group of each row, for "cv"; None where rows are independent.
        side: which Gram matrix is decomposed; the smaller one by default, as both give one map.
        seed: of the folds.

    Raises:
        ConfigError: there is no such ridge.
        DataError: rows do not match, or "cv" has one goal only.
    """
    check_ridge(ridge)
    x, d = _matched(states, shift)
    mean_state = x.mean(0) if center else np.zeros(x.shape[1])
    mean_shift = d.mean(0) if center else np.zeros(x.shape[1])
    own = _Decomposed.of(x - mean_state, side=side, exact=ridge == "min_norm")
    target = own.left.T @ (d - mean_shift)
    if ridge == "cv":
        _, chosen = held_out_errors(x, d, ridge="cv", center=center, goals=goals, seed=seed)
        penalty = GRID[chosen] * own.unit
    elif ridge == "gcv":
        penalty = GRID[_gcv(own, d - mean_shift, center)] * own.unit
    else:
        penalty = _fixed(ridge)
    outer = own.filter(penalty)[:, None] * target
    return ShiftMap(own.right, outer, mean_state, mean_shift, penalty)


def held_out_errors(
    states: ArrayLike,
    shift: ArrayLike,
    *,
    ridge: Ridge = "cv",
    center: bool = True,
    goals: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[MapQuality, int]:
    """Return how well the map predicts the shift of goals it was not fitted on.

    Args:
        states, shift, ridge, center, goals, seed: as for `fit_shift_map`.

    Returns: the quality, and the place in `GRID` with the least error over all folds (0 where the
        penalty is not chosen). With "cv" the penalty of a fold is the one that is best on the
        others, so that no row's error helps to choose the map it is measured on.

    Raises: as for `fit_shift_map`.
    """
    check_ridge(ridge)
    x, d = _matched(states, shift)
    groups = tuple(goals) if goals is not None else tuple(f"{i:09d}" for i in range(len(x)))
    folds = goal_folds(groups, FOLDS, seed=seed)
    many = len(GRID) if ridge in ("cv", "gcv") else 1
    errors, constant = np.empty((many, len(x))), np.empty(len(x))
    own_choice: list[int] = []
    for train, test in folds:
        mean_state = x[train].mean(0) if center else 0.0
        mean_shift = d[train].mean(0) if center else np.zeros(d.shape[1])
        own = _Decomposed.of(x[train] - mean_state, exact=ridge == "min_norm")
        apart = d[train] - mean_shift
        penalties = [g * own.unit for g in GRID] if many > 1 else [_fixed(ridge)]
        errors[:, test] = _errors(own, apart, x[test] - mean_state, d[test] - mean_shift, penalties)
        constant[test] = ((d[test] - d[train].mean(0)) ** 2).sum(1)
        own_choice.append(_gcv(own, apart, center) if ridge == "gcv" else 0)
    by_fold = np.stack([errors[:, test].sum(1) for _, test in folds])
    error = np.empty(len(x))
    for f, (_, test) in enumerate(folds):
        others = by_fold.sum(0) - by_fold[f]
        place = int(others.argmin()) if ridge == "cv" else own_choice[f]
        error[test] = errors[place, test]
    quality = MapQuality(
        error=error,
        constant=constant,
        spread=((d - d.mean(0)) ** 2).sum(1),
        size=(d**2).sum(1),
        goals=groups,
        width=d.shape[1],
    )
    return quality, int(by_fold.sum(0).argmin())


def chosen_penalty(
    states: ArrayLike, shift: ArrayLike, ridge: Ridge, place: int, *, center: bool
) -> float:
    """Return the penalty of all rows after held-out goals were looked at.

    Args:
        states, shift, ridge, center: as for `fit_shift_map`.
        place: in `GRID`, as `held_out_errors` returned it; used by "cv" alone.
    """
    if ridge not in ("cv", "gcv"):
        return _fixed(ridge)
    x, d = _matched(states, shift)
    x = x - x.mean(0) if center else x
    if ridge == "cv":
        return GRID[place] * float(np.einsum("ij,ij->", x, x)) / len(x)
    own = _Decomposed.of(x)
    return GRID[_gcv(own, d - d.mean(0) if center else d, center)] * own.unit


def check_ridge(ridge: Ridge) -> None:
    """Refuse a choice of ridge that does not exist.

    Raises: ConfigError: it is neither a known name nor a penalty above 0.
    """
    if isinstance(ridge, str):
        if ridge not in RIDGES:
            raise ConfigError(f"There is no ridge '{ridge}'.", fix=did_you_mean(ridge, RIDGES))
    elif not (np.isfinite(ridge) and ridge > 0):
        raise ConfigError(
            f"A ridge penalty of {ridge} is not possible.", fix="Give a number above 0."
        )


@dataclass(frozen=True, eq=False)
class _Decomposed:
    """Rows as `left * values @ right.T`.

    Args:
        left: axes (row, rank); right: axes (d_model, rank); orthonormal columns.
        values: singular values, axis (rank).
        unit: mean squared length of a row.
    """

    left: Floats
    values: Floats
    right: Floats
    unit: float

    @classmethod
    def of(cls, x: Floats, *, side: Side = "auto", exact: bool = False) -> _Decomposed:
        """Decompose rows by the smaller Gram matrix; `exact` keeps small singular values too."""
        unit = float(np.einsum("ij,ij->", x, x)) / len(x)
        if exact:
            left, values, rows = np.linalg.svd(x, full_matrices=False)
            kept = values > max(x.shape) * np.finfo(np.float64).eps * (values[0] or 1.0)
            return cls(left[:, kept], values[kept], rows[kept].T, unit)
        by_rows = side == "rows" or (side == "auto" and x.shape[0] <= x.shape[1])
        squares, vectors = decompose_gram(x @ x.T if by_rows else x.T @ x)
        kept = squares > 0
        values, vectors = np.sqrt(squares[kept]), vectors[:, kept]
        others = (x.T @ vectors if by_rows else x @ vectors) / values
        left, right = (vectors, others) if by_rows else (others, vectors)
        return cls(left, values, right, unit)

    def filter(self, penalty: float) -> Floats:
        """Return what each left vector's target is multiplied by; axis (rank)."""
        return np.asarray(self.values / (self.values**2 + penalty))


def _errors(
    own: _Decomposed, target: Floats, x: Floats, d: Floats, penalties: Sequence[float]
) -> Floats:
    """Return squared errors on other rows, axes (penalty, row), from inner products."""
    coordinates, pulled = x @ own.right, own.left.T @ target
    towards, among = (d @ pulled.T), pulled @ pulled.T
    found = []
    for penalty in penalties:
        weights = coordinates * own.filter(penalty)
        cross = np.einsum("ij,ij->i", weights, towards)
        square = np.einsum("ij,ij->i", weights @ among, weights)
        found.append((d**2).sum(1) - 2 * cross + square)
    return np.asarray(np.maximum(np.stack(found), 0.0))


def _gcv(own: _Decomposed, target: Floats, center: bool) -> int:
    """Return the place in `GRID` with the least generalised cross-validation error."""
    n = len(target)
    along = ((own.left.T @ target) ** 2).sum(1)
    whole = float((target**2).sum())
    scores = []
    for step in GRID:
        kept = own.values * own.filter(step * own.unit)
        left_over = whole - float(((1 - (1 - kept) ** 2) * along).sum())
        free = n - float(kept.sum()) - (1.0 if center else 0.0)
        scores.append(left_over / max(free, 1e-9) ** 2)
    return int(np.argmin(scores))


def _fixed(ridge: Ridge) -> float:
    return 0.0 if isinstance(ridge, str) else float(ridge)


def _matched(states: ArrayLike, shift: ArrayLike) -> tuple[Floats, Floats]:
    x, d = np.asarray(states, np.float64), np.asarray(shift, np.float64)
    if x.ndim != 2 or x.shape != d.shape or len(x) < 2:
        raise DataError(
            f"States of shape {x.shape} and a shift of shape {d.shape} do not match.",
            fix="Give at least two rows of both, axes (row, d_model).",
        )
    return x, d
