"""Transfer the slow, obvious way: one test item at a time, loops and dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def tied(sets: Sequence[Any]) -> list[set[tuple[int, int]]]:
    """Return the sets of (set, item) that share a group, goal or pair, directly or by others."""
    nodes = [
        ((s, i), {("group", g), ("goal", p.goal_id), ("pair", p.pair_id)})
        for s, items in enumerate(sets)
        for i, (p, g) in enumerate(zip(items.prompts, items.groups, strict=True))
    ]
    found: list[tuple[set[tuple[int, int]], set[tuple[str, str]]]] = []
    for node, names in nodes:
        own, known = {node}, {name for name in names if name[1] is not None}
        for other in [one for one in found if one[1] & known]:
            found.remove(other)
            own |= other[0]
            known |= other[1]
        found.append((own, known))
    return [members for members, _ in found]


def nearest_mean_is_second(train: Any, labels: Any, state: Any) -> bool:
    """Whether a state lies nearer to the mean of class 1, in units of the training spread."""
    z = (np.asarray(train) - np.mean(train, 0)) / np.std(train, 0)
    here = (np.asarray(state) - np.mean(train, 0)) / np.std(train, 0)
    first, second = (z[np.asarray(labels) == k].mean(0) for k in (0, 1))
    return bool(((here - second) ** 2).sum() < ((here - first) ** 2).sum())
