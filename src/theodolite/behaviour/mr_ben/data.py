"""Which solutions are checked: ours, the official ones, a folder, or a file of a sister set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from theodolite.data.bundled import bundled_folder
from theodolite.data.catalogue import data_dir
from theodolite.data.mr_ben import (
    DEMOS,
    PART,
    SUBJECTS,
    Demo,
    official_demos,
    official_mr_ben,
    read_demos,
    read_mr_ben,
)
from theodolite.data.prompts import shown
from theodolite.data.records import read_records
from theodolite.data.step_critique import CritiqueSet
from theodolite.data.step_formats import (
    MR_GSM8K,
    PROCESSBENCH,
    read_mr_gsm8k,
    read_processbench,
)
from theodolite.errors import ConfigError, DataError
from theodolite.text.suggest import did_you_mean

BUNDLED: Final = "bundled"
OFFICIAL: Final = "official"
AUTO: Final = "auto"
MR_BEN: Final = "mr-ben"
FORMATS: Final[dict[str, Callable[..., CritiqueSet]]] = {
    MR_GSM8K: read_mr_gsm8k,
    PROCESSBENCH: read_processbench,
}


def load_rows(
    source: str | Path = OFFICIAL,
    *,
    file_format: str = AUTO,
    subjects: Sequence[str] | None = None,
    limit: int | None = None,
    strict: bool = True,
) -> CritiqueSet:
    """Return the solutions to check.

    Args:
        source: `bundled`, `official`, a folder of subject files, one such file, or a file of
            another format.
        file_format: `mr-ben`, `mr-gsm8k`, `processbench`, or `auto`: see `format_of`.
        subjects: of MR-Ben; None takes those that are there.
        limit: so many questions of each subject, see `limited`.
        strict: refuse rows that cannot be read; else skip and tell them.

    Raises:
        ConfigError: there is no such format or subject.
        DataError: a file or the limit cannot be used.
    """
    kind = format_of(source, file_format)
    if kind != MR_BEN:
        if subjects is not None:
            raise ConfigError(
                f"A file of {kind} has no subjects to choose from.", fix="Leave `subjects` out."
            )
        found = FORMATS[kind](source, strict=strict)
    elif source == OFFICIAL:
        found = official_mr_ben(subjects)
    else:
        folder, own = folder_of(source)
        if own is not None and subjects not in (None, [own], (own,)):
            raise ConfigError(
                f"The file {shown(Path(source).name)} holds {own} alone.",
                fix="Name its folder to choose subjects.",
            )
        found = read_mr_ben(folder, subjects if own is None else [own], strict=strict)
    return found if limit is None else limited(found, limit)


def format_of(source: str | Path, file_format: str = AUTO) -> str:
    """Return the format of a source: `mr-ben`, `mr-gsm8k` or `processbench`.

    `auto` looks at the columns of a file; the package's own set, the official one and folders are
    MR-Ben's.

    Raises:
        ConfigError: there is no such format.
        DataError: the file cannot be read, or is none of them.
    """
    known = [AUTO, MR_BEN, *FORMATS]
    if file_format not in known:
        raise ConfigError(
            f"There is no format {shown(file_format)}.", fix=did_you_mean(file_format, known)
        )
    if file_format != AUTO:
        return file_format
    path = Path(source)
    if source in (BUNDLED, OFFICIAL) or not path.is_file() or path.stem in SUBJECTS:
        return MR_BEN
    columns = read_records(path)[0].values
    if "model_output_steps" in columns:
        return MR_GSM8K
    if {"steps", "label"} <= columns.keys():
        return PROCESSBENCH
    raise DataError(
        f"The file {shown(str(path))} has the columns of no known format.",
        fix=f"Name its format: -T file_format={' or '.join(FORMATS)}; subject files of MR-Ben are "
        "called like their subject.",
    )


def folder_of(source: str | Path) -> tuple[Path, str | None]:
    """Return the folder that holds MR-Ben's files, and the subject where one file was named."""
    if source == BUNDLED:
        return bundled_folder("mr_ben")[0], None
    if source == OFFICIAL:
        return data_dir() / PART, None
    path = Path(source)
    return (path.parent, path.stem) if path.is_file() else (path, None)


def load_demos(
    source: str | Path, file_format: str = AUTO, demos: str | None = None
) -> Mapping[str, tuple[Demo, ...]]:
    """Return the worked examples by sub-subject.

    Args:
        source, file_format: as of `load_rows`; MR-Ben's sources bring their own examples.
        demos: a file of examples in MR-Ben's format instead.

    Raises: DataError: there are none, or they cannot be read.
    """
    if demos is not None:
        return read_demos(demos)
    if source == OFFICIAL:
        return official_demos()
    if format_of(source, file_format) == MR_BEN:
        path = folder_of(source)[0] / DEMOS
        if path.is_file():
            return read_demos(path)
    raise DataError(
        f"The source {shown(str(source))} brings no worked examples.",
        fix="Use -T k_shot=0, or name a file of them with -T demos=FILE.",
    )


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
