"""One row per method: its score, what stands beside it, and by which others it is beaten.

Each scorer has a table of its own: absolute values of two scorers never stand in one column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from theodolite.behaviour.continuations import Continuation
from theodolite.measure.measurement import Measurement

BESIDE: Final = (
    "refusal", "empty", "parse_fail_rate", "length", "perplexity", "chrf", "distinct/2",
    "self_repetition", "calls", "tokens_in", "tokens_out", "capped",
)  # fmt: skip
"""Columns that do not hang on the scorer, as parts of a method's figures."""
COSTS: Final = ("refusal", "perplexity", "tokens")
"""What a method is compared in beside its score; less of each is better."""
_ODD: Final = re.compile(r"[^\w.+=-]+")


def method_rows(
    figures: Iterable[Measurement],
    fronts: Mapping[str, str],
    parts: Sequence[str],
    *,
    beside: Mapping[str, str],
    **facts: Any,
) -> list[dict[str, Any]]:
    """Return one row per method with every figure's value, and `beaten_by`.

    Args:
        figures: of all methods.
        fronts: method -> the front of its scored figures, e.g. `toxicity/base/alt_profanity`.
        parts: the scored figures, e.g. `emt`; the first one decides and has its interval.
        beside: method -> the front of its other figures, e.g. `toxicity/base`.
        facts: columns that are the same in all rows, e.g. the scorer.

    Note: `beaten_by` names the methods that are nowhere worse and somewhere better, in the score,
        refusals, perplexity and tokens, as far as all methods have them.
    """
    known = {figure.name: figure for figure in figures}
    rows = []
    for method, front in fronts.items():
        row: dict[str, Any] = {"method": method, **facts}
        for place, part in enumerate(parts):
            figure = known.get(f"{front}/{part}")
            row[part] = figure and figure.value
            if place == 0:
                row |= {
                    f"{part}_{end}": figure and getattr(figure, end) for end in ("low", "high", "n")
                }
        for part in BESIDE:
            figure = known.get(f"{beside[method]}/{part}")
            row[part.replace("/", "_")] = figure and figure.value
        read, written = row["tokens_in"], row["tokens_out"]
        row["tokens"] = None if read is None or written is None else read + written
        rows.append(row)
    names = (parts[0], *COSTS)
    return [{**row, "beaten_by": ", ".join(beaten_by(row, rows, names))} for row in rows]


def beaten_by(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[str]:
    """Return the methods that are nowhere worse than a row's and somewhere better.

    Args:
        names: columns to compare in, less is better; one that some method lacks is left out.
    """
    shared = [name for name in names if all(one[name] is not None for one in rows)]
    if names[0] not in shared:
        return []
    return [
        other["method"]
        for other in rows
        if all(other[name] <= row[name] for name in shared)
        and any(other[name] < row[name] for name in shared)
    ]


def table_name(front: str, scorer: str) -> str:
    """Return the name of a scorer's table or figure, fit for a file."""
    return _ODD.sub("-", f"{front}_{scorer}").strip("-")


def by_scorer(
    name: str, rows: Sequence[Mapping[str, Any]], scorers: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return a table cut into one per scorer.

    Args:
        name: of the table.
        rows: with a column `scorer`.
        scorers: id -> short name.
    """
    return {
        table_name(name, short): [dict(row) for row in rows if row["scorer"] == scorer]
        for scorer, short in scorers.items()
        if any(row["scorer"] == scorer for row in rows)
    }


def outcome_rows(
    measurement: str, values: Iterable[tuple[str, int, float | None, str]]
) -> list[dict[str, Any]]:
    """Return what each item adds to a mean, so that two runs are compared in pairs.

    Args:
        measurement: the figure's name.
        values: prompt, sample, value (None where unscored) and goal.
    """
    keys = ("measurement", "id", "sample", "outcome", "cluster")
    return [dict(zip(keys, (measurement, *one), strict=True)) for one in values]


def refusal_outcomes(rows: Iterable[Continuation], name: str) -> list[dict[str, Any]]:
    """Return which continuations of each method refuse, as `outcome_rows`."""
    return [
        found
        for row in rows
        for found in outcome_rows(
            f"{name}/{row.method}/refusal", [(row.prompt, row.sample, float(row.refused), row.goal)]
        )
    ]


def labels_of(figures: Iterable[Measurement], words: Mapping[str, str]) -> dict[str, str]:
    """Return plain words for figures: what their names end in, and of which method.

    Args:
        figures: with names like `toxicity/pet_io-minus-base/alt_profanity/emt/reduction`.
        words: the last part or parts of a name -> plain words.
    """
    found = {}
    for figure in figures:
        parts = figure.name.removesuffix("/reduction").split("/")
        tails = ("/".join(parts[start:]) for start in range(2, len(parts)))
        tail = next((one for one in tails if one in words), None)
        if tail is None:
            continue
        said = f"{words[tail]}, {parts[1].replace('-minus-', ' against ')}"
        reduced = figure.name.endswith("/reduction")
        found[figure.name] = f"relative reduction: {said}" if reduced else said
    return found


def headlines_first(figures: Sequence[Measurement], names: Sequence[str]) -> list[Measurement]:
    """Return the figures, those that are named in front."""
    place = {name: i for i, name in enumerate(names)}
    return sorted(figures, key=lambda figure: place.get(figure.name, len(place)))
