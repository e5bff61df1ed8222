"""L2-penalised logistic regression, solved through the inner products of the training rows.

The weights are a sum of training rows, `w = X' a`, so n numbers decide them where the states have
thousands of coordinates. Newton's method on `a` and the intercept needs one Cholesky factor per
step; a factor is kept for further steps as long as they shrink fast. Where there are fewer
coordinates than rows the same steps are taken through a system of the coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import NumericsError

Floats = NDArray[np.float64]
TOLERANCE = 1e-6
_NO_MOVE = 1e-9  # of a score, in log-odds
_STALE = 0.4  # a kept factor is renewed where a step is not at most this share of the last one
_MOST_STEPS = 200
_HALVINGS = 40
_SLACK = 1e-11  # rounding of the objective, as a share of it


@dataclass(frozen=True, eq=False)
class Rows:
    """Training rows as the solver needs them.

    Args:
        gram: inner products; axes (row, row).
        features: the rows themselves, axes (row, coordinate), where there are fewer coordinates
            than rows; None where the Gram matrix is the smaller one.
    """

    gram: Floats
    features: Floats | None

    @classmethod
    def of(cls, features: Floats, gram: Floats) -> Rows:
        """Keep the rows only where they are the shorter way."""
        return cls(gram, features if features.shape[1] < len(features) else None)

    def times(self, dual: Floats) -> Floats:
        """Return the inner products of the rows with a sum of rows."""
        if self.features is None:
            return np.asarray(self.gram @ dual)
        return np.asarray(self.features @ (self.features.T @ dual))


class Dual(NamedTuple):
    """A linear classifier in terms of its training rows: score = inner products @ dual + bias."""

    dual: Floats
    bias: float


def solve(
    rows: Rows,
    target: Floats,
    strength: float,
    start: Dual | None = None,
    tolerance: float = TOLERANCE,
) -> Dual:
    """Minimise `|w|^2 / 2 + C sum log(1 + exp(-y (w x + b)))`; the intercept is not penalised.

    Args:
        rows: the training rows.
        target: 1.0 for the positive class, else 0.0, both present; axis (row).
        strength: C, as scikit-learn counts it.
        start: a solution to begin at, where it is better than none.
        tolerance: the last step, relative to the length of the weights.

    Returns: the minimum; its weights are within about `tolerance` of the exact ones.

    Raises:
        NumericsError: the steps do not end, as with values beyond all scale.

    Note: the objective is convex and falls at every step (else the step is halved), so separable
        classes and large C converge as well, only in more steps.
    """
    state = _begin(rows, target, strength, start)
    newton: _Newton | None = None
    last = np.inf
    for _ in range(_MOST_STEPS):
        fresh = newton is None
        newton = newton or _factored(state)
        change, shift = newton.step(state)
        moved = rows.times(change)
        taken = state.move(change, shift, moved)
        if fresh and taken == 0.0:
            break
        length = float(np.sqrt((change @ moved).clip(0.0)))
        weights = float(np.sqrt((state.dual @ state.values).clip(0.0)))
        # Where the best weights are none at all, no step is small beside them.
        ends = length <= tolerance * weights or float(np.abs(moved).max()) <= _NO_MOVE
        small = ends and abs(shift) <= tolerance * (1 + abs(state.bias))
        if small and taken == 1.0:
            return Dual(state.dual, state.bias)
        if taken < 1.0 or length > _STALE * last:
            newton = None
        last = length
    raise NumericsError(
        f"The logistic fit of {len(target)} rows found no minimum (C = {strength:g}).",
        fix="Check the states for values beyond all scale.",
    )


@dataclass(eq=False)
class _State:
    """Where the solver stands: the classifier, its values `gram @ dual` and its objective."""

    rows: Rows
    target: Floats
    strength: float
    dual: Floats
    bias: float
    values: Floats
    objective: float

    @property
    def scores(self) -> Floats:
        """Score of each row."""
        return self.values + self.bias

    def loss(self, square: float, scores: Floats) -> float:
        """Return the objective of weights of that squared length and those scores."""
        margins = np.where(self.target > 0, scores, -scores)
        return 0.5 * square + self.strength * float(np.logaddexp(0.0, -margins).sum())

    def move(self, change: Floats, shift: float, moved: Floats) -> float:
        """Take the step, or the largest half, quarter, ... of it that does not climb.

        Args:
            change: of the dual; axis (row).
            shift: of the intercept.
            moved: of the values; axis (row).

        Returns: the part of the step that was taken; 0 where every part of it climbs.
        """
        square, slope = float(self.dual @ self.values), float(change @ self.values)
        bend, scores = float(change @ moved), self.scores
        part = 1.0
        for _ in range(_HALVINGS):
            reached = square + 2 * part * slope + part * part * bend
            objective = self.loss(reached, scores + part * (moved + shift))
            if objective <= self.objective * (1 + _SLACK):
                self.dual = self.dual + part * change
                self.values = self.values + part * moved
                self.bias += part * shift
                self.objective = objective
                return part
            part /= 2
        return 0.0


def _begin(rows: Rows, target: Floats, strength: float, start: Dual | None) -> _State:
    """Stand at a given solution or, where that is better, at the intercept of the class shares."""
    share = float(target.mean())
    none = Dual(np.zeros(len(target)), float(np.log(share / (1 - share))))
    states = []
    for begin in (none,) if start is None else (none, start):
        state = _State(rows, target, strength, *begin, rows.times(begin.dual), np.inf)
        state.objective = state.loss(float(state.dual @ state.values), state.scores)
        states.append(state)
    return min(states, key=lambda state: state.objective)


class _Newton(Protocol):
    """The curvature at one point, factored; good for steps from points near it too."""

    def step(self, state: _State) -> tuple[Floats, float]:
        """Return the step of dual and intercept towards the minimum.

        Note: with residuals q = y - p and curvatures W = p (1 - p), the steps of weights and
            intercept solve `(I + C X'WX) dw + C X'W1 db = X'(C q - a)` and
            `1'WX dw + 1'W1 db = 1'q`.
        """


def _factored(state: _State) -> _Newton:
    """Factor the curvature where the solver stands, by rows or by coordinates."""
    chance = _sigmoid(state.scores)
    curvature = np.maximum(chance * (1 - chance), 1e-300)
    if state.rows.features is None:
        return _ByRows.at(state.rows.gram, curvature, state.strength)
    return _ByCoordinates.at(state.rows.features, curvature, state.strength)


@dataclass(frozen=True, eq=False)
class _ByRows:
    """The system `I + C S K S` with K the Gram matrix and S the root of the curvature."""

    root: Floats
    factor: Floats
    pull: Floats

    @classmethod
    def at(cls, gram: Floats, curvature: Floats, strength: float) -> _ByRows:
        root = np.sqrt(curvature)
        system = gram * (strength * root)[:, None]
        system *= root
        system.flat[:: len(system) + 1] += 1.0
        factor = np.asarray(np.linalg.cholesky(system), np.float64)
        return cls(root, factor, _solved(factor, strength * root))

    def step(self, state: _State) -> tuple[Floats, float]:
        gradient, free = _slopes(state)
        inner = _solved(self.factor, state.strength * self.root * state.rows.times(gradient))
        shift = (float(self.root @ inner) + free) / float(self.root @ self.pull)
        return self.root * (inner - shift * self.pull) - gradient, shift


@dataclass(frozen=True, eq=False)
class _ByCoordinates:
    """The system of the weights and the intercept themselves."""

    weighted: Floats  # C W (X, 1)
    factor: Floats

    @classmethod
    def at(cls, features: Floats, curvature: Floats, strength: float) -> _ByCoordinates:
        bordered = np.column_stack([features, np.ones(len(features))])
        weighted = bordered * (strength * curvature)[:, None]
        system = bordered.T @ weighted
        width = features.shape[1]
        system.flat[: width * (width + 2) : width + 2] += 1.0
        return cls(weighted, np.asarray(np.linalg.cholesky(system), np.float64))

    def step(self, state: _State) -> tuple[Floats, float]:
        gradient, free = _slopes(state)
        assert state.rows.features is not None  # noqa: S101 - this system is made from them
        slopes = np.append(-(state.rows.features.T @ gradient), free)
        moved = _solved(self.factor, slopes)
        return -gradient - self.weighted @ moved, float(moved[-1])


def _slopes(state: _State) -> tuple[Floats, float]:
    """Return how the objective falls: of the dual, `a - C q`, and of the intercept, `C 1'q`."""
    residual = state.target - _sigmoid(state.scores)
    return state.dual - state.strength * residual, state.strength * float(residual.sum())


def _solved(factor: Floats, v: Floats) -> Floats:
    """Solve a system by its lower Cholesky factor."""
    from scipy.linalg.lapack import dpotrs

    return np.asarray(dpotrs(factor.T, v, lower=0)[0])


def _sigmoid(scores: Floats) -> Floats:
    """Return 1 / (1 + exp(-score)) without overflow."""
    small = np.exp(-np.abs(scores))
    return np.asarray(np.where(scores >= 0, 1.0, small) / (1.0 + small))
