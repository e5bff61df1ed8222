"""How much of a refusal rests on a few words: what is left of it when they are replaced.

The words are ranked by their relevance for the refusal direction, which is read inside the network;
what is measured is another thing, the log-odds of the first token of the reply. So a ranking that
found nothing shows as much: its top words then do no more than random ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from theodolite.data.prompts import Prompt, shown
from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.multiple import holm
from theodolite.measure.paired import paired_difference, paired_test
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.probes.held_out import Floats
from theodolite.mechanism.triggers.replies import first_token_odds
from theodolite.mechanism.triggers.words import (
    NEUTRAL,
    WordRelevance,
    refuse_other_prompts,
    without_words,
)
from theodolite.runs.figures import Series, curve_by_layer
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.mechanism.lens.vocabulary import TokenClasses
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

METHOD_VERSION: Final = 1
MOST: Final = 5
DRAWS: Final = 3
NO_POSITIVE: Final = "no word speaks for the refusal"
TOO_SHORT: Final = "the request has too few words"
_ARRAYS: Final = ("words", "half", "intact", "top", "least", "random")


@dataclass(frozen=True, eq=False)
class TriggerWords:
    """What replacing words does to the odds of a refusal; no request's text is in it.

    Args:
        prompt_ids, clusters: the requests, and the goal of each.
        words: words of each request, axis (prompt).
        half: how many words hold half of the positive relevance, NaN where none is positive; axis
            (prompt).
        intact: refusal log-odds of the request as it is, nats, axis (prompt).
        top, least: with the 1 to K most (least) relevant words replaced, NaN where nothing else
            would be left; axes (k, prompt).
        random: with as many random words replaced, axes (k, draw, prompt).
        settings: model, relevance, token classes, seed.
    """

    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    words: Floats
    half: Floats
    intact: Floats
    top: Floats
    least: Floats
    random: Floats
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> range:
        """The numbers of words that were replaced."""
        return range(1, len(self.top) + 1)

    def concentration(self) -> list[Measurement]:
        """Return how many words hold half of the relevance, and what share of the words that is."""
        even = np.ceil(self.words / 2)
        reasons = [NO_POSITIVE if np.isnan(h) else None for h in self.half]
        common: dict[str, Any] = {"clusters": self.clusters, "reasons": reasons}
        return [
            mean(
                "triggers/words/half",
                _known(self.half),
                unit="words",
                floor=Floor("all words alike", float(even.mean())),
                **common,
            ),
            mean(
                "triggers/words/half_share",
                _known(self.half / self.words),
                unit="share",
                range=(0.0, 1.0),
                floor=Floor("all words alike", float((even / self.words).mean())),
                **common,
            ),
        ]

    def fall(self, k: int) -> Measurement:
        """Return the fall of the refusal log-odds when the k most relevant words are replaced."""
        found = self._paired(k, self.intact, self.top[k - 1], f"triggers/words/fall/{k}")
        beside = float(np.nanmean(self.intact - self.random[k - 1]))
        return replace(found, floor=Floor("as many random words", beside))

    def beyond_random(self, k: int) -> Measurement:
        """Return by how much more they fall than with k random words replaced, paired by prompt."""
        others = self.random[k - 1].mean(0)
        name = f"triggers/words/beyond_random/{k}"
        return self._paired(k, others, self.top[k - 1], name)

    def beyond_least(self, k: int) -> Measurement:
        """Return by how much more they fall than with the k least relevant words replaced."""
        name = f"triggers/words/beyond_least/{k}"
        return self._paired(k, self.least[k - 1], self.top[k - 1], name)

    def vulnerability(self) -> Measurement:
        """Return the fall beyond random words, averaged over how many were replaced.

        Above 0, the refusal rests on the words the direction points to more than on words at large.
        """
        beyond = self.random.mean(1) - self.top
        return mean(
            "triggers/words/vulnerability",
            _known(_mean_known(beyond)),
            clusters=self.clusters,
            unit="nats",
            floor=Floor("random words", 0.0),
            reasons=[TOO_SHORT if np.isnan(b).all() else None for b in beyond.T],
        )

    def measurements(self) -> list[Measurement]:
        """Return concentration, vulnerability, and falls by number of words."""
        found = [*self.concentration(), self.vulnerability()]
        for k in self.sizes:
            found += [self.fall(k), self.beyond_random(k), self.beyond_least(k)]
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per number of words; p-values are adjusted over those numbers (Holm)."""
        tests = [self._test(k) for k in self.sizes]
        adjusted = holm(tests).tolist()
        return [self._row(k, adjusted[k - 1]) for k in self.sizes]

    def _row(self, k: int, p_value: float) -> dict[str, Any]:
        row: dict[str, Any] = {"words": k}
        told = {
            "fall": self.fall(k),
            "beyond_random": self.beyond_random(k),
            "beyond_least": self.beyond_least(k),
        }
        for name, m in told.items():
            row |= {name: m.value, f"{name}_low": m.low, f"{name}_high": m.high}
        row |= {"random": float(np.nanmean(self.intact - self.random[k - 1])), "p_holm": p_value}
        return row | {"n": told["fall"].n, "goals": told["fall"].n_clusters}

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per request, without its text."""
        return [
            {
                "prompt_id": prompt,
                "cluster": self.clusters[i],
                "words": int(self.words[i]),
                "half": _one(self.half[i]),
                "intact": float(self.intact[i]),
                **{f"top_{k}": _one(self.top[k - 1, i]) for k in self.sizes},
                **{f"random_{k}": _one(self.random[k - 1, :, i].mean()) for k in self.sizes},
            }
            for i, prompt in enumerate(self.prompt_ids)
        ]

    def finding(self) -> str:
        """Say whether the refusal rests on few words, in one sentence."""
        half, found = self.concentration()[0], self.vulnerability()
        if found.value is None or half.value is None:
            return "How few words a refusal rests on was not measured: no request was usable."
        said = (
            f"Half of what speaks for a refusal lies on {half.value:.1f} of "
            f"{float(self.words.mean()):.1f} words; replacing such words lowers its log-odds by "
            f"{found.value:+.2f} nats beyond random words"
        )
        if found.low is not None and found.high is not None:
            said += f" [{found.low:+.2f}, {found.high:+.2f}]"
        shown_to = found.low is not None and found.low > 0
        return f"{said}." if shown_to else f"{said}, so that they carry more is not shown."

    def figure(self) -> Figure:
        """Return the fall by number of replaced words, beside random and least relevant ones."""
        falls = {
            "most relevant words": [self.fall(k) for k in self.sizes],
            "random words": [
                self._paired(k, self.intact, self.random[k - 1].mean(0), "r") for k in self.sizes
            ],
            "least relevant words": [
                self._paired(k, self.intact, self.least[k - 1], "l") for k in self.sizes
            ],
        }
        series = [
            Series(name, list(self.sizes), *([getattr(m, end) for m in ms] for end in _ENDS))
            for name, ms in falls.items()
        ]
        spec = curve_by_layer(
            series, y_title="fall of the refusal log-odds", unit="nats", x_title="words replaced"
        )
        caption = (
            f"{len(self.prompt_ids)} refused requests, words replaced by '"
            f"{self.settings.get('neutral', '')}'; 95 % bands by goal. Where the upper curve "
            "leaves the others, the refusal rests on the words its direction points to."
        )
        name = "triggers_words"
        return Figure(name, "Refusal with words replaced", caption, spec, name)

    def save(self, run: Run) -> None:
        """Write the arrays, and the prompts they belong to, into the run folder."""
        run.save_tensors("triggers_words", {name: getattr(self, name) for name in _ARRAYS})
        run.save_table(
            "triggers_words_prompts",
            [
                {"prompt_id": prompt, "cluster": cluster, **self.settings}
                for prompt, cluster in zip(self.prompt_ids, self.clusters)
            ],
        )

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        rows = run.load_table("triggers_words_prompts")
        arrays = run.load_tensors("triggers_words")
        return cls(
            prompt_ids=tuple(row["prompt_id"] for row in rows),
            clusters=tuple(row["cluster"] for row in rows),
            settings={k: v for k, v in rows[0].items() if k not in ("prompt_id", "cluster")},
            **{name: np.asarray(arrays[name]) for name in _ARRAYS},
        )

    def _paired(self, k: int, first: Floats, second: Floats, name: str) -> Measurement:
        short = np.isnan(self.top[k - 1])
        a, b = (_known(np.where(short, np.nan, side)) for side in (first, second))
        return paired_difference(a, b, self.clusters, name=name, unit="nats")

    def _test(self, k: int) -> float:
        pair = (_known(self.random[k - 1].mean(0)), _known(self.top[k - 1]))
        return paired_test(*pair, self.clusters, seed=int(self.settings.get("seed", 0))).p_value


_ENDS: Final = ("value", "low", "high")


def trigger_words(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    relevance: Sequence[WordRelevance],
    classes: TokenClasses,
    *,
    most: int = MOST,
    draws: int = DRAWS,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> TriggerWords:
    """Replace the most relevant words of refused requests and see what is left of the refusal.

    Source: deletion of the most relevant parts, as in faithfulness tests of attributions; the
        neutral word and both controls are ours.

    Args:
        model: an open local model; active interventions act.
        prompts: requests that are refused.
        relevance: of their words, in the same order.
        classes: tokens that open a refusal or a friendly reply.
        most: words replaced, from one up to this.
        draws: random orders of the words to compare with.
        template, journal: as for `verdicts`.
        seed: of the random orders.

    Returns: log-odds with and without the words; a request of k words or fewer is not counted at k.

    Raises:
        ConfigError: `most` or `draws` is below one.
        DataError: no prompt, one without words, or relevance of other prompts.

    Note: 1 + most (2 + draws) forward passes per prompt.
    """
    _check(prompts, relevance, most, draws)
    plan: list[tuple[int, int, int]] = []  # (prompt, k, order); orders: most, least, random ones
    changed = list(prompts)
    for i, (prompt, own) in enumerate(zip(prompts, relevance, strict=True)):
        orders = [own.most(), own.least(), *(own.random(seed, draw) for draw in range(draws))]
        for k in range(1, min(most, len(own) - 1) + 1):
            for o, order in enumerate(orders):
                spans = [own.spans[w] for w in order[:k]]
                changed.append(without_words(prompt, spans, name=f"{k}/{o}"))
                plan.append((i, k, o))
    odds = first_token_odds(
        model, changed, classes, template=template, journal=journal, progress=progress
    )
    found = np.full((2 + draws, most, len(prompts)), np.nan)
    for (i, k, o), value in zip(plan, odds[len(prompts) :], strict=True):
        found[o, k - 1, i] = value
    halves = [own.words_for() for own in relevance]
    return TriggerWords(
        prompt_ids=tuple(prompt.id for prompt in prompts),
        clusters=tuple(map(cluster_of, prompts)),
        words=np.array([len(own) for own in relevance], np.float64),
        half=np.array([np.nan if h is None else h for h in halves], np.float64),
        intact=odds[: len(prompts)],
        top=found[0],
        least=found[1],
        random=np.moveaxis(found[2:], 0, 1),
        settings={
            "model": model.name,
            "classes": classes.name,
            "neutral": NEUTRAL,
            "seed": seed,
        },
    )


def _check(
    prompts: Sequence[Prompt], relevance: Sequence[WordRelevance], most: int, draws: int
) -> None:
    if most < 1 or draws < 1:
        raise ConfigError(
            f"{most} words and {draws} random orders leave nothing to compare.",
            fix="Use at least 1 of each.",
        )
    if not prompts:
        raise DataError("There are no refused requests.", fix="Give at least one.")
    refuse_other_prompts(prompts, relevance)
    for prompt, own in zip(prompts, relevance, strict=True):
        if len(own) < 2:
            raise DataError(
                f"Prompt {shown(prompt.id)} has fewer than two words.", fix="Leave it out."
            )


def _known(values: Floats) -> list[float | None]:
    """Return values with None for NaN."""
    return [_one(value) for value in values]


def _one(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean_known(rows: Floats) -> Floats:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(rows)
    count = known.sum(0)
    total = np.where(known, rows, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
