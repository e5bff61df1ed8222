"""Words over a corpus: which ones a target rests on, with intervals by goal.

A word is looked at where it stands: every occurrence has its own relevance, and only the table
joins occurrences of one spelling. Nothing is merged across targets, layers or prompts before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.mechanism.relevance.result import Floats, Relevance
from theodolite.text.hashing import item_seed

MIN_COUNT = 3
TOP_SHARE = 0.4
_RESAMPLES = 1000
_MOST_UNDEFINED = 0.1


@dataclass(frozen=True, eq=False)
class Occurrence:
    """A word where it stands.

    Args:
        prompt: place of its prompt.
        word: its number in the prompt.
        text: its characters, without white space around them; hostile text of the prompt.
        spelling: the same, whatever its case: what the table joins by.
        value: its relevance.
    """

    prompt: int
    word: int
    text: str
    spelling: str
    value: float


@dataclass(frozen=True, eq=False)
class WordTable:
    """The words of a corpus by their mean relevance for one target, highest first.

    Args:
        target: its name.
        words: their spellings; hostile text.
        counts, prompts: occurrences, and prompts with at least one; axis (word).
        mean, total: of the relevance of all occurrences; axis (word).
        low, high: interval of the mean, goals resampled; NaN where one goal has all occurrences.
        everyday: mean relevance of any word of the same group: what a word that says nothing has.
        too_rare: spellings left out because they occur less than the minimum.
    """

    target: str
    words: tuple[str, ...]
    counts: NDArray[np.int64]
    prompts: NDArray[np.int64]
    mean: Floats
    total: Floats
    low: Floats
    high: Floats
    everyday: float
    too_rare: int

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per word; `word` is text of the prompts."""
        return [
            {
                "target": self.target,
                "word": word,
                "count": int(self.counts[i]),
                "prompts": int(self.prompts[i]),
                "mean": float(self.mean[i]),
                "total": float(self.total[i]),
                "low": None if np.isnan(self.low[i]) else float(self.low[i]),
                "high": None if np.isnan(self.high[i]) else float(self.high[i]),
                "everyday": self.everyday,
            }
            for i, word in enumerate(self.words)
        ]


def occurrences(relevance: Relevance, target: str, *, group: str = "user") -> list[Occurrence]:
    """Return the words of all prompts with their relevance, in reading order.

    Args:
        group: "user", "template" or "last"; a word belongs to the group of its first token. White
            space alone is no word.

    Raises: ConfigError: no such target or group, or relevance was traced to earlier directions.
    """
    if group not in GROUPS:
        raise ConfigError(
            f"There is no group of positions '{group}'.", fix=f"Use one of {', '.join(GROUPS)}."
        )
    column, code, found = relevance.target(target), GROUPS.index(group), []
    for place, prompt in enumerate(relevance.prompts):
        values = relevance.of_words(place)[:, column]
        _, firsts = np.unique(prompt.words, return_index=True)
        for number, (text, first) in enumerate(zip(prompt.word_texts(), firsts, strict=True)):
            if prompt.groups[first] == code and text.strip():
                bare = text.strip()
                found.append(
                    Occurrence(place, number, bare, bare.casefold(), float(values[number]))
                )
    return found


def word_table(
    relevance: Relevance,
    target: str,
    *,
    group: str = "user",
    min_count: int = MIN_COUNT,
    level: float = 0.95,
) -> WordTable:
    """Return the words of a corpus by their mean relevance, with intervals by goal.

    Args:
        group: see `occurrences`.
        min_count: spellings with fewer occurrences are left out and counted.
        level: of the intervals (expanded percentile, goals resampled).

    Raises:
        ConfigError: see `occurrences`.
        DataError: the group has no word at all.
    """
    found = occurrences(relevance, target, group=group)
    if not found:
        raise DataError(
            f"The prompts have no words in the group '{group}'.", fix="Choose another group."
        )
    spellings = sorted({each.spelling for each in found})
    places = {spelling: i for i, spelling in enumerate(spellings)}
    # Sums per prompt are all the resamples need; axes (prompt, word).
    sums = np.zeros((len(relevance.prompts), len(spellings)))
    counts = np.zeros_like(sums)
    for each in found:
        sums[each.prompt, places[each.spelling]] += each.value
        counts[each.prompt, places[each.spelling]] += 1
    kept = np.flatnonzero(counts.sum(0) >= min_count)
    sums, counts = sums[:, kept], counts[:, kept]
    mean = sums.sum(0) / counts.sum(0)
    seed = item_seed(relevance.seed, "words", target, group)
    low, high = _intervals(sums, counts, relevance.goals, seed, level)
    order = np.argsort(-mean, kind="stable")
    return WordTable(
        target=target,
        words=tuple(spellings[kept[i]] for i in order),
        counts=counts.sum(0).astype(np.int64)[order],
        prompts=(counts > 0).sum(0)[order],
        mean=mean[order],
        total=sums.sum(0)[order],
        low=low[order],
        high=high[order],
        everyday=float(np.mean([each.value for each in found])),
        too_rare=len(spellings) - len(kept),
    )


def _intervals(
    sums: Floats, counts: Floats, goals: Sequence[str], seed: int, level: float
) -> tuple[Floats, Floats]:
    """Return the intervals of sums / counts; NaN where resamples often have no occurrence."""
    clusters = Clusters.of(goals, len(goals))
    empty = np.full(sums.shape[1], np.nan)
    if len(clusters) < 2:
        return empty, empty
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.concatenate(
            [
                (weights @ sums) / (weights @ counts)
                for weights in resample_weights(clusters, seed=seed, resamples=_RESAMPLES)
            ]
        )
    defined = np.isfinite(draws).mean(0) >= 1 - _MOST_UNDEFINED
    tail = expanded_tail(clusters, level)
    low, high = empty.copy(), empty.copy()
    if defined.any():
        low[defined], high[defined] = np.nanquantile(draws[:, defined], [tail, 1 - tail], axis=0)
    return low, high


def top_words(values: Sequence[float], share: float = TOP_SHARE) -> list[int]:
    """Return the places of the most relevant values, the fewest that hold a share of the positive.

    Source: the token rule of the reference of arXiv:2502.09674 (share 0.4).

    Returns: places, most relevant first; none where nothing is positive.
    """
    array = np.asarray(values, np.float64)
    order = np.argsort(-array, kind="stable")
    positive = np.clip(array[order], 0.0, None)
    if not positive.sum() > 0:
        return []
    reached = np.cumsum(positive) >= share * positive.sum() * (1 - 1e-12)
    return [int(i) for i in order[: int(np.argmax(reached)) + 1]]
