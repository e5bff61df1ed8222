"""The tables of a run: the curve of each way of asking, categories, and every continuation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from theodolite.behaviour.course_correction.scoring import (
    CONTINUE,
    RATES,
    Item,
    at_depth,
    depths,
    main_prefill,
    open_rates,
    over_depths,
    rates,
)


def curve(items: Sequence[Item], prefill: str = CONTINUE) -> list[dict[str, Any]]:
    """Return one row per label and depth: rate, interval, floor, n and requests."""
    table = []
    for label, short in RATES.items():
        found = rates(items, label, prefill)
        for k in depths(found):
            open_, every = open_rates(found), at_depth("", found, k)
            point = at_depth("", open_, k)
            table.append(
                {
                    "label": label,
                    "rate": short,
                    "k": k,
                    "prefill": prefill,
                    "value": point.value,
                    "low": point.low,
                    "high": point.high,
                    "floor": None if point.floor is None else point.floor.value,
                    "n": point.n,
                    "requests": point.n_clusters,
                    "saturated": sum(r.k == k and r.saturated for r in found),
                    "with_saturated": every.value,
                }
            )
    return table


def tables(items: Sequence[Item]) -> dict[str, list[dict[str, Any]]]:
    """Return the tables: the curve of each prefill, and one row per continuation without text."""
    used = dict.fromkeys(item.prefill for item in items)
    return {
        "course_correction_curve": [row for prefill in used for row in curve(items, prefill)],
        "course_correction_by_category": by_category(items),
        "course_correction_items": [asdict(i) | {"corrected": i.corrected} for i in items],
    }


def by_category(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return the mean rate of each category over its depths, in the way of the headline."""
    table: list[dict[str, Any]] = []
    main = main_prefill(items)
    for label, short in RATES.items():
        own = [i for i in items if i.label == label and not i.saturated and i.category]
        for category in dict.fromkeys(item.category for item in own):
            found = rates([i for i in own if i.category == category], label, main)
            if found:
                point = over_depths("", found)
                facts: Mapping[str, Any] = {
                    key: getattr(point, key) for key in ("value", "low", "high", "n")
                }
                table.append({"label": label, "category": category, "rate": short, **facts})
    return table
