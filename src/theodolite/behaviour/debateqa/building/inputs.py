"""Questions to be given perspectives, and the documents that these are drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from theodolite.behaviour.debateqa.data import shortened
from theodolite.behaviour.debateqa.retrieval import Index
from theodolite.data.debates import Document
from theodolite.data.prompts import Prompt, shown
from theodolite.data.readers import read_prompts
from theodolite.data.records import Place, read_records
from theodolite.errors import DataError
from theodolite.text.hashing import content_key
from theodolite.text.normalise import normalise

NOT_TRUSTED: Final = "no address of a trusted domain"
STRANGE: Final = "belongs to a question that is not asked"
TWICE: Final = "holds the same text as an earlier one"
LINKS: Final = ("url", "link")
OWNER: Final = "question_id"


@dataclass(frozen=True)
class Library:
    """Documents, and which question each belongs to.

    Args:
        own: question id -> documents that came for it, in file order.
        pool: those that came for no question in particular.
        left_out: how many were left out, by reason.
    """

    own: Mapping[str, tuple[Document, ...]]
    pool: tuple[Document, ...]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.pool) + sum(map(len, self.own.values()))

    def chosen(self, questions: Sequence[Prompt], count: int, words: int) -> list[list[Document]]:
        """Return the documents of each question: its own, then the best of the pool by BM25.

        Args:
            count: of documents at most.
            words: of each at most.
        """
        index = Index(self.pool) if self.pool else None
        found = []
        for question in questions:
            own = list(self.own.get(question.id, ()))[:count]
            if index is not None and len(own) < count:
                own += index.best(question.request, count - len(own))
            found.append([shortened(document, words) for document in own])
        return found


def read_questions(path: Path | str, limit: int | None = None) -> tuple[list[Prompt], int]:
    """Return the questions of a file, and how many repeated an earlier one and were left out.

    Args:
        path: .txt (one a line), .jsonl, .json, .csv, .tsv or .parquet with a column `question`.
        limit: the first so many.

    Raises: DataError: the file cannot be read, or the limit leaves nothing.
    """
    if limit is not None and limit < 1:
        raise DataError(f"A limit of {limit} leaves no question.", fix="Give 1 or more.")
    distinct: dict[str, Prompt] = {}
    rows = list(read_prompts(Path(path)))
    for row in rows:
        distinct.setdefault(normalise(row.request, lower=True), row)
    return list(distinct.values())[:limit], len(rows) - len(distinct)


def read_library(
    path: Path | str, questions: Sequence[Prompt], trusted: Sequence[str] = ()
) -> Library:
    """Return the documents of a file.

    Args:
        path: rows with `text`; `title`, `id`, `url` (or `link`) and `question_id` (one, or a list)
            are optional, and any other field is kept.
        questions: that will be asked.
        trusted: ends of host names, e.g. .edu; other documents are left out. Empty: all are
            taken.

    Raises: DataError: a row has no text or is otherwise wrong; names file, line and field.
    """
    path = Path(path)
    asked = {question.id for question in questions}
    own: dict[str, list[Document]] = {}
    pool: list[Document] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for record in read_records(path):
        owners, document = _document(Place(path, record.line), dict(record.values))
        key = content_key(sorted(owners), document.text)
        if trusted and not is_trusted(link_of(document), trusted):
            left_out[NOT_TRUSTED] += 1
            continue  # the same text may stand on a trusted domain, too
        if key in seen:
            left_out[TWICE] += 1
        elif owners and not asked & owners:
            left_out[STRANGE] += 1
        elif owners:
            for name in sorted(owners & asked):
                own.setdefault(name, []).append(document)
        else:
            pool.append(document)
        seen.add(key)
    kept = {name: tuple(documents) for name, documents in own.items()}
    return Library(kept, tuple(pool), dict(sorted(left_out.items())))


def link_of(document: Document) -> str | None:
    """Return the address of a document; None where it has none."""
    return next((str(document.meta[name]) for name in LINKS if document.meta.get(name)), None)


def is_trusted(link: str | None, trusted: Sequence[str]) -> bool:
    """Return whether an address lies on one of some domains.

    Args:
        trusted: ends of host names, with or without a dot before them: edu, .gov.uk, who.int.
    """
    try:
        host = urlsplit(link or "").hostname or ""
    except ValueError:
        return False
    ends = [end.strip().lower().lstrip(".") for end in trusted]
    return any(end and (host == end or host.endswith(f".{end}")) for end in ends)


def _document(place: Place, values: dict[str, Any]) -> tuple[set[str], Document]:
    """Return the questions a row belongs to, and its document."""
    owner = values.pop(OWNER, None)
    owners = owner if isinstance(owner, list) else [owner]
    names = {str(one) for one in owners if one not in (None, "")}
    title = values.get("title") or values.get("id") or "Untitled"
    try:
        return names, Document.from_json({**values, "title": str(title)})
    except DataError as error:
        raise place.error(error.message[:1].lower() + error.message[1:], error.fix) from None


def titled(documents: Sequence[Document], numbers: Sequence[int]) -> str:
    """Return documents as a reviewer reads them, with their numbers (from 1)."""
    return "\n\n".join(
        f"[{number}] {documents[number - 1].title}\n{documents[number - 1].text}"
        for number in numbers
    )


def to_json(document: Document) -> dict[str, Any]:
    """Return a document's record; `Document.from_json` reads it back."""
    named = {"title": document.title, "text": document.text}
    optional = {"stance": document.stance, "id": document.id}
    return {**named, **{k: v for k, v in optional.items() if v is not None}, **document.meta}


def check_library(library: Library, path: str) -> None:
    """Refuse a file of which no document is left; raises DataError."""
    if not len(library):
        reasons = ", ".join(f"{n} x {reason}" for reason, n in library.left_out.items())
        raise DataError(
            f"No document of {shown(path)} can be used ({reasons or 'it is empty'}).",
            fix="Give documents with a text, for these questions, on trusted domains.",
        )
