"""From layer to layer: which earlier direction each direction's relevance comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theodolite.errors import DataError
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.mechanism.relevance.result import Floats, Relevance


@dataclass(frozen=True, eq=False)
class AdjacentTable:
    """Shares of the relevance of later directions, by earlier direction.

    Args:
        sources, targets: names of the directions.
        source_index, hidden_index: their depths.
        raw: mean relevance over prompts, all positions together; axes (source, target).
        shares: `raw` clipped at 0, columns summing to 1; a column without positive entries is 0.
        signed: `raw` with its signs, columns whose sizes sum to 1; below 0 a direction suppresses.
        by_group: mean relevance, axes (group, source, target).
        rest: mean relevance that the earlier directions do not span, axis (target).
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_index: int
    hidden_index: int
    raw: Floats
    shares: Floats
    signed: Floats
    by_group: Floats
    rest: Floats

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per pair of directions."""
        return [
            {
                "source": source,
                "target": target,
                "source_hidden_index": self.source_index,
                "hidden_index": self.hidden_index,
                "share": float(self.shares[i, j]),
                "signed_share": float(self.signed[i, j]),
                "relevance": float(self.raw[i, j]),
                **{
                    f"relevance_{group}": float(self.by_group[g, i, j])
                    for g, group in enumerate(GROUPS)
                },
                "rest": float(self.rest[j]),
            }
            for i, source in enumerate(self.sources)
            for j, target in enumerate(self.targets)
        ]


def column_shares(relevance: ArrayLike) -> Floats:
    """Return a table clipped at 0 with columns that sum to 1; columns that sum to 0 stay 0.

    Args:
        relevance: axes (source, target).

    Raises: DataError: it is no table of finite numbers.
    """
    return _over(np.clip(_table(relevance), 0.0, None))


def signed_shares(relevance: ArrayLike) -> Floats:
    """Return a table with its signs and columns whose sizes sum to 1; empty columns stay 0.

    Args:
        relevance: axes (source, target).

    Raises: DataError: it is no table of finite numbers.
    """
    return _over(_table(relevance))


def _table(relevance: ArrayLike) -> Floats:
    table = np.asarray(relevance, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise DataError(
            "The relevance between directions is not one table of finite numbers.",
            fix="Give axes (source, target).",
        )
    return table


def _over(table: Floats) -> Floats:
    """Return each column over the sum of its sizes."""
    sums = np.abs(table).sum(0)
    shares: Floats = np.divide(table, sums, out=np.zeros_like(table), where=sums > 0)
    return shares


def adjacent_table(relevance: Relevance) -> AdjacentTable:
    """Return the shares of each target's relevance that come from each earlier direction.

    Args:
        relevance: traced to earlier directions.

    Raises: ConfigError: it was traced to tokens.
    """
    parts, rest = relevance.split()
    by_group = parts.mean(0)
    raw = by_group.sum(0)
    return AdjacentTable(
        sources=relevance.sources,
        targets=relevance.targets,
        source_index=relevance.boundaries[0],
        hidden_index=relevance.hidden_index,
        raw=raw,
        shares=column_shares(raw),
        signed=signed_shares(raw),
        by_group=by_group,
        rest=rest.mean(0).sum(0),
    )


def kept_by_itself(
    tables: Mapping[int, ArrayLike], component: int = 1, layers: Sequence[int] | None = None
) -> dict[int, float]:
    """Return what share of a component's relevance comes from that component one layer earlier.

    Args:
        tables: relevance by the later hidden_index, axes (source, target).
        component: counted from 1.
        layers: later hidden indices (default: all), in order.

    Raises: DataError: a layer or the component is missing.
    """
    place, found = component - 1, {}
    for layer in sorted(tables) if layers is None else layers:
        table = np.asarray(tables.get(layer, np.zeros((0, 0))))
        if min(table.shape) <= place:
            raise DataError(
                f"There is no component C{component} between hidden_index {layer - 1} and {layer}.",
                fix="Ask for a layer and a component that were traced.",
            )
        found[layer] = float(column_shares(table)[place, place])
    return found
