"""Labels shuffled as groups allow: what a permutation may exchange, and what it must keep together.

Prompts of one goal are alike, whatever their labels say. A shuffle of rows breaks that likeness up,
so that what it gives varies too little, and chance seems rarer than it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.closed_form import Clusters

Rows = NDArray[np.int64]
Labels = NDArray[Any]
FEWEST: Final = 20.0  # arrangements without which one in twenty cannot be told


@dataclass(frozen=True, eq=False)
class Exchange:
    """Labels, and whose labels may be exchanged.

    Args:
        labels: axis (row).
        blocks: the units of each block exchange their labels; a unit is an array of rows.
        scheme: what is exchanged, in words.
    """

    labels: Labels
    blocks: tuple[tuple[Rows, ...], ...]
    scheme: str

    @classmethod
    def of(
        cls,
        labels: Labels,
        groups: Clusters,
        *,
        units: Sequence[Hashable] | None = None,
        fewest: float = FEWEST,
    ) -> Self:
        """Find what may be exchanged.

        Args:
            labels: of two classes, axis (row).
            groups: rows that belong together, such as a goal's and its twin's.
            units: what moves as a whole within a group of both classes, such as all forms of one
                of two twins; where forms are labelled apart, they stand in the same order in each.
                None exchanges single rows there.
            fewest: with fewer arrangements than this, labels are shuffled over all rows.

        Note: groups of one class exchange labels with others of their size.
        """
        scheme = "labels over all rows"
        if not groups.independent:
            blocks = tuple(_blocks(labels, groups, units))
            if sum(_arrangements(labels, block) for block in blocks) >= np.log(fewest):
                inside = "labels" if units is None else "whole goals"
                words = f"{inside} within mixed groups, and between one-class groups of one size"
                return cls(labels, blocks, words)
            scheme += ", as the groups leave too few arrangements"
        return cls(labels, (tuple(np.arange(len(labels))[:, None]),), scheme)

    @cached_property
    def _places(self) -> tuple[Rows | None, ...]:
        """The rows of each block's units, axes (unit, row); None where units differ in size."""
        return tuple(np.stack(b) if _of_one_size(b) else None for b in self.blocks)

    def draw(self, rng: np.random.Generator) -> Labels:
        """Return the labels exchanged at random, axis (row)."""
        drawn = self.labels.copy()
        for block, places in zip(self.blocks, self._places, strict=True):
            order = rng.permutation(len(block))
            if places is not None:
                drawn[places] = self.labels[places[order]]
            else:
                for unit, other in zip(block, order, strict=True):
                    drawn[unit] = self.labels[block[other][0]]
        return drawn


def _blocks(
    labels: Labels, groups: Clusters, units: Sequence[Hashable] | None
) -> Iterator[tuple[Rows, ...]]:
    """Yield the units that may exchange their labels."""
    whole: dict[int, list[Rows]] = {}
    order = np.argsort(groups.index, kind="stable")
    for members in np.split(order, np.cumsum(groups.sizes.astype(np.int64))[:-1]):
        if len(np.unique(labels[members])) == 2:
            yield _parted(labels, members, units)
        else:
            whole.setdefault(len(members), []).append(members)
    yield from map(tuple, whole.values())


def _parted(labels: Labels, members: Rows, units: Sequence[Hashable] | None) -> tuple[Rows, ...]:
    """Return the units of a group of both classes; its rows where they cannot be exchanged."""
    if units is not None:
        found: dict[Hashable, list[int]] = {}
        for row in members.tolist():
            found.setdefault(units[row], []).append(row)
        block = tuple(np.array(rows) for rows in found.values())
        alike = all(len(np.unique(labels[rows])) == 1 for rows in block)
        if len(block) > 1 and (alike or _of_one_size(block)):
            return block
    return tuple(members[:, None])


def _of_one_size(block: Sequence[Rows]) -> bool:
    return len({len(rows) for rows in block}) == 1


def _arrangements(labels: Labels, block: Sequence[Rows]) -> float:
    """Return the logarithm of the number of ways to arrange a block's labels."""
    from scipy.special import gammaln

    kept = slice(None) if _of_one_size(block) else slice(1)
    counts = Counter(labels[rows][kept].tobytes() for rows in block)
    return float(gammaln(len(block) + 1) - sum(gammaln(n + 1) for n in counts.values()))
