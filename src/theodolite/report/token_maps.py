"""Token maps as data for the page: escaped words with a number each, harmful ones without words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from theodolite.report.budget import TOKEN_MAPS_PER_PANEL, TOKENS_PER_MAP, Budget
from theodolite.report.island import json_island
from theodolite.report.samples import facts_of
from theodolite.runs.panel import TokenMap
from theodolite.text.display import escape

_TOKEN_CHARACTERS = 60


def token_map_records(
    maps: Sequence[TokenMap], *, show_text: bool, budget: Budget
) -> tuple[list[dict[str, Any]], int]:
    """Return the token maps that fit as plain dicts, and how many were left out."""
    records = []
    for one in maps[:TOKEN_MAPS_PER_PANEL]:
        record = token_map_record(one, show_text=show_text)
        if not budget.take(len(json_island(record))):
            break
        records.append(record)
    return records, len(maps) - len(records)


def token_map_record(one: TokenMap, *, show_text: bool) -> dict[str, Any]:
    """Return one token map; a harmful one without `show_text` has positions for words.

    Returns: `tokens` holds [text or None, number or None, 1 for the template's], in order, and
        `start` the position of the first; a long prompt keeps its end, where the answer begins.
    """
    hidden = one.harmful and not show_text
    rows = list(zip(one.tokens, one.values, one.template, strict=True))
    start = max(0, len(rows) - TOKENS_PER_MAP)
    own = [abs(v) for _, v, t in rows if not t and math.isfinite(v)]
    every = [abs(v) for _, v, _ in rows if math.isfinite(v)]
    return {
        "id": escape(one.id, 120),
        "label": escape(one.label, 60),
        "harmful": one.harmful,
        "about": escape(one.about, 200),
        "hidden": hidden,
        "facts": facts_of(one.meta, hidden),
        "start": start,
        "count": len(rows),
        # The template's tokens are alike in all prompts and often the largest.
        "scale": _short(max(own or every, default=0.0)),
        "tokens": [
            [None if hidden and not t else escape(text, _TOKEN_CHARACTERS), _short(v), int(t)]
            for text, v, t in rows[start:]
        ],
    }


def _short(value: float) -> float | None:
    """Return a number in three digits; None where it is not finite."""
    return float(f"{value:.3g}") if math.isfinite(value) else None
