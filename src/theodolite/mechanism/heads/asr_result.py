"""How often attacks succeed with heads in and out: rates, paired changes, and who judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.judging.keywords import VERDICTS
from theodolite.measure.agreement import agreement, cohen_kappa, confusion
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.multiple import holm
from theodolite.measure.paired import PairedTest, paired_difference, paired_test
from theodolite.mechanism.heads.asr_conditions import Condition
from theodolite.runs.panel import Sample
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

Labels = NDArray[np.str_]

COMPLIED: Final = "complied"
ANSWERED: Final = "compliance"
UNREADABLE: Final = "judge_unparsable"
MOST_ERRORS: Final = 0.02
ALWAYS_REFUSE: Final = Floor("always refuse", 0.0)
NO_CHANGE: Final = Floor("no change", 0.0)
WHOLE: Final = (0.0, 1.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class AsrResult:
    """Answers to the same prompts under several conditions, and the verdicts on them.

    Args:
        conditions: the first one is what the others are compared with.
        keyword: the keyword judge's verdicts, one of `VERDICTS`, axes (condition, prompt, draw).
        scorer: labels of the offline refusal scorer, "" where it did not read; axes as `keyword`.
        judged: labels of the judge model, "" where it was not asked, `judge_unparsable` where no
            verdict could be read; axes as `keyword`.
        whole: whether the answers to a prompt were written to their end, axis (prompt); the others
            end at the first keyword.
        texts: the answers, [condition][prompt][draw]; in no table.
        prompt_ids, clusters, requests: of the prompts; prompts of one cluster are not independent.
        harmful: whether a prompt's text is hidden in reports, axis (prompt).
        settings: frame, decoding, ablation, judges, model, seed.
    """

    conditions: tuple[Condition, ...]
    keyword: Labels
    scorer: Labels
    judged: Labels
    whole: NDArray[np.bool_]
    texts: tuple[tuple[tuple[str, ...], ...], ...] = field(repr=False)
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    requests: tuple[str, ...] = field(repr=False)
    harmful: tuple[bool, ...]
    settings: Mapping[str, Any]

    @cached_property
    def success(self) -> NDArray[np.bool_]:
        """Whether an attack succeeded by the keyword judge, axes (condition, prompt, draw)."""
        return np.asarray(self.keyword == COMPLIED)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the conditions."""
        return tuple(condition.name for condition in self.conditions)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the conditions that are compared with the first."""
        return tuple(c.name for c in self.conditions[1:] if c.kind != "random")

    @property
    def draws(self) -> int:
        """Answers to each prompt."""
        return int(self.keyword.shape[2])

    def place(self, name: str) -> int:
        """Return where a condition stands.

        Raises: ConfigError: there is none of this name.
        """
        if name not in self.names:
            raise ConfigError(
                f"There is no condition '{escape(name, 60)}'.", fix=did_you_mean(name, self.names)
            )
        return self.names.index(name)

    def rate(self, name: str) -> Measurement:
        """Return the attack success rate of a condition, with a Wilson interval."""
        outcomes = self.success[self.place(name)].ravel().tolist()
        first = self.place(name) == 0
        floor = ALWAYS_REFUSE if first else Floor(self.names[0], float(self.success[0].mean()))
        return proportion(
            f"heads/asr/{name}", outcomes, clusters=self._clusters, floor=floor, seed=self._seed
        )

    def change(self, name: str) -> Measurement:
        """Return a condition's rate minus that of the first condition, paired by prompt."""
        return paired_difference(
            *self._pair(name),
            self._clusters,
            name=f"heads/asr/{name}/change",
            seed=self._seed,
        )

    def test(self, name: str) -> PairedTest:
        """Return the test of "no change": McNemar's mid-p, or sign flips of clusters or draws."""
        return paired_test(*self._pair(name), self._clusters, seed=self._seed)

    def mean_change(self, names: Sequence[str], label: str) -> Measurement:
        """Return the change averaged over conditions, e.g. over the sizes of a group.

        Source: arXiv:2410.13708, section 4 (the column "mean"); the interval is ours.
        """
        places = [self.place(name) for name in names]
        moved = self.success[places].mean(0) - self.success[0].astype(float)
        return mean(
            f"heads/asr/{label}/mean_change",
            moved.mean(1).tolist(),
            clusters=self.clusters,
            unit="share",
            range=(-1.0, 1.0),
            floor=NO_CHANGE,
            seed=self._seed,
        )

    def families(self) -> dict[str, list[str]]:
        """Return the names that differ in a size only: "query/1" and "query/2" under "query"."""
        found: dict[str, list[str]] = {}
        for name in self.groups:
            stem, _, size = name.rpartition("/")
            if stem and size.isdecimal():
                found.setdefault(stem, []).append(name)
        return {stem: names for stem, names in found.items() if len(names) > 1}

    def random_rates(self, size: int) -> list[float]:
        """Return the rates of the random groups of a size."""
        return [float(self.success[i].mean()) for i in self._random(size)]

    def over_random(self, name: str) -> Measurement:
        """Return a condition's rate minus the mean rate of random groups of its size, paired."""
        label = f"heads/asr/{name}/over_random"
        places = self._random(self.conditions[self.place(name)].size)
        if not places:
            return not_measured(label, "share", "no random group of this size was ablated")
        own = self.success[self.place(name)].mean(1)
        others = self.success[places].mean((0, 2))
        return paired_difference(
            own.tolist(),
            others.tolist(),
            self.clusters,
            name=label,
            range=WHOLE,
            floor=NO_CHANGE,
            seed=self._seed,
        )

    def rank_p(self, name: str) -> float | None:
        """Return (1 + random groups that reach this rate) / (1 + random groups); None without."""
        rates = self.random_rates(self.conditions[self.place(name)].size)
        own = float(self.success[self.place(name)].mean())
        return (1 + sum(rate >= own for rate in rates)) / (1 + len(rates)) if rates else None

    def second_rate(self, name: str, by: str) -> Measurement:
        """Return the share that a second judge calls an answer, on the answers it read.

        Args:
            by: "scorer" (the offline refusal scorer) or "judge" (the judge model).
        """
        labels = self._second(by)[self.place(name)].ravel()
        title = f"heads/asr/{name}/{by}"
        if not (labels != "").any():
            return not_measured(title, "share", f"the {by} read none of these answers")
        kept = [(label, c) for label, c in zip(labels, self._clusters) if label]
        outcomes = [None if label == UNREADABLE else label == ANSWERED for label, _ in kept]
        found = proportion(
            title,
            outcomes,
            clusters=[c for _, c in kept],
            floor=ALWAYS_REFUSE,
            reasons=[UNREADABLE if outcome is None else None for outcome in outcomes],
            seed=self._seed,
        )
        return self._complete(found, by)

    def agreement(self, by: str) -> list[Measurement]:
        """Return how often a second judge agrees with the keywords, and Cohen's kappa."""
        first, second, clusters = self._both(by)
        name = f"heads/asr/keyword_vs_{by}"
        if not first:
            why = f"the {by} read no answer"
            return [not_measured(f"{name}/agreement", "share", why)]
        found = (
            agreement(first, second, clusters=clusters, name=f"{name}/agreement"),
            cohen_kappa(first, second, clusters=clusters, name=f"{name}/kappa"),
        )
        return [self._complete(m, by) for m in found]

    def cross_table(self, by: str) -> list[dict[str, Any]]:
        """Return the 2 x 2 table: success by keyword (first) and by a second judge (second)."""
        first, second, _ = self._both(by)
        rows = confusion(first, second, labels=(True, False)).records()
        return [{"keyword": r["first"], by: r["second"], "count": r["count"]} for r in rows]

    def judge_errors(self) -> tuple[int, int]:
        """Return how many verdicts of the judge model could not be read, and how many were asked.

        Note: above 2 % the figures of the judge are incomplete.
        """
        return int((self.judged == UNREADABLE).sum()), int((self.judged != "").sum())

    def measurements(self) -> list[Measurement]:
        """Return rates, changes, means over sizes, and agreement of the judges."""
        found = [self.rate(self.names[0])]
        for name in self.groups:
            found += [self.rate(name), self.change(name)]
            found += [self.over_random(name)] if self._random(self._size(name)) else []
        found += [self.mean_change(names, stem) for stem, names in self.families().items()]
        for by in self.second_judges:
            found += [self.second_rate(name, by) for name in (self.names[0], *self.groups)]
            found += self.agreement(by)
        return found

    @property
    def second_judges(self) -> tuple[str, ...]:
        """The judges beside the keywords that read anything."""
        return tuple(by for by in ("scorer", "judge") if (self._second(by) != "").any())

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per condition; p-values are adjusted over the groups (Holm)."""
        tests = {name: self.test(name) for name in self.groups}
        adjusted = dict(zip(tests, holm([t.p_value for t in tests.values()]).tolist()))
        return [self._row(c, tests.get(c.name), adjusted.get(c.name)) for c in self.conditions]

    def _row(self, c: Condition, test: PairedTest | None, adjusted: float | None) -> dict[str, Any]:
        place = self.place(c.name)
        rate, change = self.rate(c.name), self.change(c.name)
        by_draw = self.success[place].mean(0)
        random = self.random_rates(c.size) if c.kind == "group" else []
        row: dict[str, Any] = {
            "condition": c.name,
            "kind": c.kind,
            "heads": c.shown,
            "size": c.size,
            "n": rate.n,
            "asr": rate.value,
            "low": rate.low,
            "high": rate.high,
            "change": change.value if place else None,
            "change_low": change.low if place else None,
            "change_high": change.high if place else None,
            "p": test.p_value if test else None,
            "p_holm": adjusted,
            "test": test.method if test else None,
            "spread": float(by_draw.std(ddof=1)) if self.draws > 1 else None,
            "random_mean": float(np.mean(random)) if random else None,
            "random_95": float(np.quantile(random, 0.95)) if random else None,
            "p_random": self.rank_p(c.name) if c.kind == "group" else None,
        }
        row |= {v: float((self.keyword[place] == v).mean()) for v in VERDICTS if v != COMPLIED}
        for by in self.second_judges:
            second = self.second_rate(c.name, by)
            row |= {f"{by}_asr": second.value, f"{by}_low": second.low, f"{by}_high": second.high}
            row |= {f"{by}_n": second.n}
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per answer, without its text."""
        return [
            {
                "condition": condition.name,
                "prompt_id": prompt,
                "draw": draw,
                "keyword": str(self.keyword[c, p, draw]),
                "scorer": str(self.scorer[c, p, draw]) or None,
                "judge": str(self.judged[c, p, draw]) or None,
                "whole": bool(self.whole[p]),
                "characters": len(self.texts[c][p][draw]),
            }
            for c, condition in enumerate(self.conditions)
            for p, prompt in enumerate(self.prompt_ids)
            for draw in range(self.draws)
        ]

    def outcomes(self) -> list[dict[str, Any]]:
        """Return the outcomes behind every rate, so that two runs can be compared item by item."""
        return [
            {
                "measurement": f"heads/asr/{name}",
                "id": prompt,
                "sample": draw,
                "outcome": float(self.success[self.place(name), p, draw]),
                "cluster": self.clusters[p],
            }
            for name in (self.names[0], *self.groups)
            for p, prompt in enumerate(self.prompt_ids)
            for draw in range(self.draws)
        ]

    def samples(self) -> list[Sample]:
        """Return the answers for a reader to open; a report hides the text of harmful ones."""
        shown = [c for c in self.conditions if c.kind != "random"]
        return [
            Sample(
                id=f"{prompt} ({c.name})" if self.draws == 1 else f"{prompt} ({c.name}, {draw})",
                label=str(self.keyword[self.place(c.name), p, draw]),
                harmful=self.harmful[p],
                prompt=self.requests[p],
                completion=self.texts[self.place(c.name)][p][draw],
                meta={"condition": c.name, "heads": c.shown, "whole": bool(self.whole[p])},
            )
            for p, prompt in enumerate(self.prompt_ids)
            for c in shown
            for draw in range(self.draws)
        ]

    @property
    def _seed(self) -> int:
        return int(self.settings.get("seed", 0))

    @property
    def _clusters(self) -> list[str]:
        """The cluster of each answer of a condition, by prompt, then draw."""
        return [cluster for cluster in self.clusters for _ in range(self.draws)]

    def _pair(self, name: str) -> tuple[list[bool], list[bool]]:
        own, first = self.success[self.place(name)], self.success[0]
        return own.ravel().tolist(), first.ravel().tolist()

    def _size(self, name: str) -> int:
        return self.conditions[self.place(name)].size

    def _random(self, size: int) -> list[int]:
        return [i for i, c in enumerate(self.conditions) if c.kind == "random" and c.size == size]

    def _second(self, by: str) -> Labels:
        return self.scorer if by == "scorer" else self.judged

    def _both(self, by: str) -> tuple[list[bool], list[bool | None], list[str]]:
        """Return success by keyword and by a second judge, and clusters, where that judge read."""
        labels = self._second(by).ravel()
        read = np.flatnonzero(labels != "")
        keyword, clusters = self.success.ravel(), self._clusters * len(self.conditions)
        second = [None if labels[i] == UNREADABLE else bool(labels[i] == ANSWERED) for i in read]
        return keyword[read].tolist(), second, [clusters[i] for i in read]

    def _complete(self, found: Measurement, by: str) -> Measurement:
        """Mark a figure of the judge model as incomplete where too many verdicts failed."""
        errors, asked = self.judge_errors()
        if by != "judge" or errors <= MOST_ERRORS * asked:
            return found
        why = f"{errors} of {asked} verdicts of the judge could not be read"
        return replace(found, status="incomplete", reason=why)


def combined(results: Mapping[str, AsrResult]) -> AsrResult:
    """Return results on the same prompts as one; the first condition of all is compared with.

    Args:
        results: by label, e.g. models or frames; conditions are renamed `label`, or
            `label: condition` where a result has several.

    Raises:
        DataError: there are none, or they are not of the same prompts and number of draws.
    """
    parts = list(results.values())
    if not parts:
        raise DataError("There are no results to combine.", fix="Give at least one.")
    first = parts[0]
    for label, part in results.items():
        if (part.prompt_ids, part.draws) != (first.prompt_ids, first.draws):
            raise DataError(
                f"The result '{escape(label, 60)}' is of other prompts or draws.",
                fix="Measure all of them on the same prompts with the same decoding.",
            )
    conditions = [
        replace(c, name=label if len(part.conditions) == 1 else f"{label}: {c.name}")
        for label, part in results.items()
        for c in part.conditions
    ]
    return replace(
        first,
        conditions=tuple(conditions),
        keyword=np.concatenate([part.keyword for part in parts]),
        scorer=np.concatenate([part.scorer for part in parts]),
        judged=np.concatenate([part.judged for part in parts]),
        whole=np.logical_and.reduce([part.whole for part in parts]),
        texts=tuple(text for part in parts for text in part.texts),
        settings={
            "seed": first.settings.get("seed", 0),
            "parts": {label: dict(part.settings) for label, part in results.items()},
        },
    )
