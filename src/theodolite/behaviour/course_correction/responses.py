"""Continuations made elsewhere: no model needed.

    theodolite eval course-correction --responses FILE.jsonl

A row holds `id` and `completion` (the model's own words after what was forced), and may hold `k`,
`label` (harmful or benign), `goal_id`, `path` (or `sample`), `saturated` and `prefill`. Files of
the published code are read too: `k`, `request` and `truly response`. So is the table of scored
continuations that a run keeps (`tables/.../course_correction_items.parquet`): its verdicts stand.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.course_correction.calibration import LEXICAL_SCORER, words_key
from theodolite.behaviour.course_correction.scoring import CONTINUE, PREFILLS, Item
from theodolite.data.aliases import LABELS
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import BENIGN, HARMFUL, shown
from theodolite.data.records import Place, Record, read_records
from theodolite.judging.correction import OUTCOMES, score_correction

_OWN: Final = ("completion", "continuation", "truly response")
_REQUEST: Final = ("prompt", "request")


def read_continuations(path: Path | str) -> list[Item]:
    """Return the scored continuations of a file.

    Raises:
        DataError: a field is missing or of the wrong type (names file, line and field), or one
            continuation stands there twice.
    """
    path = Path(path)
    items: list[Item] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, record in enumerate(read_records(path)):
        place = Place(path, record.line)
        item = _item(place, number, record)
        key = (item.row, item.k, item.prefill, item.path)
        first = seen.setdefault(key, record.line)
        if len(seen) == number:
            raise place.error(
                f"the row {shown(item.row)} at k={item.k} stands already on {place.unit} {first}.",
                "Give repeated continuations their own 'path'.",
            )
        items.append(item)
    return items


def _item(place: Place, number: int, record: Record) -> Item:
    values = record.values
    if "outcome" in values:
        return _scored(place, values)
    own = next((values[name] for name in _OWN if isinstance(values.get(name), str)), None)
    if own is None:
        raise place._replace(field="completion").error("the continuation is missing.")
    request = next((values[name] for name in _REQUEST if isinstance(values.get(name), str)), None)
    label = LABELS.get(str(values.get("label", HARMFUL)).lower())
    if label is None:
        raise place._replace(field="label").error(
            f"the label {shown(values['label'])} is unknown.", "Use harmful or benign."
        )
    prefill = str(values.get("prefill", CONTINUE))
    if prefill not in PREFILLS:
        raise place._replace(field="prefill").error(
            f"the prefill {shown(prefill)} is unknown.", f"Use {', '.join(PREFILLS)}."
        )
    goal = values.get("goal_id") or (goal_of(request) if request else None)
    row = str(values.get("id") or goal or f"{place.path.stem}/{number}")
    found = score_correction(own)
    return Item(
        id=f"{row}@{_whole(place, values, 'k')}",
        row=row,
        label=label,
        goal_id=str(goal or row),
        k=_whole(place, values, "k"),
        outcome=found.outcome,
        prefill=prefill,
        saturated=bool(values.get("saturated", False)),
        path=_whole(place, values, "path" if "path" in values else "sample"),
        words_before=found.words_before,
        lexical=found.outcome,
        scorer=LEXICAL_SCORER,
        tokens=round(len(own.split()) / 0.75),
        words_key=words_key(own),
    )


def _scored(place: Place, values: dict[str, Any]) -> Item:
    """Return a row of a run's own table; raises DataError where it is none."""
    known = {field.name for field in fields(Item)}
    try:
        item = Item(**{name: value for name, value in values.items() if name in known})
    except TypeError:
        raise place.error(
            "the row is not one of a run's table of continuations.",
            "Give its file course_correction_items.parquet, or rows without 'outcome'.",
        ) from None
    _whole(place, values, "k")
    _whole(place, values, "path")
    if item.label not in (HARMFUL, BENIGN) or item.outcome not in (*OUTCOMES, None):
        raise place.error("the label or the outcome is not one that a run writes.")
    return item


def _whole(place: Place, values: dict[str, Any], name: str) -> int:
    value = values.get(name, 0)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise place._replace(field=name).error("this must be a whole number from 0 up.")
    return value
