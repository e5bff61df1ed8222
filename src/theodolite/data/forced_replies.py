"""Requests with a reply that will be forced on a model: harmful ones, and good ones to benign ones.

Traps this file exists for:
  - a row may hold two replies of which either is the unsafe one; where both are safe there is
    nothing to force, and the row is wrong;
  - requests occur twice with other replies, so rows of one request are not independent: they
    share a goal;
  - a reply's white space is part of what the model would have written: it is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from theodolite.data.aliases import LABELS, fold
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet, check_text, shown
from theodolite.data.readers import MAX_PROMPT_CHARS
from theodolite.data.records import Place, Record, read_records
from theodolite.errors import DataError
from theodolite.text.hashing import content_key
from theodolite.text.normalise import normalise

REPLY: Final = "reply"
REFUSAL: Final = "refusal"  # what an aligned model says to such a request
SET: Final = "course_correction"
EVERYDAY: Final = "everyday"
# Column -> the names it may have, in order of preference.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "prompt_id", "uid", "index"),
    "text": ("request", "prompt", "text", "instruction", "question"),
    "reply": ("reply", "harmful_response", "harmful_reply", "response", "completion", "fhr"),
    "label": ("label",),
    "category": ("category",),
    "source": ("source",),
    "split": ("split",),
    "pair_id": ("pair_id",),
    "goal_id": ("goal_id", "dup_group"),
}
_PAIRS: Final = tuple((f"response_{i}", f"is_response_{i}_safe") for i in (0, 1))


def read_replies(path: Path | str) -> PromptSet:
    """Return the requests of a file, each with the reply to force in `meta["reply"]`.

    Args:
        path: rows with `request` and `harmful_response` (or `reply`), or rows as PKU-SafeRLHF
            writes them: `prompt`, `response_0`, `response_1` and whether each is safe; the first
            unsafe one is taken; or rows as `PromptSet.write` leaves them, with `meta.reply`. Rows
            without a label are harmful.

    Returns: prompts in file order; `goal_id` is equal for rows of one request.

    Raises:
        DataError: a row has no reply to force (both are safe), or a field is missing, empty or of
            the wrong type; names file, line and field.
    """
    path = Path(path)
    prompts = [_prompt(path, number, row) for number, row in enumerate(read_records(path))]
    return PromptSet(path.stem, tuple(prompts), path.name)


def reply_of(prompt: Prompt) -> str:
    """Return the reply to force.

    Raises: DataError: the prompt has none.
    """
    reply = prompt.meta.get(REPLY)
    if not isinstance(reply, str) or not reply.strip():
        raise DataError(
            f"The prompt {shown(prompt.id)} has no reply to force.",
            fix="Add a column 'reply' with the reply the assistant is to have begun.",
        )
    return reply


def control_replies(split: str = "test") -> PromptSet:
    """Return bundled benign requests about everyday things, with good replies."""
    return bundled(SET).filter(label=BENIGN, category=EVERYDAY, split=split)


def drawn(rows: PromptSet, limit: int | None, *, seed: int) -> PromptSet:
    """Return so many requests of each label, rows of one request together; all without a limit.

    Args:
        seed: of the choice; a smaller limit takes a part of a larger one.
    """
    if limit is None:
        return rows
    parts = [
        rows.filter(label=label).sample(limit, seed=seed, by="goal_id")
        for label in rows.values("label")
    ]
    return rows.derive(row for part in parts for row in part)


def goal_of(request: str) -> str:
    """Return the name that all rows of one request share."""
    return f"request-{content_key(normalise(request, lower=True))[:12]}"


def _prompt(path: Path, number: int, record: Record) -> Prompt:
    place = Place(path, record.line)
    header = {fold(name): name for name in record.values}
    found: dict[str, Any] = {}
    for name, aliases in COLUMNS.items():
        column = next((header[alias] for alias in aliases if alias in header), None)
        value = None if column is None else record.values[column]
        if column is None or value is None or value == "":
            continue
        found[name] = _text(place._replace(field=column), name, value)
    if "text" not in found:
        raise place._replace(field="request").error("the request is missing.", "Add it.")
    if "reply" not in found:
        meta = record.values.get("meta")
        own = meta.get(REPLY) if isinstance(meta, dict) else None  # rows as prompt sets write them
        found["reply"] = (
            _unsafe_reply(place, record)
            if own is None
            else _text(place._replace(field=f"meta.{REPLY}"), REPLY, own)
        )
    label = LABELS.get(found.get("label", HARMFUL).strip().lower())
    if label is None:
        raise place._replace(field="label").error(
            f"the label {shown(found['label'])} is unknown.", "Use harmful or benign."
        )
    return Prompt(
        id=found.get("id", f"{path.stem}/{number}"),
        text=found["text"],
        label=label,
        goal_id=found.get("goal_id") or goal_of(found["text"]),
        pair_id=found.get("pair_id"),
        source=found.get("source", path.stem),
        category=found.get("category"),
        split=found.get("split"),
        meta={REPLY: found["reply"]},
    )


def _text(place: Place, name: str, value: Any) -> str:
    if name in ("id", "goal_id", "pair_id") and isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise place.error(f"this must be text, not {type(value).__name__}.")
    if len(value) > MAX_PROMPT_CHARS:
        raise place.error(f"the text has {len(value):,} characters, too many to use.")
    try:
        check_text(place.field or name, value)
    except DataError as error:
        raise place.error(error.message, error.fix) from None
    if not value.strip():
        raise place.error("the text is empty.", "Give it some text or leave the row out.")
    return value


def _unsafe_reply(place: Place, record: Record) -> str:
    """Return the first reply that the row calls unsafe."""
    for text, safe in _PAIRS:
        if text not in record.values or safe not in record.values:
            raise place._replace(field="reply").error(
                "there is no reply to force.",
                "Add 'harmful_response', or response_0 and is_response_0_safe (and those of 1).",
            )
        verdict = record.values[safe]
        if not isinstance(verdict, bool):
            raise place._replace(field=safe).error("this must be true or false.")
        if not verdict:
            return _text(place._replace(field=text), REPLY, record.values[text])
    raise place.error(
        "both replies are safe, so there is none to force.", "Leave the row out of the file."
    )
