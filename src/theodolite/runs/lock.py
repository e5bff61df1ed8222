"""One writer per journal: a lock file that the system releases when its process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from theodolite.errors import RunError
from theodolite.text.display import escape


class WriterLock:
    """The right to write a journal, held until `release` or the end of the process.

    The lock is the kernel's (`flock`) and the file only says who holds it, so a killed process
    leaves nothing that blocks the next one, and a reused process id cannot be mistaken for it.

    Raises:
        RunError: another writer holds the lock; the message names its process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = self._acquire()
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    def _acquire(self) -> int:
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
                os.close(handle)
                raise RunError(
                    f"{escape(str(self.path.parent))} is being written by process "
                    f"{escape(holder)}.",
                    fix="Wait until it ends, or stop it; then resume.",
                ) from None
            if _same_file(handle, self.path):
                return handle
            os.close(handle)  # the last holder removed the file between our open and our lock

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._handle >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        if getattr(self, "_handle", -1) >= 0:
            os.close(self._handle)


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock file."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _same_file(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)
