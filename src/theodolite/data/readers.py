"""Read prompts from the files people have: known formats, column names of the alias table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.data.aliases import (
    ALIASES,
    ANSWERS,
    COMPLETION,
    FLAGS,
    LABELS,
    SPLIT_NAMES,
    fold,
    map_columns,
)
from theodolite.data.catalogue import identify
from theodolite.data.official_files import OfficialFile
from theodolite.data.prompts import BENIGN, HARMFUL, SPLITS, Message, Prompt, PromptSet, shown
from theodolite.data.records import Place, Record, parse_records, read_bytes
from theodolite.errors import DataError
from theodolite.text.suggest import did_you_mean, nearest

MAX_PROMPT_CHARS: Final = 1_000_000
# The turns of ShareGPT-like files are spelled differently.
TURN_ROLES: Final = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
}


def read_prompts(
    path: Path | str,
    *,
    label: str | None = None,
    source: str | None = None,
    field: str | None = None,
) -> PromptSet:
    """Return the prompts of a file in file order.

    Columns are found by the alias table; those it does not know go to `meta`. A row without an id
    gets `<file stem>/<row>`, counted from 0. An official file is recognised by its content: the
    catalogue then gives each row its source and label.

    Args:
        path: a .jsonl, .json, .csv, .tsv, .parquet or .txt file (one prompt per line).
        label: the label of every row, e.g. "harmful"; a row the file itself calls the opposite is
            an error.
        source: the source of every row; default: the catalogue's, the row's own, or the file stem.
        field: the column that holds the prompt, where the alias table would choose another.

    Returns:
        the prompt set, named after the file stem.

    Raises:
        DataError: the file cannot be read, or a row is wrong; names file, line and field.
    """
    path = Path(path)
    data = read_bytes(path)
    records = parse_records(path, data)
    rows = _RowReader(path, label, source, field, identify(data))
    prompts = []
    lines: dict[str, int] = {}
    for row, record in enumerate(records):
        prompt = rows.read(row, record)
        first = lines.setdefault(prompt.id, record.line)
        if len(lines) == row:
            place = Place(path, record.line, rows.column(record, "id"))
            raise place.error(
                f"the id {shown(prompt.id)} is already used on {place.unit} {first}.",
                "Give every prompt its own id.",
            )
        prompts.append(prompt)
    return PromptSet(path.stem, tuple(prompts), str(path))


@dataclass
class _RowReader:
    """Turns the records of one file into prompts."""

    path: Path
    label: str | None
    source: str | None
    field: str | None
    official: OfficialFile | None

    def __post_init__(self) -> None:
        self._maps: dict[tuple[str, ...], dict[str, str]] = {}

    def read(self, row: int, record: Record) -> Prompt:
        columns = self.columns(record)
        values: dict[str, Any] = {}
        for name, column in columns.items():
            value = record.values[column]
            if value is None or (value == "" and name != "text"):
                continue
            place = Place(self.path, record.line, column)
            read: Callable[[Place, Any], Any] = READ.get(name, _text)
            values[name] = read(place, value)
        if "text" not in values and "messages" not in values:
            column = columns.get("text", "prompt")
            raise Place(self.path, record.line, column).error("the prompt is missing.")
        values.setdefault("id", f"{self.path.stem}/{row}")
        values["meta"] = self._meta(record, columns, values.get("meta", {}))
        values["source"] = self._source(row, values)
        values["label"] = self._label(record, values)
        try:
            return Prompt(**values)
        except DataError as error:
            problem = error.message[:1].lower() + error.message[1:]
            raise Place(self.path, record.line).error(problem, error.fix) from None

    def columns(self, record: Record) -> dict[str, str]:
        """Return field -> column for the columns this record has."""
        header = tuple(record.values)
        if header not in self._maps:
            self._maps[header] = self._map(record, header)
        return self._maps[header]

    def column(self, record: Record, name: str) -> str | None:
        return self.columns(record).get(name)

    def _map(self, record: Record, header: tuple[str, ...]) -> dict[str, str]:
        place = Place(self.path, record.line)
        found = map_columns(header)
        if self.field is not None:
            if self.field not in header:
                raise place.error(
                    f"there is no field {shown(self.field)}.", did_you_mean(self.field, header)
                )
            found = {name: column for name, column in found.items() if column != self.field}
            found.pop("messages", None)
            found["text"] = self.field
        if "text" not in found and "messages" not in found:
            near = next((n for n in map(_near_alias, header) if n), "")
            listed = ", ".join(shown(name) for name in header[:12]) or "none"
            raise place.error(
                f"no field holds the prompt (fields: {listed}).",
                near or "Name the field that holds the prompt, or call it 'prompt'.",
            )
        # A judged completion is labelled, not its prompt.
        if any(fold(name) in COMPLETION for name in header):
            found.pop("label", None)
        return found

    def _meta(
        self, record: Record, columns: Mapping[str, str], own: Mapping[str, Any]
    ) -> dict[str, Any]:
        taken = set(columns.values())
        rest = {
            name: value
            for name, value in record.values.items()
            if name not in taken and value is not None and value != ""
        }
        return {**rest, **own}

    def _source(self, row: int, values: dict[str, Any]) -> str:
        """Return the given source, the catalogue's or the row's own; the own is never lost."""
        own = values.get("source")
        known = self.official.source_of(row) if self.official else None
        chosen = self.source or known or own or self.path.stem
        if own not in {None, chosen}:
            values["meta"]["source"] = own
        return chosen

    def _label(self, record: Record, values: dict[str, Any]) -> str | None:
        own = values.get("label") or (self.official.label if self.official else None)
        if self.label is None or own is None or own == self.label:
            return self.label or own
        if {own, self.label} == {HARMFUL, BENIGN}:
            raise Place(self.path, record.line, self.column(record, "label")).error(
                f"the row is {own} but the file was given as {self.label}.",
                "Leave such rows out of the file.",
            )
        values["meta"]["label"] = own
        return self.label


def _near_alias(column: str) -> str:
    near = nearest(fold(column), ALIASES["text"])
    return f"Is {shown(column)} meant to be {near!r}?" if near else ""


def _text(place: Place, value: Any) -> str:
    if not isinstance(value, str):
        raise place.error(f"this must be text, not {type(value).__name__}.")
    return value


def _prompt(place: Place, value: Any) -> str:
    text = _text(place, value)
    if not text.strip():
        raise place.error("the prompt is empty.")
    if len(text) > MAX_PROMPT_CHARS:
        raise place.error(
            f"the prompt has {len(text):,} characters, more than {MAX_PROMPT_CHARS:,}."
        )
    return text


def _id(place: Place, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(place, value)


def _label(place: Place, value: Any) -> str:
    text = _scalar(place, value)
    if fold(place.field or "") in FLAGS:
        return _answer(place, text)
    return LABELS.get(text.strip().lower(), text)


def _answer(place: Place, text: str) -> str:
    """Return the label of a row that says whether it is harmful."""
    known = {**ANSWERS, **LABELS}
    found = known.get(text.strip().lower().removesuffix(".0"))
    if found is None:
        raise place.error(f"{shown(text)} does not say whether it is.", "Use true or false.")
    return found


def _split(place: Place, value: Any) -> str:
    name = SPLIT_NAMES.get(_text(place, value).strip().lower())
    if name is None:
        raise place.error(f"the split {shown(value)} is unknown.", f"Use {', '.join(SPLITS)}.")
    return name


def _scalar(place: Place, value: Any) -> str:
    """Return a tag as text; many files number their labels, categories and goals."""
    return str(value) if isinstance(value, bool | int | float) else _text(place, value)


def _meta(place: Place, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise place.error(f"this must be an object, not {type(value).__name__}.")
    return value


def _messages(place: Place, value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise place.error("this must be a list of turns.")
    turns = []
    for number, turn in enumerate(value):
        try:
            turns.append(Message.from_json(_turn(turn)))
        except DataError as error:
            raise place.error(f"turn {number}: {error.message}", error.fix) from None
    if sum(len(turn.content) for turn in turns) > MAX_PROMPT_CHARS:
        raise place.error(f"the chat has more than {MAX_PROMPT_CHARS:,} characters.")
    return tuple(turns)


def _turn(turn: Any) -> Any:
    if isinstance(turn, Mapping) and {"from", "value"} <= turn.keys():
        role = turn["from"]
        return {"role": TURN_ROLES.get(str(role), role), "content": turn["value"]}
    return turn


READ: Final[dict[str, Callable[[Place, Any], Any]]] = {
    "id": _id,
    "text": _prompt,
    "messages": _messages,
    "label": _label,
    "split": _split,
    "meta": _meta,
    "category": _scalar,
    "style": _scalar,
    "goal_id": _id,
    "pair_id": _id,
}
