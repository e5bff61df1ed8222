"""Find and check the official data files; the table itself is `official_files`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from theodolite.data.official_files import FILES, OfficialFile
from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

DATA_VARIABLE: Final = "THEODOLITE_DATA"
OK: Final = "ok"
MISSING: Final = "missing"
CHANGED: Final = "changed"


@dataclass(frozen=True)
class FileStatus:
    """Whether an official file is in the data folder as the table knows it.

    Args:
        file: the row of the table.
        status: ok, missing or changed.
        path: where it is or should be.
        detail: one sentence on a missing or changed file, else "".
    """

    file: OfficialFile
    status: str
    path: Path
    detail: str = ""


def data_dir() -> Path:
    """Return the folder of official data: THEODOLITE_DATA, else the user's cache folder."""
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "theodolite" / "data"


def parts() -> tuple[str, ...]:
    """Return the names of the parts, in the order of the table."""
    return tuple(dict.fromkeys(file.part for file in FILES))


def find(name: str) -> OfficialFile:
    """Return the row of the table with this name; its ending may be left out.

    Raises:
        DataError: no official file has this name, or several do.
    """
    exact = [file for file in FILES if file.name == name]
    fits = exact or [file for file in FILES if file.name.rsplit(".", 1)[0] == name]
    if len(fits) != 1:
        raise DataError(
            f"There is no official file {shown(name)}.",
            fix=did_you_mean(name, [file.name for file in FILES]),
        )
    return fits[0]


def select(name: str) -> tuple[OfficialFile, ...]:
    """Return the files of a part, all files for "all", or the one file of this name."""
    chosen = tuple(file for file in FILES if name in {"all", file.part})
    if chosen:
        return chosen
    if "/" not in name:
        raise DataError(
            f"There is no part {shown(name)} of the official data.",
            fix=did_you_mean(name, [*parts(), "all"]),
        )
    return (find(name),)


def official(name: str, *, root: Path | None = None) -> Path:
    """Return the path of an official file whose content is as the table says.

    Args:
        name: `<part>/<file>`, with or without the ending, e.g. "refusal/xstest_prompts".
        root: the data folder; default `data_dir()`.

    Raises:
        DataError: the name is unknown, or the file is missing or changed (says how to get it).
    """
    state = inspect(find(name), root=root)
    if state.status == OK:
        return state.path
    raise DataError(state.detail, fix=how_to_get(state.file))


def check(name: str = "all", *, root: Path | None = None) -> list[FileStatus]:
    """Return the status of every file of a selection, in table order; hashes what is there."""
    return [inspect(file, root=root) for file in select(name)]


def inspect(file: OfficialFile, *, root: Path | None = None) -> FileStatus:
    """Compare one file of the data folder with its row (size first, then SHA-256)."""
    path = (root or data_dir()) / file.name
    where = escape(str(path), 300)
    try:
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            return FileStatus(file, MISSING, path, f"The official file {where} is not there.")
        digest = sha256_of(path) if size == file.size else ""
    except OSError as error:
        reason = escape(str(error.strerror), 120)
        return FileStatus(file, MISSING, path, f"The file {where} cannot be read ({reason}).")
    if digest != file.sha256:
        what = f"its size is {size:,} and not {file.size:,} bytes"
        if size == file.size:
            what = f"its SHA-256 begins with {digest[:12]} and not {file.sha256[:12]}"
        return FileStatus(file, CHANGED, path, f"The file {where} is not the official one: {what}.")
    return FileStatus(file, OK, path)


def how_to_get(file: OfficialFile) -> str:
    """Return one sentence that says how to get a file."""
    if file.urls:
        return (
            f"Set {DATA_VARIABLE} to the folder of your copy, or run "
            f"`theodolite data fetch {file.part}`."
        )
    return (
        f"Set {DATA_VARIABLE} to the folder of your copy; it is derived from "
        f"{file.origin.project}: {file.how}"
    )


def identify(data: bytes) -> OfficialFile | None:
    """Return the official file whose content this is, or None."""
    same_size = [file for file in FILES if file.size == len(data)]
    if not same_size:
        return None
    digest = hashlib.sha256(data).hexdigest()
    return next((file for file in same_size if file.sha256 == digest), None)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
