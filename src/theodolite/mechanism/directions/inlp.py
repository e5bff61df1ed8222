"""Iterated nullspace projection: take out what a probe reads, until none reads any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.mechanism.directions.eraser import Eraser
from theodolite.mechanism.directions.estimator import Estimate, estimate_of
from theodolite.mechanism.probes.held_out import fit_apart
from theodolite.mechanism.probes.threads import one_blas_thread
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast

Floats = NDArray[np.float64]
_ONE_SIDED: Final = 1.645


@dataclass(frozen=True)
class Inlp:
    """Directions that probes read one after the other, each orthogonal to those before.

    Source: arXiv:2004.07667; as a way to find refusal directions arXiv:2606.13720. Ours: it ends
        where the folds that choose a probe's strength are told apart no better than by always
        saying the larger class (one-sided 5 %).

    Args:
        most: directions at most, at each depth.
    """

    name: ClassVar[str] = "inlp"
    most: int = 16

    @one_blas_thread()
    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; at least one direction is given at every depth."""
        if self.most < 1:
            raise ConfigError(f"most is {self.most}.", fix="Use at least 1.")
        rows = contrast.fitting
        groups = [goal for goal, inside in zip(contrast.goals, rows, strict=True) if inside]
        vectors = {
            hidden_index: self._directions(
                contrast.at(hidden_index)[rows],
                contrast.labels[rows],
                groups,
                item_seed(seed, "inlp", hidden_index),
            )
            for hidden_index in contrast.hidden_indices
        }
        erasers = {h: Eraser.projection(np.stack(found)) for h, found in vectors.items()}
        return estimate_of(self.name, contrast, vectors, erasers=erasers)

    def _directions(
        self, x: Floats, labels: NDArray[np.int64], groups: Sequence[str], seed: int
    ) -> list[Floats]:
        """Return unit vectors, orthogonal to each other, in the order in which they were read."""
        share = max(float(labels.mean()), 1 - float(labels.mean()))
        chance = share + _ONE_SIDED * float(np.sqrt(share * (1 - share) / len(labels)))
        found: list[Floats] = []
        left = x
        while len(found) < self.most:
            fitted = fit_apart("logistic", left, labels, groups, left[:0], seed=seed)
            assert fitted.linear is not None  # noqa: S101 - a logistic probe is linear
            weights = np.asarray(fitted.linear[0])
            for known in found:  # the probe's units bring back a little of what was taken out
                weights = weights - (weights @ known) * known
            length = float(np.linalg.norm(weights))
            if found and (length == 0 or fitted.inner_accuracy <= chance):
                break
            found.append(weights / length)
            left = left - (left @ found[-1])[:, None] * found[-1]
        return found
