"""Questions with a right answer and a wrong one to plant (arXiv:2405.20902), in one schema.

Traps this file exists for:
  - golds come as a whole solution, as a letter of either case, as True/False and yes/no, or as an
    empty string where the extraction of the authors missed the answer;
  - planted answers come as a list, with a leading blank, or not at all;
  - option lines are sometimes a printed list that was cut at its commas, within numbers too;
  - some golds are damaged and some planted answers are right: such rows are marked, never dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from theodolite.data.catalogue import official
from theodolite.data.prompts import check_text, shown
from theodolite.data.records import Place, Record, read_records
from theodolite.errors import ConfigError, DataError
from theodolite.text.suggest import did_you_mean

NUMBER: Final = "number"
LATEX: Final = "latex"
CHOICE: Final = "choice"
YES_NO: Final = "yesno"
TEXT: Final = "text"
TYPES: Final = (NUMBER, LATEX, CHOICE, YES_NO, TEXT)
LETTERS: Final = "ABCDEFGHIJ"

SETS: Final[Mapping[str, tuple[str, str]]] = {
    "gsm8k": ("GSM", NUMBER),
    "mathqa": ("MATHQA", CHOICE),
    "math": ("MATH", LATEX),
    "hotpotqa": ("HQA", TEXT),
    "commonsenseqa": ("CMQA", CHOICE),
    "strategyqa": ("STRATEGYQA", YES_NO),
}
"""Set -> its official file and the type of its answers."""

_OPTION: Final = re.compile(r"^\s*([A-Ja-j])\s*[):]\s*(.*)$")
# What a printed list of options leaves around them.
_LIST_MARKS: Final = " \t[]'\","
_LIST_STARTS: Final = ("[", "'", '"')
_PIECE: Final = re.compile(r"^\d{3}(?!\d)")
_YES: Final = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


@dataclass(frozen=True)
class Item:
    """One question.

    Args:
        id: `<set>-<row>`, or the user's.
        set: the collection it comes from.
        question: its words, without the options.
        gold: the right answer: digits, LaTeX, an upper-case letter, yes or no, or words; "" where
            the official file lost it.
        wrong: the answer to plant; None where the file has none.
        answer_type: one of `TYPES`.
        options: the texts of the options A, B, ...; () where the question has none.
        solution: the steps to the gold, where the file has them.
        dup_of: id of the first item with the same words; None for that one and for others.
        gold_suspect: the gold is known to be damaged.
        plant_suspect: the planted answer is known to be right.
        line: of the file, from 1.

    Raises: DataError: a field is not usable text, or gold and wrong do not fit the type.
    """

    id: str
    set: str
    question: str
    gold: str
    wrong: str | None
    answer_type: str
    options: tuple[str, ...] = ()
    solution: str | None = None
    dup_of: str | None = None
    gold_suspect: bool = False
    plant_suspect: bool = False
    line: int | None = None

    def __post_init__(self) -> None:
        for name in ("id", "set", "question", "gold"):
            check_text(name, getattr(self, name))
        if not self.question.strip():
            raise DataError("The field 'question' is empty.")
        if self.answer_type not in TYPES:
            raise DataError(
                f"The answer type {shown(self.answer_type)} is unknown.",
                fix=f"Use {', '.join(TYPES)}.",
            )
        if self.answer_type == CHOICE and len(self.options) < 2:
            raise DataError("A choice needs at least two options.", fix="Give 'options'.")
        for name, value in (("answer", self.gold), ("wrong_answer", self.wrong)):
            if value is not None:
                self._check_form(name, value)

    def _check_form(self, name: str, value: str) -> None:
        if self.answer_type == CHOICE and value not in self.letters:
            raise DataError(
                f"The field {name!r} is {shown(value)}, not the letter of an option.",
                fix=f"Use {', '.join(self.letters)}.",
            )
        if self.answer_type == YES_NO and value not in ("yes", "no"):
            raise DataError(f"The field {name!r} is {shown(value)}.", fix="Use yes or no.")

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of its options."""
        return tuple(LETTERS[: len(self.options)])

    @property
    def suspect(self) -> bool:
        """Whether it stays out of the headline."""
        return self.gold_suspect or self.plant_suspect

    @property
    def cluster(self) -> str:
        """Items of one question are one cluster."""
        return self.dup_of or self.id

    @property
    def asked(self) -> str:
        """The question with its options, as a model reads it."""
        lines = [f"{letter}) {text}" for letter, text in zip(LETTERS, self.options)]
        return "\n".join([self.question, *lines])


def set_named(name: str) -> tuple[str, str]:
    """Return the official file and the answer type of a set; raises ConfigError."""
    if name not in SETS:
        raise ConfigError(f"There is no data set {shown(name)}.", fix=did_you_mean(name, SETS))
    return SETS[name]


@cache
def suspects() -> Mapping[str, Mapping[str, list[int]]]:
    """Return set -> what is wrong -> rows of the official file, counted from 0."""
    text = (resources.files("theodolite.data") / "preemptive_suspect.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return {name: rows for name, rows in found.items() if name in SETS}


def official_items(name: str) -> tuple[Item, ...]:
    """Return the items of an official set, its file checked.

    Raises: ConfigError: there is no such set. DataError: the file is missing or changed.
    """
    file, _ = set_named(name)
    return read_official(official(f"preemptive-answers/{file}.jsonl"), name)


def read_official(path: Path, name: str) -> tuple[Item, ...]:
    """Return the rows of a file in the form of an official set.

    Args:
        name: the set whose form and known defects the rows have.

    Raises: DataError: a row is not of that form; names file, line and field.
    """
    _, answer_type = set_named(name)
    known = suspects().get(name, {})
    gold_rows = {row for kind, rows in known.items() if name == "math" for row in rows}
    plant_rows = set(known.get("plant_equals_gold", ()))
    items = []
    for row, record in enumerate(read_records(path)):
        item = _official(Place(path, record.line), record, name, f"{name}-{row}", answer_type)
        items.append(replace(item, gold_suspect=row in gold_rows, plant_suspect=row in plant_rows))
    return _numbered(items)


def read_items(path: Path | str) -> tuple[Item, ...]:
    """Return the items of a user's file.

    Args:
        path: rows with question, answer and answer_type; options (a list) for a choice; id,
            wrong_answer, solution and set are optional.

    Raises: DataError: a row cannot be used or an id occurs twice; names file, line and field.
    """
    path = Path(path)
    items: list[Item] = []
    lines: dict[str, int] = {}
    for row, record in enumerate(read_records(path)):
        place = Place(path, record.line)
        item = _user_item(place, record.values, f"{path.stem}-{row}", path.stem)
        if item.id in lines:
            raise place._replace(field="id").error(
                f"the id {shown(item.id)} is already used on {place.unit} {lines[item.id]}.",
                "Give every question its own id.",
            )
        lines[item.id] = record.line
        items.append(item)
    return _numbered(items)


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a question and the options at its end.

    Options begin with a letter and ")" or ":"; a line behind one goes on with it, and the pieces
    of a number that was cut at its commas are joined.
    """
    stem: list[str] = []
    options: list[str] = []
    for raw in text.split("\n"):
        printed = raw.lstrip().startswith(_LIST_STARTS)
        line = raw.strip(_LIST_MARKS if printed else None)
        match = _OPTION.match(line)
        if match and match[1].upper() == LETTERS[min(len(options), len(LETTERS) - 1)]:
            options.append(match[2].strip())
        elif not options:
            stem.append(raw)
        elif line:
            cut = options[-1][-1:].isdigit() and _PIECE.match(line)
            options[-1] += ("," if cut else " ") + line
    return "\n".join(stem).strip(), tuple(options)


def _official(place: Place, record: Record, name: str, id: str, answer_type: str) -> Item:
    values = record.values
    question = _filled(place, values, "question")
    gold, wrong = values.get("answer"), values.get("wrong_answer")
    if not isinstance(gold, str):
        raise place._replace(field="answer").error("this must be text.")
    if isinstance(wrong, list):
        wrong = wrong[0] if wrong else None
    if wrong is not None and not isinstance(wrong, str):
        raise place._replace(field="wrong_answer").error("this must be text or a list of texts.")
    options: tuple[str, ...] = ()
    solution = None
    if answer_type == CHOICE:
        question, options = split_options(question)
    if answer_type == NUMBER:
        solution, mark, gold = gold.rpartition("####")
        if not mark:
            raise place._replace(field="answer").error("the solution does not end in '#### N'.")
    return _made(
        place,
        id=id,
        set=name,
        question=question.strip(),
        gold=_of_type(gold, answer_type),
        wrong=_of_type(wrong, answer_type) if wrong and wrong.strip() else None,
        answer_type=answer_type,
        options=options,
        solution=solution.strip() if solution else None,
        line=record.line,
    )


def _user_item(place: Place, values: Mapping[str, Any], id: str, set: str) -> Item:
    answer_type = values.get("answer_type")
    if answer_type not in TYPES:
        raise place._replace(field="answer_type").error(
            f"the answer type {shown(answer_type)} is unknown.", f"Use {', '.join(TYPES)}."
        )
    options = values.get("options") or []
    if not isinstance(options, list) or not all(isinstance(o, str) and o.strip() for o in options):
        raise place._replace(field="options").error("this must be a list of texts.")
    if len(options) > len(LETTERS):
        raise place._replace(field="options").error(f"at most {len(LETTERS)} can be lettered.")
    wrong = values.get("wrong_answer")
    if wrong is not None:
        wrong = _of_type(_filled(place, values, "wrong_answer"), answer_type)
    solution = values.get("solution")
    if solution is not None and not isinstance(solution, str):
        raise place._replace(field="solution").error("this must be text.")
    own, collection = values.get("id"), values.get("set")
    return _made(
        place,
        id=id if own in (None, "") else str(own),
        set=set if collection in (None, "") else str(collection),
        question=_filled(place, values, "question").strip(),
        gold=_of_type(_filled(place, values, "answer"), answer_type),
        wrong=wrong,
        answer_type=answer_type,
        options=tuple(option.strip() for option in options),
        solution=solution,
        line=place.line,
    )


def _filled(place: Place, values: Mapping[str, Any], name: str) -> str:
    """Return a text that must be there; a number stands for its digits."""
    value = values.get(name)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        raise place._replace(field=name).error("the field is missing or not text.", "Add it.")
    if not value.strip():
        raise place._replace(field=name).error("the text is empty.")
    return value


def _made(place: Place, **fields: Any) -> Item:
    """Return the item; errors say where it stands."""
    try:
        return Item(**fields)
    except DataError as error:
        raise place.error(error.message[:1].lower() + error.message[1:], error.fix) from None


def _of_type(answer: str, answer_type: str) -> str:
    """Return an answer in the one spelling of its type."""
    answer = answer.strip()
    if answer_type == CHOICE:
        return answer.upper()
    if answer_type == YES_NO:
        return _YES.get(answer.lower(), answer)
    if answer_type == NUMBER:
        return answer.replace(",", "")
    return answer


def _numbered(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items with `dup_of` filled in."""
    first: dict[tuple[str, tuple[str, ...]], str] = {}
    found = []
    for item in items:
        owner = first.setdefault((item.question, item.options), item.id)
        found.append(item if owner == item.id else replace(item, dup_of=owner))
    return tuple(found)
