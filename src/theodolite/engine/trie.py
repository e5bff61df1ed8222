"""Find which prefixes of a set of token sequences are worth computing once.

Sequences, sorted, form a trie: the longest common prefix of neighbours tells every branching point.
A branching point becomes a *segment* (tokens computed once, their keys and values branched) when
the tokens it saves pay for the extra pass; otherwise its sequences hang below the segment above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Tokens = Sequence[int]


@dataclass(frozen=True)
class Segment:
    """A run of tokens that several sequences share.

    Args:
        item: index of one sequence that contains these tokens.
        start: first token of the run.
        stop: one past its last token.
        parent: index of the segment that ends at `start`, -1 where none does: `start` is 0, or
            what lies before it is known already.
    """

    item: int
    start: int
    stop: int
    parent: int


@dataclass(frozen=True)
class Trie:
    """Shared segments, and below which of them each sequence hangs.

    Args:
        segments: parents before children.
        parent: for each sequence the index of its deepest segment, or -1.
    """

    segments: tuple[Segment, ...]
    parent: tuple[int, ...]


def common_prefix(a: Tokens, b: Tokens) -> int:
    """Return how many leading tokens two sequences have in common."""
    shorter = min(len(a), len(b))
    if tuple(a[:shorter]) == tuple(b[:shorter]):
        return shorter
    low, high = 0, shorter
    while high - low > 1:  # invariant: equal up to low, different somewhere before high
        middle = (low + high) // 2
        if tuple(a[low:middle]) == tuple(b[low:middle]):
            low = middle
        else:
            high = middle
    return low


def build_trie(sequences: Sequence[Tokens], limits: Sequence[int], *, pays: int) -> Trie:
    """Choose the shared segments of different sequences.

    Args:
        sequences: token ids.
        limits: for each sequence how many of its leading tokens may lie in shared segments.
        pays: tokens a segment has to save before it is worth a pass of its own.

    Returns: the segments and each sequence's place below them.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    depths = np.zeros(len(order), dtype=np.int64)  # depths[i]: shared with the neighbour before
    for i in range(1, len(order)):
        depths[i] = common_prefix(sequences[order[i - 1]], sequences[order[i]])
    caps = np.array([limits[i] for i in order], dtype=np.int64)
    segments: list[Segment] = []
    parent = [-1] * len(sequences)
    stack = [(0, len(order), -1)]
    while stack:
        low, high, above = stack.pop()
        if high - low < 2:
            continue
        depth = int(depths[low + 1 : high].min())
        start = segments[above].stop if above >= 0 else 0
        stop = _best_depth(caps[low:high], depth, start, pays)
        here = above
        if stop > start:
            members = [i for i in range(low, high) if caps[i] >= stop]
            here = len(segments)
            segments.append(Segment(order[members[0]], start, stop, above))
            for i in members:
                parent[order[i]] = here
        cuts = [low, *(i for i in range(low + 1, high) if depths[i] == depth), high]
        stack.extend((a, b, here) for a, b in pairwise(cuts))
    return Trie(tuple(segments), tuple(parent))


def _best_depth(caps: np.ndarray, depth: int, start: int, pays: int) -> int:
    """Return the prefix length that saves most tokens below `start`, or `start` if none pays."""
    candidates = np.sort(np.minimum(caps, depth))[::-1]  # k-th: shared by at least k+1 sequences
    saved = (candidates - start) * np.arange(len(candidates))
    best = int(saved.argmax())
    return int(candidates[best]) if saved[best] >= max(pays, 1) else start
