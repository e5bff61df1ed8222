"""Training rows: one request, what a model is to say to it, and what else decides its use.

Every row states its goal and its split, so that no goal can stand on both sides of a measurement.
Files are read strictly: a wrong row is one sentence with file, line and field, never skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from theodolite.data.aliases import ALIASES, LABELS, SPLIT_NAMES, fold
from theodolite.data.forced_replies import REFUSAL, REPLY
from theodolite.data.goal_splits import Placed, refuse_goals_in_two_splits
from theodolite.data.prompts import BENIGN, HARMFUL, SPLITS, Prompt, PromptSet, check_text, shown
from theodolite.data.readers import MAX_PROMPT_CHARS
from theodolite.data.records import Place, Record, read_records
from theodolite.data.styles import PLAIN
from theodolite.errors import DataError
from theodolite.runs.atomic import write_text
from theodolite.text.suggest import nearest

Label = Literal["harmful", "benign"]
LABELLED: Final = (HARMFUL, BENIGN)
OPEN: Final = "open"


@dataclass(frozen=True)
class TrainingRow:
    """One request and the answer a model is trained to give.

    Args:
        id: unique among the rows of a training.
        goal_id: what is asked for; equal for all wordings and styles of one goal.
        split: train, val or test; only train rows are trained on.
        label: harmful or benign.
        style: the wrapper the request stands in; `plain` is the bare request.
        source: the collection it came from.
        text: the user turn as sent.
        target: what the assistant is to say; None where the label itself is the target.
        rejected: what it is not to say (preference training); None without a preference.
        hazard: the kind of harm, which a label target may name.
        turn: `open` where the target is only the beginning of an answer, so that nothing is learnt
            about where the answer ends; None ends the assistant's turn after the target.
        begun: how the assistant's turn begins already; it is read as part of the prompt, and
            answers go on from its last character.
        ranked: answers, best to worst (listwise preferences); None without any.

    Raises:
        DataError: a field is missing, empty or not of its type.
    """

    id: str
    goal_id: str
    split: str
    label: Label
    style: str
    source: str
    text: str
    target: str | None = None
    rejected: str | None = None
    hazard: str | None = None
    turn: str | None = None
    begun: str | None = None
    ranked: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in FIELDS:
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            if name == "ranked" and not isinstance(value, tuple):
                raise DataError("The field 'ranked' is no list of answers.")
            for text in value if name == "ranked" else (value,):
                check_text(name, text)
                if not text.strip():
                    raise DataError(f"The field {name!r} is empty.")
        if self.ranked is not None and len(set(self.ranked)) < max(2, len(self.ranked)):
            raise DataError(
                "The field 'ranked' is no order of different answers.",
                fix="Give at least two answers, no two of them equal, best to worst.",
            )
        if self.label not in LABELLED:
            raise DataError(
                f"The field 'label' is {shown(self.label)}.", fix=f"Use {' or '.join(LABELLED)}."
            )
        if self.split not in SPLITS:
            raise DataError(
                f"The field 'split' is {shown(self.split)}.", fix=f"Use {', '.join(SPLITS)}."
            )
        if self.turn not in (None, OPEN):
            raise DataError(
                f"The field 'turn' is {shown(self.turn)}.", fix=f"Use {OPEN}, or leave it out."
            )

    @property
    def harmful(self) -> bool:
        """Whether the request asks for harm."""
        return self.label == HARMFUL

    def to_json(self) -> dict[str, Any]:
        """Return a JSON record of the fields that are set."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return values if self.ranked is None else {**values, "ranked": list(self.ranked)}


FIELDS: Final = tuple(f.name for f in fields(TrainingRow))
OPTIONAL: Final = frozenset({"target", "rejected", "hazard", "turn", "begun", "ranked"})
# Field -> the names it may have in a file, in order of preference.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "row_id", "prompt_id", "uid"),
    "goal_id": ("goal_id", "goal"),
    "split": ("split",),
    "label": ("label", "harm_label", "harmful"),
    "style": ALIASES["style"],
    "source": ALIASES["source"],
    "text": ("text", "prompt", "instruction", "request", "question"),
    "target": ("target", "chosen", "completion", "response", "answer"),
    "rejected": ("rejected",),
    "hazard": ("hazard", "hazard_label", "category"),
    "turn": ("turn",),
    "begun": ("begun",),
    "ranked": ("ranked",),
}


def read_rows(path: Path | str, method: str | None = None) -> list[TrainingRow]:
    """Return the training rows of a file, in file order.

    Args:
        method: rows that this method cannot use are refused; None reads them all.
        path: a .jsonl, .json, .csv, .tsv or .parquet file with the fields of `TrainingRow` under
            their names or the aliases of `COLUMNS`. Without an id, rows are numbered; without a
            style they are plain; without a source they carry the file's name. Ranked answers are a
            list, which tables of text cannot hold.

    Raises:
        DataError: the file cannot be read, a row is wrong (names file, line and field), an id
            occurs twice, or a goal stands in two splits.
    """
    path = Path(path)
    rows: list[TrainingRow] = []
    lines: dict[str, int] = {}
    for number, record in enumerate(read_records(path)):
        row = _row(path, number, record, method)
        first = lines.setdefault(row.id, record.line)
        if len(lines) == number:
            place = Place(path, record.line, "id")
            raise place.error(
                f"the id {shown(row.id)} is already used on {place.unit} {first}.",
                "Give every row its own id.",
            )
        rows.append(row)
    refuse_leaking_rows(rows, shown(path))
    return rows


def check_method(row: TrainingRow, method: str) -> None:
    """Refuse a row whose begun turn or ranked answers do not go with a method.

    Raises: DataError: names the row and the field.
    """
    if row.ranked is None and method == "listwise":
        raise DataError(
            f"Row {shown(row.id)} has no ranked answers, and listwise needs them.",
            fix="Add the field 'ranked': a list of answers, best to worst.",
        )
    if row.ranked is not None and method != "listwise":
        raise DataError(
            f"Row {shown(row.id)} has ranked answers, and {method} has no use for them.",
            fix="Use method = \"listwise\", or leave the field 'ranked' out.",
        )
    if row.begun is not None and method == "ssft-label":
        raise DataError(
            f"Row {shown(row.id)} has a begun turn, and a moderator's word begins its own.",
            fix="Leave the field 'begun' out, or use another method.",
        )


def rows_of(prompts: PromptSet) -> list[TrainingRow]:
    """Return the prompts of a set as training rows.

    Target, rejected answer and hazard are taken from `meta`; the hazard else is the category, and
    the target else the refusal that comes with a harmful request, or the reply to a benign one.

    Raises:
        DataError: a prompt is a chat, or lacks the label, goal or split that a row needs.
    """
    rows = [_of_prompt(prompt, prompts.name) for prompt in prompts]
    refuse_leaking_rows(rows, f"The prompt set {shown(prompts.name)}")
    return rows


def write_rows(path: Path | str, rows: Iterable[TrainingRow]) -> Path:
    """Write one JSON record per line (UTF-8); `read_rows` gives the same rows back."""
    target = Path(path)
    write_text(target, "".join(json.dumps(r.to_json(), ensure_ascii=False) + "\n" for r in rows))
    return target


def refuse_leaking_rows(rows: Sequence[TrainingRow], what: str) -> None:
    """Refuse rows in which a goal, or the very same request, stands in two splits.

    Raises: DataError: says how many do, and names the first.
    """
    refuse_goals_in_two_splits((Placed(r.id, r.goal_id, r.split) for r in rows), what)
    seen: dict[str, TrainingRow] = {}
    for row in rows:
        first = seen.setdefault(" ".join(row.text.split()).casefold(), row)
        if first.split != row.split:
            raise DataError(
                f"{what}: the request of row {shown(row.id)} ({row.split}) is also that of row "
                f"{shown(first.id)} ({first.split}).",
                fix="Give equal requests one goal, in one split.",
            )


def _row(path: Path, number: int, record: Record, method: str | None) -> TrainingRow:
    place = Place(path, record.line)
    columns = _columns(place, record)
    values: dict[str, Any] = {}
    for name, column in columns.items():
        value = record.values[column]
        if value is None or value == "":
            continue
        values[name] = _value(place._replace(field=column), name, value)
    values.setdefault("id", f"{path.stem}/{number}")
    values.setdefault("style", PLAIN)
    values.setdefault("source", path.stem)
    missing = [name for name in FIELDS if name not in values and name not in OPTIONAL]
    if missing:
        raise place._replace(field=columns.get(missing[0], missing[0])).error(
            "the value is missing.", _near(missing[0], record.values)
        )
    try:
        row = TrainingRow(**values)
        if method is not None:
            check_method(row, method)
        return row
    except DataError as error:
        problem = error.message[:1].lower() + error.message[1:]
        raise place.error(problem, error.fix) from None


def _columns(place: Place, record: Record) -> dict[str, str]:
    """Return field -> column; other columns are left alone, unless one is a misspelt field."""
    header = {fold(name): name for name in record.values}
    found = {
        name: next(header[alias] for alias in aliases if alias in header)
        for name, aliases in COLUMNS.items()
        if not header.keys().isdisjoint(aliases)
    }
    if not header.keys().isdisjoint(ALIASES["messages"]):
        raise place.error(
            "training rows are single requests, and this one is a chat.",
            "Give the request as 'text' and the answer as 'target'.",
        )
    known = {alias for aliases in COLUMNS.values() for alias in aliases}
    for name in header.keys() - known:
        near = nearest(name, OPTIONAL - found.keys())
        if near is not None:
            raise place._replace(field=header[name]).error(
                "the field is unknown.", f"Rename it to {near!r}, or leave it out."
            )
    return found


def _near(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"Rename {shown(near)} to {name!r}." if near else f"Add {name!r} to every row."


def _value(place: Place, name: str, value: Any) -> str | tuple[str, ...]:
    if name == "ranked":
        if not isinstance(value, list):
            raise place.error("this must be a list of answers, best to worst.")
        return tuple(_text(place, name, answer) for answer in value)
    return _text(place, name, value)


def _text(place: Place, name: str, value: Any) -> str:
    if name == "label":
        return _label(place, value)
    if name in ("id", "goal_id", "hazard") and isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise place.error(f"this must be text, not {type(value).__name__}.")
    if len(value) > MAX_PROMPT_CHARS:
        raise place.error(
            f"the text has {len(value):,} characters, more than {MAX_PROMPT_CHARS:,}."
        )
    if name == "split":
        known = SPLIT_NAMES.get(value.strip().lower())
        if known is None:
            raise place.error(f"the split {shown(value)} is unknown.", f"Use {', '.join(SPLITS)}.")
        return known
    return value


def _label(place: Place, value: Any) -> str:
    """Return harmful or benign; public files also write safe and unsafe, or a truth value."""
    truths = {"true": HARMFUL, "false": BENIGN, "1": HARMFUL, "0": BENIGN}
    word = str(value).strip().lower()
    known = LABELS.get(word) or (truths.get(word) if fold(place.field or "") == "harmful" else None)
    if known is None:
        raise place.error(f"the label {shown(value)} is unknown.", f"Use {' or '.join(LABELLED)}.")
    return known


def _of_prompt(prompt: Prompt, name: str) -> TrainingRow:
    where = f"Prompt {shown(prompt.id)} of {shown(name)}"
    if prompt.text is None:
        raise DataError(f"{where} is a chat.", fix="Training rows are single requests.")
    needed = {"label": prompt.label, "goal_id": prompt.goal_id, "split": prompt.split}
    for field_name, value in needed.items():
        if value is None:
            raise DataError(f"{where} has no {field_name}.", fix="A training row needs one.")
    extra = {key: prompt.meta.get(key) for key in OPTIONAL}
    said = prompt.meta.get(REFUSAL if prompt.label == HARMFUL else REPLY)
    extra["target"] = extra["target"] or said
    if isinstance(extra["ranked"], list):  # a tuple, once it was JSON
        extra["ranked"] = tuple(extra["ranked"])
    extra["hazard"] = extra["hazard"] or (prompt.category if prompt.label == HARMFUL else None)
    try:
        return TrainingRow(
            id=prompt.id,
            goal_id=str(prompt.goal_id),
            split=str(prompt.split),
            label=prompt.label,  # type: ignore[arg-type]
            style=prompt.style or PLAIN,
            source=prompt.source or name,
            text=prompt.text,
            **extra,
        )
    except DataError as error:
        raise DataError(f"{where}: {error.message}", fix=error.fix) from None
