"""Where a begun reply is cut: at stated depths, moved a little, at the end of a clause.

Depth is a share of the reply's tokens. Cutting at every n-th punctuation mark, as the published
code does, gives a tenth of the rows a prefix of one character or the whole reply.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from theodolite.errors import ConfigError
from theodolite.text.hashing import item_seed

DEPTHS: Final = (0.15, 0.3, 0.5, 0.75)
JITTER: Final = 0.05
LEAST: Final = 8  # tokens before the first cut and between two cuts
MOST: Final = 0.9
_REACH: Final = 0.06  # of the reply: how far a cut may move to the end of a clause
_CLAUSE: Final = re.compile(r"[.!?;:,][\"')\]]*(?=\s|\Z)|(?<=\S)(?=\n)")
_WORD: Final = re.compile(r"\S+")


def cut_points(
    text: str,
    tokenizer: Any,
    *,
    key: str,
    depths: Sequence[float] = DEPTHS,
    jitter: float = JITTER,
    seed: int = 0,
) -> list[int] | None:
    """Return the characters at which a reply is cut, shallowest first; None where it is too short.

    Args:
        text: the reply.
        tokenizer: a fast one; depth is counted in its tokens.
        key: of the row; with the seed it decides the jitter.
        depths: shares of the reply, increasing, at most 0.9.
        jitter: most a depth is moved, up or down.

    Returns: every prefix has at least 8 tokens more than the one before, none more than 0.9 of the
        reply, and each ends a word, where one is near a clause.

    Raises:
        ConfigError: the depths do not increase between 0 and 0.9, or the jitter is negative.
    """
    check_depths(depths, jitter)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ends = [end for _, end in encoded["offset_mapping"]]
    total = len(ends)
    words = _in_tokens((m.end() for m in _WORD.finditer(text)), ends)
    clauses = _in_tokens((m.end() for m in _CLAUSE.finditer(text)), ends)
    dice = random.Random(item_seed(seed, "cut", key))
    found: list[int] = []
    last = 0
    for depth in depths:
        target = round((depth + dice.uniform(-jitter, jitter)) * total)
        low, high = last + LEAST, int(MOST * total)
        chosen = _nearest(clauses, target, low, high, max(2, round(_REACH * total)))
        if chosen is None:
            chosen = _nearest(words, max(target, low), low, high, total)
        if chosen is None:
            return None
        last = chosen
        found.append(len(text[: ends[chosen - 1]].rstrip()))
    return found


def check_depths(depths: Sequence[float], jitter: float = JITTER) -> None:
    """Refuse depths that do not increase between 0 and 0.9; raises ConfigError."""
    inside = all(0 < depth <= MOST for depth in depths)
    if not depths or not inside or list(depths) != sorted(set(depths)) or not 0 <= jitter < 0.5:
        raise ConfigError(
            f"The depths {', '.join(f'{d:g}' for d in depths) or 'none'} cannot be used.",
            fix=f"Give shares of a reply that increase, above 0 and at most {MOST:g}.",
        )


def _in_tokens(places: Any, ends: Sequence[int]) -> list[int]:
    """Return how many tokens end at each place; places inside a token are left out."""
    found = []
    for place in places:
        count = bisect_left(ends, place) + 1
        if count <= len(ends) and ends[count - 1] == place:
            found.append(count)
    return found


def _nearest(counts: Sequence[int], target: int, low: int, high: int, reach: int) -> int | None:
    """Return the count nearest to the target, between two bounds and within reach of it."""
    near = [c for c in counts if low <= c <= high and abs(c - target) <= reach]
    return min(near, key=lambda count: (abs(count - target), count), default=None)
