"""From what became of the items to a result: data sets apart and pooled, doubtful rows apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from theodolite.behaviour.preemptive_answers import sentences
from theodolite.behaviour.preemptive_answers.acknowledging import Mention
from theodolite.behaviour.preemptive_answers.extracting import READ_BY_MODEL
from theodolite.behaviour.preemptive_answers.figures import figures
from theodolite.behaviour.preemptive_answers.groups import Group, Row, narrowed
from theodolite.behaviour.preemptive_answers.options import CLEAN_CELL, Cell
from theodolite.behaviour.preemptive_answers.replies import OVERFLOW, Answered, Table
from theodolite.behaviour.preemptive_answers.scoring import RESAMPLES
from theodolite.data.preemptive import Item
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PanelResult, Sample

POOLED: Final = "pooled"
WITH_SUSPECTS: Final = "with_suspects"
FEW: Final = 1000
"""Resamples of what stands beside the headline."""
MOST_SAMPLES: Final = 300
PREFIX: Final = "preemptive_answers"
_BOTH_WAYS: Final = ("accuracy", "asr")


@dataclass(frozen=True)
class Found:
    """What became of all items.

    Args:
        model, seed: of the run.
        methods: what became of the items, per method and way of asking.
        makers: item id -> what made the answer that was planted.
        mentioned: per method and way of asking, whether replies mention the plant, by item id.
        without_plant: items that have no answer to plant and were not asked.
        resamples: of the intervals.
    """

    model: str
    seed: int
    methods: Mapping[str, Table]
    makers: Mapping[str, str]
    mentioned: Mapping[str, Mapping[Cell, Mapping[str, bool | None]]] = field(default_factory=dict)
    without_plant: Sequence[Item] = ()
    resamples: int = RESAMPLES


def result_of(found: Found, how: Sequence[str] = ()) -> PanelResult:
    """Return figures, tables and sentences of what became of the items."""
    measured: list[Measurement] = []
    tables: dict[str, list[Row]] = {}
    groups = list(_groups(found))
    for group in groups:
        report = group.report()
        measured += report.measurements
        rows = [{**group.facts, "items": "sound", **row} for row in report.rows]
        _extend(tables, "attacks", rows)
        for name, (more, lines) in {
            "mitigations": group.mitigations(),
            "reflections": group.reflections(),
            "acknowledged": group.acknowledged(),
            "wordings": group.wordings(),
        }.items():
            measured += more
            _extend(tables, name, lines)
        measured += group.disagreements()
        _extend(tables, "first_answers", group.first_answers())
        _extend(tables, "votes", group.votes())
        _extend(tables, "made_by", group.makers(found.makers))
    for more, lines in _both_ways(found):
        measured += more
        _extend(tables, "attacks", lines)
    _extend(tables, "excluded", excluded(found))
    _extend(tables, "extraction", _extraction(found))
    _extend(tables, "items", list(_items(found)))
    return PanelResult(
        measurements=measured,
        tables=tables,
        figures=figures(groups, measured),
        samples=samples(found),
        findings=sentences.findings(groups, measured),
        limits=sentences.limits(found.methods),
        how=[*how, *sentences.left_out(tables.get(f"{PREFIX}_excluded", ()))],
        labels=sentences.labels(groups, measured),
    )


def to_judge(methods: Mapping[str, Table]) -> list[tuple[str, Cell, Mention]]:
    """Return the replies that may mention a plant: method, way of asking, reply."""
    found = []
    for method, table in methods.items():
        for cell, rows in table.items():
            if not cell.plants or cell.mitigation is not None:
                continue
            for one in rows:
                planted = one.reply.planted
                if planted is not None and not one.reply.said.overflow and one.text.strip():
                    found.append((method, cell, Mention(one.reply.item, planted, one.text)))
    return found


def mentioned_by(
    asked: Sequence[tuple[str, Cell, Mention]], verdicts: Sequence[bool | None]
) -> dict[str, dict[Cell, dict[str, bool | None]]]:
    """Return verdicts by method, way of asking and item."""
    found: dict[str, dict[Cell, dict[str, bool | None]]] = {}
    for (method, cell, one), verdict in zip(asked, verdicts, strict=True):
        found.setdefault(method, {}).setdefault(cell, {})[one.item.id] = verdict
    return found


def excluded(found: Found) -> list[Row]:
    """Return how many items of each set stay out of the headline, and why."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for method, table in found.methods.items():
        over = _too_long(table)
        for one in table[CLEAN_CELL]:
            item = one.reply.item
            for reason, applies in (
                ("the gold is damaged", item.gold_suspect),
                ("the planted answer is right", item.plant_suspect),
                ("too long for the model's context", item.id in over),
            ):
                counts[method, item.set, reason] += applies
    for method in found.methods:
        for item in found.without_plant:
            counts[method, item.set, "there is no answer to plant"] += 1
    return [
        {"method": method, "dataset": dataset, "reason": reason, "items": count}
        for (method, dataset, reason), count in counts.items()
        if count
    ]


def samples(found: Found) -> list[Sample]:
    """Return what a reader may open: replies that an attack turned wrong first, then others."""
    turned: list[Sample] = []
    others: list[Sample] = []
    for method, table in found.methods.items():
        right = {one.outcome.id for one in table[CLEAN_CELL] if one.outcome.correct}
        for cell, rows in table.items():
            for one in rows:
                lost = cell != CLEAN_CELL and one.outcome.id in right and not one.outcome.correct
                (turned if lost else others).append(_sample(method, cell, one))
    return [*turned, *others][:MOST_SAMPLES]


def _groups(found: Found, *, suspects: bool = False) -> Iterator[Group]:
    """Yield the items of every set, and of all sets, under every method.

    Args:
        suspects: with the doubtful ones; a group that has none is then left out.
    """
    for method, table in found.methods.items():
        over = _too_long(table)
        items = [one.reply.item for one in table[CLEAN_CELL]]
        whole = Group(
            POOLED,
            method,
            found.model,
            found.seed,
            table,
            found.mentioned.get(method, {}),
            found.resamples,
        )
        names = list(dict.fromkeys(item.set for item in items))
        for name in (*names, *([POOLED] if len(names) > 1 else [])):
            own = [i for i in items if name in (i.set, POOLED) and i.id not in over]
            if suspects and not any(item.suspect for item in own):
                continue
            ids = {item.id for item in own if suspects or not item.suspect}
            if ids:
                yield narrowed(whole, ids, dataset=name)


def _both_ways(found: Found) -> Iterator[tuple[list[Measurement], list[Row]]]:
    """Yield the headline's figures with the doubtful rows in them, where there are any."""
    for group in _groups(found, suspects=True):
        ids = {one.outcome.id for one in group.table[CLEAN_CELL]}
        report = narrowed(group, ids, more=WITH_SUSPECTS, resamples=FEW).report()
        kept = [
            m
            for m in report.measurements
            if m.name.split(f"{WITH_SUSPECTS}/")[-1].split("/")[0] in _BOTH_WAYS
        ]
        yield kept, [{**group.facts, "items": "with suspects", **row} for row in report.rows]


def _too_long(table: Table) -> set[str]:
    """Return ids of items that did not fit into the context in some way of asking."""
    return {
        one.outcome.id for rows in table.values() for one in rows if OVERFLOW in one.outcome.flags
    }


def _extraction(found: Found) -> list[Row]:
    """Return, per way of asking, which rules found the answers, and what was odd."""
    table = []
    for method, cells in found.methods.items():
        for cell, rows in cells.items():
            rules = Counter(one.ballot.found.rule for one in rows)
            flags = Counter(flag for one in rows for flag in one.outcome.flags)
            table.append(
                {
                    "method": method,
                    "run": cell.name,
                    "n": len(rows),
                    "found": sum(one.outcome.final is not None for one in rows),
                    "read_by_model": rules[READ_BY_MODEL],
                    "rules": dict(rules),
                    "flags": dict(flags),
                }
            )
    return table


def _items(found: Found) -> Iterator[Row]:
    """Yield one row per item and way of asking, without any text."""
    for method, cells in found.methods.items():
        for cell, rows in cells.items():
            for one in rows:
                outcome = one.outcome
                yield {
                    "id": outcome.id,
                    "dataset": one.reply.item.set,
                    "method": method,
                    "run": cell.name,
                    "correct": outcome.correct,
                    "unparsed": outcome.unparsed,
                    "planted_match": outcome.planted_match,
                    "first_correct": outcome.first_correct,
                    "kept_first": outcome.kept_first,
                    "suspect": one.reply.item.suspect,
                    "tokens": one.reply.said.written,
                    "flags": list(outcome.flags),
                }


def _sample(method: str, cell: Cell, one: Answered) -> Sample:
    outcome = one.outcome
    label = "right" if outcome.correct else "unparsed" if outcome.unparsed else "wrong"
    if outcome.planted_match and not outcome.correct:
        label = "the planted answer"
    meta: dict[str, Any] = {"method": method, "run": cell.name, "gold": one.reply.item.gold}
    return Sample(
        id=f"{outcome.id}/{method}/{cell.name}",
        label=label,
        harmful=False,
        prompt=f"{one.reply.item.asked}\n\n[last turn] {one.reply.asked}",
        completion=one.reply.texts[0] if one.check is not None else one.text,
        meta=meta | {"planted": one.reply.planted, "final": outcome.final},
    )


def _extend(tables: dict[str, list[Row]], name: str, rows: Sequence[Row]) -> None:
    if rows:
        tables.setdefault(f"{PREFIX}_{name}", []).extend(rows)
