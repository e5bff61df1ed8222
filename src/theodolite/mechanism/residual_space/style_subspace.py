"""The directions that read the wrapper, as a subspace that training can be told to hold still.

A direction counts where style explains more of it than harm does, beyond what random directions of
its depth have. `[penalty] subspace` of a training recipe reads the file (see `training.penalty`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from theodolite.mechanism.residual_space.study import Study
    from theodolite.mechanism.residual_space.style_cells import Floats

SPURIOUS: Final = 0.5
FILE: Final = "tensors/styles.safetensors"


def style_subspace(study: Study) -> dict[str, Floats]:
    """Return the directions of each depth that are shown to read the wrapper.

    Source: ours.

    Returns: `L<hidden_index>` -> orthonormal rows, axes (component, d_model): those whose spurious
        index is above one half, with an interval that lies above what random directions of the
        depth have. Depths without one are absent, and so are the embeddings, which nothing writes.
    """
    styles = study.styles
    if styles is None or "spurious" not in styles.random:
        return {}
    index, low, floor = styles.spurious.value, styles.spurious.low, styles.random["spurious"]
    reads = (index > SPURIOUS) & (low > floor)  # False where there is no interval or no floor
    found: dict[str, list[Floats]] = {}
    for direction, chosen in zip(study.named, reads, strict=True):
        if chosen and direction.hidden_index > 0:
            found.setdefault(f"L{direction.hidden_index}", []).append(direction.vector)
    return {name: np.stack(rows) for name, rows in found.items()}


def subspace_words(bases: Mapping[str, Floats]) -> str:
    """Say what the file of style directions holds, or why there is none."""
    if not bases:
        return (
            "No direction is shown to read the wrapper more than random directions of its depth "
            "do, so no file of style directions was written."
        )
    count = sum(len(rows) for rows in bases.values())
    return (
        f"{FILE} holds the directions that read the wrapper more than the request and than random "
        f"directions do ({count}, at hidden index {', '.join(name[1:] for name in bases)}); "
        "`[penalty] subspace` of a training recipe reads it."
    )
