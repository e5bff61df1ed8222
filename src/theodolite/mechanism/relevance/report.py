"""Relevance for readers: coloured tokens, the words of a corpus, earlier directions, leaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.errors import DataError
from theodolite.mechanism.relevance.earlier import FLOOR, REST, Earlier
from theodolite.mechanism.relevance.faithfulness import Faithfulness
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.mechanism.relevance.result import PromptTokens, Relevance
from theodolite.mechanism.relevance.words import WordTable, word_table
from theodolite.runs.figures import FloorLine, IntervalRow, heatmap, interval_bars, number
from theodolite.runs.panel import Figure, TokenMap

USER: Final = GROUPS.index("user")
SHOWN: Final = 12
WORDS: Final = 6


def token_maps(relevance: Relevance, prompts: Sequence[Prompt]) -> list[TokenMap]:
    """Return every prompt once per target, its tokens with their relevance.

    Args:
        relevance: traced to tokens.
        prompts: those it was traced on, in the same order; they say which are harmful.
    """
    found = []
    for column, target in enumerate(relevance.targets):
        for i, prompt in enumerate(prompts):
            own = relevance.prompts[i]
            facts: dict[str, Any] = {
                "component": float(relevance.scores[i, column]),
                "sum of relevance": float(relevance.totals[i, 0, column]),
            }
            if prompt.style:
                facts["style"] = prompt.style
            found.append(
                TokenMap(
                    id=prompt.id,
                    label=target,
                    harmful=prompt.label == HARMFUL,
                    about=f"Relevance of each token to the component along {target} "
                    f"({relevance.backend}{f', {relevance.rules}' if relevance.rules else ''}).",
                    tokens=list(_pieces(own)),
                    values=relevance.of_prompt(i)[:, column].tolist(),
                    template=[int(group) != USER for group in own.groups],
                    meta=facts,
                )
            )
    return found


def _pieces(prompt: PromptTokens) -> Iterator[str]:
    """Yield the characters of each token; those that several tokens share go to the first."""
    reached = 0
    for start, end in prompt.spans.tolist():
        yield prompt.text[max(start, reached) : max(end, reached)]
        reached = max(reached, end)


def word_tables(relevance: Relevance, *, min_count: int = 3) -> dict[str, WordTable]:
    """Return the table of words for each target; targets whose prompts have no words are absent."""
    found = {}
    for target in relevance.targets:
        try:
            found[target] = word_table(relevance, target, min_count=min_count)
        except DataError:
            continue
    return found


def leading_words(
    rows: Sequence[Mapping[str, Any]], count: int = WORDS
) -> dict[str, tuple[str, ...]]:
    """Return the words that drive each target up most, those above the usual word only.

    Args:
        rows: as `word_rows` gives them, the highest of each target first.
    """
    found: dict[str, list[str]] = {}
    for row in rows:
        words = found.setdefault(row["target"], [])
        if row["mean"] > max(row["everyday"], 0.0) and len(words) < count:
            words.append(row["word"])
    return {target: tuple(words) for target, words in found.items()}


def words_figure(table: WordTable, unit: str = "stream units") -> Figure:
    """Return the words that drive a target up and down most, with intervals.

    Args:
        unit: what relevance is counted in.
    """
    count = len(table.words)
    places = list(range(count))
    if count > 2 * SHOWN:
        places = [*places[:SHOWN], *places[-SHOWN:]]
    rows = [
        IntervalRow(
            table.words[i],
            float(table.mean[i]),
            number(table.low[i]),
            number(table.high[i]),
            table.everyday,
            "any word",
            n=int(table.counts[i]),
        )
        for i in places
    ]
    caption = (
        f"Mean relevance of each occurrence to {table.target}, 95 % intervals by goal; grey ticks: "
        f"any word of the requests. {table.too_rare} words that occur less often are left out."
    )
    spec = interval_bars(rows, unit=unit, axis_title="relevance")
    name = f"relevance_{table.target.replace('-', '_').replace('@', '_')}"
    return Figure(name, f"Words behind {table.target}", caption, spec)


def word_rows(tables: Mapping[str, WordTable]) -> list[dict[str, Any]]:
    """Return the words of all targets as rows."""
    return [row for table in tables.values() for row in table.frame()]


def earlier_figure(found: Earlier) -> Figure:
    """Return which earlier directions promote and which suppress each target, as a heat map."""
    rows = found.frame()
    by_place = {(row["source"], row["target"]): row for row in rows if row["source"] != REST}
    sources, targets = found.relevance.sources, found.relevance.targets

    def grid(*columns: str) -> list[list[list[float | None]]]:
        return [[[number(by_place[s, t][c]) for t in targets] for s in sources] for c in columns]

    floors = found.floors()
    drawn = any(floor is not None for floor in floors)
    spec = heatmap(
        grid("relevance")[0],
        x=list(targets),
        y=list(sources),
        x_title="direction",
        y_title="earlier direction",
        value_title="relevance",
        unit=found.relevance.unit,
        floor=FloorLine(FLOOR, floors) if drawn else None,
        centre=0.0,
        details={
            "relevance": grid("relevance", "low", "high"),
            "promotes": grid("promotes"),
            "suppresses": grid("suppresses"),
            FLOOR: grid("random"),
        },
    )
    depth, count = found.relevance.boundaries[0], len(found.relevance.prompts)
    caption = (
        f"Mean relevance of directions at hidden index {depth} over {count} prompts, all positions "
        "together. Above 0 an earlier direction promotes the later one, below 0 it suppresses it. "
        "Pointed at, a cell gives its 95 % interval by goal, and the parts above and below 0 "
        f"prompt by prompt. Crossed cells do not exceed, on either side, what {FLOOR} of that "
        "depth stay below."
    )
    title = "Which earlier directions it comes from"
    return Figure("relevance_earlier", title, caption, spec, "relevance_earlier", show_table=True)


def carried_figure(traced: Sequence[Earlier]) -> Figure:
    """Return what each component has, with its sign, from the one of its number before it.

    Args:
        traced: components of one depth after the other to those of the depth before.
    """
    cells = [_carried(found) for found in traced]
    places = range(max(len(column) for column in cells))

    def grid(*keys: str) -> list[list[list[float | None]]]:
        return [
            [[column[k][key] if k < len(column) else None for column in cells] for k in places]
            for key in keys
        ]

    spec = heatmap(
        grid("own")[0],
        x=[found.relevance.hidden_index for found in traced],
        y=[f"C{k + 1}" for k in places],
        x_title="hidden index",
        y_title="direction",
        value_title="from the same direction one layer earlier",
        centre=0.0,
        details={
            "from the same direction": grid("own", "low", "high"),
            "other directions that promote": grid("promote"),
            "other directions that suppress": grid("suppress"),
            FLOOR: grid("random"),
        },
    )
    caption = (
        "The same with signs: relevance from each direction one layer earlier over the sizes of "
        "all of them. Below 0 the earlier direction suppresses the later one. Pointed at, a cell "
        "gives its 95 % interval by goal, what other directions promote and suppress, and what "
        f"{FLOOR} stay below on either side."
    )
    title = "Carried on, or turned against"
    return Figure("residual_flow_signed", title, caption, spec, "residual_flow_signed")


def _carried(found: Earlier) -> list[dict[str, float | None]]:
    """Return one cell per component that both depths have, all numbers over the sum of sizes."""
    rows, cells = [row for row in found.frame() if row["source"] != REST], []
    for source, target in zip(found.relevance.sources, found.relevance.targets):
        own = [row for row in rows if row["target"] == target]
        size = sum(abs(row["relevance"]) for row in own) or 1.0
        (same,) = (row for row in own if row["source"] == source)
        others = [row["relevance"] for row in own if row["source"] != source]
        named = (("own", "relevance"), ("low", "low"), ("high", "high"), ("random", "random"))
        cell = {key: None if same[c] is None else same[c] / size for key, c in named}
        cell["promote"] = sum(value for value in others if value > 0) / size
        cell["suppress"] = sum(value for value in others if value < 0) / size
        cells.append(cell)
    return cells


def faithfulness_figure(found: Faithfulness) -> Figure:
    """Return how far a map's order of tokens parts the score, beside random orders."""
    areas = [m for m in found.measurements() if m.unit != "correlation"]
    rows = [IntervalRow.of(m, m.name.removeprefix("relevance/faithfulness/")) for m in areas]
    spec = interval_bars(rows, unit="mean absolute scores", axis_title="area between curves")
    away = "replaced by a neutral one" if found.removal == "neutral" else "hidden from attention"
    caption = (
        f"The user's tokens are {away}, the most relevant first and the least relevant first, on "
        f"{len(found.goals)} prompts; the area between the two curves of the component, 95 % "
        "intervals by goal. Grey ticks: random orders."
    )
    title = "Is the map true to the model"
    return Figure("relevance_faithfulness", title, caption, spec, "relevance_faithfulness")


def kept_rows(relevance: Relevance) -> list[dict[str, Any]]:
    """Return what the sums keep of each target, and what leaks, at every depth that was noted."""
    rows = []
    for t, target in enumerate(relevance.targets):
        scores = relevance.scores[:, t]
        size = float(np.abs(scores).mean())
        for b, depth in enumerate(relevance.boundaries):
            lost = relevance.totals[:, b, t] - scores
            rows.append(
                {
                    "target": target,
                    "hidden_index": depth,
                    "mean_component": float(scores.mean()),
                    "mean_sum": float(relevance.totals[:, b, t].mean()),
                    "leak": float(np.abs(lost).mean()) / size if size else None,
                    "n": len(scores),
                }
            )
    return rows
