"""Exact comparison of two mathematical answers by math-verify, in a process that can be ended.

Some inputs keep a computer algebra system busy for hours, and no thread can be stopped: so the
comparison runs in a process of its own. It gives up after two seconds of computing time, which a
busy machine does not shorten, and is killed where it does not even do that. What was not decided
is not equal.

As a module this file is that process: a line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import atexit
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Final

SECONDS: Final = 2.0
_BACKSTOP: Final = 30.0
_STARTING: Final = 300.0
_MOST_CHARACTERS: Final = 400
_MOST_BYTES: Final = 4 << 30
_FIT: Final = re.compile(r"[A-Za-z0-9\\{}()\[\]^_+\-*/=<>.,:;|!'& ]+")
_UNFIT: Final = re.compile(r"__|\d{60}|\^\{?\d{5}")


class SymbolicComparer:
    """A process that compares, started when first asked and started again after it was killed.

    Args:
        seconds: after which the process is killed; its start is not counted.
        command: what to run instead of this module.
    """

    def __init__(self, seconds: float = _BACKSTOP, command: list[str] | None = None) -> None:
        self.seconds = seconds
        self.timeouts = 0
        self._command = command or [sys.executable, "-m", __name__]
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def equal(self, first: str, second: str) -> bool:
        """Return whether both orders of comparison find two answers equal; False if too late."""
        request = json.dumps([first, second])
        with self._lock:
            process = self._started()
            line = None if process is None else self._answer(process, request, self.seconds)
            if line is None:
                self.close()
        return line == "true"

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was still to be written has no reader any more
                    stream.close()

    def _started(self) -> subprocess.Popen[str] | None:
        if self._process is None:
            # What is run is this very module, or what a test names; no shell is involved.
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
            if self._answer(self._process, None, _STARTING) != "ready":
                self.close()
        return self._process

    def _answer(
        self, process: subprocess.Popen[str], request: str | None, seconds: float
    ) -> str | None:
        """Return the next line of the process; None where it was killed or has died."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101
            if request is not None:
                process.stdin.write(request + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            timer.cancel()
        self.timeouts += late.is_set()
        return line.strip() if line and not late.is_set() else None


_COMPARER: Final = SymbolicComparer()
atexit.register(_COMPARER.close)


def symbolically_equal(first: str, second: str) -> bool:
    """Return whether two LaTeX answers are the same mathematical object.

    Numbers, expressions, tuples, sets and intervals; symmetric. What is too long, holds characters
    that no answer has, or is not decided in time, is not equal.
    """
    pair = sorted((first.strip(), second.strip()))
    return _compared(*pair)


@lru_cache(maxsize=4096)
def _compared(first: str, second: str) -> bool:
    return _fits(first) and _fits(second) and _COMPARER.equal(first, second)


def _fits(text: str) -> bool:
    return (
        len(text) <= _MOST_CHARACTERS
        and _FIT.fullmatch(text) is not None
        and _UNFIT.search(text) is None
    )


class _TooLate(BaseException):
    """The time is over; not an Exception, for the libraries catch those and go on."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise after so many seconds of computing time, and again where that was caught."""
    import signal

    if not hasattr(signal, "setitimer"):  # not on this system: the other side kills
        yield
        return

    def over(*_: object) -> None:
        raise _TooLate

    signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _serve() -> None:
    """Answer requests until the other side closes."""
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[object]:
        # Only the LaTeX reader: the one for plain expressions goes through Python's parser.
        return list(parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=None))

    def same(first: str, second: str) -> bool:
        a, b = read(first), read(second)
        if not a or not b:
            return False
        return bool(verify(a, b, timeout_seconds=None) and verify(b, a, timeout_seconds=None))

    _limit_memory()
    same(r"\frac{1}{2}", "0.5")  # pays for the tables of the parser before the clock runs
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        try:
            with _within(SECONDS):
                equal = same(*json.loads(line))
        except (Exception, _TooLate):
            equal = False
        sys.stdout.write(json.dumps(equal) + "\n")
        sys.stdout.flush()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _MOST_BYTES if hard == resource.RLIM_INFINITY else min(_MOST_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    _serve()
