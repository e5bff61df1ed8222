"""Directions that read the classes best: logistic regression, shrinkage LDA, and LEACE.

A reading direction is not a writing one: it says how to tell the classes apart given how states
vary, and avoids what varies for other reasons; the difference in means says what is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from theodolite.errors import DataError
from theodolite.mechanism.directions.eraser import Eraser
from theodolite.mechanism.directions.estimator import Estimate, estimate_of
from theodolite.mechanism.probes.held_out import fit_apart
from theodolite.mechanism.probes.threads import one_blas_thread
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast


@dataclass(frozen=True)
class LogisticProbe:
    """The weights of an L2-penalised logistic regression in the states' own units.

    Folds of whole goals within the training prompts choose the strength of the penalty.
    """

    name: ClassVar[str] = "logistic"

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`."""
        return _fit_probe(self.name, contrast, seed)


@dataclass(frozen=True)
class ShrinkageLda:
    """The normal of linear discriminant analysis with a Ledoit-Wolf common covariance."""

    name: ClassVar[str] = "lda"

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; nothing is random."""
        return _fit_probe(self.name, contrast, seed)


@dataclass(frozen=True)
class Leace:
    """Least-squares concept erasure: what no linear probe can read afterwards.

    Source: arXiv:2306.03819. The direction is the reading one; what the eraser takes away lies
        along the difference in means, as it does for every two-class eraser that is least.

    Args:
        shrinkage: of the covariance towards a multiple of one; None is Ledoit and Wolf's.
    """

    name: ClassVar[str] = "leace"
    shrinkage: float | None = None

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; nothing is random."""
        rows = contrast.fitting
        erasers = {
            hidden_index: Eraser.leace(
                contrast.at(hidden_index)[rows], contrast.labels[rows], shrinkage=self.shrinkage
            )
            for hidden_index in contrast.hidden_indices
        }
        vectors = {hidden_index: [one.reads[0]] for hidden_index, one in erasers.items()}
        return estimate_of(self.name, contrast, vectors, erasers=erasers)


@one_blas_thread()
def _fit_probe(probe: str, contrast: Contrast, seed: int) -> Estimate:
    """Fit a linear probe at every depth."""
    rows = contrast.fitting
    groups = [goal for goal, inside in zip(contrast.goals, rows, strict=True) if inside]
    vectors = {}
    for hidden_index in contrast.hidden_indices:
        x = contrast.at(hidden_index)[rows]
        own = item_seed(seed, "direction", probe, hidden_index)
        fitted = fit_apart(probe, x, contrast.labels[rows], groups, x[:0], seed=own)
        assert fitted.linear is not None  # noqa: S101 - these probes are linear
        weights = np.asarray(fitted.linear[0])
        if not weights.any():
            raise DataError(
                f"A {probe} probe finds nothing at hidden_index {hidden_index}.",
                fix="Leave out this depth, or give more prompts.",
            )
        vectors[hidden_index] = [weights]
    return estimate_of(probe, contrast, vectors)
