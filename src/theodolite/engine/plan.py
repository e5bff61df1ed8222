"""Cut a list of token sequences into batches, once, before anything runs.

The plan depends on the sequences and the budgets alone, never on the journal or on what is free,
so a resumed or distributed run forms the same batches and gets the same bits. Equal sequences run
once. Rows of a batch have similar length beyond what they share; sequences with a common prefix
stay together; the prefix itself is a segment computed once (`trie.py`), nested where that pays.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from theodolite.engine.trie import Segment, Tokens, Trie, build_trie

# What a pass more costs, in tokens of padding: the weights are read once per pass, a larger pass
# multiplies faster, and padding skips the MLP. Measured on a 135M model on two CPU threads.
PASS_TOKENS = 96
SEGMENT_PAYS = 16
LEVEL_PAYS = 48


@dataclass(frozen=True)
class Batch:
    """One planned unit of forward work.

    Args:
        segments: shared prefixes, parents before children.
        leaves: what is left of each different sequence; `parent` points into `segments`.
        copies: for each leaf the indices of all sequences equal to it.
    """

    segments: tuple[Segment, ...]
    leaves: tuple[Segment, ...]
    copies: tuple[tuple[int, ...], ...]

    @property
    def items(self) -> tuple[int, ...]:
        """Indices of all sequences of this batch, in row order."""
        return tuple(i for group in self.copies for i in group)

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        widest = max(leaf.stop - leaf.start for leaf in self.leaves)
        return sum(s.stop - s.start for s in self.segments) + widest * len(self.leaves)

    def levels(self) -> list[list[int]]:
        """Return segment indices by depth: each level needs only the levels before it."""
        depth: list[int] = []
        for segment in self.segments:
            depth.append(0 if segment.parent < 0 else depth[segment.parent] + 1)
        return [
            [i for i, d in enumerate(depth) if d == k] for k in range(max(depth, default=-1) + 1)
        ]

    def moved(self, begins: Sequence[int]) -> Batch:
        """Return the batch for sequences of which so many tokens precede those it was planned for.

        Args:
            begins: of every sequence; equal for those that hang below one segment.
        """
        segments, leaves = (
            tuple(
                Segment(s.item, s.start + begins[s.item], s.stop + begins[s.item], s.parent)
                for s in part
            )
            for part in (self.segments, self.leaves)
        )
        return Batch(segments, leaves, self.copies)

    def halves(self) -> tuple[Batch, Batch]:
        """Return the batch as two with half the leaves each (a device ran out of memory)."""
        middle = len(self.leaves) // 2
        return self._part(0, middle), self._part(middle, len(self.leaves))

    def _part(self, low: int, high: int) -> Batch:
        leaves = self.leaves[low:high]
        segments, remap = _used_segments(self.segments, {leaf.parent for leaf in leaves})
        moved = tuple(_hang(leaf, remap) for leaf in leaves)
        return Batch(segments, moved, self.copies[low:high])


def plan_batches(
    sequences: Sequence[Tokens],
    max_tokens: int,
    *,
    max_rows: int = 1024,
    pass_tokens: int = PASS_TOKENS,
    limits: Sequence[int] | None = None,
    share: bool = True,
    kinds: Sequence[Hashable] | None = None,
    apart: Sequence[Hashable] | None = None,
) -> list[Batch]:
    """Form the batches in which the sequences will run.

    Args:
        sequences: token ids, at least one token each.
        max_tokens: most tokens of one pass, padding included (one long sequence may exceed it).
        max_rows: most sequences of one batch, copies counted.
        pass_tokens: tokens of padding that one batch less is worth.
        limits: for each sequence, how many leading tokens may be shared (default: all but the
            last, so that every sequence has a row of its own to read from).
        share: False computes every sequence whole.
        kinds: for each sequence what else has to be equal before equal ones run once.
        apart: for each sequence what has to be equal before it shares anything with another, be it
            a prefix; rows of one batch may differ in it.

    Returns: batches, short rows first; every index occurs in exactly one batch.
    """
    unique, copies = _deduplicate(sequences, kinds, apart)
    own = [sequences[i] for i in unique]
    caps = [
        min([len(sequences[i]) - 1, *([limits[i]] if limits else [])])
        for i in (min(group, key=lambda i: limits[i] if limits else 0) for group in copies)
    ]
    worlds = [apart[i] for i in unique] if apart else [None] * len(own)
    trie = _tries(own, caps, worlds) if share else Trie((), (-1,) * len(own))
    chunks = _fill(own, copies, trie, (max_tokens, max_rows, pass_tokens))
    spread = _roots_in_many(trie, chunks)
    return [_assemble(chunk, own, unique, trie, spread) for chunk in chunks]


def _deduplicate(
    sequences: Sequence[Tokens],
    kinds: Sequence[Hashable] | None,
    apart: Sequence[Hashable] | None,
) -> tuple[list[int], list[list[int]]]:
    groups: dict[Hashable, list[int]] = {}
    for i, sequence in enumerate(sequences):
        others = (kinds[i] if kinds else None, apart[i] if apart else None)
        groups.setdefault((tuple(sequence), others), []).append(i)
    return [group[0] for group in groups.values()], list(groups.values())


def _tries(own: Sequence[Tokens], caps: Sequence[int], worlds: Sequence[Hashable]) -> Trie:
    """Return one trie per world, side by side."""
    members: dict[Hashable, list[int]] = {}
    for leaf, world in enumerate(worlds):
        members.setdefault(world, []).append(leaf)
    segments: list[Segment] = []
    parent = [-1] * len(own)
    for leaves in members.values():
        part = build_trie([own[i] for i in leaves], [caps[i] for i in leaves], pays=SEGMENT_PAYS)
        remap = {-1: -1} | {i: i + len(segments) for i in range(len(part.segments))}
        for leaf, above in zip(leaves, part.parent):
            parent[leaf] = remap[above]
        segments += [replace(_hang(s, remap), item=leaves[s.item]) for s in part.segments]
    return Trie(tuple(segments), tuple(parent))


def _fill(
    own: Sequence[Tokens],
    copies: Sequence[Sequence[int]],
    trie: Trie,
    limits: tuple[int, int, int],
) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Cut the ordered rows where padding and passes together cost least (dynamic programming)."""
    max_tokens, max_rows, pass_tokens = limits
    rows = [
        (leaf, tuple(copies[leaf][i : i + max_rows]))
        for leaf in _row_order(own, trie)
        for i in range(0, len(copies[leaf]), max_rows)
    ]
    if not rows:
        return []
    starts = [_start(trie, trie.parent[leaf]) for leaf, _ in rows]
    lengths = np.array([len(own[leaf]) - start for (leaf, _), start in zip(rows, starts)])
    counts = np.concatenate([[0], np.cumsum([len(part) for _, part in rows])])
    fresh, again = _prefix_tokens(trie, [trie.parent[leaf] for leaf, _ in rows])
    before = np.concatenate([[0], np.cumsum(fresh)])
    total = len(rows)
    cost = np.zeros(total + 1)
    cut = np.zeros(total + 1, dtype=np.int64)
    widest = np.zeros(total, dtype=np.int64)  # of the batch that begins at each row
    first = 0  # rows before it cannot begin a batch that reaches this far
    for end in range(1, total + 1):
        widest[first:end] = np.maximum(widest[first:end], lengths[end - 1])
        begin = np.arange(first, end)
        padded = widest[first:end] * (end - begin)
        shared = before[end] - before[begin + 1] + again[begin]
        fits = (padded + shared <= max_tokens) & (counts[end] - counts[begin] <= max_rows)
        fits[-1] = True
        first += int(fits.argmax())
        price = cost[begin] + padded + again[begin] + pass_tokens
        price[~fits] = np.inf
        cut[end] = begin[int(price.argmin())]
        cost[end] = price.min()
    edges = [total]
    while edges[-1]:
        edges.append(int(cut[edges[-1]]))
    edges.reverse()
    return [rows[a:b] for a, b in pairwise(edges)]


def _start(trie: Trie, above: int) -> int:
    return trie.segments[above].stop if above >= 0 else 0


def _prefix_tokens(trie: Trie, parents: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's prefix tokens: not computed by any row before it; below the first level."""
    seen: set[int] = set()
    fresh = np.zeros(len(parents), dtype=np.int64)
    again = np.zeros(len(parents), dtype=np.int64)
    for row, above in enumerate(parents):
        while above >= 0:
            segment = trie.segments[above]
            tokens = segment.stop - segment.start
            fresh[row] += 0 if above in seen else tokens
            again[row] += tokens if segment.parent >= 0 else 0
            seen.add(above)
            above = segment.parent
    return fresh, again


def _row_order(own: Sequence[Tokens], trie: Trie) -> list[int]:
    """Return leaves ordered by (longest remainder of their group, group, own remainder)."""
    remainder = []
    group = []
    for leaf, above in enumerate(trie.parent):
        remainder.append(len(own[leaf]) - _start(trie, above))
        top = above
        while top >= 0 and trie.segments[top].parent >= 0:
            if trie.segments[trie.segments[top].parent].parent < 0:
                break
            top = trie.segments[top].parent
        nested = top >= 0 and trie.segments[top].parent >= 0
        group.append(top if nested else -1 - leaf)
    longest: dict[int, int] = {}
    for leaf, name in enumerate(group):
        longest[name] = max(longest.get(name, 0), remainder[leaf])
    first = {name: leaf for leaf, name in reversed(list(enumerate(group)))}
    return sorted(
        range(len(own)), key=lambda i: (longest[group[i]], first[group[i]], remainder[i], i)
    )


def _roots_in_many(trie: Trie, chunks: Sequence[Sequence[tuple[int, tuple[int, ...]]]]) -> set[int]:
    """Return first-level segments used by more than one batch: kept, since their KV is kept."""
    batches: dict[int, int] = {}
    for chunk in chunks:
        roots = set()
        for leaf, _ in chunk:
            above = trie.parent[leaf]
            while above >= 0 and trie.segments[above].parent >= 0:
                above = trie.segments[above].parent
            roots.add(above)
        for root in roots - {-1}:
            batches[root] = batches.get(root, 0) + 1
    return {root for root, count in batches.items() if count > 1}


def _assemble(
    chunk: Sequence[tuple[int, tuple[int, ...]]],
    own: Sequence[Tokens],
    unique: Sequence[int],
    trie: Trie,
    spread: set[int],
) -> Batch:
    """Keep the segments that still pay inside this batch, and hang its rows below them."""
    kept = _paying(trie, [trie.parent[leaf] for leaf, _ in chunk], spread)

    def nearest(above: int) -> int:
        while above >= 0 and above not in kept:
            above = trie.segments[above].parent
        return above

    segments: list[Segment] = []
    place: dict[int, int] = {-1: -1}
    for index in sorted(kept):
        above = nearest(trie.segments[index].parent)
        start = _start(trie, above)
        place[index] = len(segments)
        old = trie.segments[index]
        segments.append(Segment(unique[old.item], start, old.stop, place[above]))
    leaves = []
    for leaf, _ in chunk:
        above = nearest(trie.parent[leaf])
        start = _start(trie, above)
        leaves.append(Segment(unique[leaf], start, len(own[leaf]), place[above]))
    return Batch(tuple(segments), tuple(leaves), tuple(part for _, part in chunk))


def _paying(trie: Trie, parents: Sequence[int], spread: set[int]) -> set[int]:
    """Return the segments worth a pass inside one batch, given each row's deepest segment."""
    below: dict[int, int] = {}
    for above in parents:
        if above >= 0:
            below[above] = below.get(above, 0) + 1
    for index in range(len(trie.segments) - 1, -1, -1):  # children come after parents
        parent = trie.segments[index].parent
        if index in below and parent >= 0:
            below[parent] = below.get(parent, 0) + 1
    saved = {
        i: (trie.segments[i].stop - trie.segments[i].start) * (count - 1)
        for i, count in below.items()
    }
    kept = {i for i, tokens in saved.items() if tokens >= SEGMENT_PAYS or i in spread}
    depth: dict[int, int] = {}
    for i in sorted(kept):
        above = trie.segments[i].parent
        while above >= 0 and above not in kept:
            above = trie.segments[above].parent
        depth[i] = depth[above] + 1 if above >= 0 else 0
    for level in sorted(set(depth.values()), reverse=True):
        members = [i for i in kept if depth[i] == level]
        if sum(saved[i] for i in members) < LEVEL_PAYS and not spread.intersection(members):
            kept.difference_update(members)
    return kept


def _used_segments(
    segments: Sequence[Segment], needed: set[int]
) -> tuple[tuple[Segment, ...], dict[int, int]]:
    used = set(needed) - {-1}
    for index in range(len(segments) - 1, -1, -1):
        if index in used and segments[index].parent >= 0:
            used.add(segments[index].parent)
    remap = {-1: -1} | {old: new for new, old in enumerate(sorted(used))}
    return tuple(_hang(segments[i], remap) for i in sorted(used)), remap


def _hang(segment: Segment, remap: dict[int, int]) -> Segment:
    return Segment(segment.item, segment.start, segment.stop, remap[segment.parent])
