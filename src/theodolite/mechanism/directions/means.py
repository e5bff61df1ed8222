"""Difference in means: from the mean of one class to the mean of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from theodolite.errors import DataError
from theodolite.mechanism.directions.estimator import Estimate, class_gap, estimate_of

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast


@dataclass(frozen=True)
class DifferenceInMeans:
    """The mean of the positive class less that of the negative one, summed in float64.

    Source: arXiv:2406.11717, section 2.3.
    """

    name: ClassVar[str] = "difference_in_means"

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; nothing is random."""
        vectors = {}
        for hidden_index in contrast.hidden_indices:
            gap = class_gap(contrast, hidden_index)
            if not gap.any():
                raise DataError(
                    f"The two classes have the same mean at hidden_index {hidden_index}.",
                    fix="Leave out this depth, or give different prompts.",
                )
            vectors[hidden_index] = [gap]
        return estimate_of(self.name, contrast, vectors)


def candidates(contrasts: Mapping[str, Contrast]) -> dict[str, Estimate]:
    """Return the difference in means at every position and depth: the candidates of a selection.

    Args:
        contrasts: by position, e.g. from `read_contrasts` at every `template[i]`.
    """
    return {place: DifferenceInMeans().fit(one, seed=0) for place, one in contrasts.items()}
