"""Which questions are asked: bundled, official or one's own; and what a model reads first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final

from theodolite.behaviour.debateqa.modes import CLOSED
from theodolite.behaviour.debateqa.retrieval import Index
from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.debates import (
    CONTESTED,
    DEBATABLE,
    SET,
    SETTLED,
    Document,
    documents_of,
    read_debates,
)
from theodolite.data.perspectrum import NAME as PERSPECTRUM
from theodolite.data.perspectrum import official_perspectrum
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.errors import ConfigError, DataError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

BUNDLED: Final = "bundled"
CLAIMS: Final = "claims"
GOLD, RETRIEVED, BALANCED, ONE_SIDED = "gold_docs", "retrieved", "balanced_docs", "one_sided_docs"
MODES: Final = (CLOSED, GOLD, RETRIEVED, BALANCED, ONE_SIDED)
CONTROLS: Final = (SETTLED, CONTESTED)


def load_rows(
    source: str | Path = BUNDLED,
    *,
    split: str = "test",
    limit: int | None = None,
    controls: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Return debatable questions, then settled and contested ones.

    Args:
        source: `bundled`, `claims` (official stand-in claims with perspectives), `perspectrum`
            (official claims with perspectives in several wordings), or a file.
        split: of the bundled set and of Perspectrum: train, val, test or `all`.
        limit: so many debatable questions; a smaller limit takes a part of a larger one.
        controls: so many settled questions, and as many contested ones at most; None takes all, 0
            none. Where the source has none, they are the bundled ones.
        seed: of the choice under a limit.

    Raises:
        DataError: the source, split or a limit cannot be used.
    """
    for count, least in ((limit, 1), (controls, 0)):
        if count is not None and count < least:
            raise DataError(f"A limit of {count} cannot be used.", fix=f"Give {least} or more.")
    rows = _read(source, split)
    debatable = [row for row in rows if row.label == DEBATABLE]
    if not debatable:
        raise DataError(
            f"{shown(str(source))} has no debatable question.", fix="Label some rows debatable."
        )
    control = [row for row in rows if row.label in CONTROLS]
    if not control and controls != 0:
        control = [row for row in bundled(SET).split("test") if row.label in CONTROLS]
    chosen = _drawn(debatable, limit, seed)
    for label in CONTROLS:
        chosen += _drawn([row for row in control if row.label == label], controls, seed)
    return rows.derive(chosen)


def _read(source: str | Path, split: str) -> PromptSet:
    if source == BUNDLED:
        rows = bundled(SET)
        return rows if split == "all" else rows.split(split)
    if source == CLAIMS:
        return read_debates(official("debateqa/debate_claims_debateqa_schema"))
    if source == PERSPECTRUM:
        rows = official_perspectrum()
        return rows if split == "all" else rows.split(split)
    return read_debates(Path(source))


def _drawn(rows: Sequence[Prompt], count: int | None, seed: int) -> list[Prompt]:
    """Return so many rows, in their order; equal ids are drawn alike whatever else is there."""
    if count is None or count >= len(rows):
        return list(rows)
    kept = sorted(rows, key=lambda row: (item_seed(seed, "drawn", row.id), row.id))[:count]
    names = {row.id for row in kept}
    return [row for row in rows if row.id in names]


def check_mode(mode: str, folder: str | None) -> None:
    """Refuse a mode that does not exist or lacks its folder; raises ConfigError."""
    if mode not in MODES:
        raise ConfigError(f"There is no mode {shown(mode)}.", fix=did_you_mean(mode, MODES))
    if (mode == RETRIEVED) != (folder is not None):
        raise ConfigError(
            "The mode `retrieved` and a folder of texts belong together.",
            fix="Give both, as in -T mode=retrieved -T folder=texts, or none.",
        )


def reading(
    row: Prompt,
    mode: str,
    *,
    count: int,
    words: int,
    index: Index | None = None,
    seed: int = 0,
) -> list[Document]:
    """Return what a model reads before a question.

    Args:
        mode: `closed` nothing; `gold_docs` the documents that come with the question;
            `balanced_docs` those of its sides in turn; `one_sided_docs` those of one side, which a
            hash of the id chooses; `retrieved` the best of a folder.
        count: of documents at most.
        words: of each at most.
        index: of the folder.
        seed: of the order and of the side.

    Raises:
        DataError: a question has no documents, or none with a stance where sides are asked for.
    """
    if mode == CLOSED:
        return []
    if mode == RETRIEVED:
        found = index.best(row.request, count) if index is not None else []
        return [shortened(document, words) for document in found]
    own = sorted(
        documents_of(row), key=lambda d: item_seed(seed, "document", row.id, d.title, d.text)
    )
    if mode != GOLD:
        own = _sided(row, own, mode, seed)
    if not own and row.label == DEBATABLE:
        raise DataError(
            f"The question {shown(row.id)} has no documents"
            f"{'' if mode == GOLD else ' with a stance'}, and the mode {mode} needs them.",
            fix="Add `docs` to its row, or use -T mode=closed.",
        )
    return [shortened(document, words) for document in own[:count]]


def _sided(row: Prompt, documents: Sequence[Document], mode: str, seed: int) -> list[Document]:
    sides = sorted({document.stance for document in documents if document.stance})
    of = {side: [d for d in documents if d.stance == side] for side in sides}
    if not sides:
        return []
    first = item_seed(seed, "side", row.id) % len(sides)
    if mode == ONE_SIDED:
        return of[sides[first]]
    # Whoever is read first is heard best, so no side is always the first one.
    turns = sides[first:] + sides[:first]
    mixed = chain.from_iterable(zip_longest(*(of[side] for side in turns)))
    return [document for document in mixed if document is not None]


def shortened(document: Document, words: int) -> Document:
    """Return a document of so many words at most."""
    kept = document.text.split(maxsplit=words)[:words]
    short = len(document.text.split()) <= words
    return document if short else replace(document, text=" ".join(kept))
