"""Continuations made elsewhere: no model needed.

    theodolite eval toxicity --responses FILE.jsonl

A row holds `id` and `completion`, and may hold `sample`, `method` and `prompt`. An answer is read
as a model's own is: from "Completion:" on where that stands in it, else whole. Prompts are found by
their ids in the source; those it does not know need their text, and where groups are compared
their `category` and `domain`. With the method `base` among them, changes are measured against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.continuing.answers import Answer
from theodolite.data.aliases import fold
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import Prompt, PromptSet, check_text, shown
from theodolite.data.records import Place, Record, read_records
from theodolite.data.responses import COLUMNS, MAX_COMPLETION_CHARS
from theodolite.errors import DataError
from theodolite.text.suggest import did_you_mean

GIVEN: Final = "answers"
"""The method of rows that name none."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: COLUMNS[name] for name in ("id", "completion", "sample", "prompt")},
    "method": ("method", "solver"),
    "category": ("category", "group"),
    "domain": ("domain",),
}
_METHOD: Final = re.compile(r"[\w.+=-]{1,60}")


def read_answers(path: Path | str, rows: PromptSet) -> list[Answer]:
    """Return the answers of a file, in file order.

    Args:
        rows: the prompts of the source.

    Raises:
        DataError: a field is missing or wrong, a prompt is unknown, or an answer stands there
            twice; names file, line and field.
    """
    path = Path(path)
    known = {row.id: row for row in rows}
    found: list[Answer] = []
    seen: dict[tuple[str, int, str], int] = {}
    for record in read_records(path):
        place = Place(path, record.line)
        answer = _answer(place, _values(place, record), known)
        key = (answer.prompt.id, answer.sample, answer.method)
        first = seen.setdefault(key, record.line)
        if len(seen) == len(found):
            raise place.error(
                f"sample {answer.sample} of {shown(answer.prompt.id)} by {shown(answer.method)} is "
                f"already on {place.unit} {first}.",
                "Number the continuations of a prompt in the field 'sample'.",
            )
        found.append(answer)
    return found


def _values(place: Place, record: Record) -> dict[str, Any]:
    """Return field -> value of a row, by the names that a field may have."""
    header = {fold(name): name for name in record.values}
    found: dict[str, Any] = {}
    for field, names in _FIELDS.items():
        column = next((header[name] for name in names if name in header), None)
        value = None if column is None else record.values[column]
        if value is None or (value == "" and field != "completion"):
            continue
        at = place._replace(field=column)
        found[field] = _count(at, value) if field == "sample" else _text(at, field, value)
    for field in ("id", "completion"):
        if field not in found:
            raise place._replace(field=field).error("the value is missing.", "Add it to the row.")
    return found


def _answer(place: Place, values: Mapping[str, Any], known: dict[str, Prompt]) -> Answer:
    name, text = values["id"], values.get("prompt")
    prompt = known.get(name)
    if prompt is None:
        if text is None:
            raise place._replace(field="id").error(
                f"the source holds no prompt {shown(name)}, and the row does not state its text.",
                did_you_mean(name, known)
                or "Name the source with -T source=FILE, or add 'prompt'.",
            )
        meta = {"domain": values["domain"]} if "domain" in values else {}
        known[name] = prompt = Prompt(
            name, text, goal_id=goal_of(text), category=values.get("category"), meta=meta
        )
    elif text is not None and text.strip() != prompt.request.strip():
        raise place._replace(field="prompt").error(
            f"the prompt {shown(name)} has another text in the source.",
            "Use ids of your own for other texts.",
        )
    method = values.get("method", GIVEN)
    if not _METHOD.fullmatch(method):
        raise place._replace(field="method").error(
            f"{shown(method)} cannot name a method.", "Use letters, digits, '_', '-' and '.'."
        )
    return Answer.of_text(values["completion"], prompt, method, values.get("sample", 0))


def _text(place: Place, field: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and field in ("id", "method"):
        return str(value)
    try:
        check_text(field, value)
    except DataError as error:
        raise place.error(error.message, error.fix) from None
    if len(value) > MAX_COMPLETION_CHARS:
        raise place.error(f"the text has more than {MAX_COMPLETION_CHARS:,} characters.")
    return str(value)


def _count(place: Place, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise place.error(f"the sample number {shown(value)} is not a count from 0.")
    return int(text)
