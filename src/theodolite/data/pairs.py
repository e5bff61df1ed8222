"""The order in which pairs are taken, so that a smaller limit takes a part of a larger one."""

from __future__ import annotations

from collections.abc import Iterable

from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.text.hashing import item_seed


def in_pairs(prompts: Iterable[Prompt], seed: int = 0) -> list[Prompt]:
    """Return prompts with twins side by side, pairs in random order, the harmful one first."""
    return sorted(prompts, key=lambda p: (item_seed(seed, p.pair_id or p.id), p.label != HARMFUL))
