"""How many items a comparison needs, and how small a difference it can show."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

from theodolite.errors import DataError

_LEAST = 1e-9  # differences below this count as none


def n_for_difference(
    first: float,
    second: float,
    *,
    paired: bool = False,
    correlation: float = 0.0,
    power: float = 0.8,
    level: float = 0.95,
) -> int:
    """Return how many items show that two proportions differ, by a two-sided test.

    Source: Fleiss, Levin and Paik 2003 (unpaired, no continuity correction); Connor 1987
    (paired, McNemar).

    Args:
        first, second: the two true proportions.
        paired: both systems answer the same items.
        correlation: phi between the two systems' outcomes on an item, for paired items; what
            the two proportions do not allow is cut to what they do.
        power: probability of finding the difference.
        level: one minus the probability of finding one that is not there.

    Returns: items for each side (unpaired), or pairs (paired).

    Raises:
        DataError: a proportion, power or level does not lie between 0 and 1, or both
            proportions are equal.
    """
    _check(first, second, power, level)
    difference = abs(first - second)
    if difference < _LEAST:
        raise DataError("Equal proportions cannot be told apart by any number of items.")
    needed = _needed(first, second, paired, correlation, power, level)
    return max(2, math.ceil(needed - 1e-9))


def detectable_difference(
    n: int,
    base: float,
    *,
    direction: Literal["up", "down", "either"] = "either",
    paired: bool = False,
    correlation: float = 0.0,
    power: float = 0.8,
    level: float = 0.95,
) -> float | None:
    """Return the smallest difference from a base proportion that n items can show.

    Args:
        n: items for each side (unpaired), or pairs (paired).
        base: the proportion of the first side.
        direction: of the change; `either` gives a difference that would show both ways (a
            way without room for one does not count).
        paired, correlation, power, level: as for `n_for_difference`.

    Returns: the size of the difference, or None where not even the largest possible one shows.

    Raises:
        DataError: as for `n_for_difference`, or n is below 2.
    """
    _check(base, base, power, level)
    if n < 2:
        raise DataError(f"{n} items cannot show a difference.", fix="Give at least 2.")
    if direction == "either":
        sides: list[float | None] = []
        for side in ("up", "down"):
            least = detectable_difference(
                n,
                base,
                direction=side,
                paired=paired,
                correlation=correlation,
                power=power,
                level=level,
            )
            sides.append(least)
        return max((side for side in sides if side is not None), default=None)
    sign, room = (1, 1 - base) if direction == "up" else (-1, base)

    def enough(difference: float) -> bool:
        other = min(max(base + sign * difference, 0.0), 1.0)
        if abs(other - base) < _LEAST:
            return False
        return _needed(base, other, paired, correlation, power, level) <= n

    if room <= 0 or not enough(room):
        return None
    low, high = 0.0, room
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(first: float, second: float, power: float, level: float) -> None:
    """Refuse proportions, a power or a level that cannot be one."""
    shares = 0 <= first <= 1 and 0 <= second <= 1
    if not (shares and 0 < power < 1 and 0 < level < 1):
        raise DataError(
            f"The proportions {first} and {second}, the power {power} and the level {level} must "
            "lie between 0 and 1."
        )


def _needed(
    first: float, second: float, paired: bool, correlation: float, power: float, level: float
) -> float:
    """Return the number of items before rounding up."""
    z_level = NormalDist().inv_cdf(0.5 + level / 2)
    z_power = NormalDist().inv_cdf(power)
    difference = abs(first - second)
    if not paired:
        pooled = (first + second) / 2
        null = math.sqrt(2 * pooled * (1 - pooled))
        real = math.sqrt(first * (1 - first) + second * (1 - second))
        return ((z_level * null + z_power * real) / difference) ** 2
    discordant = discordant_share(first, second, correlation)
    spread = math.sqrt(max(discordant - difference**2, 0.0))
    return ((z_level * math.sqrt(discordant) + z_power * spread) / difference) ** 2


def discordant_share(first: float, second: float, correlation: float = 0.0) -> float:
    """Return the share of pairs on which two systems differ.

    Args:
        first, second: the two proportions.
        correlation: phi between the outcomes; cut to what the proportions allow.
    """
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    both = first * second + correlation * spread
    both = min(max(both, first + second - 1, 0.0), first, second)
    return first + second - 2 * both
