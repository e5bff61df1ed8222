"""Which begun replies are asked about: the bundled harmless set, the official rows, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.forced_replies import (
    SET,
    control_replies,
    drawn,
    read_replies,
    reply_of,
)
from theodolite.data.prompts import BENIGN, HARMFUL, PromptSet, shown
from theodolite.errors import DataError

BUNDLED: Final = "bundled"
C2_EVAL: Final = "c2-eval"


def load_rows(
    source: str | Path = BUNDLED,
    *,
    split: str = "test",
    limit: int | None = None,
    benign: bool = True,
    seed: int = 0,
) -> PromptSet:
    """Return requests with the replies to force, harmful ones first.

    Args:
        source: `bundled` (the forbidden topic of the harmless set), `c2-eval` (the official rows),
            or a file (see `data.forced_replies`).
        split: of the bundled set: train, val, test or `all`.
        limit: so many requests of each label, rows of one request together; a smaller limit takes
            a part of a larger one.
        benign: also take good replies to benign requests: those of the file where it has any, else
            bundled ones.
        seed: of the choice under a limit.

    Raises:
        DataError: the source, split or limit cannot be used, or a row has no reply to force.
    """
    if limit is not None and limit < 1:
        raise DataError(f"A limit of {limit} leaves no request.", fix="Give 1 or more.")
    rows = _read(source, split)
    harmful = [row for row in rows if row.label == HARMFUL]
    good = [row for row in rows if row.label == BENIGN]
    if not harmful:
        raise DataError(
            f"{shown(str(source))} has no harmful request.", fix="Label some rows harmful."
        )
    if benign and not good:
        good = list(control_replies())
    chosen = [*harmful, *(good if benign else ())]
    found = rows.derive(chosen)
    for row in found:
        reply_of(row)
    return drawn(found, limit, seed=seed)


def _read(source: str | Path, split: str) -> PromptSet:
    if source == BUNDLED:
        rows = bundled(SET)
        return rows if split == "all" else rows.split(split)
    if source == C2_EVAL:
        return read_replies(official("course-correction/c2_eval_test"))
    return read_replies(Path(source))
