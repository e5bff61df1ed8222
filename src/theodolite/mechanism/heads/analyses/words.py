"""How rates, changes and counts of requests are worded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from theodolite.measure.measurement import Measurement

LEVEL: Final = 0.05
RAISED, LOWERED, NOT_SHOWN = "raised", "lowered", "not shown to change"


def in_points(change: float) -> str:
    """Return a difference of shares."""
    return f"{100 * change:+.0f} points"


def share_in_words(m: Measurement) -> str:
    """Return a rate with its interval."""
    if m.value is None:
        return "n/a"
    ends = "" if m.low is None or m.high is None else f" [{m.low:.0%}, {m.high:.0%}]"
    return f"{m.value:.0%}{ends}"


def many(count: int, one: str) -> str:
    """Return `1 request`, `2 requests`."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def direction_of(row: Mapping[str, Any]) -> str:
    """Return what a row of `AsrResult.frame` shows: raised, lowered, or not shown to change.

    Note: shown is what has an interval beside 0 and a p-value below 5 % after Holm's adjustment.
    """
    low, high, p = row["change_low"], row["change_high"], row["p_holm"]
    if low is None or high is None or p is None or p >= LEVEL:
        return NOT_SHOWN
    return RAISED if low > 0 else LOWERED if high < 0 else NOT_SHOWN
