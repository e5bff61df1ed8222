"""The journal of finished units: append-only lines keyed by content, safe against kill -9.

One line of JSON per unit, put on disk before `put` returns. What a killed process leaves behind is
at most one torn last line, which the next open drops. Big tensors lie beside the journal as
`units/<key>.safetensors`, written before their line, so a line never points at nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from theodolite.errors import RunError
from theodolite.runs.atomic import as_run_error, part_path, sync_folder
from theodolite.runs.lock import WriterLock
from theodolite.runs.tensors import load_tensors, save_tensors
from theodolite.text.display import escape


class Journal:
    """Finished units by key, in memory as offsets and on disk as lines.

    Args:
        path: the `.jsonl` file; created when missing (with its folder).
        read_only: look only: takes no lock, leaves a torn last line where it is.
        resume: the command that goes on from this journal, for messages.

    Raises:
        RunError: a line before the last is corrupt, or another process writes this journal.

    Note: values are JSON objects; NaN and infinities survive (Python's JSON spelling), tuples come
        back as lists. A key put twice holds its last value. All methods may be called from threads.
    """

    def __init__(self, path: Path, *, read_only: bool = False, resume: str = "") -> None:
        self.path = path
        self.resume = resume
        self.read_only = read_only
        self._guard = threading.RLock()
        self._index: dict[str, tuple[int, int]] = {}
        self._lock: WriterLock | None = None
        with as_run_error(path):
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = WriterLock(path.with_suffix(".lock"))
            try:
                self._open()
            except BaseException:
                self._release()
                raise

    def _open(self) -> None:
        if self.read_only:
            self._file = self.path.open("rb", buffering=0) if self.path.exists() else None
        else:
            self._file = self.path.open("a+b", buffering=0)
            sync_folder(self.path.parent)
        if self._file is None:
            return
        end = self._read_lines()
        if not self.read_only and end < os.fstat(self._file.fileno()).st_size:
            os.ftruncate(self._file.fileno(), end)

    def _read_lines(self) -> int:
        """Fill the index and return where the last whole line ends, in bytes."""
        offset = 0
        torn = 0  # the number of a line that did not parse: an error once another one follows
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if torn:
                    raise RunError(
                        f"Line {torn} of {escape(str(self.path))} is corrupt.",
                        fix="Remove that line to compute its unit again, or start a new run.",
                    )
                key = _key_of(line)
                if key is None:
                    torn = number
                    continue
                self._index[key] = (offset, len(line))
                offset += len(line)
        return offset

    def __len__(self) -> int:
        return len(self._index)

    def keys(self) -> Iterator[str]:
        """Yield the keys in the order they were first put."""
        with self._guard:
            return iter(list(self._index))

    def has(self, key: str) -> bool:
        """Return whether a unit is finished."""
        return key in self._index

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a fresh copy of a unit's value, or None where it is not finished."""
        entry = self._entry(key)
        return None if entry is None else entry["value"]

    def _entry(self, key: str) -> dict[str, Any] | None:
        with self._guard:
            if key not in self._index:
                return None
            if self._file is None:
                raise RunError(f"{escape(str(self.path))} is closed.", fix="Open its run again.")
            offset, length = self._index[key]
            line = os.pread(self._file.fileno(), length, offset)
        entry: dict[str, Any] = json.loads(line)
        return entry

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Append one finished unit and put it on disk.

        Raises:
            RunError: the journal is open for reading only or closed, or the disk is full.
            TypeError: the value is not made of JSON types.
        """
        self._put({"key": key, "value": dict(value)})

    def _put(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        with self._guard, as_run_error(self.path, kept=self.kept()):
            if self.read_only or self._file is None:
                raise RunError(
                    f"{escape(str(self.path))} is not open for writing.", fix="Resume its run."
                )
            self._append(self._file.fileno(), entry["key"], line.encode("ascii"))

    def _append(self, handle: int, key: str, line: bytes) -> None:
        offset = os.fstat(handle).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(handle, line[written:])
            os.fsync(handle)
        except BaseException:
            os.ftruncate(handle, offset)  # also under Ctrl-C: never append after half a line
            raise
        self._index[key] = (offset, len(line))

    def put_tensors(
        self, key: str, tensors: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> None:
        """Write a unit's tensors beside the journal, then its line with `meta`.

        Args:
            key: letters, digits, `_ . -`; names the file.
            tensors: torch tensors or numpy arrays by name.
            meta: JSON values kept in the line; what `get` returns.
        """
        path = part_path(self.path.parent / "units", key, ".safetensors")
        with as_run_error(path, kept=self.kept()):
            save_tensors(path, tensors)
        self._put({"key": key, "value": dict(meta or {}), "tensors": f"units/{path.name}"})

    def get_tensors(self, key: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return (tensors, meta) of a unit put by `put_tensors`, or None where there is none.

        Raises:
            RunError: the tensors' file is missing or broken.
        """
        entry = self._entry(key)
        if entry is None or "tensors" not in entry:
            return None
        path = part_path(self.path.parent / "units", key, ".safetensors")
        return load_tensors(path), entry["value"]

    def kept(self) -> str:
        """Return the sentence that says how much of the work is on disk."""
        units = "1 finished unit is" if len(self) == 1 else f"{len(self)} finished units are"
        return f"{units} kept in {escape(str(self.path))}."

    def close(self) -> None:
        """Close the file and let another process write; a second call does nothing."""
        with self._guard:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _key_of(line: bytes) -> str | None:
    """Return the key of a whole line, or None where the line is torn or corrupt."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("value"), dict):
        return None
    key = entry.get("key")
    return key if isinstance(key, str) else None
