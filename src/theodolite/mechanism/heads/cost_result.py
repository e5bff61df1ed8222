"""The cost of an ablation as figures: every group beside the intact model and random groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.judging.offline_quality import offline_quality
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, JudgeQuality, Measurement, not_measured
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.heads.asr_conditions import INTACT, Condition
from theodolite.mechanism.perplexity import NO_CHANGE, perplexity, perplexity_rise
from theodolite.mechanism.verdict.outcomes import OFFLINE_SCORER
from theodolite.mechanism.verdict.result import complied_by
from theodolite.runs.figures import grouped_rates
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.runs.run import Run

# Column of the table -> the outcome of an answer that it counts.
RATES: Final = {"refused": "refused", "complied": "complied", "broken": "degenerate"}
_FACTS: Final = (
    *("operator", "epsilon", "target", "unit", "template", "max_new_tokens"),
    *("model", "dtype", "vocabulary", "seed"),
)


@dataclass(frozen=True, eq=False)
class CostResult:
    """How every group of heads changes plain reading and benign answers.

    Args:
        conditions: the intact model, the groups, then the random ones.
        nats: minus the log-probability of each passage, float64, axes (condition, passage).
        tokens: scored tokens of each passage, axis (passage).
        labels: what became of each request, one of `OUTCOMES`, [condition][request].
        passage_ids, prompt_ids: of the passages and the benign requests.
        clusters: the goal of each request.
        operator, epsilon, target, unit, template, max_new_tokens: how it was done.
        model, dtype: of the model.
        vocabulary: its tokens, the perplexity of a uniform guess.
        seed: of the random groups.
    """

    conditions: tuple[Condition, ...]
    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]
    labels: tuple[tuple[str, ...], ...]
    passage_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    operator: str
    epsilon: float
    target: str
    unit: str
    template: str
    max_new_tokens: int
    model: str
    dtype: str
    vocabulary: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the conditions."""
        return tuple(condition.name for condition in self.conditions)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that were asked for."""
        return tuple(c.name for c in self.conditions if c.kind == "group")

    def random_like(self, group: str) -> tuple[str, ...]:
        """Return the names of the random groups that have as many heads as this one."""
        size = self.conditions[self._row(group)].size
        return tuple(c.name for c in self.conditions if c.kind == "random" and c.size == size)

    def perplexity(self, group: str) -> Measurement:
        """Return the perplexity of the passages, weighed by tokens, interval over passages."""
        name = f"heads/cost/{group}/perplexity"
        return perplexity(name, self.nats[self._row(group)], self.tokens, self.vocabulary)

    def perplexity_change(self, group: str) -> Measurement:
        """Return by how many percent the perplexity rises over the intact model's, paired."""
        name = f"heads/cost/{group}/perplexity/change"
        return perplexity_rise(name, self.nats[self._row(group)], self.nats[0], self.tokens)

    def perplexity_over_random(self, group: str) -> Measurement:
        """Return by how many percent it rises over that of random groups, their geometric mean.

        Note: the interval is over passages, for these draws.
        """
        name = f"heads/cost/{group}/perplexity/over_random"
        beside = [self._row(other) for other in self.random_like(group)]
        if not beside:
            return not_measured(name, "percent", "no random groups were drawn")
        own, floor = self.nats[self._row(group)], Floor("random heads", 0.0)
        found = perplexity_rise(name, own, self.nats[beside].mean(0), self.tokens, floor)
        reached = sum(self.nats[row].sum() >= self.nats[self._row(group)].sum() for row in beside)
        told = f"{reached} of {len(beside)} random groups cost as much or more"
        return replace(found, reason="; ".join(filter(None, (found.reason, told))))

    def rate(self, group: str, rate: str) -> Measurement:
        """Return the share of benign requests that were refused, complied with, or broken."""
        return proportion(
            f"heads/cost/{group}/{rate}",
            self._hits(group, rate),
            clusters=self.clusters,
            floor=Floor("always answer", float(rate == "complied")),
            judge=_judge(rate),
            seed=self.seed,
        )

    def rate_change(self, group: str, rate: str) -> Measurement:
        """Return the rate minus that of the intact model on the same requests."""
        return self._change(f"heads/cost/{group}/{rate}/change", group, [INTACT], rate)

    def rate_over_random(self, group: str, rate: str) -> Measurement:
        """Return the rate minus its mean over random groups of the same size, paired."""
        name = f"heads/cost/{group}/{rate}/over_random"
        beside = self.random_like(group)
        if not beside:
            return not_measured(name, "share", "no random groups were drawn")
        return self._change(name, group, beside, rate)

    def measurements(self) -> list[Measurement]:
        """Return level and change of every group that was asked for, then it over random ones."""
        found = [self.perplexity(INTACT), *(self.rate(INTACT, rate) for rate in RATES)]
        for group in self.groups:
            found += [self.perplexity_change(group), self.perplexity_over_random(group)]
            for rate in RATES:
                found.append(self.rate(group, rate))
                found.append(self.rate_change(group, rate))
                found.append(self.rate_over_random(group, rate))
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per condition."""
        return [self._frame_row(condition) for condition in self.conditions]

    def outcomes(self) -> list[dict[str, Any]]:
        """Return `measurement, id, sample, outcome, cluster`, so that two models can be paired."""
        rows = []
        for group in (INTACT, *self.groups):
            for rate in RATES:
                name = f"heads/cost/{group}/{rate}"
                hits = zip(self.prompt_ids, self._hits(group, rate), self.clusters, strict=True)
                rows += [
                    {"measurement": name, "id": i, "sample": 0, "outcome": hit, "cluster": cluster}
                    for i, hit, cluster in hits
                ]
        return rows

    def figure(self) -> Figure:
        """Return benign requests refused, complied with and broken, for every group."""
        series = {rate: [self.rate(group, rate) for group in self.names] for rate in RATES}
        changes = ", ".join(
            f"{group} {m.value:+.1f} % [{m.low:+.1f}, {m.high:+.1f}]"
            for group in self.groups
            if (m := self.perplexity_change(group)).value is not None and m.low is not None
        )
        caption = (
            f"{len(self.prompt_ids)} benign requests, frame {self.template}, operator "
            f"{self.operator}; 95 % intervals. Random groups hold as many heads as those named. "
            f"Perplexity of {len(self.passage_ids)} plain passages against the intact model: "
            f"{changes or 'no interval'}."
        )
        spec = grouped_rates(self.names, series, axis_title="share of benign requests")
        return Figure(
            "heads_cost", "What taking heads out costs elsewhere", caption, spec, "heads_cost"
        )

    def save(self, run: Run) -> None:
        """Write the arrays and what their axes stand for into the run folder."""
        run.save_tensors("heads_cost", {"nats": self.nats, "tokens": self.tokens})
        run.save_table(
            "heads_cost_groups",
            [
                {
                    "condition": condition.name,
                    "kind": condition.kind,
                    "heads": [list(head) for head in condition.of(0)],
                    "labels": list(labels),
                }
                for condition, labels in zip(self.conditions, self.labels, strict=True)
            ],
        )
        axes = {n: list(getattr(self, n)) for n in ("passage_ids", "prompt_ids", "clusters")}
        facts = {name: getattr(self, name) for name in _FACTS}
        run.save_table("heads_cost_design", [axes | facts])

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        arrays = {n: np.asarray(array) for n, array in run.load_tensors("heads_cost").items()}
        rows = run.load_table("heads_cost_groups")
        design: dict[str, Any] = dict(run.load_table("heads_cost_design")[0])
        for name in ("passage_ids", "prompt_ids", "clusters"):
            design[name] = tuple(design[name])
        return cls(
            conditions=tuple(
                Condition(r["condition"], r["kind"], (tuple((la, u) for la, u in r["heads"]),))
                for r in rows
            ),
            nats=arrays["nats"],
            tokens=arrays["tokens"],
            labels=tuple(tuple(row["labels"]) for row in rows),
            **design,
        )

    def _row(self, group: str) -> int:
        return self.names.index(group)

    def _hits(self, group: str, rate: str) -> list[bool]:
        return [label == RATES[rate] for label in self.labels[self._row(group)]]

    def _change(self, name: str, group: str, others: Sequence[str], rate: str) -> Measurement:
        """Return a group's rate minus its mean over others, paired by request."""
        beside = np.mean([self._hits(other, rate) for other in others], axis=0)
        return paired_difference(
            self._hits(group, rate),
            [bool(share) if len(others) == 1 else float(share) for share in beside],
            self.clusters,
            name=name,
            range=(0.0, 1.0),
            floor=NO_CHANGE if others == [INTACT] else Floor("random heads", 0.0),
            seed=self.seed,
        )

    def _frame_row(self, condition: Condition) -> dict[str, Any]:
        group = condition.name
        row: dict[str, Any] = {
            "condition": group,
            "kind": condition.kind,
            "heads": condition.shown,
            "size": condition.size,
            "perplexity": self.perplexity(group).value,
        }
        told = {"perplexity_change": self.perplexity_change(group)}
        for rate in RATES:
            told |= {rate: self.rate(group, rate), f"{rate}_change": self.rate_change(group, rate)}
        for name, m in told.items():
            known = group != INTACT or not name.endswith("_change")
            row |= {
                name: m.value if known else None,
                f"{name}_low": m.low if known else None,
                f"{name}_high": m.high if known else None,
            }
        return row


def _judge(rate: str) -> JudgeQuality | None:
    """Return how good the scorer of this rate is; for broken text it was never measured."""
    if rate == "broken":
        return None
    return offline_quality() if rate == "refused" else complied_by(OFFLINE_SCORER)
