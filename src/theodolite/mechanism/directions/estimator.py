"""The one interface of all estimators, what they return, and the estimators by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.mechanism.directions.direction import Direction, basis_of
from theodolite.mechanism.directions.eraser import Eraser, orthonormal
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast

Floats = NDArray[np.float64]
SEPARATION: Final = "distance of the classes in standard deviations"
_HERE: Final = "theodolite.mechanism.directions"
ESTIMATORS: Final[Mapping[str, str]] = {
    "difference_in_means": "means.DifferenceInMeans",
    "logistic": "readers.LogisticProbe",
    "lda": "readers.ShrinkageLda",
    "leace": "readers.Leace",
    "inlp": "inlp.Inlp",
    "som": "som.SomDirections",
    "shift_svd": "shift_svd.ShiftSvd",
}


class DirectionEstimator(Protocol):
    """Finds directions that part two classes of states; a plain value with its options."""

    @property
    def name(self) -> str:
        """Its name among `ESTIMATORS`."""

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """Find directions at every depth of a contrast.

        Args:
            contrast: `train` is fitted on and `val` chosen on; `test` is never read.
            seed: of every random choice.

        Raises: DataError: the states do not allow a direction, as where the classes are equal.
        """


@dataclass(frozen=True, eq=False)
class Estimate:
    """The directions an estimator found at each depth.

    Args:
        method: the estimator's name.
        directions: hidden_index -> directions, the leading one first; each points to the positive
            class.
        gaps: hidden_index -> distance of the training classes' means along the leading direction,
            in units of the stream; how far it takes to move one class to the other.
        scores: hidden_index -> how good the leading direction is on the prompts to choose by;
            larger is better.
        score_name: what that is.
        erasers: hidden_index -> the affine map that takes the concept out, where the method is one.
    """

    method: str
    directions: Mapping[int, tuple[Direction, ...]]
    gaps: Mapping[int, float]
    scores: Mapping[int, float]
    score_name: str = SEPARATION
    erasers: Mapping[int, Eraser] = field(default_factory=dict)

    @property
    def hidden_indices(self) -> tuple[int, ...]:
        """The depths."""
        return tuple(self.directions)

    @property
    def best(self) -> int:
        """The depth with the highest score; of equal ones the first."""
        return max(self.directions, key=lambda h: (self.scores[h], -h))

    def leading(self, hidden_index: int) -> Direction:
        """Return the first direction at a depth.

        Raises: ConfigError: nothing was fitted there.
        """
        return self._at(hidden_index)[0]

    def basis(self, hidden_index: int) -> Floats:
        """Return an orthonormal basis of all directions at a depth, axes (rank, d_model)."""
        return orthonormal(basis_of(self._at(hidden_index)))

    def _at(self, hidden_index: int) -> tuple[Direction, ...]:
        if hidden_index not in self.directions:
            raise ConfigError(
                f"{self.method} was not fitted at hidden_index {hidden_index}.",
                fix=f"There is {', '.join(map(str, self.directions))}.",
            )
        return self.directions[hidden_index]


def estimator(name: str, **options: Any) -> DirectionEstimator:
    """Return an estimator by name; its file is imported only then.

    Args:
        name: one of `ESTIMATORS`.
        options: fields of the estimator.

    Raises: ConfigError: there is no such estimator, or no such option (the nearest is suggested).
    """
    if name not in ESTIMATORS:
        raise ConfigError(
            f"There is no direction estimator {shown(name)}.", fix=did_you_mean(name, ESTIMATORS)
        )
    module, kind = ESTIMATORS[name].split(".")
    made = getattr(import_module(f"{_HERE}.{module}"), kind)
    known = set(made.__dataclass_fields__)
    for option in options:
        if option not in known:
            raise ConfigError(
                f"The estimator {name} has no option {shown(option)}.",
                fix=did_you_mean(option, known) or "It has none.",
            )
    found: DirectionEstimator = made(**options)
    return found


def estimate_of(
    method: str,
    contrast: Contrast,
    vectors: Mapping[int, Sequence[Floats]],
    *,
    erasers: Mapping[int, Eraser] | None = None,
    ranked: bool = False,
) -> Estimate:
    """Gather vectors by depth into an estimate, each turned to the positive class.

    Args:
        vectors: hidden_index -> vectors, the leading one first; of any length but 0.
        ranked: put them into the order of `separation` instead.

    Returns: scored by `separation`.
    """
    directions, gaps, scores = {}, {}, {}
    for hidden_index, found in vectors.items():
        apart = class_gap(contrast, hidden_index)
        made = []
        for vector in found:
            direction = Direction(
                f"{method}@L{hidden_index}",
                hidden_index,
                vector,
                method,
                contrast.position,
                contrast.model,
            )
            made.append(direction if apart @ direction.vector >= 0 else direction.turned())
        if ranked:
            made.sort(key=lambda direction: -separation(contrast, direction))
        directions[hidden_index] = tuple(made)
        gaps[hidden_index] = float(apart @ made[0].vector)
        scores[hidden_index] = separation(contrast, made[0])
    return Estimate(method, directions, gaps, scores, erasers=erasers or {})


def class_gap(contrast: Contrast, hidden_index: int) -> Floats:
    """Return the positive less the negative mean of the training states, axes (d_model)."""
    rows = contrast.fitting
    x, positive = contrast.at(hidden_index)[rows], contrast.positive[rows]
    return np.asarray(x[positive].mean(0) - x[~positive].mean(0))


def separation(contrast: Contrast, direction: Direction) -> float:
    """Return how far apart the classes lie along a direction, in standard deviations within them.

    Note: on the prompts to choose by (`val`), which it was not fitted on; 0 where they do not vary.
    """
    rows = contrast.choosing
    along = direction.projections(contrast.at(direction.hidden_index)[rows])
    positive = contrast.positive[rows]
    first, second = along[positive], along[~positive]
    spread = float(np.sqrt((first.var() + second.var()) / 2))
    return float(first.mean() - second.mean()) / spread if spread > 0 else 0.0
