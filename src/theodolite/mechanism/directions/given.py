"""Directions found elsewhere, so that they stand beside estimators: selected, learned, or a user's
own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from theodolite.errors import DataError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.estimator import Estimate, class_gap, separation

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast


@dataclass(frozen=True, eq=False)
class GivenDirections:
    """An estimator that learns nothing: the same directions at every depth.

    Args:
        name: what tables call it.
        directions: the leading one first; they keep their sign.
    """

    name: str
    directions: Sequence[Direction]

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; nothing is fitted.

        Raises: DataError: there are no directions, or they are of another width.
        """
        widths = {direction.vector.size for direction in self.directions}
        if widths != {contrast.d_model}:
            wide = ", ".join(str(width) for width in sorted(widths)) or "not there"
            raise DataError(
                f"The directions of {self.name} are {wide}, and the states {contrast.d_model} "
                "wide.",
                fix="Give directions of the same model.",
            )
        placed = {
            h: tuple(replace(one, hidden_index=h) for one in self.directions)
            for h in contrast.hidden_indices
        }
        return Estimate(
            method=self.name,
            directions=placed,
            gaps={h: float(class_gap(contrast, h) @ own[0].vector) for h, own in placed.items()},
            scores={h: separation(contrast, own[0]) for h, own in placed.items()},
        )
