"""Principal directions of what tuning did: the shift of a tuned model's states from its base's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.estimator import Estimate, estimate_of
from theodolite.mechanism.directions.overlap import leading_components

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast


@dataclass(frozen=True)
class ShiftSvd:
    """Right singular vectors of tuned less base states on the same prompts.

    Source: arXiv:2502.09674. It needs no labels; they only say which way a direction points. Its
        directions belong to the pair of models, and one that is large is not therefore one that
        parts the classes: compare.

    Args:
        components: directions at most, at each depth.
        center: take the mean shift out first; without, the first direction is close to it.
    """

    name: ClassVar[str] = "shift_svd"
    components: int = 8
    center: bool = True

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; nothing is random.

        Raises: DataError: the contrast holds no shift, or the two models do not differ.
        """
        if self.components < 1:
            raise ConfigError(f"components is {self.components}.", fix="Use at least 1.")
        rows = contrast.fitting
        vectors = {}
        for hidden_index in contrast.hidden_indices:
            shift = contrast.shift_at(hidden_index)[rows]
            found = leading_components(shift, self.components, centred=self.center)
            if not len(found):
                raise DataError(
                    f"Base and tuned model do not differ at hidden_index {hidden_index}.",
                    fix="Leave out this depth, or give the tuned model.",
                )
            vectors[hidden_index] = list(found)
        return estimate_of(self.name, contrast, vectors)
