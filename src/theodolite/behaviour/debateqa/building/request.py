"""What `theodolite data debates write` is asked, checked before a model is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.debateqa.building.inputs import (
    Library,
    check_library,
    read_library,
    read_questions,
)
from theodolite.data.debates import Document
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError
from theodolite.providers.opening import ModelRequest

FEWEST: Final = 2
"""Perspectives without which a question is not debatable."""
_LEAST: Final = {
    "most": FEWEST,
    "docs_each": 1,
    "doc_words": 1,
    "tries": 0,
    "list_tokens": 1,
    "explain_tokens": 1,
    "connections": 1,
}


@dataclass(frozen=True)
class BuildRequest(ModelRequest):
    """What perspectives are written on, from what, and by which model.

    Args:
        model: writes; named in the card.
        questions: a file of questions.
        docs: a file of documents.
        limit: the first so many questions.
        most: views of a question at most.
        docs_each, doc_words: documents that a question is read with, and words of each, at most.
        trusted: ends of host names; documents from elsewhere are left out. Empty: all are taken.
        entailment: ask the model whether views that are alike say the same; without, only views of
            equal words are left out as repeats.
        tries: how often what cannot be used is written again, by chance; the first time is greedy.
        list_tokens, explain_tokens: of a list of views, and of an explanation, at most.
        connections: questions that a model behind an API is asked about at once.
    """

    questions: str = ""
    docs: str = ""
    limit: int | None = None
    most: int = 8
    docs_each: int = 5
    doc_words: int = 250
    trusted: tuple[str, ...] = ()
    entailment: bool = True
    tries: int = 2
    list_tokens: int = 512
    explain_tokens: int = 320
    connections: int = 16

    @property
    def decides(self) -> dict[str, Any]:
        """The settings on which what is written depends, beside questions, documents and model."""
        outside = (*_OUTSIDE, *ModelRequest.__dataclass_fields__)
        found = {name: value for name, value in asdict(self).items() if name not in outside}
        return {"seed": self.seed, **found}


_OUTSIDE: Final = ("questions", "docs", "limit", "trusted", "connections")


@dataclass(frozen=True)
class Asked:
    """What a request comes to, before a model is opened.

    Args:
        request: as it was asked.
        questions: in file order, each once.
        repeated: questions that repeated an earlier one and were left out.
        library: the documents.
        chosen: question id -> the documents it is read with, in order.
    """

    request: BuildRequest
    questions: Sequence[Prompt]
    repeated: int
    library: Library
    chosen: Mapping[str, Sequence[Document]]

    @property
    def inputs(self) -> dict[str, Path]:
        """Files of the run's manifest."""
        return {"questions": Path(self.request.questions), "docs": Path(self.request.docs)}


def asked_of(request: BuildRequest) -> Asked:
    """Return what a request comes to.

    Raises:
        ConfigError: a file is not named, or a number is out of range.
        DataError: a file cannot be read, or holds nothing that can be used.
    """
    for name in ("questions", "docs"):
        if not getattr(request, name):
            raise ConfigError(f"A file of {name} is missing.", fix="See `data debates write -h`.")
    for name, least in _LEAST.items():
        value = getattr(request, name)
        if value < least:
            raise ConfigError(f"`{name}` is {value}.", fix=f"Give {least} or more.")
    questions, repeated = read_questions(request.questions, request.limit)
    library = read_library(request.docs, questions, request.trusted)
    check_library(library, request.docs)
    chosen = library.chosen(questions, request.docs_each, request.doc_words)
    by_id = {question.id: read for question, read in zip(questions, chosen, strict=True)}
    return Asked(request, questions, repeated, library, by_id)
