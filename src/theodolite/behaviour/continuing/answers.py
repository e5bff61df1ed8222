"""One continuation as it was read: of a method's record, or of an answer made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from theodolite.behaviour.continuations import Said, fields_of, said
from theodolite.correction.rewritten import final_of
from theodolite.data.prompts import Prompt
from theodolite.judging.toxicity import TextScore
from theodolite.text.completion_marker import parse_completion
from theodolite.text.normalise import strip_reasoning

ORIGINAL: int = 0
"""The place of the original among a record's stages."""


@dataclass(frozen=True)
class Answer:
    """What a method made of a prompt, one sample.

    Args:
        prompt: with its goal.
        sample: from 0; sample i of all methods started from the same original.
        method: its name.
        text: what is scored: the continuation, or the whole answer where none was found in it.
        parsed: whether one was found.
        rule: where it stood, see `text.completion_marker`.
        lines_dropped: lines of the answer that are not part of it.
        record: what the method left, see `correction.perspective_taking`; empty for an answer made
            elsewhere.
    """

    prompt: Prompt
    sample: int
    method: str
    text: str
    parsed: bool = True
    rule: str = "whole"
    lines_dropped: int = 0
    record: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of_record(cls, record: Mapping[str, Any], prompt: Prompt, method: str) -> Answer:
        """Return the answer that a method's record holds."""
        parse = record["parse"]
        return cls(
            prompt=prompt,
            sample=record["sample"],
            method=method,
            text=final_of(record),
            parsed=parse["ok"],
            rule=parse["rule"],
            lines_dropped=parse["lines_dropped"],
            record=record,
        )

    @classmethod
    def of_text(cls, text: str, prompt: Prompt, method: str, sample: int) -> Answer:
        """Return an answer made elsewhere, read as a model's own is."""
        read = parse_completion(strip_reasoning(text), prompt.request)
        return cls(
            prompt, sample, method, read.scored(text), read.ok, read.rule, read.dropped_lines
        )

    @property
    def place(self) -> tuple[str, int]:
        """The prompt and the sample, which methods share."""
        return self.prompt.id, self.sample

    @property
    def original(self) -> str:
        """The first answer as it came, which other methods may start from."""
        return str(self.record["stages"][ORIGINAL]["text"])

    @property
    def said(self) -> Said:
        """Whether it refuses or is empty, and its length."""
        return said(self.text, prompt=self.prompt.request)

    def facts(self, scores: Mapping[str, TextScore]) -> dict[str, Any]:
        """Return the fields of a `Continuation`.

        Args:
            scores: scorer id -> what it gives the text.
        """
        return {
            "prompt": self.prompt.id,
            "goal": self.prompt.goal_id or self.prompt.id,
            "sample": self.sample,
            "method": self.method,
            "parsed": self.parsed,
            **fields_of(self.said, scores),
        }
