"""Answers already known: those generated ahead as planned units, and those of the run's journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theodolite.runs.journal import Journal


@dataclass(frozen=True)
class Answer:
    """One completion: its text, its token ids, and why it ended (`stop` or `length`)."""

    text: str
    token_ids: tuple[int, ...]
    finish: str

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Answer:
        """Rebuild an answer from a journal line."""
        return cls(row["text"], tuple(row["token_ids"]), row["finish"])


class Answers:
    """Answers by request key.

    Args:
        journal: where new answers are kept and old ones are found; None keeps nothing.

    Note: planned answers stay in memory, because the journal already holds the unit they were
        generated in; the same request is not written twice.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._planned: dict[str, tuple[Answer, ...]] = {}

    def plan(self, key: str, answers: Sequence[Answer]) -> None:
        """Remember the answers of a request that was generated ahead."""
        self._planned[key] = tuple(answers)

    def get(self, key: str) -> tuple[Answer, ...] | None:
        """Return the completions of a request, or None where the model has to be asked."""
        if key in self._planned:
            return self._planned[key]
        stored = None if self._journal is None else self._journal.get(key)
        return None if stored is None else tuple(map(Answer.from_json, stored["answers"]))

    def put(self, key: str, answers: Sequence[Answer]) -> None:
        """Keep the completions of a request the model has just answered."""
        if self._journal is not None:
            self._journal.put(key, {"answers": [asdict(answer) for answer in answers]})
