"""The kinds of numbers that are read along a reply, and what they are called in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAME: Final = "correction_dynamics"
MODEL, BASE = "model", "base"
# What one model says at every position, in the order in which it is read.
QUANTITIES: Final = ("refusal_mass", "reply_probability", "log_odds", "rank")
KL: Final = "kl"
GAP: Final = "gap"


@dataclass(frozen=True)
class Quantity:
    """A kind of number: its unit and, where there are any, its bounds."""

    unit: str
    range: tuple[float, float] | None = None


KINDS: Final[Mapping[str, Quantity]] = {
    "refusal_mass": Quantity("share", (0.0, 1.0)),
    "reply_probability": Quantity("share", (0.0, 1.0)),
    "log_odds": Quantity("nats"),
    "rank": Quantity("rank"),
    GAP: Quantity("nats"),
    KL: Quantity("nats"),
}


def known(values: Floats) -> list[float | None]:
    """Return values with None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]
