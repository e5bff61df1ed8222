"""What a run found, in sentences: a word or a direction is named only where it is clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from theodolite.mechanism.relevance.earlier import FLOOR, REST, Earlier
from theodolite.mechanism.relevance.faithfulness import Faithfulness
from theodolite.mechanism.relevance.report import kept_rows
from theodolite.mechanism.relevance.result import Relevance
from theodolite.text.display import escape

NAMED: Final = 6


def word_sentences(found: Relevance, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which words drive each target beyond the usual word, and what the sums lose.

    Args:
        rows: as `word_rows` gives them.
    """
    said = []
    for target in found.targets:
        own = [row for row in rows if row["target"] == target]
        clear = [
            row["word"] for row in own if row["low"] is not None and row["low"] > row["everyday"]
        ]
        if clear:
            words = ", ".join(f"“{escape(word, 40)}”" for word in clear[:NAMED])
            more = f" and {len(clear) - NAMED} more" if len(clear) > NAMED else ""
            said.append(f"{target} is driven above the usual word by {words}{more}.")
        else:
            said.append(f"No word is shown to drive {target} beyond the usual word.")
    leaks = [
        row["leak"]
        for row in kept_rows(found)
        if row["leak"] is not None and row["hidden_index"] == found.boundaries[0]
    ]
    if leaks:
        said.append(
            f"Relevance of all tokens misses the component by {max(leaks):.1%} of its mean size."
        )
    return said


def earlier_sentences(found: Earlier) -> list[str]:
    """Say which earlier directions promote and suppress each target, and what they hold of it."""
    rows, said = found.frame(), []
    for t, target in enumerate(found.relevance.targets):
        own = [row for row in rows if row["target"] == target and row["source"] != REST]
        clear = [row for row in own if row["clear"]]
        if not clear:
            said.append(
                f"No earlier direction is shown to promote or suppress {target} beyond what random "
                "directions do."
            )
        for verb, sign in (("promoted", 1), ("suppressed", -1)):
            named = sorted(
                (row for row in clear if row["relevance"] * sign > 0),
                key=lambda row: -abs(row["relevance"]),
            )
            if named:
                words = ", ".join(f"{r['source']} ({r['relevance']:+.3g})" for r in named[:NAMED])
                said.append(f"{target} is {verb} by {words}, beyond {FLOOR}.")
        held = sum(row["relevance"] for row in own)
        count = f"{len(own)} earlier directions" if len(own) > 1 else "earlier direction"
        said.append(
            f"Of its mean component {found.relevance.scores[:, t].mean():.3g}, {held:.3g} lies on "
            f"the {count}."
        )
    return said


def faithfulness_sentences(found: Faithfulness) -> list[str]:
    """Say whether the order of a map's tokens does better than a random one."""
    said = []
    for area in found.measurements():
        if area.unit == "correlation" or area.value is None or area.floor is None:
            continue
        better = area.low is not None and area.low > area.floor.value
        said.append(
            f"Taken away by relevance, tokens part the component of {area.name.split('/')[-2]} by "
            f"{area.value:.2g} of its size on {area.n} prompts (random orders "
            f"{area.floor.value:.2g}){'' if better else ', not shown to be better than chance'}."
        )
    return said
