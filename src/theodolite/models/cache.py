"""The cache: folders built once, whole or not at all, and file hashes computed once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from theodolite.errors import ModelError
from theodolite.text.display import escape
from theodolite.text.hashing import content_key


def cache_root() -> Path:
    """Return the cache folder: `THEODOLITE_CACHE`, or `~/.cache/theodolite`."""
    named = os.environ.get("THEODOLITE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "theodolite"


def file_sha256(path: Path, *, verify: bool = False) -> str:
    """Return the sha256 of a file, remembered for as long as its size and change time stay equal.

    Args:
        verify: read the file again whatever is remembered.

    Raises:
        ModelError: with `verify`, the content changed although size and time did not.
    """
    path = path.resolve()
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns]
    memo = cache_root() / "hashes" / f"{content_key(str(path))}.json"
    known = _read_json(memo)
    remembered = str(known["sha256"]) if known.get("stamp") == stamp else None
    if remembered and not verify:
        return remembered
    digest = read_sha256(path)
    if remembered and digest != remembered:
        memo.unlink(missing_ok=True)
        raise ModelError(
            f"{escape(str(path))} changed although its size and time did not.",
            fix="Restore it, or open it again to accept what is there now.",
        )
    _write_json(memo, {"stamp": stamp, "sha256": digest, "path": str(path)})
    return digest


def read_sha256(path: Path) -> str:
    """Read a whole file and return its sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, made by `build(empty temporary folder)` if it is not there yet.

    Note: safe for several processes: one builds, the others wait; a stopped build leaves nothing
    under the final name.
    """
    if folder.is_dir():
        return folder
    with _writable(folder.parent), FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                build(scratch)
                scratch.chmod(0o755)
                scratch.replace(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ModelError(
            f"The cache {escape(str(folder))} cannot be written: {error.strerror or error}.",
            fix="Free some space, or set THEODOLITE_CACHE to a folder you may write to.",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with _writable(path.parent):
        handle, scratch = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(scratch).replace(path)
