"""Debatable questions with the perspectives on them, and settled questions to compare with.

A perspective is one view on the question in a sentence, and a paragraph that explains it from
inside (a "partial answer" of DebateQA, arXiv:2408.01419). Documents are what a model may be given
to read with the question.

Traps this file exists for:
  - ids are numbers in the published files and words in others: here an id is always text;
  - a question without perspectives cannot be scored and must still be counted: it is kept, and so
    has () for perspectives; a row that lacks the field is an error;
  - a settled question has no perspectives by right; its label says so;
  - the same question occurs twice in public files, even in two splits: such rows share a goal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from theodolite.data.aliases import SPLIT_NAMES, fold
from theodolite.data.prompts import Prompt, PromptSet, check_text, shown
from theodolite.data.readers import MAX_PROMPT_CHARS
from theodolite.data.records import Place, Record, read_records
from theodolite.data.responses import read_responses
from theodolite.errors import ConfigError, DataError
from theodolite.text.normalise import normalise
from theodolite.text.suggest import did_you_mean

SET: Final = "debateqa"
DEBATABLE: Final = "debatable"
SETTLED: Final = "settled"
CONTESTED: Final = "contested"  # settled by science, popularly disputed
LABELS: Final = (DEBATABLE, SETTLED, CONTESTED)
FOR: Final = "for"
AGAINST: Final = "against"
OTHER: Final = "other"
PARTIAL_ANSWERS: Final = "partial_answers"
DOCS: Final = "docs"
EXPLANATION: Final = "explanation"
POV_AND_EXPLANATION: Final = "pov+explanation"
TARGETS: Final = (EXPLANATION, POV_AND_EXPLANATION)
# Column -> the names it may have, in order of preference; every other column goes to `meta`.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "question_id"),
    "text": ("question", "text", "prompt", "query"),
    "label": ("label",),
    "goal_id": ("goal_id",),
    "source": ("source",),
    "category": ("category", "topic"),
    "split": ("split",),
    "language": ("language",),
}

_Part = TypeVar("_Part", "Perspective", "Document")


@dataclass(frozen=True)
class Perspective:
    """One view on a debatable question.

    Args:
        point_of_view: the view in one sentence.
        explanation: a paragraph from inside that view.
        stance: the side it takes, e.g. "for" or "against"; None where nobody labelled it.
        meta: every other field of its record, e.g. `paraphrases` of the point of view.

    Raises: DataError: a text is missing, empty or not usable.
    """

    point_of_view: str
    explanation: str
    stance: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_filled(self, "point_of_view", "explanation", optional=("stance",))

    def target(self, what: str = EXPLANATION) -> str:
        """Return the text a scoring model is to predict.

        Args:
            what: `explanation`, or `pov+explanation`: the point of view as a sentence before it.

        Raises: ConfigError: there is no such target.
        """
        if what not in TARGETS:
            raise ConfigError(
                f"There is no target {shown(what)} of a perspective.",
                fix=did_you_mean(what, TARGETS),
            )
        explanation = self.explanation.strip()
        if what == EXPLANATION:
            return explanation
        return f"{as_sentence(self.point_of_view)} {explanation}"

    def to_json(self) -> dict[str, Any]:
        """Return its record; `from_json` reads it back."""
        side = {} if self.stance is None else {"stance": self.stance}
        texts = {"point_of_view": self.point_of_view, "explanation": self.explanation}
        return {**texts, **side, **self.meta}

    @classmethod
    def from_json(cls, record: Any) -> Perspective:
        """Read one partial answer."""
        return _part(cls, record, ("point_of_view", "explanation"), ("stance",))


@dataclass(frozen=True)
class Document:
    """A text that a model may be given to read with a question.

    Args:
        title: its heading.
        text: its words.
        stance: the side it takes; None where nobody labelled it.
        id: of the document; None where it has none.
        meta: every other field of its record, e.g. a link.

    Raises: DataError: a text is missing, empty or not usable.
    """

    title: str
    text: str
    stance: str | None = None
    id: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_filled(self, "title", "text", optional=("stance", "id"))

    @classmethod
    def from_json(cls, record: Any) -> Document:
        """Read one document."""
        return _part(cls, record, ("title", "text"), ("stance", "id"))


def as_sentence(text: str) -> str:
    """Return text with a full stop after it, unless it ends in one, or in ! or ?."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def perspectives_of(prompt: Prompt) -> tuple[Perspective, ...]:
    """Return the perspectives on a question, in order; () where it has none.

    Raises: DataError: one of them cannot be used.
    """
    return _parts(prompt, PARTIAL_ANSWERS, Perspective.from_json)


def documents_of(prompt: Prompt) -> tuple[Document, ...]:
    """Return the documents that come with a question, in order; () where there is none.

    Raises: DataError: one of them cannot be used.
    """
    return _parts(prompt, DOCS, Document.from_json)


def read_debates(path: Path | str) -> PromptSet:
    """Return the questions of a file with their perspectives in `meta["partial_answers"]`.

    Args:
        path: rows with id, question and partial_answers, as DebateQA publishes them (JSON lines or
            one JSON list); a stance of each partial answer, docs and any other field are optional.
            Rows that `PromptSet.write` made are read too. A row without a label is debatable;
            settled and contested rows need no partial answers.

    Returns: prompts in file order; `goal_id` is equal for rows of one question.

    Raises:
        DataError: an id occurs twice, or a field is missing, empty or of the wrong type; names
            file, line and field.
    """
    path = Path(path)
    rows = ((record.line, _row(path, record)) for record in read_records(path))
    return debate_set(path.stem, path, rows)


def read_generations(path: Path | str) -> dict[str, str]:
    """Return the answers of a file, question id -> answer, in file order.

    Args:
        path: rows with `id` and `generation`, as DebateQA's scripts take them (or `completion`).

    Raises:
        DataError: an answer is missing or not text (names file, line and field), or a question is
            answered twice.
    """
    path = Path(path)
    answers: dict[str, str] = {}
    for response in read_responses(path):
        if response.id in answers:
            raise Place(path).error(
                f"the question {shown(response.id)} is answered twice.",
                "Keep one answer to a question, of one model, in a file.",
            )
        answers[response.id] = response.completion
    return answers


def debate_set(name: str, path: Path, rows: Iterable[tuple[int, Prompt]]) -> PromptSet:
    """Return the questions of a file as a set in which rows of one question share a goal.

    Args:
        rows: line and prompt of each; a prompt that names its goal keeps it.

    Raises: DataError: an id occurs twice; names file and line.
    """
    lines: dict[str, int] = {}
    goals: dict[str, str] = {}
    kept = []
    for line, prompt in rows:
        if prompt.id in lines:
            place = Place(path, line, "id")
            raise place.error(
                f"the id {shown(prompt.id)} is already used on {place.unit} {lines[prompt.id]}.",
                "Give every question its own id.",
            )
        lines[prompt.id] = line
        own = prompt.goal_id or prompt.id
        shared = goals.setdefault(normalise(prompt.request, lower=True), own)
        kept.append(replace(prompt, goal_id=prompt.goal_id or shared))
    return PromptSet(name, tuple(kept), path.name)


def _row(path: Path, record: Record) -> Prompt:
    place = Place(path, record.line)
    values = dict(record.values)
    own = values.pop("meta", None) or {}
    if not isinstance(own, Mapping):
        raise place._replace(field="meta").error("this must be an object.")
    header = {fold(name): name for name in values}
    found: dict[str, Any] = {}
    for name, aliases in COLUMNS.items():
        column = next((header[alias] for alias in aliases if alias in header), None)
        value = None if column is None else values.pop(column)
        if value is not None and value != "":
            found[name] = _text(place._replace(field=column), name, value)
    for name, called in (("id", "id"), ("text", "question")):
        if name not in found:
            raise place._replace(field=called).error(f"the {called} is missing.", "Add it.")
    found.setdefault("label", DEBATABLE)
    found.setdefault("source", path.stem)
    meta = {**own, **{name: value for name, value in values.items() if value is not None}}
    if found["label"] == DEBATABLE or PARTIAL_ANSWERS in meta:
        read = _listed(place, PARTIAL_ANSWERS, meta, Perspective.from_json)
        meta[PARTIAL_ANSWERS] = [perspective.to_json() for perspective in read]
    if DOCS in meta:
        _listed(place, DOCS, meta, Document.from_json)
    return Prompt(**found, meta=meta)


def _text(place: Place, name: str, value: Any) -> str:
    if name in ("id", "goal_id") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise place.error(f"this must be text, not {type(value).__name__}.")
    if not value.strip():
        raise place.error("the text is empty.")
    if len(value) > MAX_PROMPT_CHARS:
        raise place.error(f"the text has {len(value):,} characters, too many to use.")
    if name == "label" and value not in LABELS:
        raise place.error(f"the label {shown(value)} is unknown.", f"Use {', '.join(LABELS)}.")
    return split_named(place, value) if name == "split" else value


def split_named(place: Place, value: Any) -> str:
    """Return the split that a row's word for it means, e.g. val for dev."""
    split = SPLIT_NAMES.get(str(value).strip().lower())
    if split is None:
        raise place.error(f"the split {shown(value)} is unknown.", "Use train, val or test.")
    return split


def _listed(
    place: Place, name: str, meta: Mapping[str, Any], read: Callable[[Any], _Part]
) -> list[_Part]:
    """Return what a row lists under a name; errors say which of them is wrong."""
    if name not in meta:
        raise place._replace(field=name).error(
            "the field is missing.", "Give a list of objects; [] for a question that has none."
        )
    if not isinstance(meta[name], list):
        raise place._replace(field=name).error("this must be a list of objects.")
    found = []
    for number, item in enumerate(meta[name]):
        try:
            found.append(read(item))
        except DataError as error:
            problem = error.message[:1].lower() + error.message[1:]
            raise place._replace(field=f"{name}[{number}]").error(problem, error.fix) from None
    return found


def _parts(prompt: Prompt, name: str, read: Callable[[Any], _Part]) -> tuple[_Part, ...]:
    found = prompt.meta.get(name) or []
    try:
        if not isinstance(found, list | tuple):
            raise DataError(f"The field {name!r} must be a list of objects.")
        return tuple(read(item) for item in found)
    except DataError as error:
        problem = error.message[:1].lower() + error.message[1:]
        where = f"In the prompt {shown(prompt.id)}, {name}: "
        raise DataError(where + problem, fix=error.fix) from None


def _part(
    kind: type[_Part], record: Any, needed: tuple[str, ...], optional: tuple[str, ...]
) -> _Part:
    if not isinstance(record, Mapping):
        raise DataError(f"This must be an object with {' and '.join(needed)}.")
    for name in needed:
        if record.get(name) is None:
            raise DataError(f"The field {name!r} is missing.")
    texts = {name: record[name] for name in needed}
    texts |= {name: record[name] for name in optional if record.get(name) not in (None, "")}
    if isinstance(texts.get("id"), int) and not isinstance(texts["id"], bool):
        texts["id"] = str(texts["id"])
    rest = {key: value for key, value in record.items() if key not in (*needed, *optional)}
    return kind(**texts, meta=rest)


def _check_filled(part: Any, *names: str, optional: tuple[str, ...]) -> None:
    for name in (*names, *optional):
        value = getattr(part, name)
        if value is None and name in optional:
            continue
        check_text(name, value)
        if not value.strip():
            raise DataError(f"The field {name!r} is empty.")
