"""Learned directions: the basis, how it was reached, and what any vector of the cone does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.effects import Pushed, Reader, Sides, effects_of
from theodolite.mechanism.random_vectors import random_vector
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
_RANDOM: Final = "random directions of the same length"


@dataclass(frozen=True)
class Step:
    """One step of learning; losses are those before it, nats per token.

    Args:
        number: counts from 0.
        total: the weighted sum, mean over basis and samples.
        ablation, addition, retention: its parts.
        worst, mean: of the vectors sampled from the cone; of a single direction its own.
        gradient: its length before it was clipped.
        rate: step size.
    """

    number: int
    total: float
    ablation: float
    addition: float
    retention: float
    worst: float
    mean: float
    gradient: float
    rate: float


@dataclass(frozen=True, eq=False)
class LearnedDirections:
    """An orthonormal basis that was learned, or a single direction.

    Args:
        directions: in the order of the basis.
        alpha: the length it was added with.
        history: of the steps.
    """

    directions: tuple[Direction, ...]
    alpha: float
    history: tuple[Step, ...]

    @property
    def basis(self) -> Floats:
        """Axes (direction, d_model)."""
        return np.stack([direction.vector for direction in self.directions])

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per step."""
        return [asdict(step) for step in self.history]

    def measurements(
        self,
        reader: Reader,
        sides: Sides,
        start: Direction,
        *,
        samples: int = 16,
        controls: int = 8,
        seed: int = 0,
    ) -> list[Measurement]:
        """Return what ablation removes of the refusal of test prompts.

        Args:
            reader: of the model, with its refusal tokens.
            sides: test prompts.
            start: the difference in means, to be set beside.
            samples: vectors of the cone, none of its basis; a single direction has none.
            controls: random directions.
            seed: of samples, controls and resamples.

        Returns: change of refusal log-odds by the worst and the mean vector of the cone (by the
            direction itself where there is one), and by the difference in means; the floor is what
            random directions change.
        """
        drawn = self.sampled(samples, seed=seed)
        random = [
            random_vector(self.basis.shape[1], 1.0, item_seed(seed, "learned control", k))
            for k in range(controls)
        ]
        depth = start.hidden_index
        pushed = [Pushed(depth, v, self.alpha) for v in (*drawn, start.vector, *random)]
        found = effects_of(reader, sides, pushed)
        removed = found.ablated - found.harmful
        own = removed[: len(drawn)]
        floor = Floor(_RANDOM, float(removed[len(drawn) + 1 :].mean())) if controls else None
        name = f"directions/{self.directions[0].method}"
        rows = {f"{name}/removed": own.mean(0)}
        if len(drawn) > 1:
            rows[f"{name}/removed_by_worst"] = own[int(own.mean(1).argmax())]
        rows["directions/difference_in_means/removed"] = removed[len(drawn)]
        return [
            mean(
                label,
                values.tolist(),
                clusters=found.harmful_goals,
                unit="nats",
                floor=floor,
                seed=seed,
                reason="change of refusal log-odds by ablation; below 0 is less refusal",
            )
            for label, values in rows.items()
        ]

    def sampled(self, count: int, *, seed: int = 0) -> Floats:
        """Return unit vectors of the cone, axes (vector, d_model); of one direction itself."""
        if len(self.directions) == 1:
            return self.basis
        rng = np.random.default_rng(item_seed(seed, "cone"))
        return np.asarray(cone_samples(rng, count, len(self.directions)) @ self.basis)


def cone_samples(rng: np.random.Generator, count: int, dimensions: int) -> Floats:
    """Return weights of random unit vectors of a cone, none negative; axes (sample, basis)."""
    drawn = np.abs(rng.standard_normal((count, dimensions)))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
