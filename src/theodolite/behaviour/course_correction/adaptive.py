"""Sample until a row is known well enough: paths saved, and a figure that is never the headline.

Where sampling stops depends on what was sampled, so the shares lean towards 0 and 1. The headline
stays unbiased, for it takes the first round alone, which is the same for every row and depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from theodolite.behaviour.course_correction.prefixes import Prefix
from theodolite.behaviour.course_correction.scoring import (
    NAME,
    RATES,
    Item,
    open_rates,
    over_depths,
    rates,
)
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.errors import ConfigError
from theodolite.measure.closed_form import wilson
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Measurement
from theodolite.text.hashing import item_seed

ROUND: Final = 4
"""Paths sampled before it is looked whether more are needed."""
BIASED: Final = "sampling stopped early where a row was known well: biased, not the headline"
PLAIN_WORDS: Final = {
    "adaptive/corr": "Corr of all paths, sampled adaptively (biased)",
    "adaptive/false_correction": "good replies broken off, sampled adaptively (biased)",
    "adaptive/paths": "paths of a row and depth",
}
More = Callable[[Sequence[Prefix], int, int], list[Item]]


def labels(name: str = NAME) -> dict[str, str]:
    """Return the figures in plain words, by name."""
    return {f"{name}/{part}": words for part, words in PLAIN_WORDS.items()}


def check_target(target: float, paths: int) -> None:
    """Refuse a half width or number of paths with which nothing could be saved.

    Raises: ConfigError: says which.
    """
    if not 0 < target < 0.5:
        raise ConfigError(f"adaptive_b is {target:g}.", fix="Give a half width, e.g. 0.1.")
    if paths <= ROUND:
        raise ConfigError(
            f"adaptive_b begins with {ROUND} paths, and there are {paths} at most.",
            fix="Give more, e.g. -T paths=20, or leave adaptive_b out.",
        )


def is_known(verdicts: Sequence[bool | None], target: float) -> bool:
    """Return whether the Wilson interval of a row and depth is as narrow as asked for."""
    scored = [verdict for verdict in verdicts if verdict is not None]
    interval = wilson(sum(scored), len(scored))
    return interval is not None and (interval.high - interval.low) / 2 <= target


def more_paths(
    items: Sequence[Item],
    prefixes: Sequence[Prefix],
    more: More,
    *,
    target: float,
    paths: int,
    seed: int = 0,
) -> list[Item]:
    """Return all paths of one way of putting begun replies, sampled in rounds while needed.

    Args:
        items: the first round.
        more: samples prefixes: how many paths of each, and the round's seed.
        target: half width from which a row and depth is left alone.
        paths: most of a row and depth.
        seed: of the run; each round has its own.
    """
    found = list(items)
    taken = ROUND
    while taken < paths:
        known: dict[str, list[bool | None]] = {}
        for item in found:
            known.setdefault(item.id, []).append(item.corrected)
        left = [one for one in prefixes if not is_known(known[one.id], target)]
        if not left:
            break
        count = min(ROUND, paths - taken)
        # Other random numbers in each round; inspect's seeds have 31 bits at some providers.
        own = item_seed(seed, "adaptive round", taken) >> 32
        found += [replace(i, path=i.path + taken) for i in more(left, count, own)]
        taken += count
    return found


def measurements(
    items: Sequence[Item], prefill: str, *, name: str = NAME, seed: int = 0
) -> list[Measurement]:
    """Return the adaptive figures, each labelled as biased, and the paths of a row and depth."""
    figures = []
    for label, short in RATES.items():
        own = open_rates(rates(items, label, prefill))
        if own:
            figure = over_depths(f"{name}/adaptive/{short}", own, seed=seed)
            said = "; ".join(part for part in (BIASED, figure.reason) if part)
            figures.append(replace(figure, reason=said))
    return [*figures, _paths(items, prefill, f"{name}/adaptive/paths")]


def table(items: Sequence[Item], prefill: str) -> list[dict[str, Any]]:
    """Return one row per row and depth: its paths and its share."""
    return [
        {
            "label": label,
            "row": rate.row,
            "k": rate.k,
            "paths": count,
            "value": rate.value,
        }
        for label in (HARMFUL, BENIGN)
        for rate, count in zip(
            rates(items, label, prefill), _counts(items, label, prefill), strict=True
        )
    ]


def _counts(items: Sequence[Item], label: str, prefill: str) -> list[int]:
    """Return the paths of each row and depth, in the order of `rates`."""
    counts: dict[tuple[str, int], int] = {}
    for item in items:
        if item.label == label and item.prefill == prefill:
            key = (item.row, item.k)
            counts[key] = counts.get(key, 0) + 1
    return list(counts.values())


def _paths(items: Sequence[Item], prefill: str, name: str) -> Measurement:
    goals: dict[tuple[str, int], str] = {}
    for item in items:
        if item.prefill == prefill:
            goals.setdefault((item.row, item.k), item.goal_id)
    counts = dict.fromkeys(goals, 0)
    for item in items:
        if item.prefill == prefill:
            counts[item.row, item.k] += 1
    return mean(
        name,
        [float(count) for count in counts.values()],
        clusters=list(goals.values()),
        unit="paths",
        reason="a fact of the sampling, which has no trivial level",
    )
