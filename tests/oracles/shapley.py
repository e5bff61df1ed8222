"""Shapley values by their definition: the mean gain of a player over all orders of joining."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from statistics import fmean


def shapley(players: Sequence[str], worth: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Let the players join in every order and average what each adds."""
    gains: dict[str, list[float]] = {player: [] for player in players}
    for order in permutations(players):
        joined: frozenset[str] = frozenset()
        for player in order:
            gains[player].append(worth(joined | {player}) - worth(joined))
            joined |= {player}
    return {player: fmean(found) for player, found in gains.items()}
