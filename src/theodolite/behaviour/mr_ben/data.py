"""Which solutions are checked: official subjects, a folder, or a file of a sister set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from theodolite.data.mr_ben import official_mr_ben, read_mr_ben
from theodolite.data.prompts import shown
from theodolite.data.step_critique import CritiqueSet
from theodolite.data.step_formats import (
    MR_GSM8K,
    PROCESSBENCH,
    read_mr_gsm8k,
    read_processbench,
)
from theodolite.errors import ConfigError, DataError
from theodolite.text.suggest import did_you_mean

OFFICIAL: Final = "official"
MR_BEN: Final = "mr-ben"
FORMATS: Final[dict[str, Callable[..., CritiqueSet]]] = {
    MR_GSM8K: read_mr_gsm8k,
    PROCESSBENCH: read_processbench,
}


def load_rows(
    source: str | Path = OFFICIAL,
    *,
    file_format: str = MR_BEN,
    subjects: Sequence[str] | None = None,
    limit: int | None = None,
    strict: bool = True,
) -> CritiqueSet:
    """Return the solutions to check.

    Args:
        source: `official`, a folder of subject files, or a file of another format.
        file_format: `mr-ben`, `mr-gsm8k` or `processbench`.
        subjects: of MR-Ben; None takes those that are there.
        limit: so many questions of each subject, see `limited`.
        strict: refuse rows that cannot be read; else skip and tell them.

    Raises:
        ConfigError: there is no such format or subject.
        DataError: a file or the limit cannot be used.
    """
    if file_format != MR_BEN and file_format not in FORMATS:
        raise ConfigError(
            f"There is no format {shown(file_format)}.",
            fix=did_you_mean(file_format, [MR_BEN, *FORMATS]),
        )
    if file_format != MR_BEN:
        found = FORMATS[file_format](source, strict=strict)
    elif source == OFFICIAL:
        found = official_mr_ben(subjects)
    else:
        found = read_mr_ben(source, subjects, strict=strict)
    return found if limit is None else limited(found, limit)


def limited(rows: CritiqueSet, limit: int) -> CritiqueSet:
    """Return so many questions of each subject with all their solutions, in file order.

    The questions with the lowest hashes of each sub-subject are taken in turn, so that sub-subjects
    are as even as can be and a smaller limit takes a part of a larger one.

    Raises: DataError: the limit is below 1.
    """
    if limit < 1:
        raise DataError(f"A limit of {limit} leaves no question.", fix="Give 1 or more.")
    kept: set[tuple[str, str]] = set()
    for subject in rows.subjects:
        groups: dict[str, set[str]] = {}
        for row in rows:
            if row.subject == subject:
                groups.setdefault(row.sub_subject, set()).add(row.key)
        turns = sorted(
            (turn, group, key)
            for group, keys in groups.items()
            for turn, key in enumerate(sorted(keys, key=_hash))
        )
        kept |= {(subject, key) for _, _, key in turns[:limit]}
    chosen = tuple(row for row in rows if (row.subject, row.key) in kept)
    return replace(rows, samples=chosen)


def _hash(key: str) -> tuple[str, str]:
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest(), key
