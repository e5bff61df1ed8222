"""Words that several refused requests share, and how much of what speaks for a refusal is on them.

A word is looked at in every request where it stands: its share there of the relevance that speaks
for the refusal, beside the share it would have if all words of the request were alike. Words of
fewer goals are pooled, so that no list of words tells a request.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import comb
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.probes.held_out import Floats
from theodolite.mechanism.triggers.words import WordRelevance, refuse_other_prompts
from theodolite.runs.figure_parts import IntervalRow
from theodolite.runs.figures import interval_bars
from theodolite.runs.panel import Figure
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.runs.run import Run

SHOWN_FROM: Final = 3
"""Goals a word must stand in to be listed."""
KEPT_FROM: Final = 2
"""Goals it must stand in to be kept at all."""
LISTED: Final = 15
NAMED: Final = 5
ALIKE: Final = "all words alike"
_REST: Final = ""
_CELLS: Final = ("share", "even", "top", "chance")
_LONGEST: Final = 40


@dataclass(frozen=True, eq=False)
class SharedWords:
    """The words of refused requests by spelling; requests are in it by id alone.

    Args:
        words: spellings in lower case, hostile text; "" holds all words of a single goal together.
        prompt_ids, clusters: the requests in which some word speaks for the refusal, and the goal
            of each.
        share: of what speaks for the refusal in a request; NaN where the word does not stand, as
            in all that follow; axes (word, prompt).
        even: the share it would have if all words of the request were alike.
        top: 1 where it is among the fewest words that hold half, else 0; NaN for "".
        chance: that it is among as many words drawn at random; NaN for "".
    """

    words: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    share: Floats
    even: Floats
    top: Floats
    chance: Floats

    def goals(self, word: str) -> int:
        """Return in how many goals a word stands."""
        return len({self.clusters[i] for i in self._where(word)})

    def mean_share(self, word: str) -> Measurement:
        """Return the mean share of a word in the requests where it stands, clustered by goal."""
        row = self.words.index(word)
        name = f"triggers/words/share/{escape(word, _LONGEST)}"
        return self._mean(name, self.share[row], self.even[row])

    def shared(self) -> Measurement:
        """Return the share of all listed words together, clustered by goal."""
        places = [self.words.index(word) for word in self.listed()]
        sums = (np.nansum(cells[places], 0) for cells in (self.share, self.even))
        return self._mean("triggers/words/shared", *sums)

    def listed(self) -> list[str]:
        """Return the words of enough goals, those furthest above their even share first."""
        found = [w for w in self.words if w != _REST and self.goals(w) >= SHOWN_FROM]
        return sorted(found, key=lambda word: (-self._above(word), word))

    def carriers(self) -> list[str]:
        """Return the words with a content of their own that have more than their even share.

        Note: those of two goals too, which are not listed; furthest above first.
        """
        found = [w for w in self.words if w not in (_REST, *everyday_words())]
        found = [w for w in found if self._above(w) > 0]
        return sorted(found, key=lambda word: (-self._above(word), word))

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per listed word, then all the others as one row."""
        listed = self.listed()
        rest = [i for i, word in enumerate(self.words) if word not in listed]
        rows = [self._row(word) for word in listed]
        return [*rows, self._rest(rest)] if rest else rows

    def _row(self, word: str) -> dict[str, Any]:
        place = self.words.index(word)
        top = {self.clusters[i] for i in np.flatnonzero(self.top[place] == 1)}
        return {
            "word": escape(word, _LONGEST),
            "content": word not in everyday_words(),
            "goals": self.goals(word),
            "top_goals": len(top),
            "top_by_chance": self._by_goal(self.chance[place]),
            **_share(self.mean_share(word)),
        }

    def _rest(self, places: list[int]) -> dict[str, Any]:
        """Return the words that are not listed as one row."""
        here = np.asarray(np.isfinite(self.share[places]).any(0))
        sums = (np.where(here, np.nansum(c[places], 0), np.nan) for c in (self.share, self.even))
        goals = {c for c, one in zip(self.clusters, here, strict=True) if one}
        return {
            "word": f"(words of fewer than {SHOWN_FROM} goals)",
            "content": None,
            "goals": len(goals),
            "top_goals": None,
            "top_by_chance": None,
            **_share(self._mean("triggers/words/share/rest", *sums)),
        }

    def finding(self) -> str:
        """Name the listed words that carry most beyond their even share, in one sentence."""
        said = []
        for word in self.listed()[:NAMED]:
            m = self.mean_share(word)
            if m.value is None or m.floor is None or m.value <= m.floor.value:
                continue
            ends = "" if m.low is None else f" [{m.low:.0%}, {m.high:.0%}]"
            row = self._row(word)
            said.append(
                f"'{escape(word, _LONGEST)}' {m.value:.0%}{ends} against {m.floor.value:.0%} "
                f"(among the most relevant in {row['top_goals']} of {row['goals']} goals)"
            )
        if not said:
            return (
                f"No word stands in {SHOWN_FROM} of these goals and carries more of the refusal "
                "than any word does."
            )
        return (
            f"Words of at least {SHOWN_FROM} goals with more of what speaks for the refusal than "
            f"if all words were alike: {'; '.join(said)}."
        )

    def figure(self) -> Figure:
        """Return the share of the listed words with their even shares."""
        rows = self.frame()[:LISTED]
        bars = [
            IntervalRow(
                row["word"],
                row["share"],
                row["low"],
                row["high"],
                row["even"],
                ALIKE,
                row["requests"],
            )
            for row in rows
        ]
        caption = (
            f"Mean share of what speaks for the refusal, over the requests where a word stands "
            f"({len(self.prompt_ids)} refused requests); 95 % intervals by goal. Words of fewer "
            f"than {SHOWN_FROM} goals stand together in the last row of the table."
        )
        spec = interval_bars(bars, axis_title="share of the relevance")
        return Figure("triggers_by_word", "Words", caption, spec, "triggers_by_word", True)

    def save(self, run: Run, name: str = "triggers") -> None:
        """Write the cells into the run folder: words of one goal only as sums."""
        rows = [
            {
                "word": word,
                "prompt_id": self.prompt_ids[i],
                "cluster": self.clusters[i],
                **{cell: _known(getattr(self, cell)[place, i]) for cell in _CELLS},
            }
            for place, word in enumerate(self.words)
            for i in self._where(word)
        ]
        run.save_table(f"{name}_shared_words", rows)

    @classmethod
    def load(cls, run: Run, name: str = "triggers") -> Self:
        """Read what `save` wrote."""
        rows = run.load_table(f"{name}_shared_words")
        clusters = {row["prompt_id"]: row["cluster"] for row in rows}
        cells = {(row["word"], row["prompt_id"]): row for row in rows}
        return cls(**_arrays([row["word"] for row in rows], clusters, cells))

    def _where(self, word: str) -> list[int]:
        """Return the requests in which a word stands."""
        return np.flatnonzero(np.isfinite(self.share[self.words.index(word)])).tolist()

    def _above(self, word: str) -> float:
        row = self.words.index(word)
        return float(np.nanmean(self.share[row] - self.even[row]))

    def _by_goal(self, cells: Floats) -> float:
        """Return the sum over goals of the mean over their requests."""
        found: dict[str, list[float]] = {}
        for cluster, cell in zip(self.clusters, cells, strict=True):
            if np.isfinite(cell):
                found.setdefault(cluster, []).append(float(cell))
        return float(sum(np.mean(values) for values in found.values()))

    def _mean(self, name: str, share: Floats, even: Floats) -> Measurement:
        here = np.isfinite(share)
        return mean(
            name,
            np.minimum(share[here], 1.0).tolist(),
            clusters=[c for c, one in zip(self.clusters, here, strict=True) if one],
            unit="share",
            range=(0.0, 1.0),
            floor=Floor(ALIKE, float(np.minimum(even[here], 1.0).mean())) if here.any() else None,
        )


def _share(m: Measurement) -> dict[str, Any]:
    even = None if m.floor is None else m.floor.value
    return {"requests": m.n, "share": m.value, "low": m.low, "high": m.high, "even": even}


def shared_words(prompts: Sequence[Prompt], relevance: Sequence[WordRelevance]) -> SharedWords:
    """Return the words of refused requests with their shares of what speaks for the refusal.

    Args:
        prompts: the requests.
        relevance: of their words, in the same order; requests without a word that speaks for the
            refusal are left out.

    Raises: DataError: relevance of other prompts.
    """
    refuse_other_prompts(prompts, relevance)
    cells: dict[tuple[str, str], dict[str, float]] = {}
    clusters: dict[str, str] = {}
    told = [_of_request(p, own) for p, own in zip(prompts, relevance, strict=True)]
    standing: dict[str, set[str]] = {}
    for prompt, words in zip(prompts, told, strict=True):
        for word in words:
            standing.setdefault(word, set()).add(cluster_of(prompt))
    for prompt, words in zip(prompts, told, strict=True):
        for word, own in words.items():
            clusters[prompt.id] = cluster_of(prompt)
            if len(standing[word]) >= KEPT_FROM:
                cells[word, prompt.id] = own
            else:
                rest = cells.setdefault((_REST, prompt.id), {"share": 0.0, "even": 0.0})
                rest["share"] += own["share"]
                rest["even"] += own["even"]
    return SharedWords(**_arrays([word for word, _ in cells], clusters, cells))


def _of_request(prompt: Prompt, own: WordRelevance) -> dict[str, dict[str, float]]:
    """Return the cells of each spelling of a request; none where no word speaks for the refusal."""
    half = own.words_for()
    if half is None:
        return {}
    positive = np.clip(own.values, 0.0, None)
    shares, leading = positive / positive.sum(), set(own.most()[:half])
    spelled = [prompt.request[a:b].lower() for a, b in own.spans]
    counts = Counter(spelled)
    found: dict[str, dict[str, float]] = {}
    for place, word in enumerate(spelled):
        cell = found.setdefault(word, {"share": 0.0, "top": 0.0})
        cell["share"] += float(shares[place])
        cell["top"] = max(cell["top"], float(place in leading))
    for word, cell in found.items():
        cell["even"] = counts[word] / len(own)
        cell["chance"] = 1 - comb(len(own) - counts[word], half) / comb(len(own), half)
    return found


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _arrays(
    words: Sequence[str],
    clusters: Mapping[str, str],
    cells: Mapping[tuple[str, str], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the fields of `SharedWords` from its cells, words and requests sorted."""
    spelled, ids = sorted(set(words)), sorted(clusters)
    found: dict[str, Any] = {
        "words": tuple(spelled),
        "prompt_ids": tuple(ids),
        "clusters": tuple(clusters[i] for i in ids),
    }
    for name in _CELLS:
        table = np.full((len(spelled), len(ids)), np.nan)
        for (word, prompt), cell in cells.items():
            value = cell.get(name)
            table[spelled.index(word), ids.index(prompt)] = np.nan if value is None else value
        found[name] = table
    return found


@cache
def everyday_words() -> frozenset[str]:
    """Return our short list of words that have no content of their own: articles, pronouns, ..."""
    file = resources.files("theodolite.mechanism.triggers") / "everyday.json"
    return frozenset(json.loads(file.read_text(encoding="utf-8")))
