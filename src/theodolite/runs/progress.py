"""Progress on standard error: silent, or a bar with rate and time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from theodolite.text.display import escape


class SilentProgress:
    """Progress that shows nothing: for libraries, tests and `--quiet`."""

    def start(self, label: str, total: int) -> None:
        """Begin a stage of `total` steps."""

    def advance(self, steps: int = 1) -> None:
        """Report finished steps of the current stage."""

    def message(self, text: str) -> None:
        """Show one line above the progress bar."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class RichProgress:
    """A bar per stage on standard error; on a stream that is no terminal one line per stage.

    Use as a context manager: the terminal is restored on exit, also under exceptions.

    Args:
        console: the rich console to write to; None makes one on standard error.
    """

    def __init__(self, console: Any | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)
        self._bars: Any | None = None
        self._task: Any | None = None
        self._stage: tuple[str, int, int, float] | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars = _bars(self._console)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish_stage()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def start(self, label: str, total: int) -> None:
        """Begin a stage of `total` steps; the stage before it is over."""
        self._finish_stage()
        self._stage = (label, total, 0, time.monotonic())
        if self._bars is not None:
            self._task = self._bars.add_task(_text(escape(label, 60)), total=total, rate="")

    def advance(self, steps: int = 1) -> None:
        """Report finished steps of the current stage; before any stage there is nothing to show."""
        if self._stage is None:
            return
        label, total, done, since = self._stage
        self._stage = (label, total, done + steps, since)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=steps)
            speed = self._bars.tasks[-1].speed  # passes over a first jump of reused steps
            self._bars.update(self._task, rate=f"{speed:,.1f}/s" if speed else "")

    def message(self, text: str) -> None:
        """Show one line above the bar; markup and control characters in it have no effect."""
        self._console.print(_text(escape(text)), soft_wrap=True)

    def _finish_stage(self) -> None:
        if self._stage is None:
            return
        label, total, done, since = self._stage
        self._stage = None
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        seconds = time.monotonic() - since
        self.message(f"{label}: {done:,} of {total:,} in {seconds:.1f} s")


def _bars(console: Any) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _text(text: str) -> Any:
    from rich.text import Text

    return Text(text)
