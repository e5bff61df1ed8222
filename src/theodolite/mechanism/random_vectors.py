"""Random vectors: the control of every intervention, as long as what they stand beside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_vector(size: int, norm: float, seed: int) -> NDArray[np.float64]:
    """Return a vector of a given length in a random direction; axis (d_model)."""
    drawn = np.random.default_rng(seed).standard_normal(size)
    return np.asarray(drawn * (norm / np.linalg.norm(drawn)))
