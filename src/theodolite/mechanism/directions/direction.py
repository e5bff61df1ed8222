"""A direction: a unit vector at one depth of the residual stream, with a name that says where.

`L14-C6` is the sixth component (counted from 1) at hidden_index 14, the stream after block 13;
hidden_index 0 is the embeddings. Directions of other origin are called `<method>@L14`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError

Floats = NDArray[np.float64]
_COMPONENT = re.compile(r"L([0-9]+)-C([0-9]+)")


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector of the stream at one hidden_index.

    Args:
        name: `L<hidden_index>-C<component>`, or `<method>@L<hidden_index>`.
        hidden_index: 0 is the embeddings, l the stream after block l - 1.
        vector: float64, axes (d_model); stored with length 1.
        method: how it was found, in one word or two.
        position: the prompt position whose states it was fitted on.
        model: fingerprint of the model it belongs to; "" where none is bound.

    Raises: DataError: the vector has no length, is not finite, or has more than one axis.
    """

    name: str
    hidden_index: int
    vector: Floats
    method: str = ""
    position: str = "prompt_last"
    model: str = ""

    def __post_init__(self) -> None:
        vector = np.asarray(self.vector, np.float64)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise DataError(
                f"The direction {shown(self.name)} is not one finite vector.",
                fix="Give numbers on one axis, d_model of them.",
            )
        length = float(np.linalg.norm(vector))
        if length == 0.0:
            raise DataError(
                f"The direction {shown(self.name)} is the zero vector.",
                fix="Give a vector with a length.",
            )
        object.__setattr__(self, "vector", vector / length)

    def turned(self) -> Direction:
        """Return the opposite direction, under the same name."""
        return replace(self, vector=-self.vector)

    def projections(self, states: ArrayLike) -> Floats:
        """Return the component of states along the direction.

        Args:
            states: axes (..., d_model).
        """
        found: Floats = np.asarray(states, np.float64) @ self.vector
        return found


def component_name(hidden_index: int, component: int) -> str:
    """Return the name of a component, counted from 1."""
    return f"L{hidden_index}-C{component}"


def parse_component(name: str) -> tuple[int, int]:
    """Return the hidden_index and the component (from 1) that a name like `L14-C6` says.

    Raises: ConfigError: it is no such name.
    """
    match = _COMPONENT.fullmatch(name)
    if match is None or int(match[2]) < 1:
        raise ConfigError(
            f"{shown(name)} names no component.", fix="Write it like L14-C6 (counted from C1)."
        )
    return int(match[1]), int(match[2])


def basis_of(directions: Sequence[Direction]) -> Floats:
    """Return the vectors of directions at one hidden_index, axes (direction, d_model).

    Raises: DataError: there are none, or they lie at several depths.
    """
    depths = {direction.hidden_index for direction in directions}
    if len(depths) != 1:
        where = ", ".join(str(depth) for depth in sorted(depths)) or "nowhere"
        raise DataError(
            f"The directions lie at hidden_index {where}, and one depth is needed.",
            fix="Give directions of one layer.",
        )
    return np.stack([direction.vector for direction in directions])
