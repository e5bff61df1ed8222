"""Replies made elsewhere, from a file.

Columns: `id` of the question and `generation` (or `completion`); `condition`, clean where it is
missing; and, where they apply, `method`, `channel`, `wording`, `fraction`, `mitigation`, and
`sample` (several rows of one item and way of asking vote). Of `reflect` the generation is the
reply to the request to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.preemptive_answers.asking import Said
from theodolite.behaviour.preemptive_answers.data import planted_answer
from theodolite.behaviour.preemptive_answers.options import (
    CLEAN_CELL,
    INDEPENDENT,
    KNOWN_CONDITIONS,
    MITIGATIONS,
    PLAIN,
    Cell,
    condition_of,
)
from theodolite.behaviour.preemptive_answers.planting import CHANNELS, CLEAN, EXTRA_USER
from theodolite.behaviour.preemptive_answers.prompts import (
    METHODS,
    PLANTS,
    REFLECT,
    STEP_BY_STEP,
    VOTED,
)
from theodolite.behaviour.preemptive_answers.replies import Reply, Table, answered, checked, fresh
from theodolite.data.preemptive import Item
from theodolite.data.prompts import shown
from theodolite.data.records import Place, Record, read_records
from theodolite.text.suggest import did_you_mean

_TEXTS: Final = ("generation", "completion")


@dataclass(frozen=True)
class Stored:
    """One reply.

    Args:
        id: of the question.
        method: as our methods are named.
        cell: the way of asking.
        text: the reply.
        line: of the file.
    """

    id: str
    method: str
    cell: Cell
    text: str
    line: int | None


def read_stored(path: Path) -> list[Stored]:
    """Return the replies of a file in order.

    Raises: DataError: a row cannot be used; names file, line and field.
    """
    return [_row(Place(path, record.line), record) for record in read_records(path)]


def tables_of(
    path: Path,
    rows: Sequence[Stored],
    items: Sequence[Item],
    pools: Mapping[str, Sequence[Item]],
    *,
    seed: int = 0,
) -> dict[str, Table]:
    """Return what became of the items, per method and way of asking.

    Args:
        path: of the file, for messages.
        items: the questions, with what is planted.
        pools: set -> the items from which unrelated plants are taken.
        seed: of unrelated plants.

    Raises:
        DataError: a question is unknown, a method has no clean run, or a run lacks questions that
            its clean run has.
    """
    known = {item.id: item for item in items}
    unknown = [row for row in rows if row.id not in known]
    if unknown:
        raise Place(path, unknown[0].line, "id").error(
            f"the question {shown(unknown[0].id)} is not in the data set ({len(unknown)} of "
            f"{len(rows)} are not).",
            "Name the file of the questions with -T dataset=FILE.",
        )
    grouped: dict[str, dict[Cell, dict[str, list[str]]]] = {}
    for row in rows:
        cells = grouped.setdefault(row.method, {})
        cells.setdefault(row.cell, {}).setdefault(row.id, []).append(row.text)
    return {
        method: _table(path, method, cells, known, pools, seed) for method, cells in grouped.items()
    }


def _table(
    path: Path,
    method: str,
    cells: Mapping[Cell, Mapping[str, list[str]]],
    known: Mapping[str, Item],
    pools: Mapping[str, Sequence[Item]],
    seed: int,
) -> Table:
    if CLEAN_CELL not in cells:
        raise Place(path).error(
            f"there is no clean run of the method {shown(method)}.",
            "Attack success is a share of what the clean run has right; add it.",
        )
    ids = [id for id in known if id in cells[CLEAN_CELL]]
    for cell, texts in cells.items():
        odd = sorted(set(ids) ^ set(texts))
        if odd:
            raise Place(path).error(
                f"the runs clean and {shown(cell.name)} do not hold the same questions: {len(odd)} "
                f"are in one alone, {shown(odd[0])} first.",
                "Give both the same questions.",
            )
    first = {cell: texts for cell, texts in cells.items() if not _second(cell)}
    table = answered(
        {
            cell: [_reply(known[id], cell, texts[id], pools, seed) for id in ids]
            for cell, texts in first.items()
        }
    )
    for cell, texts in cells.items():
        if not _second(cell):
            continue
        parent = table.get(replace(cell, mitigation=None))
        if parent is None:
            raise Place(path).error(
                f"the run {shown(cell.name)} is there without the replies it is about.", "Add them."
            )
        if cell.mitigation == REFLECT:
            table[cell] = [
                checked(one, Said((texts[id][0],))) for id, one in zip(ids, parent, strict=True)
            ]
        else:
            table[cell] = fresh(parent, table[CLEAN_CELL])
    return {CLEAN_CELL: table[CLEAN_CELL]} | table


def _second(cell: Cell) -> bool:
    return cell.mitigation in (REFLECT, INDEPENDENT)


def _reply(
    item: Item,
    cell: Cell,
    texts: Sequence[str],
    pools: Mapping[str, Sequence[Item]],
    seed: int,
) -> Reply:
    planted = planted_answer(item, cell.condition, seed=seed, others=pools[item.set])
    return Reply(item, Said(tuple(texts)), planted if cell.plants else None)


def _row(place: Place, record: Record) -> Stored:
    values = record.values
    text = next((values[name] for name in _TEXTS if isinstance(values.get(name), str)), None)
    if text is None:
        raise place._replace(field="generation").error("the field is missing or not text.")
    id = values.get("id")
    if id in (None, ""):
        raise place._replace(field="id").error("the field is missing.")
    method = _one(place, values, "method", STEP_BY_STEP, (*METHODS, *VOTED))
    return Stored(str(id), method, _cell(place, values), text, record.line)


def _cell(place: Place, values: Mapping[str, Any]) -> Cell:
    name = _one(place, values, "condition", CLEAN, KNOWN_CONDITIONS)
    given = _one(place, values, "channel", EXTRA_USER, CHANNELS)
    condition, channel = condition_of(name, given)
    mitigation = _one(place, values, "mitigation", "none", ("none", *MITIGATIONS))
    fraction = values.get("fraction") or 0.0
    try:
        part = float(fraction)
    except (TypeError, ValueError):
        raise place._replace(field="fraction").error("this must be a number.") from None
    return Cell(
        condition,
        channel,
        _one(place, values, "wording", PLAIN, tuple(PLANTS)),
        part,
        None if mitigation == "none" else mitigation,
    )


def _one(
    place: Place, values: Mapping[str, Any], name: str, default: str, known: Sequence[str]
) -> str:
    """Return a name of a list; the default where the field is empty."""
    value = values.get(name)
    if value in (None, ""):
        return default
    if value not in known:
        raise place._replace(field=name).error(
            f"there is no {name} {shown(str(value))}.", did_you_mean(str(value), known)
        )
    return str(value)
