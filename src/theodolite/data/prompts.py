"""Prompt and PromptSet: the one form in which every part of the toolkit receives its questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from theodolite.errors import DataError
from theodolite.text.display import escape
from theodolite.text.hashing import content_key, item_seed
from theodolite.text.suggest import nearest

ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
SPLITS: Final = ("train", "val", "test")
HARMFUL: Final = "harmful"
BENIGN: Final = "benign"


@dataclass(frozen=True)
class Message:
    """One turn of a chat.

    Args:
        role: system, user, assistant or tool.
        content: the words of the turn.
        metadata: marks that travel with the turn, e.g. `{"theodolite": "context"}`; never rendered.

    Raises:
        DataError: the role is unknown, or the content is not usable text.
    """

    role: str
    content: str
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(
                f"The message role {shown(self.role)} is unknown.",
                fix=f"Use one of {', '.join(sorted(ROLES))}.",
            )
        check_text("content", self.content)

    def to_json(self) -> dict[str, Any]:
        """Return role and content, and the metadata if there is any."""
        plain: dict[str, Any] = {"role": self.role, "content": self.content}
        return plain | {"metadata": dict(self.metadata)} if self.metadata else plain

    @classmethod
    def from_json(cls, record: Any) -> Message:
        """Read one turn; the inverse of `to_json`."""
        if not isinstance(record, Mapping) or not {"role", "content"} <= record.keys():
            raise DataError("A message must be an object with the keys role and content.")
        metadata = record.get("metadata") or {}
        if not isinstance(metadata, Mapping):
            raise DataError("The metadata of a message must be an object.")
        return cls(record["role"], record["content"], dict(metadata))


@dataclass(frozen=True)
class Prompt:
    """One request, either plain text (a single user turn) or a chat.

    Args:
        id: unique within its set.
        text: the request; exactly one of `text` and `messages` is given.
        messages: the chat.
        label: "harmful", "benign", or any label of the user's own.
        style: the wrapper the request stands in; None or "plain" is the bare request.
        goal_id: what is asked for; equal for all wordings and styles of one goal.
        pair_id: equal for a harmful request and its benign twin.
        source: the collection it came from; probes are tested across sources.
        category: its topic.
        split: train, val or test.
        language: an IETF language tag, e.g. "en".
        meta: every other field of its record, JSON values only.

    Raises:
        DataError: a field is missing, empty or not of its type.
    """

    id: str
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    label: str | None = None
    style: str | None = None
    goal_id: str | None = None
    pair_id: str | None = None
    source: str | None = None
    category: str | None = None
    split: str | None = None
    language: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_text("id", self.id)
        if not self.id.strip():
            raise DataError("The field 'id' is empty.")
        if (self.text is None) == (self.messages is None):
            raise DataError(
                f"Prompt {shown(self.id)} must have either text or messages, and not both."
            )
        if self.text is not None:
            check_text("text", self.text)
            if not self.text.strip():
                raise DataError("The field 'text' is empty.")
        elif not self.messages:
            raise DataError("The field 'messages' is empty.")
        for name in OPTIONAL_TEXT:
            value = getattr(self, name)
            if value is not None:
                check_text(name, value)
        if self.split is not None and self.split not in SPLITS:
            raise DataError(
                f"The field 'split' is {shown(self.split)}.", fix=f"Use {', '.join(SPLITS)}."
            )

    def as_messages(self) -> list[dict[str, Any]]:
        """Return the prompt as chat turns; plain text becomes one user turn."""
        if self.messages is None:
            return [{"role": "user", "content": self.text}]
        return [message.to_json() for message in self.messages]

    @property
    def request(self) -> str:
        """The plain text, or the content of the last user turn."""
        if self.text is not None:
            return self.text
        turns = [m.content for m in self.messages or () if m.role == "user"]
        if not turns:
            raise DataError(f"Prompt {shown(self.id)} has no user turn.")
        return turns[-1]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON record of the fields that are set."""
        record: dict[str, Any] = {"id": self.id}
        if self.text is not None:
            record["text"] = self.text
        else:
            record["messages"] = [m.to_json() for m in self.messages or ()]
        for name in OPTIONAL_TEXT:
            value = getattr(self, name)
            if value is not None:
                record[name] = value
        if self.meta:
            record["meta"] = dict(self.meta)
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Prompt:
        """Build a prompt from a record in the form `to_json` writes.

        Raises:
            DataError: a key is unknown (with the nearest name), missing, or of the wrong type.
        """
        for key in record:
            if key not in FIELDS:
                near = nearest(str(key), FIELDS)
                raise DataError(
                    f"The field {shown(str(key))} is unknown.",
                    fix=f"Did you mean {near!r}?" if near else "Put it under 'meta'.",
                )
        if "id" not in record:
            raise DataError("The field 'id' is missing.")
        values = dict(record)
        if values.get("messages") is not None:
            if not isinstance(values["messages"], list | tuple):
                raise DataError("The field 'messages' must be a list of turns.")
            values["messages"] = tuple(Message.from_json(m) for m in values["messages"])
        if not isinstance(values.setdefault("meta", {}), Mapping):
            raise DataError("The field 'meta' must be an object.")
        return cls(**values)


FIELDS: Final = tuple(f.name for f in fields(Prompt))
OPTIONAL_TEXT: Final = tuple(f for f in FIELDS if f not in {"id", "text", "messages", "meta"})


@dataclass(frozen=True)
class PromptSet:
    """An ordered, non-empty collection of prompts with unique ids.

    Args:
        name: a short name for tables and reports.
        prompts: the rows, in order.
        source: where they came from (a file, "bundled", a description).

    Raises:
        DataError: there is no prompt, or an id occurs twice (both rows are named, counted from 0).
    """

    name: str
    prompts: tuple[Prompt, ...]
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", tuple(self.prompts))
        if not self.prompts:
            raise DataError(f"The prompt set {shown(self.name)} is empty.")
        seen: dict[str, int] = {}
        for row, prompt in enumerate(self.prompts):
            first = seen.setdefault(prompt.id, row)
            if first != row:
                raise DataError(
                    f"Row {row} of the prompt set {shown(self.name)} repeats the id "
                    f"{shown(prompt.id)} of row {first}.",
                    fix="Give every prompt its own id.",
                )

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __getitem__(self, key: int | str) -> Prompt:
        """Return a prompt by its row or by its id."""
        if isinstance(key, int):
            return self.prompts[key]
        if key not in self._by_id:
            near = nearest(key, self._by_id)
            raise DataError(
                f"There is no prompt {shown(key)} in {shown(self.name)}.",
                fix=f"Did you mean {shown(near)}?" if near else "",
            )
        return self._by_id[key]

    @cached_property
    def _by_id(self) -> dict[str, Prompt]:
        return {prompt.id: prompt for prompt in self.prompts}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(prompt.id for prompt in self.prompts)

    @cached_property
    def fingerprint(self) -> str:
        """A 32-character hash of the rows and their order; name and source do not count."""
        return content_key([prompt.to_json() for prompt in self.prompts])

    def values(self, field_name: str) -> tuple[Any, ...]:
        """Return the distinct values of a field, None left out, in order of first occurrence."""
        _check_field(field_name)
        found = dict.fromkeys(getattr(prompt, field_name) for prompt in self.prompts)
        return tuple(value for value in found if value is not None)

    def filter(
        self,
        where: Callable[[Prompt], bool] | None = None,
        **wanted: str | Collection[str] | None,
    ) -> PromptSet:
        """Return the prompts that fit every condition, in order.

        Args:
            where: a predicate.
            wanted: field = value, or field = a collection of allowed values.

        Raises:
            DataError: a field is unknown, or nothing is left.
        """
        allowed: dict[str, Collection[str | None]] = {}
        for name, value in wanted.items():
            _check_field(name)
            allowed[name] = {value} if value is None or isinstance(value, str) else value
        kept = [
            prompt
            for prompt in self.prompts
            if all(getattr(prompt, name) in values for name, values in allowed.items())
            and (where is None or where(prompt))
        ]
        if not kept:
            asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
            raise DataError(
                f"No prompt of {shown(self.name)} fits {escape(asked, 200) or 'the condition'}.",
                fix=_present(self, wanted),
            )
        return self.derive(kept)

    def split(self, name: str) -> PromptSet:
        """Return the frozen split `name` (train, val or test)."""
        if name not in SPLITS:
            near = nearest(name, SPLITS)
            raise DataError(
                f"The split {shown(name)} is unknown.",
                fix=f"Did you mean {near!r}?" if near else f"Use {', '.join(SPLITS)}.",
            )
        return self.filter(split=name)

    def distinct(self) -> PromptSet:
        """Return the first prompt of each distinct request (exact text or chat)."""
        first: dict[Any, Prompt] = {}
        for prompt in self.prompts:
            first.setdefault((prompt.text, prompt.messages), prompt)
        return self.derive(first.values())

    def sample(self, n: int, *, seed: int, by: str = "id") -> PromptSet:
        """Return the prompts of `n` random groups, in their old order.

        Args:
            n: how many groups; all of them when there are fewer.
            seed: the choice depends on this and the group's value only, so a larger sample
                contains the smaller one.
            by: the field that names the groups, e.g. "pair_id" to keep twins together; prompts
                without it count as their own group.
        """
        _check_field(by)
        groups = dict.fromkeys(getattr(prompt, by) or prompt.id for prompt in self.prompts)
        chosen = set(sorted(groups, key=lambda group: item_seed(seed, group))[:n])
        return self.derive(p for p in self.prompts if (getattr(p, by) or p.id) in chosen)

    def derive(self, prompts: Iterable[Prompt], *, name: str | None = None) -> PromptSet:
        """Return a set of other prompts that keeps this one's source (and name)."""
        return PromptSet(name or self.name, tuple(prompts), self.source)

    def write(self, path: Path | str) -> Path:
        """Write one JSON record per line (UTF-8); `read_prompts` gives the same rows back."""
        target = Path(path)
        lines = (json.dumps(p.to_json(), ensure_ascii=False) + "\n" for p in self.prompts)
        target.write_text("".join(lines), encoding="utf-8", newline="\n")
        return target


def check_text(name: str, value: Any) -> None:
    """Refuse a value that is not text, or text that no tokenizer can encode."""
    if not isinstance(value, str):
        raise DataError(
            f"The field {name!r} must be text, not {type(value).__name__}.",
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"The field {name!r} has half of a surrogate pair at character {error.start}.",
            fix="Save the text as valid Unicode.",
        ) from None


def shown(value: object) -> str:
    """Return a short, quoted form of untrusted text for a message."""
    return f"'{escape(str(value), 80)}'"


def _check_field(name: str) -> None:
    if name not in FIELDS or name in {"meta", "messages"}:
        near = nearest(name, FIELDS)
        raise DataError(
            f"Prompts have no field {shown(name)} to choose by.",
            fix=f"Did you mean {near!r}?" if near else f"The fields are {', '.join(FIELDS)}.",
        )


def _present(prompts: PromptSet, wanted: Iterable[str]) -> str:
    """Say which values the set has, for the fields that were asked for."""
    known = {name: prompts.values(name)[:8] for name in wanted if name not in {"id", "text"}}
    parts = [
        f"{k}: {', '.join(escape(str(v), 40) for v in vs) or 'none'}" for k, vs in known.items()
    ]
    return f"It has {'; '.join(parts)}." if parts else ""
