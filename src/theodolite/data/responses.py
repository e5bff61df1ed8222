"""Read completions made elsewhere: `theodolite eval NAME --responses FILE`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from theodolite.data.aliases import ALIASES, COMPLETION, fold
from theodolite.data.prompts import Prompt, check_text, shown
from theodolite.data.records import Place, Record, read_records
from theodolite.errors import DataError
from theodolite.text.suggest import did_you_mean, nearest

MAX_COMPLETION_CHARS: Final = 1_000_000
# Field -> the names it may have; annotators are the columns annotator_1, annotator_2, ...
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "prompt_id", "question_id", "index", "uuid"),
    "completion": COMPLETION,
    "prompt": ALIASES["text"],
    "sample": ("sample", "sample_id", "attempt"),
    "model": ("model", "model_name", "generator"),
    "label": ALIASES["label"],
    "annotators": ("annotators", "annotations"),
}


@dataclass(frozen=True)
class Response:
    """One completion of one prompt.

    Args:
        id: the id of the prompt it answers.
        completion: what the model wrote; may be empty.
        prompt: what it was asked, where the file says so.
        sample: which of several completions of the same prompt by the same model, from 0.
        model: who wrote it.
        label: the agreed human label of the completion, e.g. "refusal".
        annotators: the labels of the single annotators, in order.
        meta: every other field of its record.
    """

    id: str
    completion: str
    prompt: str | None = None
    sample: int = 0
    model: str | None = None
    label: str | None = None
    annotators: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ResponseSet:
    """The completions of a file, in file order; no (id, sample, model) occurs twice."""

    name: str
    responses: tuple[Response, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.responses)

    def __iter__(self) -> Iterator[Response]:
        return iter(self.responses)

    def __getitem__(self, row: int) -> Response:
        return self.responses[row]

    def for_prompts(self, prompts: Iterable[Prompt]) -> dict[str, tuple[Response, ...]]:
        """Return the completions of every prompt; () where there is none, so that it is counted.

        A completion belongs to the prompt of its id; where that id is not in the set, to the one
        prompt whose text the completion's record states.

        Raises:
            DataError: a completion belongs to no prompt of the set, or states another text than
                the prompt of its id.
        """
        known = {prompt.id: prompt for prompt in prompts}
        by_text: dict[str | None, list[str]] = {}
        for prompt in known.values():
            by_text.setdefault(prompt.text, []).append(prompt.id)
        found: dict[str, list[Response]] = {key: [] for key in known}
        for response in self.responses:
            same = by_text.get(response.prompt, []) if response.prompt is not None else []
            if response.id in known:
                self._check_text(response, known[response.id])
                found[response.id].append(response)
            elif len(same) == 1:
                found[same[0]].append(response)
            else:
                raise self._stranger(response, known)
        return {key: tuple(group) for key, group in found.items()}

    def _check_text(self, response: Response, prompt: Prompt) -> None:
        if None not in {prompt.text, response.prompt} and prompt.text != response.prompt:
            raise DataError(
                f"The response {shown(response.id)} of {shown(self.name)} states another prompt "
                "than the set has under this id.",
                fix="Use the ids of the set, or leave the prompt out.",
            )

    def _stranger(self, response: Response, known: Mapping[str, Prompt]) -> DataError:
        strange = sum(r.id not in known for r in self.responses)
        return DataError(
            f"The response {shown(response.id)} of {shown(self.name)} answers no prompt of the set "
            f"({strange} of {len(self)} ids are not in it).",
            fix=did_you_mean(response.id, known),
        )


def read_responses(path: Path | str) -> ResponseSet:
    """Return the completions of a file in file order.

    Args:
        path: a file of any format of `read_records`, usually .jsonl, with the fields id and
            completion, and optionally prompt, sample, model, label and annotators (or annotator_1,
            annotator_2, ...).

    Raises:
        DataError: the file cannot be read or a row is wrong; names file, line and field.
    """
    path = Path(path)
    responses: list[Response] = []
    seen: dict[tuple[str, int, str | None], int] = {}
    for record in read_records(path):
        response = _response(path, record)
        first = seen.setdefault((response.id, response.sample, response.model), record.line)
        if len(seen) == len(responses):
            place = Place(path, record.line)
            raise place.error(
                f"sample {response.sample} of {shown(response.id)} is already on "
                f"{place.unit} {first}.",
                "Number the completions of a prompt in the field 'sample'.",
            )
        responses.append(response)
    return ResponseSet(path.stem, tuple(responses), str(path))


def _response(path: Path, record: Record) -> Response:
    place = Place(path, record.line)
    columns = _columns(place, record)
    meta = {k: v for k, v in record.values.items() if k not in columns.values() and v is not None}
    values: dict[str, Any] = {}
    for name, column in columns.items():
        value = record.values[column]
        if value is None or (value == "" and name != "completion"):
            continue
        values[name] = _value(place._replace(field=column), name, value)
    for name in ("id", "completion"):
        if name not in values:
            raise place._replace(field=columns[name]).error("the value is missing.")
    if "annotators" not in values:
        names = sorted(name for name in meta if fold(name).startswith("annotator_"))
        values["annotators"] = tuple(_value(place._replace(field=n), n, meta.pop(n)) for n in names)
    return Response(**values, meta=meta)


def _columns(place: Place, record: Record) -> dict[str, str]:
    header = {fold(name): name for name in record.values}
    found = {
        name: next(header[alias] for alias in aliases if alias in header)
        for name, aliases in COLUMNS.items()
        if not header.keys().isdisjoint(aliases)
    }
    for name in ("id", "completion"):
        if name not in found:
            near = nearest(name, record.values)
            listed = ", ".join(shown(column) for column in list(record.values)[:12]) or "none"
            raise place.error(
                f"the field {name!r} is missing (fields: {listed}).",
                f"Rename {shown(near)} to {name!r}." if near else f"Add {name!r} to every row.",
            )
    return found


def _value(place: Place, name: str, value: Any) -> Any:
    if name == "sample":
        return _count(place, value)
    if name == "annotators":
        if not isinstance(value, list):
            raise place.error(f"this must be a list of labels, not {type(value).__name__}.")
        return tuple(_value(place, "label", label) for label in value)
    if name != "completion" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise place.error(f"this must be text, not {type(value).__name__}.")
    if len(value) > MAX_COMPLETION_CHARS:
        raise place.error(
            f"the text has {len(value):,} characters, more than {MAX_COMPLETION_CHARS:,}."
        )
    check_text(name, value)
    return value


def _count(place: Place, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise place.error(f"the sample number {shown(value)} is not a count from 0.")
    return int(text)
