"""Relevance for readers: prompts as coloured tokens, the words of a corpus, what the sums keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.errors import DataError
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.mechanism.relevance.result import PromptTokens, Relevance
from theodolite.mechanism.relevance.words import WordTable, word_table
from theodolite.runs.figures import IntervalRow, interval_bars, number
from theodolite.runs.panel import Figure, TokenMap

USER: Final = GROUPS.index("user")
SHOWN: Final = 12
WORDS: Final = 6
UNIT: Final = "stream units"


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


def words_figure(table: WordTable) -> Figure:
    """Return the words that drive a target up and down most, with intervals."""
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
    spec = interval_bars(rows, unit=UNIT, axis_title="relevance")
    name = f"relevance_{table.target.replace('-', '_').replace('@', '_')}"
    return Figure(name, f"Words behind {table.target}", caption, spec)


def word_rows(tables: Mapping[str, WordTable]) -> list[dict[str, Any]]:
    """Return the words of all targets as rows."""
    return [row for table in tables.values() for row in table.frame()]


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
