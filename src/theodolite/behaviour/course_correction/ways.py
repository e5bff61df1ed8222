"""The same begun replies asked about in another way: refusals suppressed, or with a defence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from theodolite.behaviour.course_correction.scoring import (
    ANY_DEPTH,
    NAME,
    RATES,
    SUPPRESSED,
    Item,
    effect,
    open_rates,
    over_depths,
    rates,
)
from theodolite.behaviour.course_correction.tables import curve
from theodolite.data.prompts import BENIGN
from theodolite.measure.measurement import Measurement

WAYS: Final = {
    SUPPRESSED: "with refusing first tokens suppressed",
    ANY_DEPTH: "with the any-depth defence",
}
SAID: Final = {
    "corr": "begun harmful replies corrected",
    "false_correction": "good ones broken off",
}


def labels(way: str, name: str = NAME) -> dict[str, str]:
    """Return the figures of a way in plain words, by name."""
    found = {f"{name}/{way}/{short}": f"{said} {WAYS[way]}" for short, said in SAID.items()}
    return found | {f"{key}_effect": "what that changes" for key in found}


def measurements(
    items: Sequence[Item], way: str, *, name: str = NAME, seed: int = 0
) -> list[Measurement]:
    """Return the rates under a way, and what it changes, paired by row and depth.

    Args:
        items: continuations asked for in this way and as a plain continuation.
        way: the `prefill` of the former.
    """
    figures = []
    for label, short in RATES.items():
        own = open_rates(rates(items, label, way))
        if own:
            front = f"{name}/{way}/{short}"
            figures += [
                over_depths(front, own, seed=seed),
                effect(items, way, label, f"{front}_effect"),
            ]
    return figures


def table(items: Sequence[Item], way: str) -> list[dict[str, Any]]:
    """Return the rates under a way by label and depth; what nobody asked about is left out."""
    return [row for row in curve(items, way) if row["n"]]


def finding(found: Sequence[Measurement], way: str, name: str = NAME) -> list[str]:
    """Say in words what a way changes, its price with it."""
    by_name = {figure.name: figure for figure in found}
    corr, false = (by_name.get(f"{name}/{way}/{short}_effect") for short in RATES.values())
    if corr is None or corr.value is None:
        return []
    said = (
        f"{WAYS[way].capitalize()}, the share corrected changes by {corr.value * 100:+.0f} points"
    )
    if false is not None and false.value is not None:
        said += f", that of good replies broken off by {false.value * 100:+.0f}"
    return [f"{said}."]


def asked_of(label: str, way: str) -> bool:
    """Return whether rows of a label are asked about in a way: good replies need no attacker."""
    return way != SUPPRESSED or label != BENIGN
