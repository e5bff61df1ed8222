"""Files that are either there in full or not there: temporary file, flush to disk, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from theodolite.errors import RunError
from theodolite.text.display import escape

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*(/[A-Za-z0-9_][A-Za-z0-9_.+=-]*)*")


@contextlib.contextmanager
def as_run_error(path: Path, *, kept: str = "") -> Iterator[None]:
    """Turn an error of the operating system into one sentence that names the file and the cause.

    Args:
        path: the file or folder being written.
        kept: a sentence on what is already on disk, for the message of a full disk.
    """
    try:
        yield
    except OSError as error:
        name = escape(str(path))
        if error.errno in _FULL or "os error 28" in str(error) or "errno 28" in str(error):
            fix = f"{kept} Free some space and resume.".strip()
            raise RunError(f"The disk is full: {name} could not be written.", fix=fix) from error
        cause = error.strerror or escape(str(error))
        raise RunError(
            f"{name} could not be written: {cause}.", fix="Choose a folder you may write to."
        ) from error


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, put it on disk, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the bytes so that a reader sees the old file or the whole new one."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_file(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the whole new one."""
    write_bytes(path, text.encode("utf-8"))


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that killed writers left in a folder and below."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk, so that a rename or a new file survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_path(folder: Path, name: str, suffix: str) -> Path:
    """Return the file of a named part (`panel/table`) inside a folder, refusing to leave it.

    Raises:
        RunError: the name has other characters than letters, digits, `_ . + = -` and `/`.
    """
    if not _NAME.fullmatch(name) or len(name) > 180:
        raise RunError(
            f"'{escape(name, 80)}' cannot name a file of a run.",
            fix="Use letters, digits, '_', '.', '-' and '/' between parts.",
        )
    return folder / f"{name}{suffix}"
