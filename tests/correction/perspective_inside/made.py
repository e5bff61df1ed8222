"""Made states: texts of two kinds, and prompts that move by a planted vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.correction.perspective_inside.shift import InnerShift, inner_shift
from theodolite.mechanism.directions.contrast import Contrast

WIDTH, LAYERS, PROMPTS = 12, 3, 24
AXIS = np.eye(WIDTH)[0]


def texts(seed: int = 0, apart: float = 6.0, n: int = 60) -> Contrast:
    """Return texts whose kinds lie so far apart along the first axis, at every depth."""
    dice = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    states = dice.standard_normal((n, LAYERS, WIDTH))
    states += apart * labels[:, None, None] * AXIS
    splits = ["train"] * (n // 2) + ["val"] * (n // 4) + ["test"] * (n - n // 2 - n // 4)
    names = tuple(f"t{i}" for i in range(n))
    return Contrast(
        states, labels, names, tuple(splits), names, tuple(range(1, LAYERS + 1)),
        position="instruction_mean",
    )  # fmt: skip


def moved(
    method: Any = 0.0, placebo: Any = 0.0, *, noise: float = 0.1, seed: int = 0, **how: Any
) -> InnerShift:
    """Return the shifts of prompts that a method and a placebo move by planted vectors."""
    dice = np.random.default_rng(seed + 1)
    shape = (PROMPTS, LAYERS, WIDTH)
    before = 3 * dice.standard_normal(shape)
    after = {
        name: before + np.asarray(by) + noise * dice.standard_normal(shape)
        for name, by in (("pet_io", method), ("pet_placebo", placebo))
    }
    ids = tuple(f"p{i}" for i in range(PROMPTS))
    contrast = how.pop("contrast", None) or texts(seed)
    return inner_shift(contrast, before, after, ids=ids, goals=ids, seed=seed, **how)
